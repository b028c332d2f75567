//! Protocols whose answers come in the order of what was asked.
//!
//! A [`Dialect`] reads the messages of one protocol; this wraps one into a [`Parser`] and deals with what all have in common:
//! order between the directions, holes, doubt, and connections joined midway.
//!
//! While every byte was seen from the first one on, order pairs, and that is *certain*: requests may be pipelined, and an
//! answer that is reported before its question waits for it. A hole that lies within a message whose length is known costs
//! nothing but what lies in it. Any other may have swallowed messages: what is open is [`Broken::Unseen`], and reading goes on
//! where the connection turns round from answers to questions with nothing open, for then everything that was asked before
//! has been answered; unless the client has ever asked, at such a turn, while an answer was awaited (it *interleaves*): then
//! only behind [`QUIET_NS`](super::turn::QUIET_NS) of silence, one question at a time. What contradicts this is
//! [`Broken::Unseen`] again.
use bytes::Bytes;

use super::held::Held;
use super::turn::{Turn, Turns};
use super::{Broken, Exchange, Flow, Mark, Parser, Preface, Start, Step};
use crate::capture::Direction;
use crate::stream::{Content, Piece};

/// How long an answer waits for its question, nanoseconds: threads report within microseconds of each other.
const EARLY_NS: u64 = 200_000_000;
/// How long an answer whose end was not seen is silent before it is taken to be over, nanoseconds.
const SILENCE_NS: u64 = 2_000_000_000;
/// Bytes of an answer's end that are kept where its framing was lost.
pub(super) const TAIL_BYTES: usize = 256;
/// Pieces that cannot be read, without an exchange between them, after which the protocol was a wrong guess.
const MAX_STRIKES: u32 = 4;

/// Which of the two directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// What is asked.
    Ask,
    /// What is answered.
    Answer,
}

/// What reading came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// All bytes were taken.
    All,
    /// A question is complete behind so many bytes.
    Asked(usize),
    /// With the last of so many bytes everything that was asked has been answered.
    Answered(usize),
    /// Behind so many bytes an answer begins that nothing was asked for, as far as is known.
    Early(usize),
    /// The bytes do not follow the protocol.
    Invalid,
    /// They follow it, and answer something else than what was asked.
    Mismatch,
    /// What follows behind so many bytes is another protocol.
    Switch(usize),
}

/// What a hole means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hole {
    /// It lies within a message.
    Within,
    /// It may have swallowed messages.
    Lost,
}

/// One protocol.
pub(super) trait Dialect: Send {
    /// The counter of bytes that do not follow the protocol.
    const INVALID: &'static str;
    /// The counter of answers that nothing is known to have asked for.
    const UNMATCHED: &'static str;

    /// Reads bytes of one direction, which begin at `at`.
    fn read(&mut self, side: Side, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Read;
    /// Whether what is answered shows that the protocol was a wrong guess. What was taken for questions is withdrawn then.
    fn refuted(&mut self, _answer: &[u8], _out: &mut Vec<Step>) -> bool {
        false
    }
    /// Passes a hole that begins at `at`.
    fn hole(&mut self, side: Side, length: u64, at: Mark, out: &mut Vec<Step>) -> Hole;
    /// The next byte of either direction begins a message; what was asked in the meantime is not known.
    fn restart(&mut self, asked_unseen: bool);
    /// Questions whose answer is not complete. Several exchanges that are answered together are one.
    fn outstanding(&self) -> usize;
    /// What the client says now belongs to what it asked before: a password, rows to copy.
    fn in_dialog(&self) -> bool {
        false
    }
    /// Exchanges without an end.
    fn open(&self) -> usize;
    /// The number of the next exchange.
    fn next(&self) -> Exchange;
    /// Every exchange that is open ends: the first for `reason`, those behind it for `rest`.
    fn break_all(&mut self, at: Mark, reason: Broken, rest: Broken, out: &mut Vec<Step>);
    /// The answer to what is outstanding is over, and lost its framing in a hole: `tail` are its last bytes, at most
    /// [`TAIL_BYTES`], as far as they were seen in one stretch. Ends what is open.
    fn blind_end(&mut self, tail: &[u8], end: Mark, out: &mut Vec<Step>);
    /// The connection ends in good order: ends what ends with it.
    fn closed(&mut self, at: Mark, out: &mut Vec<Step>);
    /// Whether the client takes work by it.
    fn takes_work(&self) -> bool {
        false
    }
    /// Whether bytes are still of use.
    fn wants_bytes(&self) -> bool {
        true
    }
}

/// One connection.
pub(super) struct Ordered<D> {
    dialect: D,
    /// Which way questions go.
    asks: Direction,
    turns: Turns,
    /// The n-th answer is of the n-th question.
    certain: bool,
    /// Messages may have been lost; reading begins anew at a turn.
    lost: bool,
    /// The end of the answer being read will not be seen.
    blind: bool,
    /// What is read was looked for, not told by order.
    sought: bool,
    /// The client has asked at a turn while an answer was awaited.
    interleaves: bool,
    early: Held,
    /// Questions were not read while messages were lost.
    missed: bool,
    /// The end of a blind answer.
    tail: Vec<u8>,
    /// The last byte of an answer.
    last_answer: Option<Mark>,
    begun: (bool, bool),
    preface: Preface,
    strikes: u32,
}

impl<D: Dialect> Ordered<D> {
    /// A connection. `asks` is the way questions go; `begins` whether the first bytes prove that they are the first.
    pub(super) fn new(dialect: D, start: &Start, asks: Direction, begins: bool) -> Self {
        let certain = start.from_beginning || begins;
        Self {
            dialect,
            asks,
            turns: Turns::default(),
            certain,
            lost: !certain,
            blind: false,
            sought: false,
            interleaves: false,
            early: Held::default(),
            missed: false,
            tail: Vec::new(),
            last_answer: None,
            begun: (begins, begins),
            preface: start.preface,
            strikes: 0,
        }
    }

