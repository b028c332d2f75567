//! Reads one direction: frames, and what of their bodies is of interest.
//!
//! Bytes are taken in just the portions that what is read needs, so that how they were cut makes no difference. What is long and of no
//! interest is passed, seen or not.
use super::batch::{self, Batch};
use super::head::{self, Head, MAX_FRAME};
use super::record::{MAX_KEPT, Records};
use super::topics::{Place, Walk};
use super::wire::{Cursor, Got, Short};
use crate::capture::Moment;
use crate::protocol::{DETECT_BYTES, Mark, Recognized};

/// Bytes of an answer that are kept.
const MAX_ANSWER: usize = 64 * 1024;
/// Bytes of something that is read at once.
const MAX_ITEM: usize = 64 * 1024;
/// Bytes of a head or an item that usually come.
const USUAL_KEPT: usize = 128;
/// Bytes in which no frame was found before the protocol is called a wrong guess.
const MAX_VAIN: u64 = 64 << 20;

/// What was read.
#[derive(Debug)]
pub(super) enum Event {
    /// All bytes were taken.
    More,
    /// The header of a request passed. Its body is passed unless it is said otherwise.
    Asked(Head),
    /// An answer to the request of this number begins. Its body is passed unless it is said otherwise.
    Answers(i32),
    /// A batch of a walk, from its first byte to its last.
    Batch(Box<Batch>, Mark, Mark),
    /// The frame is over, the first byte of which is told. What of it was to be kept is there until the next is read.
    Over(Mark, Mark),
    /// The body is not as it should be; it is passed.
    Odd,
    /// Bytes were missed, or are no frames; from here on frames are looked for.
    Lost,
    Invalid,
    Hopeless,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Head,
    Walk,
    /// The messages of a batch: bytes to come, and whether some before them were not seen.
    Records(batch::Head, u64, bool),
    /// What is left of a partition's batches is passed.
    Blind,
    /// The body is kept; whether some of it was not seen.
    Keep(bool),
    Pass,
    /// Frames are looked for; whether what has come since the beginning of an operation may be one.
    Seeking(bool),
}

/// Reads one direction.
#[derive(Debug)]
pub(super) struct Reader {
    asks: bool,
    state: State,
    walk: Option<Walk>,
    /// The first byte of the frame, and of the batch.
    begin: Option<Mark>,
    batch: Option<Mark>,
    /// Of what is being read.
    kept: Vec<u8>,
    /// The body of the frame that was to be kept.
    body: Vec<u8>,
    /// Bytes of the frame to come, and of the partition's batches.
    left: u64,
    region: u64,
    last: Option<Moment>,
    in_vain: u64,
    /// What is left of this operation is of no use.
    skipped: Option<Moment>,
}

impl Reader {
    /// A direction; whether requests go it, and whether its first byte begins a frame.
    pub(super) const fn new(asks: bool, begins: bool) -> Self {
        Self {
            asks,
            state: if begins { State::Head } else { State::Seeking(false) },
            walk: None,
            begin: None,
            batch: None,
            kept: Vec::new(),
            body: Vec::new(),
            left: 0,
            region: 0,
            last: None,
            in_vain: 0,
            skipped: None,
        }
    }

    /// Whether frames are looked for.
    pub(super) const fn is_lost(&self) -> bool {
        matches!(self.state, State::Seeking(_))
    }

    /// The body whose header passed is walked through.
    pub(super) fn walk(&mut self, walk: Walk) {
        self.walk = Some(walk);
        self.state = State::Walk;
    }

    /// The body whose header passed is kept.
    pub(super) fn keep(&mut self) {
        self.body.clear();
        self.state = State::Keep(false);
    }

    /// What was kept.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// The message that is walked through, or was last.
    pub(super) const fn walked(&self) -> Option<&Walk> {
        self.walk.as_ref()
    }

    fn lose(&mut self) {
        self.state = State::Seeking(false);
        self.begin = None;
        self.kept.clear();
        self.walk = None;
    }

    fn invalid(&mut self, at: Mark) -> Event {
        self.lose();
        self.skipped = Some(at.moment);
        Event::Invalid
    }

