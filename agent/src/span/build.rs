//! Follows exchanges from request to end and makes spans of them.
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use smol_str::{SmolStr, ToSmolStr};

use super::carried::{Carried, Place};
use super::details::{Detail, Details};
use super::failure::Ends;
use super::lookups::Lookups;
use super::phases::Phases;
use super::route::Routes;
use super::topics::Topics;
use super::{
    ConnFacts, Layer, MessageEnd, OUTCOME, Opened, Policy, Position, RemoteContext, STACK, Span, SpanEvent, SpanKey,
    SpanKind, Status, Value, aws, context, database, dns, failure, http, lane, messaging, phases, procedure, rpc,
    stores, times, tls, turn,
};
use crate::capture::{Actor, ConnId, Direction, Endpoints, Pid, Signal, Times};
use crate::discover::Process;
use crate::protocol::message::{Action, Content};
use crate::protocol::{Body, Broken, Exchange, Mark, Request, RequestHead, Response, ResponseHead, Step, http1};
use crate::redact;

/// Attributes a span usually has no more of.
const USUAL_ATTRIBUTES: usize = 24;

/// The exchanges that are open, and how to show them.
pub struct Spans {
    policy: Policy,
    open: HashMap<(ConnId, Exchange), Box<Open>, RandomState>,
    carried: Carried,
    ends: Ends,
    topics: Topics,
    next: SpanKey,
    details: Details,
    routes: Routes,
    lookups: Lookups,
}

/// An exchange without an end.
struct Open {
    key: SpanKey,
    kind: SpanKind,
    request: Request,
    request_body: Body,
    /// When the request's last byte passed.
    request_end_ns: Option<u64>,
    response: Option<Response>,
    /// What is known of the operations with which the request and the response began.
    begun: Detail,
    answered: Detail,
    /// Where the time of who had the request's head whole had gone.
    read: Times,
    /// Who acted last.
    actor: Actor,
    /// Its place among those of its connection; none where it is the connection itself.
    place: Option<Place>,
}

/// What is known of an exchange when it ends.
pub(super) struct Exchanged<'a> {
    pub(super) kind: SpanKind,
    pub(super) request_body: &'a Body,
    pub(super) response_body: &'a Body,
    /// The server's socket.
    pub(super) server: Option<SocketAddr>,
    /// It passed encrypted.
    pub(super) secured: bool,
}

/// Where a request of a layer stands.
fn places(layer: Layer, request: &Request) -> [Option<Position>; 2] {
    match layer {
        Layer::Wire => [Some(Position::Wire(request.offset)), None],
        Layer::Plain => [
            Some(Position::Plain(request.offset)),
            request.record.map(Position::Record),
        ],
        Layer::PlainMidway => [None, request.record.map(Position::Record)],
    }
}

