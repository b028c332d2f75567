//! WebSocket (RFC 6455), behind a request of HTTP/1.1 that switches to it.
//!
//! The exchange of that request is the connection: it ends when both sides have closed it, and its body says what passed. That
//! the connection speaks this is known by the handshake, never guessed; what passes is counted, its content is not looked into.
mod frame;

use super::{Body, Broken, Exchange, Flow, Known, Mark, Parser, Recognized, Start, Step};
use crate::capture::Direction;
use crate::stream::{Content, Piece};
pub use frame::Counts;
use frame::{Frames, Got};

/// The name of this protocol.
pub const NAME: &str = "websocket";

/// What passed a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// From the client.
    pub client: Counts,
    /// From the server.
    pub server: Counts,
    /// Who began to close it.
    pub close: Option<Close>,
}

/// How a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// The client began.
    pub by_client: bool,
    /// Why, if that was said (RFC 6455 section 7.4).
    pub code: Option<u16>,
}

/// Nothing is taken for it by its bytes.
pub(super) const fn recognize(_bytes: &[u8]) -> Recognized {
    Recognized::No
}

/// A parser for a connection whose client sends in the direction of `start`.
pub(super) fn parser(start: &Start) -> Box<dyn Parser> {
    Box::new(WebSocket {
        asks: start.direction,
        next: start.first,
        exchange: start.carried,
        client: Side::new(true),
        server: Side::new(false),
        close: None,
        answered: 0,
    })
}

/// One connection.
struct WebSocket {
    asks: Direction,
    next: Exchange,
    /// The exchange that is the connection, as long as it is open.
    exchange: Option<Exchange>,
    client: Side,
    server: Side,
    close: Option<Close>,
    /// The last byte of the server's that was read.
    answered: u64,
}

/// One direction.
struct Side {
    frames: Frames,
    /// Where frames begin is not known any more.
    lost: bool,
    /// Nothing more comes.
    over: bool,
}

impl Side {
    const fn new(masked: bool) -> Self {
        Self {
            frames: Frames::new(masked),
            lost: false,
            over: false,
        }
    }

    const fn lose(&mut self) {
        self.lost = true;
        self.frames.counts.more = true;
    }
}

impl WebSocket {
    /// What passed.
    fn body(&self) -> Body {
        Known {
            websocket: Some(Box::new(Passed {
                client: self.client.frames.counts,
                server: self.server.frames.counts,
                close: self.close,
            })),
            ..Known::default()
        }
        .into()
    }

    /// The connection is over for `reason`, unless it was closed before.
    fn finish(&mut self, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        let Some(exchange) = self.exchange.take() else { return };
        // Of a response, whoever ends it.
        let at = Mark {
            offset: self.answered,
            ..at
        };
        let body = self.body();
        // That it was closed may have been said where nothing was seen.
        let regular = self.close.is_some() || (reason == Broken::Closed && (self.client.lost || self.server.lost));
        out.push(if regular {
            Step::ResponseEnd {
                exchange,
                end: at,
                body,
            }
        } else {
            Step::Broken {
                exchange,
                at,
                reason,
                body,
            }
        });
    }
}

impl Parser for WebSocket {
    fn piece(&mut self, piece: Piece, out: &mut Vec<Step>) -> Flow {
        if self.exchange.is_none() {
            return Flow::Continue;
        }
        let by_client = piece.direction == self.asks;
        let side = if by_client { &mut self.client } else { &mut self.server };
        let at = Mark::of(&piece);
        if side.over {
            return Flow::Continue;
        }
        let mut passed = match &piece.content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Unseen(length) => *length,
            Content::End | Content::Failed(_) => 0,
        };
        match piece.content {
            Content::Bytes(bytes) if !side.lost => match side.frames.read(&bytes) {
                Got::More => {}
                Got::Close(taken, code) => {
                    side.over = true;
                    passed = taken as u64;
                    self.close.get_or_insert(Close { by_client, code });
                }
                Got::Invalid => {
                    side.lose();
                    out.push(Step::Count("protocol.websocket.invalid"));
                }
            },
            Content::Bytes(_) => {}
            Content::Unseen(length) => {
                if !side.lost && !side.frames.hole(length) {
                    side.lose();
                    out.push(Step::Count("protocol.websocket.framing_unseen"));
                }
            }
            Content::End => side.over = true,
            Content::Failed(errno) => {
                self.finish(at, Broken::Failed(errno), out);
                return Flow::Continue;
            }
        }
        if !by_client {
            self.answered = at.behind(passed).offset;
        }
        if self.client.over && self.server.over {
            self.finish(at, Broken::Closed, out);
        }
        Flow::Continue
    }

    fn tick(&mut self, _now_ns: u64, _out: &mut Vec<Step>) {}

    fn end(&mut self, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        self.finish(at, reason, out);
    }

    fn open(&self) -> usize {
        usize::from(self.exchange.is_some())
    }

    fn next_exchange(&self) -> Exchange {
        self.next
    }

    fn wants_whole_operations(&self) -> bool {
        true
    }

    fn wants_bytes(&self) -> bool {
        self.exchange.is_some() && !(self.client.lost && self.server.lost)
    }
}

#[cfg(test)]
mod tests;
