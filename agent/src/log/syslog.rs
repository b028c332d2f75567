//! Messages to syslog, as the C library writes them (RFC 3164) and as RFC 5424 has them.
//!
//! ```text
//! <PRI>Mmm dd hh:mm:ss TAG[PID]: text                       what syslog(3) sends to the local socket; others name the HOST before
//! <PRI>1 TIMESTAMP HOST APP PROCID MSGID [DATA]... text      RFC 5424
//! ```
use smol_str::SmolStr;

use super::{Said, severity};
use crate::span::Value;

/// Names of facilities (RFC 5424, section 6.2.1).
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

/// What a message says; none if it has no priority.
pub(super) fn parse(text: &str) -> Option<Said> {
    let (digits, rest) = text.strip_prefix('<')?.split_once('>')?;
    let priority: u32 = digits.parse().ok().filter(|_| digits.len() <= 3)?;
    let facility = FACILITIES.get((priority >> 3) as usize)?;
    let (severity, word) = severity::of_priority(priority);
    let mut attributes = Vec::new();
    let mut push = |name, value: &str| {
        if !value.is_empty() && value != "-" {
            attributes.push((SmolStr::new_static(name), Value::Text(value.into())));
        }
    };
    push("clew.syslog.facility", facility);
    let body = match rest.strip_prefix("1 ").and_then(newer) {
        Some((app, message, body)) => {
            push("clew.syslog.appname", app);
            push("clew.syslog.msgid", message);
            body
        }
        None => {
            let (tag, body) = older(rest);
            push("clew.syslog.appname", tag);
            body
        }
    };
    Some(Said {
        severity,
        severity_text: SmolStr::new_static(word),
        body: Some(body.into()),
        attributes,
        trace: None,
    })
}

/// The program, the kind of message and the text of RFC 5424.
fn newer(text: &str) -> Option<(&str, &str, &str)> {
    let mut words = text.splitn(6, ' ');
    let (_time, _host) = (words.next()?, words.next()?);
    let (app, _process, message) = (words.next()?, words.next()?, words.next()?);
    let rest = words.next()?;
    let rest = match rest.strip_prefix('-') {
        Some(rest) => rest,
        None => behind_data(rest),
    };
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    Some((app, message, rest.strip_prefix('\u{feff}').unwrap_or(rest)))
}

/// What is behind structured data: `[ID NAME="value" ...][...]`, where a backslash stands before what would end a value.
fn behind_data(text: &str) -> &str {
    let mut rest = text;
    while rest.starts_with('[') {
        let (mut quoted, mut escaped) = (false, false);
        let end = rest.find(|letter: char| {
            let ends = letter == ']' && !quoted;
            quoted ^= letter == '"' && !escaped;
            escaped = letter == '\\' && !escaped;
            ends
        });
        rest = end
            .and_then(|end| rest.get(end.saturating_add(1)..))
            .unwrap_or_default();
    }
    rest
}

/// The program and the text of RFC 3164, whose host the local socket need not carry: a word before the program is taken for it where the
/// program tells its process, too.
fn older(text: &str) -> (&str, &str) {
    /// `Mmm dd hh:mm:ss `.
    const TIME_BYTES: usize = 16;
    let is_time = text.get(..TIME_BYTES).is_some_and(|time| {
        let mut bytes = time.bytes();
        let colons = [bytes.nth(9), bytes.nth(2)];
        colons == [Some(b':'); 2] && time.ends_with(' ')
    });
    let rest = if is_time {
        text.get(TIME_BYTES..).unwrap_or_default()
    } else {
        text
    };
    let is_word = |word: &str| !word.is_empty() && !word.contains(' ');
    let program = |tag: &str| {
        let (name, process) = tag.strip_suffix(']')?.split_once('[')?;
        let is_number = !process.is_empty() && process.bytes().all(|byte| byte.is_ascii_digit());
        (is_word(name) && is_number).then_some(name.len())
    };
    let Some((tag, body)) = rest.split_once(": ") else {
        return ("", rest);
    };
    if is_word(tag) {
        return (tag.split('[').next().unwrap_or(tag), body);
    }
    match tag.split_once(' ') {
        Some((host, tag)) if is_time && is_word(host) => match program(tag) {
            Some(length) => (tag.get(..length).unwrap_or(tag), body),
            None => ("", rest),
        },
        _ => ("", rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, severity: u8, body: &str, attributes: &[(&str, &str)]) {
        let said = parse(text).unwrap();
        assert_eq!(
            (said.severity.number(), said.body.as_deref()),
            (severity, Some(body)),
            "{text}"
        );
        let got: Vec<_> = said
            .attributes
            .iter()
            .map(|(name, value)| match value {
                Value::Text(value) => (name.strip_prefix("clew.syslog.").unwrap_or(name), value.as_str()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(got, attributes, "{text}");
    }

    #[test]
    fn messages() {
        check(
            "<11>Nov 29 13:00:01 shop[41]: card: refused",
            17,
            "card: refused",
            &[("facility", "user"), ("appname", "shop")],
        );
        check(
            "<134>Nov  9 13:00:01 no tag here",
            9,
            "no tag here",
            &[("facility", "local0")],
        );
        check(
            "<11>Nov 29 13:00:01 web-1 shop[41]: card: refused",
            17,
            "card: refused",
            &[("facility", "user"), ("appname", "shop")],
        );
        for text in [
            "disk error: full",
            "web-1 shop[4x]: full",
            "a b shop[41]: full",
            "web-1 [41]: full",
        ] {
            check(
                &format!("<11>Nov 29 13:00:01 {text}"),
                17,
                text,
                &[("facility", "user")],
            );
        }
        check("<14>plain", 9, "plain", &[("facility", "user")]);
        check(
            r#"<165>1 2026-11-29T13:00:01.5Z host shop 41 ID47 [a@1 x="]\"" y="2"][b@1] card refused"#,
            10,
            "card refused",
            &[("facility", "local4"), ("appname", "shop"), ("msgid", "ID47")],
        );
        check("<0>1 - - - - - - \u{feff}halt", 21, "halt", &[("facility", "kern")]);
    }

    #[test]
    fn what_is_none_or_cut_off() {
        for text in ["", "<", "<>x", "<192>x", "<1000>x", "plain", "<-1>x"] {
            assert!(parse(text).is_none(), "{text}");
        }
        let whole = r#"<165>1 2026-11-29T13:00:01.5Z host shop 41 ID47 [a@1 x="]\"" y="2"] text"#;
        for end in 5..whole.len() {
            assert!(parse(&whole[..end]).is_some(), "{end}");
        }
    }
}
