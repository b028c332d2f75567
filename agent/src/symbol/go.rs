//! Go: goroutines.
//!
//! Offsets are those of each release line, compared with the DWARF of programs built by it; a line that is not in the table is
//! not followed. Functions are found in the pclntab, which every program has.
use clew_common::context::{
    GO_CURG, GO_GOID, GO_IS_SELECT, GO_LOWEST_RECEIVE, GO_LOWEST_SELECT, GO_LOWEST_SEND, GO_M, GO_PARENT, GO_PARKED,
    GO_POOLS, GO_REASONS, GO_RECVX, GO_RUNS, GO_TLS, GO_WAITS, PAGE, PLAN_GO, Plan, code_range, go_reasons,
};

use super::image::{Image, Span};
use super::pclntab::{self, Functions};
use super::{Hooks, NoHooks, code, go_streams};

/// A release line, 1.`number`, and the offsets in its structures that are not the same in all.
struct Line {
    number: u32,
    /// `g.goid`.
    goid: u64,
    /// `g.parentGoid`.
    parent: u64,
    /// `m.curg`.
    curg: u64,
    /// `sudog.isSelect`.
    is_select: u64,
    /// `gobuf.bp`.
    frame: u64,
    /// `hchan.recvx`.
    recvx: u64,
}

const fn release(number: u32, goid: u64, parent: u64, curg: u64, is_select: u64, frame: u64, recvx: u64) -> Line {
    Line {
        number,
        goid,
        parent,
        curg,
        is_select,
        frame,
        recvx,
    }
}

/// Why goroutines of the release line 1.`number` park, of `runtime.waitReason`: to sleep, and of locks and channels to receive from and to
/// send on nothing, select and select of nothing, receive, send, and the semaphores and conditions of `sync`.
const fn reasons(number: u32) -> u64 {
    match number {
        ..24 => go_reasons(19, &[3, 4, 9, 10, 14, 15, 18, 20, 21, 22, 23]),
        24 => go_reasons(19, &[3, 4, 9, 10, 14, 15, 18, 20, 21, 22, 23, 24]),
        25 => go_reasons(20, &[3, 4, 9, 10, 14, 15, 19, 21, 22, 23, 24, 25]),
        26.. => go_reasons(14, &[13, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25]),
    }
}

/// The release lines Clew knows.
const LINES: &[Line] = &[
    release(21, 152, 272, 192, 52, 48, 48),
    release(22, 152, 272, 192, 52, 48, 48),
    release(23, 160, 280, 192, 52, 48, 56),
    release(24, 160, 280, 192, 52, 48, 56),
    release(25, 152, 272, 184, 52, 40, 56),
    release(26, 152, 280, 184, 60, 40, 56),
    release(27, 152, 280, 184, 60, 40, 56),
];
/// Offsets of `g.m` and `g.sched` in all of them.
const M: u64 = 48;
const SCHED: u64 = 56;

/// By these two the start of the text is told.
pub(super) const NEWPROC: &str = "runtime.newproc.func1";
pub(super) const RUNQPUT: &str = "runtime.runqput";
const GOGO: &str = "gogo";
const EXECUTE: &str = "runtime.execute";
const CASGSTATUS: &str = "runtime.casgstatus";
const GOPARK: &str = "runtime.gopark";
const ROUND_TRIP: &str = "net/http.(*persistConn).roundTrip";
const WRITE_LOOP: &str = "net/http.(*persistConn).writeLoop";
const READ_LOOP: &str = "net/http.(*persistConn).readLoop";
const DIAL: &str = "net/http.(*Transport).dialConnFor";
/// What the two loops do last.
const WRITE_END: &str = "net/http.(*persistConn).writeLoop.deferwrap1";
const READ_END: &str = "net/http.(*persistConn).readLoop.func1";
const CLOSE: &str = "net/http.(*persistConn).close";
const CLOSECHAN: &str = "runtime.closechan";
const CHANSEND: &str = "runtime.chansend";
const CHANRECV: &str = "runtime.chanrecv";
const SELECTGO: &str = "runtime.selectgo";
const SEND: &str = "runtime.send";
const RECV: &str = "runtime.recv";
const MOVE: &str = "runtime.typedmemmove";
const CLEAR: &str = "runtime.typedmemclr";
/// Functions that wait for a connection of a pool, or give one back. Who gives them one is done with it, and may work for
/// another request.
const GET_CONN: &str = "net/http.(*Transport).getConn";
const CANCEL: &str = "net/http.(*wantConn).cancel";
const DATABASE_CONN: &str = "database/sql.(*DB).conn";
const POOLS: [&str; 3] = [GET_CONN, CANCEL, DATABASE_CONN];
const NAMES: &[&str] = &[
    NEWPROC,
    RUNQPUT,
    GOGO,
    EXECUTE,
    CASGSTATUS,
    GOPARK,
    ROUND_TRIP,
    WRITE_LOOP,
    READ_LOOP,
    DIAL,
    CHANSEND,
    CHANRECV,
    SELECTGO,
    SEND,
    RECV,
    MOVE,
    CLEAR,
    GET_CONN,
    CANCEL,
    DATABASE_CONN,
    WRITE_END,
    READ_END,
    CLOSE,
    CLOSECHAN,
];

