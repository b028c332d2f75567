//! Where threads' time went, and where in their programs they are. The kernel side tells of a thread right before each of its operations
//! on a socket.
use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::capture::{ConnId, Moment, Pid, Times};

/// Threads whose time is remembered. Their number outlives them, so that many may be over.
const MAX_THREADS: usize = 65_536;

/// What was told of threads last.
#[derive(Debug, Default)]
pub(super) struct Threads(HashMap<u32, Thread, RandomState>);

#[derive(Debug)]
struct Thread {
    pid: Pid,
    times: Times,
    /// The last connections it turned to: one that brings requests, and another.
    last: [Option<ConnId>; 2],
    /// The stack on which it sends on a connection next: by itself, and what is encrypted.
    stacks: [Option<(ConnId, u64)>; 2],
}

impl Threads {
    /// Where the time of a thread had gone at `moment`; the name of a counter where others had to be forgotten.
    pub(super) fn told(&mut self, moment: &Moment, times: Times) -> Option<&'static str> {
        let (thread, count) = self.of(moment);
        thread.times = Times {
            turned: thread.times.turned,
            ..times
        };
        count
    }

    /// The thread of `moment` sends on a connection next, on this stack.
    pub(super) fn sends(&mut self, moment: &Moment, conn: ConnId, stack: u64) -> Option<&'static str> {
        let (thread, count) = self.of(moment);
        thread.stacks = [Some((conn, stack)); 2];
        count
    }

    /// The stack on which it sent on a connection, once, and once what was encrypted; 0 where none was told.
    pub(super) fn sent(&mut self, moment: &Moment, conn: ConnId, encrypted: bool) -> u64 {
        let thread = self.0.get_mut(&moment.actor.tid);
        let Some(thread) = thread.filter(|thread| thread.pid == moment.actor.pid) else {
            return 0;
        };
        let told = thread.stacks[usize::from(encrypted)].take();
        if !encrypted && told.is_none() {
            // The operation is another.
            thread.stacks = [None; 2];
        }
        told.filter(|(on, _)| *on == conn).map_or(0, |(_, stack)| stack)
    }

    fn of(&mut self, moment: &Moment) -> (&mut Thread, Option<&'static str>) {
        let mut count = None;
        let (pid, tid) = (moment.actor.pid, moment.actor.tid);
        if self.0.len() >= MAX_THREADS && !self.0.contains_key(&tid) {
            self.0.clear();
            count = Some("pipeline.threads_full");
        }
        let thread = self.0.entry(tid).or_insert_with(|| Thread {
            pid,
            times: Times::default(),
            last: [None; 2],
            stacks: [None; 2],
        });
        thread.pid = pid;
        (thread, count)
    }

    /// The same at an operation on a connection, which brings requests or does not; zeros where nothing was told.
    pub(super) fn at(&mut self, moment: &Moment, conn: ConnId, brings: bool) -> Times {
        let thread = self.0.get_mut(&moment.actor.tid);
        let Some(thread) = thread.filter(|thread| thread.pid == moment.actor.pid) else {
            return Times::default();
        };
        let side = usize::from(!brings);
        if thread.last[side] != Some(conn) {
            thread.last[side] = Some(conn);
            thread.times.turned[side] = thread.times.turned[side].wrapping_add(1);
        }
        thread.times
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Actor;

    fn moment(pid: u32, tid: u32, time_ns: u64) -> Moment {
        Moment::new(time_ns, Actor::thread(Pid(pid), tid))
    }

    fn times(time_ns: u64) -> Times {
        Times {
            time_ns,
            ..Times::default()
        }
    }

    #[test]
    fn a_thread_that_turns_to_another_connection() {
        let mut threads = Threads::default();
        assert_eq!(threads.at(&moment(1, 2, 5), ConnId(1), true), Times::default());
        let mut turned = |time_ns, conn, brings| {
            let moment = moment(1, 2, time_ns);
            assert_eq!(threads.told(&moment, times(time_ns)), None);
            let told = threads.at(&moment, ConnId(conn), brings);
            assert_eq!(told.time_ns, time_ns);
            told.turned
        };
        assert_eq!(turned(10, 1, true), [1, 0]);
        assert_eq!(turned(20, 7, false), [1, 1]);
        assert_eq!(turned(30, 1, true), [1, 1]);
        assert_eq!(turned(40, 2, true), [2, 1]);
        // The number of a thread that is over names another process's.
        assert_eq!(threads.at(&moment(9, 2, 50), ConnId(1), true), Times::default());
    }

    #[test]
    fn a_stack_is_of_one_operation() {
        let mut threads = Threads::default();
        let (moment, conn) = (moment(1, 2, 5), ConnId(7));
        assert_eq!(threads.sent(&moment, conn, false), 0);
        assert_eq!(threads.sends(&moment, conn, 11), None);
        assert_eq!(threads.sent(&moment, conn, false), 11);
        assert_eq!(threads.sent(&moment, conn, true), 11);
        assert_eq!(threads.sent(&moment, conn, true), 0);
        assert_eq!(threads.sends(&moment, conn, 12), None);
        assert_eq!(threads.sent(&moment, ConnId(8), false), 0);
        assert_eq!(threads.sends(&moment, conn, 13), None);
        assert_eq!(threads.sent(&moment, conn, false), 13);
        assert_eq!(threads.sent(&moment, conn, false), 0);
        assert_eq!(threads.sent(&moment, conn, true), 0);
    }

    #[test]
    fn memory_is_bounded() {
        let mut threads = Threads::default();
        for tid in 0..MAX_THREADS as u32 {
            assert_eq!(threads.told(&moment(1, tid, 1), times(1)), None);
        }
        assert_eq!(threads.told(&moment(1, 5, 1), times(1)), None);
        let full = threads.told(&moment(1, u32::MAX, 1), times(1));
        assert_eq!((full, threads.0.len()), (Some("pipeline.threads_full"), 1));
    }
}
