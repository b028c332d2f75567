//! How long spans took, counted by size: buckets that each are an eighth of a power of two wide.
use std::collections::BTreeMap;

/// Buckets of a power of two.
const STEPS: u64 = 8;

/// Counts by bucket. Stored as pairs of varints, bucket and count, in the order of buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Histogram(BTreeMap<u16, u64>);

impl Histogram {
    pub(super) fn add(&mut self, duration_ns: u64) {
        *self.0.entry(bucket(duration_ns)).or_default() += 1;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.0 {
            let sum = self.0.entry(*bucket).or_default();
            *sum = sum.saturating_add(*count);
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.len() * 3);
        for (bucket, count) in &self.0 {
            prost::encoding::encode_varint(u64::from(*bucket), &mut out);
            prost::encoding::encode_varint(*count, &mut out);
        }
        out
    }

    /// What cannot be understood is left out.
    pub(super) fn decode(mut bytes: &[u8]) -> Self {
        let mut found = Self::default();
        while !bytes.is_empty() {
            let pair = prost::encoding::decode_varint(&mut bytes)
                .and_then(|bucket| Ok((bucket, prost::encoding::decode_varint(&mut bytes)?)));
            let Ok((bucket, count)) = pair else { break };
            found.0.insert(u16::try_from(bucket).unwrap_or(u16::MAX), count);
        }
        found
    }

    /// About the time that `share` of them did not exceed: those of a bucket are taken to lie evenly in it.
    pub(super) fn quantile(&self, share: f64) -> u64 {
        let total: u64 = self.0.values().fold(0, |sum, count| sum.saturating_add(*count));
        let wanted = (total as f64 * share).ceil() as u64;
        let mut passed = 0_u64;
        for (bucket, count) in &self.0 {
            let within = wanted.max(1).saturating_sub(passed);
            passed = passed.saturating_add(*count);
            if within <= *count {
                let (least, most) = (lower(*bucket), upper(*bucket));
                let part = (within as f64 - 0.5) / *count as f64;
                return least.saturating_add((most.saturating_sub(least) as f64 * part) as u64);
            }
        }
        0
    }
}

/// Small numbers have a bucket each.
fn bucket(ns: u64) -> u16 {
    if ns < STEPS {
        return u16::try_from(ns).unwrap_or(0);
    }
    let power = u64::from(ns.ilog2());
    // The three bits behind the first.
    let step = (ns >> (power - 3)) & (STEPS - 1);
    u16::try_from((power - 2) * STEPS + step).unwrap_or(u16::MAX)
}

/// The smallest number in a bucket.
fn lower(bucket: u16) -> u64 {
    bucket
        .checked_sub(1)
        .map_or(0, |before| upper(before).saturating_add(1))
}

/// The largest number in a bucket.
fn upper(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    if bucket < STEPS {
        return bucket;
    }
    let (power, step) = (bucket / STEPS + 2, bucket % STEPS);
    let width = 1_u64
        .checked_shl(u32::try_from(power - 3).unwrap_or(u32::MAX))
        .unwrap_or(0);
    (STEPS + step + 1).saturating_mul(width).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_they_say() {
        let mut last = 0;
        for ns in (0..2000).chain((11..63).flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 12345])) {
            let bucket = bucket(ns);
            let (begin, end) = (lower(bucket), upper(bucket));
            assert!(
                begin <= ns && ns <= end && end - begin <= ns / 8,
                "{ns} in {bucket}, {begin} to {end}"
            );
            last = last.max(bucket);
        }
        assert!(last < 512, "{last}");
    }

    #[test]
    fn quantiles_survive_storing_and_merging() {
        let (mut one, mut two) = (Histogram::default(), Histogram::default());
        (1..=50).for_each(|ms| one.add(ms * 1_000_000));
        (51..=100).for_each(|ms| two.add(ms * 1_000_000));
        one.merge(&Histogram::decode(&two.encode()));
        for (share, ms) in [(0.5, 50_u64), (0.9, 90), (0.99, 99), (1.0, 100)] {
            let (found, exact) = (one.quantile(share), ms * 1_000_000);
            assert!(found.abs_diff(exact) <= exact / 16, "{share}: {found}");
        }
        assert_eq!(Histogram::default().quantile(0.5), 0);
        assert_eq!(Histogram::decode(&[1, 255, 255]), Histogram::default());
    }
}
