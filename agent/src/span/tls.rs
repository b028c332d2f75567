//! Spans of encrypted connections, and what a handshake adds to others (OpenTelemetry semantic conventions, "TLS").
use smol_str::{SmolStr, ToSmolStr, format_smolstr};

use super::build::Exchanged;
use super::{Span, SpanKind, Status, Value};
use crate::protocol::tls::{ClientHello, Handshake, SSL_3_0};

/// Names the span of a connection whose content is out of reach, and describes it.
pub(super) fn describe(span: &mut Span, hello: &ClientHello, handshake: Option<&Handshake>, exchanged: &Exchanged<'_>) {
    // The conventions name no span of a connection; this is formed as they form names: what, and of whom.
    span.name = match &hello.server_name {
        Some(name) => format_smolstr!("TLS {name}"),
        None => SmolStr::new_static("TLS"),
    };
    span.attributes.push(("clew.encrypted", Value::Bool(true)));
    if let Some(name) = &hello.server_name {
        span.attributes.push(("server.address", Value::Text(name.clone())));
    }
    let unanswered = Handshake {
        hello: hello.clone(),
        ..Handshake::default()
    };
    let handshake = handshake.unwrap_or(&unanswered);
    negotiated(span, handshake);
    let (sent, received) = if exchanged.kind == SpanKind::Client {
        (exchanged.request_body, exchanged.response_body)
    } else {
        (exchanged.response_body, exchanged.request_body)
    };
    for (key, body) in [
        ("clew.network.sent_bytes", sent),
        ("clew.network.received_bytes", received),
    ] {
        if let Some(bytes) = body.bytes {
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            span.attributes.push((key, Value::Int(bytes)));
        }
    }
    if let Some(alert) = handshake.alert {
        let kind = alert.name().unwrap_or("tls_alert");
        span.attributes.push(("error.type", Value::fixed(kind)));
        let by = if alert.by_client { "client" } else { "server" };
        span.status = Status::Error(format!("the {by} refused the handshake: {}", kind.replace('_', " ")));
    }
}

/// Says what a handshake came to.
pub(super) fn negotiated(span: &mut Span, handshake: &Handshake) {
    let attributes = &mut span.attributes;
    if let Some(version) = handshake.version_name() {
        let name = if handshake.version == Some(SSL_3_0) {
            "ssl"
        } else {
            "tls"
        };
        attributes.push(("tls.protocol.name", Value::fixed(name)));
        attributes.push(("tls.protocol.version", Value::fixed(version)));
    }
    if let Some(number) = handshake.cipher {
        let name = handshake.cipher_name().map(SmolStr::new_static);
        let name = name.unwrap_or_else(|| format_smolstr!("{number:#06x}"));
        attributes.push(("tls.cipher", Value::Text(name)));
    }
    if let Some(group) = handshake.group_name() {
        attributes.push(("tls.curve", Value::fixed(group)));
    }
    if let Some(name) = &handshake.hello.server_name {
        attributes.push(("tls.client.server_name", Value::Text(name.clone())));
    }
    if let Some(protocol) = &handshake.protocol {
        attributes.push(("tls.next_protocol", Value::Text(protocol.clone())));
    }
    if !handshake.hello.protocols.is_empty() {
        let offered = handshake.hello.protocols.clone().into_boxed_slice();
        attributes.push(("clew.tls.offered_protocols", Value::Texts(offered)));
    }
    attributes.push(("tls.established", Value::Bool(handshake.established)));
    if let Some(resumed) = handshake.resumed {
        attributes.push(("tls.resumed", Value::Bool(resumed)));
    }
    if let Some(took) = handshake.took_ns {
        let took = i64::try_from(took).unwrap_or(i64::MAX);
        attributes.push(("clew.network.tls_ns", Value::Int(took)));
    }
    let Some(alert) = handshake.alert else { return };
    let by = if alert.by_client { "client" } else { "server" };
    attributes.push(("clew.tls.alert.by", Value::fixed(by)));
    match alert.said {
        Some((level, description)) => {
            let level = if level == 1 { "warning" } else { "fatal" };
            attributes.push(("clew.tls.alert.level", Value::fixed(level)));
            let name = alert.name().map(SmolStr::new_static);
            let name = name.unwrap_or_else(|| description.to_smolstr());
            attributes.push(("clew.tls.alert.description", Value::Text(name)));
        }
        None => attributes.push(("clew.tls.alert.encrypted", Value::Bool(true))),
    }
}
