//! Messages within the content of HTTP, of any version, as gRPC, gRPC-Web and Connect frame them.
//!
//! ```text
//! flags (8) | length (32) | message (length * 8)
//! ```
use std::num::Saturating;

use bytes::Bytes;

use super::http1::{Fields, field};

/// The flag of gRPC-Web's trailers, which stand in the content.
const TRAILERS: u8 = 0x80;
/// The flag of the message with which Connect ends a stream.
const END: u8 = 0x02;
const HEAD_BYTES: usize = 5;
/// Bytes of what ends the messages that are kept.
const MAX_END: usize = 4096;
/// Characters of base64 that are decoded at once.
const TEXT: usize = 512;

/// Counts messages.
#[derive(Debug)]
pub(super) struct Messages {
    connect: bool,
    /// They pass as text.
    text: Option<Base64>,
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
    left: u64,
    /// What passes ends the messages, and is none.
    ends: bool,
    count: Saturating<u64>,
    /// All heads of messages were seen.
    sure: bool,
    end: Vec<u8>,
}

impl Messages {
    /// A counter for the content behind these fields, if it is made of messages.
    pub(super) fn of(fields: &Fields) -> Option<Self> {
        let content_type = field(fields, "content-type")?;
        let connect = content_type.starts_with(b"application/connect+");
        let grpc = content_type.starts_with(b"application/grpc");
        let text = content_type.starts_with(b"application/grpc-web-text");
        (connect || grpc).then(|| Self {
            connect,
            text: text.then(Base64::default),
            head: [0; HEAD_BYTES],
            head_bytes: 0,
            left: 0,
            ends: false,
            count: Saturating(0),
            sure: true,
            end: Vec::new(),
        })
    }

    /// Content passed: `length` bytes, of which `bytes` were seen, all or none.
    pub(super) fn content(&mut self, bytes: &[u8], length: u64) {
        if (bytes.len() as u64) < length {
            self.unseen(length);
            return;
        }
        let Some(mut text) = self.text else {
            self.bytes(bytes);
            return;
        };
        for part in bytes.chunks(TEXT) {
            let mut space = [0; TEXT];
            let length = text.decode(part, &mut space);
            self.bytes(space.get(..length).unwrap_or_default());
        }
        self.text = Some(text);
    }

    fn bytes(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.sure {
            if self.head_bytes < HEAD_BYTES {
                let room = self.head.get_mut(self.head_bytes..).unwrap_or_default();
                let (taken, rest) = bytes.split_at_checked(room.len().min(bytes.len())).unwrap_or_default();
                for (room, byte) in room.iter_mut().zip(taken) {
                    *room = *byte;
                }
                bytes = rest;
                self.head_bytes = self.head_bytes.saturating_add(taken.len());
                if self.head_bytes == HEAD_BYTES {
                    self.begun();
                }
            } else {
                let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                let (taken, rest) = bytes.split_at_checked(length).unwrap_or_default();
                if self.ends {
                    let room = MAX_END.saturating_sub(self.end.len()).min(taken.len());
                    self.end.extend_from_slice(taken.get(..room).unwrap_or_default());
                }
                bytes = rest;
                self.passed(length as u64);
            }
        }
    }

    fn begun(&mut self) {
        let [flags, a, b, c, d] = self.head;
        self.ends = flags & if self.connect { END } else { TRAILERS } != 0;
        if !self.ends {
            self.count += 1;
        }
        self.left = u64::from(u32::from_be_bytes([a, b, c, d]));
        self.passed(0);
    }

    fn passed(&mut self, length: u64) {
        self.left = self.left.saturating_sub(length);
        if self.left == 0 {
            self.head_bytes = 0;
        }
    }

    fn unseen(&mut self, length: u64) {
        let within = self.head_bytes == HEAD_BYTES && length <= self.left;
        // How many bytes a text of this length is depends on what pads it.
        self.sure &= within && self.text.is_none();
        self.passed(length);
    }

    /// Content of unknown length passed.
    pub(super) const fn lost(&mut self) {
        self.sure = false;
    }

