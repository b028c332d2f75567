//! What lists, filters and search need to know of a span.
use std::borrow::Cow;
use std::fmt::Write as _;

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::{Map, Value as Json, json};

/// The event that a record of a log is kept as, and its own attributes.
pub(super) const LOG: &str = "clew.log";
pub(super) const LOG_SEVERITY: &str = "clew.log.severity";
pub(super) const LOG_BODY: &str = "clew.log.body";

/// Attributes that hold a status code, the first to be there wins.
const STATUS: &[&str] = &[
    "http.response.status_code",
    "rpc.grpc.status_code",
    "rpc.response.status_code",
    "db.response.status_code",
];
/// Most of a title that is kept.
const TITLE_BYTES: usize = 200;
/// Most of one text that is searchable, and of all texts of a part.
const WORD_BYTES: usize = 4 << 10;
const TEXT_BYTES: usize = 32 << 10;

/// OTLP's span kinds by number.
const KINDS: [&str; 6] = ["internal", "internal", "server", "client", "producer", "consumer"];

/// A kind's word.
pub(super) fn kind_word(kind: i64) -> &'static str {
    usize::try_from(kind)
        .ok()
        .and_then(|kind| KINDS.get(kind))
        .unwrap_or(&KINDS[0])
}

/// A kind's number.
pub(super) fn kind_number(word: &str) -> Option<i64> {
    KINDS.iter().rposition(|known| *known == word).map(|kind| kind as i64)
}

/// The service a resource is of.
pub(super) fn service(resource: &Resource) -> &str {
    text_of(&resource.attributes, "service.name").unwrap_or("unknown_service")
}

/// Whether a span failed.
pub(super) fn failed(span: &Span) -> bool {
    span.status
        .as_ref()
        .is_some_and(|status| status.code == StatusCode::Error as i32)
}

/// Whether its process ended in the midst of it.
pub(super) fn died(span: &Span) -> bool {
    text_of(&span.attributes, crate::span::OUTCOME) == Some("process_exited")
}

/// The test case it was made by, empty where none is named.
pub(super) fn test(span: &Span) -> &str {
    cut(text_of(&span.attributes, "test.case.name").unwrap_or(""), TITLE_BYTES)
}

/// Its status code as text, empty where it has none.
pub(super) fn status(span: &Span) -> Cow<'_, str> {
    let found = STATUS.iter().find_map(|name| find(&span.attributes, name));
    found.map_or(Cow::Borrowed(""), plain)
}

/// What the span did, in a line: method and path, else its name.
pub(super) fn title(span: &Span) -> String {
    let of = |name| text_of(&span.attributes, name);
    let title = match (of("http.request.method"), of("url.path"), of("url.full")) {
        (Some(method), Some(path), _) => format!("{method} {path}"),
        (Some(method), None, Some(url)) => {
            let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
            let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/");
            format!("{method} {}", path.split('?').next().unwrap_or(path))
        }
        _ => match of("db.query.text") {
            Some(query) => query.split_whitespace().collect::<Vec<_>>().join(" "),
            None => span.name.clone(),
        },
    };
    cut(&title, TITLE_BYTES).to_owned()
}

/// What went wrong, in short.
pub(super) fn message(span: &Span) -> &str {
    let said = span.status.as_ref().map_or("", |status| status.message.as_str());
    let said = if said.is_empty() {
        text_of(&span.attributes, "error.type").unwrap_or("")
    } else {
        said
    };
    cut(said, TITLE_BYTES)
}

/// A text up to `bytes` bytes.
fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

/// Texts to be searched, each once.
#[derive(Default)]
pub(super) struct Searchable {
    text: String,
    seen: std::collections::HashSet<u64, foldhash::fast::FixedState>,
}

impl Searchable {
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.seen.clear();
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Adds what a span says.
    pub(super) fn add(&mut self, service: &str, span: &Span) {
        self.word(service);
        self.word(&span.name);
        if let Some(status) = &span.status {
            self.word(&status.message);
        }
        self.attributes(&span.attributes);
        for event in &span.events {
            self.word(&event.name);
            self.attributes(&event.attributes);
        }
    }

