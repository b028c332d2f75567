//! Finds in executables what the kernel side needs to follow execution contexts: offsets, and addresses to probe.
//!
//! In: [`Process`](crate::discover::Process)es. Out: [`Hooks`]. Executables are others' bytes: what does not look as expected
//! gives less, and says why; nothing is guessed.
#![forbid(unsafe_code)]
mod alike;
mod code;
mod dynamic;
mod flow;
mod frames;
mod functions;
mod gnutls;
mod go;
mod go_streams;
mod go_tls;
mod image;
mod java;
mod mbedtls;
mod openssl;
mod pclntab;
mod python;
mod rustls;
mod stacks;
mod tokio;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clew_common::context::Plan;

use crate::discover::{Proc, Process, Runtime};
pub use image::FileKey;
use image::Image;
pub use java::{Machines, NoPlan};
pub use openssl::{Encryption, Libraries};
pub use stacks::{Frame, Functions, Stacks};

/// Kernel programs that tell which goroutine or task a thread runs, and what it waited for. Only where its time goes is told by them.
pub const TIMED: &[&str] = &[
    go::RUNS,
    tokio::ENTERS,
    tokio::POLLS,
    tokio::LEAVES,
    tokio::WOKEN,
    tokio::CALLED,
];

/// Where libraries lie.
const LIBRARIES: &[&str] = &[
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/lib",
];

/// Executables remembered.
const MOST_REMEMBERED: usize = 1024;

/// How a process's execution contexts are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// What the kernel side reads at each operation.
    pub plan: Plan,
    /// What it watches besides, in the order in which it has to be attached.
    pub points: Vec<Point>,
    /// What of the mechanism could not be had, for people.
    pub limits: Vec<String>,
}

/// The last part of the path of a file, for people. An executable is opened through a link.
fn file_name(path: &Path) -> Arc<str> {
    let real = std::fs::read_link(path);
    let name = real.as_deref().unwrap_or(path).file_name();
    name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
        .into()
}

/// An instruction at which a kernel program runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Point {
    /// The kernel program.
    pub program: &'static str,
    /// The file, by device and inode number.
    pub file: FileKey,
    /// Offset of the instruction in the file, bytes.
    pub offset: u64,
}

/// Hooks, and the files their points are in.
#[derive(Clone, Debug)]
pub struct Found {
    /// The hooks.
    pub hooks: Arc<Hooks>,
    /// Paths by which the files can be opened while the process lives.
    pub paths: Vec<(FileKey, PathBuf)>,
    /// By how much an interpreter that is loaded already is moved from its own addresses.
    pub base: Option<u64>,
}

impl Found {
    /// The points, each with the path of its file; or one whose file has none: the others alone would be worse than nothing.
    ///
    /// # Errors
    /// The kernel program of that point.
    pub fn located(&self) -> Result<Vec<(&Point, &Path)>, &'static str> {
        let located = self.hooks.points.iter().map(|point| {
            let found = self.paths.iter().find(|(key, _)| *key == point.file);
            let (_, path) = found.ok_or(point.program)?;
            Ok((point, path.as_path()))
        });
        located.collect()
    }
}

/// Why a runtime's contexts are not followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoHooks {
    /// The executable could not be read.
    #[error("the executable cannot be read")]
    Unreadable,
    /// It does not look like what it should be.
    #[error("{0}")]
    Unknown(String),
}

/// Looks into executables and remembers what it found.
#[derive(Debug, Default)]
pub struct Symbols {
    found: HashMap<FileKey, Option<Result<Arc<Hooks>, NoHooks>>>,
    pythons: python::Known,
}

impl Symbols {
    /// Whether contexts below the thread are known of the process's runtime.
    pub const fn wants(process: &Process) -> bool {
        matches!(process.runtime, Runtime::Go | Runtime::Python | Runtime::Rust)
    }

    /// How the contexts of `process` are followed; none where the thread is the context, or nothing is known of the runtime.
    pub fn hooks(&mut self, proc: &Proc, process: &Process) -> Option<Result<Found, NoHooks>> {
        let exe = proc.of(process.pid, "exe");
        match process.runtime {
            Runtime::Go | Runtime::Rust => {
                // Opened once: another program may stand there the next time.
                let Some(image) = Image::open(&exe) else {
                    return Some(Err(NoHooks::Unreadable));
                };
                let paths = vec![(image.key(), exe)];
                let found = self.of(image, process.runtime)?;
                Some(found.map(|hooks| Found {
                    hooks,
                    paths,
                    base: None,
                }))
            }
            Runtime::Python => Some(self.pythons.hooks(&python::Place {
                exe,
                exe_path: &process.exe,
                argv0: process.args.first().map_or("", String::as_str),
                root: proc.of(process.pid, "root"),
                maps: proc.maps(process.pid),
            })),
            _ => None,
        }
    }

    /// How contexts of the program at `path` are followed; none where nothing is known of its runtime.
    pub fn program(&mut self, path: &Path, runtime: Runtime) -> Option<Result<Arc<Hooks>, NoHooks>> {
        match Image::open(path) {
            Some(image) => self.of(image, runtime),
            None => Some(Err(NoHooks::Unreadable)),
        }
    }

    fn of(&mut self, image: Image, runtime: Runtime) -> Option<Result<Arc<Hooks>, NoHooks>> {
        let key = image.key();
        if self.found.len() >= MOST_REMEMBERED {
            self.found.clear();
        }
        let hooks = self.found.entry(key).or_insert_with(|| match runtime {
            Runtime::Go => Some(go::hooks(image).map(Arc::new)),
            Runtime::Rust => tokio::hooks(&image).map(|hooks| hooks.map(Arc::new)),
            _ => None,
        });
        hooks.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_without_their_file_are_told() {
        let image = Image::open(Path::new("/proc/self/exe")).expect("this test");
        let other = FileKey::of(Path::new("/proc/self/status")).expect("a file");
        let found = |file| Found {
            hooks: Hooks {
                plan: Plan::default(),
                points: vec![Point {
                    program: "go_created",
                    file,
                    offset: 1,
                }],
                limits: Vec::new(),
            }
            .into(),
            paths: vec![(image.key(), PathBuf::from("/proc/self/exe"))],
            base: None,
        };
        let located = found(image.key());
        let located = located.located().expect("the file is known");
        assert_eq!(located.len(), 1);
        assert_eq!(found(other).located(), Err("go_created"));
    }
}
