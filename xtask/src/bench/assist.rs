//! What the hook costs that `clew run` hands to Node.js: the same program under Clew, without and with it.
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use clew_tests::{Lab, Proc, free_port};

use super::FULL;
use super::load::{Seen, load};
use super::row::{Row, median};

/// The name of its rows.
pub(super) const NAME: &str = "node-assist";

/// A server that asks another for each request it serves, and so makes use of all that the hook does.
pub(super) fn measure(clew: &Path, rounds: usize, time: Duration) -> Result<Vec<Row>> {
    const PATH: &str = "/front?id=0";
    let lab = Lab::new(NAME).context("tracing needs root")?;
    let next = free_port();
    let mut leaf = lab.start("leaf", &[Lab::go("server"), next.to_string()]);
    leaf.until_listening(next);
    let service = |assist: &str| -> Result<(Proc, u16)> {
        let port = free_port();
        let mut command = Command::new(clew);
        command
            .args(["run", "--as-root", "--assist", assist])
            .args(["--format", "none", "--otlp-file", "/dev/null", "--", "node"])
            .args([Lab::workload("node/server.js"), port.to_string()])
            .env("NEXT", format!("{next}/leaf"))
            .current_dir(lab.dir());
        let mut service = Proc::start(lab.dir(), assist, command);
        service.until_listening(port);
        load(port, PATH, FULL, Duration::from_secs(1))?;
        Ok((service, port))
    };
    let (_without, off) = service("off")?;
    let (_with, auto) = service("auto")?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        without.push(load(off, PATH, FULL, time)?);
        with.push(load(auto, PATH, FULL, time)?);
    }
    let of = |all: &[Seen], figure: fn(&Seen) -> f64| median(all.iter().map(figure).collect());
    let both =
        |metric: &str, figure: fn(&Seen) -> f64| Row::both(NAME, metric, of(&without, figure), of(&with, figure));
    Ok(vec![
        both("throughput", |seen| seen.requests_per_second),
        both("p50_us", |seen| seen.p50_us),
        both("p99_us", |seen| seen.p99_us),
    ])
}
