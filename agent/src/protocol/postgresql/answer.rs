//! What the server says.
use smol_str::SmolStr;

use super::wire::string;
use super::{Answering, Awaited, Postgresql, What};
use crate::protocol::call::Failure;
use crate::protocol::calls::answered;
use crate::protocol::frames::{Cut, Frame, Hole as Passed};
use crate::protocol::ordered::{Hole, Read};
use crate::protocol::{Mark, Step};

/// What a message of the server means to reading.
enum Told {
    /// It fits.
    Fits,
    /// It answers nothing that is awaited, yet.
    Unasked,
    /// It answers something else than what is awaited.
    Mismatch,
}

impl Postgresql {
    /// Reads what the server says.
    pub(super) fn answer(&mut self, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Read {
        let mut taken = 0_usize;
        while let Some(left) = bytes.get(taken..).filter(|left| !left.is_empty()) {
            let here = at.behind(taken as u64);
            if self.backs.between() {
                match self.encryption(left) {
                    Some(Read::All) => {
                        taken = taken.saturating_add(1);
                        if self.units == 0 {
                            return Read::Answered(taken);
                        }
                        continue;
                    }
                    Some(Read::Switch(more)) => return Read::Switch(taken.saturating_add(more)),
                    Some(other) => return other,
                    None => {}
                }
                // What may be unasked is looked at when it begins, so that it can wait as a whole.
                let kind = left.first().copied().unwrap_or_default();
                if self.awaited.is_empty() && !is_notice(kind) {
                    return Read::Early(taken);
                }
            }
            let mut backs = std::mem::take(&mut self.backs);
            let (more, told) = match backs.read(left, here) {
                Cut::More => (left.len(), None),
                Cut::Frame(frame, more) => (more, Some(self.told(&frame, out))),
                Cut::Invalid => {
                    self.backs = backs;
                    return Read::Invalid;
                }
            };
            self.backs = backs;
            taken = taken.saturating_add(more);
            match told {
                Some(Told::Mismatch | Told::Unasked) => return Read::Mismatch,
                Some(Told::Fits) if self.awaited.is_empty() => return Read::Answered(taken),
                Some(Told::Fits) | None => {}
            }
        }
        Read::All
    }

    pub(super) fn hole_in_answers(&mut self, length: u64, at: Mark, out: &mut Vec<Step>) -> Hole {
        let mut backs = std::mem::take(&mut self.backs);
        let hole = match backs.hole(length, at) {
            Passed::Within => Hole::Within,
            Passed::Done(frame) => match self.told(&frame, out) {
                Told::Fits => Hole::Within,
                Told::Unasked | Told::Mismatch => Hole::Lost,
            },
            Passed::Lost => Hole::Lost,
        };
        self.backs = backs;
        hole
    }

    /// The answer to a request for encryption is one byte and no message.
    fn encryption(&mut self, bytes: &[u8]) -> Option<Read> {
        if self.awaited.front()?.what != What::Encryption {
            return None;
        }
        match bytes.first()? {
            b'N' => {
                self.pop();
                Some(Read::All)
            }
            b'S' | b'G' => {
                self.pop();
                Some(Read::Switch(1))
            }
            // Servers before 7.0 do not know the request.
            b'E' => {
                self.pop();
                None
            }
            _ => Some(Read::Invalid),
        }
    }

    fn told(&mut self, frame: &Frame<'_>, out: &mut Vec<Step>) -> Told {
        let kind = frame.head.first().copied().unwrap_or_default();
        if is_notice(kind) && kind != b'E' {
            return Told::Fits;
        }
        self.begun(frame);
        match kind {
            b'R' | b'K' => self.expect(&[What::Startup]),
            b'v' => self.expect(&[What::Startup]),
            b'1' => self.complete(&[What::Parse], frame.end, out),
            b'2' => self.complete(&[What::Bind], frame.end, out),
            b'3' => self.complete(&[What::Close], frame.end, out),
            b't' => {
                let told = self.expect(&[What::DescribeStatement]);
                if let (Told::Fits, Some(Some(types))) = (&told, self.described.front()) {
                    types.described(frame.payload);
                }
                told
            }
            b'T' if self.front() == Some(What::Query) => Told::Fits,
            b'T' | b'n' => self.complete(&[What::DescribeStatement, What::DescribePortal], frame.end, out),
            b'D' => {
                let told = self.expect(&[What::Query, What::Execute]);
                if let Some(call) = self.front_call() {
                    let rows = &mut call.outcome.returned_rows;
                    *rows = Some(rows.unwrap_or_default().saturating_add(1));
                }
                told
            }
            b'C' | b'I' | b's' => self.command_complete(kind, frame, out),
            b'G' => {
                let told = self.expect(&[What::Query, What::Execute]);
                self.copy_in();
                told
            }
            b'H' => {
                if let Some(call) = self.front_call() {
                    call.copies_out = true;
                }
                self.expect(&[What::Query, What::Execute])
            }
            b'W' | b'd' | b'c' => self.expect(&[What::Query, What::Execute]),
            b'V' => self.expect(&[What::Function]),
            b'E' => self.error(frame, out),
            b'Z' => self.ready(frame, out),
            _ => Told::Mismatch,
        }
    }

    fn front(&self) -> Option<What> {
        self.awaited.front().map(|awaited| awaited.what)
    }

    fn front_call(&mut self) -> Option<&mut Answering> {
        self.awaited.front_mut().and_then(|awaited| awaited.call.as_mut())
    }

    /// The answer to the first exchange begins with this message, if it has not begun.
    fn begun(&mut self, frame: &Frame<'_>) {
        let call = self.awaited.iter_mut().find_map(|awaited| awaited.call.as_mut());
        if let Some(call) = call {
            let (_, last) = call.seen.get_or_insert((frame.begin.moment, frame.end));
            *last = frame.end;
        }
    }

    fn expect(&self, what: &[What]) -> Told {
        match self.front() {
            Some(front) if what.contains(&front) => Told::Fits,
            Some(_) => Told::Mismatch,
            None => Told::Unasked,
        }
    }

    /// A message that is all of an answer.
    fn complete(&mut self, what: &[What], end: Mark, out: &mut Vec<Step>) -> Told {
        let told = self.expect(what);
        if matches!(told, Told::Fits)
            && let Some(Awaited {
                call: Some(mut call), ..
            }) = self.pop()
        {
            self.session.within(&mut call);
            answered(call.exchange, call.began(), call.outcome, end, out);
        }
        told
    }

    fn command_complete(&mut self, kind: u8, frame: &Frame<'_>, out: &mut Vec<Step>) -> Told {
        let told = self.expect(&[What::Query, What::Execute]);
        if !matches!(told, Told::Fits) {
            return told;
        }
        if let Some(call) = self.awaited.front_mut().and_then(|awaited| awaited.call.as_mut()) {
            if kind == b'C' {
                self.session.tag(string(frame.payload).0, call);
            } else {
                self.session.within(call);
            }
        }
        if self.front() == Some(What::Execute)
            && let Some(Awaited { call: Some(call), .. }) = self.pop()
        {
            answered(call.exchange, call.began(), call.outcome, frame.end, out);
        }
        Told::Fits
    }

    /// The server waits for rows. A `Sync` that was sent with the statement is not answered.
    fn copy_in(&mut self) {
        self.copying = true;
        if self.front() == Some(What::Execute)
            && self
                .awaited
                .get(1)
                .is_some_and(|next| next.what == What::Sync && next.call.is_none())
        {
            self.awaited.remove(1);
            self.units = self.units.saturating_sub(1);
        }
    }

    /// `ErrorResponse`. In the extended protocol everything up to the next `Sync` is skipped.
    fn error(&mut self, frame: &Frame<'_>, out: &mut Vec<Step>) -> Told {
        self.copying = false;
        let failure = failure(frame.payload);
        match self.front() {
            // The server ends the connection, for a reason of its own.
            None => return Told::Fits,
            Some(What::Query | What::Startup | What::Function | What::Cancel | What::Encryption) => {
                let session = &mut self.session;
                if let Some(call) = self.awaited.front_mut().and_then(|awaited| awaited.call.as_mut()) {
                    session.within(call);
                    call.outcome.error = Some(Box::new(failure));
                }
                return Told::Fits;
            }
            Some(_) => {}
        }
        let mut failure = Some(failure);
        self.skipping = true;
        while self.front().is_some_and(|what| what != What::Sync) {
            let Some(mut call) = self.pop().and_then(|awaited| awaited.call) else {
                continue;
            };
            match failure.take() {
                Some(failure) => {
                    self.session.within(&mut call);
                    call.outcome.error = Some(Box::new(failure));
                    answered(call.exchange, call.began(), call.outcome, frame.end, out);
                }
                None => self.skipped(call, frame.end, out),
            }
        }
        if let Some(call) = self.front_call()
            && let Some(failure) = failure
        {
            call.outcome.error = Some(Box::new(failure));
        }
        Told::Fits
    }

    /// An `Execute` behind an error: the server does not run it.
    pub(super) fn skipped(&mut self, mut call: Answering, end: Mark, out: &mut Vec<Step>) {
        self.session.within(&mut call);
        call.outcome.skipped = true;
        answered(call.exchange, call.began(), call.outcome, end, out);
    }

    /// `ReadyForQuery`.
    fn ready(&mut self, frame: &Frame<'_>, out: &mut Vec<Step>) -> Told {
        let told = self.expect(&[What::Startup, What::Query, What::Sync, What::Function]);
        if !matches!(told, Told::Fits) {
            return told;
        }
        self.skipping = false;
        self.copying = false;
        let call = self.pop().and_then(|awaited| awaited.call);
        let offset = call.as_ref().map(|call| call.offset);
        let status = frame.payload.first().copied();
        if let Some(mut call) = call {
            if call.outcome.transaction.is_none() && matches!(status, Some(b'T' | b'E')) {
                self.session.status(status, offset);
                self.session.within(&mut call);
            }
            answered(call.exchange, call.began(), call.outcome, frame.end, out);
        }
        self.session.status(status, offset);
        Told::Fits
    }
}

/// Messages that come unasked: `NoticeResponse`, `NotificationResponse`, `ParameterStatus`, and the error of a server that
/// goes down.
const fn is_notice(kind: u8) -> bool {
    matches!(kind, b'N' | b'A' | b'S' | b'E')
}

/// The fields of an `ErrorResponse`: a letter and a text each.
fn failure(payload: &[u8]) -> Failure {
    let (mut code, mut message) = (&b""[..], &b""[..]);
    let mut rest = payload;
    while let Some((letter, behind)) = rest.split_first().filter(|(letter, _)| **letter != 0) {
        let (value, behind) = string(behind);
        match letter {
            b'C' => code = value,
            b'M' => message = value,
            _ => {}
        }
        rest = behind;
    }
    let owned = |text: &[u8]| SmolStr::from(String::from_utf8_lossy(text));
    Failure {
        code: owned(code),
        message: owned(message),
        sqlstate: None,
        severity: None,
        expected: false,
    }
}

/// The tag and the status that a whole answer ends with, if it does:
///
/// ```text
/// | 'C' | length (4) | tag | 0 | 'Z' | 0 0 0 5 | status |
/// ```
pub(super) fn ending(tail: &[u8]) -> (Option<&[u8]>, Option<u8>) {
    let Some((rest, [b'Z', 0, 0, 0, 5, status])) = tail.split_last_chunk::<6>() else {
        return (None, None);
    };
    let tag = (1..rest.len().min(64)).find_map(|length| {
        let message = rest.get(rest.len().checked_sub(length.checked_add(5)?)?..)?;
        let (head, tag) = message.split_at_checked(5)?;
        let right = head.first() == Some(&b'C') && super::wire::number(head, 1)? as usize == length.checked_add(4)?;
        right.then_some(tag.strip_suffix(&[0])?)
    });
    (tag, Some(*status))
}
