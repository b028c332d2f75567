//! Frames (RFC 9113 section 4).
//!
//! ```text
//! +-----------------------------------------------+
//! |                 length (24)                   |
//! +---------------+---------------+---------------+
//! |   type (8)    |   flags (8)   |
//! +-+-------------+---------------+-------------------------------+
//! |R|                 stream identifier (31)                      |
//! +-+-------------------------------------------------------------+
//! |                   payload (length * 8)                      ...
//! ```
use crate::protocol::Recognized;

/// What a client says first (section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's head.
pub(super) const HEAD_BYTES: usize = 9;
/// The size that every endpoint takes (section 4.2). Larger ones have to be asked for.
const USUAL_LENGTH: u32 = 16_384;
/// The largest frame that is taken for one.
const MAX_LENGTH: u32 = 1 << 20;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const PRIORITIZED: u8 = 0x20;

/// The head of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    reserved: bool,
}

impl FrameHead {
    pub(super) const fn parse(bytes: [u8; HEAD_BYTES]) -> Self {
        let [a, b, c, kind, flags, d, e, f, g] = bytes;
        let word = u32::from_be_bytes([d, e, f, g]);
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            stream: word & 0x7fff_ffff,
            reserved: word >> 31 != 0,
        }
    }

    pub(super) const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether a frame may look like this (section 6). Unknown types may look like anything.
    pub(super) const fn is_valid(self) -> bool {
        let length = self.length;
        let on_stream = self.stream != 0;
        let shape = match self.kind {
            DATA | HEADERS | PUSH_PROMISE | CONTINUATION => on_stream,
            PRIORITY => on_stream && length == 5,
            RST_STREAM => on_stream && length == 4,
            SETTINGS => !on_stream && length.is_multiple_of(6) && (length == 0 || !self.has(ACK)),
            PING => !on_stream && length == 8,
            GOAWAY => !on_stream && length >= 8,
            WINDOW_UPDATE => length == 4,
            _ => true,
        };
        shape && length <= MAX_LENGTH
    }

    /// How much speaks for these bytes being a frame's head, in bits: how unlikely they would be otherwise. Nothing, if they
    /// are none, or one no sender makes. Streams of even numbers are those of pushed responses, which hardly anybody sends;
    /// the offset and the length that a batch of Kafka's begins with look like them.
    fn evidence(self) -> Option<u32> {
        let defined = match self.kind {
            DATA => END_STREAM | PADDED,
            HEADERS => END_STREAM | END_HEADERS | PADDED | PRIORITIZED,
            PUSH_PROMISE => END_HEADERS | PADDED,
            CONTINUATION => END_HEADERS,
            SETTINGS | PING => ACK,
            PRIORITY | RST_STREAM | GOAWAY | WINDOW_UPDATE => 0,
            _ => return None,
        };
        let asked = self.stream == 0 || !self.stream.is_multiple_of(2);
        let usual = self.length <= USUAL_LENGTH && self.flags & !defined == 0;
        let plausible = self.is_valid() && !self.reserved && usual && asked;
        if !plausible {
            return None;
        }
        let flags = 8_u32.saturating_sub(defined.count_ones());
        // Streams are numbered upwards from 1: a high number speaks for nothing.
        let stream = self.stream.leading_zeros();
        let length = match self.kind {
            PRIORITY | RST_STREAM | PING | WINDOW_UPDATE => 24,
            SETTINGS if self.length == 0 => 24,
            _ => 10,
        };
        Some(
            8_u32
                .saturating_add(flags)
                .saturating_add(stream)
                .saturating_add(length),
        )
    }
}

/// Evidence that is believed, in bits. Two heads of frames in a row have it, as do many a control frame's alone.
const ENOUGH: u32 = 64;

