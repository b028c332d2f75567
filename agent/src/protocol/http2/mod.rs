//! HTTP/2 (RFC 9113), also where the connection was joined midway.
//!
//! Frames are read by one reader each direction, header blocks decoded with one table each (`hpack`), and streams are
//! exchanges. What is not seen is named: behind a hole frames are found by evidence (`frame`), header fields that refer to
//! what was missed are unknown, and a stream of which something may have been missed that never goes on is told as unseen.
mod frame;
mod head;
mod hpack;
mod huffman;
mod reader;
mod stream;
mod streams;
#[cfg(test)]
mod tests;

pub(super) use frame::recognize;

use super::{Parser, Start};

/// A parser for one connection.
pub(super) fn parser(start: &Start) -> Box<dyn Parser> {
    Box::new(streams::Http2::new(start))
}
