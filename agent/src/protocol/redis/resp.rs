//! Values of RESP, versions 2 and 3 (Redis serialization protocol specification).
//!
//! ```text
//! +text  -error  :number  _  #t  ,1.5  (123        a line
//! $5  !5  =5                                       so many bytes and a line end behind the line; -1 is null
//! *2  ~2  >2  %2  |2                               so many values behind the line, or pairs of them
//! ```
//!
//! Behind `|` stands what is said beside the value that follows, and is no part of it.
use memchr::memchr;

/// Bytes of a value that are kept.
pub(super) const KEPT: usize = 256;
/// Longest line of a length or a number.
const MAX_LINE: usize = 64 * 1024;
/// Aggregates within aggregates.
const MAX_DEPTH: usize = 32;
/// Longest bulk: Redis takes 512 MiB unless set otherwise.
const MAX_BULK: u64 = 4 << 30;

/// Who hears of what a value is made of.
pub(super) trait Sink {
    /// How many bytes of a bulk that comes next are of interest.
    fn keeps(&self) -> usize {
        KEPT
    }
    /// A value that holds no others, at this depth; `content` are its first bytes, at most so many.
    fn leaf(&mut self, depth: usize, kind: u8, content: &[u8]);
    /// A value that holds `count` others.
    fn aggregate(&mut self, depth: usize, kind: u8, count: u64);
}

/// What reading came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Got {
    /// All bytes were taken.
    More,
    /// A value is complete behind so many bytes.
    Value(usize),
    /// The bytes are no value.
    Invalid,
}

/// The values of one direction. A value that lies within one piece is not copied.
#[derive(Debug, Default)]
pub(super) struct Reader {
    state: State,
    /// Values that are to come of each aggregate.
    left: Vec<u64>,
    /// Which of them, a bit each, hold what is said beside a value.
    beside: u32,
    /// Something was said beside the value that comes next.
    described: bool,
    kept: Vec<u8>,
    /// What comes behind a hole does not go on with what was kept.
    holed: bool,
    /// Bytes of the line that were dropped or kept.
    line: usize,
    /// Lines that are no values are commands.
    pub(super) inline: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Between values of any depth.
    #[default]
    Between,
    /// Inside a line; its first byte, 0 for a command in a line.
    Line(u8),
    /// Inside a bulk: bytes to come, the line end among them.
    Bulk(u8, u64),
}

impl Reader {
    pub(super) fn new(inline: bool) -> Self {
        Self {
            inline,
            ..Self::default()
        }
    }

    pub(super) fn restart(&mut self) {
        self.state = State::Between;
        self.left.clear();
        self.beside = 0;
        self.described = false;
        self.kept = Vec::new();
        self.holed = false;
        self.line = 0;
    }

    /// Whether the next byte begins a value that is in no other.
    pub(super) fn between(&self) -> bool {
        self.state == State::Between && self.left.is_empty() && !self.described
    }

