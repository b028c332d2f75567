//! PostgreSQL, version 3 of its protocol.
//!
//! An exchange is what a user calls a statement: a `Query`, or an `Execute` with the `Parse` and `Bind` that lead to it.
//! Preparing a statement by itself, opening a connection and cancelling are exchanges too. Every message of the client is
//! answered in order, so the messages that are awaited form a queue (`Awaited`), and what the server says has to fit its
//! front.
mod answer;
mod ask;
mod session;
mod types;
mod wire;

use std::collections::VecDeque;

pub(crate) use wire::recognize;

use super::call::Outcome;
use super::calls::answered;
use super::frames::Frames;
use super::ordered::{Dialect, Hole, Ordered, Read, Side};
use super::{Body, Broken, Exchange, Limits, Mark, Parser, Response, ResponseHead, Start, Step, put};
use crate::capture::{Direction, Moment};
use session::Session;
use types::Types;
use wire::{Back, Front, Speaker, Startup};

/// Messages without an answer.
const MAX_AWAITED: usize = 8192;
/// Exchanges without an answer.
const MAX_OPEN: usize = 1024;

/// A parser for one connection.
pub(super) fn parser(start: &Start) -> Box<dyn Parser> {
    let (_, speaker) = wire::judge(&start.bytes);
    let asks = match speaker {
        Speaker::Back => start.direction.flip(),
        Speaker::Front | Speaker::Opening => start.direction,
    };
    let begins = speaker == Speaker::Opening;
    let dialect = Postgresql::new(asks, start.limits, start.first, begins || start.from_beginning);
    Box::new(Ordered::new(dialect, start, asks, begins))
}

/// One connection.
struct Postgresql {
    asks: Direction,
    limits: Limits,
    session: Session,
    /// The client's first messages are not over.
    opening: bool,
    openings: Frames<Startup>,
    fronts: Frames<Front>,
    backs: Frames<Back>,
    awaited: VecDeque<Awaited>,
    /// Of those awaited, the statements that are to be described: where the types of their parameters go.
    described: VecDeque<Option<Types>>,
    /// Of those awaited, the exchanges and what answers end with `ReadyForQuery`.
    exchanges: usize,
    units: usize,
    next: Exchange,
    /// Where the messages that lead to the next `Execute` began.
    group: Option<Group>,
    /// Behind an error the server skips everything up to the next `Sync`.
    skipping: bool,
    /// The client sends rows; a `Sync` among them is not answered.
    copying: bool,
}

/// Messages that lead to an `Execute`.
#[derive(Clone, Copy, Debug)]
struct Group {
    begin: Mark,
    /// There is a `Parse` among them.
    parses: bool,
}

/// What the server has to answer.
#[derive(Debug)]
struct Awaited {
    what: What,
    call: Option<Answering>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Startup,
    /// One byte that says whether encryption follows.
    Encryption,
    Query,
    Parse,
    Bind,
    /// Of a statement: its parameters come before its rows.
    DescribeStatement,
    DescribePortal,
    Execute,
    Close,
    Sync,
    Function,
    /// A `CancelRequest`: the server closes the connection.
    Cancel,
}

impl What {
    /// The answer ends with `ReadyForQuery`.
    const fn is_unit(self) -> bool {
        matches!(
            self,
            Self::Startup | Self::Encryption | Self::Query | Self::Sync | Self::Function | Self::Cancel
        )
    }
}

/// An exchange on its way.
#[derive(Debug)]
struct Answering {
    exchange: Exchange,
    /// Offset of its request.
    offset: u64,
    /// The first byte of its answer, and the last that was seen.
    seen: Option<(Moment, Mark)>,
    outcome: Outcome,
    /// Its text goes on behind a statement's first word with `TO`, as `ROLLBACK TO` does.
    to_savepoint: bool,
    /// Rows are copied to the client.
    copies_out: bool,
}

impl Answering {
    /// The operation that carried the first byte of its answer.
    fn began(&self) -> Option<Moment> {
        self.seen.map(|(start, _)| start)
    }
}

impl Postgresql {
    fn new(asks: Direction, limits: Limits, first: Exchange, opening: bool) -> Self {
        Self {
            asks,
            limits,
            session: Session::default(),
            opening,
            openings: Frames::default(),
            fronts: Frames::default(),
            backs: Frames::default(),
            awaited: VecDeque::new(),
            described: VecDeque::new(),
            exchanges: 0,
            units: 0,
            next: first,
            group: None,
            skipping: false,
            copying: false,
        }
    }

