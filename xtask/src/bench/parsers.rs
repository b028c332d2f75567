//! What parsers cost on one core, each on the recordings of its protocol.
use anyhow::{Context, Result};

use super::example;
use super::row::Row;

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
    let mut rows = Vec::new();
    for result in example::results(NAME, &["--json"])? {
        let protocol = result["protocol"].as_str().context("no protocol is named")?;
        rows.extend(example::rows(&format!("{NAME}-{protocol}"), &result, FIGURES)?);
    }
    Ok(rows)
}
