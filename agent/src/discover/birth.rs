//! When processes began, as `process.creation.time` has it (OpenTelemetry semantic conventions, "Process").
use std::time::{Duration, SystemTime};

use super::Proc;
use crate::calendar::{days_of_month, days_of_year};
use crate::capture::Pid;

/// Remembers when the machine began, from which the kernel counts: one process has the same time whenever it is read.
#[derive(Debug, Default)]
pub(super) struct Births {
    /// Since 1970.
    booted: Option<Duration>,
}

impl Births {
    /// When a process began, to a hundredth of a second.
    pub(super) fn of(&mut self, proc: &Proc, pid: Pid) -> Option<String> {
        let started = proc.started(pid)?;
        let booted = match self.booted {
            Some(booted) => booted,
            None => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
                *self.booted.insert(now.checked_sub(proc.uptime()?)?)
            }
        };
        Some(iso_8601(booted.checked_add(started)?))
    }
}

/// A moment since 1970 in UTC, with milliseconds.
fn iso_8601(since_1970: Duration) -> String {
    const DAY_S: u64 = 86_400;
    let seconds = since_1970.as_secs() % DAY_S;
    let mut days = (since_1970.as_secs() / DAY_S).cast_signed();
    let mut year = 1970;
    while days >= days_of_year(year) {
        days -= days_of_year(year);
        year += 1;
    }
    let mut month = 1;
    while days >= days_of_month(year, month) {
        days -= days_of_month(year, month);
        month += 1;
    }
    format!(
        "{year}-{month:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        days + 1,
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        since_1970.subsec_millis()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00.250Z"),
            (951_782_399, "2000-02-28T23:59:59.250Z"),
            (951_782_400, "2000-02-29T00:00:00.250Z"),
            (1_767_225_599, "2025-12-31T23:59:59.250Z"),
            (4_107_542_400, "2100-03-01T00:00:00.250Z"),
        ] {
            assert_eq!(iso_8601(Duration::from_millis(seconds * 1000 + 250)), want);
        }
    }

    #[test]
    fn this_process_began_a_moment_ago() {
        let pid = Pid(std::process::id());
        let mut births = Births::default();
        let began = births.of(&Proc::default(), pid).expect("a time");
        std::thread::sleep(Duration::from_millis(15));
        assert_eq!(births.of(&Proc::default(), pid).as_ref(), Some(&began));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("now");
        assert!(
            began <= iso_8601(now) && began > iso_8601(now - Duration::from_secs(600)),
            "{began}"
        );
    }
}
