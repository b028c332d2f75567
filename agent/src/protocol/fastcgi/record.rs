//! Records (FastCGI specification, section 3.3).
//!
//! ```text
//! +---------+------+-----------+---------------+---------------+----------+-----------------+---------+
//! | version | type | requestId | contentLength | paddingLength | reserved | content         | padding |
//! |    1    |  1   |     2     |       2       |       1       |    1     | contentLength   |         |
//! +---------+------+-----------+---------------+---------------+----------+-----------------+---------+
//! ```
use crate::protocol::frames::{Format, Frame, Shape};

pub(super) const BEGIN_REQUEST: u8 = 1;
pub(super) const ABORT_REQUEST: u8 = 2;
pub(super) const END_REQUEST: u8 = 3;
pub(super) const PARAMS: u8 = 4;
pub(super) const STDIN: u8 = 5;
pub(super) const STDOUT: u8 = 6;
pub(super) const STDERR: u8 = 7;
pub(super) const DATA: u8 = 8;
pub(super) const GET_VALUES: u8 = 9;
pub(super) const GET_VALUES_RESULT: u8 = 10;
pub(super) const UNKNOWN_TYPE: u8 = 11;

/// What a web server says.
#[derive(Debug)]
pub(super) struct Asks;
/// What it is answered.
#[derive(Debug)]
pub(super) struct Answers;

impl Format for Asks {
    const HEAD: usize = 8;

    fn shape(head: &[u8]) -> Option<Shape> {
        shape(head, |kind| {
            matches!(kind, BEGIN_REQUEST | ABORT_REQUEST | PARAMS | STDIN | DATA | GET_VALUES)
        })
    }
}

impl Format for Answers {
    const HEAD: usize = 8;

    fn shape(head: &[u8]) -> Option<Shape> {
        shape(head, |kind| {
            matches!(kind, END_REQUEST | STDOUT | STDERR | GET_VALUES_RESULT | UNKNOWN_TYPE)
        })
    }
}

fn shape(head: &[u8], is_kind: fn(u8) -> bool) -> Option<Shape> {
    let [1, kind, _, _, high, low, padding, _] = *head else {
        return None;
    };
    let content = u16::from_be_bytes([high, low]);
    is_kind(kind).then(|| Shape {
        length: u64::from(content).saturating_add(u64::from(padding)),
        keep: usize::from(content),
    })
}

/// A record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) kind: u8,
    /// Which request it is of; 0 for the connection itself.
    pub(super) id: u16,
    /// Its content, as far as it was seen.
    pub(super) content: &'a [u8],
    /// Bytes of its content.
    pub(super) length: u16,
}

impl<'a> Record<'a> {
    /// What a frame says. A head is whole, or there is no frame.
    pub(super) fn of(frame: &Frame<'a>) -> Option<Self> {
        let [_, kind, id_high, id_low, high, low, ..] = *frame.head else {
            return None;
        };
        let length = u16::from_be_bytes([high, low]);
        Some(Self {
            kind,
            id: u16::from_be_bytes([id_high, id_low]),
            content: frame.payload.get(..usize::from(length)).unwrap_or(frame.payload),
            length,
        })
    }

    /// Whether some of its content was not seen.
    pub(super) fn is_cut(&self) -> bool {
        self.content.len() < usize::from(self.length)
    }
}
