//! Spans and records of logs as OTLP JSON, written straight into memory: what [`request`](super::request) and
//! [`logs_request`](super::logs::logs_request) would make of them, but at a tenth of its cost. Fields that hold nothing are left out, as
//! Protobuf's JSON mapping has it.
use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use smol_str::SmolStr;

use super::convert::{NAME, VERSION, flags, kind, link_flags, resource};
use super::logs::exception;
use super::{Finished, Logged};
use crate::discover::Process;
use crate::export::{Clock, Host};
use crate::log::{Record, Severity};
use crate::span::{Event, SCHEMA_URL, STACK_TRACE, Status, Value};
use crate::trace::Link;

/// Stacks as strings of JSON. Most spans share theirs with others, down to its memory, and each is long and has many escapes.
#[derive(Debug, Default)]
pub struct Traces {
    /// By where the text lies, which it does for as long as it is kept here.
    written: HashMap<usize, (SmolStr, Box<[u8]>), RandomState>,
    bytes: usize,
}

impl Traces {
    /// About the most memory they take. Those of one span alone would fill any.
    const MAX_BYTES: usize = 4 << 20;

    fn write(&mut self, out: &mut Vec<u8>, trace: &SmolStr) {
        // A short one lies within its value, which moves.
        if !trace.is_heap_allocated() {
            text(out, trace);
            return;
        }
        let place = trace.as_ptr().addr();
        if let Some((_, json)) = self.written.get(&place) {
            out.extend_from_slice(json);
            return;
        }
        let start = out.len();
        text(out, trace);
        let json = out.get(start..).unwrap_or_default();
        let bytes = size_of::<(SmolStr, Box<[u8]>)>() + trace.len() + json.len();
        if self.bytes + bytes > Self::MAX_BYTES {
            *self = Self::default();
        }
        self.bytes += bytes;
        self.written.insert(place, (trace.clone(), json.into()));
    }
}

/// Appends one `ExportTraceServiceRequest` with all of `spans`, grouped by process, without the end of its line.
pub fn write_request(spans: &[Finished], host: &Host, clock: &Clock, traces: &mut Traces, out: &mut Vec<u8>) {
    let names = ["resourceSpans", "scopeSpans", "spans"];
    by_process(
        spans,
        names,
        |placed| &placed.process,
        host,
        out,
        |out, spans| {
            list(out, spans, |out, placed| span(out, placed, clock, traces));
        },
    );
}

/// Appends one `ExportLogsServiceRequest` with all records of `logged`, as [`write_request`].
pub fn write_logs_request(logged: &[Logged], host: &Host, clock: &Clock, out: &mut Vec<u8>) {
    let logged = logged.iter().filter(|logged| !logged.records().is_empty());
    let names = ["resourceLogs", "scopeLogs", "logRecords"];
    by_process(logged, names, Logged::process, host, out, |out, group| {
        let records = group.into_iter().flat_map(|logged| {
            let records = logged.records().iter();
            records.map(move |of| (logged, of))
        });
        list(out, records, |out, (logged, of)| record(out, of, logged, clock));
    });
}

