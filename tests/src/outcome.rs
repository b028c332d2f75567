//! What a traced run left behind, and judgements on it.
use std::collections::BTreeMap;

use crate::log::{Log, parse};
use crate::span::{Kind, Span, Spans};

/// What is known after Clew has ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Clew's exit code.
    pub code: i32,
    /// Clew's standard output (under `run` the command's).
    pub stdout: String,
    /// Clew's standard error (under `run` with the command's).
    pub stderr: String,
    /// The spans of `--otlp-file`.
    pub spans: Spans,
    /// The records of logs of `--otlp-file`.
    pub logs: Vec<Log>,
    /// The lines `name value` of the summary.
    pub counters: BTreeMap<String, u64>,
}

impl Outcome {
    pub(crate) fn new(code: i32, stdout: String, stderr: String, otlp: &str) -> Self {
        let counters = stderr.lines().filter_map(counter).collect();
        let spans = Spans::parse(otlp);
        let logs = parse(otlp);
        Self {
            code,
            stdout,
            stderr,
            spans,
            logs,
            counters,
        }
    }

    /// What `--otlp-file` says, where nothing else is looked at.
    pub fn of(otlp: &str) -> Self {
        Self::new(0, String::new(), String::new(), otlp)
    }

    /// A counter's value; 0 where the summary does not name it.
    pub fn counter(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }

    /// The span a record was written for, if it is here.
    pub fn span_of(&self, log: &Log) -> Option<&Span> {
        let found = |span: &&Span| span.id == log.span && span.trace == log.trace;
        self.spans.filter(|_| true).into_iter().find(found)
    }

    /// Each record of a service with a number behind `before` is on the server span of the request of that number, and each of
    /// `requests` has `each` of them.
    #[track_caller]
    pub fn check_logs(&self, service: &str, before: &str, requests: u64, each: usize) {
        let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
        for log in self.logs.iter().filter(|log| log.service == service) {
            let Some((_, rest)) = log.body.split_once(before) else {
                continue;
            };
            let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
            let id: u64 = rest[..digits].parse().expect("a number");
            let Some(span) = self.span_of(log) else {
                self.fail(&format!("no span: {log:?}"));
            };
            let of = span.text("url.query");
            self.check(of == format!("id={id}"), &format!("{log:?} is on the span of {of}"));
            self.check_eq(span.kind, Kind::Server, "kind of the span");
            *seen.entry(id).or_default() += 1;
        }
        let want: BTreeMap<u64, usize> = (1..=requests).map(|id| (id, each)).collect();
        self.check_eq(seen, want, &format!("records by request of {service}"));
    }

    /// Fails the test, with everything there is to see.
    #[track_caller]
    pub fn fail(&self, what: &str) -> ! {
        panic!(
            "{what}\n--- traces\n{}--- clew's stderr (exit code {})\n{}",
            self.spans.trees(),
            self.code,
            self.stderr
        );
    }

    /// Fails the test unless `holds`.
    #[track_caller]
    pub fn check(&self, holds: bool, what: &str) {
        if !holds {
            self.fail(what);
        }
    }

    /// Fails the test unless the two are equal.
    #[track_caller]
    pub fn check_eq<T: PartialEq + std::fmt::Debug>(&self, got: T, want: T, what: &str) {
        if got != want {
            self.fail(&format!("{what}\n   got: {got:?}\n  want: {want:?}"));
        }
    }

    /// The only span of this kind with this path.
    #[track_caller]
    pub fn only(&self, kind: Kind, path: &str) -> &Span {
        match self.spans.at(kind, path).as_slice() {
            [span] => span,
            found => self.fail(&format!("{} {kind:?} spans of {path}, want 1", found.len())),
        }
    }

    /// Attributes of a span, each as text; an empty text means that the span must not have it.
    #[track_caller]
    pub fn check_span(&self, span: &Span, want: &[(&str, &str)]) {
        for (name, want) in want {
            self.check_eq(span.text(name).as_str(), *want, &format!("{name} of {}", span.brief()));
        }
    }

    /// Every number in `1..=n` has exactly one trace, and it is this chain: from the root down, each span as
    /// `kind service path`, the parent of each the one before.
    #[track_caller]
    pub fn check_chains(&self, n: u64, chain: &[&str]) {
        for number in 1..=n {
            let mut spans = self.spans.filter(|span| span.number() == Some(number));
            // Deepest last: the one with the longest line of ancestors ends the chain.
            spans.sort_by_key(|span| self.spans.ancestry(span).len());
            let got: Vec<String> = spans.iter().map(|span| self.lineage(span)).collect();
            let want: Vec<String> = (1..=chain.len())
                .map(|n| chain.get(..n).unwrap_or_default().join(" > "))
                .collect();
            self.check_eq(got, want, &format!("the trace of request {number}"));
        }
    }

    /// The line of ancestors of a span as `check_chains` writes it.
    pub fn lineage(&self, span: &Span) -> String {
        let mut line = vec![hop(span)];
        let mut at = span;
        while let Some(parent) = self.spans.parent(at) {
            line.push(hop(parent));
            at = parent;
            if line.len() > 100 {
                break;
            }
        }
        if at.parent.is_some() {
            line.push("?".to_owned());
        }
        line.reverse();
        line.join(" > ")
    }

    /// No span has a parent of another request: a missing link is allowed, a wrong one is not. A connection on which no request is
    /// seen has no number.
    #[track_caller]
    pub fn check_no_wrong_links(&self) {
        for span in &self.spans.0 {
            if let Some(parent) = self.spans.parent(span)
                && !span.target().is_empty()
                && parent.number() != span.number()
            {
                let (child, parent) = (span.brief(), parent.brief());
                self.fail(&format!("wrong parent: {child} under {parent}"));
            }
        }
    }

    /// Exactly one span of this kind with this path for each number in `1..=n`.
    #[track_caller]
    pub fn check_numbers(&self, kind: Kind, path: &str, n: u64) {
        let mut got: Vec<Option<u64>> = self.spans.at(kind, path).iter().map(|span| span.number()).collect();
        got.sort_unstable();
        let want: Vec<Option<u64>> = (1..=n).map(Some).collect();
        self.check_eq(got, want, &format!("numbers of the {kind:?} spans of {path}"));
    }
}

fn hop(span: &Span) -> String {
    let kind = match span.kind {
        Kind::Server => "server",
        Kind::Client => "client",
        Kind::Producer => "producer",
        Kind::Consumer => "consumer",
        Kind::Other(_) => "other",
    };
    format!("{kind} {} {}", span.service(), span.path())
}

/// `name value`, with or without indentation; the name has a dot.
fn counter(line: &str) -> Option<(String, u64)> {
    let mut words = line.split_whitespace();
    let (name, value) = (words.next()?, words.next()?);
    (name.contains('.')).then_some(())?;
    Some((name.to_owned(), value.parse().ok()?))
}
