//! What an example of the agent measures.
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::row::Row;
use crate::workspace;

/// Runs an example with these arguments; the objects it prints, one a line.
pub(super) fn results(name: &str, args: &[&str]) -> Result<Vec<Value>> {
    let output = Command::new("cargo")
        .args(["run", "--release", "--locked", "-p", "clew", "--example", name, "--"])
        .args(args)
        .current_dir(workspace::root())
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("failed to start cargo")?;
    ensure!(output.status.success(), "the example ended with {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let results = text
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("the example's answer is no JSON: {line}")));
    results.collect()
}

/// The rows of a workload that these figures of a result are.
pub(super) fn rows(workload: &str, result: &Value, figures: &[&str]) -> Result<Vec<Row>> {
    let row = |figure: &&str| {
        let value = result[*figure]
            .as_f64()
            .with_context(|| format!("no {figure} was measured"))?;
        Ok(Row::agent(workload, figure, value))
    };
    figures.iter().map(row).collect()
}
