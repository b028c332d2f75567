//! One connection: what was asked and awaits its answer.
use std::collections::VecDeque;

use smol_str::{SmolStr, format_smolstr};

use super::answer::{self, Stored};
use super::batch::{self, Batch};
use super::head::{self, Head};
use super::reader::{Event, Reader};
use super::topics::{Topic, Walk};
use crate::capture::Direction;
use crate::protocol::handled::Handled;
use crate::protocol::message::{Action, Content as Known, Detail, Identity, Message, Outcome, Settled};
use crate::protocol::{Broken, Exchange, Flow, Id, Limits, Mark, Parser, Start, Step};
use crate::stream::{Content, Piece};

const SYSTEM: &str = "kafka";
/// Requests of a connection that await their answers. Clients send no more than a few.
const MAX_PENDING: usize = 256;
/// Offences against the protocol before it is called a wrong guess.
const MAX_STRIKES: u32 = 8;
/// Answers that came before what they answer and are kept, and how long, nanoseconds: threads report within microseconds of each
/// other.
const MAX_EARLY: usize = 16;
const EARLY_NS: u64 = 200_000_000;
/// Highest versions of what is read that are known.
const MAX_PRODUCE: i16 = 13;
const MAX_FETCH: i16 = 18;
/// How a broker that copies from another calls itself.
const FOLLOWER: &str = "-fetcher-";

/// A connection.
pub(super) struct Kafka {
    handled: Handled,
    limits: Limits,
    /// The way of requests.
    client: Direction,
    fresh: bool,
    /// What the client calls itself.
    name: SmolStr,
    asks: Option<Box<Reader>>,
    answers: Option<Box<Reader>>,
    pending: VecDeque<Pending>,
    /// The number of the request that passes, or passed last.
    asking: i32,
    /// What is being answered, where that is kept.
    answering: Option<Pending>,
    early: VecDeque<Early>,
    strikes: u32,
}

/// A request.
#[derive(Debug)]
struct Pending {
    correlation: i32,
    key: i16,
    version: i16,
    /// Batches that are to be stored.
    sent: Vec<Sent>,
}

#[derive(Debug)]
struct Sent {
    exchange: Exchange,
    topic: Topic,
    partition: i32,
    mark: batch::Mark,
}

/// An answer to what has not been seen yet.
#[derive(Debug)]
struct Early {
    correlation: i32,
    body: Vec<u8>,
    begin: Mark,
    end: Mark,
}

impl Kafka {
    pub(super) fn new(start: &Start) -> Self {
        Self {
            handled: Handled::new(start),
            limits: start.limits,
            client: start.direction,
            fresh: start.from_beginning,
            name: SmolStr::default(),
            asks: None,
            answers: None,
            pending: VecDeque::new(),
            asking: -1,
            answering: None,
            early: VecDeque::new(),
            strikes: 0,
        }
    }

    fn take_reader(&mut self, asks: bool, at: Mark) -> Box<Reader> {
        let reader = if asks { &mut self.asks } else { &mut self.answers };
        let begins = asks || (self.fresh && at.offset == 0);
        reader.take().unwrap_or_else(|| Box::new(Reader::new(asks, begins)))
    }

    fn give_back(&mut self, asks: bool, reader: Box<Reader>) {
        if asks {
            self.asks = Some(reader);
        } else {
            self.answers = Some(reader);
        }
    }

