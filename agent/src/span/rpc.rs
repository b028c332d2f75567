//! Remote procedure calls over HTTP: gRPC, gRPC-Web and Connect (OpenTelemetry semantic conventions, "RPC spans").
use smol_str::SmolStr;

use super::build::Exchanged;
use super::json::{member, string};
use super::{Span, SpanKind, Status, Value};
use crate::protocol::Broken;
use crate::protocol::http1::{Fields, RequestHead, ResponseHead, field};

/// The names of gRPC's status codes, by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
/// The codes with which a server has failed; with the others it is the caller who did something wrong.
const SERVER_ERRORS: &[&str] = &[
    "UNKNOWN",
    "DEADLINE_EXCEEDED",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
];

/// A way of calling procedures over HTTP.
#[derive(Clone, Copy, PartialEq, Eq)]
enum System {
    Grpc,
    GrpcWeb,
    Connect,
}

impl System {
    fn of(request: &RequestHead, response: Option<&ResponseHead>) -> Option<Self> {
        let answered = response.and_then(|response| field(&response.fields, "content-type"));
        let kind = field(&request.fields, "content-type").or(answered)?;
        if kind.starts_with(b"application/grpc-web") {
            Some(Self::GrpcWeb)
        } else if kind.starts_with(b"application/grpc") {
            Some(Self::Grpc)
        } else if kind.starts_with(b"application/connect+")
            || field(&request.fields, "connect-protocol-version").is_some()
        {
            Some(Self::Connect)
        } else {
            None
        }
    }
}

/// Describes the call that an exchange is, if it is one.
pub(super) fn describe(
    span: &mut Span,
    request: &RequestHead,
    response: Option<&ResponseHead>,
    exchanged: &Exchanged<'_>,
    broken: Option<Broken>,
) {
    let Some(system) = System::of(request, response) else {
        return;
    };
    let name = match system {
        System::Grpc | System::GrpcWeb => "grpc",
        System::Connect => "connectrpc",
    };
    span.attributes.push(("rpc.system.name", Value::fixed(name)));
    if system == System::GrpcWeb {
        span.attributes.push(("clew.rpc.variant", Value::fixed("grpc-web")));
    }
    let path = request.target.split('?').next().unwrap_or_default();
    let method = path.strip_prefix('/').filter(|method| method.contains('/'));
    span.name = SmolStr::new_static(name);
    if let Some(method) = method {
        // Any path may be asked of a server; only those it answered as a call are its methods.
        let unknown = span.kind == SpanKind::Server
            && status(response, exchanged.response_body.trailers.as_deref()) == Some("UNIMPLEMENTED");
        if unknown {
            span.attributes.push(("rpc.method", Value::fixed("_OTHER")));
            span.attributes
                .push(("rpc.method_original", Value::Text(method.into())));
        } else {
            span.name = SmolStr::from(method);
            span.attributes.push(("rpc.method", Value::Text(method.into())));
        }
    }
    let mut messages = |key, count: Option<u64>| {
        if let Some(count) = count {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            span.attributes.push((key, Value::Int(count)));
        }
    };
    messages("clew.rpc.request.messages", exchanged.request_body.messages);
    messages("clew.rpc.response.messages", exchanged.response_body.messages);
    if system == System::Connect {
        if let Some(response) = response {
            connect(span, response, exchanged);
        }
        return;
    }
    let trailers = exchanged.response_body.trailers.as_deref();
    let told = status(response, trailers);
    let duration_ns = span.end_ns.saturating_sub(span.start_ns);
    let code = told.or_else(|| broken.and_then(|broken| implied(broken, request, duration_ns)));
    let Some(code) = code else { return };
    span.attributes.push(("rpc.response.status_code", Value::fixed(code)));
    let failed = match span.kind {
        SpanKind::Server => SERVER_ERRORS.contains(&code),
        _ => code != "OK",
    };
    span.attributes.retain(|(key, _)| *key != "error.type");
    span.status = Status::Unset;
    if failed {
        span.attributes.push(("error.type", Value::fixed(code)));
        let message = anywhere(response, trailers, "grpc-message").map(decoded);
        span.status = Status::Error(message.unwrap_or_default());
    }
}

/// What went wrong with a call of Connect (Connect protocol, "Error End-Stream" and "Unary-Response"): the last message of a stream says
/// so, whose status is always 200, and of a call that is no stream the body, where it was kept.
fn connect(span: &mut Span, response: &ResponseHead, exchanged: &Exchanged<'_>) {
    let body = exchanged.response_body;
    let error = match response.status {
        200 => member(&body.end, "error"),
        _ => Some(body.captured.as_ref()),
    };
    let said = |name| member(error?, name).and_then(string);
    let code = said("code").map(|code| code.to_ascii_uppercase());
    let Some(code) = code.and_then(|code| CODES.iter().find(|known| **known == code || is_canceled(known, &code)))
    else {
        return;
    };
    // Connect writes them in lower case.
    let name = SmolStr::from(said("code").unwrap_or_default());
    span.attributes
        .push(("rpc.response.status_code", Value::Text(name.clone())));
    span.attributes.retain(|(key, _)| *key != "error.type");
    span.status = Status::Unset;
    if span.kind != SpanKind::Server || SERVER_ERRORS.contains(code) {
        span.attributes.push(("error.type", Value::Text(name)));
        span.status = Status::Error(said("message").unwrap_or_default().into_owned());
    }
}

/// Connect has one `l` fewer.
fn is_canceled(known: &str, code: &str) -> bool {
    known == "CANCELLED" && code == "CANCELED"
}

