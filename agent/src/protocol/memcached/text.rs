//! The text protocol (memcached's doc/protocol.txt).
//!
//! ```text
//! set key flags expires 5 [noreply]\r\nvalue\r\n      STORED\r\n
//! get key key\r\n                                     VALUE key flags 5\r\nvalue\r\nEND\r\n
//! mg key v\r\n                                        VA 5\r\nvalue\r\n
//! ```
use smol_str::SmolStr;

use super::lines::{Got, Lines};
use super::{MAX_KEY, MAX_VALUE};
use crate::protocol::call::Failure;
use crate::protocol::calls::{Calls, MAX_CALLS};
use crate::protocol::ordered::{Dialect, Hole, Read, Side};
use crate::protocol::{Broken, DETECT_BYTES, Exchange, Limits, Mark, Recognized, Start, Step};

/// One connection.
pub(super) struct Text {
    limits: Limits,
    calls: Calls<Expects>,
    asks: Lines,
    answers: Lines,
    /// Where the command or the line being read began, of each direction.
    begin: Option<Mark>,
    answer_begin: Option<Mark>,
    /// A command whose data have not come.
    asking: Option<Asked>,
    /// Quiet commands came since the last that is not: their answers may come first.
    quiet: bool,
    /// The connection carries no calls any more.
    streams: bool,
}

/// What answers a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expects {
    /// One line, which begins with one of these words.
    Word(&'static [&'static [u8]]),
    /// One line, which is a number or says that there is none.
    Number,
    /// One line.
    Line,
    /// Values, and a line that ends them.
    Values,
    /// Lines, and one that ends them.
    Lines,
    /// A line that says with its first word whether a value follows.
    Meta,
    /// `MN`, behind what quiet commands had to say if there were any.
    Nothing { quiet: bool },
    /// There were quiet commands: which answer is whose cannot be told.
    Unclear,
    /// No answer at all.
    Silence,
    /// A line that says that there is no such command: what goes on where data were longer than was said is read as commands.
    Refusal,
}

/// A line that asks.
#[derive(Clone, Copy, Debug)]
struct Command {
    expects: Expects,
    /// Length of the data that follow.
    data: Option<u64>,
    /// It may be answered with nothing.
    quiet: bool,
}

/// A command whose line has come.
struct Asked {
    call: crate::protocol::call::Call,
    expects: Expects,
    quiet: bool,
}

impl Text {
    pub(super) fn new(start: &Start) -> Self {
        Self {
            limits: start.limits,
            calls: Calls::new(start.direction, start),
            asks: Lines::default(),
            answers: Lines::default(),
            begin: None,
            answer_begin: None,
            asking: None,
            quiet: false,
            streams: false,
        }
    }

    fn ask(&mut self, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Read {
        if self.streams {
            return Read::All;
        }
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
            Got::Data(taken) => {
                self.asked(at.behind(taken as u64), out);
                Read::Asked(taken)
            }
            Got::Line(taken) => {
                let line = self.asks.line(bytes, taken);
                let Some(command) = command(line) else {
                    return Read::Invalid;
                };
                let mut words = words(line);
                let name = words.next().unwrap_or_default();
                self.streams = name == b"watch";
                let name = if command.expects == Expects::Refusal {
                    SmolStr::new_static("_OTHER")
                } else {
                    SmolStr::from(String::from_utf8_lossy(name))
                };
                self.asking = Some(Asked {
                    call: super::call(name, words, self.limits.values),
                    expects: command.expects,
                    quiet: command.quiet,
                });
                match command.data {
                    Some(length) => self.asks.data(length),
                    None => self.asked(at.behind(taken as u64), out),
                }
                Read::Asked(taken)
            }
        }
    }

    /// A command is complete.
    fn asked(&mut self, end: Mark, out: &mut Vec<Step>) {
        let (Some(Asked { call, expects, quiet }), Some(begin)) = (self.asking.take(), self.begin.take()) else {
            return;
        };
        let before = !quiet && std::mem::take(&mut self.quiet);
        self.quiet |= quiet && expects == Expects::Meta;
        let expects = match expects {
            Expects::Nothing { .. } => Expects::Nothing { quiet: before },
            _ if before => Expects::Unclear,
            other => other,
        };
        self.calls.ask(begin, end, call, expects, out);
        if quiet || self.streams || expects == Expects::Silence {
            self.calls.unanswered(end, out);
        }
    }

