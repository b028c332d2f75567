//! Packets ([MS-TDS] 2.2.3), and how a connection is recognized by one.
//!
//! ```text
//! | type (1) | status (1) | length (2, with the head) | session (2) | number (1) | window (1) | payload
//! ```
//!
//! A message is one or more packets of a type, the last of which says that it is. Where only the login is encrypted, records
//! of TLS stand between packets; with several sessions on a connection ([MC-SMP]) every packet has another head before its own:
//!
//! ```text
//! | 'S' | flags (1) | session (2, little-endian) | length (4, little-endian, with the head) | number (4) | window (4) |
//! ```
use crate::protocol::Recognized;
use crate::protocol::frames::{Format, Frame, Shape};

/// Bytes of a head.
pub(super) const HEAD: usize = 8;
/// Bytes of the head of what carries several sessions.
const SMP_HEAD: u32 = 16;
/// Longest frame of it that is plausible: a packet is no longer than 32 KiB.
const SMP_MAX: u32 = 64 << 10;

/// What a packet is.
pub(super) mod kind {
    pub(in super::super) const BATCH: u8 = 0x01;
    pub(in super::super) const RPC: u8 = 0x03;
    pub(in super::super) const ANSWER: u8 = 0x04;
    pub(in super::super) const ATTENTION: u8 = 0x06;
    pub(in super::super) const BULK: u8 = 0x07;
    pub(in super::super) const TOKEN: u8 = 0x08;
    pub(in super::super) const TRANSACTION: u8 = 0x0e;
    pub(in super::super) const LOGIN: u8 = 0x10;
    pub(in super::super) const SSPI: u8 = 0x11;
    pub(in super::super) const PRELOGIN: u8 = 0x12;
    /// Records of TLS: a change of cipher, an alert, a handshake, data.
    pub(super) const RECORDS: std::ops::RangeInclusive<u8> = 0x14..=0x17;
    /// Data under encryption.
    pub(in super::super) const RECORD: u8 = 0x17;
    /// The mark of what carries several sessions.
    pub(in super::super) const SESSIONS: u8 = b'S';
}

/// Bits of a packet's status.
pub(super) mod status {
    /// It is the message's last.
    pub(in super::super) const LAST: u8 = 0x01;
    /// The client has given the message up.
    pub(in super::super) const IGNORE: u8 = 0x02;
    /// The session is to be as if new, and the transaction goes on with the second.
    pub(in super::super) const RESET: u8 = 0x08;
    pub(in super::super) const RESET_KEEPS: u8 = 0x10;
    pub(super) const ALL: u8 = 0x1f;
}

/// Packets and records, one behind the other.
#[derive(Debug)]
pub(super) struct Packets;

impl Format for Packets {
    const HEAD: usize = HEAD;

    fn shape(head: &[u8]) -> Option<Shape> {
        let [first, second, third, fourth, fifth, sixth, seventh, _] = *head.first_chunk::<HEAD>()?;
        match first {
            kind::BATCH..=kind::TOKEN | kind::TRANSACTION | kind::LOGIN..=kind::PRELOGIN if second <= status::ALL => {
                let length = u16::from_be_bytes([third, fourth]).checked_sub(HEAD as u16)?;
                Some(Shape {
                    length: length.into(),
                    keep: length.into(),
                })
            }
            // Its head has five bytes, and nothing that is encrypted is as short as the three that are missing.
            _ if is_record(first) && second == 3 && third <= 4 => {
                let length = u16::from_be_bytes([fourth, fifth]).checked_sub(3)?;
                Some(Shape {
                    length: length.into(),
                    keep: 0,
                })
            }
            kind::SESSIONS if matches!(second, 1 | 2 | 4 | 8) => {
                let length = u32::from_le_bytes([fifth, sixth, seventh, *head.get(7)?]);
                let fits = (SMP_HEAD..=SMP_MAX).contains(&length);
                fits.then(|| Shape {
                    length: u64::from(length).saturating_sub(HEAD as u64),
                    keep: 0,
                })
            }
            _ => None,
        }
    }
}

/// What a frame is.
pub(super) fn kind(frame: &Frame<'_>) -> Option<u8> {
    frame.head.first().copied()
}

/// A packet's status.
pub(super) fn status(frame: &Frame<'_>) -> u8 {
    frame.head.get(1).copied().unwrap_or_default()
}

/// Whether a first byte is that of a record of TLS.
pub(super) fn is_record(first: u8) -> bool {
    kind::RECORDS.contains(&first)
}

/// Whether the payload of a packet that comes before the login is a handshake of TLS.
pub(super) fn is_handshake(payload: &[u8]) -> bool {
    payload.first().is_some_and(|first| is_record(*first))
}

/// Whether bytes begin with what a client says first of all.
pub(super) fn begins(bytes: &[u8]) -> bool {
    match bytes.first() {
        Some(&kind::PRELOGIN) => !is_handshake(bytes.get(HEAD..).unwrap_or_default()),
        first => first == Some(&kind::LOGIN),
    }
}

