//! Which inbound request a thread works for when it sends a request of its own.
//!
//! What is claimed, and why it is true:
//!
//! * **Context** (goroutine, task, async context): a request sent in the context that read an inbound request belongs to it.
//!   The runtime itself says so.
//! * **Thread**: a request sent by a thread that has exactly one inbound request open belongs to it, if the thread serves one
//!   request at a time. A thread that waits for readiness with epoll may serve many and is never trusted, from the inbound
//!   request's head to its end; nor is one that touches another client's connection in between, nor one whose inbound
//!   request is ended by another thread, nor, in compiled programs, any thread of a process that has such a loop at all: its
//!   pools hand requests from thread to thread. Runtimes whose scheduler moves requests between threads (Go, Rust's, Node)
//!   are never trusted by thread.
//! * **Upstream** (nginx, Envoy): an event loop that forwards. What it does directly behind an operation for an inbound
//!   request, within the same round of its loop, it does for that request. A request to an upstream server is taken for the
//!   inbound request whose operation came last on the thread, in the same round, if that one has no other upstream request
//!   open; for a new connection the moment of connect(2) counts.
use std::collections::HashMap;

use crate::capture::{Actor, ConnId, Context, Direction, Pid};
use crate::discover::Runtime;
use crate::span::SpanKey;

/// Threads that are remembered.
const MAX_THREADS: usize = 65_536;
/// Connections being opened that are remembered.
const MAX_RESERVED: usize = 16_384;

/// A thread of a process.
type Tid = (Pid, u32);

/// How a parent was found, as `clew.parent.source` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// One request a thread.
    Thread,
    /// An event loop that forwards.
    Upstream,
    /// The runtime's own notion of what runs.
    Context(&'static str),
}

impl Source {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Thread => "thread",
            Self::Upstream => "upstream",
            Self::Context(name) => name,
        }
    }
}

/// What a request that was sent may belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) parent: SpanKey,
    pub(super) source: Source,
    tid: Tid,
}

/// The outcome of looking for a parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It may belong to this one.
    Candidate(Candidate),
    /// The process serves nothing at the moment: the request is of its own accord.
    Root,
    /// It cannot be told; the counter says why.
    Unknown(&'static str),
}

/// Everything known of who works for whom.
#[derive(Debug, Default)]
pub(super) struct Causality {
    threads: HashMap<Tid, Thread>,
    processes: HashMap<Pid, Process>,
    contexts: HashMap<(Pid, u16, u64), SpanKey>,
    inbound: HashMap<SpanKey, Inbound>,
    /// The inbound request that is being read or answered on a connection, the last one where they are pipelined.
    serving: HashMap<ConnId, SpanKey>,
    /// The candidate of the request that is open on an outbound connection.
    asking: HashMap<ConnId, Asking>,
    reserved: HashMap<ConnId, Candidate>,
}

#[derive(Debug, Default)]
struct Thread {
    /// Inbound requests whose head this thread read and that have no end yet.
    open: Vec<SpanKey>,
    /// It has waited for readiness since it is traced.
    waits: bool,
    /// The inbound request its last operation was for, and the round of its loop.
    last: Option<(SpanKey, u32)>,
}

#[derive(Debug, Default)]
struct Process {
    /// Inbound requests without an end.
    open: usize,
    /// One of its threads waits for readiness.
    has_loop: bool,
}

#[derive(Debug)]
struct Inbound {
    tid: Tid,
    conn: ConnId,
    context: Option<(u16, u64)>,
    /// Upstream requests that are open.
    upstream: usize,
    /// Something was seen that a thread serving this request alone would not do.
    tainted: bool,
    ended: bool,
    /// Requests that may belong to it and are not settled.
    users: usize,
}

#[derive(Clone, Copy, Debug)]
struct Asking {
    span: SpanKey,
    parent: Option<SpanKey>,
}

impl Causality {
    /// An operation on a connection, told before what it carried: it moved at least one byte.
    pub(super) fn operation(&mut self, conn: ConnId, actor: &Actor, direction: Direction) {
        let tid = (actor.pid, actor.tid);
        let serving = self.serving.get(&conn).copied();
        let owner = serving.or_else(|| self.asking.get(&conn).and_then(|asking| asking.parent));
        if actor.turn != 0 {
            self.processes.entry(actor.pid).or_default().has_loop = true;
        }
        let Some(thread) = self.thread(tid) else { return };
        thread.waits |= actor.turn != 0;
        match owner {
            Some(owner) => thread.last = Some((owner, actor.turn)),
            // Bytes from somewhere unknown: what follows is for someone else.
            None if direction == Direction::Ingress => thread.last = None,
            None => {}
        }
        // The thread touches another client's connection: it serves more than one.
        if let Some(serving) = serving {
            let others: Vec<SpanKey> = thread.open.iter().copied().filter(|open| *open != serving).collect();
            for other in others {
                self.taint(other);
            }
        }
    }

