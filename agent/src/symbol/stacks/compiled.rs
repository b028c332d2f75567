//! Stacks of compiled programs: walks on where the kernel side could not, says how it will the next time, and names the functions.
use std::cell::{Cell, OnceCell};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use clew_common::event::{STACK_ONCE, STACK_WORDS};
use clew_common::unwind::{EXACT, Place, Registers, Row, process, step};

use super::Frame;
use super::module::Module;
use super::perf_map::{self, PerfMap};
use super::section::Held;
use crate::capture::{Language, Pid, StackRest};
use crate::discover::{Discovery, Proc, Runtime};
use crate::symbol::image::{FileKey, Image};

/// Files that are remembered.
const MOST_MODULES: usize = 512;
/// Processes that are remembered.
const MOST_SPACES: usize = 1024;
/// Pieces of code of a process, and rows that were made for it.
const MOST_REGIONS: usize = 4096;
const MOST_ROWS: usize = 16_384;
/// Stacks of a process with functions that are made while it runs: those told last.
const MOST_MADE: usize = 1024;
/// What is held of files between stacks, bytes.
const MOST_HELD: u64 = 64 << 20;
/// What the memory map calls the code that the kernel puts into every process.
const VDSO: &str = "[vdso]";
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
struct Space {
    program: Program,
    regions: Vec<Region>,
    read_ns: u64,
    rows: Vec<Place>,
}

/// What a program is made of.
enum Program {
    /// Files.
    Compiled,
    /// Files, and functions that a virtual machine makes while it runs.
    Made(Made),
    /// The same, and nothing says yet what it has made: its stacks say nothing of it.
    Untold,
    /// Its stacks say nothing of it: it is an interpreter.
    Silent,
}

/// Functions that are made while a program runs: all of them have frame pointers.
struct Made {
    map: PerfMap,
    /// Stacks and their names, the oldest first.
    stacks: VecDeque<(u64, Vec<u64>)>,
}

/// A piece of code in memory.
struct Region {
    start: u64,
    end: u64,
    from: From,
}

/// Where code is from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    /// A file, from that offset on; none if it cannot be read.
    File(Option<FileKey>, u64),
    /// Nowhere: the program has made it.
    Memory,
}

/// Code that an address means.
enum Code {
    /// Of a file, at that address as the file counts.
    File(FileKey, u64),
    /// Made by the program.
    Memory,
}

/// What is told of how stacks are walked.
pub(crate) type Tell<'a> = &'a mut dyn FnMut(Place, Row);

/// What is told of stacks whose functions are others now, by the name of the stack.
pub(crate) type Rename<'a> = &'a mut dyn FnMut(u64, Language, &[Frame]);

impl Compiled {
    /// Walks a stack of the memory `space` at the time `now_ns` on from `words`, as far as `rest` goes; none are left where nothing is told.
    ///
    /// Beyond, it goes on in the memory of the process, which may have changed since: nothing is told of that, but the rows that are found are
    /// right, and the kernel side need not ask for each piece of a large stack.
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
        let memory = OnceCell::new();
        let is_beyond = Cell::new(false);
        let read = |address| {
            rest.word(address).or_else(|| {
                is_beyond.set(true);
                let memory = memory.get_or_init(|| File::open(proc.of(Pid(process(space)), "mem")).ok());
                let mut word = [0; 8];
                memory.as_ref()?.read_exact_at(&mut word, address).ok()?;
                Some(u64::from_le_bytes(word))
            })
        };
        for _ in words.len()..STACK_WORDS {
            let pc = registers.pc;
            if self.code(space, lookup(pc)).is_none() {
                let is_current = self.reread(proc, space, now_ns);
                // It may be code that has just been mapped, or, beyond, none.
                if self.code(space, lookup(pc)).is_none() && (is_beyond.get() || !is_current) {
                    return;
                }
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
            if !is_beyond.get() {
                words.push(pc);
            }
            if !step(&row, &mut registers, |_, address| read(address)) {
                return;
            }
        }
    }

