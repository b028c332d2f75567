//! Messages of a batch.
//!
//! ```text
//! length | attributes (1) | time delta | offset delta | key | value | number of headers *(name | value)
//! ```
//! Numbers have 7 bits a byte and a sign; what has a length has it before it, -1 for null.
use std::io::Read as _;

use smol_str::SmolStr;

use super::wire::{Cursor, Got, Short};
use crate::protocol::http1::Fields;

/// Bytes of a batch's messages that are kept.
pub(super) const MAX_KEPT: usize = 64 * 1024;
/// Bytes that are decompressed.
const MAX_PLAIN: u64 = 64 * 1024;
/// Headers of a message that are kept, and contexts of a batch.
const MAX_HEADERS: i64 = 64;
const MAX_CONTEXTS: usize = 64;
/// Longest key that is kept.
const MAX_KEY: usize = 128;
/// How names of headers begin that carry a context.
const CONTEXTS: [&str; 6] = [
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-",
    "uber-trace-id",
    "x-datadog-",
];

/// What is known of the messages of a batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    /// The only message.
    pub(super) only: Option<Record>,
    /// Contexts that messages carry, each once; one alone if all have the same.
    pub(super) contexts: Vec<Fields>,
    /// All messages have the same context.
    pub(super) is_shared: bool,
}

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) headers: Fields,
    /// Its key, where that is text.
    pub(super) key: Option<SmolStr>,
    /// Bytes of its value; none for null.
    pub(super) bytes: Option<u64>,
}

impl Records {
    /// What the bytes behind a batch's head say, of which the end may be missing.
    pub(super) fn read(bytes: &[u8], count: i32, compression: u8) -> Self {
        match compression {
            0 => Self::plain(bytes, count),
            1 => {
                let mut plain = Vec::new();
                let unpacked = flate2::read::MultiGzDecoder::new(bytes);
                // What was cut off ends in an error, behind what could be read.
                let _ = unpacked.take(MAX_PLAIN).read_to_end(&mut plain);
                Self::plain(&plain, count)
            }
            _ => Self::default(),
        }
    }

    fn plain(bytes: &[u8], count: i32) -> Self {
        let mut records = Self::default();
        let mut cursor = Cursor::new(bytes, false);
        let mut with_context = 0_i32;
        for number in 0..count {
            let Ok(record) = record(&mut cursor) else { break };
            let own: Fields = record.headers.iter().filter(|(name, _)| is_context(name)).collect();
            if !own.is_empty() {
                with_context = with_context.saturating_add(1);
                if records.contexts.len() < MAX_CONTEXTS && !records.contexts.contains(&own) {
                    records.contexts.push(own);
                }
            }
            if number == 0 && count == 1 {
                records.only = Some(record);
            }
        }
        records.is_shared = records.contexts.len() == 1 && with_context == count;
        records
    }
}

fn is_context(name: &str) -> bool {
    CONTEXTS.iter().any(|begin| name.starts_with(begin))
}

fn record(cursor: &mut Cursor<'_>) -> Got<Record> {
    let length = usize::try_from(cursor.varint()?).map_err(|_| Short::Wrong)?;
    let mut cursor = Cursor::new(cursor.bytes(length)?, false);
    let cursor = &mut cursor;
    cursor.i8()?;
    cursor.varint()?;
    cursor.varint()?;
    let key = sized(cursor)?.filter(|key| key.len() <= MAX_KEY);
    let key = key.and_then(|key| std::str::from_utf8(key).ok());
    let bytes = sized(cursor)?.map(|value| value.len() as u64);
    let mut headers = Fields::default();
    let count = cursor.varint()?;
    for _ in 0..count.min(MAX_HEADERS) {
        let (name, value) = (sized(cursor)?.unwrap_or_default(), sized(cursor)?.unwrap_or_default());
        let is_text = std::str::from_utf8(value).is_ok_and(|text| !text.contains(char::is_control));
        if !name.is_empty() && name.iter().all(u8::is_ascii_graphic) && is_text {
            headers.push(name, value);
        }
    }
    Ok(Record {
        headers,
        key: key.map(SmolStr::new),
        bytes,
    })
}

/// Bytes with their length before them; none for null.
fn sized<'a>(cursor: &mut Cursor<'a>) -> Got<Option<&'a [u8]>> {
    match cursor.varint()? {
        -1 => Ok(None),
        length => {
            let length = usize::try_from(length).map_err(|_| Short::Wrong)?;
            cursor.bytes(length).map(Some)
        }
    }
}
