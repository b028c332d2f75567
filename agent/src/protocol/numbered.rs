//! Requests that are answered in any order, each by a number.
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use foldhash::fast::RandomState;

use super::Mark;

/// Answers that came before what they answer and are kept, and how long, nanoseconds: threads report within microseconds of
/// each other.
const MAX_EARLY: usize = 64;
const EARLY_NS: u64 = 200_000_000;

/// What waits on a connection: `W` by number, and answers `A` whose question may still come.
#[derive(Debug)]
pub(super) struct Numbered<K, W, A> {
    waiting: HashMap<K, W, RandomState>,
    early: VecDeque<Early<K, A>>,
    /// Every request was seen, so that an answer to none comes before its question.
    certain: bool,
}

/// An answer to what was not seen yet.
#[derive(Debug)]
pub(super) struct Early<K, A> {
    number: K,
    pub(super) answer: A,
    pub(super) begin: Mark,
    pub(super) end: Mark,
}

impl<K: Copy + Eq + Hash, W, A> Numbered<K, W, A> {
    pub(super) fn new(certain: bool) -> Self {
        Self {
            waiting: HashMap::default(),
            early: VecDeque::new(),
            certain,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &W> {
        self.waiting.values()
    }

    /// A request waits. The answer to it, where that came before.
    pub(super) fn ask(&mut self, number: K, waiting: W) -> Option<Early<K, A>> {
        self.waiting.insert(number, waiting);
        let place = self.early.iter().position(|early| early.number == number);
        place.and_then(|place| self.early.remove(place))
    }

    /// What waits for the answer of this number waits no longer.
    pub(super) fn take(&mut self, number: K) -> Option<W> {
        self.waiting.remove(&number)
    }

    /// An answer to nothing that waits. Whether it is kept, since its question may come.
    pub(super) fn keep(&mut self, number: K, answer: A, begin: Mark, end: Mark) -> bool {
        let kept = self.certain && self.early.len() < MAX_EARLY;
        if kept {
            self.early.push_back(Early {
                number,
                answer,
                begin,
                end,
            });
        }
        kept
    }

    /// Forgets answers whose question has not come by now, so many.
    pub(super) fn forget_early(&mut self, now_ns: u64) -> usize {
        let is_late = |early: &mut Early<K, A>| now_ns.saturating_sub(early.end.moment.time_ns) >= EARLY_NS;
        let mut forgotten = 0_usize;
        while self.early.pop_front_if(is_late).is_some() {
            forgotten = forgotten.saturating_add(1);
        }
        forgotten
    }

    /// Requests may have been missed: an answer to none answers one of those. Forgets such answers, so many.
    pub(super) fn doubt(&mut self) -> usize {
        self.certain = false;
        self.early.drain(..).count()
    }

    /// Everything that waits waits no longer, in no order.
    pub(super) fn drain(&mut self) -> Vec<W> {
        self.waiting.drain().map(|(_, waiting)| waiting).collect()
    }
}
