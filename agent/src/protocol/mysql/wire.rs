//! Packets of the client/server protocol (MySQL internals, "Client/Server Protocol"; MariaDB, "Client/Server Protocol").
//!
//! ```text
//! | length (3, little-endian) | number (1) | payload |     a payload of 0xff_ffff bytes goes on in the next packet
//! ```
//!
//! Each command of the client begins with number 0; what follows, of either end, counts on.
use crate::protocol::Recognized;
use crate::protocol::frames::{Format, Shape};

/// Bytes of a command that are kept: a statement's text, or its parameters.
pub(super) const MAX_TEXT: usize = 16 * 1024;
/// Bytes of an answer's packet that are looked at; an error has no more.
const MAX_ANSWER: usize = 1024;
/// The length of a packet whose payload goes on in the next.
pub(super) const CONTINUED: u64 = 0xff_ffff;

/// What an end of the connection is able to do: flags of the greeting and the answer to it.
pub(super) mod able {
    /// A database is named when the connection is opened.
    pub(crate) const CONNECT_WITH_DATABASE: u32 = 1 << 3;
    /// What follows the opening is compressed, by zlib or zstd.
    pub(crate) const COMPRESS: u32 = (1 << 5) | (1 << 26);
    /// The protocol since 4.1.
    pub(crate) const PROTOCOL_41: u32 = 1 << 9;
    /// TLS follows.
    pub(crate) const TLS: u32 = 1 << 11;
    /// The answer to the challenge says in one byte how long it is.
    pub(crate) const SECURE_CONNECTION: u32 = 1 << 15;
    /// It says so in a number of any length.
    pub(crate) const LENGTH_ENCODED_ANSWER: u32 = 1 << 21;
    /// A packet of its own no longer ends definitions.
    pub(crate) const DEPRECATE_EOF: u32 = 1 << 24;
    /// Statements carry attributes.
    pub(crate) const QUERY_ATTRIBUTES: u32 = 1 << 27;
}

/// What the client says.
#[derive(Debug)]
pub(super) struct Front;

impl Format for Front {
    const HEAD: usize = 4;

    fn shape(head: &[u8]) -> Option<Shape> {
        let length = u64::from(number(head, 3)?);
        Some(Shape { length, keep: MAX_TEXT })
    }
}

/// What the server says.
#[derive(Debug)]
pub(super) struct Back;

impl Format for Back {
    const HEAD: usize = 4;

    fn shape(head: &[u8]) -> Option<Shape> {
        let length = u64::from(number(head, 3)?);
        Some(Shape {
            length,
            keep: MAX_ANSWER,
        })
    }
}

/// The little-endian number that the first `size` bytes, at most 4, are.
pub(super) fn number(bytes: &[u8], size: usize) -> Option<u32> {
    let bytes = bytes.get(..size)?;
    Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte)))
}

/// The little-endian number of two bytes at a place.
pub(super) fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

/// A number of any length, and what follows it:
///
/// ```text
/// | below 0xfb |   | 0xfc | 2 |   | 0xfd | 3 |   | 0xfe | 8 |
/// ```
pub(super) fn encoded(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let size = match first {
        0..=0xfa => return Some((u64::from(*first), rest)),
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        0xfb | 0xff => return None,
    };
    let (digits, rest) = rest.split_at_checked(size)?;
    let value = digits.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
    Some((value, rest))
}

/// A text behind its length, and what follows it.
pub(super) fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = encoded(bytes)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

/// A text up to the NUL that ends it, and what follows it.
pub(super) fn terminated(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (text, rest) = bytes.split_at_checked(memchr::memchr(0, bytes)?)?;
    Some((text, rest.get(1..)?))
}

/// The server's greeting.
///
/// ```text
/// | 10 (1) | version | 0 | thread (4) | challenge (8) | 0 | able (2) | charset (1) | status (2) | able (2) | length (1) | 0 (6) | ...
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) is_mariadb: bool,
    pub(super) able: u32,
}

impl Greeting {
    /// What a payload says, if it is a greeting.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let (version, rest) = terminated(payload.strip_prefix(&[10])?)?;
        let low = number(rest.get(13..)?, 2)?;
        let high = number(rest.get(18..)?, 2)?;
        Some(Self {
            is_mariadb: memchr::memmem::find(version, b"MariaDB").is_some(),
            able: high << 16 | low,
        })
    }
}

