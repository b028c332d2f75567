//! Lines of Go programs, from the table the runtime needs for its own stack traces; it stays when a program is stripped.
//!
//! ```text
//! header (see `pclntab`)   32 names | 40 compilation units | 48 files | 56 numbers by address | 64 functions: offsets from the header
//! functions                start, offset of _func (32 bits each) ... by rising start, relative to the text
//! _func                    0 start  4 name  8 args  12 defer  16 pcsp  20 pcfile  24 pcln  28 n  32 compilation unit  36 line
//!                          40 id, flags, pad, m | n offsets of numbers by address | m offsets of data of functions
//! inlined calls            0 id, pad  4 name  8 an instruction of the call in its caller  12 line: data 3, whose index is number 2
//! numbers by address       (difference of the number, zigzag; difference of the address) as varints, from number -1
//! ```
//! Source: `src/runtime/symtab.go` of Go 1.24.
use smol_str::SmolStr;

use super::Frame;
use crate::symbol::go;
use crate::symbol::image::{Image, Span};

/// net/http's client writes what it is asked here, and its server watches here for the client's end: who asks, and who serves what is
/// read so, is on another stack.
pub(super) const FOR_OTHERS: [&str; 2] = [
    "net/http.(*persistConn).writeLoop",
    "net/http.(*connReader).backgroundRead",
];

/// Functions a program may have.
const MOST_FUNCTIONS: u64 = 4 << 20;
/// Longest name or path that is shown, bytes.
const LONGEST: usize = 512;
/// Bytes of a `_func` that are looked at.
const FUNCTION_BYTES: usize = 256;
/// Bytes of an inlined call, and how deep they go.
const INLINED_BYTES: u64 = 16;
const MOST_INLINED: usize = 32;
/// Bytes of a function's numbers that are looked at.
const NUMBER_BYTES: usize = 64 << 10;

/// A program's lines.
#[derive(Debug)]
pub(super) struct Lines {
    image: Image,
    table: Span,
    /// Where the text starts.
    start: u64,
    n_functions: u64,
    /// Offsets in the table.
    names: u64,
    units: u64,
    files: u64,
    numbers: u64,
    functions: u64,
    /// Address of the data of functions; none where it is not known which of their calls were inlined.
    data: Option<u64>,
    /// The path of the program's own module.
    module: Option<String>,
}

impl Lines {
    /// Those of the program in a file; none if it has none of the known form.
    pub(super) fn open(image: Image) -> Option<Self> {
        let (table, start) = go::text(&image)?;
        let head = image.bytes(table.offset, 72)?;
        let word = |at: usize| Some(u64::from_le_bytes(head.get(at..at + 8)?.try_into().ok()?));
        let data = function_data(&image, table, start);
        Some(Self {
            data,
            start,
            n_functions: word(8).filter(|count| (1..=MOST_FUNCTIONS).contains(count))?,
            names: word(32)?,
            units: word(40)?,
            files: word(48)?,
            numbers: word(56)?,
            functions: word(64)?,
            module: go::module(&image),
            table,
            image,
        })
    }

    /// The program's file.
    pub(super) const fn image(&self) -> &Image {
        &self.image
    }

