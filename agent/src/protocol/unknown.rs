//! Connections that speak nothing Clew decodes, told by their turns.
//!
//! The end that opened a connection asks, the other answers: whatever passes one way until the other end speaks is one
//! message, whatever passes back until the first goes on is its answer. Nothing else is claimed, and no byte is looked at:
//! what a protocol pipelines, or sends unasked, is part of the turn in which it passes. A turn is only told once recognition
//! has found no protocol in its question, so a connection that turns out to speak one is told as that.
use std::collections::VecDeque;

use super::turn::QUIET_NS;
use super::{Body, Broken, Exchange, Known, Mark, Request, RequestHead, Response, ResponseHead, Step, put};
use crate::capture::Direction;
use crate::stream::{Content, Piece};

/// How long an answer waits for its question, where two threads report out of order, nanoseconds.
const EARLY_NS: u64 = 5_000_000;
/// Turns that wait for what recognition says of them.
const MAX_UNTOLD: usize = 16;

/// The turns of one connection.
#[derive(Debug)]
pub(super) struct Turns {
    /// Which way questions go.
    asks: Direction,
    /// Which way the last bytes went.
    last: Option<Direction>,
    /// The turn without an end.
    open: Option<Turn>,
    /// Turns that are over, and of which nothing has been told.
    untold: VecDeque<Turn>,
    /// Bytes that answer nothing that was seen.
    early: Option<Passed>,
}

/// A question and its answer.
#[derive(Clone, Copy, Debug)]
struct Turn {
    exchange: Option<Exchange>,
    asked: Passed,
    answered: Option<Passed>,
}

/// What passed one way.
#[derive(Clone, Copy, Debug)]
struct Passed {
    /// Its first byte.
    begin: Mark,
    /// Behind its last byte.
    end: Mark,
    bytes: u64,
}

impl Passed {
    const fn new(at: Mark, bytes: u64) -> Self {
        Self {
            begin: at,
            end: at.behind(bytes),
            bytes,
        }
    }

    const fn and(&mut self, at: Mark, bytes: u64) {
        self.end = at.behind(bytes);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn body(&self) -> Body {
        Known {
            bytes: Some(self.bytes),
            ..Known::default()
        }
        .into()
    }
}

impl Turns {
    /// A connection whose questions go this way.
    pub(super) const fn new(asks: Direction) -> Self {
        Self {
            asks,
            last: None,
            open: None,
            untold: VecDeque::new(),
            early: None,
        }
    }

    /// Which way questions go.
    pub(super) const fn asks(&self) -> Direction {
        self.asks
    }

    /// Turns that were told and have no end.
    pub(super) fn open(&self) -> usize {
        usize::from(self.open.is_some_and(|turn| turn.exchange.is_some()))
    }

    /// Takes the next piece.
    pub(super) fn piece(&mut self, piece: &Piece, out: &mut Vec<Step>) {
        let at = Mark::of(piece);
        let asks = piece.direction == self.asks;
        let bytes = match &piece.content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Unseen(length) => *length,
            // A client that has asked may say that it will not ask again.
            Content::End if asks => return,
            Content::End => return self.end(at, Broken::Closed, out),
            Content::Failed(errno) => return self.end(at, Broken::Failed(*errno), out),
        };
        let turned = self.last.replace(piece.direction) != Some(piece.direction);
        if asks {
            self.asked(at, bytes, turned, out);
        } else {
            self.answered(at, bytes, out);
        }
    }

    fn asked(&mut self, at: Mark, bytes: u64, turned: bool, out: &mut Vec<Step>) {
        let quiet = |since: Mark| at.moment.time_ns.saturating_sub(since.moment.time_ns) >= QUIET_NS;
        if let Some(turn) = &mut self.open
            && !turned
            && !quiet(turn.asked.end)
        {
            return turn.asked.and(at, bytes);
        }
        // What goes on where nothing was seen to begin is a part of something.
        let goes_on = !turned && self.open.is_none();
        self.over(out);
        if goes_on && at.offset > 0 {
            return;
        }
        let early = self.early.take().filter(|early| {
            let late_ns = at.moment.time_ns.saturating_sub(early.begin.moment.time_ns);
            early.begin.moment.actor.tid != at.moment.actor.tid && late_ns < EARLY_NS
        });
        self.open = Some(Turn {
            exchange: None,
            asked: Passed::new(at, bytes),
            answered: early,
        });
    }

