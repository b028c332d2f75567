//! What has to be known of an interpreter, whoever runs it.
use clew_common::context::{PY_CONTEXT, PY_FRAMES, PY_KEY, PY_MINOR, PY_TYPE};

use super::pools::{self, Unwatched};
use super::{point, unknown};
use crate::symbol::image::Image;
use crate::symbol::{NoHooks, Point, dynamic};

/// A release line, the offset of `gilstate.autoTSSkey._key` (3.12: `autoTSSkey._key`) in `_PyRuntime`, and that of `context`
/// in `PyThreadState`.
const LINES: &[((u8, u8), u64, u64)] = &[((3, 11), 596, 224), ((3, 12), 1548, 208), ((3, 13), 2164, 208)];

/// Where the frames of a release line lie, by its second number: what [`PY_FRAMES`] has. 3.11 and 3.12 reach them by
/// `PyThreadState.cframe`.
const FRAMES: &[(u8, [u8; 5])] = &[
    (11, [56, 9, 32, 48, 56]),
    (12, [56, 1, 0, 8, 56]),
    (13, [72, 0, 0, 8, 56]),
];

fn frames(minor: u8) -> u64 {
    let known = FRAMES.iter().find(|(line, _)| *line == minor);
    known.map_or(0, |(_, [state, current, code, previous, instruction])| {
        u64::from_le_bytes([*state, *current, *code, *previous, *instruction, 0, 0, 0]) | u64::from(minor) << PY_MINOR
    })
}

/// `tp_dealloc` and `tp_new` in `PyTypeObject`.
const TP_DEALLOC: u64 = 48;
const TP_NEW: u64 = 312;

const RUNTIME: &str = "_PyRuntime";
const TYPE: &str = "PyContext_Type";
const COPY: &str = "PyContext_CopyCurrent";
const VERSION: &str = "Py_Version";

/// An interpreter.
#[derive(Debug)]
pub(super) struct Interpreter {
    pub(super) version: (u8, u8),
    /// Words of the plan, each with its place.
    pub(super) words: [(usize, u64); 4],
    /// What watches contexts.
    pub(super) points: Vec<Point>,
    /// What watches queues, where they are part of the interpreter.
    pub(super) queues: Result<Vec<Point>, Unwatched>,
}

/// Whether the file exports what an interpreter does.
pub(super) fn is_in(image: &Image) -> bool {
    !dynamic::symbols(image, ".dynsym", ".dynstr", &[TYPE]).is_empty()
}

/// Reads an interpreter.
pub(super) fn read(image: &Image) -> Result<Interpreter, NoHooks> {
    let symbols = dynamic::symbols(image, ".dynsym", ".dynstr", &[RUNTIME, TYPE, COPY, VERSION]);
    let symbol = |name: &str| {
        let missing = || unknown(&format!("the interpreter does not export {name}"));
        symbols.get(name).copied().ok_or_else(missing)
    };
    let (runtime, kind, copy) = (symbol(RUNTIME)?, symbol(TYPE)?, symbol(COPY)?);
    let version = symbol(VERSION).ok().and_then(|at| image.data(at, 4));
    let Some(&[_, _, minor, major]) = version.as_deref() else {
        return Err(unknown("the version of Python cannot be read"));
    };
    let (_, key, context) = LINES
        .iter()
        .find(|(line, ..)| *line == (major, minor))
        .ok_or_else(|| unknown(&format!("Python {major}.{minor} is not a version Clew knows")))?;
    if free_threaded(image, runtime) {
        return Err(unknown("Python without a global lock is not followed"));
    }
    let [freed, new] = dynamic::pointers(image, &[TP_DEALLOC, TP_NEW].map(|at| kind.wrapping_add(at)))
        .and_then(|found| <[u64; 2]>::try_from(found).ok())
        .ok_or_else(|| unknown("the functions of PyContext_Type cannot be found"))?;
    // What is freed comes first: a context that outlives its number would be taken for another.
    let points = [
        ("python_freed", freed),
        ("python_created", copy),
        ("python_created", new),
    ]
    .map(|(program, address)| point(image, program, address));
    let points: Option<Vec<Point>> = points.into_iter().collect();
    Ok(Interpreter {
        version: (major, minor),
        words: [
            (PY_KEY, runtime.wrapping_add(*key)),
            (PY_TYPE, kind),
            (PY_CONTEXT, *context),
            (PY_FRAMES, frames(minor)),
        ],
        points: points.ok_or_else(|| unknown("the functions of contexts look otherwise"))?,
        queues: pools::points(image),
    })
}

/// Whether the interpreter was built without its global lock, from the table it holds for debuggers (since 3.13).
///
/// ```text
/// 0          8         16
/// +----------+---------+---------------+
/// | xdebugpy | version | free-threaded |
/// +----------+---------+---------------+
/// ```
fn free_threaded(image: &Image, runtime: u64) -> bool {
    image
        .data(runtime, 24)
        .is_some_and(|head| head.starts_with(b"xdebugpy") && head.get(16..24) != Some(&[0; 8]))
}
