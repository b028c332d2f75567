//! One channel of a connection, and what is awaited on it.
use std::collections::VecDeque;

use smol_str::{SmolStr, format_smolstr};

use super::consumers::{Consumer, Consumers};
use super::method::{Method, Route};
use crate::capture::{Direction, Moment};
use crate::protocol::call::Failure;
use crate::protocol::handled::Handled;
use crate::protocol::message::{Action, Content, Detail, Message, Outcome, Settled};
use crate::protocol::{Broken, Exchange, Mark, Step};

/// The system, as the conventions name it.
const SYSTEM: &str = "rabbitmq";
/// What came before what it answers and is kept.
const MAX_EARLY: usize = 64;
/// How long it is, nanoseconds: threads report within microseconds of each other.
const EARLY_NS: u64 = 200_000_000;
/// How the server's own names of queues begin.
const TEMPORARY: [&str; 2] = ["amq.gen-", "amq.rabbitmq.reply-to"];

/// A channel.
#[derive(Debug, Default)]
pub(super) struct Channel {
    sending: Option<Reading>,
    receiving: Option<Reading>,
    /// It was followed since it was opened.
    fresh: bool,
    /// The number of the next message that the server confirms. None where it confirms none, or the number is not known.
    confirms: Option<u64>,
    unconfirmed: VecDeque<Unconfirmed>,
    early_confirms: VecDeque<Settling>,
    gets: VecDeque<Get>,
    early_gets: VecDeque<(Outcome, Moment, Mark)>,
    /// Answers to this many gets may be among those to come.
    owed: usize,
    consumers: Consumers,
    /// Messages that were delivered, by their number.
    unsettled: VecDeque<(u64, Exchange)>,
    early_settled: VecDeque<Settling>,
    /// The last number that was delivered.
    delivered: u64,
    /// The client has settled something.
    settles: bool,
    /// The queue that was declared last, which an empty name stands for.
    declared: SmolStr,
}

/// A message that was published and is to be confirmed.
#[derive(Debug)]
struct Unconfirmed {
    tag: u64,
    exchange: Exchange,
    route: Route,
    returned: Option<Failure>,
}

#[derive(Debug)]
struct Get {
    exchange: Exchange,
    queue: SmolStr,
    /// Its answer may be another's.
    doubtful: bool,
}

/// What settles messages, and where it was said.
#[derive(Clone, Copy, Debug)]
struct Settling {
    tag: u64,
    multiple: bool,
    how: Settled,
    begin: Mark,
    end: Mark,
}

impl Settling {
    const fn is_of(&self, tag: u64) -> bool {
        self.tag == tag || (self.multiple && (tag <= self.tag || self.tag == 0))
    }
}

/// A method with a content, being read.
#[derive(Debug)]
struct Reading {
    method: Method,
    begin: Mark,
    /// Bytes of its body to come, once its header was read.
    left: Option<u64>,
    exchange: Option<Exchange>,
    content: Content,
}

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// Where something was said, and what is told of it.
pub(super) struct Said<'a> {
    pub(super) side: Side,
    /// The way of what clients say.
    pub(super) client: Direction,
    pub(super) begin: Mark,
    pub(super) end: Mark,
    pub(super) handled: &'a mut Handled,
    pub(super) out: &'a mut Vec<Step>,
}

impl Channel {
    /// A channel that is followed from its beginning.
    pub(super) fn opened() -> Self {
        Self {
            fresh: true,
            consumers: Consumers::opened(),
            ..Self::default()
        }
    }

