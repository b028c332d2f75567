//! Turns the pieces of a connection into exchanges: a request and what answered it.
//!
//! In: [`Piece`](crate::stream::Piece)s of both directions, in order per direction. Out: [`Step`]s. A parser never fails;
//! it answers. Bytes from outside cannot panic it and cannot make it hold more than a bound that a counter names.
//!
//! What a connection speaks is told by its bytes, never by its port, and a wrong guess corrects itself.
#![forbid(unsafe_code)]
mod amqp;
pub mod call;
mod calls;
mod cassandra;
mod conversation;
mod detect;
pub mod dns;
mod dubbo;
mod fastcgi;
mod frames;
mod handled;
mod held;
pub mod http1;
mod http2;
mod kafka;
mod memcached;
pub mod message;
mod messages;
mod mongodb;
mod mqtt;
mod mysql;
mod nats;
mod numbered;
mod ordered;
#[cfg(test)]
mod played;
mod postgresql;
mod preface;
pub mod procedure;
mod redis;
mod tds;
mod thrift;
pub mod tls;
mod turn;
mod unknown;
pub mod uuid;
pub mod websocket;

use std::ops::Deref;

use bytes::Bytes;
use smol_str::SmolStr;

pub use conversation::{Conversation, Recognition};
pub use preface::Preface;

use crate::capture::{Direction, Moment};
use crate::stream::Piece;

