//! Which inbound request a thread works for when it sends a request of its own.
//!
//! What is claimed, and why it is true:
//!
//! * **Context** (goroutine, task, async context): a request sent in the context that read an inbound request belongs to it.
//!   The runtime itself says so. A context that has requests of two connections open at once says nothing. A context that has
//!   read none works for the request its creator worked for, for a minute also after that one is over. Work that Python hands to a pool of
//!   threads is a context, too; what a thread hands out that runs none is judged as if the thread did it itself.
//! * **Thread**: a request sent by a thread that has exactly one inbound request open belongs to it, if the thread serves one
//!   request at a time. A thread that waits for readiness with epoll may serve many and is never trusted, from the inbound
//!   request's head to its end; nor is one that waits with poll or select for a client beside other descriptors in between, nor
//!   one that touches another client's connection in between or reads the answer to a
//!   request it sent before, nor one whose inbound request is ended by another thread, nor, in compiled programs, any thread of a process that has such a loop at all: its
//!   pools hand requests from thread to thread. Nor is a thread trusted that may run what another request asked for: a worker of
//!   Java's `ForkJoinPool`; any thread of a process that has the common pool, whose tasks are run by whoever waits for a
//!   `CompletableFuture`; and any of a process in which one thread both read requests and answered what others read, for then
//!   requests and their tasks share a pool. Runtimes whose scheduler moves requests between threads (Go, Rust's, Node)
//!   are never trusted by thread.
//!   Java's virtual threads, of which many share a thread of the kernel, are threads here. Since Java 21 a thread is only
//!   trusted where it was read which of them runs.
//! * **Taken over** (puma): a reactor reads requests and hands them to threads. Before a thread serves a request it asks whether
//!   the client is still there (TCP_INFO), whoever read the request: from then on it serves that request, as if it had read it
//!   itself.
//! * **Upstream** (nginx, Envoy): an event loop that forwards. What it does directly behind an operation for an inbound
//!   request, within the same round of its loop, it does for that request. A request to an upstream server is taken for the
//!   inbound request for which the thread read last, in the same round and with nothing in between, if that one has no other
//!   upstream request open; for a new connection the moment of connect(2) counts. A request that failed upstream may be sent
//!   again at any time, also by a timer that no operation shows: while one may be, nothing is linked to another
//!   (`retries`).
//! * **Alone** (Envoy): what is written for a request is sent in a later round, and a request that waits for a connection is
//!   sent when another's is free, so neither rounds nor connections tell. But a worker thread forwards only what it read: a
//!   request it sends belongs to the inbound one that has been sent nowhere yet, if there is just one, and if no more requests
//!   were sent while that was open than there were inbound ones to send them for.
//! * **Header**: a trace context that came with one request of a process alone, and that the process puts on one of its own, is of that
//!   request (`passed`).
//!
//! Whoever may serve a request of which nobody saw that it was read, because it is older than Clew or events were lost, cannot be handed
//! another's work: that is unknown for as long as most requests take.
//!
//! Requests that wait behind each other on one connection are served in their order (RFC 9112 section 9.3.2): the first
//! without an answer is the one being served. And whatever the evidence, a request is only sent for one that was open then.
//!
//! What can still deceive it: a program that serves several connections on one thread, never two requests at once, waits for
//! none of it in the kernel (it asks each socket again and again), and sends a request for a purpose of its own while it
//! serves one; and an Envoy that answers a request itself after it had been held back, while it sends one of its own; and a thread
//! that, while it serves a request, completes a future on which another request's call waits: the call is then made on it.
mod forward;
mod handed;
mod inbound;
mod logged;
mod openings;
mod passed;
mod pools;
mod streams;
mod tasks;

use std::collections::{HashMap, VecDeque};

use clew_common::event::JAVA_VIRTUAL;
use foldhash::fast::RandomState;

