//! What the server says.
use smol_str::{SmolStr, format_smolstr};

use super::cursor::utf16;
use super::packet::{self, is_handshake, kind, status};
use super::request::encryption;
use super::tokens::{self, Done, Token};
use super::types::integer;
use super::{Asked, Tds};
use crate::protocol::call::Failure;
use crate::protocol::frames::{Cut, Frame, Hole as Passed};
use crate::protocol::ordered::{Dialect as _, Hole, Read};
use crate::protocol::{Mark, Step};

/// What a side wants of encryption: of the login alone, or none as it is not able to.
const OFF: u8 = 0;
const NOT_ABLE: u8 = 2;

impl Tds {
    /// Reads what the server says.
    pub(super) fn answer(&mut self, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Read {
        let mut taken = 0_usize;
        while let Some(left) = bytes.get(taken..).filter(|left| !left.is_empty() && !self.dark) {
            let here = at.behind(taken as u64);
            // What may be unasked is looked at when it begins, so that it can wait as a whole.
            let is_ours = left
                .first()
                .is_some_and(|first| !packet::is_record(*first) && *first != kind::PRELOGIN);
            let outstanding = self.outstanding();
            if self.answers.between() && outstanding == 0 && is_ours {
                return Read::Early(taken);
            }
            let mut answers = std::mem::take(&mut self.answers);
            let (more, told) = match answers.read(left, here) {
                Cut::More => (left.len(), Some(())),
                Cut::Frame(frame, more) => (more, self.told(&frame, out)),
                Cut::Invalid => (0, None),
            };
            let between = answers.between();
            self.answers = answers;
            taken = taken.saturating_add(more);
            if told.is_none() {
                return Read::Mismatch;
            }
            if std::mem::take(&mut self.encrypts) {
                return Read::Switch(taken);
            }
            // A part of a handshake answers nothing that is counted.
            if between && outstanding > 0 && self.outstanding() == 0 {
                return Read::Answered(taken);
            }
        }
        Read::All
    }

    pub(super) fn hole_in_answers(&mut self, length: u64, at: Mark, out: &mut Vec<Step>) -> Hole {
        let mut answers = std::mem::take(&mut self.answers);
        let hole = match answers.hole(length, at) {
            Passed::Within => Hole::Within,
            Passed::Done(frame) => match self.told(&frame, out) {
                Some(()) => Hole::Within,
                None => Hole::Lost,
            },
            Passed::Lost => Hole::Lost,
        };
        self.answers = answers;
        hole
    }

    /// Takes a packet. None if it does not answer what is awaited.
    fn told(&mut self, frame: &Frame<'_>, out: &mut Vec<Step>) -> Option<()> {
        match packet::kind(frame)? {
            kind::ANSWER => {}
            kind::SESSIONS => {
                out.push(Step::Count("protocol.tds.sessions"));
                self.dark = true;
                return Some(());
            }
            kind if packet::is_record(kind) => return Some(()),
            kind::PRELOGIN if is_handshake(frame.payload) => return Some(()),
            kind::PRELOGIN if self.agreeing.is_some() => {}
            _ => return None,
        }
        let last = packet::status(frame) & status::LAST != 0;
        if let Some(client) = self.agreeing {
            self.agreeing = Some(client).filter(|_| !last);
            let server = encryption(frame.payload).filter(|_| !frame.cut);
            self.encrypts = last && server.is_some_and(|server| encrypts(client, server));
            self.awaits_login = last && !self.encrypts;
            return Some(());
        }
        self.tell_deferred(out);
        if std::mem::replace(&mut self.begins_answer, last) {
            self.tokens.restart();
        }
        if frame.cut {
            self.tokens.lose();
        }
        self.calls.seen(frame.begin);
        let mut tokens = std::mem::take(&mut self.tokens);
        let mut acknowledged = false;
        tokens.read(frame.payload, &mut |token| {
            acknowledged |= self.token(&token, out);
        });
        if last && tokens.is_lost() {
            if let Some(done) = tokens.last() {
                acknowledged |= self.done(done);
            }
            self.unread(out);
        }
        self.tokens = tokens;
        if last {
            self.over(acknowledged, frame.end, out)?;
        }
        Some(())
    }

    /// Notes what a token says; whether it answers an attention.
    fn token(&mut self, token: &Token<'_>, out: &mut Vec<Step>) -> bool {
        let Some(call) = self.calls.front() else {
            return matches!(token, Token::Done(done) if done.attention);
        };
        match token {
            Token::Columns => {
                call.outcome.returned_rows.get_or_insert(0);
                call.what.in_result = true;
            }
            Token::Row => {
                let rows = &mut call.outcome.returned_rows;
                *rows = Some(rows.unwrap_or_default().saturating_add(1));
            }
            Token::Done(done) => return self.done(*done),
            Token::Failed(failed) => {
                call.what.entered = true;
                call.outcome.error.get_or_insert_with(|| {
                    Box::new(Failure {
                        code: format_smolstr!("{}", failed.number),
                        sqlstate: None,
                        message: SmolStr::from(utf16(failed.message)),
                        severity: Some(failed.class),
                        expected: false,
                    })
                });
            }
            Token::Changed(what, content) => {
                let offset = call.offset;
                self.session.changed(*what, content, offset, call.outcome);
            }
            Token::LetIn(version) => {
                call.what.entered = true;
                if matches!(version, 0x70 | 0x71) {
                    out.push(Step::Count("protocol.tds.old_version"));
                    self.dark = true;
                }
            }
            Token::Asked => {}
            Token::Returned(place, value) => {
                let handle = value.as_ref().and_then(|value| integer(&value.bytes()));
                let handle = handle.and_then(|handle| i32::try_from(handle).ok());
                if let (0, Some(handle), Some(text)) = (place, handle, call.what.prepares.take())
                    && !self.session.prepared(handle, text)
                {
                    out.push(Step::Count("protocol.tds.statements_full"));
                }
            }
        }
        false
    }

    /// A statement, a procedure or all is done; whether that answers an attention.
    fn done(&mut self, done: Done) -> bool {
        let Some(call) = self.calls.front() else {
            return done.attention;
        };
        if done.attention {
            return true;
        }
        call.what.done |= done.last && !done.failed;
        call.what.failed |= done.failed;
        let in_result = std::mem::take(&mut call.what.in_result);
        if let Some(rows) = done.rows.filter(|_| !in_result && done.command != SELECT) {
            let affected = &mut call.outcome.affected_rows;
            *affected = Some(affected.unwrap_or_default().saturating_add(rows));
        }
        if call.outcome.operation.is_none() {
            call.outcome.operation = operation(done.command).map(SmolStr::new_static);
        }
        false
    }

    /// Some of the answer was not read.
    fn unread(&mut self, out: &mut Vec<Step>) {
        out.push(Step::Count("protocol.tds.answer_unread"));
        let Some(call) = self.calls.front() else { return };
        call.outcome.returned_rows = None;
        call.outcome.affected_rows = None;
        // It is over, whatever it came to.
        call.what.entered = true;
        let may_use = call.what.may_use || call.what.enters;
        self.session.unseen(may_use);
    }

    /// A message is complete. None if nothing is known to have asked for it.
    fn over(&mut self, acknowledged: bool, end: Mark, out: &mut Vec<Step>) -> Option<()> {
        let Some(call) = self.calls.front() else {
            self.attentions = self.attentions.checked_sub(1)?;
            return Some(());
        };
        let Asked {
            enters,
            entered,
            attention,
            done,
            failed,
            transaction,
            ..
        } = *call.what;
        // The client is asked for more, or the answer to its attention is still to come.
        if (enters && !entered) || (attention && !acknowledged) {
            return Some(());
        }
        if acknowledged && !done {
            call.outcome.error.get_or_insert_with(canceled);
        } else if failed {
            call.outcome.error.get_or_insert_with(unsaid);
        }
        if call.outcome.transaction.is_none() {
            call.outcome.transaction = transaction;
        }
        self.calls.answered(end, out);
        Some(())
    }

    /// The answer lost its framing: `tail` are its last bytes.
    pub(super) fn ended_unseen(&mut self, tail: &[u8], end: Mark, out: &mut Vec<Step>) {
        self.agreeing = None;
        self.attentions = 0;
        self.tell_deferred(out);
        let Some(call) = self.calls.front() else { return };
        if tokens::last(tail).is_some_and(|done| done.failed && !done.attention) {
            call.outcome.error.get_or_insert_with(unsaid);
        }
        call.outcome.returned_rows = None;
        call.outcome.affected_rows = None;
        let may_use = call.what.may_use || call.what.enters;
        if call.outcome.transaction.is_none() {
            call.outcome.transaction = call.what.transaction;
        }
        self.session.unseen(may_use);
        self.calls.answered(end, out);
    }
}

/// The number of what has rows for its answer.
const SELECT: u16 = 0xc1;

/// What was done, where the statement is not known.
const fn operation(command: u16) -> Option<&'static str> {
    Some(match command {
        SELECT => "SELECT",
        0xc3 => "INSERT",
        0xc4 => "DELETE",
        0xc5 => "UPDATE",
        0x117 => "MERGE",
        _ => return None,
    })
}

/// Whether what the two sides want makes everything encrypted.
const fn encrypts(client: u8, server: u8) -> bool {
    let both_off = client == OFF && server == OFF;
    client != NOT_ABLE && server != NOT_ABLE && !both_off
}

/// It failed; how was not seen.
fn unsaid() -> Box<Failure> {
    Box::new(Failure {
        code: SmolStr::default(),
        sqlstate: None,
        message: SmolStr::default(),
        severity: None,
        expected: false,
    })
}

/// The client has given up waiting, and the server has ended it.
fn canceled() -> Box<Failure> {
    Box::new(Failure {
        message: SmolStr::new_static("canceled by the client"),
        ..*unsaid()
    })
}
