//! Messages and their heads.
//!
//! ```text
//! +-------------+-------+--------+--------+--------+------
//! | version     | flags | stream | opcode | length | body
//! | (bit 7: an  |   1   |   2    |   1    |   4    |
//! |  answer)    |       |        |        |        |
//! +-------------+-------+--------+--------+--------+------
//! ```
//!
//! Version 5 calls this an envelope, and what it passes in a frame (here: a [segment](super::segment)).
use crate::protocol::Recognized;
use crate::protocol::frames::{Format, Frame, Shape};

/// Bytes of a head.
pub(super) const HEAD: usize = 9;
/// Bytes of a body that are kept.
pub(super) const KEPT: usize = 64 << 10;
/// Longest body, as the specification has it.
const MAX_LENGTH: u32 = 256 << 20;
const ANSWER: u8 = 0x80;
/// The oldest version whose head is like this, and the newest that is known.
const VERSIONS: std::ops::RangeInclusive<u8> = 3..=5;

/// What a message is.
pub(super) mod opcode {
    pub(in super::super) const ERROR: u8 = 0x00;
    pub(in super::super) const STARTUP: u8 = 0x01;
    pub(in super::super) const READY: u8 = 0x02;
    pub(in super::super) const AUTHENTICATE: u8 = 0x03;
    pub(in super::super) const OPTIONS: u8 = 0x05;
    pub(in super::super) const SUPPORTED: u8 = 0x06;
    pub(in super::super) const QUERY: u8 = 0x07;
    pub(in super::super) const RESULT: u8 = 0x08;
    pub(in super::super) const PREPARE: u8 = 0x09;
    pub(in super::super) const EXECUTE: u8 = 0x0a;
    pub(in super::super) const REGISTER: u8 = 0x0b;
    pub(in super::super) const EVENT: u8 = 0x0c;
    pub(in super::super) const BATCH: u8 = 0x0d;
    pub(in super::super) const AUTH_CHALLENGE: u8 = 0x0e;
    pub(in super::super) const AUTH_RESPONSE: u8 = 0x0f;
    pub(in super::super) const AUTH_SUCCESS: u8 = 0x10;
}

/// What a message brings beside its body, or how.
pub(super) mod flag {
    pub(in super::super) const COMPRESSED: u8 = 0x01;
    pub(in super::super) const TRACED: u8 = 0x02;
    pub(in super::super) const PAYLOAD: u8 = 0x04;
    pub(in super::super) const WARNED: u8 = 0x08;
    const BETA: u8 = 0x10;
    pub(super) const ALL: u8 = COMPRESSED | TRACED | PAYLOAD | WARNED | BETA;
}

/// What a head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) answers: bool,
    pub(super) version: u8,
    pub(super) flags: u8,
    /// Its stream; below 0 where nothing was asked for.
    pub(super) stream: i16,
    pub(super) opcode: u8,
    pub(super) length: u32,
}

impl Head {
    /// What the first bytes say, if they are a head.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let [first, flags, high, low, opcode, a, b, c, d, ..] = *bytes else {
            return None;
        };
        let head = Self {
            answers: first & ANSWER != 0,
            version: first & !ANSWER,
            flags,
            stream: i16::from_be_bytes([high, low]),
            opcode,
            length: u32::from_be_bytes([a, b, c, d]),
        };
        head.is_sound().then_some(head)
    }

    fn is_sound(&self) -> bool {
        use opcode::{
            AUTH_CHALLENGE, AUTH_RESPONSE, AUTH_SUCCESS, AUTHENTICATE, BATCH, ERROR, EVENT, EXECUTE, OPTIONS, PREPARE,
            QUERY, READY, REGISTER, RESULT, STARTUP, SUPPORTED,
        };
        // The shortest body there may be, and whether it may be longer.
        let (least, exact) = match self.opcode {
            READY if self.answers => (0, true),
            OPTIONS if !self.answers => (0, true),
            STARTUP if !self.answers => (2, false),
            QUERY | EXECUTE | BATCH if !self.answers => (5, false),
            PREPARE | AUTH_RESPONSE if !self.answers => (4, false),
            REGISTER if !self.answers => (2, false),
            ERROR | EVENT if self.answers => (4, false),
            RESULT | AUTH_CHALLENGE | AUTH_SUCCESS if self.answers => (4, false),
            AUTHENTICATE | SUPPORTED if self.answers => (2, false),
            _ => return false,
        };
        let plain = self.flags & (flag::COMPRESSED | flag::TRACED | flag::PAYLOAD | flag::WARNED) == 0;
        let fits = if !plain {
            true
        } else if exact {
            self.length == least
        } else {
            self.length >= least
        };
        let numbered = self.stream >= 0 || (self.answers && matches!(self.opcode, EVENT | ERROR));
        VERSIONS.contains(&self.version)
            && self.flags & !flag::ALL == 0
            && self.length <= MAX_LENGTH
            && fits
            && numbered
    }
}