use self::handed::Handed;
use self::inbound::{Ended, Inbound};
pub(super) use self::passed::Carries;
use self::passed::{Passed, agreed};
use super::contexts::{self, Ambiguous, Contexts, Served, Works, served};
use super::families::Families;
use super::threads::{Thread, Tid, runs_loop, serves_by_thread, thread_of, turn_of};
use crate::capture::{Actor, ConnId, Context, Direction, Pid};
use crate::discover::Runtime;
use crate::span::SpanKey;

/// How long after a request was over what it started is taken to work for it, in nanoseconds. What goes on longer, a poller or a worker
/// that the first request started, works for whoever needs it.
const LATE_NS: u64 = 60_000_000_000;
/// How long most requests take at most, in nanoseconds.
const IN_FLIGHT_NS: u64 = 10_000_000_000;
/// Threads that are remembered.
const MAX_THREADS: usize = 65_536;
/// Connections being opened that are remembered.
const MAX_RESERVED: usize = 16_384;

/// Overlapping requests that are remembered.
const MAX_OVERLAPPED: usize = 1024;

/// How a parent was found, as `clew.parent.source` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// One request a thread.
    Thread,
    /// An event loop that forwards.
    Upstream,
    /// The only inbound request of a forwarding thread that has been sent nowhere.
    Alone,
    /// The runtime's own notion of what runs.
    Context(&'static str),
    /// The context in its header is the one that the request came with.
    Header,
    /// What the thread took out of a pipe.
    Handed,
}

impl Source {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Thread => "thread",
            Self::Upstream | Self::Alone => "upstream",
            Self::Context(name) => name,
            Self::Header => "header",
            Self::Handed => "pipe",
        }
    }
}

/// What a request that was sent may belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) parent: SpanKey,
    pub(super) source: Source,
    tid: Tid,
    /// The inbound request may have been over when it was sent.
    late: bool,
    /// When it was decided to send it: connect(2), or the request itself.
    decided_ns: u64,
    /// When the request was sent.
    sent_ns: u64,
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

impl Candidate {
    /// It is what an event loop did last.
    pub(super) const fn is_of_loop(&self) -> bool {
        matches!(self.source, Source::Upstream)
    }

    /// It is told by what was sent, whoever sent it.
    pub(super) const fn is_by_header(&self) -> bool {
        matches!(self.source, Source::Header)
    }
}

impl Found {
    const fn parent(&self) -> Option<SpanKey> {
        match self {
            Self::Candidate(candidate) => Some(candidate.parent),
            Self::Root | Self::Unknown(_) => None,
        }
    }
}

/// Everything known of who works for whom.
#[derive(Debug, Default)]
pub(super) struct Causality {
    threads: HashMap<Tid, Thread, RandomState>,
    processes: HashMap<Pid, Process, RandomState>,
    /// Processes that ran before they were traced, and until when what they ask may be for requests that nobody saw begin.
    older: HashMap<Pid, u64>,
    contexts: Contexts,
    families: Families,
    /// Inbound requests that were read while another of their connection was open, the newest last.
    overlapped: VecDeque<SpanKey>,
    /// When requests ended, in nanoseconds.
    ended: Ended,
    inbound: HashMap<SpanKey, Inbound, RandomState>,
    /// Inbound requests of a connection without an end; the first is being served.
    serving: HashMap<ConnId, VecDeque<SpanKey>, RandomState>,
    /// The candidate of the request that is open on an outbound connection.
    asking: HashMap<ConnId, Asking, RandomState>,
    reserved: HashMap<ConnId, Reserved, RandomState>,
    multiplexed: streams::Multiplexed,
    passed: Passed,
    handed: Handed,
    /// The inbound request that was read last.
    newest: Option<SpanKey>,
    /// The last that was read before events were lost.
    distrusted: Option<SpanKey>,
    /// Until when requests may be in flight of which nobody saw that they were read, in any process.
    unseen_until_ns: u64,
}

