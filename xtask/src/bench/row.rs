//! Figures, and how they are shown.
use serde::Serialize;

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) workload: String,
    pub(super) metric: String,
    /// Without Clew; none where the figure is Clew's own.
    pub(super) baseline: Option<f64>,
    /// With Clew.
    pub(super) traced: f64,
    pub(super) ratio: Option<f64>,
}

impl Row {
    pub(super) fn both(workload: &str, metric: &str, baseline: f64, traced: f64) -> Self {
        Self {
            workload: workload.to_owned(),
            metric: metric.to_owned(),
            baseline: Some(baseline),
            traced,
            ratio: (baseline > 0.0).then(|| traced / baseline),
        }
    }

    pub(super) fn agent(workload: &str, metric: &str, value: f64) -> Self {
        Self {
            workload: workload.to_owned(),
            metric: metric.to_owned(),
            baseline: None,
            traced: value,
            ratio: None,
        }
    }
}

/// A table for the terminal.
pub(super) fn print(rows: &[Row]) {
    println!(
        "{:<20} {:<34} {:>12} {:>12} {:>7}",
        "workload", "metric", "without", "with", "ratio"
    );
    for row in rows {
        let baseline = row.baseline.map_or(String::new(), |value| format!("{value:.1}"));
        let ratio = row.ratio.map_or(String::new(), |ratio| format!("{ratio:.3}"));
        println!(
            "{:<20} {:<34} {baseline:>12} {:>12.1} {ratio:>7}",
            row.workload, row.metric, row.traced
        );
    }
}

/// The middle one.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// A count as a number to calculate with.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_and_medians() {
        assert_eq!(Row::both("w", "m", 50.0, 40.0).ratio, Some(0.8));
        assert_eq!(Row::both("w", "m", 0.0, 40.0).ratio, None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(Vec::new()), 0.0);
    }
}
