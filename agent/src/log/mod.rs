//! Turns what programs write to their logs into records.
//!
//! In: [`LogWrite`](crate::capture::LogWrite)s, and the time. Out: [`Written`] texts, each whole and with who wrote it, and of
//! such a text a [`Record`]: severity, message, attributes, the exception it tells of. It guesses no origin: where a call wrote
//! what may be of several requests, as a buffer that all share does when it is full, the text says so.
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing)]
mod access;
mod exception;
mod group;
mod join;
mod journal;
mod json;
mod logfmt;
mod severity;
mod syslog;

use smol_str::SmolStr;

pub use exception::{Exception, find as exception_in};
pub use join::{Logs, Written};
pub use severity::Severity;

use crate::capture::Stream;
use crate::span::Value;

/// Most of a record's text that is kept.
pub const RECORD_BYTES: usize = 32 << 10;
/// Most attributes that a line gives.
const MAX_ATTRIBUTES: usize = 64;

/// A line of a log, or several that belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// When it was written, `CLOCK_MONOTONIC` nanoseconds.
    pub time_ns: u64,
    /// How severe it is, where it says so.
    pub severity: Severity,
    /// What it calls that.
    pub severity_text: SmolStr,
    /// What it says.
    pub body: SmolStr,
    /// What else it says, by name.
    pub attributes: Vec<(SmolStr, Value)>,
    /// The exception it tells of.
    pub exception: Option<Box<Exception>>,
}

/// What a text says.
#[derive(Default)]
struct Said {
    severity: Severity,
    severity_text: SmolStr,
    body: Option<SmolStr>,
    attributes: Vec<(SmolStr, Value)>,
    /// A stack trace that is a field of its own.
    trace: Option<String>,
}

impl Record {
    /// What `text` says, that was `written` so, save what may not be shown.
    pub fn parse<T>(text: &str, written: &Written<T>) -> Self {
        let trimmed = text.trim_end();
        let said = match written.stream {
            Some(Stream::Syslog) => syslog::parse(trimmed),
            Some(Stream::Journal) => Some(fields(trimmed, &written.fields)),
            _ => None,
        };
        let said = said
            .or_else(|| json::parse(trimmed))
            .or_else(|| logfmt::parse(trimmed))
            .or_else(|| access::parse(trimmed))
            .unwrap_or_else(|| plain(trimmed));
        let trace = said.trace.as_deref().unwrap_or(trimmed);
        let exception = exception::find(trace);
        let mut severity = said.severity;
        if severity == Severity::UNSPECIFIED && exception.is_some() {
            severity = Severity::ERROR;
        }
        let mut attributes = said.attributes;
        let stream = match written.stream {
            Some(Stream::Out) => Some("stdout"),
            Some(Stream::Error) => Some("stderr"),
            Some(Stream::Syslog | Stream::Journal) | None => None,
        };
        attributes.extend(stream.map(|name| (SmolStr::new_static("log.iostream"), Value::fixed(name))));
        if stream.is_none() && !written.name.is_empty() {
            let name = Value::Text(written.name.clone());
            attributes.push((SmolStr::new_static("log.file.name"), name));
        }
        attributes.push((
            SmolStr::new_static("thread.id"),
            Value::Int(i64::from(written.actor.tid)),
        ));
        Self {
            time_ns: written.time_ns,
            severity,
            severity_text: said.severity_text,
            body: said.body.unwrap_or_else(|| SmolStr::from(trimmed)),
            attributes,
            exception: exception.map(Box::new),
        }
    }

    /// About how many bytes of memory it takes.
    pub fn bytes(&self) -> usize {
        let attributes = self.attributes.iter();
        let attributes: usize = attributes
            .map(|(key, value)| size_of::<(SmolStr, Value)>() + key.len() + value.bytes())
            .sum();
        let exception = self.exception.as_ref().map_or(0, |exception| exception.bytes());
        size_of::<Self>() + self.body.len() + attributes + exception
    }
}

/// A message to the journal: fields that have a convention are told by it, the others by their own names.
fn fields(text: &str, fields: &[(SmolStr, String)]) -> Said {
    let mut said = Said {
        body: Some(text.into()),
        ..Said::default()
    };
    for (name, value) in fields {
        let number = value.parse::<u32>().ok();
        let (name, value) = match (name.as_str(), number) {
            ("PRIORITY", Some(priority)) => {
                let (severity, word) = severity::of_priority(priority);
                (said.severity, said.severity_text) = (severity, SmolStr::new_static(word));
                continue;
            }
            ("CODE_FILE", _) => ("code.file.path", Value::Text(value.as_str().into())),
            ("CODE_FUNC", _) => ("code.function.name", Value::Text(value.as_str().into())),
            ("CODE_LINE", Some(line)) => ("code.line.number", Value::Int(line.into())),
            (name, _) => (name, Value::Text(value.as_str().into())),
        };
        said.attributes.push((name.into(), value));
    }
    said
}

/// A text of no known form: the level stands near its beginning, if it has one.
fn plain(text: &str) -> Said {
    let (severity, word) = severity::near_beginning(text);
    Said {
        severity,
        severity_text: word.into(),
        ..Said::default()
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may panic")]
mod tests;
