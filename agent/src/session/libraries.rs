//! Finds libraries that encrypt in the processes that are traced, beside the loop: when a process begins, and whenever one loads
//! something.
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::capture::Pid;
use crate::discover::Proc;
use crate::symbol::{Encryption, Libraries};

/// How long after a process said that it loads something its memory map is read: the call is on its way then, and others follow.
const SETTLE: Duration = Duration::from_millis(1);
/// How long others are waited for, at most.
const PATIENCE: Duration = Duration::from_millis(4);

/// Libraries of processes that were told of and cannot be seen through, remembered.
const MOST_TOLD: usize = 4096;

/// A library that encrypts, which a process uses or may.
#[derive(Debug)]
pub(super) struct Cipher {
    pub(super) pid: Pid,
    pub(super) library: Arc<Encryption>,
    /// A path by which it can be opened.
    pub(super) path: PathBuf,
}

#[derive(Clone, Copy, Debug)]
enum Ask {
    /// What the process uses.
    Runs(Pid),
    /// What it uses, and what lies where it will look: it has just begun.
    Begins(Pid),
}

/// Hands processes to the thread that looks.
pub(super) struct Finder(Sender<Ask>);

impl Finder {
    /// Starts the thread. What it finds comes out of the receiver.
    pub(super) fn start(proc: Proc) -> io::Result<(Self, UnboundedReceiver<Cipher>)> {
        let (asked, asks) = channel();
        let (answers, answered) = unbounded_channel();
        std::thread::Builder::new()
            .name("clew-libraries".to_owned())
            .spawn(move || find(&proc, &asks, &answers))?;
        Ok((Self(asked), answered))
    }

    /// The process runs, or has loaded something.
    pub(super) fn look_at(&self, pid: Pid) {
        let _over = self.0.send(Ask::Runs(pid));
    }

    /// The process has begun a program.
    pub(super) fn expect(&self, pid: Pid) {
        let _over = self.0.send(Ask::Begins(pid));
    }
}

/// Answers until nobody asks or listens any more.
fn find(proc: &Proc, asks: &Receiver<Ask>, answers: &UnboundedSender<Cipher>) {
    let mut libraries = Libraries::default();
    let mut told: HashSet<(Pid, PathBuf)> = HashSet::new();
    while let Ok(first) = asks.recv() {
        let (mut runs, mut begins) = (HashSet::new(), HashSet::new());
        let mut next = Ok(first);
        let since = Instant::now();
        // What is asked within a moment is answered at once: a program loads many files when it begins.
        loop {
            match next {
                Ok(Ask::Runs(pid)) => {
                    runs.insert(pid);
                }
                // The library may be used before it is known to be: its usual place is looked at first.
                Ok(Ask::Begins(pid)) => {
                    let exe = proc.of(pid, "exe");
                    if let Some(library) = libraries.at(&exe).filter(|library| !library.points.is_empty()) {
                        let _over = answers.send(Cipher {
                            pid,
                            library,
                            path: exe,
                        });
                    }
                    for (library, path) in libraries.usual(&proc.of(pid, "root")) {
                        let _over = answers.send(Cipher { pid, library, path });
                    }
                    begins.insert(pid);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
            if since.elapsed() >= PATIENCE {
                break;
            }
            next = asks.recv_timeout(SETTLE);
        }
        for pid in runs.union(&begins) {
            for (library, path) in of(&mut libraries, proc, *pid) {
                // What cannot be seen is told of once.
                if library.points.is_empty() {
                    if told.len() >= MOST_TOLD {
                        told.clear();
                    }
                    if !told.insert((*pid, path.clone())) {
                        continue;
                    }
                }
                if answers
                    .send(Cipher {
                        pid: *pid,
                        library,
                        path,
                    })
                    .is_err()
                {
                    return;
                }
            }
        }
    }
}

/// What a process uses.
fn of(libraries: &mut Libraries, proc: &Proc, pid: Pid) -> Vec<(Arc<Encryption>, PathBuf)> {
    let mut look = || libraries.of(&proc.of(pid, "exe"), &proc.of(pid, "root"), &proc.maps(pid));
    let found = look();
    // Who brings a library along, as Netty does, may have removed the file as soon as it was loaded: it is still mapped.
    if found.iter().all(|(_, path)| path.exists()) {
        found
    } else {
        look()
    }
}

/// What lies where programs look for libraries, for a command that has not begun.
pub(super) fn usual() -> Vec<(Arc<Encryption>, PathBuf)> {
    Libraries::default().usual(Path::new("/"))
}
