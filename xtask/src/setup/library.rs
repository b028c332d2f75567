//! The source of Rust's standard library, in the toolchain's own folder: from rustup, else from Debian's package of exactly
//! the compiler's version.
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::Step;
use crate::{shell, workspace};

/// The suite of Debian that has the compiler's version; Debian's own `rust-src` is usually older.
const SUITE: &str = "trixie-backports";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

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

/// Downloads and unpacks the package into the cache and returns the folder `library`. Nothing is installed, and the
/// machine's apt configuration stays as it is: this download has lists and sources of its own.
fn debian(version: &str) -> Result<PathBuf> {
    let cache = workspace::cache().join(format!("rust-src-{version}"));
    if let Some(found) = unpacked(&cache) {
        return Ok(found);
    }
    for folder in ["lists/partial", "archives/partial", "root"] {
        std::fs::create_dir_all(cache.join(folder))?;
    }
    let list = cache.join("sources.list");
    let mirror = mirror();
    std::fs::write(&list, format!("deb [signed-by={KEYRING}] {mirror} {SUITE} main\n"))?;
    let apt = |program: &str, args: &[&str], limit| {
        let mut command = shell::command::<&str>(program, &[]);
        for (key, value) in [
            ("Dir::Etc::sourcelist", list.as_path()),
            ("Dir::Etc::sourceparts", Path::new("/dev/null")),
            ("Dir::State::lists", &cache.join("lists")),
            ("Dir::Cache", &cache),
        ] {
            command.arg("-o").arg(format!("{key}={}", value.display()));
        }
        // apt would drop root for a user who cannot enter the cache.
        command
            .args(["-o", "APT::Sandbox::User=root"])
            .args(args)
            .current_dir(&cache);
        shell::quiet(command, Duration::from_secs(limit))
    };
    shell::retried(|| apt("apt-get", &["update"], 300))?;
    let listing = apt("apt-cache", &["madison", "rust-src"], 60)?;
    let Some(package) = pick(&listing, version) else {
        bail!("{SUITE} has no rust-src {version}");
    };
    shell::retried(|| apt("apt-get", &["download", &format!("rust-src={package}")], 300))?;
    let archive = std::fs::read_dir(&cache)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|ext| ext == "deb"))
        .context("apt-get downloaded no package")?;
    let mut unpack = shell::command("dpkg", &["-x"]);
    unpack.arg(&archive).arg(cache.join("root"));
    shell::quiet(unpack, Duration::from_secs(300))?;
    std::fs::remove_file(&archive)?;
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

/// The Debian mirror this machine is set up for.
fn mirror() -> String {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let parts = std::fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten()
        .flatten();
    files.extend(parts.map(|entry| entry.path()));
    files.sort();
    let enabled = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "list" || ext == "sources");
    files
        .iter()
        .filter(|path| enabled(path))
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .find_map(|text| mirror_in(&text))
        .unwrap_or_else(|| "http://deb.debian.org/debian".to_owned())
}

/// The archive's address in a sources file of either format: the one that ends with `/debian`.
fn mirror_in(text: &str) -> Option<String> {
    text.lines()
        .map(str::trim)
        .filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"))
        .flat_map(str::split_whitespace)
        .find(|word| word.contains("://") && word.trim_end_matches('/').ends_with("/debian"))
        .map(str::to_owned)
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

    #[test]
    fn finds_the_mirror_in_both_formats() {
        let classic = "# deb http://old/debian x\ndeb [arch=amd64] http://m.test/debian bookworm main\n";
        let fields = "Types: deb\n# http://s.test/archive/debian\nURIs: http://m.test/debian\nSuites: bookworm\n";
        for text in [classic, fields] {
            assert_eq!(mirror_in(text).as_deref(), Some("http://m.test/debian"));
        }
        assert_eq!(mirror_in("URIs: http://deb.nodesource.test/node_20.x\n"), None);
    }
}