    fn bytes(&mut self, asks: bool, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Flow {
        let mut reader = self.take_reader(asks, at);
        let flow = self.read(&mut reader, asks, bytes, at, out);
        self.give_back(asks, reader);
        flow
    }

    fn read(&mut self, reader: &mut Reader, asks: bool, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Flow {
        let mut taken = 0_usize;
        loop {
            let lost = reader.is_lost();
            let pending = &self.pending;
            let known = |correlation| pending.iter().any(|one| one.correlation == correlation);
            let (more, event) = reader.read(bytes.get(taken..).unwrap_or_default(), at.behind(taken as u64), known);
            taken = taken.saturating_add(more);
            if lost && !reader.is_lost() {
                out.push(Step::Count("protocol.kafka.resync"));
            }
            match event {
                Event::More if taken >= bytes.len() => return Flow::Continue,
                Event::More => {}
                Event::Asked(head) => self.asked(head, reader, at, out),
                Event::Answers(correlation) => self.answers(correlation, reader, at, out),
                Event::Batch(batch, begin, end) if asks => {
                    let unanswered = reader.walked().is_some_and(|walk| walk.unanswered);
                    self.produced(*batch, begin, end, unanswered, out);
                }
                Event::Batch(batch, begin, end) => self.fetched(&batch, begin, end, out),
                Event::Over(_, end) if asks => {
                    let unanswered = reader.walked().is_some_and(|walk| walk.unanswered);
                    self.asked_all(unanswered, end, out);
                }
                Event::Over(begin, end) => self.answered(reader.body(), begin, end, out),
                Event::Odd => out.push(Step::Count("protocol.kafka.odd")),
                Event::Lost => self.lost(asks, at, out),
                Event::Invalid => {
                    let flow = self.offended(asks, at, out);
                    if flow != Flow::Continue {
                        return flow;
                    }
                }
                Event::Hopeless => return self.reject(at, out),
            }
        }
    }

    fn hole(&mut self, asks: bool, length: u64, at: Mark, out: &mut Vec<Step>) -> Flow {
        let mut reader = self.take_reader(asks, at);
        if matches!(reader.hole(length, at), Event::Lost) {
            self.lost(asks, at, out);
        }
        let flow = self.read(&mut reader, asks, &[], at.behind(length), out);
        self.give_back(asks, reader);
        flow
    }

    fn asked(&mut self, head: Head, reader: &mut Reader, at: Mark, out: &mut Vec<Step>) {
        if self.pending.len() >= MAX_PENDING
            && let Some(oldest) = self.pending.pop_front()
        {
            out.push(Step::Count("protocol.kafka.unsettled_full"));
            for sent in oldest.sent {
                self.handled.broken(sent.exchange, at, Broken::Unseen, out);
            }
        }
        match head.key {
            head::PRODUCE if head.version > MAX_PRODUCE => out.push(Step::Count("protocol.kafka.version_unknown")),
            head::FETCH if head.version > MAX_FETCH => out.push(Step::Count("protocol.kafka.version_unknown")),
            head::PRODUCE => reader.walk(Walk::new(head.key, head.version)),
            _ => {}
        }
        if self.name != head.client {
            self.name = head.client;
        }
        self.asking = head.correlation;
        self.pending.push_back(Pending {
            correlation: head.correlation,
            key: head.key,
            version: head.version,
            sent: Vec::new(),
        });
    }

    /// A request has passed.
    fn asked_all(&mut self, unanswered: bool, end: Mark, out: &mut Vec<Step>) {
        let asking = self.asking;
        if unanswered {
            // What it sent is over already.
            self.pending
                .pop_back_if(|asked| asked.correlation == asking && asked.sent.is_empty());
            return;
        }
        let now_ns = end.moment.time_ns;
        self.early
            .retain(|early| now_ns.saturating_sub(early.end.moment.time_ns) < EARLY_NS);
        let place = self.early.iter().position(|early| early.correlation == asking);
        let Some(early) = place.and_then(|place| self.early.remove(place)) else {
            return;
        };
        // It is read as if it came now, with its own places.
        let answering = self.answering.take();
        let mut reader = Reader::new(false, true);
        self.read(&mut reader, false, &early.body, early.begin, out);
        self.answering_lost(early.end, Broken::Unseen, out);
        self.answering = answering;
    }

    /// A batch was sent.
    fn produced(&mut self, batch: Batch, begin: Mark, end: Mark, unanswered: bool, out: &mut Vec<Step>) {
        if batch.head.is_control() {
            return;
        }
        let identities = batch.identities(None).collect();
        let message = self.message(Action::Send, &batch, identities);
        let exchange = self.handled.whole(message, self.client, begin, end, out);
        if unanswered {
            self.handled.unsettled(exchange, end, out);
            return;
        }
        let full = self.handled.is_full();
        let asking = self.asking;
        let asked = self.pending.back_mut().filter(|asked| asked.correlation == asking);
        match asked.filter(|_| !full) {
            Some(asked) => asked.sent.push(Sent {
                exchange,
                mark: batch.mark(),
                partition: batch.partition,
                topic: batch.topic,
            }),
            None => {
                out.push(Step::Count("protocol.kafka.unsettled_full"));
                self.handled.unsettled(exchange, end, out);
            }
        }
    }

    /// A batch came.
    fn fetched(&mut self, batch: &Batch, begin: Mark, end: Mark, out: &mut Vec<Step>) {
        if batch.head.is_control() {
            return;
        }
        let identities = batch.identities(Some(batch.head.offset)).collect();
        let message = self.message(Action::Deliver, batch, identities);
        let exchange = self.handled.whole(message, self.client, begin, end, out);
        self.handled.unsettled(exchange, end, out);
    }

    fn message(&self, action: Action, batch: &Batch, identities: Vec<Identity>) -> Message {
        let mut details = Vec::new();
        if !self.name.is_empty() {
            details.push(("messaging.client.id", Detail::Text(self.name.clone())));
        }
        let partition = Detail::Text(format_smolstr!("{}", batch.partition));
        details.push(("messaging.destination.partition.id", partition));
        if action == Action::Deliver {
            let offset = u64::try_from(batch.head.offset).unwrap_or_default();
            details.push(("messaging.kafka.offset", Detail::Number(offset)));
        }
        if batch.head.is_new && batch.head.count != 1 {
            let count = u64::try_from(batch.head.count).unwrap_or_default();
            details.push(("messaging.batch.message_count", Detail::Number(count)));
        }
        if let Some(name) = batch.head.compression_name() {
            details.push(("clew.messaging.kafka.compression", Detail::Text(name.into())));
        }
        let mut content = Known {
            identities,
            topic: (batch.topic.id != Id::default()).then_some(batch.topic.id),
            ..Known::default()
        };
        match &batch.records.only {
            Some(only) => {
                content.bytes = Some(only.bytes.unwrap_or(0));
                content.headers = only.headers.clone();
                if only.bytes.is_none() {
                    details.push(("messaging.kafka.message.tombstone", Detail::Is(true)));
                }
                if let Some(key) = only.key.as_ref().filter(|_| self.limits.values) {
                    details.push(("messaging.kafka.message.key", Detail::Text(key.clone())));
                }
            }
            None if batch.records.is_shared => {
                content.headers = batch.records.contexts.first().cloned().unwrap_or_default();
            }
            None => content.contexts.clone_from(&batch.records.contexts),
        }
        content.details = details;
        Message {
            system: SYSTEM,
            action,
            operation: if action == Action::Send { "send" } else { "poll" },
            destination: batch.topic.name.clone(),
            is_temporary: false,
            content,
        }
    }

    /// An answer begins, somewhere in what begins at `at`.
    fn answers(&mut self, correlation: i32, reader: &mut Reader, at: Mark, out: &mut Vec<Step>) {
        self.answering_lost(at, Broken::Unseen, out);
        let place = self.pending.iter().position(|one| one.correlation == correlation);
        let Some(place) = place else {
            reader.keep();
            self.answering = Some(Pending {
                correlation,
                key: -1,
                version: 0,
                sent: Vec::new(),
            });
            return;
        };
        // A broker answers in the order in which it was asked: answers to those before were not seen.
        for missed in self.pending.drain(..place).collect::<Vec<_>>() {
            for sent in missed.sent {
                self.handled.broken(sent.exchange, at, Broken::Unseen, out);
            }
        }
        let Some(asked) = self.pending.pop_front() else { return };
        let is_copy = self.name.contains(FOLLOWER);
        match asked.key {
            head::FETCH if asked.version <= MAX_FETCH && !is_copy => reader.walk(Walk::new(asked.key, asked.version)),
            head::PRODUCE if !asked.sent.is_empty() => {
                reader.keep();
                self.answering = Some(asked);
            }
            head::METADATA if asked.version >= answer::WITH_IDS => {
                reader.keep();
                self.answering = Some(asked);
            }
            _ => {}
        }
    }

    /// An answer has passed, of which `body` was kept.
    fn answered(&mut self, body: &[u8], begin: Mark, end: Mark, out: &mut Vec<Step>) {
        let Some(mut asked) = self.answering.take() else { return };
        match asked.key {
            head::PRODUCE => {
                let version = asked.version;
                let handled = &mut self.handled;
                answer::stored(version, body, |topic, partition, stored| {
                    let is = |sent: &Sent| sent.partition == partition && sent.topic == topic;
                    if let Some(place) = asked.sent.iter().position(is) {
                        let sent = asked.sent.remove(place);
                        handled.settled(sent.exchange, outcome(&sent, stored), begin.moment, end, out);
                    }
                });
                for sent in asked.sent {
                    self.handled.broken(sent.exchange, end, Broken::Unseen, out);
                }
            }
            head::METADATA => answer::named(asked.version, body, |id, name| {
                out.push(Step::Named {
                    id,
                    name: SmolStr::new(name),
                });
            }),
            // What it answers may be told of in a moment. What is longer is cut off and would be of no use.
            _ => {
                let length = end.offset.saturating_sub(begin.offset);
                if length != (body.len() as u64).saturating_add(8) {
                    out.push(Step::Count("protocol.kafka.unmatched"));
                    return;
                }
                if self.early.len() >= MAX_EARLY {
                    self.early.pop_front();
                }
                let size = u32::try_from(body.len().saturating_add(4)).unwrap_or(u32::MAX);
                let head = [size.to_be_bytes(), asked.correlation.to_be_bytes()];
                self.early.push_back(Early {
                    correlation: asked.correlation,
                    body: [head.concat().as_slice(), body].concat(),
                    begin,
                    end,
                });
            }
        }
    }

    /// Frames of a direction may have been missed.
    fn lost(&mut self, asks: bool, at: Mark, out: &mut Vec<Step>) {
        if !asks {
            self.answering_lost(at, Broken::Unseen, out);
        }
    }

    fn answering_lost(&mut self, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        for sent in self.answering.take().into_iter().flat_map(|asked| asked.sent) {
            self.handled.broken(sent.exchange, at, reason, out);
        }
    }

    fn offended(&mut self, asks: bool, at: Mark, out: &mut Vec<Step>) -> Flow {
        let at = Mark { offset: 0, ..at };
        out.push(Step::Count("protocol.kafka.invalid"));
        self.lost(asks, at, out);
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
        self.answering_lost(at, reason, out);
        for asked in std::mem::take(&mut self.pending) {
            for sent in asked.sent {
                self.handled.broken(sent.exchange, at, reason, out);
            }
        }
    }
}

fn outcome(sent: &Sent, stored: Stored) -> Outcome {
    match stored {
        Ok(offset) => Outcome {
            settled: Some(Settled::Accepted),
            identity: sent.mark.stored(offset),
            ..Outcome::default()
        },
        Err(failure) => Outcome {
            settled: Some(Settled::Rejected),
            error: Some(Box::new(failure)),
            ..Outcome::default()
        },
    }
}

impl Parser for Kafka {
    fn piece(&mut self, piece: Piece, out: &mut Vec<Step>) -> Flow {
        let (asks, at) = (piece.direction == self.client, Mark::of(&piece));
        match piece.content {
            Content::Bytes(bytes) => return self.bytes(asks, &bytes, at, out),
            Content::Unseen(length) => return self.hole(asks, length, at, out),
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

    fn wants_whole_operations(&self) -> bool {
        true
    }
}