    fn attributes(&mut self, attributes: &[KeyValue]) {
        for attribute in attributes {
            match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
                Some(Any::StringValue(text)) => self.word(text),
                Some(Any::IntValue(number)) => self.word(&number.to_string()),
                Some(Any::ArrayValue(array)) => {
                    for value in &array.values {
                        if let Some(Any::StringValue(text)) = &value.value {
                            self.word(text);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn word(&mut self, word: &str) {
        use std::hash::BuildHasher as _;
        let word = cut(word, WORD_BYTES);
        let fits = self.text.len() + word.len() < TEXT_BYTES;
        if fits && !word.is_empty() && self.seen.insert(self.seen.hasher().hash_one(word)) {
            self.text.push_str(word);
            self.text.push('\n');
        }
    }
}

/// An attribute's value.
pub(super) fn find<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a AnyValue> {
    let attribute = attributes.iter().find(|attribute| attribute.key == name)?;
    attribute.value.as_ref()
}

fn text_of<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a str> {
    match find(attributes, name)?.value.as_ref()? {
        Any::StringValue(text) => Some(text),
        _ => None,
    }
}

/// A value as a filter compares it.
pub(super) fn plain(value: &AnyValue) -> Cow<'_, str> {
    match &value.value {
        Some(Any::StringValue(text)) => Cow::Borrowed(text),
        Some(Any::IntValue(number)) => Cow::Owned(number.to_string()),
        Some(Any::DoubleValue(number)) => Cow::Owned(number.to_string()),
        Some(Any::BoolValue(yes)) => Cow::Owned(yes.to_string()),
        _ => Cow::Borrowed(""),
    }
}

/// Attributes as JSON has them.
pub(super) fn attributes(attributes: &[KeyValue]) -> Map<String, Json> {
    let pair = |attribute: &KeyValue| {
        (
            attribute.key.clone(),
            attribute.value.as_ref().map_or(Json::Null, value),
        )
    };
    attributes.iter().map(pair).collect()
}

fn value(of: &AnyValue) -> Json {
    of.value.as_ref().map_or(Json::Null, any)
}

/// A value as JSON has it; bytes are hex digits.
pub(super) fn any(of: &Any) -> Json {
    match of {
        Any::StringValue(text) => json!(text),
        Any::IntValue(number) => json!(number),
        Any::DoubleValue(number) => json!(number),
        Any::BoolValue(yes) => json!(yes),
        Any::ArrayValue(array) => array.values.iter().map(value).collect(),
        Any::KvlistValue(list) => Json::Object(attributes(&list.values)),
        Any::BytesValue(bytes) => {
            let mut text = String::with_capacity(bytes.len() * 2);
            for byte in bytes {
                let _infallible = write!(text, "{byte:02x}");
            }
            json!(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(attributes: &[(&str, Any)]) -> Span {
        let attributes = attributes.iter().map(|(key, value)| KeyValue {
            key: (*key).to_owned(),
            value: Some(AnyValue {
                value: Some(value.clone()),
            }),
        });
        Span {
            name: "NAME".to_owned(),
            attributes: attributes.collect(),
            ..Span::default()
        }
    }

    fn text(text: &str) -> Any {
        Any::StringValue(text.to_owned())
    }

    #[test]
    fn titles_and_statuses() {
        let cases = [
            (span(&[]), "NAME", ""),
            (
                span(&[
                    ("http.request.method", text("GET")),
                    ("url.path", text("/a")),
                    ("http.response.status_code", Any::IntValue(503)),
                ]),
                "GET /a",
                "503",
            ),
            (
                span(&[
                    ("http.request.method", text("POST")),
                    ("url.full", text("http://host:80/b/c?secret=1")),
                ]),
                "POST /b/c",
                "",
            ),
            (
                span(&[("http.request.method", text("GET")), ("url.full", text("http://host"))]),
                "GET /",
                "",
            ),
            (
                span(&[
                    ("db.query.text", text("SELECT *\n  FROM x")),
                    ("db.response.status_code", text("42P01")),
                ]),
                "SELECT * FROM x",
                "42P01",
            ),
        ];
        for (span, want_title, want_status) in cases {
            assert_eq!(title(&span), want_title);
            assert_eq!(status(&span), want_status);
        }
        let long = span(&[("db.query.text", text(&"é".repeat(500)))]);
        assert!(title(&long).len() <= TITLE_BYTES && !title(&long).is_empty());
    }

    #[test]
    fn searchable_text_is_said_once_and_bounded() {
        let mut searchable = Searchable::default();
        let one = span(&[("a", text("same")), ("b", text("same")), ("c", Any::IntValue(7))]);
        searchable.add("shop", &one);
        searchable.add("shop", &one);
        assert_eq!(searchable.text(), "shop\nNAME\nsame\n7\n");
        for number in 0..100 {
            searchable.add("shop", &span(&[("a", text(&format!("{number}{}", "x".repeat(5000))))]));
        }
        assert!(searchable.text().len() <= TEXT_BYTES);
        searchable.clear();
        assert_eq!(searchable.text(), "");
    }

    #[test]
    fn kinds_by_number_and_word() {
        for (number, word) in [
            (2, "server"),
            (3, "client"),
            (4, "producer"),
            (5, "consumer"),
            (1, "internal"),
        ] {
            assert_eq!((kind_word(number), kind_number(word)), (word, Some(number)));
        }
        assert_eq!(
            (kind_word(-1), kind_word(99), kind_number("x")),
            ("internal", "internal", None)
        );
    }
}
