//! The responses of a connection.
use bytes::Bytes;

use super::body::{Framing, Hole};
use super::pair::{Http1, rest};
use super::reader::{Head, Read, State};
use super::{field, head};
use crate::capture::Moment;
use crate::protocol::messages::Messages;
use crate::protocol::turn::Turn;
use crate::protocol::{Broken, Flow, Mark, Response, ResponseHead as AnyResponse, Step, put};
use crate::stream::{Content, Piece};

/// How long a response waits for its request, nanoseconds: threads report within microseconds of each other.
pub(super) const EARLY_NS: u64 = 200_000_000;

impl Http1 {
    /// Takes a piece of the direction that answers.
    pub(super) fn response_piece(&mut self, piece: Piece, turn: Turn, out: &mut Vec<Step>) -> Flow {
        let unasked = self.responses.between_messages() && self.pending.is_empty();
        let data = matches!(piece.content, Content::Bytes(_) | Content::Unseen(_));
        if !self.early.is_empty() || (unasked && data) {
            self.hold(piece, out);
            return Flow::Continue;
        }
        let at = Mark::of(&piece);
        match piece.content {
            Content::Bytes(bytes) => return self.response_bytes(&bytes, at, turn, out),
            Content::Unseen(length) => {
                let end = at.behind(length);
                match self.responses.hole(length) {
                    Hole::Within => {}
                    Hole::Done => self.response_ended(end, out),
                    Hole::Lost => self.responses_lost(end, turn, out),
                }
                self.responses.last = Some(end);
            }
            Content::End => {
                if self.responses.ends_with_connection() {
                    self.responses.state = State::Idle;
                    self.response_ended(self.responses.last.unwrap_or(at), out);
                } else if matches!(self.responses.state, State::Blind) {
                    self.blind_response_ended(out);
                }
                self.give_up(at, Broken::Closed, out);
            }
            Content::Failed(errno) => self.give_up(at, Broken::Failed(errno), out),
        }
        Flow::Continue
    }

    /// Takes the bytes of an operation, which begin at `begin`.
    fn response_bytes(&mut self, bytes: &Bytes, begin: Mark, turn: Turn, out: &mut Vec<Step>) -> Flow {
        let direction = self.asks.flip();
        if matches!(self.responses.state, State::Lost) && turn.turned && !self.pending.is_empty() {
            self.responses.seek();
        }
        let mut taken = 0_usize;
        while let Some(left) = bytes.get(taken..).filter(|left| !left.is_empty()) {
            let at = begin.behind(taken as u64);
            if self.responses.between_messages() && self.pending.is_empty() {
                if taken > 0 {
                    self.responses.last = Some(at);
                }
                if let Some(rest) = rest(direction, bytes, begin, taken) {
                    self.hold(rest, out);
                }
                return Flow::Continue;
            }
            let (read, more) = self.responses.read(left, at.offset, at.moment);
            taken = taken.saturating_add(more);
            let passed = at.behind(more as u64);
            match read {
                Read::More => break,
                Read::Head(head) => {
                    if self.response_head(&head, passed, false, out) {
                        let rest = rest(direction, bytes, begin, taken);
                        return Flow::Switched(self.late.take().chain(rest).collect());
                    }
                }
                Read::Done => self.response_ended(passed, out),
                Read::Invalid => {
                    self.responses_unreadable(begin.moment, out);
                    break;
                }
            }
            let flow = self.read_late(out);
            if flow != Flow::Continue {
                return flow.followed_by(rest(direction, bytes, begin, taken));
            }
        }
        self.responses.last = Some(begin.behind(bytes.len() as u64));
        Flow::Continue
    }

    /// A response came before its request: two threads reported out of order, or the request was not seen.
    fn hold(&mut self, piece: Piece, out: &mut Vec<Step>) {
        if !self.certain || !self.early.push(piece) {
            self.unmatched(out);
        }
    }

    /// What responses were held answers nothing that is known.
    pub(super) fn unmatched(&mut self, out: &mut Vec<Step>) {
        out.push(Step::Count("protocol.http1.response_unmatched"));
        let _dropped = self.early.take();
        self.responses.state = State::Lost;
        self.doubt();
    }

    /// Goes on with responses that waited for their request.
    pub(super) fn read_early(&mut self, out: &mut Vec<Step>) -> Flow {
        if self.early.is_empty() || self.pending.is_empty() {
            return Flow::Continue;
        }
        let mut early = self.early.take();
        while let Some(piece) = early.next() {
            let flow = self.response_piece(piece, Turn::default(), out);
            if flow != Flow::Continue {
                return flow.followed_by(early);
            }
        }
        Flow::Continue
    }

