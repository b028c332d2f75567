//! HTTP spans (OpenTelemetry semantic conventions, "HTTP spans", stable).
use std::borrow::Cow;

use smol_str::{SmolStr, ToSmolStr, format_smolstr};

use super::build::Exchanged;
use super::policy::{Policy, REDACTED, Side};
use super::{Span, SpanKind, Value, content, raised, testcase, websocket};
use crate::coding;
use crate::protocol::Body;
use crate::protocol::http1::{Fields, Gateway, RequestHead, ResponseHead, field};

/// The methods the conventions know (RFC 9110, RFC 5789, and QUERY); any other is `_OTHER`.
const METHODS: &[&str] = &[
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE",
];
/// Most bytes a compressed body may become.
const MAX_DECODED: usize = 256 * 1024;

/// Names a span and describes its request and response.
pub(super) fn describe(
    span: &mut Span,
    request: &RequestHead,
    response: Option<&ResponseHead>,
    exchanged: &Exchanged<'_>,
    policy: &Policy,
) {
    let known = METHODS.contains(&request.method.as_str());
    // A name is of low cardinality: the path is not part of it. `route` adds what it guesses.
    span.name = if known {
        request.method.clone()
    } else {
        SmolStr::new_static("HTTP")
    };
    // A method that was not seen is none of its own.
    if known {
        span.attributes
            .push(("http.request.method", Value::Text(request.method.clone())));
    } else if !request.method.is_empty() {
        span.attributes.push(("http.request.method", Value::fixed("_OTHER")));
        span.attributes
            .push(("http.request.method_original", Value::Text(request.method.clone())));
    }
    target(span, request, exchanged, policy);
    let version = response.map_or(request.version, |response| response.version);
    let (protocol, version) = match &request.gateway {
        Some(gateway) => {
            gate(span, gateway);
            ("fastcgi", "1")
        }
        None => ("http", version.name()),
    };
    span.attributes.push(("network.protocol.name", Value::fixed(protocol)));
    span.attributes
        .push(("network.protocol.version", Value::fixed(version)));
    if let Some(agent) = field(&request.fields, "user-agent") {
        let agent = SmolStr::from(String::from_utf8_lossy(agent));
        span.attributes.push(("user_agent.original", Value::Text(agent)));
    }
    if exchanged.kind == SpanKind::Server
        && let Some(text) = forwarded(&request.fields, "for", "x-forwarded-for")
        && let Some((client, _)) = address(&text)
    {
        span.attributes.retain(|(key, _)| *key != "client.address");
        span.attributes.push(("client.address", Value::Text(client.into())));
    }
    // An answer may come before the request has ended; then its size is what the client announced.
    let announced = response.and_then(|_| content_length(&request.fields));
    size(
        span,
        "http.request.body.size",
        exchanged.request_body.bytes.or(announced),
    );
    fields(span, Side::Request, &request.fields, policy);
    if exchanged.kind == SpanKind::Server
        && let Some(user) = policy.user(&request.fields)
    {
        span.attributes.push(("user.id", Value::Text(user)));
    }
    testcase::describe(span, &request.fields);
    body(span, &REQUEST, &request.fields, exchanged.request_body, policy);
    if !exchanged.request_body.captured.is_empty() || request.method == "GET" {
        let asked = decoded(&request.fields, exchanged.request_body);
        let answered = response.map(|response| decoded(&response.fields, exchanged.response_body));
        let answered = answered
            .as_ref()
            .and_then(|answered| answered.bytes())
            .unwrap_or_default();
        content::describe(
            span,
            request,
            response,
            asked.bytes().unwrap_or_default(),
            answered,
            exchanged,
        );
    }
    let unknown = request
        .unknown
        .saturating_add(response.map_or(0, |response| response.unknown));
    if unknown > 0 {
        let unknown = i64::try_from(unknown).unwrap_or(i64::MAX);
        span.attributes.push(("clew.http.fields.unknown", Value::Int(unknown)));
    }
    let Some(response) = response else { return };
    if response.status != 0 {
        span.attributes
            .push(("http.response.status_code", Value::Int(i64::from(response.status))));
    }
    size(span, "http.response.body.size", exchanged.response_body.bytes);
    fields(span, Side::Response, &response.fields, policy);
    body(span, &RESPONSE, &response.fields, exchanged.response_body, policy);
    if let Some(passed) = &exchanged.response_body.websocket {
        websocket::describe(span, passed, response);
    } else if request.protocol.as_deref() == Some("websocket") && (200..300).contains(&response.status) {
        websocket::named(span, response);
    }
    // A client's mistake is no error of the server (conventions, "Status").
    let failed = response.status >= 500 || (response.status >= 400 && exchanged.kind == SpanKind::Client);
    if failed {
        // What the answer itself says of it says more.
        content::failed(span, response.status.to_smolstr(), String::new());
        if response.status >= 500
            && policy.bodies
            && !exchanged.response_body.captured.is_empty()
            && let Some(answered) = decoded(&response.fields, exchanged.response_body).bytes()
        {
            raised::describe(span, answered, policy);
        }
    }
}

