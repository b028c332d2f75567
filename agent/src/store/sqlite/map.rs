//! Who calls whom, from the spans of the latest traces.
use std::collections::{BTreeMap, HashSet};

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::Span;

use super::part;
use super::read::SqliteReader;
use super::sums::{Sum, in_seconds};
use crate::store::facts;
use crate::store::{Edge, Node, NodeKind, Query, ServiceMap, StoreError, TraceRow};

/// Traces that are looked at, and most of their spans.
const MOST_TRACES: usize = 2_000;
const MOST_SPANS: usize = 40_000;
/// Nodes and edges told: a map with more cannot be read.
const MOST_EDGES: usize = 1_000;

const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const PRODUCER: i32 = 4;
const CONSUMER: i32 = 5;

/// A node's kind, name and system.
type Key = (NodeKind, String, String);

#[derive(Default)]
struct Map {
    edges: BTreeMap<(Key, Key), Sum>,
    services: HashSet<String>,
}

impl SqliteReader {
    pub(super) fn service_map(&self, query: &Query, now_ns: u64) -> Result<ServiceMap, StoreError> {
        let transaction = self.connection.unchecked_transaction()?;
        let (traces, mut cut) = self.latest(query, now_ns, MOST_TRACES)?;
        let resources = self.resources()?;
        let mut statement = self
            .connection
            .prepare_cached("SELECT data FROM part WHERE trace = ?1")?;
        let mut map = Map::default();
        let (mut looked_at, mut seen) = (0, 0);
        for row in &traces {
            if seen > MOST_SPANS {
                cut = true;
                break;
            }
            looked_at += 1;
            let mut spans: Vec<(&str, Span)> = Vec::new();
            let mut parts = statement.query([row.id])?;
            while let Some(data) = parts.next()? {
                for (resource, span) in part::unpack(data.get_ref(0)?.as_blob().unwrap_or_default())? {
                    let service = resources.get(&resource).map_or("", |source| source.service.as_str());
                    spans.push((service, span));
                }
            }
            seen += spans.len();
            map.trace(&spans);
        }
        drop(statement);
        transaction.finish()?;
        let looked = traces.get(..looked_at).unwrap_or_default();
        Ok(map.finish(looked, cut))
    }
}

impl Map {
    fn trace(&mut self, spans: &[(&str, Span)]) {
        let by_id: BTreeMap<&[u8], (&str, i32)> = spans
            .iter()
            .map(|(service, span)| (span.span_id.as_slice(), (*service, span.kind)))
            .collect();
        // Client spans whose other end is here: the call is told by who answers it.
        let mut answered: HashSet<&[u8]> = HashSet::new();
        for (_, span) in spans {
            let parent = by_id.get(span.parent_span_id.as_slice());
            if span.kind == SERVER && parent.is_some_and(|(_, kind)| *kind == CLIENT) {
                answered.insert(&span.parent_span_id);
            }
        }
        for (service, span) in spans {
            let here = service_node(service);
            self.services.insert((*service).to_owned());
            match span.kind {
                SERVER => {
                    let caller = by_id.get(span.parent_span_id.as_slice());
                    let from = caller.map_or_else(caller_node, |(service, _)| service_node(service));
                    self.add(from, here, span);
                }
                CLIENT if !answered.contains(span.span_id.as_slice()) => self.add(here, called(span), span),
                PRODUCER => self.add(here, queue(span), span),
                CONSUMER => self.add(queue(span), here, span),
                _ => {}
            }
        }
    }

    fn add(&mut self, from: Key, to: Key, span: &Span) {
        let duration = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano);
        let sum = self.edges.entry((from, to)).or_default();
        sum.add(duration, facts::failed(span));
    }

    fn finish(self, traces: &[TraceRow], mut cut: bool) -> ServiceMap {
        let begins = traces.iter().map(|row| row.start_unix_ns);
        let (first, last) = (begins.clone().min().unwrap_or(0), begins.max().unwrap_or(0));
        let span_ns = last.saturating_sub(first);
        let seconds = in_seconds(span_ns);
        let mut edges: Vec<((Key, Key), Sum)> = self.edges.into_iter().collect();
        edges.sort_by_cached_key(|(_, sum)| std::cmp::Reverse(sum.figures(seconds).count));
        cut |= edges.len() > MOST_EDGES;
        edges.truncate(MOST_EDGES);
        // A service that calls nobody and that nobody calls is one too.
        let mut keys: Vec<Key> = self.services.iter().map(|name| service_node(name)).collect();
        keys.extend(edges.iter().flat_map(|((from, to), _)| [from.clone(), to.clone()]));
        keys.sort();
        keys.dedup();
        let nodes = keys.into_iter().map(|key| {
            let id = id(&key);
            let (kind, name, system) = key;
            Node { id, kind, name, system }
        });
        let edge = |((from, to), sum): ((Key, Key), Sum)| Edge {
            from: id(&from),
            to: id(&to),
            figures: sum.figures(seconds),
        };
        ServiceMap {
            traces: traces.len() as u64,
            cut,
            span_ns,
            nodes: nodes.collect(),
            edges: edges.into_iter().map(edge).collect(),
        }
    }
}

fn service_node(name: &str) -> Key {
    (NodeKind::Service, name.to_owned(), String::new())
}

/// Whoever sends requests from outside what is traced.
fn caller_node() -> Key {
    (NodeKind::Caller, String::new(), String::new())
}

fn id((kind, name, system): &Key) -> String {
    match kind {
        NodeKind::Service => format!("service {name}"),
        NodeKind::Database => format!("database {system} {name}"),
        NodeKind::Queue => format!("queue {system} {name}"),
        NodeKind::Host => format!("host {name}"),
        NodeKind::Caller => "caller".to_owned(),
    }
}

fn text(attributes: &[KeyValue], names: &[&str]) -> Option<String> {
    let found = names.iter().find_map(|name| facts::find(attributes, name))?;
    Some(facts::plain(found).into_owned()).filter(|text| !text.is_empty())
}

/// What a call goes to whose other end is not traced.
fn called(span: &Span) -> Key {
    let attributes = &span.attributes;
    // Both the names of today and those that SDKs of yesterday give.
    if let Some(system) = text(attributes, &["db.system.name", "db.system"]) {
        let name = text(attributes, &["db.namespace", "db.name"]).or_else(|| address(attributes));
        return (NodeKind::Database, name.unwrap_or_else(|| system.clone()), system);
    }
    if text(attributes, &["messaging.system"]).is_some() {
        return queue(span);
    }
    (NodeKind::Host, address(attributes).unwrap_or_default(), String::new())
}

fn queue(span: &Span) -> Key {
    let system = text(&span.attributes, &["messaging.system"]).unwrap_or_default();
    let name = text(&span.attributes, &["messaging.destination.name"]).or_else(|| address(&span.attributes));
    (NodeKind::Queue, name.unwrap_or_default(), system)
}

/// Host and port that were asked for; without a name of the host its address.
fn address(attributes: &[KeyValue]) -> Option<String> {
    let host = text(
        attributes,
        &["server.address", "network.peer.address", "net.peer.name", "url.full"],
    )?;
    let port = text(attributes, &["server.port", "network.peer.port", "net.peer.port"]);
    Some(match port {
        Some(port) if host.contains(':') && !host.contains('/') => format!("[{host}]:{port}"),
        Some(port) => format!("{host}:{port}"),
        None => host,
    })
}
