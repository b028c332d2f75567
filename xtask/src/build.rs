//! Building: the release binary, and programs that the tests trace.
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};

use crate::{setup, shell, workspace};

/// Builds `clew` with optimizations and tells where it is.
///
/// # Errors
/// When the machine is not ready or the build fails; cargo has then said why.
pub(crate) fn release() -> Result<PathBuf> {
    setup::compiler()?;
    page()?;
    cargo(
        &["build", "--release", "--locked", "--package", "clew"],
        Duration::from_secs(1800),
    )?;
    Ok(workspace::target().join("release/clew"))
}

/// Builds the dashboard's page, which the agent is then built with, where its sources are newer.
///
/// # Errors
/// When its packages cannot be had, or it does not compile; the compiler has then said why.
pub(crate) fn page() -> Result<()> {
    let folder = workspace::root().join("agent/ui");
    let built = folder.join("dist/index.html");
    if newest(
        &folder,
        &["src", "public", "index.html", "package-lock.json", "vite.config.js"],
    )? < modified(&built)
    {
        return Ok(());
    }
    setup::page()?;
    for script in ["check", "build"] {
        let mut npm = shell::command("npm", &["run", "--silent", script]);
        npm.current_dir(&folder);
        shell::quiet(npm, Duration::from_secs(300)).with_context(|| format!("the page: npm run {script}"))?;
    }
    Ok(())
}

fn newest(folder: &Path, names: &[&str]) -> Result<Option<SystemTime>> {
    let mut open: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    let mut newest = None;
    while let Some(path) = open.pop() {
        newest = newest.max(modified(&path));
        if path.is_dir() {
            for entry in std::fs::read_dir(&path)? {
                open.push(entry?.path());
            }
        }
    }
    Ok(newest)
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// Builds the Go program `tests/workloads/NAME.go` and tells where it is.
///
/// # Errors
/// When Go is missing or the program does not compile.
pub(crate) fn go(name: &str) -> Result<PathBuf> {
    let folder = workspace::target().join("workloads");
    std::fs::create_dir_all(&folder)?;
    let binary = folder.join(name.rsplit('/').next().unwrap_or(name));
    let mut build = shell::command("go", &["build", "-o"]);
    build
        .arg(&binary)
        .arg(workspace::root().join(format!("tests/workloads/{name}.go")))
        .env("GO111MODULE", "off");
    shell::quiet(build, Duration::from_secs(300))?;
    Ok(binary)
}

/// Builds `clew-drive`, which starts and loads the services of a workload, and tells where it is.
///
/// # Errors
/// When the build fails; cargo has then said why.
pub(crate) fn drive() -> Result<PathBuf> {
    let limit = Duration::from_secs(600);
    cargo(
        &[
            "build",
            "--quiet",
            "--locked",
            "--package",
            "clew-tests",
            "--no-default-features",
            "--bin",
            "clew-drive",
        ],
        limit,
    )?;
    Ok(workspace::target().join("debug/clew-drive"))
}

/// Builds `clew-fill`, which makes stores up, optimised, and tells where it is.
///
/// # Errors
/// When the build fails; cargo has then said why.
pub(crate) fn fill() -> Result<PathBuf> {
    let limit = Duration::from_secs(1800);
    let package = ["--locked", "--package", "clew-tests", "--bin", "clew-fill"];
    cargo(&[&["build", "--quiet", "--release"][..], &package].concat(), limit)?;
    Ok(workspace::target().join("release/clew-fill"))
}

/// Builds end-to-end tests by the names of their files and tells where they are.
///
/// # Errors
/// When the build fails; cargo has then said why.
pub(crate) fn tests(names: &[&str]) -> Result<Vec<PathBuf>> {
    let mut build = shell::command(
        "cargo",
        &["test", "--quiet", "--locked", "--no-run", "--package", "clew-tests"],
    );
    for name in names {
        build.args(["--test", name]);
    }
    build.arg("--message-format=json-render-diagnostics");
    let messages = shell::quiet(build, Duration::from_secs(1200))?;
    Ok(executables(&messages, names))
}

/// The tests among cargo's messages, in the order of `names`.
fn executables(messages: &str, names: &[&str]) -> Vec<PathBuf> {
    let messages: Vec<serde_json::Value> = messages
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let of = |name: &&str| {
        let message = messages
            .iter()
            .find(|message| message["target"]["name"] == **name && message["target"]["kind"][0] == "test");
        message?["executable"].as_str().map(PathBuf::from)
    };
    names.iter().filter_map(of).collect()
}

/// Runs cargo with its output passed on.
///
/// # Errors
/// When it fails.
pub(crate) fn cargo(args: &[&str], limit: Duration) -> Result<()> {
    let status = shell::loud(shell::command("cargo", args), limit, |_| {})?;
    ensure!(status.success(), "cargo {}: {status}", args.join(" "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_tests_among_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"kind":["test"],"name":"b"},"executable":"/t/b-1"}
            {"reason":"compiler-artifact","target":{"kind":["bin"],"name":"a"},"executable":"/t/a"}
            {"reason":"compiler-artifact","target":{"kind":["test"],"name":"a"},"executable":"/t/a-2"}"#;
        assert_eq!(
            executables(messages, &["a", "b"]),
            [PathBuf::from("/t/a-2"), PathBuf::from("/t/b-1")]
        );
    }
}
