//! Tokens of an answer ([MS-TDS] 2.2.7), wherever packets cut them.
//!
//! Some tokens say how long they are. A row does not: how long its values are is said by what was told of its columns. A token
//! that is not known ends reading, up to the end of the message, which packets tell.
use super::cursor::{Cursor, Stop};
use super::types::{Length, NO_CHUNKS, Type, Value};

/// Longest part of a token that is waited for. Contents of rows are passed without being kept.
const MAX_HELD: usize = 64 << 10;
/// Most columns of a result; tables have no more than 30 000, and results 4096.
const MAX_COLUMNS: usize = 4096;
/// Bytes of a `DONE` token.
const DONE: usize = 13;
/// Bits of what a `DONE` token says.
const MORE: u16 = 0x01;
const ERROR: u16 = 0x02;
const COUNTED: u16 = 0x10;
const ATTENTION: u16 = 0x20;

/// A token that says something.
#[derive(Debug)]
pub(super) enum Token<'a> {
    /// A result with rows begins.
    Columns,
    Row,
    Done(Done),
    Failed(Failed<'a>),
    /// What changed, and its content.
    Changed(u8, &'a [u8]),
    /// The client is let in, in a version, by its first byte.
    LetIn(u8),
    /// The client is asked for more before it is let in.
    Asked,
    /// The value of a parameter that goes out, by its place.
    Returned(u16, Option<Value<'a>>),
}

/// A statement, a procedure or all is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    /// Nothing of the answer follows.
    pub(super) last: bool,
    pub(super) failed: bool,
    /// The client's attention is answered.
    pub(super) attention: bool,
    /// What was done, by a number.
    pub(super) command: u16,
    /// Rows, where they were counted.
    pub(super) rows: Option<u64>,
}

/// ```text
/// | number (4) | state (1) | class (1) | message | server | procedure | line |
/// ```
#[derive(Clone, Copy, Debug)]
pub(super) struct Failed<'a> {
    pub(super) number: u32,
    pub(super) class: u8,
    pub(super) message: &'a [u8],
}

/// The token being read.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    columns: Vec<Length>,
    /// Columns whose value is NULL, a bit each.
    nulls: Vec<u8>,
    state: State,
    /// Bytes of a value that are still to pass.
    skip: u64,
    held: Vec<u8>,
    /// Tokens are not read up to the end of the message, of which these are the last bytes.
    lost: bool,
    tail: Vec<u8>,
    /// Columns are told with keys.
    hides_columns: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Between,
    /// So many columns are still to be told.
    Columns(u16),
    /// The value at this place of a row comes next, or the next chunk of it.
    Row { place: usize, within: bool },
}

impl Tokens {
    /// A message begins.
    pub(super) fn restart(&mut self) {
        self.state = State::Between;
        self.skip = 0;
        self.held.clear();
        self.lost = false;
        self.tail.clear();
    }

    /// Some of the message was not seen.
    pub(super) const fn lose(&mut self) {
        self.lost = true;
    }

    pub(super) const fn is_lost(&self) -> bool {
        self.lost
    }

