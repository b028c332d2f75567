//! The file system a virtual machine starts with: an archive in cpio's "newc" format that the kernel unpacks into memory.
//!
//! ```text
//! "070701" | ino | mode | uid | gid | nlink | mtime | size | devmajor | devminor | rdevmajor | rdevminor | namesize | check
//! name NUL, padded to 4 | content, padded to 4
//! ```
//! Each number is 8 hex digits. Source: Documentation/driver-api/early-userspace/buffer-format.rst of Linux 6.12.
use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::shell;

/// An archive under construction.
#[derive(Default)]
pub(super) struct Image {
    bytes: Vec<u8>,
    paths: BTreeSet<PathBuf>,
    files: u32,
}

const FILE: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;
const LINK: u32 = 0o120_000;
const DEVICE: u32 = 0o020_000;

impl Image {
    /// A file with this content.
    pub(super) fn text(&mut self, at: &str, content: &str, mode: u32) {
        self.entry(Path::new(at), FILE | mode, 0, (0, 0), content.as_bytes());
    }

    /// A file with these bytes.
    pub(super) fn bytes(&mut self, at: &str, content: &[u8]) {
        self.entry(Path::new(at), FILE | 0o644, 0, (0, 0), content);
    }

    /// A folder, with those above it.
    pub(super) fn folder(&mut self, at: &Path) {
        self.entry(at, FOLDER | 0o755, 0, (0, 0), &[]);
    }

    /// A symbolic link.
    pub(super) fn link(&mut self, at: &str, to: &str) {
        self.entry(Path::new(at), LINK | 0o777, 0, (0, 0), to.as_bytes());
    }

    /// A character device.
    pub(super) fn device(&mut self, at: &str, major: u32, minor: u32) {
        self.entry(Path::new(at), DEVICE | 0o666, 0, (major, minor), &[]);
    }

    /// A file of this machine, where it lies here.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn file(&mut self, path: &Path) -> Result<()> {
        self.copy(path, path)
    }

    /// A program of this machine, where it lies here, with the libraries it is linked to and without what only debuggers read.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn program(&mut self, path: &Path) -> Result<()> {
        let scratch = tempfile::tempdir()?;
        let stripped = scratch.path().join("stripped");
        let mut strip = shell::command("strip", &["--strip-debug", "-o"]);
        strip.arg(&stripped).arg(path);
        shell::quiet(strip, Duration::from_secs(120))?;
        let times = std::fs::File::options().write(true).open(&stripped)?;
        times.set_modified(path.metadata()?.modified()?)?;
        self.copy(&stripped, path)?;
        for library in libraries(path)? {
            self.file(&library)?;
        }
        Ok(())
    }

    /// The archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry(Path::new("TRAILER!!!"), 0, 0, (0, 0), &[]);
        self.bytes
    }

    fn copy(&mut self, from: &Path, at: &Path) -> Result<()> {
        let content = std::fs::read(from).with_context(|| format!("failed to read {}", from.display()))?;
        let about = from.metadata()?;
        let mode = FILE | (about.permissions().mode() & 0o777);
        let mtime = u32::try_from(about.mtime()).unwrap_or(0);
        self.entry(at, mode, mtime, (0, 0), &content);
        Ok(())
    }

    fn entry(&mut self, at: &Path, mode: u32, mtime: u32, device: (u32, u32), content: &[u8]) {
        if let Some(parent) = at.parent().filter(|parent| parent.parent().is_some()) {
            self.folder(parent);
        }
        if !self.paths.insert(at.to_path_buf()) {
            return;
        }
        self.files += 1;
        let name = at.to_string_lossy();
        let name = name.trim_start_matches('/');
        let number = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let fields = [
            self.files,
            mode,
            0,
            0,
            1,
            mtime,
            number(content.len()),
            0,
            0,
            device.0,
            device.1,
            number(name.len() + 1),
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The files a program is linked to, its interpreter among them; none of a static program.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let mut ldd = shell::command::<&str>("ldd", &[]);
    ldd.arg(program);
    match shell::quiet(ldd, Duration::from_secs(30)) {
        Ok(listing) => Ok(libraries_in(&listing)),
        Err(error) if format!("{error:#}").contains("not a dynamic executable") => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn libraries_in(listing: &str) -> Vec<PathBuf> {
    let absolute = |line: &str| {
        line.split_whitespace()
            .find(|word| word.starts_with('/'))
            .map(PathBuf::from)
    };
    listing.lines().filter_map(absolute).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_ldd_says() {
        let listing = "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x2)\n\t/lib64/ld.so.2 (0x3)\n";
        assert_eq!(
            libraries_in(listing),
            [PathBuf::from("/lib/x/libc.so.6"), PathBuf::from("/lib64/ld.so.2")]
        );
    }

    #[test]
    fn an_archive_that_cpio_can_read() {
        let mut image = Image::default();
        image.text("/etc/one", "1\n", 0o644);
        image.link("/bin/sh", "busybox");
        let bytes = image.finish();
        assert_eq!(bytes.len() % 4, 0);
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("archive");
        std::fs::write(&archive, bytes).unwrap();
        let listing = std::process::Command::new("busybox")
            .args(["cpio", "-t", "-F"])
            .arg(&archive)
            .output();
        // Where there is no busybox the virtual machine itself is the reader.
        if let Ok(listing) = listing {
            assert_eq!(String::from_utf8_lossy(&listing.stdout), "etc\netc/one\nbin\nbin/sh\n");
        }
    }
}
