//! MongoDB's wire protocol: `OP_MSG`, and the older `OP_QUERY` with which some clients greet.
//!
//! A message says which one it answers, so that answers are paired by number. One that says that more comes is followed by
//! others to the same question (an exhaust cursor), and a question that says so gets no answer.
mod bson;
mod connection;
mod json;
mod message;

use super::ordered::Ordered;
use super::{Parser, Recognized, Start};

/// The name of this system, as `db.system.name` has it.
const SYSTEM: &str = "mongodb";

/// A parser for one connection.
pub(super) fn parser(start: &Start) -> Box<dyn Parser> {
    Box::new(Ordered::new(
        connection::Connection::new(start),
        start,
        start.direction,
        false,
    ))
}

/// Whether bytes begin with a question: a head that fits what follows it.
pub(super) fn recognize(bytes: &[u8]) -> Recognized {
    message::recognize(bytes)
}

#[cfg(test)]
mod tests;
