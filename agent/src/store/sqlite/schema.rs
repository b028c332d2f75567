//! The tables, by version.
use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::unopened;
use crate::store::StoreError;

/// What makes each version of the one before. Only ever added to.
const MIGRATIONS: &[&str] = &[V1, V2, V3, V4];

/// `used` is the last part that named a row: what no part that is here can name goes with the oldest traces.
const V1: &str = "
CREATE TABLE run(
    id INTEGER PRIMARY KEY,
    command TEXT NOT NULL,
    start_ns INTEGER NOT NULL,
    end_ns INTEGER);
CREATE TABLE resource(
    id INTEGER PRIMARY KEY,
    data BLOB NOT NULL UNIQUE,
    used INTEGER NOT NULL);
CREATE TABLE operation(
    id INTEGER PRIMARY KEY,
    service TEXT NOT NULL,
    kind INTEGER NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    failed INTEGER NOT NULL,
    used INTEGER NOT NULL,
    UNIQUE(service, kind, name, status, failed));
CREATE TABLE trace(
    id INTEGER PRIMARY KEY,
    trace_id BLOB NOT NULL UNIQUE,
    run INTEGER NOT NULL,
    start_ns INTEGER NOT NULL,
    end_ns INTEGER NOT NULL,
    spans INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    -- What stands for the trace: a span without a parent before one with, an earlier before a later.
    root_rank INTEGER NOT NULL,
    root_ns INTEGER NOT NULL,
    root_operation INTEGER NOT NULL,
    title TEXT NOT NULL);
CREATE INDEX trace_start ON trace(start_ns);
CREATE TABLE part(
    id INTEGER PRIMARY KEY,
    trace INTEGER NOT NULL,
    data BLOB NOT NULL);
CREATE INDEX part_trace ON part(trace);
CREATE TABLE call(
    trace INTEGER NOT NULL,
    operation INTEGER NOT NULL,
    spans INTEGER NOT NULL,
    most_ns INTEGER NOT NULL,
    PRIMARY KEY(trace, operation)) WITHOUT ROWID;
CREATE INDEX call_operation ON call(operation, trace);
CREATE TABLE minute(
    operation INTEGER NOT NULL,
    run INTEGER NOT NULL,
    minute INTEGER NOT NULL,
    spans INTEGER NOT NULL,
    sum_ns INTEGER NOT NULL,
    histogram BLOB NOT NULL,
    PRIMARY KEY(operation, run, minute)) WITHOUT ROWID;
CREATE TABLE failure(
    operation INTEGER NOT NULL,
    message TEXT NOT NULL,
    spans INTEGER NOT NULL,
    first_ns INTEGER NOT NULL,
    last_ns INTEGER NOT NULL,
    trace_id BLOB NOT NULL,
    PRIMARY KEY(operation, message)) WITHOUT ROWID;
-- Holds no text, only where which word is: rowid is a part.
CREATE VIRTUAL TABLE text USING fts5(body, content='', contentless_delete=1, detail=none, tokenize='unicode61');
";

/// Requests in flight, by the run that tells of them; `seen_ns` says when it was there last. Requests whose process ended.
const V2: &str = "
ALTER TABLE trace ADD COLUMN died INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN seen_ns INTEGER NOT NULL DEFAULT 0;
CREATE TABLE flight(
    run INTEGER NOT NULL,
    span_id BLOB NOT NULL,
    service TEXT NOT NULL,
    kind INTEGER NOT NULL,
    title TEXT NOT NULL,
    pid INTEGER NOT NULL,
    start_ns INTEGER NOT NULL,
    PRIMARY KEY(run, span_id)) WITHOUT ROWID;
";

/// What keeps questions about 100 000 traces below 200 ms.
const V3: &str = "
-- Lists by other columns stop when they have enough, as those by time do.
CREATE INDEX trace_duration ON trace(end_ns - start_ns);
CREATE INDEX trace_spans ON trace(spans);
CREATE INDEX trace_errors ON trace(errors);
-- Times by their number of digits: what is slow stands apart, and new rows still come at the end of few places.
DROP INDEX call_operation;
CREATE INDEX call_digits ON call(operation, length(most_ns), trace);
";

/// The test case that made a trace's requests; empty where none is named. When events were lost.
const V4: &str = "
ALTER TABLE trace ADD COLUMN test TEXT NOT NULL DEFAULT '';
CREATE INDEX trace_test ON trace(test) WHERE test <> '';
CREATE TABLE loss(
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    from_ns INTEGER NOT NULL,
    to_ns INTEGER NOT NULL,
    events INTEGER NOT NULL);
";

/// The version this Clew writes.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Brings a file up to the version, all or nothing.
pub(super) fn migrate(connection: &mut Connection, folder: &Path) -> Result<(), StoreError> {
    if check(connection, folder)? == VERSION {
        return Ok(());
    }
    // Another process may be at it too: what is found within the transaction counts.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    for step in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(())
}

/// The version found, unless it is too new or there is no telling.
pub(super) fn check(connection: &Connection, folder: &Path) -> Result<i64, StoreError> {
    let found = version(connection).map_err(|error| unopened(folder, error))?;
    if found > VERSION {
        return Err(StoreError::Newer {
            path: folder.to_owned(),
            found,
            known: VERSION,
        });
    }
    Ok(found)
}

#[cfg(test)]
pub(super) fn up_to(connection: &mut Connection, version: usize) -> rusqlite::Result<()> {
    for step in MIGRATIONS.iter().take(version) {
        connection.execute_batch(step)?;
    }
    connection.pragma_update(None, "user_version", version as i64)
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}