    /// A method was said.
    pub(super) fn method(&mut self, method: Method, said: &mut Said<'_>) {
        // A content that was begun goes on with nothing but its own frames.
        if let Some(reading) = self.half(said.side).take() {
            self.abandon(reading, Broken::Invalid, said);
        }
        match method {
            Method::Publish { .. } | Method::Deliver { .. } | Method::GetOk { .. } | Method::Return { .. } => {
                let begin = said.begin;
                *self.half(said.side) = Some(Reading {
                    method,
                    begin,
                    left: None,
                    exchange: None,
                    content: Content::default(),
                });
            }
            Method::Get { queue } => self.get(queue, said),
            Method::GetEmpty => self.got(Outcome::default(), said.begin.moment, said),
            Method::Consume {
                queue,
                consumer,
                no_ack,
                no_wait,
            } => {
                let consumer = Consumer {
                    tag: consumer,
                    queue: self.named(queue),
                    no_ack,
                };
                if !self.consumers.asked(consumer, !no_wait, said.begin.moment) {
                    said.out.push(Step::Count("protocol.amqp.consumers_full"));
                }
            }
            Method::ConsumeOk { consumer } => {
                if !self.consumers.confirmed(consumer, said.begin.moment) {
                    said.out.push(Step::Count("protocol.amqp.consumers_full"));
                }
            }
            Method::Cancel { consumer } => self.consumers.canceled(&consumer),
            Method::Settle {
                tag,
                multiple,
                accepted,
                requeue,
            } => {
                let how = match (accepted, requeue) {
                    (true, _) => Settled::Accepted,
                    (false, true) => Settled::Requeued,
                    (false, false) => Settled::Rejected,
                };
                let settling = Settling {
                    tag,
                    multiple,
                    how,
                    begin: said.begin,
                    end: said.end,
                };
                match said.side {
                    Side::Client => self.settle(settling, said),
                    Side::Server => self.confirm(settling, said),
                }
            }
            Method::Recover => {
                for (_, exchange) in self.unsettled.drain(..) {
                    let outcome = Outcome::settled(Settled::Requeued);
                    said.handled
                        .settled(exchange, outcome, said.begin.moment, said.end, said.out);
                }
            }
            Method::ConfirmSelect if self.fresh => {
                self.confirms.get_or_insert(1);
            }
            Method::QueueDeclared { queue } => self.declared = queue,
            Method::ConfirmSelect | Method::Open | Method::Close { .. } | Method::CloseOk | Method::Other => {}
        }
    }

    /// The header of a content; none where it was not seen whole.
    pub(super) fn header(&mut self, content: Option<Content>, said: &mut Said<'_>) {
        let Some(mut reading) = self.half(said.side).take() else {
            return;
        };
        let content = content.filter(|_| reading.left.is_none());
        let Some((content, left)) = content.and_then(|content| content.bytes.map(|bytes| (content, bytes))) else {
            self.abandon(reading, Broken::Unseen, said);
            return;
        };
        reading.left = Some(left);
        reading.content = content;
        match &reading.method {
            Method::Publish { route } => {
                let message = published(route, std::mem::take(&mut reading.content));
                reading.exchange = Some(self.begin(message, reading.begin, said));
            }
            Method::Deliver {
                consumer,
                tag,
                redelivered,
                route,
            } => {
                let queue = self.consumers.get(consumer).map(|known| known.queue.clone());
                let content = std::mem::take(&mut reading.content);
                let message = handed(Action::Deliver, "deliver", queue, (*tag, *redelivered), route, content);
                reading.exchange = Some(self.begin(message, reading.begin, said));
            }
            _ => {}
        }
        self.go_on(reading, said);
    }

    /// So many bytes of a content.
    pub(super) fn body(&mut self, bytes: u64, said: &mut Said<'_>) {
        let Some(mut reading) = self.half(said.side).take() else {
            return;
        };
        match reading.left.and_then(|left| left.checked_sub(bytes)) {
            Some(left) => {
                reading.left = Some(left);
                self.go_on(reading, said);
            }
            None => self.abandon(reading, Broken::Invalid, said),
        }
    }

    fn go_on(&mut self, reading: Reading, said: &mut Said<'_>) {
        if reading.left != Some(0) {
            *self.half(said.side) = Some(reading);
            return;
        }
        if let Some(exchange) = reading.exchange {
            said.handled.passed(exchange, said.end, said.out);
        }
        match (reading.method, reading.exchange) {
            (Method::Publish { route }, exchange) => self.published(route, exchange, said),
            (Method::Deliver { consumer, tag, .. }, Some(exchange)) => self.delivered(&consumer, tag, exchange, said),
            (
                Method::GetOk {
                    tag,
                    redelivered,
                    route,
                },
                _,
            ) => {
                self.delivered = self.delivered.max(tag);
                let message = handed(
                    Action::Receive,
                    "get",
                    None,
                    (tag, redelivered),
                    &route,
                    reading.content,
                );
                let outcome = Outcome {
                    received: Some(Box::new(message)),
                    ..Outcome::default()
                };
                self.got(outcome, reading.begin.moment, said);
            }
            (Method::Return { code, text, route }, _) => {
                let waiting = self.unconfirmed.iter_mut();
                match waiting
                    .filter(|one| one.route == route && one.returned.is_none())
                    .take(1)
                    .next()
                {
                    Some(one) => one.returned = Some(failure(code, text)),
                    None => said.out.push(Step::Count("protocol.amqp.returned")),
                }
            }
            _ => {}
        }
    }

