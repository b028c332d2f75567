//! Hands finished spans to the outside: a collector, a file, the terminal.
//!
//! In: [`Placed`] spans, shared as [`Finished`] because several outputs hold them at once. Out: OTLP over gRPC or HTTP
//! ([`otlp`]), OTLP JSON
//! lines ([`file`]), trace trees ([`tree`]), one JSON object a trace ([`json`]) and the [`summary`] at the end.
//! No output can hold up the others: each has a bounded queue, and what it cannot take is counted.
use std::sync::Arc;

use crate::trace::Placed;

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
pub use clock::Clock;
pub use host::Host;
pub(crate) use json::hex;
pub(crate) use waiting::Queue;

/// A span on its way out, shared between the outputs.
pub type Finished = Arc<Placed>;

/// Where outputs tell the user of trouble; a line without its end. An output says each kind of trouble once.
pub type Warn = Arc<dyn Fn(&str) + Send + Sync>;

#[cfg(test)]
pub(crate) mod sample;
