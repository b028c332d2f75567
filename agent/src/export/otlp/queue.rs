//! Spans that wait for the collector.
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::Finished;
use crate::export::weight;

/// Most spans that wait.
pub(super) const LIMIT_SPANS: usize = 16_384;
/// About the most memory they take.
pub(super) const LIMIT_BYTES: usize = 16 << 20;
/// Most spans in a request.
pub(super) const BATCH_SPANS: usize = 512;
/// About the most bytes in a request: gRPC servers refuse 4 MiB and more unless told otherwise.
const BATCH_BYTES: usize = 2 << 20;

/// A bounded queue with one consumer. New spans are the ones dropped when it is full: those that wait may be the parents
/// of spans the collector already has.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// Told when the queue is no longer empty, and when a whole batch waits.
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    spans: VecDeque<(Finished, usize)>,
    bytes: usize,
}

impl Waiting {
    fn fills_a_batch(&self) -> bool {
        self.spans.len() >= BATCH_SPANS || self.bytes >= BATCH_BYTES
    }
}

impl Queue {
    /// False if there was no room.
    #[must_use]
    pub(super) fn push(&self, span: Finished) -> bool {
        let bytes = weight(&span);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.spans.len() >= LIMIT_SPANS || waiting.bytes.saturating_add(bytes) > LIMIT_BYTES {
            return false;
        }
        let (was_empty, was_full) = (waiting.spans.is_empty(), waiting.fills_a_batch());
        waiting.bytes += bytes;
        waiting.spans.push_back((span, bytes));
        if was_empty || (!was_full && waiting.fills_a_batch()) {
            self.changed.notify_one();
        }
        true
    }

    /// The oldest spans, as many as fit into a request.
    pub(super) fn take(&self) -> Vec<Finished> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = Vec::new();
        let mut taken = 0_usize;
        while let Some((span, bytes)) = waiting.spans.pop_front() {
            // A single span larger than a request still has to go.
            if batch.len() >= BATCH_SPANS || (!batch.is_empty() && taken + bytes > BATCH_BYTES) {
                waiting.spans.push_front((span, bytes));
                break;
            }
            taken += bytes;
            waiting.bytes = waiting.bytes.saturating_sub(bytes);
            batch.push(span);
        }
        batch
    }

    /// Waits until spans wait.
    pub(super) async fn some(&self) {
        self.until(|waiting| !waiting.spans.is_empty()).await;
    }

    /// Waits until a whole batch waits.
    pub(super) async fn full_batch(&self) {
        self.until(Waiting::fills_a_batch).await;
    }

    /// Empties the queue and says how many spans that were.
    pub(super) fn clear(&self) -> usize {
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.spans.len()
    }

    async fn until(&self, holds: impl Fn(&Waiting) -> bool) {
        loop {
            if holds(&self.waiting.lock().unwrap_or_else(PoisonError::into_inner)) {
                return;
            }
            self.changed.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::sample::{Sample, service};
    use crate::span::Value;

    /// Pushes `count` spans with a text of `bytes` each; checks how many fit and how they come out.
    fn check(count: usize, bytes: usize, fit: usize, batches: &[usize]) {
        let (queue, process) = (Queue::default(), service("a"));
        let span = Sample::server(1, &process)
            .with("text", Value::Text("x".repeat(bytes)))
            .done();
        let accepted = (0..count).filter(|_| queue.push(Finished::clone(&span))).count();
        assert_eq!(accepted, fit);
        for &size in batches {
            assert_eq!(queue.take().len(), size);
        }
    }

    #[test]
    fn bounds_and_batches() {
        check(0, 0, 0, &[0]);
        check(600, 10, 600, &[512, 88, 0]);
        check(20_000, 10, LIMIT_SPANS, &[512]);
        check(40, 1 << 20, 15, &[1, 1]);
        check(1, 3 << 20, 1, &[1, 0]);
        check(1, 17 << 20, 0, &[0]);
    }
}
