//! MQTT 3.1, 3.1.1 and 5.
//!
//! What is published is an exchange that ends with its last acknowledgement, `PUBACK` or `PUBCOMP`, or with its own last byte where
//! none is to come (quality of service 0). What the server hands over is the same, of the other direction: its receiver's
//! acknowledgement ends it. Connecting, subscribing and keeping alive are not told.
//!
//! Whether a message has properties depends on the version, which `CONNECT` tells. On a connection that was joined later other
//! packets prove it; until then only the topic of a message is told. Who is the client is learned the same way.
mod connection;
mod packet;
mod properties;
mod reader;
#[cfg(test)]
mod tests;

use super::{Parser, Recognized, Start};

/// A parser for one connection.
pub(super) fn parser(start: &Start) -> Box<dyn Parser> {
    Box::new(connection::Mqtt::new(start))
}

/// Whether bytes begin with what a client begins with, or with a message.
pub(super) fn recognize(bytes: &[u8]) -> Recognized {
    match bytes.first() {
        None => Recognized::More,
        Some(first) if matches!(first >> 4, packet::CONNECT | packet::PUBLISH) => packet::begins(bytes),
        // What other packets begin with is no evidence.
        Some(_) => Recognized::No,
    }
}
