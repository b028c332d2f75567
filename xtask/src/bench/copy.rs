//! What it costs in the kernel to copy a message's bytes, and what a verdict that stops copying saves.
//!
//! The same messages pass twice: as HTTP, whose heads are copied, and as bytes of no protocol, which Clew stops copying after
//! some turns of the connection. The two are measured in turn.
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_tests::{Lab, Proc};

use super::agent::{Agent, Statistics};
use super::row::{Row, median};

/// Sizes of the messages, bytes.
const SIZES: [u32; 2] = [256, 4096];
/// The programs at the socket.
const PROGRAMS: [&str; 2] = ["socket_send", "socket_recv"];

/// The rows of every size.
pub(super) fn measure(clew: &Path, rounds: usize, time: Duration) -> Result<Vec<Row>> {
    let lab = Lab::new("copy").context("tracing needs root")?;
    let statistics = Statistics::on()?;
    let mut rows = Vec::new();
    for size in SIZES {
        let mut plain: [Vec<f64>; 2] = Default::default();
        let mut copied: [Vec<f64>; 2] = Default::default();
        for _ in 0..rounds {
            for (kind, kept) in [("other", &mut plain), ("http", &mut copied)] {
                let figures = one(&lab, clew, size, kind, time)?;
                for (all, figure) in kept.iter_mut().zip(figures) {
                    all.push(figure);
                }
            }
        }
        for (place, program) in PROGRAMS.iter().enumerate() {
            let name = format!("copy-{size}-bytes");
            let (plain, copied) = (median(plain[place].clone()), median(copied[place].clone()));
            rows.push(Row::both(&name, &format!("ns_per_event:{program}"), plain, copied));
        }
    }
    drop(statistics);
    Ok(rows)
}

/// Nanoseconds an event of each of [`PROGRAMS`] while messages of `size` bytes pass.
fn one(lab: &Lab, clew: &Path, size: u32, kind: &str, time: Duration) -> Result<[f64; 2]> {
    let mut command = Command::new(Lab::c("pingpong"));
    command.args([&size.to_string(), kind]);
    let service = Proc::start(lab.dir(), "pingpong", command);
    let agent = Agent::attach(lab, clew, service.pid());
    std::thread::sleep(time);
    let cost = agent.stop()?;
    // What was lost was not written, and would make copying look cheap.
    ensure!(cost.lost.is_empty(), "events were lost: {:?}", cost.lost);
    let mut figures = [0.0; 2];
    for (figure, name) in figures.iter_mut().zip(PROGRAMS) {
        let program = cost.programs.iter().find(|program| program.name == name);
        let program = program.filter(|program| program.runs > 0);
        let program = program.with_context(|| format!("{name} did not run"))?;
        *figure = program.ns_per_event();
    }
    Ok(figures)
}
