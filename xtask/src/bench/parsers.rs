//! What parsers cost on one core, each on the recordings of its protocol.
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::row::Row;
use crate::workspace;

pub(super) const NAME: &str = "parsers";

/// Figures of each protocol that are rows.
const FIGURES: &[&str] = &[
    "mb_per_second",
    "ns_per_exchange",
    "allocations_per_exchange",
    "allocations_per_operation",
    "allocations_per_passing_operation",
];

/// Plays the recordings of each protocol over and over.
pub(super) fn measure() -> Result<Vec<Row>> {
    let output = Command::new("cargo")
        .args([
            "run",
            "--release",
            "--locked",
            "-p",
            "clew",
            "--example",
            "parsers",
            "--",
            "--json",
        ])
        .current_dir(workspace::root())
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("failed to start cargo")?;
    ensure!(output.status.success(), "the example ended with {}", output.status);
    let mut rows = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let result: Value = serde_json::from_str(line).context("the example's answer is no JSON")?;
        let protocol = result["protocol"].as_str().context("no protocol is named")?;
        for figure in FIGURES {
            let value = result[*figure]
                .as_f64()
                .with_context(|| format!("no {figure} was measured"))?;
            rows.push(Row::agent(&format!("{NAME}-{protocol}"), figure, value));
        }
    }
    Ok(rows)
}
