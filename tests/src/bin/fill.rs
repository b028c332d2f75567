//! Writes stores whose traces were made up, for the benchmark: it is built before what the agent needs to be built is there.
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clew_tests::{fill, pour};

const USAGE: &str = "usage: clew-fill FOLDER fill SPANS TRACES | FOLDER pour TRACES_PER_SECOND SECONDS";

fn main() -> ExitCode {
    match write() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("clew-fill: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn write() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, what, first, second] = args.as_slice() else {
        bail!(USAGE);
    };
    let (first, second) = (first.parse().context(USAGE)?, second.parse().context(USAGE)?);
    match what.as_str() {
        "fill" => fill(Path::new(folder), first, second),
        "pour" => pour(Path::new(folder), first, Duration::from_secs(second)),
        _ => bail!(USAGE),
    }
    Ok(())
}
