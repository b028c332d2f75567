//! Answers from the file, while others may write it.
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::Path;

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{Span, SpanFlags};
use prost::Message as _;
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};
use serde_json::{Map, Value as Json, json};

use super::histogram::Histogram;
use super::search::{Condition, id_range};
use super::{open_to_read, part, unsigned};
use crate::export::hex;
use crate::store::facts;
use crate::store::{
    Bin, Change, Endpoint, ErrorGroup, Order, Page, Query, Reader, Run, Service, SpanView, StoreError, TraceList,
    TraceRow, TraceView,
};

/// Most traces in a page.
const MOST_ROWS: usize = 1_000;
/// Traces whose spans are looked into for one page; the rest is left to the next.
const MOST_LOOKS: usize = 20_000;
/// Most spans told of one trace.
const MOST_SPANS: usize = 100_000;
/// Most kinds of failures, and of runs, told.
const MOST_GROUPS: i64 = 1_000;

const ROW: &str = "
SELECT t.id, t.trace_id, t.start_ns, t.end_ns - t.start_ns, t.spans, t.errors, t.run, t.title,
    coalesce(o.service, ''), coalesce(o.status, ''), coalesce(o.failed, 0)";
const FROM: &str = " FROM trace t LEFT JOIN operation o ON o.id = t.root_operation WHERE true";

/// A store that is read.
pub struct SqliteReader {
    connection: Connection,
}

impl SqliteReader {
    /// Opens the store in a folder.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            connection: open_to_read(folder)?,
        })
    }

    fn resources(&self) -> Result<HashMap<i64, (String, Option<i64>)>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT id, data FROM resource")?;
        let mut rows = statement.query([])?;
        let mut all = HashMap::new();
        while let Some(row) = rows.next()? {
            let resource = Resource::decode(row.get_ref(1)?.as_blob().unwrap_or_default());
            let resource = resource.map_err(|_| StoreError::Malformed)?;
            let pid = match facts::find(&resource.attributes, "process.pid").and_then(|pid| pid.value.as_ref()) {
                Some(Any::IntValue(pid)) => Some(*pid),
                _ => None,
            };
            all.insert(row.get(0)?, (facts::service(&resource).to_owned(), pid));
        }
        Ok(all)
    }
}

impl Reader for SqliteReader {
    fn traces(&self, query: &Query, page: &Page) -> Result<TraceList, StoreError> {
        let mut condition = Condition::new(query, &self.connection, page.now_ns)?;
        let key = match page.order {
            Order::Start => "t.start_ns",
            Order::Duration => "(t.end_ns - t.start_ns)",
            Order::Spans => "t.spans",
            Order::Errors => "t.errors",
        };
        if let Some((value, id)) = page.after.as_deref().and_then(cursor) {
            condition.and(
                &format!("({key}, t.id) < (?, ?)"),
                [Sql::Integer(value), Sql::Integer(id)],
            );
        }
        let limit = page.limit.clamp(1, MOST_ROWS);
        let looks = condition.looks_into_spans();
        // One more than asked for tells whether there are more.
        let rows_wanted = if looks { MOST_LOOKS } else { limit + 1 };
        let sql = format!(
            "{ROW}, {key}{FROM}{} ORDER BY {key} DESC, t.id DESC LIMIT {rows_wanted}",
            condition.sql()
        );
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query(params_from_iter(condition.params()))?;
        let mut traces = Vec::new();
        let (mut seen, mut last) = (0, None);
        while let Some(row) = rows.next()? {
            if traces.len() == limit {
                return Ok(TraceList { traces, next: last });
            }
            let found = trace_row(row)?;
            seen += 1;
            last = Some(format!("{}.{}", row.get::<_, i64>(11)?, found.id));
            if !looks || condition.holds(found.id, &self.connection)? {
                traces.push(found);
            }
        }
        let next = if seen == rows_wanted { last } else { None };
        Ok(TraceList { traces, next })
    }