    /// Reads up to the end of a value that is in no other.
    pub(super) fn read(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Got {
        let mut at = 0_usize;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match self.state {
                State::Between => {
                    self.kept.clear();
                    self.holed = false;
                    self.line = 0;
                    if let Some((kind, number, taken)) = length(rest) {
                        at = at.saturating_add(taken);
                        let ended = match (kind, u64::try_from(number)) {
                            (b'*', Ok(count @ 1..)) => self.array(count, bytes, &mut at, sink),
                            _ => self.counted(kind, number, sink),
                        };
                        match ended {
                            Some(true) => return Got::Value(at),
                            Some(false) => continue,
                            None => return Got::Invalid,
                        }
                    }
                    let kind = rest.first().copied().unwrap_or_default();
                    let known = b"+-:_#,($!=*~>%|".contains(&kind);
                    let command = self.inline && self.left.is_empty();
                    if !(known || command) {
                        return Got::Invalid;
                    }
                    self.state = State::Line(if known { kind } else { 0 });
                    at = at.saturating_add(usize::from(known));
                }
                State::Line(kind) => {
                    let Some(end) = line_end(rest) else {
                        if self.keep(rest) {
                            return Got::More;
                        }
                        return Got::Invalid;
                    };
                    let line = rest.get(..end).unwrap_or_default();
                    at = at.saturating_add(end).saturating_add(1);
                    let ended = if line.len() > MAX_LINE {
                        None
                    } else if self.line == 0 {
                        self.line(kind, line, sink)
                    } else if self.keep(line) {
                        let kept = std::mem::take(&mut self.kept);
                        let ended = self.line(kind, &kept, sink);
                        self.kept = kept;
                        self.kept.clear();
                        ended
                    } else {
                        None
                    };
                    match ended {
                        Some(true) => return Got::Value(at),
                        Some(false) => {}
                        None => return Got::Invalid,
                    }
                }
                State::Bulk(kind, left) => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    let part = rest.get(..taken).unwrap_or_default();
                    at = at.saturating_add(taken);
                    let left = left.saturating_sub(taken as u64);
                    if left == 0 && self.kept.is_empty() && !self.holed && taken > 2 {
                        let content = part.get(..taken.saturating_sub(2)).unwrap_or_default();
                        self.leaf(kind, content, sink);
                    } else {
                        // The line end is no content.
                        let over = usize::try_from(2_u64.saturating_sub(left)).unwrap_or(0).min(taken);
                        let content = part.get(..taken.saturating_sub(over)).unwrap_or_default();
                        let room = if self.holed {
                            0
                        } else {
                            sink.keeps().saturating_sub(self.kept.len())
                        };
                        let room = room.min(content.len());
                        self.kept.extend_from_slice(content.get(..room).unwrap_or_default());
                        if left > 0 {
                            self.state = State::Bulk(kind, left);
                            continue;
                        }
                        self.leaf(kind, &self.kept, sink);
                        self.kept.clear();
                    }
                    if self.ended() {
                        return Got::Value(at);
                    }
                }
            }
        }
        Got::More
    }

    /// Passes a hole; whether a value ends with it, or none if what is behind it is not known.
    pub(super) fn hole(&mut self, length: u64, sink: &mut impl Sink) -> Option<bool> {
        match self.state {
            State::Bulk(kind, left) if length < left => {
                self.holed = true;
                self.state = State::Bulk(kind, left.saturating_sub(length));
                Some(false)
            }
            State::Bulk(kind, left) if length == left => {
                self.leaf(kind, &self.kept, sink);
                self.kept.clear();
                Some(self.ended())
            }
            _ => None,
        }
    }

    /// A value that holds no others; what is said beside a value is nobody's.
    fn leaf(&self, kind: u8, content: &[u8], sink: &mut impl Sink) {
        if self.beside == 0 {
            let content = content.get(..sink.keeps()).unwrap_or(content);
            sink.leaf(self.left.len(), kind, content);
        }
    }

    /// Keeps a part of a line; whether it is not too long.
    fn keep(&mut self, part: &[u8]) -> bool {
        self.line = self.line.saturating_add(part.len());
        let room = KEPT.saturating_add(1).saturating_sub(self.kept.len()).min(part.len());
        self.kept.extend_from_slice(part.get(..room).unwrap_or_default());
        self.line <= MAX_LINE
    }

    /// A line without its line feed. Whether it ends a value that is in no other; none if it is no line.
    fn line(&mut self, kind: u8, line: &[u8], sink: &mut impl Sink) -> Option<bool> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match kind {
            b'$' | b'!' | b'=' | b'*' | b'~' | b'>' | b'%' | b'|' => return self.counted(kind, number(line)?, sink),
            b':' => {
                number(line)?;
                self.leaf(kind, line, sink);
            }
            _ => self.leaf(kind, line, sink),
        }
        Some(self.ended())
    }

    /// An array of `count` values, which begin at `at`: bulks that lie whole within the piece, as those of commands do, are read at
    /// once. Whether it ends a value that is in no other; none if it lies too deep.
    fn array(&mut self, count: u64, bytes: &[u8], at: &mut usize, sink: &mut impl Sink) -> Option<bool> {
        let depth = self.left.len();
        if depth >= MAX_DEPTH {
            return None;
        }
        if self.beside == 0 {
            sink.aggregate(depth, b'*', count);
        }
        let mut left = count;
        while left > 0
            && self.beside == 0
            && let Some((content, taken)) = bytes.get(*at..).and_then(bulk)
        {
            let content = content.get(..sink.keeps()).unwrap_or(content);
            sink.leaf(depth.saturating_add(1), b'$', content);
            *at = at.saturating_add(taken);
            left = left.saturating_sub(1);
        }
        if left == 0 {
            return Some(self.ended());
        }
        self.left.push(left);
        self.state = State::Between;
        Some(false)
    }

    /// The line of a bulk or an aggregate. Whether it ends a value that is in no other; none if it is no line.
    fn counted(&mut self, kind: u8, number: i64, sink: &mut impl Sink) -> Option<bool> {
        if number == -1 {
            self.leaf(b'_', b"", sink);
            return Some(self.ended());
        }
        let number = u64::try_from(number).ok()?;
        let values = match kind {
            b'$' | b'!' | b'=' => {
                let length = Some(number).filter(|length| *length <= MAX_BULK)?;
                self.state = State::Bulk(kind, length.checked_add(2)?);
                return Some(false);
            }
            b'%' | b'|' => number.checked_mul(2)?,
            _ => number,
        };
        let depth = self.left.len();
        self.state = State::Between;
        if kind == b'|' {
            // What it is said of follows it.
            self.described |= depth == 0;
        } else if self.beside == 0 {
            sink.aggregate(depth, kind, number);
        }
        if values == 0 {
            return Some(kind != b'|' && self.ended());
        }
        if depth >= MAX_DEPTH {
            return None;
        }
        if kind == b'|' {
            self.beside |= bit(depth);
        }
        self.left.push(values);
        Some(false)
    }

    /// A value is complete. Whether it is in no other, or ends the one it is in, and so on.
    fn ended(&mut self) -> bool {
        self.state = State::Between;
        while let Some(left) = self.left.last_mut() {
            *left = left.saturating_sub(1);
            if *left > 0 {
                return false;
            }
            self.left.pop();
            let this = bit(self.left.len());
            if self.beside & this != 0 {
                self.beside &= !this;
                return false;
            }
        }
        self.described = false;
        true
    }
}

