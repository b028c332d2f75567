//! What the file says of many traces at once: by kind of call, by value, by run.
use std::collections::{BTreeMap, HashMap, HashSet};

use rusqlite::types::Value as Sql;
use rusqlite::{OptionalExtension as _, params_from_iter};

use super::histogram::Histogram;
use super::read::{FROM, ROW, SqliteReader, run_row, trace_row};
use super::search::Condition;
use super::unsigned;
use crate::store::facts;
use crate::store::{
    Bin, Compared, Comparison, Endpoint, Facet, FacetValue, Facets, Figures, Point, Points, Query, Run, StoreError,
    TraceRow,
};

/// Most kinds of calls told.
const MOST_CALLS: usize = 1_000;
/// Traces that are counted by value.
const MOST_COUNTED: usize = 10_000;
/// Traces told as points.
const MOST_POINTS: usize = 10_000;
/// Values told of a field.
const MOST_VALUES: usize = 50;
/// Traces whose spans are looked into for one answer.
const MOST_LOOKS: usize = 20_000;

/// A kind of call: service, kind and name.
type Call = (String, i64, String);

/// Spans that are alike, summed up.
#[derive(Default)]
pub(super) struct Sum {
    count: u64,
    errors: u64,
    sum_ns: u64,
    histogram: Histogram,
    bins: BTreeMap<u64, (u64, u64)>,
}

impl Sum {
    pub(super) fn add(&mut self, duration_ns: u64, failed: bool) {
        self.count += 1;
        self.errors += u64::from(failed);
        self.sum_ns = self.sum_ns.saturating_add(duration_ns);
        self.histogram.add(duration_ns);
    }

    pub(super) fn figures(&self, seconds: f64) -> Figures {
        // Of one the time is known, and no time is longer than all together.
        let quantile = |share| match self.count {
            1 => self.sum_ns,
            _ => self.histogram.quantile(share).min(self.sum_ns),
        };
        Figures {
            count: self.count,
            errors: self.errors,
            per_second: self.count as f64 / seconds,
            p50_ns: quantile(0.5),
            p90_ns: quantile(0.9),
            p99_ns: quantile(0.99),
            max_ns: quantile(1.0),
            sum_ns: self.sum_ns,
        }
    }
}