    fn trace(&self, id: &str) -> Result<Option<TraceView>, StoreError> {
        /// Fewer digits name too many.
        const LEAST_DIGITS: usize = 8;
        if id.len() < LEAST_DIGITS || id.len() > 32 || !id.chars().all(|char| char.is_ascii_hexdigit()) {
            return Ok(None);
        }
        // One moment for all that is asked.
        let transaction = self.connection.unchecked_transaction()?;
        let (from, to) = id_range(id);
        let sql = format!("{ROW}{FROM} AND t.trace_id BETWEEN ?1 AND ?2 LIMIT 1");
        let row = self
            .connection
            .query_row(&sql, params![from, to], |row| Ok(trace_row(row)))
            .optional()?;
        let Some(row) = row.transpose()? else {
            return Ok(None);
        };
        let resources = self.resources()?;
        let mut statement = self
            .connection
            .prepare_cached("SELECT data FROM part WHERE trace = ?1 ORDER BY id")?;
        let mut parts = statement.query([row.id])?;
        let (mut span_list, mut cut) = (Vec::new(), false);
        while let Some(data) = parts.next()? {
            for (resource, span) in part::unpack(data.get_ref(0)?.as_blob().unwrap_or_default())? {
                cut |= span_list.len() >= MOST_SPANS;
                if !cut {
                    span_list.push(span_view(span, resources.get(&resource), row.start_unix_ns));
                }
            }
        }
        drop(parts);
        transaction.finish()?;
        span_list
            .sort_by(|one: &SpanView, other| (one.offset_ns, &one.span_id).cmp(&(other.offset_ns, &other.span_id)));
        Ok(Some(TraceView { row, span_list, cut }))
    }

