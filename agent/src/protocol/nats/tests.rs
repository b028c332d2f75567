use bytes::Bytes;

use super::*;
use crate::capture::{Actor, Direction, Moment, Pid};
use crate::protocol::{Conversation, Limits, RequestHead, ResponseHead, Step};
use crate::stream::{Content, Piece};

#[track_caller]
fn check(bytes: &str, expected: Recognized) {
    assert_eq!(recognize(bytes.as_bytes()), expected, "{bytes}");
}

#[test]
fn lines_are_recognized_and_little_else() {
    for begin in ["", "I", "INFO ", "INFO {", "CONNECT {", "PU", "PUB a", "MSG a 1 5\r"] {
        check(begin, Recognized::More);
    }
    for yes in [
        "INFO {\"",
        "CONNECT {\"",
        "PUB a 5\r\n",
        "MSG a 1 5\r\nhello",
        "SUB a 1\r\n",
    ] {
        check(yes, Recognized::Yes);
    }
    for no in [
        "INFO replication\r\n",
        "CONNECT example.org:443 HTTP/1.1\r\n",
        "PUB a\r\n",
        "PUB a 5\n",
        "SUBSCRIBE a\r\n",
        "PING\r\n",
        "PUT / HTTP/1.1\r\n",
    ] {
        check(no, Recognized::No);
    }
}

/// What comes of what the client (`>`) and the server (`<`) say. `?` stands for bytes that were not seen; a pause is ten seconds.
#[track_caller]
fn play(all: &[(char, &str)], expected: &[&str]) {
    for cut in [usize::MAX, 5, 1] {
        let mut conversation = Conversation::new(Limits::default());
        let (mut steps, mut offsets, mut time) = (Vec::new(), [0_u64; 2], 0);
        for (who, text) in all {
            time += if *who == '.' { 10_000_000_000 } else { 1_000_000 };
            conversation.tick(time, &mut steps);
            let direction = if *who == '>' {
                Direction::Egress
            } else {
                Direction::Ingress
            };
            let moment = Moment::new(time, Actor::thread(Pid(1), 1));
            for piece in text.as_bytes().chunks(cut) {
                let content = if piece.first() == Some(&b'?') {
                    Content::Unseen(piece.len() as u64)
                } else {
                    Content::Bytes(Bytes::copy_from_slice(piece))
                };
                let place = &mut offsets[usize::from(*who == '>')];
                let offset = std::mem::replace(place, *place + piece.len() as u64);
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
            let details = message.content.details.iter();
            let group: String = details
                .filter(|(key, _)| *key == "messaging.consumer.group.name")
                .map(|(_, group)| format!(" to {group:?}"))
                .collect();
            format!(
                "{} {} {}{group}",
                message.operation, message.destination, request.exchange.0
            )
        }
        Step::Response(response) => {
            let ResponseHead::Message(outcome) = &response.head else {
                panic!("no message")
            };
            let error = outcome.error.as_ref().map(|error| format!(" failed {}", error.code));
            let how = outcome.settled.map_or("over".to_owned(), |how| format!("{how:?}"));
            format!("{how} {}{}", response.exchange.0, error.unwrap_or_default())
        }
        Step::Broken { exchange, reason, .. } => format!("{reason:?} {}", exchange.0),
        Step::Shared { exchange } => format!("shared {}", exchange.0),
        Step::Count(name) => (*name).to_owned(),
        _ => return None,
    })
}

const BEGIN: (char, &str) = ('<', "INFO {\"server_id\":\"X\"}\r\n");
const INBOX: &str = "_INBOX.abcdefghijklmnopqrstuv.1";

#[test]
fn an_answer_may_be_told_before_its_request() {
    let (asks, answers) = (
        format!("PUB up {INBOX} 1\r\na\r\n"),
        format!("MSG {INBOX} 1 1\r\nA\r\n"),
    );
    play(&[BEGIN, ('>', &asks), ('<', &answers)], &["publish up 0", "over 0"]);
    play(&[BEGIN, ('<', &answers), ('>', &asks)], &["publish up 0", "over 0"]);
    // One that does not come is waited for no longer; what comes then is nobody's.
    play(
        &[BEGIN, ('>', &asks), ('.', ""), ('<', &answers)],
        &["publish up 0", "over 0"],
    );
    let none = format!("HMSG {INBOX} 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n");
    play(
        &[BEGIN, ('>', &asks), ('<', &none)],
        &["publish up 0", "over 0 failed 503"],
    );
    let full = format!(
        "MSG {INBOX} 1 {}\r\n{}\r\n",
        70, "{\"stream\":\"S\",\"error\":{\"code\":503,\"err_code\":10077,\"description\":\"x\"}}"
    );
    play(
        &[BEGIN, ('>', &asks), ('<', &full)],
        &["publish up 0", "Rejected 0 failed 10077"],
    );
}

#[test]
fn a_receiver_settles_what_it_was_handed() {
    let ack = "$JS.ACK.S.worker.1.7.1.1795934576285564319.0";
    let (handed, end) = (format!("MSG a 1 {ack} 2\r\nhi\r\n"), |body: &str| {
        format!("PUB {ack} {}\r\n{body}\r\n", body.len())
    });
    for (body, how) in [("", "Accepted 0"), ("-NAK", "Requeued 0"), ("+TERM", "Rejected 0")] {
        play(
            &[BEGIN, ('<', &handed), ('>', &end("+WPI")), ('>', &end(body))],
            &["deliver a 0", how],
        );
    }
    // What was missed may have settled it.
    play(
        &[
            BEGIN,
            ('>', "PING\r\n"),
            ('<', &handed),
            ('>', "?"),
            ('>', "PUB b 0\r\n\r\n"),
        ],
        &[
            "deliver a 0",
            "Unseen 0",
            "protocol.nats.resync",
            "publish b 1",
            "over 1",
        ],
    );
}

#[test]
fn what_is_no_line_costs_its_operation() {
    play(
        &[BEGIN, ('>', "PUB a 2\r\nabcPUB a 0\r\n\r\n"), ('>', "PUB b 0\r\n\r\n")],
        &[
            "publish a 0",
            "protocol.nats.invalid",
            "Unseen 0",
            "protocol.nats.resync",
            "publish b 1",
            "over 1",
        ],
    );
}

#[test]
fn queue_groups_of_subscriptions_are_bounded() {
    let ended: String = (0..5000)
        .map(|number| format!("SUB a workers {number}\r\nUNSUB {number}\r\n"))
        .collect();
    let delivered = "MSG a 9999 0\r\n\r\n";
    play(
        &[BEGIN, ('>', &ended), ('>', "SUB a late 9999\r\n"), ('<', delivered)],
        &["deliver a 0 to Text(\"late\")", "over 0"],
    );
    let open: String = (0..4096).map(|number| format!("SUB a workers {number}\r\n")).collect();
    play(
        &[BEGIN, ('>', &open), ('>', "SUB a late 9999\r\n"), ('<', delivered)],
        &["protocol.nats.groups_full", "deliver a 0", "over 0"],
    );
    // A number that is used again is of its new group, which it may have none of.
    play(
        &[
            BEGIN,
            ('>', "SUB a one 9999\r\nSUB a two 9999\r\n"),
            ('<', delivered),
            ('>', "UNSUB 9999\r\n"),
            ('<', delivered),
            ('>', "SUB a 9999\r\n"),
            ('<', delivered),
        ],
        &[
            "deliver a 0 to Text(\"two\")",
            "over 0",
            "deliver a 1 to Text(\"two\")",
            "over 1",
            "deliver a 2",
            "over 2",
        ],
    );
}
