//! Turns exchanges into spans: names, attributes, status.
//!
//! In: [`Step`](crate::protocol::Step)s of a connection, and what is known of the connection and the process. Out:
//! [`SpanEvent`]s. Names and attributes follow the OpenTelemetry semantic conventions, [`SEMCONV_VERSION`]; what they do
//! not know lives under `clew.`.
#![forbid(unsafe_code)]
#[cfg(test)]
mod asked;
mod aws;
mod build;
mod carried;
mod conceal;
mod content;
pub mod context;
mod database;
mod details;
mod dns;
mod failure;
mod http;
mod json;
mod lane;
mod lookups;
mod messaging;
mod object;
mod phases;
mod policy;
mod procedure;
mod raised;
mod route;
mod rpc;
mod sql;
mod stores;
mod testcase;
mod times;
mod tls;
mod topics;
mod turn;
mod user;
mod websocket;

use std::sync::Arc;

use smol_str::SmolStr;

pub use build::Spans;
pub use details::Detail;
pub use policy::{Policy, RuleError};

use crate::capture::{Actor, ConnId, Connection, Context, Direction, Endpoints, Moment, Pid};
use crate::discover::Process;
use crate::protocol::message::{self, Identity};
use crate::protocol::tls::Handshake;
use crate::protocol::uuid::Uuid;
use crate::protocol::{Exchange, Preface, Request, RequestHead};

/// The version of the OpenTelemetry semantic conventions all names here follow.
pub const SEMCONV_VERSION: &str = "1.42.0";
/// The schema URL of that version.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.42.0";

/// The attribute of an exchange without a regular end.
pub const OUTCOME: &str = "clew.exchange.outcome";

/// The attribute of a span that names where in its program its request was sent, until whoever knows the stack puts its functions there.
pub const STACK: &str = "clew.stack";

/// The attribute with these functions.
pub const STACK_TRACE: &str = "code.stacktrace";

/// What is known of a connection.
#[derive(Clone, Debug)]
pub struct ConnFacts {
    /// The connection.
    pub conn: ConnId,
    /// Its ends.
    pub endpoints: Endpoints,
    /// Inode number of its network namespace.
    pub netns: u64,
    /// Sequence numbers before the first byte of (this end, the other end), where the transport has them.
    pub isn: Option<(u32, u32)>,
    /// The socket may be older than the agent and its offsets do not count from byte 0.
    pub midway: bool,
    /// Which of its streams the exchanges are of.
    pub layer: Layer,
    /// Which way the end that opened it sends, as seen here; where that is known.
    pub asks: Option<Direction>,
    /// How long opening it took, from the first SYN to the handshake's end. None where that was not seen.
    pub connect_ns: Option<u64>,
    /// How long it waited to be accepted, where the other end opened it. None where that was not seen.
    pub accept_ns: Option<u64>,
    /// What a proxy said on it before all else.
    pub preface: Preface,
    /// What a handshake of it came to, where what the connection carries is seen, and the exchange that tells of it.
    pub handshake: Option<(Exchange, Box<Handshake>)>,
}

impl From<&Connection> for ConnFacts {
    fn from(connection: &Connection) -> Self {
        Self {
            conn: connection.conn,
            endpoints: connection.endpoints.clone(),
            netns: connection.netns,
            isn: connection.isn,
            midway: connection.midway,
            layer: Layer::Wire,
            asks: None,
            connect_ns: None,
            accept_ns: None,
            preface: Preface::default(),
            handshake: None,
        }
    }
}

impl ConnFacts {
    /// Whether a request is the first that the connection, or the stream of its layer, carries.
    pub(crate) fn is_first(&self, request: &Request) -> bool {
        let begins = match self.layer {
            Layer::Wire => self.preface.ends_at(request.direction, request.offset),
            Layer::Plain | Layer::PlainMidway => request.offset == 0,
        };
        // Those of HTTP/2 stand behind what each side sets; their numbers ascend, and some clients begin with 3 (RFC 9113 section 5.1.1).
        begins || matches!(&request.head, RequestHead::Http(head) if head.first || request.stream == Some(1))
    }
}

