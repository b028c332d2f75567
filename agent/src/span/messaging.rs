//! Spans of messages (OpenTelemetry semantic conventions, "Messaging spans").
//!
//! The conventions know programs only; a broker's span says the same of the same message.
use smol_str::{SmolStr, format_smolstr};

use super::{Span, SpanKind, Status, Value};
use crate::capture::Direction;
use crate::protocol::call::Failure;
use crate::protocol::message::{Action, Content, Message, Outcome, Settled};

/// What a program's or a broker's end of a message is.
pub(super) const fn kind(action: Action, direction: Direction) -> SpanKind {
    match (action, direction) {
        (Action::Send, Direction::Egress) => SpanKind::Producer,
        (Action::Deliver, Direction::Ingress) => SpanKind::Consumer,
        (Action::Receive | Action::Deliver, Direction::Egress) => SpanKind::Client,
        (Action::Send | Action::Receive, Direction::Ingress) => SpanKind::Server,
    }
}

/// Names a span and describes its message and what became of it.
pub(super) fn describe(span: &mut Span, message: &Message, outcome: Option<&Outcome>) {
    // `{messaging.operation.name} {destination}`; one that means nothing to others is left out ("Span name").
    span.name = if message.is_temporary || message.destination.is_empty() {
        SmolStr::new_static(message.operation)
    } else {
        format_smolstr!("{} {}", message.operation, message.destination)
    };
    let kind = match message.action {
        Action::Send => "send",
        Action::Receive => "receive",
        Action::Deliver => "process",
    };
    span.attributes.extend([
        ("messaging.system", Value::fixed(message.system)),
        ("messaging.operation.name", Value::fixed(message.operation)),
        ("messaging.operation.type", Value::fixed(kind)),
    ]);
    text(span, "messaging.destination.name", &message.destination);
    if message.is_temporary {
        span.attributes
            .push(("messaging.destination.temporary", Value::Bool(true)));
    }
    content(span, &message.content);
    if let Some(outcome) = outcome {
        if let Some(received) = &outcome.received {
            content(span, &received.content);
        }
        settled(span, outcome);
    }
}

fn text(span: &mut Span, key: &'static str, value: &SmolStr) {
    if !value.is_empty() {
        span.attributes.push((key, Value::Text(value.clone())));
    }
}

fn content(span: &mut Span, content: &Content) {
    let number = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
    text(span, "messaging.message.id", &content.id);
    text(span, "messaging.message.conversation_id", &content.conversation);
    if let Some(bytes) = content.bytes {
        span.attributes.push(("messaging.message.body.size", number(bytes)));
    }
    for (key, detail) in &content.details {
        span.attributes.push((key, detail.into()));
    }
}

fn settled(span: &mut Span, outcome: &Outcome) {
    let how = outcome.settled.map(|settled| match settled {
        Settled::Accepted => "accepted",
        Settled::Rejected => "rejected",
        Settled::Requeued => "requeued",
    });
    if let Some(how) = how {
        span.attributes.push(("clew.messaging.settled", Value::fixed(how)));
    }
    match outcome.error.as_deref() {
        Some(Failure { code, message, .. }) => {
            span.attributes.push(("error.type", Value::Text(code.clone())));
            span.status = Status::Error(message.to_string());
        }
        None if outcome.settled == Some(Settled::Rejected) => {
            span.attributes.push(("error.type", Value::fixed("rejected")));
            span.status = Status::Error("rejected".to_owned());
        }
        None => {}
    }
}
