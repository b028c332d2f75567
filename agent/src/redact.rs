//! What is taken for a secret wherever it stands: names that values are secret by, numbers like those of cards, and passwords
//! in addresses and command lines.
//!
//! Nothing here can know: what looks like a secret is hidden, and a secret that looks like something else is for the user's
//! own rules.
#![forbid(unsafe_code)]
use std::borrow::Cow;

/// What stands in place of a value that is not shown.
pub const REDACTED: &str = "REDACTED";

/// Names of secrets, without what stands between their words.
const NAMES: &[&str] = &[
    "authorization",
    "cardnumber",
    "cookie",
    "creditcard",
    "cvc",
    "cvv",
    "jwt",
    "pass",
    "pin",
    "pwd",
    "setcookie",
    "sig",
    "signature",
    "ssn",
    "token",
];
/// The same, whatever stands before them.
const ENDINGS: &[&str] = &[
    "accesskey",
    "accesskeyid",
    "accesstoken",
    "apikey",
    "authtoken",
    "clientsecret",
    "credential",
    "credentials",
    "csrftoken",
    "idtoken",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "proxyauthorization",
    "refreshtoken",
    "secret",
    "secretkey",
    "securitytoken",
    "sessionid",
    "sessiontoken",
    "xsrftoken",
];
/// The longest name that is looked at: the end of a longer one tells as much.
const NAME_BYTES: usize = 64;

/// Whether a value is secret by the name it has, such as `user_password`, `X-Api-Key` or `dbPassword`.
pub fn is_secret(name: &[u8]) -> bool {
    // `spring.datasource.password` is one, `session.id` is none.
    let name = name.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    let mut squashed = [0; NAME_BYTES];
    let mut from = NAME_BYTES;
    let letters = name.iter().rev().filter(|byte| !matches!(byte, b'-' | b'_' | b' '));
    for byte in letters.take(NAME_BYTES) {
        from = from.saturating_sub(1);
        if let Some(place) = squashed.get_mut(from) {
            *place = byte.to_ascii_lowercase();
        }
    }
    let squashed = squashed.get(from..).unwrap_or_default();
    // Each attribute of each span is asked for: nearly all are told from every secret by their last letters.
    tail(squashed).is_some_and(|tail| TAILS.contains(&tail))
        && (NAMES.iter().any(|known| squashed == known.as_bytes())
            || ENDINGS.iter().any(|ending| squashed.ends_with(ending.as_bytes())))
}

/// The last letters of each name and ending.
const TAILS: [[u8; 3]; NAMES.len() + ENDINGS.len()] = {
    let mut tails = [[0; 3]; NAMES.len() + ENDINGS.len()];
    let mut at = 0;
    while at < tails.len() {
        let name = if at < NAMES.len() {
            NAMES[at]
        } else {
            ENDINGS[at - NAMES.len()]
        };
        tails[at] = match tail(name.as_bytes()) {
            Some(tail) => tail,
            None => panic!("a name of less than three letters"),
        };
        at += 1;
    }
    tails
};

const fn tail(name: &[u8]) -> Option<[u8; 3]> {
    match name.last_chunk() {
        Some(tail) => Some(*tail),
        None => None,
    }
}

/// A text without numbers like those of cards and passwords in addresses.
pub fn text(text: &str) -> Cow<'_, str> {
    match cards(text) {
        Cow::Borrowed(text) => addresses(text),
        Cow::Owned(shown) => Cow::Owned(addresses(&shown).into_owned()),
    }
}

/// 13 to 19 digits, in groups or not, that begin as numbers of cards do and pass the test they pass (ISO/IEC 7812).
fn cards(text: &str) -> Cow<'_, str> {
    const LEAST: usize = 13;
    const MOST: usize = 19;
    if text.len() < LEAST {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let byte = |at: usize| bytes.get(at).copied().unwrap_or(b' ');
    let (mut out, mut told, mut at) = (String::new(), 0, 0);
    while at < bytes.len() {
        if !byte(at).is_ascii_digit() {
            at += 1;
            continue;
        }
        let (start, mut end) = (at, at + 1);
        // Groups are parted by one character, the same all along.
        let mut between = None;
        loop {
            let next = byte(end);
            if next.is_ascii_digit() {
                end += 1;
            } else if matches!(next, b' ' | b'-')
                && byte(end + 1).is_ascii_digit()
                && between.is_none_or(|it| it == next)
            {
                between = Some(next);
                end += 2;
            } else {
                break;
            }
        }
        at = end;
        let before = if start == 0 { b' ' } else { byte(start - 1) };
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
        // Behind a point stand decimals.
        if is_part(before) || before == b'.' || is_part(byte(end)) || !(b'2'..=b'6').contains(&byte(start)) {
            continue;
        }
        let digits: Vec<u8> = bytes
            .get(start..end)
            .unwrap_or_default()
            .iter()
            .filter(|byte| byte.is_ascii_digit())
            .map(|byte| byte - b'0')
            .take(MOST + 1)
            .collect();
        if (LEAST..=MOST).contains(&digits.len()) && passes(&digits) {
            out.push_str(text.get(told..start).unwrap_or_default());
            out.push_str(REDACTED);
            told = end;
        }
    }
    if told == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(text.get(told..).unwrap_or_default());
    Cow::Owned(out)
}

/// Luhn's test: every second digit from the last but one on counts twice.
fn passes(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, u32::from(*digit)) {
            (0, digit) => digit,
            (_, digit) if digit > 4 => digit * 2 - 9,
            (_, digit) => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10) && digits.iter().any(|digit| Some(digit) != digits.first())
}

