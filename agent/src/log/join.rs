//! From what calls wrote to whole texts: lines are joined per open file and writer, and lines that belong together.
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap};

use foldhash::fast::RandomState;
use smol_str::SmolStr;

use super::group::Group;
use super::{RECORD_BYTES, journal};
use crate::capture::{Actor, Context, FileId, LogWrite, Pid, Stream};

/// How long more lines of a text are waited for.
const HOLD_NS: u64 = 100_000_000;
/// How long the rest of a line is waited for.
const REST_NS: u64 = 1_000_000_000;
/// Writers that have begun something: each goroutine that logs is one for as long as more lines of its text are waited for.
const MAX_WRITERS: usize = 32_768;
/// About the most memory that what they have begun takes.
const MAX_BYTES: usize = 32 << 20;
/// Most of a call that is gathered before its lines are told.
const CALL_BYTES: usize = 256 << 10;
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
    /// The file's name; empty of standard streams.
    pub name: SmolStr,
    /// The text, without the end of its last line.
    pub text: String,
    /// What else was sent with it, by name: a message to the journal has fields.
    pub fields: Vec<(SmolStr, String)>,
}

/// Whoever writes one text at a time.
type Who = (Pid, u8, u64);
/// Who, to which file.
type Key = (FileId, Who);

/// Everything that is begun, in any file.
#[derive(Debug)]
pub struct Logs<T> {
    writers: HashMap<Key, Writer<T>, RandomState>,
    /// Whose full buffer ended within a line, by process: those that share the file have buffers of their own.
    torn: HashMap<(FileId, Pid), Who, RandomState>,
    /// When each writer is looked at again, whoever is next at the top.
    due: BinaryHeap<Reverse<(u64, Key)>>,
    /// About how much memory what they have begun takes.
    bytes: usize,
}

impl<T> Default for Logs<T> {
    fn default() -> Self {
        Self {
            writers: HashMap::default(),
            torn: HashMap::default(),
            due: BinaryHeap::new(),
            bytes: 0,
        }
    }
}

/// Who wrote, for whom, and where to.
#[derive(Clone, Debug)]
struct By<T> {
    actor: Actor,
    origin: T,
    stream: Option<Stream>,
    name: SmolStr,
}

impl<T: Clone> By<T> {
    fn of(write: &LogWrite, origin: &T) -> Self {
        Self {
            actor: write.moment.actor,
            origin: origin.clone(),
            stream: write.stream,
            name: write.name.clone(),
        }
    }

    fn wrote(self, text: String, time_ns: u64, shared: bool) -> Written<T> {
        Written {
            actor: self.actor,
            origin: self.origin,
            time_ns,
            shared,
            stream: self.stream,
            name: self.name,
            text,
            fields: Vec::new(),
        }
    }
}

#[derive(Debug)]
struct Writer<T> {
    /// What the call wrote so far that is being told in several pieces.
    call: Vec<u8>,
    /// When that was, and by whom.
    call_by: Option<(u64, By<T>)>,
    /// It wrote more than was told.
    call_cut: bool,
    /// The beginning of a line, and when it was written.
    rest: Vec<u8>,
    rest_ns: u64,
    rest_by: Option<By<T>>,
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
            call_cut: false,
            rest: Vec::new(),
            rest_ns: 0,
            rest_by: None,
            rest_shared: false,
            torn: false,
            open: None,
        }
    }
}

impl<T: Clone + PartialEq> Logs<T> {
    /// A program wrote, for `origin`. Texts that are whole are pushed to `out`, names of counters to `counts`.
    pub fn write(&mut self, write: &LogWrite, origin: &T, out: &mut Vec<Written<T>>, counts: &mut Vec<&'static str>) {
        match text(write) {
            Some(payload) => self.wrote(write, payload, origin, out, counts),
            None => counts.push("logs.binary"),
        }
    }

