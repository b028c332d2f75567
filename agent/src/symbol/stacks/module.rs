//! A file of compiled code: how its functions are unwound, and their names and lines.
//!
//! Lines are in DWARF, in the file or in one of its own, which is found by the build's number or by its name
//! (<https://sourceware.org/gdb/current/onlinedocs/gdb.html/Separate-Debug-Files.html>). Without them names are in tables of symbols,
//! one of which may be packed (<https://sourceware.org/gdb/current/onlinedocs/gdb.html/MiniDebugInfo.html>).
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use addr2line::Context;
use clew_common::unwind::Row;
use gimli::Dwarf;
use smol_str::SmolStr;

use super::Frame;
use super::packed::Packed;
use super::rows::Table;
use super::section::{Held, Section};
use crate::symbol::image::Image;

/// Instructions whose functions are remembered, a file.
const MOST_REMEMBERED: usize = 4096;
/// Functions that may be inlined at one instruction.
const MOST_INLINED: usize = 32;
/// Longest name that is shown, bytes.
const LONGEST: usize = 512;
/// Where separate files with lines lie.
const DEBUG_FOLDER: &str = "usr/lib/debug";
/// Folders of sources that are not the program's own: Rust's libraries, crates of others, system headers, C libraries.
const OF_OTHERS: &[&str] = &[
    "/rustc/",
    "/.cargo/registry/",
    "/.cargo/git/",
    "/registry/src/",
    "/rustlib/src/",
    "/usr/include/",
    "/usr/lib/",
    "/usr/src/",
    "/build/glibc-",
    "/include/c++/",
];
/// Folders of libraries that are not the program's own.
const LIBRARIES: &[&str] = &["/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/", "/usr/libexec/"];

pub(super) struct Module {
    image: Rc<Image>,
    /// A separate file with lines.
    separate: Option<Rc<Image>>,
    is_own: bool,
    /// None inside is a file that has none. Let go where too much is held.
    table: Option<Option<Table>>,
    lines: Option<Option<Context<Section>>>,
    packed: Option<Option<Packed>>,
    frames: HashMap<u64, Rc<[Frame]>>,
}

impl Module {
    /// That of a file which a process has mapped as `path`; `root` is what the process sees as the root of its files.
    pub(super) fn new(image: Image, path: &str, root: &Path) -> Self {
        let separate = separate(&image, path, root).map(Rc::new);
        Self {
            separate,
            image: Rc::new(image),
            is_own: path.starts_with('/') && !LIBRARIES.iter().any(|folder| path.starts_with(folder)),
            table: None,
            lines: None,
            packed: None,
            frames: HashMap::new(),
        }
    }

    /// The address, as the file counts, of what stands at an offset in it.
    pub(super) fn address_of(&self, offset: u64) -> Option<u64> {
        self.image.address_of(offset)
    }

    /// How the caller of the function at `address` is found.
    pub(super) fn row(&mut self, address: u64, held: &Held) -> Option<Row> {
        let table = self.table.get_or_insert_with(|| Table::open(&self.image, held));
        table.as_ref()?.row(address)
    }

    /// The functions at `address`, the innermost inlined one first.
    pub(super) fn frames(&mut self, address: u64, held: &Held) -> Rc<[Frame]> {
        if let Some(known) = self.frames.get(&address) {
            return Rc::clone(known);
        }
        let mut found = self.lines(address, held).unwrap_or_default();
        if found.iter().any(|frame| frame.function.is_empty()) {
            match self.symbol(address, held) {
                Some(symbol) => found
                    .iter_mut()
                    .filter(|frame| frame.function.is_empty())
                    .for_each(|frame| frame.function = symbol.function.clone()),
                None => found.clear(),
            }
        } else if found.is_empty() {
            found.extend(self.symbol(address, held));
        }
        if self.frames.len() >= MOST_REMEMBERED {
            self.frames.clear();
        }
        let found: Rc<[Frame]> = found.into();
        self.frames.insert(address, Rc::clone(&found));
        found
    }

    /// Finds the functions at `address`; whether they were not known.
    pub(super) fn learn(&mut self, address: u64, held: &Held) -> bool {
        let is_new = !self.frames.contains_key(&address);
        if is_new {
            self.frames(address, held);
        }
        is_new
    }

    /// Lets go of what was read of the file.
    pub(super) fn let_go(&mut self) {
        self.table = None;
        self.lines = None;
        self.packed = None;
    }

