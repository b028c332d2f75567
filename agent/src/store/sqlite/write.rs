//! Writes batches of spans, each in one transaction.
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use foldhash::fast::FixedState;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::histogram::Histogram;
use super::part::Packer;
use super::trim::{Bounds, Reserve};
use super::{open_to_write, signed};
use crate::store::facts::{self, Searchable};
use crate::store::{Backend, InFlight, Incoming, StoreError};

/// Kinds of calls that are told apart; further ones are all called by [`OTHER`].
const MOST_OPERATIONS: i64 = 50_000;
/// Kinds of failures that are told apart.
const MOST_FAILURES: i64 = 5_000;
const OTHER: &str = "(other)";
/// What is remembered of what is in the file.
const REMEMBERED: usize = 4_096;
/// Longer names are cut.
const NAME_BYTES: usize = 300;

const MINUTE_NS: u64 = 60_000_000_000;

/// A store that is written.
pub struct SqliteStore {
    pub(super) connection: Connection,
    pub(super) folder: PathBuf,
    pub(super) bounds: Bounds,
    pub(super) reserve: Reserve,
    /// The disk was full, and the reserve is not there again.
    pub(super) tight: bool,
    pub(super) run: i64,
    known: Known,
    /// Changes when another connection has written: what is known may be gone.
    version: i64,
    packer: Packer,
    searchable: Searchable,
    /// Names that were too many, since it was asked last.
    pub(super) unnamed: u64,
}

/// What the file has, so that it need not be asked for each span. Emptied when it grows and whenever rows were deleted.
#[derive(Default)]
pub(super) struct Known {
    resources: HashMap<Vec<u8>, i64, FixedState>,
    operations: HashMap<Operation, i64, FixedState>,
    /// Operations in the file, at most.
    count: Option<i64>,
}

impl Known {
    pub(super) fn clear(&mut self) {
        self.resources.clear();
        self.operations.clear();
        self.count = None;
    }
}

/// What spans that are alike have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Operation {
    service: String,
    kind: i64,
    name: String,
    status: String,
    failed: bool,
}

/// What a batch adds to tables that are not by trace.
#[derive(Default)]
struct Sums {
    minutes: HashMap<(i64, u64), (u64, u64, Histogram), FixedState>,
    failures: HashMap<(i64, String), Failed, FixedState>,
}

struct Failed {
    spans: u64,
    first_ns: u64,
    last_ns: u64,
    trace_id: [u8; 16],
}

impl SqliteStore {
    /// Opens the store in a folder, making both where they are not there.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub fn open(folder: &Path, bounds: Bounds) -> Result<Self, StoreError> {
        Ok(Self {
            connection: open_to_write(folder)?,
            folder: folder.to_owned(),
            bounds,
            reserve: Reserve::new(folder),
            tight: false,
            run: 0,
            known: Known::default(),
            version: 0,
            packer: Packer::default(),
            searchable: Searchable::default(),
            unnamed: 0,
        })
    }

    pub(super) fn forget(&mut self) {
        self.known.clear();
    }
}

impl Backend for SqliteStore {
    fn begin(&mut self, command: &str, now_ns: u64) -> Result<(), StoreError> {
        let sql = "INSERT INTO run(command, start_ns) VALUES(?1, ?2)";
        self.connection.execute(sql, params![command, signed(now_ns)])?;
        self.run = self.connection.last_insert_rowid();
        self.reserve.fill();
        Ok(())
    }

