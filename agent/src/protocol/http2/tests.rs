use bytes::Bytes;

use super::frame::PREFACE;
use crate::capture::{Actor, Direction, Moment, Pid};
use crate::protocol::{Body, Broken, Conversation, Limits, Mark, RequestHead, ResponseHead, Step};
use crate::stream::{Content, Piece};

fn moment(time_ns: u64) -> Moment {
    Moment::new(time_ns, Actor::thread(Pid(1), 1))
}

/// A part of a script.
#[derive(Clone)]
enum Part {
    Bytes(Direction, Vec<u8>),
    Unseen(Direction, u64),
    End(Direction),
    /// So many nanoseconds pass.
    Time(u64),
    /// The connection is older than the agent. Stands first.
    Midway,
}

fn client(frames: &[Vec<u8>]) -> Part {
    Part::Bytes(Direction::Egress, frames.concat())
}

fn server(frames: &[Vec<u8>]) -> Part {
    Part::Bytes(Direction::Ingress, frames.concat())
}

fn preface() -> Vec<u8> {
    [PREFACE, &settings()].concat()
}

fn settings() -> Vec<u8> {
    frame(4, 0, 0, b"\0\x03\0\0\0\x64")
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block: `name=value` as literals that are inserted, `!name=value` as ones that are not, `#n` as an index.
fn block(fields: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in fields.split(' ').filter(|field| !field.is_empty()) {
        if let Some(index) = field.strip_prefix('#') {
            bytes.push(0x80 | index.parse::<u8>().unwrap());
            continue;
        }
        let (first, field) = field.strip_prefix('!').map_or((0x40, field), |field| (0, field));
        let (name, value) = field.split_once('=').unwrap();
        bytes.push(first);
        for text in [name, value] {
            bytes.push(u8::try_from(text.len()).unwrap());
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// HEADERS that are a whole block; `end` ends the stream.
fn headers(stream: u32, end: bool, fields: &str) -> Vec<u8> {
    frame(1, 0x4 | u8::from(end), stream, &block(fields))
}

fn data(stream: u32, end: bool, content: &[u8]) -> Vec<u8> {
    frame(0, u8::from(end), stream, content)
}

/// A request without content, as one whose path is inserted in the table.
fn get(stream: u32, path: &str) -> Vec<u8> {
    headers(stream, true, &format!("#2 #6 :path={path}"))
}

fn body(body: &Body) -> String {
    let bytes = body.bytes.map_or("?".to_owned(), |bytes| bytes.to_string());
    let mut told = format!("{bytes} {:?}", String::from_utf8_lossy(&body.captured));
    if let Some(messages) = body.messages {
        told += &format!(" {messages} messages");
    }
    if let Some(trailers) = &body.trailers {
        told += &format!(" {trailers:?}");
    }
    told
}

/// Plays a script with bytes cut into pieces of `cut` and gives what came of it, a line a step.
fn play(parts: &[Part], cut: usize) -> Vec<String> {
    steps(parts, cut).iter().map(line).collect()
}

/// Plays a script with bytes cut into pieces of `cut`. Part `n` passes at `n`, as far as no time is said to pass.
fn steps(parts: &[Part], cut: usize) -> Vec<Step> {
    let midway = matches!(parts.first(), Some(Part::Midway));
    let mut conversation = Conversation::new(Limits {
        body_bytes: 8,
        ..Limits::default()
    })
    .midway(midway);
    let mut steps = Vec::new();
    let mut offsets = [0_u64; 2];
    let mut now = 0;
    for part in parts {
        now += 1;
        let mut send = |direction: Direction, content: Content, length: u64| {
            let offset = &mut offsets[usize::from(direction == Direction::Ingress)];
            conversation.piece(
                Piece {
                    direction,
                    offset: *offset,
                    content,
                    moment: moment(now),
                },
                &mut steps,
            );
            *offset += length;
        };
        match part {
            Part::Bytes(direction, bytes) => {
                for piece in bytes.chunks(cut) {
                    send(
                        *direction,
                        Content::Bytes(Bytes::copy_from_slice(piece)),
                        piece.len() as u64,
                    );
                }
            }
            Part::Unseen(direction, length) => send(*direction, Content::Unseen(*length), *length),
            Part::End(direction) => send(*direction, Content::End, 0),
            Part::Midway => {}
            Part::Time(time_ns) => {
                now += time_ns;
                conversation.tick(now, &mut steps);
            }
        }
    }
    let at = Mark {
        offset: 0,
        moment: moment(now),
    };
    conversation.end(at, Broken::AgentStopped, &mut steps);
    assert_eq!(conversation.open(), 0);
    steps
}

fn line(step: &Step) -> String {
    match step {
        Step::Request(request) => {
            let RequestHead::Http(head) = &request.head else {
                panic!("a request of another protocol");
            };
            let known = |text: &str| if text.is_empty() { "?" } else { text }.to_owned();
            format!(
                "{} {} {} of {}{}",
                request.exchange.0,
                known(&head.method),
                known(&head.target),
                request.stream.unwrap_or(0),
                unknown(head.unknown)
            )
        }
        Step::RequestEnd { exchange, body: it, .. } => format!("{} asked {}", exchange.0, body(it)),
        Step::Response(response) => {
            let ResponseHead::Http(head) = &response.head else {
                panic!("a response of another protocol");
            };
            format!("{} {}{}", response.exchange.0, head.status, unknown(head.unknown))
        }
        Step::ResponseEnd { exchange, body: it, .. } => format!("{} done {}", exchange.0, body(it)),
        Step::Broken {
            exchange,
            reason,
            body: it,
            ..
        } => format!("{} broken {reason:?} {}", exchange.0, body(it)),
        Step::Hello(_) | Step::Preface(_) | Step::Withdrawn { .. } | Step::Named { .. } => {
            panic!("said of others only")
        }
        Step::Count(name) => format!("count {}", name.trim_start_matches("protocol.")),
        Step::Shared { exchange } => format!("shared {}", exchange.0),
    }
}

fn unknown(fields: usize) -> String {
    if fields == 0 {
        String::new()
    } else {
        format!(" {fields} unknown")
    }
}

#[track_caller]
fn check(parts: &[Part], expected: &str) {
    let whole = play(parts, usize::MAX);
    let expected: Vec<&str> = expected
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(whole, expected);
    for cut in [1, 7] {
        assert_eq!(play(parts, cut), whole, "in pieces of {cut}");
    }
}

#[test]
fn streams_interleave() {
    check(
        &[
            server(&[settings()]),
            client(&[preface(), headers(1, false, "#3 #6 :path=/a"), get(3, "/b")]),
            client(&[data(1, false, b"12"), data(1, true, b"34567890")]),
            server(&[headers(3, false, "#8"), headers(1, false, "#8"), data(3, false, b"x")]),
            server(&[data(1, true, b""), headers(3, true, "!tail=1")]),
        ],
        r#"
        0 POST /a of 1
        1 GET /b of 3
        1 asked 0 ""
        0 asked 10 "12345678"
        1 200
        0 200
        0 done 0 ""
        1 done 1 "x" {"tail": "1"}
        "#,
    );
}

/// Which requests are the first of their connection, and when the content of their answers began.
#[test]
fn the_first_request_of_a_connection() {
    let told = |parts: &[Part]| -> Vec<(u32, bool)> {
        let requests = steps(parts, usize::MAX);
        let requests = requests.iter().filter_map(|step| match step {
            Step::Request(request) => Some((request.stream, &request.head)),
            _ => None,
        });
        let told = requests.map(|(stream, head)| match head {
            RequestHead::Http(head) => (stream.unwrap(), head.first),
            other => panic!("{other:?}"),
        });
        told.collect()
    };
    // Netty's and OkHttp's clients begin with 3.
    let begins = [client(&[preface(), get(3, "/a"), get(5, "/b")])];
    assert_eq!(told(&begins), [(3, true), (5, false)]);
    let midway = [&[Part::Midway], &begins[..]].concat();
    assert_eq!(told(&midway), [(3, false), (5, false)]);
    // There may have been others.
    let holed = [
        client(&[preface()]),
        Part::Unseen(Direction::Egress, 30),
        client(&[get(3, "/a")]),
        server(&[settings(), headers(3, true, "#8")]),
        client(&[get(5, "/b")]),
    ];
    assert!(told(&holed).iter().all(|(_, first)| !first), "{:?}", told(&holed));
    let answered = [
        client(&[preface(), get(1, "/a")]),
        server(&[settings(), headers(1, false, "#8")]),
        server(&[data(1, false, b"")]),
        server(&[data(1, false, b"ab")]),
        server(&[data(1, true, b"c")]),
    ];
    let ends = steps(&answered, usize::MAX).into_iter().find_map(|step| match step {
        Step::ResponseEnd { body, .. } => Some(body),
        _ => None,
    });
    assert_eq!(ends.unwrap().first_ns, Some(4));
}

#[test]
fn blocks_may_be_padded_prioritized_and_continued() {
    let whole = block("#2 #6 :path=/long");
    let (first, second) = whole.split_at(5);
    let padded = [b"\x03\0\0\0\0\x10".as_slice(), first, b"\0\0\0"].concat();
    check(
        &[
            client(&[preface(), frame(1, 0x29, 1, &padded), frame(9, 0x4, 1, second)]),
            client(&[
                frame(2, 0, 3, b"\0\0\0\0\x01"),
                frame(6, 0, 0, b"12345678"),
                frame(8, 0, 0, b"\0\0\0\x01"),
            ]),
            server(&[headers(1, false, "!:status=103"), headers(1, false, "#8")]),
            server(&[frame(
                5,
                0x4,
                1,
                &[b"\0\0\0\x02".as_slice(), &block("#2 #6 :path=/pushed")].concat(),
            )]),
            server(&[
                headers(2, true, "#8"),
                frame(0, 0x9, 1, b"\x02ab\0\0"),
                frame(0x10, 0, 0, b"new"),
            ]),
        ],
        r#"
        0 GET /long of 1
        0 asked 0 ""
        0 200
        count http2.promised
        0 done 2 "ab"
        "#,
    );
}

#[test]
fn streams_that_are_given_up() {
    check(
        &[
            client(&[
                preface(),
                get(1, "/a"),
                get(3, "/b"),
                headers(5, false, "#3 #6 :path=/c"),
            ]),
            client(&[frame(3, 0, 1, b"\0\0\0\x08")]),
            server(&[frame(7, 0, 0, b"\0\0\0\x03\0\0\0\0bye"), frame(3, 0, 3, b"\0\0\0\x07")]),
            server(&[headers(1, true, "#8")]),
        ],
        r#"
        0 GET /a of 1
        0 asked 0 ""
        1 GET /b of 3
        1 asked 0 ""
        2 POST /c of 5
        0 broken Reset(8) 0 ""
        count http2.goaway
        2 broken Refused(0) 0 ""
        1 broken Reset(7) 0 ""
        "#,
    );
}

#[test]
fn calls() {
    let call = |stream| headers(stream, false, "#3 #6 :path=/a.B/C content-type=application/grpc");
    check(
        &[
            client(&[
                preface(),
                call(1),
                data(1, false, b"\0\0\0\0\x01a"),
                data(1, true, b"\0\0\0\0\0"),
            ]),
            server(&[
                headers(1, false, "#8 content-type=application/grpc"),
                data(1, false, b"\0\0\0\0\x02b"),
            ]),
            server(&[
                data(1, false, b"c"),
                headers(1, true, "grpc-status=0 !grpc-message=fine"),
            ]),
            client(&[call(3), data(3, true, b"")]),
            server(&[headers(3, true, "#8 #62 !grpc-status=5")]),
        ],
        r#"
        0 POST /a.B/C of 1
        0 asked 11 "\0\0\0\0\u{1}a\0\0" 2 messages
        0 200
        0 done 7 "\0\0\0\0\u{2}bc" 1 messages {"grpc-status": "0", "grpc-message": "fine"}
        1 POST /a.B/C of 3
        1 asked 0 "" 0 messages
        1 200
        1 done 0 ""
        "#,
    );
}

#[test]
fn answers_reported_first() {
    check(
        &[
            client(&[preface()]),
            server(&[settings(), headers(1, false, "#8"), data(1, true, b"ab")]),
            client(&[get(1, "/a")]),
            server(&[headers(3, true, "#8")]),
            Part::Time(200_000_000),
            client(&[get(3, "/b")]),
        ],
        r#"
        0 GET /a of 1
        0 asked 0 ""
        0 200
        0 done 2 ""
        count http2.response_unmatched
        1 GET /b of 3
        1 asked 0 ""
        1 broken AgentStopped 0 ""
        "#,
    );
}

#[test]
fn joined_midway() {
    check(
        &[
            Part::Midway,
            client(&[data(9, true, b"tail of something older")]),
            client(&[headers(11, true, "#2 #6 #70"), frame(8, 0, 0, b"\0\0\0\x01")]),
            server(&[headers(11, false, "#8 #66"), data(11, true, b"ab")]),
            client(&[get(13, "/new"), headers(15, true, "#2 #6 #62")]),
            server(&[headers(15, true, "#8 new=1"), headers(13, true, "#62 #13")]),
        ],
        r#"
        count http2.fields_unknown
        0 GET ? of 11 1 unknown
        0 asked 0 ""
        count http2.resync
        count http2.fields_unknown
        0 200 1 unknown
        0 done 2 "ab"
        1 GET /new of 13
        1 asked 0 ""
        2 GET /new of 15
        2 asked 0 ""
        2 200
        2 done 0 ""
        1 404
        1 done 0 ""
        "#,
    );
}

#[test]
fn holes() {
    let second = get(3, "/second");
    check(
        &[
            client(&[preface(), get(1, "/first")]),
            server(&[settings(), headers(1, false, "#8"), data(1, false, b"ab")]),
            // A head that refers to what the hole inserted is unknown, and what comes later is known again.
            Part::Unseen(Direction::Egress, second.len() as u64),
            client(&[headers(5, true, "#2 #6 #62 !a=b"), get(7, "/third")]),
            client(&[headers(9, true, "#2 #6 #62")]),
            server(&[
                headers(5, true, "#8"),
                headers(7, true, "#8"),
                headers(3, true, "#8"),
                headers(9, true, "#8"),
            ]),
            // Inside DATA nothing is lost, and the end is known.
            Part::Bytes(Direction::Ingress, data(1, true, b"cdef")[..10].to_vec()),
            Part::Unseen(Direction::Ingress, 3),
        ],
        r#"
        0 GET /first of 1
        0 asked 0 ""
        0 200
        count http2.resync
        count http2.fields_unknown
        1 GET ? of 5 1 unknown
        1 asked 0 ""
        2 GET /third of 7
        2 asked 0 ""
        3 GET /third of 9
        3 asked 0 ""
        1 200
        1 done 0 ""
        2 200
        2 done 0 ""
        3 200
        3 done 0 ""
        0 done 6 "abc"
        "#,
    );
}

/// What is told of who wrote a head rests on the operation that carried it.
#[test]
fn behind_a_hole_each_head_is_of_its_own_operation() {
    let parts = [
        client(&[preface(), get(1, "/first")]),
        Part::Unseen(Direction::Egress, 30),
        client(&[get(5, "/second")]),
        client(&[get(7, "/third")]),
        client(&[get(9, "/fourth"), get(11, "/fifth")]),
    ];
    for cut in [1, 10, usize::MAX] {
        let begun: Vec<_> = steps(&parts, cut)
            .iter()
            .filter_map(|step| match step {
                Step::Request(request) => Some((request.stream?, request.start.time_ns)),
                _ => None,
            })
            .collect();
        assert_eq!(begun, [(1, 1), (5, 3), (7, 4), (9, 5), (11, 5)], "cut into {cut}");
    }
}

#[test]
fn streams_that_may_have_ended_in_a_hole() {
    check(
        &[
            client(&[preface(), get(1, "/a"), get(3, "/b"), get(5, "/c")]),
            server(&[settings(), headers(1, false, "#8"), headers(3, false, "#8")]),
            Part::Unseen(Direction::Ingress, 100),
            server(&[data(3, false, b"goes on"), headers(5, true, "!grpc-status=0")]),
            Part::Time(5_000_000_000),
            server(&[data(3, true, b"!")]),
        ],
        r#"
        0 GET /a of 1
        0 asked 0 ""
        1 GET /b of 3
        1 asked 0 ""
        2 GET /c of 5
        2 asked 0 ""
        0 200
        1 200
        count http2.resync
        count http2.head_unseen
        2 broken Unseen ? "" {"grpc-status": "0"}
        count http2.stream_lost
        0 broken Unseen ? ""
        1 done ? ""
        "#,
    );
}

#[test]
fn a_head_that_is_cut() {
    let head = headers(3, true, "#2 #6 :path=/seen later=lost");
    check(
        &[
            client(&[preface(), get(1, "/a")]),
            Part::Bytes(Direction::Egress, head[..head.len() - 6].to_vec()),
            Part::Unseen(Direction::Egress, 6),
            client(&[headers(5, true, "#2 #6 #62")]),
        ],
        r#"
        0 GET /a of 1
        0 asked 0 ""
        count http2.head_cut
        count http2.fields_unknown
        1 GET /seen of 3 1 unknown
        1 asked 0 ""
        count http2.fields_unknown
        2 GET ? of 5 1 unknown
        2 asked 0 ""
        0 broken AgentStopped 0 ""
        1 broken AgentStopped 0 ""
        2 broken AgentStopped 0 ""
        "#,
    );
}

#[test]
fn upgraded_from_http_1() {
    let ask = b"GET /up HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n";
    let grant = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    check(
        &[
            Part::Bytes(Direction::Egress, ask.to_vec()),
            Part::Bytes(Direction::Ingress, [grant.as_slice(), &settings()].concat()),
            server(&[headers(1, false, "#8"), data(1, true, b"ok")]),
            client(&[preface(), get(3, "/next")]),
            server(&[headers(3, true, "#9")]),
        ],
        r#"
        0 GET /up of 1
        0 asked 0 ""
        count http1.upgraded
        0 200
        0 done 2 "ok"
        1 GET /next of 3
        1 asked 0 ""
        1 204
        1 done 0 ""
        "#,
    );
}

#[test]
fn many_streams_and_the_bound() {
    let mut parts = vec![client(&[preface()])];
    let count = 4100_u32;
    for n in 0..count {
        parts.push(client(&[headers(2 * n + 1, true, "#2 #6 #4")]));
    }
    let steps = play(&parts, usize::MAX);
    let full = steps.iter().filter(|step| *step == "count http2.streams_full").count();
    assert_eq!(full, 4);
}

#[test]
fn nonsense_is_rejected() {
    let mut parts = vec![client(&[preface()])];
    parts.extend((0..20).map(|_| client(&[frame(6, 0, 0, b"short"), settings(), settings()])));
    let steps = play(&parts, usize::MAX);
    assert_eq!(steps.iter().filter(|step| *step == "count http2.invalid").count(), 8);
    for cut in [1, 7] {
        assert_eq!(play(&parts, cut), steps);
    }
    let end = [
        client(&[preface(), get(1, "/a"), headers(3, false, "#3 #6 #4")]),
        Part::End(Direction::Egress),
    ];
    check(
        &end,
        r#"
        0 GET /a of 1
        0 asked 0 ""
        1 POST / of 3
        1 broken Closed 0 ""
        0 broken AgentStopped 0 ""
        "#,
    );
}
