//! Fuzzing: libFuzzer on every parser of bytes from outside, built by the stable compiler.
use std::time::Duration;

use anyhow::{Result, ensure};

use super::tally::Tally;
use crate::{shell, workspace};

/// What cargo-fuzz would pass: coverage counters for libFuzzer, and checked arithmetic.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cdebug-assertions -Coverflow-checks";

/// `cargo xtask fuzz`.
///
/// # Errors
/// When a target found something; libFuzzer has printed it and kept the input under tests/fuzz/artifacts.
pub(crate) fn report(seconds: u64, target: Option<&str>) -> Result<()> {
    let mut tally = Tally::default();
    let result = run(seconds, target, &mut tally);
    println!("{tally}");
    result
}

/// Runs each target for a time.
pub(super) fn run(seconds: u64, only: Option<&str>, tally: &mut Tally) -> Result<()> {
    let folder = workspace::root().join("tests/fuzz");
    let build_folder = workspace::target().join("fuzz");
    let mut build = shell::command("cargo", &["build", "--quiet", "--release", "--locked", "--bins"]);
    // A target of its own keeps the flags off build scripts and macros, which have no libFuzzer to link.
    build
        .args(["--target", &host()?, "--target-dir"])
        .arg(&build_folder)
        .current_dir(&folder)
        .env("RUSTFLAGS", FLAGS)
        .env("RUSTC_BOOTSTRAP", "1");
    let status = shell::loud(build, Duration::from_secs(1200), |_| {})?;
    ensure!(status.success(), "the fuzz targets did not compile");

    let targets = targets(&folder)?;
    ensure!(!targets.is_empty(), "tests/fuzz has no targets");
    let mut found = Vec::new();
    for target in targets
        .iter()
        .filter(|name| only.is_none_or(|only| name.contains(only)))
    {
        println!("-- {target}, {seconds} s");
        let binary = build_folder.join(host()?).join("release").join(target);
        let (corpus, artifacts) = (
            folder.join("corpus").join(target),
            folder.join("artifacts").join(target),
        );
        std::fs::create_dir_all(&corpus)?;
        std::fs::create_dir_all(&artifacts)?;
        let mut fuzz = shell::command(&binary.display().to_string(), &[format!("-max_total_time={seconds}")]);
        fuzz.args([
            "-rss_limit_mb=1024",
            "-timeout=10",
            "-verbosity=0",
            "-print_final_stats=1",
        ])
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(&corpus)
        .current_dir(&folder);
        // Seeds: read, never written.
        fuzz.args(seeds(target));
        let status = shell::loud(fuzz, Duration::from_secs(seconds.saturating_add(120)), |_| {});
        let result = status.and_then(|status| {
            ensure!(status.success(), "{target}: {status}");
            Ok(())
        });
        if tally.one(result).is_err() {
            found.push(target.as_str());
        }
    }
    ensure!(found.is_empty(), "fuzzing found something in {}", found.join(", "));
    Ok(())
}

/// Folders of examples for a target: its own seeds and the fixtures of the protocol of that name.
fn seeds(target: &str) -> Vec<std::path::PathBuf> {
    let root = workspace::root();
    [format!("tests/fuzz/seeds/{target}"), format!("tests/fixtures/{target}")]
        .iter()
        .map(|path| root.join(path))
        .filter(|path| path.is_dir())
        .collect()
}

/// The binaries of the crate, from cargo itself.
fn targets(folder: &std::path::Path) -> Result<Vec<String>> {
    let mut metadata = shell::command("cargo", &["metadata", "--no-deps", "--format-version=1", "--locked"]);
    metadata.current_dir(folder);
    let text = shell::quiet(metadata, Duration::from_secs(60))?;
    let value: serde_json::Value = serde_json::from_str(&text)?;
    let targets = value
        .pointer("/packages/0/targets")
        .and_then(|targets| targets.as_array());
    let is_bin = |target: &&serde_json::Value| target["kind"][0] == "bin";
    let names = targets.into_iter().flatten().filter(is_bin);
    Ok(names
        .filter_map(|target| target["name"].as_str().map(str::to_owned))
        .collect())
}

fn host() -> Result<String> {
    shell::output("rustc", &["--print", "host-tuple"])
}
