//! Messages.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smallvec::SmallVec;
use smol_str::{SmolStr, ToSmolStr};

/// Longest name, as it is sent (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 255;
const MAX_LABEL: u8 = 63;
/// Answers that are kept.
const MAX_ANSWERS: usize = 16;
/// Places in a message that a name may go on at.
const MAX_JUMPS: usize = 16;
pub(super) const HEAD_BYTES: usize = 12;

/// A, AAAA and CNAME.
const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name, as it was sent, without the dot at its end; `.` for the root.
    pub name: SmolStr,
    /// The type of record.
    pub kind: u16,
    /// The class, which is 1 for the Internet.
    pub class: u16,
}

impl Question {
    /// The name of its type; none where the number is all there is.
    pub const fn kind_name(&self) -> Option<&'static str> {
        Some(match self.kind {
            A => "A",
            2 => "NS",
            CNAME => "CNAME",
            6 => "SOA",
            12 => "PTR",
            15 => "MX",
            16 => "TXT",
            AAAA => "AAAA",
            33 => "SRV",
            35 => "NAPTR",
            43 => "DS",
            46 => "RRSIG",
            48 => "DNSKEY",
            64 => "SVCB",
            65 => "HTTPS",
            251 => "IXFR",
            252 => "AXFR",
            255 => "ANY",
            257 => "CAA",
            _ => return None,
        })
    }
}

/// What is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Whether it worked (`RCODE`).
    pub code: u8,
    /// Addresses and names, at most [`MAX_ANSWERS`]; of other records none.
    pub answers: Answers,
    /// Records, including those that are not kept.
    pub count: u16,
    /// There was no room for all; the client has to ask again over TCP.
    pub truncated: bool,
    /// How often the question was sent again.
    pub repeated: u32,
}

impl Answer {
    /// The name of its code; none where the number is all there is.
    pub const fn code_name(&self) -> Option<&'static str> {
        Some(match self.code {
            0 => "NOERROR",
            1 => "FORMERR",
            2 => "SERVFAIL",
            3 => "NXDOMAIN",
            4 => "NOTIMP",
            5 => "REFUSED",
            6 => "YXDOMAIN",
            7 => "YXRRSET",
            8 => "NXRRSET",
            9 => "NOTAUTH",
            10 => "NOTZONE",
            _ => return None,
        })
    }
}

/// Most names have no more than two.
pub type Answers = SmallVec<[Told; 2]>;

/// What a record tells of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// An address it stands for.
    Address(IpAddr),
    /// A name it stands for.
    Name(SmolStr),
}

impl Told {
    /// As people read it.
    pub fn text(&self) -> SmolStr {
        match self {
            Self::Address(address) => address.to_smolstr(),
            Self::Name(name) => name.clone(),
        }
    }
}

/// A message. What it says is read when it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    bytes: &'a [u8],
    pub(super) id: u16,
    pub(super) kind: u16,
    pub(super) class: u16,
    /// Records that answer, which begin behind the question.
    count: u16,
    behind: usize,
    /// The flags.
    high: u8,
    low: u8,
}

