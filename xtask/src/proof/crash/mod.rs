//! `cargo xtask proof crash`: each runtime's program serves requests while `clew attach` comes and goes.
//!
//! Before that the program says untraced what it answers to each request. From then on nothing of it may change: no answer,
//! no process, and no request may wait long. Now and then the agent is killed, and what it had attached has to go with it.
mod agent;
mod load;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use clew_tests::Lab;
use serde::Serialize;

use self::load::{Heard, Target};
use crate::accuracy::{self, Workload};
use crate::{build, setup, shell, workspace};

/// What to run.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Options {
    /// Time for each runtime
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Runtimes at once
    #[arg(long, default_value_t = 3)]
    at_once: usize,
    /// 20 seconds for each runtime
    #[arg(long)]
    quick: bool,
    /// Only the runtimes whose name holds this
    #[arg(long)]
    runtime: Option<String>,
    /// This program instead of one that is built now
    #[arg(long)]
    clew: Option<PathBuf>,
    /// Write the results here as well, as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Each runtime, and the workload of `cargo xtask accuracy` that uses most of it.
const RUNTIMES: &[(&str, &str)] = &[
    ("C", "c-threads"),
    ("Go", "go-mix"),
    ("Java 17", "java-17-handed"),
    ("Java 21", "java-21-virtual-handed"),
    ("Java 25", "java-25-virtual-handed"),
    ("Node.js", "node-mix"),
    ("Node.js, newest", "node-newest-mix"),
    ("Python, asyncio", "fastapi-asyncio"),
    ("Python, uvloop", "fastapi-uvloop"),
    ("newest Python, asyncio", "fastapi-asyncio-newest"),
    ("newest Python, uvloop", "fastapi-uvloop-newest"),
    ("Ruby, puma", "ruby-puma"),
    ("Rust, Tokio", "rust-axum"),
    ("nginx", "nginx-proxy"),
    ("Envoy", "envoy-proxy"),
];

/// One line of the results.
#[derive(Clone, Debug, Serialize)]
struct Row {
    runtime: &'static str,
    workload: &'static str,
    requests: u64,
    longest_ms: u64,
    /// Times the agent was attached.
    cycles: usize,
    /// Of those, how often it was killed instead of asked to end.
    killed: usize,
    /// Links to the kernel that it held at most.
    links: usize,
    spans: u64,
    attach_ms: Times,
    detach_ms: Times,
    /// From the agent's kill until its programs were gone from the kernel.
    vanish_ms: Times,
    errors: Vec<String>,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Times {
    median: u64,
    longest: u64,
}

impl Times {
    fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        let at = |place: usize| all.get(place).map_or(0, |time| millis(*time));
        Self {
            median: at(all.len() / 2),
            longest: at(all.len().saturating_sub(1)),
        }
    }
}

/// Runs the proof and prints a table.
///
/// # Errors
/// When a program came to harm, Clew did, or something cannot run.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(workspace::is_root(), "tracing needs root");
    setup::quiet()?;
    let clew = match &options.clew {
        Some(clew) => clew.clone(),
        None => build::release()?,
    };
    let time = Duration::from_secs(if options.quick { 20 } else { options.seconds });
    let only = options.runtime.as_ref();
    let mut todo: Vec<(&str, &Workload)> = Vec::new();
    for &(runtime, name) in RUNTIMES {
        if only.is_some_and(|only| !runtime.contains(only.as_str())) {
            continue;
        }
        match accuracy::workload(name) {
            Some(workload) => todo.push((runtime, workload)),
            None => println!("{runtime}: skipped, this machine has none"),
        }
    }
    ensure!(!todo.is_empty(), "no runtime has that name");
    println!("{}", line(&HEAD.map(str::to_owned)));
    let rows = all(todo, options.at_once, &clew, time)?;
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&rows)?)
            .with_context(|| format!("failed to write {}", path.display()))?;
    }
    let harmed: Vec<&str> = rows
        .iter()
        .filter(|row| !row.errors.is_empty())
        .map(|row| row.runtime)
        .collect();
    ensure!(harmed.is_empty(), "came to harm: {}", harmed.join("; "));
    Ok(())
}

/// The short form as a test.
///
/// # Errors
/// As [`run`].
pub(crate) fn check() -> Result<()> {
    run(&Options {
        at_once: 3,
        quick: true,
        ..Options::default()
    })
}

/// Some runtimes side by side until all had their turn.
fn all(todo: Vec<(&'static str, &'static Workload)>, at_once: usize, clew: &Path, time: Duration) -> Result<Vec<Row>> {
    let waiting = Mutex::new(todo.into_iter());
    let take = || waiting.lock().ok().and_then(|mut waiting| waiting.next());
    let turn = || -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        while let Some((runtime, workload)) = take() {
            let row = one(runtime, workload, clew, time).with_context(|| runtime.to_owned())?;
            println!("{}", line(&row.columns()));
            for error in &row.errors {
                println!("    {error}");
            }
            rows.push(row);
        }
        Ok(rows)
    };
    std::thread::scope(|scope| {
        let turns: Vec<_> = (0..at_once.max(1)).map(|_| scope.spawn(turn)).collect();
        let mut rows = Vec::new();
        for turn in turns {
            rows.extend(
                turn.join()
                    .map_err(|_| anyhow::anyhow!("a runtime could not be run"))??,
            );
        }
        Ok(rows)
    })
}

