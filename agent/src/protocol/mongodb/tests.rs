//! Messages made of bytes: what the recorded server does not do.
use bytes::Bytes;

use super::*;
use crate::capture::{Actor, Direction, Moment, Pid};
use crate::protocol::call::Query;
use crate::protocol::{Conversation, Limits, RequestHead, ResponseHead, Step};
use crate::stream::{Content, Piece};

const MORE: u32 = 2;
const MSG: u32 = 2013;

fn document(elements: &[&[u8]]) -> Vec<u8> {
    let elements = elements.concat();
    let length = u32::try_from(elements.len() + 5).expect("short");
    [&length.to_le_bytes()[..], &elements, &[0]].concat()
}

fn string(name: &str, text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len() + 1).expect("short").to_le_bytes();
    [b"\x02", name.as_bytes(), b"\0", &length, text.as_bytes(), b"\0"].concat()
}

fn int(name: &str, number: i32) -> Vec<u8> {
    [b"\x10", name.as_bytes(), b"\0", &number.to_le_bytes()].concat()
}

fn within(kind: u8, name: &str, inside: &[u8]) -> Vec<u8> {
    [&[kind], name.as_bytes(), b"\0", inside].concat()
}

fn message(id: u32, answers: u32, code: u32, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len() + 16).expect("short");
    let head: Vec<u8> = [length, id, answers, code]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    [&head, content].concat()
}

fn msg(id: u32, answers: u32, flags: u32, body: &[u8]) -> Vec<u8> {
    message(id, answers, MSG, &[&flags.to_le_bytes()[..], &[0], body].concat())
}

/// What is told of messages to a server (`true`) and from it.
fn told(values: bool, messages: &[(bool, Vec<u8>)]) -> Vec<String> {
    let limits = Limits {
        values,
        ..Limits::default()
    };
    let mut conversation = Conversation::new(limits);
    let (mut offsets, mut steps) = ([0_u64; 2], Vec::new());
    for (place, (asks, bytes)) in messages.iter().enumerate() {
        let direction = if *asks { Direction::Egress } else { Direction::Ingress };
        let offset = &mut offsets[usize::from(*asks)];
        let piece = Piece {
            direction,
            offset: *offset,
            content: Content::Bytes(Bytes::from(bytes.clone())),
            moment: Moment::new(1000 + place as u64, Actor::thread(Pid(1), 1)),
        };
        *offset += bytes.len() as u64;
        conversation.piece(piece, &mut steps);
    }
    let lines = steps.iter().filter_map(|step| match step {
        Step::Request(request) => {
            let RequestHead::Database(call) = &request.head else {
                return Some("another protocol".to_owned());
            };
            let Query::Command(command) = &call.query else {
                return Some("SQL".to_owned());
            };
            Some(format!(
                "{} {} {} {} {:?}",
                request.exchange.0,
                command.name,
                call.namespace.as_deref().unwrap_or("-"),
                command.collection.as_deref().unwrap_or("-"),
                command.arguments
            ))
        }
        Step::Response(response) => {
            let ResponseHead::Database(outcome) = &response.head else {
                return Some("another protocol".to_owned());
            };
            let error = outcome.error.as_ref();
            Some(format!(
                "{} -> {:?} {:?} {}",
                response.exchange.0,
                outcome.returned_rows,
                outcome.affected_rows,
                error.map_or("-", |error| error.code.as_str())
            ))
        }
        Step::Broken { exchange, reason, .. } => Some(format!("{} broken {reason:?}", exchange.0)),
        Step::Count(name) => Some((*name).to_owned()),
        _ => None,
    });
    lines.collect()
}

fn find() -> Vec<u8> {
    document(&[&string("find", "items"), &int("batchSize", 2), &string("$db", "shop")])
}

fn batch(name: &str, count: usize) -> Vec<u8> {
    let one = document(&[&int("x", 1)]);
    let all: Vec<Vec<u8>> = (0..count).map(|place| within(3, &place.to_string(), &one)).collect();
    let all: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
    let cursor = document(&[&within(4, name, &document(&all)), &string("ns", "shop.items")]);
    document(&[&within(3, "cursor", &cursor), &int("ok", 1)])
}

#[test]
fn an_exhaust_cursor_answers_one_question_several_times() {
    let get_more = document(&[
        &[b"\x12getMore\0".as_ref(), &7_i64.to_le_bytes()].concat(),
        &string("collection", "items"),
        &string("$db", "shop"),
    ]);
    let got = told(
        true,
        &[
            (true, msg(1, 0, 0, &find())),
            (false, msg(50, 1, 0, &batch("firstBatch", 2))),
            (true, msg(2, 0, 1 << 16, &get_more)),
            (false, msg(51, 2, MORE, &batch("nextBatch", 2))),
            (false, msg(52, 51, MORE, &batch("nextBatch", 2))),
            (false, msg(53, 52, 0, &batch("nextBatch", 1))),
            (true, msg(3, 0, 0, &find())),
            (false, msg(54, 3, 0, &batch("firstBatch", 0))),
        ],
    );
    let want = [
        r#"0 find shop items ["{\"batchSize\": 2}"]"#,
        "0 -> Some(2) None -",
        r#"1 getMore shop items ["{\"collection\": \"items\"}"]"#,
        "1 -> Some(5) None -",
        r#"2 find shop items ["{\"batchSize\": 2}"]"#,
        "2 -> Some(0) None -",
    ];
    assert_eq!(got, want);
}

