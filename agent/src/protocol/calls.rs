//! Calls that wait for their answers, each of which is one message.
use std::collections::VecDeque;

use super::call::Outcome;
use super::message::{self, Message};
use super::{Body, Broken, Exchange, Mark, Request, RequestHead, Response, ResponseHead, Start, Step, put};
use crate::capture::{Direction, Moment};

/// Calls of a connection without an answer.
pub(super) const MAX_CALLS: usize = 8192;

/// The calls of one connection, in their order. `T` is what a protocol notes of each, `O` what comes of it.
#[derive(Debug)]
pub(super) struct Calls<T, O = Outcome> {
    asks: Direction,
    next: Exchange,
    queue: VecDeque<Waiting<T>>,
    /// What passed of the answer to the first of them.
    seen: Seen<O>,
}

/// A call without an answer.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    exchange: Exchange,
    /// Offset of its first byte.
    pub(super) offset: u64,
    /// What the protocol notes.
    pub(super) what: T,
}

/// What is known of an answer.
#[derive(Debug, Default)]
struct Seen<O> {
    /// The operation that carried its first byte.
    start: Option<Moment>,
    outcome: O,
}

/// The call that is answered next.
#[derive(Debug)]
pub(super) struct Front<'a, T, O> {
    /// Offset of its first byte.
    pub(super) offset: u64,
    /// What the protocol notes.
    pub(super) what: &'a mut T,
    /// What is known of its answer.
    pub(super) outcome: &'a mut O,
}

impl<T, O: Default + Into<ResponseHead>> Calls<T, O> {
    pub(super) fn new(asks: Direction, start: &Start) -> Self {
        Self {
            asks,
            next: start.first,
            queue: VecDeque::new(),
            seen: Seen::default(),
        }
    }

    /// Which way calls go.
    pub(super) const fn asks(&self) -> Direction {
        self.asks
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) const fn next(&self) -> Exchange {
        self.next
    }

    pub(super) fn first(&self) -> Option<&Waiting<T>> {
        self.queue.front()
    }

    pub(super) fn front(&mut self) -> Option<Front<'_, T, O>> {
        let call = self.queue.front_mut()?;
        Some(Front {
            offset: call.offset,
            what: &mut call.what,
            outcome: &mut self.seen.outcome,
        })
    }

    /// What is noted of the calls asked last, so many of those that wait.
    pub(super) fn last_mut(&mut self, count: usize) -> impl Iterator<Item = &mut T> {
        self.queue.iter_mut().rev().take(count).map(|call| &mut call.what)
    }

    /// A call was asked, from its first byte to its last.
    pub(super) fn ask(&mut self, begin: Mark, end: Mark, call: impl Into<RequestHead>, what: T, out: &mut Vec<Step>) {
        let exchange = self.begun(self.asks, begin, end, call, out);
        self.queue.push_back(Waiting {
            exchange,
            offset: begin.offset,
            what,
        });
    }

    /// An exchange that an end begins, from `begin` to `end`.
    fn begun(
        &mut self,
        direction: Direction,
        begin: Mark,
        end: Mark,
        head: impl Into<RequestHead>,
        out: &mut Vec<Step>,
    ) -> Exchange {
        let exchange = self.next;
        self.next = Exchange(exchange.0.wrapping_add(1));
        put(out, || {
            Step::Request(Request {
                whole: true,
                exchange,
                direction,
                offset: begin.offset,
                start: begin.moment,
                head_end: end,
                record: None,
                stream: None,
                head: head.into(),
            })
        });
        exchange
    }

    /// A part of the answer to the first call passed, whose first byte is this.
    pub(super) fn seen(&mut self, begin: Mark) {
        if !self.queue.is_empty() {
            self.seen.start.get_or_insert(begin.moment);
        }
    }

    /// The call asked last gets no answer; `end` is its own.
    pub(super) fn unanswered(&mut self, end: Mark, out: &mut Vec<Step>) {
        if let Some(call) = self.queue.pop_back() {
            let alone = self.queue.is_empty();
            let seen = if alone {
                std::mem::take(&mut self.seen)
            } else {
                Seen::default()
            };
            answered(call.exchange, seen.start, seen.outcome, Mark { offset: 0, ..end }, out);
        }
    }

    /// The answer to the first call is complete.
    pub(super) fn answered(&mut self, end: Mark, out: &mut Vec<Step>) -> bool {
        match self.queue.pop_front() {
            Some(call) => {
                let seen = std::mem::take(&mut self.seen);
                answered(call.exchange, seen.start, seen.outcome, end, out);
                true
            }
            None => false,
        }
    }

    /// The same, where this is what comes of it.
    pub(super) fn answered_with(&mut self, end: Mark, outcome: impl Into<ResponseHead>, out: &mut Vec<Step>) -> bool {
        let start = std::mem::take(&mut self.seen).start;
        let call = self.queue.pop_front();
        let known = call.is_some();
        if let Some(call) = call {
            answered(call.exchange, start, outcome, end, out);
        }
        known
    }

    /// The end that otherwise answers hands a message over, from `begin` to `end`, which nobody settles.
    pub(super) fn handed(&mut self, message: Box<Message>, begin: Mark, end: Mark, out: &mut Vec<Step>) {
        let head = RequestHead::Message(message);
        let exchange = self.begun(self.asks.flip(), begin, end, head, out);
        let end = Mark { offset: 0, ..end };
        answered(exchange, None, message::Outcome::default(), end, out);
    }

    /// What was taken for calls is none.
    pub(super) fn withdraw(&mut self, out: &mut Vec<Step>) {
        self.seen = Seen::default();
        let calls = self.queue.drain(..);
        out.extend(calls.map(|call| Step::Withdrawn {
            exchange: call.exchange,
        }));
    }

    /// Every call ends: the first for `reason`, those behind it for `rest`.
    pub(super) fn break_all(&mut self, at: Mark, reason: Broken, rest: Broken, out: &mut Vec<Step>) {
        self.seen = Seen::default();
        let mut reason = Some(reason);
        for call in self.queue.drain(..) {
            out.push(Step::Broken {
                exchange: call.exchange,
                at,
                reason: reason.take().unwrap_or(rest),
                body: Body::default(),
            });
        }
    }
}

/// The answer to a call is complete. `start` is the operation that carried its first byte.
pub(super) fn answered(
    exchange: Exchange,
    start: Option<Moment>,
    outcome: impl Into<ResponseHead>,
    end: Mark,
    out: &mut Vec<Step>,
) {
    put(out, || {
        Step::Response(Response {
            whole: true,
            exchange,
            start: start.unwrap_or(end.moment),
            head_end: end,
            head: outcome.into(),
        })
    });
}
