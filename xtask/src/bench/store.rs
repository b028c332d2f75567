//! What keeping traces costs, and how long questions take.
use anyhow::{Context, Result};

use super::example;
use super::row::Row;

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
    let results = example::results(NAME, &[])?;
    let result = results.first().context("nothing was measured")?;
    println!("{result:#}");
    example::rows(NAME, result, FIGURES)
}
