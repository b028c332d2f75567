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
