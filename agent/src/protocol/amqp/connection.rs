//! One connection: its two directions, and its channels.
use std::collections::HashMap;

use bytes::Bytes;
use foldhash::fast::RandomState;
use smol_str::SmolStr;

use super::channel::{Channel, Said, Side, failure};
use super::frame::{Event, PREFACE, Reader, Sought};
use super::method::{self, Method, Origin};
use crate::capture::Direction;
use crate::protocol::call::Failure;
use crate::protocol::handled::Handled;
use crate::protocol::{Broken, Exchange, Flow, Mark, Parser, Start, Step};
use crate::stream::{Content, Piece};

/// Channels of a connection that are followed. RabbitMQ grants 2047 unless set otherwise.
const MAX_CHANNELS: usize = 4096;
/// Offences against the protocol before it is called a wrong guess.
const MAX_STRIKES: u32 = 8;

/// A connection.
pub(super) struct Amqp {
    handled: Handled,
    /// The way of what the client says, once it is known.
    client: Option<Direction>,
    /// Both directions were followed from their first byte.
    fresh: bool,
    /// The direction that was recognized: its first piece begins a frame.
    recognized: Direction,
    ingress: Half,
    egress: Half,
    channels: HashMap<u16, Channel, RandomState>,
    strikes: u32,
}

/// One direction.
#[derive(Default)]
struct Half {
    reader: Option<Reader>,
    /// What is left of the operation of this time cannot be read.
    skipped_ns: Option<u64>,
}

/// How reading goes on.
enum Next {
    Frame,
    /// Messages may have been missed, and it is not known where frames begin.
    Lost,
    /// The same, and the bytes do not follow the protocol.
    Invalid,
}

impl Amqp {
    pub(super) fn new(start: &Start) -> Self {
        let preface = start.bytes.starts_with(PREFACE);
        Self {
            handled: Handled::new(start),
            client: preface.then_some(start.direction),
            fresh: start.from_beginning || preface,
            recognized: start.direction,
            ingress: Half::default(),
            egress: Half::default(),
            channels: HashMap::default(),
            strikes: 0,
        }
    }

    const fn half(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }

    /// The reader of a direction, whose next byte is at `at`. It is to be given back.
    fn reader(&mut self, direction: Direction, at: Mark) -> Reader {
        let begins = direction == self.recognized || (self.fresh && at.offset == 0);
        self.half(direction)
            .reader
            .take()
            .unwrap_or_else(|| Reader::new(begins))
    }

    fn bytes(&mut self, direction: Direction, bytes: Bytes, at: Mark, out: &mut Vec<Step>) -> Flow {
        let skipped = self.half(direction).skipped_ns;
        if skipped == Some(at.moment.time_ns) {
            return Flow::Continue;
        }
        let mut reader = self.reader(direction, at);
        let flow = self.read(&mut reader, direction, bytes, at, out);
        self.half(direction).reader = Some(reader);
        flow
    }

    fn read(
        &mut self,
        reader: &mut Reader,
        direction: Direction,
        mut bytes: Bytes,
        mut at: Mark,
        out: &mut Vec<Step>,
    ) -> Flow {
        if reader.is_lost() {
            match reader.seek(&bytes, at) {
                Sought::Nothing => return Flow::Continue,
                Sought::Hopeless => return self.reject(at, out),
                Sought::Found(found, begin) => {
                    out.push(Step::Count("protocol.amqp.resync"));
                    (bytes, at) = (Bytes::from(found), begin);
                }
            }
        }
        let mut taken = 0_usize;
        while let Some(left) = bytes.get(taken..).filter(|left| !left.is_empty()) {
            let got = reader.read(left, at.behind(taken as u64));
            taken = taken.saturating_add(got.taken);
            match self.event(direction, &got.event, got.whole, (got.begin, got.end), out) {
                Next::Frame => {}
                // What is left of the operation is of no use: where in it a frame begins is not known.
                Next::Lost | Next::Invalid => {
                    reader.lose();
                    self.half(direction).skipped_ns = Some(at.moment.time_ns);
                    return self.offended(direction, at, out);
                }
            }
        }
        Flow::Continue
    }

    fn hole(&mut self, direction: Direction, length: u64, at: Mark, out: &mut Vec<Step>) -> Flow {
        let mut reader = self.reader(direction, at);
        let got = reader.hole(length, at);
        let next = self.event(direction, &got.event, got.whole, (got.begin, got.end), out);
        let flow = match next {
            Next::Frame => Flow::Continue,
            Next::Lost => {
                reader.lose();
                self.lost(direction, at, out);
                Flow::Continue
            }
            Next::Invalid => {
                reader.lose();
                self.offended(direction, at, out)
            }
        };
        self.half(direction).reader = Some(reader);
        flow
    }

    /// A frame was read, or could not be.
    fn event(
        &mut self,
        direction: Direction,
        event: &Event<'_>,
        whole: bool,
        place: (Mark, Mark),
        out: &mut Vec<Step>,
    ) -> Next {
        match *event {
            Event::More | Event::Heartbeat => Next::Frame,
            Event::Lost => Next::Lost,
            Event::Invalid => Next::Invalid,
            Event::Preface if self.client.is_some_and(|client| client != direction) => Next::Invalid,
            Event::Preface => {
                self.client = Some(direction);
                Next::Frame
            }
            Event::Method(channel, payload) => {
                let Some((origin, method)) = method::method(payload) else {
                    if whole {
                        return Next::Invalid;
                    }
                    self.lost(direction, place.1, out);
                    return Next::Frame;
                };
                let client = match origin {
                    Origin::Client => Some(direction),
                    Origin::Server => Some(direction.flip()),
                    Origin::Either => self.client,
                };
                if self.client.is_some() && client != self.client {
                    return Next::Invalid;
                }
                self.client = client;
                self.method(direction, channel, method, place, out);
                Next::Frame
            }
            Event::Header(channel, payload) => {
                let content = method::header(payload);
                if content.is_none() && whole {
                    return Next::Invalid;
                }
                self.on_channel(direction, channel, place, out, |known, said| {
                    known.header(content, said)
                });
                Next::Frame
            }
            Event::Body(channel, bytes) => {
                self.on_channel(direction, channel, place, out, |known, said| known.body(bytes, said));
                Next::Frame
            }
        }
    }

