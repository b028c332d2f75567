//! Spans on their way to a thread that writes them, some at a time.
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Finished;
use super::bounded::{Bounded, Bounds, Weighs};

/// A bounded queue, and who waits for it.
pub(crate) struct Queue<T = Finished> {
    waiting: Mutex<Waiting<T>>,
    /// Told when a whole batch waits, and at the end. Waking the writer for each span would cost more than the span.
    changed: Condvar,
    batch: Bounds,
    patience: Duration,
}

struct Waiting<T> {
    spans: Bounded<T>,
    closed: bool,
}

impl<T: Weighs> Queue<T> {
    /// What is given at once is at most `batch`; less is waited for `patience` long.
    pub(crate) const fn new(bounds: Bounds, batch: Bounds, patience: Duration) -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                spans: Bounded::new(bounds),
                closed: false,
            }),
            changed: Condvar::new(),
            batch,
            patience,
        }
    }

    /// Queues a span and never waits; false if there was no room.
    #[must_use]
    pub(crate) fn push(&self, span: T) -> bool {
        let mut waiting = self.waiting();
        let was_full = waiting.spans.fills(self.batch);
        let fits = waiting.spans.push(span);
        let wakes = !was_full && waiting.spans.fills(self.batch);
        drop(waiting);
        if wakes {
            self.changed.notify_one();
        }
        fits
    }

    /// Whether a span of usual size would be taken.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting().spans.has_room()
    }

    /// Waits for a whole batch, but no longer than the queue's patience where there is anything; none at the end.
    pub(crate) fn batch(&self) -> Option<Vec<T>> {
        loop {
            if let Some(batch) = self.soon() {
                return batch;
            }
        }
    }

    /// The same, but tells after the queue's patience also that there is nothing.
    #[expect(clippy::option_option, reason = "nothing yet, or nothing any more")]
    pub(crate) fn soon(&self) -> Option<Option<Vec<T>>> {
        let waits = |waiting: &mut Waiting<T>| !waiting.closed && !waiting.spans.fills(self.batch);
        let (mut waiting, _) = self
            .changed
            .wait_timeout_while(self.waiting(), self.patience, waits)
            .unwrap_or_else(PoisonError::into_inner);
        if !waiting.spans.is_empty() {
            return Some(Some(waiting.spans.take(self.batch)));
        }
        waiting.closed.then_some(None)
    }

    /// Nothing more will come.
    pub(crate) fn close(&self) {
        self.waiting().closed = true;
        self.changed.notify_one();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
