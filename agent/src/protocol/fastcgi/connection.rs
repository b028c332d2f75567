//! The requests of one connection.
use super::head;
use super::record::{Answers, Asks, BEGIN_REQUEST, DATA, END_REQUEST, PARAMS, Record, STDERR, STDIN, STDOUT};
use crate::capture::{Direction, Moment};
use crate::protocol::frames::{Cut, Frame, Frames, Hole as FrameHole};
use crate::protocol::http1::Version;
use crate::protocol::ordered::{Dialect, Hole, Read, Side};
use crate::protocol::{
    Body, Broken, Exchange, Known, Mark, Request, RequestHead, Response, ResponseHead, Start, Step, put,
};

/// Requests without an end. PHP serves one at a time on a connection.
const MAX_OPEN: usize = 64;
/// Most bytes of variables, and of the head of a response, that are kept.
const MAX_HEAD: usize = 64 << 10;

/// One connection.
pub(super) struct Connection {
    asks: Direction,
    next: Exchange,
    body_bytes: usize,
    questions: Frames<Asks>,
    answers: Frames<Answers>,
    open: Vec<Open>,
}

/// A request without its end.
#[derive(Debug)]
struct Open {
    id: u16,
    /// Its exchange, once its head is complete.
    exchange: Option<Exchange>,
    /// It has content of a second kind.
    filters: bool,
    begin: Mark,
    variables: Kept,
    version: Version,
    /// Its content, until it is complete.
    content: Option<Content>,
    /// The head of its response, until it is complete.
    head: Option<Kept>,
    /// The operation that carried the first byte of its response.
    answered: Option<Moment>,
    response: Content,
}

/// Bytes that are kept up to a bound.
#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    cut: bool,
}

impl Kept {
    fn take(&mut self, record: &Record<'_>) {
        if !self.cut {
            let room = MAX_HEAD.saturating_sub(self.bytes.len());
            self.bytes
                .extend_from_slice(record.content.get(..room).unwrap_or(record.content));
            self.cut = record.is_cut() || record.content.len() > room;
        }
    }
}

/// What is known of a body.
#[derive(Debug, Default)]
struct Content {
    bytes: u64,
    captured: Vec<u8>,
    first_ns: Option<u64>,
    cut: bool,
}

impl Content {
    fn take(&mut self, seen: &[u8], length: usize, at: Moment, limit: usize) {
        if length > 0 {
            self.first_ns.get_or_insert(at.time_ns);
        }
        self.bytes = self.bytes.saturating_add(length as u64);
        if !self.cut {
            let room = limit.saturating_sub(self.captured.len());
            self.captured.extend_from_slice(seen.get(..room).unwrap_or(seen));
            self.cut = seen.len() < length;
        }
    }

    fn known(self) -> Known {
        Known {
            bytes: Some(self.bytes),
            captured: self.captured.into(),
            first_ns: self.first_ns,
            ..Known::default()
        }
    }
}

/// What a record comes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Came {
    /// Nothing is complete.
    Part,
    /// A request's head or content is complete.
    Asked,
    /// The last request that was open has ended.
    Answered,
    /// It answers nothing that is known, or asks what cannot be.
    Mismatch,
}

impl Connection {
    pub(super) fn new(start: &Start) -> Self {
        Self {
            asks: start.direction,
            next: start.first,
            body_bytes: start.limits.body_bytes,
            questions: Frames::default(),
            answers: Frames::default(),
            open: Vec::new(),
        }
    }
}

/// The state a record works on, beside the frames that it borrows.
struct Requests<'a> {
    asks: Direction,
    next: &'a mut Exchange,
    body_bytes: usize,
    open: &'a mut Vec<Open>,
}