    fn answer(&mut self, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Read {
        let mut taken = 0_usize;
        while let Some(left) = bytes.get(taken..).filter(|left| !left.is_empty() && !self.streams) {
            let here = at.behind(taken as u64);
            if self.answers.between() {
                if self.calls.len() == 0 {
                    return Read::Early(taken);
                }
                self.answer_begin = Some(here);
            }
            let (more, read) = match self.answers.read(left) {
                Got::More => return Read::All,
                Got::Invalid => return Read::Invalid,
                Got::Data(more) => {
                    self.data(here.behind(more as u64), out);
                    (more, Ok(None))
                }
                Got::Line(more) => {
                    let line = self.answers.line(left, more);
                    let begin = self.answer_begin.unwrap_or(here);
                    (more, told(&mut self.calls, line, begin, here.behind(more as u64), out))
                }
            };
            match read {
                Ok(Some(length)) => self.answers.data(length),
                Ok(None) => {}
                Err(read) => return read,
            }
            taken = taken.saturating_add(more);
            if self.answers.between() && self.calls.len() == 0 {
                return Read::Answered(taken);
            }
        }
        Read::All
    }

    /// A value is complete.
    fn data(&mut self, end: Mark, out: &mut Vec<Step>) {
        let begin = self.answer_begin.unwrap_or(end);
        self.calls.seen(begin);
        if self.calls.first().is_some_and(|call| call.what == Expects::Meta) {
            self.calls.answered(end, out);
        }
    }
}

/// A line of an answer; the length of the data that follow it.
fn told(
    calls: &mut Calls<Expects>,
    line: &[u8],
    begin: Mark,
    end: Mark,
    out: &mut Vec<Step>,
) -> Result<Option<u64>, Read> {
    calls.seen(begin);
    let Some(call) = calls.front() else {
        return Err(Read::Mismatch);
    };
    let mut words = words(line);
    let first = words.next().unwrap_or_default();
    let mut length = |place: usize| {
        let length = words.nth(place).and_then(number).filter(|length| *length <= MAX_VALUE);
        length.ok_or(Read::Invalid)
    };
    match (*call.what, first) {
        (Expects::Unclear, _) => return Err(Read::Mismatch),
        (Expects::Nothing { .. }, b"MN") => {}
        (Expects::Nothing { quiet: true }, b"VA") => return length(0).map(Some),
        (Expects::Nothing { quiet: true }, _) if is_known(first) => return Ok(None),
        (_, b"ERROR" | b"CLIENT_ERROR" | b"SERVER_ERROR") => call.outcome.error = Some(Box::new(failure(line, false))),
        (Expects::Values, b"VALUE") => {
            let length = length(2)?;
            let rows = &mut call.outcome.returned_rows;
            *rows = Some(rows.unwrap_or_default().saturating_add(1));
            return Ok(Some(length));
        }
        (Expects::Values, b"END") => {
            call.outcome.returned_rows.get_or_insert(0);
        }
        (Expects::Lines, b"END" | b"RESET" | b"OK" | b"EN" | b"BUSY" | b"BADCLASS") => {}
        (Expects::Lines, b"STAT" | b"ITEM" | b"PREFIX" | b"mg") => return Ok(None),
        (Expects::Lines, _) if first.starts_with(b"key=") => return Ok(None),
        (Expects::Meta, b"VA") => {
            let length = length(0)?;
            call.outcome.returned_rows = Some(1);
            return Ok(Some(length));
        }
        (Expects::Meta, b"HD" | b"OK" | b"ME") => {}
        (Expects::Meta, b"EN" | b"NS" | b"EX" | b"NF") => call.outcome.error = Some(Box::new(failure(first, true))),
        (Expects::Word(known), _) if known.contains(&first) => {
            // The first of the words is what is hoped for.
            if known.first() != Some(&first) {
                call.outcome.error = Some(Box::new(failure(first, true)));
            }
        }
        (Expects::Number, b"NOT_FOUND") => call.outcome.error = Some(Box::new(failure(first, true))),
        (Expects::Number, _) if number(first).is_some() => {}
        (Expects::Line | Expects::Refusal, _) if is_known(first) => {}
        _ if is_known(first) || number(first).is_some() => return Err(Read::Mismatch),
        _ => return Err(Read::Invalid),
    }
    calls.answered(end, out);
    Ok(None)
}

/// Whether memcached begins lines with this word.
fn is_known(word: &[u8]) -> bool {
    const WORDS: [&[u8]; 34] = [
        b"STORED",
        b"NOT_STORED",
        b"EXISTS",
        b"NOT_FOUND",
        b"DELETED",
        b"TOUCHED",
        b"OK",
        b"VERSION",
        b"RESET",
        b"END",
        b"VALUE",
        b"STAT",
        b"ITEM",
        b"PREFIX",
        b"ERROR",
        b"CLIENT_ERROR",
        b"SERVER_ERROR",
        b"HD",
        b"VA",
        b"EN",
        b"NS",
        b"EX",
        b"NF",
        b"ME",
        b"MN",
        b"BUSY",
        b"BADCLASS",
        b"NOSPARE",
        b"NOTFULL",
        b"UNSAFE",
        b"SAME",
        b"INVALID",
        b"LOADED",
        b"mg",
    ];
    WORDS.contains(&word)
}

impl Dialect for Text {
    const INVALID: &'static str = "protocol.memcached.invalid";
    const UNMATCHED: &'static str = "protocol.memcached.response_unmatched";

