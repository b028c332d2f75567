//! Spans as a backend would see them: read from OTLP JSON lines.
use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

/// OTLP's span kinds, as far as Clew makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// It answers.
    Server,
    /// It asks.
    Client,
    /// It hands a message to a broker.
    Producer,
    /// It is handed one.
    Consumer,
    /// Another kind, by its number.
    Other(i64),
}

/// A span.
#[derive(Clone, Debug)]
pub struct Span {
    /// Trace id, 32 hex digits.
    pub trace: String,
    /// Span id, 16 hex digits.
    pub id: String,
    /// The parent's span id.
    pub parent: Option<String>,
    /// W3C tracestate.
    pub trace_state: String,
    /// Spans it is linked to, by trace and id.
    pub links: Vec<(String, String)>,
    /// OTLP flags.
    pub flags: i64,
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Unix time, nanoseconds.
    pub start: u64,
    /// Unix time, nanoseconds.
    pub end: u64,
    /// OTLP status code: 0 unset, 1 ok, 2 error.
    pub status: i64,
    /// Attributes.
    pub attributes: BTreeMap<String, Value>,
    /// What happened within it: names, and attributes.
    pub events: Vec<(String, BTreeMap<String, String>)>,
    /// What is said of its status.
    pub message: String,
    /// Attributes of the resource.
    pub resource: BTreeMap<String, Value>,
}

impl Span {
    /// An attribute as text; numbers in decimal; empty where there is none.
    pub fn text(&self, name: &str) -> String {
        text(self.attributes.get(name))
    }

    /// An attribute of the resource as text.
    pub fn resource(&self, name: &str) -> String {
        text(self.resource.get(name))
    }

    /// The service it belongs to.
    pub fn service(&self) -> String {
        self.resource("service.name")
    }

    /// Path and query, whichever attributes hold them on this kind of span.
    pub fn target(&self) -> String {
        let full = self.text("url.full");
        if let Some((_, rest)) = full.split_once("://") {
            return rest
                .find('/')
                .and_then(|slash| rest.get(slash..))
                .unwrap_or("/")
                .to_owned();
        }
        let query = self.text("url.query");
        let path = self.text("url.path");
        if query.is_empty() {
            path
        } else {
            format!("{path}?{query}")
        }
    }

    /// The path alone.
    pub fn path(&self) -> String {
        self.target().split('?').next().unwrap_or_default().to_owned()
    }

    /// The number a request carries in its query: `?id=N`.
    pub fn number(&self) -> Option<u64> {
        let target = self.target();
        let (_, query) = target.split_once('?')?;
        let id = query.split('&').find_map(|part| part.strip_prefix("id="))?;
        id.parse().ok()
    }

    /// The response's status code.
    pub fn code(&self) -> String {
        self.text("http.response.status_code")
    }

    /// In short: `server nginx GET /a?id=1 200`.
    pub fn brief(&self) -> String {
        let kind = match self.kind {
            Kind::Server => "server",
            Kind::Client => "client",
            Kind::Producer => "producer",
            Kind::Consumer => "consumer",
            Kind::Other(_) => "other",
        };
        let method = self.text("http.request.method");
        let (service, target, code) = (self.service(), self.target(), self.code());
        format!("{kind} {service} {method} {target} {code}")
            .trim_end()
            .to_owned()
    }
}

/// All spans of a run.
#[derive(Clone, Debug, Default)]
pub struct Spans(pub Vec<Span>);

impl Spans {
    /// Reads OTLP JSON lines.
    ///
    /// # Panics
    /// When a line is no ExportTraceServiceRequest in OTLP's JSON mapping.
    pub fn parse(lines: &str) -> Self {
        let mut spans = Vec::new();
        for line in lines.lines().filter(|line| !line.is_empty()) {
            let request: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON: {error}: {line}"));
            for group in list(&request, "resourceSpans") {
                let resource = attributes(group.get("resource").unwrap_or(&Value::Null));
                for scope in list(group, "scopeSpans") {
                    spans.extend(list(scope, "spans").map(|span| self::span(span, &resource)));
                }
            }
        }
        Self(spans)
    }

    /// The spans for which `keep` holds.
    pub fn filter(&self, keep: impl Fn(&Span) -> bool) -> Vec<&Span> {
        self.0.iter().filter(|span| keep(span)).collect()
    }

    /// The spans of this kind with this path.
    pub fn at(&self, kind: Kind, path: &str) -> Vec<&Span> {
        self.filter(|span| span.kind == kind && span.path() == path)
    }

    /// The parent of `span`, if it is here.
    pub fn parent(&self, span: &Span) -> Option<&Span> {
        let parent = span.parent.as_ref()?;
        self.0
            .iter()
            .find(|other| &other.id == parent && other.trace == span.trace)
    }

    /// From the root of the trace, or the first ancestor that is missing, down to `span`, each in short.
    pub fn ancestry(&self, span: &Span) -> Vec<String> {
        let mut chain = vec![span.brief()];
        let mut at = span;
        while let Some(parent) = self.parent(at) {
            chain.push(parent.brief());
            at = parent;
            if chain.len() > 100 {
                break;
            }
        }
        if at.parent.is_some() {
            chain.push("(unknown parent)".to_owned());
        }
        chain.reverse();
        chain
    }

