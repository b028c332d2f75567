//! One connection: what is on its way in each direction, and what waits for an answer.
use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;
use serde::Deserialize;
use smol_str::{SmolStr, ToSmolStr};

use super::line::{Headers, Line, Message as Told, Origin};
use super::reader::{Event, Got, Reader};
use crate::capture::Direction;
use crate::protocol::call::Failure;
use crate::protocol::handled::{Handled, MAX_OPEN};
use crate::protocol::http1::{Fields, field};
use crate::protocol::message::{Content as Known, Detail, Identity, Message, Outcome, Settled, Side};
use crate::protocol::{Broken, Exchange, Flow, Mark, Parser, Preface, Start, Step};
use crate::stream::{Content, Piece};

const SYSTEM: &str = "nats";
/// Subscriptions of a connection that are remembered.
const MAX_SUBSCRIPTIONS: usize = 4096;
/// Offences against the protocol before it is called a wrong guess.
const MAX_STRIKES: u32 = 8;
/// How long an answer is waited for, nanoseconds.
const REPLY_NS: u64 = 10_000_000_000;
/// How long JetStream waits for an acknowledgement unless set otherwise, and as long again.
const ACK_NS: u64 = 60_000_000_000;
/// What came before what it answers and is kept.
const MAX_EARLY: usize = 64;
/// How long it is, nanoseconds.
const EARLY_NS: u64 = 200_000_000;
/// Shortest subject of answers that is taken for one that no other message has.
const MIN_UNIQUE: usize = 16;
const INBOX: &str = "_INBOX.";
const ACK: &str = "$JS.ACK.";

/// A connection.
pub(super) struct Nats {
    handled: Handled,
    /// The way of what the client says, once it is known.
    client: Option<Direction>,
    fresh: bool,
    preface: Preface,
    recognized: Direction,
    ingress: Option<Box<Reader>>,
    egress: Option<Box<Reader>>,
    /// What the server, or its cluster, calls itself.
    server: Option<SmolStr>,
    /// Queue groups by subscription, and how many of those are over.
    groups: HashMap<SmolStr, Group, RandomState>,
    groups_over: usize,
    sending: Option<Passing>,
    receiving: Option<Passing>,
    /// What waits for an answer, by whose answer and its subject.
    waiting: HashMap<(Side, SmolStr), Waiting, RandomState>,
    /// When waiting is over: those for replies, and those for acknowledgements.
    due: [VecDeque<(u64, Exchange, SmolStr)>; 2],
    early: VecDeque<Answer<'static>>,
    strikes: u32,
}

/// The queue group of a subscription.
#[derive(Debug)]
struct Group {
    name: SmolStr,
    /// The client has ended the subscription.
    over: bool,
}

/// A message of which the end is to come.
#[derive(Debug)]
struct Passing {
    told: Told,
    /// It is an exchange; else it may answer one.
    exchange: Option<Exchange>,
    begin: Mark,
    /// What the first line of its headers says went wrong.
    status: Option<SmolStr>,
}

#[derive(Debug)]
struct Waiting {
    exchange: Exchange,
    /// Its own last byte.
    end: Mark,
    subject: SmolStr,
    bytes: u64,
}

/// What may answer something that waits.
#[derive(Debug)]
struct Answer<'a> {
    side: Side,
    subject: SmolStr,
    body: Option<Cow<'a, [u8]>>,
    status: Option<SmolStr>,
    begin: Mark,
    end: Mark,
}

impl Nats {
    pub(super) fn new(start: &Start) -> Self {
        let begins = start.bytes.starts_with(b"INFO {");
        Self {
            handled: Handled::new(start),
            client: None,
            fresh: start.from_beginning || begins,
            preface: start.preface,
            recognized: start.direction,
            ingress: None,
            egress: None,
            server: None,
            groups: HashMap::default(),
            groups_over: 0,
            sending: None,
            receiving: None,
            waiting: HashMap::default(),
            due: [VecDeque::new(), VecDeque::new()],
            early: VecDeque::new(),
            strikes: 0,
        }
    }

    const fn reader(&mut self, direction: Direction) -> &mut Option<Box<Reader>> {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }

    fn take_reader(&mut self, direction: Direction, at: Mark) -> Box<Reader> {
        let begins = direction == self.recognized || (self.fresh && self.preface.ends_at(direction, at.offset));
        self.reader(direction)
            .take()
            .unwrap_or_else(|| Box::new(Reader::new(begins)))
    }

