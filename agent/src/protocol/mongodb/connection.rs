//! The commands of one connection.
use smol_str::{SmolStr, ToSmolStr};

use super::SYSTEM;
use super::bson::{Document, Value};
use super::message::{Message, Messages};
use crate::protocol::call::{Call, Command, Failure, Outcome, Query};
use crate::protocol::calls::{Calls, MAX_CALLS};
use crate::protocol::frames::{Cut, Frame, Frames, Hole as FrameHole};
use crate::protocol::ordered::{Dialect, Hole, Read, Side};
use crate::protocol::{Broken, Exchange, Mark, Start, Step};

/// Commands whose content is a secret (MongoDB's specification of command monitoring).
const SECRET: [&str; 9] = [
    "authenticate",
    "saslStart",
    "saslContinue",
    "getnonce",
    "createUser",
    "updateUser",
    "copydbgetnonce",
    "copydbsaslstart",
    "copydb",
];
/// Commands that name a collection first.
const OF_COLLECTIONS: [&str; 18] = [
    "aggregate",
    "collMod",
    "collStats",
    "count",
    "create",
    "createIndexes",
    "delete",
    "distinct",
    "drop",
    "dropIndexes",
    "find",
    "findAndModify",
    "insert",
    "killCursors",
    "listIndexes",
    "mapReduce",
    "update",
    "validate",
];
/// Longest name that is told.
const MAX_NAME: usize = 255;

/// One connection.
pub(super) struct Connection {
    values: bool,
    calls: Calls<Asked>,
    questions: Frames<Messages>,
    answers: Frames<Messages>,
}

/// A command that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// The number of the message that the next answer says it answers.
    id: u32,
    writes: Writes,
}

/// What a command's counts mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writes {
    /// `n` documents.
    Counted,
    /// `nModified` of them.
    Modified,
    Nothing,
}

impl Connection {
    pub(super) fn new(start: &Start) -> Self {
        Self {
            values: start.limits.values,
            calls: Calls::new(start.direction, start),
            questions: Frames::default(),
            answers: Frames::default(),
        }
    }

