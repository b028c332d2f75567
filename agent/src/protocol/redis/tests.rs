use bytes::Bytes;

use super::*;
use crate::capture::{Actor, Direction, Moment, Pid};
use crate::protocol::{Conversation, RequestHead};
use crate::stream::{Content, Piece};

#[track_caller]
fn check(bytes: &[u8], expected: Recognized) {
    assert_eq!(recognize(bytes), expected, "{}", String::from_utf8_lossy(bytes));
}

#[test]
fn commands_are_recognized_and_little_else() {
    for begin in ["", "*", "*1", "*1\r", "*1\r\n", "*1\r\n$", "*12\r\n$4\r\n", "p", "PIN"] {
        check(begin.as_bytes(), Recognized::More);
    }
    check(b"*1\r\n$4\r\nPING\r\n", Recognized::Yes);
    check(b"ping\r\n", Recognized::Yes);
    for other in [
        "*0\r\n",
        "*04\r\n$4\r\nPING\r\n",
        "*x",
        "*1\r\n+OK",
        "*1\r\n$0\r\n",
        "*1\r\n$99\r\n",
        "*1\r\n$4\r\n\0",
        "PINK",
        "+OK\r\n",
        "$5\r\n",
        "GET a\r\n",
    ] {
        check(other.as_bytes(), Recognized::No);
    }
}

/// What is made of an error that answers the only command.
#[track_caller]
fn failure(asked: &Special, error: &str, expected: (&str, bool)) {
    let mut answer = Answer::default();
    let mut reader = Reader::new(false);
    let line = format!("-{error}\r\n");
    assert_eq!(reader.read(line.as_bytes(), &mut answer), Got::Value(line.len()));
    let (text, within) = answer.error.expect("an error");
    assert!(!within);
    let failure = self::failed(&text, asked);
    assert_eq!((failure.code.as_str(), failure.expected), expected);
}

/// What is said beside an answer, at any depth and wherever it is cut, is no part of it.
#[test]
fn attributes_are_no_part_of_an_answer() {
    for (said, error, kind, count, absent) in [
        ("|1\r\n+ttl\r\n:3600\r\n-ERR no\r\n", Some("ERR no"), b'-', 0, 0),
        (
            "|1\r\n$3\r\nkey\r\n*2\r\n$1\r\na\r\n-x\r\n*2\r\n$1\r\na\r\n_\r\n",
            None,
            b'*',
            2,
            1,
        ),
        (
            "|0\r\n|1\r\n+a\r\n|1\r\n+b\r\n:1\r\n:2\r\n$2\r\nok\r\n",
            None,
            b'$',
            0,
            0,
        ),
        ("*2\r\n|1\r\n+a\r\n_\r\n:1\r\n:2\r\n", None, b'*', 2, 0),
    ] {
        for cut in [1, 7, said.len()] {
            let (mut answer, mut reader) = (Answer::default(), Reader::new(false));
            let mut parts = said.as_bytes().chunks(cut).peekable();
            while let Some(part) = parts.next() {
                let got = reader.read(part, &mut answer);
                let is_last = parts.peek().is_none();
                assert_eq!(
                    got,
                    if is_last { Got::Value(part.len()) } else { Got::More },
                    "{said:?} cut {cut}"
                );
                assert_eq!(reader.between(), is_last, "{said:?} cut {cut}");
            }
            let told = answer.error.as_ref().map(|(text, _)| text.as_str());
            assert_eq!(
                (told, answer.kind, answer.count, answer.absent),
                (error, kind, count, absent),
                "{said:?}"
            );
        }
    }
}

#[test]
fn redirects_are_no_failures() {
    let failure = |error: &str, expected| failure(&Special::No, error, expected);
    failure("MOVED 3999 127.0.0.1:6381", ("MOVED", true));
    failure("ASK 3999 127.0.0.1:6381", ("ASK", true));
    failure("WRONGTYPE Operation against a key", ("WRONGTYPE", false));
    failure("ERR", ("ERR", false));
}

