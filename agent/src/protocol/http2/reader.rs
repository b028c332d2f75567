//! Reads the frames of one direction.
use std::collections::VecDeque;

use bytes::Bytes;

use super::frame::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, FrameHead, GOAWAY, HEAD_BYTES, HEADERS, PADDED, PREFACE,
    PRIORITIZED, PUSH_PROMISE, RST_STREAM,
};
use crate::capture::Moment;
use crate::protocol::{Mark, Recognized};

/// Most bytes of a header block that are kept.
const MAX_BLOCK: usize = 64 * 1024;
/// Bytes in which a run of frames is looked for behind a hole.
const SEEK_BYTES: usize = 64 * 1024;
/// Bytes in which none is found before the guess is called wrong.
const MAX_VAIN: u64 = 1 << 20;
/// Bytes of a control frame that are looked at: GOAWAY's two numbers.
const CONTROL_BYTES: usize = 8;

/// What a direction says.
#[derive(Debug)]
pub(super) enum Event<'a> {
    /// A header block is complete, or will not be: then it is `cut`.
    Block(Block),
    /// Content of a stream passed, which is empty where it was not seen.
    Data { stream: u32, bytes: &'a [u8], length: u64 },
    /// A side of a stream has ended.
    Ended { stream: u32 },
    /// A stream was given up with this error code.
    Reset { stream: u32, code: u32 },
    /// The connection will be closed; streams above `last` were not looked at.
    GoAway { last: u32, code: u32 },
    /// What follows is not known.
    Lost,
    /// Frames were found again.
    Found,
    /// The bytes are no frames.
    Invalid,
    /// No frames were found for long.
    Hopeless,
}

/// A header block.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) stream: u32,
    /// It is a promise: of a request nobody made.
    pub(super) promise: bool,
    pub(super) end_stream: bool,
    pub(super) offset: u64,
    pub(super) start: Moment,
    pub(super) bytes: Vec<u8>,
    pub(super) cut: bool,
    pub(super) too_long: bool,
}

#[derive(Debug)]
enum State {
    /// So many bytes of the preface have passed.
    Preface(usize),
    /// Inside a frame's head.
    Head,
    /// Inside a frame.
    Payload,
    /// Somewhere: frames are looked for.
    Lost,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Reader {
    state: State,
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
    /// Where the frame begins.
    begin: Mark,
    frame: FrameHead,
    /// Bytes of the frame that have not passed.
    left: u64,
    /// Of DATA: the padding at its end, once that is known.
    padding: Option<u64>,
    /// The payload of the frame, as far as it is kept.
    payload: Vec<u8>,
    payload_cut: bool,
    block: Option<Block>,
    /// What passed since the place was lost.
    sought: Sought,
    /// What was found and is to be read first, by operation.
    found: VecDeque<(Bytes, Mark)>,
    /// Bytes looked at in vain since frames were last found.
    in_vain: u64,
    is_client: bool,
}

impl Reader {
    /// A direction whose next byte begins a frame, or the preface.
    pub(super) fn new(at: Mark) -> Self {
        Self {
            state: State::Preface(0),
            head: [0; HEAD_BYTES],
            head_bytes: 0,
            begin: at,
            frame: FrameHead::default(),
            left: 0,
            padding: None,
            payload: Vec::new(),
            payload_cut: false,
            block: None,
            sought: Sought::default(),
            found: VecDeque::new(),
            in_vain: 0,
            is_client: false,
        }
    }

    /// A direction that is somewhere.
    pub(super) fn lost(at: Mark) -> Self {
        let mut reader = Self::new(at);
        reader.state = State::Lost;
        reader
    }

    /// What was found behind a hole: it is read before anything else.
    pub(super) fn take_found(&mut self) -> VecDeque<(Bytes, Mark)> {
        std::mem::take(&mut self.found)
    }

    /// Whether it began as a client does.
    pub(super) const fn is_client(&self) -> bool {
        self.is_client
    }

    /// Whether there is something to say before another byte comes.
    pub(super) const fn is_due(&self) -> bool {
        match self.state {
            State::Payload => self.left == 0,
            State::Head => self.head_bytes == HEAD_BYTES,
            State::Preface(_) | State::Lost => false,
        }
    }

    /// Reads `bytes`, which begin at `at`; how many it took, and what they say.
    pub(super) fn read<'a>(&mut self, bytes: &'a [u8], at: Mark) -> (usize, Option<Event<'a>>) {
        match self.state {
            State::Preface(passed) => self.preface(passed, bytes),
            State::Head => self.head(bytes, at),
            State::Payload => self.payload(bytes),
            State::Lost => (bytes.len(), self.seek(bytes, at)),
        }
    }

    /// Passes a hole; how many of its bytes it took, and what that says.
    pub(super) fn hole(&mut self, length: u64) -> (u64, Option<Event<'static>>) {
        match self.state {
            State::Payload if self.left > 0 => {
                let taken = length.min(self.left);
                let event = self.content(&[], taken);
                self.payload_cut = true;
                self.left = self.left.saturating_sub(taken);
                (taken, event)
            }
            State::Payload => (0, self.frame_ended()),
            State::Lost => {
                self.sought.forget();
                (length, None)
            }
            State::Preface(_) | State::Head => (0, self.lose(Event::Lost)),
        }
    }

