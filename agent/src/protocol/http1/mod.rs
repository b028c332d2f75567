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

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

impl Version {
    /// As `network.protocol.version` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2",
        }
    }
}

/// The head of a request (RFC 9112 section 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// The method as sent; empty where it was not seen.
    pub method: SmolStr,
    /// The request target as sent, lossily decoded; empty where it was not seen.
    pub target: SmolStr,
    /// The version.
    pub version: Version,
    /// HTTP/2: the scheme.
    pub scheme: Option<SmolStr>,
    /// HTTP/2: whom it is for.
    pub authority: Option<SmolStr>,
    /// HTTP/2: what the stream is to carry instead of an answer (RFC 8441).
    pub protocol: Option<SmolStr>,
    /// HTTP/2: it is the first of a connection of which every byte was seen.
    pub first: bool,
    /// Header fields.
    pub fields: Fields,
    /// Fields that were not seen whole. HTTP/2: what they refer to was sent before.
    pub unknown: usize,
    /// It passed between a web server and what runs its programs, in FastCGI.
    pub gateway: Option<Box<Gateway>>,
}

/// What a web server says of a request that it has a program answer (RFC 3875 section 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// The file that is run; empty where it was not said.
    pub script: SmolStr,
    /// The address of whoever asked the web server; empty where it was not said.
    pub client: SmolStr,
}

/// The head of a response (RFC 9112 section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// Status code, 100 to 999; 0 where it was not seen.
    pub status: u16,
    /// The version.
    pub version: Version,
    /// Header fields.
    pub fields: Fields,
    /// Fields that were not seen whole. HTTP/2: what they refer to was sent before.
    pub unknown: usize,
}

/// A parser for one connection.
pub(super) fn parser(start: &Start) -> Box<dyn Parser> {
    Box::new(pair::Http1::new(start))
}
