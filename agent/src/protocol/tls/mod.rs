//! TLS on the wire: told by its records (RFC 8446 section 5.1), never decrypted.
//!
//! A connection that is recognized stays encrypted: its bytes are never taken for another protocol. What is read is the random
//! number of the ClientHello, by which a session in a library is found.
use crate::capture::Direction;
use crate::stream::{Content, Piece};

use super::{Broken, Exchange, Flow, Mark, Parser, Recognized, Start, Step};

/// The name of the row in `PROTOCOLS`.
pub const NAME: &str = "tls";

/// Bytes before a record's content.
const HEADER_BYTES: usize = 5;
/// Most bytes a record has behind its header (RFC 5246 section 6.2.3).
const MOST_BYTES: u16 = 16_384 + 2_048;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
/// Where the random number of a ClientHello lies, with the header of its record.
const RANDOM: core::ops::Range<usize> = 11..43;

/// Whether bytes begin with a record that begins a connection, or carries data of one.
///
/// ```text
/// 0      1         3        5      6          9         11       43
/// +------+---------+--------+------+----------+---------+--------+---
/// | type | version | length | kind | length   | version | random |
/// +------+---------+--------+------+----------+---------+--------+---
///   22     3 0..4              1 ClientHello, 2 ServerHello
///   23     3 3              ciphertext
/// ```
pub(super) fn recognize(bytes: &[u8]) -> Recognized {
    let matches = |at: usize, want: &dyn Fn(u8) -> bool| bytes.get(at).is_none_or(|byte| want(*byte));
    let length = bytes.get(3..5).map(|length| u16::from_be_bytes([length[0], length[1]]));
    if !matches(1, &|major| major == 3) || !matches(2, &|minor| minor <= 4) || length.is_some_and(|n| n > MOST_BYTES) {
        return Recognized::No;
    }
    let enough = match bytes.first() {
        Some(&HANDSHAKE) if matches(5, &|kind| matches!(kind, CLIENT_HELLO | SERVER_HELLO)) => HEADER_BYTES + 1,
        // Any record of an older connection: a tag at least.
        Some(&APPLICATION_DATA) if matches(2, &|minor| minor > 0) && length.is_none_or(|n| n >= 16) => HEADER_BYTES,
        None => 1,
        _ => return Recognized::No,
    };
    if bytes.len() >= enough {
        Recognized::Yes
    } else {
        Recognized::More
    }
}

/// A parser for one connection.
pub(super) fn parser(start: &Start) -> Box<dyn Parser> {
    Box::new(Tls {
        next: start.first,
        seen: Some(Vec::new()),
        from: start.direction,
    })
}

/// A ClientHello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Which way it went: ingress makes this end the server.
    pub direction: Direction,
    /// Its random number.
    pub random: [u8; 32],
}

struct Tls {
    next: Exchange,
    /// The beginning of what the direction that was recognized said; none once it was read.
    seen: Option<Vec<u8>>,
    from: Direction,
}

impl Parser for Tls {
    fn piece(&mut self, piece: Piece, out: &mut Vec<Step>) -> Flow {
        if piece.direction != self.from {
            return Flow::Continue;
        }
        let Some(seen) = &mut self.seen else {
            return Flow::Continue;
        };
        match piece.content {
            Content::Bytes(bytes) => {
                let room = RANDOM.end.saturating_sub(seen.len()).min(bytes.len());
                seen.extend_from_slice(bytes.get(..room).unwrap_or_default());
            }
            // What was not seen cannot be read.
            _ => {
                self.seen = None;
                return Flow::Continue;
            }
        }
        let is_hello = seen.first().is_none_or(|kind| *kind == HANDSHAKE)
            && seen.get(HEADER_BYTES).is_none_or(|kind| *kind == CLIENT_HELLO);
        if !is_hello {
            self.seen = None;
        } else if let Some(random) = seen.get(RANDOM).and_then(|random| random.try_into().ok()) {
            out.push(Step::Hello(Box::new(Hello {
                direction: self.from,
                random,
            })));
            self.seen = None;
        }
        Flow::Continue
    }

    fn tick(&mut self, _now_ns: u64, _out: &mut Vec<Step>) {}

    fn end(&mut self, _at: Mark, _reason: Broken, _out: &mut Vec<Step>) {}

    fn open(&self) -> usize {
        0
    }

    fn next_exchange(&self) -> Exchange {
        self.next
    }

    fn wants_bytes(&self) -> bool {
        self.seen.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let check = |bytes: &[u8], want: Recognized| assert_eq!(recognize(bytes), want, "{bytes:x?}");
        check(&[], Recognized::More);
        check(&[22], Recognized::More);
        check(&[22, 3, 1, 2, 0], Recognized::More);
        check(&[22, 3, 1, 2, 0, 1], Recognized::Yes);
        check(&[22, 3, 3, 0, 80, 2], Recognized::Yes);
        check(&[22, 3, 1, 2, 0, 16], Recognized::No);
        check(&[22, 3, 1, 0xff, 0], Recognized::No);
        check(&[22, 2, 1, 2, 0, 1], Recognized::No);
        check(&[23, 3, 3, 0], Recognized::More);
        check(&[23, 3, 3, 0, 24], Recognized::Yes);
        check(&[23, 3, 3, 0, 8], Recognized::No);
        check(b"GET / HTTP/1.1\r\n", Recognized::No);
        check(&[21, 3, 3, 0, 2], Recognized::No);
    }
}
