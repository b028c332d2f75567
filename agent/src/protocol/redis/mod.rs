//! Redis: RESP 2 and 3.
//!
//! Each command is an exchange and has one answer, but for those that have none or several: subscriptions are confirmed one by
//! one, `CLIENT REPLY` may silence the server, and behind `MONITOR` and `PSYNC` the connection carries no calls any more.
//! Pushes come unasked: RESP 3 marks them, RESP 2 begins them with a word.
//!
//! A message that a program puts into a list for others to take is told as a message, and handed over with the answer to who waited for it.
mod command;
mod queued;
mod resp;

use super::calls::{Calls, MAX_CALLS};
use super::message::{self, Action, Settled};
use super::ordered::{Dialect, Hole, Ordered, Read, Side};
use super::{Broken, Exchange, Limits, Mark, Parser, Recognized, RequestHead, Start, Step};
use crate::protocol::call::Failure;
use command::{Asked, Special, Word};
use queued::{MAX_MESSAGE, Queued};
use resp::{Got, KEPT, Reader, Sink};
use smol_str::SmolStr;

/// Longest name of a command.
const MAX_NAME: usize = 32;

/// A parser for one connection.
pub(super) fn parser(start: &Start) -> Box<dyn Parser> {
    let asks = start.direction;
    let dialect = Redis {
        limits: start.limits,
        calls: Calls::new(asks, start),
        asks: Reader::new(true),
        answers: Reader::new(false),
        asked: Asked::default(),
        answer: Answer::default(),
        namespace: start.from_beginning.then_some(SmolStr::new_static("0")),
        transaction: None,
        subscribed: false,
        silent: false,
        skips: false,
        streams: false,
        takes: false,
        doubtful: is_ping(&start.bytes),
    };
    Box::new(Ordered::new(dialect, start, asks, false))
}

/// Whether bytes begin with a command: an array of bulk strings, the first a word. Of commands in a line only `PING` is
/// unlike what other protocols say.
pub(super) fn recognize(bytes: &[u8]) -> Recognized {
    let ping = b"PING\r\n";
    if bytes.len() < ping.len() && !bytes.is_empty() && ping.iter().zip(bytes).all(|(a, b)| a.eq_ignore_ascii_case(b)) {
        return Recognized::More;
    }
    if is_ping(bytes) {
        return Recognized::Yes;
    }
    let mut rest = bytes;
    for (kind, most) in [(b'*', 1 << 20), (b'$', MAX_NAME)] {
        match rest.split_first() {
            None => return Recognized::More,
            Some((first, behind)) if *first == kind => rest = behind,
            Some(_) => return Recognized::No,
        }
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, behind) = rest.split_at_checked(digits).unwrap_or((rest, &[]));
        let value = std::str::from_utf8(number)
            .ok()
            .and_then(|text| text.parse::<usize>().ok());
        // No client begins a number with 0, and what is said of its beginning has to hold for all of it.
        let sound = digits <= 7
            && number.first() != Some(&b'0')
            && (digits == 0 || value.is_some_and(|value| (1..=most).contains(&value)));
        match behind {
            _ if !sound => return Recognized::No,
            [] => return Recognized::More,
            [b'\r'] if digits > 0 => return Recognized::More,
            [b'\r', b'\n', behind @ ..] if digits > 0 => rest = behind,
            _ => return Recognized::No,
        }
    }
    match rest.first() {
        Some(letter) if letter.is_ascii_alphabetic() => Recognized::Yes,
        Some(_) => Recognized::No,
        None => Recognized::More,
    }
}

/// Whether bytes begin with the command `PING` in a line.
fn is_ping(bytes: &[u8]) -> bool {
    let ping = b"PING\r\n";
    bytes
        .get(..ping.len())
        .is_some_and(|begin| begin.eq_ignore_ascii_case(ping))
}

/// One connection.
struct Redis {
    limits: Limits,
    calls: Calls<Special>,
    asks: Reader,
    answers: Reader,
    /// The command being read.
    asked: Asked,
    /// The answer being read.
    answer: Answer,
    /// The database, where it is known.
    namespace: Option<SmolStr>,
    /// The offset of the `MULTI` that is open.
    transaction: Option<u64>,
    /// Pushes may come.
    subscribed: bool,
    /// The server answers nothing (`CLIENT REPLY OFF`), or not the next command.
    silent: bool,
    skips: bool,
    /// The connection carries no calls any more.
    streams: bool,
    /// The client has waited for what lists hold.
    takes: bool,
    /// It was recognized by a `PING` in a line, which either end of NATS says as well, and nothing has been answered yet.
    doubtful: bool,
}

