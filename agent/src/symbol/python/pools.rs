//! `_queue.SimpleQueue`, through which `concurrent.futures` hands work to its threads.
//!
//! Its methods have no symbols. The type's table names each of them, with its signature:
//!
//! ```text
//! PyMethodDef
//! 0      8          16            24
//! +------+----------+-------+-----+-----+
//! | name | function | flags | 0   | doc |
//! +------+----------+-------+-----+-----+
//! ```
use iced_x86::Register;

use crate::symbol::image::Image;
use crate::symbol::{Point, code, dynamic};

/// How the functions are called: `METH_FASTCALL | METH_KEYWORDS`, and `METH_METHOD` besides.
const FAST: u64 = 0x82;
const FAST_METHOD: u64 = 0x282;

/// Where the kernel side looks for the arguments of a function of C.
const ARGUMENTS: &[Register] = &[Register::RDI, Register::RSI, Register::RDX];

/// A method: its name, how it is called, how its documentation begins, what watches it, and the registers that needs.
struct Method {
    name: &'static str,
    flags: u64,
    doc: &'static str,
    program: &'static str,
    needs: &'static [Register],
}

/// In the order in which they are attached: nothing is taken as another's before it is seen what is put.
const METHODS: &[Method] = &[
    Method {
        name: "put",
        flags: FAST,
        doc: "put($self, /, item, block=True, timeout=None)\n--\n",
        program: "python_put",
        needs: ARGUMENTS,
    },
    Method {
        name: "put_nowait",
        flags: FAST,
        doc: "put_nowait($self, /, item)\n--\n",
        program: "python_put",
        needs: ARGUMENTS,
    },
    Method {
        name: "get",
        flags: FAST_METHOD,
        doc: "get($self, /, block=True, timeout=None)\n--\n",
        program: "python_taken",
        needs: &[],
    },
    Method {
        name: "get_nowait",
        flags: FAST_METHOD,
        doc: "get_nowait($self, /)\n--\n",
        program: "python_taken",
        needs: &[],
    },
];

/// Words of a method in the table, and bytes from the first of the methods to the last.
const WORDS: usize = 4;
const TABLE_BYTES: u64 = 16 * 32;

/// Entries that could be methods; an interpreter has some hundreds.
const MOST_CANDIDATES: usize = 1 << 14;

/// Where tables of methods are.
const SECTIONS: &[&str] = &[".data", ".data.rel.ro"];

/// Why the type is not watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unwatched {
    /// It is not in this file.
    Absent,
    /// It does not look as it should.
    Strange,
}

impl Unwatched {
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Absent => "work on pools of threads is not followed: the module _queue is not where it should be",
            Self::Strange => "work on pools of threads is not followed: the module _queue is not as Clew knows it",
        }
    }
}

/// The probes on the type's methods in `image`.
pub(super) fn points(image: &Image) -> Result<Vec<Point>, Unwatched> {
    // Most interpreters have it elsewhere; looking for a text is much quicker than for a table.
    let text = METHODS
        .iter()
        .map(|method| method.doc.as_bytes())
        .max_by_key(|doc| doc.len());
    let strings = image.section(&[".rodata"]);
    if let (Some(text), Some(strings)) = (text, strings)
        && !image.holds(strings, text)
    {
        return Err(Unwatched::Absent);
    }
    let tables: Vec<_> = SECTIONS
        .iter()
        .filter_map(|section| dynamic::loaded(image, section))
        .collect();
    let mut n_candidates = 0;
    let mut found: Vec<Vec<(u64, u64)>> = vec![Vec::new(); METHODS.len()];
    for (start, words) in &tables {
        let addresses = std::iter::successors(Some(*start), |address| address.checked_add(8));
        for (address, entry) in addresses.zip(words.windows(WORDS)) {
            let &[name, function, flags, doc] = entry else { continue };
            if flags != FAST && flags != FAST_METHOD {
                continue;
            }
            n_candidates += 1;
            if n_candidates > MOST_CANDIDATES {
                return Err(Unwatched::Strange);
            }
            for (method, places) in METHODS.iter().zip(&mut found) {
                if flags == method.flags
                    && image.begins(name, &[method.name.as_bytes(), b"\0"].concat())
                    && image.begins(doc, method.doc.as_bytes())
                {
                    places.push((address, function));
                }
            }
        }
    }
    if found.iter().all(Vec::is_empty) {
        return Err(Unwatched::Absent);
    }
    // Each once, and all in one table.
    let one = |places: Vec<(u64, u64)>| match places.as_slice() {
        &[place] => Some(place),
        _ => None,
    };
    let places: Vec<(u64, u64)> = found
        .into_iter()
        .map(one)
        .collect::<Option<_>>()
        .ok_or(Unwatched::Strange)?;
    let addresses = places.iter().map(|(address, _)| *address);
    let (least, most) = (addresses.clone().min(), addresses.max());
    if most.zip(least).is_none_or(|(most, least)| most - least >= TABLE_BYTES) {
        return Err(Unwatched::Strange);
    }
    METHODS
        .iter()
        .zip(places)
        .map(|(method, (_, function))| point(image, method, function).ok_or(Unwatched::Strange))
        .collect()
}

fn point(image: &Image, method: &Method, function: u64) -> Option<Point> {
    let start = image.code(function, 32)?;
    let address = code::cheap_entry(&start, function, method.needs)?;
    Some(Point {
        program: method.program,
        file: image.key(),
        offset: image.code_offset(address)?,
    })
}