/// Most of a function's beginning that is looked at, bytes.
const FUNCTION_BYTES: usize = 512;
/// Most of a whole function that is looked at, bytes.
const WHOLE_BYTES: u64 = 16 << 10;

/// What tells which goroutine a thread runs next. Only where its time goes is told by it.
pub(super) const RUNS: &str = "go_runs";

/// How goroutines of the program `image` are followed.
pub(super) fn hooks(image: Image) -> Result<Hooks, NoHooks> {
    let unknown = |what: &str| NoHooks::Unknown(what.to_owned());
    let line = line(&image).ok_or_else(|| unknown("the version of Go in .go.buildinfo cannot be read"))?;
    let line = LINES
        .iter()
        .find(|known| known.number == line)
        .ok_or_else(|| NoHooks::Unknown(format!("Go 1.{line} is not a version Clew knows")))?;
    let table = table(&image).ok_or_else(|| unknown("there is no .gopclntab"))?;
    let functions = pclntab::find(&image, table, &[NAMES, go_streams::NAMES].concat())
        .ok_or_else(|| unknown("the .gopclntab has another form than since Go 1.20"))?;
    let text = Text::find(&image, &functions)
        .ok_or_else(|| unknown("the functions of the runtime are not where they should be"))?;
    let tls = text
        .thread_store(GOGO)
        .or((image.tls_bytes == 8).then_some(-8))
        .ok_or_else(|| unknown("where a thread keeps its goroutine cannot be told"))?;
    let mut plan = Plan::of(
        PLAN_GO,
        &[
            (GO_TLS, tls.cast_unsigned()),
            (GO_GOID, line.goid),
            (GO_PARENT, line.parent),
            (GO_M, M),
            (GO_CURG, line.curg),
            (GO_IS_SELECT, line.is_select),
            (GO_PARKED, SCHED + line.frame),
            (GO_RECVX, line.recvx),
        ],
    );
    let mut limits = Vec::new();
    let mut points = Vec::new();
    let runs = text.calls(EXECUTE, CASGSTATUS).unwrap_or_default();
    match (&runs[..], text.range(GOPARK)) {
        (&[runs], Some(waits)) => {
            let words = [(GO_RUNS, runs), (GO_WAITS, waits), (GO_REASONS, reasons(line.number))];
            for (place, word) in words {
                plan.words[place] = word;
            }
            points.push((RUNS, runs));
        }
        _ => limits.push("goroutines are run in another way: where their time goes is not told".to_owned()),
    }
    // Who is created comes last: a goroutine whose creation is seen, but not whom it works for later, would be taken for its
    // creator's.
    match (servants(&text), handing(&text)) {
        (Some(servants), Some(handing)) => {
            points.extend(servants);
            for (place, lowest) in handing.lowest {
                plan.words[place] = lowest;
            }
            for (place, range) in GO_POOLS.zip(pools(&text)) {
                plan.words[place] = range;
            }
            points.extend(handing.points);
            let streams = go_streams::streams(&text);
            points.extend(streams.points);
            limits.extend(streams.limits);
            points.push(("go_created", text.created));
        }
        (None, _) => {
            limits.push("net/http has another shape: requests are linked within one goroutine only".to_owned())
        }
        (_, None) => {
            limits.push("channels have another shape: requests are linked within one goroutine only".to_owned())
        }
    }
    let points = image.points(points);
    Ok(Hooks { plan, points, limits })
}

/// The table of functions.
pub(super) fn table(image: &Image) -> Option<Span> {
    image.section(&[".gopclntab", ".data.rel.ro.gopclntab"])
}

/// The table of functions, and where the text starts.
pub(super) fn text(image: &Image) -> Option<(Span, u64)> {
    let table = table(image)?;
    let functions = pclntab::find(image, table, &[NEWPROC, RUNQPUT])?;
    Some((table, Text::find(image, &functions)?.start))
}