    /// All traces, drawn.
    pub fn trees(&self) -> String {
        let mut out = String::new();
        let mut roots: Vec<&Span> = self.filter(|span| self.parent(span).is_none());
        roots.sort_by_key(|span| span.start);
        for root in roots.iter().take(60) {
            self.tree(root, 0, &mut out);
        }
        if roots.len() > 60 {
            let _ = writeln!(out, "... {} more roots", roots.len() - 60);
        }
        out
    }

    fn tree(&self, span: &Span, depth: usize, out: &mut String) {
        let missing = if depth == 0 && span.parent.is_some() {
            " (parent unknown)"
        } else {
            ""
        };
        let error = span.text("error.type");
        let source = span.text("clew.parent.source");
        let (indent, brief, trace) = ("  ".repeat(depth), span.brief(), &span.trace);
        let _ = writeln!(
            out,
            "{indent}{brief} {error} [{source}]{missing} trace={}",
            trace.get(..6).unwrap_or(trace)
        );
        if depth < 30 {
            let mut children =
                self.filter(|child| child.parent.as_ref() == Some(&span.id) && child.trace == span.trace);
            children.sort_by_key(|span| span.start);
            for child in children {
                self.tree(child, depth + 1, out);
            }
        }
    }
}

fn span(value: &Value, resource: &BTreeMap<String, Value>) -> Span {
    let hex = |key: &str, digits: usize| {
        let id = string(value, key);
        assert!(
            id.len() == digits
                && id
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)),
            "{key} is not {digits} lowercase hex digits: {value}"
        );
        id
    };
    let parent = string(value, "parentSpanId");
    let nanoseconds = |key: &str| {
        // OTLP JSON: 64-bit integers are decimal strings.
        let text = value.get(key).and_then(Value::as_str);
        text.and_then(|text| text.parse().ok())
            .unwrap_or_else(|| panic!("{key} is no decimal string: {value}"))
    };
    let int = |key: &str| value.get(key).and_then(Value::as_i64).unwrap_or(0);
    Span {
        trace: hex("traceId", 32),
        id: hex("spanId", 16),
        parent: (!parent.is_empty()).then_some(parent),
        trace_state: string(value, "traceState"),
        links: list(value, "links")
            .map(|link| (string(link, "traceId"), string(link, "spanId")))
            .collect(),
        flags: int("flags"),
        kind: match int("kind") {
            2 => Kind::Server,
            3 => Kind::Client,
            4 => Kind::Producer,
            5 => Kind::Consumer,
            other => Kind::Other(other),
        },
        name: string(value, "name"),
        start: nanoseconds("startTimeUnixNano"),
        end: nanoseconds("endTimeUnixNano"),
        status: value.pointer("/status/code").and_then(Value::as_i64).unwrap_or(0),
        events: list(value, "events")
            .map(|event| {
                let attributes = attributes(event);
                let texts = attributes.iter().map(|(name, of)| (name.clone(), text(Some(of))));
                (string(event, "name"), texts.collect())
            })
            .collect(),
        message: value
            .pointer("/status/message")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        attributes: attributes(value),
        resource: resource.clone(),
    }
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn string(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn attributes(value: &Value) -> BTreeMap<String, Value> {
    list(value, "attributes")
        .map(|pair| {
            let value = pair.get("value").cloned().unwrap_or(Value::Null);
            (string(pair, "key"), value)
        })
        .collect()
}

/// The text of an OTLP AnyValue.
fn text(value: Option<&Value>) -> String {
    let Some(Value::Object(any)) = value else {
        return String::new();
    };
    match any.iter().next() {
        Some((_, Value::String(text))) => text.clone(),
        Some((_, Value::Object(array))) => {
            let items = array.get("values").and_then(Value::as_array);
            let items: Vec<String> = items.into_iter().flatten().map(|item| text(Some(item))).collect();
            items.join(",")
        }
        Some((_, other)) => other.to_string(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_otlp_json() {
        let line = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"a"}}]},
            "scopeSpans":[{"spans":[
            {"traceId":"00000000000000000000000000000001","spanId":"0000000000000001","kind":3,"name":"GET",
             "startTimeUnixNano":"5","endTimeUnixNano":"7","attributes":[
             {"key":"url.full","value":{"stringValue":"http://h:1/p?id=4"}},
             {"key":"http.response.status_code","value":{"intValue":"200"}}]},
            {"traceId":"00000000000000000000000000000001","spanId":"0000000000000002","parentSpanId":"0000000000000001",
             "kind":2,"name":"GET","startTimeUnixNano":"6","endTimeUnixNano":"6","status":{"code":2},"attributes":[
             {"key":"url.path","value":{"stringValue":"/p"}},{"key":"url.query","value":{"stringValue":"id=4"}}]}]}]}]}"#;
        let spans = Spans::parse(&line.replace('\n', " "));
        let server = spans.at(Kind::Server, "/p")[0];
        assert_eq!(server.number(), Some(4));
        assert_eq!(server.status, 2);
        assert_eq!(spans.ancestry(server), ["client a  /p?id=4 200", "server a  /p?id=4"]);
    }
}
