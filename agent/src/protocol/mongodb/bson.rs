//! Documents (bsonspec.org, version 1.1), as far as they were seen.
//!
//! ```text
//! document = length(4) element* 0
//! element  = type(1) name 0 value
//! ```
//!
//! All numbers are little-endian.

/// An element of a document.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Element<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: Value<'a>,
}

/// A value, by what of it is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Double(f64),
    Text(&'a [u8]),
    /// A document, or an array if so: the elements of one are numbered.
    Document(Document<'a>, bool),
    Bool(bool),
    Int(i64),
    Null,
    /// Of another type, by its number.
    Other(u8),
}

/// The elements of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Document<'a> {
    elements: &'a [u8],
    cut: bool,
}

impl<'a> Document<'a> {
    /// The document at the beginning of `bytes`, which may be cut, and what is behind it.
    pub(super) fn first(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (length, rest) = length(bytes)?;
        let inside = length.checked_sub(4).filter(|inside| *inside > 0)?;
        match rest.split_at_checked(inside) {
            Some((elements, behind)) => Some((
                Self {
                    elements: elements.strip_suffix(&[0])?,
                    cut: false,
                },
                behind,
            )),
            None => Some((
                Self {
                    elements: rest,
                    cut: true,
                },
                &[],
            )),
        }
    }

    /// Whether its end was not seen.
    pub(super) const fn is_cut(&self) -> bool {
        self.cut
    }

    /// Its elements, up to the first that was not seen or is none.
    pub(super) fn elements(&self) -> impl Iterator<Item = Element<'a>> + use<'a> {
        let mut rest = self.elements;
        std::iter::from_fn(move || {
            let (element, behind) = element(rest)?;
            rest = behind;
            Some(element)
        })
    }

    /// The first element of this name.
    pub(super) fn get(&self, name: &str) -> Option<Value<'a>> {
        self.elements()
            .find(|element| element.name == name.as_bytes())
            .map(|element| element.value)
    }
}

impl Value<'_> {
    /// Whether it stands for yes, whatever its type.
    pub(super) const fn is_true(&self) -> bool {
        match self {
            Self::Bool(is) => *is,
            Self::Int(number) => *number != 0,
            Self::Double(number) => *number != 0.0,
            _ => false,
        }
    }

    /// It as a count.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturating")]
    pub(super) fn count(&self) -> Option<u64> {
        match self {
            Self::Int(number) => u64::try_from(*number).ok(),
            Self::Double(number) if *number >= 0.0 => Some(*number as u64),
            _ => None,
        }
    }
}

fn element(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    let (name, rest) = terminated(rest)?;
    let (value, rest) = value(*kind, rest)?;
    Some((Element { name, value }, rest))
}

fn value(kind: u8, bytes: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let skip = |length: usize| Some((Value::Other(kind), bytes.get(length..)?));
    match kind {
        0x01 => {
            let (number, rest) = bytes.split_first_chunk::<8>()?;
            Some((Value::Double(f64::from_le_bytes(*number)), rest))
        }
        0x02 | 0x0d | 0x0e => {
            let (length, rest) = length(bytes)?;
            let (text, rest) = rest.split_at_checked(length)?;
            Some((Value::Text(text.strip_suffix(&[0])?), rest))
        }
        0x03 | 0x04 => {
            let (document, rest) = Document::first(bytes)?;
            Some((Value::Document(document, kind == 0x04), rest))
        }
        0x05 => skip(length(bytes)?.0.checked_add(5)?),
        0x06 | 0xff | 0x7f => skip(0),
        0x07 => skip(12),
        0x08 => {
            let (is, rest) = bytes.split_first()?;
            Some((Value::Bool(*is != 0), rest))
        }
        0x09 | 0x11 => skip(8),
        0x0a => Some((Value::Null, bytes)),
        0x0b => {
            let (_, rest) = terminated(bytes)?;
            let (_, rest) = terminated(rest)?;
            Some((Value::Other(kind), rest))
        }
        0x0c => skip(length(bytes)?.0.checked_add(16)?),
        0x0f => skip(length(bytes)?.0),
        0x10 => {
            let (number, rest) = bytes.split_first_chunk::<4>()?;
            Some((Value::Int(i64::from(i32::from_le_bytes(*number))), rest))
        }
        0x12 => {
            let (number, rest) = bytes.split_first_chunk::<8>()?;
            Some((Value::Int(i64::from_le_bytes(*number)), rest))
        }
        0x13 => skip(16),
        _ => None,
    }
}

/// Whether a byte names a type.
pub(super) const fn is_type(byte: u8) -> bool {
    matches!(byte, 0x01..=0x13 | 0x7f | 0xff)
}

fn terminated(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(0, bytes)?;
    Some((bytes.get(..end)?, bytes.get(end.checked_add(1)?..)?))
}

fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (word, rest) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(i32::from_le_bytes(*word)).ok()?, rest))
}
