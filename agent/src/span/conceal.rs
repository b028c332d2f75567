//! Hides values in bodies by their key.
//!
//! A body may be cut anywhere, and what it says of its type may be wrong: so nothing here needs a document that is whole
//! or valid, and where it is in doubt it hides more, not less.
use std::borrow::Cow;

use super::policy::REDACTED;

/// `"key" : value` anywhere (RFC 8259), whole or cut: the value becomes a text. `hidden` judges the key.
pub(super) fn json<'a>(bytes: &'a [u8], hidden: &dyn Fn(&[u8]) -> bool) -> Cow<'a, [u8]> {
    let mut out = Vec::new();
    let (mut at, mut told) = (0, 0);
    // Each quote may begin a key: in a text that is no JSON they need not come in pairs.
    while let Some(quote) = find(bytes, at, |byte| byte == b'"') {
        at = quote.saturating_add(1);
        let Some(value) = key(bytes, quote, hidden) else {
            continue;
        };
        out.extend_from_slice(bytes.get(told..value).unwrap_or_default());
        out.extend_from_slice(format!("\"{REDACTED}\"").as_bytes());
        told = value_end(bytes, value);
        at = told;
    }
    if out.is_empty() {
        return Cow::Borrowed(bytes);
    }
    out.extend_from_slice(bytes.get(told..).unwrap_or_default());
    Cow::Owned(out)
}

/// `key=value&key=value` (`application/x-www-form-urlencoded`), whole or cut.
pub(super) fn form(bytes: &[u8], hidden: &dyn Fn(&[u8]) -> bool) -> Vec<u8> {
    let shown = |pair: &[u8]| match pair.iter().position(|byte| *byte == b'=') {
        Some(equals) => {
            let (name, _) = pair.split_at_checked(equals).unwrap_or((pair, &[]));
            // `%41` is `A`, and `+` is a space.
            let spaced: Vec<u8> = name
                .iter()
                .map(|byte| if *byte == b'+' { b' ' } else { *byte })
                .collect();
            let decoded: Vec<u8> = percent_encoding::percent_decode(&spaced).collect();
            // Some frameworks write the path to a value as `user[password]`.
            let last = decoded.strip_suffix(b"]").and_then(|rest| {
                let open = rest.iter().rposition(|byte| *byte == b'[')?;
                rest.get(open.saturating_add(1)..)
            });
            if hidden(decoded.trim_ascii()) || last.is_some_and(hidden) {
                [name, b"=", REDACTED.as_bytes()].concat()
            } else {
                pair.to_vec()
            }
        }
        None => pair.to_vec(),
    };
    let pairs: Vec<Vec<u8>> = bytes.split(|byte| *byte == b'&').map(shown).collect();
    pairs.join(&b'&')
}

/// `key=value` and `key: value` anywhere in a line: the value up to the next space, `&`, `,`, `;` or, where it is quoted, to the
/// end of the quotes. What stands behind the name of a header is hidden to the end of the line: it may be several words.
pub(super) fn pairs<'a>(text: &'a str, hidden: &dyn Fn(&[u8]) -> bool) -> Cow<'a, str> {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let mut out = String::new();
    let (mut at, mut told) = (0_usize, 0_usize);
    while let Some(sign) = find(text.as_bytes(), at, |byte| matches!(byte, b'=' | b':')) {
        let before = text.as_bytes().get(at..sign).unwrap_or_default();
        let letters = before.iter().rev().take_while(|byte| is_name(byte)).count();
        let name = before.get(before.len().saturating_sub(letters)..).unwrap_or_default();
        at = sign.saturating_add(1);
        if name.is_empty() || !hidden(name) {
            continue;
        }
        let behind = text.get(at..).unwrap_or_default();
        let value = behind.trim_start_matches(' ');
        let start = text.len().saturating_sub(value.len());
        let end = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value
                .get(1..)
                .and_then(|inner| inner.find(quote))
                .map(|end| end.saturating_add(2)),
            _ if text.as_bytes().get(sign) == Some(&b':') => value.find('\n'),
            _ => value.find([' ', '&', ',', ';', '\n', '"', '\'', ')', '}', ']']),
        };
        out.push_str(text.get(told..start).unwrap_or_default());
        out.push_str(REDACTED);
        told = end.map_or(text.len(), |end| start.saturating_add(end));
        at = told;
    }
    if out.is_empty() {
        return Cow::Borrowed(text);
    }
    out.push_str(text.get(told..).unwrap_or_default());
    Cow::Owned(out)
}