/// A stream of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Its own bytes.
    Wire,
    /// The plaintext of what is encrypted, counted from byte 0.
    Plain,
    /// The same, counted from where it was first seen.
    PlainMidway,
}

impl Layer {
    /// Whether its bytes pass encrypted.
    pub const fn is_plain(self) -> bool {
        matches!(self, Self::Plain | Self::PlainMidway)
    }
}

/// What one exchange has in common at both ends of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Position {
    /// Offset of the request's first byte in its direction.
    Wire(u64),
    /// The same in the plaintext.
    Plain(u64),
    /// Offset in its direction behind the record that carried the last byte of the request's head.
    Record(u64),
}

/// The number of a span while the agent runs; its 8-byte id is made by the trace stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanKey(pub u64);

/// What the trace stage hears of a span.
#[derive(Clone, Debug)]
pub enum SpanEvent {
    /// A request's head is complete: from here on the span can be a parent, a child or an end of a connection.
    Opened(Opened),
    /// The span is complete.
    Finished {
        /// Its key.
        key: SpanKey,
        /// Who passed its last byte.
        actor: Actor,
        /// The rest.
        span: Box<Span>,
    },
    /// The span will not be told: what it stood for is told by others.
    Withdrawn {
        /// Its key.
        key: SpanKey,
    },
    /// The span sent a message, or got one, that is recognized by this.
    Message {
        /// Its key.
        key: SpanKey,
        /// The message's identity.
        identity: Identity,
        /// It was sent.
        sent: bool,
    },
    /// The span got a message that has names which no other has.
    Named {
        /// Its key.
        key: SpanKey,
        /// The process that got it.
        pid: Pid,
        /// Its own names.
        own: Vec<Uuid>,
        /// What else its sender names in its headers.
        others: Vec<Uuid>,
    },
    /// The span got a message that carries this context.
    Carried {
        /// Its key.
        key: SpanKey,
        /// The context.
        context: RemoteContext,
    },
    /// Whoever passed the span's request may have passed it for another.
    Shared {
        /// Its key.
        key: SpanKey,
    },
    /// A counter was raised.
    Count(&'static str),
}

/// A span that has begun.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Its key.
    pub key: SpanKey,
    /// Client or server.
    pub kind: SpanKind,
    /// The connection.
    pub conn: ConnId,
    /// Its stream, where the connection carries many requests at once.
    pub stream: Option<u32>,
    /// Where it is one: the context in which Node.js serves it, or that by which it names the connection on which it asks.
    pub stream_context: Option<Context>,
    /// Where its request stands: equal at both ends of the connection.
    pub places: [Option<Position>; 2],
    /// When the request began, and who read or sent its first byte.
    pub start: Moment,
    /// Who read or sent the last byte of its head. Causality goes by this one.
    pub actor: Actor,
    /// The process.
    pub process: Arc<Process>,
    /// The trace context the request carried, whatever its format.
    pub remote: Option<RemoteContext>,
    /// It is a connection, not a request: whoever reads or writes on it works for nobody because of it.
    pub is_connection: bool,
    /// It is of a message, and which end of it.
    pub message: Option<MessageEnd>,
}

/// An end of a message's way between a program and a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageEnd {
    /// A program sends it or asks for one.
    Asks,
    /// A program is handed one unasked.
    Gets,
    /// The broker is asked.
    BrokerAsked,
    /// The broker hands one over.
    BrokerHands,
}

impl MessageEnd {
    /// Whether the broker sent it unasked.
    pub const fn is_pushed(self) -> bool {
        matches!(self, Self::Gets | Self::BrokerHands)
    }

    /// Whether it is the broker's.
    pub const fn is_broker(self) -> bool {
        matches!(self, Self::BrokerAsked | Self::BrokerHands)
    }
}

