//! The hook that `clew run` hands to Java, from agent/src/run/assist/java: target/assist/java.jar, which the agent is built with.
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::Step;
use crate::{shell, workspace};

const LIMIT: Duration = Duration::from_secs(300);
/// Every release of Java since this one can load what the virtual machine loads first.
const OLDEST: &str = "8";
const MANIFEST: &str = "Premain-Class: clew.hook.Agent\nCan-Retransform-Classes: true\nCan-Redefine-Classes: true\n";

pub(super) fn provide() -> Result<Step> {
    let source = workspace::root().join("agent/src/run/assist/java");
    let target = workspace::target().join("assist");
    let (jar, stamp) = (target.join("java.jar"), target.join("sources"));
    let wanted = sources(&source)?;
    let name = "target/assist/java.jar".to_owned();
    if jar.exists() && std::fs::read_to_string(&stamp).is_ok_and(|text| text == wanted) {
        return Ok(Step::Ready(name));
    }
    println!("  hook for Java: building agent/src/run/assist/java");
    let libraries = target.join("lib");
    std::fs::create_dir_all(&libraries)?;
    shell::retried(|| {
        let mut copy = shell::command("mvn", &["-q", "-B", "dependency:copy-dependencies", "-f"]);
        copy.arg(source.join("pom.xml"))
            .arg(format!("-DoutputDirectory={}", libraries.display()))
            .current_dir(&target);
        shell::quiet(copy, LIMIT)
    })?;
    let whole = tempfile::tempdir_in(&target).context("no room for classes")?;
    let inside = whole.path().join("clew/hook");
    let (apart, runtime) = (inside.join("apart"), inside.join("runtime"));
    let built = whole.path().join("built");
    for folder in [&apart, &runtime, &built] {
        std::fs::create_dir_all(folder)?;
    }
    javac(&["--release", OLDEST, "-d"], whole.path(), &source.join("agent"))?;
    let class_path = format!("{}/*:{}", libraries.display(), whole.path().display());
    javac(
        &["--release", "17", "-cp", &class_path, "-d"],
        &apart,
        &source.join("hook"),
    )?;
    // It is defined in Java's own base, and compiled as a part of it.
    let base = format!("java.base={}", source.join("runtime").display());
    javac(
        &["-source", "17", "-target", "17", "--patch-module", &base, "-d"],
        &built,
        &source.join("runtime"),
    )?;
    for class in files(&built.join("java/util/concurrent"))? {
        let name = class.file_name().unwrap_or_default().to_owned();
        std::fs::rename(&class, runtime.join(name))?;
    }
    std::fs::remove_dir_all(&built)?;
    for library in files(&libraries)?.iter().filter(|file| has_extension(file, "jar")) {
        let mut unpack = shell::command("jar", &["xf"]);
        unpack.arg(library).arg("org").current_dir(&apart);
        shell::quiet(unpack, LIMIT)?;
    }
    let manifest = target.join("manifest");
    std::fs::write(&manifest, MANIFEST)?;
    let mut pack = shell::command("jar", &["cfm"]);
    pack.arg(&jar).arg(&manifest).arg("-C").arg(whole.path()).arg(".");
    shell::quiet(pack, LIMIT)?;
    std::fs::write(&stamp, wanted)?;
    Ok(Step::Done(name))
}

fn javac(options: &[&str], out: &Path, folder: &Path) -> Result<()> {
    let mut javac = shell::command("javac", &["-nowarn", "-Xlint:-options"]);
    javac.args(options).arg(out).args(files(folder)?);
    shell::quiet(javac, LIMIT).map(drop)
}

/// Everything the jar is built from.
fn sources(folder: &Path) -> Result<String> {
    let mut text = String::new();
    for part in ["agent", "hook", "runtime"] {
        for file in files(&folder.join(part))? {
            text += &std::fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
        }
    }
    Ok(text + &std::fs::read_to_string(folder.join("pom.xml"))?)
}

/// The files of a folder, by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = std::fs::read_dir(folder)
        .with_context(|| format!("failed to read {}", folder.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    found.sort();
    Ok(found)
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension() == Some(OsStr::new(extension))
}
