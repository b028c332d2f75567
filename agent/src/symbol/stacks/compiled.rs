//! Stacks of compiled programs: walks on where the kernel side could not, says how it will the next time, and names the functions.
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clew_common::event::STACK_WORDS;
use clew_common::unwind::{EXACT, Place, Registers, Row, process, step};

use super::Frame;
use super::module::Module;
use super::section::Held;
use crate::capture::{Pid, StackRest};
use crate::discover::{Discovery, Proc, Runtime};
use crate::symbol::image::{FileKey, Image};

/// Files that are remembered.
const MOST_MODULES: usize = 512;
/// Processes that are remembered.
const MOST_SPACES: usize = 1024;
/// Pieces of code of a process, and rows that were made for it.
const MOST_REGIONS: usize = 4096;
const MOST_ROWS: usize = 16_384;
/// What is held of files between stacks, bytes.
const MOST_HELD: u64 = 64 << 20;
/// How often the memory map of a process is read, nanoseconds.
const REREAD_NS: u64 = 200_000_000;

/// What is known of compiled programs.
#[derive(Default)]
pub(super) struct Compiled {
    modules: HashMap<FileKey, Option<Module>>,
    spaces: HashMap<u64, Space>,
    held: Held,
}

/// The memory of a process.
#[derive(Default)]
struct Space {
    /// Its stacks say nothing of it: it is an interpreter.
    silent: bool,
    regions: Vec<Region>,
    read_ns: u64,
    rows: Vec<Place>,
}

/// A piece of code in memory.
struct Region {
    start: u64,
    end: u64,
    /// Offset in its file.
    offset: u64,
    file: Option<FileKey>,
}

/// What is told of how stacks are walked.
pub(crate) type Tell<'a> = &'a mut dyn FnMut(Place, Row);

impl Compiled {
    /// Walks a stack of the memory `space` at the time `now_ns` on from `words`, as far as `rest` goes; none are left where nothing is told.
    pub(super) fn walk(
        &mut self,
        proc: &Proc,
        (space, now_ns): (u64, u64),
        words: &mut Vec<u64>,
        rest: &StackRest,
        tell: Tell<'_>,
    ) {
        self.know(proc, space, now_ns);
        let mut registers: Registers = rest.registers;
        while words.len() < STACK_WORDS {
            let pc = registers.pc;
            if self.place(space, lookup(pc)).is_none() {
                self.reread(proc, space, now_ns);
            }
            let row = self.row(space, lookup(pc));
            let place = Place { pc, space };
            if let Some(known) = self.spaces.get_mut(&space).filter(|space| space.rows.len() < MOST_ROWS) {
                known.rows.push(place);
            }
            tell(place, row);
            if row == Row::SILENT {
                words.clear();
                return;
            }
            words.push(pc);
            if !step(&row, &mut registers, |address| rest.word(address)) {
                return;
            }
        }
    }

    /// The functions at these words of a stack, which was walked.
    pub(super) fn frames(&mut self, space: u64, words: &[u64]) -> Vec<Frame> {
        if self.held.get() > MOST_HELD {
            self.modules.values_mut().flatten().for_each(Module::let_go);
        }
        let mut frames = Vec::new();
        for word in words {
            let Some((file, address)) = self.place(space, lookup(*word)) else {
                continue;
            };
            if let Some(module) = self.modules.get_mut(&file).and_then(Option::as_mut) {
                frames.extend(module.frames(address, &self.held).iter().cloned());
            }
        }
        // Of a program that has lines, what has none is a library's that is a part of it.
        if frames.iter().any(|frame| frame.is_own && frame.line > 0) {
            for frame in &mut frames {
                frame.is_own &= frame.line > 0;
            }
        }
        frames
    }

    /// The process has ended, or begun another program: the places whose rows are not needed any more.
    pub(super) fn forget(&mut self, pid: Pid) -> Vec<Place> {
        let spaces = self.spaces.extract_if(|space, _| process(*space) == pid.0);
        spaces.flat_map(|(_, space)| space.rows).collect()
    }

    fn row(&mut self, space: u64, address: u64) -> Row {
        let Some(known) = self.spaces.get(&space) else {
            return Row::END;
        };
        if known.silent {
            return Row::SILENT;
        }
        let Some((file, address)) = self.place(space, address) else {
            return Row::END;
        };
        let module = self.modules.get_mut(&file).and_then(Option::as_mut);
        module
            .and_then(|module| module.row(address, &self.held))
            .unwrap_or(Row::END)
    }

    /// The file of the code at `address`, and the address as the file counts.
    fn place(&self, space: u64, address: u64) -> Option<(FileKey, u64)> {
        let regions = &self.spaces.get(&space)?.regions;
        let behind = regions.partition_point(|region| region.start <= address);
        let region = regions.get(behind.checked_sub(1)?)?;
        let file = region.file.filter(|_| address < region.end)?;
        let module = self.modules.get(&file)?.as_ref()?;
        let offset = (address - region.start).checked_add(region.offset)?;
        Some((file, module.address_of(offset)?))
    }