    /// What follows is not known. A header block that has begun is told first.
    fn lose(&mut self, event: Event<'static>) -> Option<Event<'static>> {
        if let Some(mut block) = self.block.take() {
            block.cut = true;
            return Some(Event::Block(block));
        }
        self.state = State::Lost;
        self.head_bytes = 0;
        self.payload.clear();
        self.sought.forget();
        Some(event)
    }

    fn preface(&mut self, passed: usize, bytes: &[u8]) -> (usize, Option<Event<'static>>) {
        if passed == 0 && bytes.first() != PREFACE.first() {
            self.state = State::Head;
            return (0, None);
        }
        let wanted = PREFACE.get(passed..).unwrap_or_default();
        let length = wanted.len().min(bytes.len());
        if wanted.get(..length) != bytes.get(..length) {
            return (0, self.lose(Event::Invalid));
        }
        self.state = if length == wanted.len() {
            self.is_client = true;
            State::Head
        } else {
            State::Preface(passed.saturating_add(length))
        };
        (length, None)
    }

    fn head(&mut self, bytes: &[u8], at: Mark) -> (usize, Option<Event<'static>>) {
        if self.head_bytes == 0 {
            self.begin = at;
        }
        let room = self.head.get_mut(self.head_bytes..).unwrap_or_default();
        let length = room.len().min(bytes.len());
        if let (Some(room), Some(bytes)) = (room.get_mut(..length), bytes.get(..length)) {
            room.copy_from_slice(bytes);
        }
        self.head_bytes = self.head_bytes.saturating_add(length);
        if self.head_bytes < HEAD_BYTES {
            return (length, None);
        }
        let frame = FrameHead::parse(self.head);
        // A header block is one piece (section 6.10).
        let goes_on = self.block.as_ref().map(|block| block.stream);
        let continues = (frame.kind == CONTINUATION).then_some(frame.stream);
        if !frame.is_valid() || goes_on != continues {
            return (length, self.lose(Event::Invalid));
        }
        self.head_bytes = 0;
        self.frame = frame;
        self.left = u64::from(frame.length);
        self.payload.clear();
        self.payload_cut = false;
        self.padding = (frame.kind != DATA || !frame.has(PADDED)).then_some(0);
        self.state = State::Payload;
        if self.left == 0 {
            return (length, self.frame_ended());
        }
        (length, None)
    }

    fn payload<'a>(&mut self, bytes: &'a [u8]) -> (usize, Option<Event<'a>>) {
        if self.left == 0 {
            return (0, self.frame_ended());
        }
        let mut length = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        if self.padding.is_none() {
            // The length of the padding comes first (section 6.1).
            let padding = bytes.first().copied().unwrap_or(0);
            self.padding = Some(u64::from(padding));
            length = length.min(1);
            self.left = self.left.saturating_sub(1);
            if u64::from(padding) > self.left {
                return (length, self.lose(Event::Invalid));
            }
            return (length, None);
        }
        let event = self.content(bytes.get(..length).unwrap_or_default(), length as u64);
        self.left = self.left.saturating_sub(length as u64);
        if event.is_none() && self.left == 0 {
            return (length, self.frame_ended());
        }
        (length, event)
    }

