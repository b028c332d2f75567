//! Passes a struct, as far as it takes to know where it ends and what went wrong.
use super::wire::{Cursor, Encoding, Kind, Place, Stop, Type};

/// Deepest nesting; Apache's libraries take 64.
const MAX_DEPTH: usize = 64;
/// Bytes of a message that are kept.
const MAX_TEXT: usize = 256;

/// A struct on its way.
#[derive(Debug)]
pub(super) struct Walk {
    encoding: Encoding,
    kind: Kind,
    levels: Vec<Level>,
    /// What is read next; the head of a field where it is none.
    next: Option<Type>,
    /// Bytes that are passed.
    skip: u64,
    /// They are kept.
    keeps: bool,
    /// What has come of a number or a head.
    partial: Vec<u8>,
    told: Told,
}

/// What a struct says that is of interest.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The number of its first field: of a reply 0 for what is returned, and another for an exception that is declared.
    pub(super) first: Option<i16>,
    /// What an exception says.
    pub(super) text: Vec<u8>,
    /// The number of an exception that is not declared.
    pub(super) code: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
enum Level {
    /// A struct, and the number of the field that was read last.
    Struct(i16),
    Items(u32, Type),
    /// Pairs to come; their types, and whether the value is next.
    Pairs(u32, Type, Type, bool),
}

impl Walk {
    pub(super) fn new(encoding: Encoding, kind: Kind) -> Self {
        let mut levels = Vec::with_capacity(8);
        levels.push(Level::Struct(0));
        Self {
            encoding,
            kind,
            levels,
            next: None,
            skip: 0,
            keeps: false,
            partial: Vec::new(),
            told: Told::default(),
        }
    }

    pub(super) fn told(self) -> Told {
        self.told
    }

