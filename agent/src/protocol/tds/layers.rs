//! A connection that is read as what it is: its own messages, or TLS once that was agreed on.
//!
//! The handshake of TLS passes within packets; what follows it does not:
//!
//! ```text
//! | 0x12 | status (1) | length (2, with the head) | 0 (2) | number (1) | 0 (1) | records of TLS |  ...  | records of TLS | ...
//! ```
use bytes::Bytes;

use super::Tds;
use super::packet::{HEAD, kind};
use crate::capture::Direction;
use crate::protocol::ordered::Ordered;
use crate::protocol::{Broken, Exchange, Flow, Mark, Parser, Start, Step, tls};
use crate::stream::{Content, Piece};

/// One connection.
pub(super) struct Layers {
    plain: Ordered<Tds>,
    start: Start,
    mode: Mode,
}

enum Mode {
    Plain,
    /// Encryption was agreed on. Within an encrypted connection that means nothing, and the login follows.
    Agreed,
    Encrypted(Encrypted),
}

/// What is TLS.
struct Encrypted {
    tls: Box<dyn Parser>,
    ingress: Wrapped,
    egress: Wrapped,
}

/// Where one direction is.
#[derive(Default)]
enum Wrapped {
    /// Between packets.
    #[default]
    Between,
    /// So many bytes of a head have come.
    Head([u8; HEAD], usize),
    /// So many bytes of a packet are still to come.
    Within(u64),
    /// Behind the handshake.
    Bare,
}

impl Layers {
    pub(super) const fn new(plain: Ordered<Tds>, start: &Start) -> Self {
        Self {
            plain,
            start: Start {
                limits: start.limits,
                first: start.first,
                direction: start.direction,
                bytes: Bytes::new(),
                from_beginning: start.from_beginning,
                preface: start.preface,
                datagrams: start.datagrams,
                carried: None,
            },
            mode: Mode::Plain,
        }
    }

    const fn encrypted(&self) -> Option<&Encrypted> {
        match &self.mode {
            Mode::Encrypted(encrypted) => Some(encrypted),
            Mode::Plain | Mode::Agreed => None,
        }
    }

    /// Whether a piece shows that the connection is encrypted, as was agreed.
    fn begins_encryption(piece: &Piece) -> bool {
        match &piece.content {
            Content::Bytes(bytes) => bytes.first() == Some(&kind::PRELOGIN),
            Content::Unseen(_) => true,
            Content::End | Content::Failed(_) => false,
        }
    }
}

impl Encrypted {
    fn new(start: &Start, first: Exchange) -> Self {
        let start = Start { first, ..start.clone() };
        Self {
            tls: tls::parser(&start),
            ingress: Wrapped::default(),
            egress: Wrapped::default(),
        }
    }

    fn piece(&mut self, piece: Piece, out: &mut Vec<Step>) -> Flow {
        let wrapped = match piece.direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        };
        let bytes = match &piece.content {
            Content::Bytes(bytes) => bytes,
            Content::Unseen(length) => {
                let head = wrapped.skip(*length);
                let content = Piece {
                    offset: piece.offset.saturating_add(head),
                    content: Content::Unseen(length.saturating_sub(head)),
                    ..piece
                };
                return self.tls.piece(content, out);
            }
            Content::End | Content::Failed(_) => return self.tls.piece(piece, out),
        };
        let mut taken = 0_usize;
        while let Some(left) = bytes.get(taken..).filter(|left| !left.is_empty()) {
            let (begin, length) = wrapped.next(left);
            let from = taken.saturating_add(begin);
            taken = from.saturating_add(length);
            if length == 0 {
                continue;
            }
            let content = Piece {
                offset: piece.offset.saturating_add(from as u64),
                content: Content::Bytes(bytes.slice(from..taken)),
                ..piece.clone()
            };
            match self.tls.piece(content, out) {
                Flow::Continue => {}
                flow => {
                    let rest = bytes.slice(taken..);
                    let rest = Piece {
                        offset: piece.offset.saturating_add(taken as u64),
                        content: Content::Bytes(rest.clone()),
                        ..piece
                    };
                    return flow.followed_by(Some(rest).filter(|_| taken < bytes.len()));
                }
            }
        }
        Flow::Continue
    }
}