/// The protocols, in the order in which they are tried. Everything that lists protocols is derived from this table.
pub const PROTOCOLS: &[Protocol] = &[
    Protocol {
        name: tls::NAME,
        title: "TLS 1.0 to 1.3",
        tested: "OpenSSL",
        limits: "the handshake alone; what passes encrypted is told as the protocol that it is",
        recognize: tls::recognize,
        parser: tls::parser,
    },
    // Before HTTP: its client begins with what looks like a method of HTTP's.
    Protocol {
        name: "nats",
        title: "NATS, with headers and JetStream",
        tested: "nats-server 2.9; nats-py",
        limits: "calls of JetStream's API are not told; an answer is waited for ten seconds, an acknowledgement a minute; what is published \
                 from a client's buffer by another task has no parent",
        recognize: nats::recognize,
        parser: nats::parser,
    },
    Protocol {
        name: "http",
        title: "HTTP/1.0, HTTP/1.1",
        tested: "curl, nginx, Go, Node.js, Python, Ruby, Java, Rust, Envoy",
        limits: "bodies are looked into for GraphQL, JSON-RPC and calls to generative models alone, and only where they are kept (`--bodies`)",
        recognize: http1::recognize,
        parser: http1::parser,
    },
    Protocol {
        name: websocket::NAME,
        title: "WebSocket, behind HTTP/1.1",
        tested: "websockets, aiohttp",
        limits: "content is counted, not shown; frames are not counted further where a hole hides where they begin; not over HTTP/2",
        recognize: websocket::recognize,
        parser: websocket::parser,
    },
    Protocol {
        name: "http2",
        title: "HTTP/2 without TLS, gRPC, gRPC-Web, Connect",
        tested: "curl, nginx, grpc-go, grpc-java, grpcio, grpc-js, tonic, Go net/http, httpx",
        limits: "pushed responses are counted only; parents within a process in Go, in Rust on hyper, and in Node.js under `clew run`",
        recognize: http2::recognize,
        parser: http2::parser,
    },
    Protocol {
        name: "postgresql",
        title: "PostgreSQL, protocol 3",
        tested: "PostgreSQL 15; libpq, psycopg 3, asyncpg, pgx, lib/pq, pgjdbc, pg of Node.js, pgbench",
        limits: "no statement text where it was prepared before Clew came or in a stretch that was lost; replication is one call",
        recognize: postgresql::recognize,
        parser: postgresql::parser,
    },
    Protocol {
        name: "mysql",
        title: "MySQL and MariaDB, protocol 10",
        tested: "MariaDB 10.11; PyMySQL, MySQL Connector/Python, MariaDB's C client, mysqlslap",
        limits: "what follows is not read where a connection is compressed or replicates; no statement text where it was prepared before \
                 Clew came or in a stretch that was lost; `db.system.name` is `mysql` where the greeting was not seen",
        recognize: mysql::recognize,
        parser: mysql::parser,
    },
    Protocol {
        name: tds::NAME,
        title: "Microsoft SQL Server, TDS 7.2 to 8.0",
        tested: "clients alone (python-tds, FreeTDS, Microsoft's ODBC driver, tedious, go-mssqldb); the server's side is written after its \
                 specification, [MS-TDS]",
        limits: "what follows is not read where several sessions share a connection (MARS); rows are not counted where columns are encrypted \
                 or of a type that is not known; no statement text where it was prepared before Clew came or in a stretch that was lost",
        recognize: tds::recognize,
        parser: tds::parser,
    },
    Protocol {
        name: "redis",
        title: "Redis, RESP 2 and 3",
        tested: "Redis 7.0; redis-py, go-redis, Jedis, ioredis, redis-cli, redis-benchmark, Celery",
        limits: "messages of pub/sub, MONITOR and replication are not told; what clients say of themselves (`CLIENT SETINFO`) never makes a span \
                 fail; a connection that began with other commands in a line than PING is \
                 found when it sends arrays; of messages in lists Celery's alone are told as such, up to 64 KiB, and end where they are handed \
                 over; what its workers ask for a task has a parent where processes do the tasks (`-P prefork`)",
        recognize: redis::recognize,
        parser: redis::parser,
    },
    // Before memcached: of the first bytes of a call only their number is unlike the head of a command.
    Protocol {
        name: "thrift",
        title: "Thrift, binary and compact, framed and not",
        tested: "Apache Thrift's Python library 0.25, thriftpy2",
        limits: "calls that declare no version (`strict_write` off), `THeader` and JSON are not recognized; a declared exception has no name, \
                 which only its callers know",
        recognize: thrift::recognize,
        parser: thrift::parser,
    },
    Protocol {
        name: "memcached",
        title: "memcached, text, meta and binary",
        tested: "memcached 1.6; pymemcache, python-binary-memcached, libmemcached's tools",
        limits: "quiet commands in text have no outcome, since nothing tells which answer is whose; UDP; the values of `watch`",
        recognize: memcached::recognize,
        parser: memcached::parser,
    },
    Protocol {
        name: "amqp",
        title: "AMQP 0-9-1",
        tested: "RabbitMQ 3.10; pika, aio-pika, py-amqp, Celery",
        limits: "declarations and bindings are not told; what Celery's workers ask for a task has a parent where processes do the tasks \
                 (`-P prefork`) and their ids are UUIDs, as they are unless set, or where one process does one task at a time and acknowledges \
                 it then (`-P solo`), but not where threads do, nor of a task that was handed over twice; returned messages are told where \
                 publishing is confirmed",
        recognize: amqp::recognize,
        parser: amqp::parser,
    },
    Protocol {
        name: "kafka",
        title: "Kafka",
        tested: "Apache Kafka 4.1; its Java client, kafka-python",
        limits: "messages are told by the batch; groups, commits, metadata \
                 and administration are not told; no parent of what a client's own thread sends but a context in the messages; a topic's \
                 name is known where it is sent, or where metadata was seen",
        recognize: kafka::recognize,
        parser: kafka::parser,
    },
    Protocol {
        name: "mqtt",
        title: "MQTT 3.1, 3.1.1 and 5",
        tested: "mosquitto 2.0; paho-mqtt",
        limits: "connecting, subscribing and wills that are set are not told; on a connection that was joined midway nothing is told until a \
                 packet shows who is the client, and the topic alone until one shows the version; not over WebSocket",
        recognize: mqtt::recognize,
        parser: mqtt::parser,
    },
    Protocol {
        name: "mongodb",
        title: "MongoDB, OP_MSG",
        tested: "FerretDB 1.24; PyMongo",
        limits: "what is compressed and was not captured whole may be told without its name; documents of an answer are counted in its first 64 KiB",
        recognize: mongodb::recognize,
        parser: mongodb::parser,
    },
    Protocol {
        name: "fastcgi",
        title: "FastCGI",
        tested: "PHP-FPM 8.2; nginx",
        limits: "what a program writes to its error stream is not told",
        recognize: fastcgi::recognize,
        parser: fastcgi::parser,
    },
    Protocol {
        name: dns::NAME,
        title: "DNS, over UDP and TCP",
        tested: "BIND, dnslib; glibc, dig, c-ares, Go",
        limits: "over UDP the client's end alone, on a socket that is connected to port 53; not that of nginx and Envoy; no updates",
        recognize: dns::recognize,
        parser: dns::parser,
    },
    Protocol {
        name: "dubbo",
        title: "Dubbo, its own protocol",
        tested: "Apache Dubbo 3.2",
        limits: "services and procedures have no name where they are not written in Hessian 2; what an exception says is not told; calls of \
                 a server to its client (callbacks) are not told; a call has no parent, since a loop of Netty writes it",
        recognize: dubbo::recognize,
        parser: dubbo::parser,
    },
    // Behind others: what may be the head of a segment is waited for.
    Protocol {
        name: "cassandra",
        title: "Cassandra's CQL, protocols 3 to 5",
        tested: "Apache Cassandra 5.0; its driver for Python",
        limits: "connecting, registering and events are not told; values of parameters are not told; a batch has no text where one of its \
                 statements was prepared elsewhere; what drivers write on a thread of their own has no parent",
        recognize: cassandra::recognize,
        parser: cassandra::parser,
    },
];

