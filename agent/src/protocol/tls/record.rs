//! The record layer of one direction.
use crate::protocol::Recognized;

/// Most bytes a record's content may have (RFC 8446 section 5.2; RFC 5246 section 6.2.3 allows more).
const MAX_CONTENT: usize = 16_384 + 2048;
/// Bytes that encryption adds at least.
const TAG_BYTES: usize = 16;
/// Bytes of a record's header.
pub(super) const HEADER_BYTES: usize = 5;

/// What a record carries (RFC 8446 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    ChangeCipherSpec,
    Alert,
    Handshake,
    Application,
}

/// The beginning of the message that ends a handshake (up to TLS 1.2, RFC 5246 section 7.4.9), which stands where a record should where it
/// is given to a kernel that encrypts.
///
/// ```text
/// | 20 1 | length 3 | verify data 12 |
/// ```
const FINISHED: [u8; 4] = [20, 0, 0, 12];
/// Bytes of its content.
const FINISHED_BYTES: usize = 12;

/// The header of a record (RFC 8446 section 5.1).
///
/// ```text
/// | type 1 | version 2 | length 2 |
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) length: usize,
}

impl Header {
    /// Reads a header that may be cut. None if it can be none.
    fn read(bytes: &[u8]) -> Option<Self> {
        let kind = match bytes.first()? {
            20 => Kind::ChangeCipherSpec,
            21 => Kind::Alert,
            22 => Kind::Handshake,
            23 => Kind::Application,
            _ => return None,
        };
        let major = bytes.get(1).is_none_or(|major| *major == 3);
        // A record's version says little: it is frozen at 1.2 (RFC 8446 section 5.1), the first one's at 1.0.
        let minor = bytes.get(2).is_none_or(|minor| *minor <= 4);
        let length = match (bytes.get(3), bytes.get(4)) {
            (Some(high), Some(low)) => usize::from(u16::from_be_bytes([*high, *low])),
            (Some(high), None) => usize::from(u16::from_be_bytes([*high, 0])),
            _ => 1,
        };
        let whole = bytes.len() >= HEADER_BYTES;
        let fits = length <= MAX_CONTENT
            && match kind {
                _ if !whole => true,
                Kind::ChangeCipherSpec => length == 1,
                // Two bytes, and what encryption adds to them.
                Kind::Alert => length == 2 || (TAG_BYTES..=256).contains(&length),
                // A message may be cut anywhere.
                Kind::Handshake | Kind::Application => length > 0,
            };
        (major && minor && fits).then_some(Self { kind, length })
    }
}

/// Whether bytes begin with the record of a hello, or are records of a connection that was joined midway.
pub(super) fn recognize(bytes: &[u8]) -> Recognized {
    let Some(header) = Header::read(bytes) else {
        return if bytes.is_empty() {
            Recognized::More
        } else {
            Recognized::No
        };
    };
    let Some(content) = bytes.get(HEADER_BYTES..) else {
        return Recognized::More;
    };
    match header.kind {
        // What is encrypted cannot be looked at: the header is all the evidence its first bytes give, and what follows has
        // to bear it out.
        Kind::Application if header.length >= TAG_BYTES => return Recognized::Yes,
        Kind::Handshake if matches!(content.first(), None | Some(1 | 2)) => {
            let own = content.get(..header.length).unwrap_or(content);
            match hello(own) {
                // The rest of it is the next record's.
                Recognized::More if own.len() == header.length => {}
                recognized => return recognized,
            }
        }
        _ => {}
    }
    match content.get(header.length..) {
        Some(next) if !next.is_empty() => match Header::read(next) {
            Some(_) if next.len() >= HEADER_BYTES => Recognized::Yes,
            Some(_) => Recognized::More,
            None => Recognized::No,
        },
        _ => Recognized::More,
    }
}

/// Whether the content of a record begins with a hello.
fn hello(content: &[u8]) -> Recognized {
    /// The shortest hello: version, random and the lengths of what follows.
    const HELLO_BYTES: u32 = 38;
    let small = content.get(1).is_none_or(|high| *high == 0);
    let version = content.get(4).is_none_or(|major| *major == 3) && content.get(5).is_none_or(|minor| *minor <= 4);
    let long = match content.get(1..4) {
        Some([high, middle, low]) => u32::from_be_bytes([0, *high, *middle, *low]) >= HELLO_BYTES,
        _ => true,
    };
    match small && version && long {
        false => Recognized::No,
        true if content.len() >= 6 => Recognized::Yes,
        true => Recognized::More,
    }
}

/// Where a direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes of a header have come.
    Header(usize),
    /// Inside a record, with so many bytes left.
    Content(Header, usize),
    /// Somewhere. The next record begins behind a hole or where the connection turns round.
    Lost,
}

/// The records of one direction, however they are cut.
#[derive(Debug)]
pub(super) struct Records {
    state: State,
    header: [u8; HEADER_BYTES],
    /// Bytes of a header that turned out to be none.
    rejected: usize,
}

impl Default for Records {
    fn default() -> Self {
        Self {
            state: State::Header(0),
            header: [0; HEADER_BYTES],
            rejected: 0,
        }
    }
}

