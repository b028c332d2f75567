//! Traces in and out of the store as OTLP has them, and as a timeline for Perfetto.
use std::collections::{BTreeMap, HashMap};
use std::io::Read;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use serde_json::{Value as Json, json};

use super::{Incoming, SpanView, TraceView};
use crate::span::Policy;

/// Spans of requests on their way into the store.
#[derive(Debug, Default)]
pub struct Received {
    requests: Vec<ExportTraceServiceRequest>,
    refused: u64,
}

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is no OTLP JSON.
    #[error("this is no OTLP JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It is too large.
    #[error("more than {MOST_BYTES} bytes are not imported at once")]
    Large,
}

/// Most that is imported at once.
const MOST_BYTES: u64 = 256 << 20;

impl Received {
    /// What a request brought.
    pub fn of(request: ExportTraceServiceRequest) -> Self {
        Self::all(vec![request])
    }

    /// Spans without an id or a trace are left out.
    fn all(mut requests: Vec<ExportTraceServiceRequest>) -> Self {
        let mut refused = 0;
        let resources = requests.iter_mut().flat_map(|request| &mut request.resource_spans);
        for scope in resources.flat_map(|resource| &mut resource.scope_spans) {
            let before = scope.spans.len();
            scope.spans.retain(is_named);
            refused += (before - scope.spans.len()) as u64;
        }
        Self { requests, refused }
    }

    /// Reads OTLP JSON: one request, or one a line.
    ///
    /// # Errors
    /// [`ImportError`]; the position tells where.
    pub fn read(input: impl Read) -> Result<Self, ImportError> {
        let mut bounded = input.take(MOST_BYTES + 1);
        let stream = serde_json::Deserializer::from_reader(std::io::BufReader::new(&mut bounded));
        let requests = stream.into_iter().collect::<Result<Vec<_>, _>>();
        if bounded.limit() == 0 {
            return Err(ImportError::Large);
        }
        Ok(Self::all(requests?))
    }

    /// Hides what may not be shown, in spans and in what they came from.
    pub fn conceal(&mut self, policy: &Policy) {
        for of in self.requests.iter_mut().flat_map(|request| &mut request.resource_spans) {
            policy.conceal_resource(of.resource.get_or_insert_default());
            for span in of.scope_spans.iter_mut().flat_map(|scope| &mut scope.spans) {
                policy.conceal_received(span);
            }
        }
    }

    /// Its spans, which it has no more.
    pub fn spans(&mut self) -> Vec<Incoming<'_>> {
        let mut spans = Vec::new();
        for of in self.requests.iter_mut().flat_map(|request| &mut request.resource_spans) {
            let ResourceSpans {
                resource, scope_spans, ..
            } = of;
            let resource: &Resource = resource.get_or_insert_default();
            let all = scope_spans
                .iter_mut()
                .flat_map(|scope| std::mem::take(&mut scope.spans));
            spans.extend(all.filter_map(|span| incoming(resource, span)));
        }
        spans
    }

    /// Spans that were left out.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// How many spans it has.
    pub fn count(&self) -> u64 {
        let resources = self.requests.iter().flat_map(|request| &request.resource_spans);
        resources
            .flat_map(|it| &it.scope_spans)
            .map(|scope| scope.spans.len() as u64)
            .sum()
    }

    /// About how many bytes of memory it takes.
    pub fn bytes(&self) -> usize {
        self.requests.iter().map(prost::Message::encoded_len).sum()
    }
}

fn is_named(span: &Span) -> bool {
    let (trace, id, parent) = (&span.trace_id, &span.span_id, &span.parent_span_id);
    trace.len() == 16 && id.len() == 8 && matches!(parent.len(), 0 | 8) && trace.iter().any(|byte| *byte != 0)
}

fn incoming(resource: &Resource, mut span: Span) -> Option<Incoming<'_>> {
    let trace_id: [u8; 16] = span.trace_id.as_slice().try_into().ok()?;
    if span.parent_span_id == [0; 8] {
        span.parent_span_id.clear();
    }
    span.end_time_unix_nano = span.end_time_unix_nano.max(span.start_time_unix_nano);
    span.trace_id = Vec::new();
    Some(Incoming {
        resource,
        trace_id,
        span,
    })
}

/// One request with the spans of a trace, grouped by what they came from.
pub(super) fn request(
    trace_id: &[u8],
    spans: Vec<(i64, Span)>,
    resources: &mut HashMap<i64, Resource>,
) -> ExportTraceServiceRequest {
    let mut groups: BTreeMap<i64, Vec<Span>> = BTreeMap::new();
    for (resource, mut span) in spans {
        span.trace_id = trace_id.to_vec();
        groups.entry(resource).or_default().push(span);
    }
    let resource_spans = groups.into_iter().map(|(resource, spans)| ResourceSpans {
        resource: resources.remove(&resource),
        scope_spans: vec![ScopeSpans {
            scope: Some(InstrumentationScope {
                name: "clew".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..InstrumentationScope::default()
            }),
            spans,
            schema_url: crate::span::SCHEMA_URL.to_owned(),
        }],
        schema_url: crate::span::SCHEMA_URL.to_owned(),
    });
    ExportTraceServiceRequest {
        resource_spans: resource_spans.collect(),
    }
}

