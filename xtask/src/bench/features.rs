//! What logs, times and stacks cost: programs under Clew, with one of them and with none, in turn; and what logs cost the write(2) of a
//! program that is not traced.
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clew_tests::{Lab, Proc, free_port};
use nix::sys::signal::Signal;

use super::FULL;
use super::agent::{Agent, Statistics};
use super::load::load;
use super::process::per_event;
use super::row::{Row, median};

/// What the names of the rows begin with.
const NAME: &str = "features-";
/// The row of programs that are not traced.
const UNTRACED: &str = "features-untraced";
/// Whether logs, times and stacks are on.
type On = [bool; 3];
/// Nothing of all this.
const NONE: On = [false; 3];
const ALL: On = [true; 3];
/// What is measured against it.
const FEATURES: [(&str, On); 5] = [
    ("logs", [true, false, false]),
    ("times", [false, true, false]),
    ("stacks", [false, false, true]),
    ("logs+times", [true, true, false]),
    ("all", ALL),
];
/// From the moment an agent traces until its probes are in, also on a loaded machine.
const SETTLING: Duration = Duration::from_secs(2);

/// A program under load.
struct Program {
    name: &'static str,
    path: &'static str,
    argv: fn() -> Vec<String>,
}

/// Two that log nothing, the second with two tasks of Tokio's a request, and two that write three lines a request.
const PROGRAMS: [Program; 4] = [
    Program {
        name: "go",
        path: "/page?id=1",
        argv: || vec![Lab::go("server")],
    },
    Program {
        name: "rust",
        path: "/waits?id=1",
        argv: || vec![Lab::rust("axum-server")],
    },
    Program {
        name: "go-logs",
        path: "/logs?id=5",
        argv: || vec![Lab::go("logs")],
    },
    Program {
        name: "python-logs",
        path: "/logs?id=1",
        argv: || vec![Lab::python("python"), Lab::workload("python/logs_app.py")],
    },
];

/// The rows whose names hold `only`.
pub(super) fn measure(clew: &Path, only: Option<&str>, rounds: usize, time: Duration) -> Result<Vec<Row>> {
    let wanted = |row: &str| only.is_none_or(|only| row.contains(only));
    let mut rows = Vec::new();
    for program in &PROGRAMS {
        let row = format!("{NAME}{}", program.name);
        if wanted(&row) {
            println!("bench: {row}, {rounds} rounds with each feature and without");
            rows.extend(one(&row, program, clew, rounds, time).with_context(|| row.clone())?);
        }
    }
    if wanted(UNTRACED) {
        println!("bench: {UNTRACED}, {rounds} rounds without Clew, with it, and with its logs");
        rows.extend(untraced(clew, rounds, time / 4).context(UNTRACED)?);
    }
    Ok(rows)
}

fn one(name: &str, program: &Program, clew: &Path, rounds: usize, time: Duration) -> Result<Vec<Row>> {
    let lab = Lab::new(name).context("tracing needs root")?;
    let port = free_port();
    let mut argv = (program.argv)();
    argv.push(port.to_string());
    let mut service = lab.start("service", &argv);
    service.until_listening(port);
    load(port, program.path, FULL, Duration::from_secs(2))?;
    let window = |on: On| {
        let agent = Agent::attach_with(&lab, clew, service.pid(), &options(on));
        std::thread::sleep(SETTLING);
        let seen = load(port, program.path, FULL, time)?;
        Ok::<_, anyhow::Error>((seen.requests_per_second, agent.stop()?))
    };
    let mut without = Vec::new();
    let mut with = vec![Vec::new(); FEATURES.len()];
    for _ in 0..rounds {
        without.push(window(NONE)?.0);
        for ((_, on), seen) in FEATURES.iter().zip(&mut with) {
            seen.push(window(*on)?.0);
        }
    }
    let without = median(without);
    let ratios = FEATURES.iter().zip(with);
    let mut rows: Vec<Row> = ratios
        .map(|((feature, _), seen)| Row::both(name, &format!("throughput:{feature}"), without, median(seen)))
        .collect();
    let statistics = Statistics::on()?;
    let cost = window(ALL)?.1;
    drop(statistics);
    rows.extend(per_event(name, &cost.programs));
    service.stop(Signal::SIGTERM);
    Ok(rows)
}

const fn options([logs, times, stacks]: On) -> [&'static str; 6] {
    let logs = if logs { "on" } else { "off" };
    let times = if times { "auto" } else { "off" };
    let stacks = if stacks { "auto" } else { "off" };
    ["--logs", logs, "--times", times, "--stacks", stacks]
}

/// Nanoseconds that a write(2) takes of this process, which nobody traces, while Clew traces another.
fn untraced(clew: &Path, rounds: usize, time: Duration) -> Result<Vec<Row>> {
    let lab = Lab::new(UNTRACED).context("tracing needs root")?;
    let other: Proc = lab.start("other", &["sleep", "1000"]);
    let traced = |logs: bool| {
        let agent = Agent::attach_with(&lab, clew, other.pid(), &options([logs, false, false]));
        std::thread::sleep(SETTLING);
        let ns = write_ns(time)?;
        agent.stop()?;
        Ok::<_, anyhow::Error>(ns)
    };
    let (mut bare, mut off, mut on) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        bare.push(write_ns(time)?);
        off.push(traced(false)?);
        on.push(traced(true)?);
    }
    let (bare, off) = (median(bare), median(off));
    Ok(vec![
        Row::both(UNTRACED, "write_ns:clew", bare, off),
        Row::both(UNTRACED, "write_ns:logs", off, median(on)),
    ])
}

/// Nanoseconds a write of one byte to /dev/null: the least of many stretches, since others use this CPU, too.
fn write_ns(time: Duration) -> Result<f64> {
    const CALLS: u32 = 10_000;
    let mut nothing = File::create("/dev/null")?;
    let mut least = f64::INFINITY;
    let begun = Instant::now();
    while begun.elapsed() < time {
        let stretch = Instant::now();
        for _ in 0..CALLS {
            nothing.write_all(b"x")?;
        }
        least = least.min(stretch.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS));
    }
    Ok(least)
}
