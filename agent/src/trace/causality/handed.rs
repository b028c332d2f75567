//! Messages that a process hands on to processes it created, which do what is asked: workers of Celery.
//!
//! Who reads messages from a broker reads ahead, and hands them on in an order of its own. So what tells is what was handed: the
//! message's own name, an identifier that no other has.
//!
//! What is claimed: the thread that took something out of a pipe works for the message by whose name what it took first names anything,
//! until it takes the next from there. What can deceive, and why it does not:
//!
//! * Something else is named besides: the message that a task came of. That is believed only where the message itself names it, too.
//! * Two messages of one process have one name, since one was handed over again: neither is believed.
//! * A thread takes things out of several pipes: if they are for different messages nothing is known.
//! * The name is of a message that another process got: only those that created the reader, or their creators, may have handed it over.
use std::sync::Arc;

use super::{Candidate, Causality, Found, Sent, Source, Tid, runs_loop, thread_of, turn_of};
use crate::capture::{Actor, Context, Pid};
use crate::protocol::uuid::Uuid;
use crate::span::SpanKey;
use crate::trace::contexts::Works;
use crate::trace::recent::Recent;

/// Names of messages that are remembered.
const MAX_HELD: usize = 65_536;
/// Threads of which it is remembered what they took.
const MAX_TAKERS: usize = 16_384;
/// Pipes a thread takes from that are remembered, the latest.
const MAX_PIPES: usize = 4;

/// Why it is not known for which message a thread works that takes work out of pipes.
const UNKNOWN: &str = "causality.unknown.handed";

/// A message that a process got.
#[derive(Clone, Debug)]
struct Held {
    span: SpanKey,
    /// What else it names.
    names: Arc<[Uuid]>,
}

/// What a thread took out of a pipe last.
#[derive(Debug)]
struct Taken {
    pipe: u64,
    /// Those that may have given it, the nearest first.
    givers: Vec<Pid>,
    /// What it names.
    named: Vec<Uuid>,
}

/// Messages that are handed on.
#[derive(Debug)]
pub(super) struct Handed {
    /// By who got them, and by name; none where two have the same.
    held: Recent<(Pid, Uuid), Option<Held>>,
    taken: Recent<Tid, Vec<Taken>>,
}

impl Default for Handed {
    fn default() -> Self {
        Self {
            held: Recent::of(MAX_HELD),
            taken: Recent::of(MAX_TAKERS),
        }
    }
}

impl Handed {
    /// A process got a message, which has these names of its own and names those others.
    fn got(&mut self, pid: Pid, span: SpanKey, own: &[Uuid], others: &[Uuid]) {
        let names: Arc<[Uuid]> = others.iter().chain(own).copied().collect();
        for name in own {
            let key = (pid, *name);
            let held = Held {
                span,
                names: Arc::clone(&names),
            };
            let twice = self
                .held
                .get(&key)
                .is_some_and(|held| held.as_ref().is_none_or(|held| held.span != span));
            self.held.insert(key, (!twice).then_some(held));
        }
    }

    /// A thread took something out of a pipe.
    fn took(&mut self, tid: Tid, taken: Taken) {
        let mut all = self.taken.remove(&tid).unwrap_or_default();
        all.retain(|other| other.pipe != taken.pipe);
        if all.len() >= MAX_PIPES {
            all.remove(0);
        }
        all.push(taken);
        self.taken.insert(tid, all);
    }

    /// For which message a thread works. None where it takes no work that is told.
    fn works(&self, tid: Tid) -> Option<Result<SpanKey, &'static str>> {
        let taken = self.taken.get(&tid)?;
        let mut named = taken.iter().filter(|taken| !taken.named.is_empty());
        let first = self.message(named.next()?);
        let alike = named.all(|taken| self.message(taken) == first);
        Some(first.filter(|_| alike).ok_or(UNKNOWN))
    }

    /// The message that something is.
    fn message(&self, taken: &Taken) -> Option<SpanKey> {
        let first = taken.named.first()?;
        let held = |name: &Uuid| taken.givers.iter().find_map(|giver| self.held.get(&(*giver, *name)));
        let message = held(first)?.as_ref()?;
        // What else is named has to be what the message names.
        let fits = |name: &Uuid| match held(name) {
            Some(Some(other)) => other.span == message.span || message.names.contains(name),
            Some(None) => message.names.contains(name),
            None => true,
        };
        taken.named.iter().all(fits).then_some(message.span)
    }

    /// Somebody may have taken something unseen.
    pub(super) fn lost(&mut self) {
        self.taken = Recent::of(MAX_TAKERS);
    }

    pub(super) fn exited(&mut self, pid: Pid) {
        self.held.retain(|(process, _)| *process != pid);
        self.taken.retain(|(process, _)| *process != pid);
    }
}

impl Causality {
    /// A process got a message that has these names of its own, and names those others.
    pub(in crate::trace) fn got_named(&mut self, pid: Pid, span: SpanKey, own: &[Uuid], others: &[Uuid]) {
        self.handed.got(pid, span, own, others);
    }

    /// A thread took something out of a pipe, perhaps from one of `givers`, the nearest first; it names these, in this order.
    pub(in crate::trace) fn took(&mut self, actor: &Actor, pipe: u64, givers: Vec<Pid>, named: Vec<Uuid>) {
        let taken = Taken { pipe, givers, named };
        self.handed.took(thread_of(actor), taken);
    }

