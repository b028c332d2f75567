//! Answers from the file, while others may write it.
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{Span, SpanFlags};
use prost::Message as _;
use rusqlite::types::{Value as Sql, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};

use super::search::{Condition, id_range};
use super::{open_to_read, part, signed, unsigned};
use crate::export::hex;
use crate::store::packed::{Beside, PackedTrace, Whole, pack};
use crate::store::{
    Change, Comparison, Endpoint, ErrorGroup, Facets, InFlight, Order, Page, Points, ProcessBegan, Query, Reader, Run,
    Service, ServiceMap, SpanView, StoreError, TestCase, TraceList, TraceRow, TraceView,
};
use crate::store::{facts, moment};

/// Most traces in a page.
const MOST_ROWS: usize = 1_000;
/// Traces whose spans are looked into for one page; the rest is left to the next.
const MOST_LOOKS: usize = 20_000;
/// Most spans told of one trace.
const MOST_SPANS: usize = 100_000;
/// Most kinds of failures, and of runs, told.
const MOST_GROUPS: i64 = 1_000;

pub(super) const ROW: &str = "
SELECT t.id, t.trace_id, t.start_ns, t.end_ns - t.start_ns, t.spans, t.errors, t.run, t.title,
    coalesce(o.service, ''), coalesce(o.status, ''), coalesce(o.failed, 0), t.died, t.test";
pub(super) const FROM: &str = " FROM trace t LEFT JOIN operation o ON o.id = t.root_operation WHERE true";

/// A store that is read.
pub struct SqliteReader {
    pub(super) connection: Connection,
}

/// What is stored of a trace.
struct Found {
    row: TraceRow,
    resources: HashMap<i64, Source>,
    /// Each with the number of its resource.
    spans: Vec<(i64, Span)>,
    /// There are more.
    cut: bool,
    lost_events: u64,
}

/// What a span came from.
pub(super) struct Source {
    pub(super) service: String,
    pub(super) pid: Option<i64>,
    /// When its process began.
    began_unix_ns: Option<u64>,
}

impl Source {
    fn of(resource: &Resource) -> Self {
        let find = |name| facts::find(&resource.attributes, name).and_then(|found| found.value.as_ref());
        Self {
            service: facts::service(resource).to_owned(),
            pid: match find("process.pid") {
                Some(Any::IntValue(pid)) => Some(*pid),
                _ => None,
            },
            began_unix_ns: match find("process.creation.time") {
                Some(Any::StringValue(text)) => moment::parse(text).map(unsigned),
                _ => None,
            },
        }
    }
}

impl Found {
    fn whole(&self) -> Whole {
        Whole {
            cut: self.cut,
            processes: self.processes(),
            lost_events: self.lost_events,
        }
    }

    fn processes(&self) -> Vec<ProcessBegan> {
        let used: BTreeSet<i64> = self.spans.iter().map(|(resource, _)| *resource).collect();
        let began = used.iter().filter_map(|resource| {
            let source = self.resources.get(resource)?;
            Some(ProcessBegan {
                service: source.service.clone(),
                pid: source.pid?,
                start_unix_ns: source.began_unix_ns?,
            })
        });
        began.collect()
    }
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

