//! Conversations of any bytes in any order: no panic, every exchange begins and ends once, what is open and kept is bounded,
//! and how operations are cut into pieces makes no difference, not even to the order in which steps are told.
//!
//! An input is a list of operations, a line each, as in tests/fixtures: its first byte says what it is (`>` and `<` bytes of
//! either direction, `h` and `H` a hole, `e` and `E` an end, `f` and `F` a failure, `t` time passes, `m` the connection is
//! older than the agent, `d` what passes are datagrams); what follows are its bytes, where `\r`, `\n` and `\xNN` stand for others, or the size of the hole.
use std::collections::BTreeSet;

use bytes::Bytes;
use clew::capture::{Actor, Direction, Moment, Pid};
use clew::protocol::{Broken, Conversation, Limits, Mark, RequestHead, Step};
use clew::stream::{Content, Piece};

const BODY_BYTES: usize = 16;
/// Requests that may be open at once.
const MAX_OPEN: usize = 8192;

enum Operation {
    Content(Direction, Content),
    Time(u64),
    Midway,
    Datagrams,
}

/// Plays an input.
pub fn play_all(input: &[u8]) {
    let operations: Vec<Operation> = input
        .split(|byte| *byte == b'\n')
        .take(256)
        .filter_map(operation)
        .collect();
    let whole = play(&operations, usize::MAX);
    check(&whole);
    if matches!(operations.first(), Some(Operation::Datagrams)) {
        return;
    }
    for cut in [1, 7] {
        let steps = play(&operations, cut);
        let same = steps.iter().zip(&whole).take_while(|(one, other)| one == other).count();
        if std::env::var_os("VERBOSE").is_some() && steps != whole {
            let from = same.saturating_sub(8);
            eprintln!("whole: {:#?}", whole.get(from..whole.len().min(same + 4)));
            eprintln!("cut: {:#?}", steps.get(from..steps.len().min(same + 4)));
        }
        assert_eq!(steps.get(same), whole.get(same), "step {same}, in pieces of {cut}");
    }
}

fn operation(line: &[u8]) -> Option<Operation> {
    use Direction::{Egress, Ingress};
    let (kind, rest) = line.split_first()?;
    let kind = match (kind, rest) {
        (b'>', [b'.', ..]) => b'e',
        (b'<', [b'.', ..]) => b'E',
        (kind, _) => *kind,
    };
    // A recording's line has the time and blanks around it.
    let rest = rest
        .strip_prefix(b" ")
        .and_then(|rest| rest.splitn(2, |byte| *byte == b' ').nth(1))
        .unwrap_or(rest);
    let number = rest
        .iter()
        .take(20)
        .filter(|byte| byte.is_ascii_digit())
        .fold(0_u64, |number, digit| {
            number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'))
        });
    Some(match kind {
        b'>' | b'<' if rest.is_empty() => return None,
        b'>' => Operation::Content(Egress, Content::Bytes(unescape(rest))),
        b'<' => Operation::Content(Ingress, Content::Bytes(unescape(rest))),
        b'h' => Operation::Content(Egress, Content::Unseen(number.max(1))),
        b'H' => Operation::Content(Ingress, Content::Unseen(number.max(1))),
        b'e' => Operation::Content(Egress, Content::End),
        b'E' => Operation::Content(Ingress, Content::End),
        b'f' => Operation::Content(Egress, Content::Failed(104)),
        b'F' => Operation::Content(Ingress, Content::Failed(104)),
        b't' => Operation::Time(number % 10_000_000_000),
        b'm' => Operation::Midway,
        b'd' => Operation::Datagrams,
        _ => return None,
    })
}

fn unescape(text: &[u8]) -> Bytes {
    let mut bytes = Vec::new();
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next() {
                Some(b'r') => b'\r',
                Some(b'n') => b'\n',
                Some(b't') => b'\t',
                Some(b'x') => {
                    let digit = |digit: Option<u8>| (digit.unwrap_or(b'0') as char).to_digit(16).unwrap_or(0) as u8;
                    digit(rest.next()) << 4 | digit(rest.next())
                }
                other => other.unwrap_or(b'\\'),
            },
            other => other,
        });
    }
    Bytes::from(bytes)
}

