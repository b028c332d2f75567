//! Records of logs, and the spans they were written for.
//!
//! Whose a record is follows from who wrote it, by the same evidence as for a call. It is the inbound request's own span that takes
//! it, and takes it only when that is settled: some evidence is only judged when the request is over.
use std::sync::Arc;
use std::time::Duration;

use super::causality::{Candidate, Found};
use super::traces::{Node, Traces};
use super::{Loose, Placed};
use crate::capture::Actor;
use crate::discover::{Process, Runtime};
use crate::log::Record;
use crate::span::{Event, Span, SpanKey, Status, Value};

/// Records that one span takes.
const MAX_LOGS: usize = 512;
/// Records that wait to be taken away.
const MAX_LOOSE: usize = 65_536;
/// About the most memory that finished spans and records take before they are settled.
const MAX_BYTES: usize = 64 << 20;

/// Why no span takes a record: it may be of another.
const UNKNOWN: &str = "logs.unknown_span";

/// For whom something was written, as far as that was known when it was.
#[derive(Clone, Copy, Debug)]
pub struct Origin(Found);

/// A connection for a request that came to nothing.
#[derive(Debug)]
pub(super) struct Unreachable {
    candidate: Candidate,
    since_ns: u64,
    time_ns: u64,
    why: &'static str,
}

impl Unreachable {
    fn event(&self) -> Event {
        let took = Duration::from_nanos(self.time_ns.saturating_sub(self.since_ns)).as_millis();
        let message = format!("connect: {} after {took} ms", self.why.replace('_', " "));
        Event {
            name: "exception",
            time_ns: self.time_ns,
            attributes: vec![
                ("exception.type", Value::fixed(self.why)),
                ("exception.message", Value::Text(message.into())),
            ],
        }
    }
}

/// Whether both are for the same request, or for none that is known.
impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        let parent = |origin: &Self| match origin.0 {
            Found::Candidate(candidate) => Some(candidate.parent),
            Found::Root | Found::Unknown(_) => None,
        };
        parent(self) == parent(other)
    }
}

impl Traces {
    /// For whom `actor` writes at `time_ns`.
    pub fn origin(&mut self, actor: &Actor, time_ns: u64, runtime: Runtime) -> Origin {
        let found = self.causality.logged(actor, time_ns, runtime);
        if let Found::Candidate(candidate) = &found
            && let Some(node) = self.nodes.get_mut(&candidate.parent)
            && !std::mem::replace(&mut node.logged, true)
        {
            self.causality.uses(candidate.parent);
        }
        Origin(found)
    }

    /// A record was written for `origin`; `shared` tells that it may be of another.
    pub fn log(&mut self, origin: Origin, process: &Arc<Process>, record: Record, shared: bool) {
        self.counts.push("logs.records");
        let candidate = match origin.0 {
            Found::Candidate(_) if shared => return self.loose(None, 0, process, record, "logs.shared_write"),
            Found::Candidate(candidate) => candidate,
            Found::Root => return self.loose(None, 0, process, record, "logs.no_request"),
            Found::Unknown(_) => return self.loose(None, 0, process, record, UNKNOWN),
        };
        let parent = candidate.parent;
        if let Some(node) = self.nodes.get_mut(&parent) {
            let bytes = record.bytes();
            if node.logs.len() >= MAX_LOGS || self.bytes.saturating_add(bytes) > MAX_BYTES {
                return self.loose(None, 0, process, record, "logs.span_full");
            }
            self.bytes = self.bytes.saturating_add(bytes);
            node.logs.push((candidate, record));
            return;
        }
        // Its span is out already.
        let holds = !candidate.is_of_loop() && self.causality.holds(&candidate, process.runtime).is_ok();
        match self.tombstones.get(&parent).filter(|_| holds) {
            Some(settled) => {
                let place = Some((settled.trace.id, settled.span_id));
                let flags = u8::from(settled.trace.sampled);
                self.loose(place, flags, process, record, "logs.late");
            }
            None => self.loose(None, 0, process, record, UNKNOWN),
        }
    }

    /// A connection that was asked for by `origin` at `since_ns` was never open: `errno` says why, 0 that the program waited for it no
    /// longer.
    pub fn unreachable(&mut self, origin: Origin, since_ns: u64, time_ns: u64, errno: i32) {
        /// More say no more.
        const MOST: usize = 8;
        let Found::Candidate(candidate) = origin.0 else { return };
        let why = match errno {
            0 => "connection_given_up",
            110 => "timeout",
            111 => "connection_refused",
            113 => "host_unreachable",
            _ => "connection_failed",
        };
        if let Some(node) = self.nodes.get_mut(&candidate.parent)
            && node.unreachable.len() < MOST
        {
            node.unreachable.push(Unreachable {
                candidate,
                since_ns,
                time_ns,
                why,
            });
        }
    }