impl SqliteReader {
    /// The latest traces that match, and whether there are more.
    pub(super) fn latest(&self, query: &Query, now_ns: u64, most: usize) -> Result<(Vec<TraceRow>, bool), StoreError> {
        let condition = Condition::new(query, &self.connection, now_ns)?;
        let looks = condition.looks_into_spans();
        let rows_wanted = if looks { MOST_LOOKS.max(most) } else { most } + 1;
        let sql = format!(
            "{ROW}{FROM}{} ORDER BY t.start_ns DESC LIMIT {rows_wanted}",
            condition.sql()
        );
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query(params_from_iter(condition.params()))?;
        let (mut traces, mut seen) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            seen += 1;
            if traces.len() == most || seen == rows_wanted {
                return Ok((traces, true));
            }
            let found = trace_row(row)?;
            if !looks || condition.holds(found.id, &self.connection)? {
                traces.push(found);
            }
        }
        Ok((traces, false))
    }

    pub(super) fn point_list(&self, query: &Query, now_ns: u64, most: usize) -> Result<Points, StoreError> {
        let (traces, cut) = self.latest(query, now_ns, most.clamp(1, MOST_POINTS))?;
        let point = |row: TraceRow| Point {
            trace_id: row.trace_id,
            start_unix_ns: row.start_unix_ns,
            duration_ns: row.duration_ns,
            status: row.status,
            error: row.errors > 0,
        };
        Ok(Points {
            points: traces.into_iter().map(point).collect(),
            cut,
        })
    }

    pub(super) fn facet_list(&self, query: &Query, now_ns: u64) -> Result<Facets, StoreError> {
        const FIELDS: [&str; 7] = ["service", "status", "kind", "name", "error", "run", "test"];
        let transaction = self.connection.unchecked_transaction()?;
        let (traces, cut) = self.latest(query, now_ns, MOST_COUNTED)?;
        let operations = self.operations()?;
        let mut counts: [HashMap<&str, u64>; FIELDS.len()] = Default::default();
        let mut statement = self
            .connection
            .prepare_cached("SELECT operation FROM call WHERE trace = ?1")?;
        let runs: Vec<String> = traces.iter().map(|row| row.run.to_string()).collect();
        let mut seen: HashSet<(usize, &str)> = HashSet::new();
        for (row, run) in traces.iter().zip(&runs) {
            let mut rows = statement.query([row.id])?;
            while let Some(call) = rows.next()? {
                let Some(operation) = operations.get(&call.get(0)?) else {
                    continue;
                };
                seen.extend(operation.iter().map(String::as_str).enumerate());
            }
            seen.insert((4, if row.errors > 0 { "true" } else { "false" }));
            seen.insert((5, run));
            seen.insert((6, row.test.as_str()));
            for (field, value) in seen.drain().filter(|(_, value)| !value.is_empty()) {
                if let Some(counts) = counts.get_mut(field) {
                    *counts.entry(value).or_default() += 1;
                }
            }
        }
        let fields = FIELDS
            .into_iter()
            .zip(counts)
            .map(|(field, counts)| facet(field, counts));
        let fields = fields.collect();
        drop(statement);
        transaction.finish()?;
        Ok(Facets {
            traces: traces.len() as u64,
            cut,
            fields,
        })
    }

    /// Service, status, kind and name by number.
    fn operations(&self) -> Result<HashMap<i64, [String; 4]>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT id, service, status, kind, name FROM operation")?;
        let rows = statement.query_map([], |row| {
            let kind = facts::kind_word(row.get(3)?).to_owned();
            Ok((row.get(0)?, [row.get(1)?, row.get(2)?, kind, row.get(4)?]))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    pub(super) fn endpoint_list(&self, run: Option<i64>) -> Result<Vec<Endpoint>, StoreError> {
        let transaction = self.connection.unchecked_transaction()?;
        let (sums, seconds) = (self.sums(run)?, self.seconds(run)?);
        transaction.finish()?;
        let mut endpoints: Vec<Endpoint> = sums
            .into_iter()
            .map(|((service, kind, name), sum)| Endpoint {
                service,
                kind: facts::kind_word(kind),
                name,
                figures: sum.figures(seconds),
                bins: newest_bins(&sum.bins),
            })
            .collect();
        endpoints.sort_by_key(|endpoint| std::cmp::Reverse(endpoint.figures.sum_ns));
        endpoints.truncate(MOST_CALLS);
        Ok(endpoints)
    }

    fn sums(&self, run: Option<i64>) -> Result<BTreeMap<Call, Sum>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT service, kind, name, failed, minute, m.spans, sum_ns, histogram FROM minute m \
             JOIN operation o ON o.id = m.operation WHERE ?1 IS NULL OR run = ?1",
        )?;
        let mut rows = statement.query([run])?;
        let mut all: BTreeMap<Call, Sum> = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let sum = all.entry((row.get(0)?, row.get(1)?, row.get(2)?)).or_default();
            let (failed, count) = (row.get::<_, bool>(3)?, unsigned(row.get(5)?));
            let errors = if failed { count } else { 0 };
            sum.count += count;
            sum.errors += errors;
            sum.sum_ns = sum.sum_ns.saturating_add(unsigned(row.get(6)?));
            sum.histogram
                .merge(&Histogram::decode(row.get_ref(7)?.as_blob().unwrap_or_default()));
            let bin = sum.bins.entry(unsigned(row.get(4)?)).or_default();
            *bin = (bin.0 + count, bin.1 + errors);
        }
        Ok(all)
    }

    /// From the first trace to the last.
    fn seconds(&self, run: Option<i64>) -> Result<f64, StoreError> {
        let sql = if run.is_some() {
            "SELECT max(start_ns) - min(start_ns) FROM trace WHERE run = ?1"
        } else {
            // Each is found in the index, which both at once are not.
            "SELECT (SELECT max(start_ns) FROM trace) - (SELECT min(start_ns) FROM trace) WHERE ?1 IS NULL"
        };
        let mut statement = self.connection.prepare_cached(sql)?;
        let ns: Option<i64> = statement.query_row([run], |row| row.get(0))?;
        Ok(in_seconds(unsigned(ns.unwrap_or(0))))
    }

    pub(super) fn comparison(&self, base: Option<i64>, run: Option<i64>) -> Result<Option<Comparison>, StoreError> {
        let transaction = self.connection.unchecked_transaction()?;
        let Some(run) = self.run(run, i64::MAX)? else {
            return Ok(None);
        };
        let Some(base) = self.run(base, run.id)? else {
            return Ok(None);
        };
        let mut sides: BTreeMap<Call, (Option<Figures>, Option<Figures>)> = BTreeMap::new();
        let seconds = self.seconds(Some(base.id))?;
        for (call, sum) in self.sums(Some(base.id))? {
            sides.entry(call).or_default().0 = Some(sum.figures(seconds));
        }
        let seconds = self.seconds(Some(run.id))?;
        for (call, sum) in self.sums(Some(run.id))? {
            sides.entry(call).or_default().1 = Some(sum.figures(seconds));
        }
        transaction.finish()?;
        let mut rows: Vec<Compared> = sides
            .into_iter()
            .map(|((service, kind, name), (base, run))| Compared {
                service,
                kind: facts::kind_word(kind),
                name,
                base,
                run,
            })
            .collect();
        // Runs differ in length: what a trace spends on such calls is what changed.
        let spent = |figures: Option<Figures>, traces: u64| {
            figures.map_or(0.0, |figures| figures.sum_ns as f64 / traces.max(1) as f64)
        };
        let change = |row: &Compared| (spent(row.base, base.traces) - spent(row.run, run.traces)).abs();
        rows.sort_by(|one, other| change(other).total_cmp(&change(one)));
        rows.truncate(MOST_CALLS);
        Ok(Some(Comparison { base, run, rows }))
    }

    /// The run of a number; without one the latest before another that has traces.
    fn run(&self, id: Option<i64>, before: i64) -> Result<Option<Run>, StoreError> {
        const RUN: &str =
            "SELECT id, command, start_ns, end_ns, (SELECT count(*) FROM trace WHERE run = r.id) FROM run r";
        let (sql, param) = match id {
            Some(id) => (format!("{RUN} WHERE id = ?1"), id),
            None => (
                format!(
                    "{RUN} WHERE id < ?1 AND EXISTS (SELECT 1 FROM trace WHERE run = r.id) ORDER BY id DESC LIMIT 1"
                ),
                before,
            ),
        };
        let mut statement = self.connection.prepare_cached(&sql)?;
        Ok(statement.query_row([Sql::Integer(param)], run_row).optional()?)
    }
}

fn facet(field: &'static str, counts: HashMap<&str, u64>) -> Facet {
    let mut values: Vec<FacetValue> = counts
        .into_iter()
        .map(|(value, traces)| FacetValue {
            value: value.to_owned(),
            traces,
        })
        .collect();
    values.sort_by(|one, other| (other.traces, &one.value).cmp(&(one.traces, &other.value)));
    let more = values.len() > MOST_VALUES;
    values.truncate(MOST_VALUES);
    Facet { field, values, more }
}

/// At least one, so that a rate is no more than what was seen.
pub(super) fn in_seconds(ns: u64) -> f64 {
    (ns as f64 / 1e9).max(1.0)
}

/// The last hour of what there is.
fn newest_bins(bins: &BTreeMap<u64, (u64, u64)>) -> Vec<Bin> {
    const MINUTES: usize = 60;
    let skipped = bins.len().saturating_sub(MINUTES);
    let newest = bins.iter().skip(skipped);
    newest
        .map(|(minute, (count, errors))| Bin {
            unix_s: minute * 60,
            count: *count,
            errors: *errors,
        })
        .collect()
}