/// A connection that an event loop is opening, and what its first request will belong to.
#[derive(Clone, Copy, Debug)]
struct Reserved {
    tid: Tid,
    found: Found,
}

#[derive(Debug, Default)]
struct Process {
    /// Inbound requests without an end.
    open: usize,
    /// Those that came with others on one connection.
    streams: usize,
    /// Those of which it is not known which context read them.
    unread: usize,
    /// One of its threads waits for readiness.
    has_loop: bool,
    /// Its threads tell which request they take over.
    takes_over: bool,
    /// Any of its threads may run what another request asked for.
    pools: bool,
}

/// Who read a request's head, and when it began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    pub(super) actor: Actor,
    pub(super) start_ns: u64,
    /// Its stream, on a connection that carries many at once.
    pub(super) stream: Option<u32>,
    /// Of a stream: the context in which Node.js serves it.
    pub(super) stream_context: Option<Context>,
}

/// Who sent a request, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) actor: Actor,
    pub(super) time_ns: u64,
    /// Its stream, on a connection that carries many at once.
    pub(super) stream: Option<u32>,
    /// Of a stream: the context by which Node.js names the connection.
    pub(super) stream_context: Option<Context>,
    /// For a broker, on a connection that all of a program may share.
    pub(super) is_message: bool,
    /// What the context on it says.
    pub(super) carries: Carries,
}

#[derive(Clone, Copy, Debug)]
struct Asking {
    span: SpanKey,
    parent: Option<SpanKey>,
    /// Who sent it, if that is an event loop that forwards.
    forwarder: Option<Tid>,
}

impl Causality {
    /// An operation on a connection, told before what it carried: it moved at least one byte or, in an event loop that
    /// forwards, told of an end.
    pub(super) fn operation(&mut self, conn: ConnId, actor: &Actor, direction: Direction) {
        let (tid, turn) = (thread_of(actor), turn_of(actor));
        let serving = self.serving.get(&conn).and_then(VecDeque::front).copied();
        let asking = self.asking.get(&conn).copied();
        if let Some(context) = contexts::key(actor.pid, actor.context) {
            self.contexts.acted(context);
            // More of a request that is being served: who has read it goes on with it.
            if let (Direction::Ingress, Some(span), true) = (direction, serving, contexts::is_handed(context)) {
                self.contexts.inherit(context, Works::After(span));
            }
        }
        let owner = serving.or_else(|| asking.and_then(|asking| asking.parent));
        if runs_loop(turn) {
            self.processes.entry(actor.pid).or_default().has_loop = true;
        }
        let multiplexed = self.multiplexed.contains(conn);
        let Some(thread) = self.thread(tid) else { return };
        thread.waits |= runs_loop(turn);
        thread.acted = owner.map(|owner| (owner, turn));
        match (direction, owner) {
            (Direction::Ingress, _) => thread.last = owner.map(|owner| (owner, turn)),
            (Direction::Egress, None) if multiplexed => thread.last = None,
            // What was read has had its consequence.
            (Direction::Egress, Some(owner)) => {
                thread.last = None;
                if serving.is_some() {
                    thread.retries.answered(owner);
                }
            }
            // The beginning of a request, which is judged by what was read.
            (Direction::Egress, None) => {}
        }
        let asked_for = asking.and_then(|asking| self.inbound.get(&asking.parent?));
        let asked_on = asked_for
            .filter(|inbound| inbound.is_open())
            .map(|inbound| inbound.conn);
        let Some(thread) = self.threads.get(&tid) else { return };
        for other in &thread.open {
            // The thread touches another client's connection, or reads an answer that does not concern this request: it
            // serves more than one.
            let touches_other = (serving.is_some() || multiplexed) && other.conn != conn;
            let reads_other = direction == Direction::Ingress
                && serving.is_none()
                && asking.is_some()
                && asked_on != Some(other.conn);
            if (touches_other || reads_other)
                && let Some(inbound) = self.inbound.get_mut(&other.span)
            {
                inbound.tainted = true;
            }
        }
    }

