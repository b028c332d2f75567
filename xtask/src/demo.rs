//! `cargo xtask demo`: a small shop of real programs, traced by `clew run`, with its traces in the terminal.
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{build, setup, workspace};

/// How to show it.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Ends after this many seconds; without it on Ctrl-C
    #[arg(long)]
    seconds: Option<u32>,
}

/// Sets up, builds, and becomes `clew run`: Ctrl-C and the exit code are Clew's from then on.
///
/// # Errors
/// When something is missing, or this is not root and there is no sudo.
pub(crate) fn run(options: &Options) -> Result<()> {
    let sudo = match (workspace::is_root(), workspace::program("sudo")) {
        (true, _) => None,
        (false, Some(sudo)) => Some(sudo),
        (false, None) => {
            bail!("tracing needs root, and there is no sudo: become root and run `cargo xtask demo` again")
        }
    };
    setup::quiet()?;
    println!("demo: building clew");
    let clew = build::release()?;
    let stock = build::go("demo/stock")?;

    let mut command = match sudo {
        None => Command::new(&clew),
        Some(sudo) => {
            println!("demo: tracing needs root: sudo may ask for your password; the traced programs run as you");
            let mut command = Command::new(sudo);
            command.arg("--").arg(&clew);
            command
        }
    };
    let launcher = workspace::root().join("tests/workloads/demo/launcher.py");
    command
        .args(["run", "--format", "tree", "--", "/usr/bin/python3"])
        .arg(launcher);
    command.arg("--stock").arg(stock);
    command.arg("--gunicorn").arg(workspace::venv().join("bin/gunicorn"));
    command.args(options.seconds.map(|seconds| format!("--seconds={seconds}")));
    command.stdin(Stdio::null()).current_dir(workspace::root());
    Err(command.exec()).with_context(|| format!("failed to start {}", clew.display()))
}
