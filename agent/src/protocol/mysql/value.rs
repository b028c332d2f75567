//! Values of parameters as they are sent (MySQL internals, "Binary Protocol Value").
use smol_str::{SmolStr, format_smolstr};

use super::wire::{encoded, number, short, string, terminated};
use crate::protocol::call::MAX_ARGUMENTS;

/// The kind of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    kind: u8,
    unsigned: bool,
}

/// The kinds of `count` values, and what follows them; each has a name if `named`. No more than [`MAX_ARGUMENTS`] are kept.
///
/// ```text
/// | kind (1) | 0x80 if it is unsigned (1) | name |
/// ```
pub(super) fn kinds(bytes: &[u8], count: usize, named: bool) -> Option<(Vec<Kind>, &[u8])> {
    let mut kinds = Vec::new();
    let mut rest = bytes;
    for _ in 0..count {
        let (both, behind) = rest.split_first_chunk::<2>()?;
        let [kind, flags] = *both;
        if kinds.len() < MAX_ARGUMENTS {
            kinds.push(Kind {
                kind,
                unsigned: flags & 0x80 != 0,
            });
        }
        rest = if named { string(behind)?.1 } else { behind };
    }
    Some((kinds, rest))
}

/// What follows the attributes of a statement:
///
/// ```text
/// | count | 1 | NULLs | 1 | kinds and names | values | text
/// ```
pub(super) fn behind_attributes(bytes: &[u8]) -> Option<&[u8]> {
    let (count, rest) = encoded(bytes)?;
    let (_, rest) = encoded(rest)?;
    let count = usize::try_from(count).ok()?;
    if count == 0 {
        return Some(rest);
    }
    if count > MAX_ARGUMENTS {
        return None;
    }
    let (nulls, rest) = rest.split_at_checked(count.div_ceil(8))?;
    let (kinds, mut rest) = kinds(rest.get(1..)?, count, true)?;
    for (place, kind) in kinds.iter().enumerate() {
        let byte = nulls.get(place / 8)?;
        if byte >> (place % 8) & 1 == 0 {
            rest = kind.value(rest)?.1;
        }
    }
    Some(rest)
}

impl Kind {
    /// A value of this kind, and what follows it. The inner is none for NULL and for what is no text.
    pub(super) fn value(self, bytes: &[u8]) -> Option<(Option<SmolStr>, &[u8])> {
        let integer = |size: usize| {
            let (digits, rest) = bytes.split_at_checked(size)?;
            let value = digits.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
            let unused = 64_u32.saturating_sub(u32::try_from(size).ok()?.saturating_mul(8));
            let text = if self.unsigned {
                format_smolstr!("{value}")
            } else {
                // The sign is the first bit of as many as there are.
                let wide = (value.checked_shl(unused)? as i64).checked_shr(unused)?;
                format_smolstr!("{wide}")
            };
            Some((Some(text), rest))
        };
        match self.kind {
            1 => integer(1),
            2 | 13 => integer(2),
            3 | 9 => integer(4),
            8 => integer(8),
            4 => {
                let (digits, rest) = bytes.split_first_chunk()?;
                Some((Some(format_smolstr!("{}", f32::from_le_bytes(*digits))), rest))
            }
            5 => {
                let (digits, rest) = bytes.split_first_chunk()?;
                Some((Some(format_smolstr!("{}", f64::from_le_bytes(*digits))), rest))
            }
            6 => Some((None, bytes)),
            7 | 10 | 12 => {
                let (parts, rest) = string(bytes)?;
                Some((date(parts), rest))
            }
            11 => {
                let (parts, rest) = string(bytes)?;
                Some((time(parts), rest))
            }
            // Texts, decimals, JSON, bits, blobs.
            _ => {
                let (content, rest) = string(bytes)?;
                Some((std::str::from_utf8(content).ok().map(SmolStr::new), rest))
            }
        }
    }
}

/// ```text
/// | year (2) | month (1) | day (1) | hour (1) | minute (1) | second (1) | microseconds (4) |     as far as they are not 0
/// ```
fn date(parts: &[u8]) -> Option<SmolStr> {
    let part = |at: usize| parts.get(at).copied().unwrap_or_default();
    let year = short(parts, 0).unwrap_or_default();
    let day = format_smolstr!("{year:04}-{:02}-{:02}", part(2), part(3));
    Some(match parts.len() {
        0 | 4 => day,
        7 => format_smolstr!("{day} {:02}:{:02}:{:02}", part(4), part(5), part(6)),
        11 => {
            let micros = number(parts.get(7..)?, 4)?;
            format_smolstr!("{day} {:02}:{:02}:{:02}.{micros:06}", part(4), part(5), part(6))
        }
        _ => return None,
    })
}

/// ```text
/// | negative (1) | days (4) | hour (1) | minute (1) | second (1) | microseconds (4) |     as far as they are not 0
/// ```
fn time(parts: &[u8]) -> Option<SmolStr> {
    let part = |at: usize| parts.get(at).copied().unwrap_or_default();
    let sign = if part(0) == 1 { "-" } else { "" };
    let days = parts.get(1..).and_then(|rest| number(rest, 4)).unwrap_or_default();
    let hours = u64::from(days).saturating_mul(24).saturating_add(u64::from(part(5)));
    let whole = format_smolstr!("{sign}{hours:02}:{:02}:{:02}", part(6), part(7));
    Some(match parts.len() {
        0 | 8 => whole,
        12 => format_smolstr!("{whole}.{:06}", number(parts.get(8..)?, 4)?),
        _ => return None,
    })
}

/// The database that `COM_CHANGE_USER` names:
///
/// ```text
/// | 0x11 | user | 0 | length (1) | answer | database | 0 | ...
/// ```
pub(super) fn changed_database(payload: &[u8]) -> Option<SmolStr> {
    let (_, rest) = terminated(payload.get(1..)?)?;
    let (length, rest) = rest.split_first()?;
    let (name, _) = terminated(rest.get(usize::from(*length)..)?)?;
    (!name.is_empty()).then(|| SmolStr::from(String::from_utf8_lossy(name)))
}
