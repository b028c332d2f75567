//! `cargo xtask proof logs`: each line that a program writes for a request is on the span of that request, in every runtime.
//!
//! Every line carries the request's number, as the request's own target does; so the truth is known without help of the tracer.
mod programs;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use clew_tests::{Kind, Lab, Outcome, Span, without_own};

use self::programs::{Expect, PROGRAMS, Program};
use crate::{build, setup, shell, workspace};

/// What to run.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// 300 requests to one program with goroutines and one with tasks
    #[arg(long)]
    quick: bool,
    /// Only the programs whose name holds this
    #[arg(long)]
    only: Option<String>,
    /// Requests to each program
    #[arg(long, default_value_t = 2000)]
    requests: u64,
    /// Requests at once
    #[arg(long, default_value_t = 64)]
    concurrency: u64,
    /// This program instead of one that is built now
    #[arg(long)]
    clew: Option<PathBuf>,
}

/// What the short form runs.
const QUICK: &[&str] = &["go", "python-uvloop"];

/// Where the lines of one program went.
#[derive(Debug, Default, PartialEq, Eq)]
struct Verdict {
    /// On the span of their request.
    right: u64,
    /// On another.
    wrong: u64,
    /// On none.
    without: u64,
    /// Nowhere.
    missing: u64,
    /// Told again.
    twice: u64,
    /// One that is wrong, for whoever has to mend it.
    example: Option<String>,
}

/// Runs the programs and prints a table.
///
/// # Errors
/// When a line is on a wrong span or nowhere, or one is on none that must be on one.
pub(super) fn run(options: &Options) -> Result<()> {
    ensure!(workspace::is_root(), "tracing needs root");
    setup::quiet()?;
    let clew = match &options.clew {
        Some(clew) => clew.clone(),
        None => build::release()?,
    };
    let drive = build::drive()?;
    let requests = if options.quick { 300 } else { options.requests };
    let chosen = |program: &&Program| match &options.only {
        Some(part) => program.name.contains(part.as_str()),
        None => !options.quick || QUICK.contains(&program.name),
    };
    println!(
        "{:<24} {:>8} {:>8} {:>7} {:>8} {:>8} {:>6}  why",
        "program", "lines", "right", "wrong", "without", "missing", "twice"
    );
    let mut findings = Vec::new();
    let mut ran = 0;
    for program in PROGRAMS.iter().filter(chosen) {
        ran += 1;
        let (verdict, counters) =
            one(program, requests, options.concurrency, &clew, &drive).with_context(|| program.name.to_owned())?;
        let why: Vec<String> = counters.iter().map(|(name, count)| format!("{name} {count}")).collect();
        println!(
            "{:<24} {:>8} {:>8} {:>7} {:>8} {:>8} {:>6}  {}",
            program.name,
            requests * program.each,
            verdict.right,
            verdict.wrong,
            verdict.without,
            verdict.missing,
            verdict.twice,
            why.join(", ")
        );
        if let Some(example) = &verdict.example {
            println!("    {example}");
        }
        let must = program.expect == Expect::Exact && verdict.without != 0;
        if must || verdict.wrong + verdict.missing + verdict.twice != 0 {
            findings.push(program.name);
        }
    }
    ensure!(ran > 0, "no program has that name");
    ensure!(findings.is_empty(), "not as expected: {}", findings.join(", "));
    Ok(())
}

fn one(
    program: &Program,
    requests: u64,
    concurrency: u64,
    clew: &Path,
    drive: &Path,
) -> Result<(Verdict, BTreeMap<String, u64>)> {
    let lab = Lab::new(program.name).context("tracing needs root")?;
    let made = (program.make)(&lab);
    let plan = made.plan.rested().load(made.port, "/logs", requests, concurrency);
    let plan = lab.file("plan.json", &serde_json::to_string(&plan)?);
    let told = lab.dir().join("told.jsonl");
    let options = ["run", "--format", "none", "--no-store", "--as-root", "--otlp-file"];
    let mut run = shell::command(&clew.display().to_string(), &options);
    run.arg(&told);
    if !program.hook {
        run.args(["--assist", "off"]);
    }
    run.arg("--").arg(drive).arg(&plan);
    without_own(&mut run, &["OTEL_", "CLEW_"]);
    let mut counters = BTreeMap::new();
    shell::heard(run, Duration::from_secs(300), |line, _| counters.extend(counter(line)))?;
    let text = std::fs::read_to_string(&told).context("clew wrote nothing")?;
    let outcome = Outcome::of(&text);
    Ok((judge(&outcome, program, requests), counters))
}

