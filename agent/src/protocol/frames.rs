//! Cuts a direction into frames that say how long they are.
use std::marker::PhantomData;

use crate::protocol::Mark;

/// Most bytes of a frame's head.
pub(super) const MAX_HEAD: usize = 24;

/// How a protocol's frames begin.
pub(super) trait Format {
    /// Bytes of every frame's head.
    const HEAD: usize;
    /// What a head says; none if it is no head. `head` has [`Self::HEAD`] bytes.
    fn shape(head: &[u8]) -> Option<Shape>;
}

/// What a frame's head says of what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Bytes behind the head.
    pub(super) length: u64,
    /// The first of them, that are of interest.
    pub(super) keep: usize,
}

/// A frame.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    /// Its head.
    pub(super) head: &'a [u8],
    /// The first bytes behind the head; at least those of interest, unless it is `cut`.
    pub(super) payload: &'a [u8],
    /// Bytes behind the head.
    pub(super) length: u64,
    /// Bytes of interest were not seen.
    pub(super) cut: bool,
    /// Offset of its first byte, and the operation that carried it.
    pub(super) begin: Mark,
    /// Its last byte.
    pub(super) end: Mark,
}

/// What reading came to.
#[derive(Debug)]
pub(super) enum Cut<'a> {
    /// All bytes were taken.
    More,
    /// A frame is complete; so many bytes were taken.
    Frame(Frame<'a>, usize),
    /// The bytes do not follow the protocol.
    Invalid,
}

/// What a hole means to a direction.
#[derive(Debug)]
pub(super) enum Hole<'a> {
    /// It lies within a frame.
    Within,
    /// It ends a frame.
    Done(Frame<'a>),
    /// What is behind it is not known.
    Lost,
}

/// Reads frames. One that lies within one piece is not copied, and where all do nothing is kept.
#[derive(Debug)]
pub(super) struct Frames<F> {
    /// Made for the first frame that is cut into pieces, and used for all others.
    reading: Option<Box<Reading>>,
    format: PhantomData<F>,
}

/// The frame being read.
#[derive(Debug, Default)]
struct Reading {
    head: [u8; MAX_HEAD],
    /// Bytes of the head that have come.
    headed: usize,
    /// Bytes behind the head, all and those to come.
    length: u64,
    left: u64,
    keep: usize,
    kept: Vec<u8>,
    cut: bool,
    /// None between frames.
    begin: Option<Mark>,
}

impl<F> Default for Frames<F> {
    fn default() -> Self {
        Self {
            reading: None,
            format: PhantomData,
        }
    }
}

impl<F: Format> Frames<F> {
    /// The next byte begins a frame.
    pub(super) fn restart(&mut self) {
        self.reading = None;
    }

    /// Whether the next byte begins a frame.
    pub(super) fn between(&self) -> bool {
        self.reading.as_ref().is_none_or(|reading| reading.begin.is_none())
    }

    /// Reads `bytes`, which begin at `at`, up to the end of a frame.
    pub(super) fn read<'a>(&'a mut self, bytes: &'a [u8], at: Mark) -> Cut<'a> {
        // What is whole in this piece is taken from there.
        if self.between()
            && let Some((head, rest)) = bytes.split_at_checked(F::HEAD)
        {
            let Some(shape) = F::shape(head) else {
                return Cut::Invalid;
            };
            if let Some(payload) = usize::try_from(shape.length).ok().and_then(|length| rest.get(..length)) {
                let taken = F::HEAD.saturating_add(payload.len());
                let frame = Frame {
                    head,
                    // How bytes are cut into pieces makes no difference.
                    payload: payload.get(..shape.keep).unwrap_or(payload),
                    length: shape.length,
                    cut: false,
                    begin: at,
                    end: at.behind(taken as u64),
                };
                return Cut::Frame(frame, taken);
            }
        }
        self.reading.get_or_insert_default().read::<F>(bytes, at)
    }

    /// Passes a hole of `length` bytes that begins at `at`.
    pub(super) fn hole(&mut self, length: u64, at: Mark) -> Hole<'_> {
        let reading = self.reading.as_mut();
        match reading.filter(|reading| reading.headed >= F::HEAD && length <= reading.left) {
            Some(reading) => reading.hole::<F>(length, at),
            None => Hole::Lost,
        }
    }
}

impl Reading {
    fn read<'a, F: Format>(&'a mut self, bytes: &[u8], at: Mark) -> Cut<'a> {
        let begin = *self.begin.get_or_insert(at);
        let mut taken = 0_usize;
        if self.headed < F::HEAD {
            if self.headed == 0 {
                self.kept.clear();
                self.cut = false;
            }
            let room = F::HEAD.saturating_sub(self.headed).min(bytes.len());
            let space = self.head.get_mut(self.headed..).unwrap_or_default();
            for (space, byte) in space.iter_mut().zip(bytes.iter().take(room)) {
                *space = *byte;
            }
            self.headed = self.headed.saturating_add(room);
            taken = room;
            if self.headed < F::HEAD {
                return Cut::More;
            }
            let Some(shape) = self.head.get(..F::HEAD).and_then(F::shape) else {
                return Cut::Invalid;
            };
            self.length = shape.length;
            self.left = shape.length;
            self.keep = usize::try_from(shape.length).unwrap_or(usize::MAX).min(shape.keep);
        }
        let rest = bytes.get(taken..).unwrap_or_default();
        let of_frame = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest.len());
        let room = self.keep.saturating_sub(self.kept.len()).min(of_frame);
        if !self.cut {
            self.kept.extend_from_slice(rest.get(..room).unwrap_or_default());
        }
        self.left = self.left.saturating_sub(of_frame as u64);
        taken = taken.saturating_add(of_frame);
        if self.left > 0 {
            return Cut::More;
        }
        Cut::Frame(self.finish::<F>(begin, at.behind(taken as u64)), taken)
    }

    /// Passes a hole that does not go beyond the frame.
    fn hole<F: Format>(&mut self, length: u64, at: Mark) -> Hole<'_> {
        let Some(begin) = self.begin else {
            return Hole::Lost;
        };
        self.cut |= self.kept.len() < self.keep;
        self.left = self.left.saturating_sub(length);
        if self.left > 0 {
            return Hole::Within;
        }
        Hole::Done(self.finish::<F>(begin, at.behind(length)))
    }

    fn finish<F: Format>(&mut self, begin: Mark, end: Mark) -> Frame<'_> {
        let cut = self.cut;
        self.begin = None;
        self.headed = 0;
        self.cut = false;
        Frame {
            head: self.head.get(..F::HEAD).unwrap_or_default(),
            payload: &self.kept,
            length: self.length,
            cut,
            begin,
            end,
        }
    }
}
