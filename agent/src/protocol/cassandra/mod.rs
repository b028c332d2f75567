//! Cassandra's native protocol, versions 3 to 5, in which its clients ask in CQL.
//!
//! A message has the number of a stream, and its answer has the same: answers come in any order, and a client uses a number
//! again once it has been answered. What one server has prepared it knows by a hash of the text, so that the number means the
//! same on every connection. Since version 5 messages pass in segments once the connection is made, each with a checksum of its
//! head, by which they are recognized where a connection is joined midway.
mod connection;
mod frame;
mod message;
mod reader;
mod segment;
#[cfg(test)]
mod tests;

use super::{Parser, Recognized, Start};

/// The name of this system, as `db.system.name` has it.
const SYSTEM: &str = "cassandra";

/// A parser for one connection.
pub(super) fn parser(start: &Start) -> Box<dyn Parser> {
    Box::new(connection::Connection::new(start))
}

/// Whether bytes begin with a request, in a segment or without one.
pub(super) fn recognize(bytes: &[u8]) -> Recognized {
    match segment::recognize(bytes) {
        Recognized::No => frame::recognize(bytes),
        other => other,
    }
}
