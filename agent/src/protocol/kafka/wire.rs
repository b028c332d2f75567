//! Reads the protocol's types from bytes that may not have come yet.
use crate::protocol::Id;

/// Bytes are missing, at least so many; or what is there is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Short {
    Need(usize),
    Wrong,
}

pub(super) type Got<T> = Result<T, Short>;

/// Longest text that is read.
const MAX_TEXT: usize = 32 * 1024;
/// Tags of a section that are passed.
const MAX_TAGS: u32 = 64;

/// Bytes that are read from their beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
    all: usize,
    /// The version of the message is one of the newer, whose lengths are shorter and which has tags.
    flexible: bool,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8], flexible: bool) -> Self {
        Self {
            rest: bytes,
            all: bytes.len(),
            flexible,
        }
    }

    /// Bytes that were read.
    pub(super) const fn taken(&self) -> usize {
        self.all.saturating_sub(self.rest.len())
    }

    pub(super) fn bytes(&mut self, length: usize) -> Got<&'a [u8]> {
        let missing = length.saturating_sub(self.rest.len());
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Short::Need(missing))?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Got<[u8; N]> {
        let missing = N.saturating_sub(self.rest.len());
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Short::Need(missing))?;
        self.rest = rest;
        Ok(*bytes)
    }

    pub(super) fn i8(&mut self) -> Got<i8> {
        self.array().map(i8::from_be_bytes)
    }

    pub(super) fn i16(&mut self) -> Got<i16> {
        self.array().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Got<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Got<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Got<i64> {
        self.array().map(i64::from_be_bytes)
    }

    pub(super) fn id(&mut self) -> Got<Id> {
        self.array()
    }

    /// 7 bits a byte, the least first.
    fn variable(&mut self, most: u32) -> Got<u64> {
        let mut number = 0_u64;
        for shift in (0..most).step_by(7) {
            let [byte] = self.array()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Short::Wrong)
    }

    pub(super) fn uvarint(&mut self) -> Got<u32> {
        u32::try_from(self.variable(35)?).map_err(|_| Short::Wrong)
    }

    /// The same with a sign, in its lowest bit.
    pub(super) fn varint(&mut self) -> Got<i64> {
        let number = self.variable(70)?;
        let half = i64::try_from(number >> 1).map_err(|_| Short::Wrong)?;
        Ok(if number & 1 == 0 { half } else { !half })
    }

    /// A length; none for null.
    pub(super) fn length(&mut self) -> Got<Option<u32>> {
        if self.flexible {
            return Ok(self.uvarint()?.checked_sub(1));
        }
        self.signed_length()
    }

    fn signed_length(&mut self) -> Got<Option<u32>> {
        match self.i32()? {
            -1 => Ok(None),
            length => u32::try_from(length).map(Some).map_err(|_| Short::Wrong),
        }
    }

    /// A text; none for null.
    pub(super) fn text(&mut self) -> Got<Option<&'a str>> {
        let length = if self.flexible {
            self.uvarint()?.checked_sub(1)
        } else {
            match self.i16()? {
                -1 => None,
                length => Some(u32::try_from(length).map_err(|_| Short::Wrong)?),
            }
        };
        let Some(length) = length else { return Ok(None) };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > MAX_TEXT {
            return Err(Short::Wrong);
        }
        let text = std::str::from_utf8(self.bytes(length)?);
        text.map(Some).map_err(|_| Short::Wrong)
    }

    /// Passes tags, which newer versions have.
    pub(super) fn tags(&mut self) -> Got<()> {
        if !self.flexible {
            return Ok(());
        }
        let count = self.uvarint()?;
        if count > MAX_TAGS {
            return Err(Short::Wrong);
        }
        for _ in 0..count {
            self.uvarint()?;
            let length = usize::try_from(self.uvarint()?).unwrap_or(usize::MAX);
            if length > MAX_TEXT {
                return Err(Short::Wrong);
            }
            self.bytes(length)?;
        }
        Ok(())
    }
}
