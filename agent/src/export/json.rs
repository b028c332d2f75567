//! `--format json`: one JSON object a trace, one trace a line.
//!
//! ```text
//! {"trace_id": "32 hex digits",
//!  "start_unix_ns": 1700000000000000000, "duration_ns": 1500,
//!  "services": ["nginx", "shop"],
//!  "spans": [                                  sorted by start
//!    {"span_id": "16 hex digits",
//!     "parent_id": "16 hex digits",            null for a root
//!     "parent_is_remote": false,
//!     "name": "GET", "kind": "server",         client, producer, consumer, internal
//!     "service": "nginx", "pid": 41,
//!     "start_unix_ns": 1700000000000000000, "end_unix_ns": 1700000000000001500,
//!     "error": "text",                         null unless the span failed; may be empty
//!     "attributes": {"http.request.method": "GET"},
//!     "links": [{"trace_id": "...", "span_id": "..."}],
//!     "events": [{"name": "x", "time_unix_ns": 1, "attributes": {}}],
//!     "logs": [{"time_unix_ns": 1, "severity": "INFO", "body": "x", "attributes": {}, "exception": null}]}]}
//! ```
//! Times are whole numbers beyond 2^53: a reader that holds numbers as floating point rounds them to 256 ns.
use std::collections::BTreeSet;

use smol_str::SmolStr;

use serde_json::{Map, Value as Json, json};

use super::{Clock, Finished};
use crate::log::Record;
use crate::span::{SpanKind, Status, Value};

/// A trace as one line, without its end. Empty for a trace without spans.
pub fn line(spans: &[Finished], clock: &Clock) -> String {
    let Some(first) = spans.first() else {
        return String::new();
    };
    let mut sorted: Vec<&Finished> = spans.iter().collect();
    sorted.sort_by_key(|placed| (placed.span.start_ns, placed.span_id));
    let start = spans.iter().map(|placed| placed.span.start_ns).min().unwrap_or(0);
    let end = spans.iter().map(|placed| placed.span.end_ns).max().unwrap_or(0);
    let services: BTreeSet<&str> = spans.iter().map(|placed| placed.process.service.as_str()).collect();
    json!({
        "trace_id": hex(&first.trace_id),
        "start_unix_ns": clock.unix_ns(start),
        "duration_ns": end.saturating_sub(start),
        "services": services,
        "spans": sorted.into_iter().map(|placed| span(placed, clock)).collect::<Vec<_>>(),
    })
    .to_string()
}

fn span(placed: &Finished, clock: &Clock) -> Json {
    let span = &placed.span;
    let fixed = span.attributes.iter().map(|(key, of)| ((*key).to_owned(), value(of)));
    let named = span.named.iter().map(|(key, of)| (key.to_string(), value(of)));
    let events = span.events.iter().map(|event| {
        let attributes = event.attributes.iter();
        let attributes: Map<String, Json> = attributes.map(|(key, of)| ((*key).to_owned(), value(of))).collect();
        json!({"name": event.name, "time_unix_ns": clock.unix_ns(event.time_ns), "attributes": attributes})
    });
    let links = placed.links.iter();
    let links = links.map(|link| json!({"trace_id": hex(&link.trace_id), "span_id": hex(&link.span_id)}));
    json!({
        "span_id": hex(&placed.span_id),
        "parent_id": placed.parent_id.map(|id| hex(&id)),
        "parent_is_remote": placed.parent_is_remote,
        "links": links.collect::<Vec<_>>(),
        "name": span.name.as_str(),
        "kind": match span.kind {
            SpanKind::Server => "server",
            SpanKind::Client => "client",
            SpanKind::Producer => "producer",
            SpanKind::Consumer => "consumer",
            SpanKind::Internal => "internal",
        },
        "service": placed.process.service,
        "pid": placed.process.pid.0,
        "start_unix_ns": clock.unix_ns(span.start_ns),
        "end_unix_ns": clock.unix_ns(span.end_ns),
        "error": match &span.status {
            Status::Unset => None,
            Status::Error(message) => Some(message),
        },
        "attributes": fixed.chain(named).collect::<Map<String, Json>>(),
        "events": events.collect::<Vec<_>>(),
        "logs": placed.logs.iter().map(|record| log(record, clock)).collect::<Vec<_>>(),
    })
}

fn log(record: &Record, clock: &Clock) -> Json {
    let attributes = record.attributes.iter();
    let attributes: Map<String, Json> = attributes.map(|(key, of)| (key.to_string(), value(of))).collect();
    let exception = record.exception.as_ref();
    json!({
        "time_unix_ns": clock.unix_ns(record.time_ns),
        "severity": record.severity.name(),
        "body": record.body.as_str(),
        "attributes": attributes,
        "exception": exception.map(|of| json!({"type": of.kind, "message": of.message, "stacktrace": of.trace})),
    })
}

fn value(value: &Value) -> Json {
    match value {
        Value::Text(text) => json!(text.as_str()),
        Value::Int(number) => json!(number),
        Value::Double(number) => json!(number),
        Value::Bool(yes) => json!(yes),
        Value::Texts(texts) => texts.iter().map(SmolStr::as_str).collect(),
    }
}

/// Lowercase hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::sample::{Sample, service};

    #[test]
    fn a_trace() {
        let (shop, stock) = (service("shop"), service("stock"));
        let spans = [
            Sample::server(2, &stock)
                .parent(1)
                .remote()
                .at(20, 30)
                .with("ratio", Value::Double(0.5))
                .error("no\nstock")
                .done(),
            Sample::client(1, &shop).at(10, 40).with("code", Value::Int(500)).done(),
        ];
        let line = line(&spans, &Clock::at(1_000));
        assert!(!line.contains('\n'));
        let got: Json = serde_json::from_str(&line).expect("JSON");
        let expected = json!({
            "trace_id": "000102030405060708090a0b0c0d0eff",
            "start_unix_ns": 1010, "duration_ns": 30, "services": ["shop", "stock"],
            "spans": [
                {"span_id": "0000000000000001", "parent_id": null, "parent_is_remote": false,
                 "name": "GET", "kind": "client", "service": "shop", "pid": 1,
                 "start_unix_ns": 1010, "end_unix_ns": 1040, "error": null,
                 "attributes": {"code": 500}, "events": [], "logs": [], "links": []},
                {"span_id": "0000000000000002", "parent_id": "0000000000000001", "parent_is_remote": true,
                 "name": "GET", "kind": "server", "service": "stock", "pid": 1,
                 "start_unix_ns": 1020, "end_unix_ns": 1030, "error": "no\nstock",
                 "attributes": {"ratio": 0.5}, "events": [], "logs": [], "links": []},
            ],
        });
        assert_eq!(got, expected, "{got:#}");
    }

    #[test]
    fn nothing() {
        assert_eq!(line(&[], &Clock::at(0)), "");
    }
}
