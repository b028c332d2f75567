//! Requests that an event loop may send upstream once more.
//!
//! A proxy tries another server when one refuses, resets, closes or is too slow. What makes it do so need not be an
//! operation anybody sees: the kernel may tell it of a refusal, and a timer may run out. So behind a failure the next request
//! of the loop may be the second try of what failed, whatever was read last.
use std::collections::{HashSet, VecDeque};

use crate::span::SpanKey;

/// Failures that are remembered; they are looked at for little longer than [`LATER_NS`].
const MAX_FAILURES: usize = 256;
/// A failure is told of late where only the end of its connection tells: this much later the request sent behind it may
/// have been decided,
const EARLIER_NS: u64 = 100_000_000;
/// and this much earlier, where the other end is slow to agree to the end.
const LATER_NS: u64 = 500_000_000;

/// What one thread may try again.
#[derive(Debug, Default)]
pub(super) struct Retries {
    /// Inbound requests without an answer for which a request upstream may have failed and not been tried again.
    due: HashSet<SpanKey>,
    /// Failures that were not tried again as far as is known: when, and for which inbound request.
    failures: VecDeque<(u64, Option<SpanKey>)>,
}

impl Retries {
    /// A request upstream for `parent` came to nothing; if it is not known for whom it was sent, it was one of `open`.
    pub(super) fn failed(&mut self, parent: Option<SpanKey>, open: impl Iterator<Item = SpanKey>, now_ns: u64) {
        self.due
            .extend(open.filter(|span| parent.is_none_or(|parent| parent == *span)));
        if self.failures.len() >= MAX_FAILURES {
            self.failures.pop_front();
        }
        self.failures.push_back((now_ns, parent));
    }

    /// A request is sent for `parent`: if one has failed, this is the second try.
    pub(super) fn tried(&mut self, parent: SpanKey) {
        self.due.remove(&parent);
        self.failures.retain(|(_, failed)| *failed != Some(parent));
    }

    /// The answer to `parent` begins, or it is over: it will not be tried again.
    pub(super) fn answered(&mut self, parent: SpanKey) {
        self.due.remove(&parent);
    }

    /// Whether `parent` may be tried again now.
    pub(super) fn is_due(&self, parent: SpanKey) -> bool {
        self.due.contains(&parent)
    }

    /// Whether nothing but `parent` may be tried again now.
    pub(super) fn none_but(&self, parent: SpanKey) -> bool {
        self.due.iter().all(|due| *due == parent)
    }

    /// Whether, as is known by now, a request decided on at `decided_ns` may have been the second try of another one than
    /// `parent`.
    pub(super) fn others_near(&self, parent: SpanKey, decided_ns: u64) -> bool {
        let near = decided_ns.saturating_sub(EARLIER_NS)..=decided_ns.saturating_add(LATER_NS);
        self.failures
            .iter()
            .any(|(at, failed)| *failed != Some(parent) && near.contains(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: [SpanKey; 2] = [SpanKey(1), SpanKey(2)];

    #[test]
    fn a_failure_casts_doubt_until_it_is_tried_again_or_answered() {
        let mut retries = Retries::default();
        retries.failed(Some(SpanKey(1)), OPEN.into_iter(), 10);
        assert!(retries.none_but(SpanKey(1)) && !retries.none_but(SpanKey(2)));
        assert!(retries.others_near(SpanKey(2), 20));
        retries.answered(SpanKey(1));
        // What was sent before the answer may have been the second try all the same.
        assert!(retries.none_but(SpanKey(2)) && retries.others_near(SpanKey(2), 20));
        retries.tried(SpanKey(1));
        assert!(!retries.others_near(SpanKey(2), 20));
    }

    #[test]
    fn a_failure_of_nobody_knows_whom_is_anybodys() {
        let mut retries = Retries::default();
        retries.failed(None, OPEN.into_iter(), 1_000_000_000);
        assert!(!retries.none_but(SpanKey(1)) && !retries.none_but(SpanKey(2)) && !retries.none_but(SpanKey(3)));
        retries.answered(SpanKey(1));
        assert!(retries.none_but(SpanKey(2)) && !retries.none_but(SpanKey(3)));
        for (decided_ns, doubtful) in [
            (1, false),
            (600_000_000, true),
            (1_050_000_000, true),
            (1_200_000_000, false),
        ] {
            assert_eq!(retries.others_near(SpanKey(1), decided_ns), doubtful, "at {decided_ns}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut retries = Retries::default();
        for n in 0..1000 {
            retries.failed(Some(SpanKey(n)), OPEN.into_iter(), n);
        }
        assert_eq!((retries.failures.len(), retries.due.len()), (MAX_FAILURES, 2));
    }
}
