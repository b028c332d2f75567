//! Threads: which one an operation was done by, and what is known of it.
use clew_common::event::{JAVA_VIRTUAL, TURN_POLLED};

use super::contexts::Served;
use super::retries::Retries;
use crate::capture::{Actor, Context, Pid};
use crate::discover::Runtime;
use crate::span::SpanKey;

/// A thread of a process: the kernel's number, or that of a virtual thread as the kernel side tells it.
pub(super) type Tid = (Pid, u64);

pub(super) fn thread_of(actor: &Actor) -> Tid {
    match actor.context {
        Context::Java(id) if id & JAVA_VIRTUAL != 0 => (actor.pid, id),
        _ => (actor.pid, u64::from(actor.tid)),
    }
}

/// The round of the event loop that the thread runs. What carries virtual threads may wait for many; they do not.
pub(super) const fn turn_of(actor: &Actor) -> u32 {
    match actor.context {
        Context::Java(id) if id & JAVA_VIRTUAL != 0 => 0,
        _ => actor.turn,
    }
}

/// What is known of a thread.
#[derive(Debug, Default)]
pub(super) struct Thread {
    /// Inbound requests whose head this thread read and that have no end yet.
    pub(super) open: Vec<Served>,
    /// It has waited for readiness since it is traced.
    pub(super) waits: bool,
    /// The inbound request its last operation, a read, was for, and the round of its loop.
    pub(super) last: Option<(SpanKey, u32)>,
    /// The inbound request its last operation was for, and the round of its loop.
    pub(super) acted: Option<(SpanKey, u32)>,
    /// What it may send upstream again.
    pub(super) retries: Retries,
    /// It runs what others asked for while it waits.
    pub(super) helps: bool,
    /// It has read an inbound request.
    pub(super) reads: bool,
    /// It has answered an inbound request that another thread read.
    pub(super) answers_others: bool,
}

/// Whether a thread whose count of waits is this runs an event loop at all times: one that only polled may poll between
/// requests.
pub(super) const fn runs_loop(turn: u32) -> bool {
    turn != 0 && turn & TURN_POLLED == 0
}

/// Whether a thread may stand for a request.
pub(crate) const fn serves_by_thread(runtime: Runtime, context: Context) -> bool {
    match context {
        Context::Unknown => false,
        Context::Java(_) => true,
        _ => matches!(
            runtime,
            Runtime::Native | Runtime::Python | Runtime::Java | Runtime::Ruby | Runtime::Php
        ),
    }
}
