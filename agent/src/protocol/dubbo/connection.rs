//! The calls of one connection, by number. A client never uses one again.
use super::SYSTEM;
use super::message::{self, Head, Messages};
use crate::capture::{Direction, Moment};
use crate::protocol::calls;
use crate::protocol::frames::{Cut, Frame, Frames, Hole};
use crate::protocol::numbered::Numbered;
use crate::protocol::procedure::{Fault, Procedure, Returned};
use crate::protocol::{Body, Broken, Exchange, Flow, Mark, Parser, Request, Start, Step, put};
use crate::stream::{Content, Piece};

/// Calls without an answer that are followed.
const MAX_WAITING: usize = 4096;
/// Offences against the protocol without a message between them, after which it was a wrong guess.
const MAX_STRIKES: u32 = 4;
const UNMATCHED: Step = Step::Count("protocol.dubbo.response_unmatched");

/// One connection.
pub(super) struct Connection {
    client: Direction,
    asks: Reader,
    answers: Reader,
    next: Exchange,
    waiting: Numbered<u64, Exchange, Option<Fault>>,
    strikes: u32,
}

/// One direction.
#[derive(Default)]
struct Reader {
    messages: Frames<Messages>,
    /// Where a message begins is not known: it is looked for at the beginning of an operation.
    lost: bool,
    /// What is read was looked for.
    sought: bool,
    /// The operation seen last.
    last: Option<Moment>,
}

/// What reading came to.
enum Event<'a> {
    Message(Head, &'a Frame<'a>),
    Invalid,
}

impl Reader {
    fn read(&mut self, bytes: &[u8], at: Mark, told: &mut impl FnMut(Event<'_>)) {
        let new = self.last.replace(at.moment) != Some(at.moment);
        if self.lost {
            if !new {
                return;
            }
            self.messages.restart();
            self.lost = false;
            self.sought = true;
        }
        let mut taken = 0_usize;
        while let Some(left) = bytes.get(taken..).filter(|left| !left.is_empty()) {
            match self.messages.read(left, at.behind(taken as u64)) {
                Cut::More => return,
                Cut::Frame(frame, more) => {
                    taken = taken.saturating_add(more);
                    self.sought = false;
                    tell(&frame, told);
                }
                Cut::Invalid => {
                    self.lost = true;
                    if !self.sought {
                        told(Event::Invalid);
                    }
                    return;
                }
            }
        }
    }

    /// Passes a hole. Whether it lies within a message.
    fn hole(&mut self, length: u64, at: Mark, told: &mut impl FnMut(Event<'_>)) -> bool {
        self.last = Some(at.moment);
        if self.lost {
            return false;
        }
        match self.messages.hole(length, at) {
            Hole::Within => true,
            Hole::Done(frame) => {
                tell(&frame, told);
                true
            }
            Hole::Lost => {
                self.lost = true;
                false
            }
        }
    }
}

fn tell(frame: &Frame<'_>, told: &mut impl FnMut(Event<'_>)) {
    if let Some(head) = Head::of(frame.head) {
        told(Event::Message(head, frame));
    }
}

impl Connection {
    pub(super) fn new(start: &Start) -> Self {
        Self {
            client: start.direction,
            asks: Reader::default(),
            answers: Reader {
                lost: !start.from_beginning,
                ..Reader::default()
            },
            next: start.first,
            waiting: Numbered::new(start.from_beginning),
            strikes: 0,
        }
    }

    fn event(&mut self, answers: bool, event: Event<'_>, at: Mark, out: &mut Vec<Step>) {
        match event {
            Event::Message(head, frame) => {
                self.strikes = 0;
                if head.is_event() {
                } else if head.asks() && !answers {
                    self.asked(head, frame, out);
                } else if !head.asks() && answers {
                    self.answered(head, frame, out);
                }
            }
            Event::Invalid => {
                out.push(Step::Count("protocol.dubbo.invalid"));
                self.strikes = self.strikes.saturating_add(1);
                self.lost(Mark { offset: 0, ..at }, out);
            }
        }
    }

