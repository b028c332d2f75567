//! The plaintext of an encrypted connection: a second layer, which passes the same stages.
use std::collections::VecDeque;
use std::sync::Arc;

use crate::capture::{ConnId, Data, Direction, Moment, Plain, SessionId};
use crate::protocol::tls::Handshake;
use crate::protocol::{Broken, Conversation, Exchange, Limits, Mark, Request, Step};
use crate::span::{ConnFacts, Layer};
use crate::stream::{Piece, Stream};

/// Where exchanges of the plaintext are numbered from: the connection may have had others before it was encrypted.
const FIRST: Exchange = Exchange(1 << 32);
/// Calls of a direction whose place on the wire is remembered: the head of a request ends in one of the last.
const MOST_RECORDS: usize = 64;

/// One session on its connection.
pub(super) struct Secured {
    pub(super) session: SessionId,
    /// The number of its first exchange.
    first: Exchange,
    pub(super) facts: Arc<ConnFacts>,
    pub(super) stream: Stream,
    pub(super) conversation: Conversation,
    ingress: Side,
    egress: Side,
}

#[derive(Default)]
struct Side {
    /// Offset of the next byte of plaintext.
    next: u64,
    /// Where calls ended: in the plaintext, and on the wire.
    records: VecDeque<(u64, u64)>,
}

impl Secured {
    pub(super) fn new(
        session: SessionId,
        fresh: bool,
        facts: &ConnFacts,
        limits: Limits,
        first: Option<Exchange>,
    ) -> Self {
        let first = first.unwrap_or(FIRST);
        let layer = if fresh { Layer::Plain } else { Layer::PlainMidway };
        Self {
            session,
            facts: Arc::new(ConnFacts { layer, ..facts.clone() }),
            // The kernel side counts each session from where it was first seen.
            stream: Stream::new(false),
            conversation: Conversation::new(limits).midway(!fresh).counting_from(first),
            first,
            ingress: Side::default(),
            egress: Side::default(),
        }
    }

    /// What the handshake that began it came to, as far as it is known.
    pub(super) fn shook_hands(&mut self, handshake: &Handshake) {
        let known = self.facts.handshake.as_ref();
        if known.is_none_or(|(_, known)| known.established != handshake.established) {
            Arc::make_mut(&mut self.facts).handshake = Some((self.first, Box::new(handshake.clone())));
        }
    }

    pub(super) fn plain(&mut self, plain: Plain, pieces: &mut Vec<Piece>, counts: &mut dyn FnMut(&'static str)) {
        let Plain { wire, data, .. } = plain;
        let side = self.side(data.direction);
        let end = data.offset.saturating_add(data.length);
        side.next = side.next.max(end);
        if let Some(wire) = wire {
            side.records.push_back((end, wire));
            if side.records.len() > MOST_RECORDS {
                side.records.pop_front();
            }
        }
        self.stream.data(data, pieces, counts);
    }

    /// A direction of the connection ended, and with it that of the plaintext.
    pub(super) fn ended(&mut self, data: &Data, pieces: &mut Vec<Piece>, counts: &mut dyn FnMut(&'static str)) {
        let end = Data {
            offset: self.side(data.direction).next,
            length: 0,
            payload: bytes::Bytes::new(),
            ..data.clone()
        };
        self.stream.data(end, pieces, counts);
    }

    pub(super) fn end(&mut self, moment: Moment, reason: Broken, steps: &mut Vec<Step>) {
        self.conversation.end(Mark { offset: 0, moment }, reason, steps);
    }

    /// Notes on a request where its head ended on the wire.
    pub(super) fn place(&mut self, request: &mut Request) {
        let end = request.head_end.offset;
        let records = &self.side(request.direction).records;
        request.record = records.iter().find(|(plain, _)| *plain >= end).map(|(_, wire)| *wire);
    }

    /// What the kernel is told verdicts on it under.
    pub(super) const fn name(&self) -> ConnId {
        ConnId(self.session.0)
    }

    const fn side(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }
}
