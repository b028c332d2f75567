//! Functions that a runtime makes while it runs, from the map that it writes for perf: `/tmp/perf-PID.map`, of the process's own files and by
//! its own number (Linux, `tools/perf/Documentation/jit-interface.txt`).
//!
//! ```text
//! 7f2cb002bfc0 2f0 JS:^shop /srv/shop.js:3:20
//! 0x00007f8b0c6a9d00 0x00000000000002a8 void shop.Cart.buy(int)
//! ```
//! The first number is where the function begins, the second its size. A map may name a place again that was let go of: what comes later
//! is so.
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Frame;
use super::section::Held;
use crate::capture::Pid;
use crate::discover::Proc;
use crate::symbol::image::FileKey;

/// Bytes of a map that are read, the last ones of it: what is new stands there.
const MOST_BYTES: u64 = 32 << 20;
/// Functions of a process.
const MOST_FUNCTIONS: usize = 1 << 18;
/// Longest name that is kept, bytes.
const LONGEST: usize = 512;
/// Largest function, bytes.
const LARGEST: u64 = 256 << 20;
/// How much longer than it took to read a map it is not read again.
const REST: u32 = 20;
/// The same at least.
const PAUSE: Duration = Duration::from_millis(100);
/// What a function of a map is reckoned to take, beside its name.
const ENTRY_BYTES: u64 = 64;
/// What a virtual machine calls the code that runs what is not compiled: whose frame it is stands elsewhere.
const INTERPRETERS: [&str; 3] = [
    "Interpreter",
    "Builtin:InterpreterEntryTrampoline",
    "Builtins_InterpreterEntryTrampoline",
];
/// Folders of scripts that are not the program's own: packages, and the hook that Clew gives a command (`agent/src/run/assist/`).
const FOLDERS: [&str; 2] = ["/node_modules/", "/clew-assist-"];
/// Packages of Java that are not the program's own.
const PACKAGES: [&str; 17] = [
    "java.",
    "javax.",
    "jdk.",
    "sun.",
    "com.sun.",
    "jakarta.",
    "kotlin.",
    "kotlinx.",
    "scala.",
    "io.netty.",
    "reactor.",
    "okhttp3.",
    "org.apache.",
    "org.eclipse.jetty.",
    "org.springframework.",
    "com.zaxxer.hikari.",
    "clew.hook.",
];

/// The map of a process.
pub(super) struct PerfMap {
    path: PathBuf,
    /// Who may have written it, beside root.
    user: u32,
    /// As it was when it could be opened last: the process may be over.
    file: File,
    functions: Functions,
    seen: Option<(FileKey, u64)>,
    not_before: Option<Instant>,
    held: Held,
}

impl PerfMap {
    /// That of a process; none if it has none. One that neither it nor root has written is none.
    pub(super) fn open(proc: &Proc, pid: Pid, held: &Held) -> Option<Self> {
        let number = proc.namespaced(pid)?;
        let path = proc.of(pid, "root").join(format!("tmp/perf-{number}.map"));
        let user = proc.user(pid)?;
        Some(Self {
            file: open(&path, user)?,
            path,
            user,
            functions: Functions::default(),
            seen: None,
            not_before: None,
            held: Held::clone(held),
        })
    }

    /// Reads the map if it has changed, unless that would be too much work; whether it did.
    pub(super) fn refresh(&mut self) -> bool {
        if self.not_before.is_some_and(|then| Instant::now() < then) {
            return false;
        }
        if let Some(file) = open(&self.path, self.user) {
            self.file = file;
        }
        let Ok(meta) = self.file.metadata() else { return false };
        let seen = Some((FileKey::from(&meta), meta.len()));
        if seen == self.seen {
            return false;
        }
        let begun = Instant::now();
        self.let_go();
        self.functions = read(&self.file, meta.len()).unwrap_or_default();
        self.held.set(self.held.get().saturating_add(self.functions.bytes));
        self.seen = seen;
        self.not_before = Some(Instant::now() + PAUSE.max(begun.elapsed() * REST));
        true
    }

    /// The function at `address`; none where the map has none.
    pub(super) fn function(&self, address: u64) -> Option<Frame> {
        self.functions.at(address)
    }

    /// Forgets what was read.
    pub(super) fn let_go(&mut self) {
        self.held.set(self.held.get().saturating_sub(self.functions.bytes));
        self.functions = Functions::default();
        self.seen = None;
    }
}

impl Drop for PerfMap {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// A file that others may have put there: no link is followed, no pipe waited for.
fn open(path: &Path, user: u32) -> Option<File> {
    let mut how = OpenOptions::new();
    how.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW);
    let file = how.open(path).ok()?;
    let meta = file.metadata().ok()?;
    (meta.is_file() && [user, 0].contains(&meta.uid())).then_some(file)
}

