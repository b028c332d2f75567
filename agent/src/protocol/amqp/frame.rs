//! Frames of one direction (AMQP 0-9-1, section 4.2.3).
//!
//! ```text
//! type (8) | channel (16) | size (32) | payload (size * 8) | 0xCE
//! ```
//!
//! The client begins with eight bytes of another form: `AMQP`, 0, 0, 9, 1.
use super::method;
use crate::protocol::Mark;
use crate::protocol::frames::{Cut, Format, Frames, Hole, Shape};

/// What a client begins with.
pub(super) const PREFACE: &[u8; 8] = b"AMQP\0\0\x09\x01";
/// What a frame ends with.
const END: u8 = 0xCE;
/// Bytes of a method or of a content's header that are kept.
const MAX_KEPT: usize = 32 * 1024;
/// Largest frame. RabbitMQ's are of 128 KiB unless set otherwise.
const MAX_SIZE: u32 = 16 << 20;
/// Bytes by which a frame is told from others when frames are looked for.
pub(super) const EVIDENCE: usize = HEAD + 4;
/// Bytes in which no frame was found before the protocol is called a wrong guess.
const MAX_VAIN: u64 = 4 << 20;

const HEAD: usize = 7;
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;

/// How frames begin.
#[derive(Debug)]
struct Amqp;

impl Format for Amqp {
    const HEAD: usize = HEAD;

    fn shape(head: &[u8]) -> Option<Shape> {
        if PREFACE.starts_with(head) {
            return Some(Shape { length: 1, keep: 1 });
        }
        let size = size(head)?;
        let length = u64::from(size).saturating_add(1);
        let keep = match *head.first()? {
            METHOD | HEADER => MAX_KEPT,
            HEARTBEAT if size == 0 => 1,
            BODY => 0,
            _ => return None,
        };
        Some(Shape { length, keep })
    }
}

fn size(head: &[u8]) -> Option<u32> {
    let size = u32::from_be_bytes(*head.get(3..)?.first_chunk()?);
    (size <= MAX_SIZE).then_some(size)
}

/// Something read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// All bytes were taken.
    More,
    /// The client's first bytes.
    Preface,
    /// A method on a channel, as far as it was seen.
    Method(u16, &'a [u8]),
    /// The header of a content.
    Header(u16, &'a [u8]),
    /// So many bytes of a content.
    Body(u16, u64),
    Heartbeat,
    /// Bytes were missed: from here on frames are to be looked for.
    Lost,
    /// The bytes are no frames.
    Invalid,
}

/// An event, its first byte and its last, and how many bytes were taken.
#[derive(Debug)]
pub(super) struct Got<'a> {
    pub(super) event: Event<'a>,
    pub(super) begin: Mark,
    pub(super) end: Mark,
    pub(super) taken: usize,
    /// All of the frame was seen.
    pub(super) whole: bool,
}

/// What came of looking for a frame.
pub(super) enum Sought {
    /// None was found.
    Nothing,
    /// A frame begins with these bytes, the first of which is here.
    Found(Vec<u8>, Mark),
    /// There are none.
    Hopeless,
}

/// Reads one direction.
#[derive(Debug)]
pub(super) struct Reader {
    frames: Frames<Amqp>,
    seeking: Option<Seeking>,
}

/// Frames are looked for.
#[derive(Debug, Default)]
struct Seeking {
    /// The last bytes, too few to tell.
    tail: Vec<u8>,
    in_vain: u64,
}

impl Reader {
    /// A direction; whether its first byte begins a frame.
    pub(super) fn new(begins: bool) -> Self {
        Self {
            frames: Frames::default(),
            seeking: (!begins).then(Seeking::default),
        }
    }

    /// The next byte may be anywhere in a frame.
    pub(super) fn lose(&mut self) {
        self.frames.restart();
        self.seeking.get_or_insert_with(Seeking::default).tail.clear();
    }

    /// Whether frames are to be looked for.
    pub(super) const fn is_lost(&self) -> bool {
        self.seeking.is_some()
    }

