//! The packages of the Node.js workloads, from tests/workloads/node/package-lock.json.
use std::time::Duration;

use anyhow::{Context, Result};

use super::Step;
use crate::{shell, workspace};

pub(super) fn provide() -> Result<Step> {
    let source = workspace::root().join("tests/workloads/node");
    let folder = workspace::target().join("node");
    let lock = "package-lock.json";
    let wanted = std::fs::read_to_string(source.join(lock)).context("failed to read the lock file")?;
    let stamp = folder.join("installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == wanted) {
        return Ok(Step::Ready(folder.display().to_string()));
    }
    println!("  Node.js packages: installing tests/workloads/node/{lock}");
    std::fs::create_dir_all(&folder)?;
    for name in ["package.json", lock] {
        std::fs::copy(source.join(name), folder.join(name)).with_context(|| format!("failed to copy {name}"))?;
    }
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
        install.current_dir(&folder);
        shell::quiet(install, Duration::from_secs(600))
    })?;
    std::fs::write(&stamp, &wanted)?;
    Ok(Step::Done(folder.display().to_string()))
}
