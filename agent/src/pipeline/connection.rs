//! One connection on its way through `stream`, `protocol` and `span`.
use std::sync::Arc;

use super::openings::Took;
use super::secured::{Secured, Since};
use super::{Output, is_ending, pass};
use crate::attach::Verdict;
use crate::capture::{
    ConnId, Connection, Context, Data, Direction, Endpoints, Moment, Pid, Plain, SessionId, Transport,
};
use crate::discover::Process;
use crate::protocol::{Broken, Conversation, Exchange, Limits, Mark, Recognition, ResponseHead, Step, tls};
use crate::span::{ConnFacts, SpanEvent, Spans};
use crate::stream::{Content, Piece, Stream};
use crate::trace::Traces;

/// What is on its way between the stages. Empty between events, and kept for its memory.
#[derive(Default)]
pub(super) struct Passing {
    pieces: Vec<Piece>,
    steps: Vec<Step>,
    events: Vec<SpanEvent>,
}

pub(super) struct Live {
    facts: Arc<ConnFacts>,
    stream: Stream,
    conversation: Conversation,
    /// This end was seen opening it.
    opened_here: bool,
    /// It brings requests, as far as its beginning tells.
    brings: Option<bool>,
    /// It is known whether it brings work.
    judged: bool,
    /// Who acted last.
    owner: Option<Arc<Process>>,
    last: Moment,
    /// How the transport did at the last operation that received, and at the last that sent.
    transport: [Transport; 2],
    /// The verdict the kernel was told.
    told: Option<Verdict>,
    /// What passes it encrypted, as far as that is seen.
    secured: Option<Box<Secured>>,
    /// The connection is encrypted: its own bytes are of no protocol.
    encrypted: bool,
    /// The verdict the kernel was told on the plaintext.
    told_plain: Option<Verdict>,
    /// A ClientHello nobody has asked for yet.
    hello: Option<Box<tls::Hello>>,
    /// What a handshake came to that was told.
    handshake: Option<Box<tls::Handshake>>,
    limits: Limits,
    reset: Option<i32>,
    exited: Option<u32>,
}

impl Live {
    /// `took` is how long it took to open or to be accepted, where that is known already. It may be `older` than the agent.
    pub(super) fn new(connection: &Connection, took: Option<Took>, older: bool, limits: Limits) -> Self {
        let mut facts = ConnFacts::from(connection);
        if let Some(took) = took {
            begin(&mut facts, took);
        }
        facts.asks = asks(connection, older);
        let conversation = if matches!(facts.endpoints, Endpoints::Udp { .. }) {
            Conversation::datagrams(limits)
        } else {
            Conversation::new(limits).midway(connection.midway).asking(facts.asks)
        };
        Self {
            facts: Arc::new(facts),
            stream: Stream::new(starts_late(connection)),
            conversation,
            opened_here: connection.opened_here,
            brings: None,
            judged: false,
            owner: None,
            last: connection.moment,
            transport: [Transport::default(); 2],
            told: None,
            secured: None,
            encrypted: false,
            told_plain: None,
            hello: None,
            handshake: None,
            limits,
            reset: None,
            exited: None,
        }
    }

    pub(super) fn facts(&self) -> &ConnFacts {
        &self.facts
    }

    /// Whether it is this one.
    pub(super) fn is_same(&self, connection: &Connection) -> bool {
        let facts = &self.facts;
        facts.endpoints == connection.endpoints && facts.netns == connection.netns && facts.isn == connection.isn
    }

    /// See [`Endpoints::plain_context`].
    pub(super) fn plain_context(&self, offset: u64) -> Option<Context> {
        self.facts.endpoints.plain_context(offset)
    }

    pub(super) fn is_unix(&self) -> bool {
        matches!(self.facts.endpoints, Endpoints::Unix { .. })
    }

    pub(super) fn is_datagram(&self) -> bool {
        matches!(self.facts.endpoints, Endpoints::Udp { .. })
    }

    pub(super) fn pid(&self) -> Option<Pid> {
        self.owner.as_ref().map(|owner| owner.pid)
    }

    pub(super) const fn last(&self) -> Moment {
        self.last
    }

    pub(super) const fn last_ns(&self) -> u64 {
        self.last.time_ns
    }

    pub(super) fn open(&self) -> usize {
        let secured = self.secured.as_ref();
        self.conversation.open() + secured.map_or(0, |secured| secured.conversation.open())
    }

