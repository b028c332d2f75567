//! One direction of a connection.
use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Content, Piece};
use crate::capture::{Data, Direction, Moment};

/// How long an earlier offset is waited for, nanoseconds. Events of two CPUs change places within microseconds; a thread
/// that is preempted between its operation and the report of it takes milliseconds.
pub const GAP_NS: u64 = 100_000_000;
/// How many payload bytes of a direction wait at most.
pub const WAITING_BYTES: usize = 256 * 1024;
/// How many stretches of a direction wait at most.
pub const WAITING_PIECES: usize = 128;

/// The stretches of one direction, of which those in order have been handed on.
#[derive(Debug)]
pub(super) struct Half {
    direction: Direction,
    /// Offset of the next byte to hand on; none until the first is seen midway.
    next: Option<u64>,
    /// Stretches beyond `next`, by offset.
    waiting: BTreeMap<u64, Stretch>,
    waiting_bytes: usize,
    /// When the wait for the stretch at `next` began.
    since_ns: u64,
    /// The end of the stream, and where it lies.
    end: Option<Ending>,
    ended: bool,
}

#[derive(Debug)]
struct Stretch {
    length: u64,
    payload: Bytes,
    moment: Moment,
}

#[derive(Debug)]
struct Ending {
    offset: u64,
    content: Content,
    moment: Moment,
}

impl Half {
    pub(super) const fn new(direction: Direction, midway: bool) -> Self {
        Self {
            direction,
            next: if midway { None } else { Some(0) },
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            since_ns: 0,
            end: None,
            ended: false,
        }
    }

    pub(super) fn idle(&self) -> bool {
        self.waiting.is_empty() && self.end.is_none()
    }

    pub(super) fn data(&mut self, data: Data, out: &mut Vec<Piece>, counts: &mut dyn FnMut(&'static str)) {
        let now_ns = data.moment.time_ns;
        // Nothing lies beyond the last offset there can be.
        let length = data.length.min(u64::MAX - data.offset);
        let was_idle = self.idle();
        let ending = if data.error != 0 {
            Some(Content::Failed(data.error))
        } else if data.end {
            Some(Content::End)
        } else {
            None
        };
        if length == 0 && ending.is_none() {
            return;
        }
        if self.ended {
            // A program may read an end or hit an error many times; bytes after either are the surprise.
            if length > 0 {
                counts("stream.after_end");
            }
            return;
        }
        if let Some(content) = ending
            && self.end.is_none()
        {
            self.end = Some(Ending {
                offset: data.offset + length,
                content,
                moment: data.moment,
            });
        }
        let next = *self.next.get_or_insert(data.offset);
        if length > 0 {
            let stretch = Stretch {
                length,
                payload: data.payload,
                moment: data.moment,
            };
            if data.offset <= next {
                self.emit(data.offset, stretch, out, counts);
            } else {
                counts("stream.reordered");
                self.wait(data.offset, stretch, counts);
            }
        }
        self.advance(out, counts);
        if self.idle() {
            return;
        }
        if was_idle || self.next != Some(next) {
            self.since_ns = now_ns;
        }
        if self.waiting.len() > WAITING_PIECES || self.waiting_bytes > WAITING_BYTES {
            counts("stream.buffer_full");
            self.skip(out, counts);
            self.since_ns = now_ns;
        }
        self.tick(now_ns, out, counts);
    }

    pub(super) fn tick(&mut self, now_ns: u64, out: &mut Vec<Piece>, counts: &mut dyn FnMut(&'static str)) {
        if self.idle() || now_ns.saturating_sub(self.since_ns) < GAP_NS {
            return;
        }
        // Whatever waits behind the gap has waited almost as long as the first: later gaps are not waited for anew.
        self.flush(out, counts);
    }

    pub(super) fn flush(&mut self, out: &mut Vec<Piece>, counts: &mut dyn FnMut(&'static str)) {
        while !self.idle() {
            counts("stream.gap_timeout");
            self.skip(out, counts);
        }
    }

    /// Keeps a stretch that lies ahead. Of two at one offset the longer is kept.
    fn wait(&mut self, offset: u64, stretch: Stretch, counts: &mut dyn FnMut(&'static str)) {
        let bytes = stretch.payload.len();
        match self.waiting.get(&offset) {
            Some(kept) if kept.length >= stretch.length => counts("stream.duplicate"),
            _ => {
                self.waiting_bytes += bytes;
                if let Some(replaced) = self.waiting.insert(offset, stretch) {
                    counts("stream.duplicate");
                    self.waiting_bytes -= replaced.payload.len();
                }
            }
        }
    }

    /// Hands on everything that is in order now.
    fn advance(&mut self, out: &mut Vec<Piece>, counts: &mut dyn FnMut(&'static str)) {
        let Some(mut next) = self.next else { return };
        while let Some(entry) = self.waiting.first_entry() {
            if *entry.key() > next {
                break;
            }
            let (offset, stretch) = entry.remove_entry();
            self.waiting_bytes -= stretch.payload.len();
            self.emit(offset, stretch, out, counts);
            next = self.next.unwrap_or(next);
        }
        // An end with bytes beyond it was reported with an offset too low: it comes after them.
        if !self.waiting.is_empty() {
            return;
        }
        let Some(end) = self.end.take_if(|end| end.offset <= next) else {
            return;
        };
        self.ended = true;
        out.push(Piece {
            direction: self.direction,
            offset: next,
            content: end.content,
            moment: end.moment,
        });
    }

    /// Names the bytes between here and what waits first as unseen, and goes on from there.
    fn skip(&mut self, out: &mut Vec<Piece>, counts: &mut dyn FnMut(&'static str)) {
        let Some(next) = self.next else { return };
        let waiting = self.waiting.first_key_value().map(|(offset, s)| (*offset, s.moment));
        let end = self.end.as_ref().map(|end| (end.offset, end.moment));
        let Some((target, moment)) = waiting.or(end) else {
            return;
        };
        if target > next {
            out.push(Piece {
                direction: self.direction,
                offset: next,
                content: Content::Unseen(target - next),
                moment,
            });
            self.next = Some(target);
        }
        self.advance(out, counts);
    }

    /// Hands on what of a stretch that begins at or before `next` was not handed on yet.
    fn emit(&mut self, offset: u64, stretch: Stretch, out: &mut Vec<Piece>, counts: &mut dyn FnMut(&'static str)) {
        let next = self.next.unwrap_or(offset);
        let end = offset.saturating_add(stretch.length);
        let Stretch {
            mut payload, moment, ..
        } = stretch;
        if offset < next {
            counts("stream.duplicate");
            if end <= next {
                return;
            }
            let cut = usize::try_from(next - offset).unwrap_or(usize::MAX).min(payload.len());
            let _known = payload.split_to(cut);
        }
        let mut at = next.max(offset);
        // A record that holds more than it says passed is not believed.
        payload.truncate(usize::try_from(end - at).unwrap_or(usize::MAX));
        if !payload.is_empty() {
            let length = payload.len() as u64;
            out.push(Piece {
                direction: self.direction,
                offset: at,
                content: Content::Bytes(payload),
                moment,
            });
            at = at.saturating_add(length);
        }
        if at < end {
            out.push(Piece {
                direction: self.direction,
                offset: at,
                content: Content::Unseen(end - at),
                moment,
            });
        }
        self.next = Some(end);
    }
}
