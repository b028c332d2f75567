//! What a line looks like.
use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::Options;
use super::arrange::Row;
use crate::export::Finished;
use crate::export::json::hex;
use crate::export::text::{clean, width};
use crate::log::Severity;
use crate::span::{Status, Value};

const RED: &str = "31";
const DIM: &str = "2";
const BOLD: &str = "1";
/// Colors of services: no red, which means an error.
const SERVICE_COLORS: [&str; 6] = ["36", "32", "33", "34", "35", "96"];

/// Columns of the status, the duration and the bar.
const STATUS_COLUMNS: usize = 5;
const DURATION_COLUMNS: usize = 8;
const BAR_COLUMNS: usize = 20;
/// Narrower than this, the bar is left out.
const BAR_FROM_COLUMNS: usize = 72;
/// More is not easier to read: the eye loses the line.
const MOST_COLUMNS: usize = 140;
const LEAST_COLUMNS: usize = 40;
/// The longest name of a service that is shown.
const SERVICE_COLUMNS: usize = 28;

/// A trace with its heading.
pub(super) fn trace(spans: &[Finished], rows: &[Row<'_>], options: &Options) -> String {
    let start = spans.iter().map(|placed| placed.span.start_ns).min().unwrap_or(0);
    let end = spans.iter().map(|placed| placed.span.end_ns).max().unwrap_or(0);
    let canvas = Canvas {
        options,
        columns: options.columns.clamp(LEAST_COLUMNS, MOST_COLUMNS),
        start,
        length: end.saturating_sub(start).max(1),
    };
    let mut out = canvas.heading(spans, end.saturating_sub(start));
    for (place, row) in rows.iter().take(options.lines).enumerate() {
        canvas.row(row, &mut out);
        let more = rows
            .get(place + 1)
            .is_some_and(|next| next.follows.len() > row.follows.len());
        canvas.logs(row, more, &mut out);
    }
    let hidden = rows.len().saturating_sub(options.lines);
    if hidden > 0 {
        let _ = writeln!(out, "{} and {hidden} more calls", canvas.mark());
    }
    out
}

struct Canvas<'a> {
    options: &'a Options,
    columns: usize,
    start: u64,
    length: u64,
}

/// A part of a line.
struct Part {
    text: String,
    color: &'static str,
}

