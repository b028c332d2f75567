//! HTTP/1.0 and 1.1 (RFC 9112).
//!
//! Requests and responses are read by one reader each and paired by their order, as the protocol has it; where a hole may
//! have swallowed a message, order is not trusted (`pair`).
mod answer;
mod ask;
mod body;
mod fields;
mod head;
mod pair;
mod reader;
#[cfg(test)]
mod tests;

use smol_str::SmolStr;

pub use fields::{Fields, field};
pub use head::recognize;

use super::{Parser, Start};

/// The head of a request (RFC 9112 section 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// The method as sent.
    pub method: SmolStr,
    /// The request target as sent, lossily decoded.
    pub target: SmolStr,
    /// Minor version: 0 or 1.
    pub minor_version: u8,
    /// Header fields.
    pub fields: Fields,
}

/// The head of a response (RFC 9112 section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// Status code, 100 to 999.
    pub status: u16,
    /// Minor version: 0 or 1.
    pub minor_version: u8,
    /// Header fields.
    pub fields: Fields,
}

/// A parser for one connection.
pub(super) fn parser(start: &Start) -> Box<dyn Parser> {
    Box::new(pair::Http1::new(start))
}
