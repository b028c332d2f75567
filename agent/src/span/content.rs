//! What is asked and answered in the bodies of HTTP, where they were kept: GraphQL, JSON-RPC and generative models (OpenTelemetry
//! semantic conventions, "GraphQL server spans", "JSON-RPC", "Generative AI", "Model Context Protocol").
//!
//! What a body is, its own members say; of calls to models, the path says what the members mean.
mod generation;
mod graphql;
mod json_rpc;

use smol_str::SmolStr;

use super::build::Exchanged;
use super::json::member;
use super::{Span, Status, Value};
use crate::protocol::http1::{Fields, RequestHead, ResponseHead, field};
use generation::Generation;

/// Longest name of an operation or a method that is shown; a longer one is none.
const MAX_NAME: usize = 100;

/// Says what the bodies hold; `asked` and `answered` are their beginnings, any content coding removed.
pub(super) fn describe(
    span: &mut Span,
    request: &RequestHead,
    response: Option<&ResponseHead>,
    asked: &[u8],
    answered: &[u8],
    exchanged: &Exchanged<'_>,
) {
    let answer = Answer {
        is_stream: response.is_some_and(|response| is(&response.fields, b"text/event-stream")),
        bytes: answered,
    };
    if request.method == "GET" {
        graphql::linked(span, request, response, answer);
        return;
    }
    if request.method != "POST" || asked.is_empty() {
        return;
    }
    if is(&request.fields, b"application/graphql") && graphql::document(span, asked, answer) {
        return;
    }
    if !is(&request.fields, b"json") {
        return;
    }
    if let Some(call) = Generation::of(request, asked) {
        call.describe(span, asked, answer, exchanged);
    } else if asked.trim_ascii_start().starts_with(b"[") {
        if !json_rpc::several(span, asked, answer) {
            graphql::several(span, asked, answer);
        }
    } else if member(asked, "jsonrpc").is_some() {
        json_rpc::one(span, request, asked, answer);
    } else {
        graphql::one(span, asked, answer);
    }
}

/// Whether the type of content has this word in it.
fn is(fields: &Fields, word: &[u8]) -> bool {
    let kind = field(fields, "content-type").unwrap_or_default();
    memchr::memmem::find(kind, word).is_some()
}

/// What was answered, or its beginning.
#[derive(Clone, Copy)]
struct Answer<'a> {
    /// It is a stream of events.
    is_stream: bool,
    bytes: &'a [u8],
}

impl<'a> Answer<'a> {
    /// The documents within: what events carry, or all of it (HTML, "Server-sent events", section 9.2.6). One that stands in several
    /// lines is not put together: what is written as JSON needs none.
    fn documents(self) -> impl Iterator<Item = &'a [u8]> {
        let whole = (!self.is_stream).then_some(self.bytes);
        let lines = self.is_stream.then(|| {
            let lines = self.bytes.split(|byte| matches!(byte, b'\n' | b'\r'));
            lines.filter_map(|line| line.strip_prefix(b"data:"))
        });
        whole.into_iter().chain(lines.into_iter().flatten())
    }
}

fn name(text: &str) -> Option<SmolStr> {
    let is_name = !text.is_empty() && text.len() <= MAX_NAME && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_name.then(|| SmolStr::new(text))
}

fn count(of: usize) -> Value {
    Value::Int(i64::try_from(of).unwrap_or(i64::MAX))
}

/// It failed, in this way unless a closer one is known.
pub(super) fn failed(span: &mut Span, kind: SmolStr, message: String) {
    if !span.attributes.iter().any(|(key, _)| *key == "error.type") {
        span.attributes.push(("error.type", Value::Text(kind)));
    }
    if span.status == Status::Unset {
        span.status = Status::Error(message);
    }
}

#[cfg(test)]
mod tests;