    fn push(&mut self, what: What, call: Option<Answering>) {
        self.exchanges = self.exchanges.saturating_add(usize::from(call.is_some()));
        self.units = self.units.saturating_add(usize::from(what.is_unit()));
        self.awaited.push_back(Awaited { what, call });
    }

    fn pop(&mut self) -> Option<Awaited> {
        let awaited = self.awaited.pop_front()?;
        if awaited.what == What::DescribeStatement {
            self.described.pop_front();
        }
        self.exchanges = self.exchanges.saturating_sub(usize::from(awaited.call.is_some()));
        self.units = self.units.saturating_sub(usize::from(awaited.what.is_unit()));
        Some(awaited)
    }
}

impl Dialect for Postgresql {
    const INVALID: &'static str = "protocol.postgresql.invalid";
    const UNMATCHED: &'static str = "protocol.postgresql.response_unmatched";

    fn read(&mut self, side: Side, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Read {
        match side {
            Side::Ask => self.asked(bytes, at, out),
            Side::Answer => self.answer(bytes, at, out),
        }
    }

    fn hole(&mut self, side: Side, length: u64, at: Mark, out: &mut Vec<Step>) -> Hole {
        match side {
            Side::Ask => self.hole_in_asks(length, at, out),
            Side::Answer => self.hole_in_answers(length, at, out),
        }
    }

    fn restart(&mut self, asked_unseen: bool) {
        self.opening = false;
        self.openings.restart();
        self.fronts.restart();
        self.backs.restart();
        self.group = None;
        self.skipping = false;
        self.copying = false;
        self.session.restart(asked_unseen);
    }

    fn outstanding(&self) -> usize {
        let trailing = self.awaited.back().is_some_and(|awaited| !awaited.what.is_unit());
        self.units.saturating_add(usize::from(trailing))
    }

    fn in_dialog(&self) -> bool {
        self.copying
            || self
                .awaited
                .front()
                .is_some_and(|awaited| awaited.what == What::Startup)
    }

    fn open(&self) -> usize {
        self.exchanges
    }

    fn next(&self) -> Exchange {
        self.next
    }

    fn break_all(&mut self, at: Mark, reason: Broken, rest: Broken, out: &mut Vec<Step>) {
        let mut reason = Some(reason);
        while let Some(awaited) = self.pop() {
            let Some(mut call) = awaited.call else { continue };
            // Behind some errors the server ends the connection; the error was the answer.
            if call.outcome.error.is_some() && matches!(reason, Some(Broken::Closed | Broken::Failed(_))) {
                answered(call.exchange, call.began(), call.outcome, at, out);
                continue;
            }
            // What the server said before is worth telling.
            if let Some((start, last)) = call.seen {
                if reason == Some(Broken::Unseen) {
                    call.outcome.returned_rows = None;
                }
                put(out, || {
                    Step::Response(Response {
                        whole: false,
                        exchange: call.exchange,
                        start,
                        head_end: last,
                        head: ResponseHead::Database(call.outcome),
                    })
                });
            }
            out.push(Step::Broken {
                exchange: call.exchange,
                at,
                reason: reason.take().unwrap_or(rest),
                body: Body::default(),
            });
        }
    }

    fn blind_end(&mut self, tail: &[u8], end: Mark, out: &mut Vec<Step>) {
        if self.exchanges > 1 {
            self.break_all(end, Broken::Unseen, Broken::Unseen, out);
            return;
        }
        let (tag, status) = answer::ending(tail);
        while let Some(awaited) = self.pop() {
            if let Some(mut call) = awaited.call {
                // What was counted before the hole is not all.
                call.outcome.returned_rows = None;
                if let Some(tag) = tag {
                    self.session.tag(tag, &mut call);
                }
                answered(call.exchange, call.began(), call.outcome, end, out);
            }
        }
        self.session.status(status, None);
    }

    fn closed(&mut self, at: Mark, out: &mut Vec<Step>) {
        if self.awaited.front().is_some_and(|awaited| awaited.what == What::Cancel)
            && let Some(Awaited { call: Some(call), .. }) = self.pop()
        {
            answered(call.exchange, call.began(), call.outcome, at, out);
        }
    }
}

#[cfg(test)]
mod tests;