/// Whether frames stand one behind the other at the beginning of `bytes`. More is asked for only while it can come within
/// `limit` bytes. What is said of some bytes holds for more of them, unless it is [`Recognized::More`].
pub(super) fn run(mut bytes: &[u8], limit: usize) -> Recognized {
    let mut evidence = 0_u32;
    let mut passed = 0_usize;
    loop {
        let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
            // The first bytes of the length are 0 in nearly every frame.
            let hopeless = bytes.first().is_some_and(|first| *first != 0)
                || bytes.get(3).is_some_and(|kind| *kind > CONTINUATION)
                || passed.saturating_add(HEAD_BYTES) > limit;
            return if hopeless { Recognized::No } else { Recognized::More };
        };
        let head = FrameHead::parse(*head);
        let Some(more) = head.evidence() else {
            return Recognized::No;
        };
        evidence = evidence.saturating_add(more);
        if evidence >= ENOUGH {
            return Recognized::Yes;
        }
        let length = usize::try_from(head.length).unwrap_or(usize::MAX);
        passed = passed.saturating_add(HEAD_BYTES).saturating_add(length);
        if passed.saturating_add(HEAD_BYTES) > limit {
            return Recognized::No;
        }
        let Some(behind) = rest.get(length..) else {
            return Recognized::More;
        };
        bytes = behind;
    }
}

/// Whether the first bytes of a direction are HTTP/2's: a client's preface, or frames.
pub(in crate::protocol) fn recognize(bytes: &[u8]) -> Recognized {
    let seen = bytes.len().min(PREFACE.len());
    match bytes.get(..seen) {
        Some(start) if PREFACE.starts_with(start) && seen == PREFACE.len() => Recognized::Yes,
        Some(start) if PREFACE.starts_with(start) => Recognized::More,
        _ => run(bytes, crate::protocol::DETECT_BYTES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS_ACK: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";
    const HEADERS_OF_1: &[u8] = b"\0\0\x03\x01\x05\0\0\0\x01\x82\x86\x84";

    #[track_caller]
    fn check(bytes: &[u8], expected: Recognized) {
        assert_eq!(recognize(bytes), expected);
        // Less may leave it open, and never says otherwise.
        for cut in 0..bytes.len() {
            let early = recognize(&bytes[..cut]);
            assert!(
                early == Recognized::More || early == expected,
                "{early:?} of {cut} bytes"
            );
        }
    }

    #[test]
    fn beginnings() {
        check(PREFACE, Recognized::Yes);
        check(b"PRI * HTTP/2.0\r\n\r\nXX", Recognized::No);
        check(b"GET / HTTP/1.1\r\n\r\n", Recognized::No);
        check(SETTINGS_ACK, Recognized::Yes);
        check(HEADERS_OF_1, Recognized::More);
        check(&[HEADERS_OF_1, SETTINGS_ACK].concat(), Recognized::Yes);
        check(&[HEADERS_OF_1, b"zzzzzzzzz"].concat(), Recognized::No);
        check(&[0; 64], Recognized::No);
        check(b"", Recognized::More);
        // PostgreSQL's request for TLS, a Kafka request and a TLS record.
        check(b"\0\0\0\x08\x04\xd2\x16\x2f", Recognized::More);
        check(b"\0\0\0\x08\x04\xd2\x16\x2f\0", Recognized::No);
        check(b"\0\0\0\x23\0\x12\0\x03\0\0\0\0", Recognized::No);
        check(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", Recognized::No);
        // A batch of Kafka's: offset, length, epoch, version and checksum.
        check(
            b"\0\0\0\0\0\0\0\x05\0\0\0\x49\0\0\0\0\x02\x91\x4e\xd8\x4c",
            Recognized::No,
        );
    }

    #[test]
    fn shapes() {
        let head = |bytes: &[u8; 9]| FrameHead::parse(*bytes);
        assert!(head(b"\0\0\x04\x03\0\0\0\0\x05").is_valid());
        assert!(!head(b"\0\0\x05\x03\0\0\0\0\x05").is_valid());
        assert!(!head(b"\0\0\x04\x03\0\0\0\0\0").is_valid());
        assert!(!head(b"\0\0\x07\x04\0\0\0\0\0").is_valid());
        assert!(head(b"\0\0\x07\x10\0\0\0\0\0").is_valid());
        assert!(!head(b"\xff\xff\xff\0\0\0\0\0\x01").is_valid());
    }
}
