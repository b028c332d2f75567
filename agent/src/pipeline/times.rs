//! Where the time of threads, goroutines and tasks went, and where in their programs threads are. The kernel side tells of a thread right before each of its operations
//! on a socket.
use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::capture::{ConnId, Context, Moment, Pid, Times};

/// Threads whose time is remembered, and goroutines and tasks. Their number outlives them, so that many may be over.
const MAX_THREADS: usize = 65_536;
/// The name of the counter of how often all of them were forgotten.
const FULL: &str = "pipeline.threads_full";

/// What was told of threads last, and what their goroutines and tasks did.
#[derive(Debug, Default)]
pub(super) struct Threads {
    threads: HashMap<u32, Thread, RandomState>,
    contexts: HashMap<(Pid, Context), Turns, RandomState>,
    /// How often any of them turned to another connection. By this number each time is known, also where they are forgotten meanwhile.
    turned: u32,
}

/// To which connections a thread, goroutine or task turned last, one that brings requests and another, and when.
#[derive(Debug, Default)]
struct Turns {
    last: [Option<ConnId>; 2],
    turned: [u32; 2],
}

#[derive(Debug)]
struct Thread {
    pid: Pid,
    times: Times,
    turns: Turns,
    /// The stack on which it sends or reads on a connection next: by itself, and what is encrypted.
    stacks: [Option<(ConnId, u64)>; 2],
}

impl Threads {
    /// Where the time of a thread had gone at `moment`; the name of a counter where others had to be forgotten.
    pub(super) fn told(&mut self, moment: &Moment, times: Times) -> Option<&'static str> {
        let context = (moment.actor.pid, times.context);
        let mut forgotten = None;
        if is_followed(times.context) && self.contexts.len() >= MAX_THREADS && !self.contexts.contains_key(&context) {
            self.contexts.clear();
            forgotten = Some(FULL);
        }
        let (thread, count) = self.of(moment);
        thread.times = times;
        count.or(forgotten)
    }

    /// The thread of `moment` sends or reads on a connection next, on this stack.
    pub(super) fn stands(&mut self, moment: &Moment, conn: ConnId, stack: u64) -> Option<&'static str> {
        let (thread, count) = self.of(moment);
        thread.stacks = [Some((conn, stack)); 2];
        count
    }

    /// The stack on which it did on a connection, once, and once what was encrypted; 0 where none was told.
    pub(super) fn stack(&mut self, moment: &Moment, conn: ConnId, encrypted: bool) -> u64 {
        let thread = self.threads.get_mut(&moment.actor.tid);
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
        if self.threads.len() >= MAX_THREADS && !self.threads.contains_key(&tid) {
            self.threads.clear();
            count = Some(FULL);
        }
        let thread = self.threads.entry(tid).or_insert_with(|| Thread {
            pid,
            times: Times::default(),
            turns: Turns::default(),
            stacks: [None; 2],
        });
        thread.pid = pid;
        (thread, count)
    }

    /// The same at an operation on a connection, which brings requests or does not; zeros where nothing was told.
    pub(super) fn at(&mut self, moment: &Moment, conn: ConnId, brings: bool) -> Times {
        let pid = moment.actor.pid;
        let thread = self.threads.get_mut(&moment.actor.tid);
        let Some(thread) = thread.filter(|thread| thread.pid == pid) else {
            return Times::default();
        };
        let turns = if is_followed(thread.times.context) {
            self.contexts.entry((pid, thread.times.context)).or_default()
        } else {
            &mut thread.turns
        };
        let side = usize::from(!brings);
        if turns.last[side] != Some(conn) {
            self.turned = self.turned.wrapping_add(1);
            turns.last[side] = Some(conn);
            turns.turned[side] = self.turned;
        }
        Times {
            turned: turns.turned,
            ..thread.times
        }
    }
}

/// Whether what runs in a context has a time of its own.
const fn is_followed(context: Context) -> bool {
    matches!(context, Context::Goroutine(_) | Context::Tokio(_))
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
        assert_eq!(turned(20, 7, false), [1, 2]);
        assert_eq!(turned(30, 1, true), [1, 2]);
        assert_eq!(turned(40, 2, true), [3, 2]);
        // The number of a thread that is over names another process's.
        assert_eq!(threads.at(&moment(9, 2, 50), ConnId(1), true), Times::default());
    }

    #[test]
    fn goroutines_and_tasks_turn_each_by_itself() {
        let mut threads = Threads::default();
        let mut turned = |time_ns, context, conn| {
            let moment = moment(1, 2, time_ns);
            let times = Times {
                context,
                ..times(time_ns)
            };
            assert_eq!(threads.told(&moment, times), None);
            threads.at(&moment, ConnId(conn), true).turned
        };
        // One thread runs both.
        for of in [Context::Goroutine, Context::Tokio] {
            let first = turned(10, of(7), 1);
            let other = turned(20, of(8), 2);
            assert_eq!(turned(30, of(7), 1), first);
            assert_eq!(turned(40, of(8), 2), other);
            assert_ne!(turned(50, of(7), 2), first);
        }
    }

    #[test]
    fn a_stack_is_of_one_operation() {
        let mut threads = Threads::default();
        let (moment, conn) = (moment(1, 2, 5), ConnId(7));
        assert_eq!(threads.stack(&moment, conn, false), 0);
        assert_eq!(threads.stands(&moment, conn, 11), None);
        assert_eq!(threads.stack(&moment, conn, false), 11);
        assert_eq!(threads.stack(&moment, conn, true), 11);
        assert_eq!(threads.stack(&moment, conn, true), 0);
        assert_eq!(threads.stands(&moment, conn, 12), None);
        assert_eq!(threads.stack(&moment, ConnId(8), false), 0);
        assert_eq!(threads.stands(&moment, conn, 13), None);
        assert_eq!(threads.stack(&moment, conn, false), 13);
        assert_eq!(threads.stack(&moment, conn, false), 0);
        assert_eq!(threads.stack(&moment, conn, true), 0);
    }

    #[test]
    fn memory_is_bounded() {
        let mut threads = Threads::default();
        for tid in 0..MAX_THREADS as u32 {
            assert_eq!(threads.told(&moment(1, tid, 1), times(1)), None);
        }
        assert_eq!(threads.told(&moment(1, 5, 1), times(1)), None);
        let full = threads.told(&moment(1, u32::MAX, 1), times(1));
        assert_eq!((full, threads.threads.len()), (Some("pipeline.threads_full"), 1));
    }
}
