//! The requests of one connection, by stream.
use std::collections::HashMap;

use foldhash::fast::RandomState;
use smol_str::SmolStr;

use super::SYSTEM;
use super::frame::{Head, flag, opcode};
use super::message::{self, Answered, Asked, Body};
use super::reader::{Event, Reader};
use crate::capture::Direction;
use crate::protocol::call::{Call, Command, Query, Statement, Text};
use crate::protocol::calls;
use crate::protocol::frames::Frame;
use crate::protocol::message::Detail;
use crate::protocol::numbered::Numbered;
use crate::protocol::{Body as Passed, Broken, Exchange, Flow, Id, Mark, Parser, Request, Start, Step, put};
use crate::stream::{Content, Piece};

/// Requests without an answer that are followed.
const MAX_WAITING: usize = 4096;
/// Offences against the protocol without a message between them, after which it was a wrong guess.
const MAX_STRIKES: u32 = 4;
/// Texts of this connection that are remembered, and the longest that are told to others.
const MAX_PREPARED: usize = 1024;
const MAX_TOLD: usize = 2048;

const UNMATCHED: Step = Step::Count("protocol.cassandra.response_unmatched");

/// One connection.
pub(super) struct Connection {
    client: Direction,
    asks: Reader,
    answers: Reader,
    streams: Streams,
}

/// What is known of the connection beside the bytes being read.
struct Streams {
    client: Direction,
    next: Exchange,
    keyspace: Option<SmolStr>,
    prepared: HashMap<Id, Text, RandomState>,
    waiting: Numbered<i16, Waiting, Answered>,
    strikes: u32,
}

/// A request without an answer.
struct Waiting {
    /// None where it is not told.
    exchange: Option<Exchange>,
    /// What is to be prepared.
    text: Option<Text>,
}

impl Connection {
    pub(super) fn new(start: &Start) -> Self {
        Self {
            client: start.direction,
            // The bytes that were recognized begin a request.
            asks: Reader::new(false, true),
            answers: Reader::new(true, start.from_beginning),
            streams: Streams {
                client: start.direction,
                next: start.first,
                keyspace: None,
                prepared: HashMap::default(),
                waiting: Numbered::new(start.from_beginning),
                strikes: 0,
            },
        }
    }
}

impl Streams {
    fn event(&mut self, answers: bool, event: Event<'_>, at: Mark, out: &mut Vec<Step>) {
        match event {
            Event::Message(head, frame) => {
                self.strikes = 0;
                if answers {
                    self.answered(head, frame, out);
                } else {
                    self.asked(head, frame, out);
                }
            }
            Event::Lost => self.lost(answers, at, Broken::Unseen, out),
            Event::Invalid => {
                out.push(Step::Count("protocol.cassandra.invalid"));
                self.strikes = self.strikes.saturating_add(1);
                self.lost(answers, at, Broken::Invalid, out);
            }
        }
    }

    /// A request is complete.
    fn asked(&mut self, head: Head, frame: &Frame<'_>, out: &mut Vec<Step>) {
        let body = Body::of(head, frame);
        let asks = matches!(
            head.opcode,
            opcode::QUERY | opcode::PREPARE | opcode::EXECUTE | opcode::BATCH
        );
        if asks && body.is_none() {
            out.push(Step::Count("protocol.cassandra.compressed"));
        }
        let asked = body.map(|body| message::asked(head.opcode, &body)).unwrap_or_default();
        let text = asked.text.clone().filter(|_| head.opcode == opcode::PREPARE);
        // A number is used again when it has been answered.
        if let Some(before) = self.waiting.take(head.stream) {
            before.broken(frame.begin, Broken::Unseen, out);
        }
        if self.waiting.len() >= MAX_WAITING {
            out.push(Step::Count("protocol.cassandra.waiting_full"));
            return;
        }
        let exchange = asks.then(|| self.tell(head, asked, frame, out));
        self.forget_early(frame.end.moment.time_ns, out);
        if let Some(early) = self.waiting.ask(head.stream, Waiting { exchange, text })
            && let Some(waiting) = self.waiting.take(head.stream)
        {
            self.settle(waiting, early.answer, early.begin, early.end, out);
        }
    }

    /// Tells of a request.
    fn tell(&mut self, head: Head, asked: Asked, frame: &Frame<'_>, out: &mut Vec<Step>) -> Exchange {
        let exchange = self.next;
        self.next = Exchange(exchange.0.wrapping_add(1));
        let namespace = asked.keyspace.clone().or_else(|| self.keyspace.clone());
        put(out, || {
            Step::Request(Request {
                whole: true,
                exchange,
                direction: self.client,
                stream: u32::try_from(head.stream).ok(),
                offset: frame.begin.offset,
                start: frame.begin.moment,
                record: None,
                head_end: frame.end,
                head: Call {
                    system: SYSTEM,
                    query: self.query(head.opcode, asked),
                    namespace,
                }
                .into(),
            })
        });
        exchange
    }

    fn query(&self, code: u8, asked: Asked) -> Query {
        if code == opcode::PREPARE {
            return Query::Command(Command {
                name: SmolStr::new_static("PREPARE"),
                collection: None,
                arguments: Vec::new(),
                argument_count: 0,
            });
        }
        let mut details = Vec::new();
        if let Some(level) = asked.consistency {
            details.push(("cassandra.consistency.level", Detail::Text(SmolStr::new_static(level))));
        }
        if let Some(rows) = asked.page_rows {
            details.push(("cassandra.page.size", Detail::Number(rows.into())));
        }
        // One alone is no batch (conventions, `db.operation.batch.size`).
        if let Some(count) = asked.count.filter(|count| *count != 1) {
            details.push(("db.operation.batch.size", Detail::Number(count.into())));
        }
        let id = asked.prepared.first().copied();
        let text = match code {
            opcode::BATCH => self.texts(&asked),
            opcode::EXECUTE => id.and_then(|id| self.prepared.get(&id).cloned()),
            _ => asked.text,
        };
        Query::Sql(Statement {
            id: id.filter(|_| text.is_none() && code == opcode::EXECUTE),
            text,
            prepared: !asked.prepared.is_empty(),
            parameters: Vec::new(),
            details,
        })
    }

