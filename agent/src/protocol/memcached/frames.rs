//! Frames of the binary protocol.

/// The first byte of what is asked.
pub(super) const ASKS: u8 = 0x80;
/// The first byte of what is answered.
pub(super) const ANSWERS: u8 = 0x81;
/// Bytes of a head.
pub(super) const HEAD_BYTES: usize = 24;
/// Bytes behind the head that are kept: the extras and the key lie there.
const KEPT: usize = 24 + super::MAX_KEY;

/// The head of a frame (memcached's protocol_binary.h), numbers in network order.
///
/// ```text
/// 0      1        2          4           5     6               8           12      16     24
/// | kind | opcode | key: u16 | extras: u8 | 0 | status: u16 | body: u32 | opaque | cas: u64 | extras key value
/// ```
///
/// A question has the number of a bucket where an answer has its status. The body's length is that of all that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) opcode: u8,
    pub(super) status: u16,
    pub(super) opaque: u32,
    pub(super) key: usize,
    pub(super) extras: usize,
    pub(super) body: u64,
}

impl Head {
    /// The head these bytes are, if they are one that begins with `kind`.
    pub(super) fn parse(kind: u8, bytes: &[u8; HEAD_BYTES]) -> Option<Self> {
        let [
            first,
            opcode,
            k0,
            k1,
            extras,
            data_type,
            s0,
            s1,
            b0,
            b1,
            b2,
            b3,
            o0,
            o1,
            o2,
            o3,
            ..,
        ] = *bytes;
        let head = Self {
            opcode,
            status: u16::from_be_bytes([s0, s1]),
            opaque: u32::from_be_bytes([o0, o1, o2, o3]),
            key: usize::from(u16::from_be_bytes([k0, k1])),
            extras: usize::from(extras),
            body: u64::from(u32::from_be_bytes([b0, b1, b2, b3])),
        };
        let fits = head.key.saturating_add(head.extras) as u64 <= head.body;
        let sound = first == kind && data_type == 0 && fits && head.key <= super::MAX_KEY;
        // A value may be as large as memcached allows, beside what comes before it.
        (sound && head.body <= super::MAX_VALUE.saturating_add(1 << 20)).then_some(head)
    }
}

/// What reading came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Got {
    /// All bytes were taken.
    More,
    /// A frame is complete behind so many bytes.
    Frame(usize, Head),
    /// The bytes are no frame.
    Invalid,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Frames {
    kind: u8,
    head: [u8; HEAD_BYTES],
    /// Bytes of the head that have come.
    filled: usize,
    /// The head that is complete, and the bytes of its body to come.
    body: Option<(Head, u64)>,
    kept: Vec<u8>,
    /// What comes behind a hole does not go on with what was kept.
    holed: bool,
}

impl Frames {
    pub(super) const fn new(kind: u8) -> Self {
        Self {
            kind,
            head: [0; HEAD_BYTES],
            filled: 0,
            body: None,
            kept: Vec::new(),
            holed: false,
        }
    }

    /// Whether the next byte begins a frame.
    pub(super) const fn between(&self) -> bool {
        self.filled == 0
    }

    /// Reads up to the end of a frame.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Got {
        let mut at = 0_usize;
        if self.body.is_none() {
            if self.filled == 0 {
                self.kept.clear();
                self.holed = false;
            }
            let Some(room) = self.head.get_mut(self.filled..) else {
                return Got::Invalid;
            };
            at = room.len().min(bytes.len());
            for (to, from) in room.iter_mut().zip(bytes) {
                *to = *from;
            }
            self.filled = self.filled.saturating_add(at);
            if self.filled < HEAD_BYTES {
                return Got::More;
            }
            let Some(head) = Head::parse(self.kind, &self.head) else {
                return Got::Invalid;
            };
            self.body = Some((head, head.body));
        }
        let Some((head, left)) = self.body else {
            return Got::Invalid;
        };
        let rest = bytes.get(at..).unwrap_or_default();
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
        if !self.holed {
            let room = KEPT.saturating_sub(self.kept.len()).min(taken);
            self.kept.extend_from_slice(rest.get(..room).unwrap_or_default());
        }
        self.pass(head, left.saturating_sub(taken as u64), at.saturating_add(taken))
    }

    /// Passes a hole; none if what is behind it is not known.
    pub(super) fn hole(&mut self, length: u64) -> Option<Got> {
        let (head, left) = self.body?;
        self.holed = true;
        Some(self.pass(head, left.checked_sub(length)?, 0))
    }

    const fn pass(&mut self, head: Head, left: u64, taken: usize) -> Got {
        if left > 0 {
            self.body = Some((head, left));
            return Got::More;
        }
        self.body = None;
        self.filled = 0;
        Got::Frame(taken, head)
    }

    /// The key of the frame that is complete; none if it was not seen.
    pub(super) fn key(&self, head: Head) -> Option<&[u8]> {
        self.kept.get(head.extras..head.extras.checked_add(head.key)?)
    }
}