    fn know(&mut self, proc: &Proc, space: u64, now_ns: u64) {
        if self.spaces.contains_key(&space) {
            return;
        }
        if self.spaces.len() >= MOST_SPACES {
            self.spaces.clear();
        }
        let runtime = Discovery::at(proc.clone()).read(Pid(process(space)));
        let silent = matches!(
            runtime.map(|process| process.runtime),
            Ok(Runtime::Node
                | Runtime::Java
                | Runtime::JavaVirtual
                | Runtime::Ruby
                | Runtime::Php
                | Runtime::Python
                | Runtime::Go)
        );
        let known = Space {
            silent,
            ..Space::default()
        };
        self.spaces.insert(space, known);
        if !silent {
            self.reread(proc, space, now_ns);
        }
    }

    /// Reads the memory map, unless it just was. Files are opened at once: they may be gone when they are needed.
    fn reread(&mut self, proc: &Proc, space: u64, now_ns: u64) {
        let Some(known) = self.spaces.get_mut(&space).filter(|known| !known.silent) else {
            return;
        };
        if known.read_ns != 0 && now_ns.saturating_sub(known.read_ns) < REREAD_NS {
            return;
        }
        known.read_ns = now_ns;
        let pid = Pid(process(space));
        let maps = proc.maps(pid);
        if maps.is_empty() {
            // It is over; what was known stays.
            return;
        }
        if self.modules.len() >= MOST_MODULES {
            self.modules.clear();
        }
        let root = proc.of(pid, "root");
        let mut regions = Vec::new();
        for mapped in maps.lines().filter_map(mapped).take(MOST_REGIONS) {
            let by_range = proc
                .of(pid, "map_files")
                .join(format!("{:x}-{:x}", mapped.start, mapped.end));
            let by_path = root.join(mapped.path.trim_start_matches('/'));
            let file = [by_range, by_path]
                .into_iter()
                .find_map(|path| self.module(path, mapped.path, &root));
            regions.push(Region {
                start: mapped.start,
                end: mapped.end,
                offset: mapped.offset,
                file,
            });
        }
        regions.sort_unstable_by_key(|region: &Region| region.start);
        if let Some(known) = self.spaces.get_mut(&space) {
            known.regions = regions;
        }
    }

    /// The file that can be opened as `path` and is mapped as `mapped`.
    fn module(&mut self, path: PathBuf, mapped: &str, root: &Path) -> Option<FileKey> {
        let key = FileKey::of(&path)?;
        self.modules
            .entry(key)
            .or_insert_with(|| Some(Module::new(Image::open(&path)?, mapped, root)));
        Some(key)
    }
}

/// The instruction that an address means.
const fn lookup(word: u64) -> u64 {
    if word & EXACT != 0 {
        word & !EXACT
    } else {
        word.wrapping_sub(1)
    }
}

/// A line of the memory map that is a file's code.
#[derive(Debug, PartialEq, Eq)]
struct Mapped<'a> {
    start: u64,
    end: u64,
    offset: u64,
    path: &'a str,
}

/// ```text
/// 55d4c0a00000-55d4c0a21000 r-xp 00002000 fd:01 1234   /usr/bin/example
/// ```
fn mapped(line: &str) -> Option<Mapped<'_>> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let is_code = fields.next()?.as_bytes().get(2) == Some(&b'x');
    let offset = fields.next()?;
    let path = fields.nth(2)?.trim_start();
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let number = |text| u64::from_str_radix(text, 16).ok();
    (is_code && path.starts_with('/')).then_some(Mapped {
        start: number(start)?,
        end: number(end)?,
        offset: number(offset)?,
        path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_in_the_memory_map() {
        let found = mapped("55d4c0a00000-55d4c0a21000 r-xp 00002000 fd:01 1234                 /opt/a b (deleted)");
        let expected = Mapped {
            start: 0x55d4_c0a0_0000,
            end: 0x55d4_c0a2_1000,
            offset: 0x2000,
            path: "/opt/a b",
        };
        assert_eq!(found, Some(expected));
        let others = [
            "",
            "55d4c0a00000-55d4c0a21000 r--p 00000000 fd:01 1234 /usr/bin/x",
            "7ffd1000-7ffd2000 r-xp 00000000 00:00 0            [vdso]",
            "7ffd1000-7ffd2000 r-xp 00000000 00:00 0 ",
            "7ffd1000 r-xp 00000000 00:00 0 /x",
            "zz-7ffd2000 r-xp 00000000 00:00 0 /x",
        ];
        for line in others {
            assert_eq!(mapped(line), None, "{line}");
        }
    }
}
