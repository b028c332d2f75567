//! The functions and lines of stacks.
//!
//! In: what the kernel side read of a thread. Out: [`Frame`]s, the innermost first. Files are remembered, so that a program's lines are
//! known after it is over; Python's are in the memory of its process and have to be read while it lives. Of compiled code, [`Row`]s go out,
//! too: how the kernel side walks on from where it could not.
mod compiled;
mod go;
mod module;
mod packed;
mod perf_map;
mod python;
mod rows;
mod section;

use std::collections::HashMap;
use std::fs::File;

use clew_common::unwind::{Place, Row};
use smol_str::SmolStr;

use super::image::Image;
use super::{FileKey, MOST_REMEMBERED};
use crate::capture::{Language, Pid, Stack};
use crate::discover::Proc;
use compiled::Compiled;
use go::Lines;
pub use perf_map::Functions;

/// A function that has been called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its name, as the language qualifies it; empty where it is not known.
    pub function: SmolStr,
    /// The source file, empty where it is not known.
    pub file: SmolStr,
    /// The line, 0 where it is not known.
    pub line: u32,
    /// It is the program's own, not a library's or the runtime's.
    pub is_own: bool,
}

impl Frame {
    /// One of which nothing is known.
    const UNKNOWN: Self = Self {
        function: SmolStr::new_static(""),
        file: SmolStr::new_static(""),
        line: 0,
        is_own: false,
    };
}

/// What was read of files.
#[derive(Default)]
pub struct Stacks {
    compiled: Compiled,
    /// None is a file that is no program of Go.
    programs: HashMap<FileKey, Option<Lines>>,
    /// The file of a process, and by how much its addresses are moved.
    processes: HashMap<Pid, (FileKey, u64)>,
}

impl Stacks {
    /// Walks a stack to its end that could not be. `tell` is told how the kernel side does the next time.
    pub fn walk(&mut self, proc: &Proc, stack: &mut Stack, tell: &mut dyn FnMut(Place, Row)) {
        if let (Language::Compiled { space }, Some(rest)) = (stack.language, stack.rest.take()) {
            let now_ns = stack.moment.time_ns;
            self.compiled.walk(proc, (space, now_ns), &mut stack.words, &rest, tell);
        }
    }

    /// Does a part of what [`frames`](Self::frames) takes; whether there may be more to do. Others need not wait for all of it.
    pub fn prepare(&mut self, stack: &Stack) -> bool {
        match stack.language {
            Language::Compiled { space } => self.compiled.prepare(space, &stack.words),
            Language::Go | Language::Python { .. } => false,
        }
    }

    /// The frames of a stack, as far as they are known.
    pub fn frames(&mut self, proc: &Proc, stack: &Stack) -> Vec<Frame> {
        let pid = stack.moment.actor.pid;
        let minor = match stack.language {
            Language::Go => return self.program(proc, pid, &stack.words).unwrap_or_default(),
            Language::Compiled { space } => return self.compiled.frames((space, stack.hash), &stack.words),
            Language::Python { minor } => minor,
        };
        let Ok(memory) = File::open(proc.of(pid, "mem")) else {
            return Vec::new();
        };
        let pairs = stack.words.chunks_exact(2);
        pairs
            .filter_map(|pair| python::frame(&memory, minor, *pair.first()?, *pair.get(1)?))
            .filter(|frame| frame.file != python::SHIM)
            .collect()
    }

    fn program(&mut self, proc: &Proc, pid: Pid, words: &[u64]) -> Option<Vec<Frame>> {
        if self.programs.len() >= MOST_REMEMBERED {
            self.programs.clear();
        }
        if self.processes.len() >= MOST_REMEMBERED {
            self.processes.clear();
        }
        let (key, moved) = match self.processes.get(&pid) {
            Some(known) => *known,
            None => {
                let exe = proc.of(pid, "exe");
                let key = FileKey::of(&exe)?;
                let lines = self
                    .programs
                    .entry(key)
                    .or_insert_with(|| Image::open(&exe).and_then(Lines::open));
                let path = std::fs::read_link(&exe).ok()?;
                let moved = moved(&proc.maps(pid), path.to_str()?, lines.as_ref()?.image())?;
                self.processes.insert(pid, (key, moved));
                (key, moved)
            }
        };
        let lines = self.programs.get(&key)?.as_ref()?;
        let frames = words.iter().enumerate().filter_map(|(depth, word)| {
            // A return address is behind the call.
            let back = u64::from(depth > 0);
            lines.at(word.checked_sub(moved)?.checked_sub(back)?)
        });
        let frames: Vec<Frame> = frames.flatten().collect();
        let is_own = !frames.iter().any(|frame| go::FOR_OTHERS.contains(&&*frame.function));
        Some(if is_own { frames } else { Vec::new() })
    }

    /// What has changed since the last time, which was a while ago: `rename` is told of stacks whose functions are others, by their name.
    /// The places whose rows are to be asked for again.
    pub fn catch_up(&mut self, proc: &Proc, rename: &mut dyn FnMut(u64, Language, &[Frame])) -> Vec<Place> {
        self.compiled.catch_up(proc, rename)
    }

    /// The process has ended, or begun another program: the places whose rows are not needed any more.
    pub fn forget(&mut self, pid: Pid) -> Vec<Place> {
        self.processes.remove(&pid);
        self.compiled.forget(pid)
    }
}

/// By how much the addresses of the program at `path` are moved, from the memory map.
fn moved(maps: &str, path: &str, image: &Image) -> Option<u64> {
    let line = maps.lines().find(|line| line.ends_with(path))?;
    let start = u64::from_str_radix(line.split('-').next()?, 16).ok()?;
    let offset = u64::from_str_radix(line.split_whitespace().nth(2)?, 16).ok()?;
    start.checked_sub(image.address_of(offset)?)
}
