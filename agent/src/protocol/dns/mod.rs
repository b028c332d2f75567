//! DNS (RFC 1035), over TCP and as datagrams.
//!
//! Answers come in any order; one is of the question with its number, its name and its type. A question that is sent again is
//! the same exchange. Over TCP a message has its length before it; a datagram is one, and one operation.
mod message;

use smallvec::SmallVec;

use super::frames::{Cut, Format, Frames, Shape};
use super::{
    Body, Broken, Exchange, Flow, Mark, Parser, Recognized, Request, RequestHead, Response, ResponseHead, Start, Step,
    put,
};
use crate::capture::Direction;
use crate::stream::{Content, Piece};
pub use message::{Answer, Answers, Question, Told};
use message::{HEAD_BYTES, Message};

/// The name of this protocol.
pub const NAME: &str = "dns";
/// Questions without an answer on one connection.
const MAX_WAITING: usize = 256;
/// How long an answer is awaited, nanoseconds: clients ask elsewhere after 5 seconds, and forget a socket after two tries.
const PATIENCE_NS: u64 = 10_000_000_000;
/// `ETIMEDOUT`.
const TIMED_OUT: i32 = 110;
/// Messages that are none, without one between them that is, after which the protocol was a wrong guess.
const MAX_STRIKES: u32 = 4;

/// A parser for one connection, or for one socket of datagrams.
pub(super) fn parser(start: &Start) -> Box<dyn Parser> {
    Box::new(Dns {
        sides: (!start.datagrams).then(Sides::default),
        last: None,
        lookups: Lookups {
            waiting: SmallVec::new(),
            next: start.first,
            strikes: 0,
        },
    })
}

