//! B3 (github.com/openzipkin/b3-propagation), in one field and in several.
//!
//! ```text
//! b3: 80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90
//!     trace id, 8 or 16 bytes          span id          sampled  parent, not used
//! ```
use super::{Found, id, value};
use crate::protocol::http1::Fields;
use crate::span::RemoteContext;

pub(super) fn read_single(fields: &Fields) -> Found {
    let Some(text) = value(fields, "b3") else {
        return Found::Absent;
    };
    // The field may hold the sampling decision alone.
    if matches!(text, "0" | "1" | "d") {
        return Found::Absent;
    }
    single(text).map_or(Found::Invalid, Found::Context)
}

fn single(text: &str) -> Option<RemoteContext> {
    let mut parts = text.split('-');
    let (trace_id, span_id) = ids(parts.next()?, parts.next()?)?;
    let sampled = decided(parts.next())?;
    if let Some(parent) = parts.next() {
        span_id_of(parent)?;
    }
    parts.next().is_none().then_some(RemoteContext {
        trace_id,
        span_id,
        sampled,
        trace_state: String::new(),
        format: "b3",
    })
}

pub(super) fn read_multi(fields: &Fields) -> Found {
    let (trace_id, span_id) = (value(fields, "x-b3-traceid"), value(fields, "x-b3-spanid"));
    if trace_id.is_none() && span_id.is_none() {
        return Found::Absent;
    }
    multi(fields, trace_id, span_id).map_or(Found::Invalid, Found::Context)
}

fn multi(fields: &Fields, trace_id: Option<&str>, span_id: Option<&str>) -> Option<RemoteContext> {
    let (trace_id, span_id) = ids(trace_id?, span_id?)?;
    let debug = value(fields, "x-b3-flags") == Some("1");
    let sampled = decided(value(fields, "x-b3-sampled"))?;
    Some(RemoteContext {
        trace_id,
        span_id,
        sampled: if debug { Some(true) } else { sampled },
        trace_state: String::new(),
        format: "b3multi",
    })
}

fn ids(trace_id: &str, span_id: &str) -> Option<([u8; 16], [u8; 8])> {
    if !matches!(trace_id.len(), 16 | 32) {
        return None;
    }
    Some((id(trace_id)?, span_id_of(span_id)?))
}

fn span_id_of(text: &str) -> Option<[u8; 8]> {
    (text.len() == 16).then(|| id(text)).flatten()
}

/// The sampling decision, which may be absent; None where it is none of those there are. Debug implies sampled; the words
/// are what implementations before the specification sent.
fn decided(text: Option<&str>) -> Option<Option<bool>> {
    match text {
        None => Some(None),
        Some("1" | "d" | "true") => Some(Some(true)),
        Some("0" | "false") => Some(Some(false)),
        Some(_) => None,
    }
}
