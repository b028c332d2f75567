//! The streams of a connection, each of which is an exchange.
use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use foldhash::fast::RandomState;

use super::head::Head;
use super::hpack::Decoder;
use super::reader::{Block, Event, Reader};
use super::stream::Stream;
use crate::capture::{Direction, Moment};
use crate::protocol::{
    Broken, Exchange, Flow, Limits, Mark, Parser, Request, RequestHead, Response, ResponseHead, Start, Step, put,
};
use crate::stream::{Content, Piece};

/// Streams that may be open at once.
const MAX_STREAMS: usize = 4096;
/// What may be said of streams whose request has not been seen.
const MAX_EARLY: usize = 1024;
/// How long an answer waits for its request, nanoseconds: threads report within microseconds of each other.
const EARLY_NS: u64 = 200_000_000;
/// How long a stream of which something was missed may be silent, nanoseconds: its end may have been in it.
const DOUBT_NS: u64 = 5_000_000_000;
/// Offences against the protocol before it is called a wrong guess.
const MAX_STRIKES: u32 = 8;

/// A connection.
pub(super) struct Http2 {
    limits: Limits,
    next: Exchange,
    /// The direction of requests, once it is known.
    asks: Option<Direction>,
    /// Both directions were followed from their first byte.
    fresh: bool,
    /// The direction that was recognized: its first piece begins a frame.
    recognized: Direction,
    ingress: Option<Side>,
    egress: Option<Side>,
    streams: HashMap<u32, Stream, RandomState>,
    /// The highest stream a request was seen on.
    newest: u32,
    early: VecDeque<Early>,
    strikes: u32,
    /// Every byte since the beginning was seen.
    unbroken: bool,
}

/// What one direction is read with.
struct Side {
    reader: Reader,
    decoder: Decoder,
}

/// Something said of a stream.
#[derive(Debug)]
enum Said<'a> {
    Head {
        head: Box<Head>,
        end_stream: bool,
        offset: u64,
        start: Moment,
    },
    Data(&'a [u8], u64),
    Ended,
    Reset(u32),
}

/// An answer to a request that has not been seen.
#[derive(Debug)]
struct Early {
    stream: u32,
    at: Mark,
    said: Said<'static>,
}

impl Http2 {
    pub(super) fn new(start: &Start) -> Self {
        let preface = start.bytes.starts_with(super::frame::PREFACE);
        let mut http2 = Self {
            limits: start.limits,
            next: start.first,
            asks: preface.then_some(start.direction),
            fresh: start.from_beginning || preface || start.carried.is_some(),
            recognized: start.direction,
            ingress: None,
            egress: None,
            streams: HashMap::default(),
            newest: 0,
            early: VecDeque::new(),
            strikes: 0,
            unbroken: start.from_beginning || start.carried.is_some(),
        };
        if let Some(exchange) = start.carried {
            // The request that asked for the switch is answered on stream 1 (RFC 7540 section 3.2).
            if !preface {
                http2.asks = Some(start.direction.flip());
            }
            let mut stream = Stream::new(exchange);
            stream.request_ended = true;
            http2.streams.insert(1, stream);
            http2.newest = 1;
        }
        http2
    }

