//! Where functions begin and end, by the table that a program has for unwinding its stack: stripped programs keep it.
use std::collections::HashMap;

use super::image::Image;

/// Most of the table that is read, bytes.
const MOST_BYTES: u64 = 64 << 20;
/// Entries that others refer to.
const MOST_COMMON: usize = 1 << 16;
/// How often each instruction may be claimed before the table is one of no program: functions do not overlap.
const MOST_CLAIMS: usize = 16;
/// Longest description of how a table's entries are written, bytes.
const MOST_AUGMENTATION: usize = 8;

/// A function: its address and its size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Range {
    pub(super) address: u64,
    pub(super) size: u64,
}

impl Range {
    pub(super) const fn holds(self, address: u64) -> bool {
        address >= self.address && address - self.address < self.size
    }
}

/// The functions that these instructions belong to, each once, by address. An instruction that two functions claim belongs to
/// neither.
pub(super) fn around(image: &Image, addresses: &[u64]) -> Vec<Range> {
    let mut sorted = addresses.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut owners: Vec<Option<Range>> = vec![None; sorted.len()];
    let mut claimed = vec![false; sorted.len()];
    let Some(section) = image
        .section(&[".eh_frame"])
        .filter(|section| section.size <= MOST_BYTES)
    else {
        return Vec::new();
    };
    let size = usize::try_from(section.size).unwrap_or(0);
    let table = image.bytes(section.offset, size).unwrap_or_default();
    let mut left = sorted.len().saturating_mul(MOST_CLAIMS);
    let mut note = |range: Range| {
        let first = sorted.partition_point(|address| *address < range.address);
        for (address, at) in sorted.iter().zip(0..).skip(first) {
            if left == 0 || !range.holds(*address) {
                break;
            }
            left -= 1;
            if let (Some(owner), Some(twice)) = (owners.get_mut(at), claimed.get_mut(at)) {
                *twice |= owner.is_some_and(|owner: Range| owner != range);
                *owner = Some(range);
            }
        }
    };
    entries(&table, section.address, &mut note);
    if left == 0 {
        return Vec::new();
    }
    let mut found: Vec<Range> = owners
        .into_iter()
        .zip(claimed)
        .filter_map(|(owner, twice)| owner.filter(|_| !twice))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Tells of each function in the table, which lies at `address`.
///
/// ```text
/// common:    0        4      8         9              ..
///            +--------+------+---------+--------------+-----------------------------+-----
///            | length | 0    | version | augmentation | alignments, register, data  | ...
///            +--------+------+---------+--------------+-----------------------------+-----
/// function:  +--------+------+---------+--------------+-----
///            | length | back | address | size         | ...
///            +--------+------+---------+--------------+-----
/// ```
///
/// Linux Standard Base Core, section 10.6.1. `back` leads from itself to the common entry that says how addresses are written.
fn entries(table: &[u8], address: u64, tell: &mut dyn FnMut(Range)) {
    /// The length is in the eight bytes behind.
    const LONG: u32 = u32::MAX;
    let mut at = 0_usize;
    // Linkers make entries that are alike one, so a function may refer far back.
    let mut common: HashMap<usize, u8> = HashMap::new();
    while let Some(length) = word(table, at) {
        let Some(id_at) = at.checked_add(4).filter(|_| length != LONG && length >= 4) else {
            // A length of 0 ends the table; 64-bit entries are made by nobody.
            return;
        };
        let Some(next) = usize::try_from(length)
            .ok()
            .and_then(|length| id_at.checked_add(length))
        else {
            return;
        };
        let Some(entry) = table.get(id_at..next) else { return };
        let id = word(entry, 0).unwrap_or(0);
        if id == 0 {
            if common.len() < MOST_COMMON {
                common.extend(encoding(entry).map(|encoding| (at, encoding)));
            }
        } else {
            let back = usize::try_from(id).ok().and_then(|back| id_at.checked_sub(back));
            if let Some(&encoding) = back.and_then(|back| common.get(&back)) {
                let here = address.wrapping_add(id_at as u64).wrapping_add(4);
                if let Some(range) = range(entry.get(4..).unwrap_or_default(), encoding, here) {
                    tell(range);
                }
            }
        }
        at = next;
    }
}

/// How a common entry says that addresses are written.
fn encoding(entry: &[u8]) -> Option<u8> {
    const ABSOLUTE: u8 = 0;
    let version = *entry.get(4)?;
    let text = entry.get(5..)?;
    let end = text.iter().take(MOST_AUGMENTATION).position(|byte| *byte == 0)?;
    let (augmentation, mut rest) = (text.get(..end)?, text.get(end + 1..)?);
    let Some((b'z', augmentation)) = augmentation.split_first() else {
        return augmentation.is_empty().then_some(ABSOLUTE);
    };
    // Alignments of code and data, and the register of the return address; then the length of what follows.
    skip_number(&mut rest)?;
    skip_number(&mut rest)?;
    if version == 1 {
        rest = rest.get(1..)?;
    } else {
        skip_number(&mut rest)?;
    }
    skip_number(&mut rest)?;
    for letter in augmentation {
        match letter {
            b'R' => return rest.first().copied(),
            b'L' => rest = rest.get(1..)?,
            b'P' => {
                let bytes = width(*rest.first()?)?;
                rest = rest.get(1 + bytes..)?;
            }
            b'S' | b'B' => {}
            _ => return None,
        }
    }
    Some(ABSOLUTE)
}

/// Bytes of an address that is written so.
const fn width(encoding: u8) -> Option<usize> {
    match encoding & 0xf {
        0 | 4 | 0xc => Some(8),
        3 | 0xb => Some(4),
        _ => None,
    }
}

/// A function's address and size, written at `here`.
fn range(bytes: &[u8], encoding: u8, here: u64) -> Option<Range> {
    const RELATIVE: u8 = 0x10;
    const SIGNED: u8 = 8;
    let width = width(encoding)?;
    let number = |at: usize, signed: bool| match width {
        8 => Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?)),
        _ => {
            let word = word(bytes, at)?;
            Some(if signed {
                i64::from(word.cast_signed()).cast_unsigned()
            } else {
                u64::from(word)
            })
        }
    };
    let (first, size) = (number(0, encoding & SIGNED != 0)?, number(width, false)?);
    let address = match encoding & 0xf0 {
        0 => first,
        RELATIVE => here.wrapping_add(first),
        _ => return None,
    };
    (size != 0 && address.checked_add(size).is_some()).then_some(Range { address, size })
}

