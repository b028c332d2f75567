//! Messages of a batch.
//!
//! ```text
//! length | attributes (1) | time delta | offset delta | key | value | number of headers *(name | value)
//! ```
//! Numbers have 7 bits a byte and a sign; what has a length has it before it, -1 for null.
use std::io::Read as _;

use lz4_flex::frame::FrameDecoder;
use smol_str::SmolStr;

use super::wire::{Cursor, Got, Short};
use crate::coding;
use crate::protocol::http1::Fields;

/// Bytes of a batch's messages that are kept.
pub(super) const MAX_KEPT: usize = 64 * 1024;
/// Bytes that are decompressed.
const MAX_PLAIN: usize = 64 * 1024;
/// Largest block of Snappy.
const MAX_BLOCK: usize = 1 << 20;
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
    /// Contexts that several messages carry, each once; one alone if all have the same.
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
        if compression == 0 {
            return Self::plain(bytes, count);
        }
        unpacked(compression, bytes).map_or_else(Self::default, |plain| Self::plain(&plain, count))
    }

    fn plain(bytes: &[u8], count: i32) -> Self {
        let mut records = Self::default();
        let mut cursor = Cursor::new(bytes, false);
        let mut with_context = 0_i32;
        for _ in 0..count {
            let Ok(record) = record(&mut cursor, count == 1) else {
                break;
            };
            if count == 1 {
                records.only = Some(record);
                break;
            }
            let own = record.headers;
            if !own.is_empty() {
                with_context = with_context.saturating_add(1);
                if records.contexts.len() < MAX_CONTEXTS && !records.contexts.contains(&own) {
                    records.contexts.push(own);
                }
            }
        }
        records.is_shared = records.contexts.len() == 1 && with_context == count;
        records
    }
}

/// The first bytes of what is compressed; none where the way is not known or the bytes are not of it.
fn unpacked(compression: u8, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    // What was cut off ends in an error, behind what could be read.
    let _ = match compression {
        1 => return Some(coding::gzip(bytes, MAX_PLAIN)),
        2 => return unsnapped(bytes),
        // Kafka's blocks have 64 KiB; the decoder makes room for as much as the frame says.
        3 if bytes.get(5).is_some_and(|sizes| (sizes >> 4) & 0x07 <= 5) => {
            FrameDecoder::new(bytes).take(MAX_PLAIN as u64).read_to_end(&mut plain)
        }
        4 => return Some(coding::zstandard(bytes, MAX_PLAIN)),
        _ => return None,
    };
    Some(plain)
}

/// Snappy's blocks as its library for Java frames them, each behind its length; or one block without.
fn unsnapped(bytes: &[u8]) -> Option<Vec<u8>> {
    /// A sign, and two versions.
    const HEAD_BYTES: usize = 16;
    if !bytes.starts_with(b"\x82SNAPPY\0") {
        return unsnapped_block(bytes);
    }
    let mut cursor = Cursor::new(bytes.get(HEAD_BYTES..)?, false);
    let mut plain = Vec::new();
    while plain.len() < MAX_PLAIN
        && let Ok(length) = cursor.u32()
        && let Ok(block) = cursor.bytes(usize::try_from(length).unwrap_or(usize::MAX))
    {
        plain.extend(unsnapped_block(block)?);
    }
    Some(plain)
}

fn unsnapped_block(block: &[u8]) -> Option<Vec<u8>> {
    // The library's blocks have 32 KiB; one without its frame has all of the batch.
    let length = snap::raw::decompress_len(block).ok()?;
    if length > MAX_BLOCK {
        return None;
    }
    snap::raw::Decoder::new().decompress_vec(block).ok()
}

fn is_context(name: &str) -> bool {
    CONTEXTS.iter().any(|begin| name.starts_with(begin))
}

/// Reads a message; of one that is not the only one no more than its context.
fn record(cursor: &mut Cursor<'_>, is_only: bool) -> Got<Record> {
    let length = usize::try_from(cursor.varint()?).map_err(|_| Short::Wrong)?;
    let mut cursor = Cursor::new(cursor.bytes(length)?, false);
    let cursor = &mut cursor;
    cursor.i8()?;
    cursor.varint()?;
    cursor.varint()?;
    let key = sized(cursor)?.filter(|key| is_only && key.len() <= MAX_KEY);
    let key = key.and_then(|key| std::str::from_utf8(key).ok());
    let bytes = sized(cursor)?.map(|value| value.len() as u64);
    let mut headers = Fields::default();
    let count = cursor.varint()?;
    for _ in 0..count.min(MAX_HEADERS) {
        let (name, value) = (sized(cursor)?.unwrap_or_default(), sized(cursor)?.unwrap_or_default());
        let is_text = || std::str::from_utf8(value).is_ok_and(|text| !text.contains(char::is_control));
        let is_kept = name.is_ascii() && (is_only || std::str::from_utf8(name).is_ok_and(is_context));
        if is_kept && !name.is_empty() && name.iter().all(u8::is_ascii_graphic) && is_text() {
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
