//! Nothing is lost and no answer is another question's, by the servers' own count, with 64 connections each and pipelining.
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use clew_tests::{Kind, Lab, Plan, Span, Spans, free_port, postgresql, redis};

use crate::{build, shell, workspace};

/// What to run.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Pipelines that each connection sends
    #[arg(long, default_value_t = 40)]
    rounds: u64,
    /// This program instead of one that is built now
    #[arg(long)]
    clew: Option<PathBuf>,
}

/// Loads the servers, and compares.
///
/// # Errors
/// When a count is not the server's, or an answer does not fit its question.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(workspace::is_root(), "tracing needs root");
    let clew = match &options.clew {
        Some(clew) => clew.clone(),
        None => build::release()?,
    };
    let lab = Lab::new("counts").context("tracing needs root")?;
    let (database, cache) = (free_port(), free_port());
    let queues = free_port();
    let [memory, broker, monitor] = [free_port(), free_port(), free_port()].map(|port| port.to_string());
    let postgresql = postgresql(&lab, database);
    let mut server = postgresql.argv.clone();
    for setting in ["max_connections=80", "shared_preload_libraries=pg_stat_statements"] {
        server.extend(["-c".to_owned(), setting.to_owned()]);
    }
    let server: Vec<&str> = server.iter().map(String::as_str).collect();
    let redis = redis(&lab, cache);
    let redis: Vec<&str> = redis.iter().map(String::as_str).collect();
    let memcached = ["memcached", "-l", "127.0.0.1", "-p", &memory, "-U", "0", "-u", "nobody"];
    let nats = ["nats-server", "-a", "127.0.0.1", "-p", &broker, "-m", &monitor];
    let counted = lab.dir().join("counted.json").display().to_string();
    let words = [
        &Lab::python("python"),
        &Lab::workload("python/counted.py"),
        &cache.to_string(),
        &postgresql.dsn,
        &memory,
        &broker,
        &monitor,
        &queues.to_string(),
        &options.rounds.to_string(),
        &counted,
    ];
    let plan = Plan::default()
        .service(database, &server)
        .service(cache, &redis)
        .service(memory.parse()?, &memcached)
        .service(broker.parse()?, &nats)
        .rabbitmq(&lab, queues)
        .command(&words.map(String::as_str));
    let plan = lab.file("plan.json", &serde_json::to_string(&plan)?);
    let spans = lab.dir().join("spans.jsonl");
    let said = [
        "run",
        "--format",
        "none",
        "--no-store",
        "--as-root",
        "--db-values",
        "--otlp-file",
    ];
    let mut run = shell::command(&clew.display().to_string(), &said);
    run.arg(&spans).arg("--").arg(build::drive()?).arg(&plan);
    let mut summary = Vec::new();
    shell::heard(run, Duration::from_secs(600), |line, _| summary.push(line.to_owned()))?;
    let counted: BTreeMap<String, usize> =
        serde_json::from_slice(&std::fs::read(&counted).context("the load counted nothing")?)?;
    let told = told(&spans, &counted).context("clew wrote no spans")?;
    let mut unfit = 0;
    for (operation, calls) in &counted {
        for (end, name) in ["Server", "Client"].into_iter().enumerate() {
            let Told { calls: found, wrong } = told.get(&(operation.as_str(), end)).copied().unwrap_or_default();
            println!("counts: {operation:<17} {name}: {found} of {calls}, {wrong} with another's answer");
            unfit += wrong + found.abs_diff(*calls);
        }
    }
    ensure!(counted.values().sum::<usize>() > 0, "nothing was counted");
    if unfit > 0 {
        // What was lost, and why.
        println!("{}", summary.join("\n"));
    }
    ensure!(
        unfit == 0,
        "{unfit} calls are lost, told twice, or have another's answer"
    );
    Ok(())
}

/// What was told of an operation, at one end.
#[derive(Clone, Copy, Default)]
struct Told {
    calls: usize,
    /// Those with another's answer.
    wrong: usize,
}

/// What was told of each operation that is counted, by servers (0) and by clients (1). Line by line: all spans are more than fits in memory.
fn told<'a>(spans: &Path, counted: &'a BTreeMap<String, usize>) -> Result<HashMap<(&'a str, usize), Told>> {
    let mut told: HashMap<_, Told> = HashMap::new();
    for line in BufReader::new(File::open(spans)?).lines() {
        for span in &Spans::parse(&line?).0 {
            let end = match span.kind {
                Kind::Server => 0,
                Kind::Client | Kind::Producer => 1,
                _ => continue,
            };
            for operation in counted.keys().filter(|operation| names(span, operation)) {
                let told = told.entry((operation.as_str(), end)).or_default();
                told.calls += 1;
                told.wrong += usize::from(!fits(span));
            }
        }
    }
    Ok(told)
}

/// Whether a span is one of the calls that are counted, which are named by their system and operation.
fn names(span: &Span, counted: &str) -> bool {
    let of = |database, messages| span.text(database) + &span.text(messages);
    let system = of("db.system.name", "messaging.system");
    let name = format!("{system} {}", of("db.operation.name", "messaging.operation.name"));
    let is_counted = counted != "postgresql SELECT" || span.text("db.query.text").contains("generate_series");
    // What is not there was not taken, and RabbitMQ does not count it.
    let is_counted =
        is_counted && (counted != "rabbitmq get" || span.text("messaging.destination.name").contains("there:"));
    name == counted && is_counted && !span.text("db.query.text").contains("pg_stat")
}

/// Whether the answer is one to this question.
fn fits(span: &Span) -> bool {
    let text = span.text("db.query.text");
    let rows = span.text("db.response.returned_rows");
    match span.text("db.operation.name").as_str() {
        "" if span.text("messaging.operation.name") == "get" => !span.text("messaging.message.body.size").is_empty(),
        // Nothing answers what is published.
        "" => span.status != 2,
        "get" => rows == if text.contains("there:") { "1" } else { "0" },
        "SELECT" => !rows.is_empty() && rows == span.text("db.query.parameter.0"),
        "SET" | "set" => span.status != 2,
        _ => (span.status == 2) == text.contains("word:"),
    }
}
