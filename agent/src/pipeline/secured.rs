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

/// From where a session is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Since {
    /// Its plaintext counts from byte 0.
    pub(super) fresh: bool,
    /// Plaintext of it was seen before it was known whose it is.
    pub(super) missed: bool,
}

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
        Since { fresh, missed }: Since,
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
            stream: Stream::new(missed),
            conversation: Conversation::new(limits)
                .midway(!fresh)
                .counting_from(first)
                .asking(facts.asks.filter(|_| fresh)),
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::capture::{Actor, Endpoints, Pid};
    use crate::protocol::Recognition;
    use crate::stream::Content;

    fn facts() -> ConnFacts {
        ConnFacts {
            conn: ConnId(5),
            endpoints: Endpoints::Unix { address: 1, peer: 2 },
            netns: 1,
            isn: None,
            midway: false,
            layer: Layer::Wire,
            asks: None,
            connect_ns: Some(3),
            accept_ns: None,
            preface: crate::protocol::Preface::default(),
            handshake: None,
        }
    }

    fn secured(fresh: bool, first: Option<Exchange>) -> Secured {
        let since = Since { fresh, missed: false };
        Secured::new(SessionId(1 << 63 | 9), since, &facts(), Limits::default(), first)
    }

    fn data(direction: Direction, offset: u64, text: &'static str) -> Data {
        Data {
            conn: ConnId(5),
            moment: Moment::new(offset + 1, Actor::thread(Pid(1), 1)),
            direction,
            offset,
            length: text.len() as u64,
            payload: Bytes::from_static(text.as_bytes()),
            end: false,
            error: 0,
            transport: crate::capture::Transport::default(),
        }
    }

    /// Passes plaintext on, and what was asked with it.
    fn pass(secured: &mut Secured, data: Data, wire: Option<u64>) -> Vec<Request> {
        let (mut pieces, mut steps) = (Vec::new(), Vec::new());
        let plain = Plain {
            session: secured.session,
            wire,
            data,
        };
        secured.plain(plain, &mut pieces, &mut |count| panic!("{count} was counted"));
        for piece in pieces {
            secured.conversation.piece(piece, &mut steps);
        }
        let requests = steps.into_iter().filter_map(|step| match step {
            Step::Request(request) => Some(request),
            _ => None,
        });
        let mut requests: Vec<Request> = requests.collect();
        for request in &mut requests {
            secured.place(request);
        }
        requests
    }

    const FIRST_HALF: &str = "GET /a HTTP/1.1\r\nhost: a\r\n";
    const SECOND_HALF: &str = "\r\n";
    const ANSWER: &str = "HTTP/1.1 204 No\r\n\r\n";

    #[test]
    fn what_is_known_of_it() {
        let mut whole = secured(true, None);
        assert_eq!(whole.facts.layer, Layer::Plain);
        assert_eq!((whole.facts.conn, whole.facts.connect_ns), (ConnId(5), Some(3)));
        assert_eq!(whole.name(), ConnId(1 << 63 | 9), "verdicts are the session's");
        assert_eq!(secured(false, None).facts.layer, Layer::PlainMidway);
        let head = data(Direction::Egress, 0, "GET /a HTTP/1.1\r\n\r\n");
        let requests = pass(&mut whole, head, None);
        assert_eq!(requests[0].exchange, FIRST, "the connection's own are below");
        assert_eq!(requests[0].record, None);
        let next = whole.conversation.next_exchange();
        assert_eq!(next, Exchange(FIRST.0 + 1));
        let mut second = secured(true, Some(next));
        let requests = pass(&mut second, data(Direction::Egress, 0, "GET /b HTTP/1.1\r\n\r\n"), None);
        assert_eq!(requests[0].exchange, next);
        assert!(matches!(second.conversation.recognized(), Recognition::Known(_)));
    }

    /// The record that carried the last byte of the head tells the place, also where it carried more.
    #[test]
    fn a_head_has_its_place_on_the_wire() {
        let mut secured = secured(true, None);
        assert!(pass(&mut secured, data(Direction::Egress, 0, FIRST_HALF), Some(100)).is_empty());
        let end = FIRST_HALF.len() as u64;
        let requests = pass(&mut secured, data(Direction::Egress, end, SECOND_HALF), Some(150));
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].record, Some(150));
        // The other direction's records say nothing of it.
        pass(&mut secured, data(Direction::Ingress, 0, ANSWER), Some(70));
        let end = end + SECOND_HALF.len() as u64;
        let requests = pass(
            &mut secured,
            data(Direction::Egress, end, "GET /b HTTP/1.1\r\n\r\n"),
            Some(400),
        );
        assert_eq!(requests[0].record, Some(400));
    }

    #[test]
    fn records_are_bounded() {
        let mut secured = secured(true, None);
        for n in 0..1000 {
            pass(&mut secured, data(Direction::Egress, n, "G"), Some(n));
        }
        assert_eq!(secured.egress.records.len(), MOST_RECORDS);
        assert_eq!(secured.egress.records.back(), Some(&(1000, 999)));
        assert!(secured.ingress.records.is_empty());
    }

    /// A direction ends behind its plaintext, wherever that is on the wire.
    #[test]
    fn directions_end_with_the_connection() {
        let mut secured = secured(true, None);
        pass(&mut secured, data(Direction::Ingress, 0, ANSWER), None);
        let mut pieces = Vec::new();
        let wire = Data {
            offset: 5000,
            end: true,
            ..data(Direction::Ingress, 0, "")
        };
        secured.ended(&wire, &mut pieces, &mut |count| panic!("{count} was counted"));
        assert_eq!(pieces.len(), 1);
        assert_eq!(
            (pieces[0].offset, &pieces[0].content),
            (ANSWER.len() as u64, &Content::End)
        );
    }

    #[test]
    fn the_last_word_of_a_handshake_counts() {
        let mut secured = secured(true, Some(Exchange(8)));
        let mut handshake = Handshake::default();
        secured.shook_hands(&handshake);
        handshake.version = Some(0x0304);
        secured.shook_hands(&handshake);
        let known = |secured: &Secured| {
            secured
                .facts
                .handshake
                .clone()
                .map(|(first, known)| (first, known.version))
        };
        assert_eq!(known(&secured), Some((Exchange(8), None)), "it had come as far before");
        handshake.established = true;
        secured.shook_hands(&handshake);
        assert_eq!(known(&secured), Some((Exchange(8), Some(0x0304))));
    }
}
