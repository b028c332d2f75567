//! Messages to systemd's journal (systemd.io, "Native Journal Protocol").
//!
//! ```text
//! NAME=value\n                            a value without a line feed
//! NAME\n | length, 64 bits LE | value\n   any value
//! ```
use smol_str::SmolStr;

use super::MAX_ATTRIBUTES;

/// Names are short; one that is longer is none.
const MAX_NAME_BYTES: usize = 64;

/// A field and what it holds.
type Field = (SmolStr, Vec<u8>);

/// What a message says, and its other fields. What is cut off is told as far as it goes.
pub(super) fn parse(mut bytes: &[u8]) -> (Vec<u8>, Vec<Field>) {
    let mut message = Vec::new();
    let mut fields = Vec::new();
    while let Some((name, value, rest)) = field(bytes) {
        bytes = rest;
        if name == "MESSAGE" {
            message = value.to_vec();
        } else if fields.len() < MAX_ATTRIBUTES {
            fields.push((name, value.to_vec()));
        }
    }
    (message, fields)
}

/// The first field, and what is behind it.
fn field(bytes: &[u8]) -> Option<(SmolStr, &[u8], &[u8])> {
    let end = memchr::memchr2(b'=', b'\n', bytes)?;
    let (name, behind) = bytes.split_at_checked(end)?;
    let is_name = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.iter().all(is_name) {
        return None;
    }
    let name = SmolStr::from(std::str::from_utf8(name).ok()?);
    let (mark, behind) = behind.split_first()?;
    if *mark == b'=' {
        let end = memchr::memchr(b'\n', behind).unwrap_or(behind.len());
        let (value, rest) = behind.split_at_checked(end)?;
        return Some((name, value, rest.get(1..).unwrap_or_default()));
    }
    let (length, behind) = behind.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let (value, rest) = behind.split_at_checked(length).unwrap_or((behind, &[]));
    Some((name, value, rest.get(1..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], message: &str, fields: &[(&str, &str)]) {
        let (got, others) = parse(bytes);
        assert_eq!(String::from_utf8_lossy(&got), message);
        let others: Vec<_> = others
            .iter()
            .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value).into_owned()))
            .collect();
        let want: Vec<_> = fields
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        assert_eq!(others, want);
    }

    #[test]
    fn messages() {
        check(
            b"PRIORITY=3\nMESSAGE=disk full\nCODE_LINE=7\n",
            "disk full",
            &[("PRIORITY", "3"), ("CODE_LINE", "7")],
        );
        check(
            b"MESSAGE\n\x09\0\0\0\0\0\0\0one\ntwo=2\nPRIORITY=6\n",
            "one\ntwo=2",
            &[("PRIORITY", "6")],
        );
        // The last line feed may be missing, and a value may have an equals sign.
        check(b"MESSAGE=a=b", "a=b", &[]);
    }

    #[test]
    fn what_is_broken_or_cut_off() {
        check(b"", "", &[]);
        check(b"MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xffcut", "cut", &[]);
        check(b"PRIORITY=3\nMESSAGE\n\x04\0", "", &[("PRIORITY", "3")]);
        check(b"PRIORITY=3\nlower=1\nMESSAGE=x\n", "", &[("PRIORITY", "3")]);
        check(b"=x\nMESSAGE=x\n", "", &[]);
        let many = "A=1\n".repeat(1000);
        assert_eq!(parse(many.as_bytes()).1.len(), MAX_ATTRIBUTES);
    }
}
