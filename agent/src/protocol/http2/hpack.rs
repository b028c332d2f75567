//! Header compression (RFC 7541), read by one who may have missed the beginning.
//!
//! ```text
//! 1 index(7)                       indexed field                      section 6.1
//! 0 1 index(6) [name] value        literal, inserted in the table     section 6.2.1
//! 0 0 1 size(5)                    the table's new maximum size       section 6.3
//! 0 0 0 x index(4) [name] value    literal, not inserted              sections 6.2.2, 6.2.3
//! ```
//!
//! An index counts insertions from the newest (section 2.3.3), and eviction only ever takes the oldest. So what an index refers
//! to depends neither on the table's size nor on what was inserted before: whatever was inserted since the first block that was
//! seen is known, and an index beyond that is an entry that is not. Where a block was missed, how many entries it inserted is
//! not known either, so everything before it is forgotten.
use std::collections::VecDeque;

use super::huffman;

/// Bytes of entries that are kept, whatever size the peers agreed on.
const MAX_BYTES: usize = 64 * 1024;
/// What an entry counts beside its name and value (section 4.1).
const ENTRY_BYTES: usize = 32;
/// The size of a table nothing was said of (RFC 9113 section 6.5.2).
const USUAL_BYTES: usize = 4096;

/// A header field, of which name or value may be an entry that was never seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) name: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
}

/// A field that was inserted in the table.
#[derive(Debug)]
struct Entry {
    name: Option<Box<[u8]>>,
    value: Option<Box<[u8]>>,
}

impl Entry {
    fn of(field: Field<'_>) -> Self {
        Self {
            name: field.name.map(Box::from),
            value: field.value.map(Box::from),
        }
    }

    fn field(&self) -> Field<'_> {
        Field {
            name: self.name.as_deref(),
            value: self.value.as_deref(),
        }
    }

    fn bytes(&self) -> usize {
        let held = |text: Option<&[u8]>| text.map_or(0, <[u8]>::len);
        let Field { name, value } = self.field();
        held(name).saturating_add(held(value)).saturating_add(ENTRY_BYTES)
    }
}

/// The bytes are no header block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Invalid;

/// The header blocks of one direction.
#[derive(Debug)]
pub(super) struct Decoder {
    /// Newest first.
    entries: Entries,
    bytes: usize,
    limit: usize,
    /// Room for a name and a value that are decoded.
    decoded: [Vec<u8>; 2],
}

type Entries = VecDeque<Entry>;

impl Decoder {
    /// A table that is empty, or one of unknown content and size.
    pub(super) const fn new(from_beginning: bool) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            limit: if from_beginning { USUAL_BYTES } else { MAX_BYTES },
            decoded: [Vec::new(), Vec::new()],
        }
    }

    /// A block, or a part of one, was not seen.
    pub(super) fn missed(&mut self) {
        self.entries.clear();
        self.bytes = 0;
        // The size may have been changed in it.
        self.limit = MAX_BYTES;
    }

    /// Reads a block, all of it or up to where it was cut.
    pub(super) fn block(&mut self, mut bytes: &[u8], out: &mut dyn FnMut(Field<'_>)) -> Result<(), Invalid> {
        while let Some(first) = bytes.first().copied() {
            let rest = &mut bytes;
            if first & 0x80 != 0 {
                let index = number(rest, 7)?;
                out(entry(&self.entries, index)?);
            } else if first & 0x40 != 0 {
                let field = literal(&self.entries, &mut self.decoded, rest, 6)?;
                out(field);
                let entry = Entry::of(field);
                self.insert(entry);
            } else if first & 0x20 != 0 {
                let size = number(rest, 5)?;
                self.limit = usize::try_from(size).unwrap_or(MAX_BYTES).min(MAX_BYTES);
                self.evict();
            } else {
                out(literal(&self.entries, &mut self.decoded, rest, 4)?);
            }
        }
        Ok(())
    }

    fn insert(&mut self, entry: Entry) {
        // One that is larger than the table empties it (section 4.4). Keeping it does no harm: no index refers to it then.
        self.bytes = self.bytes.saturating_add(entry.bytes());
        self.entries.push_front(entry);
        self.evict();
    }

    fn evict(&mut self) {
        while self.bytes > self.limit {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.bytes = self.bytes.saturating_sub(oldest.bytes());
        }
    }

    /// Entries that are known.
    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.entries.len()
    }
}

fn literal<'a, 'block: 'a>(
    entries: &'a Entries,
    [names, values]: &'a mut [Vec<u8>; 2],
    rest: &mut &'block [u8],
    prefix: u32,
) -> Result<Field<'a>, Invalid> {
    let index = number(rest, prefix)?;
    let name = if index == 0 {
        Some(string(rest, names)?)
    } else {
        entry(entries, index)?.name
    };
    let value = Some(string(rest, values)?);
    Ok(Field { name, value })
}

/// What an index refers to; 0 is none.
fn entry(entries: &Entries, index: u64) -> Result<Field<'_>, Invalid> {
    let index = usize::try_from(index).map_err(|_| Invalid)?;
    let at = index.checked_sub(1).ok_or(Invalid)?;
    if let Some((name, value)) = STATIC.get(at) {
        return Ok(Field {
            name: Some(name.as_bytes()),
            value: Some(value.as_bytes()),
        });
    }
    let entry = at.checked_sub(STATIC.len()).and_then(|at| entries.get(at));
    Ok(entry.map(Entry::field).unwrap_or_default())
}