    /// A trace's spans as they are stored, by their starts.
    fn found(&self, id: &str) -> Result<Option<Found>, StoreError> {
        if !names_a_trace(id) {
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
        let mut spans = Vec::new();
        while let Some(data) = parts.next()?
            && spans.len() <= MOST_SPANS
        {
            spans.append(&mut part::unpack(data.get_ref(0)?.as_blob().unwrap_or_default())?);
        }
        drop(parts);
        let end_ns = row.start_unix_ns.saturating_add(row.duration_ns);
        let mut statement = self.connection.prepare_cached(
            "SELECT ifnull(sum(events), 0) FROM loss WHERE run = ?1 AND to_ns >= ?2 AND from_ns <= ?3",
        )?;
        let lost = params![row.run, signed(row.start_unix_ns), signed(end_ns)];
        let lost_events = statement.query_row(lost, |row| row.get(0)).map(unsigned)?;
        transaction.finish()?;
        let cut = spans.len() > MOST_SPANS;
        spans.truncate(MOST_SPANS);
        let key = |span: &Span| (span.start_time_unix_nano, span.span_id.clone());
        spans.sort_by_cached_key(|(_, span)| key(span));
        Ok(Some(Found {
            row,
            resources,
            spans,
            cut,
            lost_events,
        }))
    }

    /// What each resource says.
    pub(super) fn resources(&self) -> Result<HashMap<i64, Source>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT id, data FROM resource")?;
        let mut rows = statement.query([])?;
        let mut all = HashMap::new();
        while let Some(row) = rows.next()? {
            let resource = Resource::decode(row.get_ref(1)?.as_blob().unwrap_or_default());
            all.insert(row.get(0)?, Source::of(&resource.map_err(|_| StoreError::Malformed)?));
        }
        Ok(all)
    }
}

impl Reader for SqliteReader {
    fn traces(&self, query: &Query, page: &Page) -> Result<TraceList, StoreError> {
        let mut condition = Condition::new(query, &self.connection, page.now_ns)?;
        let key = key(page.order);
        let (sign, direction) = if page.ascending { (">", "ASC") } else { ("<", "DESC") };
        if let Some((value, id)) = page.after.as_deref().and_then(cursor) {
            condition.and(&format!("({key}, t.id) {sign} (?, ?)"), [value, Sql::Integer(id)]);
        }
        let limit = page.limit.clamp(1, MOST_ROWS);
        let looks = condition.looks_into_spans();
        // One more than asked for tells whether there are more.
        let rows_wanted = if looks { MOST_LOOKS } else { limit + 1 };
        let sql = format!(
            "{ROW}, {key}{FROM}{} ORDER BY {key} {direction}, t.id {direction} LIMIT {rows_wanted}",
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
            last = Some(place(row.get_ref(13)?, found.id));
            if !looks || condition.holds(found.id, &self.connection)? {
                traces.push(found);
            }
        }
        let next = if seen == rows_wanted { last } else { None };
        Ok(TraceList { traces, next })
    }

    fn trace(&self, id: &str) -> Result<Option<TraceView>, StoreError> {
        let Some(found) = self.found(id)? else {
            return Ok(None);
        };
        let start_ns = found.row.start_unix_ns;
        let whole = found.whole();
        let spans = found.spans.into_iter();
        let spans = spans.map(|(resource, span)| span_view(span, found.resources.get(&resource), start_ns));
        Ok(Some(TraceView {
            row: found.row,
            span_list: spans.collect(),
            cut: whole.cut,
            processes: whole.processes,
            lost_events: whole.lost_events,
        }))
    }

    fn packed(&self, id: &str) -> Result<Option<PackedTrace>, StoreError> {
        let Some(found) = self.found(id)? else {
            return Ok(None);
        };
        let whole = found.whole();
        let told = |(resource, span): (i64, Span)| match found.resources.get(&resource) {
            Some(source) => (span, source.service.as_str(), source.pid),
            None => (span, "", None),
        };
        let spans = found.spans.into_iter().map(told).collect();
        Ok(Some(pack(found.row, spans, whole)))
    }

