//! Hands finished spans to the outside: a collector, a file, the terminal.
//!
//! In: [`Placed`] spans, shared as [`Finished`] because several outputs hold them at once. Out: OTLP over gRPC or HTTP
//! ([`otlp`]), OTLP JSON
//! lines ([`file`]), trace trees ([`tree`]), one JSON object a trace ([`json`]) and the [`summary`] at the end.
//! No output can hold up the others: each has a bounded queue, and what it cannot take is counted.
use std::sync::Arc;

use crate::discover::Process;
use crate::log::Record;
use crate::trace::{Loose, Placed};

mod assemble;
mod bounded;
mod clock;
pub mod file;
mod host;
pub mod json;
pub mod otlp;
pub mod summary;
mod text;
pub mod tree;
mod waiting;

pub use assemble::{Assembler, Limits};
pub(crate) use bounded::Bounds;
pub use bounded::Weighs;
pub use clock::Clock;
pub use host::Host;
pub(crate) use json::hex;
pub(crate) use waiting::Queue;

/// A span on its way out, shared between the outputs.
pub type Finished = Arc<Placed>;

/// Records of logs on their way out.
#[derive(Clone, Debug)]
pub enum Logged {
    /// Those of a span.
    OfSpan(Finished),
    /// One that goes by itself.
    Alone(Arc<Loose>),
}

impl Logged {
    /// Them.
    pub fn records(&self) -> &[Record] {
        match self {
            Self::OfSpan(placed) => &placed.logs,
            Self::Alone(loose) => std::slice::from_ref(&loose.record),
        }
    }

    /// The span they are of.
    pub const fn span(&self) -> Option<&Finished> {
        match self {
            Self::OfSpan(placed) => Some(placed),
            Self::Alone(_) => None,
        }
    }

    /// The process that wrote them.
    pub fn process(&self) -> &Arc<Process> {
        match self {
            Self::OfSpan(placed) => &placed.process,
            Self::Alone(loose) => &loose.process,
        }
    }

    /// The trace and span they were written for, where that is known.
    pub fn place(&self) -> Option<([u8; 16], [u8; 8])> {
        match self {
            Self::OfSpan(placed) => Some((placed.trace_id, placed.span_id)),
            Self::Alone(loose) => loose.place,
        }
    }

    /// W3C flags of that trace.
    pub fn flags(&self) -> u8 {
        match self {
            Self::OfSpan(placed) => placed.flags,
            Self::Alone(loose) => loose.flags,
        }
    }
}

/// Where outputs tell the user of trouble; a line without its end. An output says each kind of trouble once.
pub type Warn = Arc<dyn Fn(&str) + Send + Sync>;

#[cfg(test)]
pub(crate) mod sample;
