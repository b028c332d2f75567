//! When finished spans are settled.
//!
//! What could change a span's place is reported within a while, so each waits for that. A host that makes a hundred thousand spans a second
//! would fill the memory there is for them meanwhile. Once a part of it is full, those wait less the fuller it is of which all is known:
//! their other end was seen, and each link up to the root can be judged by who did it.
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{MAX_BYTES, MAX_DEPTH, MAX_SPANS, Traces, serves};
use crate::span::SpanKey;
use crate::trace::Placed;

/// How long after its end a span is settled: what could change its place is reported within this.
const LINGER_NS: u64 = 500_000_000;
/// How long after its end a span of which all is known is settled where memory runs short, at most: the ends of an exchange are reported
/// by different threads.
const SHORT_NS: u64 = 50_000_000;
/// Hundredths of the memory from which on spans are settled early, and from which on at once.
const SHORT_FROM: usize = 25;
const SHORT_UNTIL: usize = 75;
/// How long after its end a span waits for the inbound request it may belong to to end.
const PATIENCE_NS: u64 = 10_000_000_000;

/// Finished spans by the time they may be settled.
#[derive(Default)]
pub(super) struct Due {
    waiting: BinaryHeap<Reverse<(u64, SpanKey)>>,
    /// Those that were looked at before their time, and have to wait for it.
    patient: BinaryHeap<Reverse<(u64, SpanKey)>>,
}

impl Due {
    pub(super) fn finished(&mut self, key: SpanKey, end_ns: u64) {
        self.waiting.push(Reverse((end_ns.saturating_add(LINGER_NS), key)));
    }

    /// One that is due by `now_ns`, and when it is.
    fn next(&mut self, now_ns: u64) -> Option<(u64, SpanKey)> {
        take(&mut self.patient, now_ns).or_else(|| take(&mut self.waiting, now_ns))
    }
}

fn take(heap: &mut BinaryHeap<Reverse<(u64, SpanKey)>>, now_ns: u64) -> Option<(u64, SpanKey)> {
    heap.peek().filter(|Reverse((due, _))| *due <= now_ns)?;
    heap.pop().map(|Reverse(entry)| entry)
}

impl Traces {
    /// Settles what is due at `now_ns`, the time of events.
    pub fn tick(&mut self, now_ns: u64, out: &mut Vec<Placed>) {
        while let Some((due, key)) = self.due.next(now_ns) {
            let Some(node) = self.nodes.get(&key) else { continue };
            let end_ns = node.finished.as_ref().map_or(due, |(end_ns, _)| *end_ns);
            if !self.is_ripe(key) && now_ns < end_ns.saturating_add(PATIENCE_NS) {
                self.due.waiting.push(Reverse((now_ns.saturating_add(LINGER_NS), key)));
                continue;
            }
            self.settle(key, out);
        }
        while let Some(wait_ns) = self.short_of_room() {
            let early = now_ns.saturating_add(LINGER_NS - wait_ns);
            let Some((due, key)) = take(&mut self.due.waiting, early) else {
                break;
            };
            if self.is_known(key) {
                self.settle(key, out);
            } else {
                self.due.patient.push(Reverse((due, key)));
            }
        }
    }

    /// How long after their ends spans of which all is known are settled now, less the less room there is; none where there is enough.
    fn short_of_room(&self) -> Option<u64> {
        let taken = (self.bytes * 100 / MAX_BYTES).max(self.nodes.len() * 100 / MAX_SPANS);
        let left = SHORT_UNTIL.saturating_sub(taken) as u64;
        (taken >= SHORT_FROM).then_some(SHORT_NS / (SHORT_UNTIL - SHORT_FROM) as u64 * left)
    }

    /// Settles every finished span: the agent stops.
    pub fn finish_all(&mut self, out: &mut Vec<Placed>) {
        while let Some((_, key)) = self.due.next(u64::MAX) {
            self.settle(key, out);
        }
    }

    /// Whether every link from here to the root can be judged.
    fn is_ripe(&self, key: SpanKey) -> bool {
        self.is_settled_by(key, |_| true)
    }

    /// Whether nothing that is still to come changes the span or its place, as far as that can be said.
    fn is_known(&self, key: SpanKey) -> bool {
        let is_alone = self.nodes.get(&key).is_some_and(|node| {
            node.peer.is_none() || node.logged || node.mail.as_ref().is_some_and(|mail| !mail.got.is_empty())
        });
        // Who forwards may send again, by which it shows what it did before.
        !is_alone
            && self.is_settled_by(key, |node| {
                !node.candidate.is_some_and(|candidate| candidate.is_of_loop())
            })
    }

    /// Whether every link from here to the root can be judged, and `holds` for each span on the way.
    fn is_settled_by(&self, key: SpanKey, holds: impl Fn(&super::Node) -> bool) -> bool {
        let mut at = Some(key);
        for _ in 0..MAX_DEPTH {
            let Some(node) = at.and_then(|at| self.nodes.get(&at)) else {
                return true;
            };
            if node.trace.is_some() && at != Some(key) {
                return true;
            }
            if !holds(node) {
                return false;
            }
            at = match &node.candidate {
                Some(candidate) if !self.causality.is_ripe(candidate) => return false,
                Some(candidate) => Some(candidate.parent),
                None => node
                    .peer
                    .filter(|_| serves(node.opened.kind))
                    .or_else(|| self.sender(node)),
            };
        }
        true
    }
}
