//! Messages of the frontend/backend protocol, version 3 (PostgreSQL manual, chapter "Frontend/Backend Protocol").
//!
//! ```text
//! | type (1) | length (4), itself included | ... |        any message but the first
//! | length (4), itself included | code (4) | ... |        the first messages of the client
//! ```
use crate::protocol::Recognized;
use crate::protocol::frames::{Format, Shape};

/// Bytes of a statement's text that are kept, and the name of what it is prepared as.
pub(super) const MAX_TEXT: usize = 16 * 1024;
/// Bytes of parameters that are looked at.
const MAX_BIND: usize = 4096;
/// Bytes of the types of parameters that are looked at: those of as many as are told.
const MAX_TYPES: usize = 2 + 4 * crate::protocol::call::MAX_ARGUMENTS;
/// Bytes of names that are looked at.
const MAX_NAME: usize = 256;
/// Bytes of an error that are looked at.
const MAX_ERROR: usize = 1024;
/// Bytes of the startup message that are looked at; the server takes no more than 10 000.
const MAX_STARTUP: usize = 2048;
/// Longest message: the server's palloc takes no more.
const MAX_LENGTH: u64 = 0x3fff_ffff;

/// `StartupMessage` of version 3.0; newer minor versions follow it.
const VERSION_3: u32 = 3 << 16;
/// `CancelRequest`.
pub(super) const CANCEL: u32 = 80_877_102;
/// `SSLRequest`.
pub(super) const SSL: u32 = 80_877_103;
/// `GSSENCRequest`.
pub(super) const GSS: u32 = 80_877_104;

/// The first messages of the client.
#[derive(Debug)]
pub(super) struct Startup;

impl Format for Startup {
    const HEAD: usize = 8;

    fn shape(head: &[u8]) -> Option<Shape> {
        let length = u64::from(number(head, 0)?);
        let code = number(head, 4)?;
        let known = match code {
            CANCEL => length == 16 || (length > 16 && length <= 268),
            SSL | GSS => length == 8,
            _ => is_version_3(code) && (9..=10_000).contains(&length),
        };
        known.then_some(Shape {
            length: length.checked_sub(8)?,
            keep: MAX_STARTUP,
        })
    }
}

const fn is_version_3(code: u32) -> bool {
    // 3.9999 is what libpq 18 may ask for to see whether a server negotiates.
    code >> 16 == VERSION_3 >> 16 && (code & 0xffff <= 16 || code & 0xffff == 9999)
}

/// What the client says.
#[derive(Debug)]
pub(super) struct Front;

impl Format for Front {
    const HEAD: usize = 5;

    fn shape(head: &[u8]) -> Option<Shape> {
        let (kind, length) = head_of(head)?;
        let (keep, sound) = match kind {
            b'Q' => (MAX_TEXT, length >= 1),
            b'P' => (MAX_TEXT, length >= 4),
            b'B' => (MAX_BIND, length >= 8),
            b'E' => (MAX_NAME, length >= 5),
            b'C' | b'D' => (MAX_NAME, length >= 2),
            b'F' => (0, length >= 10),
            b'd' | b'p' | b'f' => (0, true),
            b'H' | b'S' | b'X' | b'c' => (0, length == 0),
            _ => return None,
        };
        sound.then_some(Shape { length, keep })
    }
}

/// What the server says.
#[derive(Debug)]
pub(super) struct Back;

impl Format for Back {
    const HEAD: usize = 5;

    fn shape(head: &[u8]) -> Option<Shape> {
        let (kind, length) = head_of(head)?;
        let (keep, sound) = match kind {
            b'C' => (MAX_NAME, length >= 1),
            b'E' => (MAX_ERROR, length >= 1),
            b'Z' => (1, length == 1),
            b'R' => (4, length >= 4),
            b'1' | b'2' | b'3' | b'I' | b'n' | b's' | b'c' => (0, length == 0),
            b't' => (MAX_TYPES, length >= 2),
            b'D' | b'T' => (0, length >= 2),
            b'G' | b'H' | b'W' => (0, length >= 3),
            b'K' | b'v' | b'A' => (0, length >= 8),
            b'V' => (0, length >= 4),
            b'N' | b'S' => (0, length >= 1),
            b'd' => (0, true),
            _ => return None,
        };
        sound.then_some(Shape { length, keep })
    }
}

/// Type and bytes behind the head.
fn head_of(head: &[u8]) -> Option<(u8, u64)> {
    let kind = *head.first()?;
    let length = u64::from(number(head, 1)?).checked_sub(4)?;
    (length <= MAX_LENGTH).then_some((kind, length))
}

/// The big-endian number at a place.
pub(super) fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

/// The text up to the NUL that ends it, or as much as is there, and what follows it.
pub(super) fn string(bytes: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(0, bytes) {
        Some(end) => bytes
            .split_at_checked(end)
            .map_or((bytes, &[]), |(text, rest)| (text, rest.get(1..).unwrap_or_default())),
        None => (bytes, &[]),
    }
}

/// Who says what was recognized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    /// The client, with its first message.
    Opening,
    /// The client.
    Front,
    /// The server.
    Back,
}

/// Whether bytes are of this protocol.
pub(crate) fn recognize(bytes: &[u8]) -> Recognized {
    judge(bytes).0
}

/// Whether bytes are of this protocol, and whose.
pub(super) fn judge(bytes: &[u8]) -> (Recognized, Speaker) {
    if bytes.first() == Some(&0) {
        return (opening(bytes), Speaker::Opening);
    }
    let (front, back) = (chain::<Front>(bytes, front), chain::<Back>(bytes, back));
    match (front, back) {
        (Recognized::Yes, _) => (front, Speaker::Front),
        (_, Recognized::Yes) if front != Recognized::More => (back, Speaker::Back),
        (Recognized::No, Recognized::No) => (Recognized::No, Speaker::Front),
        _ => (Recognized::More, Speaker::Front),
    }
}

