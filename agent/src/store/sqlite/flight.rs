//! Requests in flight: what the run that traces them says of them, and what is left of it when it is gone.
use rusqlite::params;

use super::read::SqliteReader;
use super::write::SqliteStore;
use super::{signed, unsigned};
use crate::export::hex;
use crate::store::facts;
use crate::store::{InFlight, StoreError};

/// Whoever has not been there for so long is gone: it is there once a second as long as there is anything to say.
const GONE_NS: u64 = 10_000_000_000;
/// Requests told.
const MOST: i64 = 1_000;

impl SqliteStore {
    pub(super) fn say_in_flight(&mut self, requests: &[InFlight], now_ns: u64) -> Result<(), StoreError> {
        let run = self.run;
        let transaction = self.connection.transaction()?;
        transaction
            .prepare_cached("DELETE FROM flight WHERE run = ?1")?
            .execute([run])?;
        transaction
            .prepare_cached("UPDATE run SET seen_ns = ?2 WHERE id = ?1")?
            .execute(params![run, signed(now_ns)])?;
        let mut insert =
            transaction.prepare_cached("INSERT OR IGNORE INTO flight VALUES(?1, unhex(?2), ?3, ?4, ?5, ?6, ?7)")?;
        for request in requests {
            insert.execute(params![
                run,
                request.span_id,
                request.service,
                facts::kind_number(request.kind),
                request.title,
                request.pid,
                signed(request.start_unix_ns),
            ])?;
        }
        drop(insert);
        transaction.commit()?;
        Ok(())
    }
}

impl SqliteReader {
    pub(super) fn flights(&self, now_ns: u64) -> Result<Vec<InFlight>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT span_id, service, kind, title, pid, f.start_ns, run, r.seen_ns FROM flight f JOIN run r ON r.id = f.run \
             ORDER BY f.start_ns LIMIT ?1",
        )?;
        let rows = statement.query_map([MOST], |row| {
            Ok(InFlight {
                span_id: hex(row.get_ref(0)?.as_blob()?),
                service: row.get(1)?,
                kind: facts::kind_word(row.get(2)?),
                title: row.get(3)?,
                pid: row.get(4)?,
                start_unix_ns: unsigned(row.get(5)?),
                run: row.get(6)?,
                lost: now_ns.saturating_sub(unsigned(row.get(7)?)) > GONE_NS,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}
