//! Functions and lines of Python, read off the memory of the process: an address of a code object, and one within its instructions.
//!
//! ```text
//! PyCodeObject   48 flags.. | first line (72 in 3.11, 68 since) | 112 file | 128 qualified name | 136 table of lines | .. instructions
//! str, ASCII     16 length | .. characters (at 48 in 3.11, 40 since)
//! bytes          16 length | 32 ..
//! ```
//! Offsets are those of each release line, compared with what running interpreters hold.
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use smol_str::SmolStr;

use super::Frame;

/// A release line: its second number, where the first line stands in a code object, where instructions begin, and where a
/// text's characters begin.
const LINES: &[(u8, u64, u64, u64)] = &[(11, 72, 184, 48), (12, 68, 192, 40), (13, 68, 200, 40)];

const FILE: u64 = 112;
const NAME: u64 = 128;
const TABLE: u64 = 136;
const SIZE: u64 = 16;
const BYTES: u64 = 32;

/// The file of frames by which the interpreter is entered from C (3.12).
pub(super) const SHIM: &str = "<shim>";

/// Longest text that is read, bytes.
const LONGEST: u64 = 512;
/// Most bytes of a table of lines.
const MOST_TABLE: u64 = 256 << 10;

/// The frame of an interpreter of line 3.`minor` that runs `code` and is at `instruction`.
pub(super) fn frame(memory: &File, minor: u8, code: u64, instruction: u64) -> Option<Frame> {
    let (_, first_line, instructions, characters) = LINES.iter().find(|(line, ..)| *line == minor)?;
    let word = |at: u64| {
        let bytes = read::<8>(memory, at)?;
        Some(u64::from_le_bytes(bytes))
    };
    let text = |at: u64| {
        let object = word(code.checked_add(at)?)?;
        let size = word(object.checked_add(SIZE)?)?.min(LONGEST);
        let bytes = bytes(memory, object.checked_add(*characters)?, size)?;
        // Characters of another kind stand elsewhere.
        let plain = bytes.iter().all(|byte| matches!(byte, 0x20..0x7f));
        plain.then(|| std::str::from_utf8(&bytes).ok().map(SmolStr::new))?
    };
    let (file, function) = (text(FILE)?, text(NAME)?);
    let first = u32::from_le_bytes(read::<4>(memory, code.checked_add(*first_line)?)?);
    let at = instruction.checked_sub(code.checked_add(*instructions)?)?;
    let line = || {
        let table = word(code.checked_add(TABLE)?)?;
        let size = word(table.checked_add(SIZE)?)?.min(MOST_TABLE);
        line(&bytes(memory, table.checked_add(BYTES)?, size)?, first, at)
    };
    Some(Frame {
        is_own: is_own(&file),
        line: line().unwrap_or(first),
        function,
        file,
    })
}

/// Whether a file is the program's, and neither the interpreter's nor of a package that was installed.
fn is_own(file: &str) -> bool {
    !file.starts_with('<') && !file.contains("/lib/python3")
}

/// The line of the instruction `at` bytes behind the first, from a table of lines (`Objects/locations.md` of CPython).
///
/// ```text
/// 1 | code: 4 bits | units of 2 bytes, less 1: 3 bits   then, as the code says, what of it is of lines:
///   0..=9 the same line, a byte of columns   10..=12 so many less 10 lines further, two bytes   13 a difference
///   14 a difference, a last line, two columns   15 no line
/// ```
fn line(mut table: &[u8], first: u32, at: u64) -> Option<u32> {
    let (mut line, mut end) = (i64::from(first), 0_u64);
    while let Some((head, rest)) = table.split_first() {
        table = rest;
        let code = head >> 3 & 15;
        end = end.checked_add((u64::from(head & 7) + 1) * 2)?;
        match code {
            0..=9 => skip(&mut table, 1)?,
            10..=12 => {
                line = line.checked_add(i64::from(code - 10))?;
                skip(&mut table, 2)?;
            }
            13 | 14 => {
                let step = varint(&mut table)?;
                let size = i64::from(step >> 1);
                line = line.checked_add(if step & 1 == 1 { -size } else { size })?;
                if code == 14 {
                    for _ in 0..3 {
                        varint(&mut table)?;
                    }
                }
            }
            _ => {}
        }
        if at < end {
            return if code == 15 { None } else { u32::try_from(line).ok() };
        }
    }
    None
}

/// Six bits a byte, the lowest first; the seventh says that more follow.
fn varint(table: &mut &[u8]) -> Option<u32> {
    let mut value = 0_u32;
    for shift in (0..36).step_by(6) {
        let (byte, rest) = table.split_first()?;
        *table = rest;
        value |= u32::from(byte & 0x3f).checked_shl(shift)?;
        if byte & 0x40 == 0 {
            return Some(value);
        }
    }
    None
}

fn skip(table: &mut &[u8], bytes: usize) -> Option<()> {
    *table = table.get(bytes..)?;
    Some(())
}

fn read<const N: usize>(memory: &File, at: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    memory.read_exact_at(&mut bytes, at).ok()?;
    Some(bytes)
}

fn bytes(memory: &File, at: u64, size: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(size).ok()?];
    memory.read_exact_at(&mut bytes, at).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        // Two units of line 7, one of line 8, three without, one of line 8 + 40 in the long form, one of line 48 - 3.
        let table = [0x81, 0, 0xd8, 0, 0, 0xfa, 0xf0, 0x50, 1, 0, 1, 2, 0xe8, 7];
        let at = |at| line(&table, 7, at);
        assert_eq!([at(0), at(3), at(4), at(5)], [Some(7), Some(7), Some(8), Some(8)]);
        assert_eq!([at(6), at(11)], [None, None]);
        assert_eq!([at(12), at(14), at(16)], [Some(48), Some(45), None]);
        for cut in 0..table.len() {
            assert_eq!(line(&table[..cut], 7, 14), None, "{cut}");
        }
        assert_eq!(line(&[0xff; 64], u32::MAX, u64::MAX), None);
    }

    #[test]
    fn own_code() {
        assert!(is_own("/srv/shop/app.py") && is_own("app.py"));
        let foreign = [
            "/usr/lib/python3.11/http/client.py",
            "/v/lib/python3.13/site-packages/x.py",
        ];
        assert!(!foreign.into_iter().any(is_own) && !is_own("<frozen runpy>"));
    }
}