impl Spans {
    /// No exchanges.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            open: HashMap::default(),
            carried: Carried::default(),
            ends: Ends::default(),
            topics: Topics::default(),
            next: SpanKey(1),
            details: Details::default(),
            routes: Routes::default(),
            lookups: Lookups::default(),
        }
    }

    /// Takes a step of an exchange on the connection `facts` of `process`.
    pub fn step(&mut self, facts: &Arc<ConnFacts>, process: &Arc<Process>, step: Step, out: &mut Vec<SpanEvent>) {
        match step {
            // Whoever follows the connection has read it.
            Step::Hello(_) | Step::Preface(_) => {}
            Step::Named { id, name } => self.topics.named(id, name),
            Step::Count(name) => out.push(SpanEvent::Count(name)),
            Step::Request(request) => self.request(facts, process, request, out),
            Step::RequestEnd { exchange, body, end } => {
                if let Some(open) = self.open.get_mut(&(facts.conn, exchange)) {
                    open.request_body = body;
                    open.request_end_ns = Some(end.moment.time_ns);
                    open.actor = end.moment.actor;
                }
            }
            Step::Response(response) => {
                self.told(facts, &response, out);
                let answered = self.details.of(response.start.detail);
                let (exchange, end, whole) = (response.exchange, response.head_end, response.whole);
                if let Some(open) = self.open.get_mut(&(facts.conn, exchange)) {
                    open.answered = answered;
                    open.actor = response.start.actor;
                    open.response = Some(response);
                }
                if whole {
                    self.finish(facts, process, exchange, (end, None), &Body::default(), out);
                }
            }
            Step::ResponseEnd { exchange, end, body } => {
                self.finish(facts, process, exchange, (end, None), &body, out);
            }
            Step::Broken {
                exchange,
                at,
                reason,
                body,
            } => {
                self.finish(facts, process, exchange, (at, Some(reason)), &body, out);
            }
            Step::Shared { exchange } => {
                if let Some(open) = self.open.get(&(facts.conn, exchange)) {
                    out.push(SpanEvent::Shared { key: open.key });
                }
            }
            Step::Withdrawn { exchange } => {
                if let Some(open) = self.open.remove(&(facts.conn, exchange)) {
                    self.carried.end(facts.conn, open.place);
                    out.push(SpanEvent::Withdrawn { key: open.key });
                }
            }
        }
    }

    /// Remembers what is known of an operation; the number its moment gets.
    pub fn note(&mut self, detail: Detail) -> u32 {
        self.details.note(detail)
    }

    /// A process got a signal that ends it.
    pub fn struck(&mut self, signal: Signal) {
        self.ends.struck(signal);
    }

    /// Exchanges without an end.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Requests that began before this moment and have no end: which, of which kind, since when, and what they ask, in short.
    pub fn unanswered(&self, before_ns: u64) -> impl Iterator<Item = (SpanKey, SpanKind, u64, String)> {
        let open = self.open.values();
        let late =
            open.filter(move |open| open.request.start.time_ns < before_ns && !open.request.head.is_connection());
        late.map(|open| {
            (
                open.key,
                open.kind,
                open.request.start.time_ns,
                asks(&open.request.head),
            )
        })
    }

    fn request(
        &mut self,
        facts: &Arc<ConnFacts>,
        process: &Arc<Process>,
        mut request: Request,
        out: &mut Vec<SpanEvent>,
    ) {
        match &mut request.head {
            RequestHead::Message(message) => self.topics.name(message),
            RequestHead::Database(call) => self.topics.recall(call),
            _ => {}
        }
        let key = self.next;
        self.next = SpanKey(key.0.wrapping_add(1));
        let (kind, message) = match &request.head {
            RequestHead::Message(message) => (
                messaging::kind(message.action, request.direction),
                Some(end_of(message.action, request.direction)),
            ),
            _ if request.direction == Direction::Ingress => (SpanKind::Server, None),
            _ => (SpanKind::Client, None),
        };
        let remote = remote(&request.head, out);
        out.push(SpanEvent::Opened(Opened {
            key,
            kind,
            conn: facts.conn,
            stream: request.stream,
            stream_context: request.stream.and_then(|stream| {
                let asks = request.direction == Direction::Egress;
                facts.endpoints.stream_context(if asks { 0 } else { stream })
            }),
            places: places(facts.layer, &request),
            start: request.start,
            actor: request.head_end.moment.actor,
            process: Arc::clone(process),
            remote,
            is_connection: request.head.is_connection(),
            message,
        }));
        if let RequestHead::Message(message) = &request.head {
            let sent = kind == SpanKind::Producer;
            recognized(&message.content, key, sent, out);
            if kind == SpanKind::Consumer {
                out.extend(named(&message.content, key, process.pid));
            }
            for headers in &message.content.contexts {
                let context = context::extract(headers, |name| out.push(SpanEvent::Count(name)));
                out.extend(context.map(|context| SpanEvent::Carried { key, context }));
            }
        }
        let place = (!request.head.is_connection()).then(|| self.carried.begin(facts.conn));
        let open = Open {
            key,
            kind,
            place,
            actor: request.head_end.moment.actor,
            request_body: Body::default(),
            request_end_ns: request.whole.then_some(request.head_end.moment.time_ns),
            response: None,
            begun: self.details.of(request.start.detail),
            answered: Detail::default(),
            read: self.details.of(request.head_end.moment.detail).times,
            request,
        };
        if let Some(lost) = self.open.insert((facts.conn, open.request.exchange), Box::new(open)) {
            // Nothing tells of its end any more: what was done for it must not name it.
            self.carried.end(facts.conn, lost.place);
            out.push(SpanEvent::Withdrawn { key: lost.key });
            out.push(SpanEvent::Count("span.replaced"));
        }
    }

    /// An answer may tell of the message that was asked for, or of the one that was sent.
    fn told(&self, facts: &ConnFacts, response: &Response, out: &mut Vec<SpanEvent>) {
        let (ResponseHead::Message(outcome), Some(open)) =
            (&response.head, self.open.get(&(facts.conn, response.exchange)))
        else {
            return;
        };
        let key = open.key;
        if let Some(identity) = outcome.identity {
            let sent = open.kind == SpanKind::Producer;
            out.push(SpanEvent::Message { key, identity, sent });
        }
        if let Some(received) = &outcome.received {
            recognized(&received.content, key, false, out);
            let context = carried(&received.content, out);
            out.extend(context.map(|context| SpanEvent::Carried { key, context }));
        }
    }

    fn finish(
        &mut self,
        facts: &ConnFacts,
        process: &Process,
        exchange: Exchange,
        (end, broken): (Mark, Option<Broken>),
        body: &Body,
        out: &mut Vec<SpanEvent>,
    ) {
        let Some(open) = self.open.remove(&(facts.conn, exchange)) else {
            return;
        };
        let ended = self.details.of(end.moment.detail);
        let alone = self.carried.end(facts.conn, open.place);
        let pushed = open.request.head.is_pushed();
        let serves_here = (open.request.direction == Direction::Ingress) != pushed;
        // The end of the connection may be long after the last thing the exchange did; its moment is told all the same:
        // until then the answer was awaited.
        let exchanged = Exchanged {
            kind: open.kind,
            request_body: &open.request_body,
            response_body: body,
            server: match &facts.endpoints {
                Endpoints::Tcp { local, .. } | Endpoints::Udp { local, .. } if serves_here => Some(*local),
                Endpoints::Tcp { remote, .. } | Endpoints::Udp { remote, .. } => Some(*remote),
                Endpoints::Unix { .. } => None,
            },
            secured: facts.layer.is_plain(),
        };
        let mut span = Span {
            kind: open.kind,
            name: SmolStr::default(),
            start_ns: open.request.start.time_ns,
            end_ns: end.moment.time_ns.max(open.request.start.time_ns),
            attributes: Vec::with_capacity(USUAL_ATTRIBUTES),
            named: Vec::new(),
            status: Status::Unset,
            events: Vec::new(),
        };
        let response = open.response.as_ref().map(|response| &response.head);
        match &open.request.head {
            RequestHead::Http(request) => {
                http::describe(&mut span, request, http_head(response), &exchanged, &self.policy);
            }
            RequestHead::Database(call) => {
                let outcome = match response {
                    Some(ResponseHead::Database(outcome)) => Some(outcome),
                    _ => None,
                };
                database::describe(&mut span, call, outcome, facts.conn, &exchanged, &self.policy);
            }
            RequestHead::Message(message) => {
                let outcome = match response {
                    Some(ResponseHead::Message(outcome)) => Some(outcome),
                    _ => None,
                };
                messaging::describe(&mut span, message, outcome);
            }
            RequestHead::Tls(hello) => {
                let handshake = match response {
                    Some(ResponseHead::Tls(handshake)) => Some(handshake.as_ref()),
                    _ => None,
                };
                tls::describe(&mut span, hello, handshake, &exchanged);
            }
            RequestHead::Procedure(procedure) => {
                let returned = match response {
                    Some(ResponseHead::Procedure(returned)) => Some(returned),
                    _ => None,
                };
                procedure::describe(&mut span, procedure, returned);
            }
            RequestHead::Turn => turn::describe(&mut span, &exchanged),
            RequestHead::Dns(question) => {
                let answer = match response {
                    Some(ResponseHead::Dns(answer)) => Some(answer),
                    _ => None,
                };
                if let Some(answer) = answer {
                    let (actor, times) = (&open.request.start.actor, (span.start_ns, span.end_ns));
                    let full = self.lookups.told(actor, &question.name, &answer.answers, times);
                    out.extend(full.map(SpanEvent::Count));
                }
                dns::describe(&mut span, question, answer);
            }
        }
        // What was agreed on belongs to the exchange the connection was opened for.
        if let Some((first, handshake)) = &facts.handshake
            && *first == exchange
        {
            tls::negotiated(&mut span, handshake);
        }
        connection(&mut span, facts, serves_here);
        lane::describe(&mut span, &open.actor);
        let is_connection = open.request.head.is_connection();
        let is_lookup = matches!(open.request.head, RequestHead::Dns(_));
        if open.kind == SpanKind::Client
            && facts.is_first(&open.request)
            && !pushed
            && !is_lookup
            && let (Some(server), Some(connect_ns)) = (exchanged.server, facts.connect_ns)
        {
            let asked_ns = open.request.start.time_ns.saturating_sub(connect_ns);
            let took = self.lookups.take(&open.request.start.actor, server, asked_ns);
            phases::lookup(&mut span, took);
        }
        if open.kind == SpanKind::Client && is_connection {
            phases::connect(&mut span, facts);
        } else if open.kind == SpanKind::Client && !pushed && !is_lookup {
            let phases = Phases {
                request: &open.request,
                request_end_ns: open.request_end_ns,
                response: open.response.as_ref(),
                response_end_ns: broken.is_none().then_some(end.moment.time_ns),
                transport: [open.begun, open.answered, ended].map(|detail| detail.transport),
            };
            phases::describe(&mut span, facts, &phases);
        } else if open.kind == SpanKind::Server && !is_connection && !pushed {
            let (begun, ended) = (open.begun.transport, ended.transport);
            phases::serve(&mut span, facts, &open.request, begun, ended);
        }
        if open.begun.stack != 0 && !pushed {
            let stack = open.begun.stack.cast_signed();
            span.attributes.push((STACK, Value::Int(stack)));
        }
        if !is_connection && !pushed && !is_lookup {
            let begun = (&open.request.start, &open.begun.times);
            let read = (&open.request.head_end.moment, &open.read);
            let around = times::Around {
                runtime: process.runtime,
                alone,
            };
            times::describe(&mut span, around, begun, read, (&end.moment, &ended.times));
        }
        if let Some(reason) = broken {
            outcome(&mut span, reason);
            if let Broken::Exited(status) = reason {
                self.ends.tell(&mut span, process.pid, status);
            }
        }
        if let RequestHead::Http(request) = &open.request.head {
            rpc::describe(&mut span, request, http_head(response), &exchanged, broken);
            // What is named by its operation has no route, and names of objects are none to learn from.
            let head = http_head(response);
            let is_named = aws::describe(&mut span, request, head, &exchanged)
                || stores::describe(&mut span, request, head, &exchanged, facts.conn, &self.policy);
            if !is_named {
                self.routes.describe(&mut span, &process.service);
            }
        }
        let actor = if broken.is_some() { open.actor } else { end.moment.actor };
        out.push(SpanEvent::Finished {
            key: open.key,
            actor,
            span: Box::new(span),
        });
    }
}

