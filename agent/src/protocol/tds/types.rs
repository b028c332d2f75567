//! Types of columns and parameters, and values ([MS-TDS] 2.2.5.4 and 2.2.5.5).
use smol_str::{SmolStr, format_smolstr};

use super::cursor::{Cursor, Stop, utf16};

/// How a value says how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// It has always so many bytes.
    Fixed(u8),
    /// One byte says it; 0 is NULL.
    Byte,
    /// Two bytes say it; 0xffff is NULL.
    Short,
    /// Four bytes say it; 0 is NULL.
    Variant,
    /// Four bytes say it, behind a pointer and a time in rows; without a pointer it is NULL.
    Pointed,
    /// It comes in chunks, the last of which is empty.
    Chunks,
}

/// A type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Type {
    pub(super) length: Length,
    number: u8,
    scale: u8,
}

/// The length of a type whose values come in chunks, and of NULL.
const MAX: u16 = 0xffff;

impl Type {
    /// Reads a type, of a column if `in_column`.
    pub(super) fn read(cursor: &mut Cursor<'_>, in_column: bool) -> Result<Self, Stop> {
        let number = cursor.byte()?;
        let mut scale = 0;
        let length = match number {
            0x1f => Length::Fixed(0),
            0x30 | 0x32 => Length::Fixed(1),
            0x34 => Length::Fixed(2),
            0x38 | 0x3a | 0x3b | 0x7a => Length::Fixed(4),
            0x3c | 0x3d | 0x3e | 0x7f => Length::Fixed(8),
            // A date's length is always the same.
            0x28 => Length::Byte,
            0x29..=0x2b => {
                scale = cursor.byte()?;
                Length::Byte
            }
            0x24..=0x27 | 0x2d | 0x2f | 0x68 | 0x6d..=0x6f => {
                cursor.byte()?;
                Length::Byte
            }
            0x37 | 0x3f | 0x6a | 0x6c => {
                cursor.byte()?;
                cursor.byte()?;
                scale = cursor.byte()?;
                Length::Byte
            }
            0xa5 | 0xa7 | 0xad | 0xaf | 0xe7 | 0xef => {
                let longest = cursor.short()?;
                if !matches!(number, 0xa5 | 0xad) {
                    cursor.take(COLLATION)?;
                }
                if longest == MAX { Length::Chunks } else { Length::Short }
            }
            0x22 => {
                cursor.word()?;
                Length::Pointed
            }
            0x23 | 0x63 => {
                cursor.word()?;
                cursor.take(COLLATION)?;
                Length::Pointed
            }
            0x62 => {
                cursor.word()?;
                Length::Variant
            }
            // A type of the user's: its longest value where it is a column's, database, schema, name, and where it is from.
            0xf0 => {
                if in_column {
                    cursor.short()?;
                }
                for _ in 0..3 {
                    cursor.name()?;
                }
                if in_column {
                    cursor.text()?;
                }
                Length::Chunks
            }
            // XML: of a schema or of none.
            0xf1 => {
                if cursor.byte()? == 1 {
                    cursor.name()?;
                    cursor.name()?;
                    cursor.text()?;
                }
                Length::Chunks
            }
            _ => return Err(Stop::Unknown),
        };
        Ok(Self { length, number, scale })
    }

    /// Columns of this type are told with their table's name.
    pub(super) const fn has_table(self) -> bool {
        matches!(self.length, Length::Pointed)
    }