    /// The functions and lines of the instruction at `address`, as the file counts: the innermost inlined one first.
    pub(super) fn at(&self, address: u64) -> Option<Vec<Frame>> {
        let within = u32::try_from(address.checked_sub(self.start)?).ok()?;
        let (mut low, mut high) = (0, self.n_functions);
        // The last function that starts at or before the address.
        while low < high {
            let middle = low + (high - low) / 2;
            if self.pair(middle)?.0 <= within {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let (start, at) = self.pair(low.checked_sub(1)?)?;
        let function = Function::read(&self.up_to(self.functions.checked_add(u64::from(at))?, FUNCTION_BYTES)?)?;
        if function.start != start {
            return None;
        }
        let name = self.text(self.names, function.name)?;
        let mut offset = within - start;
        let mut frames = Vec::new();
        for _ in 0..MOST_INLINED {
            let index = self.number(function.inlined, offset).filter(|index| *index >= 0);
            let Some(index) = index else {
                frames.push(self.frame(&function, name, Some(offset)));
                return Some(frames);
            };
            let Some((called, parent)) = self.inlined(&function, index) else {
                break;
            };
            frames.push(self.frame(&function, called, Some(offset)));
            offset = parent;
        }
        // What stands there was inlined from elsewhere.
        frames.push(self.frame(&function, name, None));
        Some(frames)
    }

    /// A function by its name, at an instruction of the one it is inlined in.
    fn frame(&self, function: &Function, name: SmolStr, offset: Option<u32>) -> Frame {
        let number = |at| self.number(at, offset?);
        let line = number(function.lines).and_then(|line| u32::try_from(line).ok());
        let file = || {
            let file = u64::try_from(number(function.files)?).ok()?;
            let index = u64::from(function.unit).checked_add(file)?;
            let entry = self.bytes(self.units.checked_add(index.checked_mul(4)?)?, 4)?;
            self.text(self.files, u32::from_le_bytes(entry.try_into().ok()?))
        };
        let module = self.module.as_deref();
        Frame {
            is_own: is_of_main(&name) || module.is_some_and(|module| is_below(&name, module)),
            file: file().unwrap_or_default(),
            line: line.unwrap_or_default(),
            function: name,
        }
    }

    /// The name of an inlined function, and an instruction of the call.
    fn inlined(&self, function: &Function, index: i32) -> Option<(SmolStr, u32)> {
        let at = u64::from(function.tree?).checked_add(u64::try_from(index).ok()?.checked_mul(INLINED_BYTES)?)?;
        let entry = self.image.data(self.data?.checked_add(at)?, INLINED_BYTES as usize)?;
        let name = u32_at(&entry, 4)?;
        Some((self.text(self.names, name)?, u32_at(&entry, 8)?))
    }

    fn pair(&self, index: u64) -> Option<(u32, u32)> {
        let bytes = self.bytes(self.functions.checked_add(index.checked_mul(8)?)?, 8)?;
        let (start, at) = bytes.split_at_checked(4)?;
        Some((
            u32::from_le_bytes(start.try_into().ok()?),
            u32::from_le_bytes(at.try_into().ok()?),
        ))
    }

    /// `size` bytes at an offset of the table.
    fn bytes(&self, at: u64, size: usize) -> Option<Vec<u8>> {
        let bytes = self.up_to(at, size)?;
        (bytes.len() == size).then_some(bytes)
    }

    fn up_to(&self, at: u64, most: usize) -> Option<Vec<u8>> {
        let left = usize::try_from(self.table.size.checked_sub(at)?).ok()?;
        self.image.bytes(self.table.offset.checked_add(at)?, most.min(left))
    }

    fn text(&self, base: u64, at: u32) -> Option<SmolStr> {
        let bytes = self.up_to(base.checked_add(u64::from(at))?, LONGEST)?;
        let text = bytes.split(|byte| *byte == 0).next()?;
        std::str::from_utf8(text).ok().map(SmolStr::new)
    }

    /// The number that holds `offset` bytes behind the function's start.
    fn number(&self, at: u32, offset: u32) -> Option<i32> {
        if at == 0 {
            return None;
        }
        number(
            &self.up_to(self.numbers.checked_add(u64::from(at))?, NUMBER_BYTES)?,
            offset,
        )
    }
}

/// What is read of a `_func`: offsets of tables of numbers, and of inlined calls.
struct Function {
    start: u32,
    name: u32,
    files: u32,
    lines: u32,
    unit: u32,
    inlined: u32,
    tree: Option<u32>,
}

impl Function {
    fn read(bytes: &[u8]) -> Option<Self> {
        const FIXED: usize = 44;
        const INLINED: u32 = 2;
        const TREE: u32 = 3;
        let field = |at: usize| u32_at(bytes, at);
        let (numbers, data) = (field(28)?, u32::from(*bytes.get(FIXED - 1)?));
        let at = |index: u32| FIXED.checked_add(usize::try_from(index).ok()?.checked_mul(4)?);
        let inlined = if numbers > INLINED { field(at(INLINED)?)? } else { 0 };
        let tree = if data > TREE {
            field(at(numbers.checked_add(TREE)?)?)
        } else {
            None
        };
        Some(Self {
            start: field(0)?,
            name: field(4)?,
            files: field(20)?,
            lines: field(24)?,
            unit: field(32)?,
            inlined,
            tree: tree.filter(|tree| *tree != u32::MAX),
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// Address of the data of functions, from the runtime's description of the program (`runtime.moduledata`), which begins with the
/// address of the table. It is right if the start of the text and the end of the table stand in it where they should. Programs that
/// can be loaded anywhere have it made when they are loaded: of them it is not known.
///
/// ```text
/// words: 0 table | .. | 22 text | .. | 40 data of functions | 41 end of the table
/// ```
fn function_data(image: &Image, table: Span, start: u64) -> Option<u64> {
    const WINDOW: usize = 16 << 20;
    const WORDS: usize = 42;
    let sections = [".go.module", ".noptrdata", ".data"];
    sections.into_iter().find_map(|name| {
        let section = image.section(&[name])?;
        let bytes = image.bytes(section.offset, WINDOW.min(usize::try_from(section.size).ok()?))?;
        let first = table.address.to_le_bytes();
        memchr::memmem::find_iter(&bytes, &first).find_map(|at| {
            let words = bytes.get(at..)?.chunks_exact(8).take(WORDS);
            let words: Vec<u64> = words
                .filter_map(|word| Some(u64::from_le_bytes(word.try_into().ok()?)))
                .collect();
            let ends = table.address.checked_add(table.size)?;
            let is_right = *words.get(22)? == start && words.get(41)?.abs_diff(ends) < 64;
            is_right.then(|| words.get(40).copied())?
        })
    })
}

fn number(mut bytes: &[u8], offset: u32) -> Option<i32> {
    let (mut value, mut end) = (-1_i32, 0_u32);
    let mut first = true;
    loop {
        let step = varint(&mut bytes)?;
        if step == 0 && !first {
            return None;
        }
        first = false;
        let step = (step >> 1).cast_signed() ^ -(step & 1).cast_signed();
        value = value.wrapping_add(step);
        // Addresses count instructions of the least size, which is a byte on x86-64.
        let least = if cfg!(target_arch = "aarch64") { 4 } else { 1 };
        end = end.checked_add(varint(&mut bytes)?.checked_mul(least)?)?;
        if offset < end {
            return Some(value);
        }
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0_u32;
    for shift in (0..35).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn is_of_main(name: &str) -> bool {
    name.starts_with("main.")
}

/// Whether a function is of a package at or below `module`.
fn is_below(name: &str, module: &str) -> bool {
    let rest = name.strip_prefix(module);
    rest.is_some_and(|rest| rest.starts_with(['.', '/']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_by_address() {
        // 10 for 4 bytes, 12 for 300, 9 for 1; then the end.
        let bytes = [22, 4, 4, 0xac, 2, 5, 1, 0];
        let at = |offset| number(&bytes, offset);
        assert_eq!([at(0), at(3), at(4), at(303)], [Some(10), Some(10), Some(12), Some(12)]);
        assert_eq!([at(304), at(305), at(u32::MAX)], [Some(9), None, None]);
        for cut in 0..bytes.len() {
            assert_eq!(number(&bytes[..cut], u32::MAX), None);
        }
        assert_eq!(number(&[0xff; 64], 1), None);
    }

    #[test]
    fn own_code() {
        assert!(is_of_main("main.(*shop).buy") && !is_of_main("mainly.f"));
        assert!(is_below("example.com/a/b.F", "example.com/a") && is_below("example.com/a.F", "example.com/a"));
        assert!(!is_below("example.com/ab.F", "example.com/a"));
    }
}