/// A line of the summary that says why records have no span, or what was lost of them.
fn counter(line: &str) -> Option<(String, u64)> {
    let mut words = line.split_whitespace();
    let name = words.next()?.strip_prefix("logs.")?;
    let count = words.next()?.parse().ok()?;
    (name != "records").then(|| (name.to_owned(), count))
}

fn judge(outcome: &Outcome, program: &Program, requests: u64) -> Verdict {
    let spans: HashMap<(&str, &str), &Span> = outcome
        .spans
        .0
        .iter()
        .map(|span| ((span.trace.as_str(), span.id.as_str()), span))
        .collect();
    let mut verdict = Verdict::default();
    let mut seen: HashMap<u64, u64> = HashMap::new();
    for log in outcome.logs.iter().filter(|log| log.service == program.service) {
        let Some(number) = number(&log.body, program.before) else {
            continue;
        };
        let count = seen.entry(number).or_default();
        *count += 1;
        if *count > program.each {
            verdict.twice += 1;
            continue;
        }
        match spans.get(&(log.trace.as_str(), log.span.as_str())) {
            _ if log.span.is_empty() => verdict.without += 1,
            Some(span) if span.kind == Kind::Server && span.number() == Some(number) => verdict.right += 1,
            other => {
                verdict.wrong += 1;
                let on = other.map_or_else(|| "no span that was told".to_owned(), |span| span.brief());
                verdict.example = Some(format!("{:?} is on {on}", log.body));
            }
        }
    }
    let told: u64 = seen.values().map(|count| (*count).min(program.each)).sum();
    verdict.missing = (requests * program.each).saturating_sub(told);
    verdict
}

/// The number behind `before`.
fn number(body: &str, before: &str) -> Option<u64> {
    let (_, rest) = body.split_once(before)?;
    let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: Program = Program {
        name: "test",
        service: "test",
        before: "rid=",
        each: 1,
        expect: Expect::Exact,
        hook: false,
        make: |_| unreachable!("it is not run"),
    };

    /// `rid` of a record and the span it names, or 0: span 7 is of request 7.
    fn check(records: &[(u64, u64)], want: [u64; 5]) {
        let service = r#"{"attributes":[{"key":"service.name","value":{"stringValue":"test"}}]}"#;
        let span = |id: u64| {
            format!(
                r#"{{"traceId":"{id:0>32}","spanId":"{id:0>16}","kind":2,"name":"GET","startTimeUnixNano":"5","endTimeUnixNano":"7","attributes":[{{"key":"url.query","value":{{"stringValue":"id={id}"}}}}]}}"#
            )
        };
        let record = |(rid, on): &(u64, u64)| {
            let place = match on {
                0 => String::new(),
                on => format!(r#""traceId":"{on:0>32}","spanId":"{on:0>16}","#),
            };
            format!(r#"{{{place}"body":{{"stringValue":"INFO rid={rid} x"}}}}"#)
        };
        let spans: Vec<String> = [1, 2].map(span).to_vec();
        let records: Vec<String> = records.iter().map(record).collect();
        let text = format!(
            "{{\"resourceSpans\":[{{\"resource\":{service},\"scopeSpans\":[{{\"spans\":[{}]}}]}}]}}\n\
             {{\"resourceLogs\":[{{\"resource\":{service},\"scopeLogs\":[{{\"logRecords\":[{}]}}]}}]}}",
            spans.join(","),
            records.join(",")
        );
        let got = judge(&Outcome::of(&text), &PROGRAM, 2);
        let got = [got.right, got.wrong, got.without, got.missing, got.twice];
        assert_eq!(got, want);
    }

    #[test]
    fn judges() {
        check(&[(1, 1), (2, 2)], [2, 0, 0, 0, 0]);
        check(&[(1, 1), (2, 1)], [1, 1, 0, 0, 0]);
        check(&[(1, 1), (2, 0)], [1, 0, 1, 0, 0]);
        check(&[(1, 1)], [1, 0, 0, 1, 0]);
        check(&[(1, 1), (2, 2), (2, 2)], [2, 0, 0, 0, 1]);
        // Of a span that was not told.
        check(&[(1, 1), (2, 9)], [1, 1, 0, 0, 0]);
    }

    #[test]
    fn counters() {
        assert_eq!(
            counter("  logs.unknown_span   12  why"),
            Some(("unknown_span".to_owned(), 12))
        );
        assert_eq!(counter("  logs.records   12"), None);
        assert_eq!(counter("causality.unknown.thread 3"), None);
    }
}
