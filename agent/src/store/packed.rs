//! A trace in columns, for whoever shows all of it at once: each text once, each set of attribute names once, and the rest as
//! numbers. A trace of 50 000 spans is a fifth of what it is as objects, and is read in a fifth of the time.
use std::collections::HashMap;

use foldhash::fast::FixedState;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::{Span, SpanFlags};
use serde::Serialize;
use serde_json::{Value as Json, json};

use super::{ProcessBegan, TraceRow, facts};
use crate::export::hex;

/// A trace whose spans are told by column. All lists have an entry for each span, in the order of their starts, unless they
/// say otherwise. A text is a number: its place in `strings`.
#[derive(Debug, Serialize)]
pub struct PackedTrace {
    /// What lists show of it.
    #[serde(flatten)]
    pub row: TraceRow,
    /// More spans are stored than are told.
    pub cut: bool,
    /// When the processes of its spans began, of those of which it is known.
    pub processes: Vec<ProcessBegan>,
    /// Events that were lost while it ran, or about then: calls may be missing.
    pub lost_events: u64,
    strings: Vec<String>,
    /// Names of attributes, each with 0 where its value is a text and 1 where it is any other.
    shapes: Vec<Vec<u32>>,
    /// 16 hex digits for each span.
    ids: String,
    /// The place of the parent; -1 for none, -2 for one that is not here.
    parents: Vec<i64>,
    /// Place and id of each parent that is not here.
    absent: Vec<(usize, String)>,
    /// Places of spans whose parent is of another process.
    remote: Vec<usize>,
    names: Vec<u32>,
    /// A number of `server`, `client` and so on among `strings`.
    kinds: Vec<u32>,
    services: Vec<u32>,
    pids: Vec<Option<i64>>,
    offsets: Vec<u64>,
    durations: Vec<u64>,
    /// Place and message of each that failed.
    failed: Vec<(usize, u32)>,
    /// Which of `shapes` its attributes have.
    shape: Vec<u32>,
    /// Values of all attributes, span after span, in the order of their shape.
    values: Vec<Json>,
    /// Place, and what it has, of each that has events, logs and links: as in a trace that is told as objects.
    events: Vec<(usize, Json)>,
    logs: Vec<(usize, Json)>,
    links: Vec<(usize, Json)>,
}

/// What is told of a span besides, as objects: the same in both forms.
pub(super) struct Beside {
    pub(super) events: Vec<Json>,
    pub(super) logs: Vec<Json>,
    pub(super) links: Vec<Json>,
}

impl Beside {
    /// What a span has, with times from `start_ns`.
    pub(super) fn of(span: &Span, start_ns: u64) -> Self {
        let offset = |ns: u64| ns.saturating_sub(start_ns);
        let (logs, events): (Vec<_>, Vec<_>) = span.events.iter().partition(|event| event.name == facts::LOG);
        let logs = logs.into_iter().map(|event| {
            let mut attributes = facts::attributes(&event.attributes);
            let severity = attributes.remove(facts::LOG_SEVERITY);
            let body = attributes.remove(facts::LOG_BODY);
            json!({
                "offset_ns": offset(event.time_unix_nano),
                "severity": severity,
                "body": body,
                "attributes": attributes,
            })
        });
        let events = events.into_iter().map(|event| {
            json!({
                "name": event.name,
                "offset_ns": offset(event.time_unix_nano),
                "attributes": facts::attributes(&event.attributes),
            })
        });
        let links = span.links.iter().map(|link| {
            json!({
                "trace_id": hex(&link.trace_id),
                "span_id": hex(&link.span_id),
                "attributes": facts::attributes(&link.attributes),
            })
        });
        Self {
            events: events.collect(),
            logs: logs.collect(),
            links: links.collect(),
        }
    }
}

/// A span, with its service and process.
pub(super) type Told<'a> = (Span, &'a str, Option<i64>);

/// What is told of a trace beside its row and its spans: the same in both forms.
pub(super) struct Whole {
    pub(super) cut: bool,
    pub(super) processes: Vec<ProcessBegan>,
    pub(super) lost_events: u64,
}