    /// How many there were, if all were seen.
    pub(super) fn count(&self) -> Option<u64> {
        self.sure.then_some(self.count.0)
    }

    /// gRPC-Web's trailers, which stood in the content.
    pub(super) fn trailers(&self) -> Option<Fields> {
        (!self.connect && !self.end.is_empty()).then(|| Fields::parse(&self.end))
    }

    /// What Connect's last message said.
    pub(super) fn end(&mut self) -> Bytes {
        if self.connect {
            Bytes::from(std::mem::take(&mut self.end))
        } else {
            Bytes::new()
        }
    }
}

/// Base64 (RFC 4648 section 4) whose padding may stand anywhere: each part is encoded by itself.
#[derive(Clone, Copy, Debug, Default)]
struct Base64 {
    /// The bits of a group of characters that have come, and how many.
    bits: u32,
    count: u32,
}

impl Base64 {
    /// Decodes characters into `space`, which is as long; how many bytes it fills.
    fn decode(&mut self, text: &[u8], space: &mut [u8]) -> usize {
        let mut length = 0_usize;
        for letter in text {
            let value = match letter {
                b'A'..=b'Z' => letter.wrapping_sub(b'A'),
                b'a'..=b'z' => letter.wrapping_sub(b'a').wrapping_add(26),
                b'0'..=b'9' => letter.wrapping_sub(b'0').wrapping_add(52),
                b'+' => 62,
                b'/' => 63,
                // What is left of a group is padding too.
                b'=' => {
                    *self = Self::default();
                    continue;
                }
                _ => continue,
            };
            self.bits = self.bits << 6 | u32::from(value);
            self.count = self.count.wrapping_add(6);
            if let Some(left) = self.count.checked_sub(8)
                && let Some(place) = space.get_mut(length)
            {
                *place = (self.bits >> left & 0xff) as u8;
                length = length.wrapping_add(1);
                self.count = left;
            }
        }
        length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(content_type: &str) -> Option<Messages> {
        let mut fields = Fields::default();
        fields.push(b"content-type", content_type.as_bytes());
        Messages::of(&fields)
    }

    /// Content of a type, its messages, and what ends them: the status in trailers, or what the last message said.
    #[track_caller]
    fn check(content_type: &str, content: &[u8], count: Option<u64>, end: &str) {
        for cut in [1, 3, content.len().max(1)] {
            let mut messages = of(content_type).unwrap();
            for part in content.chunks(cut) {
                messages.content(part, part.len() as u64);
            }
            let trailers = messages.trailers();
            let status = trailers.as_ref().and_then(|trailers| field(trailers, "grpc-status"));
            let said = messages.end();
            let told = status.unwrap_or(&said);
            assert_eq!((messages.count(), told), (count, end.as_bytes()), "cut {cut}");
        }
    }

    #[test]
    fn counting() {
        let two = b"\0\0\0\0\x02ab\x01\0\0\0\0";
        check("application/grpc", two, Some(2), "");
        check(
            "application/grpc-web+proto",
            b"\0\0\0\0\x01a\x80\0\0\0\x10grpc-status: 0\r\n",
            Some(1),
            "0",
        );
        // The message and the trailers are encoded apart, each with its padding.
        check(
            "application/grpc-web-text",
            b"AAAAAAFhgAAAABFncnBjLXN0YXR1czogMTMNCg==",
            Some(1),
            "13",
        );
        check(
            "application/grpc-web-text+proto",
            b"AAAAAAJhYg==gAAAABBncnBjLXN0YXR1czogNQ0K",
            Some(1),
            "5",
        );
        check(
            "application/connect+json",
            b"\0\0\0\0\x02{}\x02\0\0\0\x02{}",
            Some(1),
            "{}",
        );
        assert!(of("application/json").is_none());
    }

    #[test]
    fn holes() {
        let mut messages = of("application/grpc").unwrap();
        messages.content(b"\0\0\0\0\x09a", 6);
        messages.content(b"", 8);
        messages.content(b"\0\0\0\0\0", 5);
        assert_eq!(messages.count(), Some(2));
        messages.content(b"", 6);
        assert_eq!(messages.count(), None);
    }
}