    /// connect(2) was called for `conn`.
    pub(super) fn connecting(&mut self, conn: ConnId, actor: &Actor, runtime: Runtime) {
        if !forwards(runtime) || self.reserved.len() >= MAX_RESERVED {
            return;
        }
        if let Found::Candidate(candidate) = self.upstream((actor.pid, actor.tid), actor.turn) {
            self.reserved.insert(conn, candidate);
        }
    }

    /// The head of an inbound request was read.
    pub(super) fn inbound(&mut self, span: SpanKey, conn: ConnId, actor: &Actor) {
        let tid = (actor.pid, actor.tid);
        let context = key(actor.context);
        if let Some((kind, id)) = context {
            self.contexts.insert((actor.pid, kind, id), span);
        }
        self.processes.entry(actor.pid).or_default().open += 1;
        let mut others = Vec::new();
        if let Some(thread) = self.thread(tid) {
            others.clone_from(&thread.open);
            thread.open.push(span);
            thread.last = Some((span, actor.turn));
        }
        // Two at once on one thread: it is an event loop, whatever it looks like.
        let tainted = !others.is_empty() || actor.turn != 0;
        for other in others {
            self.taint(other);
        }
        self.serving.insert(conn, span);
        self.inbound.insert(
            span,
            Inbound {
                tid,
                conn,
                context,
                upstream: 0,
                tainted,
                ended: false,
                users: 0,
            },
        );
    }

    /// The head of a request was sent: whom it is for.
    pub(super) fn outbound(&mut self, span: SpanKey, conn: ConnId, actor: &Actor, runtime: Runtime) -> Found {
        let found = self.find(conn, actor, runtime);
        let parent = match found {
            Found::Candidate(candidate) => Some(candidate.parent),
            Found::Root | Found::Unknown(_) => None,
        };
        if let Some(inbound) = parent.and_then(|parent| self.inbound.get_mut(&parent)) {
            inbound.users += 1;
            inbound.upstream += 1;
        }
        self.asking.insert(conn, Asking { span, parent });
        if let Some(parent) = parent
            && let Some(thread) = self.thread((actor.pid, actor.tid))
        {
            thread.last = Some((parent, actor.turn));
        }
        found
    }

    fn find(&mut self, conn: ConnId, actor: &Actor, runtime: Runtime) -> Found {
        let tid = (actor.pid, actor.tid);
        let busy = self.processes.get(&actor.pid).is_some_and(|process| process.open > 0);
        if let Some((kind, id)) = key(actor.context) {
            return match self.contexts.get(&(actor.pid, kind, id)) {
                Some(parent) => Found::Candidate(Candidate {
                    parent: *parent,
                    source: Source::Context(kind_name(kind)),
                    tid,
                }),
                None if busy => Found::Unknown("causality.unknown.context"),
                None => Found::Root,
            };
        }
        if forwards(runtime) {
            if let Some(candidate) = self.reserved.remove(&conn) {
                let open = self
                    .inbound
                    .get(&candidate.parent)
                    .is_some_and(|inbound| !inbound.ended);
                return if open {
                    Found::Candidate(candidate)
                } else {
                    Found::Unknown("causality.unknown.upstream")
                };
            }
            return if busy {
                self.upstream(tid, actor.turn)
            } else {
                Found::Root
            };
        }
        if !busy {
            return Found::Root;
        }
        if !serves_by_thread(runtime) || actor.context == Context::Unknown {
            return Found::Unknown("causality.unknown.runtime");
        }
        match self.threads.get(&tid).map(|thread| thread.open.as_slice()) {
            Some([parent]) => Found::Candidate(Candidate {
                parent: *parent,
                source: Source::Thread,
                tid,
            }),
            Some([]) | None => Found::Unknown("causality.unknown.thread"),
            Some(_) => Found::Unknown("causality.unknown.ambiguous"),
        }
    }

    fn upstream(&self, tid: Tid, turn: u32) -> Found {
        let last = self.threads.get(&tid).and_then(|thread| thread.last);
        let Some((parent, at)) = last.filter(|(_, at)| *at == turn && turn != 0) else {
            return Found::Unknown("causality.unknown.upstream");
        };
        let _same_turn = at;
        match self.inbound.get(&parent) {
            Some(inbound) if !inbound.ended && inbound.upstream == 0 => Found::Candidate(Candidate {
                parent,
                source: Source::Upstream,
                tid,
            }),
            _ => Found::Unknown("causality.unknown.upstream"),
        }
    }