    /// The texts of a batch in a row, each once where all are the same; none where one is not known.
    fn texts(&self, asked: &Asked) -> Option<Text> {
        let mut ids = asked.prepared.iter();
        let mut texts = Vec::new();
        for text in &asked.batch {
            let text = text.as_ref().or_else(|| self.prepared.get(ids.next()?))?;
            texts.push(text);
        }
        let joined = Text::joined(&texts)?;
        let cut = asked.count.is_some_and(|count| usize::from(count) > texts.len());
        Some(Text {
            cut: joined.cut || cut,
            ..joined
        })
    }

    /// An answer is complete.
    fn answered(&mut self, head: Head, frame: &Frame<'_>, out: &mut Vec<Step>) {
        if head.opcode == opcode::EVENT {
            return;
        }
        let body = Body::of(head, frame);
        if body.is_none() && head.flags & flag::COMPRESSED != 0 && head.opcode == opcode::ERROR {
            out.push(Step::Count("protocol.cassandra.compressed"));
        }
        let answered = body
            .map(|body| message::answered(head.opcode, &body))
            .unwrap_or_default();
        if let Some(waiting) = self.waiting.take(head.stream) {
            self.settle(waiting, answered, frame.begin, frame.end, out);
        } else if !self.waiting.keep(head.stream, answered, frame.begin, frame.end) {
            out.push(UNMATCHED);
        }
    }

    /// A request is answered.
    fn settle(&mut self, waiting: Waiting, answered: Answered, begin: Mark, end: Mark, out: &mut Vec<Step>) {
        if let Some(keyspace) = answered.keyspace {
            self.keyspace = Some(keyspace);
        }
        if let (Some(id), Some(text)) = (answered.prepared, waiting.text) {
            if text.text.len() <= MAX_TOLD && !text.cut {
                out.push(Step::Named {
                    id,
                    name: SmolStr::new(&*text.text),
                });
            }
            if self.prepared.len() < MAX_PREPARED || self.prepared.contains_key(&id) {
                self.prepared.insert(id, text);
            } else {
                out.push(Step::Count("protocol.cassandra.statements_full"));
            }
        }
        if let Some(exchange) = waiting.exchange {
            calls::answered(exchange, Some(begin.moment), answered.outcome, end, out);
        }
    }

    /// Messages of a direction may have been missed: an answer, so that a number stands for something else by now, or what
    /// a number stands for.
    fn lost(&mut self, answers: bool, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        self.break_all(Mark { offset: 0, ..at }, reason, out);
        let forgotten = self.waiting.doubt();
        out.extend(std::iter::repeat_n(UNMATCHED, forgotten));
        if answers {
            self.keyspace = None;
        }
    }

    fn forget_early(&mut self, now_ns: u64, out: &mut Vec<Step>) {
        let forgotten = self.waiting.forget_early(now_ns);
        out.extend(std::iter::repeat_n(UNMATCHED, forgotten));
    }

    /// Every request ends, in the order in which they were asked.
    fn break_all(&mut self, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        let mut waiting = self.waiting.drain();
        waiting.sort_by_key(|waiting| waiting.exchange);
        for waiting in waiting {
            waiting.broken(at, reason, out);
        }
    }
}

impl Waiting {
    fn broken(self, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        out.extend(self.exchange.map(|exchange| Step::Broken {
            exchange,
            at,
            reason,
            body: Passed::default(),
        }));
    }
}

impl Parser for Connection {
    fn piece(&mut self, piece: Piece, out: &mut Vec<Step>) -> Flow {
        let at = Mark::of(&piece);
        let answers = piece.direction != self.client;
        let reader = if answers { &mut self.answers } else { &mut self.asks };
        let streams = &mut self.streams;
        match piece.content {
            Content::Bytes(bytes) => reader.read(&bytes, at, &mut |event| streams.event(answers, event, at, out)),
            Content::Unseen(length) => {
                let end = at.behind(length);
                reader.hole(length, at, &mut |event| streams.event(answers, event, end, out));
            }
            // A client may close its half and wait for answers.
            Content::End if !answers => {}
            Content::End => self.streams.break_all(at, Broken::Closed, out),
            Content::Failed(errno) => self.streams.break_all(at, Broken::Failed(errno), out),
        }
        if self.streams.strikes >= MAX_STRIKES {
            self.streams.break_all(Mark { offset: 0, ..at }, Broken::Invalid, out);
            return Flow::Rejected;
        }
        Flow::Continue
    }

    fn tick(&mut self, now_ns: u64, out: &mut Vec<Step>) {
        self.streams.forget_early(now_ns, out);
    }

    fn end(&mut self, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        self.streams.break_all(at, reason, out);
    }

    fn open(&self) -> usize {
        let waiting = self.streams.waiting.values();
        waiting.filter(|waiting| waiting.exchange.is_some()).count()
    }

    fn next_exchange(&self) -> Exchange {
        self.streams.next
    }

    fn wants_whole_operations(&self) -> bool {
        true
    }
}
