//! The upstream collector, and what the workloads in Go need, from their modules.
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use super::Step;
use crate::{shell, workspace};

pub(super) fn collector() -> Result<Step> {
    let source = workspace::root().join("tests/collector");
    let binary = workspace::target().join("collector/otelcol");
    let time = |path: &std::path::Path| path.metadata().and_then(|meta| meta.modified()).ok();
    let newest: Option<SystemTime> = ["main.go", "go.mod", "go.sum"]
        .iter()
        .filter_map(|name| time(&source.join(name)))
        .max();
    if binary.exists() && time(&binary) >= newest {
        return Ok(Step::Ready(binary.display().to_string()));
    }
    println!("  collector: building, a few minutes the first time");
    let folder = binary.parent().context("the binary is in a folder")?;
    std::fs::create_dir_all(folder)?;
    let part = folder.join("otelcol.part");
    shell::retried(|| {
        let mut build = shell::command("go", &["build", "-mod=readonly", "-trimpath", "-ldflags=-s -w", "-o"]);
        build.arg(&part).arg(".").current_dir(&source);
        shell::quiet(build, Duration::from_secs(1200))
    })?;
    std::fs::rename(&part, &binary)?;
    Ok(Step::Done(binary.display().to_string()))
}

/// The modules of `tests/workloads/go/gin`.
pub(super) fn modules() -> Result<Step> {
    let source = workspace::root().join("tests/workloads/go/gin");
    let modules = |offline: bool| {
        let mut go = shell::command("go", &["list", "-mod=readonly", "-deps", "."]);
        go.current_dir(&source);
        if offline {
            go.env("GOPROXY", "off");
        }
        shell::quiet(go, Duration::from_secs(300))
    };
    let text = source.display().to_string();
    if modules(true).is_ok() {
        return Ok(Step::Ready(text));
    }
    shell::retried(|| modules(false))?;
    Ok(Step::Done(text))
}
