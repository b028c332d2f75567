//! Messages.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

    /// Whether both ask the same; some clients write names in a mixture of cases, which answers repeat.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind && self.class == other.class && self.name.eq_ignore_ascii_case(&other.name)
    }
}

/// What is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Whether it worked (`RCODE`).
    pub code: u8,
    /// Addresses and names, at most [`MAX_ANSWERS`]; of other records none.
    pub answers: Vec<Told>,
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

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) id: u16,
    pub(super) question: Question,
    /// None if it asks.
    pub(super) answer: Option<Answer>,
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
pub(super) fn parse(bytes: &[u8]) -> Option<Message> {
    let (head, _) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let [i0, i1, high, low, q0, q1, a0, a1, ..] = *head;
    // One question of those that look names up; none of dynamic update or notification.
    let is_query = high & 0x78 == 0 && u16::from_be_bytes([q0, q1]) == 1;
    if !is_query {
        return None;
    }
    let (name, at) = name(bytes, HEAD_BYTES)?;
    let (kind, at) = number(bytes, at)?;
    let (class, at) = number(bytes, at)?;
    let count = u16::from_be_bytes([a0, a1]);
    let answer = (high & 0x80 != 0).then(|| Answer {
        code: low & 0x0f,
        answers: records(bytes, at, count),
        count,
        truncated: high & 0x02 != 0,
        repeated: 0,
    });
    // What asks has no answers, and says nothing that only an answer does.
    if answer.is_none() && (high & 0x06 != 0 || low & 0xcf != 0 || count != 0) {
        return None;
    }
    Some(Message {
        id: u16::from_be_bytes([i0, i1]),
        question: Question { name, kind, class },
        answer,
    })
}

/// The addresses and names of so many records.
fn records(bytes: &[u8], mut at: usize, count: u16) -> Vec<Told> {
    let mut found = Vec::new();
    for _ in 0..count {
        let Some((kind, data, behind)) = record(bytes, at) else {
            break;
        };
        at = behind;
        found.extend(match kind {
            A => four(bytes, data, behind).map(|address| Told::Address(address.into())),
            AAAA => sixteen(bytes, data, behind).map(|address| Told::Address(address.into())),
            CNAME => name(bytes, data).map(|(name, _)| Told::Name(name)),
            _ => None,
        });
        if found.len() >= MAX_ANSWERS {
            break;
        }
    }
    found
}

/// A record: its type, and where its data begin and end.
fn record(bytes: &[u8], at: usize) -> Option<(u16, usize, usize)> {
    let (kind, at) = number(bytes, behind_name(bytes, at)?)?;
    // Class and lifetime.
    let (length, data) = number(bytes, at.checked_add(6)?)?;
    let behind = data.checked_add(usize::from(length))?;
    (behind <= bytes.len()).then_some((kind, data, behind))
}

fn four(bytes: &[u8], from: usize, to: usize) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(from..to)?).ok()?))
}

fn sixteen(bytes: &[u8], from: usize, to: usize) -> Option<Ipv6Addr> {
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(from..to)?).ok()?))
}

fn number(bytes: &[u8], at: usize) -> Option<(u16, usize)> {
    let behind = at.checked_add(2)?;
    let number = <[u8; 2]>::try_from(bytes.get(at..behind)?).ok()?;
    Some((u16::from_be_bytes(number), behind))
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

/// The same of a name that stands there whole, and is short and of ASCII, as most are: dots take the places of lengths.
fn short(bytes: &[u8], at: usize) -> Option<(SmolStr, usize)> {
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
    let text = std::str::from_utf8(name.get(..length)?)
        .ok()
        .filter(|text| text.is_ascii())?;
    Some((SmolStr::new_inline(text), begin.checked_add(length)?.checked_add(1)?))
}

/// The name at `at` and what is behind it: labels with their length before them, and an empty one or a place where it goes on.
fn name(bytes: &[u8], mut at: usize) -> Option<(SmolStr, usize)> {
    if let Some(short) = short(bytes, at) {
        return Some(short);
    }
    let (mut name, mut length) = ([0_u8; MAX_NAME], 0_usize);
    let mut behind = None;
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
                behind.get_or_insert(at.checked_add(1)?);
                at = usize::from(u16::from_be_bytes([kind & 0x3f, low]));
                jumps = jumps.saturating_add(1);
                if jumps > MAX_JUMPS {
                    return None;
                }
            }
            _ => return None,
        }
    }
    let name = match name.get(..length)? {
        [] => SmolStr::new_static("."),
        name => SmolStr::from(String::from_utf8_lossy(name)),
    };
    Some((name, behind.unwrap_or(at)))
}