impl Wrapped {
    /// Takes what is no content from the front of `bytes`, which are not empty: how many bytes that are, and how many of content follow them.
    fn next(&mut self, bytes: &[u8]) -> (usize, usize) {
        match self {
            Self::Bare => (0, bytes.len()),
            Self::Between if bytes.first() != Some(&kind::PRELOGIN) => {
                *self = Self::Bare;
                (0, bytes.len())
            }
            Self::Between => {
                *self = Self::Head([0; HEAD], 0);
                (0, 0)
            }
            Self::Head(head, headed) => {
                let space = head.get_mut(*headed..).unwrap_or_default();
                let taken = space.len().min(bytes.len());
                for (space, byte) in space.iter_mut().zip(bytes) {
                    *space = *byte;
                }
                *headed = headed.saturating_add(taken);
                if *headed == HEAD {
                    let [_, _, high, low, ..] = *head;
                    let length = u16::from_be_bytes([high, low]);
                    *self = match u64::from(length).saturating_sub(HEAD as u64) {
                        0 => Self::Between,
                        length => Self::Within(length),
                    };
                }
                (taken, 0)
            }
            Self::Within(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left = left.saturating_sub(taken as u64);
                if *left == 0 {
                    *self = Self::Between;
                }
                (0, taken)
            }
        }
    }

    /// So many bytes passed unseen; how many of them, at their beginning, are taken for no content.
    fn skip(&mut self, length: u64) -> u64 {
        let head = match self {
            Self::Between => length.min(HEAD as u64),
            _ => 0,
        };
        *self = match self {
            Self::Bare => Self::Bare,
            Self::Within(left) if length < *left => Self::Within(left.saturating_sub(length)),
            // The next operation begins with a packet or a record.
            _ => Self::Between,
        };
        head
    }
}

impl Parser for Layers {
    fn piece(&mut self, piece: Piece, out: &mut Vec<Step>) -> Flow {
        if matches!(self.mode, Mode::Agreed) {
            self.mode = if Self::begins_encryption(&piece) {
                Mode::Encrypted(Encrypted::new(&self.start, self.plain.next_exchange()))
            } else {
                Mode::Plain
            };
        }
        match &mut self.mode {
            Mode::Encrypted(encrypted) => encrypted.piece(piece, out),
            Mode::Plain | Mode::Agreed => match self.plain.piece(piece, out) {
                Flow::Switched(rest) => {
                    self.mode = Mode::Agreed;
                    let mut rest = rest.into_iter();
                    while let Some(piece) = rest.next() {
                        let flow = self.piece(piece, out);
                        if flow != Flow::Continue {
                            return flow.followed_by(rest);
                        }
                    }
                    Flow::Continue
                }
                flow => flow,
            },
        }
    }

    fn tick(&mut self, now_ns: u64, out: &mut Vec<Step>) {
        match &mut self.mode {
            Mode::Encrypted(encrypted) => encrypted.tls.tick(now_ns, out),
            Mode::Plain | Mode::Agreed => self.plain.tick(now_ns, out),
        }
    }

    fn end(&mut self, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        match &mut self.mode {
            Mode::Encrypted(encrypted) => encrypted.tls.end(at, reason, out),
            Mode::Plain | Mode::Agreed => self.plain.end(at, reason, out),
        }
    }

    fn open(&self) -> usize {
        self.encrypted()
            .map_or_else(|| self.plain.open(), |encrypted| encrypted.tls.open())
    }

    fn next_exchange(&self) -> Exchange {
        let next = |encrypted: &Encrypted| encrypted.tls.next_exchange();
        self.encrypted().map_or_else(|| self.plain.next_exchange(), next)
    }

    fn wants_whole_operations(&self) -> bool {
        self.encrypted().is_none()
    }

    fn wants_bytes(&self) -> bool {
        let wants = |encrypted: &Encrypted| encrypted.tls.wants_bytes();
        self.encrypted().map_or_else(|| self.plain.wants_bytes(), wants)
    }

    fn tells_ciphertext(&self) -> bool {
        true
    }

    fn seen_through(&mut self, out: &mut Vec<Step>) {
        if let Mode::Encrypted(encrypted) = &mut self.mode {
            encrypted.tls.seen_through(out);
        }
    }

    fn handshake(&self) -> Option<&tls::Handshake> {
        self.encrypted().and_then(|encrypted| encrypted.tls.handshake())
    }
}