    /// For what a context works that a thread makes which runs none.
    pub(super) fn lends(&self, tid: Tid) -> Works {
        match self.handed.works(tid) {
            Some(Ok(span)) => Works::After(span),
            Some(Err(_)) => Works::Unknown,
            None => Works::Itself,
        }
    }

    /// For whom something is done by a thread that was handed a message; none where it was not, or its process serves requests by itself.
    pub(super) fn by_handed(&self, sent: &Sent) -> Option<Found> {
        let actor = &sent.actor;
        let tid = thread_of(actor);
        let works = self.handed.works(tid).filter(|_| !self.is_busy(actor.pid))?;
        Some(match works {
            // What runs on it may have begun with what it took before.
            Ok(_) if actor.context != Context::Thread => Found::Unknown(UNKNOWN),
            Ok(_) if runs_loop(turn_of(actor)) => Found::Unknown("causality.unknown.event_loop"),
            Ok(parent) => Found::Candidate(Candidate {
                parent,
                source: Source::Handed,
                tid,
                late: true,
                decided_ns: sent.time_ns,
                sent_ns: sent.time_ns,
            }),
            Err(why) => Found::Unknown(why),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIN: Pid = Pid(1);
    const CHILD: Tid = (Pid(2), 2);
    const PIPE: u64 = 7;

    fn name(number: u64) -> Uuid {
        Uuid::parse(format!("00000000-0000-4000-8000-{number:012x}").as_bytes()).expect("one")
    }

    fn names(numbers: &[u64]) -> Vec<Uuid> {
        numbers.iter().copied().map(name).collect()
    }

    /// The main process got messages: each a span, its names, and what else it names.
    fn holding(messages: &[(u64, &[u64], &[u64])]) -> Handed {
        let mut handed = Handed::default();
        for (span, own, others) in messages {
            handed.got(MAIN, SpanKey(*span), &names(own), &names(others));
        }
        handed
    }

    fn take(handed: &mut Handed, pipe: u64, named: &[u64]) {
        let taken = Taken {
            pipe,
            givers: vec![MAIN],
            named: names(named),
        };
        handed.took(CHILD, taken);
    }

    #[track_caller]
    fn check(handed: &Handed, want: Option<Result<u64, &'static str>>) {
        assert_eq!(handed.works(CHILD).map(|works| works.map(|span| span.0)), want);
    }

    #[test]
    fn a_thread_works_for_what_it_took_last() {
        let mut handed = holding(&[(1, &[10], &[]), (2, &[20, 21], &[])]);
        check(&handed, None);
        take(&mut handed, PIPE, &[10]);
        check(&handed, Some(Ok(1)));
        take(&mut handed, PIPE, &[21, 20, 99]);
        check(&handed, Some(Ok(2)));
        // It reads the next.
        take(&mut handed, PIPE, &[]);
        check(&handed, None);
        // What came earlier than the message was seen.
        take(&mut handed, PIPE, &[30]);
        check(&handed, Some(Err(UNKNOWN)));
        handed.got(MAIN, SpanKey(3), &names(&[30]), &[]);
        check(&handed, Some(Ok(3)));
        handed.lost();
        check(&handed, None);
        handed.exited(MAIN);
        take(&mut handed, PIPE, &[30]);
        check(&handed, Some(Err(UNKNOWN)));
    }

    #[test]
    fn what_a_message_names_besides_is_no_doubt() {
        // The second is of a task that the first began.
        let mut handed = holding(&[(1, &[10], &[]), (2, &[20], &[10])]);
        take(&mut handed, PIPE, &[20, 10]);
        check(&handed, Some(Ok(2)));
        take(&mut handed, PIPE, &[10, 20]);
        check(&handed, Some(Err(UNKNOWN)));
    }

    #[test]
    fn doubts() {
        let mut handed = holding(&[(1, &[10], &[]), (2, &[20], &[])]);
        // Several at once, and one of them not known.
        take(&mut handed, PIPE, &[10, 20]);
        check(&handed, Some(Err(UNKNOWN)));
        take(&mut handed, PIPE, &[99, 10]);
        check(&handed, Some(Err(UNKNOWN)));
        // By two pipes.
        take(&mut handed, PIPE, &[10]);
        take(&mut handed, PIPE + 1, &[20]);
        check(&handed, Some(Err(UNKNOWN)));
        take(&mut handed, PIPE + 1, &[10]);
        check(&handed, Some(Ok(1)));
        take(&mut handed, PIPE + 1, &[99]);
        check(&handed, Some(Err(UNKNOWN)));
        take(&mut handed, PIPE + 1, &[]);
        check(&handed, Some(Ok(1)));
        // It was handed over again.
        handed.got(MAIN, SpanKey(3), &names(&[10]), &[]);
        check(&handed, Some(Err(UNKNOWN)));
        handed.got(MAIN, SpanKey(3), &names(&[10]), &[]);
        check(&handed, Some(Err(UNKNOWN)));
    }

    #[test]
    fn only_who_created_the_reader_hands_it_work() {
        let mut handed = holding(&[(1, &[10], &[])]);
        let mut check = |givers: Vec<Pid>, want| {
            let taken = Taken {
                pipe: PIPE,
                givers,
                named: names(&[10]),
            };
            handed.took(CHILD, taken);
            assert_eq!(handed.works(CHILD), Some(want));
        };
        check(vec![], Err(UNKNOWN));
        check(vec![Pid(9)], Err(UNKNOWN));
        check(vec![Pid(9), MAIN], Ok(SpanKey(1)));
    }
}
