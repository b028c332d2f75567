//! Where a message's body ends (RFC 9112 section 6).
use super::{Fields, field};

/// Longest chunk-size line or trailer line that is looked at.
const MAX_LINE: usize = 8192;

/// How a body is delimited, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// This many bytes are left.
    Length(u64),
    /// Inside a chunk-size line.
    ChunkSize(ChunkSize),
    /// This many bytes of chunk data are left.
    ChunkData(u64),
    /// The line end behind chunk data.
    ChunkEnd,
    /// Inside the trailer section; the length of the current line so far.
    Trailer(usize),
    /// The body ends with the connection.
    UntilClose,
}

/// How far bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// All were of the body, and more is to come.
    More,
    /// The body ended after this many of them.
    Done(usize),
    /// They do not follow the protocol.
    Invalid,
}

/// What a hole means to a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hole {
    /// It lies within; the framing is known behind it.
    Within,
    /// The body ends exactly with it.
    Done,
    /// What is behind it is not known.
    Lost,
}

impl Framing {
    /// How the body behind a head is delimited; none where there is no body. `response` is whether the head is one.
    pub(super) fn of(fields: &Fields, response: bool) -> Option<Self> {
        let coding = fields.all("transfer-encoding").last();
        if let Some(coding) = coding {
            let last = coding
                .rsplit(|byte| *byte == b',')
                .next()
                .unwrap_or_default()
                .trim_ascii();
            if last.eq_ignore_ascii_case(b"chunked") {
                return Some(Self::ChunkSize(ChunkSize::default()));
            }
            // A request whose last coding is not chunked cannot be delimited; servers refuse it.
            return response.then_some(Self::UntilClose);
        }
        match field(fields, "content-length").map(length) {
            Some(Some(0)) => None,
            Some(Some(length)) => Some(Self::Length(length)),
            Some(None) | None => response.then_some(Self::UntilClose),
        }
    }

    /// Takes bytes; `content` receives those that are content.
    pub(super) fn feed(&mut self, bytes: &[u8], content: &mut impl FnMut(&[u8])) -> Progress {
        let mut at = 0_usize;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let taken = match self {
                Self::UntilClose => {
                    content(rest);
                    return Progress::More;
                }
                Self::Length(left) | Self::ChunkData(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    content(rest.get(..taken).unwrap_or_default());
                    *left = left.saturating_sub(taken as u64);
                    taken
                }
                Self::ChunkEnd => 1,
                Self::ChunkSize(_) | Self::Trailer(_) => 1,
            };
            let first = rest.first().copied().unwrap_or_default();
            at = at.saturating_add(taken);
            match self.advance(first) {
                Some(Progress::Done(_)) => return Progress::Done(at),
                Some(other) => return other,
                None => {}
            }
        }
        Progress::More
    }

    /// Goes on to the next part of the framing where the current one is complete. `first` is the byte just taken, where
    /// bytes are taken one by one.
    fn advance(&mut self, first: u8) -> Option<Progress> {
        match self {
            Self::Length(0) => return Some(Progress::Done(0)),
            Self::ChunkData(0) => *self = Self::ChunkEnd,
            Self::ChunkEnd => match first {
                b'\r' => {}
                b'\n' => *self = Self::ChunkSize(ChunkSize::default()),
                _ => return Some(Progress::Invalid),
            },
            Self::ChunkSize(line) if first == b'\n' => match line.size() {
                Some(0) => *self = Self::Trailer(0),
                Some(size) => *self = Self::ChunkData(size),
                None => return Some(Progress::Invalid),
            },
            Self::ChunkSize(line) => return (!line.push(first)).then_some(Progress::Invalid),
            Self::Trailer(length) => match first {
                b'\n' if *length == 0 => return Some(Progress::Done(0)),
                b'\n' => *length = 0,
                b'\r' => {}
                _ if *length >= MAX_LINE => return Some(Progress::Invalid),
                _ => *length = length.saturating_add(1),
            },
            _ => {}
        }
        None
    }

    /// Passes a hole of `length` bytes.
    pub(super) fn hole(&mut self, length: u64) -> Hole {
        match self {
            Self::UntilClose => Hole::Within,
            Self::Length(left) if length < *left => {
                *left = left.saturating_sub(length);
                Hole::Within
            }
            Self::Length(left) if length == *left => Hole::Done,
            Self::ChunkData(left) if length <= *left => {
                *left = left.saturating_sub(length);
                if *left == 0 {
                    *self = Self::ChunkEnd;
                }
                Hole::Within
            }
            _ => Hole::Lost,
        }
    }
}

/// A `Content-Length`; several equal values count as one (RFC 9110 section 8.6).
fn length(value: &[u8]) -> Option<u64> {
    let mut values = value.split(|byte| *byte == b',').map(|part| {
        let part = part.trim_ascii();
        let digits = !part.is_empty() && part.iter().all(u8::is_ascii_digit);
        std::str::from_utf8(part).ok().filter(|_| digits)?.parse::<u64>().ok()
    });
    let first = values.next()??;
    values.all(|other| other == Some(first)).then_some(first)
}

/// What has come of `chunk-size [ chunk-ext ] CRLF`. White space around the size is none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ChunkSize {
    size: u64,
    digits: usize,
    /// Bytes of the line.
    length: usize,
    part: Part,
}

/// A part of a chunk-size line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Size,
    /// White space behind the size.
    Space,
    Extension,
}

impl ChunkSize {
    /// Takes a byte before the line's end; whether it may be of the line.
    fn push(&mut self, byte: u8) -> bool {
        const MAX_DIGITS: usize = 15;
        self.length = self.length.saturating_add(1);
        let digit = char::from(byte).to_digit(16).map(u64::from);
        match (self.part, digit) {
            (Part::Extension, _) => {}
            (Part::Size, Some(digit)) => {
                self.size = self.size.wrapping_shl(4) | digit;
                self.digits = self.digits.saturating_add(1);
            }
            _ if byte == b';' => self.part = Part::Extension,
            _ if byte.is_ascii_whitespace() => {
                if self.digits > 0 {
                    self.part = Part::Space;
                }
            }
            _ => return false,
        }
        self.digits <= MAX_DIGITS && self.length < MAX_LINE
    }

    /// The size, once the line is complete.
    fn size(&self) -> Option<u64> {
        (self.digits > 0).then_some(self.size)
    }
}
