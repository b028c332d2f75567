//! Exceptions and panics, as runtimes print them.
use super::group::{GROUP, is_exception_head, is_frame, is_traceback};

/// An exception that a log tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Its class; `panic` for a panic.
    pub kind: String,
    /// What it says; may be empty.
    pub message: String,
    /// The stack trace as it was printed.
    pub trace: String,
}

impl Exception {
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            .saturating_add(self.kind.len())
            .saturating_add(self.message.len())
            .saturating_add(self.trace.len())
    }
}

/// The exception in a text; none where it has none.
pub fn find(text: &str) -> Option<Exception> {
    // Nearly all texts are a line, and the others have more.
    if memchr::memchr(b'\n', text.as_bytes()).is_none() {
        return rust(text).or_else(|| ruby(text));
    }
    python(text)
        .or_else(|| go(text))
        .or_else(|| rust(text))
        .or_else(|| php(text))
        .or_else(|| framed(text))
        .or_else(|| ruby(text))
}

/// ```text
/// Traceback (most recent call last):
///   File "shop.py", line 3, in cart
///     raise KeyError("x")
/// KeyError: 'x'
/// ```
/// Of several that were raised one within the handling of the other, the last is the one that was not handled. Those of a group are drawn
/// within it, behind what it says itself:
///
/// ```text
///   + Exception Group Traceback (most recent call last):
///   |   File "shop.py", line 3, in cart
///   | ExceptionGroup: several (2 sub-exceptions)
///   +-+---------------- 1 ----------------
///     | KeyError: 'x'
/// ```
fn python(text: &str) -> Option<Exception> {
    let begin = text.find("Traceback (most recent call last):")?;
    let group = text.get(..begin).and_then(|before| before.strip_suffix(GROUP));
    let trace = text.get(group.map_or(begin, str::len)..)?;
    let mut lines = trace.lines();
    let mut head = None;
    while let Some(line) = lines.next() {
        if !is_traceback(line) {
            continue;
        }
        let edge = if line.starts_with(GROUP) { "  | " } else { "" };
        let mut own = lines.by_ref().map(|line| line.strip_prefix(edge).unwrap_or(line));
        head = own
            .find(|line| !line.is_empty() && !line.starts_with([' ', '\t', '|', '+']))
            .or(head);
    }
    let head = head?;
    let (kind, message) = head.split_once(": ").unwrap_or((head.trim_end_matches(':'), ""));
    is_class(kind).then(|| Exception {
        kind: kind.to_owned(),
        message: message.to_owned(),
        trace: trace.to_owned(),
    })
}

/// ```text
/// panic: boom
///
/// goroutine 1 [running]:
/// main.main()
///         /src/main.go:3 +0x1d
/// ```
fn go(text: &str) -> Option<Exception> {
    let is_stack = |line: &str| line.starts_with("goroutine ") && line.trim_end().ends_with("]:");
    text.lines().find(|line| is_stack(line))?;
    let mut before = text.lines().take_while(|line| !is_stack(line));
    let message = before.find_map(|line| {
        // net/http: `http: panic serving 127.0.0.1:1: boom`.
        let served = || {
            let (_, rest) = line.split_once("panic serving ")?;
            Some(rest.split_once(": ").map_or(rest, |(_, message)| message))
        };
        let said = line.split_once("panic: ").map(|(_, message)| message);
        said.or_else(served).or_else(|| line.strip_prefix("fatal error: "))
    })?;
    Some(Exception {
        kind: "panic".to_owned(),
        message: message.to_owned(),
        trace: text.to_owned(),
    })
}

/// ```text
/// thread 'main' panicked at src/main.rs:2:5:
/// boom
/// ```
fn rust(text: &str) -> Option<Exception> {
    let begin = text.find("thread '")?;
    let trace = text.get(begin..)?;
    let (_, rest) = trace.lines().next()?.split_once("' ")?;
    let (_, place) = rest.split_once("panicked at ")?;
    // Before Rust 1.73 the message stood before the place.
    let message = match place.strip_prefix('\'') {
        Some(quoted) => quoted.rsplit_once("', ").map_or(quoted, |(message, _)| message),
        None => trace.lines().nth(1).unwrap_or_default(),
    };
    Some(Exception {
        kind: "panic".to_owned(),
        message: message.to_owned(),
        trace: trace.to_owned(),
    })
}

