//! Datadog's fields: decimal numbers, and the upper half of a 128-bit trace id among the tags.
//!
//! ```text
//! x-datadog-trace-id: 1234567890123456789      lower 8 bytes of the trace id
//! x-datadog-parent-id: 987654321               span id
//! x-datadog-sampling-priority: 1               above 0 is kept
//! x-datadog-tags: _dd.p.dm=-1,_dd.p.tid=640cfd8d00000000
//! ```
use super::{Found, halves, hex, value};
use crate::protocol::http1::Fields;
use crate::span::RemoteContext;

pub(super) fn read(fields: &Fields) -> Found {
    let (trace, parent) = (
        value(fields, "x-datadog-trace-id"),
        value(fields, "x-datadog-parent-id"),
    );
    if trace.is_none() && parent.is_none() {
        return Found::Absent;
    }
    context(fields, trace, parent).map_or(Found::Invalid, Found::Context)
}

fn context(fields: &Fields, trace: Option<&str>, parent: Option<&str>) -> Option<RemoteContext> {
    let low = number(trace?)?;
    let span_id = number(parent?)?;
    // A malformed upper half leaves the lower one valid: 64 bits are what Datadog's agents compare.
    let high = value(fields, "x-datadog-tags")
        .and_then(|tags| tags.split(',').find_map(|tag| tag.trim().strip_prefix("_dd.p.tid=")))
        .filter(|high| high.len() == 16)
        .and_then(hex::<8>)
        .unwrap_or_default();
    let priority = value(fields, "x-datadog-sampling-priority").and_then(|text| text.parse::<i32>().ok());
    Some(RemoteContext {
        trace_id: halves(high, low),
        span_id,
        sampled: priority.map(|priority| priority > 0),
        trace_state: String::new(),
        format: "datadog",
    })
}

/// Digits only: `parse` alone would take a sign.
fn number(text: &str) -> Option<[u8; 8]> {
    let number = text.parse::<u64>().ok()?;
    (number != 0 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| number.to_be_bytes())
}
