//! What the agent's own process costs.
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::unistd::{SysconfVar, sysconf};

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time, in user space and in the kernel.
    pub cpu: Duration,
    /// Resident memory now, bytes.
    pub rss_bytes: u64,
}

/// What this process has used so far; zero for what the kernel does not tell.
pub fn usage() -> Usage {
    let cpu = getrusage(UsageWho::RUSAGE_SELF).map_or(Duration::ZERO, |usage| {
        let total = usage.user_time() + usage.system_time();
        Duration::from_micros(u64::try_from(total.num_microseconds()).unwrap_or(0))
    });
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    let page = page.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
    Usage {
        cpu,
        rss_bytes: resident_pages(&statm).saturating_mul(page),
    }
}

/// The second number of /proc/PID/statm, proc_pid_statm(5): resident pages.
fn resident_pages(statm: &str) -> u64 {
    let field = statm.split_ascii_whitespace().nth(1);
    field.and_then(|pages| pages.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statm_lines() {
        for (line, pages) in [("2107 341 290 42 0 121 0\n", 341), ("", 0), ("12", 0), ("1 x 3", 0)] {
            assert_eq!(resident_pages(line), pages, "{line:?}");
        }
    }

    #[test]
    fn this_process_uses_something() {
        let first = usage();
        assert!(first.rss_bytes > 100_000);
        assert!(usage().cpu >= first.cpu);
    }
}