    fn lines(&mut self, address: u64, held: &Held) -> Option<Vec<Frame>> {
        let image = self.separate.as_ref().unwrap_or(&self.image);
        self.lines.get_or_insert_with(|| {
            if !has_lines(image) {
                return None;
            }
            let dwarf = Dwarf::load(|id| Ok::<_, gimli::Error>(Section::open(image, id.name(), held))).ok()?;
            Context::from_dwarf(dwarf).ok()
        });
        let lines = self.lines.as_ref()?.as_ref()?;
        let mut inlined = lines.find_frames(address).skip_all_loads().ok()?;
        let mut frames = Vec::new();
        while let Ok(Some(frame)) = inlined.next() {
            let name = frame.function.as_ref().and_then(|function| function.raw_name().ok());
            // There may be lines alone.
            let function = name.map_or_else(SmolStr::default, |name| demangled(&name));
            let (file, line) = frame.location.map_or((None, None), |place| (place.file, place.line));
            let file = file.unwrap_or_default();
            frames.push(Frame {
                function,
                file: file.into(),
                line: line.unwrap_or(0),
                is_own: self.is_own && !OF_OTHERS.iter().any(|folder| file.contains(folder)),
            });
            if frames.len() >= MOST_INLINED {
                break;
            }
        }
        Some(frames)
    }

    fn symbol(&mut self, address: u64, held: &Held) -> Option<Frame> {
        let separate = self.separate.iter().map(|image| (image, ".symtab", ".strtab"));
        let own = [(&self.image, ".symtab", ".strtab"), (&self.image, ".dynsym", ".dynstr")];
        let name = separate
            .chain(own)
            .find_map(|(image, table, names)| symbol(image, table, names, address));
        let name = name.or_else(|| {
            let packed = self.packed.get_or_insert_with(|| Packed::open(&self.image, held));
            symbol(packed.as_ref()?.image(), ".symtab", ".strtab", address)
        })?;
        Some(Frame {
            function: demangled(&name),
            file: SmolStr::default(),
            line: 0,
            is_own: self.is_own,
        })
    }
}

/// The function at `address` in a table of symbols (`Elf64_Sym`).
///
/// ```text
/// 0 name | 4 kind | 5 | 6 section | 8 address | 16 size
/// ```
fn symbol(image: &Image, table: &str, names: &str, address: u64) -> Option<String> {
    const ENTRY: usize = 24;
    const WINDOW: usize = ENTRY << 14;
    const MOST_BYTES: u64 = 128 << 20;
    const FUNCTIONS: [u8; 2] = [2, 10];
    let (table, names) = (image.section(&[table])?, image.section(&[names])?);
    let mut at = 0;
    while at < table.size.min(MOST_BYTES) {
        let bytes = image.bytes(table.offset.checked_add(at)?, WINDOW)?;
        let left = usize::try_from(table.size - at).unwrap_or(usize::MAX);
        for entry in bytes.get(..left).unwrap_or(&bytes).chunks_exact(ENTRY) {
            let word = |at: usize| Some(u64::from_le_bytes(*entry.get(at..)?.first_chunk()?));
            let (start, size) = (word(8)?, word(16)?);
            let is_function = FUNCTIONS.contains(&(entry.get(4)? & 0xf));
            if is_function && address.checked_sub(start).is_some_and(|within| within < size) {
                let name = u64::from(word(0)? as u32);
                let name = image.bytes(names.offset.checked_add(name)?, LONGEST)?;
                let name = name.split(|byte| *byte == 0).next()?;
                return String::from_utf8(name.to_vec()).ok().filter(|name| !name.is_empty());
            }
        }
        if bytes.len() < WINDOW {
            return None;
        }
        at += WINDOW as u64;
    }
    None
}

/// A name as its language writes it, without parameters.
fn demangled(name: &str) -> SmolStr {
    let name = name.get(..LONGEST).unwrap_or(name);
    let text = if let Ok(rust) = rustc_demangle::try_demangle(name) {
        format!("{rust:#}")
    } else if name.starts_with("_Z")
        && let Ok(symbol) = cpp_demangle::Symbol::new(name)
    {
        let options = cpp_demangle::DemangleOptions::new().no_params().no_return_type();
        symbol
            .demangle_with_options(&options)
            .unwrap_or_else(|_| name.to_owned())
    } else {
        return name.into();
    };
    let end = (0..=LONGEST).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or(&text).into()
}

fn has_lines(image: &Image) -> bool {
    const LINES: &str = ".debug_info";
    image.section(&[LINES]).is_some() || image.compressed(LINES).is_some()
}

/// The separate file with the lines of `image`, which is mapped as `path`; none where the file has them itself.
fn separate(image: &Image, path: &str, root: &Path) -> Option<Image> {
    if has_lines(image) {
        return None;
    }
    let build = build_id(image);
    let by_build = build.as_ref().and_then(|build| {
        let (first, rest) = build.split_at_checked(2)?;
        Some(PathBuf::from(DEBUG_FOLDER).join(format!(".build-id/{first}/{rest}.debug")))
    });
    let folder = Path::new(path.trim_start_matches('/')).parent()?;
    let link = link(image);
    let by_name = link.iter().flat_map(|(name, _)| {
        [
            folder.join(name),
            folder.join(".debug").join(name),
            Path::new(DEBUG_FOLDER).join(folder).join(name),
        ]
    });
    let by_build = by_build
        .into_iter()
        .flat_map(|path| [root.join(&path), Path::new("/").join(path)]);
    let candidates = by_build.chain(by_name.map(|path| root.join(path)));
    candidates.into_iter().find_map(|path| {
        let found = Image::open(&path)?;
        if !has_lines(&found) {
            found.section(&[".symtab"])?;
        }
        let is_it = match (&build, build_id(&found)) {
            (Some(build), Some(other)) => *build == other,
            _ => link.as_ref().is_some_and(|(_, sum)| checksum(&path) == Some(*sum)),
        };
        is_it.then_some(found)
    })
}

