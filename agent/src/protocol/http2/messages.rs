//! Messages within the content of a stream, as gRPC, gRPC-Web and Connect frame them.
//!
//! ```text
//! flags (8) | length (32) | message (length * 8)
//! ```
use std::num::Saturating;

/// The flag of gRPC-Web's trailers, which stand in the content.
const TRAILERS: u8 = 0x80;
/// The flag of the message with which Connect ends a stream.
const END: u8 = 0x02;
const HEAD_BYTES: usize = 5;
/// Bytes of gRPC-Web's trailers that are kept.
const MAX_TRAILERS: usize = 4096;

/// Counts messages.
#[derive(Debug)]
pub(super) struct Messages {
    connect: bool,
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
    left: u64,
    in_trailers: bool,
    count: Saturating<u64>,
    /// All heads of messages were seen.
    sure: bool,
    trailers: Vec<u8>,
}

impl Messages {
    /// A counter for content of this type, if it is made of messages.
    pub(super) fn of(content_type: &[u8]) -> Option<Self> {
        let connect = content_type.starts_with(b"application/connect+");
        let grpc =
            content_type.starts_with(b"application/grpc") && !content_type.starts_with(b"application/grpc-web-text");
        (connect || grpc).then(|| Self {
            connect,
            head: [0; HEAD_BYTES],
            head_bytes: 0,
            left: 0,
            in_trailers: false,
            count: Saturating(0),
            sure: true,
            trailers: Vec::new(),
        })
    }

    /// Content passed: `length` bytes, of which `bytes` were seen, all or none.
    pub(super) fn content(&mut self, mut bytes: &[u8], length: u64) {
        if (bytes.len() as u64) < length {
            self.unseen(length);
            return;
        }
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
                if self.in_trailers {
                    let room = MAX_TRAILERS.saturating_sub(self.trailers.len()).min(taken.len());
                    self.trailers.extend_from_slice(taken.get(..room).unwrap_or_default());
                }
                bytes = rest;
                self.passed(length as u64);
            }
        }
    }

    fn begun(&mut self) {
        let [flags, a, b, c, d] = self.head;
        self.in_trailers = !self.connect && flags & TRAILERS != 0;
        let ends = self.connect && flags & END != 0;
        if !self.in_trailers && !ends {
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
        self.sure &= within;
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

    /// The trailers that stood in the content, as lines.
    pub(super) fn trailers(&self) -> &[u8] {
        &self.trailers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content_type: &str, content: &[u8], count: Option<u64>, trailers: &[u8]) {
        for cut in [1, 3, content.len().max(1)] {
            let mut messages = Messages::of(content_type.as_bytes()).unwrap();
            for part in content.chunks(cut) {
                messages.content(part, part.len() as u64);
            }
            assert_eq!((messages.count(), messages.trailers()), (count, trailers), "cut {cut}");
        }
    }

    #[test]
    fn counting() {
        let two = b"\0\0\0\0\x02ab\x01\0\0\0\0";
        check("application/grpc", two, Some(2), b"");
        check(
            "application/grpc-web+proto",
            b"\0\0\0\0\x01a\x80\0\0\0\x10grpc-status: 0\r\n",
            Some(1),
            b"grpc-status: 0\r\n",
        );
        check(
            "application/connect+json",
            b"\0\0\0\0\x02{}\x02\0\0\0\x02{}",
            Some(1),
            b"",
        );
        assert!(Messages::of(b"application/json").is_none());
    }

    #[test]
    fn holes() {
        let mut messages = Messages::of(b"application/grpc").unwrap();
        messages.content(b"\0\0\0\0\x09a", 6);
        messages.content(b"", 8);
        messages.content(b"\0\0\0\0\0", 5);
        assert_eq!(messages.count(), Some(2));
        messages.content(b"", 6);
        assert_eq!(messages.count(), None);
    }
}
