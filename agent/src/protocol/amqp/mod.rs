//! AMQP 0-9-1, as RabbitMQ speaks it.
//!
//! What a client publishes is an exchange that its confirmation ends or, where it asked for none, its own last byte. What the
//! server delivers is an exchange as well, of the other direction: the message asks, and the consumer's acknowledgement answers;
//! where none is to come its own last byte ends it. `basic.get` is asked by the client and answered by the message.
//! Methods that declare, bind and so on are not told.
//!
//! Frames of many channels share a connection; all that is awaited has a number on its channel, so that a hole costs what lies in
//! it and what its numbers were counted in. Behind a hole frames are looked for by evidence.
mod channel;
mod connection;
mod consumers;
mod frame;
mod method;
#[cfg(test)]
mod tests;

use super::{Parser, Recognized, Start};

/// A parser for one connection.
pub(super) fn parser(start: &Start) -> Box<dyn Parser> {
    Box::new(connection::Amqp::new(start))
}

/// Whether bytes begin with what a client begins with, or with a frame that begins with a method there is.
pub(super) fn recognize(bytes: &[u8]) -> Recognized {
    let length = bytes.len().min(frame::PREFACE.len());
    if bytes.get(..length) == frame::PREFACE.get(..length) {
        return if length == frame::PREFACE.len() {
            Recognized::Yes
        } else {
            Recognized::More
        };
    }
    match bytes.get(..frame::EVIDENCE) {
        Some(begin) if frame::begins_frame(begin) => Recognized::Yes,
        Some(_) => Recognized::No,
        None if matches!(bytes, [] | [1 | 2, ..]) => Recognized::More,
        None => Recognized::No,
    }
}
