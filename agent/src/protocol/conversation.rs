//! What a connection speaks, and the parser that follows it.
use std::collections::VecDeque;

use bytes::Bytes;

use super::detect::{Detected, Detecting};
use super::preface::{Preface, Prefaces};
use super::unknown::Turns;
use super::{Body, Broken, Exchange, Flow, Limits, Mark, PROTOCOLS, Parser, Start, Step, dns, tls};
use crate::capture::Direction;
use crate::stream::{Content, Piece};

/// Wrong guesses before a connection is given up as unknown.
const MAX_REJECTIONS: u32 = 4;
/// Switches of protocol within one piece; each takes a message that asks for it and one that grants it.
const MAX_SWITCHES: usize = 64;

/// What is known of a connection's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recognition {
    /// Too little was seen.
    Undecided,
    /// It speaks this protocol.
    Known(&'static str),
    /// It speaks nothing Clew decodes.
    Unknown,
}

/// The exchanges of one connection.
pub struct Conversation {
    limits: Limits,
    state: State,
    next: Exchange,
    /// Offsets count from byte 0, and nothing was switched.
    from_beginning: bool,
    rejections: u32,
    /// Asked for the protocol that is to be recognized, and is answered in it.
    carried: Option<Exchange>,
    /// What passes while no protocol is known, where that is to be told.
    turns: Option<Box<Turns>>,
    prefaces: Prefaces,
}