/// Whether bytes begin with a message of the client's.
pub(in super::super) fn recognize(bytes: &[u8]) -> Recognized {
    let fits = |place: usize, fits: fn(u8) -> bool| bytes.get(place).is_none_or(|byte| fits(*byte));
    let Some(first) = bytes.first() else {
        return Recognized::More;
    };
    match *first {
        kind::SESSIONS => sessions(bytes),
        kind::BATCH | kind::RPC | kind::TRANSACTION | kind::LOGIN | kind::PRELOGIN => {
            // Nobody has used the window yet.
            if !fits(1, |status| status <= status::ALL) || !fits(7, |window| window == 0) {
                return Recognized::No;
            }
            let Some((head, payload)) = bytes.split_first_chunk::<HEAD>() else {
                return Recognized::More;
            };
            let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
            let Some(length) = length.checked_sub(HEAD) else {
                return Recognized::No;
            };
            let payload = payload.get(..length).unwrap_or(payload);
            match *first {
                kind::PRELOGIN if is_handshake(payload) => hello(payload, length),
                kind::PRELOGIN => prelogin(payload, length),
                kind::LOGIN => login(payload, length),
                _ => headers(payload, length),
            }
        }
        _ => Recognized::No,
    }
}

/// Compares what has come with what has to stand there.
fn all(bytes: &[u8], length: usize, least: usize, sound: impl Fn(usize, u8) -> bool) -> Recognized {
    if length < least {
        return Recognized::No;
    }
    let so_far = bytes.iter().take(least).enumerate().all(|(at, byte)| sound(at, *byte));
    match (so_far, bytes.len() >= least) {
        (false, _) => Recognized::No,
        (true, true) => Recognized::Yes,
        (true, false) => Recognized::More,
    }
}

/// A ClientHello ([MS-TDS] 2.2.6.5, RFC 8446 section 4): encryption was agreed on before.
///
/// ```text
/// | 0x16 | version (2) | length (2) | 1 | ...
/// ```
fn hello(payload: &[u8], length: usize) -> Recognized {
    all(payload, length, 6, |at, byte| match at {
        0 => byte == 0x16,
        1 => byte == 3,
        2 => byte <= 4,
        5 => byte == 1,
        _ => true,
    })
}

/// The first option is the version, six bytes of it behind all that are named ([MS-TDS] 2.2.6.5).
fn prelogin(payload: &[u8], length: usize) -> Recognized {
    let behind = payload.get(2).map_or(6, |offset| usize::from(*offset));
    // Names of options have five bytes each; behind them stands 0xff.
    let sound = behind >= 6 && behind.saturating_sub(1).is_multiple_of(5);
    let least = behind.saturating_add(6);
    if !sound {
        return Recognized::No;
    }
    all(payload, length, least, |at, byte| match at {
        0 | 1 | 3 => byte == 0,
        4 => byte == 6,
        _ if at.saturating_add(1) == behind => byte == 0xff,
        _ => true,
    })
}

/// It says how long it is and in what version ([MS-TDS] 2.2.6.4); a long one has several packets.
fn login(payload: &[u8], length: usize) -> Recognized {
    let said = payload
        .first_chunk::<4>()
        .map(|said| u32::from_le_bytes(*said) as usize);
    if said.is_some_and(|said| said < length || said > 128 << 10) {
        return Recognized::No;
    }
    all(payload, length, 40, |at, byte| match at {
        2 | 3 => byte <= 1,
        7 => (0x72..=0x74).contains(&byte) || byte == 0x08,
        // Where the host's name begins.
        36 => byte >= 94,
        37 => byte == 0,
        _ => true,
    })
}

/// A request begins with headers, one of which is of the transaction ([MS-TDS] 2.2.5.3).
fn headers(payload: &[u8], length: usize) -> Recognized {
    all(payload, length, 24, |at, byte| match at {
        0 => byte >= 22,
        1..=3 | 5..=7 | 9 => byte == 0,
        4 => byte == 18,
        8 => byte == 2,
        // One request is outstanding, or as many as there are sessions.
        18 => byte != 0,
        20 | 21 => byte == 0,
        _ => true,
    })
}

/// A packet of one of several sessions.
fn sessions(bytes: &[u8]) -> Recognized {
    let least = 16 + HEAD;
    let head = all(bytes, usize::MAX, least, |at, byte| match at {
        0 => byte == kind::SESSIONS,
        1 => byte == 8,
        6 | 7 => byte == 0,
        16 => matches!(byte, kind::BATCH | kind::RPC | kind::TRANSACTION),
        17 => byte <= status::ALL,
        23 => byte == 0,
        _ => true,
    });
    if head != Recognized::Yes {
        return head;
    }
    let within = |at: usize| bytes.get(at).map_or(0, |byte| usize::from(*byte));
    let (outer, inner) = (within(5) << 8 | within(4), within(18) << 8 | within(19));
    if outer != inner.saturating_add(16) {
        return Recognized::No;
    }
    headers(bytes.get(least..).unwrap_or_default(), inner.saturating_sub(HEAD))
}
