//! The requests of a connection.
use bytes::Bytes;

use super::body::{Framing, Hole};
use super::head;
use super::pair::{Http1, Pending, Probe, rest};
use super::reader::{Head, Read, State};
use super::{RequestHead, Version, field};
use crate::protocol::messages::Messages;
use crate::protocol::turn::Turn;
use crate::protocol::{
    Body, Broken, DETECT_BYTES, Exchange, Flow, Known, Mark, Recognized, Request, RequestHead as AnyRequest, Step, put,
};
use crate::stream::{Content, Piece};

/// Requests that may wait for their response on one connection.
const MAX_PENDING: usize = 1024;

impl Http1 {
    /// Takes a piece of the direction that asks.
    pub(super) fn request_piece(&mut self, piece: Piece, turn: Turn, out: &mut Vec<Step>) -> Flow {
        if self.probe.is_none() && turn.turned && self.body_was_refused() {
            self.probe = Some(Probe::default());
        }
        let Some(mut probe) = self.probe.take() else {
            return self.read_request(piece, turn, out);
        };
        let verdict = match &piece.content {
            Content::Bytes(bytes) => {
                let room = DETECT_BYTES.saturating_sub(probe.bytes.len()).min(bytes.len());
                probe.bytes.extend_from_slice(bytes.get(..room).unwrap_or_default());
                head::recognize(&probe.bytes)
            }
            _ => Recognized::No,
        };
        if verdict == Recognized::More && probe.bytes.len() < DETECT_BYTES && probe.held.push(piece.clone()) {
            self.probe = Some(probe);
            return Flow::Continue;
        }
        if verdict == Recognized::Yes {
            self.requests.begin(None, None);
        }
        let mut turn = Turn {
            turned: true,
            ..Turn::default()
        };
        let mut pieces = probe.held.take().chain([piece]);
        while let Some(piece) = pieces.next() {
            let flow = self.read_request(piece, std::mem::take(&mut turn), out);
            if flow != Flow::Continue {
                return flow.followed_by(pieces);
            }
        }
        Flow::Continue
    }

    /// A final answer came to a request that had asked whether to send its body: the body may never come.
    fn body_was_refused(&self) -> bool {
        matches!(self.requests.state, State::Body(_)) && self.requests.body_is_empty() && self.pending.is_empty()
    }

    fn read_request(&mut self, piece: Piece, turn: Turn, out: &mut Vec<Step>) -> Flow {
        let at = Mark::of(&piece);
        match piece.content {
            Content::Bytes(bytes) => return self.request_bytes(&bytes, at, turn, out),
            Content::Unseen(length) => {
                let end = at.behind(length);
                match self.requests.hole(length) {
                    Hole::Within => {}
                    Hole::Done => self.request_ended(end, out),
                    Hole::Lost => self.requests_lost(out),
                }
                self.requests.last = Some(end);
            }
            // The client may close its side and still wait for the answer.
            Content::End if self.pending.iter().all(|pending| pending.request_ended) => {}
            Content::End => self.give_up(at, Broken::Closed, out),
            Content::Failed(errno) => self.give_up(at, Broken::Failed(errno), out),
        }
        Flow::Continue
    }

    /// Takes the bytes of an operation, which begin at `begin`.
    fn request_bytes(&mut self, bytes: &Bytes, begin: Mark, turn: Turn, out: &mut Vec<Step>) -> Flow {
        if matches!(self.requests.state, State::Lost) && turn.turned && (turn.quiet || !self.pipelined) {
            self.requests.seek();
        }
        let mut taken = 0_usize;
        while let Some(left) = bytes.get(taken..).filter(|left| !left.is_empty()) {
            let at = begin.behind(taken as u64);
            if self.waits_for_switch() {
                if let Some(rest) = rest(self.asks, bytes, begin, taken) {
                    self.wait_for_switch(rest);
                }
                break;
            }
            if self.requests.between_messages() {
                self.head_turn = if taken == 0 { turn } else { Turn::default() };
            }
            let (read, more) = self.requests.read(left, at.offset, at.moment);
            taken = taken.saturating_add(more);
            let passed = at.behind(more as u64);
            match read {
                Read::More => break,
                Read::Head(head) => {
                    self.request_head(&head, passed, false, out);
                    let flow = self.read_early(out);
                    if flow != Flow::Continue {
                        return flow.followed_by(rest(self.asks, bytes, begin, taken));
                    }
                }
                Read::Done => self.request_ended(passed, out),
                Read::Invalid => {
                    self.requests_unreadable(out);
                    break;
                }
            }
        }
        self.requests.last = Some(begin.behind(bytes.len() as u64));
        Flow::Continue
    }

