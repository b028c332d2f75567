//! `cargo xtask accuracy`: how many traces are exactly what happened.
//!
//! Each request carries a number in its query, which every call made for it repeats; so the truth is known without help of
//! the tracer.
mod go;
mod java;
mod judge;
mod loops;
mod node;
mod python;
mod queues;
mod rust;
mod stores;
mod streams;
mod table;
mod tls;
mod tree;
mod workload;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use clew_tests::{Lab, without_own};
use serde::{Deserialize, Serialize};

pub(crate) use self::workload::Workload;
use self::workload::{Expect, WORKLOADS};
use crate::{build, setup, shell, workspace};

/// What to run.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Options {
    /// Only the workload of this name, or those whose name holds this
    #[arg(long)]
    workload: Option<String>,
    /// Only say which workloads would run
    #[arg(long)]
    list: bool,
    /// Requests at once; without it 1, 16, 64 and 256
    #[arg(long)]
    concurrency: Option<u64>,
    /// Requests in each run
    #[arg(long, default_value_t = 2000)]
    requests: u64,
    /// 300 requests, concurrency 64
    #[arg(long)]
    quick: bool,
    /// This program instead of one that is built now
    #[arg(long)]
    clew: Option<PathBuf>,
    /// Write the results here as well, as JSON, after each run; runs whose results stand there already are left out
    #[arg(long)]
    json: Option<PathBuf>,
    /// Run nothing, but print the results of these files as the table of README
    #[arg(long, num_args = 1.., conflicts_with = "json")]
    table: Vec<PathBuf>,
}

/// One line of the results.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Row {
    workload: String,
    runtime: String,
    concurrency: u64,
    requests: u64,
    /// Traces with every span present, every parent right and nothing else.
    exact: u64,
    /// The same, but for parents that the workload says need not be named.
    accepted: u64,
    /// Spans that have a cause and name none.
    unlinked: u64,
    /// Why, as Clew counts it.
    unknown: BTreeMap<String, u64>,
    /// Spans under a parent that did not cause them.
    wrong_parent: u64,
    /// Spans that should be there.
    missing_span: u64,
    /// Spans that nothing accounts for.
    extra_span: u64,
}

/// Runs the workloads and prints a table.
///
/// # Errors
/// When a workload that must be exact is not, when any has a wrong parent, or when one cannot run.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !options.table.is_empty() {
        let rows: Result<Vec<Vec<Row>>> = options.table.iter().map(|path| read(path)).collect();
        print!("{}", table::markdown(&rows?.concat()));
        return Ok(());
    }
    ensure!(workspace::is_root(), "tracing needs root");
    setup::quiet()?;
    let selected = selected(options);
    ensure!(!selected.is_empty(), "no workload has that name");
    if options.list {
        for workload in selected {
            println!("{}", workload.name);
        }
        return Ok(());
    }
    let clew = match &options.clew {
        Some(clew) => clew.clone(),
        None => build::release()?,
    };
    let drive = build::drive()?;
    let requests = if options.quick { 300 } else { options.requests };
    let levels = match (options.concurrency, options.quick) {
        (Some(level), _) => vec![level],
        (None, true) => vec![64],
        (None, false) => vec![1, 16, 64, 256],
    };
    println!(
        "{:<28} {:>11} {:>8} {:>8}  wrong  missing  extra  unlinked",
        "workload", "concurrency", "requests", "exact"
    );
    let mut findings = Vec::new();
    let mut rows = match &options.json {
        Some(path) if path.exists() => read(path)?,
        _ => Vec::new(),
    };
    for workload in selected {
        for &concurrency in &levels {
            let is_this = |row: &&Row| {
                row.workload == workload.name && row.concurrency == concurrency && row.requests == requests
            };
            let known = rows.iter().find(is_this).cloned();
            let is_new = known.is_none();
            let row = match known {
                Some(row) => row,
                None => one(workload, requests, concurrency, &clew, &drive)
                    .with_context(|| format!("{} at concurrency {concurrency}", workload.name))?,
            };
            println!(
                "{:<28} {concurrency:>11} {requests:>8} {:>7.2}%  {:>5}  {:>7}  {:>5}  {}",
                row.workload,
                percent(row.exact, requests),
                row.wrong_parent,
                row.missing_span,
                row.extra_span,
                reasons(&row)
            );
            let wrong = match workload.expect {
                Expect::Exact => row.accepted != requests || row.extra_span != 0,
                Expect::NeverWrong => row.wrong_parent + row.missing_span + row.extra_span != 0,
            };
            if wrong {
                findings.push(format!("{} at {concurrency}", workload.name));
            }
            if is_new {
                rows.push(row);
                write(options.json.as_deref(), &rows)?;
            }
        }
    }
    ensure!(findings.is_empty(), "not as expected: {}", findings.join(", "));
    Ok(())
}

