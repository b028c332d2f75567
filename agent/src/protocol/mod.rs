//! Turns the pieces of a connection into exchanges: a request and what answered it.
//!
//! In: [`Piece`](crate::stream::Piece)s of both directions, in order per direction. Out: [`Step`]s. A parser never fails;
//! it answers. Bytes from outside cannot panic it and cannot make it hold more than a bound that a counter names.
#![forbid(unsafe_code)]
pub mod http1;

use bytes::Bytes;

use crate::capture::{Direction, Moment};

/// A place in a direction's stream, and when and by whom it was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Offset just past the byte meant.
    pub offset: u64,
    /// The operation that carried the byte.
    pub moment: Moment,
}

/// The number of an exchange on its connection, counted from 0 as requests are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Exchange(pub u64);

/// What became of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The head of a request is complete.
    Request(Box<Request>),
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
    Response(Box<Response>),
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
    },
    /// Something was dropped or not understood; the counter of this name is raised.
    Count(&'static str),
}

/// Why an exchange has no regular end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Broken {
    /// The peer closed the connection first.
    Closed,
    /// The connection was reset or failed with this `errno`.
    Failed(i32),
    /// Bytes that decide it were not seen.
    Unseen,
    /// The bytes do not follow the protocol.
    Invalid,
    /// The connection now speaks something else (`CONNECT`, `Upgrade`).
    Switched,
    /// The agent stopped first.
    AgentStopped,
    /// The process ended first, with this wait status.
    Exited(u32),
    /// Nothing happened for longer than Clew waits.
    Idle,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its exchange.
    pub exchange: Exchange,
    /// Which way it went: ingress makes this end the server.
    pub direction: Direction,
    /// Its first byte.
    pub start: Mark,
    /// The last byte of its head. Stitching compares this offset at both ends.
    pub head_end: Mark,
    /// What it asks.
    pub head: RequestHead,
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The exchange it answers.
    pub exchange: Exchange,
    /// Its first byte.
    pub start: Mark,
    /// The last byte of its head.
    pub head_end: Mark,
    /// What it says.
    pub head: ResponseHead,
}

/// What a request asks, by protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestHead {
    /// HTTP/1.0 or 1.1.
    Http(http1::RequestHead),
}

/// What a response says, by protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseHead {
    /// HTTP/1.0 or 1.1.
    Http(http1::ResponseHead),
}

/// What is known of a message's body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// Bytes of content, transfer coding removed. None where they could not be counted.
    pub bytes: Option<u64>,
    /// The first of them, up to the limit of the settings.
    pub captured: Bytes,
}
