//! What the span of a request says that became a WebSocket. The OpenTelemetry semantic conventions know nothing of them.
use smol_str::ToSmolStr;

use super::{Span, SpanKind, Status, Value};
use crate::protocol::http1::{ResponseHead, field};
use crate::protocol::websocket::Passed;

/// Codes that say that something went wrong (RFC 6455 section 7.4.1); what those above stand for, programs agree on.
const FAILED: std::ops::RangeInclusive<u16> = 1002..=1014;
/// Within them: nothing was said.
const NO_STATUS: u16 = 1005;

/// Says that it became one, and what both ends agreed on.
pub(super) fn named(span: &mut Span, response: &ResponseHead) {
    let text = |name| field(&response.fields, name).map(String::from_utf8_lossy);
    let attributes = &mut span.attributes;
    attributes.push(("clew.websocket", Value::Bool(true)));
    if let Some(protocol) = text("sec-websocket-protocol") {
        attributes.push(("clew.websocket.subprotocol", Value::Text(protocol.into())));
    }
    if text("sec-websocket-extensions").is_some_and(|extensions| extensions.contains("permessage-deflate")) {
        attributes.push(("clew.websocket.compressed", Value::Bool(true)));
    }
}

/// Says what passed the connection, and how it was closed.
pub(super) fn describe(span: &mut Span, passed: &Passed, response: &ResponseHead) {
    named(span, response);
    let is_client = span.kind == SpanKind::Client;
    let attributes = &mut span.attributes;
    let (sent, received) = if is_client {
        (passed.client, passed.server)
    } else {
        (passed.server, passed.client)
    };
    let count = |count: u64| Value::Int(i64::try_from(count).unwrap_or(i64::MAX));
    attributes.extend([
        ("clew.websocket.sent.frames", count(sent.frames)),
        ("clew.websocket.sent.messages", count(sent.messages)),
        ("clew.websocket.sent.bytes", count(sent.bytes)),
        ("clew.websocket.received.frames", count(received.frames)),
        ("clew.websocket.received.messages", count(received.messages)),
        ("clew.websocket.received.bytes", count(received.bytes)),
    ]);
    if sent.more || received.more {
        attributes.push(("clew.websocket.incomplete", Value::Bool(true)));
    }
    let Some(close) = passed.close else { return };
    let by = if close.by_client { "client" } else { "server" };
    attributes.push(("clew.websocket.close.by", Value::fixed(by)));
    if let Some(code) = close.code {
        attributes.push(("clew.websocket.close.code", Value::Int(i64::from(code))));
        if FAILED.contains(&code) && code != NO_STATUS {
            attributes.push(("error.type", Value::Text(code.to_smolstr())));
            span.status = Status::Error(meaning(code).to_owned());
        }
    }
}

const fn meaning(code: u16) -> &'static str {
    match code {
        1002 => "protocol error",
        1003 => "unsupported data",
        1007 => "invalid payload data",
        1008 => "policy violation",
        1009 => "message too big",
        1010 => "mandatory extension",
        1011 => "internal error",
        1012 => "service restart",
        1013 => "try again later",
        1014 => "bad gateway",
        _ => "",
    }
}
