//! What real clients and servers said to each other, recorded under tests/fixtures, and the exchanges that come of it.
//!
//! Every recording is played whole, in pieces of 7 bytes and byte by byte, which must agree exactly with the expectation
//! beside it, and with each operation in turn unseen: then no response may be given to a request it does not answer, and
//! later exchanges must be as expected. `CLEW_BLESS=1` writes the expectations anew, `CLEW_ONLY=NAME` plays those alone whose path
//! has it.
mod messages;
mod multiplexed;
mod recorded;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use clew::capture::{Actor, Direction, Moment, Pid};
use clew::protocol::call::{Call, Outcome, Query};
use clew::protocol::{
    Body, Broken, Conversation, DETECT_BYTES, Limits, Mark, PROTOCOLS, Recognized, RequestHead, ResponseHead, Step,
    http1, tls,
    websocket::{self, Counts},
};
use clew::stream::{Content, Piece};
use recorded::{Operation, parse, recordings};
use smol_str::SmolStr;

#[test]
fn recordings_give_the_expected_exchanges() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let recordings = recordings(&folder);
    assert!(recordings.len() >= 5, "{recordings:?}");
    let only = std::env::var("CLEW_ONLY").unwrap_or_default();
    for path in recordings
        .iter()
        .filter(|path| path.display().to_string().contains(&only))
    {
        check(path);
    }
}

/// The README's table is that of the code, and each protocol has its recordings and its fuzz target.
#[test]
fn every_protocol_is_told_of_and_tested() {
    /// The head of the table.
    const HEAD: &str = "| protocol | tested with | limits |\n|---|---|---|\n";
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = std::fs::read_to_string(root.join("README.md")).expect("README");
    let rows: String = PROTOCOLS
        .iter()
        .map(|protocol| format!("| {} | {} | {} |\n", protocol.title, protocol.tested, protocol.limits))
        .collect();
    let (before, rest) = readme.split_once(HEAD).expect("the table in the README");
    let (told, behind) = rest.split_once("\n\n").expect("the table's end");
    if std::env::var_os("CLEW_BLESS").is_some() {
        std::fs::write(root.join("README.md"), format!("{before}{HEAD}{rows}\n{behind}")).expect("README written");
    } else {
        assert_eq!(format!("{told}\n"), rows, "CLEW_BLESS=1 writes the table anew");
    }
    for protocol in PROTOCOLS {
        let name = if protocol.name == "http" {
            "http1"
        } else {
            protocol.name
        };
        for path in [
            format!("tests/fixtures/{name}"),
            format!("tests/fuzz/fuzz_targets/{name}.rs"),
        ] {
            assert!(root.join(&path).exists(), "{path} is missing");
        }
    }
}