    fn read(&mut self, side: Side, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Read {
        match side {
            Side::Ask => self.ask(bytes, at, out),
            Side::Answer => self.answer(bytes, at, out),
        }
    }

    fn hole(&mut self, side: Side, length: u64, at: Mark, out: &mut Vec<Step>) -> Hole {
        if self.streams {
            return Hole::Within;
        }
        let end = at.behind(length);
        let ended = match side {
            Side::Ask => self.asks.hole(length),
            Side::Answer => self.answers.hole(length),
        };
        match (ended, side) {
            (None, _) => return Hole::Lost,
            (Some(true), Side::Ask) => self.asked(end, out),
            (Some(true), Side::Answer) => self.data(end, out),
            _ => {}
        }
        Hole::Within
    }

    fn restart(&mut self, _asked_unseen: bool) {
        self.asks = Lines::default();
        self.answers = Lines::default();
        self.begin = None;
        self.answer_begin = None;
        self.asking = None;
        self.quiet = false;
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
        // How many values there were is not known.
        if let Some(call) = self.calls.front() {
            call.outcome.returned_rows = None;
        }
        self.calls.answered(end, out);
    }

    fn closed(&mut self, _at: Mark, _out: &mut Vec<Step>) {}

    fn wants_bytes(&self) -> bool {
        !self.streams
    }
}

/// What a line asks; none if it cannot be a command's.
fn command(line: &[u8]) -> Option<Command> {
    let mut rest = words(line);
    let name = rest.next()?;
    let noreply = line.ends_with(b" noreply");
    let mut data = None;
    let length = |word: Option<&[u8]>| word.and_then(number).filter(|length| *length <= MAX_VALUE);
    let (expects, quiet) = match name {
        b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas" => {
            data = Some(length(rest.nth(3))?);
            (
                Expects::Word(&[b"STORED", b"NOT_STORED", b"EXISTS", b"NOT_FOUND"]),
                noreply,
            )
        }
        b"get" | b"gets" | b"gat" | b"gats" => (Expects::Values, false),
        b"incr" | b"decr" => (Expects::Number, noreply),
        b"delete" => (Expects::Word(&[b"DELETED", b"NOT_FOUND"]), noreply),
        b"touch" => (Expects::Word(&[b"TOUCHED", b"NOT_FOUND"]), noreply),
        b"verbosity" | b"flush_all" | b"cache_memlimit" => (Expects::Word(&[b"OK"]), noreply),
        b"version" => (Expects::Word(&[b"VERSION"]), false),
        b"quit" | b"shutdown" => (Expects::Silence, false),
        b"stats" | b"lru_crawler" => (Expects::Lines, false),
        b"slabs" | b"lru" | b"extstore" | b"refresh_certs" | b"watch" => (Expects::Line, false),
        b"mn" => (Expects::Nothing { quiet: false }, false),
        b"ms" => {
            data = Some(length(rest.nth(1))?);
            (Expects::Meta, is_quiet(rest))
        }
        b"mg" | b"md" | b"ma" => {
            rest.next()?;
            (Expects::Meta, is_quiet(rest))
        }
        b"me" => (Expects::Meta, false),
        _ if is_text(line) => (Expects::Refusal, false),
        _ => return None,
    };
    Some(Command { expects, data, quiet })
}

/// Whether one of a meta command's flags, a letter each with what belongs to it, asks not to be answered with what is usual.
fn is_quiet<'a>(mut flags: impl Iterator<Item = &'a [u8]>) -> bool {
    flags.any(|flag| flag == b"q")
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    line.split(|byte| *byte == b' ').filter(|word| !word.is_empty())
}

