//! One connection on its way through `stream`, `protocol` and `span`.
use std::sync::Arc;

use super::{Output, is_ending, pass};
use crate::attach::Verdict;
use crate::capture::{Connection, Data, Endpoints, Moment, Pid};
use crate::discover::Process;
use crate::protocol::{Broken, Conversation, Limits, Mark, Recognition, Step};
use crate::span::{ConnFacts, SpanEvent, Spans};
use crate::stream::{Piece, Stream};
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
    /// Who acted last.
    owner: Option<Arc<Process>>,
    last: Moment,
    /// The verdict the kernel was told.
    told: Option<Verdict>,
    reset: Option<i32>,
    exited: Option<u32>,
}

impl Live {
    /// `connect_ns` is how long it took to open, where that is known already.
    pub(super) fn new(connection: &Connection, connect_ns: Option<u64>, limits: Limits) -> Self {
        let facts = ConnFacts {
            connect_ns,
            ..ConnFacts::from(connection)
        };
        Self {
            facts: Arc::new(facts),
            stream: Stream::new(starts_late(connection)),
            conversation: Conversation::new(limits).midway(connection.midway),
            owner: None,
            last: connection.moment,
            told: None,
            reset: None,
            exited: None,
        }
    }

    pub(super) fn facts(&self) -> &ConnFacts {
        &self.facts
    }

    pub(super) fn is_unix(&self) -> bool {
        matches!(self.facts.endpoints, Endpoints::Unix { .. })
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
        self.conversation.open()
    }

    /// Whether something is missing or unanswered.
    pub(super) fn awaits(&self) -> bool {
        !self.stream.idle() || self.open() > 0
    }

    /// The handshake is complete; it took so long.
    pub(super) fn connected(&mut self, connect_ns: u64) {
        Arc::make_mut(&mut self.facts).connect_ns = Some(connect_ns);
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
        self.stream
            .data(data, &mut passing.pieces, &mut |name| out.counts.push(name));
        self.pieces(passing, spans, traces);
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
    }

    /// What the kernel should copy, if it has not been told.
    pub(super) fn verdict(&mut self) -> Option<Verdict> {
        let verdict = match self.conversation.recognized() {
            Recognition::Unknown => Some(Verdict::Drop),
            Recognition::Known(_) if self.conversation.wants_whole_operations() => Some(Verdict::Whole),
            Recognition::Known(_) if self.conversation.wants_every_operation() => Some(Verdict::Every),
            Recognition::Known(_) | Recognition::Undecided => None,
        };
        let new = verdict.filter(|_| verdict != self.told)?;
        self.told = Some(new);
        Some(new)
    }

    fn pieces(&mut self, passing: &mut Passing, spans: &mut Spans, traces: &mut Traces) {
        let mut pieces = std::mem::take(&mut passing.pieces);
        for piece in pieces.drain(..) {
            // The stage below ends exchanges with the reason it sees; a process that is over is the better one.
            let reason = self.exited.filter(|_| is_ending(&piece.content));
            self.conversation.piece(piece, &mut passing.steps);
            if let Some(status) = reason {
                let steps = std::mem::take(&mut passing.steps);
                passing.steps = steps.into_iter().map(|step| of_exited(step, status)).collect();
            }
            self.steps(passing, spans, traces);
        }
        passing.pieces = pieces;
    }

    fn steps(&self, passing: &mut Passing, spans: &mut Spans, traces: &mut Traces) {
        let steps = passing.steps.drain(..);
        let Some(process) = &self.owner else { return };
        for step in steps {
            spans.step(&self.facts, process, step, &mut passing.events);
            pass(&mut passing.events, traces);
        }
    }
}

fn of_exited(step: Step, status: u32) -> Step {
    match step {
        Step::Broken { exchange, at, body, .. } => Step::Broken {
            exchange,
            at,
            reason: Broken::Exited(status),
            body,
        },
        other => other,
    }
}

/// Whether the first bytes of the connection passed before it was seen. TCP offsets say so themselves: the first data has
/// one that is not 0. To wait for what came before would only delay.
const fn starts_late(connection: &Connection) -> bool {
    connection.midway || !connection.opened_here
}