/// Where the value of the key that begins with the quote at `quote` begins, if it is one to be hidden.
fn key(bytes: &[u8], quote: usize, hidden: &dyn Fn(&[u8]) -> bool) -> Option<usize> {
    /// No key is longer, written with an escape for each character.
    const MAX_KEY: usize = 1024;
    let end = quote.saturating_add(MAX_KEY).min(bytes.len());
    let literal_end = string_end(bytes.get(..end)?, quote)?;
    let colon = find(bytes, literal_end, |byte| !byte.is_ascii_whitespace())?;
    if bytes.get(colon) != Some(&b':') {
        return None;
    }
    let value = find(bytes, colon.saturating_add(1), |byte| !byte.is_ascii_whitespace())?;
    let literal = bytes.get(quote..literal_end)?;
    let raw = literal.get(1..literal.len().saturating_sub(1))?;
    let is_hidden = match serde_json::from_slice::<String>(literal) {
        Ok(unescaped) => hidden(unescaped.as_bytes()),
        Err(_) => hidden(raw),
    };
    is_hidden.then_some(value)
}

/// Just behind the value that begins at `start`, or the end of what there is of it.
fn value_end(bytes: &[u8], start: usize) -> usize {
    let is_end = |byte: u8| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace();
    let mut at = start;
    let mut depth = 0_usize;
    while let Some(byte) = bytes.get(at) {
        at = match byte {
            b'"' => string_end(bytes, at).unwrap_or(bytes.len()),
            b'{' | b'[' => {
                depth = depth.saturating_add(1);
                at.saturating_add(1)
            }
            b'}' | b']' if depth > 0 => {
                depth = depth.saturating_sub(1);
                at.saturating_add(1)
            }
            _ if depth > 0 => at.saturating_add(1),
            _ => return find(bytes, at, is_end).unwrap_or(bytes.len()),
        };
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

/// Just behind the string that begins with the quote at `quote`, if its end is there.
fn string_end(bytes: &[u8], quote: usize) -> Option<usize> {
    let mut at = quote.saturating_add(1);
    loop {
        at = match bytes.get(at)? {
            b'"' => return at.checked_add(1),
            b'\\' => at.saturating_add(2),
            _ => at.saturating_add(1),
        };
    }
}

/// The first byte from `from` on for which `is` holds.
fn find(bytes: &[u8], from: usize, is: impl Fn(u8) -> bool) -> Option<usize> {
    let found = bytes.get(from..)?.iter().position(|byte| is(*byte))?;
    from.checked_add(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(key: &[u8]) -> bool {
        key.eq_ignore_ascii_case(b"password")
    }

    #[track_caller]
    fn check(how: impl Fn(&[u8]) -> Vec<u8>, lines: &[(&str, &str)]) {
        for (text, expected) in lines {
            let got = how(text.as_bytes());
            assert_eq!(String::from_utf8_lossy(&got), *expected, "of {text}");
        }
    }

    #[test]
    fn json_values() {
        check(
            |text| json(text, &hidden).into_owned(),
            &[
                (
                    r#"{"a":1,"password":"x","b":2}"#,
                    r#"{"a":1,"password":"REDACTED","b":2}"#,
                ),
                (r#"{"Password" : 12.5 , "b":2}"#, r#"{"Password" : "REDACTED" , "b":2}"#),
                (r#"{"password":null}"#, r#"{"password":"REDACTED"}"#),
                (r#"{"password":"a\"b,}","c":"d"}"#, r#"{"password":"REDACTED","c":"d"}"#),
                (
                    r#"{"password":{"x":["]}","y"],"z":1},"c":3}"#,
                    r#"{"password":"REDACTED","c":3}"#,
                ),
                (
                    r#"[{"password":["x"]},{"password":true}]"#,
                    r#"[{"password":"REDACTED"},{"password":"REDACTED"}]"#,
                ),
                (r#"{"u":{"password":"x"}}"#, r#"{"u":{"password":"REDACTED"}}"#),
                (r#"{"pass\u0077ord":"x"}"#, r#"{"pass\u0077ord":"REDACTED"}"#),
                // Not the key but a value, and another key.
                (r#"["password","x"]"#, r#"["password","x"]"#),
                (r#"{"password2":"x"}"#, r#"{"password2":"x"}"#),
                // Lines of documents, and text around them.
                (
                    "{\"password\":1}\n{\"password\":2}",
                    "{\"password\":\"REDACTED\"}\n{\"password\":\"REDACTED\"}",
                ),
                ("5\" long {\"password\":\"x\"}", "5\" long {\"password\":\"REDACTED\"}"),
                ("", ""),
            ],
        );
    }

    #[test]
    fn json_cut_anywhere_tells_nothing_of_the_value() {
        let text = r#"{"a":"b","password": {"in":["topsecret", "topsecret"]}, "c":1, "password":"topsecret"}"#;
        for cut in 0..=text.len() {
            let got = json(&text.as_bytes()[..cut], &hidden);
            assert!(!String::from_utf8_lossy(&got).contains("top"), "cut at {cut}");
        }
        let text = r#"{"password":"tops\"ecr\\"#;
        assert_eq!(json(text.as_bytes(), &hidden)[..], br#"{"password":"REDACTED""#[..]);
    }

    #[test]
    fn values_in_lines() {
        let cases = [
            ("user=a password=x y", "user=a password=REDACTED y"),
            ("password=\"x y\" b=1", "password=REDACTED b=1"),
            (
                "GET /a?password=x&b=1 HTTP/1.1",
                "GET /a?password=REDACTED&b=1 HTTP/1.1",
            ),
            ("got Password: Bearer abc\nnext", "got Password: REDACTED\nnext"),
            ("é=password=x", "é=password=REDACTED"),
            ("mypassword=x: password=", "mypassword=x: password=REDACTED"),
            ("12:00:01 plain = text", "12:00:01 plain = text"),
            ("a=é password: x é", "a=é password: REDACTED"),
            ("", ""),
        ];
        for (text, want) in cases {
            let shown = pairs(text, &hidden);
            assert_eq!(shown, want, "of {text}");
            assert_eq!(
                matches!(shown, Cow::Borrowed(_)),
                text == want,
                "what hides nothing is not copied: {text}"
            );
        }
    }

    #[test]
    fn form_values() {
        check(
            |text| form(text, &hidden),
            &[
                ("a=1&password=x&b=2", "a=1&password=REDACTED&b=2"),
                ("PASSWORD=x", "PASSWORD=REDACTED"),
                ("pass%77ord=x", "pass%77ord=REDACTED"),
                (
                    "user[password]=x&user%5Bpassword%5D=y",
                    "user[password]=REDACTED&user%5Bpassword%5D=REDACTED",
                ),
                ("password=a=b", "password=REDACTED"),
                ("password", "password"),
                ("b=password", "b=password"),
                ("%=1&%4=2&%zz=3", "%=1&%4=2&%zz=3"),
                ("", ""),
            ],
        );
        let text = "a=1&password=topsecret";
        for cut in 0..=text.len() {
            let got = form(&text.as_bytes()[..cut], &hidden);
            assert!(!String::from_utf8_lossy(&got).contains("=top"), "cut at {cut}");
        }
    }
}
