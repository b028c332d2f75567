//! The tracing file system, where a fresh machine has not mounted it.
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::Step;
use crate::shell;

const TRACEFS: &str = "/sys/kernel/tracing";

pub(super) fn provide() -> Result<Step> {
    if is_mounted() {
        return Ok(Step::Ready(TRACEFS.to_owned()));
    }
    let mount = shell::command_as_root("mount", &["-t", "tracefs", "tracefs", TRACEFS])?;
    shell::quiet(mount, Duration::from_secs(30))?;
    ensure!(is_mounted(), "{TRACEFS} is still empty");
    Ok(Step::Done(format!("mounted {TRACEFS}")))
}

fn is_mounted() -> bool {
    // A user may not look into it, but the list of mounts is open to all.
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    Path::new(TRACEFS).join("events").exists()
        || mounts
            .lines()
            .any(|line| line.split_whitespace().nth(1).is_some_and(|at| at == TRACEFS))
}