/// Bytes of one protocol are not taken for another's, however much of an operation has come.
#[test]
fn no_protocol_is_taken_for_another() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    for path in recordings(&folder) {
        let spoken = path
            .parent()
            .and_then(Path::file_name)
            .expect("a folder")
            .to_string_lossy();
        let text = std::fs::read_to_string(&path).expect("recording");
        for (number, connection) in parse(&text).iter().enumerate() {
            for (place, operation) in connection.iter().enumerate() {
                let bytes = operation.bytes.as_deref().unwrap_or_default();
                // Which goes on in TLS when it has asked for it.
                let name = path.file_stem().unwrap_or_default().to_string_lossy();
                let switches = name.starts_with("encrypted") || name.starts_with("login");
                let is_upgraded = spoken == websocket::NAME;
                let spoken = |name: &str| {
                    spoken.starts_with(name) || (switches && name == tls::NAME) || (is_upgraded && name == "http")
                };
                for protocol in PROTOCOLS.iter().filter(|protocol| !spoken(protocol.name)) {
                    for length in 1..=bytes.len().min(DETECT_BYTES) {
                        let seen = bytes.get(..length).expect("so many");
                        // NATS says so as well, but does not begin with it.
                        if seen.starts_with(b"PING\r\n") && protocol.name == "redis" {
                            continue;
                        }
                        assert_ne!(
                            (protocol.recognize)(seen),
                            Recognized::Yes,
                            "{} connection {number}, operation {place}: {length} bytes pass for {}",
                            path.display(),
                            protocol.name
                        );
                    }
                }
            }
        }
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
            if messages::are_of(&steps) {
                messages::agree(
                    &steps,
                    &holed,
                    connection.get(hole).map_or(0, |hole| hole.time_us * 1000),
                    &what,
                );
            } else if is_of_datagrams(connection) {
                agrees_by_place(&steps, &holed, &what);
            } else if multiplexed::are(&steps) {
                multiplexed::agree(connection, hole, &steps, &holed, &what);
            } else {
                agrees(&steps, &holed, &what);
                recovers(connection, hole, &steps, &holed, &what);
            }
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

fn moment(time_us: u64) -> Moment {
    Moment::new(time_us * 1000, Actor::thread(Pid(1), 1))
}

/// Plays a connection with its bytes cut into pieces of `cut`, and one operation unseen.
fn play(connection: &[Operation], cut: usize, hole: Option<usize>) -> Vec<Step> {
    let limits = Limits {
        body_bytes: 32,
        values: true,
        ..Limits::default()
    };
    let (mut conversation, cut) = if is_of_datagrams(connection) {
        (Conversation::datagrams(limits), usize::MAX)
    } else {
        (Conversation::new(limits), cut)
    };
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
    began_at: u64,
    asked_at: u64,
    response_head: Option<u64>,
    response_end: Option<u64>,
    answered_at: Option<u64>,
    ends: usize,
    /// What is told only where an earlier message was seen: what a name stands for, the database, the transaction.
    recalled: Vec<String>,
    /// The exchange is a connection: its marks are of either direction.
    is_connection: bool,
    line: String,
}

impl Told {
    /// The response is complete, and with it the exchange.
    fn ended(&mut self, end: &Mark) {
        self.response_end = Some(end.offset);
        self.answered_at = Some(end.moment.time_ns);
        self.ends += 1;
    }
}

fn exchanges(steps: &[Step]) -> BTreeMap<u64, Told> {
    let mut all: BTreeMap<u64, Told> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Request(request) => {
                let at = place(request.offset, request.start);
                let line = match &request.head {
                    RequestHead::Http(head) => format!(
                        "{} {} HTTP/{} at {at} {}{}",
                        head.method,
                        head.target,
                        head.version.name(),
                        fields(&head.fields, &request.head_end),
                        head.gateway.as_ref().map_or(String::new(), |gateway| format!(
                            " of {} for {}",
                            gateway.script, gateway.client
                        )),
                    ),
                    RequestHead::Database(call) => {
                        format!(
                            "{} at {at} to {}",
                            tell_call(call),
                            place(request.head_end.offset, request.head_end.moment)
                        )
                    }
                    RequestHead::Message(message) => format!(
                        "{} at {at} to {}",
                        messages::tell(message),
                        place(request.head_end.offset, request.head_end.moment)
                    ),
                    RequestHead::Dns(question) => format!(
                        "{} {} at {at} to {}",
                        question.kind_name().unwrap_or("?"),
                        question.name,
                        place(request.head_end.offset, request.head_end.moment)
                    ),
                    RequestHead::Procedure(procedure) => format!(
                        "{} {} {}{} at {at} to {}",
                        procedure.system,
                        procedure.variant,
                        procedure.name,
                        if procedure.oneway { ", one way" } else { "" },
                        place(request.head_end.offset, request.head_end.moment)
                    ),
                    RequestHead::Turn => panic!("nothing that is not known is recorded"),
                    RequestHead::Tls(hello) => format!(
                        "{:?} hello for {} offering {} at {at} to {}",
                        request.direction,
                        hello.server_name.as_deref().unwrap_or("?"),
                        hello.protocols.join(","),
                        place(request.head_end.offset, request.head_end.moment)
                    ),
                };
                let recalled = match &request.head {
                    RequestHead::Database(call) => recalled(call),
                    _ => Vec::new(),
                };
                let told = Told {
                    request_offset: request.offset,
                    began_at: request.start.time_ns,
                    asked_at: request.head_end.moment.time_ns,
                    recalled,
                    is_connection: request.head.is_connection(),
                    line,
                    ..Told::default()
                };
                assert!(
                    all.insert(request.exchange.0, told).is_none(),
                    "an exchange begins once"
                );
            }
            Step::RequestEnd { exchange, end, body } => {
                let told = all.get_mut(&exchange.0).expect("it began");
                if *body != Body::default() {
                    let _ = write!(told.line, ", asked {}", tell_body(body, end));
                }
            }
            Step::Response(response) => {
                let told = all.get_mut(&response.exchange.0).expect("it began");
                assert!(told.response_head.is_none(), "one response for a request");
                told.response_head = Some(response.head_end.offset);
                if let ResponseHead::Database(outcome) = &response.head {
                    told.recalled.extend(outcome.transaction.map(in_transaction));
                }
                let _ = match &response.head {
                    ResponseHead::Http(head) => write!(
                        told.line,
                        " -> {} HTTP/{} {}",
                        head.status,
                        head.version.name(),
                        fields(&head.fields, &response.head_end)
                    ),
                    ResponseHead::Database(outcome) => write!(
                        told.line,
                        " -> {} from {}us",
                        tell_outcome(outcome),
                        response.start.time_ns / 1000
                    ),
                    ResponseHead::Message(outcome) => write!(
                        told.line,
                        " -> {} from {}us",
                        messages::tell_outcome(outcome),
                        response.start.time_ns / 1000
                    ),
                    ResponseHead::Procedure(returned) => match &returned.fault {
                        None => write!(told.line, " -> returned"),
                        Some(fault) => write!(
                            told.line,
                            " -> failed {} {:?}",
                            fault.code.as_deref().unwrap_or("as declared"),
                            fault.message
                        ),
                    },
                    ResponseHead::Turn => panic!("nothing that is not known is recorded"),
                    ResponseHead::Dns(answer) => write!(
                        told.line,
                        " -> {} {:?} of {}{}{}",
                        answer.code_name().unwrap_or("?"),
                        answer
                            .answers
                            .iter()
                            .map(clew::protocol::dns::Told::text)
                            .collect::<Vec<_>>(),
                        answer.count,
                        if answer.truncated { ", truncated" } else { "" },
                        if answer.repeated > 0 { ", repeated" } else { "" },
                    ),
                    ResponseHead::Tls(handshake) => {
                        write!(told.line, " -> {}", tell_handshake(handshake, &response.head_end))
                    }
                };
                if response.whole {
                    let end = &response.head_end;
                    told.ended(end);
                    let _ = write!(told.line, ", answered to {}", place(end.offset, end.moment));
                }
            }
            Step::ResponseEnd { exchange, end, body } => {
                let told = all.get_mut(&exchange.0).expect("it began");
                told.ended(end);
                let _ = if *body == Body::default() {
                    write!(told.line, ", answered to {}", place(end.offset, end.moment))
                } else {
                    write!(told.line, ", answered {}", tell_body(body, end))
                };
            }
            Step::Broken {
                exchange,
                reason,
                body,
                at,
            } => {
                let told = all.get_mut(&exchange.0).expect("it began");
                told.ends += 1;
                let _ = write!(told.line, " -> broken {reason:?}");
                if body.websocket.is_some() {
                    let _ = write!(told.line, ", {}", tell_body(body, at));
                }
            }
            Step::Withdrawn { exchange } => {
                let told = all.get_mut(&exchange.0).expect("it began");
                told.ends += 1;
                let _ = write!(told.line, " -> withdrawn");
            }
            Step::Shared { exchange } => {
                let told = all.get_mut(&exchange.0).expect("it began");
                told.line.push_str(", shared");
            }
            Step::Hello(_) | Step::Preface(_) | Step::Named { .. } | Step::Count(_) => {}
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
        Step::Hello(hello) => Some(format!(
            "hello {:?} {:02x?}",
            hello.direction,
            hello.random.first_chunk::<4>().expect("32 bytes")
        )),
        Step::Named { id, name } => Some(format!("named {:032x} {name}", u128::from_be_bytes(*id))),
        _ => None,
    });
    let lines = exchanges(steps)
        .into_iter()
        .map(|(number, told)| format!("{number}: {}", told.line));
    lines.chain(counts).collect()
}