/// A trace in the Trace Event Format, which Perfetto and Chrome open: a process for each service, a lane for what happens side by
/// side in it, and arrows from a call to who answers it.
pub fn perfetto(trace: &TraceView) -> Json {
    let mut services: Vec<&str> = trace.span_list.iter().map(|span| span.service.as_str()).collect();
    services.sort_unstable();
    services.dedup();
    let mut events: Vec<Json> = services
        .iter()
        .enumerate()
        .map(|(number, name)| json!({"ph": "M", "name": "process_name", "pid": number + 1, "args": {"name": name}}))
        .collect();
    let process = |span: &SpanView| services.binary_search(&span.service.as_str()).map_or(0, |at| at + 1);
    let mut lanes: HashMap<usize, Lanes> = HashMap::new();
    let mut places: HashMap<&str, (usize, usize, &SpanView)> = HashMap::new();
    for span in &trace.span_list {
        let pid = process(span);
        let lane = lanes
            .entry(pid)
            .or_default()
            .place(span.offset_ns, span.offset_ns + span.duration_ns);
        places.insert(&span.span_id, (pid, lane, span));
        let mut args = span.attributes.clone();
        args.insert("span_id".to_owned(), json!(span.span_id));
        if let Some(error) = &span.error {
            args.insert("error".to_owned(), json!(error));
        }
        events.push(json!({
            "ph": "X", "name": span.name, "cat": span.kind, "pid": pid, "tid": lane,
            "ts": us(span.offset_ns), "dur": us(span.duration_ns), "args": args,
        }));
    }
    for (number, span) in trace.span_list.iter().enumerate() {
        let parent = span.parent_id.as_deref().and_then(|id| places.get(id));
        let (Some((pid, lane, parent)), Some((to_pid, to_lane, _))) = (parent, places.get(span.span_id.as_str()))
        else {
            continue;
        };
        if (pid, lane) != (to_pid, to_lane) {
            let arrow = |ph: &str, pid: usize, tid: usize, ns: u64| json!({"ph": ph, "id": number, "name": "call", "cat": "call", "bp": "e", "pid": pid, "tid": tid, "ts": us(ns)});
            events.push(arrow("s", *pid, *lane, parent.offset_ns));
            events.push(arrow("f", *to_pid, *to_lane, span.offset_ns.max(parent.offset_ns)));
        }
    }
    json!({"displayTimeUnit": "ms", "otherData": {"trace_id": trace.row.trace_id}, "traceEvents": events})
}

/// Lanes in which spans lie within one another or behind one another.
#[derive(Default)]
struct Lanes(Vec<Vec<u64>>);

impl Lanes {
    /// Finds a lane for a span; spans are placed by their start.
    fn place(&mut self, start: u64, end: u64) -> usize {
        /// As many as anyone looks at; beyond it they overlap.
        const MOST: usize = 512;
        for (number, open) in self.0.iter_mut().enumerate() {
            while open.last().is_some_and(|last| *last <= start) {
                open.pop();
            }
            if open.last().is_none_or(|last| *last >= end) || number + 1 == MOST {
                open.push(end);
                return number;
            }
        }
        self.0.push(vec![end]);
        self.0.len() - 1
    }
}

/// Microseconds, as the format has them.
fn us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_hold_what_nests() {
        let mut lanes = Lanes::default();
        let placed: Vec<usize> = [(0, 10), (1, 5), (2, 7), (5, 9), (6, 6), (10, 12), (11, 13)]
            .into_iter()
            .map(|(start, end)| lanes.place(start, end))
            .collect();
        assert_eq!(placed, [0, 0, 1, 0, 0, 0, 1]);
    }

    #[test]
    fn what_cannot_be_stored_is_refused() {
        let text = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"sdk"}}]},
            "scopeSpans":[{"spans":[
            {"traceId":"000102030405060708090a0b0c0d0e0f","spanId":"0000000000000001","name":"a","startTimeUnixNano":"7","endTimeUnixNano":"3"},
            {"traceId":"00000000000000000000000000000000","spanId":"0000000000000001","name":"b"},
            {"traceId":"0001","spanId":"0000000000000001","name":"c"},
            {"traceId":"000102030405060708090a0b0c0d0e0f","spanId":"","name":"d"}]}]}]}"#;
        // One, and one a line.
        for (text, want) in [(text.to_owned(), 1), (format!("{}\n{}\n", text, text), 2)] {
            let mut received = Received::read(text.as_bytes()).expect("OTLP JSON");
            assert_eq!((received.count(), received.refused()), (want as u64, 3 * want as u64));
            let spans = received.spans();
            assert_eq!(spans.len(), want);
            assert_eq!(
                (spans[0].span.end_time_unix_nano, spans[0].span.name.as_str()),
                (7, "a")
            );
            assert_eq!(super::super::facts::service(spans[0].resource), "sdk");
        }
        for text in ["[", "{\"resourceSpans\":7}", "nothing"] {
            assert!(
                matches!(Received::read(text.as_bytes()), Err(ImportError::Json(_))),
                "{text}"
            );
        }
        assert_eq!(Received::read(&b""[..]).map(|it| it.count()).expect("nothing"), 0);
    }
}
