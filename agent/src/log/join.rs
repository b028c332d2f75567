//! From what calls wrote to whole texts: lines are joined per open file and writer, and lines that belong together.
use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::fast::RandomState;
use smol_str::SmolStr;

use super::group::Group;
use super::{RECORD_BYTES, journal};
use crate::capture::{Actor, Context, FileId, LogWrite, Pid, Stream};

/// How long more lines of a text are waited for.
const HOLD_NS: u64 = 100_000_000;
/// How long the rest of a line is waited for.
const REST_NS: u64 = 1_000_000_000;
/// Files in which something is begun.
const MAX_FILES: usize = 4_096;
/// Writers of one file that have begun something.
const MAX_WRITERS: usize = 1_024;
/// A call that writes so much and ends within a line emptied a buffer that was full: whoever empties it next goes on.
const BUFFER_BYTES: usize = 4_096;

/// A whole text that a program wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written<T> {
    /// Who wrote it, or began to.
    pub actor: Actor,
    /// What was known at that time of whom it is for.
    pub origin: T,
    /// When, `CLOCK_MONOTONIC` nanoseconds.
    pub time_ns: u64,
    /// Its call wrote other texts, too, or only a part of it: whose it is cannot be told from who wrote it.
    pub shared: bool,
    /// The standard stream it was written to.
    pub stream: Option<Stream>,
    /// The file's name.
    pub name: SmolStr,
    /// The text, without the end of its last line.
    pub text: String,
    /// What else was sent with it, by name: a message to the journal has fields.
    pub fields: Vec<(SmolStr, String)>,
}

/// Whoever writes one text at a time.
type Who = (Pid, u8, u64);

/// Every file in which something is begun.
#[derive(Debug)]
pub struct Logs<T> {
    files: HashMap<FileId, Writers<T>, RandomState>,
}

type Writers<T> = HashMap<Who, Writer<T>, RandomState>;

impl<T> Default for Logs<T> {
    fn default() -> Self {
        Self {
            files: HashMap::default(),
        }
    }
}

#[derive(Debug)]
struct Writer<T> {
    /// What the call wrote so far that is being told in several pieces.
    call: Vec<u8>,
    /// When that was, and by whom.
    call_by: Option<(u64, Actor, T)>,
    /// The beginning of a line, and when it was written.
    rest: Vec<u8>,
    rest_ns: u64,
    rest_by: Option<(Actor, T)>,
    /// It may be another's.
    rest_shared: bool,
    /// It is what did not fit into a buffer.
    torn: bool,
    /// The text that more lines may belong to.
    open: Option<(Written<T>, Group)>,
}

impl<T> Default for Writer<T> {
    fn default() -> Self {
        Self {
            call: Vec::new(),
            call_by: None,
            rest: Vec::new(),
            rest_ns: 0,
            rest_by: None,
            rest_shared: false,
            torn: false,
            open: None,
        }
    }
}

impl<T> Writer<T> {
    fn is_idle(&self) -> bool {
        self.call.is_empty() && self.rest.is_empty() && self.open.is_none()
    }
}

impl<T: Clone + PartialEq> Logs<T> {
    /// A program wrote, for `origin`. Texts that are whole are pushed to `out`, names of counters to `counts`.
    pub fn write(&mut self, write: &LogWrite, origin: &T, out: &mut Vec<Written<T>>, counts: &mut Vec<&'static str>) {
        if !is_log(write) {
            return;
        }
        if self.files.len() >= MAX_FILES && !self.files.contains_key(&write.file) {
            counts.push("logs.writers_full");
            return;
        }
        let writers = self.files.entry(write.file).or_default();
        let who = who(&write.moment.actor);
        let taken = take_torn(writers, who);
        if writers.len() >= MAX_WRITERS && !writers.contains_key(&who) {
            counts.push("logs.writers_full");
            return;
        }
        let writer = writers.entry(who).or_default();
        if let Some(rest) = taken {
            writer.rest = rest;
            writer.rest_shared = true;
            writer.rest_ns = write.moment.time_ns;
        }
        if write.more && writer.call.len() < RECORD_BYTES {
            writer.call.extend_from_slice(&write.payload);
            writer.call_by = Some((write.moment.time_ns, write.moment.actor, origin.clone()));
            return;
        }
        // It works for another now: what it began is not what it goes on with.
        if writer.rest_by.as_ref().is_some_and(|(_, begun)| begun != origin) {
            out.extend(writer.take_rest());
        }
        let before = std::mem::take(&mut writer.call);
        writer.call_by = None;
        let call = if before.is_empty() {
            Cow::Borrowed(write.payload.as_ref())
        } else {
            Cow::Owned([&before, write.payload.as_ref()].concat())
        };
        if is_message(write) {
            out.extend(message(write, origin, &call));
        } else {
            let cut = write.length > write.payload.len() as u64;
            writer.called(write, origin, &call, cut, out, counts);
        }
        if writer.is_idle() {
            writers.remove(&who);
        }
        if writers.is_empty() {
            self.files.remove(&write.file);
        }
    }

