//! What the hooks cost that `clew run` hands to Node.js and Java: the same program under Clew, without and with it.
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use clew_tests::{Lab, Proc};
use nix::sys::signal::Signal;

use super::FULL;
use super::contexts::of_workloads;
use super::load::{compared, load};
use super::row::Row;
use crate::accuracy::Workload;

/// What the names of the rows begin with.
const NAME: &str = "assist-";

/// Workloads of `cargo xtask accuracy`, servers that ask another for each request and so make use of all that the hook does: Node.js,
/// threads that hand work to a pool, and Tomcat.
const WORKLOADS: &[&str] = &["node-http", "java-17-handed", "java-17-tomcat"];

/// The rows of the workloads whose rows' names hold `only`.
pub(super) fn measure(clew: &Path, only: Option<&str>, rounds: usize, time: Duration) -> Result<Vec<Row>> {
    of_workloads(NAME, WORKLOADS, only, |row, workload| {
        println!("bench: {row}, {rounds} rounds without and with the hook");
        one(row, workload, clew, rounds, time)
    })
}

fn one(name: &str, workload: &Workload, clew: &Path, rounds: usize, time: Duration) -> Result<Vec<Row>> {
    let lab = Lab::new(name).context("tracing needs root")?;
    let (_without, off) = started(&lab, workload, clew, "off")?;
    let (_with, auto) = started(&lab, workload, clew, "auto")?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let round = |(port, path): &(u16, String), time| load(*port, path, FULL, time);
    for place in [&off, &auto] {
        // Until the compilers of the runtimes have done most of their work.
        round(place, Duration::from_secs(3))?;
    }
    for _ in 0..rounds {
        without.push(round(&off, time)?);
        with.push(round(&auto, time)?);
    }
    Ok(compared(name, &without, &with))
}

/// The services of a workload, which end when they are dropped.
struct Services(Vec<Proc>);

impl Drop for Services {
    fn drop(&mut self) {
        for service in self.0.iter_mut().rev() {
            service.stop(Signal::SIGTERM);
        }
    }
}

/// Starts the services, the last one, which is asked, under `clew run --assist assist`. Where it is asked: port and path.
fn started(lab: &Lab, workload: &Workload, clew: &Path, assist: &str) -> Result<(Services, (u16, String))> {
    let mut made = (workload.make)(lab);
    let front = made.plan.services.last_mut().context("a workload has services")?;
    let mut argv = vec![clew.display().to_string()];
    let options = ["run", "--as-root", "--assist", assist, "--format", "none"];
    argv.extend(options.map(str::to_owned));
    argv.extend(["--otlp-file", "/dev/null", "--"].map(str::to_owned));
    argv.append(&mut front.argv);
    front.argv = argv;
    let services = made.plan.start(lab.dir())?;
    Ok((Services(services), (made.port, format!("{}?id=1", made.path))))
}
