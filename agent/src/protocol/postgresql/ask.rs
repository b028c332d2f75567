//! What the client says.
use smol_str::SmolStr;

use super::types::Types;
use super::wire::{CANCEL, GSS, MAX_TEXT, SSL, number, string};
use super::{Answering, Group, MAX_AWAITED, MAX_OPEN, Postgresql, What};
use crate::protocol::call::{Call, Command, Outcome, Query, Statement, Text};
use crate::protocol::frames::{Cut, Frame, Hole as Passed};
use crate::protocol::ordered::{Hole, Read};
use crate::protocol::{Exchange, Mark, Request, RequestHead, Step, put};

/// The name of this system, as `db.system.name` has it.
const SYSTEM: &str = "postgresql";

/// What of a frame is needed once the reader is free again.
#[derive(Clone, Copy)]
struct Span {
    begin: Mark,
    end: Mark,
}

impl Span {
    const fn of(frame: &Frame<'_>) -> Self {
        Self {
            begin: frame.begin,
            end: frame.end,
        }
    }
}

impl Postgresql {
    /// Reads what the client says, up to the end of a message.
    pub(super) fn asked(&mut self, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Read {
        if self.awaited.len() >= MAX_AWAITED || self.exchanges >= MAX_OPEN {
            out.push(Step::Count("protocol.postgresql.pipeline_too_long"));
            return Read::Mismatch;
        }
        if self.opening {
            return self.opened(bytes, at, out);
        }
        // The reader is put back with what it holds; a frame borrows from it meanwhile.
        let mut fronts = std::mem::take(&mut self.fronts);
        let read = match fronts.read(bytes, at) {
            Cut::More => Read::All,
            Cut::Frame(frame, taken) => match self.message(&frame, out) {
                Ok(()) => Read::Asked(taken),
                Err(read) => read,
            },
            Cut::Invalid => Read::Invalid,
        };
        self.fronts = fronts;
        read
    }

    pub(super) fn hole_in_asks(&mut self, length: u64, at: Mark, out: &mut Vec<Step>) -> Hole {
        let mut fronts = std::mem::take(&mut self.fronts);
        let hole = match fronts.hole(length, at) {
            Passed::Within => Hole::Within,
            Passed::Done(frame) => match self.message(&frame, out) {
                Ok(()) => Hole::Within,
                Err(_) => Hole::Lost,
            },
            Passed::Lost => Hole::Lost,
        };
        self.fronts = fronts;
        hole
    }

    /// The first messages.
    fn opened(&mut self, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Read {
        let mut openings = std::mem::take(&mut self.openings);
        let read = match openings.read(bytes, at) {
            Cut::More => Read::All,
            Cut::Frame(frame, taken) => {
                let span = Span::of(&frame);
                match number(frame.head, 4) {
                    Some(SSL | GSS) => self.push(What::Encryption, None),
                    Some(CANCEL) => {
                        self.command(What::Cancel, "CANCEL", span, out);
                        self.opening = false;
                    }
                    _ => {
                        self.session.database = database(frame.payload);
                        self.command(What::Startup, "CONNECT", span, out);
                        self.opening = false;
                    }
                }
                Read::Asked(taken)
            }
            Cut::Invalid => Read::Invalid,
        };
        self.openings = openings;
        read
    }

    fn message(&mut self, frame: &Frame<'_>, out: &mut Vec<Step>) -> Result<(), Read> {
        let span = Span::of(frame);
        let cut = frame.cut || frame.length > frame.payload.len() as u64;
        match frame.head.first().copied().unwrap_or_default() {
            b'Q' => {
                let (query, _) = string(frame.payload);
                let text = self.text(query, cut, frame.length, out);
                let statement = Statement {
                    text: Some(text),
                    prepared: false,
                    parameters: Vec::new(),
                    ..Statement::default()
                };
                self.statement(What::Query, statement, span, out);
                self.group = None;
            }
            b'P' => {
                let (name, rest) = string(frame.payload);
                let (query, types) = string(rest);
                let text = self.text(query, cut && rest.len() == query.len(), frame.length, out);
                let types = self.limits.values.then(|| Types::prepared(types));
                count(out, self.session.parse(name, text, types));
                self.lead(span, true);
                self.await_answer(What::Parse);
            }
            b'B' => {
                let (portal, rest) = string(frame.payload);
                let (name, rest) = string(rest);
                let values = if self.limits.values { rest } else { &[] };
                count(out, self.session.bind(portal, name, values));
                self.lead(span, false);
                self.await_answer(What::Bind);
            }
            b'D' => {
                self.lead(span, false);
                match frame.payload.split_first() {
                    Some((b'S', name)) => {
                        if !self.skipping {
                            self.described.push_back(self.session.types(string(name).0));
                        }
                        self.await_answer(What::DescribeStatement);
                    }
                    _ => self.await_answer(What::DescribePortal),
                }
            }
            b'E' => {
                let (portal, _) = string(frame.payload);
                let statement = self.session.portal(portal);
                let begin = self.group.take().map_or(span.begin, |group| group.begin);
                self.statement(What::Execute, statement, Span { begin, ..span }, out);
            }
            b'C' => {
                let (kind, name) = frame.payload.split_first().unwrap_or((&0, &[]));
                let (name, _) = string(name);
                if *kind == b'S' {
                    self.session.close_statement(name);
                } else {
                    self.session.close_portal(name);
                }
                self.await_answer(What::Close);
            }
            b'S' => self.sync(span, out),
            b'H' => self.flush(span, out),
            b'F' => self.command(What::Function, "FUNCTION CALL", span, out),
            b'c' | b'f' => self.copying = false,
            // Rows to copy; passwords; the end. None is kept.
            b'd' | b'p' | b'X' => {}
            _ => return Err(Read::Invalid),
        }
        Ok(())
    }

    /// A message that leads to an `Execute`.
    fn lead(&mut self, span: Span, parses: bool) {
        let group = self.group.get_or_insert(Group {
            begin: span.begin,
            parses: false,
        });
        group.parses |= parses;
    }

    fn await_answer(&mut self, what: What) {
        if !self.skipping {
            self.push(what, None);
        }
    }

    /// `Sync`. One that ends a `Parse` without an `Execute` has the statement prepared.
    fn sync(&mut self, span: Span, out: &mut Vec<Step>) {
        let group = self.group.take();
        if self.copying {
            return;
        }
        match group.filter(|group| group.parses && !self.skipping) {
            Some(group) => {
                let span = Span {
                    begin: group.begin,
                    ..span
                };
                self.command(What::Sync, "PREPARE", span, out);
            }
            None => self.push(What::Sync, None),
        }
    }

    /// `Flush`. Behind a `Parse` it has the statement prepared; the answer to the message before it is the last.
    fn flush(&mut self, span: Span, out: &mut Vec<Step>) {
        let Some(group) = self.group.take().filter(|group| group.parses) else {
            return;
        };
        let last = self.awaited.pop_back();
        let Some(last) = last else { return };
        if last.call.is_none() && !last.what.is_unit() {
            let begin = group.begin;
            self.command(last.what, "PREPARE", Span { begin, ..span }, out);
        } else {
            self.awaited.push_back(last);
        }
    }

    fn text(&self, query: &[u8], cut: bool, length: u64, out: &mut Vec<Step>) -> Text {
        if length > MAX_TEXT as u64 {
            out.push(Step::Count("protocol.postgresql.text_too_long"));
        }
        Text::new(query, cut)
    }

    fn statement(&mut self, what: What, statement: Statement, span: Span, out: &mut Vec<Step>) {
        let to_savepoint = statement.text.as_ref().is_some_and(|text| names_savepoint(&text.text));
        self.call(what, Query::Sql(statement), to_savepoint, span, out);
    }

    fn command(&mut self, what: What, name: &'static str, span: Span, out: &mut Vec<Step>) {
        let command = Command {
            name: SmolStr::new_static(name),
            collection: None,
            arguments: Vec::new(),
            argument_count: 0,
        };
        self.call(what, Query::Command(command), false, span, out);
    }

    /// An exchange begins.
    fn call(&mut self, what: What, query: Query, to_savepoint: bool, span: Span, out: &mut Vec<Step>) {
        let exchange = self.next;
        self.next = Exchange(exchange.0.wrapping_add(1));
        put(out, || {
            Step::Request(Request {
                whole: true,
                record: None,
                exchange,
                direction: self.asks,
                stream: None,
                offset: span.begin.offset,
                start: span.begin.moment,
                head_end: span.end,
                head: RequestHead::Database(Call {
                    system: SYSTEM,
                    query,
                    namespace: self.session.database.clone(),
                }),
            })
        });
        let call = Answering {
            exchange,
            offset: span.begin.offset,
            seen: None,
            outcome: Outcome::default(),
            to_savepoint,
            copies_out: false,
        };
        if self.skipping && what == What::Execute {
            self.skipped(call, span.end, out);
        } else {
            self.push(what, Some(call));
        }
    }
}

fn count(out: &mut Vec<Step>, name: Option<&'static str>) {
    out.extend(name.map(Step::Count));
}

/// `ROLLBACK TO name` goes back within a transaction.
fn names_savepoint(text: &str) -> bool {
    let mut words = text.split_ascii_whitespace();
    let rolls_back = words.next().is_some_and(|word| word.eq_ignore_ascii_case("ROLLBACK"));
    rolls_back && words.any(|word| word.eq_ignore_ascii_case("TO"))
}

/// The database a `StartupMessage` names; without one it is named as the user is.
fn database(payload: &[u8]) -> Option<SmolStr> {
    let mut rest = payload;
    let (mut user, mut database) = (None, None);
    while !rest.is_empty() {
        let (key, behind) = string(rest);
        let (value, behind) = string(behind);
        match key {
            b"user" => user = Some(value),
            b"database" => database = Some(value),
            _ => {}
        }
        rest = behind;
    }
    let name = database.filter(|name| !name.is_empty()).or(user)?;
    Some(SmolStr::from(String::from_utf8_lossy(name)))
}