fn opening(bytes: &[u8]) -> Recognized {
    match bytes.get(..8) {
        Some(head) if Startup::shape(head).is_none() => Recognized::No,
        Some(head) if number(head, 4).is_some_and(is_version_3) => match bytes.get(8) {
            Some(letter) if letter.is_ascii_alphabetic() || *letter == b'_' => Recognized::Yes,
            Some(_) => Recognized::No,
            None => Recognized::More,
        },
        Some(_) => Recognized::Yes,
        None if bytes.get(1).is_none_or(|byte| *byte == 0) => Recognized::More,
        None => Recognized::No,
    }
}

/// What a message in a chain proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// All by itself that this is the protocol.
    Whole,
    /// With others before it.
    Last,
    /// Nothing, but it fits.
    Fits,
    /// This is not the protocol.
    Against,
}

/// Looks at the messages that follow one another.
fn chain<F: Format>(bytes: &[u8], judge: impl Fn(u8, &[u8], bool) -> Proof) -> Recognized {
    let mut rest = bytes;
    let mut whole = 0_usize;
    loop {
        let Some((head, behind)) = rest.split_at_checked(F::HEAD) else {
            // What has come of a head may yet be one: its length is not above a gigabyte. One message alone proves little.
            let fits =
                rest.get(1).is_none_or(|byte| *byte <= 0x40) && (whole > 0 || rest.first().is_none_or(could_begin));
            return if fits { Recognized::More } else { Recognized::No };
        };
        let Some(shape) = F::shape(head) else {
            return Recognized::No;
        };
        let length = usize::try_from(shape.length).unwrap_or(usize::MAX);
        let payload = behind.get(..length);
        let kind = head.first().copied().unwrap_or_default();
        match judge(kind, payload.unwrap_or(behind), payload.is_some()) {
            Proof::Whole => return Recognized::Yes,
            Proof::Last if whole > 0 => return Recognized::Yes,
            Proof::Against => return Recognized::No,
            Proof::Last | Proof::Fits => {}
        }
        let Some(next) = payload.and_then(|_| behind.get(length..)) else {
            return Recognized::More;
        };
        whole = whole.saturating_add(1);
        rest = next;
    }
}

/// Types that may come first: all that `front` and `back` know.
const fn could_begin(kind: &u8) -> bool {
    matches!(
        kind,
        b'Q' | b'P'
            | b'B'
            | b'E'
            | b'C'
            | b'D'
            | b'S'
            | b'H'
            | b'Z'
            | b'R'
            | b'1'
            | b'2'
            | b'3'
            | b'n'
            | b'I'
            | b's'
            | b'T'
            | b't'
    )
}

/// Bytes of a statement by which it is known.
const PLAIN: usize = 24;

fn front(kind: u8, payload: &[u8], whole: bool) -> Proof {
    // However much has come, the same bytes decide.
    let text = |text: &[u8]| {
        let text = text.get(..PLAIN).unwrap_or(text);
        let plain = !text.is_empty() && text.iter().all(|byte| *byte >= b' ' || byte.is_ascii_whitespace());
        let begins = text.trim_ascii_start().first();
        plain && begins.is_none_or(|byte| byte.is_ascii_alphabetic() || b"(-/;".contains(byte))
    };
    match kind {
        b'Q' if payload.len() > PLAIN && text(payload) => Proof::Whole,
        b'Q' if whole => match payload.split_last() {
            Some((0, said)) if text(said) => Proof::Whole,
            Some((0, [])) => Proof::Fits,
            _ => Proof::Against,
        },
        b'Q' if payload.is_empty() || text(payload) => Proof::Fits,
        b'Q' => Proof::Against,
        b'P' => {
            let (name, rest) = string(payload);
            let (query, _) = string(rest);
            if !name.iter().all(|byte| *byte >= b' ') {
                return Proof::Against;
            }
            match text(query) {
                true if whole || query.len() > PLAIN => Proof::Whole,
                true => Proof::Fits,
                false if query.is_empty() => Proof::Fits,
                false => Proof::Against,
            }
        }
        b'B' | b'E' => Proof::Fits,
        b'C' | b'D' => match payload.first() {
            Some(b'S' | b'P') | None => Proof::Fits,
            Some(_) => Proof::Against,
        },
        b'S' | b'H' => Proof::Last,
        _ => Proof::Against,
    }
}

fn back(kind: u8, payload: &[u8], whole: bool) -> Proof {
    match kind {
        b'Z' => match payload.first() {
            Some(b'I' | b'T' | b'E') => Proof::Last,
            Some(_) => Proof::Against,
            None => Proof::Fits,
        },
        // AuthenticationOk, or what the server asks for.
        b'R' => match number(payload, 0) {
            Some(0 | 3 | 5 | 7 | 9 | 10) => Proof::Whole,
            Some(8 | 11 | 12) => Proof::Fits,
            Some(_) => Proof::Against,
            None => Proof::Fits,
        },
        b'C' => match payload.split_last() {
            Some((0, tag)) if whole && tag.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') => Proof::Last,
            _ if whole => Proof::Against,
            _ => Proof::Fits,
        },
        b'1' | b'2' | b'3' | b'n' | b'I' | b's' | b'T' | b't' | b'D' => Proof::Last,
        _ => Proof::Against,
    }
}
