//! Traces of a store, in the terminal.
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::ask;
use super::parse::Ask;
use crate::run::Identity;
use crate::store::sqlite::{Bounds, SqliteReader, SqliteStore};
use crate::store::{
    Imported, NoPlace, Page, Query, Reader as _, Received, SpanView, TraceList, TraceView, default_folder, perfetto,
};

/// Calls within calls are shown this deep; deeper ones are not set off further.
const MOST_DEPTH: usize = 40;

/// The folder of the store: the caller's, also under sudo.
pub(super) fn folder(given: Option<PathBuf>) -> Result<PathBuf, NoPlace> {
    let home = Identity::of_caller().ok().and_then(|caller| caller.home());
    given.map_or_else(|| default_folder(home, |name| std::env::var_os(name)), Ok)
}

/// What is asked, as text or JSON.
pub(super) fn answer(folder: &Path, ask: &Ask, json: bool) -> anyhow::Result<String> {
    if let Ask::Import { file } = ask {
        return import(folder, file);
    }
    let reader = SqliteReader::open(folder)?;
    match ask {
        Ask::List { query, order, limit } => {
            let page = Page {
                order: *order,
                ascending: false,
                limit: *limit,
                after: None,
                now_ns: now_ns(),
            };
            let list = reader.traces(&Query::parse(query)?, &page)?;
            Ok(if json { ask::json(&list) } else { listed(&list, folder) })
        }
        Ask::Show { id } => {
            let trace = reader.trace(id)?.ok_or_else(|| no_trace(id, folder))?;
            Ok(if json { ask::json(&trace) } else { shown(&trace) })
        }
        Ask::Export { id, perfetto: false } => {
            let trace = reader.otlp(id)?.ok_or_else(|| no_trace(id, folder))?;
            Ok(serde_json::to_string(&trace)? + "\n")
        }
        Ask::Export { id, perfetto: true } => {
            let trace = reader.trace(id)?.ok_or_else(|| no_trace(id, folder))?;
            Ok(perfetto(&trace).to_string() + "\n")
        }
        Ask::Import { file } => import(folder, file),
    }
}

fn no_trace(id: &str, folder: &Path) -> anyhow::Error {
    anyhow::anyhow!(
        "no trace {id} is in {}: give 8 or more digits of its id",
        folder.display()
    )
}

fn import(folder: &Path, file: &Path) -> anyhow::Result<String> {
    let name = file.display();
    let mut received = if file.as_os_str() == "-" {
        Received::read(std::io::stdin().lock())?
    } else {
        let opened = std::fs::File::open(file).with_context(|| format!("failed to open {name}"))?;
        Received::read(opened).with_context(|| format!("failed to read {name}"))?
    };
    let mut store = SqliteStore::open(folder, Bounds::default())?;
    let Imported { spans, known, refused } = store.import(&mut received, &format!("import {name}"), now_ns())?;
    Ok(format!(
        "{spans} spans were added, {known} were there already, {refused} have no id or no trace\n"
    ))
}

fn listed(list: &TraceList, folder: &Path) -> String {
    if list.traces.is_empty() {
        return format!("no such trace is in {}\n", folder.display());
    }
    let mut text = format!(
        "{:<32}  {:>10}  {:>5}  {:<6}  what\n",
        "trace", "took", "spans", "status"
    );
    for row in &list.traces {
        let mark = match (row.died, row.errors) {
            (true, _) => "x",
            (false, 0) => " ",
            _ => "!",
        };
        let _infallible = writeln!(
            text,
            "{}  {:>10}  {:>5}  {:<5}{mark}  {}: {}",
            row.trace_id,
            time(row.duration_ns),
            row.spans,
            ask::printable(&row.status),
            ask::printable(&row.service),
            ask::printable(&row.title),
        );
    }
    if list.next.is_some() {
        text.push_str("there are more: --limit N\n");
    }
    text
}