/// The path of the program's own module, from what `go version -m` shows of it.
pub(super) fn module(image: &Image) -> Option<String> {
    const MOST: usize = 64 << 10;
    let section = image.section(&[".go.buildinfo"])?;
    let bytes = image.bytes(section.offset, MOST.min(usize::try_from(section.size).ok()?))?;
    let at = memchr::memmem::find(&bytes, b"\nmod\t")?;
    let path = bytes.get(at + 5..)?.split(|byte| *byte == b'\t').next()?;
    std::str::from_utf8(path).ok().map(str::to_owned)
}

/// Where net/http's client hands requests to the goroutines that write them; nothing in a program without it.
fn servants(text: &Text<'_>) -> Option<Vec<(&'static str, u64)>> {
    if !text.functions.starts.contains_key(WRITE_LOOP) {
        return Some(Vec::new());
    }
    let mut points = vec![
        ("go_writes", text.frame_push(WRITE_LOOP)?),
        ("go_writes", text.frame_push(READ_LOOP)?),
        ("go_writes", text.frame_push(DIAL)?),
        ("go_asks", text.frame_push(ROUND_TRIP)?),
    ];
    // Where this has another shape, more is remembered than has to be.
    for (end, callee) in [(WRITE_END, CLOSECHAN), (READ_END, CLOSE)] {
        if let [call] = text.calls(end, callee).unwrap_or_default()[..] {
            points.push(("go_ends", call));
        }
    }
    Some(points)
}

/// Where elements pass through channels.
#[derive(Default)]
struct Handing {
    points: Vec<(&'static str, u64)>,
    /// The lowest of the points in each function, by its place in the plan.
    lowest: Vec<(usize, u64)>,
}

fn handing(text: &Text<'_>) -> Option<Handing> {
    let mut points = Vec::new();
    for (caller, callee, program) in [
        (CHANSEND, SEND, "go_sends"),
        (SELECTGO, SEND, "go_sends_select"),
        (CHANRECV, RECV, "go_takes"),
        (SELECTGO, RECV, "go_takes_select"),
        (CHANSEND, MOVE, "go_buffers"),
        (SELECTGO, MOVE, "go_buffers"),
        (CHANRECV, CLEAR, "go_unbuffers"),
        (SELECTGO, CLEAR, "go_unbuffers_select"),
    ] {
        let calls = text.calls(caller, callee)?;
        if calls.is_empty() {
            return None;
        }
        points.extend(calls.into_iter().map(|call| (caller, program, call)));
    }
    let mut lowest = Vec::new();
    for (caller, place) in [
        (SELECTGO, GO_LOWEST_SELECT),
        (CHANRECV, GO_LOWEST_RECEIVE),
        (CHANSEND, GO_LOWEST_SEND),
    ] {
        let within = || points.iter().filter(|(of, ..)| *of == caller).map(|(.., call)| *call);
        let (first, last) = (within().min()?, within().max()?);
        if last - first >= PAGE {
            return None;
        }
        lowest.push((place, first));
    }
    let points = points.into_iter().map(|(_, program, call)| (program, call)).collect();
    Some(Handing { points, lowest })
}

/// The code of the functions that receive connections of pools; of those the program has.
fn pools(text: &Text<'_>) -> impl Iterator<Item = u64> {
    POOLS.iter().filter_map(|name| text.range(name))
}

/// The N of the Go 1.N that built the program.
///
/// ```text
/// 0            14     15      16         32
/// +------------+------+-------+----------+----------------+---------+
/// | \xff Go bu | size of      | unused   | length, varint | version |
/// | ildinf:    | pointer,flags|          |                |         |
/// +------------+------+-------+----------+----------------+---------+
/// ```
///
/// Since Go 1.18 (`debug/buildinfo`); flag 2 says that the strings follow.
fn line(image: &Image) -> Option<u32> {
    let section = image.section(&[".go.buildinfo"])?;
    let bytes = image.bytes(section.offset, 64)?;
    let inline = bytes.starts_with(b"\xff Go buildinf:") && bytes.get(15)? & 2 != 0;
    let length = usize::from(*bytes.get(32).filter(|length| **length < 128)?);
    let version = bytes.get(33..)?;
    let version = version.get(..length.min(version.len()))?;
    let text = inline.then(|| std::str::from_utf8(version).ok())??;
    // Also "devel go1.22-..." and "go1.22.1 X:experiments".
    let (_, rest) = text.split_once("go1.")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest.get(..digits)?.parse().ok()
}

/// The program's code, with where the text starts.
pub(super) struct Text<'a> {
    image: &'a Image,
    functions: &'a Functions,
    start: u64,
    /// Where a new goroutine is made runnable.
    created: u64,
}

