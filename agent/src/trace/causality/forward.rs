//! Requests that an event loop sends for others which it read: nginx, Envoy.
use super::inbound::Inbound;
use super::{Candidate, Causality, Found, MAX_RESERVED, Source, thread_of, turn_of};
use crate::capture::{Actor, ConnId};
use crate::discover::Runtime;

impl Causality {
    /// For whom `actor`, an event loop that forwards, sends a request on `conn`.
    pub(super) fn forwarded(&mut self, conn: ConnId, actor: &Actor, sent_ns: u64, runtime: Runtime) -> Found {
        if matches!(runtime, Runtime::Envoy) {
            return self.alone(actor, sent_ns);
        }
        if let Some(reserved) = self.unreserve(conn) {
            return match reserved.found {
                Found::Candidate(found) if self.inbound.get(&found.parent).is_some_and(Inbound::is_open) => {
                    Found::Candidate(Candidate { sent_ns, ..found })
                }
                Found::Candidate(_) => Found::Unknown("causality.unknown.upstream"),
                other => other,
            };
        }
        // What it was opened for may have been forgotten.
        if self.reserved.len() >= MAX_RESERVED {
            return Found::Unknown("causality.unknown.upstream");
        }
        self.upstream(actor, sent_ns)
    }

    pub(super) fn upstream(&self, actor: &Actor, sent_ns: u64) -> Found {
        let tid = thread_of(actor);
        if self.processes.get(&actor.pid).is_none_or(|process| process.open == 0) {
            return Found::Root;
        }
        let thread = self.threads.get(&tid);
        let last = thread.and_then(|thread| thread.last);
        let same_round = last.filter(|(_, turn)| *turn == turn_of(actor) && turn_of(actor) != 0);
        let alone = |parent| thread.is_some_and(|thread| thread.retries.none_but(parent));
        match same_round.and_then(|(parent, _)| Some((parent, self.inbound.get(&parent)?))) {
            Some((parent, inbound)) if inbound.is_open() && inbound.upstream == 0 && alone(parent) => {
                Found::Candidate(Candidate {
                    parent,
                    source: Source::Upstream,
                    tid,
                    late: false,
                    decided_ns: sent_ns,
                    sent_ns,
                })
            }
            _ => Found::Unknown("causality.unknown.upstream"),
        }
    }

    fn alone(&self, actor: &Actor, sent_ns: u64) -> Found {
        let tid = thread_of(actor);
        if self.processes.get(&actor.pid).is_none_or(|process| process.open == 0) {
            return Found::Root;
        }
        let unknown = Found::Unknown("causality.unknown.upstream");
        let Some(thread) = self.threads.get(&tid) else {
            return unknown;
        };
        let mut unsent = thread.open.iter().filter(|open| self.is_unsent(open.span));
        match (unsent.next(), unsent.next()) {
            (Some(open), None) if thread.retries.none_but(open.span) => Found::Candidate(Candidate {
                parent: open.span,
                source: Source::Alone,
                tid,
                late: false,
                decided_ns: sent_ns,
                sent_ns,
            }),
            _ => unknown,
        }
    }
}
