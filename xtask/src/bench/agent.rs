//! Clew beside a running service, and what it costs.
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_tests::{Lab, Proc, until};
use nix::sys::signal::Signal;

use super::process::{self, Program};

/// A `clew attach` that traces.
pub(super) struct Agent {
    proc: Proc,
    cpu_before: Duration,
}

/// What it has cost.
#[derive(Clone, Debug, Default)]
pub(super) struct Cost {
    pub(super) cpu: Duration,
    pub(super) rss_bytes: u64,
    pub(super) map_bytes: u64,
    pub(super) programs: Vec<Program>,
    /// Events the kernel could not hand over and spans that did not come out, by counter.
    pub(super) lost: Vec<(String, u64)>,
    /// Spans that came out.
    pub(super) spans: u64,
}

/// Counters of what was seen and then lost on the way out.
const LOST: &[&str] = &[
    "capture.ring_full",
    "capture.conn_state_full",
    "capture.targets_full",
    "pipeline.connections_full",
    "stream.buffer_full",
    "stream.gap_timeout",
    "trace.spans_full",
    "export.failed",
    "export.file_failed",
    "export.file_queue_full",
    "export.queue_full",
];

impl Agent {
    /// Attaches to a process and waits until Clew says that it traces. The spans are written as OTLP, to nowhere.
    pub(super) fn attach(lab: &Lab, clew: &Path, pid: u32) -> Self {
        Self::attach_with(lab, clew, pid, &[])
    }

    /// The same with further options.
    pub(super) fn attach_with(lab: &Lab, clew: &Path, pid: u32, options: &[&str]) -> Self {
        let mut command = Command::new(clew);
        command.args([
            "attach",
            "--pid",
            &pid.to_string(),
            "--format",
            "none",
            "--otlp-file",
            "/dev/null",
        ]);
        command.args(options);
        let mut proc = Proc::start(lab.dir(), "clew", command);
        until("clew says that it is tracing", || {
            assert!(proc.ended().is_none(), "clew ended: {}", proc.stderr());
            proc.stderr().contains("tracing").then_some(())
        });
        let cpu_before = process::cpu(proc.pid());
        Self { proc, cpu_before }
    }

    /// Stops it, and tells what it cost since it traced.
    pub(super) fn stop(mut self) -> Result<Cost> {
        let pid = self.proc.pid();
        let mut cost = Cost {
            cpu: process::cpu(pid).saturating_sub(self.cpu_before),
            rss_bytes: process::rss_bytes(pid),
            ..Cost::default()
        };
        (cost.map_bytes, cost.programs) = process::bpf(pid);
        let code = self.proc.stop(Signal::SIGINT);
        let stderr = self.proc.stderr();
        ensure!(code == 0, "clew ended with {code}:\n{stderr}");
        let counters: Vec<(&str, u64)> = stderr.lines().filter_map(counter).collect();
        let named = |name: &str| counters.iter().find(|(found, _)| *found == name).map_or(0, |(_, n)| *n);
        cost.spans = named("export.spans");
        let lost = LOST.iter().map(|name| ((*name).to_owned(), named(name)));
        cost.lost = lost.filter(|(_, n)| *n > 0).collect();
        Ok(cost)
    }
}

/// A line of Clew's summary: `name value`.
fn counter(line: &str) -> Option<(&str, u64)> {
    let mut words = line.split_whitespace();
    let (name, value) = (words.next()?, words.next()?);
    name.contains('.').then_some(())?;
    Some((name, value.parse().ok()?))
}

/// The kernel's own statistics of BPF programs, which cost about 30 ns a run: on while this lives. The kernel switches them
/// off when the descriptor is closed, however this ends.
pub(super) struct Statistics(#[expect(dead_code, reason = "held for what closing it does")] OwnedFd);

impl Statistics {
    pub(super) fn on() -> Result<Self> {
        let descriptor = aya::sys::enable_stats(aya::sys::Stats::RunTime);
        descriptor
            .map(Self)
            .context("failed to switch on the kernel's statistics of BPF programs")
    }
}
