//! A map that forgets what was put into it longest ago.
use std::collections::HashMap;
use std::hash::Hash;

use foldhash::fast::RandomState;

/// Two halves: when the younger is full it takes the place of the older one.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    young: HashMap<K, V, RandomState>,
    old: HashMap<K, V, RandomState>,
    /// Entries a half may have.
    half: usize,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    /// One that holds at most `most` entries, and always the half of them that came last.
    pub(super) fn of(most: usize) -> Self {
        Self {
            young: HashMap::default(),
            old: HashMap::default(),
            half: most / 2,
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let old = self.old.remove(key);
        self.young.remove(key).or(old)
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.young.retain(|key, _| keep(key));
        self.old.retain(|key, _| keep(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_fall_out() {
        let mut recent = Recent::of(8);
        for n in 0_u64..100 {
            recent.insert(n, n * 2);
            assert!(recent.young.len() + recent.old.len() <= 8, "{n}");
            let held = (n.saturating_sub(3)..=n).all(|n| recent.get(&n) == Some(&(n * 2)));
            assert!(held, "{n}");
        }
        assert_eq!(recent.get(&90), None);
    }

    #[test]
    fn the_newest_of_a_key_counts() {
        let mut recent = Recent::of(4);
        for (key, value) in [(1, 10), (2, 20), (3, 30), (1, 11)] {
            recent.insert(key, value);
        }
        assert_eq!(recent.get(&1), Some(&11));
        assert_eq!(recent.remove(&1), Some(11));
        assert_eq!(recent.get(&1), None, "in neither half");
        recent.retain(|key| *key != 3);
        assert_eq!((recent.get(&2), recent.get(&3)), (Some(&20), None));
    }
}