    fn step(&mut self, piece: Piece, out: &mut Vec<Step>) -> Flow {
        let side = if piece.direction == self.asks {
            Side::Ask
        } else {
            Side::Answer
        };
        let begun = match side {
            Side::Ask => &mut self.begun.0,
            Side::Answer => &mut self.begun.1,
        };
        let turn = self.turns.take(&piece);
        let is_first = !std::mem::replace(begun, true);
        if is_first && self.certain && !self.preface.ends_at(piece.direction, piece.offset) {
            self.lose(Mark::of(&piece), false, out);
        }
        match side {
            Side::Ask => {
                let flow = self.asked(piece, turn, out);
                if flow == Flow::Continue {
                    flow
                } else {
                    flow.followed_by(self.early.take())
                }
            }
            Side::Answer => self.answered(piece, out),
        }
    }

    fn asked(&mut self, piece: Piece, turn: Turn, out: &mut Vec<Step>) -> Flow {
        let at = Mark::of(&piece);
        match piece.content {
            Content::Bytes(bytes) => {
                if self.blind && turn.turned {
                    self.end_blind(out);
                }
                let goes_on = self.dialect.in_dialog() && !self.lost;
                if turn.turned && !turn.first && !goes_on {
                    if self.dialect.outstanding() > 0 {
                        self.interleaves = true;
                    }
                    if !self.certain && !self.lost {
                        // Which of the answers to come is whose cannot be told, or only the question before was looked for.
                        self.lose(at, false, out);
                    }
                }
                if self.lost && !self.seek(turn) {
                    self.missed = true;
                    return Flow::Continue;
                }
                return self.asked_bytes(&bytes, at, out);
            }
            Content::Unseen(length) => {
                if self.blind && turn.turned {
                    self.end_blind(out);
                }
                if self.lost || self.dialect.hole(Side::Ask, length, at, out) == Hole::Lost {
                    self.lose(at.behind(length), true, out);
                }
                return self.read_early(out);
            }
            // A client may close its half and wait for answers.
            Content::End => {}
            Content::Failed(errno) => self
                .dialect
                .break_all(at, Broken::Failed(errno), Broken::Failed(errno), out),
        }
        Flow::Continue
    }

    /// Takes the bytes of an operation, which begin at `at`. An answer that waited for a question is read before the next
    /// question is: what follows from it must not depend on how the operation is cut into pieces.
    fn asked_bytes(&mut self, bytes: &Bytes, at: Mark, out: &mut Vec<Step>) -> Flow {
        let mut taken = 0_usize;
        while let Some(left) = bytes.get(taken..).filter(|left| !left.is_empty()) {
            if self.lost {
                self.missed = true;
                break;
            }
            match self.dialect.read(Side::Ask, left, at.behind(taken as u64), out) {
                Read::Asked(more) => taken = taken.saturating_add(more),
                Read::All | Read::Answered(_) | Read::Early(_) => break,
                Read::Invalid | Read::Mismatch => {
                    self.unreadable(at, out);
                    break;
                }
                Read::Switch(more) => {
                    // What came before the client asked to switch is not of what it switches to.
                    if !self.early.is_empty() {
                        self.unmatched(out);
                    }
                    return self.switch(self.asks, bytes, at, taken.saturating_add(more), out);
                }
            }
            let flow = self.read_early(out);
            if flow != Flow::Continue {
                return flow.followed_by(rest(self.asks, bytes, at, taken));
            }
        }
        Flow::Continue
    }

