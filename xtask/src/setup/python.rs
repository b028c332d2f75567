//! The Python environments of the tests, from tests/requirements.txt, tests/requirements-api.txt and tests/requirements-services.txt: one
//! for the oldest interpreter that is looked after, one for the newest this machine has.
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::Step;
use crate::{shell, workspace};

/// The oldest version the requirements run on.
const OLDEST: Version = (3, 11);

type Version = (u32, u32);

pub(super) fn provide() -> Result<Step> {
    let requirements = workspace::root().join("tests/requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).context("failed to read tests/requirements.txt")?;
    let found = interpreters();
    let system = found.iter().find(|(_, python)| python.starts_with("/usr/bin"));
    let (version, python) = system
        .or_else(|| found.first())
        .with_context(|| format!("no Python {}.{} or newer", OLDEST.0, OLDEST.1))?;
    let mut made = environment(&workspace::venv(), python, &requirements, &wanted)?;
    // By itself: its packages are no program that is traced.
    let api = workspace::root().join("tests/requirements-api.txt");
    let api_wanted = std::fs::read_to_string(&api).context("failed to read tests/requirements-api.txt")?;
    made |= environment(&workspace::api_venv(), python, &api, &api_wanted)?;
    // Their tests say that they are skipped without.
    let services = workspace::root().join("tests/requirements-services.txt");
    let services_wanted =
        std::fs::read_to_string(&services).context("failed to read tests/requirements-services.txt")?;
    match environment(&workspace::services_venv(), python, &services, &services_wanted) {
        Ok(got) => made |= got,
        Err(error) => println!("  no services for Python: {error:#}"),
    }
    made |= older_openssl()?;
    // Tests of the newest interpreter say that they are skipped where there is none but the first.
    if let Some((newest, python)) = found.last()
        && newest > version
    {
        made |= environment(&workspace::newest_venv(), python, &requirements, &wanted)?;
    }
    let versions: Vec<String> = [
        Some((version, python)),
        found.last().map(|(version, python)| (version, python)),
    ]
    .into_iter()
    .flatten()
    .map(|((major, minor), python)| format!("{major}.{minor} ({})", python.display()))
    .collect();
    let mut versions = versions;
    versions.dedup();
    let text = versions.join(", ");
    Ok(if made { Step::Done(text) } else { Step::Ready(text) })
}

/// The last libpq that brings OpenSSL 1.1.1, for the oldest interpreter; says whether it had to be fetched. It is no requirement: there is
/// none for later interpreters, where its test says that it is skipped.
fn older_openssl() -> Result<bool> {
    const PACKAGE: &str = "psycopg2-binary==2.9.5";
    let folder = workspace::venv().with_file_name("venv-older-openssl");
    if folder.join("psycopg2").exists() {
        return Ok(false);
    }
    let python = workspace::venv().join("bin/python").display().to_string();
    let mut install = shell::command(&python, &["-m", "pip", "install", "--quiet", "--no-deps"]);
    install
        .args(["--only-binary", ":all:", "--target"])
        .arg(&folder)
        .arg(PACKAGE);
    let fetched = shell::quiet(install, Duration::from_secs(120));
    if let Err(error) = &fetched {
        println!("  {PACKAGE} cannot be had for this interpreter: {error:#}");
    }
    Ok(fetched.is_ok())
}

/// Makes an environment unless it is as wanted; says whether it had to.
fn environment(venv: &Path, python: &Path, requirements: &Path, wanted: &str) -> Result<bool> {
    let stamp = venv.join("requirements.txt");
    let made = std::fs::read_to_string(&stamp).is_ok_and(|text| text == wanted);
    if made && venv.join("bin/python").exists() {
        return Ok(false);
    }
    println!(
        "  Python environment: installing {} for {}",
        requirements.display(),
        python.display()
    );
    let mut make = shell::command::<&str>(&python.display().to_string(), &["-m", "venv", "--clear"]);
    make.arg(venv);
    shell::quiet(make, Duration::from_secs(120))?;
    let pip = venv.join("bin/python").display().to_string();
    shell::retried(|| {
        let mut install = shell::command(&pip, &["-m", "pip", "install", "--quiet", "--requirement"]);
        install.arg(requirements);
        shell::quiet(install, Duration::from_secs(600))
    })?;
    std::fs::write(&stamp, wanted)?;
    Ok(true)
}

/// Real interpreters that are new enough, oldest first: what `python3` in PATH names may be a version manager's script,
/// whose process is not the program.
fn interpreters() -> Vec<(Version, PathBuf)> {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into()));
    let managed = std::env::var_os("PYENV_ROOT").map_or_else(|| home.join(".pyenv"), PathBuf::from);
    let managed = std::fs::read_dir(managed.join("versions"))
        .into_iter()
        .flatten()
        .flatten();
    let mut found: Vec<(Version, PathBuf)> = (OLDEST.1..OLDEST.1 + 10)
        .map(|minor| PathBuf::from(format!("/usr/bin/python3.{minor}")))
        .chain(std::iter::once(PathBuf::from("/usr/bin/python3")))
        .chain(managed.map(|version| version.path().join("bin/python3")))
        .filter(|path| path.exists())
        .filter_map(|path| Some((version(&path)?, path)))
        .filter(|(version, _)| *version >= OLDEST)
        .collect();
    found.sort();
    found
}

fn version(python: &Path) -> Option<Version> {
    let text = shell::output(&python.display().to_string(), &["--version"]).ok()?;
    let mut numbers = text.strip_prefix("Python ")?.split('.').map_while(|n| n.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}
