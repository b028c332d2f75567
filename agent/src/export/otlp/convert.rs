//! Spans as OTLP's messages.
use std::collections::BTreeSet;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link as OtlpLink, SpanKind as OtlpKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, SpanFlags, Status as OtlpStatus};

use super::Finished;
use crate::discover::{Process, Runtime};
use crate::export::{Clock, Host};
use crate::span::{SCHEMA_URL, SpanKind, Status, Value};
use crate::trace::Link;

/// Name of the instrumentation scope, the SDK and the distribution.
pub(super) const NAME: &str = "clew";
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// One request with all of `spans`, grouped by process.
pub fn request(spans: &[Finished], host: &Host, clock: &Clock) -> ExportTraceServiceRequest {
    let mut groups: Vec<(&Arc<Process>, Vec<Span>)> = Vec::new();
    for placed in spans {
        let span = span(placed, clock);
        match groups
            .iter_mut()
            .find(|(process, _)| Arc::ptr_eq(process, &placed.process))
        {
            Some((_, group)) => group.push(span),
            None => groups.push((&placed.process, vec![span])),
        }
    }
    let resource_spans = groups.into_iter().map(|(process, spans)| ResourceSpans {
        resource: Some(resource(process, host)),
        scope_spans: vec![ScopeSpans {
            scope: Some(InstrumentationScope {
                name: NAME.to_owned(),
                version: VERSION.to_owned(),
                ..InstrumentationScope::default()
            }),
            spans,
            schema_url: SCHEMA_URL.to_owned(),
        }],
        schema_url: SCHEMA_URL.to_owned(),
    });
    ExportTraceServiceRequest {
        resource_spans: resource_spans.collect(),
    }
}

/// What is known of a process. Facts of the process come first, then what the target says of itself, then the host: the
/// first to name an attribute wins.
pub(crate) fn resource(process: &Process, host: &Host) -> Resource {
    let text = |key: &str, value: &str| (key.to_owned(), Any::StringValue(value.to_owned()));
    let optional = |key: &str, value: &Option<String>| value.as_deref().map(|value| text(key, value));

    let mut all = vec![text("service.name", &process.service)];
    all.extend(optional("service.namespace", &process.service_namespace));
    all.push(("process.pid".to_owned(), Any::IntValue(i64::from(process.pid.0))));
    if !process.exe.is_empty() {
        let name = process.exe.rsplit('/').next().unwrap_or(&process.exe);
        all.push(text("process.executable.name", name));
        all.push(text("process.executable.path", &process.exe));
    }
    if !process.args.is_empty() {
        all.push(("process.command_args".to_owned(), array(&shortened(&process.args))));
    }
    all.extend(runtime(process.runtime).map(|name| text("process.runtime.name", name)));
    all.extend(optional("container.id", &process.container));
    all.extend([
        text("telemetry.sdk.name", NAME),
        text("telemetry.sdk.language", "rust"),
        text("telemetry.sdk.version", VERSION),
        text("telemetry.distro.name", NAME),
        text("telemetry.distro.version", VERSION),
    ]);
    all.extend(process.resource.iter().map(|(key, value)| text(key, value)));
    all.extend(optional("host.name", &host.name));
    all.extend(optional("host.id", &host.id));
    all.push(text("host.arch", host.arch));
    all.push(text("os.type", "linux"));
    all.extend(optional("os.description", &host.description));

    let mut seen = BTreeSet::new();
    all.retain(|(key, _)| seen.insert(key.clone()));
    Resource {
        attributes: all.into_iter().map(|(key, value)| pair(key, value)).collect(),
        ..Resource::default()
    }
}

/// A command line can be megabytes long, and every request carries it.
fn shortened(args: &[String]) -> Vec<String> {
    const LIMIT_BYTES: usize = 4096;
    let mut left = LIMIT_BYTES;
    let mut kept = Vec::new();
    for arg in args {
        if arg.len() >= left {
            let cut = arg.floor_char_boundary(left);
            kept.push(format!("{}...", arg.get(..cut).unwrap_or_default()));
            break;
        }
        left -= arg.len() + 1;
        kept.push(arg.clone());
    }
    kept
}

/// `process.runtime.name`, where there is a runtime to speak of.
fn runtime(runtime: Runtime) -> Option<&'static str> {
    match runtime {
        Runtime::Go => Some("go"),
        Runtime::Python => Some("cpython"),
        Runtime::Node => Some("nodejs"),
        Runtime::Java | Runtime::JavaVirtual => Some("java"),
        Runtime::Ruby => Some("ruby"),
        Runtime::Php => Some("php"),
        Runtime::Native | Runtime::Rust | Runtime::Nginx | Runtime::Envoy | Runtime::Unknown => None,
    }
}