    fn side(&mut self, direction: Direction, at: Mark) -> &mut Side {
        let begins = self.fresh || direction == self.recognized;
        let fresh = self.fresh;
        let side = match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        };
        side.get_or_insert_with(|| Side {
            reader: if begins { Reader::new(at) } else { Reader::lost(at) },
            decoder: Decoder::new(fresh),
        })
    }

    fn bytes(&mut self, direction: Direction, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Flow {
        let (mut flow, mut found) = self.frames(direction, bytes, at, out);
        while let Some((bytes, begin)) = found.pop_front() {
            let mut within;
            (flow, within) = self.frames(direction, &bytes, begin, out);
            if flow != Flow::Continue {
                return flow;
            }
            // It comes before what is left.
            within.append(&mut found);
            found = within;
        }
        flow
    }

    /// Takes frames. What was found behind a hole is given back: it holds all that is left.
    fn frames(
        &mut self,
        direction: Direction,
        mut bytes: &[u8],
        mut at: Mark,
        out: &mut Vec<Step>,
    ) -> (Flow, VecDeque<(Bytes, Mark)>) {
        loop {
            let side = self.side(direction, at);
            if bytes.is_empty() && !side.reader.is_due() {
                return (Flow::Continue, VecDeque::new());
            }
            let (taken, event) = side.reader.read(bytes, at);
            let found = side.reader.take_found();
            if let Some((_, begin)) = found.front() {
                at = *begin;
            } else {
                bytes = bytes.get(taken..).unwrap_or_default();
                at = at.behind(taken as u64);
            }
            if side.reader.is_client() && self.asks.is_none() {
                self.asks = Some(direction);
            }
            if let Some(event) = event
                && self.event(direction, at, event, out) == Flow::Rejected
            {
                return (Flow::Rejected, VecDeque::new());
            }
            if !found.is_empty() {
                return (Flow::Continue, found);
            }
        }
    }

    fn hole(&mut self, direction: Direction, mut length: u64, mut at: Mark, out: &mut Vec<Step>) -> Flow {
        loop {
            let side = self.side(direction, at);
            let (taken, event) = if length > 0 {
                side.reader.hole(length)
            } else if side.reader.is_due() {
                let (_, event) = side.reader.read(&[], at);
                (0, event)
            } else {
                return Flow::Continue;
            };
            length = length.saturating_sub(taken);
            at = at.behind(taken);
            if let Some(event) = event
                && self.event(direction, at, event, out) == Flow::Rejected
            {
                return Flow::Rejected;
            }
        }
    }

    fn event(&mut self, direction: Direction, at: Mark, event: Event<'_>, out: &mut Vec<Step>) -> Flow {
        match event {
            Event::Block(block) => self.block(direction, at, block, out),
            Event::Data { stream, bytes, length } => self.said(direction, stream, at, Said::Data(bytes, length), out),
            Event::Ended { stream } => self.said(direction, stream, at, Said::Ended, out),
            Event::Reset { stream, code } => self.said(direction, stream, at, Said::Reset(code), out),
            Event::GoAway { last, code } => self.go_away(direction, last, code, at, out),
            Event::Found => out.push(Step::Count("protocol.http2.resync")),
            Event::Lost => self.lost(direction, at),
            Event::Invalid => {
                out.push(Step::Count("protocol.http2.invalid"));
                self.lost(direction, at);
                self.strikes = self.strikes.saturating_add(1);
                if self.strikes >= MAX_STRIKES {
                    return self.reject(at, out);
                }
            }
            Event::Hopeless => return self.reject(at, out),
        }
        Flow::Continue
    }

    fn reject(&mut self, at: Mark, out: &mut Vec<Step>) -> Flow {
        self.break_all(at, Broken::Unseen, out);
        Flow::Rejected
    }

    fn block(&mut self, direction: Direction, at: Mark, block: Block, out: &mut Vec<Step>) {
        if block.too_long {
            out.push(Step::Count("protocol.http2.head_too_long"));
        } else if block.cut {
            out.push(Step::Count("protocol.http2.head_cut"));
        }
        if block.promise {
            out.push(Step::Count("protocol.http2.promised"));
        }
        let decoder = &mut self.side(direction, at).decoder;
        let head = Head::decode(decoder, &block.bytes, block.cut).unwrap_or_else(|_| {
            out.push(Step::Count("protocol.http2.head_invalid"));
            Head {
                unknown: 1,
                ..Head::default()
            }
        });
        if head.unknown > 0 {
            out.push(Step::Count("protocol.http2.fields_unknown"));
        }
        if block.promise {
            return;
        }
        if self.asks.is_none() {
            self.asks = match (head.asks(), head.status) {
                (true, None) => Some(direction),
                (false, Some(_)) => Some(direction.flip()),
                _ => None,
            };
        }
        let said = Said::Head {
            head: Box::new(head),
            end_stream: block.end_stream,
            offset: block.offset,
            start: block.start,
        };
        self.said(direction, block.stream, at, said, out);
    }

    /// Takes what was said of a stream. Those of even number belong to pushed responses, which nobody asked for.
    fn said(&mut self, direction: Direction, stream: u32, at: Mark, said: Said<'_>, out: &mut Vec<Step>) {
        match self.asks {
            Some(_) if stream & 1 == 0 => {}
            Some(asks) if asks == direction => self.asked(direction, stream, at, said, out),
            Some(_) => self.answered(stream, at, said, out),
            None => {}
        }
    }

    fn asked(&mut self, direction: Direction, id: u32, at: Mark, said: Said<'_>, out: &mut Vec<Step>) {
        let Some(stream) = self.streams.get_mut(&id) else {
            if let Said::Head {
                head,
                end_stream,
                offset,
                start,
            } = said
            {
                // Streams are opened in ascending order (RFC 9113 section 5.1.1): this one is over.
                if id <= self.newest {
                    return;
                }
                let first = std::mem::replace(&mut self.newest, id) == 0 && self.unbroken;
                if !head.asks() {
                    // The tail of a request whose head was not seen.
                    out.push(Step::Count("protocol.http2.head_unseen"));
                    return;
                }
                let request = Request {
                    whole: false,
                    exchange: self.next,
                    direction,
                    stream: Some(id),
                    record: None,
                    offset,
                    start,
                    head_end: at,
                    head: RequestHead::Http(head.request(first)),
                };
                self.opened(id, request, end_stream, out);
            }
            return;
        };
        match said {
            Said::Head { head, end_stream, .. } => {
                stream.request.trailers(head.fields);
                if end_stream {
                    request_ended(stream, at, out);
                }
            }
            Said::Data(bytes, length) => stream.request.content(bytes, length, at, self.limits.body_bytes),
            Said::Ended => request_ended(stream, at, out),
            Said::Reset(code) => self.broken(id, at, Broken::Reset(code), out),
        }
    }

    fn opened(&mut self, id: u32, request: Request, end_stream: bool, out: &mut Vec<Step>) {
        let exchange = request.exchange;
        self.next = Exchange(exchange.0.wrapping_add(1));
        let mut stream = Stream::new(exchange);
        if let RequestHead::Http(head) = &request.head {
            stream.request.begin(&head.fields);
        }
        let at = request.head_end;
        out.push(Step::Request(request));
        if self.streams.len() >= MAX_STREAMS {
            out.push(Step::Count("protocol.http2.streams_full"));
            out.push(Step::Broken {
                exchange,
                at,
                reason: Broken::Unseen,
                body: stream.response.take(),
            });
            return;
        }
        if end_stream {
            request_ended(&mut stream, at, out);
        }
        self.streams.insert(id, stream);
        if self.early.iter().any(|early| early.stream == id) {
            let (mine, others) = std::mem::take(&mut self.early)
                .into_iter()
                .partition(|early| early.stream == id);
            self.early = others;
            let mine: VecDeque<Early> = mine;
            for Early { at, said, .. } in mine {
                self.answered(id, at, said, out);
            }
        }
    }

    fn answered(&mut self, id: u32, at: Mark, said: Said<'_>, out: &mut Vec<Step>) {
        let Some(stream) = self.streams.get_mut(&id) else {
            if id <= self.newest {
                return;
            }
            self.too_early(id, at, said, out);
            return;
        };
        stream.doubtful = None;
        match said {
            Said::Head {
                head,
                end_stream,
                start,
                ..
            } => {
                let interim = head.status.is_some_and(|status| status < 200) && !end_stream;
                // What has no status is trailers, unless that may be what is not known.
                let trails = stream.responded || (head.status.is_none() && (head.unknown == 0 || end_stream));
                if trails {
                    stream.response.trailers(head.fields);
                } else if !interim {
                    stream.responded = true;
                    stream.response.begin(&head.fields);
                    put(out, || {
                        Step::Response(Response {
                            whole: false,
                            exchange: stream.exchange,
                            start,
                            head_end: at,
                            head: ResponseHead::Http(head.response()),
                        })
                    });
                }
                if end_stream {
                    self.finished(id, at, out);
                }
            }
            Said::Data(bytes, length) => stream.response.content(bytes, length, at, self.limits.body_bytes),
            Said::Ended => self.finished(id, at, out),
            Said::Reset(code) => self.broken(id, at, Broken::Reset(code), out),
        }
    }

    /// Two threads reported out of order, or the request was not seen.
    fn too_early(&mut self, id: u32, at: Mark, said: Said<'_>, out: &mut Vec<Step>) {
        let said = match said {
            // Content is not kept: it would have to be bounded, and hardly ever comes before its request.
            Said::Data(_, length) => Said::Data(&[], length),
            Said::Head {
                head,
                end_stream,
                offset,
                start,
            } => Said::Head {
                head,
                end_stream,
                offset,
                start,
            },
            Said::Ended => Said::Ended,
            Said::Reset(code) => Said::Reset(code),
        };
        if let (Some(last), Said::Data(_, more)) = (self.early.back_mut(), &said)
            && let (true, Said::Data(_, length)) = (last.stream == id, &mut last.said)
        {
            *length = length.saturating_add(*more);
            last.at = at;
            return;
        }
        if self.early.len() >= MAX_EARLY {
            out.push(Step::Count("protocol.http2.early_full"));
            return;
        }
        self.early.push_back(Early { stream: id, at, said });
    }

    /// The answer is complete.
    fn finished(&mut self, id: u32, end: Mark, out: &mut Vec<Step>) {
        let Some(mut stream) = self.streams.remove(&id) else {
            return;
        };
        let exchange = stream.exchange;
        let body = stream.response.take();
        if stream.responded {
            out.push(Step::ResponseEnd { exchange, end, body });
        } else {
            out.push(Step::Count("protocol.http2.head_unseen"));
            out.push(Step::Broken {
                exchange,
                at: end,
                reason: Broken::Unseen,
                body,
            });
        }
    }

    fn broken(&mut self, id: u32, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        if let Some(mut stream) = self.streams.remove(&id) {
            out.push(Step::Broken {
                exchange: stream.exchange,
                at,
                reason,
                body: stream.response.take(),
            });
        }
    }

    /// Ends, in the order of their numbers, the streams for which `which` holds.
    fn break_some(&mut self, at: Mark, reason: Broken, which: impl Fn(u32, &Stream) -> bool, out: &mut Vec<Step>) {
        let chosen = self.streams.iter().filter(|(id, stream)| which(**id, stream));
        let mut chosen: Vec<u32> = chosen.map(|(id, _)| *id).collect();
        chosen.sort_unstable();
        for id in chosen {
            self.broken(id, at, reason, out);
        }
    }

    fn break_all(&mut self, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        self.break_some(at, reason, |_, _| true, out);
        self.early.clear();
    }

    fn go_away(&mut self, direction: Direction, last: u32, code: u32, at: Mark, out: &mut Vec<Step>) {
        out.push(Step::Count("protocol.http2.goaway"));
        if self.asks == Some(direction.flip()) {
            self.break_some(at, Broken::Refused(code), |id, _| id > last, out);
        }
    }

    /// What was said in this direction is not known from here on.
    fn lost(&mut self, direction: Direction, at: Mark) {
        self.unbroken = false;
        self.side(direction, at).decoder.missed();
        for stream in self.streams.values_mut() {
            if self.asks == Some(direction) {
                if !stream.request_ended {
                    stream.request.lost();
                }
            } else {
                stream.response.lost();
                stream.doubtful = Some(at);
            }
        }
    }

    fn over(&mut self, direction: Direction, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        // The client may close its side and still wait for the answers.
        let waits = reason == Broken::Closed && self.asks == Some(direction);
        self.break_some(at, reason, |_, stream| !waits || !stream.request_ended, out);
    }
}

