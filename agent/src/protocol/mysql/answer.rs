//! What the server says.
use smol_str::{SmolStr, format_smolstr};

use super::session::{Does, status};
use super::wire::{CONTINUED, Greeting, able, encoded, number, short, string};
use super::{Kind, Mysql, Progress};
use crate::protocol::call::{Failure, Text};
use crate::protocol::frames::{Cut, Frame, Hole as Passed};
use crate::protocol::ordered::{Dialect as _, Hole, Read};
use crate::protocol::{Mark, Step};

/// MariaDB's name, as `db.system.name` has it.
pub(super) const MARIADB: &str = "mariadb";
/// A code that is no error: how far a statement has come.
const PROGRESS: u16 = 0xffff;
/// Most columns of a table, and more than that of a result.
const MAX_COLUMNS: u64 = 1 << 16;

/// The first bytes of packets.
mod first {
    pub(super) const OK: u8 = 0;
    pub(super) const FILE: u8 = 0xfb;
    pub(super) const EOF: u8 = 0xfe;
    pub(super) const ERR: u8 = 0xff;
}

/// What a packet that ends a result says.
#[derive(Clone, Copy, Debug)]
struct Done<'a> {
    affected: u64,
    status: u16,
    /// What changed in the session.
    changed: &'a [u8],
}

/// ```text
/// | 0xfe | warnings (2) | status (2) |
/// | 0 or 0xfe | affected | last | status (2) | warnings (2) | what was done | what changed |
/// ```
fn done<'a>(frame: &Frame<'a>) -> Option<Done<'a>> {
    if is_eof(frame) {
        return Some(Done {
            affected: 0,
            status: short(frame.payload, 3)?,
            changed: &[],
        });
    }
    let (affected, rest) = encoded(frame.payload.get(1..)?)?;
    let (_, rest) = encoded(rest)?;
    let status = short(rest, 0)?;
    let changed = || {
        let (_, rest) = string(rest.get(4..)?)?;
        string(rest).map(|(changed, _)| changed)
    };
    let has_changed = status & status::CHANGED != 0;
    Some(Done {
        affected,
        status,
        changed: if has_changed {
            changed().unwrap_or_default()
        } else {
            &[]
        },
    })
}

/// The packet that ended definitions and rows before `DEPRECATE_EOF`.
fn is_eof(frame: &Frame<'_>) -> bool {
    frame.payload.first() == Some(&first::EOF) && frame.length == 5
}