    /// An event loop sends a request upstream for `parent`.
    fn tried(&mut self, tid: Tid, parent: SpanKey) {
        if let Some(thread) = self.threads.get_mut(&tid) {
            thread.retries.tried(parent);
        }
    }

    /// A request that an event loop sent upstream, or the connection for it, came to nothing.
    fn failed(&mut self, tid: Tid, parent: Option<SpanKey>, now_ns: u64) {
        if let Some(thread) = self.threads.get_mut(&tid) {
            let open = thread.open.iter().map(|served| served.span);
            thread.retries.failed(parent, open, now_ns);
        }
    }

    /// Events were lost before `now_ns`. Whoever worked for a request may have read another since, or have been handed other work, and
    /// nothing would show it. What is read from here on is known again.
    pub(super) fn lost(&mut self, now_ns: u64) {
        self.distrusted = self.newest;
        self.handed.lost();
        self.unseen_until_ns = now_ns.saturating_add(IN_FLIGHT_NS);
    }

    /// What was found, unless events were lost since the request was read.
    fn certain(&self, found: Found) -> Found {
        match found.parent() {
            Some(parent) if self.distrusted.is_some_and(|last| parent <= last) => {
                Found::Unknown("causality.unknown.lost")
            }
            _ => found,
        }
    }

    /// The head of an inbound request was read, that began at `start_ns`.
    pub(super) fn inbound(&mut self, span: SpanKey, conn: ConnId, actor: &Actor, start_ns: u64) {
        let tid = thread_of(actor);
        // Node's contexts are named after how far their connection was read. Where a request waits behind another, Node may
        // look at it later, when more was read.
        let waits = self.serving.get(&conn).is_some_and(|queue| !queue.is_empty());
        let named_late = waits && matches!(actor.context, Context::Node(_));
        let context = contexts::key(actor.pid, actor.context).filter(|_| !named_late);
        let this = Served { span, conn };
        if let Some(context) = context {
            self.contexts.inbound(context, this);
        }
        let process = self.processes.entry(actor.pid).or_default();
        process.open += 1;
        process.unread += usize::from(context.is_none());
        self.families.request(conn, span);
        let queue = self.serving.entry(conn).or_default();
        queue.push_back(span);
        if queue.len() > 1 {
            self.overlapped.extend(queue.iter());
            let excess = self.overlapped.len().saturating_sub(MAX_OVERLAPPED);
            self.overlapped.drain(..excess);
        }
        let first = queue.front().copied().unwrap_or(span);
        let mut others = self.served_by(tid);
        others.retain(|other| other.conn != conn);
        let mut pools = false;
        if let Some(thread) = self.thread(tid) {
            thread.open.push(this);
            thread.reads = true;
            pools = thread.answers_others;
            thread.last = Some((first, turn_of(actor)));
            thread.acted = thread.last;
        }
        if pools {
            self.processes.entry(actor.pid).or_default().pools = true;
        }
        // Two at once on one thread: it is an event loop, whatever it looks like.
        let tainted = !others.is_empty() || runs_loop(turn_of(actor));
        for other in others {
            self.taint(other.span);
        }
        let inbound = Inbound {
            context,
            tainted,
            ..Inbound::new(tid, conn, turn_of(actor), start_ns)
        };
        self.remember(span, inbound);
    }

    /// Remembers a request that was read, whatever its connection carries.
    fn remember(&mut self, span: SpanKey, inbound: Inbound) {
        self.newest = self.newest.max(Some(span));
        self.inbound.insert(span, inbound);
    }

