//! Go's table of functions, which the runtime needs and which stays when a program is stripped.
//!
//! ```text
//! 0        4      6      7        8       16      24          32       40    48     56     64
//! +--------+------+------+--------+-------+-------+-----------+--------+-----+------+------+-------+
//! | magic  | 0, 0 | min. | size of| n_func| n_file| text start| names  | ... | ...  | ...  | funcs |
//! |        |      | code | pointer|       |       | (to 1.25) | offset |     |      |      | offset|
//! +--------+------+------+--------+-------+-------+-----------+--------+-----+------+------+-------+
//! ```
//!
//! Since Go 1.20 (`internal/abi.Go120PCLnTabMagic`, `runtime.pcHeader`). At the functions' offset stand pairs of 32 bits:
//! start of the code relative to the text, and offset of a `runtime._func`, whose second word is the offset of the name.
use std::collections::HashMap;

use super::image::{Image, Span};

const MAGIC: u32 = 0xffff_fff1;
/// Functions a program may have; the largest programs have half a million.
const MOST_FUNCTIONS: u64 = 4 << 20;
/// Bytes the names may have.
const MOST_NAMES: u64 = 256 << 20;
/// Bytes read at a time.
const WINDOW: usize = 256 << 10;
const LONGEST_NAME: usize = 256;
/// Most of the table that is read, bytes, and what may be read again of it.
const MOST_TABLE: u64 = 512 << 20;
const MOST_AGAIN: u64 = 16 << 20;

/// Functions by name; the text's start where the table gives it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Functions {
    pub(super) starts: HashMap<&'static str, Function>,
    pub(super) text: Option<u64>,
}

/// Where a function lies, relative to the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) start: u64,
    /// Where the next one begins.
    pub(super) end: u64,
}

/// Looks `names` up in the table at `table`. None if it is no such table.
pub(super) fn find(image: &Image, table: Span, names: &[&'static str]) -> Option<Functions> {
    let head = image.bytes(table.offset, 72)?;
    let word = |at: usize| Some(u64::from_le_bytes(head.get(at..at + 8)?.try_into().ok()?));
    let magic = u32::from_le_bytes(head.get(..4)?.try_into().ok()?);
    if magic != MAGIC || head.get(7) != Some(&8) {
        return None;
    }
    let n_functions = word(8).filter(|count| (1..=MOST_FUNCTIONS).contains(count))?;
    let (names_at, end_of_names, functions_at) = (word(32)?, word(40)?, word(64)?);
    let names_size = end_of_names.checked_sub(names_at).filter(|size| *size <= MOST_NAMES)?;
    if functions_at >= table.size || end_of_names > table.size {
        return None;
    }
    let wanted = name_offsets(image, table.offset.checked_add(names_at)?, names_size, names)?;
    let mut starts = HashMap::new();
    let base = table.offset.checked_add(functions_at)?;
    // Both go forward in tables that a linker wrote, and read each byte about once.
    let most = table.size.min(MOST_TABLE).saturating_mul(4).saturating_add(MOST_AGAIN);
    let mut pairs = Reader::new(image, base, most);
    let mut functions = Reader::new(image, base, most);
    for _ in 0..n_functions {
        if starts.len() == wanted.len() {
            break;
        }
        let (start, at) = (pairs.u32()?, pairs.u32()?);
        functions.seek(base.checked_add(u64::from(at))?);
        let (own_start, name) = (functions.u32()?, functions.u32()?);
        if own_start == start
            && let Some(name) = wanted.get(&name)
        {
            // The last pair is the end of the last function.
            let end = pairs.peek()?;
            starts.entry(*name).or_insert(Function {
                start: u64::from(start),
                end: u64::from(end),
            });
        }
    }
    Some(Functions {
        starts,
        text: word(24).filter(|text| *text != 0),
    })
}

/// The offsets of those of `names` that are in the table of names: text that ends with a zero byte each.
fn name_offsets(image: &Image, at: u64, size: u64, names: &[&'static str]) -> Option<HashMap<u32, &'static str>> {
    let mut found = HashMap::new();
    let mut start = 0_u64;
    while start < size {
        // Windows overlap by a name, so that none is cut.
        let most = WINDOW.min(usize::try_from(size - start).ok()?);
        let bytes = image.bytes(at.checked_add(start)?, most)?;
        for name in names {
            for place in memchr::memmem::find_iter(&bytes, name.as_bytes()) {
                let begins = place == 0 && start == 0 || place > 0 && bytes.get(place - 1) == Some(&0);
                if begins && bytes.get(place + name.len()) == Some(&0) {
                    found.insert(u32::try_from(start + place as u64).ok()?, *name);
                }
            }
        }
        if bytes.len() <= LONGEST_NAME {
            break;
        }
        start += (bytes.len() - LONGEST_NAME) as u64;
    }
    Some(found)
}

/// Reads numbers through a window that moves forward and, rarely, back.
struct Reader<'a> {
    image: &'a Image,
    /// Offset in the file of the next number.
    at: u64,
    window: Vec<u8>,
    /// Offset in the file of the window.
    window_at: u64,
    /// Bytes that may still be read.
    left: u64,
}

impl<'a> Reader<'a> {
    const fn new(image: &'a Image, at: u64, left: u64) -> Self {
        Self {
            image,
            at,
            window: Vec::new(),
            window_at: 0,
            left,
        }
    }

    const fn seek(&mut self, at: u64) {
        self.at = at;
    }

    fn peek(&mut self) -> Option<u32> {
        let value = self.u32();
        self.at = self.at.saturating_sub(4);
        value
    }

    fn u32(&mut self) -> Option<u32> {
        let within = |reader: &Self| {
            let start = usize::try_from(reader.at.checked_sub(reader.window_at)?).ok()?;
            let bytes = reader.window.get(start..start.checked_add(4)?)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        let value = match within(self) {
            Some(value) => value,
            None => {
                self.left = self.left.checked_sub(WINDOW as u64)?;
                self.window = self.image.bytes(self.at, WINDOW)?;
                self.window_at = self.at;
                within(self)?
            }
        };
        self.at += 4;
        Some(value)
    }
}
