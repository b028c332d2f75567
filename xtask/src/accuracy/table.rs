//! Results as the table of README: a line for each workload.
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Row, percent, selected};

/// The levels of concurrency that have a column.
const LEVELS: [u64; 4] = [1, 16, 64, 256];

/// The table in Markdown. Results of workloads that are no more are left out; a level that was not run has a dash.
pub(super) fn markdown(rows: &[Row]) -> String {
    let names: Vec<&str> = selected(&super::Options::default())
        .iter()
        .map(|one| one.name)
        .collect();
    let mut out = String::from(
        "| workload | runtime | exact at 1 | 16 | 64 | 256 | wrong parents | missing, extra spans | why links are missing |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for name in names {
        let own: Vec<&Row> = rows.iter().filter(|row| row.workload == name).collect();
        if let Some(first) = own.first() {
            line(&mut out, name, &first.runtime, &own);
        }
    }
    out
}

fn line(out: &mut String, name: &str, runtime: &str, own: &[&Row]) {
    let exact = LEVELS.map(|level| {
        let row = own.iter().find(|row| row.concurrency == level);
        row.map_or_else(|| "-".to_owned(), |row| share(row.exact, row.requests))
    });
    let sum = |figure: fn(&Row) -> u64| own.iter().map(|row| figure(row)).sum::<u64>();
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    for (reason, count) in own.iter().flat_map(|row| &row.unknown) {
        *reasons.entry(reason).or_default() += count;
    }
    let mut reasons: Vec<(&str, u64)> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let reasons: Vec<&str> = reasons.into_iter().map(|(reason, _)| reason).collect();
    let why = if sum(|row| row.unlinked) == 0 {
        String::new()
    } else {
        reasons.join(", ")
    };
    let _infallible = writeln!(
        out,
        "| {name} | {runtime} | {} | {} | {}, {} | {why} |",
        exact.join(" | "),
        sum(|row| row.wrong_parent),
        sum(|row| row.missing_span),
        sum(|row| row.extra_span),
    );
}

/// Two decimals where it is not whole; never 100 % where something is missing.
fn share(part: u64, whole: u64) -> String {
    if part == whole {
        return "100 %".to_owned();
    }
    let percent = (percent(part, whole) * 100.0).floor() / 100.0;
    if percent == 0.0 {
        "0 %".to_owned()
    } else {
        format!("{percent:.2} %")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares() {
        assert_eq!(share(2000, 2000), "100 %");
        assert_eq!(share(199_999, 200_000), "99.99 %");
        assert_eq!(share(0, 2000), "0 %");
    }

    #[test]
    fn levels_have_a_column_each() {
        let row = |concurrency, exact, reason: &str| Row {
            workload: "c-threads".to_owned(),
            runtime: "C, a thread a connection".to_owned(),
            concurrency,
            requests: 2000,
            exact,
            accepted: exact,
            unlinked: 2000 - exact,
            unknown: BTreeMap::from([(reason.to_owned(), 2000 - exact)]),
            wrong_parent: 0,
            missing_span: 1,
            extra_span: 0,
        };
        let text = markdown(&[row(1, 2000, "pool"), row(64, 1000, "thread"), row(256, 1990, "pool")]);
        let last = text.lines().last();
        let want = "| c-threads | C, a thread a connection | 100 % | - | 50.00 % | 99.50 % | 0 | 3, 0 | thread, pool |";
        assert_eq!(last, Some(want));
    }
}
