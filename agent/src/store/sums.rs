//! What the store says of many traces at once. Written as JSON these are answers of the API.
use serde::Serialize;

use super::model::Run;

/// How often each value of some fields occurs among traces that match.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Facets {
    /// Traces that were counted, the latest.
    pub traces: u64,
    /// More match than were counted.
    pub cut: bool,
    /// By field of the search language.
    pub fields: Vec<Facet>,
}

/// A field's values.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Facet {
    /// As the search language has it.
    pub field: &'static str,
    /// The most frequent first.
    pub values: Vec<FacetValue>,
    /// There are more values.
    pub more: bool,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FacetValue {
    /// As the search language has it.
    pub value: String,
    /// Traces that have it.
    pub traces: u64,
}

/// Where traces lie by time and duration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Points {
    /// The latest first.
    pub points: Vec<Point>,
    /// More match than are told.
    pub cut: bool,
}

/// A trace as a point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Point {
    /// Its id, 32 hex digits.
    pub trace_id: String,
    /// When it began.
    pub start_unix_ns: u64,
    /// How long it took.
    pub duration_ns: u64,
    /// Its status code, where it has one.
    pub status: String,
    /// A span of it failed.
    pub error: bool,
}

/// Who calls whom, by traces that match.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceMap {
    /// Traces that were looked at, the latest.
    pub traces: u64,
    /// More match than were looked at.
    pub cut: bool,
    /// The time they lie in.
    pub span_ns: u64,
    /// Services, and what they call.
    pub nodes: Vec<Node>,
    /// Calls.
    pub edges: Vec<Edge>,
}

/// What a node of the map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// A traced service.
    Service,
    /// A database or cache.
    Database,
    /// A queue or topic.
    Queue,
    /// Something else that is not traced.
    Host,
    /// Whoever called without being seen.
    Caller,
}

/// A node of the map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// What edges name it by.
    pub id: String,
    /// What it is.
    pub kind: NodeKind,
    /// Its name.
    pub name: String,
    /// What kind of database or queue, such as `postgresql`; empty where there is none.
    pub system: String,
}

/// Calls between two nodes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Edge {
    /// Node that calls.
    pub from: String,
    /// Node that is called.
    pub to: String,
    /// How they went.
    #[serde(flatten)]
    pub figures: Figures,
}

/// How spans that are alike went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Spans.
    pub count: u64,
    /// Those that failed.
    pub errors: u64,
    /// Spans in a second of the time that was looked at.
    pub per_second: f64,
    /// Half of them took no longer; within a sixteenth, as the three below, and exact of one.
    pub p50_ns: u64,
    /// Nine of ten took no longer.
    pub p90_ns: u64,
    /// All but one in a hundred took no longer.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// All of them together.
    pub sum_ns: u64,
}

/// Two runs side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// What is compared with.
    pub base: Run,
    /// What is compared.
    pub run: Run,
    /// By kind of call; what changed most first.
    pub rows: Vec<Compared>,
}

/// A kind of call in two runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// The service.
    pub service: String,
    /// `server`, `client` and so on.
    pub kind: &'static str,
    /// The spans' name.
    pub name: String,
    /// In the run compared with; none if it had no such call.
    pub base: Option<Figures>,
    /// In the run compared.
    pub run: Option<Figures>,
}