/// Messages, one behind the other.
#[derive(Debug)]
pub(super) struct Messages;

impl Format for Messages {
    const HEAD: usize = HEAD;

    fn shape(head: &[u8]) -> Option<Shape> {
        Some(Shape {
            length: Head::of(head)?.length.into(),
            keep: KEPT,
        })
    }
}

/// The head of a message that was read.
pub(super) fn head(frame: &Frame<'_>) -> Option<Head> {
    Head::of(frame.head)
}

/// Whether bytes begin with a request.
pub(super) fn recognize(bytes: &[u8]) -> Recognized {
    let fits = |place: usize, fits: fn(u8) -> bool| bytes.get(place).is_none_or(|byte| fits(*byte));
    let may_be = fits(0, |version| VERSIONS.contains(&version))
        && fits(1, |flags| flags & !flag::ALL == 0)
        && fits(2, |high| high < ANSWER)
        && fits(4, |opcode| (opcode::STARTUP..=opcode::AUTH_RESPONSE).contains(&opcode))
        && fits(5, |highest| highest <= 0x10);
    if !may_be {
        return Recognized::No;
    }
    let Some(head) = bytes.get(..HEAD) else {
        return Recognized::More;
    };
    let Some(head) = Head::of(head).filter(|head| !head.answers) else {
        return Recognized::No;
    };
    inside(&head, bytes.get(HEAD..).unwrap_or_default())
}

/// Whether what follows a request's head fits it.
fn inside(head: &Head, body: &[u8]) -> Recognized {
    let of = |fits: Option<bool>| match fits {
        Some(true) => Recognized::Yes,
        Some(false) => Recognized::No,
        None => Recognized::More,
    };
    if head.flags & (flag::COMPRESSED | flag::PAYLOAD) != 0 {
        // Which was said to be so before: what follows is not looked into. Seven bytes of a head are little.
        return Recognized::No;
    }
    let word = || body.first_chunk::<4>().map(|word| u32::from_be_bytes(*word));
    let short = || body.first_chunk::<2>().map(|short| u16::from_be_bytes(*short));
    match head.opcode {
        opcode::OPTIONS => Recognized::Yes,
        // A map of options, one of which has to be there, and a list of kinds of events.
        opcode::STARTUP | opcode::REGISTER => of(short().and_then(|count| {
            let first = body.get(2..4)?;
            let letter = body.get(4)?;
            let length = u16::from_be_bytes([*first.first()?, *first.get(1)?]);
            Some((1..=64).contains(&count) && (1..=64).contains(&length) && letter.is_ascii_uppercase())
        })),
        opcode::QUERY | opcode::PREPARE => of(word().and_then(|length| {
            let fits = length > 0 && length <= head.length.saturating_sub(4);
            let text = |letter: &u8| letter.is_ascii_alphabetic() || b" \t\r\n(/-".contains(letter);
            if fits { body.get(4).map(text) } else { Some(false) }
        })),
        // The hash that stands for what was prepared.
        opcode::EXECUTE => of(short().map(|length| length == 16 && head.length >= 20)),
        opcode::BATCH => of(body
            .first_chunk::<4>()
            .map(|[kind, high, low, first]| *kind <= 2 && (*high, *low) != (0, 0) && *first <= 1)),
        _ => Recognized::No,
    }
}
