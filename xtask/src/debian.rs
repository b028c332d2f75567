//! Packages of a Debian suite, unpacked into a folder. Nothing is installed, and the machine's apt configuration stays as it
//! is: these downloads have lists and sources of their own.
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::shell;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A suite whose lists are at hand.
pub(crate) struct Suite {
    folder: PathBuf,
}

impl Suite {
    /// Fetches the suite's lists into `folder`.
    ///
    /// # Errors
    /// When the mirror does not have it or does not answer.
    pub(crate) fn open(name: &str, folder: &Path) -> Result<Self> {
        for part in ["lists/partial", "archives/partial"] {
            std::fs::create_dir_all(folder.join(part))?;
        }
        let mirror = mirror();
        let source = format!("deb [signed-by={KEYRING}] {mirror} {name} main\n");
        std::fs::write(folder.join("sources.list"), source)?;
        let suite = Self {
            folder: folder.to_path_buf(),
        };
        shell::retried(|| suite.apt("apt-get", &["update"], 300))
            .with_context(|| format!("failed to read the lists of {name} at {mirror}"))?;
        Ok(suite)
    }

    /// Answers of `apt-cache`.
    ///
    /// # Errors
    /// When it does not know the package.
    pub(crate) fn ask(&self, args: &[&str]) -> Result<String> {
        self.apt("apt-cache", args, 60)
    }

    /// Unpacks `package`, a name or `NAME=VERSION`, into `root`.
    ///
    /// # Errors
    /// When it cannot be downloaded or unpacked.
    pub(crate) fn unpack(&self, package: &str, root: &Path) -> Result<()> {
        shell::retried(|| self.apt("apt-get", &["download", package], 300))?;
        let archive = std::fs::read_dir(&self.folder)?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|ext| ext == "deb"))
            .context("apt-get downloaded no package")?;
        // What is unpacked halfway must not be taken for the whole next time.
        let part = root.with_extension("part");
        if part.exists() {
            std::fs::remove_dir_all(&part)?;
        }
        let mut unpack = shell::command("dpkg", &["-x"]);
        unpack.arg(&archive).arg(&part);
        shell::quiet(unpack, Duration::from_secs(300))?;
        if root.exists() {
            std::fs::remove_dir_all(root)?;
        }
        std::fs::rename(&part, root)?;
        Ok(std::fs::remove_file(&archive)?)
    }

    fn apt(&self, program: &str, args: &[&str], limit: u64) -> Result<String> {
        let mut command = shell::command::<&str>(program, &[]);
        for (key, value) in [
            ("Dir::Etc::sourcelist", self.folder.join("sources.list").as_path()),
            ("Dir::Etc::sourceparts", Path::new("/dev/null")),
            ("Dir::State::lists", &self.folder.join("lists")),
            ("Dir::Cache", &self.folder),
        ] {
            command.arg("-o").arg(format!("{key}={}", value.display()));
        }
        // apt would drop root for a user who cannot enter the folder.
        command
            .args(["-o", "APT::Sandbox::User=root"])
            .args(args)
            .current_dir(&self.folder);
        shell::quiet(command, Duration::from_secs(limit))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