    /// Reads up to something; how many bytes were taken. `known` says whether a request of a number awaits its answer.
    pub(super) fn read(&mut self, bytes: &[u8], at: Mark, known: impl Fn(i32) -> bool) -> (usize, Event) {
        if self.skipped == Some(at.moment) {
            return (bytes.len(), Event::More);
        }
        let new = !bytes.is_empty() && self.last.replace(at.moment) != Some(at.moment);
        if let State::Seeking(may_be) = self.state {
            return self.seek(bytes, at, new, may_be, known);
        }
        let mut taken = 0_usize;
        loop {
            let rest = bytes.get(taken..).unwrap_or_default();
            let before = taken;
            let place = at.behind(taken as u64);
            let event = match self.state {
                State::Head => self.head(rest, place, &mut taken),
                State::Walk => self.step(rest, place, &mut taken),
                State::Records(of, left, cut) => self.records(of, left, cut, rest, place, &mut taken),
                State::Blind => {
                    let passed = self.pass(rest, self.region);
                    self.region = self.region.saturating_sub(passed as u64);
                    taken = taken.saturating_add(passed);
                    if self.region > 0 {
                        return (taken, Event::More);
                    }
                    self.state = State::Walk;
                    None
                }
                State::Keep(cut) => {
                    let passed = self.pass(rest, self.left);
                    let room = MAX_ANSWER.saturating_sub(self.body.len()).min(passed);
                    if !cut {
                        self.body.extend_from_slice(rest.get(..room).unwrap_or_default());
                    }
                    taken = taken.saturating_add(passed);
                    self.over(at.behind(taken as u64))
                }
                State::Pass => {
                    taken = taken.saturating_add(self.pass(rest, self.left));
                    self.over(at.behind(taken as u64))
                }
                State::Seeking(_) => Some(Event::More),
            };
            match event {
                // Nothing was taken, and nothing is to be had without more.
                Some(Event::More) if taken == before => return (taken, Event::More),
                Some(Event::More) | None => {}
                Some(event) => return (taken, event),
            }
        }
    }

    /// Takes so many bytes at most to what is being read.
    fn take(&mut self, rest: &[u8], most: usize, taken: &mut usize) {
        let portion = rest.get(..most).unwrap_or(rest);
        // Few bytes come at a time.
        if self.kept.capacity() == 0 {
            self.kept.reserve(USUAL_KEPT.max(portion.len()));
        }
        self.kept.extend_from_slice(portion);
        *taken = taken.saturating_add(portion.len());
        self.left = self.left.saturating_sub(portion.len() as u64);
    }

    /// So many bytes of the frame were read where they are.
    fn advance(&mut self, read: usize, taken: &mut usize) {
        *taken = taken.saturating_add(read);
        self.left = self.left.saturating_sub(read as u64);
    }

    /// Passes bytes of the frame, at most so many.
    fn pass(&mut self, rest: &[u8], most: u64) -> usize {
        let passed = usize::try_from(most).unwrap_or(usize::MAX).min(rest.len());
        self.left = self.left.saturating_sub(passed as u64);
        passed
    }

    /// The end of the frame, if it has come.
    fn over(&mut self, end: Mark) -> Option<Event> {
        if self.left > 0 {
            return Some(Event::More);
        }
        self.state = State::Head;
        self.kept.clear();
        Some(Event::Over(self.begin.take().unwrap_or(end), end))
    }

    fn head(&mut self, rest: &[u8], at: Mark, taken: &mut usize) -> Option<Event> {
        if !rest.is_empty() {
            self.begin.get_or_insert(at);
        }
        // What is whole in this piece is read from there.
        let whole = if self.kept.is_empty() {
            frame(self.asks, rest).ok()
        } else {
            None
        };
        let is_whole = whole.is_some();
        match whole.map_or_else(|| frame(self.asks, &self.kept), Ok) {
            Ok((event, left, read)) => {
                if is_whole {
                    *taken = taken.saturating_add(read);
                }
                self.left = left;
                self.kept.clear();
                self.walk = None;
                self.state = State::Pass;
                Some(event)
            }
            Err(Short::Need(more)) => {
                self.take(rest, more, taken);
                Some(Event::More)
            }
            Err(Short::Wrong) => Some(self.invalid(at)),
        }
    }

