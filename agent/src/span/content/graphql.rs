//! GraphQL, as it is spoken over HTTP (GraphQL over HTTP, working draft).
use std::borrow::Cow;

use smol_str::SmolStr;

use super::{Answer, count, failed, name};
use crate::protocol::http1::{RequestHead, ResponseHead, field};
use crate::span::aws::parameter;
use crate::span::json::{elements, member, string, whole_elements};
use crate::span::{Span, Value};

/// What a span is called whose operation's type is not known (conventions, "GraphQL server spans").
const UNKNOWN: &str = "GraphQL Operation";
/// Operations that are asked at once and looked at.
const MAX_SEVERAL: usize = 64;

/// An operation that is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Operation {
    /// None where its document is known to both ends and not sent.
    kind: Option<&'static str>,
    /// Its name comes with it, or stands in the document.
    name: Option<SmolStr>,
}

impl Operation {
    /// The operation that a body asks for.
    fn of(asked: &[u8]) -> Option<Self> {
        let text = |name| member(asked, name).and_then(string);
        let persisted = || member(member(asked, "extensions")?, "persistedQuery");
        Self::told(text("query"), text("operationName"), persisted().is_some())
    }

    fn told(document: Option<Cow<'_, str>>, named: Option<Cow<'_, str>>, persisted: bool) -> Option<Self> {
        let named = named.and_then(|named| name(&named));
        match document {
            Some(document) => {
                let own = Self::written(&document)?;
                Some(Self {
                    name: named.or(own.name),
                    ..own
                })
            }
            None if persisted => Some(Self {
                kind: None,
                name: named,
            }),
            None => None,
        }
    }

    /// The first operation of a document.
    fn written(document: &str) -> Option<Self> {
        // Lines that begin with a number sign say nothing.
        let mut text = document.trim_start();
        while let Some(comment) = text.strip_prefix('#') {
            text = comment.split_once('\n').map_or("", |(_, rest)| rest).trim_start();
        }
        if text.starts_with('{') {
            return Some(Self {
                kind: Some("query"),
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
            kind: Some(kind),
            name: name(rest.get(..end).unwrap_or_default()),
        })
    }

    fn describe(self, span: &mut Span, answer: Answer<'_>) {
        // The name is the client's, and may be any: it is no part of the span's.
        span.name = SmolStr::new_static(self.kind.unwrap_or(UNKNOWN));
        let kind = self.kind.map(|kind| ("graphql.operation.type", Value::fixed(kind)));
        let name = self.name.map(|name| ("graphql.operation.name", Value::Text(name)));
        span.attributes.extend(kind.into_iter().chain(name));
        judge(span, answer.documents());
    }
}

/// An operation in a body of JSON.
pub(super) fn one(span: &mut Span, asked: &[u8], answer: Answer<'_>) {
    if let Some(operation) = Operation::of(asked) {
        operation.describe(span, answer);
    }
}

/// An operation that is a body by itself. Whether it is one.
pub(super) fn document(span: &mut Span, asked: &[u8], answer: Answer<'_>) -> bool {
    let operation = std::str::from_utf8(asked).ok().and_then(Operation::written);
    let is_one = operation.is_some();
    if let Some(operation) = operation {
        operation.describe(span, answer);
    }
    is_one
}

/// An operation in a URL. Since `query` is what searches are called too, something else has to speak of GraphQL.
pub(super) fn linked(span: &mut Span, request: &RequestHead, response: Option<&ResponseHead>, answer: Answer<'_>) {
    let Some((path, query)) = request.target.split_once('?') else {
        return;
    };
    let says = |value: Option<&[u8]>| value.is_some_and(|value| memchr::memmem::find(value, b"graphql").is_some());
    let speaks = path.ends_with("/graphql")
        || says(field(&request.fields, "accept"))
        || says(response.and_then(|response| field(&response.fields, "content-type")));
    if !speaks {
        return;
    }
    let text = |name| parameter(query, name);
    let persisted = text("extensions").is_some_and(|extensions| extensions.contains("persistedQuery"));
    if let Some(operation) = Operation::told(
        text("query").map(Cow::Owned),
        text("operationName").map(Cow::Owned),
        persisted,
    ) {
        operation.describe(span, answer);
    }
}

/// Operations that are asked at once, and answered in the same order.
pub(super) fn several(span: &mut Span, asked: &[u8], answer: Answer<'_>) {
    let Some(all) = whole_elements(asked).filter(|all| (1..=MAX_SEVERAL).contains(&all.len())) else {
        return;
    };
    let operations: Option<Vec<Operation>> = all.iter().map(|asked| Operation::of(asked)).collect();
    let Some(operations) = operations else { return };
    let kind = operations.first().and_then(|first| first.kind);
    let kind = kind.filter(|kind| operations.iter().all(|one| one.kind == Some(kind)));
    span.name = SmolStr::new_static(kind.unwrap_or(UNKNOWN));
    let kind = kind.map(|kind| ("graphql.operation.type", Value::fixed(kind)));
    span.attributes.extend(kind);
    span.attributes
        .push(("clew.graphql.operations", count(operations.len())));
    judge(span, elements(answer.bytes));
}

/// Says so if the answers have errors in them.
fn judge<'a>(span: &mut Span, answers: impl Iterator<Item = &'a [u8]>) {
    let errors = answers.filter_map(|answer| member(answer, "errors"));
    let errors: usize = errors.map(|errors| elements(errors).count()).sum();
    if errors > 0 {
        span.attributes.push(("clew.graphql.errors", count(errors)));
        failed(span, SmolStr::new_static("graphql"), String::new());
    }
}
