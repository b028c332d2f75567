//! What is asked and answered in the bodies of HTTP, where they were kept: GraphQL, JSON-RPC and generative models (OpenTelemetry
//! semantic conventions, "GraphQL server spans", "JSON-RPC", "Generative client AI spans").
//!
//! What a body is, its own members say; of calls to models, the path says what the members mean.
use std::borrow::Cow;

use smol_str::{SmolStr, format_smolstr};

use super::build::Exchanged;
use super::json::{elements, integer, member, members, string};
use super::{Span, SpanKind, Status, Value};
use crate::protocol::http1::{RequestHead, ResponseHead, field};

/// Longest name of an operation or a method that is shown; a longer one is none.
const MAX_NAME: usize = 100;
/// Reasons why a model ended that are shown.
const MAX_REASONS: usize = 8;

/// Says what the bodies hold; `asked` and `answered` are their beginnings, any content coding removed.
pub(super) fn describe(
    span: &mut Span,
    request: &RequestHead,
    response: Option<&ResponseHead>,
    asked: &[u8],
    answered: &[u8],
    exchanged: &Exchanged<'_>,
) {
    let is_json =
        field(&request.fields, "content-type").is_some_and(|kind| kind.windows(4).any(|word| word == b"json"));
    if request.method != "POST" || !is_json || asked.is_empty() {
        return;
    }
    if let Some(call) = Generation::of(request, asked) {
        generation(span, &call, response, asked, answered, exchanged);
    } else if member(asked, "jsonrpc").is_some() {
        json_rpc(span, asked, answered);
    } else if let Some(document) = member(asked, "query").and_then(string) {
        graphql(span, &document, asked, answered);
    }
}

fn name(text: &str) -> Option<SmolStr> {
    let is_name = !text.is_empty() && text.len() <= MAX_NAME && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_name.then(|| SmolStr::new(text))
}

/// An operation of GraphQL: its name comes with it, or stands in the document.
fn graphql(span: &mut Span, document: &str, asked: &[u8], answered: &[u8]) {
    let Some(operation) = Operation::of(document) else {
        return;
    };
    // The name is the client's, and may be any: it is no part of the span's.
    span.name = SmolStr::new_static(operation.kind);
    span.attributes
        .push(("graphql.operation.type", Value::fixed(operation.kind)));
    let told = member(asked, "operationName")
        .and_then(string)
        .and_then(|told| name(&told));
    if let Some(name) = told.or(operation.name) {
        span.attributes.push(("graphql.operation.name", Value::Text(name)));
    }
    let errors = member(answered, "errors").map_or(0, |errors| elements(errors).count());
    if errors > 0 {
        let count = i64::try_from(errors).unwrap_or(i64::MAX);
        span.attributes.push(("clew.graphql.errors", Value::Int(count)));
        failed(span, SmolStr::new_static("graphql"), String::new());
    }
}

/// The first operation of a document.
struct Operation {
    kind: &'static str,
    name: Option<SmolStr>,
}

impl Operation {
    fn of(document: &str) -> Option<Self> {
        // Lines that begin with a number sign say nothing.
        let mut text = document.trim_start();
        while let Some(comment) = text.strip_prefix('#') {
            text = comment.split_once('\n').map_or("", |(_, rest)| rest).trim_start();
        }
        if text.starts_with('{') {
            return Some(Self {
                kind: "query",
                name: None,
            });
        }
        let end = text.find(|letter: char| !letter.is_ascii_alphabetic())?;
        let (word, rest) = text.split_at_checked(end)?;
        let kind = ["query", "mutation", "subscription"]
            .into_iter()
            .find(|kind| *kind == word)?;
        let rest = rest.trim_start();
        let end = rest.find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))?;
        // What is no operation has no selection and no variables.
        matches!(rest.get(end..)?.trim_start().chars().next(), Some('{' | '(' | '@')).then(|| Self {
            kind,
            name: name(rest.get(..end).unwrap_or_default()),
        })
    }
}

/// A call of JSON-RPC 2.0.
fn json_rpc(span: &mut Span, asked: &[u8], answered: &[u8]) {
    let (Some(version), Some(method)) = (
        member(asked, "jsonrpc").and_then(string),
        member(asked, "method")
            .and_then(string)
            .and_then(|method| name(&method)),
    ) else {
        return;
    };
    span.name = method.clone();
    span.attributes.push(("rpc.system.name", Value::fixed("jsonrpc")));
    span.attributes.push(("rpc.method", Value::Text(method)));
    span.attributes
        .push(("jsonrpc.protocol.version", Value::Text(version.into())));
    if let Some(id) = member(asked, "id").filter(|id| *id != b"null" && id.len() <= MAX_NAME) {
        let id = string(id).unwrap_or_else(|| String::from_utf8_lossy(id));
        span.attributes.push(("jsonrpc.request.id", Value::Text(id.into())));
    }
    let Some(error) = member(answered, "error").filter(|error| *error != b"null") else {
        return;
    };
    let Some(code) = member(error, "code").and_then(integer) else {
        return;
    };
    let code_text = format_smolstr!("{code}");
    span.attributes
        .push(("rpc.response.status_code", Value::Text(code_text.clone())));
    /// What the caller did wrong, by the specification.
    const CALLERS: [i64; 4] = [-32700, -32600, -32601, -32602];
    if span.kind == SpanKind::Client || !CALLERS.contains(&code) {
        let message = member(error, "message").and_then(string);
        failed(span, code_text, message.unwrap_or_default().into_owned());
    }
}

