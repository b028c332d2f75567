//! What the client says.
use smol_str::SmolStr;

use super::session::{changes_rows, does, may_use, uses};
use super::value::{behind_attributes, changed_database};
use super::wire::{CONTINUED, Hello, MAX_TEXT, able, number, short, terminated};
use super::{Asked, Kind, Mysql, Progress};
use crate::protocol::call::{Call, Command, Query, Statement, Text};
use crate::protocol::calls::MAX_CALLS;
use crate::protocol::frames::{Cut, Frame, Hole as Passed};
use crate::protocol::ordered::{Hole, Read};
use crate::protocol::{Mark, Step};

/// How reading goes on behind a packet.
enum Then {
    Goes,
    /// TLS follows.
    Encrypted,
}

impl Mysql {
    /// Reads what the client says, up to the end of a packet.
    pub(super) fn asked(&mut self, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Read {
        if self.calls.len() >= MAX_CALLS {
            out.push(Step::Count("protocol.mysql.pipeline_too_long"));
            return Read::Mismatch;
        }
        self.over(out);
        // The reader is put back with what it holds; a frame borrows from it meanwhile.
        let mut fronts = std::mem::take(&mut self.fronts);
        let read = match fronts.read(bytes, at) {
            Cut::More => Read::All,
            Cut::Frame(frame, taken) => match self.packet(&frame, out) {
                Some(Then::Goes) => Read::Asked(taken),
                Some(Then::Encrypted) => Read::Switch(taken),
                None => Read::Invalid,
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
            Passed::Done(frame) => match self.packet(&frame, out) {
                Some(Then::Goes) => Hole::Within,
                Some(Then::Encrypted) | None => Hole::Lost,
            },
            Passed::Lost => Hole::Lost,
        };
        self.fronts = fronts;
        hole
    }

    fn packet(&mut self, frame: &Frame<'_>, out: &mut Vec<Step>) -> Option<Then> {
        let which = *frame.head.get(3)?;
        let next = which.wrapping_add(1);
        let goes_on = (frame.length == CONTINUED).then_some(next);
        if let Some(expected) = std::mem::replace(&mut self.front_goes_on, goes_on) {
            if which != expected {
                return None;
            }
            if let Some((_, _, asked)) = &mut self.asking {
                asked.number = next;
            } else if let Some(call) = self.calls.front() {
                call.what.number = next;
            }
            if goes_on.is_none()
                && let Some((begin, call, asked)) = self.asking.take()
            {
                self.calls.ask(begin, frame.end, call, asked, out);
            }
            return Some(Then::Goes);
        }
        if let Some(call) = self.calls.front()
            && call.what.in_dialog()
            && which != 0
        {
            call.what.number = next;
            // An empty packet ends the file.
            if matches!(call.what.progress, Progress::File) && frame.length == 0 {
                call.what.progress = Progress::First;
            }
            return Some(Then::Goes);
        }
        match which {
            0 => self.command(frame, out),
            1 | 2 if self.calls.len() == 0 => self.hello(frame, which, out),
            _ => None,
        }
    }

    /// What the client answers to the greeting.
    fn hello(&mut self, frame: &Frame<'_>, which: u8, out: &mut Vec<Step>) -> Option<Then> {
        let hello = Hello::read(frame.payload)?;
        if hello.asks_for_tls(frame.length) {
            return Some(Then::Encrypted);
        }
        let able = hello.able & self.greeted.unwrap_or(u32::MAX);
        self.session.able = Some(able);
        self.deprecates_eof = match able & able::DEPRECATE_EOF {
            0 => Some(false),
            _ => self.greeted.map(|_| true),
        };
        if hello.to_mariadb {
            self.session.system = super::answer::MARIADB;
        }
        self.session.namespace = hello
            .database
            .filter(|name| !name.is_empty())
            .map(|name| SmolStr::from(String::from_utf8_lossy(name)));
        let mut asked = Asked::new(Kind::Enter);
        asked.number = which.wrapping_add(1);
        self.named("CONNECT", asked, frame, out);
        Some(Then::Goes)
    }

    fn command(&mut self, frame: &Frame<'_>, out: &mut Vec<Step>) -> Option<Then> {
        let (command, content) = frame.payload.split_first()?;
        let mut asked = Asked::new(Kind::Simple);
        let name = match command {
            // `COM_QUIT`; the server closes the connection.
            0x01 => return Some(Then::Goes),
            0x02 => {
                asked.uses = Some((!frame.cut).then(|| SmolStr::from(String::from_utf8_lossy(content))));
                "INIT DB"
            }
            0x03 => {
                self.query(content, frame, out);
                return Some(Then::Goes);
            }
            0x04 => {
                asked.kind = Kind::Fields;
                "FIELD LIST"
            }
            0x05 => "CREATE DB",
            0x06 => "DROP DB",
            0x07 => "REFRESH",
            0x08 => "SHUTDOWN",
            0x09 => {
                asked.kind = Kind::Line;
                "STATISTICS"
            }
            0x0a => {
                asked.kind = Kind::Results;
                "PROCESSLIST"
            }
            0x0c => "KILL",
            0x0d => "DEBUG",
            0x0e => "PING",
            0x11 => {
                self.session.forget_statements();
                asked.kind = Kind::Enter;
                asked.uses = Some(changed_database(frame.payload));
                "CHANGE USER"
            }
            // From here on the server sends what it logs.
            0x12 | 0x1e => {
                self.named("BINLOG DUMP", asked, frame, out);
                self.calls.unanswered(frame.end, out);
                self.dark = true;
                return Some(Then::Goes);
            }
            0x15 => "REGISTER SLAVE",
            0x16 => {
                let text = self.text(content, frame, out);
                self.session.preparing(&text);
                asked.kind = Kind::Prepared(text);
                "PREPARE"
            }
            0x17 | 0xfa => {
                self.execute(frame, *command == 0x17, out);
                return Some(Then::Goes);
            }
            // `COM_STMT_SEND_LONG_DATA` and `COM_STMT_CLOSE` are not answered.
            0x18 => {
                if let (Some(statement), Some(parameter)) = (number(content, 4), short(content, 4)) {
                    self.session.sent_apart(statement, parameter);
                }
                return Some(Then::Goes);
            }
            0x19 => {
                if let Some(statement) = number(content, 4) {
                    self.session.close(statement);
                }
                return Some(Then::Goes);
            }
            0x1a => "RESET STMT",
            0x1b => "SET OPTION",
            0x1c => {
                asked.kind = Kind::Rows;
                asked.progress = Progress::Rows { begun: true };
                "FETCH"
            }
            0x1f => {
                self.session.forget_statements();
                "RESET CONNECTION"
            }
            _ => return None,
        };
        self.named(name, asked, frame, out);
        Some(Then::Goes)
    }

    /// `COM_QUERY`.
    fn query(&mut self, content: &[u8], frame: &Frame<'_>, out: &mut Vec<Step>) {
        let attributes = match self.session.able {
            Some(able) => able & able::QUERY_ATTRIBUTES != 0,
            // No statement begins so.
            None => matches!(content, [0..=8, 1, ..]),
        };
        let content = match attributes {
            true => behind_attributes(content).unwrap_or_default(),
            false => content,
        };
        let text = self.text(content, frame, out);
        let mut asked = Asked::new(Kind::Results);
        asked.does = does(&text.text);
        asked.changes = changes_rows(&text.text);
        asked.uses = uses(&text);
        asked.may_use = may_use(&text);
        let statement = Statement {
            text: Some(text),
            prepared: false,
            parameters: Vec::new(),
            ..Statement::default()
        };
        self.ask(Query::Sql(statement), asked, frame, out);
    }

    /// `COM_STMT_EXECUTE`, or MariaDB's for many at `once`.
    fn execute(&mut self, frame: &Frame<'_>, once: bool, out: &mut Vec<Step>) {
        let statement = self.session.execution(frame.payload, self.limits.values && once);
        let mut asked = Asked::new(Kind::Results);
        asked.does = statement.text.as_ref().map(|text| does(&text.text)).unwrap_or_default();
        // Whatever is known of the text, the same is told.
        asked.changes = true;
        asked.uses = statement.text.as_ref().and_then(uses);
        self.ask(Query::Sql(statement), asked, frame, out);
    }

    fn text(&self, content: &[u8], frame: &Frame<'_>, out: &mut Vec<Step>) -> Text {
        let too_long = frame.length > MAX_TEXT as u64;
        if too_long {
            out.push(Step::Count("protocol.mysql.text_too_long"));
        }
        // Some clients end it as they do in their memory.
        let content = terminated(content)
            .filter(|(_, rest)| rest.is_empty())
            .map_or(content, |(text, _)| text);
        Text::new(content, frame.cut || too_long)
    }

    fn named(&mut self, name: &'static str, asked: Asked, frame: &Frame<'_>, out: &mut Vec<Step>) {
        let command = Command {
            name: SmolStr::new_static(name),
            collection: None,
            arguments: Vec::new(),
            argument_count: 0,
        };
        self.ask(Query::Command(command), asked, frame, out);
    }

    /// An exchange begins; it is told when its last packet has come.
    fn ask(&mut self, query: Query, asked: Asked, frame: &Frame<'_>, out: &mut Vec<Step>) {
        let call = Call {
            system: self.session.system,
            query,
            namespace: self.session.namespace.clone(),
        };
        if self.front_goes_on.is_some() {
            self.asking = Some((frame.begin, call, asked));
        } else {
            self.calls.ask(frame.begin, frame.end, call, asked, out);
        }
    }
}