    /// Passes a value of a parameter; none if it is NULL.
    pub(super) fn value<'a>(self, cursor: &mut Cursor<'a>) -> Result<Option<Value<'a>>, Stop> {
        let length = match self.length {
            Length::Fixed(length) => Some(usize::from(length)),
            Length::Byte => Some(usize::from(cursor.byte()?)).filter(|length| *length > 0),
            Length::Short => Some(cursor.short()?).filter(|length| *length != MAX).map(usize::from),
            Length::Variant => Some(cursor.word()? as usize).filter(|length| *length > 0),
            Length::Pointed => Some(cursor.word()?)
                .filter(|length| *length != u32::MAX)
                .map(|length| length as usize),
            Length::Chunks => return chunks(cursor),
        };
        match length {
            None => Ok(None),
            Some(length) => cursor.take(length).map(|bytes| Some(Value::Whole(bytes))),
        }
    }

    /// A value as text, if it can be told as one.
    pub(super) fn shown(self, value: &Value<'_>) -> Option<SmolStr> {
        let bytes = value.bytes();
        let bytes = bytes.as_ref();
        match self.number {
            0x63 | 0xe7 | 0xef | 0xf1 => Some(SmolStr::from(utf16(bytes))),
            0x23 | 0x27 | 0x2f | 0xa7 | 0xaf => std::str::from_utf8(bytes).ok().map(SmolStr::new),
            0x32 | 0x68 => bytes.first().map(|bit| format_smolstr!("{bit}")),
            0x26 | 0x30 | 0x34 | 0x38 | 0x7f => integer(bytes).map(|number| format_smolstr!("{number}")),
            0x3b | 0x3e | 0x6d => match bytes.len() {
                4 => bytes
                    .first_chunk()
                    .map(|digits| format_smolstr!("{}", f32::from_le_bytes(*digits))),
                _ => bytes
                    .first_chunk()
                    .map(|digits| format_smolstr!("{}", f64::from_le_bytes(*digits))),
            },
            0x37 | 0x3f | 0x6a | 0x6c => self.decimal(bytes),
            _ => None,
        }
    }

    /// ```text
    /// | sign (1; 0 below zero) | digits (4, 8, 12 or 16) |
    /// ```
    fn decimal(self, bytes: &[u8]) -> Option<SmolStr> {
        let (sign, digits) = bytes.split_first()?;
        if digits.len() > 16 {
            return None;
        }
        let number = digits
            .iter()
            .rev()
            .fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
        let sign = if *sign == 0 { "-" } else { "" };
        let unit = 10_u128.checked_pow(self.scale.into())?;
        let (whole, part) = (number.checked_div(unit)?, number.checked_rem(unit)?);
        Some(match self.scale {
            0 => format_smolstr!("{sign}{whole}"),
            scale => format_smolstr!("{sign}{whole}.{part:0width$}", width = usize::from(scale)),
        })
    }
}

/// Bytes that say how a text is compared and written.
const COLLATION: usize = 5;

/// A value.
#[derive(Debug)]
pub(super) enum Value<'a> {
    Whole(&'a [u8]),
    /// In chunks, each behind its length.
    Chunks(&'a [u8]),
}

impl<'a> Value<'a> {
    pub(super) fn bytes(&self) -> std::borrow::Cow<'a, [u8]> {
        match self {
            Self::Whole(bytes) => (*bytes).into(),
            Self::Chunks(bytes) => {
                let mut cursor = Cursor(bytes);
                let mut joined = Vec::new();
                while let Ok(length) = cursor.word() {
                    let length = usize::try_from(length).unwrap_or(usize::MAX).min(cursor.0.len());
                    joined.extend_from_slice(cursor.take(length).unwrap_or_default());
                }
                joined.into()
            }
        }
    }
}

/// The length of chunks together where there are none.
pub(super) const NO_CHUNKS: u64 = u64::MAX;

fn chunks<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Value<'a>>, Stop> {
    if cursor.long()? == NO_CHUNKS {
        return Ok(None);
    }
    let all = cursor.0;
    loop {
        let read = all.len().saturating_sub(cursor.0.len());
        match cursor.word()? {
            0 => return Ok(Some(Value::Chunks(all.get(..read).unwrap_or_default()))),
            length => cursor.take(usize::try_from(length).unwrap_or(usize::MAX))?,
        };
    }
}

/// A number of at most eight bytes. One of one byte has no sign.
pub(super) fn integer(bytes: &[u8]) -> Option<i64> {
    match bytes.len() {
        1 => bytes.first().map(|byte| i64::from(*byte)),
        2 => bytes.first_chunk().map(|digits| i16::from_le_bytes(*digits).into()),
        4 => bytes.first_chunk().map(|digits| i32::from_le_bytes(*digits).into()),
        8 => bytes.first_chunk().map(|digits| i64::from_le_bytes(*digits)),
        _ => None,
    }
}