/// The answer says of itself that it failed, whatever its status.
fn failed(span: &mut Span, kind: SmolStr, message: String) {
    if !span.attributes.iter().any(|(key, _)| *key == "error.type") {
        span.attributes.push(("error.type", Value::Text(kind)));
    }
    if span.status == Status::Unset {
        span.status = Status::Error(message);
    }
}

/// A call to a generative model.
struct Generation<'a> {
    operation: &'static str,
    provider: &'static str,
    model: Cow<'a, str>,
}

impl<'a> Generation<'a> {
    fn of(request: &RequestHead, asked: &'a [u8]) -> Option<Self> {
        let path = request.target.split('?').next()?;
        let is_claude = field(&request.fields, "anthropic-version").is_some();
        let (operation, needs) = [
            ("/chat/completions", "chat", "messages"),
            ("/responses", "chat", "input"),
            ("/completions", "text_completion", "prompt"),
            ("/embeddings", "embeddings", "input"),
            ("/messages", "chat", "messages"),
        ]
        .into_iter()
        .find(|(end, ..)| path.ends_with(end) && (*end != "/messages" || is_claude))
        .map(|(_, operation, needs)| (operation, needs))?;
        let model = member(asked, "model").and_then(string)?;
        // The texts may be longer than what was kept.
        let is_cut = members(asked).count() == 0;
        let has = asked.windows(needs.len()).any(|word| word == needs.as_bytes());
        (has && !is_cut && name(&model).is_some()).then_some(Self {
            operation,
            provider: if is_claude { "anthropic" } else { "openai" },
            model,
        })
    }
}

fn generation(
    span: &mut Span,
    call: &Generation<'_>,
    response: Option<&ResponseHead>,
    asked: &[u8],
    answered: &[u8],
    exchanged: &Exchanged<'_>,
) {
    span.name = format_smolstr!("{} {}", call.operation, call.model);
    let text = |text: &str| Value::Text(text.into());
    span.attributes
        .push(("gen_ai.operation.name", Value::fixed(call.operation)));
    span.attributes
        .push(("gen_ai.provider.name", Value::fixed(call.provider)));
    span.attributes.push(("gen_ai.request.model", text(&call.model)));
    let most = member(asked, "max_tokens").or_else(|| member(asked, "max_completion_tokens"));
    if let Some(most) = most.and_then(integer) {
        span.attributes.push(("gen_ai.request.max_tokens", Value::Int(most)));
    }
    let temperature = member(asked, "temperature").and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
    if let Some(temperature) = temperature {
        span.attributes
            .push(("gen_ai.request.temperature", Value::Double(temperature)));
    }
    let mut told = Told::default();
    let is_stream = response
        .and_then(|response| field(&response.fields, "content-type"))
        .is_some_and(|kind| kind.starts_with(b"text/event-stream"));
    if is_stream {
        for line in answered.split(|byte| *byte == b'\n') {
            if let Some(event) = line.strip_prefix(b"data:") {
                told.read(event, 0);
            }
        }
    } else {
        told.read(answered, 0);
    }
    let attributes = &mut span.attributes;
    for (key, value) in [("gen_ai.response.id", &told.id), ("gen_ai.response.model", &told.model)] {
        attributes.extend(value.as_ref().map(|value| (key, Value::Text(value.clone()))));
    }
    for (key, value) in [
        ("gen_ai.usage.input_tokens", told.input),
        ("gen_ai.usage.output_tokens", told.output),
    ] {
        attributes.extend(value.map(|value| (key, Value::Int(value))));
    }
    if !told.reasons.is_empty() {
        let reasons = told.reasons.into_boxed_slice();
        attributes.push(("gen_ai.response.finish_reasons", Value::Texts(reasons)));
    }
    // What is streamed first is the first token, or says that it comes.
    let first_ns = exchanged.response_body.first_ns.filter(|_| is_stream);
    if let Some(took) = first_ns.and_then(|first_ns| first_ns.checked_sub(span.start_ns)) {
        let took = i64::try_from(took).unwrap_or(i64::MAX);
        attributes.push(("clew.gen_ai.time_to_first_token_ns", Value::Int(took)));
    }
}

/// What an answer says of itself, in one piece or in many events of which later ones know more.
#[derive(Default)]
struct Told {
    id: Option<SmolStr>,
    model: Option<SmolStr>,
    input: Option<i64>,
    output: Option<i64>,
    reasons: Vec<SmolStr>,
}

impl Told {
    fn read(&mut self, text: &[u8], depth: usize) {
        /// Within an event, what is told lies in one of its members.
        const MAX_DEPTH: usize = 2;
        let owned = |value| string(value).and_then(|text| name(&text));
        for (key, value) in members(text) {
            match &*key {
                "id" if self.id.is_none() => self.id = owned(value),
                "model" if self.model.is_none() => self.model = owned(value),
                "usage" => self.usage(value),
                "finish_reason" | "stop_reason" => {
                    let room = self.reasons.len() < MAX_REASONS;
                    self.reasons.extend(owned(value).filter(|_| room));
                }
                "choices" if depth < MAX_DEPTH => {
                    for choice in elements(value) {
                        if let Some(reason) = member(choice, "finish_reason").and_then(owned)
                            && self.reasons.len() < MAX_REASONS
                        {
                            self.reasons.push(reason);
                        }
                    }
                }
                "message" | "delta" | "response" if depth < MAX_DEPTH => self.read(value, depth + 1),
                _ => {}
            }
        }
    }

    fn usage(&mut self, usage: &[u8]) {
        for (key, value) in members(usage) {
            match (&*key, integer(value)) {
                ("prompt_tokens" | "input_tokens", Some(count)) => self.input = Some(count),
                ("completion_tokens" | "output_tokens", Some(count)) => self.output = Some(count),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
