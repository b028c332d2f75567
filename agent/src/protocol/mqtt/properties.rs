//! Properties of packets, which version 5 has.
//!
//! ```text
//! length (1 to 4 bytes, 7 bits each) *(identifier (1 byte) value)
//! ```
use smol_str::SmolStr;

use super::packet::{binary, byte, number, text};
use crate::protocol::http1::Fields;

/// Fields of a message that are kept.
const MAX_USER: usize = 64;
const CORRELATION: u8 = 0x09;
const REASON: u8 = 0x1f;
const ALIAS: u8 = 0x23;
const USER: u8 = 0x26;

/// What a message says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Properties {
    pub(super) user: Fields,
    /// What names the conversation it is part of.
    pub(super) correlation: SmolStr,
    /// What stands for its topic from here on, or now.
    pub(super) alias: Option<u16>,
}

/// The properties of a message, and how many bytes they take; none where these are none.
pub(super) fn of_message(bytes: &[u8]) -> Option<(Properties, usize)> {
    let mut rest = bytes;
    let mut list = list(&mut rest)?;
    let mut properties = Properties::default();
    while let Some(identifier) = byte(&mut list) {
        match identifier {
            CORRELATION => {
                let name = binary(&mut list)?;
                properties.correlation = match std::str::from_utf8(name) {
                    Ok(text) if !text.contains(char::is_control) => SmolStr::new(text),
                    _ => name.iter().map(|byte| format!("{byte:02x}")).collect(),
                };
            }
            ALIAS => properties.alias = Some(number(&mut list).filter(|alias| *alias > 0)?),
            USER => {
                let (name, value) = (text(&mut list)?, text(&mut list)?);
                if properties.user.len() < MAX_USER && name.is_ascii() {
                    properties.user.push(name.as_bytes(), value.as_bytes());
                }
            }
            0x01 => drop(byte(&mut list)?),
            0x02 => drop(list.split_off(..4)?),
            0x03 | 0x08 => drop(text(&mut list)?),
            0x0b => drop(variable(&mut list)?),
            _ => return None,
        }
    }
    Some((properties, bytes.len().saturating_sub(rest.len())))
}

/// What a reason is told to mean, among the properties of an acknowledgement.
pub(super) fn reason(mut bytes: &[u8]) -> Option<SmolStr> {
    let mut list = list(&mut bytes)?;
    let mut reason = None;
    while let Some(identifier) = byte(&mut list) {
        match identifier {
            REASON => reason = Some(SmolStr::new(text(&mut list)?)),
            USER => drop((text(&mut list)?, text(&mut list)?)),
            _ => return None,
        }
    }
    reason
}

/// Passes properties whatever they are.
pub(super) fn skip(bytes: &mut &[u8]) -> Option<()> {
    list(bytes).map(drop)
}

fn list<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut rest = *bytes;
    let length = variable(&mut rest)?;
    let (list, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(list)
}

/// A number of up to 4 bytes, of which each has 7 bits, the least first.
fn variable(bytes: &mut &[u8]) -> Option<usize> {
    let mut number = 0_usize;
    for shift in [0_u32, 7, 14, 21] {
        let next = byte(bytes)?;
        number |= usize::from(next & 0x7f) << shift;
        if next & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
