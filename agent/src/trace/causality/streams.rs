//! Requests on connections that carry many at once.
//!
//! Who reads such a connection reads for many requests, and who writes to one may write for others. So neither the thread nor
//! the context that passed a request's head says anything of it, nor does what they create: it is unknown, except where an
//! event loop forwards, whose rules ask for neither.
use std::collections::HashSet;

use foldhash::fast::RandomState;

use super::{Causality, Found, Inbound, Read, forwards, thread_of, turn_of};
use crate::capture::{Actor, ConnId, Pid};
use crate::discover::Runtime;
use crate::span::SpanKey;
use crate::trace::contexts::{self, Served};

/// Connections that carry many requests at once.
#[derive(Debug, Default)]
pub(super) struct Multiplexed(HashSet<ConnId, RandomState>);

impl Multiplexed {
    pub(super) fn contains(&self, conn: ConnId) -> bool {
        self.0.contains(&conn)
    }

    pub(super) fn closed(&mut self, conn: ConnId) {
        self.0.remove(&conn);
    }
}

impl Causality {
    /// The head of an inbound request was read, on a connection that carries many at once.
    pub(in crate::trace) fn inbound_stream(&mut self, span: SpanKey, conn: ConnId, read: &Read) {
        let actor = &read.actor;
        let tid = thread_of(actor);
        self.multiplexed.0.insert(conn);
        if let Some(context) = contexts::key(actor.pid, actor.context) {
            self.contexts.shared(context);
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
    pub(super) fn outbound_stream(&self, actor: &Actor, runtime: Runtime) -> Option<Found> {
        // nginx has one request at a time on a connection to an upstream server, and Envoy's rule asks for no connection.
        if forwards(runtime) {
            return None;
        }
        let busy = self.processes.get(&actor.pid).is_some_and(|process| process.open > 0);
        Some(if busy {
            Found::Unknown("causality.unknown.multiplexed")
        } else {
            Found::Root
        })
    }

    /// Whether a process has requests open that came with others on one connection.
    pub(super) fn serves_streams(&self, pid: Pid) -> bool {
        self.processes.get(&pid).is_some_and(|process| process.streams > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Context;
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
            causality.inbound_stream(span, ConnId(1), &Read { actor, start_ns: 1 });
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
        causality.lost();
        read(&mut causality, SpanKey(2));
        check(&causality, SpanKey(1), false);
        check(&causality, SpanKey(2), true);
    }
}
