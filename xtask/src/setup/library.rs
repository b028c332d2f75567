//! The source of Rust's standard library, in the toolchain's own folder: from rustup, else from Debian's package of exactly
//! the compiler's version.
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::Step;
use crate::debian::Suite;
use crate::{shell, workspace};

/// The suite of Debian that has the compiler's version; Debian's own `rust-src` is usually older.
const SUITE: &str = "trixie-backports";

pub(super) fn provide() -> Result<Step> {
    let library = PathBuf::from(shell::output("rustc", &["--print", "sysroot"])?).join("lib/rustlib/src/rust/library");
    let there = || library.join("core/Cargo.toml").exists();
    if there() {
        return Ok(Step::Ready(library.display().to_string()));
    }
    println!("  library source: asking rustup for rust-src");
    let rustup = rustup();
    if rustup.is_ok() && there() {
        return Ok(Step::Done("rustup component rust-src".to_owned()));
    }
    let version = version()?;
    println!("  library source: rustup has none, asking Debian for rust-src {version}");
    let source = debian(&version).with_context(|| match rustup {
        Ok(()) => "rustup added no library source".to_owned(),
        Err(error) => format!("rustup: {}", shell::first_line(&format!("{error:#}"))),
    })?;
    link(&source, &library)?;
    ensure!(there(), "{} holds no library source", source.display());
    Ok(Step::Done(format!("Debian's rust-src {version}")))
}

fn rustup() -> Result<()> {
    let add = shell::command("rustup", &["component", "add", "rust-src"]);
    // Without a network it hangs.
    shell::quiet(add, Duration::from_secs(120)).map(drop)
}

/// `1.95.0` of `rustc 1.95.0 (59807616e 2026-04-14)`.
fn version() -> Result<String> {
    let text = shell::output("rustc", &["--version"])?;
    let version = text.split_whitespace().nth(1).context("rustc tells no version")?;
    Ok(version.to_owned())
}

/// Downloads and unpacks the package into the cache and returns the folder `library`.
fn debian(version: &str) -> Result<PathBuf> {
    let cache = workspace::cache().join(format!("rust-src-{version}"));
    if let Some(found) = unpacked(&cache) {
        return Ok(found);
    }
    let suite = Suite::open(SUITE, &cache)?;
    let listing = suite.ask(&["madison", "rust-src"])?;
    let Some(package) = pick(&listing, version) else {
        bail!("{SUITE} has no rust-src {version}");
    };
    suite.unpack(&format!("rust-src={package}"), &cache.join("root"))?;
    unpacked(&cache).context("the package holds no library/core")
}

/// The version of the package to take, of `apt-cache madison`'s table `name | version | source`.
fn pick(listing: &str, version: &str) -> Option<String> {
    let wanted = format!("{version}+dfsg");
    let mut versions = listing.lines().filter_map(|line| line.split('|').nth(1)).map(str::trim);
    versions.find(|found| found.starts_with(&wanted)).map(str::to_owned)
}

/// `usr/src/rustc-VERSION/library`, wherever the package puts it.
fn unpacked(cache: &Path) -> Option<PathBuf> {
    let sources = std::fs::read_dir(cache.join("root/usr/src")).ok()?;
    sources
        .flatten()
        .map(|entry| entry.path().join("library"))
        .find(|library| library.join("core/Cargo.toml").exists())
}

/// Links the library, and beside it the lock file that `-Z build-std` reads.
fn link(source: &Path, library: &Path) -> Result<()> {
    let parent = library.parent().context("the library has a folder")?;
    std::fs::create_dir_all(parent).with_context(|| format!("failed to create {}", parent.display()))?;
    if library.is_symlink() {
        std::fs::remove_file(library)?;
    }
    std::os::unix::fs::symlink(source, library).with_context(|| format!("failed to link {}", library.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_the_compilers_version() {
        let listing = " rust-src | 1.95.1+dfsg1-1~bpo13+1 | http://m/debian trixie-backports/main\n \
                       rust-src | 1.95.0+dfsg1-2~bpo13+1 | http://m/debian trixie-backports/main\n";
        assert_eq!(pick(listing, "1.95.0").as_deref(), Some("1.95.0+dfsg1-2~bpo13+1"));
        assert_eq!(pick(listing, "1.9"), None);
        assert_eq!(pick("", "1.95.0"), None);
    }
}
