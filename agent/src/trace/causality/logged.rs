//! For whom something is logged.
use super::{Candidate, Carries, Causality, Found, Sent, Source, forwards, thread_of, turn_of};
use crate::capture::Actor;
use crate::discover::Runtime;
use crate::span::SpanKey;

impl Causality {
    /// Something was logged: for whom. Nothing follows from it for what is done later.
    pub(in crate::trace) fn logged(&self, actor: &Actor, time_ns: u64, runtime: Runtime) -> Found {
        let sent = Sent {
            actor: *actor,
            time_ns,
            stream: None,
            stream_context: None,
            is_message: false,
            carries: Carries::Nothing,
        };
        let found = if forwards(runtime) {
            self.logged_by_loop(actor, time_ns)
        } else {
            self.find_by_actor(&sent, runtime)
        };
        self.certain(found)
    }

    /// What belonged to it is settled.
    pub(in crate::trace) fn uses_no_more(&mut self, parent: SpanKey) {
        if let Some(inbound) = self.inbound.get_mut(&parent) {
            inbound.users = inbound.users.saturating_sub(1);
        }
        self.drop_unused(parent);
    }

    /// One more that is not settled may belong to an inbound request.
    pub(in crate::trace) fn uses(&mut self, parent: SpanKey) {
        if let Some(inbound) = self.inbound.get_mut(&parent) {
            inbound.users += 1;
        }
    }

    /// An event loop that forwards logs a request behind an operation for it, within the same round. It may also log what no
    /// operation shows, such as a connection that is refused: the record has to name the request, too.
    fn logged_by_loop(&self, actor: &Actor, time_ns: u64) -> Found {
        let tid = thread_of(actor);
        let acted = self.threads.get(&tid).and_then(|thread| thread.acted);
        match acted.filter(|(_, turn)| *turn == turn_of(actor) && *turn != 0) {
            Some((parent, _)) => Found::Candidate(Candidate {
                parent,
                source: Source::Upstream,
                tid,
                late: true,
                decided_ns: time_ns,
                sent_ns: time_ns,
            }),
            None if self.processes.get(&actor.pid).is_none_or(|process| process.open == 0) => Found::Root,
            None => Found::Unknown("causality.unknown.upstream"),
        }
    }
}