    /// A thread asked whether the client at the other end of `conn` is still there.
    pub(super) fn inspected(&mut self, conn: ConnId, actor: &Actor, runtime: Runtime) {
        if !matches!(runtime, Runtime::Ruby) {
            return;
        }
        let tid = thread_of(actor);
        let Some(span) = self.serving.get(&conn).and_then(VecDeque::front).copied() else {
            return;
        };
        let Some(inbound) = self.inbound.get_mut(&span).filter(|inbound| inbound.tid.0 == actor.pid) else {
            return;
        };
        let reader = std::mem::replace(&mut inbound.tid, tid);
        inbound.taken = true;
        inbound.turn = turn_of(actor);
        self.processes.entry(actor.pid).or_default().takes_over = true;
        if let Some(reader) = self.threads.get_mut(&reader) {
            reader.open.retain(|open| open.span != span);
        }
        let mut others = self.served_by(tid);
        others.retain(|other| other.conn != conn);
        let known = self.thread(tid).map(|thread| thread.open.push(Served { span, conn }));
        if let Some(inbound) = self.inbound.get_mut(&span) {
            // What the thread that read it did meanwhile was not done for it.
            inbound.tainted = known.is_none() || !others.is_empty() || runs_loop(turn_of(actor));
        }
        for other in others {
            self.taint(other.span);
        }
    }

    /// The inbound requests a thread may be serving: those it read or, where threads tell what they take over, took over.
    fn served_by(&self, tid: Tid) -> Vec<Served> {
        let Some(thread) = self.threads.get(&tid) else {
            return Vec::new();
        };
        let takes_over = self.processes.get(&tid.0).is_some_and(|process| process.takes_over);
        let serves = |open: &&Served| !takes_over || self.inbound.get(&open.span).is_some_and(|inbound| inbound.taken);
        thread.open.iter().filter(serves).copied().collect()
    }

    /// The head of a request was sent: whom it is for.
    pub(super) fn outbound(&mut self, span: SpanKey, conn: ConnId, sent: &Sent, runtime: Runtime) -> Found {
        let actor = &sent.actor;
        let found = agreed(self.find(conn, sent, runtime), sent);
        let found = self.certain(found);
        let parent = found.parent();
        if matches!(runtime, Runtime::Envoy) {
            self.doubt(thread_of(actor), &found);
        }
        let forwarder = forwards(runtime).then_some(thread_of(actor));
        if let (Some(tid), Some(parent)) = (forwarder, parent) {
            self.tried(tid, parent);
        }
        if let Some(inbound) = parent.and_then(|parent| self.inbound.get_mut(&parent)) {
            inbound.users += 1;
            inbound.upstream += 1;
            inbound.forwarded = true;
        }
        if sent.stream.is_none() || forwarder.is_some() {
            let asking = Asking {
                span,
                parent,
                forwarder,
            };
            self.asking.insert(conn, asking);
        }
        if parent.is_some()
            && let Some(thread) = self.thread(thread_of(actor))
        {
            thread.last = None;
        }
        found
    }

    fn find(&mut self, conn: ConnId, sent: &Sent, runtime: Runtime) -> Found {
        let Sent { actor, time_ns, .. } = sent;
        if let Some(stream) = sent.stream
            && let Some(found) = self.outbound_stream(sent, stream, runtime)
        {
            return found;
        }
        // Where a context can be read it tells more than the loop.
        let by_context = contexts::key(actor.pid, actor.context).is_some();
        if forwards(runtime) && !by_context {
            return self.forwarded(conn, actor, *time_ns, runtime);
        }
        self.find_by_actor(sent, runtime)
    }

