//! Kafka's protocol, as Apache Kafka and its clients speak it.
//!
//! Each batch that is produced is an exchange, which the broker's answer ends or, where none is asked for, its own last byte. Each batch
//! that a fetch brings is an exchange as well, of the other direction, which ends with its last byte: what is done with its messages
//! afterwards passes through the client's own queues. So a fetch that waits for messages is no slow call, and one without messages is
//! nothing at all. What else is asked (groups and their heartbeats, metadata, administration) is not told.
//!
//! A batch is recognized by what neither end changes. Newer versions send numbers for topics; a connection's metadata names them.
//!
//! ```text
//! +------+---------------------+--------
//! | size | header              | body
//! +------+---------------------+--------
//!  4 bytes
//! request's header:  key of the API (2) | its version (2) | correlation (4) | client (2 bytes length, text) | tags (newer versions)
//! response's header: correlation (4) | tags (newer versions)
//! ```
mod answer;
mod batch;
mod connection;
mod head;
mod reader;
mod record;
#[cfg(test)]
mod tests;
mod topics;
mod wire;

use super::{Parser, Recognized, Start};

/// A parser for one connection.
pub(super) fn parser(start: &Start) -> Box<dyn Parser> {
    Box::new(connection::Kafka::new(start))
}

/// Whether bytes begin with a request. An answer says nothing of itself.
pub(super) fn recognize(bytes: &[u8]) -> Recognized {
    head::evidence(bytes)
}
