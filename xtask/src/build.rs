//! The release binary.
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{setup, shell, workspace};

/// Builds `clew` with optimizations and tells where it is.
///
/// # Errors
/// When the machine is not ready or the build fails; cargo has then said why.
pub(crate) fn release() -> Result<PathBuf> {
    setup::compiler()?;
    cargo(
        &["build", "--release", "--locked", "--package", "clew"],
        Duration::from_secs(1800),
    )?;
    Ok(workspace::target().join("release/clew"))
}

/// Runs cargo with its output passed on.
///
/// # Errors
/// When it fails.
pub(crate) fn cargo(args: &[&str], limit: Duration) -> Result<()> {
    let status = shell::loud(shell::command("cargo", args), limit, |_| {})?;
    ensure!(status.success(), "cargo {}: {status}", args.join(" "));
    Ok(())
}