fn read(path: &Path) -> Result<Vec<Row>> {
    let text = std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} holds no results", path.display()))
}

fn write(path: Option<&Path>, rows: &[Row]) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    std::fs::write(path, serde_json::to_vec_pretty(rows)?)
        .with_context(|| format!("failed to write {}", path.display()))
}

/// The workloads to run, of those this machine can.
fn selected(options: &Options) -> Vec<&'static Workload> {
    let all = || {
        let lines = lines().map(|(_, workload)| workload);
        workloads().chain(java::long()).chain(lines)
    };
    let only = options.workload.as_deref();
    let exactly = only.filter(|only| all().any(|workload| workload.name == *only));
    let chosen = |workload: &&Workload| match (exactly, only) {
        (Some(name), _) => workload.name == name,
        (None, Some(part)) => workload.name.contains(part),
        (None, None) => true,
    };
    let lines = lines().filter(|(toolchain, workload)| {
        let wanted = !options.quick && chosen(&workload);
        wanted && (clew_tests::Lab::has_go(toolchain) || skipped(workload.name, toolchain))
    });
    let lines = lines.map(|(_, workload)| workload);
    let worth = |workload: &&Workload| !options.quick || exactly.is_some() || !is_long(workload);
    let named = !options.quick || only.is_some();
    let long = java::long().filter(|workload| named && chosen(workload));
    let usual = workloads().filter(chosen).filter(worth);
    usual.chain(long).chain(lines).collect()
}

/// Workloads that need a release line of Go.
fn lines() -> impl Iterator<Item = &'static (&'static str, Workload)> {
    go::LINES.iter().chain(streams::LINES)
}

/// What the short form leaves out: programs that take a build of their own, and what another version of the runtime runs
/// there.
const LONG: &[&str] = &[
    "asyncpg-redis-pools",
    "flask-executor-newest",
    "flask-executor-sync-newest",
    "flask-gunicorn-sync-newest",
    "fastapi-asyncio-newest",
    "fastapi-threads-newest",
    "aiohttp-uvloop-newest",
    "go-gin",
    "go-gin-stripped",
    "go-grpc-stripped",
    "go-grpc-tls",
    "go-grpc-tls-stripped",
    "go-grpc-workers",
    "go-h2-tls-stripped",
    "go-h2c",
    "go-pgx-pools",
    "java-17-client-async",
    "java-17-common",
    "java-17-forkjoin",
    "java-17-forkjoin+assist",
    "java-17-handed",
    "java-17-httpserver+assist",
    "java-17-netty",
    "java-17-tomcat-async",
    "java-21-httpserver",
    "java-25-async",
    "java-25-client-async",
    "java-25-common",
    "java-25-handed+assist",
    "java-25-httpserver",
    "java-25-netty",
    "java-25-tomcat",
    "java-25-tomcat-virtual",
    "java-25-virtual",
    "java-25-virtual-common",
    "java-25-virtual-handed+assist",
    "java-jdbc-pools",
    "php-fpm-nginx",
    "psycopg-redis-pools",
    "rust-axum-debug",
    "rust-axum-fat",
    "rust-https",
    "rust-sqlx-pool",
    "rust-tonic-mixed",
    "rust-tonic-tls",
    "tls-curl-nginx",
    "tls-curl-uvicorn-uvloop",
    "tls-envoy-proxy",
    "tls-httpx",
    "tls-node-grpc+assist",
    "tls-node-h2+assist",
    "tls-php-fpm-nginx",
    "tls-rust-openssl",
    "tls-rust-openssl-before",
    "tls-rustls-0.21",
    "tls-rustls-0.22",
    "tls-rustls-v0",
    "tls-wget",
];

/// The short form leaves it out. Without its hook Node.js has no links, whatever the program and the version.
fn is_long(workload: &Workload) -> bool {
    let name = workload.name;
    let is_newest = name.contains("node-newest-") && name != "node-newest-mix+assist";
    let is_bare = name.starts_with("node-")
        && !name.ends_with("+assist")
        && !matches!(name, "node-http" | "node-mix" | "node-passed");
    LONG.contains(&name) || is_newest || is_bare
}

