//! What a run saw, what it lost and what it cost, told at its end.
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::time::Duration;

use foldhash::fast::RandomState;

use super::Finished;
use super::text::{clean, width};
use crate::span::{SpanKind, Status};
use crate::telemetry::{Usage, is_loss, meaning};

/// Services that are told apart; the rest share a line.
const MOST_SERVICES: usize = 200;
/// Trace ids remembered in each of two generations, so that traces are counted once.
const REMEMBERED_TRACES: usize = 32_768;
/// The longest name of a service that is shown.
const SERVICE_COLUMNS: usize = 32;
/// The name of the line that services share when there are too many.
const OTHERS: &str = "(others)";

/// Counts spans as they pass.
#[derive(Default)]
pub struct Summary {
    traces: u64,
    spans: u64,
    services: BTreeMap<String, Service>,
    recent: HashSet<[u8; 16], RandomState>,
    earlier: HashSet<[u8; 16], RandomState>,
}

#[derive(Default)]
struct Service {
    requests: u64,
    calls: u64,
    errors: u64,
    /// Of requests, nanoseconds.
    total_ns: u64,
    longest_ns: u64,
}

impl Summary {
    /// Counts a span.
    pub fn add(&mut self, placed: &Finished) {
        self.spans += 1;
        if !self.recent.contains(&placed.trace_id) && !self.earlier.contains(&placed.trace_id) {
            self.traces += 1;
        }
        self.recent.insert(placed.trace_id);
        if self.recent.len() >= REMEMBERED_TRACES {
            self.earlier = std::mem::take(&mut self.recent);
        }

        let name = placed.process.service.as_str();
        let is_known = self.services.contains_key(name) || self.services.len() < MOST_SERVICES;
        let name = if is_known { name } else { OTHERS };
        let service = match self.services.get_mut(name) {
            Some(service) => service,
            None => self.services.entry(name.to_owned()).or_default(),
        };
        let span = &placed.span;
        match span.kind {
            SpanKind::Server | SpanKind::Consumer => {
                let length_ns = span.end_ns.saturating_sub(span.start_ns);
                service.requests += 1;
                service.total_ns = service.total_ns.saturating_add(length_ns);
                service.longest_ns = service.longest_ns.max(length_ns);
            }
            SpanKind::Client | SpanKind::Producer => service.calls += 1,
            SpanKind::Internal => {}
        }
        if matches!(span.status, Status::Error(_)) {
            service.errors += 1;
        }
    }

    /// The summary as lines: what was seen in `wall` time, the counters that are not zero, what the agent used.
    pub fn render(&self, wall: Duration, counters: &[(String, u64)], usage: Usage) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "{} traces, {} spans in {:.1} s",
            self.traces,
            self.spans,
            wall.as_secs_f64()
        );
        self.table(&mut out);
        let (lost, usual): (Vec<_>, Vec<_>) = counters.iter().partition(|(name, _)| is_loss(name));
        list("lost, cut or not understood:", &lost, &mut out);
        list("counters:", &usual, &mut out);
        let share = if wall.is_zero() {
            0.0
        } else {
            usage.cpu.as_secs_f64() / wall.as_secs_f64() * 100.0
        };
        let _ = writeln!(
            out,
            "clew itself: {:.2} s of CPU time ({share:.1} % of one CPU), {} MiB of memory",
            usage.cpu.as_secs_f64(),
            usage.rss_bytes >> 20
        );
        out
    }

    fn table(&self, out: &mut String) {
        if self.services.is_empty() {
            return;
        }
        let name = |name: &str| clean(name, SERVICE_COLUMNS, "~");
        let widest = self.services.keys().map(|service| width(&name(service))).max();
        let columns = widest.unwrap_or(0).max("service".len());
        let _ = writeln!(
            out,
            "  {:<columns$}  {:>9}  {:>9}  {:>9}  {:>11}  {:>11}",
            "service", "requests", "calls", "failed", "mean ms", "longest ms"
        );
        for (service, of) in &self.services {
            let shown = name(service);
            let pad = " ".repeat(columns.saturating_sub(width(&shown)));
            let _ = write!(
                out,
                "  {shown}{pad}  {:>9}  {:>9}  {:>9}",
                of.requests, of.calls, of.errors
            );
            match of.total_ns.checked_div(of.requests) {
                None => out.push_str("            -            -\n"),
                Some(mean_ns) => {
                    let ms = |ns: u64| ns as f64 / 1e6;
                    let _ = writeln!(out, "  {:>11.2}  {:>11.2}", ms(mean_ns), ms(of.longest_ns));
                }
            }
        }
    }
}

/// Counters under a heading: name, value, meaning.
fn list(heading: &str, counters: &[&(String, u64)], out: &mut String) {
    if counters.is_empty() {
        return;
    }
    let _ = writeln!(out, "{heading}");
    let columns = counters.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in counters {
        let line = format!("  {name:<columns$}  {value:>9}  {}", meaning(name).unwrap_or_default());
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::sample::{Sample, service};

    #[test]
    fn a_run() {
        let mut summary = Summary::default();
        let (shop, odd) = (service("shop"), service("o\x1bdd"));
        for span in [
            Sample::server(1, &shop).trace(1).ms(0, 10),
            Sample::client(2, &shop).trace(1).ms(0, 10),
            Sample::server(3, &shop).trace(2).ms(0, 31).error("no"),
            Sample::client(4, &odd).trace(2).ms(0, 31),
        ] {
            summary.add(&span.done());
        }
        let counters = [
            ("capture.events".to_owned(), 12),
            ("export.failed".to_owned(), 3),
            ("new.name".to_owned(), 4),
        ];
        let usage = Usage {
            cpu: Duration::from_millis(50),
            rss_bytes: 41 << 20,
        };
        let expected = "\
2 traces, 4 spans in 2.0 s
  service   requests      calls     failed      mean ms   longest ms
  o\u{FFFD}dd             0          1          0            -            -
  shop             2          1          1        20.50        31.00
lost, cut or not understood:
  export.failed          3  Spans given up because the collector could not be reached, or kept failing, for too long.
  new.name               4
counters:
  capture.events         12  Events written into the ring buffer.
clew itself: 0.05 s of CPU time (2.5 % of one CPU), 41 MiB of memory
";
        let got = summary.render(Duration::from_secs(2), &counters, usage);
        assert!(got == expected, "got\n{got}\nexpected\n{expected}");
    }

    #[test]
    fn nothing_was_seen() {
        let got = Summary::default().render(Duration::ZERO, &[], Usage::default());
        let expected =
            "0 traces, 0 spans in 0.0 s\nclew itself: 0.00 s of CPU time (0.0 % of one CPU), 0 MiB of memory\n";
        assert_eq!(got, expected);
    }

    #[test]
    fn services_and_traces_are_bounded() {
        let mut summary = Summary::default();
        for id in 0..3 * REMEMBERED_TRACES as u64 {
            let name = format!("s{}", id % 1000);
            let process = service(&name);
            summary.add(&Sample::server(id, &process).trace(id).done());
        }
        assert_eq!(summary.traces, 3 * REMEMBERED_TRACES as u64);
        assert_eq!(summary.services.len(), MOST_SERVICES + 1);
        assert!(summary.recent.len() + summary.earlier.len() <= 2 * REMEMBERED_TRACES);
    }
}
