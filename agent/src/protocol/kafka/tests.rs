use bytes::Bytes;

use super::*;
use crate::capture::{Actor, Direction, Moment, Pid};
use crate::protocol::{Conversation, Limits, RequestHead, ResponseHead, Step};
use crate::stream::{Content, Piece};

#[track_caller]
fn check(bytes: &[u8], expected: Recognized) {
    assert_eq!(recognize(bytes), expected, "{bytes:02x?}");
}

#[test]
fn requests_are_recognized_and_little_else() {
    let versions = b"\0\0\0\x28\0\x12\0\x04\0\0\0\0\0\x04java\0\x12apache-kafka-java\x064.1.2\0";
    for length in 0..18 {
        check(&versions[..length], Recognized::More);
    }
    check(&versions[..18], Recognized::Yes);
    check(b"\0\0\0\x11\0\x12\0\x03\0\0\0\x07\xff\xff\0\0\0\0\0", Recognized::Yes);
    for no in [
        // PostgreSQL's first message, ZooKeeper's, Thrift's, MongoDB's, a greeting of MySQL, DNS over TCP, text.
        b"\0\0\0\x54\0\x03\0\0user\0postgres\0database\0postgres\0\0".as_slice(),
        b"\0\0\0\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x75\x30\0\0\0\0",
        b"\0\0\0\x19\x80\x01\0\x01\0\0\0\x04ping\0\0\0\0\0",
        b"\x3a\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0",
        b"\x4a\0\0\0\x0a5.5.5-10.11.6-MariaDB",
        b"\0\x1d\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\x03org\0\0\x01\0\x01",
        // An answer, a frame of HTTP/2.
        b"\0\0\x03\x12\0\0\0\x04\0\0\x4a\0\0\0\0\0",
        b"\0\0\x06\0\0\0\0\0\x07\0\0\0\0\x01\x61",
        b"GET / HTTP/1.1\r\n\r\n",
        // A name that is none, one that is longer than its request.
        b"\0\0\0\x28\0\x12\0\x04\0\0\0\0\0\x04ja\0a",
        b"\0\0\0\x0c\0\x12\0\x04\0\0\0\0\0\x04java",
    ] {
        check(no, Recognized::No);
    }
}

/// A frame.
fn frame(parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [
        u32::try_from(body.len()).expect("short").to_be_bytes().as_slice(),
        &body,
    ]
    .concat()
}

/// A request of this key, version and number.
fn request(key: u8, version: u8, number: u8, body: &[u8]) -> Vec<u8> {
    frame(&[&[0, key, 0, version, 0, 0, 0, number, 0, 1, b'c'], body])
}

/// A batch with one message of four bytes.
fn batch(offset: u8) -> Vec<u8> {
    let record = b"\x14\0\0\0\x01\x08text\0";
    let mut batch = vec![0; 61];
    batch[7] = offset;
    batch[11] = 49 + u8::try_from(record.len()).expect("short");
    batch[16] = 2;
    batch[60] = 1;
    batch.extend_from_slice(record);
    batch
}

/// Version 3: `acks`, and a batch for a partition of topic `t`.
fn produce(number: u8, acks: i16) -> Vec<u8> {
    let batch = batch(0);
    let length = u32::try_from(batch.len()).expect("short").to_be_bytes();
    let body = [
        b"\xff\xff".as_slice(),
        &acks.to_be_bytes(),
        b"\0\0\0\x1e\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0",
        &length,
        &batch,
    ];
    request(0, 3, number, &body.concat())
}

fn produced(number: u8, error: u8) -> Vec<u8> {
    let before = [
        0, 0, 0, number, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0, 0, error,
    ];
    frame(&[&before, &[0; 8], &[0xff; 8], &[0; 4]])
}

