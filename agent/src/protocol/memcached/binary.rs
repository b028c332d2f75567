//! The binary protocol (memcached's protocol_binary.h).
//!
//! Quiet commands, such as `GetKQ`, are answered only if there is something to say, so that clients ask for many keys with
//! them and end with one that is answered. What comes back carries the number the client gave the command, and the key if it
//! asked for it; the server answers in order, so whatever quiet was asked before what is answered had nothing to be said.
use std::hash::{DefaultHasher, Hash, Hasher};

use smol_str::{SmolStr, ToSmolStr};

use super::frames::{ANSWERS, ASKS, Frames, Got, HEAD_BYTES, Head};
use crate::protocol::call::Failure;
use crate::protocol::calls::{Calls, MAX_CALLS};
use crate::protocol::ordered::{Dialect, Hole, Read, Side};
use crate::protocol::{Broken, Exchange, Limits, Mark, Recognized, Start, Step};

/// One connection.
pub(super) struct Binary {
    limits: Limits,
    calls: Calls<Asked>,
    asks: Frames,
    answers: Frames,
    /// Where the frame being read began, of each direction.
    begin: Option<Mark>,
    answer_begin: Option<Mark>,
    /// The number of the quiet command before, if the last one was quiet.
    before: Option<u32>,
    /// The numbers of the quiet commands since the last other one do not tell them apart.
    unclear: bool,
    /// How many there are.
    batch: usize,
}

/// A command that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Asked {
    opcode: u8,
    opaque: u32,
    /// Its key; none where it was not seen.
    key: Option<u64>,
    quiet: bool,
    /// Only its key can tell which answer is its own.
    unclear: bool,
}

/// An opcode.
struct Opcode {
    /// The name of the same command in the text protocol, where it has one.
    name: &'static str,
    quiet: bool,
    /// Lengths of the extras it may have.
    extras: &'static [usize],
    key: bool,
    /// It is answered with a value.
    gets: bool,
}

/// What an opcode stands for; none of those that only Couchbase knows.
const fn opcode(number: u8) -> Option<Opcode> {
    let (name, quiet, extras, key, gets): (_, _, &[usize], _, _) = match number {
        0x00 | 0x0c => ("get", false, &[0], true, true),
        0x09 | GETKQ => ("get", true, &[0], true, true),
        0x01 => ("set", false, &[8], true, false),
        0x11 => ("set", true, &[8], true, false),
        0x02 => ("add", false, &[8], true, false),
        0x12 => ("add", true, &[8], true, false),
        0x03 => ("replace", false, &[8], true, false),
        0x13 => ("replace", true, &[8], true, false),
        0x04 => ("delete", false, &[0], true, false),
        0x14 => ("delete", true, &[0], true, false),
        0x05 => ("incr", false, &[20], true, false),
        0x15 => ("incr", true, &[20], true, false),
        0x06 => ("decr", false, &[20], true, false),
        0x16 => ("decr", true, &[20], true, false),
        0x07 => ("quit", false, &[0], false, false),
        QUITQ => ("quit", true, &[0], false, false),
        0x08 => ("flush_all", false, &[0, 4], false, false),
        0x18 => ("flush_all", true, &[0, 4], false, false),
        0x0a => ("noop", false, &[0], false, false),
        0x0b => ("version", false, &[0], false, false),
        0x0e => ("append", false, &[0], true, false),
        0x19 => ("append", true, &[0], true, false),
        0x0f => ("prepend", false, &[0], true, false),
        0x1a => ("prepend", true, &[0], true, false),
        STAT => ("stats", false, &[0], false, false),
        0x1b => ("verbosity", false, &[4], false, false),
        0x1c => ("touch", false, &[4], true, false),
        0x1d | 0x23 => ("gat", false, &[4], true, true),
        0x1e | GATKQ => ("gat", true, &[4], true, true),
        0x20 => ("sasl_list_mechs", false, &[0], false, false),
        0x21 => ("sasl_auth", false, &[0], true, false),
        0x22 => ("sasl_step", false, &[0], true, false),
        _ => return None,
    };
    Some(Opcode {
        name,
        quiet,
        extras,
        key,
        gets,
    })
}