    fn write(&mut self, spans: &[Incoming<'_>], _now_ns: u64) -> Result<(), StoreError> {
        let version = self.pragma("data_version")?;
        if std::mem::replace(&mut self.version, version) != version {
            self.forget();
        }
        let Self {
            connection,
            run,
            known,
            packer,
            searchable,
            unnamed,
            ..
        } = self;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut batch = Batch {
            transaction: &transaction,
            run: *run,
            known,
            sums: Sums::default(),
            resources: HashMap::default(),
            unnamed: 0,
        };
        let written = batch.write(spans, packer, searchable);
        let more_unnamed = batch.unnamed;
        if let Err(error) = written.and_then(|()| Ok(transaction.commit()?)) {
            // What was learned of rows is not true if they were not kept.
            self.known.clear();
            return Err(error);
        }
        *unnamed += more_unnamed;
        Ok(())
    }

    fn trim(&mut self, now_ns: u64) -> Result<u64, StoreError> {
        self.trim_to_bounds(now_ns)
    }

    fn relieve(&mut self) -> Result<u64, StoreError> {
        self.make_room()
    }

    fn in_flight(&mut self, requests: &[InFlight], now_ns: u64) -> Result<(), StoreError> {
        self.say_in_flight(requests, now_ns)
    }

    fn lost(&mut self, from_ns: u64, to_ns: u64, events: u64) -> Result<(), StoreError> {
        let (from_ns, to_ns, events) = (signed(from_ns), signed(to_ns), signed(events));
        // As long as it goes on it is one.
        let sql = "UPDATE loss SET to_ns = ?3, events = events + ?4 \
                   WHERE id = (SELECT max(id) FROM loss) AND run = ?1 AND to_ns >= ?2";
        let more = self
            .connection
            .execute(sql, params![self.run, from_ns, to_ns, events])?;
        if more == 0 {
            let sql = "INSERT INTO loss(run, from_ns, to_ns, events) VALUES(?1, ?2, ?3, ?4)";
            self.connection
                .execute(sql, params![self.run, from_ns, to_ns, events])?;
        }
        Ok(())
    }

    fn end(&mut self, now_ns: u64) -> Result<(), StoreError> {
        self.connection
            .execute("DELETE FROM flight WHERE run = ?1", [self.run])?;
        let sql = "UPDATE run SET end_ns = ?2 WHERE id = ?1";
        self.connection.execute(sql, params![self.run, signed(now_ns)])?;
        Ok(())
    }

    fn unnamed(&mut self) -> u64 {
        std::mem::take(&mut self.unnamed)
    }
}

struct Batch<'a> {
    transaction: &'a Transaction<'a>,
    run: i64,
    known: &'a mut Known,
    sums: Sums,
    resources: HashMap<*const Resource, i64, FixedState>,
    unnamed: u64,
}

