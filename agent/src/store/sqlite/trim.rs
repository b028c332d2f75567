//! Keeps the store within its bounds: the oldest traces go first.
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::statvfs;
use rusqlite::{TransactionBehavior, params};

use super::signed;
use super::write::SqliteStore;
use crate::store::StoreError;

/// What a store may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of its file.
    pub bytes: u64,
    /// How long a trace is kept.
    pub age: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            bytes: 1 << 30,
            age: Duration::from_secs(7 * 86_400),
        }
    }
}

/// Traces that go in one transaction: it holds up writing for milliseconds.
const CHUNK: i64 = 256;
/// Such transactions between two batches of spans: more than a batch brings.
const CHUNKS: usize = 24;
/// Pages given back to the file system at once.
const FREED_PAGES: i64 = 2_048;
/// Pages by which the file may grow on a full disk: a part of the reserve.
const GROWTH_PAGES: i64 = 512;
/// As many as a file can have.
const MOST_PAGES: i64 = 4_294_967_294;
/// Free pages that stay in the file, since it will be filled again, as a share of it.
const SPARE: i64 = 16;
/// What is left free on a disk is this share of it, within bounds.
const FREE_SHARE: u64 = 50;
const FREE_BYTES: std::ops::RangeInclusive<u64> = (16 << 20)..=(256 << 20);
/// What a store may hold whatever is left free.
const LEAST_BYTES: u64 = 4 << 20;

impl SqliteStore {
    pub(super) fn trim_to_bounds(&mut self, now_ns: u64) -> Result<u64, StoreError> {
        let oldest_ns = signed(now_ns.saturating_sub(u64::try_from(self.bounds.age.as_nanos()).unwrap_or(u64::MAX)));
        let mut gone = 0;
        for _ in 0..CHUNKS {
            let last = if self.used()? > self.limit()? {
                self.oldest(i64::MAX)?
            } else {
                self.oldest(oldest_ns)?
            };
            let Some(last) = last else { break };
            gone += self.delete(last)?;
        }
        if gone > 0 {
            self.sweep()?;
        }
        self.give_back()?;
        self.reserve.fill();
        if self.tight && self.reserve.held {
            self.tight = false;
            self.may_grow_to(MOST_PAGES)?;
        }
        Ok(gone)
    }

    /// Deleting needs room in the log before it makes any: it is what the reserve is for.
    pub(super) fn make_room(&mut self) -> Result<u64, StoreError> {
        self.forget();
        self.reserve.release();
        // What is in the log already goes into the file, whose pages are there.
        self.checkpoint();
        // A log that makes the file grow could not be moved into it any more, so from here on it grows no further than what
        // deleting needs before it gives back.
        self.tight = true;
        self.may_grow_to(self.pragma("page_count")? + GROWTH_PAGES)?;
        let share = "SELECT count(*) / 10 + 1 FROM trace";
        let share: i64 = self.connection.query_row(share, [], |row| row.get(0))?;
        let mut gone = 0;
        while gone < super::unsigned(share) || self.pragma("freelist_count")? < FREED_PAGES {
            let Some(last) = self.oldest(i64::MAX)? else { break };
            gone += self.delete(last)?;
        }
        Ok(gone)
    }

    fn may_grow_to(&self, pages: i64) -> Result<(), StoreError> {
        let sql = format!("PRAGMA max_page_count = {pages}");
        Ok(self.connection.query_row(&sql, [], |_| Ok(()))?)
    }

    /// Bytes of pages that hold something.
    pub(super) fn used(&self) -> Result<u64, StoreError> {
        let (pages, free, size) = (
            self.pragma("page_count")?,
            self.pragma("freelist_count")?,
            self.pragma("page_size")?,
        );
        Ok(super::unsigned((pages - free).saturating_mul(size)))
    }

    /// Bytes it may hold: what was set, and less where the disk has no more.
    fn limit(&self) -> Result<u64, StoreError> {
        let Ok(disk) = statvfs(&self.folder) else {
            return Ok(self.bounds.bytes);
        };
        let (unit, blocks) = (disk.fragment_size(), disk.blocks());
        let left = (blocks.saturating_mul(unit) / FREE_SHARE).clamp(*FREE_BYTES.start(), *FREE_BYTES.end());
        let free = disk.blocks_available().saturating_mul(unit);
        let mine = self.used()?.saturating_add(free);
        // On a disk that others have filled a few traces are still better than none.
        Ok(self.bounds.bytes.min(mine.saturating_sub(left).max(LEAST_BYTES)))
    }

