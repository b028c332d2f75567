//! What the recordings do not have.
use super::packet::kind;
use super::*;
use crate::capture::Direction;
use crate::protocol::call::Query;
use crate::protocol::played::played;
use crate::protocol::{Conversation, Recognized, RequestHead, ResponseHead};

const CLIENT: Direction = Direction::Egress;
const SERVER: Direction = Direction::Ingress;

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// A message in packets of so many bytes of content.
fn packets(kind: u8, content: &[u8], size: usize) -> Vec<u8> {
    let count = content.chunks(size).count().max(1);
    let mut bytes = Vec::new();
    for place in 0..count {
        let part = content.chunks(size).nth(place).unwrap_or_default();
        let [high, low] = (part.len() as u16 + 8).to_be_bytes();
        bytes.extend([kind, u8::from(place + 1 == count), high, low, 0, 0, 1, 0]);
        bytes.extend(part);
    }
    bytes
}

/// Headers of a request in this transaction.
fn headers(transaction: u64) -> Vec<u8> {
    let mut headers = vec![22, 0, 0, 0, 18, 0, 0, 0, 2, 0];
    headers.extend(transaction.to_le_bytes());
    headers.extend([1, 0, 0, 0]);
    headers
}

fn batch(text: &str) -> (Direction, Vec<u8>) {
    let content = [headers(0), utf16(text)].concat();
    (CLIENT, packets(kind::BATCH, &content, 4088))
}

fn answer(content: &[u8]) -> (Direction, Vec<u8>) {
    (SERVER, packets(kind::ANSWER, content, 4088))
}

fn done(status: u8, rows: u8) -> Vec<u8> {
    vec![0xfd, status, 0, 0xc5, 0, rows, 0, 0, 0, 0, 0, 0, 0]
}

const COUNTED: u8 = 0x10;
const ATTENTION: u8 = 0x20;
/// One column that is a number, and one row.
const RESULT: &[u8] = b"\x81\x01\0\0\0\0\0\x09\0\x38\x01n\0\xd1\x07\0\0\0";

/// A login that has come by itself, as it does within TLS.
fn login() -> (Direction, Vec<u8>) {
    let texts = ["host", "shop", "secret", "till", "server", "", "", "", "db"];
    let (mut places, mut contents) = (Vec::new(), Vec::new());
    for text in texts {
        places.extend(((94 + contents.len()) as u16).to_le_bytes());
        places.extend((text.len() as u16).to_le_bytes());
        contents.extend(utf16(text));
    }
    let mut content = ((94 + contents.len()) as u32).to_le_bytes().to_vec();
    content.extend([4, 0, 0, 0x74]);
    content.resize(36, 0);
    content.extend(places);
    content.resize(94, 0);
    content.extend(contents);
    (CLIENT, packets(kind::LOGIN, &content, 4088))
}

/// What lets a client in, in this version.
fn let_in(version: u8) -> (Direction, Vec<u8>) {
    let token = [&[0xad, 10, 0, 1, version, 0, 0, 4, 0, 16, 0, 16, 0], &*done(0, 0)].concat();
    answer(&token)
}

#[track_caller]
fn check(midway: bool, all: &[(Direction, Vec<u8>)], expected: &[&str]) {
    for cut in [usize::MAX, 7, 1] {
        assert_eq!(play(midway, all, cut), expected, "in pieces of {cut}");
    }
}

fn play(midway: bool, all: &[(Direction, Vec<u8>)], cut: usize) -> Vec<String> {
    let steps = played(Conversation::new(Limits::default()), midway, all, cut);
    steps.iter().filter_map(tell).collect()
}

fn tell(step: &Step) -> Option<String> {
    Some(match step {
        Step::Request(request) => {
            let RequestHead::Database(call) = &request.head else {
                panic!("{request:?}");
            };
            let namespace = call.namespace.as_deref().unwrap_or("?");
            match &call.query {
                Query::Sql(statement) => {
                    let text = statement.text.as_ref().map_or("?", |text| &text.text);
                    let cut = statement.text.as_ref().is_some_and(|text| text.cut);
                    let text = text.get(..text.len().min(20)).unwrap_or_default();
                    format!("{namespace}: {text}{}", if cut { ".." } else { "" })
                }
                Query::Operation(operation) => {
                    let details = operation.details.iter().map(|(key, value)| format!(" {key}={value:?}"));
                    format!("{namespace}: {}{}", operation.name, details.collect::<String>())
                }
                Query::Command(command) => panic!("{command:?}"),
            }
        }
        Step::Response(response) => {
            let ResponseHead::Database(outcome) = &response.head else {
                panic!("{response:?}");
            };
            let failed = outcome.error.as_ref().map(|failure| failure.message.as_str());
            format!("{:?} {:?} {failed:?}", outcome.returned_rows, outcome.affected_rows)
        }
        Step::Broken { reason, .. } => format!("{reason:?}"),
        Step::Count(name) => (*name).to_owned(),
        _ => return None,
    })
}