fn tell_call(call: &Call) -> String {
    let namespace = call.namespace.as_deref().map(named).unwrap_or_default();
    let query = match &call.query {
        Query::Sql(statement) => {
            let text = statement
                .text
                .as_ref()
                .map(|text| quoted(&text.text))
                .unwrap_or_default();
            let kind = if statement.prepared { "prepared" } else { "text" };
            let details = messages::details(&statement.details);
            format!("{kind}{text}{}{details}", parameters(&statement.parameters))
        }
        Query::Operation(operation) => {
            let procedure = operation.procedure.iter().map(|name| format!(" {name}"));
            let procedure: String = procedure.collect();
            let details = messages::details(&operation.details);
            format!(
                "{}{procedure}{}{details}",
                operation.name,
                parameters(&operation.parameters)
            )
        }
        Query::Command(command) => {
            let arguments = command.first_arguments();
            let arguments: Vec<&str> = arguments
                .map(|argument| argument.map_or("?", |argument| argument))
                .collect();
            format!("{} {arguments:?}", command.name)
        }
    };
    format!("{}{namespace}: {query}", call.system)
}

/// What stands for a parameter that is NULL, or of a kind that is not known.
const UNTOLD: &str = "NULL";

fn parameters(values: &[Option<SmolStr>]) -> String {
    let values = values.iter();
    let values: Vec<&str> = values.map(|value| value.as_deref().unwrap_or(UNTOLD)).collect();
    format!(" ({})", values.join(", "))
}