    /// Passes bytes. How many, and whether the struct is over.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(usize, bool), Stop> {
        let mut taken = 0_usize;
        loop {
            let rest = bytes.get(taken..).unwrap_or_default();
            if self.skip > 0 {
                let passed = usize::try_from(self.skip).unwrap_or(usize::MAX).min(rest.len());
                if self.keeps {
                    let room = MAX_TEXT.saturating_sub(self.told.text.len()).min(passed);
                    self.told.text.extend_from_slice(rest.get(..room).unwrap_or_default());
                }
                self.skip = self.skip.saturating_sub(passed as u64);
                taken = taken.saturating_add(passed);
                if self.skip > 0 {
                    return Ok((taken, false));
                }
                self.keeps = false;
                continue;
            }
            if !self.settle()? {
                return Ok((taken, true));
            }
            if self.skip > 0 {
                continue;
            }
            if self.partial.is_empty() {
                match self.step(rest) {
                    Ok(passed) => taken = taken.saturating_add(passed),
                    Err(Stop::More) => {
                        self.partial.extend_from_slice(rest);
                        return Ok((bytes.len(), false));
                    }
                    Err(Stop::Wrong) => return Err(Stop::Wrong),
                }
                continue;
            }
            let Some(byte) = rest.first() else {
                return Ok((taken, false));
            };
            taken = taken.saturating_add(1);
            let mut partial = std::mem::take(&mut self.partial);
            partial.push(*byte);
            match self.step(&partial) {
                Ok(_) => partial.clear(),
                Err(Stop::More) => {}
                Err(Stop::Wrong) => return Err(Stop::Wrong),
            }
            self.partial = partial;
        }
    }

    /// Passes a hole, if it lies within a value of known length.
    pub(super) fn hole(&mut self, length: u64) -> bool {
        if length > self.skip {
            return false;
        }
        self.skip = self.skip.saturating_sub(length);
        if self.keeps {
            self.keeps = false;
            self.told.text.clear();
        }
        true
    }

    /// Goes on as far as no bytes are needed for it. Whether more comes.
    fn settle(&mut self) -> Result<bool, Stop> {
        while self.next.is_none() && self.skip == 0 {
            let encoding = self.encoding;
            let kind = match self.levels.last_mut() {
                None => return Ok(false),
                Some(Level::Struct(_)) => return Ok(true),
                Some(Level::Items(0, _) | Level::Pairs(0, ..)) => {
                    self.levels.pop();
                    continue;
                }
                Some(Level::Items(left, kind)) => {
                    if let Some(width) = kind.width(encoding) {
                        self.skip = u64::from(*left).saturating_mul(width.into());
                        *left = 0;
                        continue;
                    }
                    *left = left.saturating_sub(1);
                    *kind
                }
                Some(Level::Pairs(left, key, value, at_value)) => {
                    *at_value = !*at_value;
                    if *at_value {
                        *key
                    } else {
                        *left = left.saturating_sub(1);
                        *value
                    }
                }
            };
            self.value(kind)?;
        }
        Ok(true)
    }

    /// A value of this type comes.
    fn value(&mut self, kind: Type) -> Result<(), Stop> {
        match kind {
            Type::Fixed(width) => self.skip = width.into(),
            Type::Struct => self.enter(Level::Struct(0))?,
            kind => self.next = Some(kind),
        }
        Ok(())
    }

    fn enter(&mut self, level: Level) -> Result<(), Stop> {
        if self.levels.len() >= MAX_DEPTH {
            return Err(Stop::Wrong);
        }
        self.levels.push(level);
        Ok(())
    }

    /// Reads one thing that has to be whole; how many bytes it has.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Stop> {
        let mut cursor = Cursor::new(bytes);
        let encoding = self.encoding;
        match self.next {
            None => match cursor.field(encoding)? {
                None => {
                    self.levels.pop();
                }
                Some((kind, place)) => self.field(kind, place)?,
            },
            Some(Type::Number) => {
                let number = match encoding {
                    Encoding::Binary => cursor.u32()?.cast_signed().into(),
                    Encoding::Compact => cursor.zigzag()?,
                };
                if self.kind == Kind::Exception && self.place() == Some((1, 2)) {
                    self.told.code = Some(number);
                }
                self.next = None;
            }
            Some(Type::Items) => {
                let (count, kind) = cursor.items(encoding)?;
                self.next = None;
                self.enter(Level::Items(count, kind))?;
            }
            Some(Type::Map) => {
                let (count, key, value) = cursor.pairs(encoding)?;
                self.next = None;
                self.enter(Level::Pairs(count, key, value, false))?;
            }
            Some(Type::Text | Type::Struct | Type::Fixed(_)) => {
                self.skip = cursor.text(encoding)?.into();
                self.next = None;
                self.keeps = self.told.text.is_empty() && self.is_message();
            }
        }
        Ok(cursor.taken())
    }

    /// The head of a field was read.
    fn field(&mut self, kind: Type, place: Place) -> Result<(), Stop> {
        let is_outermost = self.levels.len() == 1;
        if let Some(Level::Struct(last)) = self.levels.last_mut() {
            *last = match place {
                Place::At(id) => id,
                Place::Behind(further) => last.saturating_add(further.into()),
            };
            if is_outermost {
                self.told.first.get_or_insert(*last);
            }
        }
        self.value(kind)
    }

    /// How deep the struct being read lies, if one is, and the number of its field.
    fn place(&self) -> Option<(usize, i16)> {
        match self.levels.last() {
            Some(Level::Struct(id)) => Some((self.levels.len(), *id)),
            _ => None,
        }
    }

    /// A text that comes now is what an exception says: its first one.
    fn is_message(&self) -> bool {
        match self.kind {
            Kind::Exception => self.place() == Some((1, 1)),
            Kind::Reply => {
                let is_within = matches!(self.place(), Some((2, _)));
                is_within && self.told.first.is_some_and(|first| first != 0)
            }
            Kind::Call | Kind::Oneway => false,
        }
    }
}
