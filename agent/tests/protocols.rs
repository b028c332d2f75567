//! What real clients and servers said to each other, recorded under tests/fixtures, and the exchanges that come of it.
//!
//! Every recording is played whole, in pieces of 7 bytes and byte by byte, which must agree exactly with the expectation
//! beside it, and with each operation in turn unseen: then no response may be given to a request it does not answer, and
//! later exchanges must be as expected. `CLEW_BLESS=1` writes the expectations anew.
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clew::capture::{Actor, Direction, Moment, Pid};
use clew::protocol::{Body, Broken, Conversation, Limits, Mark, RequestHead, ResponseHead, Step, http1};
use clew::stream::{Content, Piece};

/// One line of a recording.
#[derive(Clone)]
struct Operation {
    time_us: u64,
    direction: Direction,
    /// None for the end of the direction.
    bytes: Option<Vec<u8>>,
}

#[test]
fn recordings_give_the_expected_exchanges() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let recordings = recordings(&folder);
    assert!(recordings.len() >= 5, "{recordings:?}");
    for path in recordings {
        check(&path);
    }
}

fn check(path: &Path) {
    let text = std::fs::read_to_string(path).expect("recording");
    let connections = parse(&text);
    assert!(!connections.is_empty(), "{}", path.display());
    let mut told = String::new();
    for (number, connection) in connections.iter().enumerate() {
        let _ = writeln!(told, "connection {number}");
        let steps = play(connection, usize::MAX, None);
        let whole = tell(&steps);
        for cut in [7, 1] {
            assert_eq!(
                tell(&play(connection, cut, None)),
                whole,
                "{} in pieces of {cut}",
                path.display()
            );
        }
        for line in &whole {
            let _ = writeln!(told, "  {line}");
        }
        for hole in 0..connection.len() {
            let holed = play(connection, usize::MAX, Some(hole));
            let what = format!("{} connection {number}, operation {hole} unseen", path.display());
            agrees(&steps, &holed, &what);
            recovers(connection, hole, &steps, &holed, &what);
            for cut in [7, 1] {
                assert_eq!(
                    tell(&play(connection, cut, Some(hole))),
                    tell(&holed),
                    "{what}, in pieces of {cut}"
                );
            }
        }
    }
    let beside = path.with_extension("expected");
    if std::env::var_os("CLEW_BLESS").is_some() {
        std::fs::write(&beside, &told).expect("expectation written");
    }
    let expected = std::fs::read_to_string(&beside).expect("expectation");
    assert!(
        told == expected,
        "{} differs (CLEW_BLESS=1 writes it anew):\n{told}",
        beside.display()
    );
}

fn recordings(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for protocol in std::fs::read_dir(folder).expect("fixtures").flatten() {
        let Ok(files) = std::fs::read_dir(protocol.path()) else {
            continue;
        };
        found.extend(
            files
                .flatten()
                .map(|file| file.path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "wire")),
        );
    }
    found.sort();
    found
}

/// Reads the format that tests/fixtures/record.py describes.
fn parse(text: &str) -> Vec<Vec<Operation>> {
    let mut connections: Vec<Vec<Operation>> = Vec::new();
    for line in text.lines() {
        if line == "connection" {
            connections.push(Vec::new());
            continue;
        }
        let (mark, rest) = line.split_once(' ').expect("mark");
        let (time, bytes) = rest
            .split_once(' ')
            .map_or((rest, None), |(time, bytes)| (time, Some(bytes)));
        connections.last_mut().expect("a connection first").push(Operation {
            time_us: time.parse().expect("time"),
            direction: if mark.starts_with('>') {
                Direction::Egress
            } else {
                Direction::Ingress
            },
            bytes: (!mark.ends_with('.')).then(|| unescape(bytes.expect("bytes"))),
        });
    }
    connections
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next().expect("escape") {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'\\' => b'\\',
            b'x' => {
                let digits = [rest.next().expect("digit"), rest.next().expect("digit")];
                u8::from_str_radix(std::str::from_utf8(&digits).expect("ASCII"), 16).expect("hexadecimal")
            }
            other => panic!("unknown escape {other}"),
        });
    }
    bytes
}

fn moment(time_us: u64) -> Moment {
    Moment::new(time_us * 1000, Actor::thread(Pid(1), 1))
}

/// Plays a connection with its bytes cut into pieces of `cut`, and one operation unseen.
fn play(connection: &[Operation], cut: usize, hole: Option<usize>) -> Vec<Step> {
    let mut conversation = Conversation::new(Limits { body_bytes: 32 });
    let mut steps = Vec::new();
    let (mut sent, mut received) = (0_u64, 0_u64);
    let mut last = 0;
    for (number, operation) in connection.iter().enumerate() {
        last = operation.time_us;
        let offset = match operation.direction {
            Direction::Egress => &mut sent,
            Direction::Ingress => &mut received,
        };
        let mut hand_on = |content: Content, length: usize| {
            conversation.piece(
                Piece {
                    direction: operation.direction,
                    offset: *offset,
                    content,
                    moment: moment(operation.time_us),
                },
                &mut steps,
            );
            *offset += length as u64;
        };
        match &operation.bytes {
            None if hole == Some(number) => {}
            None => hand_on(Content::End, 0),
            Some(bytes) if hole == Some(number) => hand_on(Content::Unseen(bytes.len() as u64), bytes.len()),
            Some(bytes) => {
                for piece in bytes.chunks(cut) {
                    hand_on(Content::Bytes(Bytes::copy_from_slice(piece)), piece.len());
                }
            }
        }
    }
    conversation.end(
        Mark {
            offset: sent,
            moment: moment(last + 1),
        },
        Broken::Closed,
        &mut steps,
    );
    assert_eq!(conversation.open(), 0);
    steps
}

