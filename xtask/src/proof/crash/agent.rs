//! An agent that is attached, detached, and now and then killed.
use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use clew_tests::{Lab, Proc};
use nix::sys::signal::Signal;

/// From one beginning to the next, unless a cycle takes longer.
const PERIOD: Duration = Duration::from_secs(2);
/// How long it stays once it says that it traces, in turn: it goes before its probes are in, while they are, and after.
const STAYS_MS: [u64; 5] = [1200, 50, 800, 200, 1500];
/// The second cycle of each this many ends with a kill. No divisor of the stays' number, so that each stay is ended either way.
const KILL_EVERY: usize = 3;
/// An agent that takes longer to come or go is stuck.
const PATIENCE: Duration = clew_tests::DEADLINE;

/// What became of it.
#[derive(Debug, Default)]
pub(super) struct Cycles {
    /// From its start until it traced, each time.
    pub(super) attach: Vec<Duration>,
    /// From SIGINT to its end.
    pub(super) detach: Vec<Duration>,
    /// From SIGKILL until the kernel had none of its programs any more.
    pub(super) vanish: Vec<Duration>,
    /// Links to the kernel that it held at most.
    pub(super) links: usize,
    /// Spans that came out.
    pub(super) spans: u64,
    pub(super) errors: Vec<String>,
}

/// Attaches an agent to processes and detaches it until `end`.
pub(super) fn come_and_go(lab: &Lab, clew: &Path, pids: &[u32], end: Instant) -> Cycles {
    let mut cycles = Cycles::default();
    for number in 1.. {
        let begun = Instant::now();
        if begun >= end {
            break;
        }
        if let Err(error) = cycles.one(number, lab, clew, pids) {
            cycles.errors.push(error);
            break;
        }
        std::thread::sleep(PERIOD.saturating_sub(begun.elapsed()).min(end - begun));
    }
    cycles
}

impl Cycles {
    fn one(&mut self, number: usize, lab: &Lab, clew: &Path, pids: &[u32]) -> Result<(), String> {
        let mut command = Command::new(clew);
        command.args(["attach", "--format", "none", "--otlp-file", "/dev/null"]);
        for pid in pids {
            command.args(["--pid", &pid.to_string()]);
        }
        let begun = Instant::now();
        let mut proc = Proc::start(lab.dir(), "clew", command);
        let traces = within(|| proc.ended().is_some() || proc.stderr().contains("tracing"));
        if !traces || proc.ended().is_some() {
            return Err(format!("the agent does not trace: {}", proc.stderr()));
        }
        self.attach.push(begun.elapsed());
        let stay = STAYS_MS.get(number % STAYS_MS.len()).copied().unwrap_or(0);
        std::thread::sleep(Duration::from_millis(stay));
        let held = held(proc.pid());
        self.links = self.links.max(held.links);
        let asked = Instant::now();
        if number % KILL_EVERY == 2 {
            if held.programs.is_empty() {
                return Err("the agent holds no programs".to_owned());
            }
            proc.signal(Signal::SIGKILL);
            let gone = within(|| {
                let loaded = aya::programs::loaded_programs();
                proc.ended().is_some() && loaded.flatten().all(|program| !held.programs.contains(&program.id()))
            });
            if !gone {
                return Err("the agent was killed and its programs are still in the kernel".to_owned());
            }
            self.vanish.push(asked.elapsed());
            return Ok(());
        }
        proc.signal(Signal::SIGINT);
        if !within(|| proc.ended().is_some()) {
            return Err(format!("the agent does not end: {}", proc.stderr()));
        }
        self.detach.push(asked.elapsed());
        let said = proc.stderr();
        if proc.ended() != Some(0) || said.contains("panicked at") {
            return Err(format!("the agent ended with {:?}: {said}", proc.ended()));
        }
        self.spans += spans(&said);
        Ok(())
    }
}

/// How many spans came out, as the agent's summary says.
fn spans(said: &str) -> u64 {
    let counter = said.lines().find_map(|line| line.trim().strip_prefix("export.spans "));
    let number = counter.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// What a process holds of the kernel, as its descriptors tell.
struct Held {
    programs: HashSet<u32>,
    links: usize,
}

fn held(pid: u32) -> Held {
    let files = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten();
    let (mut programs, mut links) = (HashSet::new(), 0);
    for text in files
        .flatten()
        .filter_map(|file| std::fs::read_to_string(file.path()).ok())
    {
        let id = text.lines().find_map(|line| line.strip_prefix("prog_id:"));
        programs.extend(id.and_then(|id| id.trim().parse::<u32>().ok()));
        links += usize::from(text.contains("link_id:"));
    }
    Held { programs, links }
}

/// Whether something comes true in time.
fn within(mut condition: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while !condition() {
        if begun.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}
