//! Gives every span its place: trace id, span id, parent.
//!
//! In: [`SpanEvent`](crate::span::SpanEvent)s and what is known of connections. Out: [`Placed`] spans, in the order they
//! are settled. A parent is a fact or it is absent: where evidence is missing or contradicts, the span has no parent and a
//! `causality.` or `stitch.` counter says why.
//!
//! A span is settled a while after it ended, when what could still change its place would have been seen.
#![forbid(unsafe_code)]
mod causality;
mod contexts;
mod families;
mod join;
mod logs;
mod messages;
mod recent;
mod retries;
mod threads;
mod traces;

use std::sync::Arc;

pub(crate) use causality::forwards;
pub use logs::Origin;
pub(crate) use threads::serves_by_thread;
pub use traces::Traces;

use crate::discover::Process;
use crate::log::Record;
use crate::span::{RemoteContext, Span, SpanKind};

/// A span that another is linked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Trace id, big endian.
    pub trace_id: [u8; 16],
    /// Span id.
    pub span_id: [u8; 8],
    /// W3C `tracestate` of its trace.
    pub trace_state: String,
    /// W3C trace flags.
    pub flags: u8,
}

/// The span a context names.
impl From<&RemoteContext> for Link {
    fn from(context: &RemoteContext) -> Self {
        Self {
            trace_id: context.trace_id,
            span_id: context.span_id,
            trace_state: context.trace_state.clone(),
            flags: u8::from(context.sampled.unwrap_or(true)),
        }
    }
}

/// A request that is not answered yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Unanswered {
    /// The id its span will have.
    pub span_id: [u8; 8],
    /// Which end of it.
    pub kind: SpanKind,
    /// Whose.
    pub process: Arc<Process>,
    /// When it began, `CLOCK_MONOTONIC` nanoseconds.
    pub start_ns: u64,
    /// What it asks, in short.
    pub asks: String,
}

/// A span with its place in a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// Trace id, big endian, never all zero.
    pub trace_id: [u8; 16],
    /// Span id, never all zero.
    pub span_id: [u8; 8],
    /// The parent's span id.
    pub parent_id: Option<[u8; 8]>,
    /// W3C `tracestate` that came with the trace.
    pub trace_state: String,
    /// W3C trace flags; 1 is sampled.
    pub flags: u8,
    /// The process it belongs to.
    pub process: Arc<Process>,
    /// Spans that sent what it got.
    pub links: Vec<Link>,
    /// The parent is a span of another process (OTLP's `HAS_IS_REMOTE` and `IS_REMOTE` flags).
    pub parent_is_remote: bool,
    /// What was logged for it, by time.
    pub logs: Vec<Record>,
    /// The rest.
    pub span: Span,
}

/// A record of a log that came too late for its span, or has none.
#[derive(Clone, Debug, PartialEq)]
pub struct Loose {
    /// Trace and span it was written for, where that is known.
    pub place: Option<([u8; 16], [u8; 8])>,
    /// W3C trace flags of that trace.
    pub flags: u8,
    /// The process that wrote it.
    pub process: Arc<Process>,
    /// What it says.
    pub record: Record,
}