    fn wrote(
        &mut self,
        write: &LogWrite,
        payload: &[u8],
        origin: &T,
        out: &mut Vec<Written<T>>,
        counts: &mut Vec<&'static str>,
    ) {
        let key = (write.file, who(&write.moment.actor));
        let taken = self.take_torn(key);
        let has_bytes = self.bytes < MAX_BYTES;
        let has_room = has_bytes && self.writers.len() < MAX_WRITERS;
        let mut alone;
        let (writer, waits) = match self.writers.entry(key) {
            Entry::Occupied(entry) => (entry.into_mut(), has_bytes),
            Entry::Vacant(entry) if has_room => {
                let due_ns = write.moment.time_ns.saturating_add(HOLD_NS);
                self.due.push(Reverse((due_ns, key)));
                (entry.insert(Writer::default()), true)
            }
            Entry::Vacant(_) => {
                alone = Writer::default();
                (&mut alone, false)
            }
        };
        let before = writer.bytes();
        if let Some(rest) = taken {
            out.extend(writer.take_rest());
            writer.rest = rest;
            writer.rest_shared = true;
            writer.rest_ns = write.moment.time_ns;
        }
        writer.write(write, origin, payload, out, counts);
        if !waits {
            counts.push("logs.writers_full");
            writer.flush(u64::MAX, 0, 0, out);
        }
        if writer.is_torn() {
            self.torn.insert(buffer(key), key.1);
        }
        self.bytes = self.bytes.saturating_add(writer.bytes()).saturating_sub(before);
    }

    /// The rest of a line that another writer's full buffer left in the file. There is no more than one: whoever writes next takes it.
    fn take_torn(&mut self, key: Key) -> Option<Vec<u8>> {
        let other = *self.torn.get(&buffer(key)).filter(|other| **other != key.1)?;
        self.torn.remove(&buffer(key));
        let writer = self.writers.get_mut(&(key.0, other));
        let writer = writer.filter(|writer| writer.is_torn())?;
        self.bytes = self.bytes.saturating_sub(writer.rest.len());
        writer.rest_by = None;
        Some(std::mem::take(&mut writer.rest))
    }

    /// Nothing is begun.
    pub fn is_empty(&self) -> bool {
        self.writers.is_empty()
    }

    /// It is `now_ns`: what nobody goes on with is whole.
    pub fn tick(&mut self, now_ns: u64, out: &mut Vec<Written<T>>) {
        let is_due = |next: &Reverse<(u64, Key)>| next.0.0 <= now_ns;
        while self.due.peek().is_some_and(is_due) {
            let Some(Reverse((_, key))) = self.due.pop() else { break };
            let Entry::Occupied(mut entry) = self.writers.entry(key) else {
                continue;
            };
            let writer = entry.get_mut();
            let before = writer.bytes();
            writer.flush(now_ns, HOLD_NS, REST_NS, out);
            self.bytes = self.bytes.saturating_add(writer.bytes()).saturating_sub(before);
            if writer.is_idle() {
                entry.remove();
                if self.torn.get(&buffer(key)) == Some(&key.1) {
                    self.torn.remove(&buffer(key));
                }
            } else {
                self.due.push(Reverse((writer.due_ns(now_ns), key)));
            }
        }
    }

    /// Nothing more will come.
    pub fn finish(&mut self, out: &mut Vec<Written<T>>) {
        for writer in self.writers.values_mut() {
            writer.flush(u64::MAX, 0, 0, out);
        }
        *self = Self::default();
    }
}

impl<T> Writer<T> {
    fn is_idle(&self) -> bool {
        self.call.is_empty() && self.rest.is_empty() && self.open.is_none()
    }

    fn is_torn(&self) -> bool {
        self.torn && !self.rest.is_empty()
    }

    /// About how much memory what it has begun takes.
    fn bytes(&self) -> usize {
        let open = self.open.as_ref().map_or(0, |(open, _)| open.text.len());
        self.call.len().saturating_add(self.rest.len()).saturating_add(open)
    }

    /// When to look at it again: as soon as its text is due, and not much later than it may have begun another.
    fn due_ns(&self, now_ns: u64) -> u64 {
        let open_ns = self.open.as_ref().map_or(now_ns, |(open, _)| open.time_ns.min(now_ns));
        open_ns.saturating_add(HOLD_NS).max(now_ns.saturating_add(1))
    }
}

impl<T: Clone + PartialEq> Writer<T> {
    /// It wrote `payload`, or began to.
    fn write(
        &mut self,
        write: &LogWrite,
        origin: &T,
        payload: &[u8],
        out: &mut Vec<Written<T>>,
        counts: &mut Vec<&'static str>,
    ) {
        let is_gathered = self.call.len() < CALL_BYTES;
        self.call_cut |= write.length > write.payload.len() as u64 || (write.more && !is_gathered);
        if write.more && is_gathered {
            self.call.extend_from_slice(payload);
            self.call_by = Some((write.moment.time_ns, By::of(write, origin)));
            return;
        }
        // It works for another now: what it began is not what it goes on with.
        if self.rest_by.as_ref().is_some_and(|by| by.origin != *origin) {
            out.extend(self.take_rest());
        }
        let before = std::mem::take(&mut self.call);
        self.call_by = None;
        let call = if before.is_empty() {
            Cow::Borrowed(payload)
        } else {
            Cow::Owned([&before, payload].concat())
        };
        let cut = std::mem::take(&mut self.call_cut);
        if is_message(write) {
            out.extend(message(write, origin, &call));
        } else {
            self.called(write, origin, &call, cut, out, counts);
        }
    }