    fn bytes(&mut self, direction: Direction, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Flow {
        let mut reader = self.take_reader(direction, at);
        let mut flow = Flow::Continue;
        let mut taken = 0_usize;
        while taken < bytes.len() && flow == Flow::Continue {
            let lost = reader.is_lost();
            let (more, mut got) = reader.read(bytes.get(taken..).unwrap_or_default(), at.behind(taken as u64));
            taken = taken.saturating_add(more);
            if lost && !reader.is_lost() {
                out.push(Step::Count("protocol.nats.resync"));
            }
            if let Some(got) = &mut got {
                flow = self.event(direction, got, reader.body(), out);
            }
        }
        *self.reader(direction) = Some(reader);
        flow
    }

    /// Something was read, of which what is to be kept is taken; `body` is the first bytes of the message that was read last, where
    /// they were seen.
    fn event(&mut self, direction: Direction, got: &mut Got, body: Option<&[u8]>, out: &mut Vec<Step>) -> Flow {
        let (begin, end) = (got.begin, got.end);
        match &mut got.event {
            Event::Line(origin, line) => {
                if !self.is_said_by(*origin, direction) {
                    return self.offended(direction, end, out);
                }
                self.line(std::mem::replace(line, Line::Other), out);
            }
            Event::Head(origin, told, headers) => {
                if !self.is_said_by(*origin, direction) {
                    return self.offended(direction, end, out);
                }
                self.head(direction, std::mem::take(told), headers.take(), (begin, end), out);
            }
            Event::Body => {
                if let Some(side) = self.side(direction)
                    && let Some(passing) = self.passing(side).take()
                {
                    self.passed(side, passing, body, end, out);
                }
            }
            Event::Lost => self.lost(direction, end, out),
            Event::Invalid => return self.offended(direction, end, out),
            Event::Hopeless => {
                self.break_all(end, Broken::Unseen, out);
                return Flow::Rejected;
            }
        }
        Flow::Continue
    }

    fn is_said_by(&mut self, origin: Origin, direction: Direction) -> bool {
        let client = match origin {
            Origin::Client => direction,
            Origin::Server => direction.flip(),
            Origin::Either => return true,
        };
        *self.client.get_or_insert(client) == client
    }

    fn side(&self, direction: Direction) -> Option<Side> {
        let client = self.client?;
        Some(if direction == client {
            Side::Client
        } else {
            Side::Server
        })
    }

    const fn passing(&mut self, side: Side) -> &mut Option<Passing> {
        match side {
            Side::Client => &mut self.sending,
            Side::Server => &mut self.receiving,
        }
    }

    fn line(&mut self, line: Line, out: &mut Vec<Step>) {
        match line {
            Line::Info(name) => self.server = name.or_else(|| self.server.take()),
            Line::Subscribe { sid, queue } if !queue.is_empty() => {
                // A number may be used again.
                self.groups.remove(&sid);
                if self.groups.len() >= MAX_SUBSCRIPTIONS && self.groups_over > 0 {
                    self.groups.retain(|_, group| !group.over);
                    self.groups_over = 0;
                }
                if self.groups.len() < MAX_SUBSCRIPTIONS {
                    let (name, over) = (queue, false);
                    self.groups.insert(sid, Group { name, over });
                } else {
                    out.push(Step::Count("protocol.nats.groups_full"));
                }
            }
            Line::Subscribe { sid, .. } => drop(self.groups.remove(&sid)),
            // What is on its way still comes.
            Line::Unsubscribe { sid } => {
                if let Some(group) = self.groups.get_mut(&sid)
                    && !std::mem::replace(&mut group.over, true)
                {
                    self.groups_over = self.groups_over.saturating_add(1);
                }
            }
            Line::Message(_) | Line::Other => {}
        }
    }

    /// The line and the headers of a message have passed; none of these if they were not seen, or there are none.
    fn head(
        &mut self,
        direction: Direction,
        told: Told,
        headers: Option<Headers>,
        (begin, end): (Mark, Mark),
        out: &mut Vec<Step>,
    ) {
        let (Some(side), Some(client)) = (self.side(direction), self.client) else {
            return;
        };
        let (status, fields) = headers.unwrap_or_default();
        let is_waited_for = self.waiting.contains_key(&(side, told.subject.clone()));
        let answers = is_waited_for || told.subject.starts_with(INBOX) || told.subject.starts_with(ACK);
        let is_own = ["$JS.API.", "$SYS."]
            .iter()
            .any(|begin| told.subject.starts_with(begin));
        let exchange = if answers || is_own || status.is_some() {
            None
        } else {
            let message = self.message(side, &told, fields);
            Some(self.handled.begin(message, client, begin, end, out))
        };
        *self.passing(side) = Some(Passing {
            told,
            exchange,
            begin,
            status,
        });
    }

    /// The message, which is made where it stays.
    fn message(&self, side: Side, told: &Told, headers: Fields) -> Box<Message> {
        let bytes = told.size.saturating_sub(told.headers);
        let id = field(&headers, "nats-msg-id").map(|id| SmolStr::from(String::from_utf8_lossy(id)));
        let (action, operation) = side.passes();
        let mut message = Box::new(Message {
            system: SYSTEM,
            action,
            operation,
            destination: told.subject.clone(),
            is_temporary: false,
            content: Known {
                bytes: Some(bytes),
                id: id.unwrap_or_default(),
                headers,
                ..Known::default()
            },
        });
        let content = &mut message.content;
        let ack = Acknowledge::parse(&told.reply);
        if let Some(ack) = &ack {
            content
                .identities
                .extend(self.stored(ack.stream, ack.sequence, &told.subject, bytes));
            let details = [
                (
                    "messaging.destination.subscription.name",
                    Detail::Text(ack.consumer.into()),
                ),
                ("clew.messaging.nats.stream", Detail::Text(ack.stream.into())),
                ("clew.messaging.nats.stream.sequence", Detail::Number(ack.sequence)),
                ("clew.messaging.delivery_attempt", Detail::Number(ack.delivered)),
            ];
            content.details.extend(details);
            if ack.delivered > 1 {
                content.details.push(("clew.messaging.redelivered", Detail::Is(true)));
            }
        } else if told.reply.len() >= MIN_UNIQUE {
            let parts = ("reply", &told.subject, &told.reply, bytes);
            content.identities.push(Identity::of(SYSTEM, parts));
        }
        let identity = content.recognized_by(SYSTEM, &told.subject);
        content.identities.extend(identity);
        if let Some(group) = self.groups.get(&told.sid).filter(|_| side == Side::Server) {
            let group = Detail::Text(group.name.clone());
            content.details.push(("messaging.consumer.group.name", group));
        }
        message
    }

    /// What a message is recognized by that a stream has taken.
    fn stored(&self, stream: &str, sequence: u64, subject: &str, bytes: u64) -> Option<Identity> {
        let server = self.server.as_ref()?;
        Some(Identity::of(
            SYSTEM,
            ("stored", server, stream, sequence, subject, bytes),
        ))
    }

    /// A message is complete.
    fn passed(&mut self, side: Side, passing: Passing, body: Option<&[u8]>, end: Mark, out: &mut Vec<Step>) {
        let Passing {
            told,
            exchange,
            begin,
            status,
        } = passing;
        let Some(exchange) = exchange else {
            let answer = Answer {
                side,
                subject: told.subject,
                body: body.map(Cow::Borrowed),
                status,
                begin,
                end,
            };
            self.answered(answer, out);
            return;
        };
        self.handled.passed(exchange, end, out);
        let key = (side.other(), told.reply);
        if key.1.is_empty() || self.waiting.contains_key(&key) {
            self.handled.unsettled(exchange, end, out);
            return;
        }
        if self.handled.is_full() {
            out.push(Step::Count("protocol.nats.unsettled_full"));
            self.handled.unsettled(exchange, end, out);
            return;
        }
        let waiting = Waiting {
            exchange,
            end,
            bytes: told.size.saturating_sub(told.headers),
            subject: told.subject,
        };
        let is_stored = key.1.starts_with(ACK);
        let wait = if is_stored { ACK_NS } else { REPLY_NS };
        let due_ns = end.moment.time_ns.saturating_add(wait);
        if let Some(due) = self.due.get_mut(usize::from(is_stored)) {
            // Most are answered long before.
            if due.len() >= MAX_OPEN.saturating_mul(2) {
                let waiting = &self.waiting;
                let still = |side, subject: &SmolStr, exchange| {
                    let waiting = waiting.get(&(side, subject.clone()));
                    waiting.is_some_and(|waiting| waiting.exchange == exchange)
                };
                due.retain(|(_, exchange, subject)| {
                    still(Side::Client, subject, *exchange) || still(Side::Server, subject, *exchange)
                });
            }
            due.push_back((due_ns, exchange, key.1.clone()));
        }
        self.early
            .retain(|early| end.moment.time_ns.saturating_sub(early.end.moment.time_ns) < EARLY_NS);
        let place = self
            .early
            .iter()
            .position(|early| (early.side, &early.subject) == (key.0, &key.1));
        self.waiting.insert(key, waiting);
        if let Some(early) = place.and_then(|place| self.early.remove(place)) {
            self.answered(early, out);
        }
    }

    /// What may answer something passed.
    fn answered(&mut self, answer: Answer<'_>, out: &mut Vec<Step>) {
        let body = answer.body.as_deref();
        // It is still being worked on.
        if answer.side == Side::Client && body == Some(b"+WPI") {
            return;
        }
        let key = (answer.side, answer.subject.clone());
        let Some(waiting) = self.waiting.remove(&key) else {
            if self.early.len() >= MAX_EARLY {
                self.early.pop_front();
            }
            self.early.push_back(Answer {
                body: answer.body.map(|body| Cow::Owned(body.into_owned())),
                ..answer
            });
            return;
        };
        let outcome = match answer.side {
            Side::Client if answer.subject.starts_with(ACK) => {
                let how = match body {
                    Some(body) if body.starts_with(b"-NAK") => Some(Settled::Requeued),
                    Some(body) if body.starts_with(b"+TERM") => Some(Settled::Rejected),
                    Some(_) => Some(Settled::Accepted),
                    None => None,
                };
                Outcome {
                    settled: how,
                    ..Outcome::default()
                }
            }
            Side::Client => Outcome::default(),
            Side::Server => self.reply(&waiting, body, answer.status),
        };
        let begin = answer.begin.moment;
        self.handled.settled(waiting.exchange, outcome, begin, answer.end, out);
    }

    /// What an answer from the server says of what was published.
    fn reply(&self, waiting: &Waiting, body: Option<&[u8]>, status: Option<SmolStr>) -> Outcome {
        if let Some(status) = status {
            let (code, message) = status.split_once(' ').unwrap_or((&status, ""));
            let message = if code == "503" { "no responders" } else { message };
            return Outcome {
                error: Some(Box::new(failure(code.into(), message.into()))),
                ..Outcome::default()
            };
        }
        let json = body.filter(|body| body.starts_with(b"{"));
        let told: Stored<'_> = json
            .and_then(|json| serde_json::from_slice(json).ok())
            .unwrap_or_default();
        let is_ours = told.kind.as_deref() == Some("io.nats.jetstream.api.v1.pub_ack_response");
        let stored = told.stream.as_deref();
        let error = told.error.unwrap_or_default();
        match (stored, told.seq, error.err_code) {
            (_, _, Some(code)) if is_ours || stored.is_some() => {
                let text = error.description.unwrap_or_default();
                let error = failure(code.to_smolstr(), text.into());
                Outcome {
                    settled: Some(Settled::Rejected),
                    error: Some(Box::new(error)),
                    ..Outcome::default()
                }
            }
            (Some(stream), Some(sequence), _) => {
                // What was published before is stored once.
                let is_new = told.duplicate != Some(true);
                Outcome {
                    settled: Some(Settled::Accepted),
                    identity: self
                        .stored(stream, sequence, &waiting.subject, waiting.bytes)
                        .filter(|_| is_new),
                    ..Outcome::default()
                }
            }
            _ => Outcome::default(),
        }
    }

    /// Lines of a direction may have been missed.
    fn lost(&mut self, direction: Direction, at: Mark, out: &mut Vec<Step>) {
        let Some(side) = self.side(direction) else { return };
        if let Some(exchange) = self.passing(side).take().and_then(|passing| passing.exchange) {
            self.handled.broken(exchange, at, Broken::Unseen, out);
        }
        // What they may have answered.
        let mut broken: Vec<Exchange> = Vec::new();
        self.waiting.retain(|(waits_for, _), waiting| {
            if *waits_for == side {
                broken.push(waiting.exchange);
            }
            *waits_for != side
        });
        if side == Side::Client {
            self.groups.clear();
        }
        broken.sort_unstable();
        for exchange in broken {
            self.handled.broken(exchange, at, Broken::Unseen, out);
        }
    }

    fn offended(&mut self, direction: Direction, at: Mark, out: &mut Vec<Step>) -> Flow {
        let at = Mark { offset: 0, ..at };
        out.push(Step::Count("protocol.nats.invalid"));
        self.lost(direction, at, out);
        self.strikes = self.strikes.saturating_add(1);
        if self.strikes >= MAX_STRIKES {
            self.break_all(at, Broken::Unseen, out);
            return Flow::Rejected;
        }
        Flow::Continue
    }

    fn break_all(&mut self, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        let passing = [self.sending.take(), self.receiving.take()];
        let passing = passing.into_iter().flatten().filter_map(|passing| passing.exchange);
        let mut open: Vec<(Exchange, Option<Mark>)> = passing.map(|exchange| (exchange, None)).collect();
        let waiting = self.waiting.drain().map(|((side, subject), waiting)| {
            // Nobody has to answer what a subscriber was handed.
            let may_end = reason == Broken::Closed && side == Side::Client && !subject.starts_with(ACK);
            (waiting.exchange, may_end.then_some(waiting.end))
        });
        open.extend(waiting);
        open.sort_unstable_by_key(|(exchange, _)| *exchange);
        self.due = [VecDeque::new(), VecDeque::new()];
        for (exchange, end) in open {
            match end {
                Some(end) => self.handled.unsettled(exchange, end, out),
                None => self.handled.broken(exchange, at, reason, out),
            }
        }
    }
}

/// What a stream says of a message that was sent to it, as far as it is of interest.
#[derive(Default, Deserialize)]
struct Stored<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    stream: Option<Cow<'a, str>>,
    seq: Option<u64>,
    duplicate: Option<bool>,
    #[serde(borrow)]
    error: Option<Refusal<'a>>,
}

