//! Java's virtual machines that are coming up: their threads can be told apart once the machine is loaded, and the program begins
//! some time later.
use std::collections::HashMap;
use std::time::{Duration, Instant};

use clew_common::context::Plan;

use crate::capture::Pid;
use crate::discover::Proc;
use crate::symbol::{self, NoPlan};

/// How often they are looked at.
const EVERY: Duration = Duration::from_millis(50);

/// How long a machine may take to be loaded.
const PATIENCE: Duration = Duration::from_secs(30);

/// Machines, and since when they are waited for.
#[derive(Debug, Default)]
pub(super) struct Machines {
    waiting: HashMap<Pid, Instant>,
    looked: Option<Instant>,
    known: symbol::Machines,
}

impl Machines {
    /// The process runs a virtual machine.
    pub(super) fn wait_for(&mut self, pid: Pid) {
        self.waiting.insert(pid, Instant::now());
    }

    /// The process is over.
    pub(super) fn forget(&mut self, pid: Pid) {
        self.waiting.remove(&pid);
    }

    /// Those that have come up, with what to read of them, or why they cannot be followed.
    pub(super) fn come_up(&mut self, proc: &Proc) -> Vec<(Pid, Result<Plan, NoPlan>)> {
        if self.waiting.is_empty() || self.looked.is_some_and(|at| at.elapsed() < EVERY) {
            return Vec::new();
        }
        self.looked = Some(Instant::now());
        let Self { waiting, known, .. } = self;
        let mut done = Vec::new();
        waiting.retain(|pid, since| {
            let plan = match known.plan(proc, *pid) {
                Err(NoPlan::NotYet) if since.elapsed() < PATIENCE => return true,
                plan => plan,
            };
            done.push((*pid, plan));
            false
        });
        done
    }
}

/// Whether a thread of this name runs what others asked for while it waits, and whether then any thread of its process does: see
/// `ebpf/src/java.rs`.
pub(super) fn helps(name: &str) -> Option<bool> {
    name.strip_prefix("ForkJoinPool").map(|rest| rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helpers() {
        for (name, want) in [
            ("ForkJoinPool.co", Some(true)),
            ("ForkJoinPool-1-", Some(false)),
            ("pool-1-thread-1", None),
            ("", None),
        ] {
            assert_eq!(helps(name), want, "{name}");
        }
    }
}