fn shown(trace: &TraceView) -> String {
    let row = &trace.row;
    let mut text = format!(
        "trace {}, {} spans, {} failed, {}\n",
        row.trace_id,
        row.spans,
        row.errors,
        time(row.duration_ns)
    );
    let ids: HashSet<&str> = trace.span_list.iter().map(|span| span.span_id.as_str()).collect();
    let mut below: BTreeMap<Option<&str>, Vec<&SpanView>> = BTreeMap::new();
    for span in &trace.span_list {
        // What a parent that is not here has called stands at the top.
        let parent = span
            .parent_id
            .as_deref()
            .filter(|id| ids.contains(id) && *id != span.span_id);
        below.entry(parent).or_default().push(span);
    }
    let mut open: Vec<(usize, &SpanView)> = Vec::new();
    open.extend(
        below
            .remove(&None)
            .unwrap_or_default()
            .into_iter()
            .rev()
            .map(|span| (0, span)),
    );
    loop {
        while let Some((depth, span)) = open.pop() {
            line(&mut text, depth, span);
            let children = below.remove(&Some(span.span_id.as_str())).unwrap_or_default();
            open.extend(children.into_iter().rev().map(|child| (depth + 1, child)));
        }
        // Parents that go round in a circle have no top.
        let Some((_, spans)) = below.pop_first() else {
            break;
        };
        open.extend(spans.into_iter().map(|span| (0, span)));
    }
    if trace.cut {
        text.push_str("more spans are stored than are shown\n");
    }
    text
}

fn line(text: &mut String, depth: usize, span: &SpanView) {
    let what = ["url.path", "url.full", "db.query.text"]
        .iter()
        .find_map(|name| span.attributes.get(*name)?.as_str())
        .unwrap_or_default();
    let _infallible = write!(
        text,
        "{:>10} {:>10}  {:indent$}{} {} {}",
        time(span.offset_ns),
        time(span.duration_ns),
        "",
        ask::printable(&span.service),
        span.kind,
        ask::printable(&span.name),
        indent = depth.min(MOST_DEPTH) * 2,
    );
    if !what.is_empty() {
        let _infallible = write!(text, " {}", ask::printable(&what.chars().take(100).collect::<String>()));
    }
    if let Some(error) = &span.error {
        let _infallible = write!(text, " ! {}", ask::printable(error));
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
}

/// A time as people read it.
fn time(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.2} s", ns as f64 / 1e9),
    }
}

pub(super) fn now_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::TraceRow;

    fn span(id: &str, parent: Option<&str>, name: &str) -> SpanView {
        SpanView {
            span_id: id.to_owned(),
            parent_id: parent.map(str::to_owned),
            parent_is_remote: false,
            name: name.to_owned(),
            kind: "server",
            service: "shop".to_owned(),
            pid: None,
            offset_ns: 1_500,
            duration_ns: 2_000_000,
            error: (name == "c").then(|| "it\u{1b}[31m broke".to_owned()),
            attributes: serde_json::Map::new(),
            events: Vec::new(),
            logs: Vec::new(),
            links: Vec::new(),
        }
    }

    #[test]
    fn every_span_is_shown_once() {
        let row = TraceRow {
            trace_id: "00".repeat(16),
            start_unix_ns: 0,
            duration_ns: 2_000_000,
            service: String::new(),
            title: String::new(),
            status: String::new(),
            error: false,
            spans: 6,
            errors: 1,
            died: false,
            test: String::new(),
            run: 1,
            id: 1,
        };
        let span_list = vec![
            span("1", None, "a"),
            span("2", Some("1"), "b"),
            span("3", Some("2"), "c"),
            span("4", Some("9"), "d"),
            // Each is the other's parent, or its own.
            span("5", Some("6"), "e"),
            span("6", Some("5"), "f"),
        ];
        let text = shown(&TraceView {
            row,
            span_list,
            cut: false,
            processes: Vec::new(),
            lost_events: 0,
        });
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(lines.len(), 6, "{text}");
        assert_eq!(lines[0], "    1.5 us     2.0 ms  shop server a");
        assert_eq!(
            lines[2],
            "    1.5 us     2.0 ms      shop server c ! it\u{fffd}[31m broke"
        );
        assert_eq!(lines[3], "    1.5 us     2.0 ms  shop server d");
    }
}