/// What is known of an answer.
#[derive(Debug, Default)]
struct Answer {
    begin: Option<Mark>,
    /// The first byte of the value.
    kind: u8,
    /// Values in it, if it is an aggregate.
    count: u64,
    /// Values in it that are not there.
    absent: u64,
    /// The first text in an aggregate.
    word: Word,
    /// An error, and whether it lies within an array.
    error: Option<(SmolStr, bool)>,
    /// Whether it may be a list and what was taken out of it.
    pops: bool,
    list: Option<Vec<u8>>,
    queued: Queued,
}

impl Answer {
    /// The next byte begins an answer.
    fn begin(&mut self, at: Mark, pops: bool) {
        self.begin = Some(at);
        self.pops = pops;
        self.list = None;
        self.queued = Queued::Other;
        self.kind = 0;
        self.count = 0;
        self.absent = 0;
        self.word.clear();
        self.error = None;
    }
}

impl Sink for Answer {
    fn keeps(&self) -> usize {
        if self.list.is_some() { MAX_MESSAGE } else { KEPT }
    }

    fn leaf(&mut self, depth: usize, kind: u8, content: &[u8]) {
        if depth == 0 {
            self.kind = kind;
        }
        if matches!(kind, b'-' | b'!') && depth <= 1 && self.error.is_none() {
            self.error = Some((SmolStr::from(String::from_utf8_lossy(content)), depth > 0));
        }
        if depth == 1 && kind == b'_' {
            self.absent = self.absent.saturating_add(1);
        }
        if depth == 1 && matches!(kind, b'$' | b'+') && self.word.bytes().is_empty() {
            self.word.set(content);
        }
        if self.pops && depth == 1 && kind == b'$' {
            match &self.list {
                None => self.list = Some(content.to_vec()),
                Some(list) => {
                    self.queued = Queued::of(list, content, Action::Deliver);
                    self.pops = false;
                }
            }
        }
    }

    fn aggregate(&mut self, depth: usize, kind: u8, count: u64) {
        if depth == 0 {
            self.kind = kind;
            self.count = count;
        }
    }
}

