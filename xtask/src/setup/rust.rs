//! The Rust programs that the tests trace: a workspace of their own, so that their dependencies are not Clew's.
use std::time::Duration;

use anyhow::Result;

use super::Step;
use crate::{shell, workspace};

pub(super) fn workloads() -> Result<Step> {
    let target = workspace::target().join("workloads/rust");
    let there = target.join("release/axum-server").exists();
    if !there {
        println!("  Rust workloads: building, a few minutes the first time");
    }
    shell::retried(|| {
        let mut build = shell::command(
            "cargo",
            &["build", "--release", "--locked", "--quiet", "--manifest-path"],
        );
        build
            .arg(workspace::root().join("tests/workloads/rust/Cargo.toml"))
            .arg("--target-dir")
            .arg(&target);
        shell::quiet(build, Duration::from_secs(1800))
    })?;
    let text = target.display().to_string();
    Ok(if there { Step::Ready(text) } else { Step::Done(text) })
}