    /// What was begun will not be completed.
    fn abandon(&mut self, reading: Reading, reason: Broken, said: &mut Said<'_>) {
        if matches!(reading.method, Method::Publish { .. }) {
            self.confirms = self.confirms.map(|next| next.saturating_add(1));
        }
        if let Some(exchange) = reading.exchange {
            said.handled.broken(exchange, said.end, reason, said.out);
        }
    }

    fn begin(&mut self, message: Message, begin: Mark, said: &mut Said<'_>) -> Exchange {
        said.handled.begin(message, said.client, begin, said.end, said.out)
    }

    /// A message was published.
    fn published(&mut self, route: Route, exchange: Option<Exchange>, said: &mut Said<'_>) {
        let tag = self.confirms;
        self.confirms = tag.map(|tag| tag.saturating_add(1));
        let Some(exchange) = exchange else { return };
        let Some(tag) = tag else {
            said.handled.unsettled(exchange, said.end, said.out);
            return;
        };
        if said.handled.is_full() {
            said.out.push(Step::Count("protocol.amqp.unsettled_full"));
            said.handled.unsettled(exchange, said.end, said.out);
            return;
        }
        self.unconfirmed.push_back(Unconfirmed {
            tag,
            exchange,
            route,
            returned: None,
        });
        if let Some(early) = take_early(&mut self.early_confirms, tag, said.end) {
            self.confirm(early, said);
        }
    }

    /// The server confirms what was published.
    fn confirm(&mut self, settling: Settling, said: &mut Said<'_>) {
        let mut kept = VecDeque::new();
        for one in self.unconfirmed.drain(..) {
            if !settling.is_of(one.tag) {
                kept.push_back(one);
                continue;
            }
            let refused = settling.how != Settled::Accepted;
            let error = one
                .returned
                .or_else(|| refused.then(|| failure(0, SmolStr::new_static("nack"))));
            let outcome = Outcome {
                settled: Some(settling.how),
                error: error.map(Box::new),
                ..Outcome::default()
            };
            said.handled
                .settled(one.exchange, outcome, settling.begin.moment, settling.end, said.out);
        }
        self.unconfirmed = kept;
        if self.confirms.is_some_and(|next| settling.tag >= next) {
            keep_early(&mut self.early_confirms, settling);
        }
    }

    fn get(&mut self, queue: SmolStr, said: &mut Said<'_>) {
        let queue = self.named(queue);
        let message = Message {
            system: SYSTEM,
            action: Action::Receive,
            operation: "get",
            is_temporary: is_temporary(&queue),
            destination: queue.clone(),
            content: Content::default(),
        };
        let exchange = self.begin(message, said.begin, said);
        said.handled.passed(exchange, said.end, said.out);
        let doubtful = self.owed > 0;
        let early = self.early_gets.pop_front();
        let early = early.filter(|(_, begin, _)| is_near(*begin, said.begin.moment));
        match early {
            // Where a get may have been missed, it may be the answer to that.
            Some((outcome, begin, end)) if self.gets.is_empty() && !doubtful && self.fresh => {
                said.handled.settled(exchange, outcome, begin, end, said.out);
            }
            _ if said.handled.is_full() => {
                said.out.push(Step::Count("protocol.amqp.unsettled_full"));
                self.owed = self.owed.saturating_add(1);
                said.handled.broken(exchange, said.end, Broken::Unseen, said.out);
            }
            _ => self.gets.push_back(Get {
                exchange,
                queue,
                doubtful,
            }),
        }
    }

