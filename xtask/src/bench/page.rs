//! How quick the page is, in a browser: with a trace of 50 000 spans and 100 000 others, and while more come.
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use clew_tests::{Lab, Proc, until};
use serde_json::Value;

use super::row::Row;
use crate::{build, shell, workspace};

pub(super) const NAME: &str = "page";

const SPANS: u64 = 50_000;
const TRACES: u64 = 100_000;
/// Traces that come while the list is looked at, and for how long.
const PER_SECOND: u64 = 1_000;
const LIVE: Duration = Duration::from_secs(25);
/// Until a store is written.
const LIMIT: Duration = Duration::from_secs(600);
const FIGURES: &[&str] = &[
    "page_load_ms",
    "first_paint_50000_ms",
    "first_paint_50000_cpu_ms",
    "frames_per_second",
    "late_frames_percent",
    "frame_cpu_ms",
    "filter_100000_ms",
    "live_behind_ms",
    "live_worst_behind_ms",
    "live_listed",
    "live_missing",
    "live_frames_per_second",
];

/// Shows a store in a browser and takes the time.
pub(super) fn measure() -> Result<Vec<Row>> {
    let (clew, fill) = (build::release()?, build::fill()?);
    let lab = Lab::new(NAME).context("this needs root")?;
    let store = lab.dir().join("store");
    println!("page: {TRACES} traces and one of {SPANS} spans are written");
    let made_up = |what: &str, first: u64, second: u64| {
        let mut command = Command::new(&fill);
        command
            .arg(&store)
            .args([what, &first.to_string(), &second.to_string()]);
        command
    };
    shell::quiet(made_up("fill", SPANS, TRACES), LIMIT)?;
    let mut ui = Command::new(clew);
    ui.args(["ui", "--listen", "127.0.0.1:0", "--store"]).arg(&store);
    let ui = Proc::start(lab.dir(), "ui", ui);
    let url = until("clew says where traces are shown", || {
        let stderr = ui.stderr();
        let (_, rest) = stderr.split_once("shown on ")?;
        Some(rest.split_once(';')?.0.to_owned())
    });
    let still = browse(&url, &[])?;
    let pour = made_up("pour", PER_SECOND, LIVE.as_secs());
    let poured = std::thread::spawn(move || shell::quiet(pour, LIMIT));
    let live = browse(&url, &["live"])?;
    let poured = poured.join().map_err(|_| anyhow!("the thread that pours ended"))?;
    poured.with_context(|| format!("the store did not keep up with {PER_SECOND} traces a second"))?;
    let row = |figure: &&str| {
        let value = [&still, &live].into_iter().find_map(|result| result[*figure].as_f64());
        let value = value.with_context(|| format!("no {figure} was measured"))?;
        Ok(Row::agent(NAME, figure, value))
    };
    FIGURES.iter().map(row).collect()
}

/// What a browser measures.
fn browse(url: &str, args: &[&str]) -> Result<Value> {
    let output = Command::new("node")
        .arg("test/measure.mjs")
        .args(args)
        .current_dir(workspace::root().join("agent/ui"))
        .env("CLEW_FILLED", url)
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("failed to start node")?;
    ensure!(output.status.success(), "the browser ended with {}", output.status);
    serde_json::from_slice(&output.stdout).context("its answer is no JSON")
}
