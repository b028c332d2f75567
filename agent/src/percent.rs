//! Percent-encoded values of environment variables (RFC 3986 section 2.1).
#![forbid(unsafe_code)]

/// What a value says; none where a `%` is not followed by two digits.
pub(crate) fn decoded(text: &str) -> Option<Vec<u8>> {
    let is_digits = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
    let mut behind_signs = text.split('%').skip(1);
    let is_sound = behind_signs.all(|behind| behind.as_bytes().get(..2).is_some_and(is_digits));
    is_sound.then(|| percent_encoding::percent_decode_str(text).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&[u8]>) {
        assert_eq!(decoded(text).as_deref(), expected, "{text}");
    }

    #[test]
    fn values() {
        check("a%20b%2c+", Some(b"a b,+"));
        check("%ff", Some(b"\xff"));
        check("", Some(b""));
        for wrong in ["%", "a%4", "%4g", "%%41", "%4%41", "%+1"] {
            check(wrong, None);
        }
    }
}
