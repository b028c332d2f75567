//! DNS (RFC 1035), over TCP and as datagrams.
//!
//! Answers come in any order; one is of the question with its number, its name and its type. A question that is sent again is
//! the same exchange. Over TCP a message has its length before it; a datagram is one, and one operation.
mod message;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::{
    Body, Broken, Exchange, Flow, Mark, Parser, Recognized, Request, RequestHead, Response, ResponseHead, Start, Step,
};
use crate::capture::Direction;
use crate::stream::{Content, Piece};
pub use message::{Answer, Question, Told};
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
        datagrams: start.datagrams,
        ingress: Side::default(),
        egress: Side::default(),
        waiting: VecDeque::new(),
        next: start.first,
        last: None,
        strikes: 0,
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
        Some(message) if message.answer.is_none() && matches!(message.question.class, 1 | 3 | 4 | 254 | 255) => {
            Recognized::Yes
        }
        Some(_) => Recognized::No,
        None if rest.len() < length && bytes.len() < super::DETECT_BYTES => Recognized::More,
        None => Recognized::No,
    }
}

/// One connection.
struct Dns {
    datagrams: bool,
    ingress: Side,
    egress: Side,
    waiting: VecDeque<Waiting>,
    next: Exchange,
    /// What passed last.
    last: Option<(Direction, Mark)>,
    strikes: u32,
}

/// One direction.
#[derive(Default)]
struct Side {
    /// The message being read, its length before it over TCP.
    kept: BytesMut,
    begin: Option<Mark>,
    /// Where messages begin is not known.
    lost: bool,
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
    const fn side(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }

    /// Takes bytes of a stream: messages with their length before them.
    fn stream(&mut self, direction: Direction, bytes: &Bytes, at: Mark, turned: bool, out: &mut Vec<Step>) {
        let side = self.side(direction);
        if side.lost && !turned {
            return;
        }
        side.lost = false;
        let mut taken = 0_usize;
        while let Some(left) = bytes.get(taken..).filter(|left| !left.is_empty()) {
            let here = at.behind(taken as u64);
            let side = self.side(direction);
            let begin = *side.begin.get_or_insert(here);
            let length = match *side.kept.as_ref() {
                [] => left
                    .first_chunk()
                    .map(|length| usize::from(u16::from_be_bytes(*length))),
                [high] => left.first().map(|low| usize::from(u16::from_be_bytes([high, *low]))),
                [high, low, ..] => Some(usize::from(u16::from_be_bytes([high, low]))),
            };
            // The length and what it is of.
            let want = length.map_or(2, |length| length.saturating_add(2));
            let more = want.saturating_sub(side.kept.len()).min(left.len());
            side.kept.extend_from_slice(left.get(..more).unwrap_or_default());
            taken = taken.saturating_add(more);
            if side.kept.len() < want || length.is_none() {
                continue;
            }
            let kept = side.kept.split().freeze();
            side.begin = None;
            let end = at.behind(taken as u64);
            self.message(direction, kept.get(2..).unwrap_or_default(), begin, end, out);
            if self.strikes >= MAX_STRIKES {
                return;
            }
        }
    }

    /// A message is complete.
    fn message(&mut self, direction: Direction, bytes: &[u8], begin: Mark, end: Mark, out: &mut Vec<Step>) {
        let Some(message) = message::parse(bytes) else {
            self.strikes = self.strikes.saturating_add(1);
            out.push(Step::Count("protocol.dns.invalid"));
            if self.strikes >= MAX_STRIKES {
                self.break_all(end, Broken::Invalid, out);
            }
            return;
        };
        self.strikes = 0;
        match message.answer {
            None => self.asked(direction, message, begin, end, out),
            Some(answer) => self.answered(direction, message.id, &message.question, answer, begin, end, out),
        }
    }

