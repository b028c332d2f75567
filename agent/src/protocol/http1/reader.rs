//! Reads the messages of one direction.
use bytes::Bytes;
use memchr::memchr;

use super::body::{Framing, Hole, Progress};
use super::head::recognize;
use crate::capture::Moment;
use crate::protocol::messages::Messages;
use crate::protocol::{Body, DETECT_BYTES, Known, Mark, Recognized};

/// Most bytes of a head that are kept.
const MAX_HEAD: usize = 64 * 1024;
/// Bytes of a head that room is made for at once.
const USUAL_HEAD: usize = 1024;

/// Where a direction is.
#[derive(Debug)]
pub(super) enum State {
    /// Between messages.
    Idle,
    /// Inside a head.
    Head(Head),
    /// Inside a body.
    Body(Framing),
    /// Inside a message whose end cannot be told from its bytes.
    Blind,
    /// Somewhere; the next message is recognized when it begins with a piece.
    Lost,
}

/// The head being read.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) offset: u64,
    pub(super) start: Moment,
    pub(super) bytes: Vec<u8>,
    /// Nothing but carriage returns has come of the line being read.
    blank: bool,
    /// Something other than empty lines has come.
    begun: bool,
    pub(super) too_long: bool,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) state: State,
    body: Vec<u8>,
    body_bytes: u64,
    /// When the first byte of content passed.
    first_ns: Option<u64>,
    messages: Option<Box<Messages>>,
    counted: bool,
    /// A hole lies in the body: what comes behind it does not go on with what was captured.
    holed: bool,
    /// The message being read was looked for, not told by framing.
    sought: bool,
    /// Offset at which the message being read begins.
    pub(super) begin: u64,
    limit: usize,
    /// The last byte that passed.
    pub(super) last: Option<Mark>,
}

/// What reading came to.
#[derive(Debug)]
pub(super) enum Read {
    /// All bytes were taken.
    More,
    /// A head is complete.
    Head(Head),
    /// A body is complete.
    Done,
    /// The bytes do not follow the protocol.
    Invalid,
}

