//! Identifiers of 128 bits as text (RFC 9562 section 4): programs name messages by them.
use memchr::memchr_iter;

/// Characters of one.
const LENGTH: usize = 36;
/// Where in one its hyphens stand.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];
/// What is kept of bytes that may go on: one that is cut, the character before it and that behind it.
const KEPT: usize = LENGTH + 2;
/// Different ones that are told of one text.
const MOST: usize = 64;

/// An identifier that no other thing has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid(u128);

impl Uuid {
    /// The one that a text is.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != LENGTH {
            return None;
        }
        let mut number = 0;
        for (place, byte) in text.iter().enumerate() {
            if HYPHENS.contains(&place) {
                if *byte != b'-' {
                    return None;
                }
                continue;
            }
            number = number << 4 | u128::from(char::from(*byte).to_digit(16)?);
        }
        Some(Self(number))
    }
}

/// Finds identifiers in bytes that come in pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uuids {
    found: Vec<Uuid>,
    tail: Vec<u8>,
    too_many: bool,
}

impl Uuids {
    /// Those in all of a text.
    pub fn of(text: &[u8]) -> Self {
        let mut uuids = Self::default();
        uuids.feed(text);
        uuids.end();
        uuids
    }

    /// The bytes go on with these.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.look(false);
        let excess = self.tail.len().saturating_sub(KEPT);
        self.tail.drain(..excess);
    }

    /// The bytes are over.
    pub fn end(&mut self) {
        self.look(true);
        self.tail = Vec::new();
    }

    /// What was found, each once, in the order in which they come first; none where they are too many.
    pub fn found(self) -> Option<Vec<Uuid>> {
        (!self.too_many).then_some(self.found)
    }

    fn look(&mut self, whole: bool) {
        let is_part = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit() || *byte == b'-');
        let [first, ..] = HYPHENS;
        for start in memchr_iter(b'-', &self.tail).filter_map(|hyphen| hyphen.checked_sub(first)) {
            let (before, behind) = (start.checked_sub(1), start.saturating_add(LENGTH));
            // What stands behind it is still to come.
            if behind >= self.tail.len() && !whole {
                break;
            }
            let uuid = self.tail.get(start..behind).and_then(Uuid::parse);
            let alone = !is_part(before.and_then(|before| self.tail.get(before))) && !is_part(self.tail.get(behind));
            let Some(uuid) = uuid.filter(|uuid| alone && !self.found.contains(uuid)) else {
                continue;
            };
            if self.found.len() < MOST {
                self.found.push(uuid);
            } else {
                self.too_many = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";
    const OTHER: &str = "00000000-0000-4000-8000-0000000000Fe";

    /// `want` are found in `text`, whole and however it is cut.
    #[track_caller]
    fn check(text: &str, want: &[&str]) {
        let want: Vec<Uuid> = want
            .iter()
            .map(|uuid| Uuid::parse(uuid.as_bytes()).expect("one"))
            .collect();
        assert_eq!(Uuids::of(text.as_bytes()).found().as_ref(), Some(&want), "{text}");
        for size in 1..text.len() {
            let mut uuids = Uuids::default();
            for piece in text.as_bytes().chunks(size) {
                uuids.feed(piece);
            }
            uuids.end();
            assert_eq!(uuids.found().as_ref(), Some(&want), "{text} in pieces of {size}");
        }
    }

    #[test]
    fn they_are_found_however_they_are_cut() {
        check("", &[]);
        check(ONE, &[ONE]);
        check(&format!("\x24{ONE}\x24{OTHER}q\x01{ONE}"), &[ONE, OTHER]);
        check(&format!("--{ONE}"), &[]);
        check(&format!("{ONE}0"), &[]);
        check(&format!("a{ONE}"), &[]);
        check(&ONE[1..], &[]);
        check(&ONE.replace('b', "g"), &[]);
        check(&format!("{}-{ONE}", "ab".repeat(40)), &[]);
        check(&format!("x{ONE},{OTHER}]"), &[ONE, OTHER]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut uuids = Uuids::default();
        for number in 0..=MOST {
            uuids.feed(format!("00000000-0000-0000-0000-{number:012x} ").as_bytes());
            assert!(uuids.tail.len() <= KEPT, "{}", uuids.tail.len());
        }
        uuids.end();
        assert_eq!(uuids.found(), None);
    }
}