/// A field of the trailers, or of the head where that is all there is.
fn anywhere<'a>(response: Option<&'a ResponseHead>, trailers: Option<&'a Fields>, name: &str) -> Option<&'a [u8]> {
    let told = trailers.and_then(|trailers| field(trailers, name));
    told.or_else(|| field(&response?.fields, name))
}

fn status(response: Option<&ResponseHead>, trailers: Option<&Fields>) -> Option<&'static str> {
    let code = std::str::from_utf8(anywhere(response, trailers, "grpc-status")?).ok()?;
    // A number that is none of gRPC's counts as unknown (gRPC over HTTP/2, "Responses").
    Some(
        code.trim()
            .parse::<usize>()
            .ok()
            .and_then(|code| CODES.get(code).copied())
            .unwrap_or("UNKNOWN"),
    )
}

/// The status of a call whose stream was reset, as gRPC over HTTP/2 maps it ("Errors"). Who cancels because the time is over
/// says so by nothing else than the time.
fn implied(broken: Broken, request: &RequestHead, duration_ns: u64) -> Option<&'static str> {
    match broken {
        Broken::Reset(0x7) | Broken::Refused(_) => Some("UNAVAILABLE"),
        Broken::Reset(0x8) => {
            let limit_ns = field(&request.fields, "grpc-timeout").and_then(timeout_ns);
            let over = limit_ns.is_some_and(|limit_ns| duration_ns >= limit_ns);
            Some(if over { "DEADLINE_EXCEEDED" } else { "CANCELLED" })
        }
        Broken::Reset(0xb) => Some("RESOURCE_EXHAUSTED"),
        Broken::Reset(0xc) => Some("PERMISSION_DENIED"),
        Broken::Reset(_) => Some("INTERNAL"),
        _ => None,
    }
}

/// `grpc-timeout`: at most eight digits and a unit.
fn timeout_ns(text: &[u8]) -> Option<u64> {
    let (unit, digits) = text.split_last()?;
    let amount: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let unit_ns = match unit {
        b'H' => 3_600_000_000_000,
        b'M' => 60_000_000_000,
        b'S' => 1_000_000_000,
        b'm' => 1_000_000,
        b'u' => 1_000,
        b'n' => 1,
        _ => return None,
    };
    amount.checked_mul(unit_ns)
}

/// Percent-encoded UTF-8, as `grpc-message` is.
pub(super) fn decoded(text: &[u8]) -> String {
    percent_encoding::percent_decode(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::protocol::http1::Version;
    use crate::protocol::{Body, Known};

    /// What a span of a call of Connect says of its end.
    #[track_caller]
    fn check(kind: SpanKind, status: u16, end: &'static str, body: &'static str, expected: &[&str]) {
        let fields = |lines: &[(&str, &str)]| lines.iter().copied().collect::<Fields>();
        let request = RequestHead {
            method: "POST".into(),
            target: "/shop.Orders/Watch".into(),
            version: Version::Http11,
            scheme: None,
            authority: None,
            protocol: None,
            first: false,
            fields: fields(&[
                ("content-type", "application/connect+json"),
                ("connect-protocol-version", "1"),
            ]),
            unknown: 0,
            gateway: None,
        };
        let response = ResponseHead {
            status,
            version: Version::Http11,
            fields: Fields::default(),
            unknown: 0,
        };
        let exchanged = Exchanged {
            kind,
            request_body: &Body::default(),
            response_body: &Body::from(Known {
                captured: Bytes::from_static(body.as_bytes()),
                end: Bytes::from_static(end.as_bytes()),
                ..Known::default()
            }),
            server: None,
            secured: false,
        };
        let mut span = Span {
            kind,
            name: "POST".into(),
            start_ns: 1,
            end_ns: 2,
            attributes: vec![("error.type", Value::fixed("before"))],
            named: Vec::new(),
            status: Status::Unset,
            events: Vec::new(),
        };
        describe(&mut span, &request, Some(&response), &exchanged, None);
        let mut told = vec![span.name.to_string()];
        told.extend(span.attributes.iter().filter_map(|(key, value)| match value {
            Value::Text(text) if matches!(*key, "rpc.response.status_code" | "error.type") => {
                Some(format!("{key}={text}"))
            }
            _ => None,
        }));
        if let Status::Error(message) = span.status {
            told.push(format!("failed {message}"));
        }
        assert_eq!(told, expected, "{end}{body}");
    }

    #[test]
    fn what_went_wrong_with_connect() {
        let name = "shop.Orders/Watch";
        let gone = r#"{"error":{"code":"not_found","message":"gone"}}"#;
        let failed = [
            "rpc.response.status_code=not_found",
            "error.type=not_found",
            "failed gone",
        ];
        check(SpanKind::Client, 200, gone, "", &[&[name], &failed[..]].concat());
        check(SpanKind::Server, 200, gone, "", &[name, failed[0]]);
        check(
            SpanKind::Client,
            404,
            "",
            r#"{"code":"not_found","message":"gone"}"#,
            &[&[name], &failed[..]].concat(),
        );
        let own = r#"{"error":{"code":"canceled"}}"#;
        check(
            SpanKind::Client,
            200,
            own,
            "",
            &[
                name,
                "rpc.response.status_code=canceled",
                "error.type=canceled",
                "failed ",
            ],
        );
        // Nothing that is known went wrong, or nobody told.
        for end in ["{}", "", r#"{"error":{"code":"tired"}}"#] {
            check(SpanKind::Client, 200, end, "", &[name, "error.type=before"]);
        }
    }
}
