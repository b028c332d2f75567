//! Pairs requests with responses by their order (RFC 9112 section 9.3).
//!
//! As long as both directions were seen from their first byte and every byte between messages was seen, the n-th response
//! answers the n-th request, and that is *certain*: requests may be pipelined, and a response that the ring buffer
//! delivers before its request waits for it. A hole may swallow whole messages, and a connection joined midway may have
//! requests under way. Then only one exchange at a time is followed: a request counts if nothing is open and it comes
//! right after the other direction has spoken, for then what was asked before has been answered, unless the client
//! pipelines; of one that does, if both directions were silent for [`QUIET_NS`](crate::protocol::turn::QUIET_NS) as well. What breaks this rule is
//! [`Broken::Unseen`], and a response that answers nothing known is dropped. One exchange followed from its first to its
//! last byte makes pairing certain again.
//!
//! Where a message begins is told by framing or, behind a hole, by the turn from one direction to the other, never by how
//! bytes are cut into pieces.
use std::collections::VecDeque;

use bytes::Bytes;

use super::answer::EARLY_NS;
use super::reader::{Reader, State};
use crate::capture::Direction;
use crate::protocol::held::Held;
use crate::protocol::turn::{Turn, Turns};
use crate::protocol::{Body, Broken, Exchange, Flow, Mark, Parser, Preface, Start, Step, websocket};
use crate::stream::{Content, Piece};

/// How long a response whose end cannot be told from its bytes is silent before it is taken to be over, nanoseconds.
const SILENCE_NS: u64 = 2_000_000_000;
/// Messages that cannot be read, without an exchange between them, after which the connection is not taken for HTTP.
const MAX_STRIKES: u32 = 8;

/// A request without its response.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) exchange: Exchange,
    pub(super) head_only: bool,
    pub(super) connect: bool,
    pub(super) expects_continue: bool,
    pub(super) request_ended: bool,
    pub(super) responding: bool,
    /// It asks to switch protocols, and what follows it is not read before that is decided.
    pub(super) switching: bool,
}

/// Bytes behind a final answer to a request that had asked whether to send its body.
#[derive(Debug, Default)]
pub(super) struct Probe {
    pub(super) held: Held,
    pub(super) bytes: Vec<u8>,
}

/// One connection.
pub(super) struct Http1 {
    /// Which way requests go.
    pub(super) asks: Direction,
    pub(super) requests: Reader,
    pub(super) responses: Reader,
    pub(super) pending: VecDeque<Pending>,
    pub(super) next: Exchange,
    /// The n-th response answers the n-th request.
    pub(super) certain: bool,
    /// Messages were lost, and pairing has not begun anew.
    pub(super) doubt: bool,
    /// The client has asked before it was answered.
    pub(super) pipelined: bool,
    /// How the head of the request being read stands to what came before.
    pub(super) head_turn: Turn,
    /// What came where a body that was refused, or a new request, may follow.
    pub(super) probe: Option<Probe>,
    /// Pieces of responses whose request has not come.
    pub(super) early: Held,
    /// Pieces behind a request to switch protocols.
    pub(super) late: Held,
    pub(super) strikes: u32,
    pub(super) every_operation: bool,
    /// Asked for HTTP/2, in which it is answered, or for the WebSocket it becomes.
    pub(super) carried: Option<Exchange>,
    /// It became a WebSocket.
    pub(super) websocket: bool,
    turns: Turns,
    /// The first piece of (requests, responses) has come.
    begun: (bool, bool),
    from_beginning: bool,
    preface: Preface,
}

impl Http1 {
    pub(super) fn new(start: &Start) -> Self {
        let response = start.bytes.trim_ascii_start().starts_with(b"HTTP/1.");
        Self {
            asks: if response {
                start.direction.flip()
            } else {
                start.direction
            },
            requests: Reader::new(start.limits.body_bytes),
            responses: Reader::new(start.limits.body_bytes),
            pending: VecDeque::new(),
            next: start.first,
            certain: start.from_beginning,
            doubt: false,
            pipelined: false,
            head_turn: Turn::default(),
            probe: None,
            early: Held::default(),
            late: Held::default(),
            strikes: 0,
            every_operation: false,
            carried: None,
            websocket: false,
            turns: Turns::default(),
            begun: (false, false),
            from_beginning: start.from_beginning,
            preface: start.preface,
        }
    }

    /// How a piece stands to what came before, and notes it.
    fn turn(&mut self, piece: &Piece) -> Turn {
        let begun = if piece.direction == self.asks {
            &mut self.begun.0
        } else {
            &mut self.begun.1
        };
        let is_first = !std::mem::replace(begun, true);
        let begins = self.from_beginning && self.preface.ends_at(piece.direction, piece.offset);
        if is_first && !begins {
            self.certain = false;
        }
        self.turns.take(piece)
    }

