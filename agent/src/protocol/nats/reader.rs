//! Reads one direction: lines, and messages behind them.
use memchr::memchr;

use super::line::{self, Headers, Line, MAX_LINE, Message, Origin};
use crate::capture::Moment;
use crate::protocol::Mark;

/// Longest `INFO` or `CONNECT`: a server names all of its cluster.
const MAX_INFO: usize = 256 * 1024;
/// Bytes of headers that are kept.
const MAX_HEADERS: usize = 16 * 1024;
/// Bytes of a message that are kept: what settles another is short.
const MAX_KEPT: usize = 512;
/// Bytes in which no line was found before the protocol is called a wrong guess.
const MAX_VAIN: u64 = 4 << 20;

/// Something read, from its first byte to its last.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) event: Event,
    pub(super) begin: Mark,
    pub(super) end: Mark,
}

#[derive(Debug)]
pub(super) enum Event {
    Line(Origin, Line),
    /// The line and the headers of a message have passed.
    Head(Origin, Message, Option<Headers>),
    /// The message is complete; [`Reader::body`] is the first bytes of it.
    Body,
    /// Bytes were missed, or are no lines; from here on they are looked for.
    Lost,
    Invalid,
    Hopeless,
}

#[derive(Debug)]
enum State {
    /// A line.
    Line,
    /// A message: bytes of its headers and of its rest to come.
    Message { headers: u64, rest: u64 },
    /// The end of a message's line end: bytes to come.
    End(usize),
    /// Lines are looked for: the line that may be one, none where there is none yet.
    Seeking(Option<Vec<u8>>),
}

/// Reads one direction.
#[derive(Debug)]
pub(super) struct Reader {
    state: State,
    /// The first byte of what is being read.
    begin: Option<Mark>,
    /// What has come of a line.
    line: Vec<u8>,
    /// The first bytes of a message's headers, or of what is behind them; not all of those were seen if they are `cut`.
    kept: Vec<u8>,
    cut: bool,
    of: Option<(Origin, Message)>,
    /// The operation that was seen last.
    last: Option<Moment>,
    in_vain: u64,
    /// What is left of this operation is of no use.
    skipped: Option<Moment>,
}

impl Reader {
    /// A direction; whether its first byte begins a line.
    pub(super) const fn new(begins: bool) -> Self {
        Self {
            state: if begins { State::Line } else { State::Seeking(None) },
            begin: None,
            line: Vec::new(),
            kept: Vec::new(),
            cut: false,
            of: None,
            last: None,
            in_vain: 0,
            skipped: None,
        }
    }

    /// Whether lines are looked for.
    pub(super) const fn is_lost(&self) -> bool {
        matches!(self.state, State::Seeking(_))
    }

    fn lose(&mut self) {
        self.state = State::Seeking(None);
        self.begin = None;
        self.line = Vec::new();
        self.kept = Vec::new();
        self.cut = false;
        self.of = None;
    }

    /// Reads up to the end of something; how many bytes were taken.
    pub(super) fn read(&mut self, bytes: &[u8], at: Mark) -> (usize, Option<Got>) {
        if self.skipped == Some(at.moment) {
            return (bytes.len(), None);
        }
        let new = self.last.replace(at.moment) != Some(at.moment);
        let begin = *self.begin.get_or_insert(at);
        match &mut self.state {
            State::Line => {
                let end = memchr(b'\n', bytes);
                let part = end.map_or(bytes.len(), |end| end.saturating_add(1));
                let bytes = bytes.get(..part).unwrap_or_default();
                // What is whole in this piece is read from there.
                let is_whole = end.is_some() && self.line.is_empty();
                if !is_whole {
                    self.line.extend_from_slice(bytes);
                }
                let line = if is_whole { bytes } else { &self.line };
                let info = line.starts_with(b"INFO {") || line.starts_with(b"CONNECT {");
                if line.len() > if info { MAX_INFO } else { MAX_LINE } {
                    return self.invalid(at);
                }
                if end.is_none() {
                    return (part, None);
                }
                let said = told(line);
                // Rarely used room is given back.
                if self.line.capacity() > MAX_LINE {
                    self.line = Vec::new();
                }
                self.line.clear();
                self.said(said, begin, at, part)
            }
            State::Message { headers, rest } => {
                let in_headers = *headers > 0;
                let left = if in_headers { headers } else { rest };
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left = left.saturating_sub(taken as u64);
                let done = *left == 0;
                let most = if in_headers { MAX_HEADERS } else { MAX_KEPT };
                let room = most.saturating_sub(self.kept.len()).min(taken);
                if !self.cut {
                    self.kept.extend_from_slice(bytes.get(..room).unwrap_or_default());
                }
                let end = at.behind(taken as u64);
                if !done {
                    return (taken, None);
                }
                (taken, self.part(in_headers, begin, end))
            }
            State::End(left) => {
                let taken = (*left).min(bytes.len());
                let expected = b"\r\n".get(2_usize.saturating_sub(*left)..).unwrap_or_default();
                if bytes.get(..taken) != expected.get(..taken) {
                    return self.invalid(at);
                }
                *left = left.saturating_sub(taken);
                if *left > 0 {
                    return (taken, None);
                }
                self.state = State::Line;
                self.begin = None;
                let (event, end) = (Event::Body, at.behind(taken as u64));
                (taken, Some(Got { event, begin, end }))
            }
            State::Seeking(_) => self.seek(bytes, at, new),
        }
    }