/// The functions of a map of that length, a window at a time.
fn read(file: &File, length: u64) -> io::Result<Functions> {
    const WINDOW: usize = 256 << 10;
    let mut functions = Functions::default();
    let mut at = length.saturating_sub(MOST_BYTES);
    // The first line is cut, unless all is read.
    let mut skip = at > 0;
    let mut window = vec![0; WINDOW];
    while at < length {
        let read = file.read_at(&mut window, at)?;
        let bytes = window.get(..read).unwrap_or_default();
        let Some(last) = memchr::memrchr(b'\n', bytes) else {
            if read < WINDOW {
                break;
            }
            // A line that long says nothing.
            skip = true;
            at += read as u64;
            continue;
        };
        let lines = bytes.get(..last).unwrap_or_default();
        for line in lines.split(|byte| *byte == b'\n').skip(usize::from(skip)) {
            functions.add(line);
        }
        skip = false;
        at += last as u64 + 1;
    }
    Ok(functions)
}

/// Functions of a map by where they begin; none overlaps another.
#[derive(Debug, Default)]
pub struct Functions {
    all: BTreeMap<u64, (u64, Box<str>)>,
    bytes: u64,
}

impl Functions {
    /// Adds what a line says, instead of what was there.
    pub fn add(&mut self, line: &[u8]) {
        let Some((start, end, name)) = parsed(line) else { return };
        // The one before may reach into it.
        while let Some((&other, &(other_end, _))) = self.all.range(..end).next_back()
            && other_end > start
        {
            self.remove(other);
        }
        if self.all.len() >= MOST_FUNCTIONS {
            return;
        }
        self.bytes += ENTRY_BYTES + name.len() as u64;
        self.all.insert(start, (end, name.into()));
    }

    fn remove(&mut self, start: u64) {
        if let Some((_, name)) = self.all.remove(&start) {
            self.bytes = self.bytes.saturating_sub(ENTRY_BYTES + name.len() as u64);
        }
    }

    /// The one at `address`, as its language names it.
    pub fn at(&self, address: u64) -> Option<Frame> {
        self.name(address).map(frame)
    }

    fn name(&self, address: u64) -> Option<&str> {
        let (_, (end, name)) = self.all.range(..=address).next_back()?;
        (address < *end).then_some(name)
    }
}

/// Where a function begins and ends, and its name.
fn parsed(line: &[u8]) -> Option<(u64, u64, String)> {
    let mut fields = line.splitn(3, |byte| *byte == b' ');
    let mut number = || {
        let field = std::str::from_utf8(fields.next()?).ok()?;
        u64::from_str_radix(field.strip_prefix("0x").unwrap_or(field), 16).ok()
    };
    let (start, size) = (number()?, number()?);
    let end = start.checked_add(size).filter(|_| (1..=LARGEST).contains(&size))?;
    let name = fields.next()?.trim_ascii();
    let name = String::from_utf8_lossy(name.get(..LONGEST).unwrap_or(name));
    (!name.is_empty()).then(|| (start, end, name.into_owned()))
}

/// A function as its language names it, by the name that a map has for it. Of its line a map knows where the function begins, not where it is.
fn frame(name: &str) -> Frame {
    let frame = |function: &str, file: &str, is_own| Frame {
        function: function.into(),
        file: file.into(),
        line: 0,
        is_own,
    };
    if INTERPRETERS.contains(&name) {
        return Frame::UNKNOWN;
    }
    if let Some((function, file)) = script(name) {
        let is_file = file.starts_with('/') || file.starts_with("file:");
        let is_own = is_file && !FOLDERS.iter().any(|folder| file.contains(folder));
        let function = if function.is_empty() { "<anonymous>" } else { function };
        return frame(function, file.strip_prefix("file://").unwrap_or(file), is_own);
    }
    if let Some(function) = method(name) {
        return frame(
            function,
            "",
            !PACKAGES.iter().any(|package| function.starts_with(package)),
        );
    }
    frame(name, "", false)
}

/// A function of the virtual machine's own files: none is the program's.
pub(super) fn machine(frame: &Frame) -> Frame {
    if INTERPRETERS.contains(&&*frame.function) {
        return Frame::UNKNOWN;
    }
    Frame {
        is_own: false,
        ..frame.clone()
    }
}