/// What the client answers to the greeting.
///
/// ```text
/// | able (4) | longest packet (4) | charset (1) | 0 (19) | MariaDB's: able (4) | user | 0 | answer | database | 0 | ...
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hello<'a> {
    pub(super) able: u32,
    /// The database, if one is named.
    pub(super) database: Option<&'a [u8]>,
    /// MariaDB's clients say more of what they are able to do, to servers of theirs.
    pub(super) to_mariadb: bool,
}

/// Bytes of a hello before the user's name: all of one that asks for TLS.
const HELLO: usize = 32;

impl<'a> Hello<'a> {
    /// What a payload says, if it is a hello.
    pub(super) fn read(payload: &'a [u8]) -> Option<Self> {
        if hello(payload, payload.len()) != Recognized::Yes {
            return None;
        }
        let able = number(payload, 4)?;
        let rest = payload.get(HELLO..).unwrap_or_default();
        let database = || {
            let (_, rest) = terminated(rest)?;
            let rest = if able & able::LENGTH_ENCODED_ANSWER != 0 {
                string(rest)?.1
            } else if able & able::SECURE_CONNECTION != 0 {
                let (length, rest) = rest.split_first()?;
                rest.get(usize::from(*length)..)?
            } else {
                terminated(rest)?.1
            };
            terminated(rest).map(|(name, _)| name)
        };
        let named = able & able::CONNECT_WITH_DATABASE != 0;
        Some(Self {
            able,
            database: if named { database() } else { None },
            to_mariadb: payload.get(HELLO - 4..HELLO).is_some_and(|more| more != [0; 4]),
        })
    }

    /// It asks for TLS, and is no more than that.
    pub(super) const fn asks_for_tls(&self, length: u64) -> bool {
        self.able & able::TLS != 0 && length == HELLO as u64
    }
}

/// Who says what was recognized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    /// The server, with its greeting.
    Greeting,
    /// The client, with its answer to the greeting.
    Hello,
    /// The client, with a command.
    Front,
}

/// Longest message by which a connection is recognized.
const MAX_FIRST: u8 = 0x1f;

/// Whether bytes are of this protocol.
pub(crate) fn recognize(bytes: &[u8]) -> Recognized {
    judge(bytes).0
}

/// Whether bytes are of this protocol, and whose.
pub(super) fn judge(bytes: &[u8]) -> (Recognized, Speaker) {
    let no = (Recognized::No, Speaker::Front);
    // A length in text is beyond what is looked for.
    if bytes.get(1).is_some_and(|byte| *byte > MAX_FIRST) || bytes.get(2).is_some_and(|byte| *byte != 0) {
        return no;
    }
    let (Some(length), Some(which)) = (number(bytes, 3), bytes.get(3)) else {
        return (Recognized::More, Speaker::Front);
    };
    let length = length as usize;
    let payload = bytes.get(4..).unwrap_or_default();
    let payload = payload.get(..length).unwrap_or(payload);
    match (which, payload.first()) {
        (0, None) if length > 1 => (Recognized::More, Speaker::Front),
        (0, Some(10)) => (greeting(payload, length), Speaker::Greeting),
        (0, Some(0x03 | 0x16)) => (
            statement(payload.get(1..).unwrap_or_default(), payload.len() >= length),
            Speaker::Front,
        ),
        (0, Some(0x17)) => (execution(payload, length), Speaker::Front),
        // Under TLS the packet that asked for it was the first.
        (1 | 2, _) => (hello(payload, length), Speaker::Hello),
        _ => no,
    }
}

/// Goes through what is known of a payload, as far as it has come.
fn all(payload: &[u8], length: usize, least: usize, sound: impl Fn(usize, u8) -> bool) -> Recognized {
    if length < least {
        return Recognized::No;
    }
    let so_far = payload.iter().enumerate().all(|(at, byte)| sound(at, *byte));
    match (so_far, payload.len() >= least) {
        (false, _) => Recognized::No,
        (true, true) => Recognized::Yes,
        (true, false) => Recognized::More,
    }
}

