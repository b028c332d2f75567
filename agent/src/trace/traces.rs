//! Follows spans from their beginning until their place is settled.
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};

use self::due::Due;
use super::causality::{Candidate, Carries, Causality, Found, Read, Sent};
use super::join::Ends;
use super::logs::Unreachable;
use super::messages::{Messages, Posted};
use super::{Link, Loose, Placed};
use crate::capture::{Actor, ConnId};
use crate::discover::Process;
use crate::log::Record;
use crate::protocol::message::Identity;
use crate::span::{
    ConnFacts, MessageEnd, OUTCOME, Opened, Position, RemoteContext, Span, SpanEvent, SpanKey, SpanKind, Value,
};

/// Spans that are open or not settled.
const MAX_SPANS: usize = 200_000;
/// About the most memory finished spans take before they are settled.
const MAX_BYTES: usize = 128 << 20;
/// Settled spans that late children still find. Half of what a table of 65 536 places holds: one that is fuller doubles
/// when entries come and go.
const MAX_TOMBSTONES: usize = 28_672;

/// Messages a span got that are looked for, and contexts they carried.
const MAX_LINKS: usize = 128;
/// How the parent of a span was found that got a message, as `clew.parent.source` names it.
const MESSAGE: &str = "message";
/// Longest chain of spans; a longer one is a cycle that evidence cannot produce.
const MAX_DEPTH: usize = 1000;

/// A connection, a place in it, a stream, and whether it was the broker who spoke unasked.
type Spot = (ConnId, Position, Option<u32>, bool);
type TraceId = [u8; 16];
type SpanId = [u8; 8];

/// Every span whose place is not settled, and what decides it.
pub struct Traces {
    random: SmallRng,
    pub(super) nodes: HashMap<SpanKey, Box<Node>, RandomState>,
    /// Requests by connection, place and stream: one of each end. None where two have the same place.
    places: HashMap<Spot, Option<SpanKey>, RandomState>,
    ends: Ends,
    pub(super) causality: Causality,
    due: Due,
    /// About the memory that finished spans and logs take.
    pub(super) bytes: usize,
    messages: Messages<(Trace, SpanId)>,
    pub(super) tombstones: HashMap<SpanKey, Tombstone, RandomState>,
    /// How many open spans have this one as their candidate for a parent. A call may be open for long after its request.
    awaited: HashMap<SpanKey, u32, RandomState>,
    buried: VecDeque<SpanKey>,
    pub(super) counts: Vec<&'static str>,
    /// Records of logs that no span takes along.
    pub(super) loose: Vec<Loose>,
}

/// What all spans of a trace share.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    pub(super) id: TraceId,
    pub(super) sampled: bool,
    state: Arc<str>,
}

impl From<&RemoteContext> for Trace {
    fn from(context: &RemoteContext) -> Self {
        Self {
            id: context.trace_id,
            sampled: context.sampled.unwrap_or(true),
            state: if context.trace_state.is_empty() {
                Arc::default()
            } else {
                Arc::from(context.trace_state.as_str())
            },
        }
    }
}

/// What is left of a settled span.
pub(super) struct Tombstone {
    pub(super) trace: Trace,
    pub(super) span_id: SpanId,
    /// The span its message named.
    named: Option<SpanId>,
}

pub(super) struct Node {
    pub(super) opened: Opened,
    span_id: SpanId,
    trace: Option<Trace>,
    /// The span at the other end of the connection.
    peer: Option<SpanKey>,
    /// Of a server: its client, once that is settled.
    settled_peer: Option<(Trace, SpanId)>,
    /// Of a client: when its server began, the latest moment at which it can have begun itself.
    latest_start_ns: Option<u64>,
    candidate: Option<Candidate>,
    /// The counter of why it cannot be told which request it was sent for.
    unknown: Option<&'static str>,
    /// The context on it came in with a request that the process serves.
    passes: bool,
    /// Whoever passed its request may have passed it for another.
    shared: bool,
    mail: Option<Box<Mail>>,
    /// Something was logged that may be for it: what is known of its request is kept until it is settled.
    pub(super) logged: bool,
    /// Connections for it that came to nothing.
    pub(super) unreachable: Vec<Unreachable>,
    /// What was logged for it, if what is known by then holds when it is settled.
    pub(super) logs: Vec<(Candidate, Record)>,
    pub(super) finished: Option<(u64, Box<Span>)>,
}

