//! Spans that wait for the collector.
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Finished;
use crate::export::bounded::{Bounded, Bounds, Weighs};

/// What waits at most.
pub(super) const LIMIT: Bounds = Bounds {
    spans: 16_384,
    bytes: 16 << 20,
};
/// What a request holds at most: gRPC servers refuse 4 MiB and more unless told otherwise.
const BATCH: Bounds = Bounds {
    spans: 512,
    bytes: 2 << 20,
};

/// A bounded queue with one consumer.
pub(super) struct Queue<T = Finished> {
    waiting: Mutex<Bounded<T>>,
    /// Told when the queue is no longer empty, and when a whole batch waits.
    changed: Notify,
}

impl<T: Weighs> Default for Queue<T> {
    fn default() -> Self {
        Self {
            waiting: Mutex::new(Bounded::new(LIMIT)),
            changed: Notify::default(),
        }
    }
}

impl<T: Weighs> Queue<T> {
    /// False if there was no room.
    #[must_use]
    pub(super) fn push(&self, span: T) -> bool {
        let mut waiting = self.waiting();
        let (was_empty, was_full) = (waiting.is_empty(), waiting.fills(BATCH));
        let fits = waiting.push(span);
        if fits && (was_empty || (!was_full && waiting.fills(BATCH))) {
            self.changed.notify_one();
        }
        fits
    }

    /// Whether a span of usual size would be taken.
    pub(super) fn has_room(&self) -> bool {
        self.waiting().has_room()
    }

    /// The oldest spans, as many as fit into a request.
    pub(super) fn take(&self) -> Vec<T> {
        self.waiting().take(BATCH)
    }

    /// Waits until spans wait.
    pub(super) async fn some(&self) {
        self.until(|waiting| !waiting.is_empty()).await;
    }

    /// Waits until a whole batch waits.
    pub(super) async fn full_batch(&self) {
        self.until(|waiting| waiting.fills(BATCH)).await;
    }

    /// Empties the queue and says how many that were, as `count` counts them.
    pub(super) fn clear(&self, count: impl Fn(&T) -> u64) -> u64 {
        self.waiting().clear(count)
    }

    async fn until(&self, holds: impl Fn(&Bounded<T>) -> bool) {
        loop {
            if holds(&self.waiting()) {
                return;
            }
            self.changed.notified().await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Bounded<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
