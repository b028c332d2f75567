//! `cargo xtask test`: every check there is, in the order in which a mistake shows soonest.
pub(crate) mod fuzz;
mod tally;

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::Args;

pub(crate) use self::tally::Tally;
use crate::{build, setup, shell, tidy, workspace};

/// What to run.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Options {
    /// Leave out fuzzing, accuracy and bench
    #[arg(long)]
    quick: bool,
    /// Only host and end-to-end tests whose name holds this
    filter: Option<String>,
}

struct Stage {
    name: &'static str,
    run: fn(&Options, &mut Tally) -> Result<()>,
    /// Runs with `--quick` and with a filter.
    quick: bool,
    filtered: bool,
}

const STAGES: &[Stage] = &[
    stage("format", format, true, false),
    stage("clippy", clippy, true, false),
    stage("AArch64", other_machine, false, false),
    stage("tidy", |_, tally| tally.one(tidy::check()), true, false),
    stage("host tests", host, true, true),
    stage("end-to-end tests", end_to_end, true, true),
    stage("other kernels and fuzz", kernels_and_fuzz, false, false),
    stage("accuracy", accuracy, false, false),
    stage("crash test", crash, false, false),
    stage("bench", bench, false, false),
];

/// End-to-end tests that run beside the others: they wait more than they work, and are not after time.
const BESIDE: [&str; 3] = ["page", "queues", "tls"];
/// For each target; the long form is `cargo xtask fuzz`.
const FUZZ_SECONDS: u64 = 12;

const fn stage(name: &'static str, run: fn(&Options, &mut Tally) -> Result<()>, quick: bool, filtered: bool) -> Stage {
    Stage {
        name,
        run,
        quick,
        filtered,
    }
}