const fn http_head(response: Option<&ResponseHead>) -> Option<&http1::ResponseHead> {
    match response {
        Some(ResponseHead::Http(head)) => Some(head),
        _ => None,
    }
}

/// The trace context a request carries. One that is malformed is counted.
fn remote(head: &RequestHead, out: &mut Vec<SpanEvent>) -> Option<RemoteContext> {
    match head {
        RequestHead::Http(head) => context::extract(&head.fields, |name| out.push(SpanEvent::Count(name))),
        RequestHead::Message(message) => carried(&message.content, out),
        RequestHead::Database(_)
        | RequestHead::Procedure(_)
        | RequestHead::Tls(_)
        | RequestHead::Dns(_)
        | RequestHead::Turn => None,
    }
}

/// Tells by what a message is recognized that a span sent or got.
fn recognized(content: &Content, key: SpanKey, sent: bool, out: &mut Vec<SpanEvent>) {
    let identities = content.identities.iter();
    out.extend(identities.map(|identity| SpanEvent::Message {
        key,
        identity: *identity,
        sent,
    }));
}

/// Tells the names of a message that a program got, if it has any.
fn named(content: &Content, key: SpanKey, pid: Pid) -> Option<SpanEvent> {
    let (own, others) = content.names();
    (!own.is_empty()).then_some(SpanEvent::Named { key, pid, own, others })
}

