//! Pairs requests with responses by their order (RFC 9112 section 9.3).
//!
//! A hole may have swallowed whole messages. Then order no longer tells which response answers which request, and pairing
//! stops until a request begins after a response has ended: what was asked before it has been answered. What was pending
//! at a hole in the responses is [`Broken::Unseen`]; a request that comes while pairing is in doubt also is.
use std::collections::VecDeque;

use bytes::Bytes;

use super::body::{Framing, Hole};
use super::reader::{Head, Read, Reader, State};
use super::{RequestHead, field, head};
use crate::capture::{Direction, Moment};
use crate::protocol::{
    Body, Broken, Exchange, Flow, Limits, Mark, Parser, Recognized, Request, RequestHead as AnyRequest, Response,
    ResponseHead as AnyResponse, Step,
};
use crate::stream::{Content, Piece};

/// Requests that may wait for their response on one connection.
const MAX_PENDING: usize = 1024;
/// Pieces of responses that may wait for their request.
const MAX_EARLY: usize = 64;
/// How long a response waits for its request: threads report within microseconds of each other.
const EARLY_NS: u64 = 200_000_000;
/// How long a response whose end cannot be told from its bytes is silent before it is taken to be over.
const SILENCE_NS: u64 = 2_000_000_000;

/// A request without its response.
#[derive(Debug)]
struct Pending {
    exchange: Exchange,
    head_only: bool,
    connect: bool,
    expects_continue: bool,
    request_ended: bool,
    responding: bool,
}

/// One connection.
pub(super) struct Http1 {
    /// Which way requests go; none until the first message.
    asks: Option<Direction>,
    requests: Reader,
    responses: Reader,
    pending: VecDeque<Pending>,
    next: Exchange,
    /// A hole may have swallowed requests.
    doubt: bool,
    /// The last thing that happened is the end of a response.
    answered: bool,
    early: VecDeque<Piece>,
    every_operation: bool,
}

enum Side {
    Request,
    Response,
}

impl Http1 {
    pub(super) const fn new(limits: Limits, first: Exchange) -> Self {
        Self {
            asks: None,
            requests: Reader::new(limits.body_bytes),
            responses: Reader::new(limits.body_bytes),
            pending: VecDeque::new(),
            next: first,
            doubt: false,
            answered: true,
            early: VecDeque::new(),
            every_operation: false,
        }
    }

    fn side(&mut self, piece: &Piece) -> Option<Side> {
        if self.asks.is_none() {
            let Content::Bytes(bytes) = &piece.content else {
                return None;
            };
            let response = bytes.trim_ascii_start().starts_with(b"HTTP/1.");
            let request = !response && head::recognize(bytes) != Recognized::No;
            self.asks = match (request, response) {
                (true, _) => Some(piece.direction),
                (_, true) => Some(piece.direction.flip()),
                _ => return None,
            };
            if response {
                // Joined between a request and its response: there is nothing to answer.
                self.responses.state = State::Lost;
            }
        }
        Some(if self.asks == Some(piece.direction) {
            Side::Request
        } else {
            Side::Response
        })
    }

    fn request_piece(&mut self, piece: Piece, out: &mut Vec<Step>) -> Flow {
        match piece.content {
            Content::Bytes(bytes) => self.request_bytes(&bytes, piece.offset, piece.moment, out),
            Content::Unseen(length) => {
                let end = Mark {
                    offset: piece.offset.saturating_add(length),
                    moment: piece.moment,
                };
                match self.requests.hole(length) {
                    Hole::Within => {}
                    Hole::Done => self.request_ended(end, out),
                    Hole::Lost => self.requests_lost(out),
                }
                self.requests.last = Some(end);
            }
            Content::End => {
                // The client may close its side and still wait for the answer.
                if self.pending.iter().all(|pending| pending.request_ended) {
                    return Flow::Continue;
                }
                self.break_all(
                    Mark {
                        offset: piece.offset,
                        moment: piece.moment,
                    },
                    Broken::Closed,
                    out,
                );
            }
            Content::Failed(errno) => {
                self.break_all(
                    Mark {
                        offset: piece.offset,
                        moment: piece.moment,
                    },
                    Broken::Failed(errno),
                    out,
                );
            }
        }
        Flow::Continue
    }

