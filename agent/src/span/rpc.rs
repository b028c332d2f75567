//! Remote procedure calls over HTTP: gRPC, gRPC-Web and Connect (OpenTelemetry semantic conventions, "RPC spans").
use smol_str::SmolStr;

use super::build::Exchanged;
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