/// A trace context that came with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteContext {
    /// Trace id, big endian.
    pub trace_id: [u8; 16],
    /// Id of the span that sent the message.
    pub span_id: [u8; 8],
    /// The sampled flag, where the format has one.
    pub sampled: Option<bool>,
    /// W3C `tracestate`, as sent.
    pub trace_state: String,
    /// The format it came in, as `clew.context.format` names it: `w3c`, `b3`, `b3multi`, `jaeger`, `datadog`, `xray`.
    pub format: &'static str,
}

/// A complete span, without its place in a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Client or server.
    pub kind: SpanKind,
    /// Its name, as the semantic conventions form it.
    pub name: SmolStr,
    /// Start, `CLOCK_MONOTONIC` nanoseconds.
    pub start_ns: u64,
    /// End, `CLOCK_MONOTONIC` nanoseconds, never before the start.
    pub end_ns: u64,
    /// Attributes in a stable order.
    pub attributes: Vec<(&'static str, Value)>,
    /// Attributes whose names are made of the message, such as `http.request.header.accept`.
    pub named: Vec<(SmolStr, Value)>,
    /// Whether the span failed.
    pub status: Status,
    /// Events within the span.
    pub events: Vec<Event>,
}

/// Which side of an exchange a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpanKind {
    /// It answers.
    Server,
    /// It asks.
    Client,
    /// It hands a message over.
    Producer,
    /// It takes a message.
    Consumer,
    /// Neither.
    Internal,
}

/// An attribute's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Text(SmolStr),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
    /// Yes or no.
    Bool(bool),
    /// A list of texts.
    Texts(Box<[SmolStr]>),
}

impl From<&message::Detail> for Value {
    fn from(detail: &message::Detail) -> Self {
        match detail {
            message::Detail::Text(text) => Self::Text(text.clone()),
            message::Detail::Number(number) => Self::Int(i64::try_from(*number).unwrap_or(i64::MAX)),
            message::Detail::Is(yes) => Self::Bool(*yes),
        }
    }
}

impl Value {
    /// A text that is part of Clew.
    pub const fn fixed(text: &'static str) -> Self {
        Self::Text(SmolStr::new_static(text))
    }

    /// Bytes it takes beside itself.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => held(text),
            Self::Texts(texts) => texts.iter().map(|text| size_of::<SmolStr>() + held(text)).sum(),
            Self::Int(_) | Self::Double(_) | Self::Bool(_) => 0,
        }
    }
}

/// Bytes a text takes beside itself, at most.
fn held(text: &SmolStr) -> usize {
    /// What counts the owners of a shared text, and what the allocator adds.
    const SHARED_BYTES: usize = 32;
    if text.is_heap_allocated() {
        text.len() + SHARED_BYTES
    } else {
        0
    }
}

impl Span {
    /// About how many bytes of memory it takes, for the bounds of what holds spans.
    pub fn bytes(&self) -> usize {
        let attribute = |value: &Value| size_of::<(&str, Value)>() + value.bytes();
        let fixed: usize = self.attributes.iter().map(|(_, value)| attribute(value)).sum();
        let spare = (self.attributes.capacity() - self.attributes.len()) * size_of::<(&str, Value)>();
        let named = self.named.iter();
        let named: usize = named
            .map(|(key, value)| size_of::<(SmolStr, Value)>() + held(key) + value.bytes())
            .sum();
        let events = self.events.iter().map(|event| {
            let attributes = event.attributes.iter().map(|(_, value)| attribute(value));
            size_of::<Event>() + attributes.sum::<usize>()
        });
        let message = match &self.status {
            Status::Unset => 0,
            Status::Error(message) => message.capacity(),
        };
        size_of::<Self>() + held(&self.name) + fixed + spare + named + events.sum::<usize>() + message
    }
}

/// A span's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not said.
    Unset,
    /// It failed; the text says how and may be empty.
    Error(String),
}

/// Something that happened within a span.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its name.
    pub name: &'static str,
    /// `CLOCK_MONOTONIC` nanoseconds.
    pub time_ns: u64,
    /// Attributes.
    pub attributes: Vec<(&'static str, Value)>,
}