    fn request_bytes(&mut self, bytes: &Bytes, offset: u64, moment: Moment, out: &mut Vec<Step>) {
        self.find_request(bytes);
        let mut at = 0_usize;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let offset = offset.saturating_add(at as u64);
            match self.requests.read(rest, offset, moment) {
                Read::More => break,
                Read::Head(head, taken) => {
                    at = at.saturating_add(taken);
                    self.request_head(
                        &head,
                        Mark {
                            offset: offset.saturating_add(taken as u64),
                            moment,
                        },
                        false,
                        out,
                    );
                }
                Read::Done(taken) => {
                    at = at.saturating_add(taken);
                    self.request_ended(
                        Mark {
                            offset: offset.saturating_add(taken as u64),
                            moment,
                        },
                        out,
                    );
                }
                Read::Invalid => {
                    out.push(Step::Count("protocol.http1.invalid"));
                    self.requests_lost(out);
                    break;
                }
            }
        }
        self.requests.last = Some(Mark {
            offset: offset.saturating_add(bytes.len() as u64),
            moment,
        });
    }

    /// Leaves a state that only a new request can end, if `bytes` begin one.
    fn find_request(&mut self, bytes: &[u8]) {
        let refused = matches!(self.requests.state, State::Body(_))
            && self.requests.body_is_empty()
            && self.answered
            && self.pending.is_empty();
        let stuck = matches!(self.requests.state, State::Lost | State::Blind);
        if (stuck || refused) && head::recognize(bytes) == Recognized::Yes {
            self.requests.state = State::Idle;
        }
    }

    fn request_head(&mut self, head: &Head, end: Mark, cut: bool, out: &mut Vec<Step>) {
        let Some(parsed) = head::request(&head.bytes) else {
            out.push(Step::Count("protocol.http1.invalid"));
            self.requests_lost(out);
            return;
        };
        if head.too_long {
            out.push(Step::Count("protocol.http1.head_too_long"));
        }
        if self.doubt && self.answered && matches!(self.responses.state, State::Idle | State::Blind | State::Lost) {
            // Everything asked before has been answered, or its answer was lost.
            self.doubt = false;
            out.push(Step::Count("protocol.http1.resync"));
        }
        if matches!(self.responses.state, State::Blind) {
            // The client asks again: the response before has ended.
            self.blind_response_ended(out);
        }
        if matches!(self.responses.state, State::Lost) && self.pending.is_empty() {
            self.responses.state = State::Idle;
        }
        let framing = if cut { None } else { Framing::of(&parsed.fields, false) };
        let pending = self.open(&parsed, framing.is_none() && !cut);
        let exchange = pending.exchange;
        out.push(Step::Request(Box::new(Request {
            exchange,
            direction: self.asks.unwrap_or(Direction::Egress),
            offset: head.offset,
            start: head.start,
            head_end: end,
            head: AnyRequest::Http(parsed),
        })));
        self.requests.begin(framing);
        if self.doubt || self.pending.len() >= MAX_PENDING {
            let name = if self.doubt {
                "protocol.http1.doubtful"
            } else {
                "protocol.http1.pending_full"
            };
            out.push(Step::Count(name));
            out.push(Step::Broken {
                exchange,
                at: end,
                reason: Broken::Unseen,
                body: Body::default(),
            });
            return;
        }
        if pending.request_ended {
            out.push(Step::RequestEnd {
                exchange,
                end,
                body: Body {
                    bytes: Some(0),
                    captured: Bytes::new(),
                },
            });
        }
        self.pending.push_back(pending);
        self.answered = false;
        self.read_early(out);
    }

    fn open(&mut self, head: &RequestHead, ended: bool) -> Pending {
        let exchange = self.next;
        self.next = Exchange(exchange.0.wrapping_add(1));
        Pending {
            exchange,
            head_only: head.method == "HEAD",
            connect: head.method == "CONNECT",
            expects_continue: field(&head.fields, "expect").is_some(),
            request_ended: ended,
            responding: false,
        }
    }

    fn request_ended(&mut self, end: Mark, out: &mut Vec<Step>) {
        let body = self.requests.take_body();
        if let Some(pending) = self.pending.iter_mut().find(|pending| !pending.request_ended) {
            pending.request_ended = true;
            out.push(Step::RequestEnd {
                exchange: pending.exchange,
                end,
                body,
            });
        }
    }

    /// What follows in the requests is not known. A head that has begun is told as far as it was seen.
    fn requests_lost(&mut self, out: &mut Vec<Step>) {
        let last = self.requests.last;
        if let (Some(head), Some(last)) = (self.requests.take_head(), last)
            && head::request(&head.bytes).is_some()
        {
            out.push(Step::Count("protocol.http1.head_cut"));
            self.request_head(&head, last, true, out);
        }
        self.requests.state = State::Lost;
        self.doubt = true;
    }

    fn response_piece(&mut self, piece: Piece, out: &mut Vec<Step>) -> Flow {
        match piece.content {
            Content::Bytes(bytes) => return self.response_bytes(bytes, piece.offset, piece.moment, out),
            Content::Unseen(length) => {
                let end = Mark {
                    offset: piece.offset.saturating_add(length),
                    moment: piece.moment,
                };
                match self.responses.hole(length) {
                    Hole::Within => self.responses.last = Some(end),
                    Hole::Done => {
                        self.responses.last = Some(end);
                        self.response_ended(end, out);
                    }
                    Hole::Lost => {
                        self.responses_lost(end, out);
                        self.responses.last = Some(end);
                    }
                }
            }
            Content::End => {
                let at = Mark {
                    offset: piece.offset,
                    moment: piece.moment,
                };
                if self.responses.ends_with_connection() {
                    self.responses.state = State::Idle;
                    self.response_ended(self.responses.last.unwrap_or(at), out);
                } else if matches!(self.responses.state, State::Blind) {
                    self.blind_response_ended(out);
                }
                self.break_all(at, Broken::Closed, out);
            }
            Content::Failed(errno) => {
                self.break_all(
                    Mark {
                        offset: piece.offset,
                        moment: piece.moment,
                    },
                    Broken::Failed(errno),
                    out,
                );
            }
        }
        Flow::Continue
    }

    fn response_bytes(&mut self, bytes: Bytes, offset: u64, moment: Moment, out: &mut Vec<Step>) -> Flow {
        if matches!(self.responses.state, State::Lost)
            && !self.pending.is_empty()
            && head::recognize(&bytes) == Recognized::Yes
        {
            self.responses.state = State::Idle;
        }
        let mut at = 0_usize;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let offset = offset.saturating_add(at as u64);
            if self.responses.between_messages() && self.pending.is_empty() {
                self.hold(
                    Piece {
                        direction: self.asks.unwrap_or(Direction::Egress).flip(),
                        offset,
                        content: Content::Bytes(bytes.slice(at.min(bytes.len())..)),
                        moment,
                    },
                    out,
                );
                return Flow::Continue;
            }
            match self.responses.read(rest, offset, moment) {
                Read::More => break,
                Read::Head(head, taken) => {
                    at = at.saturating_add(taken);
                    let end = Mark {
                        offset: offset.saturating_add(taken as u64),
                        moment,
                    };
                    if self.response_head(&head, end, false, out) {
                        let rest = bytes.slice(at.min(bytes.len())..);
                        let direction = self.asks.unwrap_or(Direction::Egress).flip();
                        let rest = (!rest.is_empty()).then(|| Piece {
                            direction,
                            offset: end.offset,
                            content: Content::Bytes(rest),
                            moment,
                        });
                        return Flow::Switched(rest);
                    }
                }
                Read::Done(taken) => {
                    at = at.saturating_add(taken);
                    self.response_ended(
                        Mark {
                            offset: offset.saturating_add(taken as u64),
                            moment,
                        },
                        out,
                    );
                }
                Read::Invalid => {
                    out.push(Step::Count("protocol.http1.invalid"));
                    self.responses_lost(Mark { offset, moment }, out);
                    break;
                }
            }
        }
        self.responses.last = Some(Mark {
            offset: offset.saturating_add(bytes.len() as u64),
            moment,
        });
        Flow::Continue
    }

    /// A response came before its request: two threads reported out of order, or the request was not seen.
    fn hold(&mut self, piece: Piece, out: &mut Vec<Step>) {
        if self.early.len() >= MAX_EARLY {
            out.push(Step::Count("protocol.http1.response_unmatched"));
            self.early.clear();
            self.responses.state = State::Lost;
            return;
        }
        self.early.push_back(piece);
    }

    fn read_early(&mut self, out: &mut Vec<Step>) {
        let early = std::mem::take(&mut self.early);
        for piece in early {
            // A switch of protocols before its request was seen does not occur: the client waits for the answer.
            let _flow = self.response_piece(piece, out);
        }
    }

    /// Takes a response's head. Whether the connection now speaks something else.
    fn response_head(&mut self, head: &Head, end: Mark, cut: bool, out: &mut Vec<Step>) -> bool {
        let Some(parsed) = head::response(&head.bytes) else {
            out.push(Step::Count("protocol.http1.invalid"));
            self.responses_lost(end, out);
            return false;
        };
        let Some(pending) = self.pending.front_mut() else {
            return false;
        };
        if (100..200).contains(&parsed.status) && parsed.status != 101 {
            // An interim response; the final one follows (RFC 9110 section 15.2).
            return false;
        }
        pending.responding = true;
        let switched = parsed.status == 101 || (pending.connect && (200..300).contains(&parsed.status));
        let bodiless = pending.head_only || switched || matches!(parsed.status, 204 | 304);
        let exchange = pending.exchange;
        let framing = if bodiless || cut {
            None
        } else {
            Framing::of(&parsed.fields, true)
        };
        let status = parsed.status;
        out.push(Step::Response(Box::new(Response {
            exchange,
            start: head.start,
            head_end: end,
            head: AnyResponse::Http(parsed),
        })));
        let ends = framing.is_none() && (!cut || bodiless);
        self.responses.begin(framing);
        if cut && !bodiless {
            self.responses.blind();
        }
        if ends {
            self.response_ended(end, out);
        }
        if switched {
            out.push(Step::Count(if status == 101 {
                "protocol.http1.upgraded"
            } else {
                "protocol.http1.tunneled"
            }));
        }
        switched
    }

    fn response_ended(&mut self, end: Mark, out: &mut Vec<Step>) {
        let body = self.responses.take_body();
        self.answered = true;
        let Some(pending) = self.pending.pop_front() else {
            return;
        };
        // A final answer to a request that waited to be told to go on: its body may never come.
        if pending.expects_continue && !pending.request_ended && self.requests.body_is_empty() {
            out.push(Step::Count("protocol.http1.continue_refused"));
        }
        out.push(Step::ResponseEnd {
            exchange: pending.exchange,
            end,
            body,
        });
    }

    fn blind_response_ended(&mut self, out: &mut Vec<Step>) {
        self.responses.state = State::Idle;
        if let Some(last) = self.responses.last {
            self.response_ended(last, out);
        }
    }

    /// What follows in the responses is not known. A response whose head was seen ends when the client goes on; one whose
    /// head has begun is told as far as it was seen.
    fn responses_lost(&mut self, at: Mark, out: &mut Vec<Step>) {
        match &self.responses.state {
            State::Body(_) if self.pending.len() == 1 => {
                out.push(Step::Count("protocol.http1.framing_unseen"));
                self.every_operation = true;
                self.responses.blind();
                return;
            }
            State::Head(_) if self.pending.len() == 1 => {
                let last = self.responses.last.unwrap_or(at);
                if let Some(head) = self.responses.take_head()
                    && head::response(&head.bytes).is_some()
                {
                    out.push(Step::Count("protocol.http1.head_cut"));
                    self.response_head(&head, last, true, out);
                    return;
                }
            }
            State::Idle if self.pending.is_empty() => return,
            _ => {}
        }
        self.responses.state = State::Lost;
        self.break_all(at, Broken::Unseen, out);
        self.responses.state = State::Lost;
    }

    fn break_all(&mut self, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        let mut body = Some(self.responses.take_body());
        for pending in std::mem::take(&mut self.pending) {
            let body = if pending.responding {
                body.take().unwrap_or_default()
            } else {
                Body::default()
            };
            out.push(Step::Broken {
                exchange: pending.exchange,
                at,
                reason,
                body,
            });
        }
        self.answered = true;
    }
}

