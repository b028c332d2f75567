//! Messages.
//!
//! ```text
//! +---------------+-----------+------------+--------+
//! | messageLength | requestID | responseTo | opCode |  then, by opCode:
//! |       4       |     4     |     4      |   4    |
//! +---------------+-----------+------------+--------+
//! OP_MSG         flagBits(4) section* [checksum(4)]
//!                section = 0 document | 1 length(4) name 0 document*
//! OP_QUERY       flags(4) collection 0 skip(4) return(4) document
//! OP_REPLY       flags(4) cursor(8) from(4) count(4) document*
//! OP_COMPRESSED  opCode(4) length(4) compressor(1) message
//! ```
use std::borrow::Cow;

use super::bson::{self, Document};
use crate::coding;
use crate::protocol::Recognized;
use crate::protocol::frames::{Format, Frame, Shape};

const OP_REPLY: u32 = 1;
const OP_QUERY: u32 = 2004;
const OP_COMPRESSED: u32 = 2012;
const OP_MSG: u32 = 2013;
/// Longest message that a server takes.
const MAX_LENGTH: u32 = 48_000_000;
/// Bytes of a message that are kept.
const KEPT: usize = 64 << 10;
/// Bytes of a head.
const HEAD: usize = 16;
/// Flags of `OP_MSG` that there are.
const FLAGS: u32 = CHECKSUM | MORE_TO_COME | EXHAUST_ALLOWED;
const CHECKSUM: u32 = 1;
const MORE_TO_COME: u32 = 1 << 1;
const EXHAUST_ALLOWED: u32 = 1 << 16;

/// Heads of messages.
#[derive(Debug)]
pub(super) struct Messages;

impl Format for Messages {
    const HEAD: usize = HEAD;

    fn shape(head: &[u8]) -> Option<Shape> {
        let length = word(head, 0)?;
        let behind = length.checked_sub(16)?;
        let known = matches!(
            word(head, 12)?,
            OP_REPLY | OP_QUERY | OP_COMPRESSED | OP_MSG | 2001..=2007
        );
        (known && length <= MAX_LENGTH).then(|| Shape {
            length: u64::from(behind),
            keep: KEPT,
        })
    }
}

/// Whether bytes begin with a question.
pub(super) fn recognize(bytes: &[u8]) -> Recognized {
    let all = [
        // The highest byte of a length is 2 at most.
        bytes.get(3).map(|byte| *byte <= 2),
        word(bytes, 0).map(|length| (26..=MAX_LENGTH).contains(&length)),
        word(bytes, 8).map(|answers| answers == 0),
        bytes.get(12).map(|byte| matches!(u32::from(*byte), 0xd4 | 0xdc | 0xdd)),
        word(bytes, 12).map(|code| matches!(code, OP_QUERY | OP_COMPRESSED | OP_MSG)),
        inside(bytes),
    ];
    if all.contains(&Some(false)) {
        Recognized::No
    } else if all.contains(&None) {
        Recognized::More
    } else {
        Recognized::Yes
    }
}

/// Whether what follows a head fits it.
fn inside(bytes: &[u8]) -> Option<bool> {
    let length = word(bytes, 0)?;
    match word(bytes, 12)? {
        OP_MSG => {
            let (flags, kind) = (word(bytes, 16)?, *bytes.get(20)?);
            let (document, first) = (word(bytes, 21)?, *bytes.get(25)?);
            let fits = document <= length.saturating_sub(21);
            Some(
                flags & !FLAGS == 0
                    && match kind {
                        0 => fits && bson::is_type(first),
                        1 => fits && (first.is_ascii_alphabetic() || first == b'_'),
                        _ => false,
                    },
            )
        }
        OP_QUERY => {
            let name = bytes.get(20..)?;
            let is_name = |byte: &&u8| byte.is_ascii_graphic();
            let end = name.iter().position(|byte| !is_name(&byte))?;
            Some(name.get(..end)?.ends_with(b".$cmd") && name.get(end) == Some(&0))
        }
        _ => {
            let (inner, compressor) = (word(bytes, 16)?, *bytes.get(24)?);
            Some(matches!(inner, OP_QUERY | OP_MSG) && compressor <= 3)
        }
    }
}