/// The bit of a depth below [`MAX_DEPTH`].
fn bit(depth: usize) -> u32 {
    let depth = u32::try_from(depth).unwrap_or(u32::MAX);
    1_u32.checked_shl(depth).unwrap_or_default()
}

/// The whole line of a bulk or an aggregate, as most are: its kind, its number, and how many bytes it has.
fn length(bytes: &[u8]) -> Option<(u8, i64, usize)> {
    const MAX_DIGITS: usize = 9;
    let (kind, rest) = bytes.split_first()?;
    if !matches!(kind, b'$' | b'!' | b'=' | b'*' | b'~' | b'>' | b'%' | b'|') {
        return None;
    }
    let mut number = 0_i64;
    for (place, byte) in rest.iter().enumerate().take(MAX_DIGITS.saturating_add(1)) {
        match byte {
            b'0'..=b'9' => {
                let digit = i64::from(byte.wrapping_sub(b'0'));
                number = number.wrapping_mul(10).wrapping_add(digit);
            }
            b'\r' if place > 0 && rest.get(place.wrapping_add(1)) == Some(&b'\n') => {
                return Some((*kind, number, place.wrapping_add(3)));
            }
            _ => return None,
        }
    }
    None
}

/// The content of a bulk that is whole, and how many bytes all of it has.
fn bulk(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (kind, number, begin) = length(bytes)?;
    let end = begin.checked_add(usize::try_from(number).ok().filter(|_| kind == b'$')?)?;
    let behind = end.checked_add(2).filter(|behind| *behind <= bytes.len())?;
    Some((bytes.get(begin..end)?, behind))
}

/// Where the first line ends. Most are short, for which a search for long texts takes longer to begin.
fn line_end(bytes: &[u8]) -> Option<usize> {
    const SHORT: usize = 8;
    let begin = bytes.iter().take(SHORT).position(|byte| *byte == b'\n');
    begin.or_else(|| memchr(b'\n', bytes.get(SHORT..)?)?.checked_add(SHORT))
}

fn number(line: &[u8]) -> Option<i64> {
    let (negative, digits) = match line.split_first()? {
        (b'-', digits) => (true, digits),
        (b'+', digits) => (false, digits),
        _ => (false, line),
    };
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    let mut value = 0_i64;
    for digit in digits {
        let digit = i64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
    Some(if negative { value.checked_neg()? } else { value })
}
