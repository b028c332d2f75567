//! Messages that Celery, by kombu, queues in lists (kombu 5.7, `transport/virtual/base.py`).
//!
//! ```text
//! LPUSH queue {"body": "base64", "content-encoding": .., "content-type": .., "headers": {..}, "properties": {..}}
//! BRPOP queue.. timeout    *2 queue {the same}
//! ```
//! One of a priority lies in a list of its own, whose name is the queue's, two separators and the priority.
use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use smol_str::{SmolStr, ToSmolStr};

use crate::protocol::http1::Fields;
use crate::protocol::message::{Action, Content, Message};

/// Longest message that is read, bytes.
pub(super) const MAX_MESSAGE: usize = 64 * 1024;
/// What all of them begin with.
const BEGIN: &[u8] = b"{\"body\":";
/// Stands between a queue and a priority.
const SEPARATOR: &str = "\u{6}\u{16}";

/// What a value in a list is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Queued {
    /// Something else.
    #[default]
    Other,
    /// A message.
    Message(Box<Message>),
    /// It begins like one, and was not seen whole.
    Unread,
}

impl Queued {
    /// What `value` is, in the list `key`.
    pub(super) fn of(key: &[u8], value: &[u8], action: Action) -> Self {
        if !value.starts_with(BEGIN) {
            return Self::Other;
        }
        let Ok(envelope) = serde_json::from_slice::<Envelope<'_>>(value) else {
            return Self::Unread;
        };
        Self::Message(Box::new(envelope.message(key, action)))
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    body: Cow<'a, str>,
    #[serde(default)]
    headers: BTreeMap<String, Value>,
    #[serde(default, borrow)]
    properties: Properties<'a>,
}

#[derive(Default, Deserialize)]
struct Properties<'a> {
    #[serde(default, borrow)]
    correlation_id: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    delivery_tag: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    body_encoding: Option<Cow<'a, str>>,
}

impl Envelope<'_> {
    fn message(&self, key: &[u8], action: Action) -> Message {
        const SYSTEM: &str = "redis";
        let key = String::from_utf8_lossy(key);
        let queue = key.rsplit_once(SEPARATOR).map_or(&*key, |(queue, _)| queue);
        let Properties {
            correlation_id,
            delivery_tag,
            body_encoding,
        } = &self.properties;
        let text = |text: &Option<Cow<'_, str>>| text.as_deref().unwrap_or_default().to_smolstr();
        let texts = self
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name, value.as_str()?)));
        let body = self.body.as_bytes();
        let bytes = if body_encoding.as_deref() == Some("base64") {
            let padding = body.iter().rev().take_while(|byte| **byte == b'=').count();
            (body.len() / 4).saturating_mul(3).saturating_sub(padding)
        } else {
            body.len()
        };
        let mut content = Content {
            bytes: Some(bytes as u64),
            id: text(delivery_tag),
            conversation: text(correlation_id),
            headers: texts.collect::<Fields>(),
            ..Content::default()
        };
        content.identities = content.recognized_by(SYSTEM, &*key).into_iter().collect();
        Message {
            system: SYSTEM,
            action,
            operation: if action == Action::Send { "publish" } else { "deliver" },
            destination: SmolStr::new(queue),
            is_temporary: false,
            content,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: &str = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";

    /// A message with these headers whose body is `body`, of this many bytes.
    #[track_caller]
    fn check(key: &str, body: &str, encoding: &str, bytes: u64) {
        let value = format!(
            r#"{{"body": "{body}", "content-type": "application/json", "headers": {{"task": "shop.reserve", "id": "{TASK}", "retries": 0, "group": null}},
            "properties": {{"correlation_id": "{TASK}", "delivery_tag": "a-tag-of-its-own", "body_encoding": "{encoding}", "priority": 0}}}}"#
        );
        let Queued::Message(message) = Queued::of(key.as_bytes(), value.as_bytes(), Action::Deliver) else {
            panic!("no message: {value}");
        };
        assert_eq!((message.destination.as_str(), message.operation), ("celery", "deliver"));
        let content = &message.content;
        assert_eq!(content.bytes, Some(bytes));
        assert_eq!(
            (content.id.as_str(), content.conversation.as_str()),
            ("a-tag-of-its-own", TASK)
        );
        assert_eq!(content.headers.len(), 2, "{:?}", content.headers);
        let Queued::Message(sent) = Queued::of(key.as_bytes(), value.as_bytes(), Action::Send) else {
            panic!("no message: {value}");
        };
        assert_eq!(content.identities.len(), 1);
        assert_eq!(sent.content.identities, content.identities, "one message at both ends");
        let Queued::Message(other) = Queued::of(b"other", value.as_bytes(), Action::Send) else {
            panic!("no message: {value}");
        };
        assert_ne!(other.content.identities, content.identities, "elsewhere");
        for length in BEGIN.len()..value.len() {
            assert_eq!(
                Queued::of(b"celery", &value.as_bytes()[..length], Action::Send),
                Queued::Unread
            );
        }
    }

    #[test]
    fn messages() {
        check("celery", "W1tdLCB7fSwge31d", "base64", 12);
        check("celery\u{6}\u{16}3", "YQ==", "base64", 1);
        check("celery", "[[], {}]", "", 8);
    }

    #[test]
    fn what_is_none() {
        for value in [
            "",
            "{",
            "[1]",
            "{\"class\":\"Job\",\"jid\":\"0123456789abcdef01234567\"}",
            "{\"bod",
        ] {
            assert_eq!(
                Queued::of(b"queue", value.as_bytes(), Action::Send),
                Queued::Other,
                "{value}"
            );
        }
        let values: [&[u8]; 4] = [
            b"{\"body\":",
            b"{\"body\": 3}",
            b"{\"body\": \"\", \"headers\": []}",
            b"{\"body\":\"\xff\"}",
        ];
        for value in values {
            let text = String::from_utf8_lossy(value);
            assert_eq!(Queued::of(b"queue", value, Action::Send), Queued::Unread, "{text}");
        }
    }
}
