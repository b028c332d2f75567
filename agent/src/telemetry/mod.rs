//! Clew's account of itself: how much it did, what it lost and why, what it cost.
//!
//! In: the names of counters, raised by the stages through whoever runs them. Out: [`Counters::snapshot`] for the summary,
//! and [`Usage`] of the agent's own process. Nothing here decides anything.
mod names;
mod usage;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use names::{NAMES, is_loss, meaning};
pub use usage::{Usage, usage};

/// Events that the kernel side could not hand over: there was no room for them.
pub const LOST: &str = "capture.ring_full";

/// Counters by name, shared by cloning. Raising one that [`NAMES`] knows takes no lock.
#[derive(Clone, Debug)]
pub struct Counters(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// One for each line of [`NAMES`].
    known: Vec<AtomicU64>,
    /// The rest: the kernel side's, and names that are missing in the table. They are compiled in, so they are few.
    others: Mutex<BTreeMap<String, u64>>,
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

impl Counters {
    /// All zero.
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            known: NAMES.iter().map(|_| AtomicU64::new(0)).collect(),
            others: Mutex::new(BTreeMap::new()),
        }))
    }

    /// One more.
    pub fn raise(&self, name: &'static str) {
        self.add(name, 1);
    }

    /// `n` more. At the end of the range the value stays there.
    pub fn add(&self, name: &'static str, n: u64) {
        if n == 0 {
            return;
        }
        match self.known(name) {
            Some(value) => {
                let _previous =
                    value.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| Some(old.saturating_add(n)));
            }
            None => {
                let mut others = self.0.others.lock().unwrap_or_else(PoisonError::into_inner);
                let value = others.entry(name.to_owned()).or_insert(0);
                *value = value.saturating_add(n);
            }
        }
    }

    /// Makes `name` exactly `value`: for counters kept elsewhere, such as in the kernel.
    pub fn set(&self, name: &str, value: u64) {
        match self.known(name) {
            Some(known) => known.store(value, Ordering::Relaxed),
            None => {
                let mut others = self.0.others.lock().unwrap_or_else(PoisonError::into_inner);
                others.insert(name.to_owned(), value);
            }
        }
    }

    /// The value of one counter, 0 if it was never raised.
    pub fn value(&self, name: &str) -> u64 {
        match self.known(name) {
            Some(value) => value.load(Ordering::Relaxed),
            None => {
                let others = self.0.others.lock().unwrap_or_else(PoisonError::into_inner);
                others.get(name).copied().unwrap_or(0)
            }
        }
    }

    /// All counters that are not zero, sorted by name.
    pub fn snapshot(&self) -> Vec<(String, u64)> {
        let mut all = self.0.others.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for ((name, _), value) in NAMES.iter().zip(&self.0.known) {
            all.insert((*name).to_owned(), value.load(Ordering::Relaxed));
        }
        all.into_iter().filter(|(_, value)| *value != 0).collect()
    }

    fn known(&self, name: &str) -> Option<&AtomicU64> {
        let place = NAMES.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
        self.0.known.get(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_add_up_across_clones() {
        let counters = Counters::new();
        let other = counters.clone();
        counters.raise("export.failed");
        other.add("export.failed", 2);
        other.add("export.rejected", 0);
        other.raise("not.in.the_table");
        other.set("capture.events", 7);
        other.set("capture.events", 9);
        counters.add("export.spans", u64::MAX);
        counters.add("export.spans", 5);
        assert_eq!(counters.value("export.failed"), 3);
        let expected = [
            ("capture.events", 9),
            ("export.failed", 3),
            ("export.spans", u64::MAX),
            ("not.in.the_table", 1),
        ];
        assert_eq!(
            counters.snapshot(),
            expected.map(|(name, value)| (name.to_owned(), value)).to_vec()
        );
    }
}