    /// For whom something is done, by who does it.
    fn find_by_actor(&self, sent: &Sent, runtime: Runtime) -> Found {
        let actor = &sent.actor;
        if let Some(context) = contexts::key(actor.pid, actor.context) {
            let found = self.find_by_works(self.works(context), contexts::kind_name(context), sent);
            return self.by_handed(sent).filter(|_| found == Found::Root).unwrap_or(found);
        }
        if let Some(found) = self.by_handed(sent) {
            return found;
        }
        if !self.is_busy(actor.pid) {
            return self.unasked(actor.pid, sent.time_ns);
        }
        if !serves_by_thread(runtime, actor.context) {
            return Found::Unknown("causality.unknown.runtime");
        }
        let tid = thread_of(actor);
        match served(&self.served_by(tid)) {
            Some(Ok(parent)) => Found::Candidate(Candidate {
                parent,
                source: Source::Thread,
                tid,
                late: false,
                decided_ns: sent.time_ns,
                sent_ns: sent.time_ns,
            }),
            Some(Err(Ambiguous)) => Found::Unknown("causality.unknown.ambiguous"),
            None => Found::Unknown("causality.unknown.thread"),
        }
    }

    /// For whom something is done that a context of `kind` asks, by what that works for.
    fn find_by_works(&self, works: Result<Works, Ambiguous>, kind: &'static str, sent: &Sent) -> Found {
        let Sent { actor, time_ns, .. } = sent;
        let candidate = |parent, source, tid, late| {
            Found::Candidate(Candidate {
                parent,
                source,
                tid,
                late,
                decided_ns: *time_ns,
                sent_ns: *time_ns,
            })
        };
        let (tid, source) = (thread_of(actor), Source::Context(kind));
        match works {
            Ok(Works::For(parent)) => candidate(parent, source, tid, false),
            // It may be what writes for all, and have been started by the first who needed it.
            Ok(Works::After(_) | Works::Lent(_)) if sent.is_message => Found::Unknown("causality.unknown.multiplexed"),
            Ok(Works::After(parent)) => candidate(parent, source, tid, true),
            Ok(Works::Lent(parent)) => match self.inbound.get(&parent) {
                // As if its thread had sent it.
                Some(inbound) => candidate(parent, Source::Thread, inbound.tid, true),
                None => Found::Unknown("causality.unknown.thread"),
            },
            Err(Ambiguous) => Found::Unknown("causality.unknown.ambiguous"),
            Ok(Works::Itself) if !self.is_busy(actor.pid) => self.unasked(actor.pid, *time_ns),
            Ok(_) if self.serves_streams(actor.pid) => Found::Unknown("causality.unknown.multiplexed"),
            Ok(Works::Itself | Works::Unknown) => Found::Unknown("causality.unknown.context"),
        }
    }

    /// Whether a process has an inbound request open.
    fn is_busy(&self, pid: Pid) -> bool {
        self.processes.get(&pid).is_some_and(|process| process.open > 0)
    }

    /// What nobody asked for, as far as was seen.
    fn unasked(&self, pid: Pid, time_ns: u64) -> Found {
        match self.older.get(&pid) {
            Some(until) if time_ns < *until => Found::Unknown("causality.unknown.older"),
            _ if time_ns < self.unseen_until_ns => Found::Unknown("causality.unknown.lost"),
            _ => Found::Root,
        }
    }

    fn is_unsent(&self, span: SpanKey) -> bool {
        self.inbound
            .get(&span)
            .is_some_and(|inbound| inbound.is_open() && inbound.upstream == 0)
    }

    /// A forwarding thread sends a request, of which `found` was found, that no inbound request needs to be sent for: one it
    /// sent before, or this one, is for another purpose.
    fn doubt(&mut self, tid: Tid, found: &Found) {
        let Some(thread) = self.threads.get(&tid) else { return };
        let doubtful: Vec<SpanKey> = match found {
            Found::Candidate(candidate) => {
                let parent = candidate.parent;
                let twice = self.inbound.get(&parent).is_some_and(|inbound| inbound.forwarded);
                (twice && !thread.retries.is_due(parent))
                    .then_some(parent)
                    .into_iter()
                    .collect()
            }
            Found::Unknown(_) if !thread.open.iter().any(|open| self.is_unsent(open.span)) => {
                thread.open.iter().map(|open| open.span).collect()
            }
            Found::Root | Found::Unknown(_) => Vec::new(),
        };
        for span in doubtful {
            if let Some(inbound) = self.inbound.get_mut(&span) {
                inbound.doubted = true;
            }
        }
    }

