//! Where tasks begin and end to run, and where they are woken.
use clew_common::context::{TOKIO_CLOCK, TOKIO_NETWORK, TOKIO_TIMED, code_range};

use super::{CHANNELS, ENTER, LEAVE, Program, Watch};
use crate::symbol::flow;
use crate::symbol::functions::Function;

/// Kernel programs, in `ebpf/src/tasks.rs`.
pub(in crate::symbol) const ENTERS: &str = "tokio_enters";
pub(in crate::symbol) const POLLS: &str = "tokio_polls";
pub(in crate::symbol) const LEAVES: &str = "tokio_leaves";
pub(in crate::symbol) const WOKEN: &str = "tokio_woken";
pub(in crate::symbol) const CALLED: &str = "tokio_called";

/// What a task's waker does when it is used up, and when it is kept.
pub(super) const WAKE_BY_VALUE: &str = "tokio::runtime::task::waker::wake_by_val";
pub(super) const WAKE_BY_REFERENCE: &str = "tokio::runtime::task::waker::wake_by_ref";
/// Wakes many; where it is a function it stands between them and who wakes.
pub(super) const WAKE_ALL: &str = "tokio::util::wake_list::WakeList::wake_all";
/// Who wakes what waits for the network, the one within the other where there is only one.
pub(super) const NETWORK: [&str; 2] = [
    "tokio::runtime::io::scheduled_io::ScheduledIo::wake",
    "tokio::runtime::io::driver::Driver::turn",
];
/// Who wakes what waits for the clock, as versions and manglings call it.
pub(super) const CLOCK: [&str; 4] = [
    "tokio::runtime::time::process_at_time",
    "tokio::runtime::time::handle::Handle::process_at_time",
    "tokio::runtime::time::process_at_sharded_time",
    "tokio::runtime::time::handle::Handle::process_at_sharded_time",
];
/// Polls a task: one function for each kind of task.
const POLL: &str = "tokio::runtime::task::raw::poll";
/// Kinds of tasks that are looked at, and how few are so one by one where they need not.
const MOST_KINDS: usize = 256;
const FEW_KINDS: usize = 32;

/// How the time of tasks is told.
pub(super) struct Timed {
    /// Words of the plan, and their places.
    pub(super) words: [(usize, u64); 3],
    pub(super) points: Vec<Watch>,
}

impl Program<'_> {
    /// `numbered` says that a task's number can be read from its header.
    pub(super) fn timed(&self, numbered: bool) -> Result<Timed, &'static str> {
        if !numbered {
            return Err("their numbers cannot be read");
        }
        let leaves = self.watched(LEAVES, self.all(LEAVE));
        let mut points = leaves.ok_or("where they end to run cannot be seen")?;
        // A number is put in its place for what is done when a task is over, too, so that polls are fewer.
        let kinds = self.kinds().unwrap_or_default();
        let polls = |most| (kinds.len() <= most).then(|| self.watched(POLLS, &kinds)).flatten();
        let begins = polls(FEW_KINDS)
            .or_else(|| self.watched(ENTERS, self.all(ENTER)))
            .or_else(|| polls(MOST_KINDS));
        points.extend(begins.ok_or("where they begin to run cannot be seen")?);
        const UNSEEN: &str = "where they are woken cannot be seen";
        let woken = self.only(WAKE_BY_VALUE).and_then(|wake| self.watch(WOKEN, wake));
        let woken = woken.ok_or(UNSEEN)?;
        let called = self.only(WAKE_BY_REFERENCE).and_then(|wake| self.kept(wake));
        points.extend([woken, called.ok_or(UNSEEN)?]);
        // A thread of a runtime is a task itself: a driver that is not known would be taken for another task.
        let straight = self.all(WAKE_ALL).is_empty() && !self.is_plain();
        let code = |names: &[&str]| {
            let mut found = names.iter().filter_map(|name| self.only(name));
            let function = found.next().filter(|_| straight)?;
            Some(code_range(function.address, u16::try_from(function.size).ok()?))
        };
        const NO_DRIVERS: &str = "whether it is the network or the clock that wakes them cannot be seen";
        Ok(Timed {
            words: [
                (TOKIO_TIMED, woken.1),
                (TOKIO_NETWORK, code(&NETWORK).ok_or(NO_DRIVERS)?),
                (TOKIO_CLOCK, code(&CLOCK).ok_or(NO_DRIVERS)?),
            ],
            points,
        })
    }

    /// Probes at the beginnings of all these functions; none if one has none, or there are no functions.
    fn watched(&self, program: &'static str, functions: &[Function]) -> Option<Vec<Watch>> {
        let points = functions.iter().map(|function| self.watch(program, function));
        points.collect::<Option<Vec<_>>>().filter(|points| !points.is_empty())
    }

    /// The functions that poll tasks, of every kind.
    fn kinds(&self) -> Option<Vec<Function>> {
        let mut found = self.functions.named(&["tokio"], &[POLL], CHANNELS)?;
        found.remove(POLL)
    }

    /// A probe in a function while it has its first argument, wherever its stack is.
    fn kept(&self, function: &Function) -> Option<Watch> {
        let (code, address) = (self.code(function)?, function.address);
        let plain = || self.is_plain().then(|| flow::unoptimized(&code, address))?;
        Some((CALLED, flow::emulated_with_first(&code, address).or_else(plain)?))
    }
}
