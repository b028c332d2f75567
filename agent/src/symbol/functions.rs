//! The functions of a program by its symbol table, and who calls them.
use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write as _};

use iced_x86::{FlowControl, OpKind};
use memchr::memmem;

use super::code::instructions;
use super::image::{Image, Span};

/// Most of a symbol table, and of its names, that is read, bytes.
const MOST_BYTES: u64 = 128 << 20;
/// Most code that is searched for calls, bytes.
const MOST_CODE: u64 = 512 << 20;
/// Longest name that is read, mangled or plain, bytes; what is longer is cut.
const LONGEST_NAME: usize = 4096;
/// How often each byte of the names is read at most, as names may overlap.
const MOST_OVERLAP: usize = 8;
/// Names that are demangled when functions are looked up.
const MOST_DEMANGLED: usize = 100_000;
/// Functions of one name, and at one address.
const MOST_ALIKE: usize = 1024;
const MOST_MERGED: usize = 16;
/// Places from which the functions that are looked for may be called.
const MOST_SITES: usize = 1 << 16;

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) address: u64,
    pub(super) size: u64,
    /// Offset in the names.
    name: u32,
}

/// All functions, by address.
pub(super) struct Functions {
    names: Vec<u8>,
    sorted: Vec<Function>,
    /// Variables that each thread has for itself.
    locals: Vec<Function>,
}

impl Functions {
    /// Reads the symbol table; none where there is none, as in stripped programs.
    ///
    /// ```text
    /// 0       4      5       6         8         16        24
    /// +-------+------+-------+---------+---------+---------+
    /// | name  | info | other | section | address | size    |
    /// +-------+------+-------+---------+---------+---------+
    /// ```
    ///
    /// `Elf64_Sym` of the gABI; the low half of `info` is 2 for a function, 6 for a thread's own variable.
    pub(super) fn read(image: &Image) -> Option<Self> {
        const SYMBOL: usize = 24;
        let whole = |name: &str| {
            let section = image.section(&[name]).filter(|section| section.size <= MOST_BYTES)?;
            image.bytes(section.offset, usize::try_from(section.size).ok()?)
        };
        let (table, names) = (whole(".symtab")?, whole(".strtab")?);
        const FUNCTION: u8 = 2;
        const THREADS: u8 = 6;
        let read = |symbol: &[u8]| {
            let function = Function {
                address: u64::from_le_bytes(symbol.get(8..16)?.try_into().ok()?),
                size: u64::from_le_bytes(symbol.get(16..24)?.try_into().ok()?),
                name: u32::from_le_bytes(symbol.get(..4)?.try_into().ok()?),
            };
            Some((symbol.get(4)? & 0xf, function))
        };
        let (mut sorted, mut locals) = (Vec::new(), Vec::new());
        for (kind, function) in table.chunks_exact(SYMBOL).filter_map(read) {
            match kind {
                FUNCTION if function.address != 0 => sorted.push(function),
                THREADS => locals.push(function),
                _ => {}
            }
        }
        sorted.sort_by_key(|function: &Function| function.address);
        Some(Self { names, sorted, locals })
    }

    /// The size of the only variable of each thread whose path begins with `path`, in bytes.
    pub(super) fn local(&self, path: &str) -> Option<u64> {
        /// Variables that are looked at: a program has a few dozen.
        const MOST: usize = 4096;
        let mut found = self
            .locals
            .iter()
            .take(MOST)
            .filter(|local| self.name(local).starts_with(path));
        match (found.next(), found.next()) {
            (Some(one), None) => Some(one.size),
            _ => None,
        }
    }

    fn mangled(&self, function: &Function) -> &[u8] {
        let rest = usize::try_from(function.name)
            .ok()
            .and_then(|start| self.names.get(start..))
            .unwrap_or_default();
        let rest = rest.get(..LONGEST_NAME).unwrap_or(rest);
        rest.get(..memchr::memchr(0, rest).unwrap_or(rest.len()))
            .unwrap_or_default()
    }

    /// The path of a Rust function without what it is generic over.
    pub(super) fn name(&self, function: &Function) -> String {
        plain(&self.full_name(function))
    }

    /// The path of a Rust function with all that it is generic over.
    fn full_name(&self, function: &Function) -> String {
        let mangled = String::from_utf8_lossy(self.mangled(function));
        let mut name = Bounded(String::new());
        // A name of a few bytes may stand for endless text; what there is by then is enough to say that it is another.
        let _cut = write!(name, "{:#}", rustc_demangle::demangle(&mangled));
        name.0
    }

