//! Reads numbers and texts of a message.

/// Why reading stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// More has to come.
    More,
    /// What stands there is not known.
    Unknown,
}

/// What is left of some bytes. Numbers are little-endian.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Stop> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Stop::More)?;
        self.0 = rest;
        Ok(taken)
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or(Stop::More)?;
        self.0 = rest;
        Ok(*chunk)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Stop> {
        self.chunk().map(|[byte]| byte)
    }

    pub(super) fn short(&mut self) -> Result<u16, Stop> {
        self.chunk().map(u16::from_le_bytes)
    }

    pub(super) fn word(&mut self) -> Result<u32, Stop> {
        self.chunk().map(u32::from_le_bytes)
    }

    pub(super) fn long(&mut self) -> Result<u64, Stop> {
        self.chunk().map(u64::from_le_bytes)
    }

    /// `B_VARCHAR`: a text behind its length in letters, of one byte.
    pub(super) fn name(&mut self) -> Result<&'a [u8], Stop> {
        let letters = self.byte()?;
        self.take(usize::from(letters).saturating_mul(2))
    }

    /// `US_VARCHAR`: the same with a length of two.
    pub(super) fn text(&mut self) -> Result<&'a [u8], Stop> {
        let letters = self.short()?;
        self.take(usize::from(letters).saturating_mul(2))
    }
}

/// UTF-16 as text; what is no letter is told as one that cannot be shown.
pub(super) fn utf16(bytes: &[u8]) -> String {
    let (units, _) = bytes.as_chunks::<2>();
    let units = units.iter().map(|unit| u16::from_le_bytes(*unit));
    char::decode_utf16(units)
        .map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}
