//! What the store answers. Written as JSON these are the answers of the API.
use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::sums::Figures;

/// A trace in a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TraceRow {
    /// Its id, 32 hex digits.
    pub trace_id: String,
    /// When its first span began.
    pub start_unix_ns: u64,
    /// From there to the end of its last span.
    pub duration_ns: u64,
    /// Service of its root, or of the first span that is here.
    pub service: String,
    /// What that span did: method and path, or its name.
    pub title: String,
    /// Its status code, where it has one.
    pub status: String,
    /// Whether that span failed.
    pub error: bool,
    /// Spans that are here.
    pub spans: u64,
    /// Those that failed.
    pub errors: u64,
    /// A process ended in the midst of it.
    pub died: bool,
    /// The run it belongs to.
    pub run: i64,
    /// The test case that made its requests; empty where none is named.
    pub test: String,
    /// Its number in the store.
    #[serde(skip)]
    pub(crate) id: i64,
}

/// A page of traces.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TraceList {
    /// Traces, in the order asked for.
    pub traces: Vec<TraceRow>,
    /// What to ask for the rest with; none at the end.
    pub next: Option<String>,
}

/// What to list by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// When it began.
    #[default]
    Start,
    /// How long it took.
    Duration,
    /// Spans that are here.
    Spans,
    /// Spans that failed.
    Errors,
    /// The root's service.
    Service,
    /// What the root did.
    Title,
    /// The root's status code.
    Status,
}

impl Order {
    /// Its word, as the API has it.
    pub fn of(word: &str) -> Option<Self> {
        Some(match word {
            "start" => Self::Start,
            "duration" => Self::Duration,
            "spans" => Self::Spans,
            "errors" => Self::Errors,
            "service" => Self::Service,
            "title" => Self::Title,
            "status" => Self::Status,
            _ => return None,
        })
    }
}

/// A part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The order.
    pub order: Order,
    /// The least first; else the greatest.
    pub ascending: bool,
    /// Most traces.
    pub limit: usize,
    /// Where it begins: [`TraceList::next`] of the page before.
    pub after: Option<String>,
    /// The time at which the question is asked, for ages.
    pub now_ns: u64,
}

/// A trace with its spans.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TraceView {
    /// What lists show of it.
    #[serde(flatten)]
    pub row: TraceRow,
    /// Its spans by start.
    pub span_list: Vec<SpanView>,
    /// More spans are stored than are told.
    pub cut: bool,
    /// When the processes of its spans began, of those of which it is known.
    pub processes: Vec<ProcessBegan>,
    /// Events that were lost while it ran, or about then: calls may be missing.
    pub lost_events: u64,
}

/// When a process began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessBegan {
    /// `service.name`.
    pub service: String,
    /// Its number.
    pub pid: i64,
    /// When.
    pub start_unix_ns: u64,
}

/// A span.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SpanView {
    /// 16 hex digits.
    pub span_id: String,
    /// 16 hex digits; none for a root.
    pub parent_id: Option<String>,
    /// The parent is of another process.
    pub parent_is_remote: bool,
    /// Its name.
    pub name: String,
    /// `server`, `client`, `producer`, `consumer` or `internal`.
    pub kind: &'static str,
    /// `service.name` of what it came from.
    pub service: String,
    /// Its process.
    pub pid: Option<i64>,
    /// When it began, from the start of the trace.
    pub offset_ns: u64,
    /// How long it took.
    pub duration_ns: u64,
    /// What went wrong; none unless it failed, and may be empty.
    pub error: Option<String>,
    /// Its attributes.
    pub attributes: Map<String, Json>,
    /// What happened within it: objects with `name`, `offset_ns` and `attributes`.
    pub events: Vec<Json>,
    /// What was logged for it: objects with `offset_ns`, `severity` (empty where it says none), `body` and `attributes`.
    pub logs: Vec<Json>,
    /// Spans of other traces that it names: objects with `trace_id`, `span_id` and `attributes`.
    pub links: Vec<Json>,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Spans that answer or take messages.
    pub requests: u64,
    /// Those that failed.
    pub errors: u64,
    /// All its spans.
    pub spans: u64,
}

/// A kind of call, at one service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Endpoint {
    /// The service.
    pub service: String,
    /// `server`, `client` and so on.
    pub kind: &'static str,
    /// The spans' name.
    pub name: String,
    /// How they went.
    #[serde(flatten)]
    pub figures: Figures,
    /// By time.
    pub bins: Vec<Bin>,
}

/// A minute of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bin {
    /// When it began.
    pub unix_s: u64,
    /// Spans.
    pub count: u64,
    /// Those that failed.
    pub errors: u64,
}

/// Failures of a kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ErrorGroup {
    /// The service.
    pub service: String,
    /// The spans' name.
    pub name: String,
    /// The status code, where there is one.
    pub status: String,
    /// What was said.
    pub message: String,
    /// Spans.
    pub count: u64,
    /// The first, when it began.
    pub first_unix_ns: u64,
    /// The last.
    pub last_unix_ns: u64,
    /// The trace of the last.
    pub trace_id: String,
}

/// A `clew run` or `clew attach`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    /// Its number.
    pub id: i64,
    /// What was traced.
    pub command: String,
    /// When tracing began.
    pub start_unix_ns: u64,
    /// When it ended; none while it goes on or if it was cut off.
    pub end_unix_ns: Option<u64>,
    /// Traces that are here.
    pub traces: u64,
}

/// A request that is not answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InFlight {
    /// The id its span will have, 16 hex digits.
    pub span_id: String,
    /// The service.
    pub service: String,
    /// `server`, `client` and so on.
    pub kind: &'static str,
    /// What it asks, in short.
    pub title: String,
    /// The process.
    pub pid: i64,
    /// When it began.
    pub start_unix_ns: u64,
    /// The run it belongs to.
    pub run: i64,
    /// Whoever traced it is gone: it will not be known how it ended.
    pub lost: bool,
}

/// What an import brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Spans that were added.
    pub spans: u64,
    /// Spans that were here already.
    pub known: u64,
    /// Spans without an id or a trace.
    pub refused: u64,
}

/// How far a store has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change(pub i64);

/// The requests of a test case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TestCase {
    /// Its name.
    pub name: String,
    /// Traces that its requests began.
    pub traces: u64,
    /// Those in which something failed.
    pub failed: u64,
    /// How long all of them took together.
    pub sum_ns: u64,
    /// How long the slowest took.
    pub most_ns: u64,
    /// When the latest began.
    pub last_unix_ns: u64,
}
