//! Sends a captured request again, when a person who has seen what goes where asks for it.
//!
//! In: a stored span, the address it went to as whoever asks has read it, and what was hidden in it. Out: what was answered.
//! Nothing goes anywhere but where the request went, by itself, and never twice. What is not wholly known is refused: a body
//! that was cut or not kept, what passed through TLS, what is no HTTP/1.
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::answer::{Answer, Body, Problem, json};
use super::api::read_some;
use crate::redact::REDACTED;
use crate::store::SpanView;

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most of an answer that is shown.
const SHOWN_BYTES: usize = 256 << 10;
/// Header fields that belong to the connection, are made anew, or would put the replay into the trace of the request.
const NOT_SENT: &[&str] = &[
    "b3",
    "baggage",
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What would be sent.
#[derive(Debug, Default, Serialize)]
pub(super) struct Plan {
    /// Why it cannot be sent; empty if it can.
    refused: String,
    method: String,
    /// Path and query.
    target: String,
    /// The Host field.
    host: String,
    /// The address that it goes to: whoever wants it sent has to say it.
    to: String,
    /// That address is of this machine alone.
    own: bool,
    headers: Vec<(String, String)>,
    body: String,
    /// What was hidden, in the order of target, headers and body: a value is wanted for each.
    hidden: Vec<String>,
}

/// What is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    pub(super) span: String,
    /// The address, as the plan says it.
    to: String,
    /// A value for each that was hidden.
    #[serde(default)]
    values: Vec<String>,
    /// Header fields that were not captured.
    #[serde(default)]
    headers: Vec<(String, String)>,
}

/// What was answered.
#[derive(Debug, Serialize)]
struct Answered {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
    /// The body is longer.
    cut: bool,
    duration_ns: u64,
}

impl Plan {
    /// What a span says of its request.
    pub(super) fn of(span: &SpanView) -> Self {
        let mut plan = Self::default();
        if let Err(why) = plan.read(span) {
            why.clone_into(&mut plan.refused);
        }
        plan.hidden = plan.holes();
        plan
    }

