//! The head of a message: its first line and its header fields.
//!
//! ```text
//! request-line = method SP request-target SP HTTP-version CRLF      RFC 9112 section 3
//! status-line  = HTTP-version SP status-code SP [ reason ] CRLF     RFC 9112 section 4
//! field-line   = field-name ":" OWS field-value OWS CRLF            RFC 9112 section 5
//! ```
use memchr::memchr;
use smol_str::SmolStr;

use super::fields::is_token;
use super::{Fields, RequestHead, ResponseHead, Version};
use crate::protocol::{DETECT_BYTES, Recognized};

/// Longest method: the registered ones have up to 17 letters.
const MAX_METHOD: usize = 24;

/// Whether bytes, of which there are at most [`DETECT_BYTES`], begin a request or a response. What is said of some bytes
/// holds for more of them, unless it is [`Recognized::More`].
pub fn recognize(bytes: &[u8]) -> Recognized {
    let seen = bytes.len();
    let bytes = trimmed(bytes);
    const VERSION: &[u8] = b"HTTP/1.";
    if bytes.len() < VERSION.len() {
        if VERSION.starts_with(bytes) {
            return Recognized::More;
        }
    } else if bytes.starts_with(VERSION) {
        return status_line(bytes);
    }
    request_line(bytes, seen)
}

fn status_line(bytes: &[u8]) -> Recognized {
    match bytes.get(7..9) {
        None => Recognized::More,
        Some([b'0' | b'1', b' ']) => Recognized::Yes,
        Some(_) => Recognized::No,
    }
}

fn request_line(bytes: &[u8], seen: usize) -> Recognized {
    let method = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_'))
        .count();
    if method > MAX_METHOD {
        return Recognized::No;
    }
    let Some(rest) = bytes.get(method..).filter(|rest| !rest.is_empty()) else {
        return Recognized::More;
    };
    let Some(rest) = rest.strip_prefix(b" ").filter(|_| method > 1) else {
        return Recognized::No;
    };
    let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
    // Control characters and spaces have no place in a target (RFC 3986); bytes above ASCII are seen in the wild.
    let target = line.iter().take_while(|byte| **byte > b' ' && **byte != 0x7f).count();
    let starts_well = match line.first() {
        None => {
            return if line.len() == rest.len() {
                Recognized::More
            } else {
                Recognized::No
            };
        }
        Some(first) => matches!(first, b'/' | b'*' | b'[') || first.is_ascii_alphanumeric(),
    };
    if !starts_well {
        return Recognized::No;
    }
    let Some(rest) = line.get(target..).filter(|rest| !rest.is_empty()) else {
        // A target may be longer than recognition looks.
        let long = seen >= DETECT_BYTES && line.first() == Some(&b'/');
        return match (long, line.len() == rest.len()) {
            (_, false) => Recognized::No,
            (true, true) => Recognized::Yes,
            (false, true) => Recognized::More,
        };
    };
    const VERSION: &[u8] = b" HTTP/1.";
    match rest.get(..VERSION.len()) {
        Some(start) if start == VERSION => Recognized::Yes,
        Some(_) => Recognized::No,
        None if VERSION.starts_with(rest.trim_ascii_end()) || VERSION.starts_with(rest) => Recognized::More,
        None => Recognized::No,
    }
}

/// Empty lines before a message are ignored (RFC 9112 section 2.2).
fn trimmed(bytes: &[u8]) -> &[u8] {
    let empty = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    bytes.get(empty..).unwrap_or_default()
}

/// Parses the head of a request. The head may be cut: what is whole is taken.
pub(super) fn request(bytes: &[u8]) -> Option<RequestHead> {
    let (line, fields) = first_line(bytes)?;
    let mut parts = line.splitn(2, |byte| *byte == b' ');
    let method = parts
        .next()
        .filter(|method| !method.is_empty() && method.len() <= MAX_METHOD)?;
    if !method.iter().all(|byte| is_token(*byte)) {
        return None;
    }
    let rest = parts.next()?;
    let space = rest.iter().rposition(|byte| *byte == b' ')?;
    let version = version(rest.get(space..)?.trim_ascii())?;
    let target = rest.get(..space)?.trim_ascii();
    if target.is_empty() {
        return None;
    }
    Some(RequestHead {
        method: SmolStr::from(String::from_utf8_lossy(method)),
        target: SmolStr::from(String::from_utf8_lossy(target)),
        version,
        scheme: None,
        authority: None,
        protocol: None,
        first: false,
        fields: Fields::parse(fields),
        unknown: 0,
        gateway: None,
    })
}

/// Parses the head of a response. The head may be cut: what is whole is taken.
pub(super) fn response(bytes: &[u8]) -> Option<ResponseHead> {
    let (line, fields) = first_line(bytes)?;
    let version = version(line.get(..8)?)?;
    let rest = line.get(8..)?.strip_prefix(b" ")?;
    let digits = rest.get(..3)?;
    let ends = rest.get(3).is_none_or(|byte| *byte == b' ');
    let status: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (ends && status >= 100).then(|| ResponseHead {
        status,
        version,
        fields: Fields::parse(fields),
        unknown: 0,
    })
}

fn first_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let bytes = trimmed(bytes);
    let end = memchr(b'\n', bytes)?;
    Some((bytes.get(..end)?.trim_ascii_end(), bytes.get(end.checked_add(1)?..)?))
}

fn version(text: &[u8]) -> Option<Version> {
    match text.strip_prefix(b"HTTP/1.")? {
        b"0" => Some(Version::Http10),
        b"1" => Some(Version::Http11),
        _ => None,
    }
}
