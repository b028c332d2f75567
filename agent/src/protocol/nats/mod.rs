//! NATS, with headers and JetStream.
//!
//! What is published is an exchange that ends with its own last byte, or with what comes to the subject it wants an answer at: a
//! reply, or JetStream's acknowledgement. What is handed over is an exchange as well, of the other direction, which ends with the
//! answer or the acknowledgement of its receiver, or with its own last byte where none is wanted. Answers, acknowledgements and calls
//! of JetStream's API are not told by themselves.
mod connection;
mod line;
mod reader;
#[cfg(test)]
mod tests;

use super::{Parser, Recognized, Start};

/// A parser for one connection.
pub(super) fn parser(start: &Start) -> Box<dyn Parser> {
    Box::new(connection::Nats::new(start))
}

/// Whether bytes begin with what a server or a client begins with, or with the line of a message.
pub(super) fn recognize(bytes: &[u8]) -> Recognized {
    let mut more = bytes.is_empty();
    let begins: [&[u8]; 7] = [
        b"INFO {\"",
        b"CONNECT {\"",
        b"PUB ",
        b"HPUB ",
        b"SUB ",
        b"MSG ",
        b"HMSG ",
    ];
    for begin in begins {
        let length = bytes.len().min(begin.len());
        if bytes.get(..length) != begin.get(..length) {
            continue;
        }
        if length < begin.len() {
            more = true;
        } else if begin.ends_with(b"\"") {
            return Recognized::Yes;
        } else {
            let Some(end) = memchr::memchr(b'\n', bytes) else {
                return Recognized::More;
            };
            let line = bytes.get(..end).and_then(|line| line.strip_suffix(b"\r"));
            return match line.and_then(line::parse) {
                Some(_) => Recognized::Yes,
                None => Recognized::No,
            };
        }
    }
    if more { Recognized::More } else { Recognized::No }
}
