//! Turns the kernel's monotonic time into Unix time.
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use nix::time::{ClockId, clock_gettime};

/// The distance between `CLOCK_MONOTONIC` and Unix time, shared by cloning.
#[derive(Clone, Debug)]
pub struct Clock(Arc<AtomicI64>);

impl Clock {
    /// Spans of one trace must be converted alike, so a new reading within this distance changes nothing.
    const TOLERANCE_NS: u64 = 1_000_000;

    /// A clock that has read both.
    pub fn now() -> Self {
        let clock = Self::at(0);
        clock.resample();
        clock
    }

    /// A clock by which monotonic 0 is `offset_ns` after the epoch.
    pub fn at(offset_ns: i64) -> Self {
        Self(Arc::new(AtomicI64::new(offset_ns)))
    }

    /// Reads both clocks again, for when Unix time was set or has drifted.
    pub fn resample(&self) {
        // Of several readings the shortest is the most exact.
        let readings = (0..3).filter_map(|_| {
            let before = read(ClockId::CLOCK_MONOTONIC)?;
            let unix = read(ClockId::CLOCK_REALTIME)?;
            let after = read(ClockId::CLOCK_MONOTONIC)?;
            let took = after.checked_sub(before)?;
            Some((took, unix.checked_sub(before)?.checked_sub(took / 2)?))
        });
        if let Some((_, offset)) = readings.min() {
            self.adopt(offset);
        }
    }

    /// Unix time of a monotonic time, both nanoseconds.
    pub fn unix_ns(&self, monotonic_ns: u64) -> u64 {
        monotonic_ns.saturating_add_signed(self.0.load(Ordering::Relaxed))
    }

    fn adopt(&self, offset: i64) {
        if self.0.load(Ordering::Relaxed).abs_diff(offset) > Self::TOLERANCE_NS {
            self.0.store(offset, Ordering::Relaxed);
        }
    }
}

fn read(clock: ClockId) -> Option<i64> {
    let time = clock_gettime(clock).ok()?;
    time.tv_sec().checked_mul(1_000_000_000)?.checked_add(time.tv_nsec())
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn monotonic_to_unix() {
        let cases = [
            (0, 5, 5),
            (100, 5, 105),
            (-3, 5, 2),
            (-9, 5, 0),
            (9, u64::MAX, u64::MAX),
        ];
        for (offset, monotonic, unix) in cases {
            assert_eq!(Clock::at(offset).unix_ns(monotonic), unix, "{offset} {monotonic}");
        }
    }

    #[test]
    fn small_changes_are_ignored_and_steps_adopted() {
        let clock = Clock::at(10_000_000);
        for (offset, at_zero) in [
            (10_900_000, 10_000_000),
            (12_000_000, 12_000_000),
            (11_500_000, 12_000_000),
        ] {
            clock.adopt(offset);
            assert_eq!(clock.unix_ns(0), at_zero, "{offset}");
        }
    }

    #[test]
    fn agrees_with_the_system() {
        let unix_ns = || {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .expect("after 1970")
                .as_nanos()
        };
        let before = unix_ns();
        let monotonic = u64::try_from(read(ClockId::CLOCK_MONOTONIC).expect("a clock")).expect("not negative");
        let after = unix_ns();
        let converted = u128::from(Clock::now().unix_ns(monotonic));
        // The two clocks are read one after the other, so the reading may be off by a little.
        let slack = 50_000_000;
        assert!(
            converted + slack >= before && converted <= after + slack,
            "{before} {converted} {after}"
        );
    }
}
