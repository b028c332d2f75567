//! Lines, and data of a known length behind some of them.
use memchr::memchr;

/// Bytes of a line that are kept.
pub(super) const KEPT: usize = 2048;
/// Longest line: clients ask for many keys in one.
const MAX_LINE: usize = 256 * 1024;

/// What reading came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Got {
    /// All bytes were taken.
    More,
    /// A line is complete behind so many bytes; see [`Lines::line`].
    Line(usize),
    /// Data are complete behind so many bytes.
    Data(usize),
    /// The bytes are no line.
    Invalid,
}

/// One direction. A line that lies within one piece is not copied.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Bytes of data to come, the line end among them.
    left: u64,
    /// The line's beginning, where it came in several pieces.
    kept: Vec<u8>,
    /// Bytes of the line that have come, its end not counted.
    length: usize,
    /// The line that was kept is over.
    over: bool,
}

impl Lines {
    /// Whether the next byte begins a line.
    pub(super) const fn between(&self) -> bool {
        self.left == 0 && (self.length == 0 || self.over)
    }

    /// The line is followed by data of this length.
    pub(super) const fn data(&mut self, length: u64) {
        self.left = length.saturating_add(2);
    }

    /// Reads up to the end of a line or of data.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Got {
        if self.left > 0 {
            let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            self.left = self.left.saturating_sub(taken as u64);
            return if self.left == 0 { Got::Data(taken) } else { Got::More };
        }
        if std::mem::take(&mut self.over) {
            self.kept.clear();
            self.length = 0;
        }
        let end = memchr(b'\n', bytes);
        let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        let begun = self.length > 0;
        self.length = self.length.saturating_add(part.len());
        if self.length > MAX_LINE {
            return Got::Invalid;
        }
        if begun || end.is_none() {
            let room = KEPT.saturating_sub(self.kept.len()).min(part.len());
            self.kept.extend_from_slice(part.get(..room).unwrap_or_default());
        }
        let Some(end) = end else { return Got::More };
        self.over = begun;
        if !begun {
            self.length = 0;
        }
        Got::Line(end.saturating_add(1))
    }

    /// The line that is complete, without its end, at most [`KEPT`] bytes of it: `bytes` and `taken` as [`Lines::read`] had
    /// and said them.
    pub(super) fn line<'a>(&'a self, bytes: &'a [u8], taken: usize) -> &'a [u8] {
        let line = if self.over {
            &self.kept
        } else {
            let line = bytes.get(..taken.saturating_sub(1)).unwrap_or_default();
            line.get(..KEPT).unwrap_or(line)
        };
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    /// Passes a hole; whether data end with it, or none if what is behind it is not known.
    pub(super) fn hole(&mut self, length: u64) -> Option<bool> {
        if length > self.left {
            return None;
        }
        self.left = self.left.saturating_sub(length);
        Some(self.left == 0)
    }
}