/// A span as OTLP has it.
pub(crate) fn span(placed: &Finished, clock: &Clock) -> Span {
    let span = &placed.span;
    let fixed = span
        .attributes
        .iter()
        .map(|(key, of)| pair((*key).to_owned(), value(of)));
    let named = span.named.iter().map(|(key, of)| pair(key.to_string(), value(of)));
    Span {
        trace_id: placed.trace_id.to_vec(),
        span_id: placed.span_id.to_vec(),
        trace_state: placed.trace_state.clone(),
        parent_span_id: placed.parent_id.map(|id| id.to_vec()).unwrap_or_default(),
        flags: flags(placed),
        name: span.name.to_string(),
        kind: kind(span.kind) as i32,
        start_time_unix_nano: clock.unix_ns(span.start_ns),
        end_time_unix_nano: clock.unix_ns(span.end_ns.max(span.start_ns)),
        attributes: fixed.chain(named).collect(),
        events: span.events.iter().map(|of| event(of, clock)).collect(),
        links: placed.links.iter().map(link).collect(),
        status: match &span.status {
            Status::Unset => None,
            Status::Error(message) => Some(OtlpStatus {
                message: message.clone(),
                code: StatusCode::Error as i32,
            }),
        },
        ..Span::default()
    }
}

/// W3C trace flags in the low byte, and whether the parent is remote; both bits clear would mean "not known".
pub(super) fn flags(placed: &Finished) -> u32 {
    let mut flags = u32::from(placed.flags) | SpanFlags::ContextHasIsRemoteMask as u32;
    if placed.parent_is_remote {
        flags |= SpanFlags::ContextIsRemoteMask as u32;
    }
    flags
}

fn link(link: &Link) -> OtlpLink {
    OtlpLink {
        trace_id: link.trace_id.to_vec(),
        span_id: link.span_id.to_vec(),
        trace_state: link.trace_state.clone(),
        flags: link_flags(link),
        ..OtlpLink::default()
    }
}

/// Flags of a link: what it names is of another process.
pub(super) fn link_flags(link: &Link) -> u32 {
    u32::from(link.flags) | SpanFlags::ContextHasIsRemoteMask as u32 | SpanFlags::ContextIsRemoteMask as u32
}

pub(crate) fn kind(kind: SpanKind) -> OtlpKind {
    match kind {
        SpanKind::Server => OtlpKind::Server,
        SpanKind::Client => OtlpKind::Client,
        SpanKind::Producer => OtlpKind::Producer,
        SpanKind::Consumer => OtlpKind::Consumer,
        SpanKind::Internal => OtlpKind::Internal,
    }
}

fn event(event: &crate::span::Event, clock: &Clock) -> Event {
    let attributes = event.attributes.iter();
    Event {
        time_unix_nano: clock.unix_ns(event.time_ns),
        name: event.name.to_owned(),
        attributes: attributes.map(|(key, of)| pair((*key).to_owned(), value(of))).collect(),
        ..Event::default()
    }
}

pub(super) fn value(value: &Value) -> Any {
    match value {
        Value::Text(text) => Any::StringValue(text.to_string()),
        Value::Int(number) => Any::IntValue(*number),
        // JSON has no such numbers, and the two encodings must agree.
        Value::Double(number) if !number.is_finite() => Any::StringValue(number.to_string()),
        Value::Double(number) => Any::DoubleValue(*number),
        Value::Bool(yes) => Any::BoolValue(*yes),
        Value::Texts(texts) => array(texts),
    }
}

fn array(texts: &[impl ToString]) -> Any {
    let values = texts.iter().map(|text| AnyValue {
        value: Some(Any::StringValue(text.to_string())),
    });
    Any::ArrayValue(ArrayValue {
        values: values.collect(),
    })
}

