//! What real clients and servers said, behind what a proxy says before it (the PROXY protocol): the same exchanges come of it.
#![expect(clippy::expect_used, reason = "a test may fail this way")]
mod recorded;

use std::path::Path;

use bytes::Bytes;
use clew::capture::{Actor, Direction, Moment, Pid};
use clew::protocol::{Broken, Conversation, Limits, Mark, ResponseHead, Step};
use clew::stream::{Content, Piece};
use recorded::{Operation, parse, recordings};

const VERSION_1: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.8 40000 80\r\n";
const VERSION_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x08\x9c\x40\0\x50";

#[test]
fn protocols_behind_a_preface_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    for path in recordings(&folder) {
        let text = std::fs::read_to_string(&path).expect("recording");
        for (number, connection) in parse(&text).iter().enumerate() {
            if connection.iter().any(|operation| operation.datagram) {
                continue;
            }
            let plain = play(connection, &[], false, usize::MAX);
            for (preface, apart, cut) in [
                (VERSION_1, false, usize::MAX),
                (VERSION_1, true, usize::MAX),
                (VERSION_2, false, usize::MAX),
                (VERSION_2, true, 1),
                (VERSION_1, false, 7),
            ] {
                let behind = play(connection, preface, apart, cut);
                assert_eq!(
                    behind,
                    plain,
                    "{} connection {number} behind {:?}, apart {apart}, in pieces of {cut}",
                    path.display(),
                    preface.first()
                );
            }
        }
    }
}

/// What is told of a connection whose client's first operation begins with `preface`, or comes behind it.
fn play(connection: &[Operation], preface: &[u8], apart: bool, cut: usize) -> Vec<String> {
    let mut conversation = Conversation::new(Limits {
        body_bytes: 32,
        ..Limits::default()
    });
    let (mut steps, mut offsets) = (Vec::new(), [0_u64; 2]);
    let mut say = |direction: Direction, bytes: Option<&[u8]>, time_us: u64| {
        let offset = &mut offsets[direction as usize];
        let moment = Moment::new(time_us * 1000, Actor::thread(Pid(1), 1));
        let contents: Vec<Content> = match bytes {
            None => vec![Content::End],
            Some(bytes) => {
                let pieces = bytes.chunks(cut).map(Bytes::copy_from_slice);
                pieces.map(Content::Bytes).collect()
            }
        };
        for content in contents {
            let length = match &content {
                Content::Bytes(bytes) => bytes.len() as u64,
                _ => 0,
            };
            let piece = Piece {
                direction,
                offset: *offset,
                content,
                moment,
            };
            *offset += length;
            conversation.piece(piece, &mut steps);
        }
    };
    let mut preface = Some(preface).filter(|preface| !preface.is_empty());
    // A server that speaks first has waited for it.
    let waits = connection
        .first()
        .is_some_and(|first| first.direction == Direction::Ingress);
    if let Some(preface) = preface.take_if(|_| apart || waits) {
        say(Direction::Egress, Some(preface), 0);
    }
    for operation in connection {
        let (direction, time_us) = (operation.direction, operation.time_us + 1);
        let before = preface.take_if(|_| direction == Direction::Egress).unwrap_or_default();
        let bytes = operation.bytes.as_deref().map(|bytes| [before, bytes].concat());
        say(direction, bytes.as_deref(), time_us);
    }
    let moment = Moment::new(u64::MAX, Actor::thread(Pid(1), 1));
    conversation.end(Mark { offset: 0, moment }, Broken::Closed, &mut steps);
    steps.iter_mut().filter_map(told).collect()
}

/// A step without places in the stream, which the preface moves.
fn told(step: &mut Step) -> Option<String> {
    Some(match step {
        Step::Request(request) => format!("{} asks {:?}", request.exchange.0, request.head),
        Step::Response(response) => {
            if let ResponseHead::Database(outcome) = &mut response.head {
                outcome.transaction = outcome.transaction.map(|_| 0);
            }
            format!("{} is answered {:?}", response.exchange.0, response.head)
        }
        Step::RequestEnd { exchange, body, .. } => format!("{} is asked with {body:?}", exchange.0),
        Step::ResponseEnd { exchange, body, .. } => format!("{} ends with {body:?}", exchange.0),
        Step::Broken { exchange, reason, .. } => format!("{} is broken {reason:?}", exchange.0),
        Step::Count(name) => (*name).to_owned(),
        Step::Preface(preface) => {
            let client = preface.client.map(|client| client.to_string());
            assert_eq!(client.as_deref(), Some("192.0.2.7:40000"));
            return None;
        }
        other => format!("{other:?}"),
    })
}
