//! Contexts in headers that a program passes on as they came.
//!
//! A context names one span, so the request that carries it and the one it came with are of one piece of work, whatever ran in
//! between. What can deceive, and why it does not:
//!
//! * Several inbound requests of a process came with it: whoever sent them passes on what came, too. Nothing is claimed.
//! * The process made it: it asks itself, by way of somebody that is not seen, and asks again after that request came. So a process
//!   that puts contexts of its own on requests is not judged.
//! * The request it came with is older than Clew or its events were lost, and a later one came with the same: nothing is claimed for as
//!   long as most requests take.
use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::{Candidate, Causality, Found, Sent, Source, thread_of};
use crate::capture::Pid;
use crate::span::{RemoteContext, SpanKey};
use crate::trace::recent::Recent;

/// Contexts that are remembered.
const MAX_CONTEXTS: usize = 65_536;
/// For how long a process is taken to make contexts after it made one, in nanoseconds.
const MAKES_NS: u64 = 60_000_000_000;

/// A process, and the trace and span that a header named.
type Named = (Pid, [u8; 16], [u8; 8]);

/// What a context on a request that a process sends says of whom it is sent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::trace) enum Carries {
    /// It carries none, or one that is not known to have come in.
    Nothing,
    /// It came with this inbound request alone.
    From(SpanKey),
    /// It came in, with which inbound request is not known.
    Unclear,
}

/// The contexts that came in.
#[derive(Debug)]
pub(super) struct Passed {
    /// The inbound request that each came with; none where several did.
    came: Recent<Named, Option<SpanKey>>,
    /// Until when processes are taken to make contexts, `CLOCK_MONOTONIC` nanoseconds.
    makers: HashMap<Pid, u64, RandomState>,
}

impl Default for Passed {
    fn default() -> Self {
        Self {
            came: Recent::of(MAX_CONTEXTS),
            makers: HashMap::default(),
        }
    }
}

impl Passed {
    pub(super) fn exited(&mut self, pid: Pid) {
        self.makers.remove(&pid);
    }
}

impl Causality {
    /// An inbound request of a process came with a context.
    pub(in crate::trace) fn came(&mut self, span: SpanKey, pid: Pid, context: &RemoteContext) {
        let named = named(pid, context);
        let alone = self.passed.came.get(&named).is_none();
        self.passed.came.insert(named, alone.then_some(span));
    }

    /// What the context says that a process puts on a request at `now_ns`.
    pub(in crate::trace) fn carries(&mut self, pid: Pid, context: &RemoteContext, now_ns: u64) -> Carries {
        let makers = &mut self.passed.makers;
        let Some(came) = self.passed.came.get(&named(pid, context)) else {
            makers.insert(pid, now_ns.saturating_add(MAKES_NS));
            return Carries::Nothing;
        };
        let makes = makers.get(&pid).is_some_and(|until| now_ns < *until);
        let unseen = now_ns < self.unseen_until_ns || self.older.get(&pid).is_some_and(|until| now_ns < *until);
        match came {
            Some(_) if makes => Carries::Nothing,
            Some(span) if !unseen => Carries::From(*span),
            Some(_) | None => Carries::Unclear,
        }
    }
}

/// What was found, and what the context on it says. Where they name different requests, neither is believed.
pub(super) fn agreed(found: Found, sent: &Sent) -> Found {
    let parent = match sent.carries {
        Carries::From(parent) => parent,
        Carries::Unclear if found.parent().is_none() => return Found::Unknown("causality.unknown.ambiguous"),
        Carries::Unclear | Carries::Nothing => return found,
    };
    match found {
        Found::Candidate(found) if found.parent != parent => Found::Unknown("causality.unknown.conflict"),
        // The others hold only as long as nothing speaks against them.
        Found::Candidate(Candidate {
            source: Source::Context(_) | Source::Handed,
            ..
        }) => found,
        _ => Found::Candidate(Candidate {
            parent,
            source: Source::Header,
            tid: thread_of(&sent.actor),
            late: true,
            decided_ns: sent.time_ns,
            sent_ns: sent.time_ns,
        }),
    }
}

const fn named(pid: Pid, context: &RemoteContext) -> Named {
    (pid, context.trace_id, context.span_id)
}