    fn method(&mut self, direction: Direction, channel: u16, method: Method, place: (Mark, Mark), out: &mut Vec<Step>) {
        match (channel, method) {
            (0, Method::Close { code, text }) => {
                let error = self.refusal(direction, code, text);
                self.each(direction, place, out, |channel, said| {
                    channel.closed(error.as_ref(), Broken::Closed, said);
                });
                self.channels.clear();
            }
            (0, _) => {}
            (_, Method::Close { code, text }) => {
                let error = self.refusal(direction, code, text);
                self.on_channel(direction, channel, place, out, |known, said| {
                    known.closed(error.as_ref(), Broken::Closed, said);
                    *known = Channel::default();
                });
            }
            (_, Method::CloseOk) => {
                self.on_channel(direction, channel, place, out, |known, said| {
                    known.closed(None, Broken::Closed, said);
                });
                self.channels.remove(&channel);
            }
            (_, Method::Open) => self.on_channel(direction, channel, place, out, |known, said| {
                known.closed(None, Broken::Unseen, said);
                *known = Channel::opened();
            }),
            (_, method) => self.on_channel(direction, channel, place, out, |known, said| {
                known.method(method, said);
            }),
        }
    }

    /// How the server says that something went wrong, if it was the server and something did.
    fn refusal(&self, direction: Direction, code: u16, text: SmolStr) -> Option<Failure> {
        /// `reply-success`.
        const SUCCESS: u16 = 200;
        let by_server = self.client.is_some_and(|client| client != direction);
        (by_server && code != SUCCESS).then(|| failure(code, text))
    }

    fn on_channel(
        &mut self,
        direction: Direction,
        number: u16,
        (begin, end): (Mark, Mark),
        out: &mut Vec<Step>,
        act: impl FnOnce(&mut Channel, &mut Said<'_>),
    ) {
        let Some(client) = self.client else { return };
        if self.channels.len() >= MAX_CHANNELS && !self.channels.contains_key(&number) {
            out.push(Step::Count("protocol.amqp.channels_full"));
            return;
        }
        let mut said = Said {
            side: side(direction, client),
            client,
            begin,
            end,
            handled: &mut self.handled,
            out,
        };
        act(self.channels.entry(number).or_default(), &mut said);
    }

    fn each(
        &mut self,
        direction: Direction,
        (begin, end): (Mark, Mark),
        out: &mut Vec<Step>,
        act: impl Fn(&mut Channel, &mut Said<'_>),
    ) {
        let client = self.client.unwrap_or(direction);
        let mut said = Said {
            side: side(direction, client),
            client,
            begin,
            end,
            handled: &mut self.handled,
            out,
        };
        // In one order, however the table is made.
        let mut numbers: Vec<u16> = self.channels.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            if let Some(channel) = self.channels.get_mut(&number) {
                act(channel, &mut said);
            }
        }
    }

    /// Frames of a direction may have been missed.
    fn lost(&mut self, direction: Direction, at: Mark, out: &mut Vec<Step>) {
        self.each(direction, (at, at), out, Channel::lost);
    }

    /// The bytes do not follow the protocol.
    fn offended(&mut self, direction: Direction, at: Mark, out: &mut Vec<Step>) -> Flow {
        let at = Mark { offset: 0, ..at };
        out.push(Step::Count("protocol.amqp.invalid"));
        self.lost(direction, at, out);
        self.strikes = self.strikes.saturating_add(1);
        if self.strikes >= MAX_STRIKES {
            return self.reject(at, out);
        }
        Flow::Continue
    }

    fn reject(&mut self, at: Mark, out: &mut Vec<Step>) -> Flow {
        self.break_all(at, Broken::Unseen, out);
        Flow::Rejected
    }

    fn break_all(&mut self, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        self.each(Direction::Egress, (at, at), out, |channel, said| {
            channel.closed(None, reason, said);
        });
    }
}

fn side(direction: Direction, client: Direction) -> Side {
    if direction == client {
        Side::Client
    } else {
        Side::Server
    }
}

impl Parser for Amqp {
    fn piece(&mut self, piece: Piece, out: &mut Vec<Step>) -> Flow {
        let (direction, at) = (piece.direction, Mark::of(&piece));
        match piece.content {
            Content::Bytes(bytes) => return self.bytes(direction, bytes, at, out),
            Content::Unseen(length) => return self.hole(direction, length, at, out),
            Content::End => self.break_all(at, Broken::Closed, out),
            Content::Failed(errno) => self.break_all(at, Broken::Failed(errno), out),
        }
        Flow::Continue
    }

    fn tick(&mut self, _now_ns: u64, _out: &mut Vec<Step>) {}

    fn end(&mut self, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        self.break_all(at, reason, out);
    }

    fn open(&self) -> usize {
        self.handled.open()
    }

    fn next_exchange(&self) -> Exchange {
        self.handled.next()
    }

    fn takes_work(&self) -> bool {
        true
    }

    fn wants_whole_operations(&self) -> bool {
        true
    }
}
