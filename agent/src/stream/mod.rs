//! Puts the bytes of each direction of a connection in order.
//!
//! In: [`capture::Data`](crate::capture::Data) as the ring buffer delivers it, which may be out of order between threads
//! and CPUs. Out: [`Piece`]s in offset order, every byte once, with what was not seen named as [`Content::Unseen`]. This
//! stage knows no protocol, reads no clock and holds a bounded amount per connection.
#![forbid(unsafe_code)]
use bytes::Bytes;

use crate::capture::{Direction, Moment};

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
