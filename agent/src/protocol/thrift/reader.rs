//! Reads one direction, message by message.
use super::walk::{Told, Walk};
use super::wire::{Cursor, Envelope, Shape, Stop};
use crate::protocol::Mark;

/// A message, from its first byte to its last.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) envelope: Envelope,
    pub(super) told: Told,
    pub(super) begin: Mark,
    pub(super) end: Mark,
}

/// What reading came to.
#[derive(Debug)]
pub(super) enum Got {
    /// All bytes were taken.
    More,
    /// A message is complete; so many bytes were taken.
    Message(Message, usize),
    Invalid,
}

/// What a hole means.
#[derive(Debug)]
pub(super) enum Hole {
    Within,
    /// It ends a message.
    Done(Message),
    Lost,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Reader {
    shape: Shape,
    begin: Option<Mark>,
    /// What has come of a frame's length, or of an envelope.
    partial: Vec<u8>,
    /// Bytes of the frame to come, once its length is known.
    left: Option<u64>,
    state: State,
}

#[derive(Debug)]
enum State {
    Head,
    Struct(Envelope, Walk),
    /// What is left of the frame is passed.
    Rest(Envelope, Told),
}

impl Reader {
    pub(super) const fn new(shape: Shape) -> Self {
        Self {
            shape,
            begin: None,
            partial: Vec::new(),
            left: None,
            state: State::Head,
        }
    }

    /// The next byte begins a message.
    pub(super) fn restart(&mut self) {
        *self = Self::new(self.shape);
    }

    /// Whether the next byte begins a message.
    pub(super) const fn between(&self) -> bool {
        self.begin.is_none()
    }

    /// Reads `bytes`, which begin at `at`, up to the end of a message.
    pub(super) fn read(&mut self, bytes: &[u8], at: Mark) -> Got {
        if !bytes.is_empty() {
            self.begin.get_or_insert(at);
        }
        let mut taken = 0_usize;
        loop {
            let rest = bytes.get(taken..).unwrap_or_default();
            if self.shape.framed && self.left.is_none() {
                match self.whole(rest, |cursor| cursor.frame()) {
                    Ok((length, more)) => {
                        self.left = Some(length);
                        taken = taken.saturating_add(more);
                        continue;
                    }
                    Err(Stop::More) => return Got::More,
                    Err(Stop::Wrong) => return Got::Invalid,
                }
            }
            // What follows the frame is not of it.
            let most = self
                .left
                .map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
            let within = rest.get(..most).unwrap_or(rest);
            let encoding = self.shape.encoding;
            let (passed, over) = match &mut self.state {
                State::Head => match self.whole(within, |cursor| Envelope::read(encoding, cursor)) {
                    Ok((envelope, more)) => {
                        let walk = Walk::new(encoding, envelope.kind);
                        self.state = State::Struct(envelope, walk);
                        (more, false)
                    }
                    Err(Stop::More) if within.len() < most => {
                        self.pass(within.len());
                        return Got::More;
                    }
                    Err(_) => return Got::Invalid,
                },
                State::Struct(_, walk) => match walk.read(within) {
                    Ok((more, over)) => (more, over),
                    Err(_) => return Got::Invalid,
                },
                State::Rest(..) => (within.len(), true),
            };
            self.pass(passed);
            taken = taken.saturating_add(passed);
            let left = self.left.unwrap_or(0);
            match (over, left) {
                (true, 0) => {
                    return self
                        .over(at.behind(taken as u64))
                        .map_or(Got::Invalid, |told| Got::Message(told, taken));
                }
                (true, _) => {
                    self.rest();
                    if taken >= bytes.len() {
                        return Got::More;
                    }
                }
                // A struct is longer than its frame.
                (false, 0) if self.shape.framed => return Got::Invalid,
                (false, _) if passed == 0 || taken >= bytes.len() => return Got::More,
                (false, _) => {}
            }
        }
    }

    /// Reads something that has to be whole out of what has come of it and `rest`; how many bytes of `rest` it took.
    fn whole<T>(&mut self, rest: &[u8], read: impl Fn(&mut Cursor<'_>) -> Result<T, Stop>) -> Result<(T, usize), Stop> {
        if self.partial.is_empty() {
            let mut cursor = Cursor::new(rest);
            let got = read(&mut cursor);
            if matches!(got, Err(Stop::More)) {
                self.partial.extend_from_slice(rest);
            }
            return got.map(|got| (got, cursor.taken()));
        }
        // It is short.
        for (taken, byte) in (1_usize..).zip(rest) {
            self.partial.push(*byte);
            match read(&mut Cursor::new(&self.partial)) {
                Err(Stop::More) => {}
                got => {
                    self.partial.clear();
                    return got.map(|got| (got, taken));
                }
            }
        }
        Err(Stop::More)
    }

    /// Bytes of the frame have passed.
    fn pass(&mut self, passed: usize) {
        self.left = self.left.map(|left| left.saturating_sub(passed as u64));
    }

    /// What is left of the frame says nothing.
    fn rest(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Head) {
            State::Struct(envelope, walk) => State::Rest(envelope, walk.told()),
            other => other,
        };
    }

    /// The message is complete.
    fn over(&mut self, end: Mark) -> Option<Message> {
        self.rest();
        let State::Rest(envelope, told) = std::mem::replace(&mut self.state, State::Head) else {
            return None;
        };
        self.left = None;
        self.partial.clear();
        Some(Message {
            envelope,
            told,
            begin: self.begin.take().unwrap_or(end),
            end,
        })
    }

    /// Passes a hole that begins at `at`.
    pub(super) fn hole(&mut self, length: u64, at: Mark) -> Hole {
        let is_within = match (&mut self.state, self.left) {
            (State::Head, _) => false,
            // Where the frame ends is known, whatever stands in it.
            (State::Struct(..) | State::Rest(..), Some(left)) => length <= left,
            (State::Struct(_, walk), None) => walk.hole(length),
            (State::Rest(..), None) => false,
        };
        if !is_within {
            return Hole::Lost;
        }
        if self.left.is_some() {
            self.left = self.left.map(|left| left.saturating_sub(length));
            self.unseen();
            if self.left == Some(0) {
                return self.over(at.behind(length)).map_or(Hole::Lost, Hole::Done);
            }
        }
        Hole::Within
    }

    /// A part of the frame was not seen: what else it says may not be what it seems.
    fn unseen(&mut self) {
        self.rest();
        self.partial.clear();
    }
}
