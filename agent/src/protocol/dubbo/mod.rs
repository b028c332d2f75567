//! Dubbo's own protocol ("dubbo2"), whose calls are numbered and answered in any order.
//!
//! What is called is known where it is written in Hessian 2; other ways to write it are told without a name. Both ends ask now
//! and then whether the other is there, which is not told.
mod connection;
mod message;
#[cfg(test)]
mod tests;

use super::{Parser, Recognized, Start};

/// The name of this system, as `rpc.system.name` has it.
const SYSTEM: &str = "dubbo";

/// A parser for one connection.
pub(super) fn parser(start: &Start) -> Box<dyn Parser> {
    Box::new(connection::Connection::new(start))
}

/// Whether bytes begin with a call.
pub(super) fn recognize(bytes: &[u8]) -> Recognized {
    message::recognize(bytes)
}
