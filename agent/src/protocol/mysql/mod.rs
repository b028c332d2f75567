//! MySQL and MariaDB: the client/server protocol, version 10.
//!
//! An exchange is a command and its answer, which is of several results where a command has several statements. Opening a
//! connection is one too, from what the client answers to the greeting until it is let in. Commands may be pipelined; each is
//! numbered from 0 and its answer counts on, so that an answer that does not fit is noticed.
mod answer;
mod ask;
mod session;
mod value;
mod wire;

use smol_str::SmolStr;

pub(crate) use wire::recognize;

use super::call::{Call, Text};
use super::calls::Calls;
use super::frames::Frames;
use super::ordered::{Dialect, Hole, Ordered, Read, Side};
use super::{Broken, Exchange, Limits, Mark, Parser, Start, Step};
use session::{Does, Session};
use wire::{Back, Front, Speaker};

/// A parser for one connection.
pub(super) fn parser(start: &Start) -> Box<dyn Parser> {
    let (_, speaker) = wire::judge(&start.bytes);
    let asks = match speaker {
        Speaker::Greeting => start.direction.flip(),
        Speaker::Hello | Speaker::Front => start.direction,
    };
    // Neither comes anywhere else, and it tells its own place by its number.
    let begins = matches!(speaker, Speaker::Greeting | Speaker::Hello);
    let dialect = Mysql {
        limits: start.limits,
        session: Session::new(),
        calls: Calls::new(asks, start),
        fronts: Frames::default(),
        backs: Frames::default(),
        greets: speaker == Speaker::Greeting,
        greeted: None,
        deprecates_eof: None,
        asking: None,
        front_goes_on: None,
        back_goes_on: None,
        trailing: None,
        dark: false,
    };
    Box::new(Ordered::new(dialect, start, asks, begins))
}

/// One connection.
struct Mysql {
    limits: Limits,
    session: Session,
    calls: Calls<Asked>,
    fronts: Frames<Front>,
    backs: Frames<Back>,
    /// The server's greeting has not come.
    greets: bool,
    /// What the server is able to do.
    greeted: Option<u32>,
    /// No packet of its own ends definitions, where that is known.
    deprecates_eof: Option<bool>,
    /// A command whose last packet has not come, from its first byte.
    asking: Option<(Mark, Call, Asked)>,
    /// The payload goes on in the packet of this number.
    front_goes_on: Option<u8>,
    back_goes_on: Option<u8>,
    /// The first answer is over here, unless the packet of this number follows and ends its definitions.
    trailing: Option<(u8, Mark)>,
    /// What follows cannot be read: it is compressed, or carries no commands any more.
    dark: bool,
}

/// What is noted of a command.
#[derive(Debug)]
struct Asked {
    kind: Kind,
    /// The number of the next packet of its answer.
    number: u8,
    progress: Progress,
    does: Does,
    /// How many rows it changed is told even if there are none.
    changes: bool,
    /// The session's database when it has succeeded. The inner is none if it is not known.
    uses: Option<Option<SmolStr>>,
    /// One of its other statements may change the session's database.
    may_use: bool,
}

impl Asked {
    const fn new(kind: Kind) -> Self {
        Self {
            kind,
            number: 1,
            progress: Progress::First,
            does: Does::Other,
            changes: false,
            uses: None,
            may_use: false,
        }
    }

    /// The client and the server speak in turn.
    const fn in_dialog(&self) -> bool {
        matches!(self.kind, Kind::Enter) || matches!(self.progress, Progress::File)
    }
}

/// What answers a command.
#[derive(Debug)]
enum Kind {
    /// Whether the client is let in, after a dialog.
    Enter,
    /// That it was done.
    Simple,
    /// One packet of any content.
    Line,
    /// Results, with or without rows.
    Results,
    /// What was prepared of this text.
    Prepared(Text),
    /// Definitions, as many as there are.
    Fields,
    /// Rows alone.
    Rows,
}

/// What comes next of an answer.
#[derive(Clone, Copy, Debug)]
enum Progress {
    /// The first packet, or that of another result.
    First,
    /// So many definitions; then so many others if anything was prepared.
    Definitions { left: u64, next: u64 },
    /// Rows. Before they have `begun` a packet may end the definitions.
    Rows { begun: bool },
    /// The client sends a file.
    File,
}

impl Dialect for Mysql {
    const INVALID: &'static str = "protocol.mysql.invalid";
    const UNMATCHED: &'static str = "protocol.mysql.response_unmatched";

    fn read(&mut self, side: Side, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Read {
        match side {
            _ if self.dark => Read::All,
            Side::Ask => self.asked(bytes, at, out),
            Side::Answer => self.answer(bytes, at, out),
        }
    }

    fn hole(&mut self, side: Side, length: u64, at: Mark, out: &mut Vec<Step>) -> Hole {
        match side {
            _ if self.dark => Hole::Within,
            Side::Ask => self.hole_in_asks(length, at, out),
            Side::Answer => self.hole_in_answers(length, at, out),
        }
    }

    fn restart(&mut self, asked_unseen: bool) {
        self.fronts.restart();
        self.backs.restart();
        self.greets = false;
        self.asking = None;
        self.front_goes_on = None;
        self.back_goes_on = None;
        self.trailing = None;
        self.session.restart(asked_unseen);
    }

    fn outstanding(&self) -> usize {
        self.calls.len().saturating_sub(usize::from(self.trailing.is_some()))
    }

    fn in_dialog(&self) -> bool {
        self.calls.first().is_some_and(|call| call.what.in_dialog())
    }

    fn open(&self) -> usize {
        self.calls.len()
    }

    fn next(&self) -> Exchange {
        self.calls.next()
    }

    fn break_all(&mut self, at: Mark, reason: Broken, rest: Broken, out: &mut Vec<Step>) {
        self.over(out);
        self.calls.break_all(at, reason, rest, out);
    }

    fn blind_end(&mut self, tail: &[u8], end: Mark, out: &mut Vec<Step>) {
        self.ended_unseen(tail, end, out);
    }

    fn closed(&mut self, _at: Mark, _out: &mut Vec<Step>) {}

    fn wants_bytes(&self) -> bool {
        !self.dark
    }
}

#[cfg(test)]
mod tests;