/// What is sent of each process, and of the one scope in it; `names` are those of the three lists, from the outer to the inner.
fn by_process<'a, T: 'a>(
    all: impl IntoIterator<Item = &'a T>,
    [resources, scopes, elements]: [&str; 3],
    process: impl Fn(&'a T) -> &'a Arc<Process>,
    host: &Host,
    out: &mut Vec<u8>,
    mut group: impl FnMut(&mut Vec<u8>, Vec<&'a T>),
) {
    let mut groups: Vec<(&Arc<Process>, Vec<&T>)> = Vec::new();
    for one in all {
        let its = process(one);
        match groups.iter_mut().find(|(process, _)| Arc::ptr_eq(process, its)) {
            Some((_, group)) => group.push(one),
            None => groups.push((its, vec![one])),
        }
    }
    let key = |out: &mut Vec<u8>, name| {
        raw(out, "\"");
        raw(out, name);
        raw(out, "\":[");
    };
    raw(out, "{");
    key(out, resources);
    list(out, groups, |out, (process, all)| {
        raw(out, r#"{"resource":"#);
        // It is the same for hundreds of spans.
        let _memory_cannot_fail = serde_json::to_writer(&mut *out, &resource(process, host));
        raw(out, ",");
        key(out, scopes);
        raw(out, r#"{"scope":{"name":"#);
        text(out, NAME);
        raw(out, r#","version":"#);
        text(out, VERSION);
        raw(out, "},");
        key(out, elements);
        group(out, all);
        raw(out, r#"],"schemaUrl":"#);
        text(out, SCHEMA_URL);
        raw(out, r#"}],"schemaUrl":"#);
        text(out, SCHEMA_URL);
        raw(out, "}");
    });
    raw(out, "]}");
}

fn span(out: &mut Vec<u8>, placed: &Finished, clock: &Clock, traces: &mut Traces) {
    let span = &placed.span;
    raw(out, r#"{"traceId":""#);
    hex(out, &placed.trace_id);
    raw(out, r#"","spanId":""#);
    hex(out, &placed.span_id);
    if let Some(parent) = &placed.parent_id {
        raw(out, r#"","parentSpanId":""#);
        hex(out, parent);
    }
    raw(out, r#"","flags":"#);
    number(out, u64::from(flags(placed)));
    if !placed.trace_state.is_empty() {
        raw(out, r#","traceState":"#);
        text(out, &placed.trace_state);
    }
    raw(out, r#","name":"#);
    text(out, &span.name);
    raw(out, r#","kind":"#);
    number(out, kind(span.kind) as u64);
    raw(out, r#","startTimeUnixNano":""#);
    number(out, clock.unix_ns(span.start_ns));
    raw(out, r#"","endTimeUnixNano":""#);
    number(out, clock.unix_ns(span.end_ns.max(span.start_ns)));
    raw(out, r#"","attributes":["#);
    let fixed = span.attributes.iter().map(|(key, value)| (*key, value));
    let named = span.named.iter().map(|(key, value)| (key.as_str(), value));
    list(out, fixed.chain(named), |out, of| match of {
        (STACK_TRACE, Value::Text(trace)) => {
            raw(out, r#"{"key":"#);
            text(out, STACK_TRACE);
            raw(out, r#","value":{"stringValue":"#);
            traces.write(out, trace);
            raw(out, "}}");
        }
        of => attribute(out, of),
    });
    raw(out, "]");
    if !span.events.is_empty() {
        raw(out, r#","events":["#);
        list(out, &span.events, |out, of| event(out, of, clock));
        raw(out, "]");
    }
    if !placed.links.is_empty() {
        raw(out, r#","links":["#);
        list(out, &placed.links, link);
        raw(out, "]");
    }
    if let Status::Error(message) = &span.status {
        raw(out, r#","status":{"message":"#);
        text(out, message);
        raw(out, r#","code":2}"#);
    }
    raw(out, "}");
}

fn link(out: &mut Vec<u8>, link: &Link) {
    raw(out, r#"{"traceId":""#);
    hex(out, &link.trace_id);
    raw(out, r#"","spanId":""#);
    hex(out, &link.span_id);
    raw(out, r#"","flags":"#);
    number(out, u64::from(link_flags(link)));
    if !link.trace_state.is_empty() {
        raw(out, r#","traceState":"#);
        text(out, &link.trace_state);
    }
    raw(out, "}");
}

fn record(out: &mut Vec<u8>, record: &Record, logged: &Logged, clock: &Clock) {
    let time = clock.unix_ns(record.time_ns);
    raw(out, r#"{"timeUnixNano":""#);
    number(out, time);
    raw(out, r#"","observedTimeUnixNano":""#);
    number(out, time);
    raw(out, "\"");
    if record.severity != Severity::UNSPECIFIED {
        raw(out, r#","severityNumber":"#);
        number(out, u64::from(record.severity.number()));
    }
    if !record.severity_text.is_empty() {
        raw(out, r#","severityText":"#);
        text(out, &record.severity_text);
    }
    raw(out, r#","body":{"stringValue":"#);
    text(out, &record.body);
    raw(out, r#"},"attributes":["#);
    let own = record.attributes.iter().map(|(key, value)| (key.as_str(), value));
    let exception: Vec<_> = exception(record)
        .map(|(key, text)| (key, Value::Text(text.into())))
        .collect();
    list(
        out,
        own.chain(exception.iter().map(|(key, value)| (*key, value))),
        attribute,
    );
    raw(out, r#"],"flags":"#);
    number(out, u64::from(logged.flags()));
    if let Some((trace_id, span_id)) = logged.place() {
        raw(out, r#","traceId":""#);
        hex(out, &trace_id);
        raw(out, r#"","spanId":""#);
        hex(out, &span_id);
        raw(out, "\"");
    }
    raw(out, "}");
}

fn event(out: &mut Vec<u8>, event: &Event, clock: &Clock) {
    raw(out, r#"{"timeUnixNano":""#);
    number(out, clock.unix_ns(event.time_ns));
    raw(out, r#"","name":"#);
    text(out, event.name);
    raw(out, r#","attributes":["#);
    list(
        out,
        event.attributes.iter().map(|(key, value)| (*key, value)),
        attribute,
    );
    raw(out, "]}");
}

fn attribute(out: &mut Vec<u8>, (key, value): (&str, &Value)) {
    raw(out, r#"{"key":"#);
    text(out, key);
    raw(out, r#","value":{"#);
    match value {
        Value::Text(value) => {
            raw(out, r#""stringValue":"#);
            text(out, value);
        }
        Value::Int(value) => {
            raw(out, r#""intValue":""#);
            if *value < 0 {
                raw(out, "-");
            }
            number(out, value.unsigned_abs());
            raw(out, "\"");
        }
        Value::Double(value) => {
            if value.is_finite() {
                raw(out, r#""doubleValue":"#);
                let _memory_cannot_fail = serde_json::to_writer(&mut *out, value);
            } else {
                raw(out, r#""stringValue":"#);
                text(out, &value.to_string());
            }
        }
        Value::Bool(value) => {
            raw(out, r#""boolValue":"#);
            raw(out, if *value { "true" } else { "false" });
        }
        Value::Texts(values) => {
            raw(out, r#""arrayValue":{"values":["#);
            list(out, values, |out, value| {
                raw(out, r#"{"stringValue":"#);
                text(out, value);
                raw(out, "}");
            });
            raw(out, "]}");
        }
    }
    raw(out, "}}");
}

/// Elements with commas between them.
fn list<T>(out: &mut Vec<u8>, all: impl IntoIterator<Item = T>, mut one: impl FnMut(&mut Vec<u8>, T)) {
    for (place, element) in all.into_iter().enumerate() {
        if place > 0 {
            raw(out, ",");
        }
        one(out, element);
    }
}

fn raw(out: &mut Vec<u8>, json: &str) {
    out.extend_from_slice(json.as_bytes());
}

/// A string with its quotes.
fn text(out: &mut Vec<u8>, text: &str) {
    let special = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    // All bytes are looked at, which is faster than to stop: most texts need no escape.
    if text.bytes().fold(false, |found, byte| found | special(byte)) {
        let _memory_cannot_fail = serde_json::to_writer(out, text);
    } else {
        raw(out, "\"");
        raw(out, text);
        raw(out, "\"");
    }
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    /// Digits of `u64::MAX`.
    const MOST: usize = 20;
    let mut digits = [b'0'; MOST];
    let mut used = 0;
    for place in digits.iter_mut().rev() {
        *place += (value % 10) as u8;
        value /= 10;
        used += 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[MOST - used..]);
}

/// Lowercase hex digits.
fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

    use super::*;
    use crate::discover::Runtime;
    use crate::export::otlp::logs::logs_request;
    use crate::export::otlp::request;
    use crate::export::sample::{Sample, host, process, service};
    use crate::log::Exception;
    use crate::trace::Loose;

    /// What is written is read as the request that the other transports send.
    fn check(spans: &[Finished]) {
        let (host, clock) = (host(), Clock::at(1_000));
        let mut line = Vec::new();
        write_request(spans, &host, &clock, &mut Traces::default(), &mut line);
        let read: ExportTraceServiceRequest =
            serde_json::from_slice(&line).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&line)));
        assert_eq!(read, request(spans, &host, &clock));
        assert!(!line.contains(&b'\n'));
    }

    #[test]
    fn the_same_as_the_messages() {
        let (shop, stock) = (Arc::new(process(41, "shop", Runtime::Python)), service("stock"));
        let event = Event {
            name: "retry",
            time_ns: 7,
            attributes: vec![("attempt", Value::Int(2)), ("why", Value::fixed("timeout"))],
        };
        let mut busy = Sample::server(u64::MAX, &shop)
            .parent(0xAB)
            .remote()
            .at(5, 9)
            .with("http.response.status_code", Value::Int(500))
            .with("least", Value::Int(i64::MIN))
            .with("ratio", Value::Double(0.1))
            .with("whole", Value::Double(3.0))
            .with("nan", Value::Double(f64::NAN))
            .with("infinite", Value::Double(f64::NEG_INFINITY))
            .with("yes", Value::Bool(true))
            .with("no", Value::Bool(false))
            .with("list", Value::Texts(Box::new(["a".into(), "\"b\"".into()])))
            .with("empty", Value::Texts(Box::default()))
            .error("broken\n")
            .state("vendor=1,\"x\"")
            .done();
        let placed = Arc::get_mut(&mut busy).expect("one owner");
        placed.span.events.push(event);
        placed
            .span
            .named
            .push(("http.request.header.\"x\"".into(), Value::fixed("y")));
        check(&[busy, Sample::client(2, &stock).done(), Sample::client(3, &shop).done()]);
        check(&[]);
    }

    /// The same of records of logs.
    #[test]
    fn records_the_same_as_the_messages() {
        let (shop, stock) = (Arc::new(process(41, "shop", Runtime::Python)), service("stock"));
        let plain = Record {
            time_ns: 5,
            severity: Severity::UNSPECIFIED,
            severity_text: "".into(),
            body: "said \"é\"\n".into(),
            attributes: Vec::new(),
            exception: None,
        };
        let full = Record {
            severity: Severity::ERROR,
            severity_text: "ERR".into(),
            attributes: vec![
                ("a.\"b\"".into(), Value::Double(0.5)),
                ("thread.id".into(), Value::Int(7)),
            ],
            exception: Some(Box::new(Exception {
                kind: "KeyError".into(),
                message: String::new(),
                trace: "Traceback\n".into(),
            })),
            ..plain.clone()
        };
        let mut told = Sample::server(1, &shop).done();
        Arc::get_mut(&mut told).expect("one owner").logs = vec![plain.clone(), full.clone()];
        let alone = |process: &Arc<Process>, place, flags, record: &Record| {
            Logged::Alone(Arc::new(Loose {
                place,
                flags,
                process: Arc::clone(process),
                record: record.clone(),
            }))
        };
        let logged = [
            Logged::OfSpan(Sample::server(2, &shop).done()),
            alone(&stock, None, 0, &full),
            Logged::OfSpan(told),
            alone(&shop, Some(([7; 16], [8; 8])), 1, &plain),
        ];
        let (host, clock) = (host(), Clock::at(1_000));
        for logged in [&logged[..], &logged[..1], &[]] {
            let mut line = Vec::new();
            write_logs_request(logged, &host, &clock, &mut line);
            let read: ExportLogsServiceRequest = serde_json::from_slice(&line)
                .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&line)));
            let with_records: Vec<Logged> = logged.iter().filter(|it| !it.records().is_empty()).cloned().collect();
            assert_eq!(read, logs_request(&with_records, &host, &clock));
            assert!(!line.contains(&b'\n'));
        }
    }

    #[test]
    fn texts_that_need_care() {
        let long = "long enough to lie on the heap \u{1} \u{7f} \u{2028} é \\ \"";
        for text in ["", "plain", "\"", "\\", "\n", "\u{0}", "é", "\u{1f600}", long] {
            let span = Sample::server(1, &service("a")).with("text", Value::Text(text.into()));
            check(&[span.done()]);
        }
    }

    #[test]
    fn stacks_that_spans_share() {
        let (host, clock, process) = (host(), Clock::at(1_000), service("a"));
        let stack = |number: usize| SmolStr::from(format!("main.buy(...)\n\t\"/shop.go\":{number}").repeat(20));
        let (one, other, short) = (stack(1), stack(2), SmolStr::from("f()\n"));
        let mut traces = Traces::default();
        for (round, known) in [(1, 2), (2, 2)] {
            let texts = [&one, &other, &short, &one.clone()];
            let spans = texts.map(|text| {
                let span = Sample::server(round, &process);
                span.with(STACK_TRACE, Value::Text(text.clone())).done()
            });
            let mut line = Vec::new();
            write_request(&spans, &host, &clock, &mut traces, &mut line);
            let read: ExportTraceServiceRequest = serde_json::from_slice(&line).expect("a request");
            assert_eq!(read, request(&spans, &host, &clock));
            assert_eq!(traces.written.len(), known);
        }
        for number in 0..20_000 {
            traces.write(&mut Vec::new(), &stack(number));
            assert!(traces.bytes <= Traces::MAX_BYTES);
        }
        assert!(traces.written.len() > 100);
    }

    #[test]
    fn numbers() {
        for value in [0, 1, 9, 10, 99, 100, 12_345, u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(String::from_utf8(out).expect("digits"), value.to_string());
        }
    }
}
