//! Recognizes the protocol of a connection by its bytes.
use std::sync::LazyLock;

use bytes::Bytes;

use super::{DETECT_BYTES, PROTOCOLS, Protocol, Recognized};
use crate::capture::Direction;
use crate::stream::{Content, Piece};

/// Turns of the connection that are looked at before it is given up as unknown.
const MAX_TRIES: u32 = 16;

/// Which protocols may begin with a byte, a bit each by their places: what is not of a protocol does not become so by what follows.
static BEGINS: LazyLock<[u32; 256]> = LazyLock::new(|| {
    const { assert!(PROTOCOLS.len() <= 32, "a bit each") };
    let mut begins = [0; 256];
    for (byte, begins) in (0..=u8::MAX).zip(&mut begins) {
        for (place, protocol) in PROTOCOLS.iter().enumerate() {
            let may = (protocol.recognize)(&[byte]) != Recognized::No;
            *begins |= u32::from(may) << place;
        }
    }
    begins
});

/// A connection that is not recognized yet.
///
/// What is looked at is the beginning of a direction, and where that is none of a known protocol, the bytes behind the next
/// hole, operation or turn. How an operation is cut into pieces makes no difference.
#[derive(Default)]
pub(super) struct Detecting {
    /// What may belong to the first message, in the order it came.
    kept: Vec<Piece>,
    ingress: Side,
    egress: Side,
    last: Option<Direction>,
    tries: u32,
}

#[derive(Default)]
struct Side {
    seen: Bytes,
    /// What was seen is of no protocol. The operation that showed it, by its time.
    hopeless: Option<u64>,
    /// Something else came before, and the connection turned since.
    retried: bool,
}

pub(super) enum Detected {
    /// The piece is of no use.
    Nothing,
    /// It may be of use, and is to be [kept](Detecting::keep).
    Awaited,
    /// The protocol, and the bytes that showed it. What was kept is to be parsed before the piece.
    Protocol(&'static Protocol, Bytes),
    GivenUp,
}

impl Detecting {
    /// Recognition behind a wrong guess: what is left of this operation of this direction is no beginning.
    pub(super) fn behind(direction: Direction, time_ns: u64) -> Self {
        let mut detecting = Self {
            last: Some(direction),
            ..Self::default()
        };
        detecting.side(direction).hopeless = Some(time_ns);
        detecting
    }

    /// Keeps a piece.
    pub(super) fn keep(&mut self, piece: Piece) {
        self.kept.push(piece);
    }

    /// The pieces that were kept.
    pub(super) fn take_kept(&mut self) -> Vec<Piece> {
        std::mem::take(&mut self.kept)
    }

    /// Whether what came last of a direction may still be of a protocol.
    pub(super) fn awaits(&self, direction: Direction) -> bool {
        let bytes = |kept: &Piece| matches!(kept.content, Content::Bytes(_));
        self.kept.iter().any(|kept| kept.direction == direction && bytes(kept))
    }

    /// Looks at the next piece.
    pub(super) fn look(&mut self, piece: &Piece) -> Detected {
        let direction = piece.direction;
        let Content::Bytes(bytes) = &piece.content else {
            // What comes behind a hole is a new beginning; what came before it is of no use.
            *self.side(direction) = Side::default();
            self.kept.retain(|kept| kept.direction != direction);
            return Detected::Awaited;
        };
        let turned = self.last.replace(direction) != Some(direction);
        let time_ns = piece.moment.time_ns;
        let side = self.side(direction);
        match side.hopeless {
            Some(since_ns) if since_ns == time_ns && !turned => return Detected::Nothing,
            Some(_) => {
                *side = Side {
                    retried: turned,
                    ..Side::default()
                };
            }
            None => {}
        }
        // What begins in one piece is looked at there.
        let seen = if side.seen.is_empty() {
            bytes.slice(..bytes.len().min(DETECT_BYTES))
        } else {
            let room = DETECT_BYTES.saturating_sub(side.seen.len()).min(bytes.len());
            let more = bytes.get(..room).unwrap_or_default();
            Bytes::from([side.seen.as_ref(), more].concat())
        };
        let full = seen.len() >= DETECT_BYTES;
        let mut more = false;
        let begins = seen.first().and_then(|first| BEGINS.get(usize::from(*first)));
        let begins = begins.copied().unwrap_or(u32::MAX);
        let places = PROTOCOLS.iter().enumerate();
        for (_, protocol) in places.filter(|(place, _)| begins >> place & 1 == 1) {
            match (protocol.recognize)(&seen) {
                // A protocol that comes first is waited for.
                Recognized::Yes if !more => {
                    side.seen = Bytes::new();
                    return Detected::Protocol(protocol, seen);
                }
                Recognized::Yes => {}
                Recognized::More => more = !full,
                Recognized::No => {}
            }
        }
        if more {
            side.seen = seen;
            return Detected::Awaited;
        }
        let retried = side.retried;
        *side = Side {
            hopeless: Some(time_ns),
            ..Side::default()
        };
        self.kept.retain(|kept| kept.direction != direction);
        self.tries = self.tries.saturating_add(u32::from(retried));
        if self.tries >= MAX_TRIES {
            Detected::GivenUp
        } else {
            Detected::Nothing
        }
    }

    const fn side(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }
}