impl Requests<'_> {
    fn find(&mut self, id: u16) -> Option<&mut Open> {
        self.open.iter_mut().find(|open| open.id == id)
    }

    fn asked(&mut self, frame: &Frame<'_>, out: &mut Vec<Step>) -> Came {
        let Some(record) = Record::of(frame) else {
            return Came::Mismatch;
        };
        let limit = self.body_bytes;
        match record.kind {
            BEGIN_REQUEST => return self.begun(&record, frame, out),
            PARAMS if record.length == 0 => return self.headed(record.id, frame.end, out),
            PARAMS => {
                if let Some(open) = self.find(record.id).filter(|open| open.exchange.is_none()) {
                    open.variables.take(&record);
                }
            }
            STDIN | DATA => {
                let Some(open) = self.find(record.id) else {
                    // It has been answered, and the rest of it is not looked at.
                    return Came::Part;
                };
                let last = if open.filters { DATA } else { STDIN };
                if let Some(content) = &mut open.content {
                    content.take(record.content, usize::from(record.length), frame.end.moment, limit);
                }
                if record.length == 0
                    && record.kind == last
                    && let (Some(exchange), Some(content)) = (open.exchange, open.content.take())
                {
                    out.push(Step::RequestEnd {
                        exchange,
                        end: frame.end,
                        body: content.known().into(),
                    });
                    return Came::Asked;
                }
            }
            // What is asked of the connection itself, and the wish that a request be given up, which is answered as ever.
            _ => {}
        }
        Came::Part
    }

    fn begun(&mut self, record: &Record<'_>, frame: &Frame<'_>, out: &mut Vec<Step>) -> Came {
        if record.id == 0 || self.find(record.id).is_some() {
            return Came::Mismatch;
        }
        if self.open.len() >= MAX_OPEN {
            out.push(Step::Count("protocol.fastcgi.pending_full"));
            return Came::Mismatch;
        }
        self.open.push(Open {
            id: record.id,
            exchange: None,
            filters: record.content.get(..2) == Some(&[0, 3]),
            begin: frame.begin,
            variables: Kept::default(),
            version: Version::Http11,
            content: Some(Content::default()),
            head: Some(Kept::default()),
            answered: None,
            response: Content::default(),
        });
        Came::Part
    }

    /// All variables of a request have come.
    fn headed(&mut self, id: u16, end: Mark, out: &mut Vec<Step>) -> Came {
        let (exchange, direction) = (*self.next, self.asks);
        let Some(open) = self.find(id).filter(|open| open.exchange.is_none()) else {
            return Came::Part;
        };
        let variables = std::mem::take(&mut open.variables);
        if variables.cut {
            out.push(Step::Count("protocol.fastcgi.head_cut"));
        }
        let head = head::request(&variables.bytes, variables.cut);
        open.version = head.version;
        open.exchange = Some(exchange);
        put(out, || {
            Step::Request(Request {
                whole: false,
                exchange,
                direction,
                stream: None,
                offset: open.begin.offset,
                start: open.begin.moment,
                record: None,
                head_end: end,
                head: RequestHead::Http(head),
            })
        });
        *self.next = Exchange(exchange.0.wrapping_add(1));
        Came::Asked
    }

    fn answered(&mut self, frame: &Frame<'_>, out: &mut Vec<Step>) -> Came {
        let Some(record) = Record::of(frame) else {
            return Came::Mismatch;
        };
        if record.id == 0 {
            // Of the connection itself.
            return Came::Part;
        }
        let limit = self.body_bytes;
        let Some(open) = self.find(record.id) else {
            return Came::Mismatch;
        };
        match record.kind {
            STDOUT => open.output(&record, frame, limit, out),
            STDERR => {}
            END_REQUEST => return self.ended(&record, frame, out),
            _ => return Came::Mismatch,
        }
        Came::Part
    }

    fn ended(&mut self, record: &Record<'_>, frame: &Frame<'_>, out: &mut Vec<Step>) -> Came {
        let Some(place) = self.open.iter().position(|open| open.id == record.id) else {
            return Came::Mismatch;
        };
        let mut open = self.open.swap_remove(place);
        if let Some(exchange) = open.exchange {
            open.end(exchange, record, frame, out);
        }
        if self.open.is_empty() {
            Came::Answered
        } else {
            Came::Part
        }
    }
}

impl Open {
    /// A part of the response.
    fn output(&mut self, record: &Record<'_>, frame: &Frame<'_>, limit: usize, out: &mut Vec<Step>) {
        self.answered.get_or_insert(frame.begin.moment);
        let (length, at) = (usize::from(record.length), frame.end.moment);
        let Some(head) = &mut self.head else {
            return self.response.take(record.content, length, at, limit);
        };
        let before = head.bytes.len();
        head.take(record);
        let end = head::end(&head.bytes, before);
        if end.is_none() && !head.cut {
            return;
        }
        // What stands behind the head in this record, of what was seen of it and of all.
        let end = end.unwrap_or(head.bytes.len());
        let rest = head.bytes.get(end..).unwrap_or_default();
        let unseen = length.saturating_sub(record.content.len());
        let length = rest.len().saturating_add(unseen);
        self.response.take(rest, length, at, limit);
        self.tell_head(end, frame.end, out);
    }

    /// The head of the response is complete, or will not be.
    fn tell_head(&mut self, end: usize, at: Mark, out: &mut Vec<Step>) {
        let (Some(head), Some(exchange)) = (self.head.take(), self.exchange) else {
            return;
        };
        let bytes = head.bytes.get(..end).unwrap_or_default();
        // A head that ends was seen whole, whatever follows it.
        let cut = head.cut && head::end(bytes, 0).is_none();
        put(out, || {
            Step::Response(Response {
                whole: false,
                exchange,
                start: self.answered.unwrap_or(at.moment),
                head_end: at,
                head: ResponseHead::Http(head::response(bytes, self.version, cut)),
            })
        });
    }