/// Puts spans, which lie in the order of their starts, into columns.
pub(super) fn pack(row: TraceRow, spans: Vec<Told<'_>>, whole: Whole) -> PackedTrace {
    let places: HashMap<Vec<u8>, usize, FixedState> = spans
        .iter()
        .enumerate()
        // Of two with one id the first is meant.
        .rev()
        .map(|(place, (span, ..))| (span.span_id.clone(), place))
        .collect();
    let mut texts = Texts::default();
    let mut shapes: HashMap<Vec<u32>, u32, FixedState> = HashMap::default();
    let start_ns = row.start_unix_ns;
    let mut packed = PackedTrace::of(row, whole, spans.len());
    for (place, (span, service, pid)) in spans.into_iter().enumerate() {
        packed.ids.push_str(&hex(&span.span_id));
        packed.parents.push(match places.get(&span.parent_span_id) {
            _ if span.parent_span_id.is_empty() => -1,
            Some(parent) => *parent as i64,
            None => {
                packed.absent.push((place, hex(&span.parent_span_id)));
                -2
            }
        });
        if span.flags & SpanFlags::ContextIsRemoteMask as u32 != 0 {
            packed.remote.push(place);
        }
        let beside = Beside::of(&span, start_ns);
        for (of, list) in [
            (&mut packed.events, beside.events),
            (&mut packed.logs, beside.logs),
            (&mut packed.links, beside.links),
        ] {
            if !list.is_empty() {
                of.push((place, Json::Array(list)));
            }
        }
        if facts::failed(&span) {
            let message = span.status.map_or_else(String::new, |status| status.message);
            packed.failed.push((place, texts.number(message)));
        }
        let shape = packed.attributes(span.attributes, &mut texts);
        let next = u32::try_from(shapes.len()).unwrap_or(u32::MAX);
        packed.shape.push(*shapes.entry(shape).or_insert(next));
        packed.names.push(texts.number(span.name));
        let kind = facts::kind_word(i64::from(span.kind));
        packed.kinds.push(texts.known(kind));
        packed.services.push(texts.known(service));
        packed.pids.push(pid);
        packed.offsets.push(span.start_time_unix_nano.saturating_sub(start_ns));
        let length = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano);
        packed.durations.push(length);
    }
    packed.strings = texts.all;
    let mut listed: Vec<(Vec<u32>, u32)> = shapes.into_iter().collect();
    listed.sort_unstable_by_key(|(_, number)| *number);
    packed.shapes = listed.into_iter().map(|(shape, _)| shape).collect();
    packed
}

impl PackedTrace {
    fn of(row: TraceRow, whole: Whole, spans: usize) -> Self {
        Self {
            row,
            cut: whole.cut,
            processes: whole.processes,
            lost_events: whole.lost_events,
            strings: Vec::new(),
            shapes: Vec::new(),
            ids: String::with_capacity(spans * 16),
            parents: Vec::with_capacity(spans),
            absent: Vec::new(),
            remote: Vec::new(),
            names: Vec::with_capacity(spans),
            kinds: Vec::with_capacity(spans),
            services: Vec::with_capacity(spans),
            pids: Vec::with_capacity(spans),
            offsets: Vec::with_capacity(spans),
            durations: Vec::with_capacity(spans),
            failed: Vec::new(),
            shape: Vec::with_capacity(spans),
            values: Vec::with_capacity(spans * 8),
            events: Vec::new(),
            logs: Vec::new(),
            links: Vec::new(),
        }
    }

    /// The shape of a span's attributes; their values go behind those of the spans before.
    fn attributes(&mut self, attributes: Vec<KeyValue>, texts: &mut Texts) -> Vec<u32> {
        let mut shape = Vec::with_capacity(attributes.len() * 2);
        for KeyValue { key, value, .. } in attributes {
            shape.push(texts.number(key));
            match value.and_then(|value| value.value) {
                Some(Any::StringValue(text)) => {
                    shape.push(0);
                    self.values.push(texts.number(text).into());
                }
                other => {
                    shape.push(1);
                    self.values.push(other.as_ref().map_or(Json::Null, facts::any));
                }
            }
        }
        shape
    }
}

/// Texts, each with its number.
#[derive(Default)]
struct Texts {
    all: Vec<String>,
    numbers: HashMap<String, u32, FixedState>,
}

impl Texts {
    fn number(&mut self, text: String) -> u32 {
        match self.numbers.get(&text) {
            Some(number) => *number,
            None => self.add(text),
        }
    }

    fn known(&mut self, text: &str) -> u32 {
        match self.numbers.get(text) {
            Some(number) => *number,
            None => self.add(text.to_owned()),
        }
    }

    fn add(&mut self, text: String) -> u32 {
        let number = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        self.all.push(text.clone());
        self.numbers.insert(text, number);
        number
    }
}
