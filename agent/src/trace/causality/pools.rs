//! Threads that may run what another request asked for.
use super::{Causality, thread_of};
use crate::capture::Actor;
use crate::span::SpanKey;

impl Causality {
    /// A thread runs what others asked for while it waits, or `any` of its process does.
    pub(in crate::trace) fn helps(&mut self, actor: &Actor, any: bool) {
        if any {
            self.processes.entry(actor.pid).or_default().pools = true;
        }
        if let Some(thread) = self.thread((actor.pid, u64::from(actor.tid))) {
            thread.helps = true;
        }
    }

    /// Remembers whether a thread answers what another read.
    pub(super) fn answered_for(&mut self, span: SpanKey, actor: &Actor, answered: bool) {
        let tid = thread_of(actor);
        let for_other = self.inbound.get(&span).is_some_and(|inbound| inbound.tid != tid);
        let takes_over = self.processes.get(&actor.pid).is_some_and(|process| process.takes_over);
        if !answered || !for_other || takes_over {
            return;
        }
        let Some(thread) = self.thread(tid) else { return };
        thread.answers_others = true;
        if thread.reads {
            self.processes.entry(actor.pid).or_default().pools = true;
        }
    }
}