    /// The inbound request has ended at `end_ns`, `answered` whole; `actor` passed its last byte.
    pub(super) fn inbound_ended(&mut self, span: SpanKey, actor: &Actor, end_ns: u64, answered: bool) {
        self.answered_for(span, actor, answered);
        let Some(inbound) = self.inbound.get_mut(&span) else {
            return;
        };
        inbound.end_ns = Some(end_ns);
        self.ended.0.insert(span, end_ns);
        // Who has waited for several things since it began to serve may have served another.
        let waited = runs_loop(turn_of(actor)) || turn_of(actor) != inbound.turn;
        inbound.tainted |= inbound.tid != thread_of(actor) || waited;
        let (tid, conn, context) = (inbound.tid, inbound.conn, inbound.context);
        let multiplexed = inbound.multiplexed;
        if let Some(thread) = self.threads.get_mut(&tid) {
            thread.open.retain(|open| open.span != span);
            thread.retries.answered(span);
        }
        if let Some(process) = self.processes.get_mut(&tid.0) {
            process.open = process.open.saturating_sub(1);
            process.streams = process.streams.saturating_sub(usize::from(multiplexed));
            let unread = context.is_none() && !multiplexed;
            process.unread = process.unread.saturating_sub(usize::from(unread));
        }
        if let Some(queue) = self.serving.get_mut(&conn) {
            // The empty queue stays for the connection's next request.
            queue.retain(|open| *open != span);
        }
        if let Some(context) = context {
            self.contexts.ended(context, span);
        }
        self.drop_unused(span);
    }

    /// A request that was sent has its answer or, where it `failed_ns`, will have none.
    pub(super) fn outbound_ended(
        &mut self,
        span: SpanKey,
        conn: ConnId,
        candidate: Option<Candidate>,
        failed_ns: Option<u64>,
    ) {
        if let Some(asking) = self.asking.get(&conn).copied().filter(|asking| asking.span == span) {
            self.asking.remove(&conn);
            if let (Some(tid), Some(failed_ns)) = (asking.forwarder, failed_ns) {
                self.failed(tid, asking.parent, failed_ns);
            }
        }
        if let Some(inbound) = candidate.and_then(|candidate| self.inbound.get_mut(&candidate.parent)) {
            inbound.upstream = inbound.upstream.saturating_sub(1);
        }
    }

    /// Whether the inbound request of a candidate is over, so that it can be judged.
    pub(super) fn is_ripe(&self, candidate: &Candidate) -> bool {
        !matches!(candidate.source, Source::Thread | Source::Alone)
            || self
                .inbound
                .get(&candidate.parent)
                .is_none_or(|inbound| !inbound.is_open())
    }

    /// Whether a request was sent so long after its candidate's end that what started it may serve everybody by then.
    fn is_long_over(&self, candidate: &Candidate) -> bool {
        match self.ended.0.get(&candidate.parent) {
            Some(end) => candidate.sent_ns.saturating_sub(*end) > LATE_NS,
            // One that is forgotten was over long before.
            None => !self.inbound.contains_key(&candidate.parent),
        }
    }