    /// Whether it brings requests: it was accepted, or its first operation, if this is one in `direction`, received.
    pub(super) fn brings(&mut self, direction: Option<Direction>) -> bool {
        let accepted = self.facts.accept_ns.is_some();
        let first = || !self.opened_here && direction == Some(Direction::Ingress);
        accepted || *self.brings.get_or_insert_with(first)
    }

    /// Whether it has just turned out that its process may take work by it, which it may hand to others.
    pub(super) fn brings_work(&mut self) -> bool {
        if self.judged {
            return false;
        }
        let secured = self.secured.as_ref();
        let conversation = secured.map_or(&self.conversation, |secured| &secured.conversation);
        self.judged = conversation.takes_work();
        self.judged && !self.brings(None)
    }

    /// How the transport did at the last operation in a direction.
    pub(super) const fn transport(&self, direction: Direction) -> Transport {
        self.transport[side(direction)]
    }

    /// A ClientHello that passed since this was asked last.
    pub(super) const fn take_hello(&mut self) -> Option<Box<tls::Hello>> {
        self.hello.take()
    }

    /// The session that carries its plaintext.
    pub(super) fn session(&self) -> Option<SessionId> {
        self.secured.as_ref().map(|secured| secured.session)
    }

    /// A session of a library that tells of all plaintext is on it.
    pub(super) fn tied(&mut self) {
        self.conversation.tied();
    }

    /// Whether something is missing or unanswered.
    pub(super) fn awaits(&self) -> bool {
        !self.stream.idle() || self.open() > 0 || self.secured.as_ref().is_some_and(|secured| !secured.stream.idle())
    }

    /// The handshake is complete, or the connection was accepted; it took so long.
    pub(super) fn began(&mut self, took: Took) {
        begin(Arc::make_mut(&mut self.facts), took);
        if let Some(secured) = &mut self.secured {
            begin(Arc::make_mut(&mut secured.facts), took);
        }
    }

    /// The connection was reset, with this `errno`.
    pub(super) const fn reset(&mut self, errno: i32) {
        self.reset = Some(errno);
    }

    /// The process that acted last is over.
    pub(super) const fn exited(&mut self, status: u32) {
        self.exited = Some(status);
    }

    /// Why the connection is over, now that it is.
    pub(super) fn reason(&self, error: i32) -> Broken {
        let failed = self.reset.or((error != 0).then_some(error));
        match (self.exited, failed) {
            (Some(status), _) => Broken::Exited(status),
            (None, Some(errno)) => Broken::Failed(errno),
            (None, None) => Broken::Closed,
        }
    }

    pub(super) fn data(
        &mut self,
        data: Data,
        process: &Arc<Process>,
        spans: &mut Spans,
        traces: &mut Traces,
        passing: &mut Passing,
        out: &mut Output,
    ) {
        if self.pid() != Some(process.pid) {
            self.exited = None;
        }
        self.owner = Some(Arc::clone(process));
        self.last = data.moment;
        self.transport[side(data.direction)] = data.transport;
        if self.is_datagram() {
            // There is no order that could be waited for.
            passing.pieces.push(datagram(data));
            self.pieces(passing, spans, traces);
            return;
        }
        let ended = (data.end || data.error != 0).then(|| data.clone());
        self.stream
            .data(data, &mut passing.pieces, &mut |name| out.counts.push(name));
        self.pieces(passing, spans, traces);
        if let (Some(data), Some(secured)) = (ended, &mut self.secured) {
            secured.ended(&data, &mut passing.pieces, &mut |name| out.counts.push(name));
            self.plain_pieces(passing, spans, traces);
        }
    }

    /// Plaintext of a session passed.
    #[expect(clippy::too_many_arguments, reason = "the stages it passes are the pipeline's")]
    pub(super) fn plain(
        &mut self,
        plain: Plain,
        since: Since,
        process: &Arc<Process>,
        spans: &mut Spans,
        traces: &mut Traces,
        passing: &mut Passing,
        out: &mut Output,
    ) {
        self.owner = Some(Arc::clone(process));
        self.last = plain.data.moment;
        self.encrypted = true;
        if self.session() != Some(plain.session) {
            let first = self
                .secured
                .as_ref()
                .map(|secured| secured.conversation.next_exchange());
            // Another session took its place: what it had left open was not seen to end.
            self.end_secured(plain.data.moment, Broken::Unseen, spans, traces, passing, out);
            self.told_plain = None;
            let secured = Secured::new(plain.session, since, &self.facts, self.limits, first);
            self.secured = Some(Box::new(secured));
            // The connection has no span of its own where its content is seen.
            self.conversation.seen_through(&mut passing.steps);
            self.steps(passing, spans, traces);
        }
        if let Some(secured) = &mut self.secured {
            if let Some(handshake) = self.conversation.handshake() {
                secured.shook_hands(handshake);
            }
            secured.plain(plain, &mut passing.pieces, &mut |name| out.counts.push(name));
        }
        self.plain_pieces(passing, spans, traces);
    }

