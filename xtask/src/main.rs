//! Everything a developer does with Clew: `cargo xtask --help`.
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod accuracy;
mod bench;
mod build;
mod debian;
mod demo;

mod proof;
mod setup;
mod shell;
mod test;
mod tidy;
mod vm;
mod workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Everything a developer does with Clew")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Make this machine ready: compiler parts, packages, Python and Go programs of the tests
    Setup,
    /// Build the release binary, target/release/clew
    Build,
    /// Set up, then run every test
    Test(test::Options),
    /// Exactly what CI runs
    Ci,
    /// Trace a small shop of real programs and show the traces
    Demo(demo::Options),
    /// Count the traces that are exactly what happened
    Accuracy(accuracy::Options),
    /// Measure programs without and with Clew, and Clew itself
    Bench(bench::Options),
    /// Run the tests of hosts and system calls on other kernels, in virtual machines
    Vm(vm::Options),
    /// Run the long form of a proof
    #[command(subcommand)]
    Proof(proof::Proof),
    /// Check what no compiler checks: paths in the docs, file sizes, leftovers
    Tidy,
    /// Fuzz every parser of bytes from outside
    Fuzz {
        /// Time for each target
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Only the targets whose name holds this
        target: Option<String>,
    },
}

fn main() -> ExitCode {
    // The tests end Clew with signals that whoever started this may ignore.
    clew_tests::heed_signals();
    match task(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn task(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Setup => setup::report(),
        Task::Build => build::release().map(|binary| println!("{}", binary.display())),
        Task::Test(options) => test::run(&options),
        Task::Ci => test::run(&test::Options::default()),
        Task::Demo(options) => demo::run(&options),
        Task::Accuracy(options) => accuracy::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Vm(options) => vm::report(&options),
        Task::Proof(proof) => proof::run(&proof),
        Task::Tidy => tidy::report(),
        Task::Fuzz { seconds, target } => {
            setup::quiet()?;
            test::fuzz::report(seconds, target.as_deref())
        }
    }
}
