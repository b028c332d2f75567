//! Node.js packages: those of the workloads, from tests/workloads/node/package-lock.json, and those the page is built with, from
//! agent/ui/package-lock.json.
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Step;
use crate::{shell, workspace};

const LOCK: &str = "package-lock.json";

pub(super) fn provide() -> Result<Step> {
    let source = workspace::root().join("tests/workloads/node");
    let folder = workspace::target().join("node");
    if is_installed(&source, &folder)? {
        return Ok(Step::Ready(folder.display().to_string()));
    }
    std::fs::create_dir_all(&folder)?;
    for name in ["package.json", LOCK] {
        std::fs::copy(source.join(name), folder.join(name)).with_context(|| format!("failed to copy {name}"))?;
    }
    install(&folder, &folder)
}

pub(super) fn page() -> Result<Step> {
    let folder = workspace::root().join("agent/ui");
    if is_installed(&folder, &folder.join("node_modules"))? {
        return Ok(Step::Ready(folder.display().to_string()));
    }
    install(&folder, &folder.join("node_modules"))
}

/// Whether what the lock file wants is what was installed.
fn is_installed(source: &Path, stamped: &Path) -> Result<bool> {
    let wanted = std::fs::read_to_string(source.join(LOCK)).context("failed to read the lock file")?;
    Ok(std::fs::read_to_string(stamped.join("installed")).is_ok_and(|text| text == wanted))
}

fn install(folder: &Path, stamped: &Path) -> Result<Step> {
    println!("  Node.js packages: installing {}", folder.join(LOCK).display());
    shell::retried(|| {
        // No package needs its scripts run.
        let mut install = shell::command(
            "npm",
            &[
                "ci",
                "--no-audit",
                "--no-fund",
                "--loglevel",
                "error",
                "--ignore-scripts",
            ],
        );
        install.current_dir(folder);
        shell::quiet(install, Duration::from_secs(600))
    })?;
    std::fs::copy(folder.join(LOCK), stamped.join("installed"))?;
    Ok(Step::Done(folder.display().to_string()))
}