#[test]
fn what_is_not_acknowledged_gets_no_answer() {
    let insert = document(&[&string("insert", "items"), &string("$db", "shop")]);
    let answer = document(&[&int("n", 3), &int("ok", 1)]);
    let got = told(
        false,
        &[
            (true, msg(1, 0, MORE, &insert)),
            (true, msg(2, 0, 0, &insert)),
            (false, msg(50, 2, 0, &answer)),
        ],
    );
    let want = [
        r#"0 insert shop items ["?"]"#,
        "0 -> None None -",
        r#"1 insert shop items ["?"]"#,
        "1 -> None Some(3) -",
    ];
    assert_eq!(got, want);
}

#[test]
fn failures_are_told_by_their_code() {
    let failed = document(&[&int("ok", 0), &string("errmsg", "no"), &int("code", 59)]);
    let one = document(&[&int("index", 0), &int("code", 11000), &string("errmsg", "twice")]);
    let wrong = document(&[
        &int("n", 0),
        &within(4, "writeErrors", &document(&[&within(3, "0", &one)])),
        &int("ok", 1),
    ]);
    let insert = document(&[&string("insert", "items"), &string("$db", "shop")]);
    let secret = document(&[
        &int("saslStart", 1),
        &string("payload", "secret"),
        &string("$db", "admin"),
    ]);
    let got = told(
        true,
        &[
            (true, msg(1, 0, 0, &insert)),
            (false, msg(50, 1, 0, &wrong)),
            (true, msg(2, 0, 0, &secret)),
            (false, msg(51, 2, 0, &failed)),
        ],
    );
    let want = [
        r#"0 insert shop items ["{}"]"#,
        "0 -> None Some(0) 11000",
        "1 saslStart admin - []",
        "1 -> None None 59",
    ];
    assert_eq!(got, want);
}

#[test]
fn what_is_compressed_is_read() {
    use std::io::Write as _;
    let content = [&0_u32.to_le_bytes()[..], &[0], &find()].concat();
    let compressed = |compressor: u8, bytes: &[u8]| {
        let length = u32::try_from(content.len()).expect("short");
        let head = [&MSG.to_le_bytes()[..], &length.to_le_bytes(), &[compressor]].concat();
        message(1, 0, 2012, &[&head, bytes].concat())
    };
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    zlib.write_all(&content).expect("memory");
    let zlib = zlib.finish().expect("memory");
    let snappy = snap::raw::Encoder::new().compress_vec(&content).expect("memory");
    let zstd = ruzstd::encoding::compress_to_vec(&*content, ruzstd::encoding::CompressionLevel::Fastest);
    let answer = msg(50, 1, 0, &batch("firstBatch", 1));
    for (compressor, bytes, want) in [
        (0, &content, r#"0 find shop items ["?"]"#),
        (2, &zlib, r#"0 find shop items ["?"]"#),
        (1, &snappy, r#"0 find shop items ["?"]"#),
        (3, &zstd, r#"0 find shop items ["?"]"#),
        // What it is not.
        (1, &zlib, "0 OP_COMPRESSED - - []"),
        (2, &zstd, "0 OP_COMPRESSED - - []"),
        (3, &zlib, "0 OP_COMPRESSED - - []"),
    ] {
        let got = told(false, &[(true, compressed(compressor, bytes)), (false, answer.clone())]);
        assert!(got.contains(&want.to_owned()), "{compressor}: {got:?}");
        assert!(got.contains(&"0 -> Some(1) None -".to_owned()), "{compressor}: {got:?}");
    }
}

#[test]
fn an_answer_to_something_else_answers_nothing() {
    let got = told(
        false,
        &[
            (true, msg(1, 0, 0, &find())),
            (false, msg(50, 9, 0, &batch("firstBatch", 1))),
        ],
    );
    assert_eq!(
        got,
        [
            r#"0 find shop items ["?"]"#,
            "protocol.mongodb.response_unmatched",
            "0 broken Unseen"
        ]
    );
}

#[test]
fn questions_are_recognized_and_little_else() {
    let question = msg(7, 0, 0, &find());
    for length in 0..26 {
        assert_eq!(recognize(&question[..length]), Recognized::More, "{length}");
    }
    assert_eq!(recognize(&question), Recognized::Yes);
    for (place, wrong) in [(3, 3), (8, 1), (12, 0xde), (13, 8), (19, 1), (20, 2), (25, 0x30)] {
        let mut other = question.clone();
        other[place] = wrong;
        assert_eq!(recognize(&other), Recognized::No, "{place}");
    }
    let hello = [
        &[0; 4][..],
        b"admin.$cmd\0",
        &[0; 4],
        &[0xff; 4],
        &document(&[&int("ismaster", 1)]),
    ]
    .concat();
    assert_eq!(recognize(&message(1, 0, 2004, &hello)), Recognized::Yes);
}
