//! Frames of one direction.

/// Most bytes of a head.
const MAX_HEAD: usize = 14;
const CLOSE: u8 = 8;

/// What passed in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames.
    pub frames: u64,
    /// Messages: texts and binary ones, however many frames they have.
    pub messages: u64,
    /// Bytes of their content, as they pass.
    pub bytes: u64,
    /// There was more, which was not seen.
    pub more: bool,
}

/// The head of a frame (RFC 6455 section 5.2).
///
/// ```text
/// 0                      1                 2                                     ..4 bytes
/// | last, 3 bits, opcode | masked, length | length: u16 if 126, u64 if 127 | mask if masked | content
/// ```
#[derive(Clone, Copy, Debug)]
struct Head {
    opcode: u8,
    last: bool,
    length: u64,
    mask: [u8; 4],
}

/// What reading came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Got {
    /// All bytes were taken.
    More,
    /// The direction is over behind so many bytes, with this code if one was given.
    Close(usize, Option<u16>),
    /// The bytes are no frame.
    Invalid,
}

/// The frames of one direction.
#[derive(Debug)]
pub(super) struct Frames {
    /// Whether frames are masked: a client's are.
    masked: bool,
    head: [u8; MAX_HEAD],
    filled: usize,
    /// The frame whose content passes, and how much of it is to come.
    body: Option<(Head, u64)>,
    /// A message was begun that is not over.
    within: bool,
    /// The first bytes of what a frame that closes says.
    code: [u8; 2],
    coded: usize,
    pub(super) counts: Counts,
}

impl Frames {
    pub(super) const fn new(masked: bool) -> Self {
        Self {
            masked,
            head: [0; MAX_HEAD],
            filled: 0,
            body: None,
            within: false,
            code: [0; 2],
            coded: 0,
            counts: Counts {
                frames: 0,
                messages: 0,
                bytes: 0,
                more: false,
            },
        }
    }

    /// Reads up to the frame that closes, or to the end.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Got {
        let mut at = 0_usize;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if let Some((head, left)) = self.body {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                at = at.saturating_add(taken);
                if head.opcode == CLOSE {
                    for byte in rest.iter().take(taken) {
                        if let (Some(place), Some(mask)) = (self.code.get_mut(self.coded), head.mask.get(self.coded)) {
                            *place = byte ^ mask;
                            self.coded = self.coded.saturating_add(1);
                        }
                    }
                }
                if let Some(code) = self.pass(head, left.saturating_sub(taken as u64)) {
                    return Got::Close(at, code);
                }
                continue;
            }
            let (Some(place), Some(byte)) = (self.head.get_mut(self.filled), rest.first()) else {
                return Got::Invalid;
            };
            *place = *byte;
            self.filled = self.filled.saturating_add(1);
            at = at.saturating_add(1);
            match self.parse() {
                Parsed::More => {}
                Parsed::Invalid => return Got::Invalid,
                Parsed::Head(head) => {
                    if let Some(code) = self.begin(head) {
                        return Got::Close(at, code);
                    }
                }
            }
        }
        Got::More
    }

    /// Passes a hole. Whether what is behind it is known; a frame that closes is never lost in one.
    pub(super) fn hole(&mut self, length: u64) -> bool {
        let Some((head, left)) = self.body.filter(|(head, _)| head.opcode != CLOSE) else {
            return false;
        };
        let Some(left) = left.checked_sub(length) else {
            return false;
        };
        self.pass(head, left).is_none()
    }

    fn begin(&mut self, head: Head) -> Option<Option<u16>> {
        self.filled = 0;
        self.counts.frames = self.counts.frames.saturating_add(1);
        if head.opcode < CLOSE {
            self.counts.bytes = self.counts.bytes.saturating_add(head.length);
            self.within = !head.last;
        }
        self.pass(head, head.length)
    }

    /// So much of a frame is to come. The code if the frame is the one that closes, and is over.
    const fn pass(&mut self, head: Head, left: u64) -> Option<Option<u16>> {
        if left > 0 {
            self.body = Some((head, left));
            return None;
        }
        self.body = None;
        if head.opcode < CLOSE && head.last {
            self.counts.messages = self.counts.messages.saturating_add(1);
        }
        if head.opcode != CLOSE {
            return None;
        }
        Some(if self.coded == self.code.len() {
            Some(u16::from_be_bytes(self.code))
        } else {
            None
        })
    }

    fn parse(&self) -> Parsed {
        let bytes = self.head.get(..self.filled).unwrap_or_default();
        let [first, rest @ ..] = bytes else { return Parsed::More };
        let (opcode, last) = (first & 0x0f, first & 0x80 != 0);
        let is_control = opcode >= CLOSE;
        // A message goes on with frames of opcode 0; those of control may come between them.
        let follows = match opcode {
            0 => self.within,
            1 | 2 => !self.within,
            8..=10 => last,
            _ => false,
        };
        if !follows {
            return Parsed::Invalid;
        }
        let [second, rest @ ..] = rest else { return Parsed::More };
        let short = second & 0x7f;
        if (second & 0x80 != 0) != self.masked || (is_control && short > 125) {
            return Parsed::Invalid;
        }
        let (length, rest) = match short {
            126 => match rest.split_first_chunk::<2>() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
                None => return Parsed::More,
            },
            127 => match rest.split_first_chunk::<8>() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Parsed::More,
            },
            short => (u64::from(short), rest),
        };
        // The shortest form is used, and the highest bit is not.
        let least = match short {
            126 => 126,
            127 => 1 << 16,
            _ => 0,
        };
        if length < least || length > u64::MAX >> 1 {
            return Parsed::Invalid;
        }
        let mask = if self.masked {
            match rest.first_chunk::<4>() {
                Some(mask) => *mask,
                None => return Parsed::More,
            }
        } else {
            [0; 4]
        };
        Parsed::Head(Head {
            opcode,
            last,
            length,
            mask,
        })
    }
}

enum Parsed {
    More,
    Head(Head),
    Invalid,
}