    fn answered(&mut self, at: Mark, bytes: u64, out: &mut Vec<Step>) {
        let Some(turn) = &mut self.open else {
            match &mut self.early {
                Some(early) => early.and(at, bytes),
                None => self.early = Some(Passed::new(at, bytes)),
            }
            return;
        };
        match &mut turn.answered {
            Some(answered) => answered.and(at, bytes),
            None => {
                turn.answered = Some(Passed::new(at, bytes));
                if turn.exchange.is_some() {
                    turn.turned(out);
                }
            }
        }
    }

    /// Recognition has found nothing in the questions that came: they are told. `next` is the number of the next exchange.
    pub(super) fn tell(&mut self, next: &mut Exchange, out: &mut Vec<Step>) {
        for mut turn in std::mem::take(&mut self.untold) {
            turn.tell(self.asks, next, out);
            turn.over(out);
        }
        if let Some(turn) = self.open.as_mut().filter(|turn| turn.exchange.is_none()) {
            turn.tell(self.asks, next, out);
        }
    }

    /// What follows is of a protocol, as is whatever has not been told.
    pub(super) fn known(&mut self, out: &mut Vec<Step>) {
        // What shows the protocol is no answer, or goes on with what was taken for a question.
        if let Some(exchange) = self.open.take().and_then(|turn| turn.exchange) {
            out.push(Step::Withdrawn { exchange });
        }
        self.untold.clear();
        self.early = None;
        self.last = None;
    }

    /// Something else was said before what comes now.
    pub(super) const fn behind(&mut self, direction: Direction) {
        self.last = Some(direction);
    }

    /// Tells the time.
    pub(super) fn tick(&mut self, now_ns: u64, out: &mut Vec<Step>) {
        let silent = |turn: &Turn| {
            let answered = turn.answered?;
            let last_ns = answered.end.moment.time_ns.max(turn.asked.end.moment.time_ns);
            Some(now_ns.saturating_sub(last_ns) >= QUIET_NS)
        };
        if self.open.as_ref().and_then(silent) == Some(true) {
            self.over(out);
        }
    }

    /// The connection ends.
    pub(super) fn end(&mut self, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        match self.open {
            Some(Turn {
                exchange: Some(exchange),
                answered: None,
                ..
            }) => {
                self.open = None;
                out.push(Step::Broken {
                    exchange,
                    at,
                    reason,
                    body: Body::default(),
                });
            }
            _ => self.over(out),
        }
    }

    /// The turn is over.
    fn over(&mut self, out: &mut Vec<Step>) {
        let Some(turn) = self.open.take() else { return };
        if turn.exchange.is_some() {
            turn.over(out);
        } else if self.untold.len() < MAX_UNTOLD {
            self.untold.push_back(turn);
        } else {
            out.push(Step::Count("protocol.unknown.untold"));
        }
    }
}

impl Turn {
    fn tell(&mut self, asks: Direction, next: &mut Exchange, out: &mut Vec<Step>) {
        let exchange = *next;
        *next = Exchange(exchange.0.wrapping_add(1));
        self.exchange = Some(exchange);
        put(out, || {
            Step::Request(Request {
                whole: false,
                exchange,
                direction: asks,
                stream: None,
                offset: self.asked.begin.offset,
                start: self.asked.begin.moment,
                record: None,
                // Where a head ends is not known: it has begun.
                head_end: self.asked.begin,
                head: RequestHead::Turn,
            })
        });
        self.turned(out);
    }

    /// The answer to what was asked has begun, if it has.
    fn turned(&self, out: &mut Vec<Step>) {
        let (Some(exchange), Some(answered)) = (self.exchange, &self.answered) else {
            return;
        };
        out.push(Step::RequestEnd {
            exchange,
            end: self.asked.end,
            body: self.asked.body(),
        });
        put(out, || {
            Step::Response(Response {
                whole: false,
                exchange,
                start: answered.begin.moment,
                head_end: answered.begin,
                head: ResponseHead::Turn,
            })
        });
    }