    /// Tells what nobody has gone on with for `hold_ns`, and for `rest_ns` if it is a line without an end.
    fn flush(&mut self, now_ns: u64, hold_ns: u64, rest_ns: u64, out: &mut Vec<Written<T>>) {
        let is_due = |time_ns: u64, wait_ns| now_ns.saturating_sub(time_ns) >= wait_ns;
        if self
            .call_by
            .as_ref()
            .is_some_and(|(time_ns, _)| is_due(*time_ns, rest_ns))
        {
            self.give_up_call();
        }
        let open = self.open.take_if(|(open, _)| is_due(open.time_ns, hold_ns));
        out.extend(open.map(|(open, _)| open));
        if !self.rest.is_empty() && is_due(self.rest_ns, rest_ns) {
            out.extend(self.take_rest());
        }
    }

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
            let was_cut = self.rest.len() > RECORD_BYTES;
            let mut whole = Cow::Borrowed(line);
            if !self.rest.is_empty() {
                whole = Cow::Owned([&*std::mem::take(&mut self.rest), line].concat());
            }
            if whole.len() > RECORD_BYTES && !was_cut {
                counts.push("logs.lines_cut");
            }
            self.line(write, origin, &whole, torn, &mut begun, out);
        }
        let was_cut = self.rest.len() > RECORD_BYTES;
        self.rest.extend_from_slice(bytes);
        if self.rest.len() > RECORD_BYTES && !was_cut {
            counts.push("logs.lines_cut");
        }
        // The byte too many tells that it was cut.
        self.rest.truncate(RECORD_BYTES.saturating_add(1));
        self.rest_shared = torn;
        self.rest_ns = write.moment.time_ns;
        self.rest_by = (!self.rest.is_empty()).then(|| By::of(write, origin));
        self.torn = call.len() >= BUFFER_BYTES;
        if cut && !self.rest.is_empty() {
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
        if let Some((time_ns, by)) = self.call_by.take() {
            // Which of its lines would have been a record's is not known.
            self.rest
                .extend(call.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
            self.rest.truncate(RECORD_BYTES);
            self.rest_ns = time_ns;
            self.rest_shared = true;
            self.rest_by.get_or_insert(by);
        }
    }

    /// The line that was begun, which nobody goes on with.
    fn take_rest(&mut self) -> Option<Written<T>> {
        let rest = std::mem::take(&mut self.rest);
        let shared = std::mem::take(&mut self.rest_shared);
        let by = self.rest_by.take()?;
        let text = clean(&rest);
        (!text.trim().is_empty()).then(|| by.wrote(text, self.rest_ns, shared))
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
        let written = By::of(write, origin).wrote(line, write.moment.time_ns, shared);
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
    let text = clean_lines(&text);
    let text = text.get(..text.floor_char_boundary(RECORD_BYTES)).unwrap_or_default();
    let fields = fields.into_iter().map(|(name, value)| (name, clean_lines(&value)));
    (!text.trim().is_empty()).then(|| Written {
        name: SmolStr::default(),
        fields: fields.collect(),
        ..By::of(write, origin).wrote(text.to_owned(), write.moment.time_ns, false)
    })
}

/// What a writer's process writes to the file from, where it gathers lines.
const fn buffer((file, (pid, ..)): Key) -> (FileId, Pid) {
    (file, pid)
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

/// What was written, if it is text. Programs that write a whole buffer write the zeros behind their text, too.
fn text(write: &LogWrite) -> Option<&[u8]> {
    let payload = write.payload.as_ref();
    if is_message(write) {
        return Some(payload);
    }
    let last = payload.iter().rposition(|byte| *byte != 0);
    let payload = payload.get(..last.map_or(0, |last| last.saturating_add(1)))?;
    memchr::memchr(0, payload).is_none().then_some(payload)
}

/// [`clean`], of several lines.
fn clean_lines(bytes: &[u8]) -> String {
    let lines: Vec<String> = bytes.split(|byte| *byte == b'\n').map(clean).collect();
    lines.join("\n")
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
