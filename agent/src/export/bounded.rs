//! Spans that wait for an output, bounded in number and in memory.
use std::collections::VecDeque;

use super::{Finished, Logged};
use crate::trace::Placed;

/// Most spans that wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) spans: usize,
    /// About the most memory they take.
    pub(crate) bytes: usize,
}

/// A queue with bounds. New spans are the ones refused when it is full: those that wait may be the parents of spans that
/// are out already.
pub(super) struct Bounded<T = Finished> {
    bounds: Bounds,
    spans: VecDeque<(T, usize)>,
    bytes: usize,
}

/// What takes memory while it waits.
pub trait Weighs {
    /// About how many bytes.
    fn weight(&self) -> usize;
}

impl Weighs for Finished {
    fn weight(&self) -> usize {
        weight(self)
    }
}

impl Weighs for Logged {
    fn weight(&self) -> usize {
        match self {
            Self::OfSpan(placed) => weight(placed),
            Self::Alone(loose) => size_of_val(loose) + loose.record.bytes(),
        }
    }
}

impl<T: Weighs> Bounded<T> {
    pub(super) const fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            spans: VecDeque::new(),
            bytes: 0,
        }
    }

    /// False if there was no room.
    #[must_use]
    pub(super) fn push(&mut self, span: T) -> bool {
        let bytes = span.weight();
        if self.spans.len() >= self.bounds.spans || self.bytes.saturating_add(bytes) > self.bounds.bytes {
            return false;
        }
        self.bytes += bytes;
        self.spans.push_back((span, bytes));
        true
    }

    /// The oldest spans, as many as `batch` allows; one that is larger by itself still goes.
    pub(super) fn take(&mut self, batch: Bounds) -> Vec<T> {
        let mut taken = Vec::with_capacity(batch.spans.min(self.spans.len()));
        let mut bytes = 0_usize;
        while let Some((_, next)) = self.spans.front() {
            let (next, begun) = (*next, !taken.is_empty());
            if taken.len() >= batch.spans || (begun && bytes + next > batch.bytes) {
                break;
            }
            bytes += next;
            self.bytes = self.bytes.saturating_sub(next);
            taken.extend(self.spans.pop_front().map(|(span, _)| span));
        }
        taken
    }

    /// Whether a span of usual size would be taken.
    pub(super) fn has_room(&self) -> bool {
        const USUAL_BYTES: usize = 16 << 10;
        self.spans.len() < self.bounds.spans && self.bytes + USUAL_BYTES <= self.bounds.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Whether as much waits as `batch` allows.
    pub(super) fn fills(&self, batch: Bounds) -> bool {
        self.spans.len() >= batch.spans || self.bytes >= batch.bytes
    }

    /// Empties it; how many that were, as `count` counts them.
    pub(super) fn clear(&mut self, count: impl Fn(&T) -> u64) -> u64 {
        self.bytes = 0;
        std::mem::take(&mut self.spans)
            .iter()
            .map(|(span, _)| count(span))
            .sum()
    }
}

/// About how many bytes of memory a span takes, for the bounds of queues.
fn weight(placed: &Placed) -> usize {
    size_of::<Placed>() - size_of_val(&placed.span)
        + placed.span.bytes()
        + placed.trace_state.len()
        + placed.log_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::sample::{Sample, service};
    use crate::span::Value;

    /// Pushes `count` spans with a text of `bytes` each; checks how many fit and how they come out.
    fn check(count: usize, bytes: usize, fit: usize, batches: &[usize]) {
        const BATCH: Bounds = Bounds {
            spans: 100,
            bytes: 1 << 20,
        };
        let mut queue = Bounded::new(Bounds {
            spans: 1000,
            bytes: 4 << 20,
        });
        let process = service("a");
        let span = Sample::server(1, &process)
            .with("text", Value::Text("x".repeat(bytes).into()))
            .done();
        let accepted = (0..count).filter(|_| queue.push(Finished::clone(&span))).count();
        assert_eq!(accepted, fit);
        for &size in batches {
            assert_eq!(queue.take(BATCH).len(), size);
        }
        let rest = fit - batches.iter().sum::<usize>();
        assert_eq!(
            (queue.clear(|_| 1), queue.bytes, queue.is_empty()),
            (rest as u64, 0, true)
        );
    }

    #[test]
    fn bounds_and_batches() {
        check(0, 0, 0, &[0]);
        check(120, 10, 120, &[100, 20, 0]);
        check(2000, 10, 1000, &[100]);
        check(40, 1 << 19, 7, &[1, 1]);
        check(1, 3 << 20, 1, &[1, 0]);
        check(1, 5 << 20, 0, &[0]);
    }

    #[test]
    fn what_does_not_lie_in_the_span_itself_counts() {
        let process = service("a");
        let weight = |text: &'static str| {
            let long = Value::Text(text.repeat(100).into());
            weight(&Sample::server(1, &process).with("text", long).done())
        };
        assert_eq!(weight("abc") - weight("ab"), 100);
        assert!(weight("a") > size_of::<Placed>());
    }
}