impl Canvas<'_> {
    fn heading(&self, spans: &[Finished], length_ns: u64) -> String {
        let services: BTreeSet<&str> = spans.iter().map(|placed| placed.process.service.as_str()).collect();
        let errors = spans.iter().filter(|placed| is_error(placed)).count();
        let id = spans.first().map(|placed| hex(&placed.trace_id)).unwrap_or_default();
        let plural = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
        let mut out = self.painted(BOLD, &format!("trace {id}"));
        let _ = write!(
            out,
            "  {}  {} in {}",
            self.duration(length_ns),
            plural(spans.len(), "span"),
            plural(services.len(), "service")
        );
        if errors > 0 {
            let _ = write!(out, "  {}", self.painted(RED, &plural(errors, "failed span")));
        }
        out.push('\n');
        out
    }

    fn row(&self, row: &Row<'_>, out: &mut String) {
        let Some(outer) = row.outer() else {
            return;
        };
        let has_bar = self.columns >= BAR_FROM_COLUMNS;
        let right = 2 + STATUS_COLUMNS + 2 + DURATION_COLUMNS + if has_bar { 2 + BAR_COLUMNS } else { 0 };
        let left = self.columns.saturating_sub(right);

        let branch = self.branch(&row.follows, left / 2);
        let mut parts = vec![Part {
            text: branch,
            color: DIM,
        }];
        parts.extend(self.who(row));
        parts.extend(self.what(row));
        let used = self.fit(&parts, left, out);

        let failed = [row.client, row.server].into_iter().flatten().any(is_error);
        let status = clean(&status(row), STATUS_COLUMNS, "");
        let status = format!("{status:>STATUS_COLUMNS$}");
        let duration = self.duration(outer.span.end_ns.saturating_sub(outer.span.start_ns));
        let _ = write!(
            out,
            "{}  {}  {duration:>DURATION_COLUMNS$}",
            " ".repeat(left.saturating_sub(used)),
            if failed { self.painted(RED, &status) } else { status }
        );
        if has_bar {
            out.push_str("  ");
            out.push_str(self.bar(row, failed).trim_end());
        }
        out.truncate(out.trim_end_matches(' ').len());
        out.push('\n');
    }

    /// What was logged for the call, a line each; the first lines where there are many.
    fn logs(&self, row: &Row<'_>, has_children: bool, out: &mut String) {
        /// More hides the calls.
        const MOST_LOGS: usize = 5;
        let records = || {
            [row.client, row.server]
                .into_iter()
                .flatten()
                .flat_map(|placed| &placed.logs)
        };
        let mut branch = self.branch_through(&row.follows, has_children);
        branch.push_str(if self.options.unicode { "┊ " } else { ": " });
        let left = self.columns.saturating_sub(width(&branch));
        for record in records().take(MOST_LOGS) {
            let told = match &record.exception {
                Some(exception) => format!("{}: {}", exception.kind, exception.message),
                None => record.body.to_string(),
            };
            let level = record.severity.name();
            let gap = if level.is_empty() { "" } else { " " };
            let line = clean(
                &format!("{level}{gap}{}", told.lines().next().unwrap_or_default()),
                left,
                self.mark(),
            );
            let color = if record.severity >= Severity::ERROR { RED } else { DIM };
            let _ = writeln!(out, "{}{}", self.painted(DIM, &branch), self.painted(color, &line));
        }
        let hidden = records().count().saturating_sub(MOST_LOGS);
        if hidden > 0 {
            let _ = writeln!(out, "{}{} {hidden} more lines", self.painted(DIM, &branch), self.mark());
        }
    }

    /// The lines that lead past the row to what follows it.
    fn branch_through(&self, follows: &[bool], has_children: bool) -> String {
        let (through, gap) = if self.options.unicode {
            ("│  ", "   ")
        } else {
            ("|  ", "   ")
        };
        let levels = follows.iter().copied().chain([has_children]);
        levels.map(|more| if more { through } else { gap }).collect()
    }

    /// The lines that lead to the row; only the last levels where there is no room for all.
    fn branch(&self, follows: &[bool], columns: usize) -> String {
        let (through, gap, fork, last) = if self.options.unicode {
            ("│  ", "   ", "├─ ", "└─ ")
        } else {
            ("|  ", "   ", "|- ", "`- ")
        };
        let skipped = follows.len().saturating_sub((columns / 3).max(1));
        let mut out = String::new();
        let mut levels = follows.iter().skip(skipped).peekable();
        while let Some(more) = levels.next() {
            out.push_str(match (levels.peek().is_none(), more) {
                (true, true) => fork,
                (true, false) => last,
                (false, true) => through,
                (false, false) => gap,
            });
        }
        out
    }

    /// The service; with the caller before it where the line above does not say who that is.
    fn who(&self, row: &Row<'_>) -> Vec<Part> {
        let arrow = if self.options.unicode { "→ " } else { "-> " };
        let service = |placed: &Finished| Part {
            text: clean(&placed.process.service, SERVICE_COLUMNS, self.mark()),
            color: color(&placed.process.service),
        };
        let plain = |text: &str| Part {
            text: text.to_owned(),
            color: "",
        };
        let mut parts = Vec::new();
        if let Some(client) = row
            .client
            .filter(|client| row.caller != Some(client.process.service.as_str()))
        {
            parts.extend([service(client), plain(" ")]);
        }
        match (row.client, row.server) {
            (Some(_), Some(server)) => {
                if !parts.is_empty() {
                    parts.push(plain(arrow));
                }
                parts.push(service(server));
            }
            (Some(client), None) => {
                parts.push(plain(arrow));
                parts.push(plain(&clean(&address(client), SERVICE_COLUMNS, self.mark())));
            }
            (None, Some(server)) => parts.push(service(server)),
            (None, None) => {}
        }
        parts.push(plain("  "));
        parts
    }

    /// What was asked, and what is to be said of it.
    fn what(&self, row: &Row<'_>) -> Vec<Part> {
        let mut parts = Vec::new();
        let Some(told_by) = row.server.or(row.client) else {
            return parts;
        };
        parts.push(Part {
            text: clean(&call(told_by), 1000, self.mark()),
            color: "",
        });
        let mut note = |text: String, color| {
            parts.push(Part {
                text: format!("  {}", clean(&text, 200, self.mark())),
                color,
            });
        };
        if let Some(why) = reason(row) {
            note(why, RED);
        }
        let phases = self.phases(row);
        if !phases.is_empty() {
            note(format!("({})", phases.join(", ")), DIM);
        }
        if row.lacks_parent {
            note("(parent not seen)".to_owned(), DIM);
        }
        parts
    }

    /// Where the client's time went, as far as it is not what the line shows anyhow.
    fn phases(&self, row: &Row<'_>) -> Vec<String> {
        let Some(client) = row.client else {
            return Vec::new();
        };
        let waited = length(client);
        // A tenth of the wait, and not mere scheduling noise.
        let matters = |ns: u64| ns > (waited / 10).max(1_000_000);
        let phase = |key| attribute(client, key).and_then(|ns| ns.parse().ok()).unwrap_or(0);
        let mut phases = Vec::new();
        for (name, ns) in [
            ("connect", phase("clew.network.connect_ns")),
            ("send", phase("clew.network.send_ns")),
        ] {
            if matters(ns) {
                phases.push(format!("{name} {}", self.duration(ns)));
            }
        }
        if let Some(worked) = row.server.map(length)
            && matters(waited.saturating_sub(worked))
        {
            phases.push(format!("server {}", self.duration(worked)));
        }
        let received = phase("clew.network.receive_ns");
        if matters(received) {
            phases.push(format!("receive {}", self.duration(received)));
        }
        phases
    }

    /// Writes parts until the columns are used up; gives the columns used.
    fn fit(&self, parts: &[Part], columns: usize, out: &mut String) -> usize {
        let mut used = 0;
        let total: usize = parts.iter().map(|part| width(&part.text)).sum();
        for part in parts {
            let left = columns - used;
            // A part that fits exactly is cut too when another one follows that does not.
            let is_all = total <= columns;
            let text = match width(&part.text) {
                wide if is_all || wide < left => part.text.clone(),
                _ => clean(&format!("{}{}", part.text, self.mark()), left, self.mark()),
            };
            used += width(&text);
            out.push_str(&self.painted(part.color, &text));
            if !is_all && used >= columns.saturating_sub(1) {
                break;
            }
        }
        used
    }

    /// Where in the trace the call lies: solid where the server worked, light where the client waited beyond that.
    fn bar(&self, row: &Row<'_>, failed: bool) -> String {
        let (solid, light) = if self.options.unicode {
            ('█', '░')
        } else {
            ('#', '-')
        };
        let cells = |placed: &Finished| {
            // To the nearest border between two cells.
            let cell = |time_ns: u64| {
                let at = u128::from(time_ns.saturating_sub(self.start)) * BAR_COLUMNS as u128;
                let length = u128::from(self.length);
                usize::try_from((at + length / 2) / length).unwrap_or(BAR_COLUMNS)
            };
            let first = cell(placed.span.start_ns).min(BAR_COLUMNS - 1);
            // Even the shortest call is seen.
            let end = cell(placed.span.end_ns).clamp(first + 1, BAR_COLUMNS);
            first..end
        };
        let (client, server) = (row.client.map(cells), row.server.map(cells));
        let text: String = (0..BAR_COLUMNS)
            .map(|cell| match (&client, &server) {
                (_, Some(cells)) if cells.contains(&cell) => solid,
                (Some(cells), _) if cells.contains(&cell) => light,
                _ => ' ',
            })
            .collect();
        let told_by = row.server.or(row.client);
        let color = told_by.map_or("", |placed| color(&placed.process.service));
        self.painted(if failed { RED } else { color }, text.trim_end())
    }

    /// Three digits and a unit.
    fn duration(&self, ns: u64) -> String {
        let of = |unit: u64, name: &str| {
            let whole = ns / unit;
            let decimals = match whole {
                0..10 => 2,
                10..100 => 1,
                _ => 0,
            };
            // Cut, not rounded: 999.9 must not become 1000.
            let scale = 10_u64.pow(decimals);
            let part = ns % unit * scale / unit;
            match decimals {
                0 => format!("{whole} {name}"),
                _ => format!("{whole}.{part:0>places$} {name}", places = decimals as usize),
            }
        };
        match ns {
            0..1_000_000 => format!("{} {}", ns / 1_000, if self.options.unicode { "µs" } else { "us" }),
            1_000_000..1_000_000_000 => of(1_000_000, "ms"),
            1_000_000_000..60_000_000_000 => of(1_000_000_000, "s"),
            _ => {
                let seconds = ns / 1_000_000_000;
                format!("{}m {:02}s", seconds / 60, seconds % 60)
            }
        }
    }

    /// The sign that something was cut off.
    const fn mark(&self) -> &'static str {
        if self.options.unicode { "…" } else { "~" }
    }

    fn painted(&self, color: &str, text: &str) -> String {
        if self.options.color && !color.is_empty() && !text.is_empty() {
            format!("\x1b[{color}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

fn length(placed: &Finished) -> u64 {
    placed.span.end_ns.saturating_sub(placed.span.start_ns)
}

fn is_error(placed: &Finished) -> bool {
    matches!(placed.span.status, Status::Error(_))
}

/// An attribute as text.
fn attribute(placed: &Finished, key: &str) -> Option<String> {
    let found = placed.span.attributes.iter().find(|(name, _)| *name == key)?;
    match &found.1 {
        Value::Text(text) => Some(text.to_string()),
        Value::Int(number) => Some(number.to_string()),
        Value::Double(number) => Some(number.to_string()),
        Value::Bool(yes) => Some(yes.to_string()),
        Value::Texts(texts) => texts.first().map(ToString::to_string),
    }
}

/// The other end of a client's call, as it names it.
fn address(client: &Finished) -> String {
    let address = attribute(client, "server.address").or_else(|| attribute(client, "network.peer.address"));
    let port = attribute(client, "server.port").or_else(|| attribute(client, "network.peer.port"));
    match (address, port) {
        (Some(address), Some(port)) if address.contains(':') => format!("[{address}]:{port}"),
        (Some(address), Some(port)) => format!("{address}:{port}"),
        (Some(address), None) => address,
        (None, _) => "?".to_owned(),
    }
}

/// Method and path of an HTTP call, else the span's name.
fn call(placed: &Finished) -> String {
    let method = attribute(placed, "http.request.method_original").or_else(|| attribute(placed, "http.request.method"));
    let path = attribute(placed, "url.path").or_else(|| {
        let full = attribute(placed, "url.full")?;
        let rest = full.split_once("://").map_or(full.as_str(), |(_, rest)| rest);
        let path = rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or("/");
        Some(path.to_owned())
    });
    let query = attribute(placed, "url.query").filter(|query| !query.is_empty());
    match (method, path) {
        (Some(method), Some(path)) => {
            let query = query.map(|query| format!("?{query}")).unwrap_or_default();
            format!("{method} {path}{query}")
        }
        _ => placed.span.name.to_string(),
    }
}

/// The response's status; `error` for a call that failed without one.
fn status(row: &Row<'_>) -> String {
    let ends = || [row.client, row.server].into_iter().flatten();
    let code = ends().find_map(|placed| attribute(placed, "http.response.status_code"));
    code.unwrap_or_else(|| {
        let failed = ends().any(is_error);
        if failed { "error".to_owned() } else { "-".to_owned() }
    })
}

/// Why a call failed, unless its status code says all there is.
fn reason(row: &Row<'_>) -> Option<String> {
    let failed = || {
        [row.client, row.server]
            .into_iter()
            .flatten()
            .filter(|placed| is_error(placed))
    };
    let message = failed().find_map(|placed| match &placed.span.status {
        Status::Error(message) if !message.is_empty() => Some(message.clone()),
        _ => None,
    });
    message.or_else(|| {
        let kind = failed().find_map(|placed| attribute(placed, "error.type"))?;
        (!kind.bytes().all(|byte| byte.is_ascii_digit())).then_some(kind)
    })
}

/// A service's color: the same in every trace and every run.
fn color(service: &str) -> &'static str {
    // FNV-1a.
    let hash = service.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let place = usize::try_from(hash).unwrap_or(0) % SERVICE_COLORS.len();
    SERVICE_COLORS.get(place).copied().unwrap_or_default()
}
