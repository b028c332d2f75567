//! Carries out a plan of the end-to-end tests. Runs under `clew run`, so that all it starts is traced from the start.
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clew_tests::Plan;
use nix::sys::signal::Signal;

fn main() -> ExitCode {
    match drive() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("clew-drive: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn drive() -> Result<()> {
    let path = std::env::args_os().nth(1).context("usage: clew-drive PLAN.json")?;
    let path = Path::new(&path);
    let plan: Plan = serde_json::from_slice(&std::fs::read(path)?).context("failed to read the plan")?;
    let dir = path.parent().context("the plan is in a folder")?;
    let mut running = plan.start(dir)?;
    let rest = Duration::from_millis(plan.rest_ms);
    std::thread::sleep(rest);
    if !rest.is_zero() {
        until_idle(std::os::unix::process::parent_id());
    }
    let result = plan.loads.iter().try_for_each(|load| load.carry_out());
    std::thread::sleep(rest);
    for (n, proc) in running.iter_mut().enumerate().rev() {
        proc.stop(Signal::SIGTERM);
        if result.is_err() {
            eprintln!("--- service {n}\n{}", proc.stderr());
        }
    }
    result.context("the load failed")
}

/// Waits until Clew, which started this program, has looked at all programs there are: until none of its threads has had anything to
/// do for half a second. On a loaded machine that takes as long as it takes.
fn until_idle(clew: u32) {
    const SAMPLES: u32 = 25;
    // It looks at its ring buffer now and then.
    const BUSY: u32 = 4;
    clew_tests::until("clew has nothing to do", || {
        let mut busy = 0;
        for _ in 0..SAMPLES {
            std::thread::sleep(Duration::from_millis(20));
            busy += u32::from(is_busy(clew));
        }
        (busy <= BUSY).then_some(())
    });
}

/// A thread of the process runs, or waits for a processor (proc_pid_stat(5)).
fn is_busy(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    threads.flatten().any(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state stands behind the name, which is in parentheses.
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with(['R', 'D']))
    })
}