static COMPILING: Mutex<()> = Mutex::new(());

fn one(runtime: &'static str, workload: &Workload, clew: &Path, time: Duration) -> Result<Row> {
    let lab = Lab::new(workload.name).context("tracing needs root")?;
    // Programs are compiled where they are missing, which two must not do at once.
    let compiling = COMPILING
        .lock()
        .map_err(|_| anyhow::anyhow!("a program could not be compiled"))?;
    let made = (workload.make)(&lab);
    drop(compiling);
    let mut services = made.plan.start(lab.dir())?;
    let target = Target::new(made.port, made.path, made.closing)?;
    // The program under test is the last that was started.
    let pid = services.last().context("a workload has services")?.pid();
    let before = identities(pid);
    let (stop, begun) = (AtomicBool::new(false), Instant::now());
    let (heard, cycles, changed) = std::thread::scope(|scope| {
        let load = scope.spawn(|| target.load(&stop));
        let guard = scope.spawn(|| watched(pid, &before, &stop));
        let pids: Vec<u32> = before.iter().map(|(pid, _)| *pid).collect();
        let cycles = agent::come_and_go(&lab, clew, &pids, begun + time);
        stop.store(true, Ordering::Relaxed);
        (load.join(), cycles, guard.join())
    });
    let heard = heard.map_err(|_| anyhow::anyhow!("the load panicked"))?;
    let changed = changed.map_err(|_| anyhow::anyhow!("the watch over processes panicked"))?;
    let mut errors: Vec<String> = cycles.errors.into_iter().chain(changed).collect();
    errors.extend(complaints(&heard));
    if let Some(code) = services.iter_mut().find_map(clew_tests::Proc::ended) {
        errors.push(format!("a program ended with {code}"));
    }
    if cycles.spans == 0 {
        errors.push("the agent saw nothing".to_owned());
    }
    if !errors.is_empty() {
        let said = services.iter().map(clew_tests::Proc::stderr);
        errors.extend(said.filter_map(|text| Some(format!("last said: {}", text.lines().last()?))));
    }
    // The first ones last: they serve the others.
    for mut service in services.into_iter().rev() {
        service.stop(nix::sys::signal::Signal::SIGTERM);
    }
    Ok(Row {
        runtime,
        workload: workload.name,
        requests: heard.requests,
        longest_ms: millis(heard.longest),
        cycles: cycles.attach.len(),
        killed: cycles.vanish.len(),
        links: cycles.links,
        spans: cycles.spans,
        attach_ms: Times::of(cycles.attach),
        detach_ms: Times::of(cycles.detach),
        vanish_ms: Times::of(cycles.vanish),
        errors,
    })
}

fn complaints(heard: &Heard) -> Vec<String> {
    let mut complaints = heard.errors.clone();
    if heard.wrong > complaints.len() as u64 {
        complaints.push(format!("{} requests went wrong in all", heard.wrong));
    }
    if heard.requests == 0 {
        complaints.push("nothing was answered".to_owned());
    }
    complaints
}

/// A process and all its descendants, each with the time of its start, by which one number used twice is told apart.
fn identities(pid: u32) -> Vec<(u32, u64)> {
    let mut all: Vec<_> = shell::tree(pid)
        .into_iter()
        .filter_map(|pid| Some((pid, start(pid)?)))
        .collect();
    all.sort_unstable();
    all
}

/// proc_pid_stat(5): field 22.
fn start(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

/// Says when the processes are no longer what they were.
fn watched(pid: u32, before: &[(u32, u64)], stop: &AtomicBool) -> Option<String> {
    while !stop.load(Ordering::Relaxed) {
        let now = identities(pid);
        if now != before {
            return Some(format!("its processes were {before:?} (number, start) and are {now:?}"));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    None
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

const HEAD: [&str; 10] = [
    "runtime",
    "requests",
    "longest",
    "attached",
    "killed",
    "links",
    "attach ms",
    "detach ms",
    "vanish ms",
    "errors",
];

impl Row {
    fn columns(&self) -> [String; 10] {
        let times = |times: Times| format!("{}/{}", times.median, times.longest);
        [
            self.runtime.to_owned(),
            self.requests.to_string(),
            format!("{} ms", self.longest_ms),
            self.cycles.to_string(),
            self.killed.to_string(),
            self.links.to_string(),
            times(self.attach_ms),
            times(self.detach_ms),
            times(self.vanish_ms),
            self.errors.len().to_string(),
        ]
    }
}

fn line([runtime, rest @ ..]: &[String; 10]) -> String {
    let rest: Vec<String> = rest.iter().map(|column| format!("{column:>10}")).collect();
    format!("{runtime:<24} {}", rest.join(" "))
}