/// What a web server says of a request that a program answers.
fn gate(span: &mut Span, gateway: &Gateway) {
    if span.kind != SpanKind::Server {
        return;
    }
    for (key, value) in [("code.file.path", &gateway.script), ("client.address", &gateway.client)] {
        if !value.is_empty() {
            span.attributes.push((key, Value::Text(value.clone())));
        }
    }
}

/// The attributes of the request target (RFC 9112 section 3.2), in each of its forms. A server takes what a proxy says of
/// the original request for it (conventions, `server.address` and `url.scheme`).
fn target(span: &mut Span, request: &RequestHead, exchanged: &Exchanged<'_>, policy: &Policy) {
    let serves = span.kind == SpanKind::Server;
    let original = |name, own| serves.then(|| forwarded(&request.fields, name, own)).flatten();
    let host = original("host", "x-forwarded-host")
        .map(Cow::Owned)
        .or_else(|| request.authority.as_deref().map(Cow::Borrowed))
        .or_else(|| field(&request.fields, "host").map(String::from_utf8_lossy))
        .filter(|host| !host.is_empty());
    let scheme = original("proto", "x-forwarded-proto")
        .map(|scheme| SmolStr::from(scheme.to_ascii_lowercase()))
        .or_else(|| request.scheme.clone())
        .filter(|scheme| matches!(scheme.as_str(), "http" | "https"))
        .unwrap_or(SmolStr::new_static(if exchanged.secured { "https" } else { "http" }));
    let (scheme, authority, rest) = match request.target.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, rest) = rest.split_at_checked(end).unwrap_or((rest, ""));
            let scheme = SmolStr::from(scheme.to_ascii_lowercase());
            (scheme, Some(Cow::Borrowed(authority)), rest)
        }
        _ if request.method == "CONNECT" && request.protocol.is_none() => {
            (scheme, Some(Cow::Borrowed(request.target.as_str())), "")
        }
        // The asterisk form asks about the server as a whole and is no path.
        _ if request.target == "*" => (scheme, host, ""),
        _ => (scheme, host, request.target.as_str()),
    };
    let authority = authority.unwrap_or_default();
    let (user, host) = authority
        .rsplit_once('@')
        .map_or((None, authority.as_ref()), |(user, host)| (Some(user), host));
    let (path, query) = rest
        .split_once('?')
        .map_or((rest, None), |(path, query)| (path, Some(query)));
    let query = query.map(|query| policy.query(query.split('#').next().unwrap_or_default()));
    let attributes = &mut span.attributes;
    if let Some((address, port)) = address(host) {
        attributes.push(("server.address", Value::Text(address.into())));
        let usual = if scheme == "https" { 443 } else { 80 };
        attributes.push(("server.port", Value::Int(i64::from(port.unwrap_or(usual)))));
    }
    if span.kind == SpanKind::Client {
        // Credentials never become part of a URL that is shown (conventions, `url.full`).
        let user = user.map(|_| format!("{REDACTED}:{REDACTED}@")).unwrap_or_default();
        let query = query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        let socket = exchanged.server.map(|server| server.to_string()).unwrap_or_default();
        let host = if host.is_empty() { &socket } else { host };
        let url = format_smolstr!("{scheme}://{user}{host}{path}{query}");
        attributes.push(("url.full", Value::Text(url)));
    }
    attributes.push(("url.scheme", Value::Text(scheme)));
    if (request.method != "CONNECT" || request.protocol.is_some()) && !request.target.is_empty() {
        let path = if request.target == "*" { "*" } else { path };
        attributes.push(("url.path", Value::Text(path.into())));
    }
    if let Some(query) = query.filter(|query| !query.is_empty()) {
        attributes.push(("url.query", Value::Text(query.into())));
    }
}

/// The name of an error code of HTTP/2 (RFC 9113 section 7).
pub(super) const fn error_code(code: u32) -> &'static str {
    match code {
        0x0 => "NO_ERROR",
        0x1 => "PROTOCOL_ERROR",
        0x2 => "INTERNAL_ERROR",
        0x3 => "FLOW_CONTROL_ERROR",
        0x4 => "SETTINGS_TIMEOUT",
        0x5 => "STREAM_CLOSED",
        0x6 => "FRAME_SIZE_ERROR",
        0x7 => "REFUSED_STREAM",
        0x8 => "CANCEL",
        0x9 => "COMPRESSION_ERROR",
        0xa => "CONNECT_ERROR",
        0xb => "ENHANCE_YOUR_CALM",
        0xc => "INADEQUATE_SECURITY",
        0xd => "HTTP_1_1_REQUIRED",
        _ => "UNKNOWN_ERROR",
    }
}

/// Host and port of an authority; IPv6 literals lose their brackets.
pub(super) fn address(authority: &str) -> Option<(&str, Option<u16>)> {
    if authority.is_empty() {
        return None;
    }
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return Some((host, rest.strip_prefix(':').and_then(|port| port.parse().ok())));
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !host.contains(':') => Some((host, port.parse().ok())),
        _ => Some((authority, None)),
    }
}