    /// The functions at these words of a stack of that name, which was walked.
    pub(super) fn frames(&mut self, (space, name): (u64, u64), words: &[u64]) -> Vec<Frame> {
        if self.held.get() > MOST_HELD {
            self.modules.values_mut().flatten().for_each(Module::let_go);
            for made in self.spaces.values_mut().filter_map(Space::made) {
                made.map.let_go();
            }
        }
        if let Some(made) = self.spaces.get_mut(&space).and_then(Space::made) {
            made.map.refresh();
            if name & STACK_ONCE == 0 {
                if made.stacks.len() >= MOST_MADE {
                    made.stacks.pop_front();
                }
                made.stacks.push_back((name, words.to_vec()));
            }
        }
        self.functions(space, words)
    }

    /// Finds the functions at one word of a stack; whether there may be more to find.
    pub(super) fn prepare(&mut self, space: u64, words: &[u64]) -> bool {
        words.iter().any(|word| {
            let Some(Code::File(file, address)) = self.code(space, lookup(*word)) else {
                return false;
            };
            let module = self.modules.get_mut(&file).and_then(Option::as_mut);
            module.is_some_and(|module| module.learn(address, &self.held))
        })
    }

    fn functions(&mut self, space: u64, words: &[u64]) -> Vec<Frame> {
        let is_made = self.spaces.get_mut(&space).is_some_and(|space| space.made().is_some());
        let mut frames = Vec::new();
        for word in words {
            let address = lookup(*word);
            // A map also names code of the machine's own file.
            let known = self.spaces.get_mut(&space).and_then(Space::made);
            if let Some(frame) = known.and_then(|made| made.map.function(address)) {
                frames.push(frame);
                continue;
            }
            match self.code(space, address) {
                Some(Code::File(file, address)) => {
                    let module = self.modules.get_mut(&file).and_then(Option::as_mut);
                    let found = module.map(|module| module.frames(address, &self.held));
                    let found = found.iter().flat_map(|found| found.iter());
                    if is_made {
                        frames.extend(found.map(perf_map::machine));
                    } else {
                        frames.extend(found.cloned());
                    }
                }
                Some(Code::Memory) => frames.push(Frame::UNKNOWN),
                None => {}
            }
        }
        // Of a program that has lines, what has none is a library's that is a part of it.
        if !is_made && frames.iter().any(|frame| frame.is_own && frame.line > 0) {
            for frame in &mut frames {
                frame.is_own &= frame.line > 0;
            }
        }
        frames
    }

    /// Reads maps that have grown, and looks for those that were not there.
    pub(super) fn catch_up(&mut self, proc: &Proc, rename: Rename<'_>) -> Vec<Place> {
        let mut changed = Vec::new();
        let mut begun = Vec::new();
        for (space, known) in &mut self.spaces {
            if let Program::Made(made) = &mut known.program {
                // What no stack has needed is not read.
                if !made.stacks.is_empty() && made.map.refresh() {
                    changed.push(*space);
                }
            } else if matches!(known.program, Program::Untold) && has_map(proc, Pid(process(*space)), &self.held) {
                begun.push(*space);
            }
        }
        for space in changed {
            let stacks = self.spaces.get(&space).map(|known| match &known.program {
                Program::Made(made) => made.stacks.clone(),
                _ => VecDeque::new(),
            });
            for (name, words) in stacks.unwrap_or_default() {
                rename(name, Language::Compiled { space }, &self.functions(space, &words));
            }
        }
        let begun = begun.into_iter().filter_map(|space| self.spaces.remove(&space));
        begun.flat_map(|known| known.rows).collect()
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
        let is_made = match known.program {
            Program::Silent | Program::Untold => return Row::SILENT,
            Program::Made(_) => true,
            Program::Compiled => false,
        };
        let row = match self.code(space, address) {
            Some(Code::File(file, address)) => {
                let module = self.modules.get_mut(&file).and_then(Option::as_mut);
                module.and_then(|module| module.row(address, &self.held))
            }
            Some(Code::Memory) => None,
            None => return Row::END,
        };
        // Code of the machine's own that its compiler has made has no rows.
        row.unwrap_or(if is_made { Row::LINKED } else { Row::END })
    }