    /// Messages may have been lost: order alone no longer pairs.
    pub(super) const fn doubt(&mut self) {
        self.certain = false;
        self.doubt = true;
    }

    /// An exchange was followed to its end.
    pub(super) fn settle(&mut self) {
        self.strikes = 0;
        let whole = matches!(self.requests.state, State::Idle) && matches!(self.responses.state, State::Idle);
        if whole && !self.doubt && !self.pipelined && self.pending.is_empty() {
            self.certain = true;
        }
    }

    /// Every exchange that is open ends; the first for `reason`, those behind it for `rest`.
    pub(super) fn break_all(&mut self, at: Mark, reason: Broken, rest: Broken, out: &mut Vec<Step>) {
        let mut response = Some(self.responses.take_body());
        let mut reason = Some(reason);
        for pending in std::mem::take(&mut self.pending) {
            let body = if pending.responding {
                response.take().unwrap_or_default()
            } else {
                Body::default()
            };
            out.push(Step::Broken {
                exchange: pending.exchange,
                at,
                reason: reason.take().unwrap_or(rest),
                body,
            });
        }
    }

    /// Nothing more comes in one direction: every exchange that is open ends for `reason`.
    pub(super) fn give_up(&mut self, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        self.break_all(at, reason, reason, out);
        self.responses.state = State::Lost;
        self.doubt();
    }

    /// Responses that were held answer the next request only as long as no request may have been lost.
    fn drop_doubtful(&mut self, out: &mut Vec<Step>) {
        if !self.certain && !self.early.is_empty() {
            self.unmatched(out);
        }
    }

    fn step(&mut self, piece: Piece, out: &mut Vec<Step>) -> Flow {
        let turn = self.turn(&piece);
        self.drop_doubtful(out);
        let flow = if piece.direction == self.asks {
            let flow = self.request_piece(piece, turn, out);
            self.drop_doubtful(out);
            flow
        } else {
            self.response_piece(piece, turn, out)
        };
        if flow == Flow::Continue {
            self.read_late(out)
        } else {
            flow
        }
    }
}

/// What is left of the bytes of an operation, which begin at `begin`, behind the first `taken`: a piece of its own, if
/// there is any.
pub(super) fn rest(direction: Direction, bytes: &Bytes, begin: Mark, taken: usize) -> Option<Piece> {
    let rest = bytes.get(taken..).filter(|rest| !rest.is_empty())?;
    let at = begin.behind(taken as u64);
    Some(Piece {
        direction,
        offset: at.offset,
        content: Content::Bytes(bytes.slice_ref(rest)),
        moment: at.moment,
    })
}

impl Parser for Http1 {
    fn piece(&mut self, piece: Piece, out: &mut Vec<Step>) -> Flow {
        let moment = piece.moment;
        match self.step(piece, out) {
            Flow::Continue if self.strikes >= MAX_STRIKES => {
                let at = Mark {
                    offset: self.requests.begin,
                    moment,
                };
                self.break_all(at, Broken::Invalid, Broken::Invalid, out);
                Flow::Rejected
            }
            flow => flow,
        }
    }

    fn tick(&mut self, now_ns: u64, out: &mut Vec<Step>) {
        let waited = |since: Option<u64>, limit: u64| since.is_some_and(|since| now_ns.saturating_sub(since) >= limit);
        if waited(self.early.since_ns(), EARLY_NS) {
            self.unmatched(out);
        }
        let last = self.responses.last.map(|last| last.moment.time_ns);
        if matches!(self.responses.state, State::Blind) && waited(last, SILENCE_NS) {
            self.blind_response_ended(out);
            self.responses.state = State::Lost;
        }
    }

    fn end(&mut self, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        if !self.early.is_empty() {
            self.unmatched(out);
        }
        if reason == Broken::Closed && self.responses.ends_with_connection() {
            self.responses.state = State::Idle;
            self.response_ended(self.responses.last.unwrap_or(at), out);
        } else if matches!(self.responses.state, State::Blind) {
            self.blind_response_ended(out);
        }
        self.break_all(at, reason, reason, out);
    }

    fn open(&self) -> usize {
        self.pending.len()
    }

    fn next_exchange(&self) -> Exchange {
        self.next
    }

    fn carried(&mut self) -> Option<Exchange> {
        self.carried.take()
    }

    fn successor(&self) -> Option<(&'static str, Direction)> {
        self.websocket.then_some((websocket::NAME, self.asks))
    }

    fn wants_every_operation(&self) -> bool {
        self.every_operation
    }
}
