//! What is told of a request over HTTP that names an operation.
use bytes::Bytes;

use super::build::Exchanged;
use super::{Span, SpanKind, Status, Value};
use crate::protocol::http1::{RequestHead, ResponseHead, Version};
use crate::protocol::{Body, Known};

/// A request and its answer, both with their body.
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    pub(super) fields: &'a [(&'a str, &'a str)],
    pub(super) body: &'a str,
    pub(super) status: u16,
    pub(super) answered: &'a [(&'a str, &'a str)],
    pub(super) answer: &'a str,
}

impl Asked<'_> {
    /// The span's name and attributes, as `key=value`, once `describe` has told more of a client's span than `before`; none if it has
    /// nothing to tell.
    pub(super) fn told(
        &self,
        before: (&'static str, &str),
        describe: impl FnOnce(&mut Span, &RequestHead, Option<&ResponseHead>, &Exchanged<'_>) -> bool,
    ) -> Option<Vec<String>> {
        let request = RequestHead {
            method: self.method.into(),
            target: self.target.into(),
            version: Version::Http11,
            scheme: None,
            authority: None,
            protocol: None,
            first: false,
            fields: self.fields.iter().copied().collect(),
            unknown: 0,
            gateway: None,
        };
        let response = ResponseHead {
            status: self.status,
            version: Version::Http11,
            fields: self.answered.iter().copied().collect(),
            unknown: 0,
        };
        let exchanged = Exchanged {
            kind: SpanKind::Client,
            request_body: &body(self.body),
            response_body: &body(self.answer),
            server: None,
            secured: false,
        };
        let mut span = Span {
            kind: SpanKind::Client,
            name: self.method.into(),
            start_ns: 1000,
            end_ns: 2000,
            attributes: vec![(before.0, Value::Text(before.1.into()))],
            named: Vec::new(),
            status: Status::Unset,
            events: Vec::new(),
        };
        let is_told = describe(&mut span, &request, Some(&response), &exchanged);
        let attributes = span.attributes.iter().map(|(key, value)| match value {
            Value::Text(text) => format!("{key}={text}"),
            other => format!("{key}={other:?}"),
        });
        is_told.then(|| [format!("name={}", span.name)].into_iter().chain(attributes).collect())
    }
}

fn body(text: &str) -> Body {
    Body::from(Known {
        bytes: Some(text.len() as u64),
        captured: Bytes::copy_from_slice(text.as_bytes()),
        ..Known::default()
    })
}
