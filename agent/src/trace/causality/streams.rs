//! Requests on connections that carry many at once.
//!
//! Who reads such a connection reads for many requests, and who writes to one may write for others. So neither the thread nor
//! the context that passed a request's head says anything of it, nor does what they create: it is unknown, except where an
//! event loop forwards, whose rules ask for neither, and where the runtime tells which context serves a stream, and for which context
//! another writes one.
use std::collections::HashSet;

use foldhash::fast::RandomState;

use super::{Causality, Found, Inbound, Read, Sent, forwards, thread_of, turn_of};
use crate::capture::{Asked, ConnId, Context, Pid};
use crate::discover::Runtime;
use crate::span::SpanKey;
use crate::trace::contexts::{self, Ambiguous, Key, Served, Works};
use crate::trace::recent::Recent;

/// Streams that are remembered, readers, and requests about to be written.
const MOST: usize = 65_536;

/// Connections that carry many requests at once.
#[derive(Debug)]
pub(super) struct Multiplexed {
    conns: HashSet<ConnId, RandomState>,
    /// Inbound requests by their streams, also those that are over: who serves one is told behind its head.
    streams: Recent<(ConnId, u32), SpanKey>,
    /// The connection of which a context read a head last.
    readers: Recent<Key, ConnId>,
    /// The reader that made a context, or handed it something last.
    relays: Recent<Key, Key>,
    /// For what a request is that a context is about to write, by its stream; without one where it writes no other.
    asked: Recent<(Key, Option<u32>), Works>,
}

impl Default for Multiplexed {
    fn default() -> Self {
        Self {
            conns: HashSet::default(),
            streams: Recent::of(MOST),
            readers: Recent::of(MOST),
            relays: Recent::of(MOST),
            asked: Recent::of(MOST),
        }
    }
}

impl Multiplexed {
    pub(super) fn contains(&self, conn: ConnId) -> bool {
        self.conns.contains(&conn)
    }

    pub(super) fn closed(&mut self, conn: ConnId) {
        self.conns.remove(&conn);
    }

    pub(super) fn exited(&mut self, pid: Pid) {
        self.readers.retain(|(process, ..)| *process != pid);
        self.relays.retain(|(process, ..)| *process != pid);
        self.asked.retain(|((process, ..), _)| *process != pid);
    }

    /// `from` made `to`, or handed it something, perhaps a frame.
    pub(super) fn passed(&mut self, from: Key, to: Key) {
        if self.readers.get(&from).is_some() {
            self.relays.insert(to, from);
        }
    }
}

impl Causality {
    /// The head of an inbound request was read, on a connection that carries many at once.
    pub(in crate::trace) fn inbound_stream(&mut self, span: SpanKey, conn: ConnId, read: &Read) {
        let actor = &read.actor;
        let tid = thread_of(actor);
        self.multiplexed.conns.insert(conn);
        // Node's hook names whoever serves a stream by its number, so that nobody has to tell it.
        let is_named = matches!(actor.context, Context::Node(_));
        let server = read.stream_context.filter(|_| is_named);
        let server = server.and_then(|server| contexts::key(actor.pid, server));
        if let Some(server) = server {
            self.contexts.serves(server, Served { span, conn }, true);
        } else if let Some(context) = contexts::key(actor.pid, actor.context) {
            self.contexts.shared(context);
            self.multiplexed.readers.insert(context, conn);
        }
        if let Some(stream) = read.stream {
            self.multiplexed.streams.insert((conn, stream), span);
        }
        let process = self.processes.entry(actor.pid).or_default();
        process.open += 1;
        process.streams += 1;
        for other in self.served_by(tid).into_iter().filter(|other| other.conn != conn) {
            self.taint(other.span);
        }
        if let Some(thread) = self.thread(tid) {
            thread.open.push(Served { span, conn });
            thread.reads = true;
            thread.last = None;
        }
        let inbound = Inbound {
            tainted: true,
            multiplexed: true,
            context: server,
            ..Inbound::new(tid, conn, turn_of(actor), read.start_ns)
        };
        self.remember(span, inbound);
    }

    /// A message was read that a broker handed over. Like a request that one thread serves, as long as it is the only one of its
    /// connection; whoever reads several serves them in an order of its own.
    pub(in crate::trace) fn inbound_message(&mut self, span: SpanKey, conn: ConnId, read: &Read) {
        let others = self.serving.get(&conn).map(|open| open.iter().copied().collect());
        let others: Vec<SpanKey> = others.unwrap_or_default();
        let alone = others.is_empty() && !self.multiplexed.contains(conn);
        if alone && contexts::key(read.actor.pid, read.actor.context).is_none() {
            self.inbound(span, conn, &read.actor, read.start_ns);
            return;
        }
        for other in others {
            self.taint(other);
        }
        self.inbound_stream(span, conn, read);
    }

