//! What following execution contexts costs: programs under Clew, with it and with `--contexts off`, in turn.
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use clew_tests::Lab;
use nix::sys::signal::Signal;

use super::FULL;
use super::agent::{Agent, Statistics};
use super::load::{compared, load};
use super::row::Row;
use crate::accuracy::{self, Workload};

/// What the names of the rows begin with.
const NAME: &str = "contexts-";

/// Workloads of `cargo xtask accuracy`, one for each mechanism.
const WORKLOADS: &[&str] = &[
    "go-net-http",
    "go-pool",
    "fastapi-asyncio",
    "fastapi-uvloop",
    "rust-axum",
    "java-21-virtual",
    "java-25-virtual",
];

/// From the moment an agent traces until its probes are in, also on a loaded machine.
pub(super) const SETTLING: Duration = Duration::from_secs(2);

/// The rows of the workloads whose rows' names hold `only`.
pub(super) fn measure(clew: &Path, only: Option<&str>, rounds: usize, time: Duration) -> Result<Vec<Row>> {
    of_workloads(NAME, WORKLOADS, only, |row, workload| {
        println!("bench: {row}, {rounds} rounds without and with contexts");
        one(row, workload, clew, rounds, time)
    })
}

/// What `measure` gives for each of the workloads that this machine has; their rows' names begin with `prefix` and hold `only`.
pub(super) fn of_workloads(
    prefix: &str,
    workloads: &[&str],
    only: Option<&str>,
    measure: impl Fn(&str, &'static Workload) -> Result<Vec<Row>>,
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for name in workloads {
        let row = format!("{prefix}{name}");
        if only.is_some_and(|only| !row.contains(only)) {
            continue;
        }
        match accuracy::workload(name) {
            Some(workload) => rows.extend(measure(&row, workload).with_context(|| row.clone())?),
            None => println!("bench: {row} skipped, this machine has none"),
        }
    }
    Ok(rows)
}

fn one(name: &str, workload: &Workload, clew: &Path, rounds: usize, time: Duration) -> Result<Vec<Row>> {
    let lab = Lab::new(name).context("tracing needs root")?;
    let made = (workload.make)(&lab);
    let services = made.plan.start(lab.dir())?;
    let pid = services.last().context("a workload has services")?.pid();
    let path = format!("{}?id=1", made.path);
    load(made.port, &path, FULL, Duration::from_secs(2))?;
    let window = |mode: &str| {
        let agent = Agent::attach_with(&lab, clew, pid, &["--contexts", mode]);
        std::thread::sleep(SETTLING);
        let seen = load(made.port, &path, FULL, time)?;
        Ok::<_, anyhow::Error>((seen, agent.stop()?))
    };
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        without.push(window("off")?.0);
        with.push(window("auto")?.0);
    }
    let mut rows = compared(name, &without, &with);
    let statistics = Statistics::on()?;
    let (off, auto) = (window("off")?.1.programs, window("auto")?.1.programs);
    drop(statistics);
    for program in auto.iter().filter(|program| program.runs > 0) {
        let metric = program.metric();
        // Those at the socket read the context; the others are there for it alone.
        let same = off.iter().find(|other| other.name == program.name && other.runs > 0);
        rows.push(match same {
            Some(same) => Row::both(name, &metric, same.ns_per_event(), program.ns_per_event()),
            None => Row::agent(name, &metric, program.ns_per_event()),
        });
    }
    for mut service in services.into_iter().rev() {
        service.stop(Signal::SIGTERM);
    }
    Ok(rows)
}
