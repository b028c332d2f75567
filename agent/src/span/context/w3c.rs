//! W3C Trace Context, levels 1 and 2: `traceparent` and `tracestate`.
//!
//! ```text
//! traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
//!              version  trace-id 16 bytes           parent-id 8      flags
//! ```
use super::{Found, id, value, values};
use crate::protocol::http1::Fields;
use crate::span::RemoteContext;

/// Most members of a `tracestate` (section 3.3.1.1).
const MAX_MEMBERS: usize = 32;
/// Longest key and longest value of a member (sections 3.3.1.3.1 and 3.3.1.3.2).
const MAX_PART: usize = 256;

pub(super) fn read(fields: &Fields) -> Found {
    let Some(text) = value(fields, "traceparent") else {
        return Found::Absent;
    };
    // More than one traceparent is no traceparent (section 4.3).
    if values(fields, "traceparent").count() > 1 {
        return Found::Invalid;
    }
    let Some((trace_id, span_id, flags)) = traceparent(text) else {
        return Found::Invalid;
    };
    let state = tracestate(values(fields, "tracestate"));
    let valid = state.is_some();
    let context = RemoteContext {
        trace_id,
        span_id,
        sampled: Some(flags & 1 != 0),
        trace_state: state.unwrap_or_default(),
        format: "w3c",
    };
    if valid {
        Found::Context(context)
    } else {
        Found::ContextWithoutState(context)
    }
}

fn traceparent(text: &str) -> Option<([u8; 16], [u8; 8], u8)> {
    let mut parts = text.splitn(5, '-');
    let version = lower_hex(parts.next()?, 2)?;
    let trace_id = id(lower_hex(parts.next()?, 32)?)?;
    let span_id = id(lower_hex(parts.next()?, 16)?)?;
    let flags = u8::from_str_radix(lower_hex(parts.next()?, 2)?, 16).ok()?;
    // Later versions may append fields; version 00 has none, and ff is forbidden (section 3.2.2.1).
    let extended = parts.next().is_some();
    (version != "ff" && !(version == "00" && extended)).then_some((trace_id, span_id, flags))
}

fn lower_hex(text: &str, length: usize) -> Option<&str> {
    let right = text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    right.then_some(text)
}

/// The members of all `tracestate` fields in one line, or None if the list is invalid, which must not affect the
/// `traceparent` (section 4.3).
fn tracestate<'a>(fields: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut out = String::new();
    let mut keys: Vec<&str> = Vec::new();
    for member in fields.flat_map(|field| field.split(',')) {
        let member = member.trim_matches([' ', '\t']);
        if member.is_empty() {
            continue;
        }
        let (key, value) = member.split_once('=')?;
        if keys.len() == MAX_MEMBERS || keys.contains(&key) || !is_key(key) || !is_value(value) {
            return None;
        }
        keys.push(key);
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(member);
    }
    Some(out)
}

/// Level 2 lets a key begin with a digit and hold `@` anywhere after its first character.
fn is_key(key: &str) -> bool {
    key.len() <= MAX_PART
        && key.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && key
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte))
}

fn is_value(value: &str) -> bool {
    !value.is_empty()
        && value.len() <= MAX_PART
        && value.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && byte != b'=')
}