    /// The records of a span that is being settled, by time. What does not hold goes without a span.
    pub(super) fn settle_logs(&mut self, key: SpanKey, node: &mut Node) -> Vec<Record> {
        let mut logs = Vec::new();
        for (candidate, record) in std::mem::take(&mut node.logs) {
            self.bytes = self.bytes.saturating_sub(record.bytes());
            let span = node.finished.as_ref().map(|(_, span)| span);
            let holds = if candidate.is_of_loop() {
                span.is_some_and(|span| names(&record, span))
            } else {
                self.causality.holds(&candidate, node.opened.process.runtime).is_ok()
            };
            if holds {
                logs.push(record);
            } else {
                let process = Arc::clone(&node.opened.process);
                self.loose(None, 0, &process, record, UNKNOWN);
            }
        }
        let runtime = node.opened.process.runtime;
        let mut unreachable = std::mem::take(&mut node.unreachable);
        unreachable.retain(|connect| self.causality.holds(&connect.candidate, runtime).is_ok());
        if node.logged {
            self.causality.uses_no_more(key);
        }
        logs.sort_by_key(|record| record.time_ns);
        if let Some((_, span)) = &mut node.finished {
            span.events.extend(unreachable.iter().map(Unreachable::event));
            tell_exceptions(&logs, span);
        }
        logs
    }

    /// The same for a span that will not be told.
    pub(super) fn drop_logs(&mut self, key: SpanKey, node: &mut Node) {
        let process = Arc::clone(&node.opened.process);
        for (_, record) in std::mem::take(&mut node.logs) {
            self.bytes = self.bytes.saturating_sub(record.bytes());
            self.loose(None, 0, &process, record, UNKNOWN);
        }
        if node.logged {
            self.causality.uses_no_more(key);
        }
    }

    /// Records that no span takes along, since the last call.
    pub fn take_loose(&mut self) -> Vec<Loose> {
        std::mem::take(&mut self.loose)
    }

    fn loose(
        &mut self,
        place: Option<([u8; 16], [u8; 8])>,
        flags: u8,
        process: &Arc<Process>,
        record: Record,
        why: &'static str,
    ) {
        self.counts.push(why);
        if self.loose.len() >= MAX_LOOSE {
            self.counts.push("logs.dropped");
            return;
        }
        self.loose.push(Loose {
            place,
            flags,
            process: Arc::clone(process),
            record,
        });
    }
}

/// Whether a record names the target of an HTTP request as its span has it.
fn names(record: &Record, span: &Span) -> bool {
    let text = |key: &str| {
        let found = span.attributes.iter().find(|(name, _)| *name == key);
        found.and_then(|(_, value)| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    };
    let Some(path) = text("url.path") else { return false };
    let target = match text("url.query").filter(|query| !query.is_empty()) {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let is_part = |letter: char| !matches!(letter, ' ' | '"' | '\'' | ',' | ']' | ')');
    record.body.match_indices(target.as_str()).any(|(at, found)| {
        let before = record.body.get(..at).and_then(|text| text.chars().next_back());
        let behind = record
            .body
            .get(at.saturating_add(found.len())..)
            .and_then(|text| text.chars().next());
        !before.is_some_and(is_part) && !behind.is_some_and(is_part)
    })
}

/// Exceptions that were logged for a request are events of its span; the last of them is why it failed, if it did.
fn tell_exceptions(logs: &[Record], span: &mut Span) {
    /// More say no more.
    const MOST_EXCEPTIONS: usize = 8;
    let told = logs
        .iter()
        .filter_map(|record| Some((record.time_ns, record.exception.as_deref()?)));
    for (time_ns, exception) in told.take(MOST_EXCEPTIONS) {
        // The answer may tell of the same one; the log says more, and when.
        span.events
            .retain(|event| !is_told(event, &exception.kind, &exception.message));
        let mut attributes = vec![("exception.type", Value::Text(exception.kind.as_str().into()))];
        if !exception.message.is_empty() {
            attributes.push(("exception.message", Value::Text(exception.message.as_str().into())));
        }
        attributes.push(("exception.stacktrace", Value::Text(exception.trace.as_str().into())));
        span.events.push(Event {
            name: "exception",
            time_ns,
            attributes,
        });
        if let Status::Error(why) = &mut span.status
            && why.is_empty()
        {
            *why = match exception.message.as_str() {
                "" => exception.kind.clone(),
                message => format!("{}: {message}", exception.kind),
            };
        }
    }
    span.events.sort_by_key(|event| event.time_ns);
}

/// Whether an event tells of the exception of this class that says this.
fn is_told(event: &Event, kind: &str, message: &str) -> bool {
    let says = |name: &str, text: &str| {
        let found = event.attributes.iter().find(|(key, _)| *key == name);
        found.map_or(
            text.is_empty(),
            |(_, value)| matches!(value, Value::Text(value) if value == text),
        )
    };
    event.name == "exception" && says("exception.type", kind) && says("exception.message", message)
}

impl Placed {
    /// The service the span belongs to.
    pub fn service(&self) -> &str {
        &self.process.service
    }

    /// About how many bytes of memory its records take.
    pub fn log_bytes(&self) -> usize {
        self.logs.iter().map(Record::bytes).sum()
    }
}