    /// The next step of a walk.
    fn step(&mut self, rest: &[u8], at: Mark, taken: &mut usize) -> Option<Event> {
        let Some(walk) = &mut self.walk else {
            self.state = State::Pass;
            return None;
        };
        match walk.place {
            Place::Over => {
                self.state = State::Pass;
                return None;
            }
            Place::Batches(_) if self.region == 0 && self.kept.is_empty() => {
                walk.place = Place::PartitionEnd;
                return None;
            }
            Place::Batches(_) => return self.batch(rest, at, taken),
            _ => {}
        }
        // What is whole in this piece is read from there.
        let most = usize::try_from(self.left).unwrap_or(MAX_ITEM).min(MAX_ITEM);
        let here = rest.get(..most).unwrap_or(rest);
        let whole = if self.kept.is_empty() {
            walk.step(here).ok()
        } else {
            None
        };
        match whole.map_or_else(|| walk.step(&self.kept).map(|_| 0), Ok) {
            Ok(read) => {
                let place = walk.place;
                self.kept.clear();
                self.advance(read, taken);
                if let Place::Batches(length) = place {
                    if length > self.left {
                        return Some(self.odd());
                    }
                    self.region = length;
                }
                None
            }
            Err(Short::Need(more)) if self.left >= more as u64 && self.kept.len() < MAX_ITEM => {
                self.take(rest, more, taken);
                Some(Event::More)
            }
            Err(_) => Some(self.odd()),
        }
    }

    fn odd(&mut self) -> Event {
        self.kept.clear();
        self.state = State::Pass;
        Event::Odd
    }

    /// The head of a batch.
    fn batch(&mut self, rest: &[u8], at: Mark, taken: &mut usize) -> Option<Event> {
        // What is whole in this piece is read from there.
        if self.kept.is_empty()
            && let Ok(length) = usize::try_from(batch::Head::bytes(rest))
            && length as u64 <= self.region
            && let Some(head) = rest.get(..length)
        {
            self.batch = Some(at);
            self.advance(length, taken);
            self.region = self.region.saturating_sub(length as u64);
            self.headed(head);
            return None;
        }
        let have = self.kept.len() as u64;
        let wanted = if have < batch::OLD_HEAD_BYTES {
            batch::OLD_HEAD_BYTES
        } else {
            batch::Head::bytes(&self.kept)
        };
        let missing = wanted.saturating_sub(have);
        if missing > 0 {
            // The last of an answer may be cut off.
            if missing > self.region {
                self.blind();
                return None;
            }
            if self.kept.is_empty() {
                self.batch = Some(at);
            }
            let before = *taken;
            self.take(rest, usize::try_from(missing).unwrap_or(usize::MAX), taken);
            self.region = self.region.saturating_sub(taken.saturating_sub(before) as u64);
            return Some(Event::More);
        }
        let kept = std::mem::take(&mut self.kept);
        self.headed(&kept);
        self.kept = kept;
        self.kept.clear();
        None
    }

    /// The head of a batch passed.
    fn headed(&mut self, head: &[u8]) {
        match batch::Head::read(head) {
            Ok(of) if of.rest <= self.region => self.state = State::Records(of, of.rest, false),
            _ => self.blind(),
        }
    }

    fn blind(&mut self) {
        self.kept.clear();
        self.state = State::Blind;
    }

    fn records(
        &mut self,
        of: batch::Head,
        left: u64,
        cut: bool,
        rest: &[u8],
        at: Mark,
        taken: &mut usize,
    ) -> Option<Event> {
        let passed = self.pass(rest, left);
        let portion = rest.get(..passed).unwrap_or(rest);
        *taken = taken.saturating_add(passed);
        self.region = self.region.saturating_sub(passed as u64);
        let left = left.saturating_sub(passed as u64);
        let end = at.behind(passed as u64);
        // What is whole in this piece is read from there.
        if left == 0 && !cut && self.kept.is_empty() {
            return Some(self.batched(of, portion.get(..MAX_KEPT).unwrap_or(portion), end));
        }
        let room = MAX_KEPT.saturating_sub(self.kept.len()).min(passed);
        if !cut {
            self.kept.extend_from_slice(portion.get(..room).unwrap_or_default());
        }
        self.state = State::Records(of, left, cut);
        if left > 0 {
            return Some(Event::More);
        }
        let kept = std::mem::take(&mut self.kept);
        let event = self.batched(of, &kept, end);
        self.kept = kept;
        self.kept.clear();
        Some(event)
    }

    fn batched(&mut self, head: batch::Head, records: &[u8], end: Mark) -> Event {
        self.state = State::Walk;
        let records = if head.is_new {
            Records::read(records, head.count, head.compression())
        } else {
            Records::default()
        };
        let (topic, partition) = match &self.walk {
            Some(walk) => (walk.topic.clone(), walk.partition),
            None => Default::default(),
        };
        let batch = Batch {
            topic,
            partition,
            head,
            records,
        };
        Event::Batch(Box::new(batch), self.batch.take().unwrap_or(end), end)
    }

