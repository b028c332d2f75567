use bytes::Bytes;
use smol_str::SmolStr;

use super::*;
use crate::capture::{Actor, Moment, Pid};
use crate::protocol::{Conversation, Limits, Recognition};

/// `clew.test`, of type A.
const QUESTION: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04clew\x04test\x00\x00\x01\x00\x01";
const NAME_AND_REST: &str = "clew.test";

fn over_tcp(message: &[u8]) -> Vec<u8> {
    let mut bytes = (message.len() as u16).to_be_bytes().to_vec();
    bytes.extend_from_slice(message);
    bytes
}

fn answer(code: u8, records: &[&[u8]]) -> Vec<u8> {
    let mut bytes = QUESTION.to_vec();
    bytes[2] = 0x81;
    bytes[3] = 0x80 | code;
    bytes[7] = records.len() as u8;
    for record in records {
        bytes.extend_from_slice(record);
    }
    bytes
}

#[test]
fn questions_over_tcp_are_recognized_and_little_else() {
    let whole = over_tcp(QUESTION);
    for length in 0..whole.len() {
        assert_eq!(recognize(&whole[..length]), Recognized::More, "{length}");
    }
    assert_eq!(recognize(&whole), Recognized::Yes);
    assert_eq!(recognize(&over_tcp(&answer(0, &[]))), Recognized::No);
    for (place, wrong) in [
        (1, 3),
        (4, 0x28),
        (5, 0x8f),
        (7, 2),
        (9, 1),
        (14, 0xc0),
        (14, 60),
        (28, 9),
    ] {
        let mut bytes = whole.clone();
        bytes[place] = wrong;
        assert_eq!(recognize(&bytes), Recognized::No, "{place}");
    }
}

#[test]
fn addresses_and_names_are_told() {
    let records: [&[u8]; 3] = [
        b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x07\x04real\xc0\x11",
        b"\x04real\xc0\x11\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x02",
        b"\xc0\x0c\x00\x1c\x00\x01\x00\x00\x00\x3c\x00\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01",
    ];
    let bytes = answer(0, &records);
    let message = message::parse(&bytes).expect("a message");
    assert_eq!(message.question().expect("a question").name, NAME_AND_REST);
    assert!(message.answers());
    let mut answer = Answer::default();
    message.tell(&mut answer);
    let told: Vec<SmolStr> = answer.answers.iter().map(Told::text).collect();
    assert_eq!(told, ["real.test", "127.0.0.2", "::1"]);
}

#[test]
fn a_name_that_goes_on_for_ever_is_none() {
    let mut bytes = QUESTION.to_vec();
    bytes[12] = 0xc0;
    bytes[13] = 12;
    assert_eq!(message::parse(&bytes).and_then(|message| message.question()), None);
}

/// What is told of datagrams, by the client if true, at these milliseconds.
fn play(all: &[(bool, u64, &[u8])], until_ms: u64) -> (Vec<String>, Conversation) {
    let mut conversation = Conversation::datagrams(Limits::default());
    let mut steps = Vec::new();
    for (client, ms, bytes) in all {
        let piece = Piece {
            direction: if *client { Direction::Egress } else { Direction::Ingress },
            offset: 0,
            content: Content::Bytes(Bytes::copy_from_slice(bytes)),
            moment: Moment::new(ms * 1_000_000, Actor::thread(Pid(1), 1)),
        };
        conversation.piece(piece, &mut steps);
    }
    conversation.tick(until_ms * 1_000_000, &mut steps);
    let tell = |step: &Step| match step {
        Step::Request(request) => match &request.head {
            RequestHead::Dns(question) => Some(format!("asked {} {}", request.exchange.0, question.name)),
            other => Some(format!("{other:?}")),
        },
        Step::Response(response) => match &response.head {
            ResponseHead::Dns(answer) => Some(format!(
                "answered {} {} repeated {}",
                response.exchange.0,
                answer.code_name()?,
                answer.repeated
            )),
            other => Some(format!("{other:?}")),
        },
        Step::Broken { exchange, reason, .. } => Some(format!("broken {} {reason:?}", exchange.0)),
        Step::Count(name) => Some((*name).to_owned()),
        _ => None,
    };
    (steps.iter().filter_map(tell).collect(), conversation)
}