/// Says that a workload is not run.
fn skipped(name: &str, toolchain: &str) -> bool {
    println!("{name:<24} skipped: {toolchain} cannot be had");
    false
}

/// The workload of this name, if this machine can run it.
pub(crate) fn workload(name: &str) -> Option<&'static Workload> {
    workloads().find(|workload| workload.name == name)
}

/// Every workload that this machine can run.
fn workloads() -> impl Iterator<Item = &'static Workload> {
    let newest = clew_tests::Lab::newest_python("python").map_or(&[][..], |_| python::NEWEST);
    WORKLOADS
        .iter()
        .chain(go::ROWS)
        .chain(streams::ROWS)
        .chain(streams::NODE)
        .chain(node::WORKLOADS)
        .chain([&node::PASSED])
        .chain(loops::WORKLOADS)
        .chain(python::OLDEST)
        .chain(newest)
        .chain(rust::WORKLOADS)
        .chain(tls::WORKLOADS)
        .chain(stores::WORKLOADS)
        .chain(queues::WORKLOADS)
        .chain(java::workloads())
}

/// The short form as a test.
///
/// # Errors
/// As [`run`].
pub(crate) fn check() -> Result<()> {
    run(&Options {
        quick: true,
        ..Options::default()
    })
}

fn one(workload: &'static Workload, requests: u64, concurrency: u64, clew: &Path, drive: &Path) -> Result<Row> {
    let lab = Lab::new(workload.name).context("tracing needs root")?;
    let made = (workload.make)(&lab);
    let (port, path) = (made.port, made.path);
    let plan = match &made.client {
        Some(client) => client.load(made.plan, port, path, requests, concurrency),
        None if made.closing => made.plan.load_closing(port, path, requests, concurrency),
        None if made.traced => made.plan.load_traced(port, path, requests, concurrency),
        None => made.plan.load(port, path, requests, concurrency),
    };
    let plan = lab.file("plan.json", &serde_json::to_string(&plan)?);
    let spans = lab.dir().join("spans.jsonl");
    let mut run = shell::command(
        &clew.display().to_string(),
        // The number of a call to a database stands in its values.
        &[
            "run",
            "--format",
            "none",
            "--no-store",
            "--as-root",
            "--db-values",
            "--otlp-file",
        ],
    );
    run.arg(&spans);
    if !workload.name.ends_with(node::ASSISTED) {
        run.args(["--assist", "off"]);
    }
    run.arg("--").arg(drive).arg(&plan);
    without_own(&mut run, &["OTEL_", "CLEW_"]);
    let mut counted = BTreeMap::new();
    shell::heard(run, Duration::from_secs(300), |line, _| counted.extend(counter(line)))?;
    let text = std::fs::read_to_string(&spans).context("clew wrote no spans")?;
    let found = judge::judge(&clew_tests::Spans::parse(&text), made.chain, requests);
    if let Some(example) = &found.example {
        println!("{example}");
        if found.wrong_parent + found.missing_span + found.extra_span != 0 {
            let kept = workspace::target().join("tmp").join(format!("{}.jsonl", workload.name));
            std::fs::copy(&spans, &kept)?;
            println!("its spans are kept in {}", kept.display());
            println!("Clew counted {counted:?}");
        }
    }
    let unknown = counted
        .into_iter()
        .filter_map(|(name, count)| Some((name.strip_prefix("causality.unknown.")?.to_owned(), count)));
    Ok(Row {
        workload: workload.name.to_owned(),
        runtime: workload.runtime.to_owned(),
        concurrency,
        requests,
        exact: found.exact,
        accepted: found.accepted,
        unlinked: found.unlinked,
        unknown: unknown.collect(),
        wrong_parent: found.wrong_parent,
        missing_span: found.missing_span,
        extra_span: found.extra_span,
    })
}

/// A line of the summary that tells a counter.
fn counter(line: &str) -> Option<(String, u64)> {
    let mut words = line.split_whitespace();
    let name = words.next().filter(|name| name.contains('.'))?;
    Some((name.to_owned(), words.next()?.parse().ok()?))
}

/// How many links are missing, and why.
fn reasons(row: &Row) -> String {
    if row.unlinked == 0 {
        return "0".to_owned();
    }
    let reasons: Vec<String> = row
        .unknown
        .iter()
        .map(|(why, count)| format!("{why} {count}"))
        .collect();
    format!("{} ({})", row.unlinked, reasons.join(", "))
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}
