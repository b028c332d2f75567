//! Pieces that wait until it is clear what they are.
use std::collections::VecDeque;

use bytes::BytesMut;

use crate::capture::{Direction, Moment};
use crate::stream::{Content, Piece};

/// Bytes of one direction that wait at most.
const MAX_BYTES: usize = 64 * 1024;
/// Operations of one direction that wait at most.
const MAX_OPERATIONS: usize = 64;

/// Pieces of one direction in their order. Bytes of one operation are joined: how they were cut makes no difference.
#[derive(Debug, Default)]
pub(super) struct Held {
    runs: VecDeque<Run>,
    bytes: usize,
}

#[derive(Debug)]
struct Run {
    direction: Direction,
    offset: u64,
    moment: Moment,
    what: What,
}

#[derive(Debug)]
enum What {
    Bytes(BytesMut),
    Other(Content),
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// When the first piece passed, `CLOCK_MONOTONIC` nanoseconds.
    pub(super) fn since_ns(&self) -> Option<u64> {
        self.runs.front().map(|run| run.moment.time_ns)
    }

    /// Adds a piece. Whether there was room; if not, nothing is held any more.
    pub(super) fn push(&mut self, piece: Piece) -> bool {
        let bytes = match piece.content {
            Content::Bytes(bytes) => bytes,
            other => {
                self.runs.push_back(Run {
                    direction: piece.direction,
                    offset: piece.offset,
                    moment: piece.moment,
                    what: What::Other(other),
                });
                return self.keep_bounds();
            }
        };
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.bytes <= MAX_BYTES {
            match self.runs.back_mut() {
                Some(Run {
                    moment,
                    what: What::Bytes(run),
                    ..
                }) if *moment == piece.moment => run.extend_from_slice(&bytes),
                _ => self.runs.push_back(Run {
                    direction: piece.direction,
                    offset: piece.offset,
                    moment: piece.moment,
                    what: What::Bytes(BytesMut::from(bytes.as_ref())),
                }),
            }
        }
        self.keep_bounds()
    }

    fn keep_bounds(&mut self) -> bool {
        let fits = self.bytes <= MAX_BYTES && self.runs.len() <= MAX_OPERATIONS;
        if !fits {
            *self = Self::default();
        }
        fits
    }

    /// Gives everything back.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Piece> + use<> {
        let held = std::mem::take(self);
        held.runs.into_iter().map(|run| Piece {
            direction: run.direction,
            offset: run.offset,
            moment: run.moment,
            content: match run.what {
                What::Bytes(bytes) => Content::Bytes(bytes.freeze()),
                What::Other(content) => content,
            },
        })
    }
}
