//! The Python environment of the tests, from tests/requirements.txt.
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Step;
use crate::{shell, workspace};

/// The oldest version the requirements run on.
const OLDEST: (u32, u32) = (3, 11);

pub(super) fn provide() -> Result<Step> {
    let requirements = workspace::root().join("tests/requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).context("failed to read tests/requirements.txt")?;
    let venv = workspace::venv();
    let stamp = venv.join("requirements.txt");
    let made = std::fs::read_to_string(&stamp).is_ok_and(|text| text == wanted);
    if made && venv.join("bin/python").exists() {
        return Ok(Step::Ready(venv.display().to_string()));
    }
    let python = interpreter()?;
    println!("  Python environment: installing tests/requirements.txt");
    let mut make = shell::command::<&str>(&python.display().to_string(), &["-m", "venv", "--clear"]);
    make.arg(&venv);
    shell::quiet(make, Duration::from_secs(120))?;
    let pip = venv.join("bin/python").display().to_string();
    shell::retried(|| {
        let mut install = shell::command(&pip, &["-m", "pip", "install", "--quiet", "--requirement"]);
        install.arg(&requirements);
        shell::quiet(install, Duration::from_secs(600))
    })?;
    std::fs::write(&stamp, &wanted)?;
    Ok(Step::Done(format!("{} with {}", venv.display(), python.display())))
}

/// A real interpreter: what `python3` in PATH names may be a version manager's script, whose process is not the program.
fn interpreter() -> Result<PathBuf> {
    let versions = [
        "/usr/bin/python3",
        "/usr/bin/python3.14",
        "/usr/bin/python3.13",
        "/usr/bin/python3.12",
    ];
    versions
        .iter()
        .map(PathBuf::from)
        .filter(|path| path.exists())
        .find(|path| version(path).is_some_and(|found| found >= OLDEST))
        .with_context(|| format!("no Python {}.{} or newer under /usr/bin", OLDEST.0, OLDEST.1))
}

fn version(python: &std::path::Path) -> Option<(u32, u32)> {
    let text = shell::output(&python.display().to_string(), &["--version"]).ok()?;
    let mut numbers = text.strip_prefix("Python ")?.split('.').map_while(|n| n.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}
