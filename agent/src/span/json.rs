//! Looks into JSON that may be cut off: what is whole is found, without a tree of it being made.
use std::borrow::Cow;

/// The members of the object that `text` begins with, as far as they are whole: key and value as they were written.
pub(super) fn members(text: &[u8]) -> impl Iterator<Item = (Cow<'_, str>, &[u8])> {
    let mut rest = inside(text, b'{');
    std::iter::from_fn(move || {
        let (key, behind) = value(rest?)?;
        let key = string(key)?;
        let behind = blank(behind).strip_prefix(b":")?;
        let (found, behind) = value(behind)?;
        rest = next(behind);
        Some((key, found))
    })
}

/// The elements of the array that `text` begins with, as far as they are whole.
pub(super) fn elements(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = inside(text, b'[');
    std::iter::from_fn(move || {
        let (found, behind) = value(rest?)?;
        rest = next(behind);
        Some(found)
    })
}

/// The same, if all of it is there.
pub(super) fn whole_elements(text: &[u8]) -> Option<Vec<&[u8]>> {
    let (array, behind) = value(text)?;
    let is_whole = array.first() == Some(&b'[') && blank(behind).is_empty();
    is_whole.then(|| elements(array).collect())
}

/// The member of this name.
pub(super) fn member<'a>(text: &'a [u8], name: &str) -> Option<&'a [u8]> {
    members(text).find(|(key, _)| key == name).map(|(_, value)| value)
}

/// The text of a value that is a string.
pub(super) fn string(value: &[u8]) -> Option<Cow<'_, str>> {
    let inner = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if inner.contains(&b'\\') {
        return serde_json::from_slice::<String>(value).ok().map(Cow::Owned);
    }
    std::str::from_utf8(inner).ok().map(Cow::Borrowed)
}

/// The number of a value that is a whole one.
pub(super) fn integer(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn inside(text: &[u8], open: u8) -> Option<&[u8]> {
    blank(text).strip_prefix(&[open])
}

/// What follows a value and a comma.
fn next(behind: &[u8]) -> Option<&[u8]> {
    blank(behind).strip_prefix(b",")
}

fn blank(text: &[u8]) -> &[u8] {
    text.trim_ascii_start()
}

/// The value that `text` begins with, and what is behind it; none if it is not whole.
fn value(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = blank(text);
    let end = match text.first()? {
        b'"' => quoted(text)?,
        b'{' | b'[' => nested(text)?,
        // A number or a word is whole if something follows.
        _ => text
            .iter()
            .position(|byte| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace())?,
    };
    if end == 0 {
        return None;
    }
    text.split_at_checked(end)
}

/// Where the string ends that `text` begins with.
fn quoted(text: &[u8]) -> Option<usize> {
    let mut at = 1_usize;
    loop {
        let found = memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        at = at.checked_add(found)?;
        if text.get(at) == Some(&b'"') {
            return at.checked_add(1);
        }
        at = at.checked_add(2)?;
    }
}

/// Where the object or array ends that `text` begins with.
fn nested(text: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0_usize;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => {
                at = at.checked_add(quoted(text.get(at..)?)?)?;
                continue;
            }
            b'{' | b'[' => depth = depth.checked_add(1)?,
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return at.checked_add(1);
                }
            }
            _ => {}
        }
        at = at.checked_add(1)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let found: Vec<(String, String)> = members(text.as_bytes())
            .map(|(key, value)| (key.into_owned(), String::from_utf8_lossy(value).into_owned()))
            .collect();
        let found: Vec<(&str, &str)> = found.iter().map(|(key, value)| (&**key, &**value)).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn what_is_whole_is_found() {
        check(
            r#" {"a": 1, "b":"x,}\"" , "c":{"d":[1,"]"]},"e":null}"#,
            &[
                ("a", "1"),
                ("b", r#""x,}\"""#),
                ("c", r#"{"d":[1,"]"]}"#),
                ("e", "null"),
            ],
        );
        for (cut, count) in [
            ("", 0),
            ("{", 0),
            (r#"{"a":1"#, 0),
            (r#"{"a":1,"b":"#, 1),
            (r#"{"a":[1],"b":[1"#, 1),
        ] {
            assert_eq!(members(cut.as_bytes()).count(), count, "{cut}");
        }
        for none in ["[1]", "text", r#"{"a" 1}"#, "{,}", "{1:2}", r#"{"a":}"#] {
            check(none, &[]);
        }
        let found: Vec<&[u8]> = elements(br#"[1, {"a":2} ,"x"]"#).collect();
        assert_eq!(found, [&b"1"[..], br#"{"a":2}"#, br#""x""#]);
        assert_eq!(whole_elements(b" [1,2]\n"), Some(vec![&b"1"[..], b"2"]));
        for cut in [&b"[1,2"[..], b"[1,[2]", b"{}", b"[1]x", b""] {
            assert_eq!(whole_elements(cut), None, "{cut:?}");
        }
        assert_eq!(string(br#""a\u00e9\n""#).as_deref(), Some("a\u{e9}\n"));
    }
}
