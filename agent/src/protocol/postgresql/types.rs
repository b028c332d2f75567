//! Parameters of statements: their types, and their values as text.
use std::sync::{Arc, OnceLock};

use smol_str::{SmolStr, format_smolstr};

use super::wire::number;
use crate::protocol::call::MAX_ARGUMENTS;

/// The types of a statement's parameters, once they are known: the client names them when it prepares the statement, or the
/// server when it is asked to describe it. Who binds the statement has the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Types(Arc<OnceLock<Vec<u32>>>);

impl Types {
    /// Those of a `Parse`, behind the statement's text. A client that leaves one to the server has said nothing.
    pub(super) fn prepared(bytes: &[u8]) -> Self {
        let types = Self::default();
        match list(bytes) {
            Some(list) if !list.is_empty() && !list.contains(&0) => types.set(list),
            _ => {}
        }
        types
    }

    /// Those of a `ParameterDescription`.
    pub(super) fn described(&self, bytes: &[u8]) {
        if let Some(list) = list(bytes) {
            self.set(list);
        }
    }

    fn set(&self, list: Vec<u32>) {
        // They do not change: a statement of this name with others is another.
        let _known = self.0.set(list);
    }

    fn of(&self, place: usize) -> Option<u32> {
        self.0.get()?.get(place).copied()
    }
}

/// Types of parameters, as far as they are of use:
///
/// ```text
/// | parameters (2) | type (4) | ...
/// ```
fn list(bytes: &[u8]) -> Option<Vec<u32>> {
    let count = usize::from(short(bytes)?).min(MAX_ARGUMENTS);
    let types = bytes.get(2..)?.get(..count.checked_mul(4)?)?;
    Some(types.chunks_exact(4).filter_map(|bytes| number(bytes, 0)).collect())
}

fn short(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?))
}

/// The parameters of a `Bind`, as far as they are there:
///
/// ```text
/// | formats (2) | format (2) ... | parameters (2) | length (4), -1 for NULL | value | ...
/// ```
pub(super) fn values(bytes: &[u8], types: &Types) -> Vec<Option<SmolStr>> {
    let parse = || {
        let formats = usize::from(short(bytes)?);
        let codes = bytes.get(2..)?.get(..formats.checked_mul(2)?)?;
        let binary = |place: usize| {
            let place = if formats == 1 { 0 } else { place.saturating_mul(2) };
            codes.get(place..).and_then(short) == Some(1)
        };
        let mut rest = bytes.get(2_usize.checked_add(codes.len())?..)?;
        let count = usize::from(short(rest)?);
        rest = rest.get(2..)?;
        let mut values = Vec::new();
        for place in 0..count.min(MAX_ARGUMENTS) {
            let Some(length) = number(rest, 0) else { break };
            rest = rest.get(4..).unwrap_or_default();
            if length == u32::MAX {
                values.push(None);
                continue;
            }
            let Some(value) = rest.get(..length as usize) else {
                break;
            };
            values.push(if binary(place) {
                types.of(place).and_then(|kind| text(kind, value))
            } else {
                Some(SmolStr::from(String::from_utf8_lossy(value)))
            });
            rest = rest.get(length as usize..).unwrap_or_default();
        }
        Some(values)
    };
    parse().unwrap_or_default()
}

/// A value in binary as its type's text (`pg_type.dat` numbers the types); none where the type is another.
fn text(kind: u32, value: &[u8]) -> Option<SmolStr> {
    let characters = |value: &[u8]| Some(SmolStr::from(String::from_utf8_lossy(value)));
    match (kind, value) {
        // bool
        (16, [byte]) => Some(SmolStr::new_static(if *byte == 0 { "f" } else { "t" })),
        // int8, int2, int4, oid
        (20, _) => Some(format_smolstr!("{}", i64::from_be_bytes(value.try_into().ok()?))),
        (21, _) => Some(format_smolstr!("{}", i16::from_be_bytes(value.try_into().ok()?))),
        (23, _) => Some(format_smolstr!("{}", i32::from_be_bytes(value.try_into().ok()?))),
        (26, _) => Some(format_smolstr!("{}", u32::from_be_bytes(value.try_into().ok()?))),
        // float4, float8
        (700, _) => Some(format_smolstr!("{}", f32::from_be_bytes(value.try_into().ok()?))),
        (701, _) => Some(format_smolstr!("{}", f64::from_be_bytes(value.try_into().ok()?))),
        // name, text, json, xml, unknown, bpchar, varchar
        (19 | 25 | 114 | 142 | 705 | 1042 | 1043, _) => characters(value),
        // jsonb: a version before the text
        (3802, [1, value @ ..]) => characters(value),
        // uuid
        (2950, _) => {
            let value = u128::from_be_bytes(value.try_into().ok()?);
            let hex = format!("{value:032x}");
            let parts = [
                hex.get(..8)?,
                hex.get(8..12)?,
                hex.get(12..16)?,
                hex.get(16..20)?,
                hex.get(20..)?,
            ];
            Some(SmolStr::new(parts.join("-")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value in binary of a type, as a statement's only parameter.
    #[track_caller]
    fn check(kind: u32, value: &[u8], expected: Option<&str>) {
        let types = Types::prepared(&[&[0, 1], &kind.to_be_bytes()[..]].concat());
        let length = u32::try_from(value.len()).expect("short");
        let bind = [&[0, 1, 0, 1, 0, 1], &length.to_be_bytes()[..], value].concat();
        assert_eq!(values(&bind, &types), [expected.map(SmolStr::new)], "{kind} {value:?}");
    }

    #[test]
    fn values_in_binary() {
        check(16, &[1], Some("t"));
        check(20, &(-7_i64).to_be_bytes(), Some("-7"));
        check(21, &300_i16.to_be_bytes(), Some("300"));
        check(23, &7_i32.to_be_bytes(), Some("7"));
        check(701, &0.5_f64.to_be_bytes(), Some("0.5"));
        check(25, b"id=7", Some("id=7"));
        check(3802, b"\x01{}", Some("{}"));
        check(2950, &[0x12; 16], Some("12121212-1212-1212-1212-121212121212"));
        // Lengths that do not fit, a version that is not known, and a type of somebody's own.
        for (kind, value) in [
            (20, &b"1"[..]),
            (16, b"12"),
            (3802, b"\x02{}"),
            (2950, b"1"),
            (90_000, b"1"),
        ] {
            check(kind, value, None);
        }
    }

    #[test]
    fn types_that_the_server_tells() {
        let bind = [0, 1, 0, 1, 0, 1, 0, 0, 0, 1, b'a'];
        for said in [&[0, 1, 0, 0, 0, 0][..], &[0, 0]] {
            let types = Types::prepared(said);
            assert_eq!(values(&bind, &types), [None]);
            types.described(&[0, 1, 0, 0, 0, 25]);
            assert_eq!(values(&bind, &types), [Some(SmolStr::new("a"))]);
        }
        // What is cut says nothing.
        let cut = Types::default();
        cut.described(&[0, 2, 0, 0, 0, 25]);
        assert_eq!(values(&bind, &cut), [None]);
    }
}