    /// The code at `address`.
    fn code(&self, space: u64, address: u64) -> Option<Code> {
        let regions = &self.spaces.get(&space)?.regions;
        let behind = regions.partition_point(|region| region.start <= address);
        let region = regions.get(behind.checked_sub(1)?)?;
        if address >= region.end {
            return None;
        }
        let From::File(file, offset) = region.from else {
            return Some(Code::Memory);
        };
        let module = self.modules.get(&file?)?.as_ref()?;
        let offset = (address - region.start).checked_add(offset)?;
        Some(Code::File(file?, module.address_of(offset)?))
    }

    fn know(&mut self, proc: &Proc, space: u64, now_ns: u64) {
        if self.spaces.contains_key(&space) {
            return;
        }
        if self.spaces.len() >= MOST_SPACES {
            self.spaces.clear();
        }
        let program = self.program(proc, Pid(process(space)));
        let is_told = matches!(program, Program::Compiled | Program::Made(_));
        let known = Space {
            program,
            regions: Vec::new(),
            read_ns: 0,
            rows: Vec::new(),
        };
        self.spaces.insert(space, known);
        if is_told {
            let _current = self.reread(proc, space, now_ns);
        }
    }

    fn program(&self, proc: &Proc, pid: Pid) -> Program {
        let found = Discovery::at(proc.clone()).read(pid);
        let has_frames = match found.map(|process| process.runtime) {
            Ok(Runtime::Ruby | Runtime::Php | Runtime::Python | Runtime::Go) => return Program::Silent,
            Ok(Runtime::Node) => true,
            Ok(Runtime::Java | Runtime::JavaVirtual) => java_has_frames(proc, pid),
            _ => return Program::Compiled,
        };
        if !has_frames {
            return Program::Silent;
        }
        PerfMap::open(proc, pid, &self.held).map_or(Program::Untold, |map| {
            Program::Made(Made {
                map,
                stacks: VecDeque::new(),
            })
        })
    }

    /// Reads the memory map, unless it just was; whether what is known is no older than `now_ns`. Files are opened at once: they may be gone
    /// when they are needed.
    fn reread(&mut self, proc: &Proc, space: u64, now_ns: u64) -> bool {
        let Some(known) = self.spaces.get_mut(&space) else {
            return true;
        };
        if matches!(known.program, Program::Silent | Program::Untold) {
            return true;
        }
        if known.read_ns != 0 && now_ns.saturating_sub(known.read_ns) < REREAD_NS {
            return now_ns <= known.read_ns;
        }
        known.read_ns = now_ns;
        let pid = Pid(process(space));
        let maps = proc.maps(pid);
        if maps.is_empty() {
            // It is over; what was known stays.
            return true;
        }
        if self.modules.len() >= MOST_MODULES {
            self.modules.clear();
        }
        let root = proc.of(pid, "root");
        let mut regions = Vec::new();
        for mapped in maps.lines().filter_map(mapped).take(MOST_REGIONS) {
            let from = mapped.path.map_or(From::Memory, |path| {
                if path == VDSO {
                    return From::File(self.vdso(proc, pid, &mapped), 0);
                }
                let by_range = proc
                    .of(pid, "map_files")
                    .join(format!("{:x}-{:x}", mapped.start, mapped.end));
                let by_path = root.join(path.trim_start_matches('/'));
                let mut paths = [by_range, by_path].into_iter();
                let file = paths.find_map(|by| self.module(by, path, &root));
                From::File(file, mapped.offset)
            });
            regions.push(Region {
                start: mapped.start,
                end: mapped.end,
                from,
            });
        }
        regions.sort_unstable_by_key(|region: &Region| region.start);
        if let Some(known) = self.spaces.get_mut(&space) {
            known.regions = regions;
        }
        true
    }

