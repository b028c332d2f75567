//! What a file tells the linker: names of functions and variables, pointers to be moved, libraries needed.
use std::collections::HashMap;

use super::image::{Image, Span};

/// Most of a table that is read, bytes.
const MOST_BYTES: usize = 32 << 20;

/// The addresses of what these names stand for, from the table in `section` with its text in `strings`.
///
/// ```text
/// Elf64_Sym
/// 0      4      5       6       8        16     24
/// +------+------+-------+-------+--------+------+
/// | name | info | other | shndx | value  | size |
/// +------+------+-------+-------+--------+------+
/// ```
pub(super) fn symbols<'a>(image: &Image, section: &str, strings: &str, names: &[&'a str]) -> HashMap<&'a str, u64> {
    const BYTES: usize = 24;
    let mut found = HashMap::new();
    let (Some(table), Some(text)) = (whole(image, section), whole(image, strings)) else {
        return found;
    };
    // Names are looked for at their places, so that each entry costs a comparison of numbers.
    let places: HashMap<u32, &'a str> = names
        .iter()
        .filter_map(|&name| Some((place(&text, name)?, name)))
        .collect();
    for entry in table.chunks_exact(BYTES) {
        let Some(&name) = word(entry, 0).and_then(|at| places.get(&at)) else {
            continue;
        };
        let defined = entry.get(6..8).is_some_and(|index| index != [0, 0]);
        if let (true, Some(value)) = (defined, long(entry, 8)) {
            found.insert(name, value);
        }
    }
    found
}

/// The same from the table for the linker, or else from that for debuggers: from the one that has all of `needed`.
pub(super) fn named<'a>(image: &Image, names: &[&'a str], needed: [&str; 2]) -> Option<HashMap<&'a str, u64>> {
    // Most files have none of them, which their text alone tells.
    let [first, _] = needed;
    let first = [b"\0", first.as_bytes(), b"\0"].concat();
    [(".dynsym", ".dynstr"), (".symtab", ".strtab")]
        .into_iter()
        .filter(|(_, text)| image.section(&[text]).is_some_and(|text| image.holds(text, &first)))
        .map(|(table, text)| symbols(image, table, text, names))
        .find(|found| needed.iter().all(|name| found.contains_key(name)))
}

/// Where a name stands in a table of strings. A linker may let it be the end of a longer one.
fn place(text: &[u8], name: &str) -> Option<u32> {
    let whole = [b"\0", name.as_bytes(), b"\0"].concat();
    let at = memchr::memmem::find(text, &whole)?;
    u32::try_from(at + 1).ok()
}

/// The pointer that lies at `address` once the file is loaded, less what the file is moved by.
///
/// ```text
/// Elf64_Rela
/// 0        8      12       16       24
/// +--------+------+--------+--------+
/// | offset | type | symbol | addend |
/// +--------+------+--------+--------+
/// ```
pub(super) fn pointers(image: &Image, addresses: &[u64]) -> Option<Vec<u64>> {
    let mut found: HashMap<u64, u64> = HashMap::new();
    for (at, value) in moved(&whole(image, ".rela.dyn").unwrap_or_default()) {
        if addresses.contains(&at) {
            found.insert(at, value);
        }
    }
    addresses
        .iter()
        .map(|address| match found.get(address) {
            Some(pointer) => Some(*pointer),
            // Programs at a fixed address, and compact tables, hold it in place.
            None => long(&image.data(*address, 8)?, 0).filter(|pointer| *pointer != 0),
        })
        .collect()
}

/// Addresses whose word is moved with the file, and what it is before.
fn moved(table: &[u8]) -> impl Iterator<Item = (u64, u64)> + '_ {
    const BYTES: usize = 24;
    const RELATIVE: u32 = 8;
    table.chunks_exact(BYTES).filter_map(|entry| {
        let relative = word(entry, 8) == Some(RELATIVE);
        relative.then_some((long(entry, 0)?, long(entry, 16)?))
    })
}

/// A section's address, and its words as they are once the file is loaded, less what the file is moved by.
pub(super) fn loaded(image: &Image, section: &str) -> Option<(u64, Vec<u64>)> {
    const BYTES: u64 = 8;
    let start = image.section(&[section])?.address;
    let bytes = whole(image, section)?;
    let mut words: Vec<u64> = bytes.chunks_exact(8).filter_map(|word| long(word, 0)).collect();
    for (at, value) in moved(&whole(image, ".rela.dyn").unwrap_or_default()) {
        let place = at.checked_sub(start).filter(|offset| offset % BYTES == 0);
        let place = place.and_then(|offset| usize::try_from(offset / BYTES).ok());
        if let Some(word) = place.and_then(|place| words.get_mut(place)) {
            *word = value;
        }
    }
    Some((start, words))
}

/// The libraries a file needs, and where it wants them looked for.
#[derive(Debug, Default)]
pub(super) struct Needs {
    pub(super) libraries: Vec<String>,
    /// As they stand there, with `$ORIGIN`.
    pub(super) folders: Vec<String>,
}

/// Reads the dynamic section: pairs of a tag and a value.
pub(super) fn needs(image: &Image) -> Needs {
    const NEEDED: u64 = 1;
    const RPATH: u64 = 15;
    const RUNPATH: u64 = 29;
    /// Entries looked at, and bytes of a string: no path is longer.
    const MOST: usize = 1024;
    const LONGEST: usize = 4096;
    let mut needs = Needs::default();
    let (Some(table), Some(text)) = (whole(image, ".dynamic"), whole(image, ".dynstr")) else {
        return needs;
    };
    let string = |at: u64| {
        let rest = text.get(usize::try_from(at).ok()?..)?;
        let end = memchr::memchr(0, rest.get(..LONGEST.min(rest.len()))?)?;
        Some(String::from_utf8_lossy(rest.get(..end)?).into_owned())
    };
    for entry in table.chunks_exact(16).take(MOST) {
        let (Some(tag), Some(value)) = (long(entry, 0), long(entry, 8)) else {
            continue;
        };
        match tag {
            NEEDED => needs.libraries.extend(string(value)),
            RPATH | RUNPATH => {
                let folders = string(value).unwrap_or_default();
                needs.folders.extend(folders.split(':').map(str::to_owned));
            }
            _ => {}
        }
    }
    needs
}

fn whole(image: &Image, section: &str) -> Option<Vec<u8>> {
    let Span { offset, size, .. } = image.section(&[section])?;
    image.bytes(offset, usize::try_from(size).ok()?.min(MOST_BYTES))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}