/// Bytes of a direction that recognition looks at, however they are cut.
pub const DETECT_BYTES: usize = 256;

/// A protocol Clew decodes.
pub struct Protocol {
    /// Its name.
    pub name: &'static str,
    /// It and its versions, for people.
    pub title: &'static str,
    /// What it was tested with.
    pub tested: &'static str,
    /// What of it is not followed.
    pub limits: &'static str,
    /// Whether the first bytes of a direction, at most [`DETECT_BYTES`], are of this protocol.
    pub recognize: fn(&[u8]) -> Recognized,
    /// A parser for a connection that was recognized.
    pub parser: fn(&Start) -> Box<dyn Parser>,
}

/// Whether bytes are of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recognized {
    /// They are.
    Yes,
    /// They may be; more is needed.
    More,
    /// They are not.
    No,
}

/// What the settings allow a parser.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Bytes of a body that are kept.
    pub body_bytes: usize,
    /// Whether parameters of database calls are kept.
    pub values: bool,
    /// Whether connections that speak nothing known are told by their turns.
    pub turns: bool,
}

/// Where a parser begins.
#[derive(Clone, Debug)]
pub struct Start {
    /// What the settings allow.
    pub limits: Limits,
    /// The number of the first exchange.
    pub first: Exchange,
    /// The direction whose bytes were recognized.
    pub direction: Direction,
    /// Those bytes, at most [`DETECT_BYTES`].
    pub bytes: Bytes,
    /// The connection was followed from its beginning: offsets count from byte 0.
    pub from_beginning: bool,
    /// What stood before the protocol.
    pub preface: Preface,
    /// Each operation is a message of its own.
    pub datagrams: bool,
    /// The exchange that asked for this protocol and is answered in it.
    pub carried: Option<Exchange>,
}

/// One protocol on one connection.
pub trait Parser: Send {
    /// Takes the next piece.
    fn piece(&mut self, piece: Piece, out: &mut Vec<Step>) -> Flow;
    /// Tells the parser the time, so that it gives up on what will not come.
    fn tick(&mut self, now_ns: u64, out: &mut Vec<Step>);
    /// The connection is over, or the agent stops: every exchange that is still open ends now.
    fn end(&mut self, at: Mark, reason: Broken, out: &mut Vec<Step>);
    /// Exchanges without an end.
    fn open(&self) -> usize;
    /// The number the next exchange will get.
    fn next_exchange(&self) -> Exchange;
    /// Whether the kernel should give each operation a budget of its own.
    fn wants_every_operation(&self) -> bool {
        false
    }
    /// Whether messages lie anywhere in an operation, so that all of it should be copied.
    fn wants_whole_operations(&self) -> bool {
        false
    }
    /// Whether bytes are still of use: else the kernel need not copy them.
    fn wants_bytes(&self) -> bool {
        true
    }
    /// Whether the client takes work by it, which it may hand to processes that it creates.
    fn takes_work(&self) -> bool {
        false
    }
    /// Whether it tells by itself what of the connection is encrypted, and takes that for nothing else.
    fn tells_ciphertext(&self) -> bool {
        false
    }
    /// What the connection carries is seen elsewhere: what was told of the connection itself is withdrawn.
    fn seen_through(&mut self, _out: &mut Vec<Step>) {}
    /// What the connection carries will be seen elsewhere, if it carries anything.
    fn tied(&mut self) {}
    /// What a handshake of the connection came to.
    fn handshake(&self) -> Option<&tls::Handshake> {
        None
    }
    /// The exchange that goes on in the protocol that is switched to.
    fn carried(&mut self) -> Option<Exchange> {
        None
    }
    /// The protocol that is switched to and the way its client sends, where both sides have agreed on it in so many words: it
    /// is not to be recognized.
    fn successor(&self) -> Option<(&'static str, Direction)> {
        None
    }
}