#[test]
fn servers_that_do_not_know_how_clients_introduce_themselves() {
    let refused = "ERR unknown subcommand 'SETINFO'. Try CLIENT HELP.";
    failure(&Special::Introduced, refused, ("ERR", true));
    let asked = |words: &str| {
        let mut asked = Asked::default();
        let line = format!("{words}\r\n");
        let moment = Moment::new(0, Actor::thread(Pid(1), 1));
        asked.begin(Mark { offset: 0, moment }, false);
        assert_eq!(
            Reader::new(true).read(line.as_bytes(), &mut asked),
            Got::Value(line.len())
        );
        asked.take().expect("a command").2
    };
    assert_eq!(asked("client setinfo LIB-NAME redis-py"), Special::Introduced);
    assert_eq!(asked("CLIENT MAINT_NOTIFICATIONS ON"), Special::Introduced);
    assert_eq!(asked("CLIENT SETNAME shop"), Special::No);
}

#[test]
fn values_that_are_none() {
    for bytes in [
        "$x\r\n",
        "$-2\r\n",
        "*\r\n",
        ":1a\r\n",
        "*1\r\nx",
        "?\r\n",
        "$99999999999999999999\r\n",
    ] {
        let got = Reader::new(false).read(bytes.as_bytes(), &mut Answer::default());
        assert_eq!(got, Got::Invalid, "{bytes}");
    }
    let deep = "*1\r\n".repeat(100);
    assert_eq!(
        Reader::new(false).read(deep.as_bytes(), &mut Answer::default()),
        Got::Invalid
    );
    let whole = "|1\r\n+a\r\n+b\r\n%1\r\n$1\r\nk\r\n*2\r\n:1\r\n#t\r\n";
    let got = Reader::new(false).read(whole.as_bytes(), &mut Answer::default());
    assert_eq!(got, Got::Value(whole.len()));
}

