//! Hands finished spans to the outside: a collector, a file, the terminal.
//!
//! In: [`Placed`] spans, shared as [`Finished`] because several outputs hold them at once. Out: OTLP over gRPC or HTTP
//! ([`otlp`]), OTLP JSON
//! lines ([`file`]), trace trees ([`tree`]), one JSON object a trace ([`json`]) and the [`summary`] at the end.
//! No output can hold up the others: each has a bounded queue, and what it cannot take is counted.
use std::sync::Arc;

use crate::span::Value;
use crate::trace::Placed;

mod assemble;
mod clock;
pub mod file;
mod host;
pub mod json;
pub mod otlp;
pub mod summary;
mod text;
pub mod tree;

pub use assemble::{Assembler, Limits};
pub use clock::Clock;
pub use host::Host;

/// A span on its way out, shared between the outputs.
pub type Finished = Arc<Placed>;

/// Where outputs tell the user of trouble; a line without its end. An output says each kind of trouble once.
pub type Warn = Arc<dyn Fn(&str) + Send + Sync>;

/// About how many bytes of memory a span takes, for the bounds of queues.
fn weight(placed: &Placed) -> usize {
    /// What a span takes beside its texts.
    const BASE_BYTES: usize = 256;
    let value = |value: &Value| match value {
        Value::Text(text) => text.len(),
        Value::Texts(texts) => texts.iter().map(|text| text.len() + 24).sum(),
        Value::Int(_) | Value::Double(_) | Value::Bool(_) => 8,
    };
    let span = &placed.span;
    let fixed: usize = span.attributes.iter().map(|(key, of)| key.len() + value(of) + 16).sum();
    let named: usize = span.named.iter().map(|(key, of)| key.len() + value(of) + 32).sum();
    let events = span.events.iter().map(|event| {
        let attributes = event.attributes.iter().map(|(key, of)| key.len() + value(of) + 16);
        event.name.len() + 32 + attributes.sum::<usize>()
    });
    BASE_BYTES + span.name.len() + placed.trace_state.len() + fixed + named + events.sum::<usize>()
}

#[cfg(test)]
mod sample;