    /// Looks for a frame at the beginning of an operation.
    fn seek(&mut self, bytes: &[u8], at: Mark, new: bool, may_be: bool, known: impl Fn(i32) -> bool) -> (usize, Event) {
        // A program may read the size by itself.
        let goes_on = may_be && self.kept.len() == 4;
        if new && !goes_on {
            self.kept.clear();
            self.begin = Some(at);
        } else if !may_be {
            return self.vain(bytes.len(), at);
        }
        for (place, byte) in bytes.iter().enumerate() {
            self.kept.push(*byte);
            let taken = place.saturating_add(1);
            let is = if self.asks {
                match head::evidence(&self.kept) {
                    Recognized::More if self.kept.len() >= DETECT_BYTES => Recognized::No,
                    is => is,
                }
            } else {
                is_answer(&self.kept, &known)
            };
            match is {
                Recognized::More => {}
                Recognized::No => {
                    self.lose();
                    // The rest of this operation is no beginning.
                    return self.vain(bytes.len(), at);
                }
                Recognized::Yes => {
                    self.in_vain = 0;
                    self.state = State::Head;
                    let (more, event) =
                        self.read(bytes.get(taken..).unwrap_or_default(), at.behind(taken as u64), known);
                    return (taken.saturating_add(more), event);
                }
            }
        }
        self.state = State::Seeking(!self.kept.is_empty());
        (bytes.len(), Event::More)
    }

    const fn vain(&mut self, taken: usize, at: Mark) -> (usize, Event) {
        self.in_vain = self.in_vain.saturating_add(taken as u64);
        if self.in_vain >= MAX_VAIN {
            self.skipped = Some(at.moment);
            return (taken, Event::Hopeless);
        }
        (taken, Event::More)
    }

    /// Passes a hole that begins at `at`. What is over with it is told when it is read on, from no bytes.
    pub(super) fn hole(&mut self, length: u64, at: Mark) -> Event {
        self.last = Some(at.moment);
        if self.is_lost() {
            self.lose();
            return Event::More;
        }
        let in_frame = self.begin.is_some() && !matches!(self.state, State::Head) && length <= self.left;
        if !in_frame {
            self.lose();
            return Event::Lost;
        }
        self.left = self.left.saturating_sub(length);
        let in_batches = self
            .walk
            .as_ref()
            .is_some_and(|walk| matches!(walk.place, Place::Batches(_)));
        self.state = match self.state {
            State::Keep(_) => State::Keep(true),
            State::Records(of, left, _) if length <= left => {
                self.region = self.region.saturating_sub(length);
                State::Records(of, left.saturating_sub(length), true)
            }
            State::Records(..) | State::Walk | State::Blind if in_batches && length <= self.region => {
                self.region = self.region.saturating_sub(length);
                self.kept.clear();
                State::Blind
            }
            _ => {
                self.kept.clear();
                State::Pass
            }
        };
        Event::More
    }
}

/// How a frame begins: what it is, how many bytes come behind that, and how many it has.
fn frame(asks: bool, bytes: &[u8]) -> Got<(Event, u64, usize)> {
    let mut cursor = Cursor::new(bytes, false);
    let size = cursor.u32()?;
    let least = if asks { 10 } else { 4 };
    if !(least..=MAX_FRAME).contains(&size) {
        return Err(Short::Wrong);
    }
    let event = if asks {
        Event::Asked(Head::read(&mut cursor)?)
    } else {
        Event::Answers(cursor.i32()?)
    };
    let read = cursor.taken();
    let left = u64::from(size).checked_sub(read.saturating_sub(4) as u64);
    Ok((event, left.ok_or(Short::Wrong)?, read))
}

/// Whether bytes begin an answer to a request that awaits one.
fn is_answer(bytes: &[u8], known: impl Fn(i32) -> bool) -> Recognized {
    let mut cursor = Cursor::new(bytes, false);
    let size = match cursor.u32() {
        Ok(size) => size,
        Err(_) => return Recognized::More,
    };
    if !(4..=MAX_FRAME).contains(&size) {
        return Recognized::No;
    }
    match cursor.i32() {
        Ok(correlation) if known(correlation) => Recognized::Yes,
        Ok(_) => Recognized::No,
        Err(_) => Recognized::More,
    }
}