/// Whether bytes begin with a question as it is sent over TCP.
pub(super) fn recognize(bytes: &[u8]) -> Recognized {
    /// A name, its type and its class, behind the head and the length.
    const SHORTEST: usize = HEAD_BYTES + 5;
    let [high, low, rest @ ..] = bytes else {
        return Recognized::More;
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    // Only the flag that asks for recursion, and those of DNSSEC; one question, no answers.
    let fits = |place: usize, fits: fn(u8) -> bool| rest.get(place).is_none_or(|byte| fits(*byte));
    let sound = length >= SHORTEST
        && fits(2, |flags| flags & 0xfe == 0)
        && fits(3, |flags| flags & 0xcf == 0)
        && fits(4, |count| count == 0)
        && fits(5, |count| count == 1)
        && (6..=10).all(|place| fits(place, |count| count == 0))
        && fits(11, |count| count <= 2)
        && rest.iter().skip(HEAD_BYTES).take(1).all(|label| *label < 64);
    if !sound {
        return Recognized::No;
    }
    let whole = rest.get(..length.min(rest.len())).unwrap_or_default();
    match message::parse(whole) {
        Some(message) if message.asks_plainly() && matches!(message.class, 1 | 3 | 4 | 254 | 255) => Recognized::Yes,
        Some(_) => Recognized::No,
        None if rest.len() < length && bytes.len() < super::DETECT_BYTES => Recognized::More,
        None => Recognized::No,
    }
}

/// One connection.
struct Dns {
    /// None where each operation is a message.
    sides: Option<Sides>,
    /// The direction that spoke last.
    last: Option<Direction>,
    lookups: Lookups,
}

/// The directions of a stream.
#[derive(Default)]
struct Sides {
    ingress: Side,
    egress: Side,
}

impl Sides {
    const fn of(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }
}

/// One direction of it.
#[derive(Default)]
struct Side {
    messages: Frames<Messages>,
    /// Where messages begin is not known.
    lost: bool,
}

/// Messages of a stream (RFC 1035 section 4.2.2).
///
/// ```text
/// | length 2 | message |
/// ```
#[derive(Debug)]
struct Messages;

impl Format for Messages {
    const HEAD: usize = 2;

    fn shape(head: &[u8]) -> Option<Shape> {
        let length = u16::from_be_bytes(*head.first_chunk()?);
        Some(Shape {
            length: length.into(),
            keep: length.into(),
        })
    }
}

/// What was asked, and is not answered.
struct Lookups {
    /// Those asked first come first. Clients ask for both kinds of addresses at once.
    waiting: SmallVec<[Waiting; 2]>,
    next: Exchange,
    strikes: u32,
}

/// A question without an answer.
struct Waiting {
    exchange: Exchange,
    direction: Direction,
    id: u16,
    question: Question,
    asked: Mark,
    repeated: u32,
    /// Another question's answer had no room, so that the client may have gone over to TCP with both.
    excused: bool,
}

impl Dns {
    /// Takes bytes: a message, or what comes next of a stream.
    fn bytes(&mut self, direction: Direction, bytes: &[u8], at: Mark, turned: bool, out: &mut Vec<Step>) {
        let Some(side) = self.sides.as_mut().map(|sides| sides.of(direction)) else {
            return self
                .lookups
                .message(direction, bytes, at, at.behind(bytes.len() as u64), out);
        };
        if side.lost && !turned {
            return;
        }
        side.lost = false;
        let mut taken = 0_usize;
        while let Some(left) = bytes.get(taken..).filter(|left| !left.is_empty())
            && self.lookups.strikes < MAX_STRIKES
            && let Cut::Frame(frame, more) = side.messages.read(left, at.behind(taken as u64))
        {
            taken = taken.saturating_add(more);
            self.lookups
                .message(direction, frame.payload, frame.begin, frame.end, out);
        }
    }

    /// Messages may have been lost in a direction.
    fn unseen(&mut self, direction: Direction, length: u64, at: Mark, out: &mut Vec<Step>) {
        // Datagrams have no order: others are as they were. What was seen of this one may be enough.
        let Some(side) = self.sides.as_mut().map(|sides| sides.of(direction)) else {
            return;
        };
        side.messages.restart();
        side.lost = true;
        // The answer may have been among them, or a question that has the same number.
        self.lookups.break_all(at.behind(length), Broken::Unseen, out);
    }
}

impl Lookups {
    /// A message is complete.
    fn message(&mut self, direction: Direction, bytes: &[u8], begin: Mark, end: Mark, out: &mut Vec<Step>) {
        let was_told = match message::parse(bytes) {
            Some(message) if message.answers() => self.answered(direction, &message, begin, end, out),
            Some(message) => self.asked(direction, &message, begin, end, out),
            None => false,
        };
        if was_told {
            self.strikes = 0;
            return;
        }
        self.strikes = self.strikes.saturating_add(1);
        out.push(Step::Count("protocol.dns.invalid"));
        if self.strikes >= MAX_STRIKES {
            self.break_all(end, Broken::Invalid, out);
        }
    }

    /// A question is complete. Whether it is one.
    fn asked(
        &mut self,
        direction: Direction,
        message: &Message<'_>,
        begin: Mark,
        end: Mark,
        out: &mut Vec<Step>,
    ) -> bool {
        let again = |waiting: &&mut Waiting| {
            waiting.direction == direction && waiting.id == message.id && message.is_of(&waiting.question)
        };
        if let Some(waiting) = self.waiting.iter_mut().find(again) {
            waiting.repeated = waiting.repeated.saturating_add(1);
            return true;
        }
        let Some(question) = message.question() else {
            return false;
        };
        if self.waiting.len() >= MAX_WAITING {
            let oldest = self.waiting.remove(0);
            out.push(Step::Count("protocol.dns.waiting_full"));
            broken(&oldest, end, Broken::Unseen, out);
        }
        let exchange = self.next;
        self.next = Exchange(exchange.0.wrapping_add(1));
        put(out, || {
            Step::Request(Request {
                whole: true,
                exchange,
                direction,
                stream: None,
                offset: begin.offset,
                start: begin.moment,
                record: None,
                head_end: end,
                head: RequestHead::Dns(question.clone()),
            })
        });
        self.waiting.push(Waiting {
            exchange,
            direction,
            id: message.id,
            question,
            asked: end,
            repeated: 0,
            excused: false,
        });
        true
    }

    /// An answer is complete. Whether it is one.
    fn answered(
        &mut self,
        direction: Direction,
        message: &Message<'_>,
        begin: Mark,
        end: Mark,
        out: &mut Vec<Step>,
    ) -> bool {
        let is_of = |waiting: &Waiting| {
            waiting.direction != direction && waiting.id == message.id && message.is_of(&waiting.question)
        };
        let place = self.waiting.iter().position(is_of);
        let Some(Waiting { exchange, repeated, .. }) = place.map(|place| self.waiting.remove(place)) else {
            let is_one = message.question().is_some();
            if is_one {
                out.push(Step::Count("protocol.dns.response_unmatched"));
            }
            return is_one;
        };
        if message.is_truncated() {
            for other in &mut self.waiting {
                other.excused = true;
            }
        }
        put(out, || {
            Step::Response(Response {
                whole: true,
                exchange,
                start: begin.moment,
                head_end: end,
                head: ResponseHead::Dns(Answer {
                    repeated,
                    ..Answer::default()
                }),
            })
        });
        // What it says is read where it is kept.
        if let Some(Step::Response(Response {
            head: ResponseHead::Dns(answer),
            ..
        })) = out.last_mut()
        {
            message.tell(answer);
        }
        true
    }

    /// Whether what was asked this way is not answered.
    fn awaits(&self, direction: Direction) -> bool {
        self.waiting.iter().any(|waiting| waiting.direction == direction)
    }

    /// Gives up on answers that have not come by now.
    fn give_up(&mut self, now_ns: u64, out: &mut Vec<Step>) {
        let is_due = |waiting: &Waiting| now_ns.saturating_sub(waiting.asked.moment.time_ns) >= PATIENCE_NS;
        while self.waiting.first().is_some_and(is_due) {
            let waiting = self.waiting.remove(0);
            let at = Mark {
                moment: crate::capture::Moment {
                    time_ns: now_ns,
                    ..waiting.asked.moment
                },
                ..waiting.asked
            };
            let reason = if waiting.excused {
                Broken::Unseen
            } else {
                Broken::Failed(TIMED_OUT)
            };
            broken(&waiting, at, reason, out);
        }
    }

    fn break_all(&mut self, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        for waiting in std::mem::take(&mut self.waiting) {
            broken(&waiting, at, reason, out);
        }
    }
}

fn broken(waiting: &Waiting, at: Mark, reason: Broken, out: &mut Vec<Step>) {
    out.push(Step::Broken {
        exchange: waiting.exchange,
        at,
        reason,
        body: Body::default(),
    });
}

impl Parser for Dns {
    fn piece(&mut self, piece: Piece, out: &mut Vec<Step>) -> Flow {
        let (direction, at) = (piece.direction, Mark::of(&piece));
        let before = self.last;
        if matches!(piece.content, Content::Bytes(_) | Content::Unseen(_)) {
            self.last = Some(direction);
        }
        match piece.content {
            Content::Bytes(bytes) => {
                let turned = before.is_some_and(|before| before != direction);
                self.bytes(direction, &bytes, at, turned, out);
            }
            Content::Unseen(length) => self.unseen(direction, length, at, out),
            // A client may close its half and wait for answers.
            Content::End if self.lookups.awaits(direction) => {}
            Content::End => self.lookups.break_all(at, Broken::Closed, out),
            Content::Failed(errno) => self.lookups.break_all(at, Broken::Failed(errno), out),
        }
        if self.lookups.strikes >= MAX_STRIKES {
            return Flow::Rejected;
        }
        Flow::Continue
    }

    fn tick(&mut self, now_ns: u64, out: &mut Vec<Step>) {
        self.lookups.give_up(now_ns, out);
    }

    fn end(&mut self, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        self.lookups.break_all(at, reason, out);
    }

    fn open(&self) -> usize {
        self.lookups.waiting.len()
    }

    fn next_exchange(&self) -> Exchange {
        self.lookups.next
    }

    fn wants_every_operation(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