    /// Looks for a frame in `bytes`, which begin at `at`. What was kept of earlier bytes and belongs to it is given back.
    pub(super) fn seek(&mut self, bytes: &[u8], at: Mark) -> Sought {
        let Some(seeking) = &mut self.seeking else {
            return Sought::Nothing;
        };
        let kept = seeking.tail.len();
        seeking.tail.extend_from_slice(bytes);
        if let Some(place) = seeking.tail.windows(EVIDENCE).position(begins_frame) {
            let found = seeking.tail.split_off(place);
            self.seeking = None;
            // What was kept of an operation before counts as this one's.
            let offset = at.offset.saturating_sub(kept as u64).saturating_add(place as u64);
            return Sought::Found(found, Mark { offset, ..at });
        }
        let passed = seeking.tail.len().saturating_sub(EVIDENCE - 1);
        seeking.tail.drain(..passed);
        seeking.in_vain = seeking.in_vain.saturating_add(passed as u64);
        if seeking.in_vain >= MAX_VAIN {
            Sought::Hopeless
        } else {
            Sought::Nothing
        }
    }

    /// Reads up to the end of a frame.
    pub(super) fn read<'a>(&'a mut self, bytes: &'a [u8], at: Mark) -> Got<'a> {
        let other = |event| Got {
            event,
            begin: at,
            end: at,
            taken: bytes.len(),
            whole: false,
        };
        match self.frames.read(bytes, at) {
            Cut::More => other(Event::More),
            Cut::Invalid => other(Event::Invalid),
            Cut::Frame(frame, taken) => Got {
                begin: frame.begin,
                end: frame.end,
                taken,
                whole: !frame.cut,
                event: event(frame.head, frame.payload, frame.length, frame.cut),
            },
        }
    }

    /// Passes a hole that begins at `at`.
    pub(super) fn hole(&mut self, length: u64, at: Mark) -> Got<'_> {
        let other = |event| Got {
            event,
            begin: at,
            end: at.behind(length),
            taken: 0,
            whole: false,
        };
        if let Some(seeking) = &mut self.seeking {
            seeking.tail.clear();
            return other(Event::More);
        }
        match self.frames.hole(length, at) {
            Hole::Within => other(Event::More),
            Hole::Lost => other(Event::Lost),
            Hole::Done(frame) => Got {
                begin: frame.begin,
                end: frame.end,
                taken: 0,
                whole: !frame.cut,
                event: event(frame.head, frame.payload, frame.length, frame.cut),
            },
        }
    }
}

fn event<'a>(head: &[u8], payload: &'a [u8], length: u64, cut: bool) -> Event<'a> {
    if PREFACE.starts_with(head) {
        let whole = payload.first() == PREFACE.last();
        return if whole || cut { Event::Preface } else { Event::Invalid };
    }
    let &[kind, high, low, ..] = head else {
        return Event::Invalid;
    };
    let channel = u16::from_be_bytes([high, low]);
    let content = match payload.split_last() {
        Some((end, content)) if payload.len() as u64 == length => {
            if *end != END {
                return Event::Invalid;
            }
            content
        }
        // The end was not kept.
        _ => payload,
    };
    match kind {
        METHOD => Event::Method(channel, content),
        HEADER => Event::Header(channel, content),
        BODY => Event::Body(channel, length.saturating_sub(1)),
        _ => Event::Heartbeat,
    }
}

/// Whether a frame begins so: a method there is, or the header of a content.
pub(super) fn begins_frame(bytes: &[u8]) -> bool {
    let word = |at: usize| {
        let word = bytes.get(at..).and_then(<[u8]>::first_chunk);
        word.map_or(0, |word| u16::from_be_bytes(*word))
    };
    let Some(size) = size(bytes) else { return false };
    let (channel, class, id) = (word(1), word(HEAD), word(HEAD + 2));
    match bytes.first() {
        Some(&METHOD) => {
            let on_channel = (class == method::CONNECTION) == (channel == 0);
            (4..1 << 16).contains(&size) && on_channel && method::origin(class, id).is_some()
        }
        Some(&HEADER) => (14..1 << 16).contains(&size) && channel > 0 && class == method::BASIC && id == 0,
        _ => false,
    }
}