    /// The inbound request has ended; `actor` passed its last byte.
    pub(super) fn inbound_ended(&mut self, span: SpanKey, actor: &Actor) {
        let Some(inbound) = self.inbound.get_mut(&span) else {
            return;
        };
        inbound.ended = true;
        inbound.tainted |= inbound.tid != (actor.pid, actor.tid) || actor.turn != 0;
        let (tid, conn, context) = (inbound.tid, inbound.conn, inbound.context);
        if let Some(thread) = self.threads.get_mut(&tid) {
            thread.open.retain(|open| *open != span);
        }
        if let Some(process) = self.processes.get_mut(&tid.0) {
            process.open = process.open.saturating_sub(1);
        }
        if self.serving.get(&conn) == Some(&span) {
            self.serving.remove(&conn);
        }
        if let Some((kind, id)) = context
            && self.contexts.get(&(tid.0, kind, id)) == Some(&span)
        {
            self.contexts.remove(&(tid.0, kind, id));
        }
        self.drop_unused(span);
    }

    /// A request that was sent has its answer.
    pub(super) fn outbound_ended(&mut self, span: SpanKey, conn: ConnId, candidate: Option<Candidate>) {
        if self.asking.get(&conn).is_some_and(|asking| asking.span == span) {
            self.asking.remove(&conn);
        }
        if let Some(inbound) = candidate.and_then(|candidate| self.inbound.get_mut(&candidate.parent)) {
            inbound.upstream = inbound.upstream.saturating_sub(1);
        }
    }

    /// Whether the inbound request of a candidate is over, so that it can be judged.
    pub(super) fn is_ripe(&self, candidate: &Candidate) -> bool {
        candidate.source != Source::Thread || self.inbound.get(&candidate.parent).is_none_or(|inbound| inbound.ended)
    }

    /// Whether a candidate holds, now that everything about it was seen.
    pub(super) fn holds(&self, candidate: &Candidate, runtime: Runtime) -> Result<(), &'static str> {
        if candidate.source != Source::Thread {
            return Ok(());
        }
        let tainted = self
            .inbound
            .get(&candidate.parent)
            .is_none_or(|inbound| inbound.tainted);
        let waits = self.threads.get(&candidate.tid).is_some_and(|thread| thread.waits);
        let looped = matches!(runtime, Runtime::Native)
            && self
                .processes
                .get(&candidate.tid.0)
                .is_some_and(|process| process.has_loop);
        if tainted || waits || looped {
            Err("causality.unknown.event_loop")
        } else {
            Ok(())
        }
    }

    /// A request that may have belonged to `candidate` is settled.
    pub(super) fn settled(&mut self, candidate: &Candidate) {
        if let Some(inbound) = self.inbound.get_mut(&candidate.parent) {
            inbound.users = inbound.users.saturating_sub(1);
        }
        self.drop_unused(candidate.parent);
    }

    /// A connection is over.
    pub(super) fn closed(&mut self, conn: ConnId) {
        self.reserved.remove(&conn);
        self.asking.remove(&conn);
        self.serving.remove(&conn);
    }

    /// A process is over.
    pub(super) fn exited(&mut self, pid: Pid) {
        self.threads
            .retain(|(process, _), thread| *process != pid || !thread.open.is_empty());
        self.processes.remove(&pid);
    }

    fn drop_unused(&mut self, span: SpanKey) {
        if self
            .inbound
            .get(&span)
            .is_some_and(|inbound| inbound.ended && inbound.users == 0)
        {
            self.inbound.remove(&span);
        }
    }

    fn taint(&mut self, span: SpanKey) {
        if let Some(inbound) = self.inbound.get_mut(&span) {
            inbound.tainted = true;
        }
    }

    /// The thread's state; none when there are too many threads.
    fn thread(&mut self, tid: Tid) -> Option<&mut Thread> {
        if self.threads.len() >= MAX_THREADS && !self.threads.contains_key(&tid) {
            self.threads.retain(|_, thread| !thread.open.is_empty());
            if self.threads.len() >= MAX_THREADS {
                return None;
            }
        }
        Some(self.threads.entry(tid).or_default())
    }
}

/// Event loops that forward what they read.
const fn forwards(runtime: Runtime) -> bool {
    matches!(runtime, Runtime::Nginx | Runtime::Envoy)
}

/// Runtimes in which a thread may stand for a request.
const fn serves_by_thread(runtime: Runtime) -> bool {
    matches!(
        runtime,
        Runtime::Native | Runtime::Python | Runtime::Java | Runtime::Ruby | Runtime::Php
    )
}

/// A context below the thread, as a number.
const fn key(context: Context) -> Option<(u16, u64)> {
    match context {
        Context::Goroutine(id) => Some((1, id)),
        Context::Python(id) => Some((2, id)),
        Context::Tokio(id) => Some((3, id)),
        Context::Node(id) => Some((4, id)),
        Context::Java(id) => Some((5, id)),
        Context::Thread | Context::Unknown => None,
    }
}

const fn kind_name(kind: u16) -> &'static str {
    match kind {
        1 => "goroutine",
        2 => "context",
        3 => "task",
        4 => "async",
        _ => "thread",
    }
}
