//! Jaeger's `uber-trace-id` (jaegertracing.io, client libraries, "propagation format").
//!
//! ```text
//! uber-trace-id: 5b8efff798038103d269b633813fc60c:eee19b7ec3c1b174:0:1
//!                trace id, 1 to 32 digits         span id          parent, not used
//!                                                                    flags: 1 sampled, 2 debug
//! ```
use super::{Found, hex, id, value};
use crate::protocol::http1::Fields;
use crate::span::RemoteContext;

/// Sampled or debug.
const RECORDED: u8 = 1 | 2;

pub(super) fn read(fields: &Fields) -> Found {
    let Some(text) = value(fields, "uber-trace-id") else {
        return Found::Absent;
    };
    context(text).map_or(Found::Invalid, Found::Context)
}

fn context(text: &str) -> Option<RemoteContext> {
    // Some clients percent-encode the value.
    let text = text.replace("%3A", ":").replace("%3a", ":");
    let mut parts = text.split(':');
    let trace_id = id(parts.next()?)?;
    let span_id = id(parts.next()?)?;
    hex::<8>(parts.next()?)?;
    let [flags] = hex::<1>(parts.next()?)?;
    parts.next().is_none().then_some(RemoteContext {
        trace_id,
        span_id,
        sampled: Some(flags & RECORDED != 0),
        trace_state: String::new(),
        format: "jaeger",
    })
}
