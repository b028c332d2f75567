//! Exchanges of messages: each has a number of its own, and ends when what it waits for comes.
use super::message::{Action, Message, Outcome};
use super::{Body, Broken, Exchange, Mark, Request, RequestHead, Response, ResponseHead, Start, Step, put};
use crate::capture::{Direction, Moment};

/// Messages of a connection without an end.
pub(super) const MAX_OPEN: usize = 4096;

/// The exchanges of one connection.
#[derive(Debug)]
pub(super) struct Handled {
    next: Exchange,
    open: usize,
    /// What was sent last: the operation that carried its last byte.
    last: Option<(Exchange, Moment)>,
}

impl Handled {
    pub(super) const fn new(start: &Start) -> Self {
        Self {
            next: start.first,
            open: 0,
            last: None,
        }
    }

    pub(super) const fn next(&self) -> Exchange {
        self.next
    }

    pub(super) const fn open(&self) -> usize {
        self.open
    }

    /// Whether no more can be awaited.
    pub(super) const fn is_full(&self) -> bool {
        self.open >= MAX_OPEN
    }

    /// A message passes, the head of which is from `begin` to `end`; `client` is the way of what clients say.
    pub(super) fn begin(
        &mut self,
        message: impl Into<Box<Message>>,
        client: Direction,
        begin: Mark,
        end: Mark,
        out: &mut Vec<Step>,
    ) -> Exchange {
        self.passes(message.into(), client, (begin, end), false, out)
    }

    /// A message has passed, from `begin` to `end`.
    pub(super) fn whole(
        &mut self,
        message: impl Into<Box<Message>>,
        client: Direction,
        begin: Mark,
        end: Mark,
        out: &mut Vec<Step>,
    ) -> Exchange {
        self.passes(message.into(), client, (begin, end), true, out)
    }

    fn passes(
        &mut self,
        message: Box<Message>,
        client: Direction,
        (begin, end): (Mark, Mark),
        whole: bool,
        out: &mut Vec<Step>,
    ) -> Exchange {
        let exchange = self.next;
        self.next = Exchange(exchange.0.wrapping_add(1));
        self.open = self.open.saturating_add(1);
        let pushed = message.action == Action::Deliver;
        let sent = message.action == Action::Send;
        let head = RequestHead::Message(message);
        put(out, || {
            Step::Request(Request {
                whole,
                exchange,
                direction: if pushed { client.flip() } else { client },
                offset: begin.offset,
                start: begin.moment,
                head_end: end,
                record: None,
                stream: None,
                head,
            })
        });
        if sent {
            // Who wrote both may have written one of them for another.
            if let Some((other, _)) = self.last.filter(|(_, moment)| *moment == begin.moment) {
                out.extend([other, exchange].map(|exchange| Step::Shared { exchange }));
            }
            self.last = Some((exchange, end.moment));
        }
        exchange
    }

    /// The message is complete.
    pub(super) fn passed(&mut self, exchange: Exchange, end: Mark, out: &mut Vec<Step>) {
        if let Some((last, moment)) = &mut self.last
            && *last == exchange
        {
            *moment = end.moment;
        }
        out.push(Step::RequestEnd {
            exchange,
            end,
            body: Body::default(),
        });
    }

    /// It is settled, by what passed from `begin` to `end`.
    pub(super) fn settled(
        &mut self,
        exchange: Exchange,
        outcome: Outcome,
        begin: Moment,
        end: Mark,
        out: &mut Vec<Step>,
    ) {
        self.open = self.open.saturating_sub(1);
        put(out, || {
            Step::Response(Response {
                whole: true,
                exchange,
                start: begin,
                head_end: end,
                head: ResponseHead::Message(outcome),
            })
        });
    }

    /// Nobody settles it: `end` is its own.
    pub(super) fn unsettled(&mut self, exchange: Exchange, end: Mark, out: &mut Vec<Step>) {
        let end = Mark { offset: 0, ..end };
        self.settled(exchange, Outcome::default(), end.moment, end, out);
    }

    /// It is not known what became of it.
    pub(super) fn broken(&mut self, exchange: Exchange, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        self.open = self.open.saturating_sub(1);
        out.push(Step::Broken {
            exchange,
            at: Mark { offset: 0, ..at },
            reason,
            body: Body::default(),
        });
    }
}