    /// The answer to a get.
    fn got(&mut self, mut outcome: Outcome, begin: Moment, said: &mut Said<'_>) {
        match self.gets.pop_front() {
            Some(get) if get.doubtful => {
                self.owed = self.owed.saturating_sub(1);
                said.handled.broken(get.exchange, said.end, Broken::Unseen, said.out);
            }
            Some(get) => {
                if let Some(message) = &mut outcome.received {
                    message.destination = get.queue;
                }
                said.handled.settled(get.exchange, outcome, begin, said.end, said.out);
            }
            None if self.owed > 0 => self.owed = self.owed.saturating_sub(1),
            None => {
                said.out.push(Step::Count("protocol.amqp.early"));
                if self.early_gets.len() < MAX_EARLY {
                    self.early_gets.push_back((outcome, begin, said.end));
                }
            }
        }
    }

    /// The name of a queue, where it is empty the one that was declared last.
    fn named(&self, queue: SmolStr) -> SmolStr {
        if queue.is_empty() { self.declared.clone() } else { queue }
    }

    /// A message was delivered.
    fn delivered(&mut self, consumer: &str, tag: u64, exchange: Exchange, said: &mut Said<'_>) {
        self.delivered = self.delivered.max(tag);
        let no_ack = self.consumers.get(consumer).map(|consumer| consumer.no_ack);
        if no_ack.unwrap_or(!self.settles) {
            said.handled.unsettled(exchange, said.end, said.out);
            return;
        }
        if said.handled.is_full() {
            said.out.push(Step::Count("protocol.amqp.unsettled_full"));
            said.handled.unsettled(exchange, said.end, said.out);
            return;
        }
        self.unsettled.push_back((tag, exchange));
        if let Some(early) = take_early(&mut self.early_settled, tag, said.end) {
            self.settle(early, said);
        }
    }

    /// The client settles what was delivered.
    fn settle(&mut self, settling: Settling, said: &mut Said<'_>) {
        self.settles = true;
        let mut end = |exchange| {
            let outcome = Outcome::settled(settling.how);
            said.handled
                .settled(exchange, outcome, settling.begin.moment, settling.end, said.out);
        };
        // Most often it is the oldest.
        if !settling.multiple && self.unsettled.front().is_some_and(|(tag, _)| *tag == settling.tag) {
            if let Some((_, exchange)) = self.unsettled.pop_front() {
                end(exchange);
            }
            return;
        }
        self.unsettled.retain(|(tag, exchange)| {
            let is_of = settling.is_of(*tag);
            if is_of {
                end(*exchange);
            }
            !is_of
        });
        if settling.tag > self.delivered {
            keep_early(&mut self.early_settled, settling);
        }
    }

    /// Frames of a side may have been missed.
    pub(super) fn lost(&mut self, said: &mut Said<'_>) {
        if let Some(reading) = self.half(said.side).take() {
            self.abandon(reading, Broken::Unseen, said);
        }
        self.owed = self.owed.saturating_add(self.gets.len());
        self.early_gets.clear();
        let mut broken: Vec<Exchange> = self.gets.drain(..).map(|get| get.exchange).collect();
        match said.side {
            Side::Client => {
                self.fresh = false;
                self.confirms = None;
                self.early_settled.clear();
                self.consumers.lost(true);
                broken.extend(self.unsettled.drain(..).map(|(_, exchange)| exchange));
            }
            Side::Server => {
                self.early_confirms.clear();
                self.consumers.lost(false);
                self.declared = SmolStr::default();
                broken.extend(self.unconfirmed.drain(..).map(|one| one.exchange));
            }
        }
        for exchange in broken {
            said.handled.broken(exchange, said.end, Broken::Unseen, said.out);
        }
    }

    /// The channel is closed, by the server for this reason if there is one.
    pub(super) fn closed(&mut self, error: Option<&Failure>, reason: Broken, said: &mut Said<'_>) {
        for reading in [self.sending.take(), self.receiving.take()].into_iter().flatten() {
            self.abandon(reading, reason, said);
        }
        let asked = self.unconfirmed.drain(..).map(|one| one.exchange);
        let asked: Vec<Exchange> = asked.chain(self.gets.drain(..).map(|get| get.exchange)).collect();
        for exchange in asked {
            match error {
                Some(failure) => {
                    let outcome = Outcome {
                        error: Some(Box::new(failure.clone())),
                        ..Outcome::default()
                    };
                    said.handled
                        .settled(exchange, outcome, said.begin.moment, said.end, said.out);
                }
                None => said.handled.broken(exchange, said.end, reason, said.out),
            }
        }
        for (_, exchange) in self.unsettled.drain(..) {
            said.handled.broken(exchange, said.end, reason, said.out);
        }
    }

