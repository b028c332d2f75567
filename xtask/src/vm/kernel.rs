//! The kernels: Debian's cloud kernels, which have all that is needed built in and boot without modules, but for the kernel's TLS.
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::debian::Suite;
use crate::{shell, workspace};

/// A kernel to boot.
pub(super) struct Kernel {
    /// Its version's first numbers.
    pub(super) version: &'static str,
    /// The suite whose kernel it is.
    suite: &'static str,
    /// What to boot it for.
    pub(super) boots: &'static [Boot],
}

/// One start of a kernel.
pub(super) struct Boot {
    /// Further words on its command line.
    pub(super) append: &'static str,
    /// The tests to run: the name of a file, and arguments for its runner.
    pub(super) tests: &'static [(&'static str, &'static [&'static str])],
}

/// Before 6.3 there is one way to capture.
const CALLS: &str = "--skip socket::";
/// Without what needs a run of Clew of its own: a start takes seconds here.
pub(super) const EXACT: &str = "--skip msg_oob --skip sendfile_whole --skip linux_aio --skip io_uring --skip compat_calls \
    --skip not_resident --skip unix_seqpacket --skip mptcp --skip vsock --skip sctp --skip smc";

/// The oldest Clew is for, the last of Debian's before the tracepoints at the socket, and one after.
pub(super) const KERNELS: &[Kernel] = &[
    Kernel {
        version: "5.10",
        suite: "bullseye",
        boots: &[Boot {
            append: "",
            tests: &[("hosts", &[]), ("pipes", &[]), ("syscalls", &[CALLS, EXACT])],
        }],
    },
    Kernel {
        version: "6.1",
        suite: "bookworm",
        boots: &[
            Boot {
                append: "",
                tests: &[("hosts", &[]), ("pipes", &[]), ("syscalls", &[CALLS, EXACT])],
            },
            Boot {
                append: "lockdown=confidentiality",
                tests: &[("hosts", &["lockdown"])],
            },
        ],
    },
    Kernel {
        version: "6.12",
        suite: "trixie",
        boots: &[Boot {
            append: "",
            tests: &[("hosts", &[]), ("pipes", &[]), ("syscalls", &[EXACT])],
        }],
    },
];

impl Kernel {
    /// The image to boot, from the cache or the mirror.
    ///
    /// # Errors
    /// When the mirror does not have it.
    pub(super) fn image(&self) -> Result<PathBuf> {
        let folder = workspace::target().join("vm").join(self.suite);
        let root = folder.join("root");
        if let Some(image) = image_in(&root) {
            return Ok(image);
        }
        println!("   fetching Debian's Linux {} ({})", self.version, self.suite);
        let suite = Suite::open(self.suite, &folder)?;
        let listing = suite.ask(&["depends", "linux-image-cloud-amd64"])?;
        let package = package_in(&listing).context("the suite names no cloud kernel")?;
        suite.unpack(package, &root)?;
        image_in(&root).with_context(|| format!("{package} holds no kernel"))
    }
}

/// Modules that give the kernel TLS with AES-GCM, each behind those it needs. What is built in has no file.
const MODULES: &[&str] = &[
    "crypto/crypto_null",
    "crypto/ctr",
    "crypto/gf128mul",
    "lib/crypto/gf128mul",
    "crypto/ghash-generic",
    "crypto/gcm",
    "net/tls/tls",
];

/// What the kernel at `image` is to load: names and contents, in order.
///
/// # Errors
/// When a module cannot be read.
pub(super) fn modules(image: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let root = image.ancestors().nth(2).context("a kernel lies in /boot")?;
    let folders = ["lib/modules", "usr/lib/modules"].into_iter().flat_map(|folder| {
        let versions = std::fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
        versions.map(|version| version.path().join("kernel"))
    });
    let folders: Vec<PathBuf> = folders.collect();
    let mut found = Vec::new();
    for (n, name) in MODULES.iter().enumerate() {
        for folder in &folders {
            let plain = folder.join(format!("{name}.ko"));
            let packed = folder.join(format!("{name}.ko.xz"));
            let content = if plain.exists() {
                std::fs::read(&plain)?
            } else if packed.exists() {
                unpacked(&packed)?
            } else {
                continue;
            };
            found.push((format!("/modules/{n}.ko"), content));
        }
    }
    Ok(found)
}

fn unpacked(packed: &Path) -> Result<Vec<u8>> {
    let scratch = tempfile::tempdir()?;
    let (copy, plain) = (scratch.path().join("module.xz"), scratch.path().join("module"));
    std::fs::copy(packed, &copy)?;
    let mut xz = shell::command("xz", &["--decompress"]);
    xz.arg(&copy);
    shell::quiet(xz, Duration::from_secs(60))?;
    Ok(std::fs::read(plain)?)
}

/// The kernel's package in what `apt-cache depends` says of the one that stands for the newest.
fn package_in(listing: &str) -> Option<&str> {
    listing
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .filter(|package| package.starts_with("linux-image-"))
}

fn image_in(root: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(root.join("boot")).ok()?.flatten();
    let mut images = files.filter(|file| file.file_name().to_string_lossy().starts_with("vmlinuz-"));
    images.next().map(|file| file.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_package() {
        let listing = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-50-cloud-amd64\n";
        assert_eq!(package_in(listing), Some("linux-image-6.1.0-50-cloud-amd64"));
        assert_eq!(package_in("linux-image-cloud-amd64\n"), None);
    }
}
