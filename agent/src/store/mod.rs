//! Keeps traces on this machine, to be looked at while they come and later.
//!
//! In: [`Finished`](crate::export::Finished) spans, through a bounded [`Writer`] that holds up nothing. Out: lists, traces and
//! summaries by way of a [`Reader`], also while another process writes. What is kept is bounded by bytes and by age: the oldest
//! traces go first. A [`Backend`] is what keeps them; [`sqlite`] is the one there is. The stage decides nothing about spans
//! and hides nothing in them: secrets are gone before a span is made.
#![forbid(unsafe_code)]
mod facts;
mod model;
mod moment;
mod otlp;
mod packed;
mod place;
mod query;
pub mod sqlite;
mod sums;
mod writer;

pub use model::{
    Bin, Change, Endpoint, ErrorGroup, Imported, InFlight, Order, Page, ProcessBegan, Run, Service, SpanView, TestCase,
    TraceList, TraceRow, TraceView,
};
pub use otlp::{ImportError, Received, perfetto};
pub use packed::PackedTrace;
pub use place::{NoPlace, default_folder};
pub use query::{Query, QueryError};
pub use sums::{
    Compared, Comparison, Edge, Facet, FacetValue, Facets, Figures, Node, NodeKind, Point, Points, ServiceMap,
};
pub use writer::{Inbox, Setup, Writer};

use std::path::PathBuf;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;

/// Where spans are kept.
pub trait Backend: Send {
    /// Begins a run: what is written from here on belongs to it.
    ///
    /// # Errors
    /// The store refuses.
    fn begin(&mut self, command: &str, now_ns: u64) -> Result<(), StoreError>;

