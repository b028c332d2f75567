//! Follows a handshake to its end, and the connection to its own.
use bytes::{Bytes, BytesMut};

use super::hello::{self, ServerHello};
use super::message::{
    CERTIFICATE, CLIENT_HELLO, Message, Messages, SERVER_HELLO, SERVER_HELLO_DONE, SERVER_KEY_EXCHANGE,
};
use super::names::TLS_1_3;
use super::record::{Header, Kind, Part, Records};
use super::{Alert, Handshake, Hello};
use crate::capture::Direction;
use crate::protocol::{
    Body, Broken, Exchange, Flow, Known, Mark, Parser, Request, RequestHead, Response, ResponseHead, Start, Step, put,
};
use crate::stream::{Content, Piece};

/// Records that must follow each other before a connection without a hello is taken for TLS.
const RUN: u32 = 3;
/// Content of an encrypted alert in TLS 1.3: two bytes, their kind and a tag of 16, or of 8.
const ALERT_BYTES: usize = 2 + 1 + 16;
const ALERT_BYTES_CCM_8: usize = 2 + 1 + 8;
/// `TLS_AES_128_CCM_8_SHA256`.
const CCM_8: u16 = 0x1305;
/// Bytes of an operation that may be the alert which closes a connection, and no question.
const CLOSING_BYTES: u64 = 64;

/// One direction.
#[derive(Debug, Default)]
struct Side {
    records: Records,
    messages: Messages,
    alert: Vec<u8>,
    bytes: u64,
    /// What was seen of it first.
    first: Option<Mark>,
    /// Where the record being read begins.
    record: Option<Mark>,
    /// A hole hid where records begin.
    holed: bool,
    /// Handshake messages are encrypted from here on.
    encrypted: bool,
    finished: bool,
    /// A record passed after the handshake.
    spoke: bool,
}

/// One connection.
pub(super) struct Tls {
    exchange: Exchange,
    ingress: Side,
    egress: Side,
    /// Which way the client sends, once a hello said so.
    asks: Option<Direction>,
    /// Where its hello began.
    begin: Option<Mark>,
    said_hello: bool,
    answer: Option<ServerHello>,
    answered: Option<Mark>,
    handshake: Handshake,
    told: Told,
    /// The direction that spoke last.
    last: Option<Direction>,
    /// Records that followed each other.
    run: u32,
    /// What the client sent last was not answered.
    awaits: bool,
    /// What stands behind the handshake was read, and is TLS.
    settled: bool,
    /// What it carries is seen elsewhere: only the handshake is of interest.
    silent: bool,
    /// What it carries will be seen elsewhere, even where the kernel encrypts it.
    tied: bool,
    /// The kernel encrypts it.
    plain: bool,
}

/// How much of the exchange was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Nothing,
    Request,
    Response,
    End,
}

impl Tls {
    pub(super) fn new(start: &Start) -> Self {
        Self {
            exchange: start.first,
            ingress: Side::default(),
            egress: Side::default(),
            asks: None,
            begin: None,
            said_hello: false,
            answer: None,
            answered: None,
            handshake: Handshake::default(),
            told: Told::Nothing,
            last: None,
            run: 0,
            awaits: false,
            settled: false,
            silent: false,
            tied: false,
            plain: false,
        }
    }

    const fn side(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }

    fn is_1_3(&self) -> bool {
        self.answer.as_ref().is_some_and(ServerHello::is_1_3)
    }

    fn bytes(&mut self, piece: &Piece, bytes: &Bytes, out: &mut Vec<Step>) -> Flow {
        let direction = piece.direction;
        let mut rest: &[u8] = bytes;
        while self.told != Told::End {
            let here = |rest: &[u8]| Mark {
                offset: (piece.offset.saturating_add(bytes.len() as u64)).saturating_sub(rest.len() as u64),
                moment: piece.moment,
            };
            let from = here(rest);
            let side = self.side(direction);
            if side.records.between() && !rest.is_empty() {
                side.record = Some(from);
            }
            let before = rest.len();
            let awaits_finished = side.encrypted && !side.finished && !side.holed;
            let part = side.records.next(&mut rest, awaits_finished);
            // Counted as they are read: what stands behind the connection's last record is none of its own.
            let read = before.saturating_sub(rest.len());
            side.bytes = side.bytes.saturating_add(read as u64);
            match part {
                None => break,
                Some(Part::Begin(header)) => self.begins(direction, header, from),
                Some(Part::Content(header, content)) => self.content(direction, header, content, here(rest), out),
                Some(Part::End(header)) => self.ends(direction, header, from, out),
                Some(Part::Foreign) => return self.foreign(direction, from, rest, out),
            }
        }
        Flow::Continue
    }

