//! Traces drawn for a terminal.
//!
//! ```text
//! trace 000102030405060708090a0b0c0d0eff  50.0 ms  7 spans in 4 services  3 failed spans
//! curl → nginx  GET /cart?id=7                 500   50.0 ms  ████████████████████
//! ├─ shop  GET /items                          200   30.0 ms      ████████████
//! │  └─ stock  GET /stock/4  (server 3.00 ms)  200   12.0 ms       ░░░█░
//! └─ → 10.0.0.5:5000  POST /reserve  ECONN…  error   7.00 ms                  ░░░
//! ```
//! A line is a call: the client's span and the server's share it where both were seen. The duration is the caller's wait;
//! in the bar the solid part is the time the called service worked, the light part the time the caller waited for more
//! than that (network, queues), or for someone Clew does not trace. Everything in a line that came from outside is cut and
//! cleaned of control characters.
mod arrange;
mod draw;

use super::Finished;

/// How to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Columns to keep within.
    pub columns: usize,
    /// Box-drawing characters, not ASCII.
    pub unicode: bool,
    /// Colors (ANSI escape codes).
    pub color: bool,
    /// Most lines of one trace; the rest is told as a number.
    pub lines: usize,
}

impl Default for Options {
    /// Plain, 100 columns.
    fn default() -> Self {
        Self {
            columns: 100,
            unicode: false,
            color: false,
            lines: 200,
        }
    }
}

impl Options {
    /// What suits an output: `terminal` has its width where it is one, `variable` looks up an environment variable.
    ///
    /// Colors need a terminal, and that `NO_COLOR` is unset or empty (no-color.org) and `TERM` is not `dumb`. Unicode goes
    /// by the locale, locale(7).
    pub fn detect(terminal: Option<u16>, variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
        let charset = locale.unwrap_or_default().to_ascii_lowercase();
        let default = Self::default();
        Self {
            columns: terminal.map_or(default.columns, usize::from),
            unicode: charset.ends_with("utf-8") || charset.ends_with("utf8"),
            color: terminal.is_some() && set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb"),
            ..default
        }
    }
}

/// The width of the terminal at `fd`, if it is one.
pub fn terminal(fd: impl std::os::fd::AsFd) -> Option<u16> {
    let size = rustix::termios::tcgetwinsize(fd).ok()?;
    Some(if size.ws_col == 0 { 80 } else { size.ws_col })
}

/// One trace, drawn, with a line end after each line.
pub fn render(spans: &[Finished], options: &Options) -> String {
    if spans.is_empty() {
        return String::new();
    }
    draw::trace(spans, &arrange::rows(spans), options)
}

#[cfg(test)]
mod tests;
