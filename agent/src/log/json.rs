//! Lines that are JSON objects.
use serde_json::{Map, Value as Json};
use smol_str::{SmolStr, format_smolstr};

use super::{MAX_ATTRIBUTES, Said, severity};
use crate::span::Value;

const MESSAGES: &[&str] = &["message", "msg", "event", "log", "text", "@m", "short_message"];
const LEVELS: &[&str] = &[
    "level",
    "severity",
    "lvl",
    "log.level",
    "levelname",
    "@l",
    "loglevel",
    "severity_text",
];
const TRACES: &[&str] = &[
    "stack_trace",
    "stacktrace",
    "exc_info",
    "exception",
    "stack",
    "traceback",
    "error.stack_trace",
    "exception.stacktrace",
    "errorVerbose",
];
/// Objects that hold an error, by their own fields.
const ERRORS: &[&str] = &["err", "error", "exception"];

/// What a line says, if it is an object of JSON.
pub(super) fn parse(text: &str) -> Option<Said> {
    let text = text.trim_start();
    if !text.starts_with('{') || !text.ends_with('}') {
        return None;
    }
    let mut object: Map<String, Json> = serde_json::from_str(text).ok()?;
    let mut said = Said::default();
    for name in LEVELS {
        let Some(value) = object.get(*name) else { continue };
        let level = match value {
            Json::String(word) => severity::of_word(word).map(|found| (found, SmolStr::from(word.as_str()))),
            Json::Number(number) => number
                .as_i64()
                .and_then(severity::of_number)
                .map(|found| (found, format_smolstr!("{number}"))),
            _ => None,
        };
        if let Some(level) = level {
            (said.severity, said.severity_text) = level;
            object.remove(*name);
            break;
        }
    }
    for name in MESSAGES {
        if let Some(Json::String(message)) = object.get(*name) {
            said.body = Some(SmolStr::from(message.as_str()));
            object.remove(*name);
            break;
        }
    }
    said.trace = trace(&object);
    said.body.get_or_insert_with(|| SmolStr::from(text));
    for (key, value) in object {
        flatten(&key, value, &mut said.attributes, 0);
    }
    Some(said)
}

/// A stack trace that is a field of its own, or of an error's.
fn trace(object: &Map<String, Json>) -> Option<String> {
    let text = |object: &Map<String, Json>| {
        let found = TRACES.iter().find_map(|name| object.get(*name)?.as_str());
        found.map(str::to_owned)
    };
    let nested = || ERRORS.iter().find_map(|name| text(object.get(*name)?.as_object()?));
    text(object).or_else(nested)
}

/// An attribute, or those of an object by the path to them.
fn flatten(key: &str, value: Json, out: &mut Vec<(SmolStr, Value)>, depth: u32) {
    const MAX_DEPTH: u32 = 4;
    if out.len() >= MAX_ATTRIBUTES {
        return;
    }
    let value = match value {
        Json::Null => return,
        Json::Bool(yes) => Value::Bool(yes),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Value::Int(whole),
            None => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::Text(text.into()),
        Json::Object(object) if depth < MAX_DEPTH => {
            for (name, value) in object {
                flatten(&format!("{key}.{name}"), value, out, depth.saturating_add(1));
            }
            return;
        }
        other => Value::Text(other.to_string().into()),
    };
    out.push((key.into(), value));
}