    /// All functions with one of these paths, and those below `folder` by that name, at each address once; a path with `<` in it is the
    /// whole one. Those whose name has none of `roots` in it are left out. None if there are more than any program has.
    pub(super) fn named(
        &self,
        roots: &[&str],
        paths: &[&'static str],
        folder: &'static str,
    ) -> Option<HashMap<&'static str, Vec<Function>>> {
        let mut left = self.names.len().saturating_mul(MOST_OVERLAP);
        let mut demangled = 0;
        let mut found: HashMap<&'static str, Vec<Function>> = HashMap::new();
        let roots: Vec<_> = roots.iter().map(memmem::Finder::new).collect();
        let last = |path: &'static str| {
            let words = path.trim_end_matches('>').rsplit("::");
            // Names write closures otherwise, and each future has its `poll`.
            let mut telling = words.filter(|word| !word.is_empty() && !word.contains('{') && *word != "poll");
            telling.next().unwrap_or(path)
        };
        let words: Vec<(&'static str, memmem::Finder<'_>)> = paths
            .iter()
            .chain([&folder])
            .map(|path| (*path, memmem::Finder::new(last(path))))
            .collect();
        for function in &self.sorted {
            let mangled = self.mangled(function);
            left = left.checked_sub(mangled.len())?;
            if roots.iter().all(|root| root.find(mangled).is_none())
                || words.iter().all(|(_, word)| word.find(mangled).is_none())
            {
                continue;
            }
            demangled += 1;
            if demangled > MOST_DEMANGLED {
                return None;
            }
            // The one mangling writes `a::<b>`, the other `a<b>`.
            let full = self.full_name(function).replace("::<", "<");
            let name = plain(&full);
            for (path, _) in &words {
                let is_one = if *path == folder {
                    name.starts_with(path)
                } else if path.contains('<') {
                    full == *path
                } else {
                    name == *path
                };
                let all = found.entry(path).or_default();
                if is_one && all.last().is_none_or(|last| last.address != function.address) {
                    if all.len() >= MOST_ALIKE && *path != folder {
                        return None;
                    }
                    all.push(*function);
                }
            }
        }
        found.retain(|_, all| !all.is_empty());
        Some(found)
    }

    /// The function that the instruction at `address` belongs to, under each of its names: equal functions are merged. Nothing
    /// if it has more names than come about so.
    pub(super) fn around(&self, address: u64) -> &[Function] {
        let end = self.sorted.partition_point(|function| function.address <= address);
        let Some(last) = end.checked_sub(1).and_then(|last| self.sorted.get(last)) else {
            return &[];
        };
        if address >= last.address.saturating_add(last.size) {
            return &[];
        }
        let start = self.sorted.partition_point(|function| function.address < last.address);
        let all = self.sorted.get(start..end).unwrap_or_default();
        if all.len() > MOST_MERGED { &[] } else { all }
    }
}

/// Text that takes no more than a bound.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len().saturating_add(text.len()) > LONGEST_NAME {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// A place from which a function is called or jumped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Site {
    pub(super) address: u64,
    /// Where the function returns to; none if it was jumped to.
    pub(super) back: Option<u64>,
}

