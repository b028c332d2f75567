//! One stream: a request and its response.
use bytes::Bytes;

use crate::protocol::http1::Fields;
use crate::protocol::messages::Messages;
use crate::protocol::{Body, Exchange, Known, Mark};

/// A stream without an end.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) exchange: Exchange,
    pub(super) request: Message,
    pub(super) response: Message,
    pub(super) request_ended: bool,
    pub(super) responded: bool,
    /// Something of its answer may have been missed there.
    pub(super) doubtful: Option<Mark>,
}

impl Stream {
    pub(super) fn new(exchange: Exchange) -> Self {
        Self {
            exchange,
            request: Message::default(),
            response: Message::default(),
            request_ended: false,
            responded: false,
            doubtful: None,
        }
    }
}

/// One side's content.
#[derive(Debug, Default)]
pub(super) struct Message {
    bytes: u64,
    /// When the first of them passed.
    first_ns: Option<u64>,
    uncounted: bool,
    /// What comes behind a hole does not go on with what was captured.
    holed: bool,
    captured: Vec<u8>,
    messages: Option<Messages>,
    trailers: Fields,
}

impl Message {
    /// The head has come.
    pub(super) fn begin(&mut self, fields: &Fields) {
        self.messages = Messages::of(fields);
    }

    /// Content passed: `length` bytes, of which `bytes` were seen, all or none.
    pub(super) fn content(&mut self, bytes: &[u8], length: u64, at: Mark, limit: usize) {
        if length > 0 {
            self.first_ns.get_or_insert(at.moment.time_ns);
        }
        self.bytes = self.bytes.saturating_add(length);
        self.holed |= (bytes.len() as u64) < length;
        if !self.holed {
            let room = limit.saturating_sub(self.captured.len()).min(bytes.len());
            self.captured.extend_from_slice(bytes.get(..room).unwrap_or_default());
        }
        if let Some(messages) = &mut self.messages {
            messages.content(bytes, length);
        }
    }

    /// Content may have passed unseen.
    pub(super) const fn lost(&mut self) {
        self.uncounted = true;
        self.holed = true;
        if let Some(messages) = &mut self.messages {
            messages.lost();
        }
    }

    pub(super) fn trailers(&mut self, fields: Fields) {
        self.trailers = fields;
    }

    /// What is known of it.
    pub(super) fn take(&mut self) -> Body {
        let mut messages = self.messages.take();
        let trailers = std::mem::take(&mut self.trailers);
        let within = messages.as_ref().and_then(Messages::trailers);
        let trailers = within.unwrap_or(trailers);
        Known {
            bytes: (!self.uncounted).then_some(self.bytes),
            captured: Bytes::from(std::mem::take(&mut self.captured)),
            first_ns: self.first_ns.take(),
            messages: messages.as_ref().and_then(Messages::count),
            trailers: Some(trailers).filter(|trailers| !trailers.is_empty()).map(Box::new),
            end: messages.as_mut().map(Messages::end).unwrap_or_default(),
            websocket: None,
        }
        .into()
    }
}
