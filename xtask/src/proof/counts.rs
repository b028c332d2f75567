//! Nothing is lost and no answer is another question's, by the servers' own count, with 64 connections each and pipelining.
use std::collections::BTreeMap;
use std::path::PathBuf;
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
    let postgresql = postgresql(&lab, database);
    let mut server = postgresql.argv.clone();
    for setting in ["max_connections=80", "shared_preload_libraries=pg_stat_statements"] {
        server.extend(["-c".to_owned(), setting.to_owned()]);
    }
    let server: Vec<&str> = server.iter().map(String::as_str).collect();
    let redis = redis(&lab, cache);
    let redis: Vec<&str> = redis.iter().map(String::as_str).collect();
    let counted = lab.dir().join("counted.json").display().to_string();
    let words = [
        &Lab::python("python"),
        &Lab::workload("python/counted.py"),
        &cache.to_string(),
        &postgresql.dsn,
        &options.rounds.to_string(),
        &counted,
    ];
    let plan = Plan::default()
        .service(database, &server)
        .service(cache, &redis)
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
    shell::heard(run, Duration::from_secs(600), |_, _| {})?;
    let told = Spans::parse(&std::fs::read_to_string(&spans).context("clew wrote no spans")?);
    let counted: BTreeMap<String, usize> =
        serde_json::from_slice(&std::fs::read(&counted).context("the load counted nothing")?)?;
    let mut unfit = 0;
    for (operation, calls) in &counted {
        let operation = operation.to_ascii_uppercase();
        for kind in [Kind::Server, Kind::Client] {
            let is_this = |span: &&Span| span.kind == kind && names(span, &operation);
            let found: Vec<&Span> = told.0.iter().filter(is_this).collect();
            let wrong = found.iter().filter(|span| !fits(span)).count();
            println!(
                "counts: {operation:<8} {kind:?}: {} of {calls}, {wrong} with another's answer",
                found.len()
            );
            unfit += wrong + found.len().abs_diff(*calls);
        }
    }
    ensure!(counted.values().sum::<usize>() > 0, "nothing was counted");
    ensure!(
        unfit == 0,
        "{unfit} calls are lost, told twice, or have another's answer"
    );
    Ok(())
}

/// Whether a span is one of the calls that are counted.
fn names(span: &Span, operation: &str) -> bool {
    let is_counted = operation != "SELECT" || span.text("db.query.text").contains("generate_series");
    span.text("db.operation.name") == operation && is_counted && !span.text("db.query.text").contains("pg_stat")
}

/// Whether the answer is one to this question.
fn fits(span: &Span) -> bool {
    let text = span.text("db.query.text");
    match span.text("db.operation.name").as_str() {
        "SELECT" => {
            let rows = span.text("db.response.returned_rows");
            !rows.is_empty() && rows == span.text("db.query.parameter.0")
        }
        "SET" => span.status != 2,
        _ => (span.status == 2) == text.contains("word:"),
    }
}