/// The function and the file of what V8 calls by kind, tier, name and place: `JS:*buy /srv/shop.js:3:20`.
fn script(name: &str) -> Option<(&str, &str)> {
    const KINDS: [&str; 5] = ["JS", "LazyCompile", "Function", "Script", "Eval"];
    const TIERS: [char; 5] = ['~', '^', '+', '*', '\''];
    /// What the names of files begin with; they may hold spaces.
    const FILES: [&str; 3] = [" /", " file:", " node:"];
    let (kind, rest) = name.split_once(':')?;
    if !KINDS.contains(&kind) {
        return None;
    }
    let rest = rest.trim_start_matches(TIERS);
    let (rest, _) = rest.rsplit_once(':').filter(|(_, column)| is_number(column))?;
    let (rest, _) = rest.rsplit_once(':').filter(|(_, line)| is_number(line))?;
    let place = FILES.iter().filter_map(|begin| rest.find(begin)).min();
    let (function, file) = rest.split_at_checked(place.or_else(|| rest.rfind(' '))?)?;
    Some((function, file.get(1..)?))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The class and name of a method as HotSpot writes it: `void shop.Cart.buy(int)`.
fn method(name: &str) -> Option<&str> {
    let (head, _) = name.strip_suffix(')')?.split_once('(')?;
    let (_, method) = head.rsplit_once(' ')?;
    method.contains('.').then_some(method)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_by_address() {
        let mut functions = Functions::default();
        let lines: [&[u8]; 5] = [
            b"1000 100 JS:~old /x.js:1:1",
            b"0x0000000000002000 0x0000000000000010 void A.b()",
            b"1080 20 JS:^new /x.js:2:1",
            b"2008 8 JS:^half /x.js:2:1",
            b"3000 8 three",
        ];
        for line in lines {
            functions.add(line);
        }
        let at = |address| functions.name(address).unwrap_or("");
        assert_eq!(
            (at(0x1000), at(0x107f), at(0x10a0)),
            ("", "", ""),
            "the place was let go of"
        );
        assert_eq!((at(0x1080), at(0x109f)), ("JS:^new /x.js:2:1", "JS:^new /x.js:2:1"));
        assert_eq!((at(0x2007), at(0x2008), at(0x2010)), ("", "JS:^half /x.js:2:1", ""));
        assert_eq!((at(0xfff), at(0x3007), at(0x3008)), ("", "three", ""));
        let bytes: usize = functions.all.values().map(|(_, name)| name.len()).sum();
        assert_eq!(functions.bytes, bytes as u64 + 3 * ENTRY_BYTES);
    }

    #[test]
    fn malformed_lines() {
        let lines: [&[u8]; 10] = [
            b"",
            b"1000",
            b"1000 10",
            b"1000 10 ",
            b"1000 0 empty",
            b"x 10 name",
            b"1000 y name",
            b"ffffffffffffffff 10 beyond",
            b"1000 ffffffff larger than any",
            b"\xff 10 name",
        ];
        for line in lines {
            assert_eq!(parsed(line), None, "{}", String::from_utf8_lossy(line));
        }
        let long = [b"1000 10 ".as_slice(), &[b'x'; 9999]].concat();
        assert_eq!(parsed(&long).expect("a function").2.len(), LONGEST);
    }

    #[test]
    fn maps_longer_than_a_window() {
        use std::io::Write as _;
        let mut file = tempfile::tempfile().expect("a file");
        let mut text = Vec::new();
        for number in 0..20_000_u64 {
            writeln!(text, "{:x} 10 function {number}", number * 16).expect("memory");
        }
        text.extend(std::iter::repeat_n(b'x', 600_000));
        text.extend_from_slice(b"\n9000000 10 last\n9000010 10 cut");
        file.write_all(&text).expect("the file");
        let functions = read(&file, text.len() as u64).expect("it is there");
        assert_eq!(functions.all.len(), 20_001);
        for number in 0..20_000 {
            assert_eq!(functions.name(number * 16 + 15), Some(&*format!("function {number}")));
        }
        assert_eq!(functions.name(0x900_0000), Some("last"));
    }

    #[test]
    fn names_of_runtimes() {
        let check = |name: &str, function: &str, file: &str, is_own: bool| {
            let found = frame(name);
            assert_eq!(
                (&*found.function, &*found.file, found.is_own),
                (function, file, is_own),
                "{name}"
            );
        };
        check("JS:^buy /srv/a b/shop.js:2:13", "buy", "/srv/a b/shop.js", true);
        check(
            "LazyCompile:*get size file:///srv/x.mjs:2:13",
            "get size",
            "/srv/x.mjs",
            true,
        );
        check("JS:+'stock /srv/x.js:1:1", "stock", "/srv/x.js", true);
        check("JS:~ /srv/x.js:1:1", "<anonymous>", "/srv/x.js", true);
        check(
            "JS:+write /srv/node_modules/pg/x.js:1:1",
            "write",
            "/srv/node_modules/pg/x.js",
            false,
        );
        check(
            "JS:*writeGeneric node:internal/stream_base_commons:149:22",
            "writeGeneric",
            "node:internal/stream_base_commons",
            false,
        );
        check(
            "JS:*f evalmachine.<anonymous>:1:1",
            "f",
            "evalmachine.<anonymous>",
            false,
        );
        check("Builtin:JSEntry", "Builtin:JSEntry", "", false);
        check("JS:no place", "JS:no place", "", false);
        check("JS:*x:1:1", "JS:*x:1:1", "", false);
        check("Builtin:InterpreterEntryTrampoline", "", "", false);
        check("Interpreter", "", "", false);
        check("void shop.Cart.buy(int, java.lang.String)", "shop.Cart.buy", "", true);
        check("Market.buy(int)", "Market.buy(int)", "", false);
        check("long java.net.Socket.read(byte[])", "java.net.Socket.read", "", false);
        check("StubRoutines (1)", "StubRoutines (1)", "", false);
    }
}