#[test]
fn a_login_within_encryption_is_told_with_its_answer_and_without_the_password() {
    check(
        false,
        &[
            login(),
            let_in(0x74),
            batch("SELECT n"),
            answer(&[RESULT, &done(COUNTED, 1)].concat()),
        ],
        &[
            "db: CONNECT clew.db.client.program=Text(\"till\") clew.db.client.server=Text(\"server\")",
            "None None None",
            "?: SELECT n",
            "Some(1) None None",
        ],
    );
    // Where the login alone is encrypted its answer passes in plain, and is told there.
    check(false, &[login()], &[]);
}

#[test]
fn an_attention_may_have_an_answer_of_its_own() {
    let attention = (CLIENT, packets(kind::ATTENTION, &[], 8));
    let acknowledged = answer(&done(ATTENTION, 0));
    // It crosses the answer.
    check(
        false,
        &[
            batch("UPDATE a"),
            answer(&done(COUNTED, 3)),
            attention.clone(),
            acknowledged.clone(),
            batch("UPDATE b"),
            answer(&done(COUNTED, 4)),
        ],
        &["?: UPDATE a", "None Some(3) None", "?: UPDATE b", "None Some(4) None"],
    );
    // The server had done all of it, and had not.
    let and_then = |first: &[u8], more: &[u8]| (SERVER, [answer(first).1, answer(more).1].concat());
    check(
        false,
        &[
            batch("UPDATE a"),
            attention.clone(),
            and_then(&done(COUNTED, 3), &done(ATTENTION, 0)),
            batch("UPDATE b"),
            attention,
            answer(&[RESULT, &done(ATTENTION, 0)].concat()),
            batch("UPDATE c"),
            answer(&done(COUNTED, 4)),
        ],
        &[
            "?: UPDATE a",
            "None Some(3) None",
            "?: UPDATE b",
            "Some(1) None Some(\"canceled by the client\")",
            "?: UPDATE c",
            "None Some(4) None",
        ],
    );
}

#[test]
fn what_is_not_known_ends_reading_of_one_answer() {
    // A type that there is not, in an answer of several packets.
    let unknown = [
        b"\x81\x01\0\0\0\0\0\x09\0\xf7\x01n\0\xd1".as_slice(),
        &[7; 9000],
        &done(COUNTED, 9),
    ]
    .concat();
    let mut failed = done(COUNTED, 9);
    failed[1] |= 2;
    let without = [b"\xd1\x01".as_slice(), &failed].concat();
    check(
        false,
        &[
            batch("SELECT a"),
            answer(&unknown),
            batch("SELECT b"),
            answer(&without),
            batch("SELECT c"),
            answer(&[RESULT, &done(COUNTED, 1)].concat()),
        ],
        &[
            "?: SELECT a",
            "protocol.tds.answer_unread",
            "None None None",
            "?: SELECT b",
            "protocol.tds.answer_unread",
            "None None Some(\"\")",
            "?: SELECT c",
            "Some(1) None None",
        ],
    );
}

#[test]
fn what_is_kept_of_a_request_is_bounded() {
    let long = format!("SELECT {}", "n".repeat(60_000));
    check(
        false,
        &[
            batch(&long),
            answer(&done(0, 0)),
            batch("SELECT b"),
            answer(&done(0, 0)),
        ],
        &[
            "protocol.tds.text_too_long",
            "?: SELECT nnnnnnnnnnnnn..",
            "None None None",
            "?: SELECT b",
            "None None None",
        ],
    );
}

#[test]
fn older_versions_and_several_sessions_are_left_alone() {
    let told = [
        "db: CONNECT clew.db.client.program=Text(\"till\") clew.db.client.server=Text(\"server\")",
        "protocol.tds.old_version",
        "None None None",
    ];
    check(
        false,
        &[login(), let_in(0x71), batch("SELECT n"), answer(RESULT)],
        &told,
    );
    let within = batch("SELECT n").1;
    let mut one = b"S\x08\x01\0".to_vec();
    one.extend((within.len() as u32 + 16).to_le_bytes());
    one.extend([1, 0, 0, 0, 4, 0, 0, 0]);
    one.extend(within);
    check(
        false,
        &[(CLIENT, one.clone()), (SERVER, one.clone()), (CLIENT, one)],
        &["protocol.tds.sessions"],
    );
}

#[test]
fn requests_are_recognized_and_little_else() {
    let batch = batch("SELECT 1").1;
    for length in 1..32 {
        assert_eq!(recognize(&batch[..length]), Recognized::More, "{length}");
    }
    assert_eq!(recognize(&batch), Recognized::Yes);
    assert_eq!(recognize(&login().1), Recognized::Yes);
    for no in [
        answer(&done(0, 0)).1,
        b"\x01\0\0\x08\0\0\0\0rest of it that is long enough for all".to_vec(),
        b"\x10\x1a\0\x04MQTT\x04\x02\0\x3c\0\x0eclient-of-mqtt".to_vec(),
        b"SELECT 1; -- and nothing else but text".to_vec(),
        [0x12, 1, 0, 20, 0, 0, 0, 0].iter().copied().chain([7; 40]).collect(),
    ] {
        assert_eq!(recognize(&no), Recognized::No, "{no:02x?}");
    }
}