impl Redis {
    fn ask(&mut self, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Read {
        if self.streams {
            return Read::All;
        }
        if self.calls.len() >= MAX_CALLS {
            out.push(Step::Count("protocol.redis.pipeline_too_long"));
            return Read::Mismatch;
        }
        if self.asks.between() {
            self.asked.begin(at, self.limits.values);
        }
        match self.asks.read(bytes, &mut self.asked) {
            Got::More => Read::All,
            Got::Value(taken) => {
                self.command(at.behind(taken as u64), out);
                Read::Asked(taken)
            }
            Got::Invalid => Read::Invalid,
        }
    }

    /// A command is complete.
    fn command(&mut self, end: Mark, out: &mut Vec<Step>) {
        let queued = self.asked.take_queued();
        let Some((begin, command, special)) = self.asked.take() else {
            return;
        };
        match &special {
            Special::Pops => self.takes = true,
            Special::Streams => self.streams = true,
            Special::Subscribe(_) => self.subscribed = true,
            _ => {}
        }
        let before = self.namespace.clone();
        let unanswered = match &special {
            Special::Reply(false) => {
                self.silent = true;
                true
            }
            Special::Skip => {
                self.skips = true;
                true
            }
            Special::Reply(true) => {
                self.silent = false;
                false
            }
            _ => self.silent || std::mem::take(&mut self.skips),
        };
        let special = match special {
            // What follows in a pipeline is of the new database already.
            Special::Select(name) => {
                self.namespace = Some(name);
                Special::Selected(before.clone())
            }
            other => other,
        };
        match queued {
            Queued::Message(message) => {
                self.calls
                    .ask(begin, end, RequestHead::Message(message), Special::Queues, out);
            }
            queued => {
                unread(&queued, out);
                let call = command::call(command, before);
                self.calls.ask(begin, end, call, special, out);
            }
        }
        if unanswered || self.streams {
            self.calls.unanswered(end, out);
        }
    }

    fn answer(&mut self, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Read {
        let mut taken = 0_usize;
        while let Some(left) = bytes.get(taken..).filter(|left| !left.is_empty() && !self.streams) {
            let here = at.behind(taken as u64);
            if self.answers.between() {
                let pushed = self.subscribed || left.first() == Some(&b'>');
                if self.calls.len() == 0 && !pushed {
                    return Read::Early(taken);
                }
                let pops = self.calls.first().is_some_and(|call| call.what == Special::Pops);
                self.answer.begin(here, pops);
            }
            match self.answers.read(left, &mut self.answer) {
                Got::More => return Read::All,
                Got::Value(more) => {
                    taken = taken.saturating_add(more);
                    if !self.told(at.behind(taken as u64), out) {
                        return Read::Mismatch;
                    }
                    if self.calls.len() == 0 {
                        return Read::Answered(taken);
                    }
                }
                Got::Invalid => return Read::Invalid,
            }
        }
        Read::All
    }

    /// An answer, or a push, is complete. Whether it fits.
    fn told(&mut self, end: Mark, out: &mut Vec<Step>) -> bool {
        let answer = &self.answer;
        let kind = answer.kind;
        let word = answer.word.bytes();
        let is_push = kind == b'>' || (self.subscribed && kind == b'*' && command::is_push(word));
        let confirmed = self
            .calls
            .first()
            .is_some_and(|call| matches!(call.what, Special::Subscribe(_)) && command::confirms(word));
        if is_push && !confirmed {
            return true;
        }
        let queued = std::mem::take(&mut self.answer.queued);
        let answer = &self.answer;
        let Some(begin) = answer.begin else { return true };
        self.calls.seen(begin);
        let Some(call) = self.calls.front() else {
            return false;
        };
        if let (Special::Subscribe(left), true) = (&mut *call.what, confirmed) {
            *left = left.saturating_sub(1);
            if *left > 0 {
                return true;
            }
        }
        if let Some((text, within)) = &answer.error
            && (!within || *call.what == Special::Exec)
        {
            call.outcome.error = Some(Box::new(self::failed(text, call.what)));
        }
        let failed = answer.error.as_ref().is_some_and(|(_, within)| !within);
        if *call.what == Special::Lookup {
            // Within a transaction it is queued, and answered later.
            call.outcome.returned_rows = match kind {
                b'_' => Some(0),
                b'$' => Some(1),
                b'*' => Some(answer.count.saturating_sub(answer.absent)),
                _ => None,
            };
        }
        if *call.what == Special::Multi && !failed {
            self.transaction = Some(call.offset);
        }
        if *call.what == Special::Queues {
            // Within a transaction it is not done yet.
            let outcome = message::Outcome {
                settled: (kind == b':').then_some(Settled::Accepted),
                error: call.outcome.error.take(),
                ..message::Outcome::default()
            };
            return self.calls.answered_with(end, outcome, out);
        }
        call.outcome.transaction = self.transaction;
        match call.what {
            // A failed `EXEC` has discarded what was queued.
            Special::Exec | Special::Discard => self.transaction = None,
            Special::Selected(before) if failed => self.namespace = before.take(),
            _ => {}
        }
        unread(&queued, out);
        let fits = self.calls.answered(end, out);
        if let Queued::Message(message) = queued {
            self.calls.handed(message, begin, end, out);
        }
        fits
    }
}

/// Tells of what begins like a message and is none that is known.
fn unread(queued: &Queued, out: &mut Vec<Step>) {
    if *queued == Queued::Unread {
        out.push(Step::Count("protocol.redis.message_unread"));
    }
}

impl Dialect for Redis {
    const INVALID: &'static str = "protocol.redis.invalid";
    const UNMATCHED: &'static str = "protocol.redis.response_unmatched";

    fn read(&mut self, side: Side, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Read {
        match side {
            Side::Ask => self.ask(bytes, at, out),
            Side::Answer => self.answer(bytes, at, out),
        }
    }

    fn refuted(&mut self, answer: &[u8], out: &mut Vec<Step>) -> bool {
        // `PONG`, which no value of Redis begins like: it is NATS, and nothing was called.
        let refuted = std::mem::take(&mut self.doubtful) && answer.first() == Some(&b'P');
        if refuted {
            self.calls.withdraw(out);
        }
        refuted
    }

    fn hole(&mut self, side: Side, length: u64, at: Mark, out: &mut Vec<Step>) -> Hole {
        if self.streams {
            return Hole::Within;
        }
        let end = at.behind(length);
        let ended = match side {
            Side::Ask => self.asks.hole(length, &mut self.asked),
            Side::Answer => self.answers.hole(length, &mut self.answer),
        };
        match (ended, side) {
            (None, _) => return Hole::Lost,
            (Some(true), Side::Ask) => self.command(end, out),
            (Some(true), Side::Answer) if !self.told(end, out) => return Hole::Lost,
            _ => {}
        }
        Hole::Within
    }

    fn restart(&mut self, asked_unseen: bool) {
        self.asks.restart();
        self.answers.restart();
        self.asked = Asked::default();
        self.answer = Answer::default();
        self.transaction = None;
        if asked_unseen {
            self.namespace = None;
            self.silent = false;
            self.skips = false;
        }
    }

    fn takes_work(&self) -> bool {
        self.takes
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
        // Values of an array that were not seen may have been errors: nothing is told of the outcome.
        self.transaction = None;
        self.calls.answered(end, out);
    }

    fn closed(&mut self, _at: Mark, _out: &mut Vec<Step>) {}
}

/// What an error says: its first word is its code.
fn failed(text: &str, asked: &Special) -> Failure {
    let (code, message) = text.split_once(' ').unwrap_or((text, ""));
    Failure {
        code: code.into(),
        message: message.into(),
        sqlstate: None,
        severity: None,
        expected: matches!(code, "MOVED" | "ASK") || *asked == Special::Introduced,
    }
}

#[cfg(test)]
mod tests;
