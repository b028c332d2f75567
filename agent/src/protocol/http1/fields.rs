//! The header fields of a message (RFC 9110 section 5), in one piece of memory.
use std::fmt;

use memchr::memchr;

/// Most fields of a head that are kept.
const MAX_FIELDS: usize = 256;
/// Fields a head usually has no more of.
const USUAL_FIELDS: usize = 12;
/// Bytes they usually have no more of.
const USUAL_BYTES: usize = 256;

/// Header fields in the order they came. Names are lowercase; obsolete folding is undone.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Fields {
    /// Name and value of each field, one behind the other.
    bytes: Vec<u8>,
    lengths: Vec<Lengths>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Lengths {
    name: usize,
    value: usize,
}

impl Fields {
    /// Parses field lines, whole ones only. A line without a colon is left out; a line that begins with white space goes on
    /// with the one before (RFC 9112 section 5.2).
    pub(in crate::protocol) fn parse(mut bytes: &[u8]) -> Self {
        let mut fields = Self {
            bytes: Vec::with_capacity(bytes.len()),
            lengths: Vec::with_capacity(USUAL_FIELDS),
        };
        while let Some(end) = memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at_checked(end).unwrap_or_default();
            bytes = rest.get(1..).unwrap_or_default();
            if line.trim_ascii_end().is_empty() {
                break;
            }
            if matches!(line.first(), Some(b' ' | b'\t')) {
                fields.unfold(line.trim_ascii());
                continue;
            }
            let Some((name, value)) = memchr(b':', line).and_then(|colon| line.split_at_checked(colon)) else {
                continue;
            };
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            let name = name.trim_ascii();
            if fields.len() < MAX_FIELDS && !name.is_empty() && name.iter().all(|byte| is_token(*byte)) {
                fields.push(name, value);
            }
        }
        fields
    }

    pub(in crate::protocol) fn push(&mut self, name: &[u8], value: &[u8]) {
        self.push_as(name, value, u8::to_ascii_lowercase);
    }

    /// Adds a field, each byte of whose name is written so.
    pub(in crate::protocol) fn push_as(&mut self, name: &[u8], value: &[u8], write: impl Fn(&u8) -> u8) {
        // Field by field it would be made larger several times.
        if self.lengths.capacity() == 0 {
            self.bytes
                .reserve(USUAL_BYTES.max(name.len().saturating_add(value.len())));
            self.lengths.reserve(USUAL_FIELDS);
        }
        self.bytes.extend(name.iter().map(write));
        self.bytes.extend_from_slice(value);
        self.lengths.push(Lengths {
            name: name.len(),
            value: value.len(),
        });
    }

    /// The value of the last field, which is also the last thing in memory, goes on.
    fn unfold(&mut self, more: &[u8]) {
        if let Some(last) = self.lengths.last_mut() {
            self.bytes.push(b' ');
            self.bytes.extend_from_slice(more);
            last.value = last.value.saturating_add(more.len()).saturating_add(1);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut rest = self.bytes.as_slice();
        self.lengths.iter().map(move |lengths| {
            let (name, behind) = rest.split_at_checked(lengths.name).unwrap_or_default();
            let (value, behind) = behind.split_at_checked(lengths.value).unwrap_or_default();
            rest = behind;
            // A name is made of token characters, which are ASCII.
            (std::str::from_utf8(name).unwrap_or_default(), value)
        })
    }

    /// The values of all fields of this name, in order.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let mut at = 0_usize;
        self.lengths.iter().filter_map(move |lengths| {
            let value = at.saturating_add(lengths.name);
            let found = self.bytes.get(at..value).filter(|found| *found == name.as_bytes());
            at = value.saturating_add(lengths.value);
            found.and_then(|_| self.bytes.get(value..at))
        })
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Fields {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(all: I) -> Self {
        let mut fields = Self::default();
        for (name, value) in all {
            fields.push(name.as_ref(), value.as_ref());
        }
        fields
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.iter().map(|(name, value)| (name, String::from_utf8_lossy(value)));
        out.debug_map().entries(text).finish()
    }
}

/// The first value of a field.
pub fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a [u8]> {
    fields.all(name).next()
}

/// `tchar` of RFC 9110 section 5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of these lines, as `name=value|` in their order.
    fn check(lines: &str, expected: &str) {
        let fields = Fields::parse(lines.as_bytes());
        let shown: String = fields
            .iter()
            .map(|(name, value)| format!("{name}={}|", String::from_utf8_lossy(value)))
            .collect();
        assert_eq!(shown, expected, "of {lines:?}");
        assert_eq!(fields.len(), expected.matches('|').count());
    }

    #[test]
    fn lines() {
        check("Host: a\r\nX-Y:  b c \t\r\n\r\nLate: no\r\n", "host=a|x-y=b c|");
        check("A: 1\n  more\n\tand more\nB:2\n\n", "a=1 more and more|b=2|");
        check("no colon\r\nA b: token?\r\n: no name\r\nC:\r\nD: cut", "c=|");
        check(" goes on with nothing\r\nA: 1\r\n", "a=1|");
        check("", "");
    }

    #[test]
    fn values_of_a_name() {
        let fields = Fields::parse(b"A: 1\r\nAB: 2\r\na: 3\r\nB: \r\n\r\n");
        assert_eq!(fields.all("a").collect::<Vec<_>>(), [b"1", b"3"]);
        assert_eq!(field(&fields, "b"), Some(b"".as_ref()));
        assert_eq!(field(&fields, "c"), None);
    }

    #[test]
    fn only_so_many_are_kept() {
        let fields = Fields::parse("a: b\r\n".repeat(MAX_FIELDS + 5).as_bytes());
        assert_eq!(fields.len(), MAX_FIELDS);
    }
}
