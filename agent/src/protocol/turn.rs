//! Whose turn it is on a connection.
use crate::capture::Direction;
use crate::stream::{Content, Piece};

/// Silence of both directions after which nothing that was asked is taken to be under way, nanoseconds.
pub(super) const QUIET_NS: u64 = 1_000_000_000;

/// The last thing that passed a connection.
#[derive(Debug, Default)]
pub(super) struct Turns {
    passed: Option<Passed>,
}

#[derive(Clone, Copy, Debug)]
struct Passed {
    direction: Direction,
    time_ns: u64,
}

/// How a piece stands to what passed before it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    /// The other direction spoke last, or none did.
    pub(super) turned: bool,
    /// Nothing was seen before it.
    pub(super) first: bool,
    /// Nothing had passed for [`QUIET_NS`].
    pub(super) quiet: bool,
}

impl Turns {
    /// How a piece stands to what came before, and notes it.
    pub(super) fn take(&mut self, piece: &Piece) -> Turn {
        let turn = Turn {
            first: self.passed.is_none(),
            turned: self.passed.is_none_or(|passed| passed.direction != piece.direction),
            quiet: self
                .passed
                .is_none_or(|passed| piece.moment.time_ns.saturating_sub(passed.time_ns) >= QUIET_NS),
        };
        if matches!(piece.content, Content::Bytes(_) | Content::Unseen(_)) {
            self.passed = Some(Passed {
                direction: piece.direction,
                time_ns: piece.moment.time_ns,
            });
        }
        turn
    }
}