    fn request_head(&mut self, head: &Head, end: Mark, cut: bool, out: &mut Vec<Step>) {
        let Some(parsed) = head::request(&head.bytes) else {
            self.requests_unreadable(out);
            return;
        };
        if head.too_long {
            out.push(Step::Count("protocol.http1.head_too_long"));
        }
        if matches!(self.responses.state, State::Blind) && self.head_turn.turned {
            // The client asks again: the response before has ended.
            self.blind_response_ended(out);
        }
        let refusal = self.refusal(end, out);
        if refusal.is_none() && !self.certain {
            if std::mem::take(&mut self.doubt) {
                out.push(Step::Count("protocol.http1.resync"));
            }
            if !matches!(self.responses.state, State::Idle) {
                self.responses.state = State::Lost;
            }
        }
        let framing = if cut { None } else { Framing::of(&parsed.fields, false) };
        let messages = Messages::of(&parsed.fields);
        let exchange = self.next;
        self.next = Exchange(exchange.0.wrapping_add(1));
        let connect = parsed.method == "CONNECT";
        let pending = Pending {
            exchange,
            head_only: parsed.method == "HEAD",
            connect,
            expects_continue: field(&parsed.fields, "expect").is_some(),
            request_ended: framing.is_none() && !cut,
            responding: false,
            switching: connect || asks_to_switch(&parsed),
        };
        put(out, || {
            Step::Request(Request {
                whole: false,
                record: None,
                exchange,
                direction: self.asks,
                // Should the server agree, the request is stream 1 of what follows.
                stream: asks_for_http2(&parsed).then_some(1),
                offset: head.offset,
                start: head.start,
                head_end: end,
                head: AnyRequest::Http(parsed),
            })
        });
        self.requests.begin(framing, messages);
        if let Some(name) = refusal {
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
                body: Known {
                    bytes: Some(0),
                    ..Known::default()
                }
                .into(),
            });
        }
        self.pipelined |= !self.pending.is_empty();
        self.pending.push_back(pending);
    }

    /// Why the request whose head is complete cannot be paired, if it cannot.
    fn refusal(&mut self, at: Mark, out: &mut Vec<Step>) -> Option<&'static str> {
        if self.certain {
            if self.pending.len() < MAX_PENDING {
                return None;
            }
            self.pipelined = true;
            self.doubt();
            return Some("protocol.http1.pending_full");
        }
        if self.pending.is_empty() && self.head_turn.turned && (self.head_turn.quiet || !self.pipelined) {
            return None;
        }
        if let Some(first) = self.pending.front() {
            self.pipelined = true;
            if !first.responding {
                self.break_all(at, Broken::Unseen, Broken::Unseen, out);
                self.responses.state = State::Lost;
            }
        }
        self.doubt();
        Some("protocol.http1.doubtful")
    }

    fn request_ended(&mut self, end: Mark, out: &mut Vec<Step>) {
        let body = self.requests.take_body();
        // The request being read is the last that came, unless it was answered or given up before its end.
        if let Some(pending) = self.pending.back_mut().filter(|pending| !pending.request_ended) {
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
        let between = self.requests.between_messages();
        if let (Some(head), Some(last)) = (self.requests.take_head(), self.requests.last)
            && head::request(&head.bytes).is_some()
        {
            out.push(Step::Count("protocol.http1.head_cut"));
            self.request_head(&head, last, true, out);
        } else {
            // Requests that still wait for their answer have company that was not seen.
            self.pipelined |= between && !self.pending.is_empty();
        }
        self.doubt();
        self.requests.state = State::Lost;
    }

    /// Bytes that are no request where one was to be.
    fn requests_unreadable(&mut self, out: &mut Vec<Step>) {
        self.strikes = self.strikes.saturating_add(1);
        if !self.requests.sought() {
            out.push(Step::Count("protocol.http1.invalid"));
        }
        self.doubt();
        self.requests.state = State::Lost;
    }

    /// Whether the requests wait for the answer to one that asks to switch protocols.
    pub(super) fn waits_for_switch(&self) -> bool {
        self.pending
            .back()
            .is_some_and(|pending| pending.switching && pending.request_ended)
    }

    /// Goes on with requests that waited for that answer.
    pub(super) fn read_late(&mut self, out: &mut Vec<Step>) -> Flow {
        if self.late.is_empty() || self.waits_for_switch() {
            return Flow::Continue;
        }
        let mut late = self.late.take();
        while let Some(piece) = late.next() {
            let flow = self.request_piece(piece, Turn::default(), out);
            if flow != Flow::Continue {
                return flow.followed_by(late);
            }
        }
        Flow::Continue
    }

    fn wait_for_switch(&mut self, piece: Piece) {
        if !self.late.push(piece) {
            self.requests.state = State::Lost;
            self.pipelined = true;
            self.doubt();
            if let Some(pending) = self.pending.back_mut() {
                pending.switching = false;
            }
        }
    }
}

/// Whether it asks to go on in HTTP/2 (RFC 7540 section 3.2).
fn asks_for_http2(head: &RequestHead) -> bool {
    field(&head.fields, "upgrade").is_some_and(|value| value.eq_ignore_ascii_case(b"h2c"))
        && field(&head.fields, "http2-settings").is_some()
}

fn asks_to_switch(head: &RequestHead) -> bool {
    head.version != Version::Http10 && field(&head.fields, "upgrade").is_some()
}
