//! Microsoft SQL Server: the tabular data stream, versions 7.2 to 8.0 ([MS-TDS]).
//!
//! A message is one or more packets; a request has one message and so has its answer, except that an attention, by which a
//! client gives up waiting, may have one of its own. An answer is a stream of tokens, and is over with its last packet whatever
//! is known of them. Either the login alone is encrypted, so that records of TLS stand between packets, or all that follows the
//! agreement on it, which is then read as TLS. In both the handshake passes within packets.
mod answer;
mod ask;
mod cursor;
mod layers;
mod packet;
mod request;
mod session;
mod tokens;
mod types;

pub(super) use packet::recognize;

use super::call::{Call, Text};
use super::calls::Calls;
use super::frames::Frames;
use super::ordered::{Dialect, Hole, Ordered, Read, Side};
use super::{Broken, Exchange, Limits, Mark, Parser, Preface, Start, Step};
use packet::Packets;
use session::Session;
use tokens::Tokens;

/// The name of the row in `PROTOCOLS`.
pub(super) const NAME: &str = "tds";
/// The name of this system, as `db.system.name` has it.
const SYSTEM: &str = "microsoft.sql_server";

/// A parser for one connection.
pub(super) fn parser(start: &Start) -> Box<dyn Parser> {
    let begins = packet::begins(&start.bytes);
    let dialect = Tds {
        limits: start.limits,
        session: Session::default(),
        calls: Calls::new(start.direction, start),
        asks: Frames::default(),
        answers: Frames::default(),
        asking: None,
        deferred: None,
        tokens: Tokens::default(),
        begins_answer: true,
        agreeing: None,
        encrypts: false,
        awaits_login: false,
        attentions: 0,
        dark: false,
        preface: start.preface,
    };
    let plain = Ordered::new(dialect, start, start.direction, begins);
    Box::new(layers::Layers::new(plain, start))
}

/// One connection.
struct Tds {
    limits: Limits,
    session: Session,
    calls: Calls<Asked>,
    asks: Frames<Packets>,
    answers: Frames<Packets>,
    /// A message of the client's whose last packet has not come.
    asking: Option<Asking>,
    /// A login that is told when it is answered: its answer may pass elsewhere.
    deferred: Option<(Mark, Mark, Box<Call>)>,
    tokens: Tokens,
    /// The next packet of the server's begins a message.
    begins_answer: bool,
    /// The client has said what it wants of encryption, and waits for what the server wants.
    agreeing: Option<u8>,
    /// All that follows is encrypted, as both have agreed.
    encrypts: bool,
    /// It was agreed that no more than the login is.
    awaits_login: bool,
    /// Attentions that nothing was outstanding for.
    attentions: usize,
    /// Several sessions share the connection and are not told apart, or it speaks an older version.
    dark: bool,
    preface: Preface,
}

/// A message that is not complete.
struct Asking {
    begin: Mark,
    kind: u8,
    /// The first bytes of its content.
    kept: Vec<u8>,
    /// Its content is longer.
    longer: bool,
    /// Some of the kept was not seen.
    cut: bool,
    /// The session is as if new, but for the transaction.
    resets: bool,
}

/// What is noted of a request.
#[derive(Debug, Default)]
struct Asked {
    /// It asks to be let in, which may take several messages of both sides.
    enters: bool,
    /// The client was let in, or was not.
    entered: bool,
    /// What it prepares.
    prepares: Option<Text>,
    /// It may change the session's database.
    may_use: bool,
    /// The transaction it was asked in, by the offset of the request that began it.
    transaction: Option<u64>,
    /// A result with rows came, and it was not said how many they are.
    in_result: bool,
    /// The client has given up waiting.
    attention: bool,
    /// The server has done all of it.
    done: bool,
    /// It has said that something failed.
    failed: bool,
}

impl Dialect for Tds {
    const INVALID: &'static str = "protocol.tds.invalid";
    const UNMATCHED: &'static str = "protocol.tds.response_unmatched";

    fn read(&mut self, side: Side, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Read {
        match side {
            _ if self.dark => Read::All,
            Side::Ask => self.asked(bytes, at, out),
            Side::Answer => self.answer(bytes, at, out),
        }
    }

    fn hole(&mut self, side: Side, length: u64, at: Mark, out: &mut Vec<Step>) -> Hole {
        match side {
            _ if self.dark => Hole::Within,
            Side::Ask => self.hole_in_asks(length, at, out),
            Side::Answer => self.hole_in_answers(length, at, out),
        }
    }

    fn restart(&mut self, asked_unseen: bool) {
        self.asks.restart();
        self.answers.restart();
        self.asking = None;
        self.deferred = None;
        self.tokens.restart();
        self.begins_answer = true;
        self.agreeing = None;
        self.awaits_login = false;
        self.attentions = 0;
        self.session.restart(asked_unseen);
    }

    fn outstanding(&self) -> usize {
        self.calls
            .len()
            .saturating_add(usize::from(self.deferred.is_some()))
            .saturating_add(usize::from(self.agreeing.is_some()))
            .saturating_add(self.attentions)
    }

    fn in_dialog(&self) -> bool {
        self.deferred.is_some() || self.calls.first().is_some_and(|call| call.what.enters)
    }

    fn open(&self) -> usize {
        self.calls.len()
    }

    fn next(&self) -> Exchange {
        self.calls.next()
    }

    fn break_all(&mut self, at: Mark, reason: Broken, rest: Broken, out: &mut Vec<Step>) {
        self.deferred = None;
        self.calls.break_all(at, reason, rest, out);
    }

    fn blind_end(&mut self, tail: &[u8], end: Mark, out: &mut Vec<Step>) {
        self.ended_unseen(tail, end, out);
    }

    fn closed(&mut self, _at: Mark, _out: &mut Vec<Step>) {}

    fn wants_bytes(&self) -> bool {
        !self.dark
    }
}

#[cfg(test)]
mod tests;