    /// Takes a response's head. Whether the connection now speaks something else.
    fn response_head(&mut self, head: &Head, end: Mark, cut: bool, out: &mut Vec<Step>) -> bool {
        let Some(parsed) = head::response(&head.bytes) else {
            self.responses_unreadable(end.moment, out);
            return false;
        };
        let Some(pending) = self.pending.front_mut() else {
            return false;
        };
        if (100..200).contains(&parsed.status) && parsed.status != 101 {
            // An interim response; the final one follows (RFC 9110 section 15.2).
            return false;
        }
        if head.too_long {
            out.push(Step::Count("protocol.http1.head_too_long"));
        }
        pending.responding = true;
        let status = parsed.status;
        let switched = !cut && (status == 101 || (pending.connect && (200..300).contains(&status)));
        let upgrade = field(&parsed.fields, "upgrade").unwrap_or_default();
        if switched && upgrade.eq_ignore_ascii_case(b"h2c") {
            // The answer follows in HTTP/2 (RFC 7540 section 3.2).
            self.carried = Some(pending.exchange);
            self.pending.pop_front();
            self.break_all(end, Broken::Unseen, Broken::Unseen, out);
            out.push(Step::Count("protocol.http1.upgraded"));
            return true;
        }
        let bodiless = pending.head_only || switched || matches!(status, 204 | 304);
        let (exchange, is_websocket) = (
            pending.exchange,
            status == 101 && upgrade.eq_ignore_ascii_case(b"websocket"),
        );
        let framing = if bodiless || cut {
            None
        } else {
            Framing::of(&parsed.fields, true)
        };
        let messages = Messages::of(&parsed.fields);
        put(out, || {
            Step::Response(Response {
                whole: false,
                exchange,
                start: head.start,
                head_end: end,
                head: AnyResponse::Http(parsed),
            })
        });
        let ends = framing.is_none();
        self.responses.begin(framing, messages);
        if switched && is_websocket {
            // The exchange becomes the connection (RFC 6455 section 4.2.2).
            self.carried = Some(exchange);
            self.websocket = true;
            self.pending.pop_front();
        } else if cut {
            self.responses.blind();
        } else if ends {
            self.response_ended(end, out);
        }
        if switched {
            // Whatever was asked behind the switch is not answered in this protocol.
            self.break_all(end, Broken::Unseen, Broken::Unseen, out);
            out.push(Step::Count(if status == 101 {
                "protocol.http1.upgraded"
            } else {
                "protocol.http1.tunneled"
            }));
        }
        switched
    }

    /// The first request that waits is answered.
    pub(super) fn response_ended(&mut self, end: Mark, out: &mut Vec<Step>) {
        let body = self.responses.take_body();
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
        self.settle();
    }

    /// A response whose end could not be told from its bytes has ended.
    pub(super) fn blind_response_ended(&mut self, out: &mut Vec<Step>) {
        self.responses.state = State::Idle;
        if let Some(last) = self.responses.last {
            self.response_ended(last, out);
        }
    }

    /// What follows in the responses is not known. A response whose head was seen ends when the client goes on; one whose
    /// head has begun is told as far as it was seen.
    fn responses_lost(&mut self, at: Mark, turn: Turn, out: &mut Vec<Step>) {
        self.certain = false;
        let alone = self.pending.len() == 1 && !self.pipelined;
        match &self.responses.state {
            State::Body(_) if alone => {
                out.push(Step::Count("protocol.http1.framing_unseen"));
                self.every_operation = true;
                self.responses.blind();
                return;
            }
            State::Head(_) if alone => {
                let last = self.responses.last.unwrap_or(at);
                if let Some(head) = self.responses.take_head()
                    && let Some(parsed) = head::response(&head.bytes)
                    && (parsed.status >= 200)
                {
                    out.push(Step::Count("protocol.http1.head_cut"));
                    self.response_head(&head, last, true, out);
                    return;
                }
            }
            // Nothing new: this is still the tail of what was lost before.
            State::Lost if !turn.turned => return,
            _ => {}
        }
        self.break_all(at, Broken::Unseen, Broken::Unseen, out);
        self.responses.state = State::Lost;
        self.doubt();
    }

    /// Bytes that are no response where one was to be.
    fn responses_unreadable(&mut self, moment: Moment, out: &mut Vec<Step>) {
        let at = Mark {
            offset: self.responses.begin,
            moment,
        };
        self.strikes = self.strikes.saturating_add(1);
        if self.responses.sought() {
            // Rather the tail of something older than the answer to what waits.
            self.break_all(at, Broken::Unseen, Broken::Unseen, out);
        } else {
            out.push(Step::Count("protocol.http1.invalid"));
            self.break_all(at, Broken::Invalid, Broken::Unseen, out);
        }
        self.responses.state = State::Lost;
        self.doubt();
    }
}
