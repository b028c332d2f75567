//! `cargo xtask proof`: the long forms of what no single test can show.
mod counts;
pub(crate) mod crash;
pub(crate) mod logs;

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use clap::Subcommand;

use crate::workspace;

/// What is proven.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum Proof {
    /// Programs of every runtime come to no harm while Clew is attached to them and detached again and again
    Crash(crash::Options),
    /// No call to a database is lost and none has another's answer, by the servers' own count, with 64 connections each
    Counts(counts::Options),
    /// Each line that programs write is on the span of its request, in every runtime
    Logs(logs::Options),
    /// The store is whole after each of 50 kills of its writer under load, and on a full disk
    Store,
}

/// Runs a proof.
///
/// # Errors
/// When it fails.
pub(crate) fn run(proof: &Proof) -> Result<()> {
    match proof {
        Proof::Crash(options) => crash::run(options),
        Proof::Counts(options) => counts::run(options),
        Proof::Logs(options) => logs::run(options),
        Proof::Store => store(),
    }
}

/// The short forms are tests of the agent's.
fn store() -> Result<()> {
    let output = Command::new("cargo")
        .args([
            "test",
            "-p",
            "clew",
            "--lib",
            "--",
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .args(
            ["survives_being_killed", "a_full_disk_takes_the_oldest"]
                .map(|test| format!("store::sqlite::tests::{test}")),
        )
        .env("CLEW_TEST_KILLS", "50")
        .current_dir(workspace::root())
        .stderr(Stdio::inherit())
        .output()
        .context("failed to start cargo")?;
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    // A test of another name would be left out in silence.
    ensure!(
        output.status.success() && said.contains("2 passed"),
        "the store did not survive being killed, or a full disk"
    );
    Ok(())
}
