//! Records what the kernel side writes while a command runs, for tests that replay it without root.
//!
//! `record FILE COMMAND...` writes one line an input of the pipeline: `process JSON`, or `event` and the record of the ring
//! buffer in base64.
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clew::attach::{Probes, Setup};
use clew::capture::decode;
use clew::discover::Discovery;
use clew::pipeline::{Input, Output, Pipeline};
use clew::protocol::Limits;
use clew::run::{Child, Identity};
use clew::span::Policy;

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let Some(path) = arguments.next() else {
        bail!("usage: record FILE COMMAND...")
    };
    let command: Vec<OsString> = arguments.collect();
    let mut out = BufWriter::new(File::create(&path).context("failed to create the recording")?);
    let mut child = Child::spawn(&command, &Identity::of_caller()?, None)?;
    let setup = Setup {
        logs: false,
        capture: None,
        head_bytes: 4096,
        body_bytes: 1024,
        watch_all: false,
        assist: false,
        times: false,
        stacks: false,
        ring_bytes: 16 * 1024 * 1024,
    };
    let mut probes = Probes::attach(&setup)?;
    let mut ring = probes.events()?;
    probes.target(child.pid())?;
    child.release()?;
    // The pipeline tells which processes have to be read, and when.
    let mut pipeline = Pipeline::new(
        Policy::default(),
        Limits {
            body_bytes: 1024,
            ..Limits::default()
        },
        1,
    );
    let mut discovery = Discovery::default();
    let mut over = false;
    while !over {
        over = child.try_wait()?.is_some();
        // What the command did last is in the ring buffer when it has ended.
        std::thread::sleep(Duration::from_millis(5));
        while let Some(record) = ring.next() {
            let event = decode(&record).context("a record did not decode")?;
            if let Some(pid) = pipeline.wants(&event)
                && let Ok(process) = discovery.read(pid)
            {
                let runtime = format!("{:?}", process.runtime);
                let line = serde_json::json!({ "pid": pid.0, "service": process.service, "runtime": runtime });
                writeln!(out, "process {line}")?;
                pipeline.handle(Input::Process(process), &mut Output::default());
            }
            writeln!(out, "event {}", STANDARD.encode(&*record))?;
            pipeline.handle(Input::Event(event), &mut Output::default());
        }
    }
    out.flush()?;
    Ok(())
}