    fn begins(&mut self, direction: Direction, header: Header, at: Mark) {
        self.run = self.run.saturating_add(1);
        let established = self.handshake.established;
        let side = self.side(direction);
        side.alert.clear();
        let at = side.record.unwrap_or(at);
        match header.kind {
            Kind::Handshake if !side.encrypted => {
                side.messages.record();
                if !self.said_hello && self.begin.is_none() {
                    self.begin = Some(at);
                }
            }
            Kind::Application if established => {
                side.spoke = true;
                self.asked(direction, header.length as u64);
            }
            _ => {}
        }
        self.settled = established && self.ingress.spoke && self.egress.spoke;
    }

    /// So many bytes of what is encrypted pass.
    fn asked(&mut self, direction: Direction, bytes: u64) {
        if Some(direction) != self.asks {
            self.awaits = false;
        } else if bytes > CLOSING_BYTES {
            self.awaits = true;
        }
    }

    fn content(&mut self, direction: Direction, header: Header, mut content: &[u8], at: Mark, out: &mut Vec<Step>) {
        let side = self.side(direction);
        match header.kind {
            Kind::Handshake if !side.encrypted => {
                while let Some(message) = self.side(direction).messages.next(&mut content) {
                    let end = Mark {
                        offset: at.offset.saturating_sub(content.len() as u64),
                        ..at
                    };
                    self.message(direction, message, end, out);
                }
            }
            Kind::Alert if header.length == 2 && !side.encrypted => {
                side.alert.extend_from_slice(content);
            }
            _ => {}
        }
    }

    fn message(&mut self, direction: Direction, message: Message, at: Mark, out: &mut Vec<Step>) {
        match message.kind {
            CLIENT_HELLO if !self.said_hello => {
                self.asks = Some(direction);
                self.said_hello = true;
                self.handshake.hello = hello::client(&message.body);
                if let Some(random) = self.handshake.hello.random {
                    out.push(Step::Hello(Box::new(Hello { direction, random })));
                }
                self.request(at, out);
            }
            SERVER_HELLO if self.answer.is_none() => {
                let Some(answer) = hello::server(&message.body) else {
                    return;
                };
                self.asks = Some(direction.flip());
                self.handshake.version = Some(answer.version);
                if answer.retry {
                    return;
                }
                self.handshake.cipher = Some(answer.cipher);
                self.handshake.group = answer.group.filter(|_| answer.is_1_3());
                self.handshake.protocol.clone_from(&answer.protocol);
                self.handshake.resumed = match answer.pre_shared {
                    _ if !answer.is_1_3() => None,
                    Some(place) => self.handshake.hello.resumes(place),
                    None => Some(false),
                };
                self.answer = Some(answer);
                self.answered = Some(at);
            }
            // A server that uses old keys again sends none of these (RFC 5246 section 7.3).
            CERTIFICATE | SERVER_KEY_EXCHANGE | SERVER_HELLO_DONE if !self.is_1_3() => {
                self.handshake.resumed = Some(false);
            }
            _ => {}
        }
    }

    fn ends(&mut self, direction: Direction, header: Header, at: Mark, out: &mut Vec<Step>) {
        let by_client = Some(direction) == self.asks;
        let (is_1_3, hidden) = (self.is_1_3(), self.handshake.version == Some(TLS_1_3));
        let (answered, established) = (self.answer.is_some(), self.handshake.established);
        let client_encrypted = self.asks.is_some_and(|asks| self.side(asks).encrypted);
        let side = self.side(direction);
        match header.kind {
            // In TLS 1.3 it means nothing, and may come before a second hello (RFC 8446 appendix D.4).
            Kind::ChangeCipherSpec if !hidden => {
                side.encrypted = true;
                let whole = !side.holed && answered && !by_client;
                if whole && !client_encrypted && self.handshake.resumed.is_none() {
                    self.handshake.resumed = Some(true);
                }
            }
            Kind::Handshake if side.encrypted => {
                side.finished = true;
                if self.ingress.finished && self.egress.finished {
                    self.established(at, true, out);
                }
            }
            Kind::Application if is_1_3 && by_client && !established => {
                let ccm_8 = self.handshake.cipher == Some(CCM_8);
                let alert = if ccm_8 { ALERT_BYTES_CCM_8 } else { ALERT_BYTES };
                if header.length == alert && !self.handshake.hello.early_data {
                    self.failed(Alert { by_client, said: None }, at, out);
                } else {
                    let exact = !self.handshake.hello.early_data;
                    self.established(at, exact, out);
                }
            }
            // Data passes, so the handshake was completed, even if that was not seen.
            Kind::Application if !is_1_3 && answered && !established => self.established(at, false, out),
            Kind::Alert if !established => {
                let said = match side.alert.as_slice() {
                    [level, description] => Some((*level, *description)),
                    _ if header.length == 2 && !side.encrypted => return,
                    _ => None,
                };
                let alert = Alert { by_client, said };
                if alert.is_fatal() {
                    self.failed(alert, at, out);
                }
            }
            _ => {}
        }
    }

