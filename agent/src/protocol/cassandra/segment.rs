//! Segments, in which messages of version 5 pass once a connection is made.
//!
//! ```text
//! plain:      length (17 bits) | whole (1) | 0 (6)                             | CRC-24 (3 bytes) | messages | CRC-32 (4 bytes)
//! compressed: length (17 bits) | length of the messages (17) | whole (1) | 0 (5) | CRC-24 (3 bytes) | messages | CRC-32 (4 bytes)
//! ```
//!
//! Numbers have their lowest byte first. A segment is whole if it has nothing but whole messages; one that is longer is alone in
//! several that are not. Where what is compressed would be longer than it was, its length is 0 and it passes as it is.
use super::frame::{HEAD as MESSAGE_HEAD, Head};
use crate::protocol::Recognized;
use crate::protocol::frames::{Format, Frame, Shape};

/// Bytes of the checksum behind the content.
pub(super) const TRAILER: u64 = 4;
/// Longest content.
const MAX_LENGTH: u64 = (1 << 17) - 1;

/// Segments that are not compressed.
#[derive(Debug)]
pub(super) struct Plain;
/// Segments that may be compressed.
#[derive(Debug)]
pub(super) struct Compressed;

/// What the head of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    /// Bytes of the content as they pass.
    length: u64,
    /// Bytes of it where it is compressed, else 0.
    plain: u64,
    whole: bool,
}

impl Bounds {
    /// What a head of `N` bytes without its checksum says, if that is right.
    fn of<const N: usize>(bytes: &[u8]) -> Option<Self> {
        let said = bytes.first_chunk::<N>()?;
        let sum = bytes.get(N..)?.first_chunk::<3>()?;
        let [low, middle, high] = *sum;
        if checksum(said) != u32::from_le_bytes([low, middle, high, 0]) {
            return None;
        }
        let number = said
            .iter()
            .rev()
            .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let length = number & MAX_LENGTH;
        let (plain, rest) = if N == 3 {
            (0, number >> 17)
        } else {
            (number >> 17 & MAX_LENGTH, number >> 34)
        };
        // What is not used is 0.
        (rest <= 1 && length > 0).then_some(Self {
            length,
            plain,
            whole: rest == 1,
        })
    }

    fn shape(self) -> Shape {
        Shape {
            length: self.length.saturating_add(TRAILER),
            keep: usize::try_from(self.length).unwrap_or(usize::MAX),
        }
    }
}

/// A kind of segment.
pub(super) trait Kind: Format {
    /// Its content, for which there may be need of `room`, and whether it has whole messages alone. None where what it is compressed
    /// with cannot be undone.
    fn content<'a>(segment: &Frame<'a>, room: &'a mut Vec<u8>) -> (Option<&'a [u8]>, bool);
    /// Whether places in the content are places in the stream.
    const IN_PLACE: bool;
}

impl Format for Plain {
    const HEAD: usize = 6;

    fn shape(head: &[u8]) -> Option<Shape> {
        Bounds::of::<3>(head).map(Bounds::shape)
    }
}

impl Kind for Plain {
    const IN_PLACE: bool = true;

    fn content<'a>(segment: &Frame<'a>, _room: &'a mut Vec<u8>) -> (Option<&'a [u8]>, bool) {
        let whole = Bounds::of::<3>(segment.head).is_some_and(|bounds| bounds.whole);
        (Some(segment.payload), whole)
    }
}

impl Format for Compressed {
    const HEAD: usize = 8;

    fn shape(head: &[u8]) -> Option<Shape> {
        Bounds::of::<5>(head).map(Bounds::shape)
    }
}

impl Kind for Compressed {
    const IN_PLACE: bool = false;

    fn content<'a>(segment: &Frame<'a>, room: &'a mut Vec<u8>) -> (Option<&'a [u8]>, bool) {
        let Some(bounds) = Bounds::of::<5>(segment.head) else {
            return (None, false);
        };
        let content = match usize::try_from(bounds.plain) {
            Ok(0) => Some(segment.payload),
            Ok(_) if segment.cut => None,
            Ok(length) => {
                room.resize(length, 0);
                let length = lz4_flex::block::decompress_into(segment.payload, room);
                length.ok().and_then(|length| room.get(..length))
            }
            Err(_) => None,
        };
        (content, bounds.whole)
    }
}

/// How what begins so passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As messages.
    Messages(Head),
    /// In segments.
    Plain,
    Compressed,
}

/// Bytes that tell the way.
pub(super) const TELLING: usize = MESSAGE_HEAD;

impl Way {
    /// How what begins with `bytes` passes, which are [`TELLING`] at least. None where it is neither a message nor a segment.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        if Bounds::of::<3>(bytes).is_some() {
            Some(Self::Plain)
        } else if Bounds::of::<5>(bytes).is_some() {
            Some(Self::Compressed)
        } else {
            Head::of(bytes).map(Self::Messages)
        }
    }
}

/// Whether bytes begin with a segment in which a client asks.
pub(super) fn recognize(bytes: &[u8]) -> Recognized {
    let messages = match (Bounds::of::<3>(bytes), Bounds::of::<5>(bytes)) {
        (Some(_), _) => bytes.get(Plain::HEAD..),
        (None, Some(bounds)) if bounds.plain == 0 => bytes.get(Compressed::HEAD..),
        // Of a block of LZ4 the first byte says how many follow as they are: those of a message that is not like the one before.
        (None, Some(_)) => bytes.get(Compressed::HEAD.saturating_add(1)..),
        (None, None) if may_be::<3>(bytes) || may_be::<5>(bytes) => return Recognized::More,
        (None, None) => return Recognized::No,
    };
    match messages.and_then(<[u8]>::first) {
        Some(5) => Recognized::Yes,
        Some(_) => Recognized::No,
        None => Recognized::More,
    }
}

/// Whether so few bytes may be of the head of a segment, `N` bytes of which are not its checksum: the last of them is nearly empty.
fn may_be<const N: usize>(bytes: &[u8]) -> bool {
    let least = if N == 3 { 4 } else { 8 };
    bytes.len() < N.saturating_add(3) && bytes.get(N.saturating_sub(1)).is_none_or(|last| *last < least)
}

/// The checksum of a head: 24 bits, of the polynomial and from the number that the specification has (2.1).
fn checksum(bytes: &[u8]) -> u32 {
    const BEGIN: u32 = 0x0087_5060;
    bytes.iter().fold(BEGIN, |sum, byte| {
        let place = usize::from(sum.to_be_bytes()[1] ^ byte);
        (sum << 8 & 0x00ff_ffff) ^ TABLE.get(place).copied().unwrap_or_default()
    })
}

/// What each byte adds to the checksum.
const TABLE: [u32; 256] = {
    const POLYNOMIAL: u32 = 0x0197_4f0b;
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = (byte as u32) << 16;
        let mut bit = 0;
        while bit < 8 {
            sum <<= 1;
            if sum & 0x0100_0000 != 0 {
                sum ^= POLYNOMIAL;
            }
            bit += 1;
        }
        table[byte] = sum;
        byte += 1;
    }
    table
};
