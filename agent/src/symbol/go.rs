//! Go: goroutines.
//!
//! Offsets are those of each release line, compared with the DWARF of programs built by it; a line that is not in the table is
//! not followed. Functions are found in the pclntab, which every program has.
use clew_common::context::{GO_CURG, GO_GOID, GO_M, GO_PARENT, GO_TLS, PLAN_GO, Plan};

use super::image::{Image, Span};
use super::pclntab::{self, Functions};
use super::{Hooks, NoHooks, Point, code};

/// The release lines Clew knows, 1.N, with the offsets in `runtime.g` of goid and parentGoid and in `runtime.m` of curg.
const LINES: &[(u32, u64, u64, u64)] = &[
    (21, 152, 272, 192),
    (22, 152, 272, 192),
    (23, 160, 280, 192),
    (24, 160, 280, 192),
    (25, 152, 272, 184),
    (26, 152, 280, 184),
    (27, 152, 280, 184),
];
/// Offset of `g.m` in all of them.
const M: u64 = 48;

const NEWPROC: &str = "runtime.newproc.func1";
const RUNQPUT: &str = "runtime.runqput";
const GOGO: &str = "gogo";
const ROUND_TRIP: &str = "net/http.(*persistConn).roundTrip";
const WRITE_LOOP: &str = "net/http.(*persistConn).writeLoop";
const NAMES: &[&str] = &[NEWPROC, RUNQPUT, GOGO, ROUND_TRIP, WRITE_LOOP];

/// Most of a function that is looked at, bytes.
const FUNCTION_BYTES: usize = 512;

/// How goroutines of the program `image` are followed.
pub(super) fn hooks(image: Image) -> Result<Hooks, NoHooks> {
    let unknown = |what: &str| NoHooks::Unknown(what.to_owned());
    let line = line(&image).ok_or_else(|| unknown("the version of Go in .go.buildinfo cannot be read"))?;
    let (_, goid, parent, curg) = *LINES
        .iter()
        .find(|(number, ..)| *number == line)
        .ok_or_else(|| NoHooks::Unknown(format!("Go 1.{line} is not a version Clew knows")))?;
    let table = image
        .section(&[".gopclntab", ".data.rel.ro.gopclntab"])
        .ok_or_else(|| unknown("there is no .gopclntab"))?;
    let functions = pclntab::find(&image, table, NAMES)
        .ok_or_else(|| unknown("the .gopclntab has another form than since Go 1.20"))?;
    let text = Text::find(&image, &functions)
        .ok_or_else(|| unknown("the functions of the runtime are not where they should be"))?;
    let tls = text
        .thread_store(GOGO)
        .or((image.tls_bytes == 8).then_some(-8))
        .ok_or_else(|| unknown("where a thread keeps its goroutine cannot be told"))?;
    let mut plan = Plan {
        kind: PLAN_GO,
        words: [0; 7],
    };
    for (place, value) in [
        (GO_TLS, tls.cast_unsigned()),
        (GO_GOID, goid),
        (GO_PARENT, parent),
        (GO_M, M),
        (GO_CURG, curg),
    ] {
        plan.words[place] = value;
    }
    let mut limits = Vec::new();
    let mut points = Vec::new();
    // The writers come first: one whose creation is seen and whose trade is not would be taken for its creator's.
    let asks = text.frame_push(ROUND_TRIP);
    let writes = text.frame_push(WRITE_LOOP);
    let has_client = functions.starts.contains_key(WRITE_LOOP);
    match (asks, writes) {
        (Some(asks), Some(writes)) => {
            points.push(("go_writes", writes));
            points.push(("go_asks", asks));
            points.push(("go_created", text.created));
        }
        _ if !has_client => points.push(("go_created", text.created)),
        _ => limits.push("net/http has another shape: requests are linked within one goroutine only".to_owned()),
    }
    let file = image.key();
    let points = points
        .into_iter()
        .filter_map(|(program, address)| {
            Some(Point {
                program,
                file,
                offset: image.code_offset(address)?,
            })
        })
        .collect();
    Ok(Hooks { plan, points, limits })
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
struct Text<'a> {
    image: &'a Image,
    functions: &'a Functions,
    start: u64,
    /// Where a new goroutine is made runnable.
    created: u64,
}

impl<'a> Text<'a> {
    /// Finds the start of the text. The table names it up to Go 1.25; later it is the start of the section or, where C code
    /// stands before Go's, not far behind. That it is right is seen by a call between two functions.
    fn find(image: &'a Image, functions: &'a Functions) -> Option<Self> {
        /// How much C code may stand before Go's, bytes.
        const MOST_BEFORE: usize = 4 << 20;
        /// Alignment of the text's start.
        const ALIGN: usize = 16;
        let section = image.section(&[".text"])?;
        let try_at = |start: u64| {
            let at = start.checked_add(*functions.starts.get(NEWPROC)?)?;
            let code = image.code(at, FUNCTION_BYTES)?;
            let runqput = start.checked_add(*functions.starts.get(RUNQPUT)?)?;
            let created = code::call_to(&code, at, runqput)?;
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
        let address = self.start.checked_add(*self.functions.starts.get(name)?)?;
        Some((address, self.image.code(address, FUNCTION_BYTES)?))
    }

    fn frame_push(&self, name: &str) -> Option<u64> {
        let (address, code) = self.code_of(name)?;
        code::frame_push(&code, address)
    }

    fn thread_store(&self, name: &str) -> Option<i64> {
        let (address, code) = self.code_of(name)?;
        code::thread_store(&code, address)
    }
}

/// The start of the text behind C code: where `runtime.newproc.func1` calls `runtime.runqput` at the right distance.
fn before(image: &Image, functions: &Functions, section: Span, first: u64, most: usize) -> Option<u64> {
    const ALIGN: usize = 16;
    let (newproc, runqput) = (functions.starts.get(NEWPROC)?, functions.starts.get(RUNQPUT)?);
    let base = first.checked_sub(section.address)?.checked_add(section.offset)?;
    let code = image.bytes(base.checked_add(*newproc)?, most)?;
    for (place, window) in code.windows(FUNCTION_BYTES).enumerate().step_by(ALIGN) {
        // Addresses relative to the text; only the distance counts.
        let body = window.get(..160).unwrap_or(window);
        let calls = body.windows(5).enumerate().any(|(at, bytes)| {
            let (Some(0xe8), Some(Ok(distance))) = (bytes.first(), bytes.get(1..5).map(<[u8; 4]>::try_from)) else {
                return false;
            };
            let next = newproc.wrapping_add(at as u64 + 5);
            next.wrapping_add_signed(i64::from(i32::from_le_bytes(distance))) == *runqput
        });
        if calls {
            return first.checked_add(place as u64);
        }
    }
    None
}