fn greeting(payload: &[u8], length: usize) -> Recognized {
    let Some((version, _)) = terminated(payload.get(1..).unwrap_or_default()) else {
        let printable = |at: usize, byte: u8| match at {
            0 => true,
            1 => byte.is_ascii_digit(),
            _ => byte.is_ascii_graphic() && at < 96,
        };
        return match all(payload, length, 45, printable) {
            Recognized::No => Recognized::No,
            _ => Recognized::More,
        };
    };
    // Behind the version: the thread and the challenge, what is able, and bytes that no server has used yet.
    let from = version.len().saturating_add(2);
    let least = from.saturating_add(27);
    all(payload, length, least, |at, byte| match at.checked_sub(from) {
        None if at == 1 => byte.is_ascii_digit(),
        None => at == 0 || byte == 0 || byte.is_ascii_graphic(),
        Some(12 | 21..=26) => byte == 0,
        Some(14) => u32::from(byte) << 8 & able::PROTOCOL_41 != 0,
        Some(_) => true,
    })
}

fn hello(payload: &[u8], length: usize) -> Recognized {
    all(payload, length, HELLO, |at, byte| match at {
        1 => u32::from(byte) << 8 & able::PROTOCOL_41 != 0,
        8 => byte != 0,
        9..=27 => byte == 0,
        _ => true,
    })
}

/// `COM_STMT_EXECUTE`, which says that it is executed once.
///
/// ```text
/// | 0x17 | statement (4) | flags (1) | 1 (4) | ...
/// ```
fn execution(payload: &[u8], length: usize) -> Recognized {
    all(payload, length, 10, |at, byte| match at {
        4 => byte == 0,
        5 => byte <= 0x0f,
        6 => byte == 1,
        7..=9 => byte == 0,
        _ => true,
    })
}

/// Words that statements begin with.
const VERBS: &[&str] = &[
    "ALTER",
    "ANALYZE",
    "BEGIN",
    "CALL",
    "COMMIT",
    "CREATE",
    "DELETE",
    "DESCRIBE",
    "DROP",
    "EXPLAIN",
    "GRANT",
    "INSERT",
    "KILL",
    "LOAD",
    "LOCK",
    "OPTIMIZE",
    "RELEASE",
    "RENAME",
    "REPLACE",
    "REVOKE",
    "ROLLBACK",
    "SAVEPOINT",
    "SELECT",
    "SET",
    "SHOW",
    "START",
    "TABLE",
    "TRUNCATE",
    "UNLOCK",
    "UPDATE",
    "USE",
    "VALUES",
    "WITH",
    "XA",
];
/// Bytes of a statement that have to be seen, unless it is shorter: some of another protocol's are alike.
const PLAIN: usize = 200;

/// A statement is a text and begins with a word that statements begin with; it is `whole` if all of it has come.
fn statement(text: &[u8], whole: bool) -> Recognized {
    let more = if whole { Recognized::No } else { Recognized::More };
    if text == [0] {
        return more;
    }
    // Attributes, of which there are none.
    let text = text.strip_prefix(&[0, 1]).unwrap_or(text);
    let plain = |byte: &u8| *byte >= b' ' || byte.is_ascii_whitespace();
    if !text.iter().all(plain) {
        return Recognized::No;
    }
    let Some(text) = behind_comment(text) else {
        return more;
    };
    let letters = text.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let (word, rest) = text.split_at_checked(letters).unwrap_or((text, &[]));
    let begins = |verb: &str| {
        verb.as_bytes()
            .get(..letters)
            .is_some_and(|begin| begin.eq_ignore_ascii_case(word))
    };
    let known = VERBS.iter().any(|verb| verb.as_bytes().eq_ignore_ascii_case(word));
    match rest.first() {
        None if whole && known => Recognized::Yes,
        None if VERBS.iter().any(|verb| begins(verb)) => more,
        Some(byte) if known && !byte.is_ascii_alphanumeric() && *byte != b'_' => {
            if whole || text.len() >= PLAIN {
                Recognized::Yes
            } else {
                more
            }
        }
        _ => Recognized::No,
    }
}

/// What follows blanks, parentheses and one comment. None if the comment's end has not come.
fn behind_comment(text: &[u8]) -> Option<&[u8]> {
    let begin = |text: &[u8]| {
        let blank = |byte: &&u8| byte.is_ascii_whitespace() || **byte == b'(';
        text.iter().take_while(blank).count()
    };
    let text = text.get(begin(text)..)?;
    let text = match text.strip_prefix(b"/*") {
        Some(comment) => comment.get(memchr::memmem::find(comment, b"*/")?.checked_add(2)?..)?,
        None if text == b"/" => return None,
        None => text,
    };
    text.get(begin(text)..)
}