/// ```text
/// PHP Fatal error:  Uncaught RuntimeException: boom in /app/cart.php:6
/// Stack trace:
/// #0 {main}
///   thrown in /app/cart.php on line 6
/// ```
fn php(text: &str) -> Option<Exception> {
    let begin = text.find("Uncaught ")?;
    let trace = text.get(begin..)?.strip_prefix("Uncaught ")?;
    let head = trace.lines().next()?;
    // Without a message the place follows the class.
    let (said, _place) = head.rsplit_once(" in ")?;
    trace.lines().nth(1).filter(|line| *line == "Stack trace:")?;
    let (kind, message) = said.split_once(": ").unwrap_or((said, ""));
    let kind = kind.trim_start_matches('\\');
    let is_name = kind.split('\\').all(is_class);
    is_name.then(|| Exception {
        kind: kind.to_owned(),
        message: message.to_owned(),
        trace: trace.to_owned(),
    })
}

/// ```text
/// cart.rb:3:in `add': boom (RuntimeError)
///         from cart.rb:9:in `<main>'
/// ```
/// Frameworks leave out the place before the message, and the word before the frames.
fn ruby(text: &str) -> Option<Exception> {
    let mut at = 0_usize;
    let mut lines = text.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        let behind = lines.peek().is_some_and(|next| is_ruby_frame(next));
        if let Some((said, kind)) = line
            .trim_end()
            .strip_suffix(')')
            .and_then(|line| line.rsplit_once(" ("))
            && kind.split("::").all(is_class)
            && (behind || said.contains(":in `") || said.contains(":in '"))
        {
            let message = said.split_once("': ").or_else(|| said.split_once(": "));
            return Some(Exception {
                kind: kind.to_owned(),
                message: message.map_or(said, |(_, message)| message).to_owned(),
                trace: text.get(at..)?.to_owned(),
            });
        }
        at = at.checked_add(line.len())?;
    }
    None
}

/// `from cart.rb:9:in '<main>'`, also without the word.
pub(super) fn is_ruby_frame(line: &str) -> bool {
    let frame = line.trim_start();
    let frame = frame.strip_prefix("from ").unwrap_or(frame);
    (frame.contains(":in `") || frame.contains(":in '")) && frame.trim_end().ends_with('\'')
}

/// A line with a class, and frames below it: Java, Node.js, .NET.
fn framed(text: &str) -> Option<Exception> {
    let mut at = 0_usize;
    let mut head: Option<(usize, &str)> = None;
    for line in text.split_inclusive('\n') {
        if is_frame(line) {
            let (begin, line) = head?;
            let (kind, message) = head_of(line)?;
            return Some(Exception {
                kind: kind.to_owned(),
                message: message.to_owned(),
                trace: text.get(begin..)?.to_owned(),
            });
        }
        if is_exception_head(line.trim_end()) {
            head = Some((at, line.trim_end()));
        }
        at = at.checked_add(line.len())?;
    }
    None
}

/// Class and message of the line before the frames.
pub(super) fn head_of(line: &str) -> Option<(&str, &str)> {
    // Node.js, and .NET.
    let mut before = ["Uncaught ", "Unhandled exception. "].into_iter();
    let line = before.find_map(|before| line.strip_prefix(before)).unwrap_or(line);
    let line = match line.strip_prefix("Exception in thread \"") {
        Some(rest) => rest.split_once("\" ").map_or(line, |(_, rest)| rest),
        None => line,
    };
    let (kind, message) = line.split_once(": ").unwrap_or((line.trim_end_matches(':'), ""));
    // Node.js: `TypeError [ERR_X]: ...`.
    let kind = kind.split_once(" [").map_or(kind, |(kind, _)| kind);
    is_class(kind).then_some((kind, message))
}

/// A name such as `java.lang.Error` or `KeyError`.
fn is_class(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '.' | '$');
    !name.is_empty()
        && name.chars().all(is_letter)
        && name.starts_with(|letter: char| letter.is_alphabetic() || letter == '_')
}