enum State {
    Detecting(Detecting),
    Speaking(&'static str, Box<dyn Parser>),
    Unknown,
}

impl Conversation {
    /// A conversation nothing is known of.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Detecting(Detecting::default()),
            next: Exchange(0),
            from_beginning: true,
            rejections: 0,
            carried: None,
            turns: None,
            prefaces: Prefaces::default(),
        }
    }

    /// Says which way questions go, where that is known: then turns in no known protocol are told, if they are to be.
    #[must_use]
    pub fn asking(mut self, asks: Option<Direction>) -> Self {
        self.turns = asks.filter(|_| self.limits.turns).map(Turns::new).map(Box::new);
        self
    }

    /// A conversation in datagrams, each of which is one operation. What passes in them is DNS, or nothing Clew decodes.
    pub fn datagrams(limits: Limits) -> Self {
        let start = Start {
            limits,
            first: Exchange(0),
            direction: Direction::Egress,
            bytes: Bytes::new(),
            from_beginning: false,
            preface: Preface::default(),
            datagrams: true,
            carried: None,
        };
        Self {
            state: State::Speaking(dns::NAME, dns::parser(&start)),
            // It is guessed once.
            rejections: MAX_REJECTIONS,
            ..Self::new(limits)
        }
    }

    /// Says whether the connection was joined midway and its offsets do not count from byte 0: requests may be under way.
    #[must_use]
    pub const fn midway(mut self, midway: bool) -> Self {
        self.from_beginning = !midway;
        self
    }

    /// Says which number the first exchange gets.
    #[must_use]
    pub const fn counting_from(mut self, first: Exchange) -> Self {
        self.next = first;
        self
    }

    /// The number the next exchange will get.
    pub fn next_exchange(&self) -> Exchange {
        match &self.state {
            State::Speaking(_, parser) => parser.next_exchange(),
            _ => self.next,
        }
    }

    /// Takes the next piece.
    pub fn piece(&mut self, piece: Piece, out: &mut Vec<Step>) {
        let (mut queue, mut switches) = (VecDeque::new(), 0_usize);
        match &mut self.state {
            // Most pieces are of a protocol that goes on.
            State::Speaking(_, parser) => {
                let (direction, time_ns) = (piece.direction, piece.moment.time_ns);
                match parser.piece(piece, out) {
                    Flow::Continue => return,
                    flow => self.over(flow, direction, time_ns, &mut queue, &mut switches, out),
                }
            }
            State::Detecting(_) if self.from_beginning && !self.prefaces.passes(&piece) => {
                let rest = self.prefaces.take(piece, &mut queue);
                out.extend(self.prefaces.news().map(Step::Preface));
                if let Some(piece) = rest {
                    self.take(piece, &mut queue, &mut switches, out);
                }
            }
            State::Detecting(_) | State::Unknown => self.take(piece, &mut queue, &mut switches, out),
        }
        while let Some(piece) = queue.pop_front() {
            self.take(piece, &mut queue, &mut switches, out);
        }
    }

    /// Takes a piece; what is to be taken before any other comes to the front of `queue`.
    fn take(&mut self, piece: Piece, queue: &mut VecDeque<Piece>, switches: &mut usize, out: &mut Vec<Step>) {
        match &mut self.state {
            State::Unknown => {
                if let Some(turns) = &mut self.turns {
                    turns.piece(&piece, out);
                    turns.tell(&mut self.next, out);
                }
            }
            State::Speaking(_, parser) => {
                let (direction, time_ns) = (piece.direction, piece.moment.time_ns);
                match parser.piece(piece, out) {
                    Flow::Continue => {}
                    flow => self.over(flow, direction, time_ns, queue, switches, out),
                }
            }
            State::Detecting(_) => self.detect(piece, queue, switches, out),
        }
    }

    /// What is spoken was not what it was taken for, or is another protocol from here on.
    fn over(
        &mut self,
        flow: Flow,
        direction: Direction,
        time_ns: u64,
        queue: &mut VecDeque<Piece>,
        switches: &mut usize,
        out: &mut Vec<Step>,
    ) {
        let State::Speaking(_, parser) = &mut self.state else {
            return;
        };
        self.next = parser.next_exchange();
        let mut successor = None;
        let (detecting, rest) = match flow {
            Flow::Continue => return,
            Flow::Switched(rest) => {
                self.carried = parser.carried();
                successor = parser.successor();
                (Detecting::default(), rest)
            }
            Flow::Rejected => {
                self.rejections = self.rejections.saturating_add(1);
                (Detecting::behind(direction, time_ns), Vec::new())
            }
        };
        self.from_beginning = false;
        if let Some(turns) = &mut self.turns {
            turns.behind(direction);
        }
        self.state = match successor.and_then(|(name, asks)| self.agreed(name, asks)) {
            Some((name, parser)) => State::Speaking(name, parser),
            None => State::Detecting(detecting),
        };
        *switches = switches.saturating_add(1);
        if self.rejections >= MAX_REJECTIONS || *switches >= MAX_SWITCHES {
            self.give_up(out);
        }
        for piece in rest.into_iter().rev() {
            queue.push_front(piece);
        }
    }

    /// Takes a piece of a protocol that is not known.
    fn detect(&mut self, piece: Piece, queue: &mut VecDeque<Piece>, switches: &mut usize, out: &mut Vec<Step>) {
        let State::Detecting(detecting) = &mut self.state else {
            return;
        };
        let moment = piece.moment;
        if let Some(turns) = &mut self.turns {
            turns.piece(&piece, out);
        }
        let detected = detecting.look(&piece);
        let is_kept = matches!((&detected, &piece.content), (Detected::Awaited, Content::Bytes(_)));
        let kept = is_kept.then_some(piece.direction);
        if let Some(turns) = &mut self.turns {
            let asks = turns.asks();
            match detected {
                Detected::Protocol(..) => turns.known(out),
                Detected::Awaited | Detected::Nothing if kept == Some(asks) || detecting.awaits(asks) => {}
                Detected::Awaited | Detected::Nothing | Detected::GivenUp => turns.tell(&mut self.next, out),
            }
        }
        match detected {
            Detected::Nothing => {}
            Detected::Awaited => detecting.keep(piece),
            Detected::GivenUp => self.give_up(out),
            Detected::Protocol(protocol, bytes) => {
                let kept = detecting.take_kept();
                let start = Start {
                    limits: self.limits,
                    first: self.next,
                    direction: piece.direction,
                    bytes,
                    from_beginning: self.from_beginning,
                    preface: self.prefaces.found(),
                    datagrams: false,
                    carried: self.carried.take(),
                };
                let parser = (protocol.parser)(&start);
                if let Some(exchange) = start.carried.filter(|_| parser.open() == 0) {
                    // What follows is not what was agreed on, and answers nothing.
                    out.push(Step::Broken {
                        exchange,
                        at: Mark { offset: 0, moment },
                        reason: Broken::Invalid,
                        body: Body::default(),
                    });
                }
                self.state = State::Speaking(protocol.name, parser);
                if kept.is_empty() {
                    self.take(piece, queue, switches, out);
                } else {
                    queue.push_front(piece);
                    for kept in kept.into_iter().rev() {
                        queue.push_front(kept);
                    }
                }
            }
        }
    }

    /// The parser of the protocol of this name, which both sides agreed on.
    fn agreed(&mut self, name: &str, asks: Direction) -> Option<(&'static str, Box<dyn Parser>)> {
        let protocol = PROTOCOLS.iter().find(|protocol| protocol.name == name)?;
        let start = Start {
            limits: self.limits,
            first: self.next,
            direction: asks,
            bytes: Bytes::new(),
            from_beginning: false,
            preface: Preface::default(),
            datagrams: false,
            carried: self.carried.take(),
        };
        Some((protocol.name, (protocol.parser)(&start)))
    }

    fn give_up(&mut self, out: &mut Vec<Step>) {
        out.push(Step::Count("protocol.unknown"));
        self.state = State::Unknown;
    }

    /// Tells the time of events, `CLOCK_MONOTONIC` nanoseconds.
    pub fn tick(&mut self, now_ns: u64, out: &mut Vec<Step>) {
        if let State::Speaking(_, parser) = &mut self.state {
            parser.tick(now_ns, out);
        } else if let Some(turns) = &mut self.turns {
            turns.tick(now_ns, out);
        }
    }

    /// Ends every exchange that is still open.
    pub fn end(&mut self, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        if let Some(exchange) = self.carried.take() {
            out.push(Step::Broken {
                exchange,
                at,
                reason,
                body: Body::default(),
            });
        }
        if let State::Speaking(_, parser) = &mut self.state {
            parser.end(at, reason, out);
        } else if let Some(turns) = &mut self.turns {
            turns.end(at, reason, out);
            // Nothing more will tell what it was.
            turns.tell(&mut self.next, out);
        }
    }

    /// What is known of the protocol.
    pub const fn recognized(&self) -> Recognition {
        match &self.state {
            State::Detecting(_) => Recognition::Undecided,
            State::Speaking(name, _) => Recognition::Known(name),
            State::Unknown => Recognition::Unknown,
        }
    }

    /// Exchanges without an end.
    pub fn open(&self) -> usize {
        match &self.state {
            State::Speaking(_, parser) => parser.open(),
            _ => {
                let turns = self.turns.as_ref().map_or(0, |turns| turns.open());
                usize::from(self.carried.is_some()).saturating_add(turns)
            }
        }
    }

    /// Whether the client takes work by it, which it may hand to processes that it creates.
    pub fn takes_work(&self) -> bool {
        matches!(&self.state, State::Speaking(_, parser) if parser.takes_work())
    }

    /// Whether the kernel should give each operation a budget of its own.
    pub fn wants_every_operation(&self) -> bool {
        matches!(&self.state, State::Speaking(_, parser) if parser.wants_every_operation())
    }

    /// Whether messages lie anywhere in an operation, so that all of it should be copied.
    pub fn wants_whole_operations(&self) -> bool {
        matches!(&self.state, State::Speaking(_, parser) if parser.wants_whole_operations())
    }

    /// Whether bytes are still of use.
    pub fn wants_bytes(&self) -> bool {
        match &self.state {
            State::Detecting(_) => true,
            State::Speaking(_, parser) => parser.wants_bytes(),
            State::Unknown => false,
        }
    }

    /// Whether what speaks tells by itself what of the connection is encrypted.
    pub fn tells_ciphertext(&self) -> bool {
        matches!(&self.state, State::Speaking(_, parser) if parser.tells_ciphertext())
    }

    /// What the connection carries is seen elsewhere.
    pub fn seen_through(&mut self, out: &mut Vec<Step>) {
        if let State::Speaking(_, parser) = &mut self.state {
            parser.seen_through(out);
        }
    }

    /// What the connection carries will be seen elsewhere, if it carries anything.
    pub fn tied(&mut self) {
        if let State::Speaking(_, parser) = &mut self.state {
            parser.tied();
        }
    }

    /// What a handshake of the connection came to.
    pub fn handshake(&self) -> Option<&tls::Handshake> {
        match &self.state {
            State::Speaking(_, parser) => parser.handshake(),
            _ => None,
        }
    }
}
