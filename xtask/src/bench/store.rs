//! What keeping traces costs, and how long questions take.
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::row::Row;
use crate::workspace;

pub(super) const NAME: &str = "store";

/// Figures of the example that are rows.
const FIGURES: &[&str] = &[
    "spans_per_second",
    "cpu_us_per_span",
    "bytes_per_span",
    "failed",
    "resident_mib_more",
    "slowest_filter_ms",
    "slowest_filter_cpu_ms",
];

/// Writes spans into a store while questions are asked, and asks more over 100 000 traces.
pub(super) fn measure() -> Result<Vec<Row>> {
    let output = Command::new("cargo")
        .args(["run", "--release", "--locked", "-p", "clew", "--example", "store"])
        .current_dir(workspace::root())
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("failed to start cargo")?;
    ensure!(output.status.success(), "the example ended with {}", output.status);
    let result: Value = serde_json::from_slice(&output.stdout).context("the example's answer is no JSON")?;
    println!("{result:#}");
    let row = |figure: &&str| {
        let value = result[*figure]
            .as_f64()
            .with_context(|| format!("no {figure} was measured"))?;
        Ok(Row::agent(NAME, figure, value))
    };
    FIGURES.iter().map(row).collect()
}