    fn ask(&mut self, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Read {
        if self.calls.len() >= MAX_CALLS {
            out.push(Step::Count("protocol.mongodb.pipeline_too_long"));
            return Read::Mismatch;
        }
        match self.questions.read(bytes, at) {
            Cut::More => Read::All,
            Cut::Invalid => Read::Invalid,
            Cut::Frame(frame, taken) => {
                if asked(&mut self.calls, self.values, &frame, out) {
                    Read::Asked(taken)
                } else {
                    Read::Invalid
                }
            }
        }
    }

    fn answer(&mut self, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Read {
        let mut taken = 0_usize;
        while let Some(left) = bytes.get(taken..).filter(|left| !left.is_empty()) {
            if self.answers.between() && self.calls.len() == 0 {
                return Read::Early(taken);
            }
            match self.answers.read(left, at.behind(taken as u64)) {
                Cut::More => return Read::All,
                Cut::Invalid => return Read::Invalid,
                Cut::Frame(frame, more) => {
                    taken = taken.saturating_add(more);
                    if !told(&mut self.calls, &frame, out) {
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
}

/// A question is complete. Whether it is one.
fn asked(calls: &mut Calls<Asked>, values: bool, frame: &Frame<'_>, out: &mut Vec<Step>) -> bool {
    let Some(message) = Message::of(frame) else {
        return false;
    };
    let body = message.body();
    if message.compressed.is_some() {
        out.push(Step::Count("protocol.mongodb.compressed"));
    }
    let first = body.as_ref().and_then(|body| body.elements().next());
    let name = match (&first, message.compressed) {
        (Some(element), _) => text(element.name),
        (None, Some(_)) => SmolStr::new_static("OP_COMPRESSED"),
        (None, None) => SmolStr::new_static("_OTHER"),
    };
    let of = |key: &str| body.as_ref().and_then(|body| named(body.get(key)?));
    let collection = match name.as_str() {
        "getMore" => of("collection"),
        // What other commands say first is a number, or the name of something else.
        name if OF_COLLECTIONS.contains(&name) => first.and_then(|element| named(element.value)),
        _ => None,
    };
    let namespace = of("$db").or_else(|| message.database().map(text));
    let is_secret = SECRET.contains(&name.as_str()) || of("saslSupportedMechs").is_some();
    let shown = body.filter(|_| !is_secret);
    let arguments = shown.map(|body| {
        if values {
            super::json::text(&body)
        } else {
            SmolStr::new_static("?")
        }
    });
    let writes = match name.as_str() {
        "insert" | "delete" => Writes::Counted,
        "update" => Writes::Modified,
        _ => Writes::Nothing,
    };
    let call = Call {
        system: SYSTEM,
        query: Query::Command(Command {
            name,
            collection,
            argument_count: usize::from(arguments.is_some()),
            arguments: arguments.into_iter().collect(),
        }),
        namespace,
    };
    let (id, unanswered) = (message.id, message.more);
    calls.ask(frame.begin, frame.end, call, Asked { id, writes }, out);
    if unanswered {
        calls.unanswered(frame.end, out);
    }
    true
}

/// An answer is complete. Whether it fits.
fn told(calls: &mut Calls<Asked>, frame: &Frame<'_>, out: &mut Vec<Step>) -> bool {
    let Some(message) = Message::of(frame) else {
        return false;
    };
    let fits = calls.first().is_some_and(|call| call.what.id == message.answers);
    if !fits {
        return false;
    }
    calls.seen(frame.begin);
    let Some(call) = calls.front() else { return false };
    if let Some(body) = message.body() {
        let writes = call.what.writes;
        outcome(call.outcome, &body, writes, message.is_cut());
    }
    if message.more {
        // The next answer is to the same question, and says that it answers this one.
        call.what.id = message.id;
        return true;
    }
    calls.answered(frame.end, out)
}

/// Reads what an answer says.
fn outcome(outcome: &mut Outcome, body: &Document<'_>, writes: Writes, cut: bool) {
    if let Some(Value::Document(cursor, false)) = body.get("cursor") {
        let batch = cursor.get("firstBatch").or_else(|| cursor.get("nextBatch"));
        if let Some(Value::Document(batch, true)) = batch
            && !batch.is_cut()
        {
            let more = batch.elements().count() as u64;
            let known = outcome.returned_rows.unwrap_or_default();
            outcome.returned_rows = Some(known.saturating_add(more));
        }
    }
    let count = match writes {
        Writes::Counted => body.get("n"),
        Writes::Modified => body.get("nModified"),
        Writes::Nothing => None,
    };
    if let Some(count) = count.and_then(|count| count.count()) {
        outcome.affected_rows = Some(count);
    }
    let list = |key| match body.get(key) {
        Some(Value::Document(list, true)) => match list.elements().next()?.value {
            Value::Document(first, false) => Some(first),
            _ => None,
        },
        Some(Value::Document(one, false)) => Some(one),
        _ => None,
    };
    // What is cut off may say so; an error is short.
    let failed = body.get("ok").is_some_and(|ok| !ok.is_true()) && !(cut && body.get("ok").is_none());
    let wrong = if failed {
        Some(*body)
    } else {
        list("writeErrors").or_else(|| list("writeConcernError"))
    };
    if let Some(wrong) = wrong {
        outcome.error = Some(Box::new(failure(&wrong)));
    }
}

fn failure(wrong: &Document<'_>) -> Failure {
    let code = wrong.get("code").and_then(|code| code.count());
    let message = wrong.get("errmsg").and_then(named);
    Failure {
        code: code.map(|code| code.to_smolstr()).unwrap_or_default(),
        sqlstate: None,
        message: message.unwrap_or_default(),
        severity: None,
        expected: false,
    }
}

fn named(value: Value<'_>) -> Option<SmolStr> {
    match value {
        Value::Text(bytes) => Some(text(bytes)),
        _ => None,
    }
}

fn text(bytes: &[u8]) -> SmolStr {
    SmolStr::from(String::from_utf8_lossy(bytes.get(..MAX_NAME).unwrap_or(bytes)))
}

impl Dialect for Connection {
    const INVALID: &'static str = "protocol.mongodb.invalid";
    const UNMATCHED: &'static str = "protocol.mongodb.response_unmatched";

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
            (FrameHole::Within, _) => true,
            (FrameHole::Lost, _) => false,
            (FrameHole::Done(frame), Side::Ask) => asked(&mut self.calls, self.values, &frame, out),
            (FrameHole::Done(frame), Side::Answer) => told(&mut self.calls, &frame, out),
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
