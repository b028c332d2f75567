//! Reads one direction: messages, in segments or without.
//!
//! How a connection passes them shows where it begins, and where it goes on after a stretch that was lost: at the beginning of an
//! operation, by the checksum of a segment's head, or by a message's head and the direction it is of.
use super::frame::{Head, Messages, head};
use super::segment::{Compressed, Kind, Plain, TELLING, TRAILER, Way};
use crate::capture::Moment;
use crate::protocol::Mark;
use crate::protocol::frames::{Cut, Frame, Frames, Hole};

/// What was read.
#[derive(Debug)]
pub(super) enum Event<'a> {
    /// A message: its head and the first bytes of its body.
    Message(Head, &'a Frame<'a>),
    /// Messages may have been missed.
    Lost,
    /// The bytes do not follow the protocol; messages are looked for from here on.
    Invalid,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Reader {
    passing: Passing,
    within: Within,
    plain: Frames<Plain>,
    compressed: Frames<Compressed>,
    /// The operation seen last.
    last: Option<Moment>,
}

/// Messages, within segments or without.
#[derive(Debug)]
struct Within {
    /// They are the server's.
    answers: bool,
    messages: Frames<Messages>,
    /// A segment that holds no beginning of a message is to be passed: which message it is of was not seen.
    astray: bool,
    /// Where the content of a segment that is compressed is undone: 128 KiB at most.
    room: Vec<u8>,
}

/// How messages pass.
#[derive(Debug)]
enum Passing {
    /// Which way, the next bytes tell.
    Asked(Telling),
    /// One message, and then it is asked again: version 5 changes once the connection is made.
    Once,
    Messages,
    Plain,
    Compressed,
    /// Where a message begins is not known. What has come of an operation that may begin with one.
    Seeking(Option<Telling>),
}

/// Bytes that will tell how messages pass.
#[derive(Debug, Default)]
struct Telling {
    bytes: [u8; TELLING],
    length: usize,
    begin: Option<Mark>,
}

impl Telling {
    /// Takes bytes that begin at `at`; how many, and whether there are enough.
    fn take(&mut self, bytes: &[u8], at: Mark) -> (usize, bool) {
        self.begin.get_or_insert(at);
        let room = self.bytes.get_mut(self.length..).unwrap_or_default();
        let mut taken = 0_usize;
        for (room, byte) in room.iter_mut().zip(bytes) {
            *room = *byte;
            taken = taken.saturating_add(1);
        }
        self.length = self.length.saturating_add(taken);
        (taken, self.length >= TELLING)
    }
}

impl Reader {
    pub(super) fn new(answers: bool, from_beginning: bool) -> Self {
        Self {
            passing: if from_beginning {
                Passing::Asked(Telling::default())
            } else {
                Passing::Seeking(None)
            },
            within: Within {
                answers,
                messages: Frames::default(),
                astray: false,
                room: Vec::new(),
            },
            plain: Frames::default(),
            compressed: Frames::default(),
            last: None,
        }
    }