impl Batch<'_> {
    fn write(
        &mut self,
        spans: &[Incoming<'_>],
        packer: &mut Packer,
        searchable: &mut Searchable,
    ) -> Result<(), StoreError> {
        if self.known.resources.len() + self.known.operations.len() > REMEMBERED {
            self.known.clear();
        }
        let mut traces: Vec<Vec<&Incoming<'_>>> = Vec::new();
        let mut places: HashMap<[u8; 16], usize, FixedState> = HashMap::default();
        for incoming in spans {
            let place = *places.entry(incoming.trace_id).or_insert(traces.len());
            match traces.get_mut(place) {
                Some(trace) => trace.push(incoming),
                None => traces.push(vec![incoming]),
            }
        }
        for spans in &traces {
            self.trace(spans, packer, searchable)?;
        }
        self.sums()
    }

    /// Spans of one trace.
    fn trace(
        &mut self,
        spans: &[&Incoming<'_>],
        packer: &mut Packer,
        searchable: &mut Searchable,
    ) -> Result<(), StoreError> {
        packer.clear();
        searchable.clear();
        let (mut start, mut end, mut errors, mut died, mut test) = (u64::MAX, 0, 0_u64, false, "");
        let mut root: Option<(Rank, i64, &Incoming<'_>)> = None;
        let mut calls: Vec<(i64, u64, u64)> = Vec::with_capacity(spans.len().min(64));
        for incoming in spans {
            let Incoming { resource, span, .. } = incoming;
            let service = facts::service(resource);
            let failed = facts::failed(span);
            let resource = self.resource(resource)?;
            let operation = self.operation(service, span, failed)?;
            let duration = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano);
            start = start.min(span.start_time_unix_nano);
            end = end.max(span.end_time_unix_nano);
            errors += u64::from(failed);
            died |= failed && facts::died(span);
            if test.is_empty() {
                test = facts::test(span);
            }
            let rank = (!span.parent_span_id.is_empty(), span.start_time_unix_nano);
            if root.as_ref().is_none_or(|(best, ..)| rank < *best) {
                root = Some((rank, operation, incoming));
            }
            match calls.iter_mut().find(|(known, ..)| *known == operation) {
                Some((_, count, most)) => (*count, *most) = (*count + 1, duration.max(*most)),
                None => calls.push((operation, 1, duration)),
            }
            let minute = span.start_time_unix_nano / MINUTE_NS;
            let (count, sum, histogram) = self.sums.minutes.entry((operation, minute)).or_default();
            *count += 1;
            *sum = sum.saturating_add(duration);
            histogram.add(duration);
            if failed {
                self.sums.failed(operation, incoming);
            }
            searchable.add(service, span);
            packer.add(resource, span);
        }
        let Some((rank, operation, root)) = root else {
            return Ok(());
        };
        let mut statement = self.transaction.prepare_cached(TRACE)?;
        let trace: i64 = statement.query_row(
            params![
                &root.trace_id[..],
                self.run,
                signed(start),
                signed(end),
                spans.len() as i64,
                signed(errors),
                rank.0,
                signed(rank.1),
                operation,
                facts::title(&root.span),
                died,
                test,
            ],
            |row| row.get(0),
        )?;
        let mut statement = self
            .transaction
            .prepare_cached("INSERT INTO part(trace, data) VALUES(?1, ?2)")?;
        let part = statement.insert(params![trace, packer.finish()])?;
        let mut statement = self
            .transaction
            .prepare_cached("INSERT INTO text(rowid, body) VALUES(?1, ?2)")?;
        statement.execute(params![part, searchable.text()])?;
        let mut statement = self.transaction.prepare_cached(CALL)?;
        for (operation, count, most) in calls {
            statement.execute(params![trace, operation, signed(count), signed(most)])?;
        }
        Ok(())
    }

    fn resource(&mut self, resource: &Resource) -> Result<i64, StoreError> {
        // Spans that come together share their resource, which lives as long as the batch.
        let place = std::ptr::from_ref(resource);
        if let Some(id) = self.resources.get(&place) {
            return Ok(*id);
        }
        let data = resource.encode_to_vec();
        let id = match self.known.resources.get(&data) {
            Some(id) => *id,
            None => {
                let mut statement = self.transaction.prepare_cached(
                    "INSERT INTO resource(data, used) VALUES(?1, 0) ON CONFLICT(data) DO UPDATE SET used = used \
                     RETURNING id",
                )?;
                let id = statement.query_row([&data], |row| row.get(0))?;
                self.known.resources.insert(data, id);
                id
            }
        };
        self.resources.insert(place, id);
        Ok(id)
    }

    fn operation(&mut self, service: &str, span: &Span, failed: bool) -> Result<i64, StoreError> {
        let short = |text: &str| {
            text.get(..text.floor_char_boundary(NAME_BYTES))
                .unwrap_or(text)
                .to_owned()
        };
        let mut operation = Operation {
            service: short(service),
            kind: i64::from(span.kind),
            name: short(&span.name),
            status: short(&facts::status(span)),
            failed,
        };
        if let Some(id) = self.known.operations.get(&operation) {
            return Ok(*id);
        }
        let count = match self.known.count {
            Some(count) => count,
            None => self.count("operation")?,
        };
        self.known.count = Some(count + 1);
        if count >= MOST_OPERATIONS && !self.is_there(&operation)? {
            self.unnamed += 1;
            OTHER.clone_into(&mut operation.name);
        }
        let mut statement = self.transaction.prepare_cached(
            "INSERT INTO operation(service, kind, name, status, failed, used) VALUES(?1, ?2, ?3, ?4, ?5, 0) \
             ON CONFLICT DO UPDATE SET used = used RETURNING id",
        )?;
        let id = statement.query_row(operation.params(), |row| row.get(0))?;
        self.known.operations.insert(operation, id);
        Ok(id)
    }

    fn count(&self, table: &str) -> Result<i64, StoreError> {
        let mut statement = self
            .transaction
            .prepare_cached(&format!("SELECT count(*) FROM {table}"))?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }

    fn is_there(&self, operation: &Operation) -> Result<bool, StoreError> {
        let mut statement = self.transaction.prepare_cached(
            "SELECT 1 FROM operation WHERE service = ?1 AND kind = ?2 AND name = ?3 AND status = ?4 AND failed = ?5",
        )?;
        Ok(statement.exists(operation.params())?)
    }

    fn sums(&mut self) -> Result<(), StoreError> {
        let sums = std::mem::take(&mut self.sums);
        let last: Option<i64> = self
            .transaction
            .query_row("SELECT max(id) FROM part", [], |row| row.get(0))?;
        let mut used = self
            .transaction
            .prepare_cached("UPDATE operation SET used = ?2 WHERE id = ?1")?;
        let mut stored = self
            .transaction
            .prepare_cached("SELECT histogram FROM minute WHERE operation = ?1 AND run = ?2 AND minute = ?3")?;
        let mut minute = self.transaction.prepare_cached(
            "INSERT INTO minute VALUES(?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET \
             spans = spans + excluded.spans, sum_ns = sum_ns + excluded.sum_ns, histogram = excluded.histogram",
        )?;
        for ((operation, at), (count, sum, mut histogram)) in sums.minutes {
            used.execute(params![operation, last])?;
            let key = params![operation, self.run, signed(at)];
            let mut rows = stored.query(key)?;
            if let Some(row) = rows.next()? {
                histogram.merge(&Histogram::decode(row.get_ref(0)?.as_blob().unwrap_or_default()));
            }
            drop(rows);
            minute.execute(params![
                operation,
                self.run,
                signed(at),
                signed(count),
                signed(sum),
                histogram.encode()
            ])?;
        }
        let mut used = self
            .transaction
            .prepare_cached("UPDATE resource SET used = ?2 WHERE id = ?1")?;
        for resource in self.resources.values() {
            used.execute(params![resource, last])?;
        }
        if sums.failures.is_empty() {
            return Ok(());
        }
        let kinds = self.count("failure")?;
        let mut failure = self.transaction.prepare_cached(
            "INSERT INTO failure VALUES(?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET \
             spans = spans + excluded.spans, first_ns = min(first_ns, excluded.first_ns), \
             last_ns = max(last_ns, excluded.last_ns), trace_id = excluded.trace_id",
        )?;
        for ((operation, message), failed) in sums.failures {
            let message = if kinds >= MOST_FAILURES { OTHER } else { &message };
            failure.execute(params![
                operation,
                message,
                signed(failed.spans),
                signed(failed.first_ns),
                signed(failed.last_ns),
                &failed.trace_id[..],
            ])?;
        }
        Ok(())
    }
}

/// Without a parent first, then by start.
type Rank = (bool, u64);

impl Operation {
    fn params(&self) -> (&str, i64, &str, &str, bool) {
        (&self.service, self.kind, &self.name, &self.status, self.failed)
    }
}

impl Sums {
    fn failed(&mut self, operation: i64, incoming: &Incoming<'_>) {
        let span = &incoming.span;
        let at = span.start_time_unix_nano;
        let key = (operation, facts::message(span).to_owned());
        let failed = self.failures.entry(key).or_insert_with(|| Failed {
            spans: 0,
            first_ns: at,
            last_ns: at,
            trace_id: incoming.trace_id,
        });
        failed.spans += 1;
        failed.first_ns = failed.first_ns.min(at);
        failed.last_ns = failed.last_ns.max(at);
        failed.trace_id = incoming.trace_id;
    }
}

const TRACE: &str = "
INSERT INTO trace(trace_id, run, start_ns, end_ns, spans, errors, root_rank, root_ns, root_operation, title, died, test)
VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
ON CONFLICT(trace_id) DO UPDATE SET
    start_ns = min(start_ns, excluded.start_ns),
    end_ns = max(end_ns, excluded.end_ns),
    spans = spans + excluded.spans,
    errors = errors + excluded.errors,
    died = max(died, excluded.died),
    test = iif(test = '', excluded.test, test),
    root_rank = iif((excluded.root_rank, excluded.root_ns) < (root_rank, root_ns), excluded.root_rank, root_rank),
    root_ns = iif((excluded.root_rank, excluded.root_ns) < (root_rank, root_ns), excluded.root_ns, root_ns),
    root_operation =
        iif((excluded.root_rank, excluded.root_ns) < (root_rank, root_ns), excluded.root_operation, root_operation),
    title = iif((excluded.root_rank, excluded.root_ns) < (root_rank, root_ns), excluded.title, title)
RETURNING id";

const CALL: &str = "
INSERT INTO call VALUES(?1, ?2, ?3, ?4)
ON CONFLICT DO UPDATE SET spans = spans + excluded.spans, most_ns = max(most_ns, excluded.most_ns)";