    /// Whether a question may begin here, where messages were lost.
    fn seek(&mut self, turn: Turn) -> bool {
        let free = turn.turned && !turn.first && self.dialect.outstanding() == 0;
        if !free || (self.interleaves && !turn.quiet) {
            return false;
        }
        self.dialect.restart(std::mem::take(&mut self.missed));
        self.lost = false;
        self.sought = true;
        true
    }

    fn answered(&mut self, piece: Piece, out: &mut Vec<Step>) -> Flow {
        if !self.early.is_empty() {
            self.hold(piece, out);
            return Flow::Continue;
        }
        let at = Mark::of(&piece);
        match piece.content {
            Content::Bytes(bytes) => {
                if self.dialect.refuted(&bytes, out) {
                    return self.switch(piece.direction, &bytes, at, 0, out);
                }
                let end = at.behind(bytes.len() as u64);
                self.last_answer = Some(end);
                if self.blind {
                    let kept = bytes.len().saturating_sub(TAIL_BYTES);
                    self.tail.extend_from_slice(bytes.get(kept..).unwrap_or_default());
                    let excess = self.tail.len().saturating_sub(TAIL_BYTES);
                    self.tail.drain(..excess);
                    return Flow::Continue;
                }
                let mut taken = 0_usize;
                while let Some(left) = bytes.get(taken..).filter(|left| !left.is_empty() && !self.lost) {
                    let here = at.behind(taken as u64);
                    match self.dialect.read(Side::Answer, left, here, out) {
                        Read::All | Read::Asked(_) => break,
                        Read::Answered(more) => {
                            taken = taken.saturating_add(more);
                            self.settle();
                        }
                        Read::Early(more) => {
                            taken = taken.saturating_add(more);
                            if let Some(rest) = rest(piece.direction, &bytes, at, taken) {
                                self.hold(rest, out);
                            }
                            break;
                        }
                        Read::Invalid => self.unreadable(at, out),
                        Read::Mismatch => {
                            out.push(Step::Count(D::UNMATCHED));
                            self.lose(anywhere(at), false, out);
                        }
                        Read::Switch(more) => {
                            return self.switch(piece.direction, &bytes, at, taken.saturating_add(more), out);
                        }
                    }
                }
            }
            Content::Unseen(length) => {
                let end = at.behind(length);
                self.last_answer = Some(end);
                self.tail.clear();
                if self.lost || self.blind {
                    return Flow::Continue;
                }
                if self.dialect.hole(Side::Answer, length, at, out) == Hole::Lost {
                    // An answer to the only question: it is over when the client goes on.
                    if self.dialect.outstanding() == 1 && !self.interleaves {
                        self.certain = false;
                        self.blind = true;
                    } else {
                        self.lose(end, false, out);
                    }
                } else {
                    self.settle();
                }
            }
            Content::End => {
                self.over(at, out);
                self.dialect.break_all(at, Broken::Closed, Broken::Closed, out);
            }
            Content::Failed(errno) => {
                let reason = Broken::Failed(errno);
                self.dialect.break_all(at, reason, reason, out);
            }
        }
        Flow::Continue
    }

    /// What follows behind the first `taken` bytes is another protocol: whatever was asked already is not answered in this one.
    fn switch(&mut self, direction: Direction, bytes: &Bytes, at: Mark, taken: usize, out: &mut Vec<Step>) -> Flow {
        self.dialect
            .break_all(anywhere(at), Broken::Unseen, Broken::Unseen, out);
        Flow::Switched(rest(direction, bytes, at, taken).into_iter().collect())
    }

    /// Messages may have been lost, questions among them if `asked_unseen`.
    fn lose(&mut self, at: Mark, asked_unseen: bool, out: &mut Vec<Step>) {
        self.dialect.break_all(at, Broken::Unseen, Broken::Unseen, out);
        self.dialect.restart(asked_unseen);
        self.certain = false;
        self.blind = false;
        self.lost = true;
        if !self.early.is_empty() {
            self.unmatched(out);
        }
    }