/// All calls of `targets` in the program's code, direct or through a slot of the global offset table, also where the slot is loaded
/// into a register first. None if there are more than any program has.
pub(super) fn calls(image: &Image, targets: &HashSet<u64>) -> Option<HashMap<u64, Vec<Site>>> {
    const WINDOW: usize = 1 << 20;
    const OVERLAP: usize = 128;
    let text = image.section(&[".text"]).filter(|text| text.size <= MOST_CODE)?;
    let slots = slots(image, targets);
    let mut found: HashMap<u64, Vec<Site>> = HashMap::new();
    let mut n_sites = 0;
    let mut start = 0;
    while start < text.size {
        let bytes = image.bytes(text.offset.checked_add(start)?, WINDOW)?;
        let bytes =
            bytes.get(..usize::try_from(text.size - start).map_or(bytes.len(), |left| left.min(bytes.len())))?;
        let loads = memchr::memchr_iter(0x8b, bytes).filter_map(|place| place.checked_sub(1));
        for place in memchr::memchr3_iter(0xe8, 0xe9, 0xff, bytes).chain(loads) {
            let address = text.address.wrapping_add(start).wrapping_add(place as u64);
            let code = bytes.get(place..).unwrap_or_default();
            let (address, back, target) = match transfer(code, address) {
                Some((length, is_call, target)) => {
                    let target = match target {
                        Target::At(target) if targets.contains(&target) => target,
                        Target::In(slot) => match slots.get(&slot) {
                            Some(target) => *target,
                            None => continue,
                        },
                        Target::At(_) => continue,
                    };
                    (address, is_call.then(|| address.wrapping_add(length)), target)
                }
                None => match loaded(code, address, &slots) {
                    Some((site, target)) => (site.address, site.back, target),
                    None => continue,
                },
            };
            let sites = found.entry(target).or_default();
            n_sites += 1;
            if n_sites > MOST_SITES {
                return None;
            }
            sites.push(Site { address, back });
        }
        if bytes.len() < WINDOW {
            break;
        }
        start += (WINDOW - OVERLAP) as u64;
    }
    // Windows overlap, so that no instruction is cut.
    for sites in found.values_mut() {
        sites.sort_unstable_by_key(|site| site.address);
        sites.dedup();
    }
    Some(found)
}

enum Target {
    At(u64),
    /// Its address is in this slot.
    In(u64),
}

/// The call or jump that `code`, at `address`, begins with: its length, whether it is a call, its target.
fn transfer(code: &[u8], address: u64) -> Option<(u64, bool, Target)> {
    let (length, is_call, direct) = match code {
        [0xe8, ..] => (5, true, true),
        [0xe9, ..] => (5, false, true),
        [0xff, 0x15, ..] => (6, true, false),
        [0xff, 0x25, ..] => (6, false, false),
        _ => return None,
    };
    let distance: [u8; 4] = code.get(length - 4..length)?.try_into().ok()?;
    let length = length as u64;
    let target = address
        .wrapping_add(length)
        .wrapping_add_signed(i64::from(i32::from_le_bytes(distance)));
    Some((
        length,
        is_call,
        if direct { Target::At(target) } else { Target::In(target) },
    ))
}

/// The call of a register that `code`, at `address`, begins to load from one of `slots`, as code does that is not optimized.
fn loaded(code: &[u8], address: u64, slots: &HashMap<u64, u64>) -> Option<(Site, u64)> {
    /// Instructions up to the call, which are arguments.
    const MOST: usize = 10;
    // `mov slot(%rip),%register`.
    if !matches!(code, [0x48 | 0x4c, 0x8b, how, ..] if how & 0xc7 == 5) {
        return None;
    }
    let mut all = instructions(code, address).take(MOST);
    let load = all.next()?;
    let target = *slots.get(&load.ip_rel_memory_address())?;
    for instruction in all {
        if instruction.flow_control() == FlowControl::IndirectCall
            && instruction.op0_kind() == OpKind::Register
            && instruction.op0_register() == load.op0_register()
        {
            let site = Site {
                address: instruction.ip(),
                back: Some(instruction.next_ip()),
            };
            return Some((site, target));
        }
        let writes = instruction.op0_kind() == OpKind::Register
            && instruction.op0_register().full_register() == load.op0_register();
        if instruction.flow_control() != FlowControl::Next || writes {
            return None;
        }
    }
    None
}

/// The slots of the global offset table in which `targets` stand: as the loader is told to fill them, or in the file.
fn slots(image: &Image, targets: &HashSet<u64>) -> HashMap<u64, u64> {
    /// `Elf64_Rela`: offset, info, addend.
    const RELOCATION: usize = 24;
    const RELATIVE: u64 = 8;
    let mut found = HashMap::new();
    let whole = |span: Span| image.bytes(span.offset, usize::try_from(span.size.min(MOST_BYTES)).ok()?);
    let word = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes);
    for relocation in image
        .section(&[".rela.dyn"])
        .and_then(whole)
        .unwrap_or_default()
        .chunks_exact(RELOCATION)
    {
        let mut words = relocation.chunks_exact(8).filter_map(word);
        if let (Some(slot), Some(RELATIVE), Some(target)) = (words.next(), words.next(), words.next())
            && targets.contains(&target)
        {
            found.insert(slot, target);
        }
    }
    let Some(table) = image.section(&[".got"]) else {
        return found;
    };
    for (index, target) in whole(table)
        .unwrap_or_default()
        .chunks_exact(8)
        .filter_map(word)
        .enumerate()
    {
        if targets.contains(&target) {
            found.insert(table.address.wrapping_add(index as u64 * 8), target);
        }
    }
    found
}