fn moment(time_ns: u64) -> Moment {
    Moment::new(time_ns, Actor::thread(Pid(1), 1))
}

fn play(operations: &[Operation], cut: usize) -> Vec<Step> {
    let midway = matches!(operations.first(), Some(Operation::Midway));
    let limits = Limits {
        body_bytes: BODY_BYTES,
        turns: true,
        ..Limits::default()
    };
    let mut conversation = if matches!(operations.first(), Some(Operation::Datagrams)) {
        Conversation::datagrams(limits)
    } else {
        Conversation::new(limits).midway(midway).asking(Some(Direction::Egress))
    };
    let mut steps = Vec::new();
    let (mut sent, mut received) = (0_u64, 0_u64);
    let mut now = 0_u64;
    for operation in operations {
        now += 1000;
        match operation {
            Operation::Midway | Operation::Datagrams => {}
            Operation::Time(time_ns) => {
                now += time_ns;
                conversation.tick(now, &mut steps);
            }
            Operation::Content(direction, content) => {
                let offset = match direction {
                    Direction::Egress => &mut sent,
                    Direction::Ingress => &mut received,
                };
                let pieces: Vec<(Content, u64)> = match content {
                    Content::Bytes(bytes) => bytes
                        .chunks(cut)
                        .map(|piece| (Content::Bytes(bytes.slice_ref(piece)), piece.len() as u64))
                        .collect(),
                    Content::Unseen(length) => vec![(content.clone(), *length)],
                    other => vec![(other.clone(), 0)],
                };
                for (content, length) in pieces {
                    conversation.piece(
                        Piece {
                            direction: *direction,
                            offset: *offset,
                            content,
                            moment: moment(now),
                        },
                        &mut steps,
                    );
                    *offset = offset.saturating_add(length);
                }
            }
        }
        assert!(conversation.open() <= MAX_OPEN);
    }
    let at = Mark {
        offset: sent,
        moment: moment(now),
    };
    conversation.end(at, Broken::AgentStopped, &mut steps);
    assert_eq!(conversation.open(), 0);
    conversation.end(at, Broken::AgentStopped, &mut steps);
    steps
}

/// Every exchange begins once, has one response at most and ends once. What speaks nothing known need not be answered.
fn check(steps: &[Step]) {
    let mut turns = BTreeSet::new();
    let (mut begun, mut responded, mut ended) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut asked = BTreeSet::new();
    for step in steps {
        match step {
            Step::Request(request) => {
                assert!(begun.insert(request.exchange));
                if request.whole {
                    asked.insert(request.exchange);
                }
                if matches!(request.head, RequestHead::Turn) {
                    turns.insert(request.exchange);
                }
            }
            Step::RequestEnd { exchange, body, .. } => {
                assert!(begun.contains(exchange) && asked.insert(*exchange));
                assert!(body.captured.len() <= BODY_BYTES);
            }
            Step::Response(response) => {
                assert!(begun.contains(&response.exchange) && !ended.contains(&response.exchange));
                assert!(responded.insert(response.exchange));
                if response.whole {
                    ended.insert(response.exchange);
                }
            }
            Step::ResponseEnd { exchange, body, .. } => {
                assert!(responded.contains(exchange) || turns.contains(exchange));
                assert!(ended.insert(*exchange));
                assert!(body.captured.len() <= BODY_BYTES);
            }
            Step::Broken { exchange, body, .. } => {
                assert!(begun.contains(exchange) && ended.insert(*exchange));
                assert!(body.captured.len() <= BODY_BYTES);
            }
            Step::Count(name) => assert!(name.starts_with("protocol.")),
            Step::Hello(_) | Step::Preface(_) | Step::Named { .. } => {}
            Step::Shared { exchange } => assert!(begun.contains(exchange)),
            Step::Withdrawn { exchange } => assert!(begun.contains(exchange) && ended.insert(*exchange)),
        }
    }
    assert_eq!(begun, ended);
}