    /// Takes a part of the payload, `length` bytes, of which `bytes` were seen: all or none.
    fn content<'a>(&mut self, bytes: &'a [u8], length: u64) -> Option<Event<'a>> {
        let stream = self.frame.stream;
        match self.frame.kind {
            DATA => {
                // Where the padding's length was not seen all of it is taken for content.
                let content = self.left.saturating_sub(self.padding.unwrap_or(0)).min(length);
                let seen = usize::try_from(content).unwrap_or(usize::MAX).min(bytes.len());
                let bytes = bytes.get(..seen).unwrap_or_default();
                self.padding = self.padding.or(Some(0));
                (content > 0).then_some(Event::Data {
                    stream,
                    bytes,
                    length: content,
                })
            }
            kind => {
                let room = match kind {
                    HEADERS | PUSH_PROMISE | CONTINUATION => MAX_BLOCK,
                    RST_STREAM | GOAWAY => CONTROL_BYTES,
                    _ => 0,
                };
                if !self.payload_cut {
                    let room = room.saturating_sub(self.payload.len()).min(bytes.len());
                    self.payload.extend_from_slice(bytes.get(..room).unwrap_or_default());
                }
                None
            }
        }
    }

    fn frame_ended(&mut self) -> Option<Event<'static>> {
        self.state = State::Head;
        let FrameHead { stream, kind, .. } = self.frame;
        let word = |at: usize| {
            let bytes = self.payload.get(at..)?.first_chunk::<4>()?;
            Some(u32::from_be_bytes(*bytes))
        };
        match kind {
            DATA if self.frame.has(END_STREAM) => Some(Event::Ended { stream }),
            RST_STREAM => Some(Event::Reset {
                stream,
                code: word(0).unwrap_or(u32::MAX),
            }),
            GOAWAY => {
                let (last, code) = (word(0)?, word(4)?);
                let last = last & 0x7fff_ffff;
                Some(Event::GoAway { last, code })
            }
            HEADERS | PUSH_PROMISE | CONTINUATION => self.block_frame_ended(),
            _ => None,
        }
    }

    fn block_frame_ended(&mut self) -> Option<Event<'static>> {
        let frame = self.frame;
        let whole = self.payload.len() as u64 == u64::from(frame.length);
        let Some(fragment) = fragment(frame, &self.payload, whole) else {
            return self.lose(Event::Invalid);
        };
        let begin = self.begin;
        let block = self.block.get_or_insert_with(|| Block {
            stream: frame.stream,
            promise: frame.kind == PUSH_PROMISE,
            end_stream: frame.kind == HEADERS && frame.has(END_STREAM),
            offset: begin.offset,
            start: begin.moment,
            bytes: Vec::new(),
            cut: false,
            too_long: false,
        });
        if !block.cut {
            let room = MAX_BLOCK.saturating_sub(block.bytes.len()).min(fragment.len());
            block.bytes.extend_from_slice(fragment.get(..room).unwrap_or_default());
            block.too_long = room < fragment.len() || (!whole && !self.payload_cut);
            block.cut = block.too_long || !whole;
        }
        if frame.has(END_HEADERS) {
            self.block.take().map(Event::Block)
        } else {
            None
        }
    }

    /// Looks for frames.
    fn seek(&mut self, bytes: &[u8], at: Mark) -> Option<Event<'static>> {
        self.sought.extend(bytes, at);
        let mut from = 0_usize;
        let verdict = loop {
            let Some(rest) = self.sought.bytes.get(from..).filter(|rest| !rest.is_empty()) else {
                break Recognized::No;
            };
            match frame::run(rest, SEEK_BYTES) {
                Recognized::No if self.in_vain.saturating_add(from as u64) >= MAX_VAIN => return Some(Event::Hopeless),
                Recognized::No => from = from.saturating_add(1),
                other => break other,
            }
        };
        self.in_vain = self.in_vain.saturating_add(from as u64);
        self.sought.drop_first(from);
        match verdict {
            Recognized::Yes => {
                self.state = State::Head;
                self.in_vain = 0;
                self.found = std::mem::take(&mut self.sought).into_parts();
                Some(Event::Found)
            }
            Recognized::More | Recognized::No => None,
        }
    }
}

/// Bytes that several operations may have carried, and which.
#[derive(Debug, Default)]
struct Sought {
    bytes: Vec<u8>,
    /// How many bytes each operation carried, and where they begin.
    parts: VecDeque<(usize, Mark)>,
}

impl Sought {
    fn extend(&mut self, bytes: &[u8], at: Mark) {
        if !bytes.is_empty() {
            self.bytes.extend_from_slice(bytes);
            self.parts.push_back((bytes.len(), at));
        }
    }

    fn forget(&mut self) {
        self.bytes.clear();
        self.parts.clear();
    }

    fn drop_first(&mut self, bytes: usize) {
        self.bytes.drain(..bytes.min(self.bytes.len()));
        let mut left = bytes;
        while let Some((length, at)) = self.parts.front_mut() {
            if let Some(rest) = length.checked_sub(left).filter(|rest| *rest > 0) {
                *length = rest;
                *at = at.behind(left as u64);
                return;
            }
            left = left.saturating_sub(*length);
            self.parts.pop_front();
        }
    }

    fn into_parts(self) -> VecDeque<(Bytes, Mark)> {
        let mut bytes = Bytes::from(self.bytes);
        let part = |(length, at): (usize, Mark)| (bytes.split_to(length.min(bytes.len())), at);
        self.parts.into_iter().map(part).collect()
    }
}

/// The part of a frame that is of the header block: neither padding nor what stands before it (sections 6.2 and 6.6).
fn fragment(frame: FrameHead, payload: &[u8], whole: bool) -> Option<&[u8]> {
    if frame.kind == CONTINUATION {
        return Some(payload);
    }
    let (padding, mut rest) = if frame.has(PADDED) {
        let (padding, rest) = payload.split_first().or((!whole).then_some((&0, [].as_slice())))?;
        (usize::from(*padding), rest)
    } else {
        (0, payload)
    };
    let before = match frame.kind {
        PUSH_PROMISE => 4,
        HEADERS if frame.has(PRIORITIZED) => 5,
        _ => 0,
    };
    rest = rest.get(before..).or((!whole).then_some(&[]))?;
    if !whole {
        // How much of the padding was seen is not known; a block that is cut is read as far as it goes.
        return Some(rest);
    }
    rest.get(..rest.len().checked_sub(padding)?)
}
