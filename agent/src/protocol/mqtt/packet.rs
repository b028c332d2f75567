//! Packets: how they begin, and what the first bytes of their content say.
//!
//! ```text
//! +------+-------+------------------+---------
//! | type | flags | remaining length | content
//! +------+-------+------------------+---------
//!  4 bit   4 bit   1 to 4 bytes, 7 bits each, least first (5.0, section 2.1)
//! ```
use smol_str::SmolStr;

use super::properties::{self, Properties};
use crate::protocol::Recognized;

pub(super) const CONNECT: u8 = 1;
pub(super) const CONNACK: u8 = 2;
pub(super) const PUBLISH: u8 = 3;
pub(super) const PUBACK: u8 = 4;
pub(super) const PUBREC: u8 = 5;
pub(super) const PUBREL: u8 = 6;
pub(super) const PUBCOMP: u8 = 7;
pub(super) const SUBSCRIBE: u8 = 8;
pub(super) const SUBACK: u8 = 9;
pub(super) const UNSUBSCRIBE: u8 = 10;
pub(super) const UNSUBACK: u8 = 11;
pub(super) const PINGREQ: u8 = 12;
pub(super) const PINGRESP: u8 = 13;
pub(super) const DISCONNECT: u8 = 14;
pub(super) const AUTH: u8 = 15;

/// Longest topic that is taken for evidence, so that it fits what recognition looks at.
const MAX_EVIDENT: usize = 200;
/// The first version with properties.
const WITH_PROPERTIES: u8 = 5;

/// How a packet begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Type and flags.
    pub(super) first: u8,
    /// Bytes of this.
    pub(super) bytes: usize,
    /// Bytes behind this.
    pub(super) length: u64,
}

/// What reading a head came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heading {
    More,
    Is(Head),
    Invalid,
}

/// The head of a packet.
pub(super) fn head(bytes: &[u8]) -> Heading {
    let Some(first) = bytes.first().copied() else {
        return Heading::More;
    };
    if !may_begin(first) {
        return Heading::Invalid;
    }
    let mut length = 0_u64;
    for (place, shift) in (1_usize..=4).zip([0_u32, 7, 14, 21]) {
        let Some(byte) = bytes.get(place).copied() else {
            return Heading::More;
        };
        length |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 != 0 {
            continue;
        }
        let head = Head {
            first,
            bytes: place.saturating_add(1),
            length,
        };
        // A number has one form, and each type of packet a least length and often a greatest.
        let is_shortest = place == 1 || byte != 0;
        return if is_shortest && may_be_long(first, length) {
            Heading::Is(head)
        } else {
            Heading::Invalid
        };
    }
    Heading::Invalid
}

/// Whether there are packets with this type and these flags.
fn may_begin(first: u8) -> bool {
    match first >> 4 {
        0 => false,
        // Quality of service 3 is none.
        PUBLISH => first & 0x06 != 0x06,
        PUBREL | SUBSCRIBE | UNSUBSCRIBE => first & 0x0f == 0x02,
        _ => first & 0x0f == 0,
    }
}

const fn may_be_long(first: u8, length: u64) -> bool {
    match first >> 4 {
        CONNECT => length >= 12,
        PINGREQ | PINGRESP => length == 0,
        DISCONNECT | AUTH => length < 64 * 1024,
        PUBLISH | SUBSCRIBE | UNSUBSCRIBE => length >= 3,
        _ => length >= 2 && length < 128 * 1024,
    }
}

/// A message, without its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Publish {
    /// Empty where an alias stands for it.
    pub(super) topic: SmolStr,
    pub(super) qos: u8,
    pub(super) id: u16,
    pub(super) retained: bool,
    pub(super) repeated: bool,
    pub(super) properties: Properties,
    /// Bytes of its payload; none where the version is not known.
    pub(super) bytes: Option<u64>,
}