    /// Whether a candidate holds, now that everything about it was seen.
    pub(super) fn holds(&self, candidate: &Candidate, runtime: Runtime) -> Result<(), &'static str> {
        let inbound = self.inbound.get(&candidate.parent);
        let handed = matches!(candidate.source, Source::Handed);
        let inherits = candidate.late && (handed || matches!(candidate.source, Source::Context(_)));
        // Who takes work has nothing else to do until it takes the next.
        if inherits && !handed && self.is_long_over(candidate) {
            return Err("causality.unknown.late");
        }
        let Some(inbound) = inbound else {
            return if inherits || candidate.is_by_header() {
                Ok(())
            } else {
                Err("causality.unknown.ambiguous")
            };
        };
        // Events of different connections are told in an order of their own; the times decide.
        let open = inbound.start_ns <= candidate.sent_ns
            && (candidate.late || inbound.end_ns.is_none_or(|end| candidate.sent_ns <= end));
        if !open {
            return Err(match candidate.source {
                Source::Thread => "causality.unknown.thread",
                Source::Upstream | Source::Alone => "causality.unknown.upstream",
                Source::Context(_) => "causality.unknown.context",
                Source::Handed => "causality.unknown.handed",
                Source::Header => "causality.unknown.conflict",
            });
        }
        let thread = self.threads.get(&candidate.tid);
        match candidate.source {
            Source::Thread if inbound.multiplexed => return Err("causality.unknown.multiplexed"),
            Source::Thread => {}
            Source::Context(_) | Source::Header | Source::Handed => return Ok(()),
            Source::Upstream | Source::Alone => {
                let retried = inbound.doubted
                    || thread.is_some_and(|thread| thread.retries.others_near(candidate.parent, candidate.decided_ns));
                return if retried {
                    Err("causality.unknown.upstream")
                } else {
                    Ok(())
                };
            }
        }
        let process = self.processes.get(&candidate.tid.0);
        let pooled = inbound.pooled || process.is_some_and(|process| process.pools);
        if pooled || thread.is_some_and(|thread| thread.helps) {
            return Err("causality.unknown.pool");
        }
        let waits = thread.is_some_and(|thread| thread.waits);
        let looped =
            matches!(runtime, Runtime::Native) && (inbound.looped || process.is_some_and(|process| process.has_loop));
        if inbound.tainted || waits || looped {
            Err("causality.unknown.event_loop")
        } else {
            Ok(())
        }
    }

    /// A request that may have belonged to `candidate` is settled.
    pub(super) fn settled(&mut self, candidate: &Candidate) {
        self.uses_no_more(candidate.parent);
    }

    /// A connection is over.
    pub(super) fn closed(&mut self, conn: ConnId) {
        self.unreserve(conn);
        self.families.closed(conn);
        self.asking.remove(&conn);
        self.serving.remove(&conn);
        self.multiplexed.closed(conn);
    }

    /// A process is traced from `now_ns` on, which ran before.
    pub(super) fn running(&mut self, pid: Pid, now_ns: u64) {
        self.older.insert(pid, now_ns.saturating_add(IN_FLIGHT_NS));
    }

    /// A process is over. What is judged later is judged by what was known of it.
    pub(super) fn exited(&mut self, pid: Pid) {
        self.older.remove(&pid);
        self.passed.exited(pid);
        self.handed.exited(pid);
        self.contexts.exited(pid);
        self.families.exited(pid);
        self.multiplexed.exited(pid);
        if let Some(process) = self.processes.remove(&pid) {
            for inbound in self.inbound.values_mut().filter(|inbound| inbound.tid.0 == pid) {
                let thread = self.threads.get(&inbound.tid);
                inbound.tainted |= thread.is_some_and(|thread| thread.waits);
                inbound.pooled |= process.pools || thread.is_some_and(|thread| thread.helps);
                inbound.looped |= process.has_loop;
            }
        }
        self.threads
            .retain(|(process, _), thread| *process != pid || !thread.open.is_empty());
    }

    fn drop_unused(&mut self, span: SpanKey) {
        if self
            .inbound
            .get(&span)
            .is_some_and(|inbound| !inbound.is_open() && inbound.users == 0)
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
            // Virtual threads come and go, and nothing of them is to be remembered.
            self.threads
                .retain(|(_, number), thread| *number & JAVA_VIRTUAL == 0 || !thread.open.is_empty());
        }
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
pub(crate) const fn forwards(runtime: Runtime) -> bool {
    matches!(runtime, Runtime::Nginx | Runtime::Envoy)
}
