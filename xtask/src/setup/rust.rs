//! The Rust programs that the tests trace: workspaces of their own, so that their dependencies are not Clew's.
use std::time::Duration;

use anyhow::Result;

use super::Step;
use crate::{shell, workspace};

pub(super) fn workloads() -> Result<Step> {
    let target = workspace::target().join("workloads/rust");
    let programs = [
        ("rust", "axum-server"),
        ("rustls", "rustls-server"),
        ("tonic", "tonic-server"),
    ];
    let there = programs
        .iter()
        .all(|(_, program)| target.join("release").join(program).exists());
    if !there {
        println!("  Rust workloads: building, a few minutes the first time");
    }
    for (workloads, _) in programs {
        shell::retried(|| {
            let mut build = shell::command(
                "cargo",
                &["build", "--release", "--locked", "--quiet", "--manifest-path"],
            );
            let folder = workspace::root().join("tests/workloads").join(workloads);
            build.arg(folder.join("Cargo.toml")).arg("--target-dir").arg(&target);
            shell::quiet(build, Duration::from_secs(1800))
        })?;
    }
    let text = target.display().to_string();
    Ok(if there { Step::Ready(text) } else { Step::Done(text) })
}
