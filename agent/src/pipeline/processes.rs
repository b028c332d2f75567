//! The processes that events name.
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::stranger;
use crate::capture::Pid;
use crate::discover::Process;

/// How long a process that is over is still known: its last events may be on their way.
const KEPT_NS: u64 = 5_000_000_000;

/// How many processes lie between one that hands work on and one that does it, at most: Python's server of forks is one.
const MAX_BETWEEN: usize = 4;

#[derive(Default)]
pub(super) struct Processes {
    known: HashMap<Pid, Arc<Process>, RandomState>,
    /// Who created whom.
    creators: HashMap<Pid, Pid, RandomState>,
    /// Those that may hand work to processes that they created.
    hands: HashSet<Pid, RandomState>,
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
        self.created(parent, child);
        if let Some(process) = self.known.get(&parent) {
            let process = Process {
                pid: child,
                ..Process::clone(process)
            };
            self.know(process);
        }
    }

    /// `creator` created a process.
    pub(super) fn created(&mut self, creator: Pid, child: Pid) {
        self.creators.insert(child, creator);
    }

    /// Who created a process, who created that one, and so on.
    pub(super) fn creators(&self, pid: Pid) -> impl Iterator<Item = Pid> {
        let next = |pid: &Pid| self.creators.get(pid).copied();
        std::iter::successors(next(&pid), next).take(MAX_BETWEEN)
    }

    /// Whether a process may be handed work by one that created it.
    pub(super) fn takes(&self, pid: Pid) -> bool {
        self.creators(pid).any(|creator| self.hands.contains(&creator))
    }

    /// A process may hand work to processes that it created; those it has, unless that was known.
    pub(super) fn hands(&mut self, pid: Pid) -> Option<Vec<Pid>> {
        self.hands.insert(pid).then(|| {
            let all = self.creators.keys().copied();
            all.filter(|child| self.creators(*child).any(|creator| creator == pid))
                .collect()
        })
    }

    pub(super) fn get(&mut self, pid: Pid) -> Arc<Process> {
        Arc::clone(self.known.entry(pid).or_insert_with(|| stranger(pid)))
    }

    pub(super) fn exited(&mut self, pid: Pid, time_ns: u64) {
        self.over.push((time_ns, pid));
    }

    pub(super) fn tick(&mut self, now_ns: u64) {
        let (known, creators, hands) = (&mut self.known, &mut self.creators, &mut self.hands);
        self.over.retain(|(since, pid)| {
            let kept = now_ns.saturating_sub(*since) < KEPT_NS;
            if !kept {
                known.remove(pid);
                creators.remove(pid);
                hands.remove(pid);
            }
            kept
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_handed_work() {
        let mut processes = Processes::default();
        let [main, server, child, other] = [1, 2, 3, 9].map(Pid);
        processes.forked(main, server);
        processes.forked(server, child);
        processes.forked(Pid(8), other);
        assert_eq!(processes.creators(child).collect::<Vec<_>>(), [server, main]);
        assert!(![main, server, child, other].into_iter().any(|pid| processes.takes(pid)));
        let mut children = processes.hands(main).expect("the first time");
        children.sort();
        assert_eq!(children, [server, child]);
        assert_eq!(processes.hands(main), None);
        assert!([server, child].into_iter().all(|pid| processes.takes(pid)));
        assert!(![main, other].into_iter().any(|pid| processes.takes(pid)));
        // One behind the other, also in a ring that numbers used again may seem to be.
        processes.created(child, main);
        assert_eq!(processes.creators(child).count(), MAX_BETWEEN);
        processes.exited(main, 1);
        processes.tick(1 + KEPT_NS);
        assert!(!processes.takes(server));
    }
}
