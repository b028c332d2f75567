//! What the client says.
use super::cursor::{Cursor, utf16};
use super::packet::{self, is_handshake, kind, status};
use super::request::{self, Called, Does, Login};
use super::{Asked, Asking, SYSTEM, Tds};
use crate::protocol::call::{Call, Operation, Query, Statement, Text};
use crate::protocol::calls::MAX_CALLS;
use crate::protocol::frames::{Cut, Frame, Hole as Passed};
use crate::protocol::message::Detail;
use crate::protocol::ordered::{Hole, Read};
use crate::protocol::{Mark, Step};

/// Bytes of a message that are kept: a statement of so many letters is half as long, and its parameters follow it.
const KEPT: usize = 32 << 10;

impl Tds {
    /// Reads what the client says, up to the end of a packet.
    pub(super) fn asked(&mut self, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Read {
        if self.calls.len() >= MAX_CALLS {
            out.push(Step::Count("protocol.tds.pipeline_too_long"));
            return Read::Mismatch;
        }
        // The reader is put back with what it holds; a frame borrows from it meanwhile.
        let mut asks = std::mem::take(&mut self.asks);
        let read = match asks.read(bytes, at) {
            Cut::More => Read::All,
            Cut::Frame(frame, taken) => match self.packet(&frame, out) {
                Some(()) => Read::Asked(taken),
                None => Read::Invalid,
            },
            Cut::Invalid => Read::Invalid,
        };
        self.asks = asks;
        read
    }

    pub(super) fn hole_in_asks(&mut self, length: u64, at: Mark, out: &mut Vec<Step>) -> Hole {
        let mut asks = std::mem::take(&mut self.asks);
        let hole = match asks.hole(length, at) {
            Passed::Within => Hole::Within,
            Passed::Done(frame) => match self.packet(&frame, out) {
                Some(()) => Hole::Within,
                None => Hole::Lost,
            },
            Passed::Lost => Hole::Lost,
        };
        self.asks = asks;
        hole
    }

    fn packet(&mut self, frame: &Frame<'_>, out: &mut Vec<Step>) -> Option<()> {
        let kind = packet::kind(frame)?;
        match kind {
            // The login alone is encrypted: this is it.
            kind::RECORD if std::mem::take(&mut self.awaits_login) => {
                let login = Login::default();
                self.enter(login, frame.begin, frame.end, out);
                return Some(());
            }
            kind if packet::is_record(kind) => return Some(()),
            kind::SESSIONS => {
                out.push(Step::Count("protocol.tds.sessions"));
                self.dark = true;
                return Some(());
            }
            kind::PRELOGIN if is_handshake(frame.payload) => return Some(()),
            _ => {}
        }
        let status = packet::status(frame);
        let asking = self.asking.get_or_insert_with(|| Asking {
            begin: frame.begin,
            kind,
            kept: Vec::new(),
            longer: false,
            cut: false,
            resets: false,
        });
        if asking.kind != kind {
            return None;
        }
        let room = KEPT.saturating_sub(asking.kept.len());
        if !asking.cut {
            let payload = frame.payload.get(..room).unwrap_or(frame.payload);
            asking.kept.extend_from_slice(payload);
        }
        asking.longer |= frame.payload.len() > room;
        asking.cut |= frame.cut;
        asking.resets |= status & (status::RESET | status::RESET_KEEPS) != 0;
        if status & status::LAST == 0 {
            return Some(());
        }
        let asking = self.asking.take()?;
        if status & status::IGNORE == 0 {
            self.message(&asking, frame.end, out)?;
        }
        Some(())
    }

    fn message(&mut self, asking: &Asking, end: Mark, out: &mut Vec<Step>) -> Option<()> {
        if asking.resets {
            self.session.reset();
        }
        match asking.kind {
            kind::PRELOGIN => self.agreeing = Some(request::encryption(&asking.kept).unwrap_or_default()),
            kind::LOGIN => {
                self.awaits_login = false;
                let login = Login::read(&asking.kept);
                // Where nothing was agreed on before, that was in plain, and so may be the answer.
                if self.preface.ends_at(self.calls.asks(), asking.begin.offset) {
                    let call = Box::new(login_call(login));
                    self.deferred = Some((asking.begin, end, call));
                } else {
                    self.enter(login, asking.begin, end, out);
                }
            }
            // What the server has asked for before it lets the client in.
            kind::SSPI | kind::TOKEN => {}
            kind::ATTENTION => match self.calls.front() {
                Some(call) => call.what.attention = true,
                None => self.attentions = self.attentions.saturating_add(1),
            },
            kind::BULK => self.operation("BULK LOAD", None, asking, end, out),
            kind::BATCH => self.batch(asking, end, out),
            kind::RPC => self.calls(asking, end, out),
            kind::TRANSACTION => {
                let mut content = Cursor(&asking.kept);
                let number = request::headers(&mut content);
                let name = request::transaction(&mut content).unwrap_or("TRANSACTION");
                self.operation(name, number, asking, end, out);
            }
            _ => return None,
        }
        Some(())
    }

    fn enter(&mut self, login: Login, begin: Mark, end: Mark, out: &mut Vec<Step>) {
        let asked = Asked {
            enters: true,
            ..Asked::default()
        };
        self.calls.ask(begin, end, login_call(login), asked, out);
    }

    /// A login that waited is answered here.
    pub(super) fn tell_deferred(&mut self, out: &mut Vec<Step>) {
        if let Some((begin, end, call)) = self.deferred.take() {
            let asked = Asked {
                enters: true,
                ..Asked::default()
            };
            self.calls.ask(begin, end, *call, asked, out);
        }
    }

    fn operation(&mut self, name: &'static str, number: Option<u64>, asking: &Asking, end: Mark, out: &mut Vec<Step>) {
        let operation = Operation {
            name,
            ..Operation::default()
        };
        self.ask(Query::Operation(operation), Asked::default(), number, asking, end, out);
    }

    fn batch(&mut self, asking: &Asking, end: Mark, out: &mut Vec<Step>) {
        let mut content = Cursor(&asking.kept);
        let number = request::headers(&mut content);
        let text = Text {
            text: utf16(content.0).into(),
            cut: asking.cut || asking.longer,
        };
        let asked = Asked {
            may_use: may_use(&text),
            ..Asked::default()
        };
        let statement = Statement {
            text: Some(text),
            ..Statement::default()
        };
        self.ask(Query::Sql(statement), asked, number, asking, end, out);
    }

    /// Procedures are called, most of which stand for statements.
    fn calls(&mut self, asking: &Asking, end: Mark, out: &mut Vec<Step>) {
        let mut content = Cursor(&asking.kept);
        let number = request::headers(&mut content);
        let cut = asking.cut || asking.longer;
        let mut calls = request::calls(&mut content, cut, self.limits.values);
        for call in &calls {
            if let (Does::Forgets, Some(handle)) = (call.does, call.handle) {
                self.session.unprepare(handle);
            }
        }
        // What is forgotten beside something else is not what is asked for.
        if calls.iter().any(|call| call.does != Does::Forgets) {
            calls.retain(|call| call.does != Does::Forgets);
        }
        let mut preparing = calls
            .iter()
            .filter(|call| matches!(call.does, Does::Prepares | Does::Both));
        let prepares = match (preparing.next(), preparing.next()) {
            (Some(one), None) => one.text.clone(),
            _ => None,
        };
        let asked = Asked {
            prepares,
            ..Asked::default()
        };
        let query = self.query(&calls);
        self.ask(query, asked, number, asking, end, out);
    }

    fn query(&self, calls: &[Called]) -> Query {
        let Some(first) = calls.first() else {
            return Query::Operation(Operation {
                name: "EXECUTE",
                ..Operation::default()
            });
        };
        let mut details = Vec::new();
        // One alone is no batch (conventions, `db.operation.batch.size`).
        if calls.len() > 1 {
            details.push(("db.operation.batch.size", Detail::Number(calls.len() as u64)));
        }
        match first.does {
            Does::Executes | Does::Both | Does::Handle => Query::Sql(Statement {
                text: self.texts(calls),
                prepared: first.does != Does::Executes,
                parameters: first.parameters.clone(),
                id: None,
                details,
            }),
            Does::Prepares => Query::Operation(Operation {
                name: "PREPARE",
                details,
                ..Operation::default()
            }),
            Does::Forgets | Does::Other => Query::Operation(Operation {
                name: "EXECUTE",
                procedure: Some(first.procedure.clone()),
                parameters: first.parameters.clone(),
                details,
            }),
        }
    }

    /// The texts of calls in a row, once where all are the same; none where one is not known.
    fn texts(&self, calls: &[Called]) -> Option<Text> {
        let mut texts = Vec::new();
        for call in calls {
            let text = match call.handle {
                Some(handle) => self.session.text(handle)?,
                None => call.text.as_ref()?,
            };
            texts.push(text);
        }
        Text::joined(&texts)
    }

    fn ask(
        &mut self,
        query: Query,
        asked: Asked,
        number: Option<u64>,
        asking: &Asking,
        end: Mark,
        out: &mut Vec<Step>,
    ) {
        if asking.longer && asking.kind != kind::BULK {
            out.push(Step::Count("protocol.tds.text_too_long"));
        }
        let asked = Asked {
            transaction: self.session.within(number, asking.begin.offset),
            ..asked
        };
        let call = Call {
            system: SYSTEM,
            query,
            namespace: self.session.namespace.clone(),
        };
        self.calls.ask(asking.begin, end, call, asked, out);
    }
}

fn login_call(login: Login) -> Call {
    let told = [
        ("clew.db.client.program", login.program),
        ("clew.db.client.server", login.server),
    ];
    let details = told
        .into_iter()
        .filter_map(|(key, text)| Some((key, Detail::Text(text?))))
        .collect();
    Call {
        system: SYSTEM,
        query: Query::Operation(Operation {
            name: "CONNECT",
            details,
            ..Operation::default()
        }),
        namespace: login.database,
    }
}

/// Whether a batch may change the session's database.
fn may_use(text: &Text) -> bool {
    let bytes = text.text.as_bytes();
    text.cut || bytes.windows(3).any(|word| word.eq_ignore_ascii_case(b"use"))
}