pub(super) fn pair(key: String, value: Any) -> KeyValue {
    KeyValue {
        key,
        value: Some(AnyValue { value: Some(value) }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::export::sample::{Sample, host, process};

    /// The JSON of a request with these spans.
    fn check(spans: &[Finished], expected: &serde_json::Value) {
        let request = request(spans, &host(), &Clock::at(1_000));
        let got = serde_json::to_value(&request).expect("JSON");
        assert_eq!(&got, expected, "{got:#}");
    }

    #[test]
    fn json_mapping() {
        let mut shop = process(41, "shop", Runtime::Python);
        shop.args = vec!["python3".to_owned(), "shop.py".to_owned()];
        shop.service_namespace = Some("market".to_owned());
        shop.container = Some("c0ffee".to_owned());
        shop.resource = vec![
            ("host.name".to_owned(), "told".to_owned()),
            ("process.pid".to_owned(), "forged".to_owned()),
            ("deployment.environment.name".to_owned(), "test".to_owned()),
        ];
        let span = Sample::server(7, &Arc::new(shop))
            .parent(0xAB)
            .remote()
            .at(5, 9)
            .with("http.response.status_code", Value::Int(500))
            .with("ratio", Value::Double(0.5))
            .with("nan", Value::Double(f64::NAN))
            .with("yes", Value::Bool(true))
            .with("list", Value::Texts(Box::new(["a".into()])))
            .error("broken")
            .state("vendor=1")
            .done();
        let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
        check(
            &[span],
            &json!({"resourceSpans": [{
                "resource": {"attributes": [
                    text("service.name", "shop"),
                    text("service.namespace", "market"),
                    {"key": "process.pid", "value": {"intValue": "41"}},
                    text("process.executable.name", "shop"),
                    text("process.executable.path", "/usr/bin/shop"),
                    {"key": "process.command_args", "value": {"arrayValue": {"values": [
                        {"stringValue": "python3"}, {"stringValue": "shop.py"}]}}},
                    text("process.runtime.name", "cpython"),
                    text("container.id", "c0ffee"),
                    text("telemetry.sdk.name", "clew"),
                    text("telemetry.sdk.language", "rust"),
                    text("telemetry.sdk.version", VERSION),
                    text("telemetry.distro.name", "clew"),
                    text("telemetry.distro.version", VERSION),
                    text("host.name", "told"),
                    text("deployment.environment.name", "test"),
                    text("host.id", "1d"),
                    text("host.arch", "amd64"),
                    text("os.type", "linux"),
                    text("os.description", "An OS"),
                ], "droppedAttributesCount": 0, "entityRefs": []},
                "schemaUrl": SCHEMA_URL,
                "scopeSpans": [{
                    "scope": {"name": "clew", "version": VERSION, "attributes": [], "droppedAttributesCount": 0},
                    "schemaUrl": SCHEMA_URL,
                    "spans": [{
                        "traceId": "000102030405060708090a0b0c0d0eff",
                        "spanId": "0000000000000007",
                        "parentSpanId": "00000000000000ab",
                        "traceState": "vendor=1",
                        "flags": 0x301,
                        "name": "GET",
                        "kind": 2,
                        "startTimeUnixNano": "1005",
                        "endTimeUnixNano": "1009",
                        "attributes": [
                            {"key": "http.response.status_code", "value": {"intValue": "500"}},
                            {"key": "ratio", "value": {"doubleValue": 0.5}},
                            text("nan", "NaN"),
                            {"key": "yes", "value": {"boolValue": true}},
                            {"key": "list", "value": {"arrayValue": {"values": [{"stringValue": "a"}]}}},
                        ],
                        "droppedAttributesCount": 0,
                        "events": [], "droppedEventsCount": 0,
                        "links": [], "droppedLinksCount": 0,
                        "status": {"code": 2, "message": "broken"},
                    }],
                }],
            }]}),
        );
    }

    #[test]
    fn one_group_a_process() {
        let (shop, stock) = (
            Arc::new(process(1, "shop", Runtime::Native)),
            Arc::new(process(2, "stock", Runtime::Go)),
        );
        let spans = [
            Sample::server(1, &shop).done(),
            Sample::server(2, &stock).done(),
            Sample::client(3, &shop).done(),
        ];
        let request = request(&spans, &Host::default(), &Clock::at(0));
        let sizes: Vec<usize> = request
            .resource_spans
            .iter()
            .flat_map(|group| group.scope_spans.iter().map(|scope| scope.spans.len()))
            .collect();
        assert_eq!(sizes, [2, 1]);
        let root = &request.resource_spans[0].scope_spans[0].spans[0];
        assert!(root.parent_span_id.is_empty());
        assert_eq!(root.flags, 0x101, "the parent is known not to be remote");
        assert!(root.status.is_none());
    }

    #[test]
    fn long_command_lines_are_cut() {
        let long = "é".repeat(4000);
        let cases = [
            (vec!["a".to_owned(), "b".to_owned()], 2, 2),
            (vec!["a".to_owned(), long.clone(), "b".to_owned()], 2, 4096 + 2),
            (vec!["x".to_owned(); 9000], 2049, 2048 + 3),
        ];
        for (args, count, bytes) in cases {
            let kept = shortened(&args);
            let total: usize = kept.iter().map(String::len).sum();
            assert_eq!((kept.len(), total.abs_diff(bytes) <= 2), (count, true), "{total}");
        }
    }
}