impl Reader {
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            state: State::Idle,
            body: Vec::new(),
            body_bytes: 0,
            first_ns: None,
            messages: None,
            counted: true,
            holed: false,
            sought: false,
            begin: 0,
            limit,
            last: None,
        }
    }

    /// Whether the next byte begins a message.
    pub(super) const fn between_messages(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Begins a message's body, or none; it is made of messages itself where those can be counted.
    pub(super) fn begin(&mut self, framing: Option<Framing>, messages: Option<Messages>) {
        self.messages = messages.filter(|_| framing.is_some()).map(Box::new);
        self.body.clear();
        self.body_bytes = 0;
        self.first_ns = None;
        self.counted = true;
        self.holed = false;
        self.sought = false;
        self.state = framing.map_or(State::Idle, State::Body);
    }

    /// What is known of the body that was read.
    pub(super) fn take_body(&mut self) -> Body {
        let captured = Bytes::from(std::mem::take(&mut self.body));
        let mut messages = self.messages.take();
        let within = messages.as_deref_mut();
        Known {
            bytes: self.counted.then_some(self.body_bytes),
            captured,
            first_ns: self.first_ns.take(),
            messages: within.as_ref().and_then(|messages| messages.count()),
            trailers: within.as_ref().and_then(|messages| messages.trailers()).map(Box::new),
            end: within.map(Messages::end).unwrap_or_default(),
            ..Known::default()
        }
        .into()
    }

    /// No content of the current body has come.
    pub(super) const fn body_is_empty(&self) -> bool {
        self.body_bytes == 0
    }

    /// The end of the current body can no longer be told from bytes.
    pub(super) fn blind(&mut self) {
        self.counted = false;
        if let Some(messages) = &mut self.messages {
            messages.lost();
        }
        self.state = State::Blind;
    }

    /// A message may begin with the next byte.
    pub(super) fn seek(&mut self) {
        self.state = State::Idle;
        self.sought = true;
    }

    /// Whether the message being read was looked for, not told by framing.
    pub(super) const fn sought(&self) -> bool {
        self.sought
    }

    /// Reads `bytes`, which begin at `offset`; how many it took.
    pub(super) fn read(&mut self, bytes: &[u8], offset: u64, moment: Moment) -> (Read, usize) {
        let all = bytes.len();
        if let State::Idle = self.state {
            self.begin = offset;
            self.state = State::Head(Head {
                offset,
                start: moment,
                bytes: Vec::new(),
                blank: true,
                begun: false,
                too_long: false,
            });
        }
        match &mut self.state {
            State::Head(head) => {
                let taken = head.read(bytes, offset, moment);
                // What cannot become a head is none, however much of it has come.
                let like = recognize(head.bytes.get(..DETECT_BYTES).unwrap_or(&head.bytes));
                match (taken, like) {
                    (_, Recognized::No) | (Some(_), Recognized::More) => (Read::Invalid, all),
                    (None, _) => (Read::More, all),
                    (Some(taken), Recognized::Yes) => match std::mem::replace(&mut self.state, State::Idle) {
                        State::Head(head) => (Read::Head(head), taken),
                        _ => (Read::Invalid, all),
                    },
                }
            }
            State::Body(framing) => {
                let (body, count) = (&mut self.body, &mut self.body_bytes);
                let limit = if self.holed { 0 } else { self.limit };
                let (first_ns, messages) = (&mut self.first_ns, &mut self.messages);
                let progress = framing.feed(bytes, &mut |content| {
                    if !content.is_empty() {
                        first_ns.get_or_insert(moment.time_ns);
                    }
                    *count = count.saturating_add(content.len() as u64);
                    if let Some(messages) = messages {
                        messages.content(content, content.len() as u64);
                    }
                    let room = limit.saturating_sub(body.len()).min(content.len());
                    body.extend_from_slice(content.get(..room).unwrap_or_default());
                });
                match progress {
                    Progress::More => (Read::More, all),
                    Progress::Done(taken) => {
                        self.state = State::Idle;
                        (Read::Done, taken)
                    }
                    Progress::Invalid => (Read::Invalid, all),
                }
            }
            State::Idle | State::Blind | State::Lost => (Read::More, all),
        }
    }

    /// Passes a hole.
    pub(super) fn hole(&mut self, length: u64) -> Hole {
        match &mut self.state {
            State::Body(framing) => {
                // Only content lies within: framing inside the hole would have lost it.
                let hole = framing.hole(length);
                self.holed = true;
                if hole != Hole::Lost {
                    self.body_bytes = self.body_bytes.saturating_add(length);
                    if let Some(messages) = &mut self.messages {
                        messages.content(&[], length);
                    }
                }
                if hole == Hole::Done {
                    self.state = State::Idle;
                }
                hole
            }
            State::Blind => Hole::Within,
            State::Idle | State::Head(_) | State::Lost => Hole::Lost,
        }
    }

    /// The head that is not complete, if its reading has begun.
    pub(super) fn take_head(&mut self) -> Option<Head> {
        match std::mem::replace(&mut self.state, State::Lost) {
            State::Head(head) if head.begun => Some(head),
            _ => None,
        }
    }

    /// Whether the body ends with the connection.
    pub(super) const fn ends_with_connection(&self) -> bool {
        matches!(self.state, State::Body(Framing::UntilClose))
    }
}

impl Head {
    /// Takes bytes up to the empty line; how many, if it came.
    fn read(&mut self, bytes: &[u8], offset: u64, moment: Moment) -> Option<usize> {
        let mut at = 0_usize;
        if !self.begun {
            // Empty lines before a message are no part of it (RFC 9112 section 2.2).
            at = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            if at == bytes.len() {
                return None;
            }
            self.begun = true;
            self.offset = offset.saturating_add(at as u64);
            self.start = moment;
            self.bytes.reserve(bytes.len().saturating_sub(at).min(USUAL_HEAD));
        }
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let end = memchr(b'\n', rest);
            let line = end.and_then(|end| rest.get(..=end)).unwrap_or(rest);
            at = at.saturating_add(line.len());
            self.keep(line);
            self.blank &= line.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
            if end.is_some() && std::mem::replace(&mut self.blank, true) {
                return Some(at);
            }
        }
        None
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = MAX_HEAD.saturating_sub(self.bytes.len()).min(bytes.len());
        self.too_long |= room < bytes.len();
        self.bytes.extend_from_slice(bytes.get(..room).unwrap_or_default());
    }
}