impl Message<'_> {
    /// Whether it answers; else it asks.
    pub(super) const fn answers(&self) -> bool {
        self.high & 0x80 != 0
    }

    /// Whether there was no room for all it was to say.
    pub(super) const fn is_truncated(&self) -> bool {
        self.high & 0x02 != 0
    }

    /// Writes what it answers, but for how often it was asked.
    pub(super) fn tell(&self, answer: &mut Answer) {
        answer.code = self.low & 0x0f;
        records(self.bytes, self.behind, self.count, &mut answer.answers);
        answer.count = self.count;
        answer.truncated = self.is_truncated();
    }

    /// Whether it asks for a name that stands there whole, as all do that clients send.
    pub(super) fn asks_plainly(&self) -> bool {
        const BEHIND_NAME: usize = 4;
        let length = self.behind.saturating_sub(HEAD_BYTES + BEHIND_NAME);
        let name = self.bytes.get(HEAD_BYTES..).and_then(|rest| rest.get(..length));
        // Its end is its only pointer, if it has one.
        let jumps = name
            .and_then(<[u8]>::split_last_chunk)
            .is_some_and(|(_, [high, _])| *high >= 0xc0);
        !self.answers() && !jumps && length <= MAX_NAME
    }

    /// What is asked; none where the name is no name.
    pub(super) fn question(&self) -> Option<Question> {
        Some(Question {
            name: name(self.bytes, HEAD_BYTES)?,
            kind: self.kind,
            class: self.class,
        })
    }

    /// Whether it is of this question. Most names are sent as they were asked for, and so are not made again to be compared; some clients
    /// write them in a mixture of cases, which answers repeat.
    pub(super) fn is_of(&self, question: &Question) -> bool {
        let is_same = |name: SmolStr| name.eq_ignore_ascii_case(&question.name);
        self.kind == question.kind
            && self.class == question.class
            && (is_written(self.bytes, HEAD_BYTES, &question.name) || name(self.bytes, HEAD_BYTES).is_some_and(is_same))
    }
}

/// Whether the labels that begin at `at` are those of a name.
fn is_written(bytes: &[u8], mut at: usize, name: &str) -> bool {
    let mut rest = name.as_bytes();
    loop {
        let Some((length, label)) = bytes.get(at..).and_then(<[u8]>::split_first) else {
            return false;
        };
        match *length {
            0 => return rest.is_empty(),
            1..=MAX_LABEL => {}
            // It goes on elsewhere.
            _ => return false,
        }
        let length = usize::from(*length);
        let (Some(label), Some((part, behind))) = (label.get(..length), rest.split_at_checked(length)) else {
            return false;
        };
        rest = match behind {
            [] => behind,
            [b'.', behind @ ..] if !behind.is_empty() => behind,
            _ => return false,
        };
        if !part.eq_ignore_ascii_case(label) {
            return false;
        }
        at = at.saturating_add(length).saturating_add(1);
    }
}

/// Names up to this long take no memory of their own.
const SHORT: usize = 23;

/// Reads a message (RFC 1035 section 4.1), numbers in network order. What does not fit into it any more is left out.
///
/// ```text
/// 0    2                                                4           6         8           10
/// | id | response, opcode 4, AA, TC, RD, RA, 3, code 4 | questions | answers | authority | additional | question records
/// ```
///
/// A question is a name, a type and a class, a record the same with a lifetime and data of a length behind it.
pub(super) fn parse(bytes: &[u8]) -> Option<Message<'_>> {
    let (head, _) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let [i0, i1, high, low, q0, q1, a0, a1, ..] = *head;
    // One question of those that look names up; none of dynamic update or notification.
    let is_query = high & 0x78 == 0 && u16::from_be_bytes([q0, q1]) == 1;
    if !is_query {
        return None;
    }
    let at = behind_name(bytes, HEAD_BYTES)?;
    let [kind_high, kind_low, class_high, class_low] = *bytes.get(at..)?.first_chunk()?;
    let at = at.checked_add(4)?;
    let message = Message {
        bytes,
        id: u16::from_be_bytes([i0, i1]),
        kind: u16::from_be_bytes([kind_high, kind_low]),
        class: u16::from_be_bytes([class_high, class_low]),
        count: u16::from_be_bytes([a0, a1]),
        behind: at,
        high,
        low,
    };
    // What asks has no answers, and says nothing that only an answer does.
    let is_sound = message.answers() || (high & 0x06 == 0 && low & 0xcf == 0 && message.count == 0);
    is_sound.then_some(message)
}

/// The addresses and names of so many records.
fn records(bytes: &[u8], mut at: usize, count: u16, found: &mut Answers) {
    for _ in 0..count {
        let Some((kind, data, behind)) = record(bytes, at) else {
            break;
        };
        at = behind;
        let told = match kind {
            A => four(bytes, data, behind).map(|address| Told::Address(address.into())),
            AAAA => sixteen(bytes, data, behind).map(|address| Told::Address(address.into())),
            CNAME => name(bytes, data).map(Told::Name),
            _ => None,
        };
        if let Some(told) = told {
            found.push(told);
        }
        if found.len() >= MAX_ANSWERS {
            break;
        }
    }
}