/// A message.
pub(super) struct Message<'a> {
    /// Its number.
    pub(super) id: u32,
    /// The number of the one it answers; 0 if it asks.
    pub(super) answers: u32,
    /// Its sender sends another before it is answered, or answers nothing.
    pub(super) more: bool,
    /// What it was compressed with, if that is not undone here.
    pub(super) compressed: Option<&'static str>,
    code: u32,
    content: Cow<'a, [u8]>,
    cut: bool,
}

/// What Snappy compressed; nothing where a part is missing, or it is more than is kept of any message.
fn unsnapped(content: &[u8]) -> Vec<u8> {
    let is_short = snap::raw::decompress_len(content).is_ok_and(|length| length <= KEPT);
    let whole = is_short.then(|| snap::raw::Decoder::new().decompress_vec(content).ok());
    whole.flatten().unwrap_or_default()
}

impl<'a> Message<'a> {
    /// What a frame says. None if it does not follow the protocol.
    pub(super) fn of(frame: &Frame<'a>) -> Option<Self> {
        let (id, answers, code) = (word(frame.head, 4)?, word(frame.head, 8)?, word(frame.head, 12)?);
        let mut message = Self {
            id,
            answers,
            more: false,
            compressed: None,
            code,
            content: Cow::Borrowed(frame.payload),
            cut: frame.cut || (frame.payload.len() as u64) < frame.length,
        };
        if code == OP_COMPRESSED {
            message.code = word(frame.payload, 0)?;
            let content = frame.payload.get(9..).unwrap_or_default();
            match frame.payload.get(8) {
                Some(0) => message.content = Cow::Borrowed(content),
                Some(1) => message.unpacked("snappy", unsnapped(content), word(frame.payload, 4)?),
                Some(2) => message.unpacked("zlib", coding::zlib(content, KEPT), word(frame.payload, 4)?),
                Some(3) => message.unpacked("zstd", coding::zstandard(content, KEPT), word(frame.payload, 4)?),
                Some(_) => return None,
                None => message.compressed = Some("?"),
            }
        }
        if message.code == OP_MSG && message.compressed.is_none() {
            let flags = word(&message.content, 0)?;
            message.more = flags & MORE_TO_COME != 0;
        }
        Some(message)
    }

    /// What was compressed, as far as it was seen and as much as is kept of any message, of so many bytes.
    fn unpacked(&mut self, compressor: &'static str, whole: Vec<u8>, length: u32) {
        if whole.is_empty() {
            self.compressed = Some(compressor);
            return;
        }
        self.cut = whole.len() as u64 != u64::from(length);
        self.content = Cow::Owned(whole);
    }

    /// Whether some of it was not seen.
    pub(super) const fn is_cut(&self) -> bool {
        self.cut
    }

    /// The command, or what answers it.
    pub(super) fn body(&self) -> Option<Document<'_>> {
        let content = self.content.as_ref();
        match self.code {
            OP_QUERY => {
                let name = content.get(4..)?;
                let end = memchr::memchr(0, name)?;
                Some(Document::first(name.get(end.checked_add(9)?..)?)?.0)
            }
            OP_REPLY => Some(Document::first(content.get(20..)?)?.0),
            OP_MSG => {
                let mut rest = content.get(4..)?;
                loop {
                    let (kind, section) = rest.split_first()?;
                    match kind {
                        0 => return Some(Document::first(section)?.0),
                        1 => rest = section.get(usize::try_from(word(section, 0)?).ok()?..)?,
                        _ => return None,
                    }
                }
            }
            _ => None,
        }
    }

    /// The database that an `OP_QUERY` is for.
    pub(super) fn database(&self) -> Option<&[u8]> {
        let name = self.content.get(4..).filter(|_| self.code == OP_QUERY)?;
        name.split(|byte| *byte == b'.').next()
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*word))
}