#[test]
fn answers_are_paired_by_what_they_repeat() {
    let mut six = QUESTION.to_vec();
    six[1] = 0x35;
    six[24] = 28;
    let mut upper = answer(3, &[]);
    upper[13] = b'C';
    let mut of_six = upper.clone();
    of_six[1] = 0x35;
    of_six[24] = 28;
    let (told, _) = play(
        &[
            (true, 0, QUESTION),
            (true, 0, &six),
            (false, 1, &of_six),
            // Sent again, since nothing came.
            (true, 5000, QUESTION),
            (false, 5001, &upper),
            (false, 5002, &upper),
            (true, 5003, QUESTION),
        ],
        20_000,
    );
    let expected = [
        "asked 0 clew.test",
        "asked 1 clew.test",
        "answered 1 NXDOMAIN repeated 0",
        "answered 0 NXDOMAIN repeated 1",
        "protocol.dns.response_unmatched",
        "asked 2 clew.test",
        "broken 2 Failed(110)",
    ];
    assert_eq!(told, expected);
}

#[test]
fn datagrams_that_are_none_end_it() {
    let (told, conversation) = play(
        &[
            (true, 0, QUESTION),
            (true, 1, b"other"),
            (false, 2, b"x"),
            (true, 3, b"y"),
        ],
        4,
    );
    assert_eq!(conversation.recognized(), Recognition::Known(NAME));
    assert_eq!(told.len(), 4);
    let (told, conversation) = play(
        &[(true, 1, b"o"), (false, 2, b"x"), (true, 3, b"y"), (true, 4, b"z")],
        5,
    );
    assert_eq!(conversation.recognized(), Recognition::Unknown);
    assert_eq!(told.last().map(String::as_str), Some("protocol.unknown"));
}

/// However the bytes of a stream came, it ends at the same message.
#[test]
fn a_stream_that_is_none_ends_at_one_place() {
    let mut bytes = over_tcp(QUESTION);
    // More messages than are borne, each of a length and nothing.
    bytes.extend_from_slice(&[0; 2 * (MAX_STRIKES as usize + 3)]);
    let told = |cut: usize| {
        let mut dns = parser(&Start {
            limits: Limits::default(),
            first: Exchange(0),
            direction: Direction::Egress,
            bytes: Bytes::new(),
            preface: crate::protocol::Preface::default(),
            from_beginning: true,
            datagrams: false,
            carried: None,
        });
        let mut steps = Vec::new();
        for (number, part) in bytes.chunks(cut).enumerate() {
            let piece = Piece {
                direction: Direction::Egress,
                offset: (number * cut) as u64,
                content: Content::Bytes(Bytes::copy_from_slice(part)),
                moment: Moment::new(0, Actor::thread(Pid(1), 1)),
            };
            if matches!(dns.piece(piece, &mut steps), Flow::Rejected) {
                break;
            }
        }
        steps
    };
    let whole = told(bytes.len());
    let end = (QUESTION.len() + 2) as u64 + 2 * u64::from(MAX_STRIKES);
    assert!(matches!(whole.last(), Some(Step::Broken { at, .. }) if at.offset == end));
    for cut in [1, 7] {
        assert_eq!(told(cut), whole, "in pieces of {cut}");
    }
}

/// Short names are read in another way than long ones, and what is cut off is none.
#[test]
fn names_of_any_length() {
    for labels in [
        vec!["a"],
        vec!["clew", "test"],
        vec!["a"; 11],
        vec!["a"; 12],
        vec!["a"; 40],
        vec!["eleven-long"; 2],
    ] {
        let mut bytes = QUESTION[..12].to_vec();
        for label in &labels {
            bytes.push(label.len() as u8);
            bytes.extend_from_slice(label.as_bytes());
        }
        bytes.extend_from_slice(b"\0\0\x01\0\x01");
        let message = message::parse(&bytes).expect("a message");
        let mut question = message.question().expect("a question");
        assert_eq!(question.name, labels.join("."));
        assert_eq!((question.kind, question.class), (1, 1));
        assert!(message.is_of(&question));
        question.name = labels.join(".").to_uppercase().into();
        assert!(message.is_of(&question), "whatever the case");
        for other in [
            "",
            ".",
            "b",
            "clew.tes",
            "clew.test.",
            "clew.test.a",
            "clewxtest",
            "lew.test",
        ] {
            question.name = other.into();
            assert!(!message.is_of(&question), "{other} is not {labels:?}");
        }
        question.name = labels.join(".").into();
        question.kind = 28;
        assert!(!message.is_of(&question), "another type");
        for length in 0..bytes.len() {
            assert_eq!(message::parse(&bytes[..length]), None, "{length} of {bytes:?}");
        }
    }
    let mut root = QUESTION[..12].to_vec();
    root.extend_from_slice(b"\0\0\x02\0\x01");
    let root = message::parse(&root).expect("a message");
    let question = root.question().expect("a question");
    assert_eq!(question.name, ".");
    assert!(root.is_of(&question));
}