    fn read(&mut self, span: &SpanView) -> Result<(), &'static str> {
        let text = |name: &str| match span.attributes.get(name) {
            Some(Json::String(text)) => Some(text.clone()),
            Some(Json::Number(number)) => Some(number.to_string()),
            Some(Json::Bool(yes)) => Some(yes.to_string()),
            _ => None,
        };
        let method = text("http.request.method_original").or_else(|| text("http.request.method"));
        self.method = method.ok_or("it is no request of HTTP")?;
        let full = text("url.full");
        let (scheme, rest) = match full.as_deref().and_then(|url| url.split_once("://")) {
            Some((scheme, rest)) => (scheme.to_owned(), Some(rest)),
            None => (text("url.scheme").unwrap_or_default(), None),
        };
        self.target = match rest {
            Some(rest) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/").to_owned(),
            None => {
                let path = text("url.path").unwrap_or_else(|| "/".to_owned());
                text("url.query").map_or_else(|| path.clone(), |query| format!("{path}?{query}"))
            }
        };
        let side = if span.kind == "client" { "peer" } else { "local" };
        let ip = text(&format!("network.{side}.address")).and_then(|ip| ip.parse::<IpAddr>().ok());
        let port = text(&format!("network.{side}.port")).and_then(|port| port.parse::<u16>().ok());
        let (Some(ip), Some(port)) = (ip, port) else {
            return Err("the address it went to is not known");
        };
        self.to = SocketAddr::new(ip, port).to_string();
        self.own = ip.is_loopback();
        self.host = match rest {
            Some(rest) => {
                let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
                authority
                    .rsplit_once('@')
                    .map_or(authority, |(_, host)| host)
                    .to_owned()
            }
            None => match (text("server.address"), text("server.port")) {
                (Some(name), Some(port)) if name.contains(':') => format!("[{name}]:{port}"),
                (Some(name), Some(port)) => format!("{name}:{port}"),
                (Some(name), None) => name,
                (None, _) => self.to.clone(),
            },
        };
        for (name, value) in &span.attributes {
            let Some(name) = name.strip_prefix("http.request.header.") else {
                continue;
            };
            let values = match value {
                Json::Array(values) => values.as_slice(),
                one => std::slice::from_ref(one),
            };
            if !NOT_SENT.contains(&name) {
                let values = values.iter().filter_map(Json::as_str);
                self.headers
                    .extend(values.map(|value| (name.to_owned(), value.to_owned())));
            }
        }
        if let Some(agent) = text("user_agent.original") {
            self.headers.push(("user-agent".to_owned(), agent));
        }
        self.body = text("clew.http.request.body").unwrap_or_default();
        let size = text("http.request.body.size").and_then(|size| size.parse::<u64>().ok());
        if scheme == "https" {
            Err("it was sent through TLS: copy it as curl instead")
        } else if text("network.protocol.name").is_some_and(|name| name != "http")
            || !text("network.protocol.version").unwrap_or_default().starts_with('1')
            || self.method == "CONNECT"
            || text("http.response.status_code").as_deref() == Some("101")
        {
            Err("it is no plain request of HTTP/1")
        } else if text("clew.http.request.body.truncated").is_some() {
            Err("its body is longer than what was kept (--bodies): it would be another request")
        } else if text("clew.http.request.body.encoding").is_some() {
            Err("its body is not text")
        } else if self.body.is_empty() && size.is_some_and(|size| size > 0) {
            Err("its body was not kept (--bodies)")
        } else {
            Ok(())
        }
    }

    /// Where values are hidden, each in words that lead there.
    fn holes(&self) -> Vec<String> {
        let within = |place: &str, text: &str| {
            let pieces: Vec<&str> = text.split(REDACTED).collect();
            let names: Vec<String> = pieces
                .iter()
                .take(pieces.len().saturating_sub(1))
                .map(|before| {
                    let name: Vec<char> = before.chars().rev().take(24).collect();
                    format!("{place} {}", name.into_iter().rev().collect::<String>())
                })
                .collect();
            names
        };
        let headers = self
            .headers
            .iter()
            .flat_map(|(name, value)| within(&format!("header {name}:"), value));
        within("address …", &self.target)
            .into_iter()
            .chain(headers)
            .chain(within("body …", &self.body))
            .collect()
    }

    /// Puts values where they were hidden, as what stands there has to be written.
    fn fill(&mut self, values: &[String]) {
        let mut values = values.iter();
        let mut put = |text: &mut String, written: fn(&str) -> String| {
            let mut filled = String::with_capacity(text.len());
            for (at, piece) in text.split(REDACTED).enumerate() {
                if at > 0 {
                    filled.push_str(&values.next().map_or_else(String::new, |value| written(value)));
                }
                filled.push_str(piece);
            }
            *text = filled;
        };
        let encoded = |value: &str| form_urlencoded::byte_serialize(value.as_bytes()).collect::<String>();
        let is = |kind: &str| {
            let mut headers = self.headers.iter();
            headers.any(|(name, value)| name == "content-type" && value.contains(kind))
        };
        let written: fn(&str) -> String = if is("json") {
            |value| {
                let text = Json::from(value).to_string();
                let within = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
                within.unwrap_or(&text).to_owned()
            }
        } else if is("form-urlencoded") {
            encoded
        } else {
            str::to_owned
        };
        put(&mut self.target, encoded);
        for (_, value) in &mut self.headers {
            put(value, str::to_owned);
        }
        put(&mut self.body, written);
    }

    fn request(&self) -> Result<Request<Body>, Problem> {
        let bad = |what: &dyn std::fmt::Display| Problem(StatusCode::BAD_REQUEST, format!("it cannot be sent: {what}"));
        let method = Method::from_bytes(self.method.as_bytes()).map_err(|error| bad(&error))?;
        let mut request = Request::builder().method(method).uri(self.target.as_str());
        request = request.header(header::HOST, self.host.as_str());
        for (name, value) in &self.headers {
            request = request.header(name.as_str(), value.as_str());
        }
        let body = (!self.body.is_empty()).then(|| Bytes::from(self.body.clone()));
        request.body(Body::Whole(body)).map_err(|error| bad(&error))
    }
}

/// Sends what was planned.
pub(super) async fn send(mut plan: Plan, asked: Asked) -> Answer {
    let conflict = |what: String| Err(Problem(StatusCode::CONFLICT, what));
    if !plan.refused.is_empty() {
        return conflict(plan.refused);
    }
    if asked.to != plan.to {
        return conflict(format!("it goes to {}: say so to have it sent", plan.to));
    }
    if asked.values.len() != plan.hidden.len() {
        return conflict(format!("{} hidden values are wanted", plan.hidden.len()));
    }
    let more = asked
        .headers
        .into_iter()
        .map(|(name, value)| (name.trim().to_lowercase(), value));
    let more: Vec<(String, String)> = more.filter(|(name, _)| !NOT_SENT.contains(&name.as_str())).collect();
    plan.fill(&asked.values);
    plan.headers
        .retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    plan.headers.extend(more);
    let request = plan.request()?;
    let begun = Instant::now();
    let failed = |what: String| Problem(StatusCode::BAD_GATEWAY, format!("{} does not answer: {what}", plan.to));
    let exchange = async {
        let stream = tokio::net::TcpStream::connect(&plan.to)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(error.to_string()))?;
        let driven = tokio::spawn(connection);
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let (parts, body) = response.into_parts();
        let (bytes, cut) = read_some(body, SHOWN_BYTES).await;
        driven.abort();
        let text = |value: &header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)));
        Ok::<_, Problem>(Answered {
            status: parts.status.as_u16(),
            headers: headers.collect(),
            body: String::from_utf8_lossy(&bytes).into_owned(),
            cut,
            duration_ns: u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX),
        })
    };
    let late = |_| {
        Problem(
            StatusCode::GATEWAY_TIMEOUT,
            format!("{} took too long to answer", plan.to),
        )
    };
    json(&tokio::time::timeout(PATIENCE, exchange).await.map_err(late)??)
}

/// The plan, as an answer.
pub(super) fn shown(plan: &Plan) -> Answer {
    json(plan)
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