    /// Reads bytes that begin at `at`.
    pub(super) fn read(&mut self, bytes: &[u8], at: Mark, told: &mut impl FnMut(Event<'_>)) {
        let new = self.last.replace(at.moment) != Some(at.moment);
        if let Passing::Seeking(telling) = &mut self.passing
            && new
        {
            *telling = Some(Telling::default());
        }
        let mut taken = 0_usize;
        while let Some(left) = bytes.get(taken..).filter(|left| !left.is_empty()) {
            let here = at.behind(taken as u64);
            taken = taken.saturating_add(self.portion(left, here, told));
        }
    }

    /// Reads a portion; how many bytes it has.
    fn portion(&mut self, bytes: &[u8], at: Mark, told: &mut impl FnMut(Event<'_>)) -> usize {
        match &mut self.passing {
            Passing::Asked(telling) | Passing::Seeking(Some(telling)) => {
                let (taken, enough) = telling.take(bytes, at);
                if enough {
                    let telling = std::mem::take(telling);
                    self.go(&telling, at.behind(taken.saturating_sub(1) as u64), told);
                }
                taken
            }
            Passing::Seeking(None) => bytes.len(),
            Passing::Once | Passing::Messages => {
                let once = matches!(self.passing, Passing::Once);
                let (taken, came) = self.within.read(bytes, at, told);
                match came {
                    Came::Invalid => return self.invalid(told),
                    Came::Whole if once => self.passing = Passing::Asked(Telling::default()),
                    Came::Whole | Came::Part => {}
                }
                taken
            }
            Passing::Plain => match self.within.segment(&mut self.plain, bytes, at, told) {
                Some(taken) => taken,
                None => self.invalid(told),
            },
            Passing::Compressed => match self.within.segment(&mut self.compressed, bytes, at, told) {
                Some(taken) => taken,
                None => self.invalid(told),
            },
        }
    }

    /// The way was told by bytes, the last of which is at `last`.
    fn go(&mut self, telling: &Telling, last: Mark, told: &mut impl FnMut(Event<'_>)) {
        let sought = matches!(self.passing, Passing::Seeking(_));
        let way = Way::of(&telling.bytes).filter(|way| match way {
            Way::Messages(head) => head.answers == self.within.answers,
            Way::Plain | Way::Compressed => true,
        });
        self.passing = match way {
            Some(Way::Messages(head)) if head.version >= 5 => Passing::Once,
            Some(Way::Messages(_)) => Passing::Messages,
            Some(Way::Plain) => Passing::Plain,
            Some(Way::Compressed) => Passing::Compressed,
            None => {
                if !sought {
                    told(Event::Invalid);
                }
                self.passing = Passing::Seeking(None);
                return;
            }
        };
        self.within.messages.restart();
        self.plain.restart();
        self.compressed.restart();
        self.within.astray = sought;
        // They are read like any others; the last one was of this operation.
        let begin = telling.begin.unwrap_or(last);
        let (first, end) = telling.bytes.split_at(TELLING - 1);
        let mut taken = 0_usize;
        for (bytes, at) in [(first, begin), (end, last)] {
            while let Some(left) = bytes.get(taken..).filter(|left| !left.is_empty()) {
                taken = taken.saturating_add(self.portion(left, at.behind(taken as u64), told));
            }
            taken = 0;
        }
    }

    /// What is left of the operation is of no use: so many bytes.
    fn invalid(&mut self, told: &mut impl FnMut(Event<'_>)) -> usize {
        self.passing = Passing::Seeking(None);
        told(Event::Invalid);
        usize::MAX
    }

    /// Passes a hole of `length` bytes that begins at `at`.
    pub(super) fn hole(&mut self, length: u64, at: Mark, told: &mut impl FnMut(Event<'_>)) {
        self.last = Some(at.moment);
        let inside = match self.passing {
            Passing::Asked(_) | Passing::Seeking(_) => false,
            Passing::Once | Passing::Messages => {
                let once = matches!(self.passing, Passing::Once);
                match self.within.messages.hole(length, at) {
                    Hole::Within => true,
                    Hole::Done(frame) => {
                        if once {
                            self.passing = Passing::Asked(Telling::default());
                        }
                        message(self.within.answers, &frame, told)
                    }
                    Hole::Lost => false,
                }
            }
            Passing::Plain => self.within.hole(&mut self.plain, length, at, told),
            Passing::Compressed => self.within.hole(&mut self.compressed, length, at, told),
        };
        if !inside {
            self.passing = Passing::Seeking(None);
            told(Event::Lost);
        }
    }
}

/// What reading a message came to.
enum Came {
    Part,
    Whole,
    Invalid,
}

impl Within {
    /// Reads up to the end of a message; how many bytes were taken.
    fn read(&mut self, bytes: &[u8], at: Mark, told: &mut impl FnMut(Event<'_>)) -> (usize, Came) {
        match self.messages.read(bytes, at) {
            Cut::More => (bytes.len(), Came::Part),
            Cut::Invalid => (bytes.len(), Came::Invalid),
            Cut::Frame(frame, taken) if message(self.answers, &frame, told) => (taken, Came::Whole),
            Cut::Frame(_, taken) => (taken, Came::Invalid),
        }
    }

    /// Reads up to the end of a segment; how many bytes were taken. None where they do not follow the protocol.
    fn segment<K: Kind>(
        &mut self,
        segments: &mut Frames<K>,
        bytes: &[u8],
        at: Mark,
        told: &mut impl FnMut(Event<'_>),
    ) -> Option<usize> {
        match segments.read(bytes, at) {
            Cut::More => Some(bytes.len()),
            Cut::Frame(segment, taken) => self.content::<K>(&segment, told).then_some(taken),
            Cut::Invalid => None,
        }
    }

    /// Passes a hole. Whether it lies within a segment.
    fn hole<K: Kind>(
        &mut self,
        segments: &mut Frames<K>,
        length: u64,
        at: Mark,
        told: &mut impl FnMut(Event<'_>),
    ) -> bool {
        match segments.hole(length, at) {
            Hole::Within => true,
            Hole::Done(segment) => self.content::<K>(&segment, told),
            Hole::Lost => false,
        }
    }

    /// Reads the content of a segment. Whether it has messages of this direction.
    fn content<K: Kind>(&mut self, segment: &Frame<'_>, told: &mut impl FnMut(Event<'_>)) -> bool {
        let mut room = std::mem::take(&mut self.room);
        let (content, whole) = K::content(segment, &mut room);
        let sound = self.messages::<K>(segment, content, whole, told);
        self.room = room;
        sound
    }

    /// Reads the messages of a segment, `whole` ones alone or a part of one.
    fn messages<K: Kind>(
        &mut self,
        segment: &Frame<'_>,
        content: Option<&[u8]>,
        whole: bool,
        told: &mut impl FnMut(Event<'_>),
    ) -> bool {
        if whole {
            if !self.messages.between() {
                told(Event::Lost);
                self.messages.restart();
            }
            self.astray = false;
        } else if self.astray {
            return true;
        }
        let Some(content) = content else {
            self.stray(whole, told);
            return true;
        };
        let head = if K::IN_PLACE { K::HEAD as u64 } else { 0 };
        let place = |taken: usize, of: Mark| Mark {
            offset: segment.begin.offset.saturating_add(head).saturating_add(taken as u64),
            moment: of.moment,
        };
        // Where several operations carried it, its first byte was passed by the first, and it is told when the last has passed.
        let apart = segment.begin.moment != segment.end.moment;
        let mut taken = 0_usize;
        while let Some(left) = content.get(taken..).filter(|left| !left.is_empty()) {
            let (left, of) = match left.get(..1).filter(|_| apart && taken == 0) {
                Some(first) => (first, segment.begin),
                None => (left, segment.end),
            };
            match self.messages.read(left, place(taken, of)) {
                Cut::More => taken = taken.saturating_add(left.len()),
                Cut::Invalid => return false,
                Cut::Frame(frame, more) => {
                    taken = taken.saturating_add(more);
                    if !message(self.answers, &placed::<K>(frame, segment), told) {
                        return false;
                    }
                }
            }
        }
        if !segment.cut {
            return !whole || self.messages.between();
        }
        let missing = segment
            .length
            .saturating_sub(TRAILER)
            .saturating_sub(content.len() as u64);
        match self.messages.hole(missing, place(taken, segment.end)) {
            Hole::Within => true,
            Hole::Done(frame) => message(self.answers, &placed::<K>(frame, segment), told),
            Hole::Lost => {
                self.stray(whole, told);
                true
            }
        }
    }

    /// Messages of a segment may have been missed.
    fn stray(&mut self, whole: bool, told: &mut impl FnMut(Event<'_>)) {
        told(Event::Lost);
        self.messages.restart();
        self.astray = !whole;
    }
}

/// A message was read. Whether it is of this direction.
fn message(answers: bool, frame: &Frame<'_>, told: &mut impl FnMut(Event<'_>)) -> bool {
    let Some(head) = head(frame).filter(|head| head.answers == answers) else {
        return false;
    };
    told(Event::Message(head, frame));
    true
}

/// A message where it stands in the stream: in a segment that is compressed, where the segment does.
fn placed<'a, K: Kind>(frame: Frame<'a>, segment: &Frame<'_>) -> Frame<'a> {
    if K::IN_PLACE {
        return frame;
    }
    let begins_here = frame.begin.offset >= segment.begin.offset;
    Frame {
        begin: if begins_here { segment.begin } else { frame.begin },
        end: segment.end,
        ..frame
    }
}