/// What comes of what the client (`>`) and the broker (`<`) say; `?` stands for bytes that were not seen.
#[track_caller]
fn play(all: &[(char, Vec<u8>)], expected: &[&str]) {
    for cut in [usize::MAX, 5, 1] {
        let mut conversation = Conversation::new(Limits::default());
        let (mut steps, mut offsets) = (Vec::new(), [0_u64; 2]);
        for (number, (who, bytes)) in all.iter().enumerate() {
            let moment = Moment::new(1_000_000 * (number as u64 + 1), Actor::thread(Pid(1), 1));
            let asks = matches!(who, '>' | '?');
            for piece in bytes.chunks(cut) {
                let content = if *who == '?' {
                    Content::Unseen(piece.len() as u64)
                } else {
                    Content::Bytes(Bytes::copy_from_slice(piece))
                };
                let offset = offsets[usize::from(asks)];
                offsets[usize::from(asks)] += piece.len() as u64;
                let direction = if asks { Direction::Egress } else { Direction::Ingress };
                let piece = Piece {
                    direction,
                    offset,
                    content,
                    moment,
                };
                conversation.piece(piece, &mut steps);
            }
        }
        let told: Vec<String> = steps.iter().filter_map(tell).collect();
        assert_eq!(told, expected, "in pieces of {cut}");
    }
}

fn tell(step: &Step) -> Option<String> {
    Some(match step {
        Step::Request(request) => {
            let RequestHead::Message(message) = &request.head else {
                panic!("no message")
            };
            let bytes = message.content.bytes.map_or("?".to_owned(), |bytes| bytes.to_string());
            format!("{} {} {bytes}", message.operation, message.destination)
        }
        Step::Response(response) => {
            let ResponseHead::Message(outcome) = &response.head else {
                panic!("no message")
            };
            let error = outcome.error.as_ref().map(|error| format!(" {}", error.code));
            let how = outcome.settled.map_or("over".to_owned(), |how| format!("{how:?}"));
            format!("{how}{}", error.unwrap_or_default())
        }
        Step::Broken { reason, .. } => format!("{reason:?}"),
        Step::Count(name) => (*name).to_owned(),
        _ => return None,
    })
}

#[test]
fn batches_are_settled_by_the_answer_of_their_number() {
    play(
        &[
            ('>', produce(1, 1)),
            ('<', produced(1, 0)),
            ('>', produce(2, -1)),
            ('<', produced(2, 6)),
        ],
        &["send t 4", "Accepted", "send t 4", "Rejected NOT_LEADER_OR_FOLLOWER"],
    );
    // Both at once, and an answer that was reported before its request.
    let both = [produce(1, 1), produce(2, 1)].concat();
    play(
        &[
            ('>', both),
            ('<', [produced(1, 0), produced(2, 0)].concat()),
            ('<', produced(3, 0)),
            ('>', produce(3, 1)),
        ],
        &["send t 4", "send t 4", "Accepted", "Accepted", "send t 4", "Accepted"],
    );
}

#[test]
fn what_is_not_answered_is_over_at_once() {
    play(
        &[('>', produce(1, 0)), ('>', produce(2, 1)), ('<', produced(2, 0))],
        &["send t 4", "over", "send t 4", "Accepted"],
    );
}

#[test]
fn an_answer_that_was_not_seen_is_not_made_up() {
    play(
        &[('>', produce(1, 1)), ('>', produce(2, 1)), ('<', produced(2, 0))],
        &["send t 4", "send t 4", "Unseen", "Accepted"],
    );
}

#[test]
fn a_fetch_is_what_it_brings() {
    let ask = |number| {
        request(
            1,
            4,
            number,
            b"\xff\xff\xff\xff\0\0\x01\xf4\0\0\0\x01\0\0\x10\0\0\0\0\0\0",
        )
    };
    let none = frame(&[b"\0\0\0\x01\0\0\0\0\0\0\0\0"]);
    let batches = [batch(7), batch(8), b"cut off".to_vec()].concat();
    let length = u32::try_from(batches.len()).expect("short").to_be_bytes();
    let before = b"\0\0\0\x02\0\0\0\0\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x09\xff\xff\xff\xff";
    let some = frame(&[before, &length, &batches]);
    play(
        &[('>', ask(1)), ('<', none), ('>', ask(2)), ('<', some)],
        &["poll t 4", "over", "poll t 4", "over"],
    );
}

#[test]
fn a_hole_within_a_batch_costs_what_it_says_of_itself() {
    let whole = produce(1, 1);
    let (seen, unseen) = whole.split_at(whole.len() - 3);
    play(
        &[
            ('>', seen.to_vec()),
            ('?', unseen.to_vec()),
            ('<', produced(1, 0)),
            ('>', produce(2, 1)),
            ('<', produced(2, 0)),
        ],
        &["send t ?", "Accepted", "send t 4", "Accepted"],
    );
}