    fn request(&mut self, at: Mark, out: &mut Vec<Step>) {
        let Some(direction) = self.asks.filter(|_| self.told == Told::Nothing) else {
            return;
        };
        self.told = Told::Request;
        // Where the hello was not seen it is what this direction began with.
        let first = self.side(direction).first;
        let begin = self.begin.filter(|_| self.said_hello).or(first).unwrap_or(at);
        put(out, || {
            Step::Request(Request {
                whole: false,
                stream: None,
                record: None,
                exchange: self.exchange,
                direction,
                offset: begin.offset,
                start: begin.moment,
                head_end: at,
                head: RequestHead::Tls(self.handshake.hello.clone()),
            })
        });
    }

    /// Tells what the handshake came to.
    fn response(&mut self, at: Mark, out: &mut Vec<Step>) {
        self.request(self.answered.unwrap_or(at), out);
        if self.told != Told::Request {
            return;
        }
        self.told = Told::Response;
        put(out, || {
            Step::Response(Response {
                whole: false,
                exchange: self.exchange,
                start: self.answered.unwrap_or(at).moment,
                head_end: at,
                head: ResponseHead::Tls(Box::new(self.handshake.clone())),
            })
        });
    }

    /// The handshake is complete, by now or exactly now.
    fn established(&mut self, at: Mark, exactly: bool, out: &mut Vec<Step>) {
        self.handshake.established = true;
        let began = self.begin.filter(|_| self.said_hello && exactly);
        self.handshake.took_ns = began.and_then(|begin| at.moment.time_ns.checked_sub(begin.moment.time_ns));
        self.response(at, out);
    }

    fn failed(&mut self, alert: Alert, at: Mark, out: &mut Vec<Step>) {
        self.handshake.alert = Some(alert);
        self.response(at, out);
        self.over(at, None, out);
    }

    /// The exchange ends, regularly if there is no reason.
    fn over(&mut self, at: Mark, reason: Option<Broken>, out: &mut Vec<Step>) {
        if self.told == Told::End {
            return;
        }
        let regular = reason.is_none_or(|reason| self.handshake.established && !self.awaits && is_end(reason));
        self.response(at, out);
        if self.told < Told::Request {
            return;
        }
        self.told = Told::End;
        let (asks, exchange) = (self.asks.unwrap_or(Direction::Egress), self.exchange);
        let body = |side: &Side| {
            Body::from(Known {
                bytes: Some(side.bytes),
                ..Known::default()
            })
        };
        let (asked, answered) = (body(self.side(asks)), body(self.side(asks.flip())));
        out.push(Step::RequestEnd {
            exchange,
            end: at,
            body: asked,
        });
        out.push(match reason.filter(|_| !regular) {
            None => Step::ResponseEnd {
                exchange,
                end: at,
                body: answered,
            },
            Some(reason) => Step::Broken {
                exchange,
                at,
                reason,
                body: answered,
            },
        });
    }