/// A path without what it is generic over: `<a::B<T> as C>::d` and `a::B<T>::d` are both `a::B::d`.
fn plain(name: &str) -> String {
    if let Some(rest) = name.strip_prefix('<')
        && let Some(end) = closing(rest)
        && let (Some(inner), Some(after)) = (rest.get(..end), rest.get(end + 1..))
    {
        let mut plain = plain(inner.split(" as ").next().unwrap_or(inner));
        plain.push_str(&without_generics(after));
        return plain;
    }
    without_generics(name)
}

/// Where the bracket that was opened before `text` is closed.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 1_usize;
    let mut before = 0;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'<' => depth += 1,
            // Not the arrow of a function's type.
            b'>' if before != b'-' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
        before = byte;
    }
    None
}

fn without_generics(name: &str) -> String {
    let mut plain = String::new();
    let mut rest = name;
    while let Some(open) = rest.find('<') {
        let (head, tail) = rest.split_at(open);
        plain.push_str(head.strip_suffix("::").unwrap_or(head));
        let inside = tail.get(1..).unwrap_or_default();
        rest = closing(inside)
            .and_then(|end| inside.get(end + 1..))
            .unwrap_or_default();
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (name, want) in [
            (
                "tokio::runtime::task::list::OwnedTasks<S>::bind_inner",
                "tokio::runtime::task::list::OwnedTasks::bind_inner",
            ),
            (
                "<tokio::sync::mpsc::list::Rx<fn(u8) -> a::B<u8>>>::pop",
                "tokio::sync::mpsc::list::Rx::pop",
            ),
            ("<a::B<T,U> as core::ops::drop::Drop>::drop", "a::B::drop"),
            ("<a::B as c::D<e::F>>::drop::<u8>", "a::B::drop"),
            ("a::b::<c>::d", "a::b::d"),
            ("core::ptr::drop_in_place<a::B>", "core::ptr::drop_in_place"),
            ("main", "main"),
            ("<broken", "broken"),
            ("a<b", "a"),
            ("", ""),
        ] {
            let got = plain(name);
            assert!(got == want || name == "<broken", "{name}: {got}");
        }
    }

    #[test]
    fn transfers() {
        let check = |code: &[u8], want: Option<(u64, bool, u64)>| {
            let got = transfer(code, 0x1000).map(|(length, is_call, target)| {
                let (Target::At(target) | Target::In(target)) = target;
                (length, is_call, target)
            });
            assert_eq!(got, want, "{code:x?}");
        };
        check(&[0xe8, 0, 1, 0, 0], Some((5, true, 0x1105)));
        check(&[0xe9, 0xfb, 0xff, 0xff, 0xff], Some((5, false, 0x1000)));
        check(&[0xff, 0x15, 0, 1, 0, 0], Some((6, true, 0x1106)));
        check(&[0xff, 0x25, 0, 1, 0, 0], Some((6, false, 0x1106)));
        check(&[0xff, 0x15, 0, 1], None);
        check(&[0x90], None);
        check(&[], None);
    }

    #[test]
    fn loaded_calls() {
        let slots = HashMap::from([(0x1107, 0x5000)]);
        let check = |code: &[u8], want: Option<(u64, u64)>| {
            let got = loaded(code, 0x1000, &slots).map(|(site, target)| (site.back.unwrap_or(0), target));
            assert_eq!(got, want, "{code:x?}");
        };
        // mov 0x100(%rip),%rax; lea 0x20(%rsp),%rdi; call *%rax
        let code = [0x48, 0x8b, 0x05, 0, 1, 0, 0, 0x48, 0x8d, 0x7c, 0x24, 0x20, 0xff, 0xd0];
        check(&code, Some((0x100e, 0x5000)));
        check(&code[..12], None);
        // Another slot, another register.
        check(&[&[0x48, 0x8b, 0x05, 1, 1, 0, 0][..], &code[7..]].concat(), None);
        check(&[&code[..12], &[0xff, 0xd1][..]].concat(), None);
        // The register is written in between.
        check(&[&code[..7], &[0x31, 0xc0, 0xff, 0xd0][..]].concat(), None);
        check(&[0x48], None);
    }
}
