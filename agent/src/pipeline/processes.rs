//! The processes that events name.
use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::stranger;
use crate::capture::Pid;
use crate::discover::Process;

/// How long a process that is over is still known: its last events may be on their way.
const KEPT_NS: u64 = 5_000_000_000;

#[derive(Default)]
pub(super) struct Processes {
    known: HashMap<Pid, Arc<Process>, RandomState>,
    over: Vec<(u64, Pid)>,
}

impl Processes {
    /// The process, if it has to be read.
    pub(super) fn unknown(&self, pid: Pid) -> Option<Pid> {
        (!self.known.contains_key(&pid)).then_some(pid)
    }

    pub(super) fn know(&mut self, process: Process) {
        self.over.retain(|(_, over)| *over != process.pid);
        self.known.insert(process.pid, Arc::new(process));
    }

    /// A child runs its parent's program until it begins its own.
    pub(super) fn forked(&mut self, parent: Pid, child: Pid) {
        if let Some(process) = self.known.get(&parent) {
            let process = Process {
                pid: child,
                ..Process::clone(process)
            };
            self.know(process);
        }
    }

    pub(super) fn get(&mut self, pid: Pid) -> Arc<Process> {
        Arc::clone(self.known.entry(pid).or_insert_with(|| stranger(pid)))
    }

    pub(super) fn exited(&mut self, pid: Pid, time_ns: u64) {
        self.over.push((time_ns, pid));
    }

    pub(super) fn tick(&mut self, now_ns: u64) {
        let known = &mut self.known;
        self.over.retain(|(since, pid)| {
            let kept = now_ns.saturating_sub(*since) < KEPT_NS;
            if !kept {
                known.remove(pid);
            }
            kept
        });
    }
}