/// It is answered with one frame for each value, and one without a key.
const STAT: u8 = 0x10;
const QUITQ: u8 = 0x17;
const GETKQ: u8 = 0x0d;
const GATKQ: u8 = 0x24;

/// Whether bytes begin with a question: a head that fits its opcode.
pub(super) fn recognize(bytes: &[u8]) -> Recognized {
    let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else {
        // What is not of the protocol mostly shows at once, and is not waited for.
        let sound = bytes.get(1).is_none_or(|number| opcode(*number).is_some())
            && bytes.get(5).is_none_or(|data_type| *data_type == 0);
        return if sound { Recognized::More } else { Recognized::No };
    };
    let fits = Head::parse(ASKS, head).is_some_and(|head| {
        opcode(head.opcode).is_some_and(|opcode| opcode.extras.contains(&head.extras) && (head.key > 0 || !opcode.key))
    });
    if fits { Recognized::Yes } else { Recognized::No }
}

impl Binary {
    pub(super) fn new(start: &Start) -> Self {
        Self {
            limits: start.limits,
            calls: Calls::new(start.direction, start),
            asks: Frames::new(ASKS),
            answers: Frames::new(ANSWERS),
            begin: None,
            answer_begin: None,
            before: None,
            unclear: false,
            batch: 0,
        }
    }

