//! The calls of one connection.
use smol_str::{SmolStr, ToSmolStr};

use super::SYSTEM;
use super::reader::{Got, Hole as ReaderHole, Message, Reader};
use super::walk::Told;
use super::wire::{Envelope, Kind, Shape};
use crate::protocol::calls::{Calls, MAX_CALLS};
use crate::protocol::ordered::{Dialect, Hole, Read, Side};
use crate::protocol::procedure::{Fault, Procedure, Returned};
use crate::protocol::{Broken, Exchange, Mark, Start, Step};

/// One connection.
pub(super) struct Connection {
    shape: Shape,
    calls: Calls<Asked, Returned>,
    questions: Reader,
    answers: Reader,
}

/// A call that waits for its answer.
#[derive(Debug)]
struct Asked {
    name: SmolStr,
    number: u32,
}

impl Asked {
    /// Where several services share a connection, the name of one stands before the procedure's in the call alone.
    fn is_answered_by(&self, answer: &Envelope) -> bool {
        let name = self.name.as_str();
        let short = name.rsplit_once(':').map_or(name, |(_, name)| name);
        (answer.name == name || answer.name == short) && self.number == answer.number
    }
}

impl Connection {
    pub(super) fn new(shape: Shape, start: &Start) -> Self {
        Self {
            shape,
            calls: Calls::new(start.direction, start),
            questions: Reader::new(shape),
            answers: Reader::new(shape),
        }
    }

    fn ask(&mut self, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Read {
        if self.calls.len() >= MAX_CALLS {
            out.push(Step::Count("protocol.thrift.pipeline_too_long"));
            return Read::Mismatch;
        }
        match self.questions.read(bytes, at) {
            Got::More => Read::All,
            Got::Invalid => Read::Invalid,
            Got::Message(message, taken) if self.asked(&message, out) => Read::Asked(taken),
            Got::Message(..) => Read::Invalid,
        }
    }

    fn answer(&mut self, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Read {
        let mut taken = 0_usize;
        while let Some(left) = bytes.get(taken..).filter(|left| !left.is_empty()) {
            if self.answers.between() && self.calls.len() == 0 {
                return Read::Early(taken);
            }
            match self.answers.read(left, at.behind(taken as u64)) {
                Got::More => return Read::All,
                Got::Invalid => return Read::Invalid,
                Got::Message(message, more) => {
                    taken = taken.saturating_add(more);
                    if !self.told(&message, out) {
                        return Read::Mismatch;
                    }
                    if self.calls.len() == 0 {
                        return Read::Answered(taken);
                    }
                }
            }
        }
        Read::All
    }

    /// A question is complete. Whether it is one.
    fn asked(&mut self, message: &Message, out: &mut Vec<Step>) -> bool {
        let envelope = &message.envelope;
        let oneway = envelope.kind == Kind::Oneway;
        if !oneway && envelope.kind != Kind::Call {
            return false;
        }
        let procedure = Procedure {
            system: SYSTEM,
            variant: self.shape.name(),
            name: envelope.name.clone(),
            oneway,
        };
        let asked = Asked {
            name: envelope.name.clone(),
            number: envelope.number,
        };
        self.calls.ask(message.begin, message.end, procedure, asked, out);
        if oneway {
            self.calls.unanswered(message.end, out);
        }
        true
    }

    /// An answer is complete. Whether it fits.
    fn told(&mut self, message: &Message, out: &mut Vec<Step>) -> bool {
        let (envelope, told) = (&message.envelope, &message.told);
        if !self
            .calls
            .first()
            .is_some_and(|call| call.what.is_answered_by(envelope))
        {
            return false;
        }
        self.calls.seen(message.begin);
        let Some(call) = self.calls.front() else { return false };
        call.outcome.fault = match envelope.kind {
            Kind::Exception => Some(Fault {
                code: Some(code(told.code)),
                message: text(told),
            }),
            Kind::Reply => told.first.filter(|first| *first != 0).map(|_| Fault {
                code: None,
                message: text(told),
            }),
            Kind::Call | Kind::Oneway => return false,
        };
        self.calls.answered(message.end, out)
    }
}

/// What Apache's libraries call it when a call could not be made (`TApplicationException`).
fn code(number: Option<i64>) -> SmolStr {
    const NAMES: [&str; 11] = [
        "UNKNOWN",
        "UNKNOWN_METHOD",
        "INVALID_MESSAGE_TYPE",
        "WRONG_METHOD_NAME",
        "BAD_SEQUENCE_ID",
        "MISSING_RESULT",
        "INTERNAL_ERROR",
        "PROTOCOL_ERROR",
        "INVALID_TRANSFORM",
        "INVALID_PROTOCOL",
        "UNSUPPORTED_CLIENT_TYPE",
    ];
    let number = number.unwrap_or(0);
    let name = usize::try_from(number).ok().and_then(|number| NAMES.get(number));
    name.map_or_else(|| number.to_smolstr(), |name| SmolStr::new_static(name))
}

fn text(told: &Told) -> SmolStr {
    SmolStr::from(String::from_utf8_lossy(&told.text))
}

impl Dialect for Connection {
    const INVALID: &'static str = "protocol.thrift.invalid";
    const UNMATCHED: &'static str = "protocol.thrift.response_unmatched";

    fn read(&mut self, side: Side, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Read {
        match side {
            Side::Ask => self.ask(bytes, at, out),
            Side::Answer => self.answer(bytes, at, out),
        }
    }

    fn hole(&mut self, side: Side, length: u64, at: Mark, out: &mut Vec<Step>) -> Hole {
        let hole = match side {
            Side::Ask => self.questions.hole(length, at),
            Side::Answer => self.answers.hole(length, at),
        };
        let fits = match (hole, side) {
            (ReaderHole::Within, _) => true,
            (ReaderHole::Lost, _) => false,
            (ReaderHole::Done(message), Side::Ask) => self.asked(&message, out),
            (ReaderHole::Done(message), Side::Answer) => self.told(&message, out),
        };
        if fits { Hole::Within } else { Hole::Lost }
    }

    fn restart(&mut self, _asked_unseen: bool) {
        self.questions.restart();
        self.answers.restart();
    }

    fn outstanding(&self) -> usize {
        self.calls.len()
    }

    fn open(&self) -> usize {
        self.calls.len()
    }

    fn next(&self) -> Exchange {
        self.calls.next()
    }

    fn break_all(&mut self, at: Mark, reason: Broken, rest: Broken, out: &mut Vec<Step>) {
        self.calls.break_all(at, reason, rest, out);
    }

    fn blind_end(&mut self, _tail: &[u8], end: Mark, out: &mut Vec<Step>) {
        self.calls.answered(end, out);
    }

    fn closed(&mut self, _at: Mark, _out: &mut Vec<Step>) {}
}
