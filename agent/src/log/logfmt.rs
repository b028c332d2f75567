//! Lines of `key=value` pairs, as Go's `log/slog` and logrus write them.
use smol_str::SmolStr;

use super::{MAX_ATTRIBUTES, Said, severity};
use crate::span::Value;

/// What a line says, if it is all pairs: two at least, one of them its message or its level.
pub(super) fn parse(text: &str) -> Option<Said> {
    let mut said = Said::default();
    let (mut rest, mut pairs, mut telling) = (text, 0_u32, false);
    while !rest.is_empty() {
        let (key, value, behind) = pair(rest)?;
        rest = behind.trim_start_matches(' ');
        pairs = pairs.saturating_add(1);
        match key {
            "level" | "lvl" | "severity" if severity::of_word(&value).is_some() => {
                said.severity = severity::of_word(&value).unwrap_or_default();
                said.severity_text = value.into();
                telling = true;
            }
            "msg" | "message" if said.body.is_none() => {
                said.body = Some(value.into());
                telling = true;
            }
            _ if said.attributes.len() < MAX_ATTRIBUTES => {
                said.attributes.push((SmolStr::from(key), Value::Text(value.into())));
            }
            _ => {}
        }
    }
    said.trace = None;
    (pairs >= 2 && telling).then_some(said)
}

/// The pair at the beginning of `text`, and what is behind it.
fn pair(text: &str) -> Option<(&str, String, &str)> {
    let (key, rest) = text.split_once('=')?;
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-' | '@' | '/');
    if key.is_empty() || !key.chars().all(is_name) {
        return None;
    }
    let Some(quoted) = rest.strip_prefix('"') else {
        let end = rest.find(' ').unwrap_or(rest.len());
        let (value, behind) = rest.split_at(end);
        return Some((key, value.to_owned(), behind));
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((key, value, quoted.get(at.saturating_add(1)..)?)),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                'r' => value.push('\r'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}