    /// Keeps spans. All of them or none.
    ///
    /// # Errors
    /// Nothing was kept.
    fn write(&mut self, spans: &[Incoming<'_>], now_ns: u64) -> Result<(), StoreError>;

    /// Lets the oldest traces go until the bounds hold, some at a time; gives how many went.
    ///
    /// # Errors
    /// The store refuses.
    fn trim(&mut self, now_ns: u64) -> Result<u64, StoreError>;

    /// Makes room by letting the oldest traces go though the bounds hold, since the disk is full.
    ///
    /// # Errors
    /// There is no room to do even that.
    fn relieve(&mut self) -> Result<u64, StoreError>;

    /// Says which requests are in flight: they take the place of those said before.
    ///
    /// # Errors
    /// The store refuses.
    fn in_flight(&mut self, requests: &[InFlight], now_ns: u64) -> Result<(), StoreError>;

    /// Notes that events were lost between two moments.
    ///
    /// # Errors
    /// The store refuses.
    fn lost(&mut self, from_ns: u64, to_ns: u64, events: u64) -> Result<(), StoreError>;

    /// Ends the run.
    ///
    /// # Errors
    /// The store refuses.
    fn end(&mut self, now_ns: u64) -> Result<(), StoreError>;

    /// Spans that were not told apart by name, since there are too many names, since this was asked last.
    fn unnamed(&mut self) -> u64;
}

/// What asks the store. One thread uses one.
pub trait Reader: Send {
    /// Traces that match, a page at a time.
    ///
    /// # Errors
    /// The store refuses.
    fn traces(&self, query: &Query, page: &Page) -> Result<TraceList, StoreError>;

    /// One trace with its spans; none if it is not here. The id is 32 hex digits, or the first 8 or more of them.
    ///
    /// # Errors
    /// The store refuses.
    fn trace(&self, id: &str) -> Result<Option<TraceView>, StoreError>;

    /// The same in columns.
    ///
    /// # Errors
    /// The store refuses.
    fn packed(&self, id: &str) -> Result<Option<PackedTrace>, StoreError>;

    /// One trace as OTLP has it, with all that is stored of it; none if it is not here.
    ///
    /// # Errors
    /// The store refuses.
    fn otlp(&self, id: &str) -> Result<Option<ExportTraceServiceRequest>, StoreError>;

    /// Services by name.
    ///
    /// # Errors
    /// The store refuses.
    fn services(&self) -> Result<Vec<Service>, StoreError>;

    /// What services answer and ask, with rates and times, of a run or of all.
    ///
    /// # Errors
    /// The store refuses.
    fn endpoints(&self, run: Option<i64>) -> Result<Vec<Endpoint>, StoreError>;

    /// Failures by kind, the latest first.
    ///
    /// # Errors
    /// The store refuses.
    fn errors(&self) -> Result<Vec<ErrorGroup>, StoreError>;

    /// Runs, the latest first.
    ///
    /// # Errors
    /// The store refuses.
    fn runs(&self) -> Result<Vec<Run>, StoreError>;

    /// Requests by the test case that made them, of a run or of all, the latest first.
    ///
    /// # Errors
    /// The store refuses.
    fn tests(&self, run: Option<i64>) -> Result<Vec<TestCase>, StoreError>;

    /// Values of fields among the latest traces that match, with counts.
    ///
    /// # Errors
    /// The store refuses.
    fn facets(&self, query: &Query, now_ns: u64) -> Result<Facets, StoreError>;

    /// The latest traces that match as points, at most `most`.
    ///
    /// # Errors
    /// The store refuses.
    fn points(&self, query: &Query, now_ns: u64, most: usize) -> Result<Points, StoreError>;

    /// Who calls whom in the latest traces that match.
    ///
    /// # Errors
    /// The store refuses.
    fn map(&self, query: &Query, now_ns: u64) -> Result<ServiceMap, StoreError>;

    /// Two runs side by side; none if one of them is not here. Without a number the latest that has traces is meant, and the
    /// one before it.
    ///
    /// # Errors
    /// The store refuses.
    fn compare(&self, base: Option<i64>, run: Option<i64>) -> Result<Option<Comparison>, StoreError>;

    /// Requests in flight, the oldest first.
    ///
    /// # Errors
    /// The store refuses.
    fn in_flight(&self, now_ns: u64) -> Result<Vec<InFlight>, StoreError>;

    /// Where the store stands: compared with an earlier one it tells whether there is anything new.
    ///
    /// # Errors
    /// The store refuses.
    fn change(&self) -> Result<Change, StoreError>;

    /// Traces that match and were written or added to since, oldest change first, at most `most`.
    ///
    /// # Errors
    /// The store refuses.
    fn since(&self, query: &Query, change: Change, until: Change, most: usize) -> Result<Vec<TraceRow>, StoreError>;
}

/// A span on its way into the store, as OTLP has it, with what it came from.
#[derive(Clone, Debug)]
pub struct Incoming<'a> {
    /// What it came from.
    pub resource: &'a Resource,
    /// Its trace.
    pub trace_id: [u8; 16],
    /// The span, without its trace id.
    pub span: Span,
}

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A folder or file cannot be made.
    #[error("failed to open the store {}", path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is none.
    #[error("there is no store in {}: `clew run` makes one", .0.display())]
    Absent(PathBuf),
    /// A later Clew made it.
    #[error("the store {} has schema {found}, this Clew knows up to {known}: use a newer one or another --store", path.display())]
    Newer {
        /// The folder.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The latest known.
        known: i64,
    },
    /// It is no database, or a broken one.
    #[error("the store {} is damaged: move it away, and Clew makes a new one", .0.display())]
    Damaged(PathBuf, #[source] rusqlite::Error),
    /// No space is left on its disk.
    #[error("no space is left on the disk of the store")]
    Full,
    /// SQLite says no.
    #[error("the store refuses")]
    Sqlite(#[source] rusqlite::Error),
    /// What was stored cannot be read back.
    #[error("a stored trace cannot be understood")]
    Malformed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full,
            // Linux tells of a full disk in more ways than one, as when the shared memory beside the log cannot grow.
            Some(rusqlite::ErrorCode::SystemIoFailure) => Self::of_io(error),
            _ => Self::Sqlite(error),
        }
    }
}

impl StoreError {
    fn of_io(error: rusqlite::Error) -> Self {
        /// `SQLITE_IOERR_SHMSIZE` and `SQLITE_IOERR_WRITE`: no room for the log's index, or for a page.
        const NO_ROOM: [i32; 2] = [10 | (19 << 8), 10 | (3 << 8)];
        match error.sqlite_error() {
            Some(cause) if NO_ROOM.contains(&cause.extended_code) => Self::Full,
            _ => Self::Sqlite(error),
        }
    }
}