/// The next part of a direction.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// A record begins.
    Begin(Header),
    /// Bytes of its content.
    Content(Header, &'a [u8]),
    /// It is complete.
    End(Header),
    /// What stands where a record should begin is none.
    Foreign,
}

impl Records {
    /// Whether the next byte begins a record.
    pub(super) const fn between(&self) -> bool {
        matches!(self.state, State::Header(0))
    }

    pub(super) const fn is_lost(&self) -> bool {
        matches!(self.state, State::Lost)
    }

    /// What was taken for a header's beginning before [`Part::Foreign`].
    pub(super) fn rejected(&self) -> &[u8] {
        self.header.get(..self.rejected).unwrap_or_default()
    }

    /// Inside a record of handshake messages.
    pub(super) const fn in_handshake(&self) -> bool {
        matches!(
            self.state,
            State::Content(
                Header {
                    kind: Kind::Handshake,
                    ..
                },
                _
            )
        )
    }

    /// What comes next may begin a record.
    pub(super) fn seek(&mut self) {
        if self.is_lost() {
            self.state = State::Header(0);
        }
    }

    /// Takes the next part of `bytes`, none when all were taken. Where the message is awaited that ends a handshake it may be bare.
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8], awaits_finished: bool) -> Option<Part<'a>> {
        loop {
            match self.state {
                State::Lost => {
                    *bytes = &[];
                    return None;
                }
                State::Header(have) => {
                    let (byte, rest) = bytes.split_first()?;
                    if let Some(place) = self.header.get_mut(have) {
                        *place = *byte;
                    }
                    let have = have.saturating_add(1);
                    let read = self.header.get(..have).unwrap_or_default();
                    if awaits_finished && have > 1 && FINISHED.starts_with(read) {
                        *bytes = rest;
                        self.state = State::Header(have);
                        if have == FINISHED.len() {
                            let header = Header {
                                kind: Kind::Handshake,
                                length: FINISHED_BYTES,
                            };
                            self.state = State::Content(header, header.length);
                            return Some(Part::Begin(header));
                        }
                        continue;
                    }
                    let Some(header) = Header::read(read) else {
                        self.state = State::Lost;
                        self.rejected = have.saturating_sub(1);
                        return Some(Part::Foreign);
                    };
                    *bytes = rest;
                    self.state = State::Header(have);
                    if have == HEADER_BYTES {
                        self.state = State::Content(header, header.length);
                        return Some(Part::Begin(header));
                    }
                }
                State::Content(header, 0) => {
                    self.state = State::Header(0);
                    return Some(Part::End(header));
                }
                State::Content(header, left) => {
                    if bytes.is_empty() {
                        return None;
                    }
                    let (content, rest) = bytes.split_at_checked(left).unwrap_or((bytes, &[]));
                    *bytes = rest;
                    self.state = State::Content(header, left.saturating_sub(content.len()));
                    return Some(Part::Content(header, content));
                }
            }
        }
    }

    /// So many bytes passed unseen. The record that ended with them, if it did.
    pub(super) fn skip(&mut self, bytes: u64) -> Option<Header> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        match self.state {
            State::Content(header, left) if bytes < left => {
                self.state = State::Content(header, left.saturating_sub(bytes));
                None
            }
            State::Content(header, left) if bytes == left => {
                self.state = State::Header(0);
                Some(header)
            }
            _ => {
                self.state = State::Lost;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings() {
        #[track_caller]
        fn check(bytes: &[u8], expected: Recognized) {
            assert_eq!(recognize(bytes), expected, "{bytes:?}");
        }
        let hello = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
        check(&hello, Recognized::Yes);
        for length in 0..hello.len() {
            check(&hello[..length], Recognized::More);
        }
        check(&[22, 3, 1, 2, 0, 1, 0, 0, 12, 3, 3], Recognized::No);
        check(&[22, 3, 1, 2, 0, 3, 0, 1, 252, 3, 3], Recognized::More);
        check(&[22, 3, 9], Recognized::No);
        check(b"GET / HTTP/1.1\r\n", Recognized::No);
        check(&[21, 3, 3, 0, 2, 2], Recognized::More);
        check(&[21, 3, 3, 0, 2, 2, 40, 21, 3, 3, 0, 2], Recognized::Yes);
        check(&[21, 3, 3, 0, 2, 2, 40, 99], Recognized::No);
        check(&[23, 3, 3, 0x48, 1], Recognized::No);
        check(&[23, 3, 3, 0x10, 1], Recognized::Yes);
        check(&[20, 3, 3, 0, 1, 1], Recognized::More);
        check(&[20, 3, 3, 0, 2], Recognized::No);
    }

    #[test]
    fn holes() {
        #[track_caller]
        fn check(skipped: u64, ended: bool, lost: bool) {
            let mut records = Records::default();
            let mut bytes: &[u8] = &[23, 3, 3, 0, 100, 1, 2];
            while records.next(&mut bytes, false).is_some() {}
            assert_eq!(
                (records.skip(skipped).is_some(), records.is_lost()),
                (ended, lost),
                "{skipped}"
            );
        }
        check(97, false, false);
        check(98, true, false);
        check(99, false, true);
    }
}