impl Mysql {
    /// Reads what the server says.
    pub(super) fn answer(&mut self, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Read {
        let mut taken = 0_usize;
        while let Some(left) = bytes.get(taken..).filter(|left| !left.is_empty() && !self.dark) {
            let here = at.behind(taken as u64);
            // What may be unasked is looked at when it begins, so that it can wait as a whole.
            let expected = self.calls.len() > 0 || self.greets;
            if self.backs.between() && !expected {
                return Read::Early(taken);
            }
            let mut backs = std::mem::take(&mut self.backs);
            let (more, told) = match backs.read(left, here) {
                Cut::More => (left.len(), Some(())),
                Cut::Frame(frame, more) => (more, self.told(&frame, out)),
                Cut::Invalid => (0, None),
            };
            let between = backs.between();
            self.backs = backs;
            taken = taken.saturating_add(more);
            if told.is_none() {
                return Read::Mismatch;
            }
            if between && self.outstanding() == 0 {
                return Read::Answered(taken);
            }
        }
        Read::All
    }

    pub(super) fn hole_in_answers(&mut self, length: u64, at: Mark, out: &mut Vec<Step>) -> Hole {
        let mut backs = std::mem::take(&mut self.backs);
        let hole = match backs.hole(length, at) {
            Passed::Within => Hole::Within,
            Passed::Done(frame) => match self.told(&frame, out) {
                Some(()) => Hole::Within,
                None => Hole::Lost,
            },
            Passed::Lost => Hole::Lost,
        };
        self.backs = backs;
        hole
    }

    /// Takes a packet. None if it does not answer what is awaited, or what it says was not seen.
    fn told(&mut self, frame: &Frame<'_>, out: &mut Vec<Step>) -> Option<()> {
        let which = *frame.head.get(3)?;
        let next = which.wrapping_add(1);
        let goes_on = (frame.length == CONTINUED).then_some(next);
        if let Some(expected) = std::mem::replace(&mut self.back_goes_on, goes_on) {
            self.calls.front()?.what.number = next;
            return (which == expected).then_some(());
        }
        if std::mem::take(&mut self.greets) {
            return self.greeted(frame);
        }
        if let Some((number, end)) = self.trailing.take() {
            let ends = number == which && is_eof(frame);
            self.calls.answered(if ends { frame.end } else { end }, out);
            if ends {
                self.deprecates_eof = Some(false);
                return Some(());
            }
        }
        let first = *frame.payload.first()?;
        let call = self.calls.front()?;
        // What ends the connection for a reason of its own is not counted on.
        let counts = call.what.number == which || call.what.in_dialog() || (first == first::ERR && which == 0);
        if !counts {
            return None;
        }
        call.what.number = next;
        let progress = call.what.progress;
        self.calls.seen(frame.begin);
        if first == first::ERR {
            return self.failed(frame, out);
        }
        match progress {
            Progress::First => self.first(first, frame, out),
            Progress::Definitions { left, next } => self.definition(left, next, frame, out),
            Progress::Rows { begun } => self.row(first, begun, frame, out),
            Progress::File => None,
        }
    }

    /// Nothing followed an answer that was over unless something did.
    pub(super) fn over(&mut self, out: &mut Vec<Step>) {
        if let Some((_, end)) = self.trailing.take() {
            self.calls.answered(end, out);
        }
    }

    fn greeted(&mut self, frame: &Frame<'_>) -> Option<()> {
        let greeting = Greeting::read(frame.payload)?;
        if greeting.is_mariadb {
            self.session.system = MARIADB;
        }
        self.greeted = Some(greeting.able);
        Some(())
    }

    /// The first packet of an answer, or of another of its results.
    fn first(&mut self, first: u8, frame: &Frame<'_>, out: &mut Vec<Step>) -> Option<()> {
        let call = self.calls.front()?;
        let is_end = first == first::EOF && frame.length < CONTINUED;
        match (&mut call.what.kind, first) {
            (Kind::Enter, first::OK) => {
                let done = done(frame)?;
                self.ended(done, frame.end, out);
                if self.session.able.is_some_and(|able| able & able::COMPRESS != 0) {
                    out.push(Step::Count("protocol.mysql.compressed"));
                    self.dark = true;
                }
            }
            // The client is asked for more.
            (Kind::Enter, _) => {}
            (Kind::Results, first::OK) => {
                let done = done(frame)?;
                if call.what.changes || done.affected > 0 {
                    let affected = &mut call.outcome.affected_rows;
                    *affected = Some(affected.unwrap_or_default().saturating_add(done.affected));
                }
                self.ended(done, frame.end, out);
            }
            (Kind::Simple, first::OK) => self.ended(done(frame)?, frame.end, out),
            (Kind::Simple | Kind::Fields, _) if is_end => self.ended(done(frame)?, frame.end, out),
            (Kind::Fields, _) => {}
            (Kind::Line, _) => {
                self.calls.answered(frame.end, out);
            }
            (Kind::Results, first::FILE) => call.what.progress = Progress::File,
            (Kind::Results, _) => {
                let (columns, rest) = encoded(frame.payload).filter(|_| !frame.cut)?;
                if !(1..=MAX_COLUMNS).contains(&columns) || rest.len() > 1 {
                    return None;
                }
                call.outcome.returned_rows.get_or_insert(0);
                // MariaDB leaves out definitions that the client knows, and says so.
                call.what.progress = if rest == [0] {
                    Progress::Rows { begun: false }
                } else {
                    Progress::Definitions { left: columns, next: 0 }
                };
            }
            (Kind::Prepared(text), first::OK) => {
                let text = text.clone();
                return self.prepared(text, frame, out);
            }
            (Kind::Prepared(_) | Kind::Rows | Kind::Simple, _) => return None,
        }
        Some(())
    }

    /// ```text
    /// | 0 | statement (4) | columns (2) | parameters (2) | 0 | warnings (2) |
    /// ```
    fn prepared(&mut self, text: Text, frame: &Frame<'_>, out: &mut Vec<Step>) -> Option<()> {
        let statement = number(frame.payload.get(1..)?, 4)?;
        let columns = short(frame.payload, 5)?;
        let parameters = short(frame.payload, 7)?;
        self.session.within(self.calls.front()?.outcome);
        if !self.session.prepared(statement, text, parameters) {
            out.push(Step::Count("protocol.mysql.statements_full"));
        }
        let (left, next) = match (u64::from(parameters), u64::from(columns)) {
            (0, columns) => (columns, 0),
            both => both,
        };
        if left == 0 {
            self.calls.answered(frame.end, out);
        } else {
            self.calls.front()?.what.progress = Progress::Definitions { left, next };
        }
        Some(())
    }

    /// A definition, or what ends some.
    fn definition(&mut self, left: u64, next: u64, frame: &Frame<'_>, out: &mut Vec<Step>) -> Option<()> {
        let call = self.calls.front()?;
        let of_rows = matches!(call.what.kind, Kind::Results);
        let ends = is_eof(frame);
        let mut left = left;
        let mut next = next;
        match (ends, left) {
            (true, 1..) => return None,
            (true, 0) => self.deprecates_eof = Some(false),
            (false, 0) => {
                // The first of the others: nothing ends the former.
                self.deprecates_eof = Some(true);
                left = next.checked_sub(1)?;
                next = 0;
            }
            (false, 1..) => left = left.saturating_sub(1),
        }
        let group_over = left == 0 && (ends || of_rows || self.deprecates_eof == Some(true));
        if !group_over && left == 0 && next == 0 && self.deprecates_eof.is_none() {
            // Whether one packet more ends the definitions is not known.
            self.trailing = Some((self.calls.front()?.what.number, frame.end));
            return Some(());
        }
        let progress = match (group_over, next) {
            (false, _) => Progress::Definitions { left, next },
            (true, 0) if of_rows => Progress::Rows { begun: false },
            (true, 0) => {
                self.calls.answered(frame.end, out);
                return Some(());
            }
            (true, next) => Progress::Definitions { left: next, next: 0 },
        };
        self.calls.front()?.what.progress = progress;
        Some(())
    }

    /// A row, or what ends them.
    fn row(&mut self, first: u8, begun: bool, frame: &Frame<'_>, out: &mut Vec<Step>) -> Option<()> {
        let call = self.calls.front()?;
        if first != first::EOF || frame.length >= CONTINUED {
            call.what.progress = Progress::Rows { begun: true };
            let rows = &mut call.outcome.returned_rows;
            *rows = Some(rows.unwrap_or_default().saturating_add(1));
            return Some(());
        }
        let done = done(frame)?;
        let between = !begun && is_eof(frame) && done.status & status::CURSOR == 0;
        if between {
            call.what.progress = Progress::Rows { begun: true };
            return Some(());
        }
        if matches!(call.what.kind, Kind::Rows) {
            call.outcome.returned_rows.get_or_insert(0);
        }
        self.ended(done, frame.end, out);
        Some(())
    }

    /// A result is complete.
    fn ended(&mut self, done: Done<'_>, end: Mark, out: &mut Vec<Step>) {
        let Some(call) = self.calls.front() else { return };
        let does = std::mem::replace(&mut call.what.does, Does::Other);
        self.session.status(done.status, call.offset, does, call.outcome);
        let several = done.status & status::MORE != 0;
        if let Some(namespace) = call.what.uses.take() {
            self.session.namespace = namespace;
        } else if several && call.what.may_use {
            self.session.namespace = None;
        }
        self.session.changed(done.changed);
        if several {
            call.what.progress = Progress::First;
        } else {
            self.calls.answered(end, out);
        }
    }

    /// ```text
    /// | 0xff | code (2) | '#' | SQLSTATE (5) | message |
    /// ```
    fn failed(&mut self, frame: &Frame<'_>, out: &mut Vec<Step>) -> Option<()> {
        let code = short(frame.payload, 1)?;
        if code == PROGRESS {
            return Some(());
        }
        let call = self.calls.front()?;
        call.outcome.error = Some(Box::new(failure(code, frame.payload.get(3..).unwrap_or_default())));
        self.session.failed(u32::from(code), call.outcome);
        self.calls.answered(frame.end, out);
        Some(())
    }

    /// The answer lost its framing: `tail` are its last bytes.
    pub(super) fn ended_unseen(&mut self, tail: &[u8], end: Mark, out: &mut Vec<Step>) {
        let Some(call) = self.calls.front() else { return };
        // What was counted before the hole is not all.
        call.outcome.returned_rows = None;
        call.outcome.affected_rows = None;
        match ending(tail) {
            Some(Ending::Status(status)) if status & status::MORE == 0 => {
                let does = call.what.does;
                self.session.status(status, call.offset, does, call.outcome);
            }
            Some(Ending::Failure(failure)) => {
                call.outcome.error = Some(Box::new(failure));
                self.session.failed(0, call.outcome);
                self.session.status_unseen();
            }
            _ => self.session.status_unseen(),
        }
        // What it did to the session may have stood in what was lost.
        if call.what.uses.is_some() || call.what.may_use || matches!(call.what.kind, Kind::Enter) {
            self.session.namespace = None;
        }
        self.calls.answered(end, out);
    }
}

fn failure(code: u16, rest: &[u8]) -> Failure {
    let (sqlstate, message) = match rest.strip_prefix(b"#").and_then(|rest| rest.split_at_checked(5)) {
        Some((state, message)) => (Some(state), message),
        None => (None, rest),
    };
    let owned = |text: &[u8]| SmolStr::from(String::from_utf8_lossy(text));
    Failure {
        code: format_smolstr!("{code}"),
        sqlstate: sqlstate.map(owned),
        message: owned(message),
        severity: None,
        expected: false,
    }
}

/// What the last packet of an answer says.
enum Ending {
    Status(u16),
    Failure(Failure),
}

/// The last packet of an answer, if its last bytes are one.
fn ending(tail: &[u8]) -> Option<Ending> {
    // Of packets that end rows, these have nothing of variable length.
    if let Some((_, [5, 0, 0, _, first::EOF, _, _, low, high])) = tail.split_last_chunk::<9>() {
        return Some(Ending::Status(u16::from_le_bytes([*low, *high])));
    }
    if let Some((_, [7, 0, 0, _, first::EOF, 0, 0, low, high, _, _])) = tail.split_last_chunk::<11>() {
        return Some(Ending::Status(u16::from_le_bytes([*low, *high])));
    }
    let from = (0..tail.len()).find(|from| {
        let Some(packet) = tail.get(*from..) else { return false };
        let length = number(packet, 3).map(|length| length as usize);
        let state = packet.get(8..13).unwrap_or_default();
        length == packet.len().checked_sub(4)
            && packet.get(4) == Some(&first::ERR)
            && packet.get(7) == Some(&b'#')
            && state.len() == 5
            && state.iter().all(u8::is_ascii_alphanumeric)
    })?;
    let packet = tail.get(from..)?;
    Some(Ending::Failure(failure(short(packet, 5)?, packet.get(7..)?)))
}
