//! Counting tests.
use std::fmt;

use anyhow::Result;

/// Results of tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// As the runners say; a skipped test is among them.
    said_passed: u64,
    /// Checks and tests that failed.
    pub(crate) failed: u64,
    /// Of the skipped, those that their runner believes to have passed.
    believed: u64,
    /// Why each skipped test was skipped.
    pub(crate) skips: Vec<String>,
}

/// What a test prints that cannot run here; the runner believes that it passed.
const SKIP: &str = "CLEW-SKIP ";

impl Tally {
    /// Counts one check and hands its result on.
    pub(crate) fn one(&mut self, result: Result<()>) -> Result<()> {
        match result {
            Ok(()) => self.said_passed += 1,
            Err(_) => self.failed += 1,
        }
        result
    }

    /// Counts something that could not be checked.
    pub(crate) fn skip(&mut self, reason: &str) {
        self.skips.push(reason.to_owned());
    }

    /// Reads a line of a test runner's output.
    pub(crate) fn read(&mut self, line: &str) {
        // The runner has begun the line with the test's name.
        if let Some((_, reason)) = line.split_once(SKIP) {
            self.skip(reason.trim());
            self.believed += 1;
        }
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        let count = |what: &str| {
            let part = result.split([';', '.']).find(|part| part.trim_end().ends_with(what));
            let number = part.and_then(|part| part.split_whitespace().next());
            number.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
        };
        self.said_passed += count(" passed");
        self.failed += count(" failed");
        for _ in 0..count(" ignored") {
            self.skip("ignored by its runner");
        }
    }

    /// Adds another's results.
    pub(crate) fn add(&mut self, other: &Self) {
        self.said_passed += other.said_passed;
        self.believed += other.believed;
        self.failed += other.failed;
        self.skips.extend(other.skips.iter().cloned());
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed = self.said_passed.saturating_sub(self.believed);
        let (failed, skipped) = (self.failed, self.skips.len());
        write!(out, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], want: &str) {
        let mut tally = Tally::default();
        for line in lines {
            tally.read(line);
        }
        assert_eq!(tally.to_string(), want, "{lines:?}");
    }

    #[test]
    fn sums_runners() {
        let one = "test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out; finished in 0.00s";
        let two = "test result: FAILED. 1 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        check(&[one, two, "running 4 tests"], "5 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn a_skipped_test_did_not_pass() {
        let result = "test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        let skip = "test x ... CLEW-SKIP x: needs root";
        check(&[skip, "ok", result], "3 passed, 0 failed, 1 skipped");
        check(&[result, skip], "3 passed, 0 failed, 1 skipped");
    }
}