    pub(super) fn pragma(&self, name: &str) -> Result<i64, StoreError> {
        Ok(self.connection.pragma_query_value(None, name, |row| row.get(0))?)
    }

    /// The last of the oldest traces that began before `before_ns`, some at a time.
    fn oldest(&self, before_ns: i64) -> Result<Option<i64>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT id, start_ns FROM trace ORDER BY id LIMIT ?1")?;
        let mut rows = statement.query([CHUNK])?;
        let mut last = None;
        while let Some(row) = rows.next()? {
            if row.get::<_, i64>(1)? >= before_ns {
                break;
            }
            last = Some(row.get(0)?);
        }
        Ok(last)
    }

    /// Deletes traces up to one.
    fn delete(&mut self, last: i64) -> Result<u64, StoreError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let run = |sql: &str| transaction.prepare_cached(sql)?.execute(params![last]);
        run("DELETE FROM text WHERE rowid IN (SELECT id FROM part WHERE trace <= ?1)")?;
        run("DELETE FROM part WHERE trace <= ?1")?;
        run("DELETE FROM call WHERE trace <= ?1")?;
        let gone = run("DELETE FROM trace WHERE id <= ?1")?;
        transaction.commit()?;
        if self.tight {
            self.checkpoint();
        }
        Ok(gone as u64)
    }

    /// What only traces that are gone have named goes too.
    fn sweep(&mut self) -> Result<(), StoreError> {
        self.forget();
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(
            "DELETE FROM resource WHERE used < (SELECT ifnull(min(id), 9223372036854775807) FROM part);
             DELETE FROM operation WHERE used < (SELECT ifnull(min(id), 9223372036854775807) FROM part);
             DELETE FROM minute WHERE operation NOT IN (SELECT id FROM operation);
             DELETE FROM failure WHERE operation NOT IN (SELECT id FROM operation);
             DELETE FROM minute WHERE minute < (SELECT min(start_ns) / 60000000000 FROM (
                 SELECT start_ns FROM trace ORDER BY start_ns LIMIT 1));
             DELETE FROM failure WHERE last_ns < (SELECT start_ns FROM trace ORDER BY start_ns LIMIT 1);
             DELETE FROM flight WHERE run NOT IN (SELECT id FROM run WHERE end_ns IS NULL)
                 OR start_ns < (SELECT start_ns FROM trace ORDER BY start_ns LIMIT 1);
             DELETE FROM loss WHERE to_ns < (SELECT start_ns FROM trace ORDER BY start_ns LIMIT 1);
             DELETE FROM run WHERE end_ns < (SELECT start_ns FROM trace ORDER BY start_ns LIMIT 1);",
        )?;
        transaction.commit()?;
        Ok(())
    }

    /// Gives pages that are free to the file system, where they are many.
    fn give_back(&self) -> Result<(), StoreError> {
        let (pages, free) = (self.pragma("page_count")?, self.pragma("freelist_count")?);
        if free > FREED_PAGES + pages / SPARE {
            let mut statement = self
                .connection
                .prepare(&format!("PRAGMA incremental_vacuum({FREED_PAGES})"))?;
            let mut rows = statement.query([])?;
            while rows.next()?.is_some() {}
        }
        Ok(())
    }

    /// Moves the log into the file, as far as readers let it.
    fn checkpoint(&self) {
        // Where it fails the log stays as it is.
        let _busy = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }
}

/// Room on the disk that is held for the day on which there is none.
pub(super) struct Reserve {
    path: PathBuf,
    pub(super) held: bool,
}

/// More than a batch adds to the log.
const RESERVE_BYTES: i64 = 8 << 20;

impl Reserve {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            path: folder.join("reserve"),
            held: false,
        }
    }

    /// Takes the room, if there is any.
    pub(super) fn fill(&mut self) {
        if self.held {
            return;
        }
        let options = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.path);
        let filled = options.and_then(|file: File| {
            fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES).map_err(std::io::Error::from)
        });
        self.held = filled.is_ok();
        if !self.held {
            self.release();
        }
    }

    pub(super) fn release(&mut self) {
        let _absent = std::fs::remove_file(&self.path);
        self.held = false;
    }
}