/// What a proxy says of the request it forwards: the first element of `Forwarded` (RFC 7239), else of the field `own`.
fn forwarded(fields: &Fields, name: &str, own: &str) -> Option<String> {
    let list = |field_name| {
        let value = String::from_utf8_lossy(field(fields, field_name)?).into_owned();
        value.split(',').next().map(|first| first.trim().to_owned())
    };
    let standard = list("forwarded").and_then(|element| {
        element.split(';').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            let right = key.trim().eq_ignore_ascii_case(name);
            right.then(|| value.trim().trim_matches('"').to_owned())
        })
    });
    standard.or_else(|| list(own)).filter(|value| !value.is_empty())
}

fn content_length(fields: &Fields) -> Option<u64> {
    std::str::from_utf8(field(fields, "content-length")?).ok()?.parse().ok()
}

fn size(span: &mut Span, key: &'static str, bytes: Option<u64>) {
    if let Some(bytes) = bytes {
        span.attributes
            .push((key, Value::Int(i64::try_from(bytes).unwrap_or(i64::MAX))));
    }
}

fn fields(span: &mut Span, side: Side, fields: &Fields, policy: &Policy) {
    for (name, value) in fields.iter() {
        let Some((key, shown)) = policy.header(side, name, value) else {
            continue;
        };
        match span.named.iter_mut().find(|(other, _)| other == key) {
            Some((_, Value::Texts(values))) => *values = values.iter().cloned().chain([shown]).collect(),
            _ => span.named.push((key.clone(), Value::Texts(Box::new([shown])))),
        }
    }
}

/// The attributes that show a body.
struct BodyKeys {
    content: &'static str,
    encoding: &'static str,
    truncated: &'static str,
}

const REQUEST: BodyKeys = BodyKeys {
    content: "clew.http.request.body",
    encoding: "clew.http.request.body.encoding",
    truncated: "clew.http.request.body.truncated",
};
const RESPONSE: BodyKeys = BodyKeys {
    content: "clew.http.response.body",
    encoding: "clew.http.response.body.encoding",
    truncated: "clew.http.response.body.truncated",
};

impl Span {
    /// Whether a part of a body is shown.
    pub fn has_bodies(&self) -> bool {
        self.attributes.iter().any(|(name, _)| is_body(name))
    }

    /// Shows none.
    pub fn remove_bodies(&mut self) {
        self.attributes.retain(|(name, _)| !is_body(name));
    }
}

fn is_body(name: &str) -> bool {
    [REQUEST, RESPONSE]
        .iter()
        .any(|keys| [keys.content, keys.encoding, keys.truncated].contains(&name))
}

/// Shows a body: as text where it is text, else as base64. Compressed ones are decoded within a limit.
fn body(span: &mut Span, keys: &BodyKeys, fields: &Fields, body: &Body, policy: &Policy) {
    if !policy.bodies || body.captured.is_empty() {
        return;
    }
    let decoded = decoded(fields, body);
    let whole = body.bytes == Some(body.captured.len() as u64) && !decoded.is_cut();
    // Whoever can decode what is not decoded here would find in it what is to be hidden.
    let shown = decoded.bytes().map(|bytes| policy.body(fields, bytes));
    let shown = shown.as_deref().unwrap_or(REDACTED.as_bytes());
    match text(shown) {
        Some(text) => span.attributes.push((keys.content, Value::Text(text.into()))),
        None => {
            span.attributes.push((keys.content, Value::Text(base64(shown).into())));
            span.attributes.push((keys.encoding, Value::fixed("base64")));
        }
    }
    if !whole {
        span.attributes.push((keys.truncated, Value::Bool(true)));
    }
}

/// A body without its content coding.
enum Decoded<'a> {
    /// It has none.
    Plain(&'a [u8]),
    /// As far as it was kept; a body that was cut still decodes up to the cut.
    Inflated(Vec<u8>),
    /// It has one that is not decoded.
    Unknown,
}

impl Decoded<'_> {
    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(bytes) => Some(bytes),
            Self::Inflated(bytes) => Some(bytes),
            Self::Unknown => None,
        }
    }

    /// There may be more than is decoded.
    fn is_cut(&self) -> bool {
        matches!(self, Self::Inflated(bytes) if bytes.len() >= MAX_DECODED)
    }
}

fn decoded<'a>(fields: &Fields, body: &'a Body) -> Decoded<'a> {
    let name = field(fields, "content-encoding")
        .map(<[u8]>::to_ascii_lowercase)
        .unwrap_or_default();
    let decode = match name.as_slice() {
        b"" | b"identity" => return Decoded::Plain(&body.captured),
        b"gzip" | b"x-gzip" => coding::gzip,
        b"deflate" => coding::zlib,
        b"br" => coding::brotli,
        b"zstd" => coding::zstandard,
        _ => return Decoded::Unknown,
    };
    let decoded = decode(&body.captured, MAX_DECODED);
    if decoded.is_empty() {
        Decoded::Unknown
    } else {
        Decoded::Inflated(decoded)
    }
}

/// The bytes as text, a character cut at the end left out.
fn text(bytes: &[u8]) -> Option<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() => std::str::from_utf8(bytes.get(..error.valid_up_to())?).ok(),
        Err(_) => None,
    }
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests;