    /// The kernel's own code in a process, which is the same in all.
    fn vdso(&mut self, proc: &Proc, pid: Pid, mapped: &Mapped<'_>) -> Option<FileKey> {
        const MOST_BYTES: u64 = 1 << 20;
        let read = || {
            let size = mapped
                .end
                .checked_sub(mapped.start)
                .filter(|size| *size <= MOST_BYTES)?;
            let mut bytes = vec![0; usize::try_from(size).ok()?];
            let memory = File::open(proc.of(pid, "mem")).ok()?;
            memory.read_exact_at(&mut bytes, mapped.start).ok()?;
            Image::of(bytes, FileKey::VDSO)
        };
        if let Entry::Vacant(free) = self.modules.entry(FileKey::VDSO) {
            // It is asked for again where the process was over.
            free.insert(Some(Module::new(read()?, VDSO, Path::new("/"))));
        }
        Some(FileKey::VDSO)
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

impl Space {
    const fn made(&mut self) -> Option<&mut Made> {
        match &mut self.program {
            Program::Made(made) => Some(made),
            _ => None,
        }
    }
}

fn has_map(proc: &Proc, pid: Pid, held: &Held) -> bool {
    PerfMap::open(proc, pid, held).is_some()
}

/// Whether functions that a virtual machine of Java compiles have frame pointers: only where it was asked to.
fn java_has_frames(proc: &Proc, pid: Pid) -> bool {
    const ON: &str = "-XX:+PreserveFramePointer";
    const OFF: &str = "-XX:-PreserveFramePointer";
    const VARIABLES: [&str; 3] = ["JAVA_TOOL_OPTIONS=", "JDK_JAVA_OPTIONS=", "_JAVA_OPTIONS="];
    let read = |name| proc.strings(pid, name).unwrap_or_default();
    let mut options = read("environ");
    options.retain(|variable| VARIABLES.iter().any(|name| variable.starts_with(name)));
    options.extend(read("cmdline"));
    let asked = options.iter().any(|option| option.contains(ON));
    asked && !options.iter().any(|option| option.contains(OFF))
}

/// The instruction that an address means.
const fn lookup(word: u64) -> u64 {
    if word & EXACT != 0 {
        word & !EXACT
    } else {
        word.wrapping_sub(1)
    }
}

/// A line of the memory map that is code.
#[derive(Debug, PartialEq, Eq)]
struct Mapped<'a> {
    start: u64,
    end: u64,
    offset: u64,
    /// None where it is no file's: the program has made it.
    path: Option<&'a str>,
}

/// ```text
/// 55d4c0a00000-55d4c0a21000 r-xp 00002000 fd:01 1234   /usr/bin/example
/// ```
fn mapped(line: &str) -> Option<Mapped<'_>> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let is_code = fields.next()?.as_bytes().get(2) == Some(&b'x');
    let offset = fields.next()?;
    let path = fields.nth(2).unwrap_or_default().trim_start();
    let number = |text| u64::from_str_radix(text, 16).ok();
    let is_file = path.starts_with('/') || path == VDSO;
    let is_made = path.is_empty() || path.starts_with("[anon:");
    (is_code && (is_file || is_made)).then_some(Mapped {
        start: number(start)?,
        end: number(end)?,
        offset: number(offset)?,
        path: is_file.then(|| path.strip_suffix(" (deleted)").unwrap_or(path)),
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
            path: Some("/opt/a b"),
        };
        assert_eq!(found, Some(expected));
        let found = mapped("7ffd1000-7ffd2000 r-xp 00000000 00:00 0            [vdso]");
        assert_eq!(found.and_then(|found| found.path), Some(VDSO));
        for name in ["", " ", "       [anon:v8]"] {
            let line = format!("7ffd1000-7ffd2000 r-xp 00000000 00:00 0{name}");
            let found = mapped(&line).expect("code");
            assert_eq!((found.path, found.start), (None, 0x7ffd_1000));
        }
        let others = [
            "",
            "55d4c0a00000-55d4c0a21000 r--p 00000000 fd:01 1234 /usr/bin/x",
            "7ffd1000-7ffd2000 r-xp 00000000 00:00 0            [vsyscall]",
            "7ffd1000-7ffd2000 rw-p 00000000 00:00 0 ",
            "7ffd1000 r-xp 00000000 00:00 0 /x",
            "zz-7ffd2000 r-xp 00000000 00:00 0 /x",
        ];
        for line in others {
            assert_eq!(mapped(line), None, "{line}");
        }
    }
}