fn skip_number(bytes: &mut &[u8]) -> Option<()> {
    let end = bytes.iter().take(10).position(|byte| byte & 0x80 == 0)?;
    *bytes = bytes.get(end + 1..)?;
    Some(())
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A common entry as compilers write it, padded to eight bytes.
    fn common(augmentation: &[u8], data: &[u8]) -> Vec<u8> {
        let mut body = vec![0, 0, 0, 0, 1];
        body.extend(augmentation);
        body.push(0);
        // Alignments of 1 and -8, the register of the return address.
        body.extend([1, 0x78, 16, data.len() as u8]);
        body.extend(data);
        body.resize(body.len().next_multiple_of(4), 0);
        [(body.len() as u32).to_le_bytes().to_vec(), body].concat()
    }

    fn function(table: &mut Vec<u8>, address: &[u8], size: &[u8]) {
        let back = (table.len() + 4) as u32;
        let body = [&back.to_le_bytes()[..], address, size, &[0]].concat();
        table.extend((body.len() as u32).to_le_bytes());
        table.extend(body);
    }

    fn check(table: &[u8], want: &[(u64, u64)]) {
        let mut found = Vec::new();
        entries(table, 0x1000, &mut |range| found.push((range.address, range.size)));
        assert_eq!(found, want, "{table:x?}");
    }

    #[test]
    fn functions() {
        // Relative to the word itself, four bytes.
        let mut table = common(b"zR", &[0x1b]);
        let here = 0x1000 + table.len() as i32 + 8;
        function(&mut table, &(0x500 - here).to_le_bytes(), &0x20_u32.to_le_bytes());
        check(&table, &[(0x500, 0x20)]);
        let whole = table.clone();
        table.extend([0; 4]);
        table.extend(&whole);
        check(&table, &[(0x500, 0x20)]);
        for end in 0..whole.len() {
            check(&whole[..end], &[]);
        }
        // With a function that is called while unwinding, and data for it.
        let mut table = common(b"zPLR", &[0x9b, 1, 2, 3, 4, 0x1b, 0x1b]);
        let here = 0x1000 + table.len() as i32 + 8;
        function(&mut table, &(0x500 - here).to_le_bytes(), &7_u32.to_le_bytes());
        check(&table, &[(0x500, 7)]);
        // Absolute, eight bytes.
        let mut table = common(b"zR", &[0]);
        function(&mut table, &0x40_1000_u64.to_le_bytes(), &9_u64.to_le_bytes());
        check(&table, &[(0x40_1000, 9)]);
        // In a way that is not known, or for no common entry.
        let mut table = common(b"zR", &[0x3b]);
        function(&mut table, &[0; 4], &[1, 0, 0, 0]);
        check(&table, &[]);
        check(&[9, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 9], &[]);
        check(&[0xff; 16], &[]);
        check(&[], &[]);
    }
}
