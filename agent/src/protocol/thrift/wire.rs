//! What messages are made of (Apache Thrift, doc/specs/thrift-binary-protocol.md and thrift-compact-protocol.md).
//!
//! ```text
//! framed:  length (4) | message
//! binary:  80 01 00 kind | length of name (4) | name | number (4) | struct
//! compact: 82 | kind (3 bits) 00001 | number (varint) | length of name (varint) | name | struct
//!
//! struct, binary:  *(type (1) | id (2) | value) 00
//! struct, compact: *(id - last id (4 bits) type (4 bits) [id (zigzag varint)] | value) 00
//! ```
use smol_str::SmolStr;

/// Longest name of what is called.
const MAX_NAME: usize = 128;
/// Longest frame: 256 MiB. Apache's servers take 16 MB unless set otherwise.
const MAX_FRAME: u32 = 256 << 20;
/// Longest number of the compact protocol: 64 bits, 7 in each byte.
const MAX_VARINT: u32 = 10;
/// What the binary protocol begins with, and the compact one.
const BINARY: u8 = 0x80;
const COMPACT: u8 = 0x82;

/// How a connection writes messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) encoding: Encoding,
    pub(super) framed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Encoding {
    #[default]
    Binary,
    Compact,
}

impl Shape {
    /// How a message is written that begins so and is not framed.
    pub(super) const fn unframed(first: u8) -> Option<Encoding> {
        match first {
            BINARY => Some(Encoding::Binary),
            COMPACT => Some(Encoding::Compact),
            _ => None,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match (self.encoding, self.framed) {
            (Encoding::Binary, false) => "binary",
            (Encoding::Binary, true) => "framed binary",
            (Encoding::Compact, false) => "compact",
            (Encoding::Compact, true) => "framed compact",
        }
    }
}

/// Why bytes could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// There are too few.
    More,
    /// They do not follow the protocol.
    Wrong,
}

/// What kind of message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    Reply,
    /// What was called could not be.
    Exception,
    Oneway,
}

impl Kind {
    const fn of(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Call),
            2 => Some(Self::Reply),
            3 => Some(Self::Exception),
            4 => Some(Self::Oneway),
            _ => None,
        }
    }
}

/// What stands before a message's struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) kind: Kind,
    pub(super) name: SmolStr,
    pub(super) number: u32,
}

impl Envelope {
    pub(super) fn read(encoding: Encoding, cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        match encoding {
            Encoding::Binary => {
                let [first, version, zero, kind] = cursor.array()?;
                let kind = Kind::of(kind).ok_or(Stop::Wrong)?;
                if (first, version, zero) != (BINARY, 1, 0) {
                    return Err(Stop::Wrong);
                }
                let length = cursor.u32()?;
                let name = name(cursor, length.into())?;
                let number = cursor.u32()?;
                Ok(Self { kind, name, number })
            }
            Encoding::Compact => {
                let [first, second] = cursor.array()?;
                let kind = Kind::of(second >> 5).ok_or(Stop::Wrong)?;
                if first != COMPACT || second & 0x1f != 1 {
                    return Err(Stop::Wrong);
                }
                let number = u32::try_from(cursor.varint()?).map_err(|_| Stop::Wrong)?;
                let length = cursor.varint()?;
                let name = name(cursor, length)?;
                Ok(Self { kind, name, number })
            }
        }
    }
}

/// A name as IDLs have them; that of a service may stand before it.
fn name(cursor: &mut Cursor<'_>, length: u64) -> Result<SmolStr, Stop> {
    let length = usize::try_from(length).map_err(|_| Stop::Wrong)?;
    if !(1..=MAX_NAME).contains(&length) {
        return Err(Stop::Wrong);
    }
    let name = cursor.bytes(length)?;
    let is_sound = name
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_.:$/-".contains(byte));
    let text = std::str::from_utf8(name).ok().filter(|_| is_sound).ok_or(Stop::Wrong)?;
    Ok(SmolStr::new(text))
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// In so many bytes.
    Fixed(u8),
    /// As a number of 32 bits, or of any number in the compact protocol.
    Number,
    /// As bytes behind their length.
    Text,
    Struct,
    /// As values of one type behind their number: lists and sets.
    Items,
    Map,
}

impl Type {
    /// The type of this number, in a container or in a field.
    pub(super) const fn of(encoding: Encoding, number: u8, in_field: bool) -> Option<Self> {
        Some(match (encoding, number) {
            (Encoding::Binary, 2 | 3) | (Encoding::Compact, 3) => Self::Fixed(1),
            // The type of a field tells its value.
            (Encoding::Compact, 1 | 2) => Self::Fixed(if in_field { 0 } else { 1 }),
            (Encoding::Binary, 6) => Self::Fixed(2),
            (Encoding::Binary, 4 | 10) | (Encoding::Compact, 7) => Self::Fixed(8),
            (Encoding::Binary, 16) | (Encoding::Compact, 13) => Self::Fixed(16),
            (Encoding::Binary, 8) | (Encoding::Compact, 4..=6) => Self::Number,
            (Encoding::Binary, 11) | (Encoding::Compact, 8) => Self::Text,
            (Encoding::Binary, 12) | (Encoding::Compact, 12) => Self::Struct,
            (Encoding::Binary, 14 | 15) | (Encoding::Compact, 9 | 10) => Self::Items,
            (Encoding::Binary, 13) | (Encoding::Compact, 11) => Self::Map,
            _ => return None,
        })
    }