    /// The plaintext ends.
    fn end_secured(
        &mut self,
        moment: Moment,
        reason: Broken,
        spans: &mut Spans,
        traces: &mut Traces,
        passing: &mut Passing,
        out: &mut Output,
    ) {
        let Some(secured) = &mut self.secured else { return };
        secured
            .stream
            .flush(&mut passing.pieces, &mut |name| out.counts.push(name));
        self.plain_pieces(passing, spans, traces);
        if let Some(secured) = &mut self.secured {
            secured.end(moment, reason, &mut passing.steps);
            out.closed.push(secured.name());
        }
        self.plain_steps(passing, spans, traces);
    }

    fn plain_pieces(&mut self, passing: &mut Passing, spans: &mut Spans, traces: &mut Traces) {
        let mut pieces = std::mem::take(&mut passing.pieces);
        for piece in pieces.drain(..) {
            let Some(secured) = &mut self.secured else { break };
            let reason = self.exited.filter(|_| is_ending(&piece.content));
            secured.conversation.piece(piece, &mut passing.steps);
            if let Some(status) = reason {
                name_exit(&mut passing.steps, status);
            }
            self.plain_steps(passing, spans, traces);
        }
        passing.pieces = pieces;
    }

    fn plain_steps(&mut self, passing: &mut Passing, spans: &mut Spans, traces: &mut Traces) {
        let steps = passing.steps.drain(..);
        let (Some(process), Some(secured)) = (&self.owner, &mut self.secured) else {
            return;
        };
        for mut step in steps {
            if let Step::Request(request) = &mut step {
                secured.place(request);
            }
            spans.step(&secured.facts, process, step, &mut passing.events);
            pass(&mut passing.events, traces);
        }
    }

    pub(super) fn tick(
        &mut self,
        now_ns: u64,
        spans: &mut Spans,
        traces: &mut Traces,
        passing: &mut Passing,
        out: &mut Output,
    ) {
        if !self.stream.idle() {
            self.stream
                .tick(now_ns, &mut passing.pieces, &mut |name| out.counts.push(name));
            self.pieces(passing, spans, traces);
        }
        self.conversation.tick(now_ns, &mut passing.steps);
        self.steps(passing, spans, traces);
        if let Some(secured) = &mut self.secured {
            if !secured.stream.idle() {
                secured
                    .stream
                    .tick(now_ns, &mut passing.pieces, &mut |name| out.counts.push(name));
                self.plain_pieces(passing, spans, traces);
            }
            if let Some(secured) = &mut self.secured {
                secured.conversation.tick(now_ns, &mut passing.steps);
            }
            self.plain_steps(passing, spans, traces);
        }
    }

    /// Everything on the connection ends.
    pub(super) fn end(
        &mut self,
        moment: Moment,
        reason: Broken,
        spans: &mut Spans,
        traces: &mut Traces,
        passing: &mut Passing,
        out: &mut Output,
    ) {
        self.stream
            .flush(&mut passing.pieces, &mut |name| out.counts.push(name));
        self.pieces(passing, spans, traces);
        // Who closed a connection is not told; the exchange is ended by whoever acted on it last.
        let moment = Moment {
            time_ns: moment.time_ns.max(self.last.time_ns),
            ..self.last
        };
        self.conversation
            .end(Mark { offset: 0, moment }, reason, &mut passing.steps);
        self.steps(passing, spans, traces);
        self.end_secured(moment, reason, spans, traces, passing, out);
    }

    /// What the kernel should copy of the connection's own bytes, if it has not been told.
    pub(super) fn verdict(&mut self) -> Option<Verdict> {
        news(verdict(&self.conversation), &mut self.told)
    }

    /// The same of its plaintext, with what the kernel knows that by.
    pub(super) fn plain_verdict(&mut self) -> Option<(ConnId, Verdict)> {
        let secured = self.secured.as_ref()?;
        let verdict = news(verdict(&secured.conversation), &mut self.told_plain)?;
        Some((secured.name(), verdict))
    }