    /// What stands where a record should begin is none: `rest`, which begins at `at`, and what was taken for a header.
    fn foreign(&mut self, direction: Direction, at: Mark, rest: &[u8], out: &mut Vec<Step>) -> Flow {
        let known = self.told != Told::Nothing || self.run >= RUN;
        if !known {
            return Flow::Rejected;
        }
        let (established, settled) = (self.handshake.established, self.settled);
        let holed = self.side(direction).holed;
        self.plain |= self.tied && established && !settled && !holed;
        let plain = self.plain;
        let side = self.side(direction);
        if plain && !holed {
            side.bytes = side.bytes.saturating_add(rest.len() as u64);
            return Flow::Continue;
        }
        if !established || settled || side.holed {
            // A hole hid where records begin. What is encrypted is never taken for anything else.
            side.bytes = side.bytes.saturating_add(rest.len() as u64);
            out.push(Step::Count("protocol.tls.resync"));
            return Flow::Continue;
        }
        // The kernel encrypts from here on (kTLS): what passes the socket is what the program says.
        let mut plain = BytesMut::from(side.records.rejected());
        plain.extend_from_slice(rest);
        let begin = side.record.unwrap_or(at);
        self.withdraw(out);
        Flow::Switched(vec![Piece {
            direction,
            offset: begin.offset,
            content: Content::Bytes(plain.freeze()),
            moment: begin.moment,
        }])
    }

    /// Takes a piece that was not dropped.
    fn read(&mut self, piece: &Piece, out: &mut Vec<Step>) -> Flow {
        let direction = piece.direction;
        let at = Mark::of(piece);
        let length = match &piece.content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Unseen(bytes) => *bytes,
            Content::End | Content::Failed(_) => 0,
        };
        if length > 0 {
            let turned = self.last.replace(direction) != Some(direction);
            let side = self.side(direction);
            side.first = side.first.or(Some(at));
            if turned {
                side.records.seek();
            }
        }
        match &piece.content {
            Content::Bytes(bytes) => return self.bytes(piece, bytes, out),
            Content::Unseen(bytes) => self.unseen(direction, at.behind(*bytes), *bytes, out),
            Content::End => self.over(at, Some(Broken::Closed), out),
            Content::Failed(errno) => self.over(at, Some(Broken::Failed(*errno)), out),
        }
        Flow::Continue
    }

    fn withdraw(&mut self, out: &mut Vec<Step>) {
        if matches!(self.told, Told::Request | Told::Response) {
            out.push(Step::Withdrawn {
                exchange: self.exchange,
            });
        }
        self.told = Told::End;
    }

    /// So many bytes passed unseen, up to `at`.
    fn unseen(&mut self, direction: Direction, at: Mark, bytes: u64, out: &mut Vec<Step>) {
        if self.handshake.established {
            self.asked(direction, bytes);
        }
        let side = self.side(direction);
        side.bytes = side.bytes.saturating_add(bytes);
        let plain = side.records.in_handshake() && !side.encrypted;
        let ended = side.records.skip(bytes);
        if plain {
            let length = usize::try_from(bytes).unwrap_or(usize::MAX);
            if let Some(message) = side.messages.skip(length) {
                self.message(direction, message, at, out);
            }
        }
        match ended {
            Some(header) => self.ends(direction, header, at, out),
            // The operation behind a hole may begin with a record.
            None => {
                let side = self.side(direction);
                side.holed |= side.records.is_lost();
                side.records.seek();
            }
        }
    }
}

/// Whether a reason is one that a connection which owes nothing ends for.
const fn is_end(reason: Broken) -> bool {
    matches!(reason, Broken::Closed | Broken::Failed(_) | Broken::Exited(_))
}

impl Parser for Tls {
    fn piece(&mut self, piece: Piece, out: &mut Vec<Step>) -> Flow {
        if self.told == Told::End {
            return Flow::Continue;
        }
        if self.silent {
            return self.read(&piece, &mut Vec::new());
        }
        self.read(&piece, out)
    }

    fn tick(&mut self, _now_ns: u64, _out: &mut Vec<Step>) {}

    fn end(&mut self, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        if !self.silent {
            self.over(at, Some(reason), out);
        }
    }

    fn open(&self) -> usize {
        usize::from(!self.silent && matches!(self.told, Told::Request | Told::Response))
    }

    fn next_exchange(&self) -> Exchange {
        Exchange(self.exchange.0.saturating_add(1))
    }

    fn wants_bytes(&self) -> bool {
        let midway = self.told == Told::Nothing && self.run >= RUN;
        !(self.settled || self.plain || midway || self.told == Told::End)
    }

    fn tied(&mut self) {
        self.tied = true;
    }

    fn tells_ciphertext(&self) -> bool {
        true
    }

    fn seen_through(&mut self, out: &mut Vec<Step>) {
        self.tied = true;
        if self.open() > 0 {
            out.push(Step::Withdrawn {
                exchange: self.exchange,
            });
        }
        self.silent = true;
    }

    fn handshake(&self) -> Option<&Handshake> {
        (self.said_hello || self.answer.is_some()).then_some(&self.handshake)
    }
}