    fn over(&self, out: &mut Vec<Step>) {
        let Some(exchange) = self.exchange else { return };
        let (end, body) = match &self.answered {
            Some(answered) => (answered.end, answered.body()),
            None => {
                // Nobody answered, and it was not waited for.
                out.push(Step::RequestEnd {
                    exchange,
                    end: self.asked.end,
                    body: self.asked.body(),
                });
                (
                    Mark {
                        offset: 0,
                        ..self.asked.end
                    },
                    Body::default(),
                )
            }
        };
        out.push(Step::ResponseEnd { exchange, end, body });
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::capture::{Actor, Direction, Moment, Pid};
    use crate::protocol::{Broken, Conversation, Limits, Mark, Step};
    use crate::stream::{Content, Piece};

    const CLIENT: Direction = Direction::Egress;
    const SERVER: Direction = Direction::Ingress;
    /// Bytes that begin no protocol.
    const BINARY: &[u8] = b"\xfe\xfd\xfc\xfb\xfa";
    const LATER_NS: u64 = 2_000_000_000;

    /// Operations by time, and what is told of them in pieces of any size; a tick is an operation without bytes.
    #[track_caller]
    fn check(all: &[(u64, Direction, &[u8])], expected: &[&str]) {
        for cut in [usize::MAX, 3, 1] {
            assert_eq!(play(all, cut, true), expected, "in pieces of {cut}");
        }
        let told = play(all, usize::MAX, false);
        assert!(!told.iter().any(|line| line.contains("turn")), "{told:?}");
    }

    fn play(all: &[(u64, Direction, &[u8])], cut: usize, turns: bool) -> Vec<String> {
        let limits = Limits {
            turns,
            ..Limits::default()
        };
        let mut conversation = Conversation::new(limits).asking(Some(CLIENT));
        let (mut offsets, mut steps, mut last) = ((0, 0), Vec::new(), 0);
        for &(time_ns, direction, bytes) in all {
            last = time_ns;
            if bytes.is_empty() {
                conversation.tick(time_ns, &mut steps);
            }
            let offset = if direction == CLIENT {
                &mut offsets.0
            } else {
                &mut offsets.1
            };
            for piece in bytes.chunks(cut) {
                let content = Content::Bytes(Bytes::copy_from_slice(piece));
                let moment = Moment::new(time_ns, Actor::thread(Pid(1), 1));
                conversation.piece(
                    Piece {
                        direction,
                        offset: *offset,
                        content,
                        moment,
                    },
                    &mut steps,
                );
                *offset += piece.len() as u64;
            }
        }
        let end = Mark {
            offset: 0,
            moment: Moment::new(last, Actor::thread(Pid(1), 1)),
        };
        conversation.end(end, Broken::Closed, &mut steps);
        assert_eq!(conversation.open(), 0);
        steps.iter().map(tell).collect()
    }

    fn tell(step: &Step) -> String {
        match step {
            Step::Request(request) => match &request.head {
                crate::protocol::RequestHead::Turn => format!("turn {} at {}", request.exchange.0, request.offset),
                _ => format!("known {}", request.exchange.0),
            },
            Step::RequestEnd { exchange, end, body } => {
                format!("{} asked {:?} to {}", exchange.0, body.bytes, end.offset)
            }
            Step::Response(response) => format!("{} answer from {}", response.exchange.0, response.head_end.offset),
            Step::ResponseEnd { exchange, end, body } => {
                format!("{} answered {:?} to {}", exchange.0, body.bytes, end.offset)
            }
            Step::Broken { exchange, reason, .. } => format!("{} {reason:?}", exchange.0),
            Step::Withdrawn { exchange } => format!("{} withdrawn", exchange.0),
            Step::Count(name) => (*name).to_owned(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_turn_is_what_passes_until_the_client_goes_on() {
        check(
            &[
                (1, SERVER, b"\xffhello"),
                (2, CLIENT, BINARY),
                (3, CLIENT, BINARY),
                (4, SERVER, BINARY),
                (5, SERVER, BINARY),
                (6, CLIENT, BINARY),
                (7, SERVER, BINARY),
            ],
            &[
                "turn 0 at 0",
                "0 asked Some(10) to 10",
                "0 answer from 6",
                "0 answered Some(10) to 16",
                "turn 1 at 10",
                "1 asked Some(5) to 15",
                "1 answer from 16",
                "1 answered Some(5) to 21",
            ],
        );
    }

    #[test]
    fn silence_ends_a_turn() {
        check(
            &[
                (1, CLIENT, BINARY),
                (2, SERVER, BINARY),
                (LATER_NS, CLIENT, b""),
                (LATER_NS + 1, SERVER, BINARY),
                (LATER_NS + 2, CLIENT, BINARY),
                (2 * LATER_NS, CLIENT, BINARY),
            ],
            &[
                "turn 0 at 0",
                "0 asked Some(5) to 5",
                "0 answer from 0",
                "0 answered Some(5) to 5",
                "turn 1 at 5",
                "1 asked Some(5) to 10",
                "1 answered None to 0",
                "turn 2 at 10",
                "2 Closed",
            ],
        );
    }

    #[test]
    fn what_shows_a_protocol_is_no_turn() {
        check(
            &[
                (1, CLIENT, BINARY),
                (2, SERVER, BINARY),
                (3, CLIENT, b"GET / HTTP/1.1\r\n\r\n"),
                (4, SERVER, b"HTTP/1.1 204 No Content\r\n\r\n"),
            ],
            &[
                "turn 0 at 0",
                "0 asked Some(5) to 5",
                "0 answer from 0",
                "0 answered Some(5) to 5",
                "known 1",
                "1 asked Some(0) to 23",
                "1 answer from 32",
                "1 answered Some(0) to 32",
            ],
        );
        // A preamble.
        check(
            &[
                (1, CLIENT, BINARY),
                (2, CLIENT, b"GET / HTTP/1.1\r\n\r\n"),
                (3, SERVER, b"HTTP/1.1 204 No Content\r\n\r\n"),
            ],
            &[
                "turn 0 at 0",
                "0 withdrawn",
                "known 1",
                "1 asked Some(0) to 23",
                "1 answer from 27",
                "1 answered Some(0) to 27",
            ],
        );
    }

    #[test]
    fn what_may_be_of_a_protocol_waits() {
        // The beginning of a request, and no more.
        check(
            &[
                (1, CLIENT, b"PUT"),
                (2, SERVER, BINARY),
                (3, CLIENT, BINARY),
                (4, SERVER, BINARY),
            ],
            &[
                "turn 0 at 0",
                "0 asked Some(3) to 3",
                "0 answer from 0",
                "0 answered Some(5) to 5",
                "turn 1 at 3",
                "1 asked Some(5) to 8",
                "1 answer from 5",
                "1 answered Some(5) to 10",
            ],
        );
    }

    /// Recognition may end within an operation, at an answer, while a question may still be of a protocol.
    #[test]
    fn what_waited_is_told_when_recognition_ends() {
        let pairs: [(&[u8], &[u8]); 18] = [
            (b"SET a", b"+OK\r\\"),
            (b"\r\n", b":2PON"),
            (b"S", b"+OK\r\\"),
            (b"\\", b"+OK\\n"),
            (b"S", b"+OK\r\\"),
            (b"\\", b":2PON"),
            (b"S", b"+OK\\n"),
            (b"\\", b":2PON"),
            (b"S", b"+"),
            (b" ", b":2\r\\"),
            (b"G", b"+OK\\n"),
            (b"S", b"+OK\r\\"),
            (b"\\", b":"),
            (b" ", b":2\r\\"),
            (b"G", b"+OK\\n"),
            (b"S", b"+OK\r\\"),
            (b"\\", b":2PON"),
            (b"S", b"+OK\r\n$"),
        ];
        let greeting: (u64, Direction, &[u8]) = (0, SERVER, b"+PONG");
        let asked = pairs
            .iter()
            .flat_map(|(ask, answer)| [(CLIENT, *ask), (SERVER, *answer)]);
        let all: Vec<_> = std::iter::once(greeting)
            .chain((1..).zip(asked).map(|(at, (direction, bytes))| (at, direction, bytes)))
            .collect();
        let whole = play(&all, usize::MAX, true);
        assert!(whole.iter().any(|line| line == "protocol.unknown"), "{whole:?}");
        for cut in [1, 3] {
            assert_eq!(play(&all, cut, true), whole, "in pieces of {cut}");
        }
    }
}