    fn otlp(&self, id: &str) -> Result<Option<ExportTraceServiceRequest>, StoreError> {
        if names_a_trace(id) { self.request(id) } else { Ok(None) }
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
        self.endpoint_list(run)
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
        let rows = statement.query_map([MOST_GROUPS], run_row)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn tests(&self, run: Option<i64>) -> Result<Vec<TestCase>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT test, count(*), sum(errors > 0), sum(end_ns - start_ns), max(end_ns - start_ns), max(start_ns) \
             FROM trace WHERE test <> '' AND (?1 IS NULL OR run = ?1) GROUP BY test ORDER BY max(start_ns) DESC LIMIT ?2",
        )?;
        let rows = statement.query_map(params![run, MOST_GROUPS], |row| {
            Ok(TestCase {
                name: row.get(0)?,
                traces: unsigned(row.get(1)?),
                failed: unsigned(row.get(2)?),
                sum_ns: unsigned(row.get(3)?),
                most_ns: unsigned(row.get(4)?),
                last_unix_ns: unsigned(row.get(5)?),
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn in_flight(&self, now_ns: u64) -> Result<Vec<InFlight>, StoreError> {
        self.flights(now_ns)
    }

    fn facets(&self, query: &Query, now_ns: u64) -> Result<Facets, StoreError> {
        self.facet_list(query, now_ns)
    }

    fn points(&self, query: &Query, now_ns: u64, most: usize) -> Result<Points, StoreError> {
        self.point_list(query, now_ns, most)
    }

    fn map(&self, query: &Query, now_ns: u64) -> Result<ServiceMap, StoreError> {
        self.service_map(query, now_ns)
    }

    fn compare(&self, base: Option<i64>, run: Option<i64>) -> Result<Option<Comparison>, StoreError> {
        self.comparison(base, run)
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

fn names_a_trace(id: &str) -> bool {
    /// Fewer digits name too many.
    const LEAST_DIGITS: usize = 8;
    (LEAST_DIGITS..=32).contains(&id.len()) && id.chars().all(|char| char.is_ascii_hexdigit())
}

pub(super) fn trace_row(row: &Row<'_>) -> Result<TraceRow, StoreError> {
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
        died: row.get(11)?,
        test: row.get(12)?,
    })
}

pub(super) fn run_row(row: &Row<'_>) -> rusqlite::Result<Run> {
    Ok(Run {
        id: row.get(0)?,
        command: row.get(1)?,
        start_unix_ns: unsigned(row.get(2)?),
        end_unix_ns: row.get::<_, Option<i64>>(3)?.map(unsigned),
        traces: unsigned(row.get(4)?),
    })
}

/// What rows are ordered by.
fn key(order: Order) -> &'static str {
    match order {
        Order::Start => "t.start_ns",
        Order::Duration => "(t.end_ns - t.start_ns)",
        Order::Spans => "t.spans",
        Order::Errors => "t.errors",
        Order::Service => "coalesce(o.service, '')",
        Order::Title => "t.title",
        Order::Status => "coalesce(o.status, '')",
    }
}

/// Where a page ended: what it was ordered by, a text as hex digits behind an `x`, and the trace's number.
fn place(key: ValueRef<'_>, id: i64) -> String {
    match key {
        ValueRef::Integer(number) => format!("{number}.{id}"),
        other => format!("x{}.{id}", hex(other.as_bytes().unwrap_or_default())),
    }
}

fn cursor(text: &str) -> Option<(Sql, i64)> {
    let (value, id) = text.split_once('.')?;
    let value = match value.strip_prefix('x') {
        Some(digits) => Sql::Text(String::from_utf8(unhex(digits)?).ok()?),
        None => Sql::Integer(value.parse().ok()?),
    };
    Some((value, id.parse().ok()?))
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

fn span_view(span: Span, resource: Option<&Source>, start_ns: u64) -> SpanView {
    let offset = |ns: u64| ns.saturating_sub(start_ns);
    let error = facts::failed(&span).then(|| span.status.as_ref().map_or(String::new(), |it| it.message.clone()));
    let beside = Beside::of(&span, start_ns);
    SpanView {
        span_id: hex(&span.span_id),
        parent_id: (!span.parent_span_id.is_empty()).then(|| hex(&span.parent_span_id)),
        parent_is_remote: span.flags & SpanFlags::ContextIsRemoteMask as u32 != 0,
        kind: facts::kind_word(i64::from(span.kind)),
        service: resource.map_or_else(String::new, |source| source.service.clone()),
        pid: resource.and_then(|source| source.pid),
        offset_ns: offset(span.start_time_unix_nano),
        duration_ns: span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano),
        error,
        attributes: facts::attributes(&span.attributes),
        events: beside.events,
        logs: beside.logs,
        links: beside.links,
        name: span.name,
    }
}
