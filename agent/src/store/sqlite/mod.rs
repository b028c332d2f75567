//! The embedded store: one SQLite file in WAL mode, written by one thread and read by any number, of any process.
//!
//! A trace is one row of what lists show. Its spans lie in parts, one for each time some of them came, compressed; a part is
//! also what full text search knows. Which operations occur in a trace, how often and how long stands in `call`, one row for
//! all spans of a trace that are alike: that is what filters need, and it is a fraction of the spans.
//!
//! SQLite's log makes a commit whole or absent, whenever the process dies. Without power the last seconds may be missing.
mod flight;
mod histogram;
mod import;
mod map;
mod part;
mod read;
mod schema;
mod search;
mod sums;
mod trim;
mod write;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::StoreError;
pub use read::SqliteReader;
pub use trim::Bounds;
pub use write::SqliteStore;

/// The file in the store's folder.
const FILE: &str = "traces.db";
/// How long another writer is waited for. Its transactions take milliseconds.
const BUSY: Duration = Duration::from_secs(5);
/// Memory for pages, by connection: what is needed of a file lies in the kernel's cache as well.
const CACHE_KIB: i64 = 1024;
/// Prepared statements kept, of all that are used.
const STATEMENTS: usize = 48;

/// The file of a store.
fn file(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

fn open_to_write(folder: &Path) -> Result<Connection, StoreError> {
    let failed = |source| StoreError::Open {
        path: folder.to_owned(),
        source,
    };
    // What programs said to each other is nobody else's business.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let path = file(folder);
    private(&path).map_err(failed)?;
    // A folder may be a link; the file within may not.
    let real = folder.canonicalize().map_err(failed)?;
    let mut connection = Connection::open_with_flags(file(&real), flags).map_err(|error| unopened(folder, error))?;
    settle(&connection).map_err(|error| unopened(folder, error))?;
    // Before there is a table: it is a property of the file.
    let prepared = connection
        .pragma_update(None, "auto_vacuum", "INCREMENTAL")
        .and_then(|()| connection.pragma_update(None, "journal_mode", "WAL"))
        // The log survives the process by itself; it is synchronized when it is moved into the file.
        .and_then(|()| connection.pragma_update(None, "synchronous", "NORMAL"))
        .and_then(|()| connection.pragma_update(None, "journal_size_limit", 4 << 20));
    prepared.map_err(|error| unopened(folder, error))?;
    schema::migrate(&mut connection, folder)?;
    Ok(connection)
}

fn open_to_read(folder: &Path) -> Result<Connection, StoreError> {
    let path = file(folder);
    if !path.is_file() {
        return Err(StoreError::Absent(folder.to_owned()));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&path, flags).map_err(|error| unopened(folder, error))?;
    settle(&connection).map_err(|error| unopened(folder, error))?;
    if schema::check(&connection, folder)? < schema::VERSION {
        // An earlier Clew made it: it is brought up to date first, by whoever may.
        drop(connection);
        drop(open_to_write(folder)?);
        return open_to_read(folder);
    }
    Ok(connection)
}

/// Makes the file readable by its owner only; SQLite gives the files beside it the same mode.
fn private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    match options.write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    // A file that was tampered with may define functions and views.
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "temp_store", "MEMORY")
}

fn unopened(folder: &Path, error: rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode as Code;
    match error.sqlite_error_code() {
        Some(Code::NotADatabase | Code::DatabaseCorrupt) => StoreError::Damaged(folder.to_owned(), error),
        _ => StoreError::from(error),
    }
}

/// A number SQLite can hold: it has no unsigned ones.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A number that was stored by [`signed`].
fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests;