impl Parser for Http2 {
    fn piece(&mut self, piece: Piece, out: &mut Vec<Step>) -> Flow {
        let (direction, at) = (piece.direction, Mark::of(&piece));
        match piece.content {
            Content::Bytes(bytes) => return self.bytes(direction, &bytes, at, out),
            Content::Unseen(length) => return self.hole(direction, length, at, out),
            Content::End => self.over(direction, at, Broken::Closed, out),
            Content::Failed(errno) => self.over(direction, at, Broken::Failed(errno), out),
        }
        Flow::Continue
    }

    fn tick(&mut self, now_ns: u64, out: &mut Vec<Step>) {
        while let Some(early) = self.early.front()
            && now_ns.saturating_sub(early.at.moment.time_ns) >= EARLY_NS
        {
            if matches!(early.said, Said::Head { .. }) {
                out.push(Step::Count("protocol.http2.response_unmatched"));
            }
            self.early.pop_front();
        }
        let silent = |at: &Mark| now_ns.saturating_sub(at.moment.time_ns) >= DOUBT_NS;
        let doubtful = self.streams.iter();
        let doubtful = doubtful.filter_map(|(id, stream)| Some((*id, stream.doubtful.filter(silent)?)));
        let mut doubtful: Vec<(u32, Mark)> = doubtful.collect();
        doubtful.sort_unstable_by_key(|(id, _)| *id);
        for (id, at) in doubtful {
            out.push(Step::Count("protocol.http2.stream_lost"));
            self.broken(id, at, Broken::Unseen, out);
        }
    }

    fn end(&mut self, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        self.break_all(at, reason, out);
    }

    fn open(&self) -> usize {
        self.streams.len()
    }

    fn next_exchange(&self) -> Exchange {
        self.next
    }

    fn wants_whole_operations(&self) -> bool {
        true
    }
}

fn request_ended(stream: &mut Stream, end: Mark, out: &mut Vec<Step>) {
    if !std::mem::replace(&mut stream.request_ended, true) {
        out.push(Step::RequestEnd {
            exchange: stream.exchange,
            end,
            body: stream.request.take(),
        });
    }
}
