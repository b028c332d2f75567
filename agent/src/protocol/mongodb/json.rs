//! A command as text, for whoever is allowed to see values.
use std::fmt::Write as _;

use smol_str::SmolStr;

use super::bson::{Document, Value};

/// Longest text of a command.
const MAX_TEXT: usize = 1024;
/// Documents within each other that are looked into.
const MAX_DEPTH: usize = 8;

/// What a command says but for its name, and but for what drivers add to it.
pub(super) fn text(command: &Document<'_>) -> SmolStr {
    let mut out = String::new();
    let said = command.elements().skip(1).filter(|element| {
        let added = matches!(element.name, b"lsid" | b"txnNumber" | b"apiVersion");
        !added && !element.name.starts_with(b"$")
    });
    put_all(
        &mut out,
        said.map(|element| (Some(element.name), element.value)),
        "{}",
        0,
    );
    if out.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|end| out.is_char_boundary(*end)).unwrap_or(0);
        out.truncate(end);
        out.push_str("...");
    }
    SmolStr::from(out)
}

fn put_all<'a>(
    out: &mut String,
    all: impl Iterator<Item = (Option<&'a [u8]>, Value<'a>)>,
    brackets: &'static str,
    depth: usize,
) {
    let (open, close) = brackets.split_at_checked(1).unwrap_or_default();
    out.push_str(open);
    let mut first = true;
    for (name, value) in all {
        if out.len() > MAX_TEXT {
            break;
        }
        if !std::mem::take(&mut first) {
            out.push_str(", ");
        }
        if let Some(name) = name {
            // A text's debug form escapes what would end it.
            let _ = write!(out, "{:?}: ", String::from_utf8_lossy(name));
        }
        put(out, &value, depth);
    }
    out.push_str(close);
}

fn put(out: &mut String, value: &Value<'_>, depth: usize) {
    let _ = match value {
        Value::Double(number) => write!(out, "{number}"),
        Value::Int(number) => write!(out, "{number}"),
        Value::Bool(is) => write!(out, "{is}"),
        Value::Text(text) => write!(out, "{:?}", String::from_utf8_lossy(text)),
        Value::Null => write!(out, "null"),
        Value::Document(..) if depth >= MAX_DEPTH => write!(out, "?"),
        Value::Document(document, true) => {
            let elements = document.elements().map(|element| (None, element.value));
            put_all(out, elements, "[]", depth.saturating_add(1));
            Ok(())
        }
        Value::Document(document, false) => {
            let elements = document.elements().map(|element| (Some(element.name), element.value));
            put_all(out, elements, "{}", depth.saturating_add(1));
            Ok(())
        }
        Value::Other(_) => write!(out, "?"),
    };
}