/// The trace context a message carries.
fn carried(content: &Content, out: &mut Vec<SpanEvent>) -> Option<RemoteContext> {
    context::extract(&content.headers, |name| out.push(SpanEvent::Count(name)))
}

const fn end_of(action: Action, direction: Direction) -> MessageEnd {
    match (action, direction) {
        (Action::Deliver, Direction::Ingress) => MessageEnd::Gets,
        (Action::Deliver, Direction::Egress) => MessageEnd::BrokerHands,
        (_, Direction::Ingress) => MessageEnd::BrokerAsked,
        (_, Direction::Egress) => MessageEnd::Asks,
    }
}

/// `error.type` of an exchange without a regular end, and what ended it.
pub(super) const fn reason(broken: Broken) -> (&'static str, &'static str) {
    match broken {
        Broken::Closed => ("connection_closed", "aborted"),
        Broken::Failed(32) => ("broken_pipe", "aborted"),
        Broken::Failed(110) => ("timeout", "aborted"),
        Broken::Failed(111) => ("connection_refused", "aborted"),
        Broken::Failed(_) => ("connection_reset", "aborted"),
        Broken::Unseen => ("unseen", "unseen"),
        Broken::Invalid => ("protocol_error", "invalid"),
        Broken::Reset(8) => ("CANCEL", "canceled"),
        Broken::Reset(code) => (http::error_code(code), "reset"),
        Broken::Refused(_) => ("GOAWAY", "refused"),
        Broken::Declined(why) => (why, "refused"),
        Broken::AgentStopped => ("agent_stopped", "in_flight"),
        Broken::Exited(_) => ("process_exited", "process_exited"),
    }
}