fn named(namespace: &str) -> String {
    format!(" {namespace}")
}

fn quoted(text: &str) -> String {
    format!(" {text:?}")
}

/// What speaks MySQL's protocol and was not seen to say that it is MariaDB.
const MYSQL: &str = "mysql";
const IN_TRANSACTION: &str = "in transaction";

fn in_transaction(offset: u64) -> String {
    format!("{IN_TRANSACTION} {offset}")
}

/// What of a call is told only where an earlier message was seen, as the line has it.
fn recalled(call: &Call) -> Vec<String> {
    let text = match &call.query {
        Query::Sql(statement) if statement.prepared => statement.text.as_ref().map(|text| quoted(&text.text)),
        _ => None,
    };
    let system = matches!(call.system, MYSQL | "mariadb").then(|| call.system.to_owned());
    let namespace = call.namespace.as_deref().map(named);
    // How many they are, and in what way they are sent, was said when it was prepared.
    let parameters = match &call.query {
        Query::Sql(statement) if (system.is_some() || statement.prepared) && !statement.parameters.is_empty() => {
            Some(parameters(&statement.parameters))
        }
        _ => None,
    };
    system
        .into_iter()
        .chain(namespace)
        .chain(text)
        .chain(parameters)
        .collect()
}

/// Whether what was told is what is right, but for values of parameters that are not told.
fn says_no_more(told: &str, right: &str) -> bool {
    fn values(text: &str) -> Option<Vec<&str>> {
        Some(text.strip_prefix(" (")?.strip_suffix(')')?.split(", ").collect())
    }
    let fewer = || {
        let (told, right) = (values(told)?, values(right)?);
        let are_right = told
            .iter()
            .zip(&right)
            .all(|(told, right)| *told == UNTOLD || told == right);
        Some(told.len() == right.len() && are_right)
    };
    told == right || fewer().unwrap_or(false)
}

/// The line without what an earlier message tells.
fn own(told: &Told) -> String {
    let mut line = told.line.clone();
    for recalled in &told.recalled {
        line = line.replacen(&format!(", {recalled}"), "", 1).replacen(recalled, "", 1);
    }
    line.replacen(" ()", "", 1)
}

fn tell_outcome(outcome: &Outcome) -> String {
    let mut told = vec![outcome.operation.as_deref().unwrap_or("-").to_owned()];
    told.extend(outcome.returned_rows.map(|rows| format!("returned {rows}")));
    told.extend(outcome.affected_rows.map(|rows| format!("affected {rows}")));
    told.extend(outcome.transaction.map(in_transaction));
    told.extend(outcome.error.as_ref().map(|error| {
        let state = error.sqlstate.iter().map(|state| format!(" ({state})"));
        let severity = error
            .severity
            .map_or(String::new(), |severity| format!(", class {severity}"));
        format!(
            "failed {}{} {:?}{severity}",
            error.code,
            state.collect::<String>(),
            error.message
        )
    }));
    told.extend(outcome.skipped.then(|| "skipped".to_owned()));
    told.join(", ")
}

