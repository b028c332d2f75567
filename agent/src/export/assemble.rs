//! Gathers the spans of a trace until it is likely complete.
use std::collections::{HashMap, HashSet, VecDeque};

use super::Finished;
use crate::telemetry::Counters;

/// Bounds and patience of an [`Assembler`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most spans kept of one trace; further ones are counted `export.trace_spans_full`.
    pub trace_spans: usize,
    /// Most spans kept in all; beyond, the oldest traces are released early, counted `export.traces_cut`.
    pub spans: usize,
    /// A trace is released when nothing came for this long, nanoseconds.
    pub quiet_ns: u64,
    /// The same while a parent is missing.
    pub missing_ns: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            trace_spans: 2_000,
            spans: 20_000,
            quiet_ns: 1_000_000_000,
            missing_ns: 3_000_000_000,
        }
    }
}

/// Gathers spans by trace. A span that comes after its trace was released begins a second part of it.
pub struct Assembler {
    limits: Limits,
    counters: Counters,
    traces: HashMap<[u8; 16], Open>,
    /// Traces from the oldest to the newest; with those that were released, which their number tells apart.
    by_age: VecDeque<([u8; 16], u64)>,
    spans: usize,
    next_number: u64,
}

struct Open {
    number: u64,
    spans: Vec<Finished>,
    last_ns: u64,
}

impl Open {
    /// A span names a parent that is not here.
    fn lacks_a_parent(&self) -> bool {
        let here: HashSet<[u8; 8]> = self.spans.iter().map(|span| span.span_id).collect();
        let mut parents = self.spans.iter().filter_map(|span| span.parent_id);
        parents.any(|parent| !here.contains(&parent))
    }
}

impl Assembler {
    /// An empty one.
    pub fn new(limits: Limits, counters: Counters) -> Self {
        Self {
            limits,
            counters,
            traces: HashMap::new(),
            by_age: VecDeque::new(),
            spans: 0,
            next_number: 0,
        }
    }

    /// Takes a span at this monotonic time; gives the traces that have to make room for it.
    pub fn add(&mut self, span: Finished, now_ns: u64) -> Vec<Vec<Finished>> {
        let id = span.trace_id;
        let open = self.traces.entry(id).or_insert_with(|| {
            let number = self.next_number;
            self.next_number += 1;
            self.by_age.push_back((id, number));
            Open {
                number,
                spans: Vec::new(),
                last_ns: now_ns,
            }
        });
        open.last_ns = now_ns;
        if open.spans.len() >= self.limits.trace_spans {
            self.counters.raise("export.trace_spans_full");
            return Vec::new();
        }
        open.spans.push(span);
        self.spans += 1;

        let mut released = Vec::new();
        while self.spans > self.limits.spans {
            let Some((oldest, number)) = self.by_age.pop_front() else {
                break;
            };
            if self.traces.get(&oldest).is_some_and(|open| open.number == number) {
                self.counters.raise("export.traces_cut");
                released.extend(self.release(&oldest));
            }
        }
        released
    }

    /// The traces that are quiet at this monotonic time, those that began first before the others.
    pub fn tick(&mut self, now_ns: u64) -> Vec<Vec<Finished>> {
        let limits = self.limits;
        let is_quiet = |open: &Open| {
            let quiet_ns = now_ns.saturating_sub(open.last_ns);
            quiet_ns >= limits.missing_ns || (quiet_ns >= limits.quiet_ns && !open.lacks_a_parent())
        };
        let quiet = self.traces.iter().filter(|(_, open)| is_quiet(open)).map(|(id, _)| *id);
        let quiet = quiet.collect::<Vec<_>>();
        let released = self.release_all(quiet);
        let traces = &self.traces;
        self.by_age
            .retain(|(id, number)| traces.get(id).is_some_and(|open| open.number == *number));
        released
    }

    /// All traces: nothing more will come.
    pub fn finish(&mut self) -> Vec<Vec<Finished>> {
        let all = self.traces.keys().copied().collect();
        self.by_age.clear();
        self.release_all(all)
    }

    fn release_all(&mut self, ids: Vec<[u8; 16]>) -> Vec<Vec<Finished>> {
        let mut released: Vec<_> = ids.iter().filter_map(|id| self.release(id)).collect();
        released.sort_by_key(|spans| spans.iter().map(|span| span.span.start_ns).min());
        released
    }

    fn release(&mut self, id: &[u8; 16]) -> Option<Vec<Finished>> {
        let open = self.traces.remove(id)?;
        self.spans = self.spans.saturating_sub(open.spans.len());
        Some(open.spans)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::sample::{Sample, service};

    const SECOND: u64 = 1_000_000_000;

    /// What happens, in order.
    enum Do {
        /// A span comes: trace, id, parent (0 for none), at which second; these traces have to go.
        Add(u64, u64, u64, u64, &'static [&'static [u64]]),
        /// At this second these traces are released.
        Tick(u64, &'static [&'static [u64]]),
        Finish(&'static [&'static [u64]]),
    }
    use Do::{Add, Finish, Tick};

    fn check(limits: Limits, steps: &[Do], counters: &[(&str, u64)]) {
        let counted = Counters::new();
        let mut assembler = Assembler::new(limits, counted.clone());
        let process = service("a");
        for (number, step) in steps.iter().enumerate() {
            let (released, expected) = match *step {
                Add(trace, id, parent, second, expected) => {
                    let span = Sample::server(id, &process).trace(trace).at(id, id + 1);
                    let span = if parent == 0 { span } else { span.parent(parent) };
                    (assembler.add(span.done(), second * SECOND), expected)
                }
                Tick(second, expected) => (assembler.tick(second * SECOND), expected),
                Finish(expected) => (assembler.finish(), expected),
            };
            let ids: Vec<Vec<u64>> = released
                .iter()
                .map(|spans| spans.iter().map(|span| u64::from_be_bytes(span.span_id)).collect())
                .collect();
            assert_eq!(ids, expected, "step {number}");
        }
        let counted = counted.snapshot();
        let counted: Vec<_> = counted.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert_eq!(counted, counters);
        assert_eq!((assembler.spans, assembler.by_age.len()), (0, 0), "something was kept");
    }

    #[test]
    fn traces_are_released_when_quiet() {
        check(
            Limits::default(),
            &[
                Add(1, 2, 1, 0, &[]),
                Tick(1, &[]),
                Add(1, 1, 0, 1, &[]),
                Add(2, 5, 0, 1, &[]),
                Tick(1, &[]),
                Tick(2, &[&[2, 1], &[5]]),
                Finish(&[]),
            ],
            &[],
        );
    }

    #[test]
    fn a_missing_parent_is_waited_for() {
        check(
            Limits::default(),
            &[
                Add(1, 2, 1, 0, &[]),
                Tick(2, &[]),
                Tick(3, &[&[2]]),
                Add(1, 1, 0, 4, &[]),
                Finish(&[&[1]]),
            ],
            &[],
        );
    }

    #[test]
    fn bounds() {
        let limits = Limits {
            trace_spans: 2,
            spans: 3,
            ..Limits::default()
        };
        check(
            limits,
            &[
                Add(1, 1, 0, 0, &[]),
                Add(1, 2, 1, 0, &[]),
                Add(1, 3, 1, 0, &[]),
                Add(2, 4, 0, 0, &[]),
                Add(3, 5, 0, 0, &[&[1, 2]]),
                Finish(&[&[4], &[5]]),
            ],
            &[("export.trace_spans_full", 1), ("export.traces_cut", 1)],
        );
    }
}
