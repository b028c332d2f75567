//! Puts the bytes of each direction of a connection in order.
//!
//! In: [`capture::Data`](crate::capture::Data) as the ring buffer delivers it, which may be out of order between threads
//! and CPUs. Out: [`Piece`]s in offset order, every byte once, with what was not seen named as [`Content::Unseen`]. This
//! stage knows no protocol, reads no clock and holds a bounded amount per connection.
#![forbid(unsafe_code)]
mod half;

use bytes::Bytes;

use crate::capture::{Data, Direction, Moment};

pub use half::{GAP_NS, WAITING_BYTES, WAITING_PIECES};

/// The two directions of a connection, put in order.
///
/// A stretch whose predecessor has not arrived waits for it, at most [`GAP_NS`], [`WAITING_BYTES`] and
/// [`WAITING_PIECES`]; what has not come by then is [`Content::Unseen`].
#[derive(Debug)]
pub struct Stream {
    ingress: half::Half,
    egress: half::Half,
}

impl Stream {
    /// A connection of which nothing was seen yet. One that is `midway` may have passed bytes before: each direction
    /// begins at the first offset seen instead of 0.
    pub fn new(midway: bool) -> Self {
        Self {
            ingress: half::Half::new(Direction::Ingress, midway),
            egress: half::Half::new(Direction::Egress, midway),
        }
    }

    /// Takes what the kernel saw and appends what is in order now. `counts` hears the name of each counter to raise.
    pub fn data(&mut self, data: Data, out: &mut Vec<Piece>, counts: &mut dyn FnMut(&'static str)) {
        match data.direction {
            Direction::Ingress => self.ingress.data(data, out, counts),
            Direction::Egress => self.egress.data(data, out, counts),
        }
    }

    /// Gives up on gaps that have been waited for long enough at `now_ns` (`CLOCK_MONOTONIC`).
    pub fn tick(&mut self, now_ns: u64, out: &mut Vec<Piece>, counts: &mut dyn FnMut(&'static str)) {
        self.ingress.tick(now_ns, out, counts);
        self.egress.tick(now_ns, out, counts);
    }

    /// Gives up on all gaps: nothing more will come.
    pub fn flush(&mut self, out: &mut Vec<Piece>, counts: &mut dyn FnMut(&'static str)) {
        self.ingress.flush(out, counts);
        self.egress.flush(out, counts);
    }

    /// Whether nothing waits, so that [`tick`](Self::tick) has nothing to do.
    pub fn idle(&self) -> bool {
        self.ingress.idle() && self.egress.idle()
    }
}

/// The next stretch of a direction's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which way it went.
    pub direction: Direction,
    /// Position of its first byte in the stream.
    pub offset: u64,
    /// What it holds.
    pub content: Content,
    /// When it passed and who passed it.
    pub moment: Moment,
}

/// What a stretch of a stream holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Bytes.
    Bytes(Bytes),
    /// This many bytes passed and were not captured.
    Unseen(u64),
    /// The sender of this direction will send nothing more.
    End,
    /// The connection failed with this `errno`.
    Failed(i32),
}

#[cfg(test)]
mod tests;