/// How a conversation goes on after a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flow {
    /// In the same protocol.
    Continue,
    /// In another one: what follows, beginning with these pieces, is to be recognized anew.
    Switched(Vec<Piece>),
    /// This protocol was a wrong guess: what follows is to be recognized anew.
    Rejected,
}

impl Flow {
    /// The same with pieces that come after all others.
    fn followed_by(self, pieces: impl IntoIterator<Item = Piece>) -> Self {
        match self {
            Self::Switched(mut rest) => {
                rest.extend(pieces);
                Self::Switched(rest)
            }
            other => other,
        }
    }
}

/// A place in a direction's stream, and when and by whom it was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Offset just past the byte meant.
    pub offset: u64,
    /// The operation that carried the byte.
    pub moment: Moment,
}

impl Mark {
    /// Where a piece begins.
    const fn of(piece: &Piece) -> Self {
        Self {
            offset: piece.offset,
            moment: piece.moment,
        }
    }

    /// So many bytes further, of the same operation.
    const fn behind(self, bytes: u64) -> Self {
        Self {
            offset: self.offset.saturating_add(bytes),
            moment: self.moment,
        }
    }
}

/// The number of an exchange on its connection, counted from 0 as requests are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Exchange(pub u64);

/// What became of an exchange. Each exchange has one `Request` and ends with one `ResponseEnd` or `Broken`, or a `Response` that is whole; a
/// `RequestEnd` may come after the end where the answer did not wait for the whole question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The head of a request is complete.
    Request(Request),
    /// The request is complete.
    RequestEnd {
        /// Which.
        exchange: Exchange,
        /// Its last byte.
        end: Mark,
        /// Its body.
        body: Body,
    },
    /// The head of the final response is complete.
    Response(Response),
    /// The response is complete, and with it the exchange.
    ResponseEnd {
        /// Which.
        exchange: Exchange,
        /// Its last byte.
        end: Mark,
        /// Its body.
        body: Body,
    },
    /// The exchange will not be completed.
    Broken {
        /// Which.
        exchange: Exchange,
        /// What ended it.
        at: Mark,
        /// Why.
        reason: Broken,
        /// What is known of the response's body.
        body: Body,
    },
    /// This stood on the connection before its protocol.
    Preface(Preface),
    /// The connection is encrypted; this was said before.
    Hello(Box<tls::Hello>),
    /// What carried the request carried others as well: whoever passed it may have passed it for another.
    Shared {
        /// Which.
        exchange: Exchange,
    },
    /// The exchange is told of in another way: it is as if it had never been. It ends with this.
    Withdrawn {
        /// Which.
        exchange: Exchange,
    },
    /// A number stands for this name, on whatever connection.
    Named {
        /// The number.
        id: Id,
        /// The name.
        name: SmolStr,
    },
    /// Something was dropped or not understood; the counter of this name is raised.
    Count(&'static str),
}

/// Adds a step, which is made where it is kept: it is too large to be made elsewhere and copied.
fn put(out: &mut Vec<Step>, step: impl FnOnce() -> Step) {
    out.extend(std::iter::once_with(step));
}

/// A number that stands for a name wherever it is said, as it is sent.
pub type Id = [u8; 16];