    fn services(&self) -> Result<Vec<Service>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT service, sum(iif(kind IN (2, 5), m.spans, 0)), sum(iif(kind IN (2, 5) AND failed, m.spans, 0)), \
             sum(m.spans) FROM minute m JOIN operation o ON o.id = m.operation GROUP BY service ORDER BY service",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(Service {
                name: row.get(0)?,
                requests: unsigned(row.get(1)?),
                errors: unsigned(row.get(2)?),
                spans: unsigned(row.get(3)?),
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn endpoints(&self, run: Option<i64>) -> Result<Vec<Endpoint>, StoreError> {
        #[derive(Default)]
        struct Sums {
            count: u64,
            errors: u64,
            sum_ns: u64,
            histogram: Histogram,
            bins: BTreeMap<u64, (u64, u64)>,
        }
        let mut statement = self.connection.prepare_cached(
            "SELECT service, kind, name, failed, minute, m.spans, sum_ns, histogram FROM minute m \
             JOIN operation o ON o.id = m.operation WHERE ?1 IS NULL OR run = ?1",
        )?;
        let mut rows = statement.query([run])?;
        let mut all: BTreeMap<(String, i64, String), Sums> = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let sums = all.entry((row.get(0)?, row.get(1)?, row.get(2)?)).or_default();
            let (failed, count) = (row.get::<_, bool>(3)?, unsigned(row.get(5)?));
            let errors = if failed { count } else { 0 };
            sums.count += count;
            sums.errors += errors;
            sums.sum_ns = sums.sum_ns.saturating_add(unsigned(row.get(6)?));
            sums.histogram
                .merge(&Histogram::decode(row.get_ref(7)?.as_blob().unwrap_or_default()));
            let bin = sums.bins.entry(unsigned(row.get(4)?)).or_default();
            *bin = (bin.0 + count, bin.1 + errors);
        }
        let mut endpoints: Vec<Endpoint> = all
            .into_iter()
            .map(|((service, kind, name), sums)| Endpoint {
                service,
                kind: facts::kind_word(kind),
                name,
                count: sums.count,
                errors: sums.errors,
                p50_ns: sums.histogram.quantile(0.5),
                p90_ns: sums.histogram.quantile(0.9),
                p99_ns: sums.histogram.quantile(0.99),
                sum_ns: sums.sum_ns,
                bins: newest_bins(&sums.bins),
            })
            .collect();
        endpoints.sort_by_key(|endpoint| std::cmp::Reverse(endpoint.sum_ns));
        endpoints.truncate(MOST_ROWS);
        Ok(endpoints)
    }

    fn errors(&self) -> Result<Vec<ErrorGroup>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT service, name, status, message, f.spans, first_ns, last_ns, trace_id FROM failure f \
             JOIN operation o ON o.id = f.operation ORDER BY last_ns DESC LIMIT ?1",
        )?;
        let rows = statement.query_map([MOST_GROUPS], |row| {
            Ok(ErrorGroup {
                service: row.get(0)?,
                name: row.get(1)?,
                status: row.get(2)?,
                message: row.get(3)?,
                count: unsigned(row.get(4)?),
                first_unix_ns: unsigned(row.get(5)?),
                last_unix_ns: unsigned(row.get(6)?),
                trace_id: hex(row.get_ref(7)?.as_blob()?),
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn runs(&self) -> Result<Vec<Run>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, command, start_ns, end_ns, (SELECT count(*) FROM trace WHERE run = run.id) FROM run \
             ORDER BY id DESC LIMIT ?1",
        )?;
        let rows = statement.query_map([MOST_GROUPS], |row| {
            Ok(Run {
                id: row.get(0)?,
                command: row.get(1)?,
                start_unix_ns: unsigned(row.get(2)?),
                end_unix_ns: row.get::<_, Option<i64>>(3)?.map(unsigned),
                traces: unsigned(row.get(4)?),
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn change(&self) -> Result<Change, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT ifnull(max(id), 0) FROM part")?;
        Ok(Change(statement.query_row([], |row| row.get(0))?))
    }

    fn since(&self, query: &Query, change: Change, until: Change, most: usize) -> Result<Vec<TraceRow>, StoreError> {
        let mut condition = Condition::new(query, &self.connection, 0)?;
        condition.and(
            "t.id IN (SELECT trace FROM part WHERE id > ? AND id <= ?)",
            [Sql::Integer(change.0), Sql::Integer(until.0)],
        );
        let sql = format!(
            "{ROW}{FROM}{} ORDER BY t.id LIMIT {}",
            condition.sql(),
            most.min(MOST_ROWS)
        );
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query(params_from_iter(condition.params()))?;
        let mut traces = Vec::new();
        while let Some(row) = rows.next()? {
            let found = trace_row(row)?;
            if !condition.looks_into_spans() || condition.holds(found.id, &self.connection)? {
                traces.push(found);
            }
        }
        Ok(traces)
    }
}

fn trace_row(row: &Row<'_>) -> Result<TraceRow, StoreError> {
    Ok(TraceRow {
        id: row.get(0)?,
        trace_id: hex(row.get_ref(1)?.as_blob().unwrap_or_default()),
        start_unix_ns: unsigned(row.get(2)?),
        duration_ns: unsigned(row.get(3)?),
        spans: unsigned(row.get(4)?),
        errors: unsigned(row.get(5)?),
        run: row.get(6)?,
        title: row.get(7)?,
        service: row.get(8)?,
        status: row.get(9)?,
        error: row.get(10)?,
    })
}

/// Where a page ended: what it was ordered by, and the trace's number.
fn cursor(text: &str) -> Option<(i64, i64)> {
    let (value, id) = text.split_once('.')?;
    Some((value.parse().ok()?, id.parse().ok()?))
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

fn span_view(span: Span, resource: Option<&(String, Option<i64>)>, start_ns: u64) -> SpanView {
    let offset = |ns: u64| ns.saturating_sub(start_ns);
    let error = facts::failed(&span).then(|| span.status.as_ref().map_or(String::new(), |it| it.message.clone()));
    let events = span.events.iter().map(|event| {
        json!({
            "name": event.name,
            "offset_ns": offset(event.time_unix_nano),
            "attributes": attributes(&event.attributes),
        })
    });
    let links = span.links.iter().map(|link| {
        json!({
            "trace_id": hex(&link.trace_id),
            "span_id": hex(&link.span_id),
            "attributes": attributes(&link.attributes),
        })
    });
    SpanView {
        span_id: hex(&span.span_id),
        parent_id: (!span.parent_span_id.is_empty()).then(|| hex(&span.parent_span_id)),
        parent_is_remote: span.flags & SpanFlags::ContextIsRemoteMask as u32 != 0,
        kind: facts::kind_word(i64::from(span.kind)),
        service: resource.map_or_else(String::new, |(service, _)| service.clone()),
        pid: resource.and_then(|(_, pid)| *pid),
        offset_ns: offset(span.start_time_unix_nano),
        duration_ns: span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano),
        error,
        attributes: attributes(&span.attributes),
        events: events.collect(),
        links: links.collect(),
        name: span.name,
    }
}

fn attributes(attributes: &[KeyValue]) -> Map<String, Json> {
    let pair = |attribute: &KeyValue| {
        (
            attribute.key.clone(),
            attribute.value.as_ref().map_or(Json::Null, value),
        )
    };
    attributes.iter().map(pair).collect()
}

fn value(of: &AnyValue) -> Json {
    match &of.value {
        Some(Any::StringValue(text)) => json!(text),
        Some(Any::IntValue(number)) => json!(number),
        Some(Any::DoubleValue(number)) => json!(number),
        Some(Any::BoolValue(yes)) => json!(yes),
        Some(Any::ArrayValue(array)) => array.values.iter().map(value).collect(),
        Some(Any::KvlistValue(list)) => Json::Object(attributes(&list.values)),
        Some(Any::BytesValue(bytes)) => {
            let mut text = String::with_capacity(bytes.len() * 2);
            for byte in bytes {
                let _infallible = write!(text, "{byte:02x}");
            }
            json!(text)
        }
        None => Json::Null,
    }
}