/// The number of the build that made a file, in hexadecimal (`NT_GNU_BUILD_ID`).
///
/// ```text
/// 0 size of the name, 4 | 4 size of the number | 8 kind, 3 | 12 "GNU\0" | 16 the number
/// ```
fn build_id(image: &Image) -> Option<String> {
    const MOST: usize = 64;
    let note = image.bytes(image.section(&[".note.gnu.build-id"])?.offset, 16 + MOST)?;
    let (head, rest) = note.split_at_checked(16)?;
    let word = |at: usize| Some(u32::from_le_bytes(*head.get(at..)?.first_chunk()?));
    if (word(0)?, word(8)?, head.get(12..)?) != (4, 3, b"GNU\0".as_slice()) {
        return None;
    }
    let number = rest.get(..usize::try_from(word(4)?).ok()?)?;
    Some(number.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The name and the checksum of the separate file (`.gnu_debuglink`): the name, zeros up to a multiple of four bytes, the sum.
fn link(image: &Image) -> Option<(String, u32)> {
    let span = image.section(&[".gnu_debuglink"])?;
    let bytes = image.bytes(span.offset, usize::try_from(span.size.min(1024)).ok()?)?;
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let name = std::str::from_utf8(bytes.get(..end)?).ok()?;
    let sum = bytes.get((end + 1).next_multiple_of(4)..)?.first_chunk()?;
    let is_name = !name.is_empty() && !name.contains('/') && name != "..";
    is_name.then(|| (name.to_owned(), u32::from_le_bytes(*sum)))
}

/// The checksum of a file, of a gigabyte at most.
fn checksum(path: &Path) -> Option<u32> {
    use std::io::Read as _;
    const MOST_BYTES: u64 = 1 << 30;
    let mut file = File::open(path).ok()?.take(MOST_BYTES);
    let (mut crc, mut bytes) = (flate2::Crc::new(), vec![0; 64 << 10]);
    loop {
        match file.read(&mut bytes).ok()? {
            0 => return Some(crc.sum()),
            read => crc.update(bytes.get(..read)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_parameters() {
        let names = [
            ("buy", "buy"),
            ("_ZN4shop3buyEi", "shop::buy"),
            ("_ZNK4shop4Cart3addIiEEvRKT_", "shop::Cart::add<int>"),
            ("_ZN4shop4cart3buy17h0123456789abcdefE", "shop::cart::buy"),
            ("_RNvNtCs1234_4shop4cart3buy", "shop::cart::buy"),
            ("_Znonsense", "_Znonsense"),
        ];
        for (raw, shown) in names {
            assert_eq!(demangled(raw), shown);
        }
        assert!(demangled(&"x".repeat(9999)).len() <= LONGEST);
    }

    #[inline(never)]
    fn here() -> *const () {
        here as *const ()
    }

    #[test]
    fn functions_and_lines_of_this_test() {
        let path = std::env::current_exe().expect("this test");
        let text = path.to_str().expect("a name");
        let mut module = Module::new(Image::open(&path).expect("this test"), text, Path::new("/"));
        let maps = std::fs::read_to_string("/proc/self/maps").expect("the map");
        let line = maps.lines().find(|line| line.ends_with(text)).expect("this test");
        let start = u64::from_str_radix(line.split('-').next().expect("a start"), 16).expect("a number");
        let address = here() as u64 - start + module.address_of(0).expect("the first byte");
        let held = Held::default();
        let frames = module.frames(address, &held);
        let frame = frames.last().expect("a function");
        assert!(frame.function.ends_with("stacks::module::tests::here"), "{frame:?}");
        assert!(
            frame.file.ends_with("symbol/stacks/module.rs") && frame.line > 0 && frame.is_own,
            "{frame:?}"
        );
        let row = module.row(address, &held).expect("a row");
        assert_eq!((row.cfa, row.cfa_offset, row.back_offset), (1, 8, -8));
        module.lines = Some(None);
        module.frames.clear();
        let frame = module.frames(address, &held).first().cloned().expect("a symbol");
        assert!(
            frame.function.ends_with("stacks::module::tests::here") && frame.line == 0,
            "{frame:?}"
        );
        module.let_go();
        assert_eq!(held.get(), 0);
    }
}