    /// Nothing is begun.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// It is `now_ns`: what nobody goes on with is whole.
    pub fn tick(&mut self, now_ns: u64, out: &mut Vec<Written<T>>) {
        self.flush(now_ns, HOLD_NS, REST_NS, out);
    }

    /// Nothing more will come.
    pub fn finish(&mut self, out: &mut Vec<Written<T>>) {
        self.flush(u64::MAX, 0, 0, out);
    }

    fn flush(&mut self, now_ns: u64, hold_ns: u64, rest_ns: u64, out: &mut Vec<Written<T>>) {
        self.files.retain(|_, writers| {
            writers.retain(|_, writer| {
                if let Some((time_ns, ..)) = &writer.call_by
                    && now_ns.saturating_sub(*time_ns) >= rest_ns
                {
                    writer.give_up_call();
                }
                let rest_is_due = now_ns.saturating_sub(writer.rest_ns) >= rest_ns;
                if let Some((open, _)) = writer
                    .open
                    .take_if(|(open, _)| now_ns.saturating_sub(open.time_ns) >= hold_ns)
                {
                    out.push(open);
                }
                if !writer.rest.is_empty() && rest_is_due {
                    out.extend(writer.take_rest());
                }
                !writer.is_idle()
            });
            !writers.is_empty()
        });
    }
}

impl<T: Clone + PartialEq> Writer<T> {
    /// A call is over that wrote `call`, `cut` if it wrote more.
    fn called(
        &mut self,
        write: &LogWrite,
        origin: &T,
        call: &[u8],
        cut: bool,
        out: &mut Vec<Written<T>>,
        counts: &mut Vec<&'static str>,
    ) {
        let first = out.len();
        let mut begun = 0_u32;
        let mut bytes = call;
        // The line that was begun is gone on with.
        let mut torn = std::mem::take(&mut self.rest_shared);
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, behind) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
            bytes = behind.get(1..).unwrap_or_default();
            let torn = std::mem::take(&mut torn);
            if self.rest.is_empty() {
                self.line(write, origin, line, torn, &mut begun, out);
            } else {
                let mut whole = std::mem::take(&mut self.rest);
                whole.extend_from_slice(line);
                self.line(write, origin, &whole, torn, &mut begun, out);
            }
        }
        self.rest.extend_from_slice(bytes);
        if self.rest.len() > RECORD_BYTES {
            self.rest.truncate(RECORD_BYTES);
            counts.push("logs.lines_cut");
        }
        self.rest_shared = torn;
        self.rest_ns = write.moment.time_ns;
        self.rest_by = (!self.rest.is_empty()).then(|| (write.moment.actor, origin.clone()));
        self.torn = call.len() >= BUFFER_BYTES;
        if cut {
            let rest = std::mem::take(&mut self.rest);
            self.line(write, origin, &rest, true, &mut begun, out);
        }
        // A call that writes several texts may empty a buffer that several requests wrote to; and one that ends within a line
        // does not write what its caller thinks of as one.
        if begun > 1 || cut || (begun > 0 && self.torn && !self.rest.is_empty()) {
            for written in out.iter_mut().skip(first) {
                written.shared |= written.time_ns == write.moment.time_ns;
            }
            if let Some((open, _)) = &mut self.open {
                open.shared |= open.time_ns == write.moment.time_ns;
            }
        }
    }

    /// The last piece of a call was lost: what came of it is told as it is.
    fn give_up_call(&mut self) {
        let call = std::mem::take(&mut self.call);
        if let Some((time_ns, actor, origin)) = self.call_by.take() {
            // Which of its lines would have been a record's is not known.
            self.rest
                .extend(call.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
            self.rest.truncate(RECORD_BYTES);
            self.rest_ns = time_ns;
            self.rest_shared = true;
            self.rest_by.get_or_insert((actor, origin));
        }
    }

    /// The line that was begun, which nobody goes on with.
    fn take_rest(&mut self) -> Option<Written<T>> {
        let rest = std::mem::take(&mut self.rest);
        let (actor, origin) = self.rest_by.take()?;
        let text = clean(&rest);
        (!text.trim().is_empty()).then(|| Written {
            actor,
            origin,
            time_ns: self.rest_ns,
            shared: std::mem::take(&mut self.rest_shared),
            stream: None,
            name: SmolStr::default(),
            text,
            fields: Vec::new(),
        })
    }

    /// A line is whole.
    fn line(
        &mut self,
        write: &LogWrite,
        origin: &T,
        bytes: &[u8],
        shared: bool,
        begun: &mut u32,
        out: &mut Vec<Written<T>>,
    ) {
        let line = clean(bytes);
        if let Some((open, group)) = &mut self.open {
            let same_call = open.time_ns == write.moment.time_ns;
            if open.text.len().saturating_add(line.len()) < RECORD_BYTES && group.takes(&line, same_call) {
                open.text.push('\n');
                open.text.push_str(&line);
                return;
            }
        }
        if let Some((open, _)) = self.open.take() {
            out.push(open);
        }
        if line.trim().is_empty() {
            return;
        }
        *begun = begun.saturating_add(1);
        let group = Group::begin(&line);
        let written = Written {
            actor: write.moment.actor,
            origin: origin.clone(),
            time_ns: write.moment.time_ns,
            shared,
            stream: write.stream,
            name: write.name.clone(),
            text: line,
            fields: Vec::new(),
        };
        self.open = Some((written, group));
    }
}