/// Why it did not take it.
#[derive(Default, Deserialize)]
struct Refusal<'a> {
    err_code: Option<u64>,
    #[serde(borrow)]
    description: Option<Cow<'a, str>>,
}

fn failure(code: SmolStr, message: SmolStr) -> Failure {
    Failure {
        code,
        message,
        sqlstate: None,
        severity: None,
        expected: false,
    }
}

/// Where a message of a stream is to be acknowledged.
///
/// ```text
/// $JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<consumer sequence>.<time>.<pending>
/// $JS.ACK.<domain>.<account>.<the same>[.<random>]
/// ```
struct Acknowledge<'a> {
    stream: &'a str,
    consumer: &'a str,
    delivered: u64,
    sequence: u64,
}

impl<'a> Acknowledge<'a> {
    fn parse(reply: &'a str) -> Option<Self> {
        let words = reply.strip_prefix(ACK)?.split('.');
        let before = match words.clone().count() {
            7 => 0,
            9.. => 2,
            _ => return None,
        };
        let mut words = words.skip(before);
        Some(Self {
            stream: words.next()?,
            consumer: words.next()?,
            delivered: words.next()?.parse().ok()?,
            sequence: words.next()?.parse().ok()?,
        })
    }
}

impl Parser for Nats {
    fn piece(&mut self, piece: Piece, out: &mut Vec<Step>) -> Flow {
        let (direction, at) = (piece.direction, Mark::of(&piece));
        match piece.content {
            Content::Bytes(bytes) => return self.bytes(direction, &bytes, at, out),
            Content::Unseen(length) => {
                let mut reader = self.take_reader(direction, at);
                let got = reader.hole(length, at);
                *self.reader(direction) = Some(reader);
                if let Some(mut got) = got {
                    return self.event(direction, &mut got, None, out);
                }
            }
            Content::End => self.break_all(at, Broken::Closed, out),
            Content::Failed(errno) => self.break_all(at, Broken::Failed(errno), out),
        }
        Flow::Continue
    }

    fn tick(&mut self, now_ns: u64, out: &mut Vec<Step>) {
        for (place, side) in [(0, None), (1, Some(Side::Client))] {
            while let Some(due) = self.due.get_mut(place)
                && let Some((_, exchange, subject)) = due.pop_front_if(|(due_ns, ..)| *due_ns <= now_ns)
            {
                let sides = side.map_or([Side::Server, Side::Client], |side| [side; 2]);
                for side in sides {
                    let key = (side, subject.clone());
                    if self
                        .waiting
                        .get(&key)
                        .is_some_and(|waiting| waiting.exchange == exchange)
                        && let Some(waiting) = self.waiting.remove(&key)
                    {
                        self.handled.unsettled(exchange, waiting.end, out);
                    }
                }
            }
        }
    }

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
