//! The kernels: Debian's cloud kernels, which have all that is needed built in and boot without modules.
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::debian::Suite;
use crate::workspace;

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
    --skip not_resident --skip unix_seqpacket --skip mptcp --skip vsock --skip sctp --skip smc --skip kernel_tls";

/// The oldest Clew is for, the last of Debian's before the tracepoints at the socket, and one after.
pub(super) const KERNELS: &[Kernel] = &[
    Kernel {
        version: "5.10",
        suite: "bullseye",
        boots: &[Boot {
            append: "",
            tests: &[("hosts", &[]), ("syscalls", &[CALLS, EXACT])],
        }],
    },
    Kernel {
        version: "6.1",
        suite: "bookworm",
        boots: &[
            Boot {
                append: "",
                tests: &[("hosts", &[]), ("syscalls", &[CALLS, EXACT])],
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
            tests: &[("hosts", &[]), ("syscalls", &[EXACT])],
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
