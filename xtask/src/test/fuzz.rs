//! Fuzzing: libFuzzer on every parser of bytes from outside, built by the stable compiler.
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
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

    let mut targets = targets(&folder)?;
    ensure!(!targets.is_empty(), "tests/fuzz has no targets");
    targets.retain(|name| only.is_none_or(|only| name.contains(only)));
    let binaries = build_folder.join(host()?).join("release");
    // libFuzzer keeps one core busy: as many targets at once as there are cores.
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut results = Vec::new();
        while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = fuzz(&folder, &binaries, target, seconds);
            results.push((target.as_str(), result));
        }
        results
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let ended = threads.into_iter().map(|thread| thread.join().unwrap_or_default());
        ended.flatten().collect()
    });
    ensure!(results.len() == targets.len(), "a target was not run to its end");
    let mut found = Vec::new();
    for (target, result) in results {
        if tally.one(result).is_err() {
            found.push(target);
        }
    }
    ensure!(found.is_empty(), "fuzzing found something in {}", found.join(", "));
    Ok(())
}

/// Runs one target for a time; what it printed is shown when it has ended.
fn fuzz(folder: &Path, binaries: &Path, target: &str, seconds: u64) -> Result<()> {
    let kept = |what: &str| folder.join(what).join(target);
    let (corpus, artifacts) = (kept("corpus"), kept("artifacts"));
    std::fs::create_dir_all(&corpus)?;
    std::fs::create_dir_all(&artifacts)?;
    let binary = binaries.join(target).display().to_string();
    let mut fuzz = shell::command(&binary, &[format!("-max_total_time={seconds}")]);
    fuzz.args([
        "-rss_limit_mb=1024",
        "-timeout=10",
        "-verbosity=0",
        "-print_final_stats=1",
    ])
    .arg(format!("-artifact_prefix={}/", artifacts.display()))
    .arg(&corpus)
    .current_dir(folder);
    // Seeds: read, never written.
    fuzz.args(seeds(target));
    let mut printed = format!("-- {target}, {seconds} s\n");
    let result = shell::heard(fuzz, Duration::from_secs(seconds.saturating_add(120)), |line, _| {
        printed.push_str(line);
        printed.push('\n');
    });
    print!("{printed}");
    result
}

/// Folders of examples for a target: its own seeds and the fixtures of the protocol of that name.
fn seeds(target: &str) -> Vec<PathBuf> {
    let root = workspace::root();
    [format!("tests/fuzz/seeds/{target}"), format!("tests/fixtures/{target}")]
        .iter()
        .map(|path| root.join(path))
        .filter(|path| path.is_dir())
        .collect()
}

/// The binaries of the crate, from cargo itself.
fn targets(folder: &Path) -> Result<Vec<String>> {
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
