//! What a connection speaks, and the parser that follows it.
use bytes::{Bytes, BytesMut};

use super::{Broken, Exchange, Flow, Limits, Mark, PROTOCOLS, Parser, Recognized, Step};
use crate::capture::Direction;
use crate::stream::{Content, Piece};

/// Bytes of a direction that recognition looks at, however they are cut.
const DETECT_BYTES: usize = 256;
/// Beginnings that are tried before a connection is given up as unknown.
const MAX_TRIES: u32 = 16;
/// Pieces kept while a connection is not recognized.
const MAX_KEPT: usize = 2 * DETECT_BYTES;

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
}

enum State {
    Detecting(Detecting),
    Speaking(&'static str, Box<dyn Parser>),
    Unknown,
}

#[derive(Default)]
struct Detecting {
    /// What was seen since the beginnings below, in the order it came.
    kept: Vec<Piece>,
    ingress: BytesMut,
    egress: BytesMut,
    tries: u32,
}

impl Conversation {
    /// A conversation nothing is known of.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Detecting(Detecting::default()),
            next: Exchange(0),
        }
    }

    /// Takes the next piece.
    pub fn piece(&mut self, piece: Piece, out: &mut Vec<Step>) {
        let mut next = Some(piece);
        while let Some(piece) = next.take() {
            match &mut self.state {
                State::Unknown => {}
                State::Speaking(_, parser) => {
                    if let Flow::Switched(rest) = parser.piece(piece, out) {
                        self.next = parser.next_exchange();
                        self.state = State::Detecting(Detecting::default());
                        next = rest;
                    }
                }
                State::Detecting(detecting) => match detecting.take(piece) {
                    Detected::Nothing => {}
                    Detected::GivenUp => {
                        out.push(Step::Count("protocol.unknown"));
                        self.state = State::Unknown;
                    }
                    Detected::Protocol(index, kept) => self.speak(index, kept, out),
                },
            }
        }
    }

    fn speak(&mut self, index: usize, kept: Vec<Piece>, out: &mut Vec<Step>) {
        let Some(protocol) = PROTOCOLS.get(index) else { return };
        self.state = State::Speaking(protocol.name, (protocol.parser)(self.limits, self.next));
        for piece in kept {
            self.piece(piece, out);
        }
    }

    /// Tells the time of events, `CLOCK_MONOTONIC` nanoseconds.
    pub fn tick(&mut self, now_ns: u64, out: &mut Vec<Step>) {
        if let State::Speaking(_, parser) = &mut self.state {
            parser.tick(now_ns, out);
        }
    }

    /// Ends every exchange that is still open.
    pub fn end(&mut self, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        if let State::Speaking(_, parser) = &mut self.state {
            parser.end(at, reason, out);
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
            _ => 0,
        }
    }

    /// Whether the kernel should give each operation a budget of its own.
    pub fn wants_every_operation(&self) -> bool {
        matches!(&self.state, State::Speaking(_, parser) if parser.wants_every_operation())
    }
}

enum Detected {
    Nothing,
    Protocol(usize, Vec<Piece>),
    GivenUp,
}

impl Detecting {
    fn take(&mut self, piece: Piece) -> Detected {
        let direction = piece.direction;
        let Content::Bytes(bytes) = &piece.content else {
            // What comes behind a hole is a new beginning; what came before it is of no use.
            self.side(direction).clear();
            return self.keep(piece);
        };
        let bytes: Bytes = bytes.clone();
        let side = self.side(direction);
        let room = DETECT_BYTES.saturating_sub(side.len());
        side.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
        let full = side.len() >= DETECT_BYTES;
        let seen = side.clone().freeze();
        let verdicts = PROTOCOLS.iter().map(|protocol| (protocol.recognize)(&seen));
        let mut more = false;
        for (index, verdict) in verdicts.enumerate() {
            match verdict {
                Recognized::Yes => {
                    let mut kept = std::mem::take(&mut self.kept);
                    kept.push(piece);
                    return Detected::Protocol(index, kept);
                }
                Recognized::More => more = true,
                Recognized::No => {}
            }
        }
        if more && !full {
            return self.keep(piece);
        }
        // Not a beginning. The next piece may be one: messages begin where operations begin.
        self.side(direction).clear();
        self.kept.retain(|kept| kept.direction != direction);
        self.tries = self.tries.saturating_add(1);
        if self.tries >= MAX_TRIES {
            Detected::GivenUp
        } else {
            Detected::Nothing
        }
    }

    fn keep(&mut self, piece: Piece) -> Detected {
        if self.kept.len() < MAX_KEPT {
            self.kept.push(piece);
            return Detected::Nothing;
        }
        // Dozens of pieces that decide nothing: a peer that sends bytes one by one, or endings only.
        *self = Self {
            tries: self.tries.saturating_add(1),
            ..Self::default()
        };
        if self.tries >= MAX_TRIES {
            Detected::GivenUp
        } else {
            Detected::Nothing
        }
    }

    const fn side(&mut self, direction: Direction) -> &mut BytesMut {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }
}