/// A record: its type, and where its data begin and end.
///
/// ```text
/// | name | type 2 | class 2 | lifetime 4 | length 2 | so many bytes
/// ```
fn record(bytes: &[u8], at: usize) -> Option<(u16, usize, usize)> {
    const BEHIND_NAME: usize = 10;
    let at = behind_name(bytes, at)?;
    let [k0, k1, .., l0, l1] = *bytes.get(at..)?.first_chunk::<BEHIND_NAME>()?;
    let data = at.checked_add(BEHIND_NAME)?;
    let behind = data.checked_add(usize::from(u16::from_be_bytes([l0, l1])))?;
    (behind <= bytes.len()).then_some((u16::from_be_bytes([k0, k1]), data, behind))
}

fn four(bytes: &[u8], from: usize, to: usize) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(from..to)?).ok()?))
}

fn sixteen(bytes: &[u8], from: usize, to: usize) -> Option<Ipv6Addr> {
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(from..to)?).ok()?))
}

/// Where the name at `at` ends: see [`name`].
fn behind_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = *bytes.get(at)?;
        at = at.checked_add(1)?;
        match length {
            0 => return Some(at),
            1..=MAX_LABEL => at = at.checked_add(usize::from(length))?,
            0xc0.. => return at.checked_add(1).filter(|behind| *behind <= bytes.len()),
            _ => return None,
        }
    }
}

/// A name that stands there whole, and is short and a text, as most are: dots take the places of lengths.
fn short(bytes: &[u8], at: usize) -> Option<SmolStr> {
    let begin = at.checked_add(1)?;
    let mut space = [0_u8; SHORT];
    let written = bytes.get(begin..)?;
    let written = written.get(..SHORT).unwrap_or(written);
    let name = space.get_mut(..written.len())?;
    name.copy_from_slice(written);
    let mut next = usize::from(*bytes.get(at)?);
    let mut length = 0_usize;
    loop {
        // The label's end, where the length of the next stands.
        length = length.checked_add(next)?;
        let place = name
            .get_mut(length)
            .filter(|_| (1..=usize::from(MAX_LABEL)).contains(&next))?;
        next = usize::from(std::mem::replace(place, b'.'));
        if next == 0 {
            break;
        }
        length = length.checked_add(1)?;
    }
    std::str::from_utf8(name.get(..length)?).ok().map(SmolStr::new_inline)
}

/// The name at `at`: labels with their length before them, and an empty one or a place where it goes on.
fn name(bytes: &[u8], mut at: usize) -> Option<SmolStr> {
    if let Some(short) = short(bytes, at) {
        return Some(short);
    }
    let (mut name, mut length) = ([0_u8; MAX_NAME], 0_usize);
    let mut jumps = 0_usize;
    loop {
        let kind = *bytes.get(at)?;
        at = at.checked_add(1)?;
        match kind {
            0 => break,
            1..=MAX_LABEL => {
                let end = at.checked_add(usize::from(kind))?;
                let label = bytes.get(at..end)?;
                if length > 0 {
                    *name.get_mut(length)? = b'.';
                    length = length.checked_add(1)?;
                }
                let after = length.checked_add(label.len())?;
                name.get_mut(length..after)?.copy_from_slice(label);
                (length, at) = (after, end);
            }
            0xc0.. => {
                let low = *bytes.get(at)?;
                at = usize::from(u16::from_be_bytes([kind & 0x3f, low]));
                jumps = jumps.saturating_add(1);
                if jumps > MAX_JUMPS {
                    return None;
                }
            }
            _ => return None,
        }
    }
    Some(match name.get(..length)? {
        [] => SmolStr::new_static("."),
        name => SmolStr::from(String::from_utf8_lossy(name)),
    })
}