/// What is told of one exchange.
#[derive(Default)]
struct Told {
    request_offset: u64,
    asked_at: u64,
    response_head: Option<u64>,
    response_end: Option<u64>,
    answered_at: Option<u64>,
    ends: usize,
    line: String,
}

fn exchanges(steps: &[Step]) -> BTreeMap<u64, Told> {
    let mut all: BTreeMap<u64, Told> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Request(request) => {
                let RequestHead::Http(head) = &request.head;
                let told = Told {
                    request_offset: request.offset,
                    asked_at: request.head_end.moment.time_ns,
                    line: format!(
                        "{} {} HTTP/1.{} at {} {}",
                        head.method,
                        head.target,
                        head.minor_version,
                        place(request.offset, request.start),
                        fields(&head.fields, &request.head_end)
                    ),
                    ..Told::default()
                };
                assert!(
                    all.insert(request.exchange.0, told).is_none(),
                    "an exchange begins once"
                );
            }
            Step::RequestEnd { exchange, end, body } => {
                let told = all.get_mut(&exchange.0).expect("it began");
                let _ = write!(told.line, ", asked {}", tell_body(body, end));
            }
            Step::Response(response) => {
                let ResponseHead::Http(head) = &response.head;
                let told = all.get_mut(&response.exchange.0).expect("it began");
                assert!(told.response_head.is_none(), "one response for a request");
                told.response_head = Some(response.head_end.offset);
                let _ = write!(
                    told.line,
                    " -> {} HTTP/1.{} {}",
                    head.status,
                    head.minor_version,
                    fields(&head.fields, &response.head_end)
                );
            }
            Step::ResponseEnd { exchange, end, body } => {
                let told = all.get_mut(&exchange.0).expect("it began");
                told.response_end = Some(end.offset);
                told.answered_at = Some(end.moment.time_ns);
                told.ends += 1;
                let _ = write!(told.line, ", answered {}", tell_body(body, end));
            }
            Step::Broken { exchange, reason, .. } => {
                let told = all.get_mut(&exchange.0).expect("it began");
                told.ends += 1;
                let _ = write!(told.line, " -> broken {reason:?}");
            }
            Step::Count(_) => {}
        }
    }
    for told in all.values() {
        assert_eq!(told.ends, 1, "an exchange ends once: {}", told.line);
    }
    all
}

fn tell(steps: &[Step]) -> Vec<String> {
    let counts = steps.iter().filter_map(|step| match step {
        Step::Count(name) => Some(format!("count {name}")),
        _ => None,
    });
    let lines = exchanges(steps)
        .into_iter()
        .map(|(number, told)| format!("{number}: {}", told.line));
    lines.chain(counts).collect()
}

fn place(offset: u64, moment: Moment) -> String {
    format!("{offset}@{}us", moment.time_ns / 1000)
}

fn fields(fields: &http1::Fields, end: &Mark) -> String {
    let bytes: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    format!(
        "{} fields of {bytes} bytes to {}",
        fields.len(),
        place(end.offset, end.moment)
    )
}

fn tell_body(body: &Body, end: &Mark) -> String {
    let bytes = body.bytes.map_or("?".to_owned(), |bytes| bytes.to_string());
    format!("{bytes} {:?} to {}", body.captured, place(end.offset, end.moment))
}

/// With a hole, every response still belongs to the request it answers.
#[track_caller]
fn agrees(whole: &[Step], holed: &[Step], what: &str) {
    let whole = exchanges(whole);
    for told in exchanges(holed).values() {
        let Some(head_end) = told.response_head else { continue };
        // Bytes of the response a request has: from the end of the one before to its own end.
        let expected = whole.values().find(|one| one.request_offset == told.request_offset);
        let expected = expected.unwrap_or_else(|| panic!("{what}: no request begins there: {}", told.line));
        let begin = whole
            .values()
            .filter(|one| one.request_offset < told.request_offset)
            .filter_map(|one| one.response_end)
            .max()
            .unwrap_or(0);
        let end = expected.response_end.unwrap_or(u64::MAX);
        assert!(begin < head_end && head_end <= end, "{what}: wrong pair: {}", told.line);
    }
}

/// One exchange after a hole may be needed to find the way; those after it are as if nothing had been.
#[track_caller]
fn recovers(connection: &[Operation], hole: usize, whole: &[Step], holed: &[Step], what: &str) {
    let hole_ns = connection.get(hole).map_or(0, |operation| operation.time_us * 1000);
    let switches = whole
        .iter()
        .any(|step| matches!(step, Step::Count("protocol.http1.upgraded" | "protocol.http1.tunneled")));
    let (whole, holed) = (exchanges(whole), exchanges(holed));
    let answered: Vec<u64> = whole
        .values()
        .map(|told| told.answered_at.unwrap_or(u64::MAX))
        .collect();
    let pipelined = whole
        .values()
        .skip(1)
        .zip(&answered)
        .any(|(next, answered)| next.asked_at < *answered);
    if switches || pipelined {
        return;
    }
    for expected in whole.values().filter(|told| told.asked_at > hole_ns).skip(1) {
        let found = holed
            .values()
            .find(|told| told.request_offset == expected.request_offset);
        let found = found.map(|told| told.line.as_str());
        assert_eq!(found, Some(expected.line.as_str()), "{what}");
    }
}
