//! Calls to generative models, in the styles of OpenAI's and Anthropic's APIs.
use std::borrow::Cow;
use std::time::Duration;

use smol_str::{SmolStr, format_smolstr};

use super::{Answer, name};
use crate::protocol::http1::{RequestHead, field};
use crate::span::build::Exchanged;
use crate::span::json::{elements, integer, member, members, string};
use crate::span::{Span, Value};

/// Reasons why a model ended that are shown.
const MAX_REASONS: usize = 8;

/// A call to a generative model.
pub(super) struct Generation<'a> {
    operation: &'static str,
    provider: &'static str,
    model: Cow<'a, str>,
}

impl<'a> Generation<'a> {
    pub(super) fn of(request: &RequestHead, asked: &'a [u8]) -> Option<Self> {
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
        let has = memchr::memmem::find(asked, needs.as_bytes()).is_some();
        (has && !is_cut && name(&model).is_some()).then_some(Self {
            operation,
            provider: if is_claude { "anthropic" } else { "openai" },
            model,
        })
    }

    pub(super) fn describe(&self, span: &mut Span, asked: &[u8], answer: Answer<'_>, exchanged: &Exchanged<'_>) {
        span.name = format_smolstr!("{} {}", self.operation, self.model);
        let text = |text: &str| Value::Text(text.into());
        let attributes = &mut span.attributes;
        attributes.push(("gen_ai.operation.name", Value::fixed(self.operation)));
        attributes.push(("gen_ai.provider.name", Value::fixed(self.provider)));
        attributes.push(("gen_ai.request.model", text(&self.model)));
        let number = |name: &str| member(asked, name).and_then(integer);
        let most = ["max_tokens", "max_completion_tokens", "max_output_tokens"];
        if let Some(most) = most.into_iter().find_map(number) {
            attributes.push(("gen_ai.request.max_tokens", Value::Int(most)));
        }
        let temperature = member(asked, "temperature").and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
        if let Some(temperature) = temperature {
            attributes.push(("gen_ai.request.temperature", Value::Double(temperature)));
        }
        if answer.is_stream || member(asked, "stream") == Some(b"true") {
            attributes.push(("gen_ai.request.stream", Value::Bool(true)));
        }
        let mut told = Told::default();
        for document in answer.documents() {
            told.read(document, 0);
        }
        for (key, value) in [("gen_ai.response.id", &told.id), ("gen_ai.response.model", &told.model)] {
            attributes.extend(value.as_ref().map(|value| (key, Value::Text(value.clone()))));
        }
        for (key, value) in [
            ("gen_ai.usage.input_tokens", told.input_with_cached()),
            ("gen_ai.usage.output_tokens", told.output),
            ("gen_ai.usage.cache_read.input_tokens", told.cache_read),
            ("gen_ai.usage.cache_creation.input_tokens", told.cache_creation),
            ("gen_ai.usage.reasoning.output_tokens", told.reasoning),
        ] {
            attributes.extend(value.map(|value| (key, Value::Int(value))));
        }
        if !told.reasons.is_empty() {
            let reasons = told.reasons.into_boxed_slice();
            attributes.push(("gen_ai.response.finish_reasons", Value::Texts(reasons)));
        }
        let first_ns = exchanged.response_body.first_ns.filter(|_| answer.is_stream);
        if let Some(took) = first_ns.and_then(|first_ns| first_ns.checked_sub(span.start_ns)) {
            let took = Duration::from_nanos(took).as_secs_f64();
            attributes.push(("gen_ai.response.time_to_first_chunk", Value::Double(took)));
        }
    }
}

/// What an answer says of itself, in one piece or in many events of which later ones know more.
#[derive(Default)]
struct Told {
    id: Option<SmolStr>,
    model: Option<SmolStr>,
    input: Option<i64>,
    output: Option<i64>,
    /// Tokens of the input that were taken from a cache, and put into one.
    cache_read: Option<i64>,
    cache_creation: Option<i64>,
    /// Anthropic counts tokens of a cache apart from the input, OpenAI among it.
    is_apart: bool,
    reasoning: Option<i64>,
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
                "finish_reason" | "stop_reason" => self.ended(owned(value)),
                "choices" if depth < MAX_DEPTH => {
                    for choice in elements(value) {
                        self.ended(member(choice, "finish_reason").and_then(owned));
                    }
                }
                "message" | "delta" | "response" if depth < MAX_DEPTH => self.read(value, depth + 1),
                _ => {}
            }
        }
    }

    fn ended(&mut self, reason: Option<SmolStr>) {
        let room = self.reasons.len() < MAX_REASONS;
        self.reasons.extend(reason.filter(|_| room));
    }

    fn usage(&mut self, usage: &[u8]) {
        for (key, value) in members(usage) {
            match (&*key, integer(value)) {
                ("prompt_tokens" | "input_tokens", Some(count)) => self.input = Some(count),
                ("completion_tokens" | "output_tokens", Some(count)) => self.output = Some(count),
                ("cache_read_input_tokens", Some(count)) => {
                    self.cache_read = Some(count);
                    self.is_apart = true;
                }
                ("cache_creation_input_tokens", Some(count)) => {
                    self.cache_creation = Some(count);
                    self.is_apart = true;
                }
                ("prompt_tokens_details" | "input_tokens_details", _) => {
                    let cached = member(value, "cached_tokens").and_then(integer);
                    self.cache_read = cached.or(self.cache_read);
                }
                ("completion_tokens_details" | "output_tokens_details", _) => {
                    let reasoning = member(value, "reasoning_tokens").and_then(integer);
                    self.reasoning = reasoning.or(self.reasoning);
                }
                _ => {}
            }
        }
    }

    /// Tokens of the input, those of a cache among them (conventions, `gen_ai.usage.cache_read.input_tokens`).
    fn input_with_cached(&self) -> Option<i64> {
        let apart = [self.cache_read, self.cache_creation].into_iter().flatten();
        let apart = apart.filter(|_| self.is_apart);
        self.input.map(|input| apart.fold(input, i64::saturating_add))
    }
}