/// `scheme://user:password@host`: who it is and the password are hidden.
fn addresses(text: &str) -> Cow<'_, str> {
    if memchr::memchr(b'@', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    let mut told = 0;
    for at in memchr::memmem::find_iter(text.as_bytes(), b"://") {
        let start = at + 3;
        let rest = text.get(start..).unwrap_or_default();
        let end = rest
            .find(|char: char| matches!(char, '/' | '?' | '#' | '"' | '\'' | '<' | '>') || char.is_whitespace())
            .unwrap_or(rest.len());
        let Some(sign) = rest.get(..end).and_then(|authority| authority.rfind('@')) else {
            continue;
        };
        if sign > 0 && start >= told {
            out.push_str(text.get(told..start).unwrap_or_default());
            out.push_str(REDACTED);
            told = start + sign;
        }
    }
    if told == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(text.get(told..).unwrap_or_default());
    Cow::Owned(out)
}

/// A command line as it may be shown: `--password=x`, `--password x`, `PASSWORD=x`, `-Ddb.password=x`, and what [`text`] hides.
pub fn arguments(args: Vec<String>) -> Vec<String> {
    let mut value_is_secret = false;
    args.into_iter()
        .map(|arg| {
            let name_end = arg.find(['=', ':']).unwrap_or(arg.len());
            let name = arg.get(..name_end).unwrap_or_default();
            let bare = name.trim_start_matches('-');
            let bare = bare
                .strip_prefix('D')
                .filter(|_| name.starts_with("-D"))
                .unwrap_or(bare);
            let is_option = name.starts_with('-');
            if std::mem::take(&mut value_is_secret) && !is_option {
                return REDACTED.to_owned();
            }
            let secret = is_secret(bare.as_bytes());
            if secret
                && name_end < arg.len()
                && (is_option || arg.get(name_end..).is_some_and(|rest| rest.starts_with('=')))
            {
                let sign = arg.get(name_end..=name_end).unwrap_or_default();
                return format!("{name}{sign}{REDACTED}");
            }
            // A single word of letters behind one hyphen is a bundle of switches as a rule.
            value_is_secret = secret && is_option;
            match text(&arg) {
                Cow::Borrowed(_) => arg,
                Cow::Owned(shown) => shown,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in [
            "password",
            "Password",
            "user_password",
            "dbPassword",
            "DB-PASSWORD",
            "spring.datasource.password",
            "token",
            "access_token",
            "X-Api-Key",
            "Set-Cookie",
            "authorization",
            "AWS_SECRET_ACCESS_KEY",
            "cvv",
            "card_number",
            "a.pin",
        ] {
            assert!(is_secret(name.as_bytes()), "{name}");
        }
        for name in [
            "",
            "passwords_total",
            "input_tokens",
            "page_token_count",
            "pinned",
            "spin",
            "compass",
            "bypass",
            "author",
            "cookies_on",
            "user",
            "signature_algorithm",
            "key",
            "nextPageToken",
            "session.id",
        ] {
            assert!(!is_secret(name.as_bytes()), "{name}");
        }
        assert!(is_secret(format!("{}_password", "x".repeat(500)).as_bytes()));
    }

    #[test]
    fn texts() {
        for (given, want) in [
            ("card 4111111111111111 paid", "card REDACTED paid"),
            ("4111-1111-1111-1111", "REDACTED"),
            ("{\"n\":\"5500 0055 5555 5559\"}", "{\"n\":\"REDACTED\"}"),
            ("378282246310005,4111111111111111", "REDACTED,REDACTED"),
            // The test is not passed; times, ids, hex digits and decimals.
            ("4111111111111112", "4111111111111112"),
            ("1700000000000000000", "1700000000000000000"),
            ("a4111111111111111", "a4111111111111111"),
            ("4111111111111111f", "4111111111111111f"),
            ("0.4111111111111111", "0.4111111111111111"),
            ("2222222222222222", "2222222222222222"),
            ("41111111111111111111111", "41111111111111111111111"),
            ("é4111111111111111é", "é4111111111111111é"),
            (
                "postgres://me:hush@db:5432/x?a=b@c",
                "postgres://REDACTED@db:5432/x?a=b@c",
            ),
            (
                "see http://host/a@b and ftp://u@h",
                "see http://host/a@b and ftp://REDACTED@h",
            ),
            ("a://b://c:d@e", "a://b://REDACTED@e"),
            ("", ""),
        ] {
            assert_eq!(text(given), want, "{given}");
        }
        assert!(matches!(text("nothing to hide 123"), Cow::Borrowed(_)));
    }

    #[test]
    fn command_lines() {
        for (given, want) in [
            ("app --password=x --port 80", "app --password=REDACTED --port 80"),
            ("app --password x y", "app --password REDACTED y"),
            ("app --api-key --verbose", "app --api-key --verbose"),
            ("env DB_PASSWORD=x app", "env DB_PASSWORD=REDACTED app"),
            (
                "java -Ddb.password=x -jar a.jar",
                "java -Ddb.password=REDACTED -jar a.jar",
            ),
            ("psql postgres://me:x@db/y", "psql postgres://REDACTED@db/y"),
            ("app -p 80 --token-file /x", "app -p 80 --token-file /x"),
            ("app token:x", "app token:x"),
            ("", ""),
        ] {
            let args = given.split(' ').map(str::to_owned).collect();
            assert_eq!(arguments(args).join(" "), want, "{given}");
        }
    }
}