impl<'a> Text<'a> {
    /// Finds the start of the text. The table names it up to Go 1.25; later it is the start of the section or, where C code
    /// stands before Go's, not far behind. That it is right is seen by a call between two functions.
    pub(super) fn find(image: &'a Image, functions: &'a Functions) -> Option<Self> {
        /// How much C code may stand before Go's, bytes.
        const MOST_BEFORE: usize = 4 << 20;
        /// Alignment of the text's start.
        const ALIGN: usize = 16;
        let section = image.section(&[".text"])?;
        let try_at = |start: u64| {
            let at = start.checked_add(functions.starts.get(NEWPROC)?.start)?;
            let code = image.code(at, FUNCTION_BYTES)?;
            let runqput = start.checked_add(functions.starts.get(RUNQPUT)?.start)?;
            let created = code::calls_to(&code, at, runqput).next()?;
            Some(Self {
                image,
                functions,
                start,
                created,
            })
        };
        if let Some(text) = functions.text.and_then(try_at).or_else(|| try_at(section.address)) {
            return Some(text);
        }
        let first = section.address.checked_next_multiple_of(ALIGN as u64)?;
        let start = before(image, functions, section, first, MOST_BEFORE)?;
        try_at(start)
    }

    fn code_of(&self, name: &str) -> Option<(u64, Vec<u8>)> {
        let address = self.start.checked_add(self.functions.starts.get(name)?.start)?;
        Some((address, self.image.code(address, FUNCTION_BYTES)?))
    }

    pub(super) fn frame_push(&self, name: &str) -> Option<u64> {
        let (address, code) = self.code_of(name)?;
        code::frame_push(&code, address)
    }

    /// The address of a function, and its size.
    pub(super) fn function(&self, name: &str) -> Option<(u64, u64)> {
        let function = self.functions.starts.get(name)?;
        let size = function.end.checked_sub(function.start)?;
        Some((self.start.checked_add(function.start)?, size))
    }

    /// The code of a function: see [`code_range`].
    fn range(&self, name: &str) -> Option<u64> {
        let (address, size) = self.function(name)?;
        Some(code_range(address, u16::try_from(size).ok()?))
    }

    /// The calls of `callee` in `caller`.
    pub(super) fn calls(&self, caller: &str, callee: &str) -> Option<Vec<u64>> {
        let function = self.functions.starts.get(caller)?;
        let size = function.end.checked_sub(function.start)?.min(WHOLE_BYTES);
        let address = self.start.checked_add(function.start)?;
        let target = self.start.checked_add(self.functions.starts.get(callee)?.start)?;
        let code = self.image.code(address, usize::try_from(size).ok()?)?;
        Some(code::calls_to(&code, address, target).collect())
    }

    fn thread_store(&self, name: &str) -> Option<i64> {
        let (address, code) = self.code_of(name)?;
        code::thread_store(&code, address)
    }
}

/// The start of the text behind C code: where `runtime.newproc.func1` calls `runtime.runqput` at the right distance.
fn before(image: &Image, functions: &Functions, section: Span, first: u64, most: usize) -> Option<u64> {
    const ALIGN: usize = 16;
    let (newproc, runqput) = (
        functions.starts.get(NEWPROC)?.start,
        functions.starts.get(RUNQPUT)?.start,
    );
    let base = first.checked_sub(section.address)?.checked_add(section.offset)?;
    let code = image.bytes(base.checked_add(newproc)?, most)?;
    for (place, window) in code.windows(FUNCTION_BYTES).enumerate().step_by(ALIGN) {
        // Addresses relative to the text; only the distance counts.
        let body = window.get(..160).unwrap_or(window);
        let calls = body.windows(5).enumerate().any(|(at, bytes)| {
            let (Some(0xe8), Some(Ok(distance))) = (bytes.first(), bytes.get(1..5).map(<[u8; 4]>::try_from)) else {
                return false;
            };
            let next = newproc.wrapping_add(at as u64 + 5);
            next.wrapping_add_signed(i64::from(i32::from_le_bytes(distance))) == runqput
        });
        if calls {
            return first.checked_add(place as u64);
        }
    }
    None
}