/// What the content of a `PUBLISH` begins with; none where that is wrong or was not seen. The version of the protocol may be proved
/// by it.
///
/// ```text
/// topic (2 bytes length, UTF-8) | identifier (2 bytes, QoS 1 and 2) | properties (version 5) | payload
/// ```
pub(super) fn publish(first: u8, content: &[u8], length: u64, version: &mut Option<u8>) -> Option<Publish> {
    let mut rest = content;
    let topic = text(&mut rest)?;
    if topic.bytes().any(|byte| matches!(byte, b'\0' | b'#' | b'+')) {
        return None;
    }
    let topic = SmolStr::new(topic);
    let qos = (first >> 1) & 0x03;
    let id = if qos > 0 { number(&mut rest)? } else { 0 };
    if qos > 0 && id == 0 {
        return None;
    }
    let before = content.len().saturating_sub(rest.len());
    let left = length.saturating_sub(before as u64);
    let mut properties = Properties::default();
    let mut bytes = Some(left);
    match *version {
        Some(WITH_PROPERTIES..) => {
            let (told, taken) = properties::of_message(rest)?;
            properties = told;
            bytes = Some(left.saturating_sub(taken as u64));
        }
        Some(_) => {}
        None => {
            let read = properties::of_message(rest);
            let is_whole = rest.len() as u64 == left;
            match read {
                // A payload that passes for a name and its value by chance is not to be expected.
                Some((told, taken)) if !told.user.is_empty() => {
                    *version = Some(WITH_PROPERTIES);
                    properties = told;
                    bytes = Some(left.saturating_sub(taken as u64));
                }
                None if is_whole && !topic.is_empty() => *version = Some(4),
                _ => bytes = None,
            }
        }
    }
    if topic.is_empty() && properties.alias.is_none() {
        return None;
    }
    Some(Publish {
        topic,
        qos,
        id,
        retained: first & 0x01 != 0,
        repeated: first & 0x08 != 0,
        properties,
        bytes,
    })
}

/// What is said of the message of an identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub(super) id: u16,
    pub(super) reason: u8,
    /// What it is told to mean.
    pub(super) text: SmolStr,
}

/// The content of `PUBACK`, `PUBREC`, `PUBREL` and `PUBCOMP`.
///
/// ```text
/// identifier (2 bytes) [reason (1 byte) [properties]]
/// ```
pub(super) fn acknowledged(mut content: &[u8]) -> Option<Acknowledged> {
    let id = number(&mut content)?;
    let reason = content.first().copied().unwrap_or(0);
    let properties = content.get(1..).unwrap_or_default();
    Some(Acknowledged {
        id,
        reason,
        text: properties::reason(properties).unwrap_or_default(),
    })
}

/// The version a client speaks, and its name.
///
/// ```text
/// name of the protocol (2 bytes length, UTF-8) | version | flags | keep alive (2 bytes) | properties (version 5) | client identifier
/// ```
pub(super) fn connect(content: &[u8]) -> Option<(u8, SmolStr)> {
    let mut rest = content;
    let name = text(&mut rest)?;
    let (version, flags) = (byte(&mut rest)?, byte(&mut rest)?);
    // Bridges of mosquitto set the highest bit.
    let version = version & 0x7f;
    if !matches!((name, version), ("MQTT", 4 | 5) | ("MQIsdp", 3)) || flags & 0x01 != 0 {
        return None;
    }
    number(&mut rest)?;
    if version >= WITH_PROPERTIES {
        properties::skip(&mut rest)?;
    }
    Some((version, SmolStr::new(text(&mut rest).unwrap_or_default())))
}

/// Whether bytes begin with a packet that proves itself: the first of a client, or a message with its topic; or, where packets are
/// looked for, any.
pub(super) fn begins(bytes: &[u8]) -> Recognized {
    let head = match head(bytes) {
        Heading::More => return Recognized::More,
        Heading::Invalid => return Recognized::No,
        Heading::Is(head) => head,
    };
    let rest = bytes.get(head.bytes..).unwrap_or_default();
    match head.first >> 4 {
        CONNECT => {
            let names: [&[u8]; 3] = [b"\0\x04MQTT\x04", b"\0\x04MQTT\x05", b"\0\x06MQIsdp\x03"];
            let is = |name: &&[u8]| {
                let length = rest.len().min(name.len());
                rest.get(..length) == name.get(..length)
            };
            match names.iter().find(|name| is(name)) {
                Some(name) if rest.len() >= name.len() => Recognized::Yes,
                Some(_) => Recognized::More,
                None => Recognized::No,
            }
        }
        PUBLISH => {
            let mut rest = rest;
            let Some(length) = number(&mut rest).map(usize::from) else {
                return Recognized::More;
            };
            let identified = if head.first & 0x06 == 0 { 0 } else { 2 };
            let least = (length as u64).saturating_add(2).saturating_add(identified);
            if !(1..=MAX_EVIDENT).contains(&length) || least > head.length {
                return Recognized::No;
            }
            let seen = rest.get(..length).unwrap_or(rest);
            let may_be = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'+');
            if !seen.iter().all(may_be) {
                Recognized::No
            } else if seen.len() < length {
                Recognized::More
            } else {
                Recognized::Yes
            }
        }
        _ => Recognized::Yes,
    }
}

pub(super) fn byte(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

pub(super) fn number(bytes: &mut &[u8]) -> Option<u16> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u16::from_be_bytes(*first))
}

/// Bytes with their length before them.
pub(super) fn binary<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut rest = *bytes;
    let length = usize::from(number(&mut rest)?);
    let (binary, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(binary)
}

pub(super) fn text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let mut rest = *bytes;
    let text = std::str::from_utf8(binary(&mut rest)?).ok()?;
    *bytes = rest;
    Some(text)
}
