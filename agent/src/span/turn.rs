//! Spans of turns in protocols that are not known: bytes and times, and no more.
use smol_str::SmolStr;

use super::build::Exchanged;
use super::{Span, Value};

/// Names a span and says how much passed.
pub(super) fn describe(span: &mut Span, exchanged: &Exchanged<'_>) {
    span.name = SmolStr::new_static("TCP");
    let sizes = [
        ("clew.turn.request.bytes", exchanged.request_body),
        ("clew.turn.response.bytes", exchanged.response_body),
    ];
    for (key, body) in sizes {
        if let Some(bytes) = body.bytes {
            span.attributes
                .push((key, Value::Int(i64::try_from(bytes).unwrap_or(i64::MAX))));
        }
    }
}
