use bytes::Bytes;

use super::*;
use crate::capture::{Actor, Direction, Moment, Pid};
use crate::protocol::{Conversation, Limits, RequestHead, ResponseHead, Step};
use crate::stream::{Content, Piece};

#[track_caller]
fn check(bytes: &[u8], expected: Recognized) {
    assert_eq!(recognize(bytes), expected, "{bytes:?}");
}

#[test]
fn a_client_or_a_method_is_recognized_and_little_else() {
    for length in 0..8 {
        check(&b"AMQP\0\0\x09\x01"[..length], Recognized::More);
    }
    check(b"AMQP\0\0\x09\x01", Recognized::Yes);
    // AMQP 1.0 is another protocol.
    check(b"AMQP\0\x01\0\0", Recognized::No);
    check(b"AMQP\x03\x01\0\0", Recognized::No);
    let ack = frame(1, 1, b"\0\x3c\0\x50\0\0\0\0\0\0\0\x01\0");
    for length in 1..11 {
        check(&ack[..length], Recognized::More);
    }
    check(&ack, Recognized::Yes);
    // No such method, a method of the connection on a channel, a body.
    check(&frame(1, 1, b"\0\x3c\0\x51aaaa"), Recognized::No);
    check(&frame(1, 1, b"\0\x0a\0\x0aaaaa"), Recognized::No);
    check(&frame(3, 1, b"\0\x3c\0\x50aaaa"), Recognized::No);
}

fn frame(kind: u8, channel: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("short");
    let mut frame = vec![kind, 0, channel, 0, 0, 0, length];
    frame.extend(payload);
    frame.push(0xCE);
    frame
}

fn publish(body: u8) -> Vec<u8> {
    let mut all = frame(1, 1, b"\0\x3c\0\x28\0\0\0\x01q\0");
    all.extend(frame(2, 1, &[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, body, 0, 0]));
    if body > 0 {
        all.extend(frame(3, 1, &vec![b'x'; usize::from(body)]));
    }
    all
}

fn deliver(tag: u8) -> Vec<u8> {
    let mut method = b"\0\x3c\0\x3c\x01c\0\0\0\0\0\0\0".to_vec();
    method.extend([tag, 0, 0, 1, b'q']);
    let mut all = frame(1, 1, &method);
    all.extend(frame(2, 1, &[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    all
}

fn ack(tag: u8, multiple: bool) -> Vec<u8> {
    let mut method = b"\0\x3c\0\x50\0\0\0\0\0\0\0".to_vec();
    method.extend([tag, u8::from(multiple)]);
    frame(1, 1, &method)
}

const OPEN: &[u8] = b"\x01\0\x01\0\0\0\x05\0\x14\0\x0a\0\xce";
const CONFIRM: &[u8] = b"\x01\0\x01\0\0\0\x05\0\x55\0\x0a\0\xce";
const CONSUME: &[u8] = b"\x01\0\x01\0\0\0\x0f\0\x3c\0\x14\0\0\x01q\x01c\0\0\0\0\0\xce";
const PREFACE: &[u8] = frame::PREFACE;

/// What comes of what the client (`>`) and the server (`<`) say; a number instead of bytes is a hole.
#[track_caller]
fn play(all: &[(char, &[u8])], expected: &[&str]) {
    for cut in [usize::MAX, 5, 1] {
        let mut conversation = Conversation::new(Limits::default());
        let (mut steps, mut offsets) = (Vec::new(), [0_u64; 2]);
        for (time, (who, bytes)) in (1_000_000..).step_by(1_000_000).zip(all) {
            let direction = if *who == '>' {
                Direction::Egress
            } else {
                Direction::Ingress
            };
            let moment = Moment::new(time, Actor::thread(Pid(1), 1));
            let offset = &mut offsets[usize::from(*who == '>')];
            for piece in bytes.chunks(cut) {
                let content = if piece.first() == Some(&b'?') {
                    Content::Unseen(piece.len() as u64)
                } else {
                    Content::Bytes(Bytes::copy_from_slice(piece))
                };
                let piece_offset = std::mem::replace(offset, *offset + piece.len() as u64);
                let offset = piece_offset;
                conversation.piece(
                    Piece {
                        direction,
                        offset,
                        content,
                        moment,
                    },
                    &mut steps,
                );
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
            format!("{} {}", message.operation, request.exchange.0)
        }
        Step::Response(response) => {
            let ResponseHead::Message(outcome) = &response.head else {
                panic!("no message")
            };
            match outcome.settled {
                Some(how) => format!("{how:?} {}", response.exchange.0),
                None => format!("over {}", response.exchange.0),
            }
        }
        Step::Broken { exchange, reason, .. } => format!("{reason:?} {}", exchange.0),
        Step::Shared { exchange } => format!("shared {}", exchange.0),
        Step::Count(name) => (*name).to_owned(),
        _ => return None,
    })
}

#[test]
fn a_confirmation_may_be_told_before_what_it_confirms() {
    let begin = [PREFACE, OPEN, CONFIRM].concat();
    play(
        &[('>', &begin), ('<', &ack(1, false)), ('>', &publish(3))],
        &["publish 0", "Accepted 0"],
    );
    play(
        &[
            ('>', &begin),
            ('<', &ack(2, true)),
            ('>', &publish(3)),
            ('>', &publish(0)),
            ('>', &publish(1)),
        ],
        &["publish 0", "Accepted 0", "publish 1", "Accepted 1", "publish 2"],
    );
}

#[test]
fn what_one_operation_carries_for_two_is_for_nobody_in_particular() {
    let begin = [PREFACE, OPEN].concat();
    let two = [publish(1), publish(2)].concat();
    play(
        &[('>', &begin), ('>', &publish(0)), ('>', &two)],
        &[
            "publish 0",
            "over 0",
            "publish 1",
            "over 1",
            "publish 2",
            "shared 1",
            "shared 2",
            "over 2",
        ],
    );
}

#[test]
fn deliveries_wait_for_what_settles_them() {
    let begin = [PREFACE, OPEN, CONSUME].concat();
    let three = [deliver(1), deliver(2), deliver(3)].concat();
    play(
        &[
            ('>', &begin),
            ('<', &three),
            ('>', &ack(2, false)),
            ('>', &ack(0, true)),
        ],
        &[
            "deliver 0",
            "deliver 1",
            "deliver 2",
            "Accepted 1",
            "Accepted 0",
            "Accepted 2",
        ],
    );
    // An acknowledgement that was told first.
    play(
        &[('>', &begin), ('>', &ack(1, false)), ('<', &deliver(1))],
        &["deliver 0", "Accepted 0"],
    );
    // What is behind a hole may have settled them; the confirmations' numbers are lost with it.
    play(
        &[
            ('>', &begin),
            ('>', CONFIRM),
            ('<', &deliver(1)),
            ('>', b"?"),
            ('>', &publish(0)),
            ('<', &ack(1, false)),
        ],
        &["deliver 0", "Unseen 0", "protocol.amqp.resync", "publish 1", "over 1"],
    );
}

#[test]
fn bytes_that_are_no_frames_cost_their_operation() {
    let begin = [PREFACE, OPEN].concat();
    let mut bad = publish(0);
    let end = bad.len() - 1;
    bad[end] = 0;
    bad.extend(publish(2));
    play(
        &[('>', &begin), ('>', &bad), ('>', &publish(1))],
        &["protocol.amqp.invalid", "protocol.amqp.resync", "publish 0", "over 0"],
    );
}