    fn asked(&mut self, direction: Direction, message: Message, begin: Mark, end: Mark, out: &mut Vec<Step>) {
        let (id, question) = (message.id, message.question);
        let again = |waiting: &&mut Waiting| {
            waiting.direction == direction && waiting.id == id && waiting.question.is_same(&question)
        };
        if let Some(waiting) = self.waiting.iter_mut().find(again) {
            waiting.repeated = waiting.repeated.saturating_add(1);
            return;
        }
        if self.waiting.len() >= MAX_WAITING
            && let Some(oldest) = self.waiting.pop_front()
        {
            out.push(Step::Count("protocol.dns.waiting_full"));
            broken(&oldest, end, Broken::Unseen, out);
        }
        let exchange = self.next;
        self.next = Exchange(exchange.0.wrapping_add(1));
        out.push(Step::Request(Box::new(Request {
            exchange,
            direction,
            stream: None,
            offset: begin.offset,
            start: begin.moment,
            record: None,
            head_end: end,
            head: RequestHead::Dns(question.clone()),
        })));
        out.push(Step::RequestEnd {
            exchange,
            end,
            body: Body::default(),
        });
        self.waiting.push_back(Waiting {
            exchange,
            direction,
            id,
            question,
            asked: end,
            repeated: 0,
            excused: false,
        });
    }

    #[expect(clippy::too_many_arguments, reason = "a message and where it stands")]
    fn answered(
        &mut self,
        direction: Direction,
        id: u16,
        question: &Question,
        answer: Answer,
        begin: Mark,
        end: Mark,
        out: &mut Vec<Step>,
    ) {
        let is_of = |waiting: &Waiting| {
            waiting.direction != direction && waiting.id == id && waiting.question.is_same(question)
        };
        let place = self.waiting.iter().position(is_of);
        let Some(waiting) = place.and_then(|place| self.waiting.remove(place)) else {
            out.push(Step::Count("protocol.dns.response_unmatched"));
            return;
        };
        let exchange = waiting.exchange;
        if answer.truncated {
            for other in &mut self.waiting {
                other.excused = true;
            }
        }
        out.push(Step::Response(Box::new(Response {
            exchange,
            start: begin.moment,
            head_end: end,
            head: ResponseHead::Dns(Answer {
                repeated: waiting.repeated,
                ..answer
            }),
        })));
        out.push(Step::ResponseEnd {
            exchange,
            end,
            body: Body::default(),
        });
    }

    /// Messages may have been lost in a direction.
    fn unseen(&mut self, direction: Direction, length: u64, at: Mark, out: &mut Vec<Step>) {
        // Datagrams have no order: others are as they were. What was seen of this one may be enough.
        if self.datagrams {
            return;
        }
        let side = self.side(direction);
        side.kept.clear();
        side.begin = None;
        side.lost = true;
        // The answer may have been among them, or a question that has the same number.
        self.break_all(at.behind(length), Broken::Unseen, out);
    }

    fn break_all(&mut self, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        for waiting in self.waiting.drain(..) {
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
        let turned = self.last.is_some_and(|(last, _)| last != direction);
        match piece.content {
            Content::Bytes(bytes) => {
                let end = at.behind(bytes.len() as u64);
                self.last = Some((direction, end));
                if self.datagrams {
                    self.message(direction, &bytes, at, end, out);
                } else {
                    self.stream(direction, &bytes, at, turned, out);
                }
            }
            Content::Unseen(length) => {
                self.last = Some((direction, at.behind(length)));
                self.unseen(direction, length, at, out);
            }
            // A client may close its half and wait for answers.
            Content::End if self.waiting.iter().any(|waiting| waiting.direction == direction) => {}
            Content::End => self.break_all(at, Broken::Closed, out),
            Content::Failed(errno) => self.break_all(at, Broken::Failed(errno), out),
        }
        if self.strikes >= MAX_STRIKES {
            return Flow::Rejected;
        }
        Flow::Continue
    }

    fn tick(&mut self, now_ns: u64, out: &mut Vec<Step>) {
        let is_due = |waiting: &Waiting| now_ns.saturating_sub(waiting.asked.moment.time_ns) >= PATIENCE_NS;
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| is_due(waiting)) {
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

    fn end(&mut self, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        self.break_all(at, reason, out);
    }

    fn open(&self) -> usize {
        self.waiting.len()
    }

    fn next_exchange(&self) -> Exchange {
        self.next
    }

    fn wants_every_operation(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