    /// The first bytes of the message that was read last, where all of those were seen.
    pub(super) fn body(&self) -> Option<&[u8]> {
        (!self.cut).then_some(&self.kept)
    }

    /// A line is complete; so many bytes of it were taken from those that begin at `at`.
    fn said(&mut self, said: Option<(Origin, Line)>, begin: Mark, at: Mark, taken: usize) -> (usize, Option<Got>) {
        let Some((origin, told)) = said else {
            return self.invalid(at);
        };
        let end = at.behind(taken as u64);
        if let Line::Message(message) = told {
            let rest = message.size.saturating_sub(message.headers);
            self.state = State::Message {
                headers: message.headers,
                rest,
            };
            self.kept.clear();
            self.cut = false;
            let headed = message.headers > 0;
            self.of = Some((origin, message));
            if headed {
                return (taken, None);
            }
            return (taken, self.head(None, begin, end));
        }
        self.state = State::Line;
        self.begin = None;
        let event = Event::Line(origin, told);
        (taken, Some(Got { event, begin, end }))
    }

    /// The headers of a message, or all of it, have passed.
    fn part(&mut self, in_headers: bool, begin: Mark, end: Mark) -> Option<Got> {
        if in_headers {
            let headers = self.body().map(line::headers);
            self.kept.clear();
            self.cut = false;
            return self.head(headers, begin, end);
        }
        self.state = State::End(2);
        None
    }

    fn head(&mut self, headers: Option<Headers>, begin: Mark, end: Mark) -> Option<Got> {
        if let State::Message { rest: 0, .. } = self.state {
            self.state = State::End(2);
        }
        let (origin, message) = self.of.take()?;
        let event = Event::Head(origin, message, headers);
        Some(Got { event, begin, end })
    }

    /// What is left of this operation is passed: where in it a line begins depends on nothing that can be relied on.
    fn invalid(&mut self, at: Mark) -> (usize, Option<Got>) {
        self.lose();
        self.skipped = Some(at.moment);
        let got = Got {
            event: Event::Invalid,
            begin: at,
            end: at,
        };
        (0, Some(got))
    }

    /// Looks for a line: at the beginning of an operation, and behind every line end.
    fn seek(&mut self, bytes: &[u8], at: Mark, new: bool) -> (usize, Option<Got>) {
        let State::Seeking(line) = &mut self.state else {
            return (bytes.len(), None);
        };
        if new {
            *line = Some(Vec::new());
            self.begin = Some(at);
        }
        let end = memchr(b'\n', bytes);
        let part = end.map_or(bytes.len(), |end| end.saturating_add(1));
        self.in_vain = self.in_vain.saturating_add(part as u64);
        if let Some(text) = line {
            text.extend_from_slice(bytes.get(..part).unwrap_or_default());
            if text.len() > MAX_LINE {
                *line = None;
            }
        }
        let begin = self.begin.unwrap_or(at);
        if end.is_some() {
            let text = line.replace(Vec::new());
            self.begin = Some(at.behind(part as u64));
            let ended = text.filter(|text| text.ends_with(b"\r\n"));
            // What any text may hold is no evidence.
            let said = ended.filter(|text| text.len() > b"PING\r\n".len());
            if let Some(said) = said.and_then(|text| told(&text)) {
                self.in_vain = 0;
                self.begin = Some(begin);
                return self.said(Some(said), begin, at, part);
            }
        }
        if self.in_vain >= MAX_VAIN {
            let event = Event::Hopeless;
            return (
                bytes.len(),
                Some(Got {
                    event,
                    begin: at,
                    end: at,
                }),
            );
        }
        (part, None)
    }

    /// Passes a hole that begins at `at`.
    pub(super) fn hole(&mut self, length: u64, at: Mark) -> Option<Got> {
        let end = at.behind(length);
        match &mut self.state {
            State::Seeking(line) => {
                *line = None;
                self.last = Some(at.moment);
                None
            }
            State::Message { headers, rest } if length <= headers.saturating_add(*rest) => {
                let before = *headers;
                *headers = headers.saturating_sub(length);
                *rest = rest.saturating_sub(length.saturating_sub(before));
                self.cut = true;
                let (headers, rest) = (*headers, *rest);
                let begin = self.begin.unwrap_or(at);
                let got = if before > 0 && headers == 0 {
                    let got = self.head(None, begin, end);
                    self.kept.clear();
                    self.cut = length > before;
                    got
                } else {
                    None
                };
                if headers == 0 && rest == 0 {
                    self.state = State::End(2);
                }
                got
            }
            _ => {
                self.lose();
                // What follows in the same operation begins anywhere.
                self.last = Some(at.moment);
                Some(Got {
                    event: Event::Lost,
                    begin: at,
                    end,
                })
            }
        }
    }
}

/// What a line says, whose end may be a line feed alone.
fn told(line: &[u8]) -> Option<(Origin, Line)> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line::parse(line.strip_suffix(b"\r").unwrap_or(line))
}