/// What a request asks, without what may be secret in it.
fn asks(head: &RequestHead) -> String {
    match head {
        RequestHead::Http(head) => {
            let path = head.target.split('?').next().unwrap_or_default();
            format!("{} {}", head.method, redact::text(path))
        }
        RequestHead::Database(call) => call.system.to_owned(),
        RequestHead::Message(message) => format!("{} {}", message.system, message.destination),
        RequestHead::Procedure(procedure) => format!("{} {}", procedure.system, procedure.name),
        RequestHead::Tls(_) => "tls".to_owned(),
        RequestHead::Dns(_) => "dns".to_owned(),
        RequestHead::Turn => "tcp".to_owned(),
    }
}

/// Marks a span whose exchange has no regular end. What Clew itself did not see is no error of the traced program.
fn outcome(span: &mut Span, broken: Broken) {
    let (error, outcome) = reason(broken);
    span.attributes.push((OUTCOME, Value::fixed(outcome)));
    if !matches!(broken, Broken::Unseen | Broken::AgentStopped) {
        span.attributes.retain(|(key, _)| *key != "error.type");
        span.attributes.push(("error.type", Value::fixed(error)));
        span.status = Status::Error(match broken {
            Broken::Exited(status) => failure::story(status),
            _ => error.replace('_', " "),
        });
    }
}

/// Where the message went (network attributes of the semantic conventions).
fn connection(span: &mut Span, facts: &ConnFacts, serves_here: bool) {
    let attributes = &mut span.attributes;
    match &facts.endpoints {
        Endpoints::Tcp { local, remote } | Endpoints::Udp { local, remote } => {
            let transport = match &facts.endpoints {
                Endpoints::Udp { .. } => "udp",
                _ => "tcp",
            };
            let (local_address, remote_address) = (local.ip().to_smolstr(), remote.ip().to_smolstr());
            attributes.push(("network.transport", Value::fixed(transport)));
            let family = if local.is_ipv4() { "ipv4" } else { "ipv6" };
            attributes.push(("network.type", Value::fixed(family)));
            attributes.push(("network.local.address", Value::Text(local_address)));
            attributes.push(("network.local.port", Value::Int(i64::from(local.port()))));
            attributes.push(("network.peer.address", Value::Text(remote_address.clone())));
            attributes.push(("network.peer.port", Value::Int(i64::from(remote.port()))));
            let address = if serves_here { local } else { remote };
            default(attributes, "server.address", || Value::Text(address.ip().to_smolstr()));
            default(attributes, "server.port", || Value::Int(i64::from(address.port())));
            if serves_here {
                match facts.preface.client {
                    // Whom the proxy speaks for, which is no end of the connection.
                    Some(client) if !attributes.iter().any(|(name, _)| *name == "client.address") => {
                        attributes.push(("client.address", Value::Text(client.ip().to_smolstr())));
                        attributes.push(("client.port", Value::Int(i64::from(client.port()))));
                    }
                    _ => default(attributes, "client.address", || Value::Text(remote_address)),
                }
            }
        }
        Endpoints::Unix { .. } => attributes.push(("network.transport", Value::fixed("unix"))),
    }
}

/// Sets an attribute that is not there.
fn default(attributes: &mut Vec<(&'static str, Value)>, key: &'static str, value: impl FnOnce() -> Value) {
    if !attributes.iter().any(|(name, _)| *name == key) {
        attributes.push((key, value()));
    }
}