fn is_text(line: &[u8]) -> bool {
    line.iter().all(|byte| *byte >= b' ' && *byte != 0x7f)
}

fn number(word: &[u8]) -> Option<u64> {
    if word.is_empty() || word.len() > 20 {
        return None;
    }
    let mut value = 0_u64;
    for digit in word {
        let digit = u64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
    Some(value)
}

/// `CLIENT_ERROR bad data chunk`.
fn failure(line: &[u8], expected: bool) -> Failure {
    let line = String::from_utf8_lossy(line);
    let (code, message) = line.split_once(' ').unwrap_or((&line, ""));
    Failure {
        code: SmolStr::new(code),
        sqlstate: None,
        message: SmolStr::new(message),
        severity: None,
        expected,
    }
}

/// Whether bytes begin with a command that others do not have, with arguments of the right kinds.
pub(super) fn recognize(bytes: &[u8]) -> Recognized {
    const NAMES: [&[u8]; 18] = [
        b"set",
        b"add",
        b"replace",
        b"append",
        b"prepend",
        b"cas",
        b"get",
        b"gets",
        b"gat",
        b"gats",
        b"incr",
        b"decr",
        b"delete",
        b"touch",
        b"mg",
        b"ms",
        b"mn\r",
        b"version\r",
    ];
    if bytes.first().is_some_and(|first| !first.is_ascii_lowercase()) {
        return Recognized::No;
    }
    let end = memchr::memchr(b'\n', bytes);
    let line = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
    let name = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    let is_named = name.len() < line.len() || end.is_some();
    let known = |known: &&[u8]| {
        if is_named {
            *known == name
        } else {
            known.starts_with(name)
        }
    };
    let text = line.strip_suffix(b"\r").unwrap_or(line);
    if !NAMES.iter().any(known) || !is_text(text) {
        return Recognized::No;
    }
    match end {
        None if bytes.len() < DETECT_BYTES => Recognized::More,
        // Many keys in one line.
        None if matches!(name, b"get" | b"gets") => Recognized::Yes,
        Some(_) if line.len() > text.len() && is_shaped(text) => Recognized::Yes,
        _ => Recognized::No,
    }
}

/// Whether a line is a command with arguments of the right kinds.
fn is_shaped(line: &[u8]) -> bool {
    let mut words = words(line);
    let name = words.next().unwrap_or_default();
    if matches!(name, b"version" | b"mn") {
        return words.next().is_none();
    }
    let is_key = |word: Option<&[u8]>| word.is_some_and(|key| key.len() <= MAX_KEY);
    let is_number =
        |word: Option<&[u8]>| word.is_some_and(|word| number(word.strip_prefix(b"-").unwrap_or(word)).is_some());
    match name {
        b"gat" | b"gats" => is_number(words.next()) && is_key(words.next()),
        b"get" | b"gets" | b"mg" => is_key(words.next()),
        b"delete" => is_key(words.next()) && words.all(|word| matches!(word, b"0" | b"noreply")),
        b"incr" | b"decr" | b"touch" | b"ms" => is_key(words.next()) && is_number(words.next()),
        _ => is_key(words.next()) && (0..3).all(|_| is_number(words.next())),
    }
}