/// What a span has to do with messages.
#[derive(Default)]
struct Mail {
    /// The message it sent, by all that it is recognized by.
    sent: Vec<Identity>,
    /// Messages it got.
    got: Vec<Identity>,
    /// Contexts that came with those it asked for.
    contexts: Vec<RemoteContext>,
}

/// Where a span belongs.
enum Place {
    Root,
    /// Below a span Clew sees.
    Below(SpanKey, &'static str),
    /// Below the span the message named.
    Remote,
}

impl Traces {
    /// No spans. Ids are drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            random: SmallRng::seed_from_u64(seed),
            nodes: HashMap::default(),
            places: HashMap::default(),
            ends: Ends::default(),
            causality: Causality::default(),
            due: Due::default(),
            bytes: 0,
            messages: Messages::default(),
            tombstones: HashMap::default(),
            awaited: HashMap::default(),
            buried: VecDeque::new(),
            counts: Vec::new(),
            loose: Vec::new(),
        }
    }

    /// A connection was seen.
    pub fn connection(&mut self, facts: &ConnFacts) {
        let count = self.ends.add(facts);
        self.counts.extend(count);
    }

    /// A connection is over, and what was seen of it has been told.
    pub fn connection_closed(&mut self, conn: ConnId) {
        self.ends.remove(conn);
        self.causality.closed(conn);
    }

    /// A connection came to its end; it may never have been open.
    pub fn unconnected(&mut self, conn: ConnId, now_ns: u64) {
        self.ends.over(conn);
        self.causality.unconnected(conn, now_ns);
    }

    /// Counters raised since the last call.
    pub fn take_counts(&mut self) -> impl Iterator<Item = &'static str> {
        self.counts.drain(..)
    }

    /// Spans that are open or not settled.
    pub fn pending(&self) -> usize {
        self.nodes.len()
    }

    /// The id an open span will have, and its process.
    pub fn whose(&self, key: SpanKey) -> Option<(SpanId, &Arc<Process>)> {
        let node = self.nodes.get(&key).filter(|node| node.finished.is_none())?;
        Some((node.span_id, &node.opened.process))
    }

    /// A span began or ended.
    pub fn event(&mut self, event: SpanEvent) {
        match event {
            SpanEvent::Count(name) => self.counts.push(name),
            SpanEvent::Opened(opened) => self.open(opened),
            SpanEvent::Finished { key, actor, span } => self.finish(key, &actor, span),
            SpanEvent::Withdrawn { key } => self.withdraw(key),
            SpanEvent::Message { key, identity, sent } => self.message(key, identity, sent),
            SpanEvent::Named { key, pid, own, others } => self.causality.got_named(pid, key, &own, &others),
            SpanEvent::Carried { key, context } => {
                if let Some(node) = self.nodes.get_mut(&key) {
                    let contexts = &mut node.mail.get_or_insert_default().contexts;
                    if contexts.len() < MAX_LINKS {
                        contexts.push(context);
                    }
                }
            }
            SpanEvent::Shared { key } => {
                if let Some(node) = self.nodes.get_mut(&key) {
                    node.shared = true;
                }
            }
        }
    }

    fn open(&mut self, opened: Opened) {
        if self.nodes.len() >= MAX_SPANS || self.bytes >= MAX_BYTES {
            self.counts.push("trace.spans_full");
            // Who read or sent it is not remembered either.
            self.causality.lost(opened.start.time_ns);
            return;
        }
        let key = opened.key;
        let (mut candidate, mut unknown) = (None, None);
        let mut passes = false;
        let pid = opened.process.pid;
        let is_broker = opened.message.is_some_and(MessageEnd::is_broker);
        let read = Read {
            actor: opened.actor,
            start_ns: opened.start.time_ns,
            stream: opened.stream,
            stream_context: opened.stream_context,
        };
        if is_broker || (serves(opened.kind) && opened.is_connection) {
            // Requests come on it, but it is none: nothing is done for it. A broker hands a message on for its sender, whatever
            // else it does at the moment.
        } else if opened.message == Some(MessageEnd::Gets) {
            self.causality.inbound_message(key, opened.conn, &read);
        } else if serves(opened.kind) {
            if let Some(context) = &opened.remote {
                self.causality.came(key, pid, context);
            }
            if opened.stream.is_some() {
                self.causality.inbound_stream(key, opened.conn, &read);
            } else {
                self.causality.inbound(key, opened.conn, &read.actor, read.start_ns);
            }
        } else {
            // What goes to a broker may be for many.
            let context = opened.remote.as_ref().filter(|_| opened.message.is_none());
            let carries = context.map_or(Carries::Nothing, |context| {
                self.causality.carries(pid, context, opened.start.time_ns)
            });
            passes = carries != Carries::Nothing;
            let sent = Sent {
                actor: opened.actor,
                time_ns: opened.start.time_ns,
                stream: opened.stream,
                stream_context: opened.stream_context,
                is_message: opened.message.is_some(),
                carries,
            };
            let runtime = opened.process.runtime;
            let found = if opened.is_connection {
                self.causality.opened(opened.conn, &sent, runtime)
            } else {
                self.causality.outbound(key, opened.conn, &sent, runtime)
            };
            match found {
                Found::Candidate(found) => candidate = Some(found),
                Found::Root => {}
                Found::Unknown(name) => unknown = Some(name),
            }
            self.counts.extend(unknown);
        }
        if let Some(candidate) = &candidate {
            self.awaits(candidate.parent);
        }
        let mut span_id = [0; 8];
        while span_id == [0; 8] {
            self.random.fill_bytes(&mut span_id);
        }
        for place in opened.places.into_iter().flatten() {
            let held = self
                .places
                .entry(spot(&opened, opened.conn, place))
                .or_insert(Some(key));
            if *held != Some(key) {
                // A record may carry the ends of two heads; an offset that comes again is a new beginning.
                *held = (!matches!(place, Position::Record(_))).then_some(key);
            }
        }
        self.nodes.insert(
            key,
            Box::new(Node {
                opened,
                span_id,
                trace: None,
                peer: None,
                settled_peer: None,
                latest_start_ns: None,
                candidate,
                unknown,
                passes,
                shared: false,
                mail: None,
                logged: false,
                unreachable: Vec::new(),
                logs: Vec::new(),
                finished: None,
            }),
        );
        self.join(key);
    }

    /// Looks for the same exchange at the other end of the connection.
    fn join(&mut self, key: SpanKey) -> Option<SpanKey> {
        let node = self.nodes.get(&key)?;
        if node.peer.is_some() {
            return node.peer;
        }
        let (conn, places, kind, start_ns) = (
            node.opened.conn,
            node.opened.places,
            node.opened.kind,
            node.opened.start.time_ns,
        );
        let remote = node.opened.remote.clone();
        let peer_conn = self.ends.peer(conn)?;
        let peer = places
            .into_iter()
            .flatten()
            .find_map(|place| *self.places.get(&spot(&node.opened, peer_conn, place))?)?;
        let other = self.nodes.get_mut(&peer)?;
        // Both ends of an exchange are of different kind, and each has one other end: kernel addresses of Unix sockets are
        // used again.
        if serves(other.opened.kind) == serves(kind) || other.peer.is_some() {
            return None;
        }
        other.peer = Some(key);
        // Both ends see the same header; one of them may not have seen it whole.
        let other_remote = other.opened.remote.clone();
        if other.opened.remote.is_none() {
            other.opened.remote.clone_from(&remote);
        }
        let other_start_ns = other.opened.start.time_ns;
        if !serves(other.opened.kind) {
            other.latest_start_ns = Some(start_ns);
        }
        let node = self.nodes.get_mut(&key)?;
        node.peer = Some(peer);
        if node.opened.remote.is_none() {
            node.opened.remote = other_remote;
        }
        if !serves(kind) {
            node.latest_start_ns = Some(other_start_ns);
        }
        Some(peer)
    }

    fn finish(&mut self, key: SpanKey, actor: &Actor, span: Box<Span>) {
        let Some(node) = self.nodes.get_mut(&key) else { return };
        let end_ns = span.end_ns;
        let is_broken = span.attributes.iter().any(|(name, _)| *name == OUTCOME);
        self.bytes += span.bytes();
        node.finished = Some((end_ns, span));
        if node.opened.is_connection || node.opened.message.is_some_and(MessageEnd::is_broker) {
            // See `open`.
        } else if serves(node.opened.kind) {
            self.causality.inbound_ended(key, actor, end_ns, !is_broken);
        } else {
            let (conn, candidate) = (node.opened.conn, node.candidate);
            let failed_ns = is_broken.then_some(end_ns);
            self.causality.outbound_ended(key, conn, candidate, failed_ns);
        }
        self.due.finished(key, end_ns);
    }

    /// What the span stood for is told by others.
    fn withdraw(&mut self, key: SpanKey) {
        let Some(mut node) = self.nodes.remove(&key) else {
            return;
        };
        self.leave(key, &node.opened);
        self.drop_logs(key, &mut node);
        if let Some(candidate) = &node.candidate {
            self.causality.settled(candidate);
            self.awaits_no_more(candidate.parent);
        }
        if let Some(peer) = node.peer.and_then(|peer| self.nodes.get_mut(&peer)) {
            peer.peer = None;
            peer.latest_start_ns = None;
        }
    }

    fn settle(&mut self, key: SpanKey, out: &mut Vec<Placed>) {
        self.join(key);
        let (place, mut unknown) = self.place(key);
        self.counts.extend(unknown);
        let (trace, parent_id, remote) = match place {
            Place::Below(parent, source) => match self.ids(key, parent) {
                Some((trace, span)) => (trace, Some(span), source == MESSAGE || self.is_remote(key, parent)),
                None => {
                    unknown = Some("trace.parent_forgotten");
                    self.counts.extend(unknown);
                    (self.own_trace(key), None, false)
                }
            },
            Place::Remote => {
                let node = self.nodes.get(&key);
                let parent = node
                    .and_then(|node| node.opened.remote.as_ref())
                    .map(|context| context.span_id);
                // The context on a request a program sends names a span of the same program.
                let remote = node.is_some_and(|node| serves(node.opened.kind));
                (self.own_trace(key), parent, remote)
            }
            Place::Root => (self.own_trace(key), None, false),
        };
        let source = match place {
            Place::Below(_, source) => parent_id.map(|_| source),
            Place::Remote => Some("header"),
            Place::Root => None,
        };
        let links = self.links(key);
        let Some(mut node) = self.nodes.remove(&key) else {
            return;
        };
        self.leave(key, &node.opened);
        let span_bytes = node.finished.as_ref().map_or(0, |(_, span)| span.bytes());
        let logs = self.settle_logs(key, &mut node);
        if let Some(candidate) = &node.candidate {
            self.causality.settled(candidate);
            self.awaits_no_more(candidate.parent);
        }
        for identity in node.mail.iter().flat_map(|mail| &mail.sent) {
            self.messages.settled(*identity, key, (trace.clone(), node.span_id));
        }
        if node.peer.is_none() {
            self.counts.push("stitch.no_peer");
        }
        if let Some(server) = node.peer.and_then(|peer| self.nodes.get_mut(&peer))
            && !serves(node.opened.kind)
        {
            server.settled_peer = Some((trace.clone(), node.span_id));
        }
        let tombstone = Tombstone {
            trace: trace.clone(),
            span_id: node.span_id,
            named: node.opened.remote.as_ref().map(|context| context.span_id),
        };
        self.bury(key, tombstone);
        let Some((_, mut span)) = node.finished else { return };
        self.bytes = self.bytes.saturating_sub(span_bytes);
        if let Some(limit) = node.latest_start_ns.filter(|limit| *limit < span.start_ns) {
            // The send is seen when it is over; by then the other end may have read (see ARCHITECTURE.md, "Time").
            span.start_ns = limit;
            span.attributes.push(("clew.time.adjusted", Value::Bool(true)));
        }
        if let Some(source) = source {
            span.attributes.push(("clew.parent.source", Value::fixed(source)));
        } else if let Some((_, why)) = unknown.or(node.unknown).and_then(|name| name.rsplit_once('.')) {
            span.attributes.push(("clew.parent.unknown", Value::fixed(why)));
        }
        if let Some(context) = &node.opened.remote {
            span.attributes
                .push(("clew.context.format", Value::fixed(context.format)));
        }
        out.push(Placed {
            trace_id: trace.id,
            span_id: node.span_id,
            parent_id,
            trace_state: trace.state.as_ref().to_owned(),
            flags: u8::from(trace.sampled),
            process: node.opened.process,
            links,
            parent_is_remote: remote,
            logs,
            span: *span,
        });
    }

    /// Where a span belongs, by everything known now, and the counter of a link that did not hold.
    fn place(&self, key: SpanKey) -> (Place, Option<&'static str>) {
        let Some(node) = self.nodes.get(&key) else {
            return (Place::Root, None);
        };
        let pushed = node.opened.message.is_some_and(MessageEnd::is_pushed);
        if pushed || serves(node.opened.kind) {
            let peer = node.peer.filter(|_| serves(node.opened.kind));
            let place = match (peer, self.sender(node).filter(|_| pushed), &node.opened.remote) {
                (Some(peer), _, _) => Place::Below(peer, "socket"),
                (None, Some(sender), _) => Place::Below(sender, MESSAGE),
                (None, None, Some(_)) => Place::Remote,
                (None, None, None) => Place::Root,
            };
            return (place, None);
        }
        // A process that asks itself may be seen to read what it asks before it is seen to ask.
        let asks_itself = node.peer.is_some() && node.peer == node.candidate.map(|candidate| candidate.parent);
        let (mut below, mut unknown) = (None, None);
        if let Some(candidate) = node.candidate.filter(|_| !asks_itself) {
            let judged = if node.shared && !candidate.is_by_header() {
                Err("causality.unknown.multiplexed")
            } else {
                self.causality.holds(&candidate, node.opened.process.runtime)
            };
            match judged {
                Ok(()) => below = Some((candidate.parent, candidate.source.name())),
                Err(name) => unknown = Some(name),
            }
        }
        let place = match (below, &node.opened.remote) {
            // The program put a context on its request. If it is the one that came in, it was passed through and the
            // request is below the inbound one; else it names a span of the program's own, and that is the parent.
            (Some((parent, source)), Some(own)) if self.came_with(parent, own) => Place::Below(parent, source),
            (_, Some(_)) if node.passes && !asks_itself => Place::Root,
            (_, Some(_)) => Place::Remote,
            (Some((parent, source)), None) => Place::Below(parent, source),
            (None, None) => Place::Root,
        };
        (place, unknown)
    }

    /// Nobody finds the span by its place any more.
    fn leave(&mut self, key: SpanKey, opened: &Opened) {
        for place in opened.places.into_iter().flatten() {
            let place = spot(opened, opened.conn, place);
            let held = self.places.get(&place);
            if held.is_some_and(|held| held.is_none_or(|held| held == key)) {
                self.places.remove(&place);
            }
        }
    }

    fn came_with(&self, parent: SpanKey, own: &RemoteContext) -> bool {
        match self.nodes.get(&parent).map(|node| node.opened.remote.as_ref()) {
            Some(context) => {
                context.is_some_and(|context| context.trace_id == own.trace_id && context.span_id == own.span_id)
            }
            None => self
                .tombstones
                .get(&parent)
                .is_some_and(|settled| settled.trace.id == own.trace_id && settled.named == Some(own.span_id)),
        }
    }

    /// The ids of the parent of a span, its trace decided by walking to its root.
    fn ids(&mut self, child: SpanKey, key: SpanKey) -> Option<(Trace, SpanId)> {
        if let Some(settled) = self.tombstones.get(&key) {
            return Some((settled.trace.clone(), settled.span_id));
        }
        match self.nodes.get(&key).map(|node| node.span_id) {
            Some(span_id) => Some((self.trace_of(key), span_id)),
            None => {
                let child = self.nodes.get(&child)?;
                child.settled_peer.clone().or_else(|| self.settled_sender(child))
            }
        }
    }

    /// The trace of a span that is not settled. Follows parents to the root, whose trace is then fixed for all on the way.
    fn trace_of(&mut self, key: SpanKey) -> Trace {
        let mut way = Vec::new();
        let mut at = key;
        let trace = loop {
            if let Some(settled) = self.tombstones.get(&at) {
                break settled.trace.clone();
            }
            if let Some(trace) = self.nodes.get(&at).and_then(|node| node.trace.clone()) {
                break trace;
            }
            way.push(at);
            if way.len() > MAX_DEPTH {
                self.counts.push("trace.too_deep");
                break self.new_trace();
            }
            self.join(at);
            match self.place(at).0 {
                Place::Below(parent, _)
                    if self.nodes.contains_key(&parent) || self.tombstones.contains_key(&parent) =>
                {
                    at = parent;
                }
                _ => break self.own_trace(at),
            }
        };
        for passed in way {
            if let Some(node) = self.nodes.get_mut(&passed) {
                node.trace = Some(trace.clone());
            }
        }
        trace
    }

    /// The trace of a span whose parent is not seen: what is decided already, else what its message named.
    fn own_trace(&mut self, key: SpanKey) -> Trace {
        let node = self.nodes.get(&key);
        let known = node.and_then(|node| {
            let settled = node.settled_peer.as_ref().map(|(trace, _)| trace.clone());
            let sender = self.settled_sender(node).map(|(trace, _)| trace);
            let named = node.opened.remote.as_ref().map(Trace::from);
            node.trace.clone().or(settled).or(sender).or(named)
        });
        known.unwrap_or_else(|| self.new_trace())
    }

    /// A span sent a message or got one.
    fn message(&mut self, key: SpanKey, identity: Identity, sent: bool) {
        let Some(node) = self.nodes.get_mut(&key) else { return };
        let mail = node.mail.get_or_insert_default();
        if sent && mail.sent.len() < MAX_LINKS {
            mail.sent.push(identity);
            self.messages.sent(identity, key);
        } else if mail.got.len() < MAX_LINKS {
            mail.got.push(identity);
        }
    }

    /// Who sent the message that was handed to a span unasked.
    fn sender(&self, node: &Node) -> Option<SpanKey> {
        self.sent_to(node).map(|sent| sent.key)
    }

    /// What was sent of what a span got first.
    fn sent_to(&self, node: &Node) -> Option<&Posted<(Trace, SpanId)>> {
        let got = &node.mail.as_ref()?.got;
        got.iter().find_map(|identity| self.messages.sender(*identity))
    }

    /// The same, where that is settled.
    fn settled_sender(&self, node: &Node) -> Option<(Trace, SpanId)> {
        node.opened.message.filter(|end| end.is_pushed())?;
        self.sent_to(node)?.settled.clone()
    }

    /// The spans in which the messages were made that a program's span got.
    fn links(&mut self, key: SpanKey) -> Vec<Link> {
        let Some(node) = self.nodes.get(&key) else {
            return Vec::new();
        };
        let own = node.opened.remote.as_ref();
        let own = own.filter(|_| node.opened.message == Some(MessageEnd::Gets));
        let mail = node.mail.as_deref();
        let contexts = mail.iter().flat_map(|mail| &mail.contexts);
        let mut links: Vec<Link> = own.into_iter().chain(contexts).map(Link::from).collect();
        let by_program = node.opened.message.is_some_and(|end| !end.is_broker());
        let got = mail.filter(|_| by_program).map(|mail| mail.got.clone());
        for identity in got.unwrap_or_default() {
            let Some(sent) = self.messages.sender(identity) else {
                continue;
            };
            let (sender, settled) = (sent.key, sent.settled.clone());
            let of = match settled {
                Some(settled) => Some(settled),
                None => self.ids(key, sender),
            };
            let link = of.map(|(trace, span_id)| Link {
                trace_id: trace.id,
                span_id,
                trace_state: trace.state.as_ref().to_owned(),
                flags: u8::from(trace.sampled),
            });
            // A message may be recognized by several things.
            links.extend(link.filter(|link| !links.contains(link)));
        }
        links
    }

    fn new_trace(&mut self) -> Trace {
        let mut id = [0; 16];
        while id == [0; 16] {
            self.random.fill_bytes(&mut id);
        }
        Trace {
            id,
            sampled: true,
            state: Arc::default(),
        }
    }

    fn is_remote(&self, key: SpanKey, parent: SpanKey) -> bool {
        self.nodes.get(&key).is_some_and(|node| node.peer == Some(parent))
    }

    fn bury(&mut self, key: SpanKey, tombstone: Tombstone) {
        self.tombstones.insert(key, tombstone);
        self.buried.push_back(key);
        if self.buried.len() > MAX_TOMBSTONES
            && let Some(oldest) = self.buried.pop_front()
        {
            if self.awaited.contains_key(&oldest) {
                self.buried.push_back(oldest);
            } else {
                self.tombstones.remove(&oldest);
            }
        }
    }

    /// An open span may turn out to be below `parent`, which is to be known as long.
    fn awaits(&mut self, parent: SpanKey) {
        *self.awaited.entry(parent).or_insert(0) += 1;
    }

    /// A span of those that [`Self::awaits`] told of is open no more.
    fn awaits_no_more(&mut self, parent: SpanKey) {
        if let Some(children) = self.awaited.get_mut(&parent) {
            *children -= 1;
            if *children == 0 {
                self.awaited.remove(&parent);
            }
        }
    }
}

/// Where a span of `opened` stands at `conn`, which is its connection or the other end of it.
const fn spot(opened: &Opened, conn: ConnId, place: Position) -> Spot {
    let pushed = matches!(opened.message, Some(end) if end.is_pushed());
    (conn, place, opened.stream, pushed)
}

/// The kinds of spans that answer.
const fn serves(kind: SpanKind) -> bool {
    matches!(kind, SpanKind::Server | SpanKind::Consumer)
}

mod due;
mod told;

#[cfg(test)]
mod tests;