    /// The head of a request was sent on a connection that carries many at once; none where the rules for others hold.
    pub(super) fn outbound_stream(&mut self, sent: &Sent, stream: u32, runtime: Runtime) -> Option<Found> {
        // nginx has one request at a time on a connection to an upstream server, and Envoy's rule asks for no connection.
        if forwards(runtime) {
            return None;
        }
        let actor = &sent.actor;
        let named = sent.stream_context.and_then(|conn| contexts::key(actor.pid, conn));
        for writer in [named, contexts::key(actor.pid, actor.context)].into_iter().flatten() {
            if let Some(works) = self.asked_of(writer, stream) {
                return Some(self.find_by_works(Ok(works), contexts::kind_name(writer), sent));
            }
        }
        Some(if self.is_busy(actor.pid) {
            Found::Unknown("causality.unknown.multiplexed")
        } else {
            self.unasked(actor.pid, sent.time_ns)
        })
    }

    /// For what a request is that `writer` was about to write.
    fn asked_of(&mut self, writer: Key, stream: u32) -> Option<Works> {
        let asked = &mut self.multiplexed.asked;
        asked
            .remove(&(writer, Some(stream)))
            .or_else(|| asked.remove(&(writer, None)))
    }

    /// `writer` is about to write the head of a request that `asker` asks, which had left it at `place`; or its own, and then no other.
    pub(super) fn writes(&mut self, asker: Key, writer: Key, stream: Option<u32>, place: u64) {
        let works = match stream {
            Some(_) => self.contexts.taken(asker, place),
            None => self.contexts.offers(asker),
        };
        self.multiplexed.asked.insert((writer, stream), works);
    }

    /// A context asks for a stream, whoever writes it.
    pub(in crate::trace) fn asks(&mut self, pid: Pid, asked: &Asked) {
        let key = |context| contexts::key(pid, context);
        let (Some(asker), Some(conn)) = (key(asked.context), key(asked.conn)) else {
            return;
        };
        // It may leave when the request is over.
        let works = match self.works(asker) {
            Ok(Works::For(span)) => Works::After(span),
            Ok(works) => works,
            Err(Ambiguous) => Works::Unknown,
        };
        self.multiplexed.asked.insert((conn, Some(asked.stream)), works);
    }

    /// `server` serves `stream` of the connection that `source`, which made it, reads, or is handed the frames of. A server that takes
    /// one stream after the other was handed this one.
    pub(super) fn serves(&mut self, source: Key, server: Key, stream: u32) {
        let Multiplexed { readers, relays, .. } = &self.multiplexed;
        let relayed = |context| relays.get(context).and_then(|reader| readers.get(reader));
        // What the source reads itself may have begun with what its own maker read.
        let read = || readers.get(&source).or_else(|| relayed(&source));
        let conn = relayed(&server).or_else(read).copied();
        if relays.get(&source).is_some() {
            self.contexts.servant(source);
        }
        let found = conn.and_then(|conn| {
            let span = *self.multiplexed.streams.get(&(conn, stream))?;
            Some(Served { span, conn })
        });
        let Some(request) = found else {
            self.contexts.shared(server);
            return;
        };
        let inbound = self.inbound.get_mut(&request.span).filter(|inbound| inbound.is_open());
        let is_open = inbound.is_some();
        let other = inbound.and_then(|inbound| inbound.context.replace(server));
        if let Some(other) = other.filter(|other| *other != server) {
            // Both cannot serve it.
            self.contexts.shared(other);
            self.contexts.shared(server);
            return;
        }
        self.contexts.serves(server, request, is_open);
    }

    /// Whether a process has requests open that came with others on one connection.
    pub(super) fn serves_streams(&self, pid: Pid) -> bool {
        self.processes.get(&pid).is_some_and(|process| process.streams > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Actor;
    use crate::trace::causality::{Candidate, Source};

    /// A proxy may forward what came with others on one connection: a loss counts for it as for any other.
    #[test]
    fn a_loss_counts_for_streams() {
        let read = |causality: &mut Causality, span| {
            let actor = Actor {
                pid: Pid(1),
                tid: 1,
                context: Context::Thread,
                turn: 0,
            };
            let read = Read {
                actor,
                start_ns: 1,
                stream: Some(1),
                stream_context: None,
            };
            causality.inbound_stream(span, ConnId(1), &read);
        };
        let check = |causality: &Causality, parent, want: bool| {
            let found = causality.certain(Found::Candidate(Candidate {
                parent,
                source: Source::Upstream,
                tid: (Pid(1), 1),
                late: false,
                decided_ns: 2,
                sent_ns: 2,
            }));
            assert_eq!(matches!(found, Found::Candidate(_)), want, "{found:?}");
        };
        let mut causality = Causality::default();
        read(&mut causality, SpanKey(1));
        check(&causality, SpanKey(1), true);
        causality.lost(1);
        read(&mut causality, SpanKey(2));
        check(&causality, SpanKey(1), false);
        check(&causality, SpanKey(2), true);
    }
}
