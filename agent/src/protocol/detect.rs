//! Recognizes the protocol of a connection by its bytes.
use bytes::Bytes;

use super::{DETECT_BYTES, PROTOCOLS, Protocol, Recognized};
use crate::capture::Direction;
use crate::stream::{Content, Piece};

/// Turns of the connection that are looked at before it is given up as unknown.
const MAX_TRIES: u32 = 16;

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
    Nothing,
    /// The protocol, the bytes that showed it, and the piece that was taken. What was kept is to be parsed before that.
    Protocol(&'static Protocol, Bytes, Piece),
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

    /// The pieces that were kept.
    pub(super) fn take_kept(&mut self) -> Vec<Piece> {
        std::mem::take(&mut self.kept)
    }

    /// Whether what came last of a direction may still be of a protocol.
    pub(super) fn awaits(&self, direction: Direction) -> bool {
        let bytes = |kept: &Piece| matches!(kept.content, Content::Bytes(_));
        self.kept.iter().any(|kept| kept.direction == direction && bytes(kept))
    }

    pub(super) fn take(&mut self, piece: Piece) -> Detected {
        let direction = piece.direction;
        let Content::Bytes(bytes) = &piece.content else {
            // What comes behind a hole is a new beginning; what came before it is of no use.
            *self.side(direction) = Side::default();
            self.kept.retain(|kept| kept.direction != direction);
            self.kept.push(piece);
            return Detected::Nothing;
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
        for protocol in PROTOCOLS {
            match (protocol.recognize)(&seen) {
                // A protocol that comes first is waited for.
                Recognized::Yes if !more => {
                    side.seen = Bytes::new();
                    return Detected::Protocol(protocol, seen, piece);
                }
                Recognized::Yes => {}
                Recognized::More => more = !full,
                Recognized::No => {}
            }
        }
        if more {
            side.seen = seen;
            self.kept.push(piece);
            return Detected::Nothing;
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