    const fn half(&mut self, side: Side) -> &mut Option<Reading> {
        match side {
            Side::Client => &mut self.sending,
            Side::Server => &mut self.receiving,
        }
    }
}

/// What came before what it settles: two threads reported out of order, or that was not seen.
fn keep_early(early: &mut VecDeque<Settling>, settling: Settling) {
    if early.len() >= MAX_EARLY {
        early.pop_front();
    }
    early.push_back(settling);
}

fn take_early(early: &mut VecDeque<Settling>, tag: u64, now: Mark) -> Option<Settling> {
    early.retain(|one| is_near(one.begin.moment, now.moment) && (one.tag >= tag || one.tag == 0));
    let place = early.iter().position(|one| one.is_of(tag))?;
    // One that settles many may settle those to come as well.
    match early.get(place) {
        Some(one) if one.multiple && one.tag != tag => Some(*one),
        _ => early.remove(place),
    }
}

pub(super) const fn is_near(early: Moment, now: Moment) -> bool {
    now.time_ns.saturating_sub(early.time_ns) < EARLY_NS
}

pub(super) fn failure(code: u16, text: SmolStr) -> Failure {
    Failure {
        code: if code == 0 {
            text.clone()
        } else {
            format_smolstr!("{code}")
        },
        message: text,
        sqlstate: None,
        severity: None,
        expected: false,
    }
}

fn is_temporary(queue: &str) -> bool {
    TEMPORARY.iter().any(|begin| queue.starts_with(begin))
}

/// `{exchange}:{routing key}:{queue}`, what is empty or said twice left out (conventions, "RabbitMQ").
fn destination(route: &Route, queue: Option<&SmolStr>) -> SmolStr {
    let queue = queue.filter(|queue| **queue != route.key);
    let parts = [Some(&route.exchange), Some(&route.key), queue];
    let parts: Vec<&str> = parts
        .into_iter()
        .flatten()
        .map(SmolStr::as_str)
        .filter(|part| !part.is_empty())
        .collect();
    match parts.as_slice() {
        [] => SmolStr::new_static("amq.default"),
        [one] => SmolStr::new(one),
        many => many.join(":").into(),
    }
}

fn published(route: &Route, mut content: Content) -> Message {
    content
        .identities
        .extend(content.recognized_by(SYSTEM, (&route.exchange, &route.key)));
    content.details.extend(key(route));
    Message {
        system: SYSTEM,
        action: Action::Send,
        operation: "publish",
        destination: destination(route, None),
        is_temporary: is_temporary(&route.key),
        content,
    }
}

/// A message from the server; `number` is its own on the channel, and whether it was handed over before.
fn handed(
    action: Action,
    operation: &'static str,
    queue: Option<SmolStr>,
    number: (u64, bool),
    route: &Route,
    mut content: Content,
) -> Message {
    content
        .identities
        .extend(content.recognized_by(SYSTEM, (&route.exchange, &route.key)));
    content.details.extend(key(route));
    let (tag, redelivered) = number;
    content
        .details
        .push(("messaging.rabbitmq.message.delivery_tag", Detail::Number(tag)));
    if redelivered {
        content.details.push(("clew.messaging.redelivered", Detail::Is(true)));
    }
    Message {
        system: SYSTEM,
        action,
        operation,
        destination: destination(route, queue.as_ref()),
        is_temporary: is_temporary(queue.as_ref().unwrap_or(&route.key)),
        content,
    }
}

fn key(route: &Route) -> Option<(&'static str, Detail)> {
    let detail = (
        "messaging.rabbitmq.destination.routing_key",
        Detail::Text(route.key.clone()),
    );
    (!route.key.is_empty()).then_some(detail)
}
