//! What seeing through encryption costs: programs that ask over TLS for each request, without Clew and with it, in turn, and what a
//! run of each of its programs in the kernel takes, those in libraries among them.
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use clew_tests::Lab;
use nix::sys::signal::Signal;

use super::FULL;
use super::agent::{Agent, Statistics};
use super::contexts::{SETTLING, of_workloads};
use super::load::{compared, load};
use super::process::per_event;
use super::row::{self, Row};
use crate::accuracy::Workload;

/// What the names of the rows begin with.
const NAME: &str = "secured-";

/// Workloads of `cargo xtask accuracy`, one for each kind of library: OpenSSL on sockets and beside them, Go's, rustls.
const WORKLOADS: &[&str] = &[
    "tls-nginx-proxy",
    "tls-python-requests",
    "tls-aiohttp-uvloop",
    "go-https",
    "rust-https",
];

/// The rows of the workloads whose rows' names hold `only`.
pub(super) fn measure(clew: &Path, only: Option<&str>, rounds: usize, time: Duration) -> Result<Vec<Row>> {
    of_workloads(NAME, WORKLOADS, only, |row, workload| {
        println!(
            "bench: {row}, {rounds} rounds of {} s without and with Clew",
            time.as_secs()
        );
        one(row, workload, clew, rounds, time)
    })
}

fn one(name: &str, workload: &Workload, clew: &Path, rounds: usize, time: Duration) -> Result<Vec<Row>> {
    let lab = Lab::new(name).context("tracing needs root")?;
    let made = (workload.make)(&lab);
    let services = made.plan.start(lab.dir())?;
    let pid = services.last().context("a workload has services")?.pid();
    let path = format!("{}?id=1", made.path);
    load(made.port, &path, FULL, Duration::from_secs(2))?;
    let traced = || {
        let agent = Agent::attach(&lab, clew, pid);
        std::thread::sleep(SETTLING);
        let seen = load(made.port, &path, FULL, time)?;
        Ok::<_, anyhow::Error>((seen, agent.stop()?))
    };
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        without.push(load(made.port, &path, FULL, time)?);
        with.push(traced()?.0);
    }
    let mut rows = compared(name, &without, &with);
    let statistics = Statistics::on()?;
    let (seen, cost) = traced()?;
    drop(statistics);
    let per_request = row::float(cost.spans) / row::float(seen.requests);
    // Both a call and what it was made for; far less would mean that the plaintext was not seen.
    rows.push(Row::agent(name, "spans_per_request", per_request));
    rows.extend(per_event(name, &cost.programs));
    for mut service in services.into_iter().rev() {
        service.stop(Signal::SIGTERM);
    }
    Ok(rows)
}