    fn pieces(&mut self, passing: &mut Passing, spans: &mut Spans, traces: &mut Traces) {
        let mut pieces = std::mem::take(&mut passing.pieces);
        for piece in pieces.drain(..) {
            // The stage below ends exchanges with the reason it sees; a process that is over is the better one.
            let reason = self.exited.filter(|_| is_ending(&piece.content));
            if self.encrypted && !self.conversation.tells_ciphertext() {
                // Whatever it looks like, it is ciphertext.
                continue;
            }
            self.conversation.piece(piece, &mut passing.steps);
            if let Some(status) = reason {
                name_exit(&mut passing.steps, status);
            }
            self.steps(passing, spans, traces);
        }
        passing.pieces = pieces;
    }

    fn steps(&mut self, passing: &mut Passing, spans: &mut Spans, traces: &mut Traces) {
        let steps = passing.steps.drain(..);
        let Some(process) = &self.owner else { return };
        for step in steps {
            let step = match step {
                Step::Hello(hello) => {
                    self.hello = Some(hello);
                    continue;
                }
                Step::Preface(preface) => {
                    Arc::make_mut(&mut self.facts).preface = preface;
                    continue;
                }
                Step::Response(response) => {
                    if let ResponseHead::Tls(handshake) = &response.head {
                        self.handshake = Some(handshake.clone());
                    }
                    Step::Response(response)
                }
                // What follows on the connection itself is plain (kTLS).
                Step::Withdrawn { exchange } => {
                    if let Some(handshake) = self.handshake.take() {
                        let next = Exchange(exchange.0.saturating_add(1));
                        Arc::make_mut(&mut self.facts).handshake = Some((next, handshake));
                    }
                    Step::Withdrawn { exchange }
                }
                step => step,
            };
            spans.step(&self.facts, process, step, &mut passing.events);
            pass(&mut passing.events, traces);
        }
    }
}

const fn side(direction: Direction) -> usize {
    match direction {
        Direction::Ingress => 0,
        Direction::Egress => 1,
    }
}

fn begin(facts: &mut ConnFacts, took: Took) {
    match took {
        Took::Connecting(ns) => facts.connect_ns = Some(ns),
        Took::Accepting(ns) => facts.accept_ns = Some(ns),
    }
}

/// A message, as far as it was copied.
fn datagram(data: Data) -> Piece {
    let content = if data.error != 0 {
        Content::Failed(data.error)
    } else if data.payload.is_empty() {
        Content::Unseen(data.length)
    } else {
        Content::Bytes(data.payload)
    };
    Piece {
        direction: data.direction,
        offset: data.offset,
        moment: data.moment,
        content,
    }
}

/// What the kernel should copy of a conversation.
fn verdict(conversation: &Conversation) -> Option<Verdict> {
    match conversation.recognized() {
        Recognition::Unknown => Some(Verdict::Drop),
        Recognition::Known(_) if !conversation.wants_bytes() => Some(Verdict::Drop),
        Recognition::Known(_) if conversation.wants_whole_operations() => Some(Verdict::Whole),
        Recognition::Known(_) if conversation.wants_every_operation() => Some(Verdict::Every),
        Recognition::Known(_) | Recognition::Undecided => None,
    }
}

/// The verdict, if it is another than was told.
fn news(verdict: Option<Verdict>, told: &mut Option<Verdict>) -> Option<Verdict> {
    let new = verdict.filter(|_| verdict != *told)?;
    *told = Some(new);
    Some(new)
}

/// What broke off did so because the process ended, with this status.
fn name_exit(steps: &mut [Step], status: u32) {
    for step in steps {
        if let Step::Broken { reason, .. } = step {
            *reason = Broken::Exited(status);
        }
    }
}

/// Which way the end that opened a TCP connection sends.
const fn asks(connection: &Connection, older: bool) -> Option<Direction> {
    match (&connection.endpoints, connection.opened_here) {
        (Endpoints::Tcp { .. }, true) => Some(Direction::Egress),
        // Who opened one that is older was not seen.
        (Endpoints::Tcp { .. }, false) if !older && !connection.midway => Some(Direction::Ingress),
        _ => None,
    }
}

/// Whether the first bytes of the connection passed before it was seen. TCP offsets say so themselves: the first data has
/// one that is not 0. To wait for what came before would only delay.
const fn starts_late(connection: &Connection) -> bool {
    connection.midway || !connection.opened_here
}