/// What comes of bytes, by the client if true, that are cut into pieces of `cut`: exchanges as they are asked and answered.
fn play(all: &[(bool, &'static str)], cut: usize) -> Vec<String> {
    play_midway(all, cut, false)
}

/// The same on a connection that may have been joined midway.
fn play_midway(all: &[(bool, &'static str)], cut: usize, midway: bool) -> Vec<String> {
    let mut conversation = Conversation::new(Limits::default()).midway(midway);
    let mut steps = Vec::new();
    let mut offsets = [0_u64; 2];
    for (time_ns, (client, bytes)) in (0..).zip(all) {
        let offset = &mut offsets[usize::from(*client)];
        for piece in bytes.as_bytes().chunks(cut) {
            let length = piece.len() as u64;
            let piece = Piece {
                direction: if *client { Direction::Egress } else { Direction::Ingress },
                offset: *offset,
                content: Content::Bytes(Bytes::from_static(piece)),
                moment: Moment::new(time_ns, Actor::thread(Pid(1), 1)),
            };
            *offset += length;
            conversation.piece(piece, &mut steps);
        }
    }
    let tell = |step: &Step| match step {
        Step::Request(request) => match &request.head {
            RequestHead::Database(_) => Some(format!("asked {}", request.exchange.0)),
            RequestHead::Message(message) => Some(format!("{} {}", message.operation, message.destination)),
            other => Some(format!("{other:?}")),
        },
        Step::Response(response) => Some(format!("answered {}", response.exchange.0)),
        Step::Count(name) => Some((*name).to_owned()),
        Step::Broken { reason, .. } => Some(format!("{reason:?}")),
        Step::Withdrawn { exchange } => Some(format!("withdrawn {}", exchange.0)),
        _ => None,
    };
    steps.iter().filter_map(tell).collect()
}

#[test]
fn an_answer_that_waited_is_told_before_the_next_question() {
    let all = [
        (true, "*1\r\n$4\r\nPING\r\n"),
        (false, "+PONG\r\n+PONG\r\n+PO"),
        (true, "*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n"),
        (false, "NG\r\n+PONG\r\n"),
    ];
    let expected = [
        "asked 0",
        "answered 0",
        "asked 1",
        "answered 1",
        "asked 2",
        "asked 3",
        "answered 2",
        "answered 3",
    ];
    for cut in [usize::MAX, 7, 1] {
        assert_eq!(play(&all, cut), expected, "in pieces of {cut}");
    }
}

#[test]
fn a_ping_that_is_answered_otherwise_is_no_call() {
    // A connection of NATS that was joined late, whichever end asks whether the other is there, and however often.
    let publish = (true, "PUB a 2\r\nhi\r\n");
    for client in [false, true] {
        let (ping, pong) = ((client, "PING\r\n"), (!client, "PONG\r\n"));
        for (midway, cut) in [
            (false, usize::MAX),
            (false, 7),
            (false, 1),
            (true, usize::MAX),
            (true, 1),
        ] {
            for pings in 1..40 {
                let mut all = [ping, pong].repeat(pings);
                all.push(publish);
                let told = play_midway(&all, cut, midway);
                let (withdrawn, rest) = told.split_at(told.len() - 2);
                let is_told = rest[0] == "publish a" && rest[1].starts_with("answered");
                assert!(is_told, "{pings} in pieces of {cut}: {told:?}");
                let asked = withdrawn.iter().filter(|line| line.starts_with("asked")).count();
                assert_eq!(withdrawn.len(), 2 * asked, "{told:?}");
            }
        }
    }
    let redis = [
        (true, "PING\r\n"),
        (false, "+PONG\r\n"),
        (true, "PING\r\n"),
        (false, "+PONG\r\n"),
    ];
    let expected = ["asked 0", "answered 0", "asked 1", "answered 1"];
    assert_eq!(play(&redis, usize::MAX), expected);
}

#[test]
fn what_stands_behind_a_hole_is_no_part_of_a_name() {
    #[track_caller]
    fn check(before: &[u8], hole: u64, after: &[u8], expected: &str) {
        let mut reader = Reader::new(false);
        let mut answer = Answer::default();
        assert_eq!(reader.read(before, &mut answer), Got::More);
        assert_eq!(reader.hole(hole, &mut answer), Some(false));
        assert_eq!(reader.read(after, &mut answer), Got::Value(after.len()));
        assert_eq!(answer.word.bytes(), expected.as_bytes());
    }
    check(b"*1\r\n$7\r\nmes", 2, b"ge\r\n", "mes");
    check(b"*1\r\n$7\r\n", 2, b"ssage\r\n", "");
}

/// An array of bulks, as commands are.
fn bulks(words: &[&str]) -> &'static str {
    let bulks = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n{}", words.len(), bulks.collect::<String>()).leak()
}

#[test]
fn messages_in_lists() {
    let message = format!(
        r#"{{"body": "{}", "properties": {{"delivery_tag": "a-tag-of-its-own"}}}}"#,
        "x".repeat(3000)
    );
    let message = message.as_str();
    #[track_caller]
    fn check(all: &[(bool, &'static str)], expected: &[&str]) {
        for cut in [usize::MAX, 100, 7, 1] {
            assert_eq!(play(all, cut), expected, "in pieces of {cut}");
        }
    }
    check(
        &[
            (true, bulks(&["LPUSH", "celery", message])),
            (false, ":1\r\n"),
            (true, bulks(&["BRPOP", "other", "celery", "1"])),
            (false, bulks(&["celery", message])),
            (true, bulks(&["BRPOP", "celery", "1"])),
            (false, "*-1\r\n"),
            (true, bulks(&["BRPOP", "celery", "1"])),
            (false, "_\r\n"),
        ],
        &[
            "publish celery",
            "answered 0",
            "asked 1",
            "answered 1",
            "deliver celery",
            "answered 2",
            "asked 3",
            "answered 3",
            "asked 4",
            "answered 4",
        ],
    );
    // Only what its sender and its receiver tell of alike.
    check(
        &[
            (true, bulks(&["LPUSH", "celery", message, message])),
            (false, ":2\r\n"),
            (true, bulks(&["RPUSH", "celery", message])),
            (false, ":3\r\n"),
            (true, bulks(&["LRANGE", "celery", "0", "1"])),
            (false, bulks(&[message, message])),
            (true, bulks(&["LPUSH", "celery", "{\"body\": 3}"])),
            (false, "-WRONGTYPE no list\r\n"),
            (true, bulks(&["BRPOP", "celery", "1"])),
            (false, bulks(&["celery", "{\"body\": 3}"])),
            (true, bulks(&["LPUSH", "celery", message])),
            (false, "-WRONGTYPE no list\r\n"),
        ],
        &[
            "asked 0",
            "answered 0",
            "asked 1",
            "answered 1",
            "asked 2",
            "answered 2",
            "protocol.redis.message_unread",
            "asked 3",
            "answered 3",
            "asked 4",
            "protocol.redis.message_unread",
            "answered 4",
            "publish celery",
            "answered 5",
        ],
    );
}