/// Why an exchange has no regular end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Broken {
    /// The connection was closed first.
    Closed,
    /// The connection was reset or failed with this `errno`.
    Failed(i32),
    /// Bytes that decide it were not seen.
    Unseen,
    /// The bytes do not follow the protocol.
    Invalid,
    /// It was given up with this error code while the connection went on (HTTP/2's `RST_STREAM`).
    Reset(u32),
    /// The server closes the connection with this error code and has not looked at it (HTTP/2's `GOAWAY`).
    Refused(u32),
    /// The server says so that it does not serve it.
    Declined(&'static str),
    /// The agent stopped first.
    AgentStopped,
    /// The process ended first, with this wait status.
    Exited(u32),
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its exchange.
    pub exchange: Exchange,
    /// Which way it went: ingress makes this end the server, unless it was [pushed](RequestHead::is_pushed).
    pub direction: Direction,
    /// Its stream, where a connection has many at once.
    pub stream: Option<u32>,
    /// Offset of its first byte, the same at both ends of the connection: stitching compares it.
    pub offset: u64,
    /// The operation that carried its first byte.
    pub start: Moment,
    /// Under encryption: the offset, in the connection's own stream, behind the record that carried the last byte of its head;
    /// where that is known. Whoever passes the plaintext on sets it.
    pub record: Option<u64>,
    /// The last byte of its head.
    pub head_end: Mark,
    /// What it asks.
    pub head: RequestHead,
    /// It has ended with its head: no [`Step::RequestEnd`] comes.
    pub whole: bool,
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The exchange it answers.
    pub exchange: Exchange,
    /// The operation that carried its first byte.
    pub start: Moment,
    /// The last byte of its head.
    pub head_end: Mark,
    /// What it says.
    pub head: ResponseHead,
    /// It has ended with its head, and with it the exchange: no [`Step::ResponseEnd`] comes.
    pub whole: bool,
}

/// What a request asks, by protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestHead {
    /// HTTP of any version.
    Http(http1::RequestHead),
    /// A database.
    Database(call::Call),
    /// A message for a broker or from one.
    Message(Box<message::Message>),
    /// A procedure, called otherwise than over HTTP.
    Procedure(procedure::Procedure),
    /// The hello of an encrypted connection.
    Tls(tls::ClientHello),
    /// A name that is looked up.
    Dns(dns::Question),
    /// Something in a protocol that is not known.
    Turn,
}

impl RequestHead {
    /// Whether the exchange is a connection, on which others may ask and answer.
    pub const fn is_connection(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Whether the end that otherwise answers sent it unasked.
    pub fn is_pushed(&self) -> bool {
        matches!(self, Self::Message(message) if message.action == message::Action::Deliver)
    }
}

/// What a response says, by protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseHead {
    /// HTTP of any version.
    Http(http1::ResponseHead),
    /// A database. It is told when the answer is complete.
    Database(call::Outcome),
    /// What became of a message.
    Message(message::Outcome),
    /// What a procedure returned.
    Procedure(procedure::Returned),
    /// What the handshake of an encrypted connection came to.
    Tls(Box<tls::Handshake>),
    /// What is known of a name.
    Dns(dns::Answer),
    /// Something in a protocol that is not known.
    Turn,
}

impl From<call::Call> for RequestHead {
    fn from(call: call::Call) -> Self {
        Self::Database(call)
    }
}

impl From<message::Outcome> for ResponseHead {
    fn from(outcome: message::Outcome) -> Self {
        Self::Message(outcome)
    }
}

impl From<procedure::Procedure> for RequestHead {
    fn from(procedure: procedure::Procedure) -> Self {
        Self::Procedure(procedure)
    }
}

impl From<call::Outcome> for ResponseHead {
    fn from(outcome: call::Outcome) -> Self {
        Self::Database(outcome)
    }
}

impl From<procedure::Returned> for ResponseHead {
    fn from(returned: procedure::Returned) -> Self {
        Self::Procedure(returned)
    }
}

/// A message's body, of which most protocols know nothing: steps are handed on, and so are small.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body(Option<Box<Known>>);

impl Deref for Body {
    type Target = Known;

    fn deref(&self) -> &Known {
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl From<Known> for Body {
    fn from(known: Known) -> Self {
        Self((known != NOTHING).then(|| Box::new(known)))
    }
}

static NOTHING: Known = Known {
    bytes: None,
    captured: Bytes::new(),
    first_ns: None,
    messages: None,
    trailers: None,
    end: Bytes::new(),
    websocket: None,
};

/// What is known of a message's body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Bytes of content, transfer coding removed. None where they could not be counted.
    pub bytes: Option<u64>,
    /// The first of them, up to the limit of the settings.
    pub captured: Bytes,
    /// When the first of them passed, `CLOCK_MONOTONIC` nanoseconds. Only HTTP's are told.
    pub first_ns: Option<u64>,
    /// Messages within, where the content is made of some, as gRPC's is, and all were seen.
    pub messages: Option<u64>,
    /// Fields behind the content: HTTP/2's, and those that gRPC-Web puts into the content.
    pub trailers: Option<Box<http1::Fields>>,
    /// What the message said that ended the others, where one does, as Connect's.
    pub end: Bytes,
    /// What passed a connection that the exchange became.
    pub websocket: Option<Box<websocket::Passed>>,
}