    fn unreadable(&mut self, at: Mark, out: &mut Vec<Step>) {
        let at = anywhere(at);
        self.strikes = self.strikes.saturating_add(1);
        if !self.sought {
            out.push(Step::Count(D::INVALID));
            self.dialect.break_all(at, Broken::Invalid, Broken::Unseen, out);
        }
        self.lose(at, true, out);
    }

    /// Everything that was asked has been answered: what was looked for proves to be right.
    fn settle(&mut self) {
        if self.dialect.outstanding() > 0 || self.lost {
            return;
        }
        self.strikes = 0;
        if self.sought && !self.interleaves {
            self.certain = true;
            self.sought = false;
        }
    }

    fn end_blind(&mut self, out: &mut Vec<Step>) {
        self.blind = false;
        let tail = std::mem::take(&mut self.tail);
        if let Some(last) = self.last_answer {
            self.dialect.blind_end(&tail, last, out);
        }
        self.lost = true;
    }

    /// The connection ends in good order.
    fn over(&mut self, at: Mark, out: &mut Vec<Step>) {
        if self.blind {
            self.end_blind(out);
        }
        self.dialect.closed(at, out);
    }

    /// An answer came before its question: two threads reported out of order, or the question was not seen.
    fn hold(&mut self, piece: Piece, out: &mut Vec<Step>) {
        if !self.certain || !self.early.push(piece) {
            self.unmatched(out);
        }
    }

    /// What was held answers nothing that is known.
    fn unmatched(&mut self, out: &mut Vec<Step>) {
        out.push(Step::Count(D::UNMATCHED));
        let _dropped = self.early.take();
        self.certain = false;
        self.lost = true;
    }

    /// Goes on with answers that waited for their question.
    fn read_early(&mut self, out: &mut Vec<Step>) -> Flow {
        if self.early.is_empty() || self.dialect.outstanding() == 0 {
            return Flow::Continue;
        }
        let mut early = self.early.take();
        while let Some(piece) = early.next() {
            let flow = self.answered(piece, out);
            if flow != Flow::Continue {
                return flow.followed_by(early);
            }
        }
        Flow::Continue
    }
}

/// The operation without the place in it, which depends on how it is cut into pieces.
const fn anywhere(at: Mark) -> Mark {
    Mark { offset: 0, ..at }
}

/// What is left of the bytes of an operation behind the first `taken`: a piece of its own, if there is any.
fn rest(direction: Direction, bytes: &Bytes, begin: Mark, taken: usize) -> Option<Piece> {
    let rest = bytes.get(taken..).filter(|rest| !rest.is_empty())?;
    let at = begin.behind(taken as u64);
    Some(Piece {
        direction,
        offset: at.offset,
        content: Content::Bytes(bytes.slice_ref(rest)),
        moment: at.moment,
    })
}

impl<D: Dialect> Parser for Ordered<D> {
    fn piece(&mut self, piece: Piece, out: &mut Vec<Step>) -> Flow {
        let at = Mark::of(&piece);
        match self.step(piece, out) {
            Flow::Continue if self.strikes >= MAX_STRIKES => {
                self.dialect.break_all(at, Broken::Invalid, Broken::Invalid, out);
                Flow::Rejected
            }
            flow => flow,
        }
    }

    fn tick(&mut self, now_ns: u64, out: &mut Vec<Step>) {
        let waited = |since: Option<u64>, limit: u64| since.is_some_and(|since| now_ns.saturating_sub(since) >= limit);
        if waited(self.early.since_ns(), EARLY_NS) {
            self.unmatched(out);
        }
        if self.blind && waited(self.last_answer.map(|last| last.moment.time_ns), SILENCE_NS) {
            self.end_blind(out);
        }
    }

    fn end(&mut self, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        if !self.early.is_empty() {
            self.unmatched(out);
        }
        if reason == Broken::Closed {
            self.over(at, out);
        } else if self.blind {
            self.end_blind(out);
        }
        self.dialect.break_all(at, reason, reason, out);
    }

    fn open(&self) -> usize {
        self.dialect.open()
    }

    fn next_exchange(&self) -> Exchange {
        self.dialect.next()
    }

    fn wants_whole_operations(&self) -> bool {
        true
    }

    fn takes_work(&self) -> bool {
        self.dialect.takes_work()
    }

    fn wants_bytes(&self) -> bool {
        self.dialect.wants_bytes()
    }
}