impl Parser for Http1 {
    fn piece(&mut self, piece: Piece, out: &mut Vec<Step>) -> Flow {
        match self.side(&piece) {
            Some(Side::Request) => self.request_piece(piece, out),
            Some(Side::Response) => self.response_piece(piece, out),
            None => Flow::Continue,
        }
    }

    fn tick(&mut self, now_ns: u64, out: &mut Vec<Step>) {
        let waited = |since: u64, limit: u64| now_ns.saturating_sub(since) >= limit;
        if self
            .early
            .front()
            .is_some_and(|piece| waited(piece.moment.time_ns, EARLY_NS))
        {
            out.push(Step::Count("protocol.http1.response_unmatched"));
            self.early.clear();
            self.responses.state = State::Lost;
        }
        let silent = self
            .responses
            .last
            .is_some_and(|last| waited(last.moment.time_ns, SILENCE_NS));
        if matches!(self.responses.state, State::Blind) && silent {
            self.blind_response_ended(out);
            self.responses.state = State::Lost;
        }
    }

    fn end(&mut self, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        if reason == Broken::Closed && self.responses.ends_with_connection() {
            self.responses.state = State::Idle;
            self.response_ended(self.responses.last.unwrap_or(at), out);
        } else if matches!(self.responses.state, State::Blind) {
            self.blind_response_ended(out);
        }
        self.break_all(at, reason, out);
    }

    fn open(&self) -> usize {
        self.pending.len()
    }

    fn next_exchange(&self) -> Exchange {
        self.next
    }

    fn wants_every_operation(&self) -> bool {
        self.every_operation
    }
}