    fn end(&mut self, exchange: Exchange, record: &Record<'_>, frame: &Frame<'_>, out: &mut Vec<Step>) {
        /// `FCGI_REQUEST_COMPLETE` and what else there is, by value.
        const STATUS: [Option<&str>; 4] = [None, Some("CANT_MPX_CONN"), Some("OVERLOADED"), Some("UNKNOWN_ROLE")];
        let status = record.content.get(4).copied().unwrap_or_default();
        if let Some(why) = STATUS.get(usize::from(status)).copied().flatten() {
            out.push(Step::Broken {
                exchange,
                at: frame.end,
                reason: Broken::Declined(why),
                body: Body::default(),
            });
            return;
        }
        if let Some(head) = &self.head {
            let end = head.bytes.len();
            self.tell_head(end, frame.end, out);
        }
        out.push(Step::ResponseEnd {
            exchange,
            end: frame.end,
            body: std::mem::take(&mut self.response).known().into(),
        });
    }
}

impl Dialect for Connection {
    const INVALID: &'static str = "protocol.fastcgi.invalid";
    const UNMATCHED: &'static str = "protocol.fastcgi.response_unmatched";

    fn read(&mut self, side: Side, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Read {
        let mut requests = Requests {
            asks: self.asks,
            next: &mut self.next,
            body_bytes: self.body_bytes,
            open: &mut self.open,
        };
        let mut taken = 0_usize;
        while let Some(left) = bytes.get(taken..).filter(|left| !left.is_empty()) {
            let here = at.behind(taken as u64);
            if side == Side::Answer && self.answers.between() && requests.open.is_empty() {
                return Read::Early(taken);
            }
            let cut = match side {
                Side::Ask => self.questions.read(left, here),
                Side::Answer => self.answers.read(left, here),
            };
            let (frame, more) = match cut {
                Cut::More => return Read::All,
                Cut::Invalid => return Read::Invalid,
                Cut::Frame(frame, more) => (frame, more),
            };
            taken = taken.saturating_add(more);
            let came = match side {
                Side::Ask => requests.asked(&frame, out),
                Side::Answer => requests.answered(&frame, out),
            };
            match came {
                Came::Part => {}
                Came::Asked => return Read::Asked(taken),
                Came::Answered => return Read::Answered(taken),
                Came::Mismatch => return Read::Mismatch,
            }
        }
        Read::All
    }

    fn hole(&mut self, side: Side, length: u64, at: Mark, out: &mut Vec<Step>) -> Hole {
        let mut requests = Requests {
            asks: self.asks,
            next: &mut self.next,
            body_bytes: self.body_bytes,
            open: &mut self.open,
        };
        let hole = match side {
            Side::Ask => self.questions.hole(length, at),
            Side::Answer => self.answers.hole(length, at),
        };
        let came = match (hole, side) {
            (FrameHole::Within, _) => Came::Part,
            (FrameHole::Lost, _) => return Hole::Lost,
            (FrameHole::Done(frame), Side::Ask) => requests.asked(&frame, out),
            (FrameHole::Done(frame), Side::Answer) => requests.answered(&frame, out),
        };
        if came == Came::Mismatch {
            return Hole::Lost;
        }
        Hole::Within
    }

    fn restart(&mut self, _asked_unseen: bool) {
        self.questions.restart();
        self.answers.restart();
    }

    fn outstanding(&self) -> usize {
        self.open.len()
    }

    fn in_dialog(&self) -> bool {
        self.open.iter().any(|open| open.content.is_some())
    }

    fn open(&self) -> usize {
        self.open.iter().filter(|open| open.exchange.is_some()).count()
    }

    fn next(&self) -> Exchange {
        self.next
    }

    fn break_all(&mut self, at: Mark, reason: Broken, rest: Broken, out: &mut Vec<Step>) {
        let mut reason = Some(reason);
        for open in self.open.drain(..) {
            if let Some(exchange) = open.exchange {
                out.push(Step::Broken {
                    exchange,
                    at,
                    reason: reason.take().unwrap_or(rest),
                    body: open.response.known().into(),
                });
            }
        }
    }

    fn blind_end(&mut self, _tail: &[u8], end: Mark, out: &mut Vec<Step>) {
        for mut open in std::mem::take(&mut self.open) {
            let Some(exchange) = open.exchange else { continue };
            if let Some(head) = &mut open.head {
                head.cut = true;
                let length = head.bytes.len();
                open.tell_head(length, end, out);
            }
            // How much of it there was is not known.
            let known = Known {
                bytes: None,
                ..open.response.known()
            };
            out.push(Step::ResponseEnd {
                exchange,
                end,
                body: known.into(),
            });
        }
    }

    fn closed(&mut self, _at: Mark, _out: &mut Vec<Step>) {}
}