    fn ask(&mut self, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Read {
        if self.calls.len() >= MAX_CALLS {
            out.push(Step::Count("protocol.memcached.pipeline_too_long"));
            return Read::Mismatch;
        }
        if self.asks.between() {
            self.begin = Some(at);
        }
        match self.asks.read(bytes) {
            Got::More => Read::All,
            Got::Invalid => Read::Invalid,
            Got::Frame(taken, head) => {
                self.asked(head, at.behind(taken as u64), out);
                Read::Asked(taken)
            }
        }
    }

    /// A question is complete.
    fn asked(&mut self, head: Head, end: Mark, out: &mut Vec<Step>) {
        let begin = self.begin.take().unwrap_or(end);
        let known = opcode(head.opcode);
        let quiet = known.as_ref().is_some_and(|opcode| opcode.quiet);
        let key = self.asks.key(head);
        let name = SmolStr::new_static(known.map_or("_OTHER", |opcode| opcode.name));
        let keys = key.filter(|key| !key.is_empty());
        let call = super::call(name, keys.into_iter(), self.limits.values);
        let asked = Asked {
            opcode: head.opcode,
            opaque: head.opaque,
            key: key.map(hash),
            quiet,
            unclear: self.tell_apart(quiet, head.opaque),
        };
        self.calls.ask(begin, end, call, asked, out);
        if head.opcode == QUITQ {
            self.calls.unanswered(end, out);
        }
    }

    /// Whether a command's number may not tell it from the quiet ones around it: clients that number them count.
    fn tell_apart(&mut self, quiet: bool, opaque: u32) -> bool {
        if !quiet {
            self.before = None;
            self.unclear = false;
            self.batch = 0;
            return false;
        }
        let counts = self.before.replace(opaque).is_none_or(|before| before < opaque);
        if !counts && !self.unclear {
            self.unclear = true;
            for call in self.calls.last_mut(self.batch) {
                call.unclear = true;
            }
        }
        self.batch = self.batch.saturating_add(1);
        self.unclear
    }

    fn answer(&mut self, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Read {
        let mut taken = 0_usize;
        while let Some(left) = bytes.get(taken..).filter(|left| !left.is_empty()) {
            let here = at.behind(taken as u64);
            if self.answers.between() {
                if self.calls.len() == 0 {
                    return Read::Early(taken);
                }
                self.answer_begin = Some(here);
            }
            match self.answers.read(left) {
                Got::More => return Read::All,
                Got::Invalid => return Read::Invalid,
                Got::Frame(more, head) => {
                    taken = taken.saturating_add(more);
                    if !self.told(head, at.behind(taken as u64), out) {
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

    /// An answer is complete. Whether it fits.
    fn told(&mut self, head: Head, end: Mark, out: &mut Vec<Step>) -> bool {
        let begin = self.answer_begin.take().unwrap_or(end);
        let key = self.answers.key(head).filter(|key| !key.is_empty()).map(hash);
        // What a statistic is called is no key.
        let key = key.filter(|_| head.opcode != STAT);
        let fits = |asked: &Asked| {
            asked.opcode == head.opcode
                && asked.opaque == head.opaque
                && key.zip(asked.key).is_none_or(|(told, asked)| told == asked)
        };
        loop {
            let Some(call) = self.calls.first() else { return false };
            let asked = call.what;
            if fits(&asked) {
                if asked.unclear && key.is_none() {
                    // It may as well be of another of them.
                    return true;
                }
                break;
            }
            if !asked.quiet {
                return false;
            }
            self.silent(asked, begin, out);
        }
        self.calls.seen(begin);
        let Some(call) = self.calls.front() else { return false };
        let gets = opcode(head.opcode).is_some_and(|opcode| opcode.gets);
        if head.status != 0 {
            call.outcome.error = Some(Box::new(failure(head.status)));
        }
        if head.opcode == STAT {
            let row = u64::from(head.key > 0);
            let rows = call.outcome.returned_rows.unwrap_or_default();
            call.outcome.returned_rows = Some(rows.saturating_add(row));
            if row > 0 && head.status == 0 {
                return true;
            }
        } else if gets && matches!(head.status, 0 | NOT_FOUND) {
            call.outcome.returned_rows = Some(u64::from(head.status == 0));
        }
        self.calls.answered(end, out)
    }

    /// The first call is quiet, and there was nothing to be said to it before `at`.
    fn silent(&mut self, asked: Asked, at: Mark, out: &mut Vec<Step>) {
        let gets = opcode(asked.opcode).is_some_and(|opcode| opcode.gets);
        // These are answered with their key.
        let by_key = matches!(asked.opcode, GETKQ | GATKQ);
        if let Some(call) = self.calls.front().filter(|_| gets && (by_key || !asked.unclear)) {
            call.outcome.returned_rows = Some(0);
        }
        self.calls.answered(at, out);
    }
}

fn hash(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

const NOT_FOUND: u16 = 0x01;

/// What a status says, by its name in protocol_binary.h.
fn failure(status: u16) -> Failure {
    let (code, expected) = match status {
        NOT_FOUND => ("KEY_ENOENT", true),
        0x02 => ("KEY_EEXISTS", true),
        0x03 => ("E2BIG", false),
        0x04 => ("EINVAL", false),
        0x05 => ("NOT_STORED", true),
        0x06 => ("DELTA_BADVAL", false),
        0x20 => ("AUTH_ERROR", false),
        0x21 => ("AUTH_CONTINUE", true),
        0x81 => ("UNKNOWN_COMMAND", false),
        0x82 => ("ENOMEM", false),
        _ => ("", false),
    };
    Failure {
        code: if code.is_empty() {
            status.to_smolstr()
        } else {
            SmolStr::new_static(code)
        },
        sqlstate: None,
        message: SmolStr::default(),
        severity: None,
        expected,
    }
}

impl Dialect for Binary {
    const INVALID: &'static str = "protocol.memcached.invalid";
    const UNMATCHED: &'static str = "protocol.memcached.response_unmatched";

    fn read(&mut self, side: Side, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Read {
        match side {
            Side::Ask => self.ask(bytes, at, out),
            Side::Answer => self.answer(bytes, at, out),
        }
    }

    fn hole(&mut self, side: Side, length: u64, at: Mark, out: &mut Vec<Step>) -> Hole {
        let end = at.behind(length);
        let got = match side {
            Side::Ask => self.asks.hole(length),
            Side::Answer => self.answers.hole(length),
        };
        match (got, side) {
            (Some(Got::Frame(_, head)), Side::Ask) => self.asked(head, end, out),
            (Some(Got::Frame(_, head)), Side::Answer) if !self.told(head, end, out) => return Hole::Lost,
            (Some(_), _) => {}
            (None, _) => return Hole::Lost,
        }
        Hole::Within
    }

    fn restart(&mut self, _asked_unseen: bool) {
        self.asks = Frames::new(ASKS);
        self.answers = Frames::new(ANSWERS);
        self.begin = None;
        self.answer_begin = None;
        self.before = None;
        self.unclear = false;
        self.batch = 0;
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