/// An integer with a prefix of so many bits (section 5.1).
fn number(rest: &mut &[u8], prefix: u32) -> Result<u64, Invalid> {
    /// More than any length or index needs.
    const MAX_SHIFT: u32 = 28;
    let (first, more) = rest.split_first().ok_or(Invalid)?;
    *rest = more;
    let mask = u64::from(u8::MAX).wrapping_shr(8_u32.saturating_sub(prefix));
    let mut number = u64::from(*first) & mask;
    if number < mask {
        return Ok(number);
    }
    let mut shift = 0_u32;
    loop {
        let (byte, more) = rest.split_first().ok_or(Invalid)?;
        *rest = more;
        if shift > MAX_SHIFT {
            return Err(Invalid);
        }
        number = number.saturating_add(u64::from(byte & 0x7f).wrapping_shl(shift));
        if byte & 0x80 == 0 {
            return Ok(number);
        }
        shift = shift.saturating_add(7);
    }
}

/// A string (section 5.2), which is decoded into `room` where it is coded.
fn string<'a, 'block: 'a>(rest: &mut &'block [u8], room: &'a mut Vec<u8>) -> Result<&'a [u8], Invalid> {
    let coded = rest.first().ok_or(Invalid)? & 0x80 != 0;
    let length = usize::try_from(number(rest, 7)?).map_err(|_| Invalid)?;
    let (text, more) = rest.split_at_checked(length).ok_or(Invalid)?;
    *rest = more;
    if !coded {
        return Ok(text);
    }
    room.clear();
    // The shortest code has five bits.
    room.reserve(length.saturating_mul(8) / 5);
    if huffman::decode(text, room) {
        Ok(room)
    } else {
        Err(Invalid)
    }
}

/// The static table (RFC 7541 appendix A).
#[rustfmt::skip]
const STATIC: &[(&str, &str)] = &[
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn show(decoder: &mut Decoder, block: &[u8]) -> String {
        let text = |text: Option<&[u8]>| text.map_or("?".to_owned(), |text| String::from_utf8_lossy(text).into_owned());
        let mut shown = Vec::new();
        let result = decoder.block(block, &mut |field| {
            shown.push(format!("{}={}", text(field.name), text(field.value)));
        });
        if result.is_err() {
            shown.push("invalid".to_owned());
        }
        shown.join("|")
    }

    /// Reads blocks one after the other.
    #[track_caller]
    fn check(decoder: &mut Decoder, blocks: &[(&[u8], &str)]) {
        for (block, expected) in blocks {
            assert_eq!(show(decoder, block), *expected);
        }
    }

    /// The requests of RFC 7541 appendix C.4.
    const FIRST: &[u8] = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
    const SECOND: &[u8] = b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf";
    const THIRD: &[u8] =
        b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf";

    #[test]
    fn requests_of_the_specification() {
        let mut decoder = Decoder::new(true);
        check(
            &mut decoder,
            &[
                (FIRST, ":method=GET|:scheme=http|:path=/|:authority=www.example.com"),
                (
                    SECOND,
                    ":method=GET|:scheme=http|:path=/|:authority=www.example.com|cache-control=no-cache",
                ),
                (
                    THIRD,
                    ":method=GET|:scheme=https|:path=/index.html|:authority=www.example.com|custom-key=custom-value",
                ),
            ],
        );
        assert_eq!((decoder.known(), decoder.bytes), (3, 164));
    }

    #[test]
    fn joined_midway() {
        let mut decoder = Decoder::new(false);
        check(
            &mut decoder,
            &[
                (SECOND, ":method=GET|:scheme=http|:path=/|?=?|cache-control=no-cache"),
                // One behind what was inserted since: still unknown. What was inserted is not.
                (
                    THIRD,
                    ":method=GET|:scheme=https|:path=/index.html|?=?|custom-key=custom-value",
                ),
                (b"\xbe\xbf\xc0", "custom-key=custom-value|cache-control=no-cache|?=?"),
                // A name that is not known, with a value that is; the entry made of it is known as far.
                (b"\x7f\x01\x01x\xbe", "?=x|?=x"),
            ],
        );
    }

    #[test]
    fn a_block_that_was_missed() {
        let mut decoder = Decoder::new(true);
        show(&mut decoder, FIRST);
        decoder.missed();
        check(
            &mut decoder,
            &[(b"\xbe", "?=?"), (b"\x40\x01a\x01b\xbe\xbf", "a=b|a=b|?=?")],
        );
    }

    #[test]
    fn sizes() {
        let mut decoder = Decoder::new(true);
        // A table of 34 bytes has room for one of these.
        check(
            &mut decoder,
            &[
                (b"\x40\x01a\x01b", "a=b"),
                (b"\x3f\x03\x40\x01c\x01d", "c=d"),
                (b"\xbe\xbf", "c=d|?=?"),
            ],
        );
        assert_eq!((decoder.limit, decoder.known(), decoder.bytes), (34, 1, 34));
    }

    #[test]
    fn what_is_no_block() {
        for block in [
            b"\x80".as_slice(),
            b"\x40",
            b"\x40\x05a",
            b"\x40\x01a",
            b"\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x00\x81\x00\x00",
            b"\x3f",
        ] {
            let shown = show(&mut Decoder::new(true), block);
            assert!(shown.ends_with("invalid"), "{block:x?} gives {shown}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut decoder = Decoder::new(false);
        let mut block = b"\x40\x01a\x7f\xe9\x06".to_vec();
        block.resize(block.len() + 1000, b'x');
        for _ in 0..200 {
            show(&mut decoder, &block);
            assert!(decoder.bytes <= MAX_BYTES);
        }
        assert!(decoder.known() > 50);
    }
}
