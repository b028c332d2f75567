//! HTTP/1.0 and 1.1 (RFC 9112).
use bytes::Bytes;

/// Header fields in the order they came. Names are lowercase; obsolete folding is undone.
pub type Fields = Vec<(String, Bytes)>;

/// The head of a request (RFC 9112 section 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// The method as sent.
    pub method: String,
    /// The request target as sent, lossily decoded.
    pub target: String,
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
