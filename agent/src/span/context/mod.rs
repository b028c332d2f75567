//! Trace contexts that come with messages, in the formats in use.
//!
//! In: the header fields of a request. Out: at most one [`RemoteContext`], of the first format in [`FORMATS`] that is
//! there and valid. What is there and invalid is counted and otherwise treated as absent, as every one of the
//! specifications asks.
mod b3;
mod datadog;
mod jaeger;
mod w3c;
mod xray;

use crate::protocol::http1::Fields;
use crate::span::RemoteContext;

/// Reads one format.
struct Format {
    /// Its reader.
    read: fn(&Fields) -> Found,
    /// Raised when it is there and invalid.
    invalid: &'static str,
}

/// What a reader found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    /// The format is not used in this message, or it only carries a sampling decision.
    Absent,
    /// It is used wrongly.
    Invalid,
    /// A context.
    Context(RemoteContext),
    /// A context whose vendor state is invalid and left out.
    ContextWithoutState(RemoteContext),
}

/// Every format, the one that wins first.
const FORMATS: [Format; 6] = [
    Format {
        read: w3c::read,
        invalid: "context.invalid.w3c",
    },
    Format {
        read: b3::read_single,
        invalid: "context.invalid.b3",
    },
    Format {
        read: b3::read_multi,
        invalid: "context.invalid.b3multi",
    },
    Format {
        read: jaeger::read,
        invalid: "context.invalid.jaeger",
    },
    Format {
        read: xray::read,
        invalid: "context.invalid.xray",
    },
    Format {
        read: datadog::read,
        invalid: "context.invalid.datadog",
    },
];

/// The trace context among these fields; `count` is called with the counters to raise.
pub fn extract(fields: &Fields, mut count: impl FnMut(&'static str)) -> Option<RemoteContext> {
    for format in &FORMATS {
        match (format.read)(fields) {
            Found::Absent => {}
            Found::Invalid => count(format.invalid),
            Found::Context(context) => return Some(context),
            Found::ContextWithoutState(context) => {
                count("context.invalid.tracestate");
                return Some(context);
            }
        }
    }
    None
}

/// The values of a field, in order, surrounding white space removed; bytes that are not UTF-8 make a value empty, which
/// no format accepts.
fn values<'a>(fields: &'a Fields, name: &'static str) -> impl Iterator<Item = &'a str> {
    fields
        .all(name)
        .map(|value| std::str::from_utf8(value).unwrap_or_default().trim_matches([' ', '\t']))
}

/// The first value of a field.
fn value<'a>(fields: &'a Fields, name: &'static str) -> Option<&'a str> {
    values(fields, name).next()
}

/// A number of at most `N` bytes written in 1 to 2`N` hexadecimal digits of either case, big endian.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.is_empty() || text.len() > N.saturating_mul(2) {
        return None;
    }
    let mut out = [0; N];
    for (index, digit) in text.bytes().rev().enumerate() {
        let nibble = u8::try_from(char::from(digit).to_digit(16)?).ok()?;
        let place = out.iter_mut().rev().nth(index / 2)?;
        *place |= if index % 2 == 0 { nibble } else { nibble << 4 };
    }
    Some(out)
}

/// The same, refusing zero, which is no identifier in any format.
fn id<const N: usize>(text: &str) -> Option<[u8; N]> {
    hex(text).filter(|id| id.iter().any(|byte| *byte != 0))
}

/// Sixteen bytes of two halves.
fn halves(high: [u8; 8], low: [u8; 8]) -> [u8; 16] {
    (u128::from(u64::from_be_bytes(high)) << 64 | u128::from(u64::from_be_bytes(low))).to_be_bytes()
}

#[cfg(test)]
mod tests;
