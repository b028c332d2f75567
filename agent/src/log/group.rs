//! Which lines of a log belong to the one before them.
use super::exception::{head_of, is_ruby_frame};
use super::severity;

/// What a record has turned out to be, by its lines so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Plain,
    /// A traceback of Python, before its last line.
    Traceback,
    /// Behind that line.
    Raised,
    /// A group of them.
    Exceptions,
    /// A panic of Go.
    Goroutines,
    /// A panic of Rust; its message is still to come.
    Panic,
    /// Behind the message.
    Panicked,
}

/// Decides for one record after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group(Shape);

impl Group {
    /// A record begins with `line`.
    pub(super) fn begin(line: &str) -> Self {
        Self(if is_traceback(line) {
            of_traceback(line)
        } else if line.starts_with("panic: ") || line.starts_with("fatal error: ") || line.contains("panic serving ") {
            Shape::Goroutines
        } else if is_rust_panic(line) {
            Shape::Panic
        } else {
            Shape::Plain
        })
    }

    /// Whether `line` belongs to it; `same_call` tells that it was written together with the line before.
    pub(super) fn takes(&mut self, line: &str, same_call: bool) -> bool {
        let indented = line.starts_with([' ', '\t']);
        match self.0 {
            Shape::Traceback => {
                if !indented && !line.is_empty() && !is_traceback(line) {
                    self.0 = Shape::Raised;
                }
                true
            }
            Shape::Raised | Shape::Exceptions if is_traceback(line) => {
                self.0 = of_traceback(line);
                true
            }
            Shape::Exceptions => is_drawn(line) || line.is_empty() || is_chained(line),
            Shape::Raised => indented || line.is_empty() || is_chained(line),
            Shape::Goroutines => {
                let is_call = line.ends_with(')') && line.contains('(');
                let is_head = ["goroutine ", "created by ", "[signal ", "panic: ", "exit status "]
                    .iter()
                    .any(|head| line.starts_with(head));
                indented || line.is_empty() || is_call || is_head
            }
            Shape::Panic => {
                self.0 = Shape::Panicked;
                true
            }
            Shape::Panicked => {
                indented || line.is_empty() || line.starts_with("note: ") || line.starts_with("stack backtrace:")
            }
            Shape::Plain => self.plain(line, same_call, indented),
        }
    }

    fn plain(&mut self, line: &str, same_call: bool, indented: bool) -> bool {
        if is_frame(line) || is_cause(line) || (line.starts_with('\t') && is_ruby_frame(line)) {
            return true;
        }
        if !same_call {
            return false;
        }
        if is_traceback(line) {
            self.0 = of_traceback(line);
            return true;
        }
        if line.starts_with("goroutine ") {
            self.0 = Shape::Goroutines;
            return true;
        }
        if is_rust_panic(line) {
            self.0 = Shape::Panic;
            return true;
        }
        // The second line of java.util.logging begins with the level.
        let is_level = line.split_once(": ").is_some_and(|(word, _)| {
            severity::of_word(word).is_some() && word.bytes().all(|byte| byte.is_ascii_uppercase())
        });
        // PHP numbers its frames.
        let is_numbered = line == "Stack trace:" || line.strip_prefix('#').is_some_and(starts_with_digit);
        indented || line.is_empty() || line.starts_with('}') || is_level || is_numbered || is_exception_head(line)
    }
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|letter: char| letter.is_ascii_digit())
}

/// The first line of a traceback of Python, or of that of a group.
pub(super) fn is_traceback(line: &str) -> bool {
    let line = line.strip_prefix(GROUP).unwrap_or(line);
    line.trim_end() == "Traceback (most recent call last):"
}

/// What stands before it there.
pub(super) const GROUP: &str = "  + Exception Group ";

fn of_traceback(line: &str) -> Shape {
    if line.starts_with(GROUP) {
        Shape::Exceptions
    } else {
        Shape::Traceback
    }
}

/// A line of a group, whose left edge is drawn.
fn is_drawn(line: &str) -> bool {
    line.starts_with("  ") && line.trim_start().starts_with(['|', '+'])
}

/// What Python writes between two tracebacks.
fn is_chained(line: &str) -> bool {
    line.starts_with("During handling of the above exception")
        || line.starts_with("The above exception was the direct cause")
}

fn is_rust_panic(line: &str) -> bool {
    line.trim_start().starts_with("thread '") && line.contains("panicked at ")
}

/// What Java writes before the frames of another exception that a frame's belongs to.
fn is_cause(line: &str) -> bool {
    let cause = line.trim_start_matches('\t');
    cause.starts_with("Caused by: ") || (cause.len() < line.len() && cause.starts_with("Suppressed: "))
}

/// A frame of Java, Node.js or .NET, or what Java writes for those it leaves out.
pub(super) fn is_frame(line: &str) -> bool {
    let frame = line.trim_start_matches([' ', '\t']);
    let indented = frame.len() < line.len();
    indented && (frame.starts_with("at ") || (frame.starts_with("... ") && frame.trim_end().ends_with(" more")))
}

/// A line that names an exception's class, as stands before its frames.
pub(super) fn is_exception_head(line: &str) -> bool {
    head_of(line).is_some_and(|(kind, _)| {
        let last = kind.rsplit(['.', '$']).next().unwrap_or(kind);
        ["Exception", "Error", "Throwable", "Failure"]
            .iter()
            .any(|end| last.ends_with(end))
    })
}