    /// Reads the content of a packet.
    pub(super) fn read(&mut self, mut bytes: &[u8], tell: &mut dyn FnMut(Token<'_>)) {
        while !bytes.is_empty() && !self.lost {
            let passed = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
            self.skip = self.skip.saturating_sub(passed as u64);
            bytes = bytes.get(passed..).unwrap_or_default();
            if bytes.is_empty() {
                return;
            }
            if self.held.is_empty() {
                match self.part(bytes, tell) {
                    Ok(taken) => bytes = bytes.get(taken..).unwrap_or_default(),
                    Err(Stop::More) if bytes.len() < MAX_HELD => {
                        self.held.extend_from_slice(bytes);
                        return;
                    }
                    Err(_) => self.lost = true,
                }
                continue;
            }
            let before = self.held.len();
            let room = MAX_HELD.saturating_sub(before).min(bytes.len());
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(bytes.get(..room).unwrap_or_default());
            match self.part(&held, tell) {
                Ok(taken) => {
                    bytes = bytes.get(taken.saturating_sub(before)..).unwrap_or_default();
                    held.clear();
                    self.held = held;
                }
                Err(Stop::More) if room == bytes.len() && held.len() < MAX_HELD => {
                    self.held = held;
                    return;
                }
                Err(_) => self.lost = true,
            }
        }
        if self.lost {
            let kept = bytes.len().saturating_sub(DONE);
            self.tail.extend_from_slice(bytes.get(kept..).unwrap_or_default());
            let excess = self.tail.len().saturating_sub(DONE);
            self.tail.drain(..excess);
        }
    }

    /// What the last bytes of a message say that was not read to its end.
    pub(super) fn last(&self) -> Option<Done> {
        last(&self.tail)
    }

    /// Reads a part of a token; how many bytes it has.
    fn part(&mut self, bytes: &[u8], tell: &mut dyn FnMut(Token<'_>)) -> Result<usize, Stop> {
        let mut cursor = Cursor(bytes);
        match self.state {
            State::Between => self.token(&mut cursor, tell)?,
            State::Columns(left) => {
                let length = column(&mut cursor)?;
                self.columns.push(length);
                self.state = match left.saturating_sub(1) {
                    0 => State::Between,
                    left => State::Columns(left),
                };
            }
            State::Row { place, within } => self.row(place, within, &mut cursor)?,
        }
        Ok(bytes.len().saturating_sub(cursor.0.len()))
    }

    fn token(&mut self, cursor: &mut Cursor<'_>, tell: &mut dyn FnMut(Token<'_>)) -> Result<(), Stop> {
        match cursor.byte()? {
            0x81 => {
                let count = cursor.short()?;
                if self.hides_columns || usize::from(count) > MAX_COLUMNS && count != NO_COLUMNS {
                    return Err(Stop::Unknown);
                }
                self.columns.clear();
                self.state = match count {
                    // They were told before, or there are none.
                    0 | NO_COLUMNS => State::Between,
                    count => State::Columns(count),
                };
                tell(Token::Columns);
            }
            0xd1 => {
                self.nulls.clear();
                self.begin_row(tell)?;
            }
            0xd2 => {
                let nulls = cursor.take(self.columns.len().div_ceil(8))?;
                self.nulls.clear();
                self.nulls.extend_from_slice(nulls);
                self.begin_row(tell)?;
            }
            0xfd..=0xff => {
                let done = Done::read(cursor)?;
                tell(Token::Done(done));
            }
            0xaa => {
                let length = cursor.short()?;
                let mut content = Cursor(cursor.take(length.into())?);
                if let Ok(failed) = Failed::read(&mut content) {
                    tell(Token::Failed(failed));
                }
            }
            0xe3 => {
                let length = cursor.short()?;
                let content = cursor.take(length.into())?;
                if let Some((what, content)) = content.split_first() {
                    tell(Token::Changed(*what, content));
                }
            }
            0xad => {
                let length = cursor.short()?;
                let content = cursor.take(length.into())?;
                tell(Token::LetIn(content.get(1).copied().unwrap_or_default()));
            }
            0xac => returned(cursor, tell)?,
            0xed => {
                let length = cursor.short()?;
                cursor.take(length.into())?;
                tell(Token::Asked);
            }
            0xee => {
                self.pass_long(cursor)?;
                tell(Token::Asked);
            }
            0xe4 => self.pass_long(cursor)?,
            0x79 | 0x78 => {
                cursor.take(4)?;
            }
            0xa4 | 0xa5 | 0xa9 | 0xab => {
                let length = cursor.short()?;
                cursor.take(length.into())?;
            }
            0xae => loop {
                /// Columns may be encrypted: what is told of them has more parts then.
                const ENCRYPTION: u8 = 0x04;
                match cursor.byte()? {
                    0xff => break,
                    feature => {
                        let length = cursor.word()?;
                        cursor.take(usize::try_from(length).unwrap_or(usize::MAX))?;
                        self.hides_columns |= feature == ENCRYPTION;
                    }
                }
            },
            _ => return Err(Stop::Unknown),
        }
        Ok(())
    }

    fn begin_row(&mut self, tell: &mut dyn FnMut(Token<'_>)) -> Result<(), Stop> {
        if self.columns.is_empty() {
            return Err(Stop::Unknown);
        }
        self.state = State::Row {
            place: 0,
            within: false,
        };
        tell(Token::Row);
        Ok(())
    }

    /// Passes a token whose length has four bytes.
    fn pass_long(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        let length = cursor.word()? as usize;
        let here = length.min(cursor.0.len());
        cursor.take(here)?;
        self.skip = length.saturating_sub(here) as u64;
        Ok(())
    }

    /// Passes values of a row, as far as what says their length has come.
    fn row(&mut self, mut place: usize, mut within: bool, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        let mut passed = false;
        while let Some(length) = self.columns.get(place).copied() {
            let is_null = self
                .nulls
                .get(place / 8)
                .is_some_and(|byte| byte >> (place % 8) & 1 == 1);
            if is_null {
                place = place.saturating_add(1);
                continue;
            }
            let before = *cursor;
            match value(length, within, cursor) {
                Ok((bytes, more)) => {
                    within = more;
                    place = place.saturating_add(usize::from(!more));
                    let here = usize::try_from(bytes).unwrap_or(usize::MAX).min(cursor.0.len());
                    cursor.take(here)?;
                    self.skip = bytes.saturating_sub(here as u64);
                    if self.skip > 0 {
                        self.state = State::Row { place, within };
                        return Ok(());
                    }
                    passed = true;
                }
                // What came before is not looked at again.
                Err(Stop::More) if passed => {
                    *cursor = before;
                    self.state = State::Row { place, within };
                    return Ok(());
                }
                Err(stop) => return Err(stop),
            }
        }
        self.state = State::Between;
        Ok(())
    }
}

/// Columns are not told.
const NO_COLUMNS: u16 = 0xffff;

/// What columns and values that go out have in front of their type: a number of the user's type, and flags.
const KIND: usize = 6;

/// ```text
/// | the user's type (4) | flags (2) | type | table, of some types: parts (1), each a text | name |
/// ```
fn column(cursor: &mut Cursor<'_>) -> Result<Length, Stop> {
    cursor.take(KIND)?;
    let of = Type::read(cursor, true)?;
    if of.has_table() {
        for _ in 0..cursor.byte()? {
            cursor.text()?;
        }
    }
    cursor.name()?;
    Ok(of.length)
}

/// ```text
/// | place (2) | name | status (1) | the user's type (4) | flags (2) | type | value |
/// ```
fn returned(cursor: &mut Cursor<'_>, tell: &mut dyn FnMut(Token<'_>)) -> Result<(), Stop> {
    let place = cursor.short()?;
    cursor.name()?;
    cursor.byte()?;
    cursor.take(KIND)?;
    let of = Type::read(cursor, false)?;
    let value = of.value(cursor)?;
    tell(Token::Returned(place, value));
    Ok(())
}

/// What the last bytes of an answer say, if they are a `DONE` token that ends it.
pub(super) fn last(tail: &[u8]) -> Option<Done> {
    let (_, token) = tail.split_last_chunk::<DONE>()?;
    let mut cursor = Cursor(token);
    let is_done = matches!(cursor.byte(), Ok(0xfd | 0xfe));
    Done::read(&mut cursor).ok().filter(|done| is_done && done.last)
}

/// How many bytes of a value follow, and whether another chunk comes behind them.
fn value(length: Length, within: bool, cursor: &mut Cursor<'_>) -> Result<(u64, bool), Stop> {
    /// A time stands behind the pointer, then the length.
    const TIME: usize = 8;
    Ok(match length {
        Length::Fixed(length) => (length.into(), false),
        Length::Byte => (cursor.byte()?.into(), false),
        Length::Short => match cursor.short()? {
            u16::MAX => (0, false),
            length => (length.into(), false),
        },
        Length::Variant => (cursor.word()?.into(), false),
        Length::Pointed => match cursor.byte()? {
            0 => (0, false),
            pointer => {
                cursor.take(usize::from(pointer).saturating_add(TIME))?;
                (cursor.word()?.into(), false)
            }
        },
        Length::Chunks if within => match cursor.word()? {
            0 => (0, false),
            length => (length.into(), true),
        },
        Length::Chunks => (0, cursor.long()? != NO_CHUNKS),
    })
}

impl Done {
    /// ```text
    /// | status (2) | what was done (2) | rows (8) |
    /// ```
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let status = cursor.short()?;
        let command = cursor.short()?;
        let rows = cursor.long()?;
        Ok(Self {
            last: status & MORE == 0,
            failed: status & ERROR != 0,
            attention: status & ATTENTION != 0,
            command,
            rows: (status & COUNTED != 0).then_some(rows),
        })
    }
}

impl<'a> Failed<'a> {
    fn read(cursor: &mut Cursor<'a>) -> Result<Self, Stop> {
        let number = cursor.word()?;
        cursor.byte()?;
        Ok(Self {
            number,
            class: cursor.byte()?,
            message: cursor.text()?,
        })
    }
}