fn place(offset: u64, moment: Moment) -> String {
    format!("{offset}@{}us", moment.time_ns / 1000)
}

fn tell_handshake(handshake: &tls::Handshake, end: &Mark) -> String {
    let alert = handshake.alert.map_or(String::new(), |alert| {
        let by = if alert.by_client { "client" } else { "server" };
        format!(
            " refused by {by} {:?} {}",
            alert.said,
            alert.name().unwrap_or("encrypted")
        )
    });
    format!(
        "TLS {} {} {} alpn {} resumed {:?} established {} in {:?} ns{alert} to {}",
        handshake.version_name().unwrap_or("?"),
        handshake.cipher_name().unwrap_or("?"),
        handshake.group_name().unwrap_or("?"),
        handshake.protocol.as_deref().unwrap_or("?"),
        handshake.resumed,
        handshake.established,
        handshake.took_ns,
        place(end.offset, end.moment)
    )
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
    let mut told = format!("{bytes} {:?}", body.captured);
    if let Some(messages) = body.messages {
        let _ = write!(told, " {messages} messages");
    }
    if let Some(trailers) = &body.trailers {
        let _ = write!(told, " {trailers:?}");
    }
    if let Some(passed) = &body.websocket {
        let counts = |counts: &Counts| {
            let more = if counts.more { " and more" } else { "" };
            format!(
                "{} frames {} messages {} bytes{more}",
                counts.frames, counts.messages, counts.bytes
            )
        };
        let (client, server) = (counts(&passed.client), counts(&passed.server));
        let _ = write!(told, " client {client}, server {server}, {:?}", passed.close);
    }
    format!("{told} to {}", place(end.offset, end.moment))
}

fn is_of_datagrams(connection: &[Operation]) -> bool {
    connection.first().is_some_and(|operation| operation.datagram)
}

/// With one datagram unseen, what is told of the others is what is told without.
#[track_caller]
fn agrees_by_place(whole: &[Step], holed: &[Step], what: &str) {
    let (whole, holed) = (exchanges(whole), exchanges(holed));
    assert!(holed.len() + 1 >= whole.len(), "{what}");
    // One whose answer is what was not seen is asked again.
    let is_plain = |told: &&Told| told.response_head.is_some() && !told.line.contains(", repeated");
    for told in holed.values().filter(is_plain) {
        let expected = whole.values().find(|one| one.request_offset == told.request_offset);
        assert_eq!(Some(&told.line), expected.map(|expected| &expected.line), "{what}");
    }
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
        if told.is_connection {
            continue;
        }
        let begin = whole
            .values()
            .filter(|one| one.request_offset < told.request_offset)
            .filter_map(|one| one.response_end)
            .max()
            .unwrap_or(0);
        // There are no bytes of an answer, or none of its own.
        if [Some(0), Some(begin)].contains(&expected.response_end) {
            continue;
        }
        /// `ReadyForQuery`, which PostgreSQL sends behind an answer: one whose end was not seen may end with it.
        const READY: u64 = 6;
        let end = expected.response_end.map_or(u64::MAX, |end| end + READY);
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
        assert_eq!(found.map(own), Some(own(expected)), "{what}");
        for recalled in found.iter().flat_map(|told| &told.recalled) {
            if recalled == MYSQL {
                continue;
            }
            // One whose beginning was not seen is named after what was seen of it first.
            if recalled.starts_with(IN_TRANSACTION) {
                let whole = expected.recalled.iter().any(|other| other.starts_with(IN_TRANSACTION));
                assert!(whole, "{what}: {recalled}");
                continue;
            }
            assert!(
                expected.recalled.iter().any(|all| says_no_more(recalled, all)),
                "{what}: {recalled} is wrong in {}",
                expected.line
            );
        }
    }
}