    /// How many bytes each such value of a container has, if all have as many.
    pub(super) const fn width(self, encoding: Encoding) -> Option<u8> {
        match (self, encoding) {
            (Self::Fixed(width), _) => Some(width),
            (Self::Number, Encoding::Binary) => Some(4),
            _ => None,
        }
    }
}

/// Where a field stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    At(i16),
    /// So far behind the field before.
    Behind(u8),
}

/// Reads bytes. What cannot be read for want of more leaves the reader anywhere.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    taken: usize,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, taken: 0 }
    }

    pub(super) const fn taken(&self) -> usize {
        self.taken
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Stop> {
        let end = self.taken.saturating_add(length);
        let bytes = self.bytes.get(self.taken..end).ok_or(Stop::More)?;
        self.taken = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        self.bytes(N)?.try_into().map_err(|_| Stop::Wrong)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Stop> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn varint(&mut self) -> Result<u64, Stop> {
        let mut number = 0_u64;
        for place in 0..MAX_VARINT {
            let [byte] = self.array()?;
            number |= u64::from(byte & 0x7f).wrapping_shl(place.wrapping_mul(7));
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Stop::Wrong)
    }

    /// A number with its sign in the lowest bit.
    pub(super) fn zigzag(&mut self) -> Result<i64, Stop> {
        let number = self.varint()?;
        Ok((number >> 1).cast_signed() ^ (number & 1).cast_signed().wrapping_neg())
    }

    /// The length of a frame.
    pub(super) fn frame(&mut self) -> Result<u64, Stop> {
        // A long one shows at once.
        if self.bytes.get(self.taken).is_some_and(|first| *first > 0x10) {
            return Err(Stop::Wrong);
        }
        let length = self.u32()?;
        if (1..=MAX_FRAME).contains(&length) {
            Ok(length.into())
        } else {
            Err(Stop::Wrong)
        }
    }

    /// The head of a field; none at the end of a struct.
    pub(super) fn field(&mut self, encoding: Encoding) -> Result<Option<(Type, Place)>, Stop> {
        let [first] = self.array()?;
        if first == 0 {
            return Ok(None);
        }
        let number = match encoding {
            Encoding::Binary => first,
            Encoding::Compact => first & 0x0f,
        };
        let kind = Type::of(encoding, number, true).ok_or(Stop::Wrong)?;
        let place = match (encoding, first >> 4) {
            (Encoding::Binary, _) => Place::At(i16::from_be_bytes(self.array()?)),
            (Encoding::Compact, 0) => Place::At(i16::try_from(self.zigzag()?).map_err(|_| Stop::Wrong)?),
            (Encoding::Compact, further) => Place::Behind(further),
        };
        Ok(Some((kind, place)))
    }

    /// The length of a text, or how many pairs a map has.
    fn count(&mut self, encoding: Encoding) -> Result<u32, Stop> {
        let count = match encoding {
            Encoding::Binary => self.u32()?,
            Encoding::Compact => u32::try_from(self.varint()?).map_err(|_| Stop::Wrong)?,
        };
        // It has a sign.
        if count > i32::MAX.cast_unsigned() {
            return Err(Stop::Wrong);
        }
        Ok(count)
    }

    pub(super) fn text(&mut self, encoding: Encoding) -> Result<u32, Stop> {
        self.count(encoding)
    }

    /// How many values there are, and of which type.
    pub(super) fn items(&mut self, encoding: Encoding) -> Result<(u32, Type), Stop> {
        let [first] = self.array()?;
        let (number, count) = match (encoding, first >> 4) {
            (Encoding::Binary, _) => (first, self.count(encoding)?),
            (Encoding::Compact, 0x0f) => (first & 0x0f, self.count(encoding)?),
            (Encoding::Compact, count) => (first & 0x0f, count.into()),
        };
        Ok((count, contained(encoding, number, count)?))
    }

    /// How many pairs there are, and of which types.
    pub(super) fn pairs(&mut self, encoding: Encoding) -> Result<(u32, Type, Type), Stop> {
        let (key, value, count) = match encoding {
            Encoding::Binary => {
                let [key, value] = self.array()?;
                (key, value, self.count(encoding)?)
            }
            Encoding::Compact => match self.count(encoding)? {
                0 => (0, 0, 0),
                count => {
                    let [types] = self.array()?;
                    (types >> 4, types & 0x0f, count)
                }
            },
        };
        Ok((
            count,
            contained(encoding, key, count)?,
            contained(encoding, value, count)?,
        ))
    }
}

/// The type of what is contained; where nothing is, it says nothing.
fn contained(encoding: Encoding, number: u8, count: u32) -> Result<Type, Stop> {
    match Type::of(encoding, number, false) {
        Some(kind) => Ok(kind),
        None if count == 0 => Ok(Type::Struct),
        None => Err(Stop::Wrong),
    }
}