/// Whether it was sent to a service.
const fn is_message(write: &LogWrite) -> bool {
    matches!(write.stream, Some(Stream::Syslog | Stream::Journal))
}

/// A message to a service: it is whole, whatever it holds.
fn message<T: Clone>(write: &LogWrite, origin: &T, payload: &[u8]) -> Option<Written<T>> {
    let (text, fields) = match write.stream {
        Some(Stream::Journal) => journal::parse(payload),
        _ => (payload.strip_suffix(b"\0").unwrap_or(payload).to_vec(), Vec::new()),
    };
    let lines: Vec<String> = text.split(|byte| *byte == b'\n').map(clean).collect();
    let text = lines.join("\n");
    let text = text.get(..text.floor_char_boundary(RECORD_BYTES)).unwrap_or_default();
    let fields = fields.into_iter().map(|(name, value)| (name, clean(&value)));
    (!text.trim().is_empty()).then(|| Written {
        actor: write.moment.actor,
        origin: origin.clone(),
        time_ns: write.moment.time_ns,
        shared: false,
        stream: write.stream,
        name: SmolStr::default(),
        text: text.to_owned(),
        fields: fields.collect(),
    })
}

/// The rest of a line that another writer's full buffer left.
fn take_torn<T>(writers: &mut Writers<T>, who: Who) -> Option<Vec<u8>> {
    let torn = |(other, writer): &(&Who, &mut Writer<T>)| **other != who && writer.torn && !writer.rest.is_empty();
    let (_, writer) = writers.iter_mut().find(torn)?;
    writer.torn = false;
    Some(std::mem::take(&mut writer.rest))
}

/// Whoever writes one text at a time: a thread may be left by what runs on it between two calls.
fn who(actor: &Actor) -> Who {
    let (kind, id) = match actor.context {
        Context::Thread | Context::Unknown | Context::Java(0) => (0, u64::from(actor.tid)),
        Context::Goroutine(id) => (1, id),
        Context::Python(id) => (2, id),
        Context::Tokio(id) => (3, id),
        Context::Node(id) => (4, id),
        Context::Java(id) => (5, id),
        Context::Handed(id) => (6, id),
    };
    (actor.pid, kind, id)
}

/// Whether it is text, and a file that is none of the standard streams is called like a log: databases append to files, too.
fn is_log(write: &LogWrite) -> bool {
    let called_so = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.contains("log") || name.ends_with(".out") || name.ends_with(".err") || name.ends_with(".txt")
    };
    is_message(write) || ((write.stream.is_some() || called_so(&write.name)) && !write.payload.contains(&0))
}

/// A line without what only a terminal understands (ECMA-48 control sequences), and without other control characters.
fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    // Nearly all lines are clean. Control characters beyond ASCII begin with this byte in UTF-8.
    const BEYOND: u8 = 0xc2;
    let is_clean = |byte: u8| (byte >= b' ' && byte != 0x7f && byte != BEYOND) || byte == b'\t';
    if text.len() < RECORD_BYTES && text.bytes().all(is_clean) {
        return text.into_owned();
    }
    let mut out = String::with_capacity(text.len().min(RECORD_BYTES));
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' if letters.next_if_eq(&'[').is_some() => {
                // Parameters, then one final byte.
                while letters.next_if(|letter| matches!(letter, ' '..='?')).is_some() {}
                letters.next_if(|letter| matches!(letter, '@'..='~'));
            }
            '\t' => out.push('\t'),
            letter if letter.is_control() => {}
            letter => out.push(letter),
        }
        if out.len() >= RECORD_BYTES {
            break;
        }
    }
    out
}