    fn asked(&mut self, head: Head, frame: &Frame<'_>, out: &mut Vec<Step>) {
        if let Some(before) = self.waiting.take(head.number) {
            broken(before, frame.begin, Broken::Invalid, out);
        }
        if self.waiting.len() >= MAX_WAITING {
            out.push(Step::Count("protocol.dubbo.waiting_full"));
            return;
        }
        let exchange = self.next;
        self.next = Exchange(exchange.0.wrapping_add(1));
        let procedure = Procedure {
            system: SYSTEM,
            variant: head.variant(),
            name: message::name(head, frame.payload),
            oneway: !head.is_answered(),
        };
        let (begin, end) = (frame.begin, frame.end);
        put(out, || {
            Step::Request(Request {
                whole: true,
                exchange,
                direction: self.client,
                // The lower half tells those apart that are under way.
                stream: u32::try_from(head.number & u64::from(u32::MAX)).ok(),
                offset: begin.offset,
                start: begin.moment,
                record: None,
                head_end: end,
                head: procedure.into(),
            })
        });
        if !head.is_answered() {
            let end = Mark { offset: 0, ..end };
            calls::answered(exchange, None, Returned::default(), end, out);
            return;
        }
        self.forget_early(end.moment.time_ns, out);
        if let Some(early) = self.waiting.ask(head.number, exchange) {
            self.waiting.take(head.number);
            let returned = Returned { fault: early.answer };
            calls::answered(exchange, Some(early.begin.moment), returned, early.end, out);
        }
    }

    fn answered(&mut self, head: Head, frame: &Frame<'_>, out: &mut Vec<Step>) {
        let fault = message::fault(head, frame.payload);
        let (begin, end) = (frame.begin, frame.end);
        if let Some(exchange) = self.waiting.take(head.number) {
            calls::answered(exchange, Some(begin.moment), Returned { fault }, end, out);
        } else if !self.waiting.keep(head.number, fault, begin, end) {
            out.push(UNMATCHED);
        }
    }

    /// Messages may have been missed: answers to what waits among them.
    fn lost(&mut self, at: Mark, out: &mut Vec<Step>) {
        self.break_all(at, Broken::Unseen, out);
        let forgotten = self.waiting.doubt();
        out.extend(std::iter::repeat_n(UNMATCHED, forgotten));
    }

    fn forget_early(&mut self, now_ns: u64, out: &mut Vec<Step>) {
        let forgotten = self.waiting.forget_early(now_ns);
        out.extend(std::iter::repeat_n(UNMATCHED, forgotten));
    }

    /// Every call ends, in the order in which they were made.
    fn break_all(&mut self, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        let mut waiting = self.waiting.drain();
        waiting.sort();
        for exchange in waiting {
            broken(exchange, at, reason, out);
        }
    }
}

fn broken(exchange: Exchange, at: Mark, reason: Broken, out: &mut Vec<Step>) {
    out.push(Step::Broken {
        exchange,
        at,
        reason,
        body: Body::default(),
    });
}

impl Parser for Connection {
    fn piece(&mut self, piece: Piece, out: &mut Vec<Step>) -> Flow {
        let at = Mark::of(&piece);
        let answers = piece.direction != self.client;
        // The reader is put back with what it holds; a frame borrows from it meanwhile.
        let mut reader = std::mem::take(if answers { &mut self.answers } else { &mut self.asks });
        match piece.content {
            Content::Bytes(bytes) => reader.read(&bytes, at, &mut |event| self.event(answers, event, at, out)),
            Content::Unseen(length) => {
                let end = Mark { offset: 0, ..at };
                if !reader.hole(length, at, &mut |event| self.event(answers, event, at, out)) {
                    self.lost(end, out);
                }
            }
            // A client may close its half and wait for answers.
            Content::End if !answers => {}
            Content::End => self.break_all(at, Broken::Closed, out),
            Content::Failed(errno) => self.break_all(at, Broken::Failed(errno), out),
        }
        *(if answers { &mut self.answers } else { &mut self.asks }) = reader;
        if self.strikes >= MAX_STRIKES {
            self.break_all(Mark { offset: 0, ..at }, Broken::Invalid, out);
            return Flow::Rejected;
        }
        Flow::Continue
    }

    fn tick(&mut self, now_ns: u64, out: &mut Vec<Step>) {
        self.forget_early(now_ns, out);
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

    fn wants_whole_operations(&self) -> bool {
        true
    }
}