/// Runs the stages, all of them even where one fails, and ends with the sum of all tests.
///
/// # Errors
/// When anything failed; the stages are named.
pub(crate) fn run(options: &Options) -> Result<()> {
    let begun = Instant::now();
    println!("== setup");
    setup::quiet()?;
    // What is tested has its page.
    build::page()?;
    println!("   ready after {} s", begun.elapsed().as_secs());
    let (mut sum, mut failed) = (Tally::default(), Vec::new());
    for stage in STAGES {
        if options.quick && !stage.quick || options.filter.is_some() && !stage.filtered {
            continue;
        }
        println!("\n== {}", stage.name);
        let (begun, mut tally) = (Instant::now(), Tally::default());
        let result = (stage.run)(options, &mut tally);
        if let Err(error) = &result {
            println!("   {error:#}");
        }
        // A stage that fails before its first test has failed once.
        if result.is_err() && tally.failed == 0 {
            tally.failed = 1;
        }
        let verdict = if tally.failed == 0 { "ok" } else { "FAILED" };
        println!(
            "== {}: {verdict} in {} s ({tally})",
            stage.name,
            begun.elapsed().as_secs()
        );
        if tally.failed > 0 {
            failed.push(stage.name);
        }
        sum.add(&tally);
    }
    println!("\nall stages took {} s", begun.elapsed().as_secs());
    for reason in &sum.skips {
        println!("skipped: {reason}");
    }
    if !failed.is_empty() {
        println!("FAILED: {}", failed.join(", "));
    }
    println!("{sum}");
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

fn format(_: &Options, tally: &mut Tally) -> Result<()> {
    for manifest in ["Cargo.toml", "ebpf/Cargo.toml", "tests/fuzz/Cargo.toml"] {
        if workspace::root().join(manifest).exists() {
            let check = ["fmt", "--all", "--check", "--manifest-path", manifest];
            tally.one(build::cargo(&check, Duration::from_secs(120)))?;
        }
    }
    Ok(())
}

fn clippy(_: &Options, tally: &mut Tally) -> Result<()> {
    let workspace = [
        "clippy",
        "--quiet",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-Dwarnings",
    ];
    tally.one(build::cargo(&workspace, Duration::from_secs(1200)))?;
    let mut kernel = shell::command("cargo", &["clippy", "--quiet", "--locked", "--release"]);
    kernel
        .args(["--target", "bpfel-unknown-none", "-Zbuild-std=core", "--", "-Dwarnings"])
        .current_dir(workspace::root().join("ebpf"))
        .env("RUSTC_BOOTSTRAP", "1");
    let status = shell::loud(kernel, Duration::from_secs(600), |_| {});
    tally.one(status.and_then(|status| {
        ensure!(status.success(), "clippy of the kernel programs: {status}");
        Ok(())
    }))
}

/// Clew and its kernel programs compile for another machine. They do not run here.
fn other_machine(_: &Options, tally: &mut Tally) -> Result<()> {
    const TARGET: &str = "aarch64-unknown-linux-gnu";
    let add = shell::command("rustup", &["target", "add", TARGET]);
    if let Err(error) = shell::quiet(add, Duration::from_secs(120)) {
        let error = format!("{error:#}");
        tally.skip(&format!("AArch64: no library for it: {}", shell::first_line(&error)));
        return Ok(());
    }
    if workspace::program("aarch64-linux-gnu-gcc").is_none() {
        tally.skip("AArch64: no aarch64-linux-gnu-gcc for the parts that are C");
        return Ok(());
    }
    let check = [
        "check",
        "--quiet",
        "--locked",
        "--target",
        TARGET,
        "--package",
        "clew",
        "--package",
        "clew-common",
    ];
    tally.one(build::cargo(&check, Duration::from_secs(1200)))
}

fn host(options: &Options, tally: &mut Tally) -> Result<()> {
    let limit = Duration::from_secs(1800);
    let workspace = ["--workspace", "--exclude", "clew-tests"];
    let harness = ["--package", "clew-tests", "--lib"];
    let both = [
        cargo_test(&workspace, options, &[], limit, tally),
        cargo_test(&harness, options, &[], limit, tally),
    ];
    both.into_iter().collect()
}

fn end_to_end(options: &Options, tally: &mut Tally) -> Result<()> {
    if !workspace::is_root() {
        tally.skip("end-to-end tests: need root");
        return Ok(());
    }
    let clew = build::release()?;
    let env = [("CLEW_BIN", clew), ("CLEW_TEST_VENV", workspace::venv())];
    let limit = Duration::from_secs(1800);
    let (mut beside, mut alone) = (Vec::new(), Vec::new());
    for file in std::fs::read_dir(workspace::root().join("tests/tests"))? {
        let file = file?.path();
        let Some(name) = file.file_stem().and_then(|name| name.to_str()) else {
            continue;
        };
        let tests = if BESIDE.contains(&name) {
            &mut beside
        } else {
            &mut alone
        };
        tests.extend(["--test".to_owned(), name.to_owned()]);
    }
    let these = |tests: &[String], tally: &mut Tally| {
        let mut what = vec!["--package", "clew-tests"];
        what.extend(tests.iter().map(String::as_str));
        cargo_test(&what, options, &env, limit, tally)
    };
    let mut seen = Tally::default();
    let (beside, alone) = std::thread::scope(|scope| {
        let beside = scope.spawn(|| these(&beside, &mut seen));
        let alone = these(&alone, tally);
        (beside.join(), alone)
    });
    tally.add(&seen);
    alone.and(beside.unwrap_or_else(|_| bail!("the tests beside the others panicked")))
}

/// Both at once: a virtual machine keeps one core busy, and neither is after time.
fn kernels_and_fuzz(_: &Options, tally: &mut Tally) -> Result<()> {
    let (mut booted, mut fuzzed) = (Tally::default(), Tally::default());
    let (kernels, fuzz) = std::thread::scope(|scope| {
        let kernels = scope.spawn(|| crate::vm::run(&crate::vm::Options::default(), &mut booted));
        let fuzz = fuzz::run(FUZZ_SECONDS, None, &mut fuzzed);
        (kernels.join(), fuzz)
    });
    tally.add(&booted);
    tally.add(&fuzzed);
    let kernels = kernels.unwrap_or_else(|_| bail!("the test of other kernels panicked"));
    match (kernels, fuzz) {
        (Err(kernels), Err(fuzz)) => bail!("{kernels:#}; {fuzz:#}"),
        (kernels, fuzz) => kernels.and(fuzz),
    }
}

fn accuracy(_: &Options, tally: &mut Tally) -> Result<()> {
    if !workspace::is_root() {
        tally.skip("accuracy: needs root");
        return Ok(());
    }
    tally.one(crate::accuracy::check())
}

fn crash(_: &Options, tally: &mut Tally) -> Result<()> {
    if !workspace::is_root() {
        tally.skip("crash test: needs root");
        return Ok(());
    }
    tally.one(crate::proof::crash::check())
}

fn bench(_: &Options, tally: &mut Tally) -> Result<()> {
    if !workspace::is_root() {
        tally.skip("bench: needs root");
        return Ok(());
    }
    tally.one(crate::bench::check())
}

/// Runs `cargo test` and counts what its runners say. All targets run even where one fails.
fn cargo_test(
    what: &[&str],
    options: &Options,
    env: &[(&str, std::path::PathBuf)],
    limit: Duration,
    tally: &mut Tally,
) -> Result<()> {
    let mut test = shell::command("cargo", &["test", "--quiet", "--locked", "--no-fail-fast"]);
    test.args(what)
        .args(&options.filter)
        .envs(env.iter().cloned())
        .arg("--");
    if !env.is_empty() {
        // One after the other, each with its name: they share the kernel.
        test.args(["--test-threads=1", "--format=pretty"]);
    }
    let before = tally.failed;
    let status = shell::loud(test, limit, |line| tally.read(line))?;
    if !status.success() && tally.failed == before {
        bail!("the tests did not compile, or their runner died: {status}");
    }
    Ok(())
}
