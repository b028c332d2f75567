//! Bounded reads of `/proc`. The root is a parameter so that tests can show made-up processes.
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::capture::Pid;

/// Most bytes read of one file; command lines and environments are as large as their owner likes.
const FILE_BYTES: u64 = 1 << 20;

/// Most descriptors listed of one process.
const MOST_DESCRIPTORS: usize = 1 << 20;

/// A file system with `/proc` and, for container names, `/var` in it.
#[derive(Clone, Debug)]
pub struct Proc {
    root: PathBuf,
}

impl Default for Proc {
    fn default() -> Self {
        Self::at("/")
    }
}

impl Proc {
    /// The file system under this folder.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// A path below the root.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A path of a process.
    pub(crate) fn of(&self, pid: Pid, name: &str) -> PathBuf {
        self.root.join(format!("proc/{}/{name}", pid.0))
    }

    /// The threads of a process with their names, which the kernel cuts to 15 bytes.
    pub(crate) fn threads(&self, pid: Pid) -> Vec<(u32, String)> {
        let Ok(entries) = std::fs::read_dir(self.of(pid, "task")) else {
            return Vec::new();
        };
        let named = entries.take(MOST_DESCRIPTORS).filter_map(|entry| {
            let tid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let name = self.text(pid, &format!("task/{tid}/comm")).ok()?;
            Some((tid, name.trim_end().to_owned()))
        });
        named.collect()
    }

    /// The process is there and has not ended.
    pub(crate) fn is_alive(&self, pid: Pid) -> bool {
        // The link of one that has ended leads nowhere, also before its parent has waited for it.
        std::fs::read_link(self.of(pid, "exe")).is_ok()
    }

    /// What is mapped into a process, as text, cut at a bound.
    pub(crate) fn maps(&self, pid: Pid) -> String {
        let maps = self.bytes(pid, "maps").unwrap_or_default();
        String::from_utf8_lossy(&maps).into_owned()
    }

    /// A file of a process, cut at a bound.
    pub(super) fn bytes(&self, pid: Pid, name: &str) -> io::Result<Vec<u8>> {
        read(&self.of(pid, name), FILE_BYTES)
    }

    /// A file of a process as text, cut at a bound; what is not UTF-8 is replaced.
    pub(super) fn text(&self, pid: Pid, name: &str) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes(pid, name)?).into_owned())
    }

    /// A file of a process whose strings end with a zero byte, such as `cmdline` and `environ`.
    pub(crate) fn strings(&self, pid: Pid, name: &str) -> io::Result<Vec<String>> {
        let bytes = self.bytes(pid, name)?;
        let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        Ok(bytes
            .split(|&byte| byte == 0)
            .map(|part| String::from_utf8_lossy(part).into_owned())
            .collect())
    }

    /// The executable's path as the process sees it. A file that is gone since keeps its name.
    pub(super) fn exe(&self, pid: Pid) -> io::Result<String> {
        let link = std::fs::read_link(self.of(pid, "exe"))?;
        let path = link.to_string_lossy();
        Ok(path.strip_suffix(" (deleted)").unwrap_or(&path).to_owned())
    }

    /// A number of `/proc/PID/status`, such as `Tgid` or `PPid`; of several in a row the first.
    pub(crate) fn status(&self, pid: Pid, key: &str) -> Option<u32> {
        self.numbers(pid, key)?.first().copied()
    }

    /// The number of a process in the innermost namespace that counts it; its own where the kernel does not say (before 4.1).
    pub(crate) fn namespaced(&self, pid: Pid) -> Option<u32> {
        match self.numbers(pid, "NSpid") {
            Some(numbers) => numbers.last().copied(),
            None => self.is_alive(pid).then_some(pid.0),
        }
    }

    /// The user as whom a process acts.
    pub(crate) fn user(&self, pid: Pid) -> Option<u32> {
        self.numbers(pid, "Uid")?.get(1).copied()
    }

    fn numbers(&self, pid: Pid, key: &str) -> Option<Vec<u32>> {
        let status = self.text(pid, "status").ok()?;
        let mut lines = status.lines();
        let numbers = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        numbers.split_whitespace().map(|number| number.parse().ok()).collect()
    }

    /// When a process began, since the machine did: field 22 of `/proc/PID/stat`, which counts hundredths of a second whatever
    /// the kernel's own clock does (proc_pid_stat(5), `USER_HZ`).
    pub(super) fn started(&self, pid: Pid) -> Option<Duration> {
        let stat = self.text(pid, "stat").ok()?;
        // The program's name is in brackets and may hold anything, brackets too.
        let (_, rest) = stat.rsplit_once(')')?;
        let ticks: u64 = rest.split_whitespace().nth(19)?.parse().ok()?;
        Some(Duration::from_millis(ticks.checked_mul(10)?))
    }

    /// How long the machine has been running.
    pub(super) fn uptime(&self) -> Option<Duration> {
        let text = read(&self.path("proc/uptime"), FILE_BYTES).ok()?;
        let text = String::from_utf8_lossy(&text);
        Duration::try_from_secs_f64(text.split_whitespace().next()?.parse().ok()?).ok()
    }

    /// All processes there are now.
    pub(super) fn processes(&self) -> Vec<Pid> {
        let Ok(entries) = std::fs::read_dir(self.path("proc")) else {
            return Vec::new();
        };
        let mut found: Vec<Pid> = entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok().map(Pid))
            .collect();
        found.sort_unstable();
        found
    }

    /// Inode numbers of the sockets a process has open, to find those older than the agent.
    pub fn sockets(&self, pid: Pid) -> Vec<u64> {
        let Ok(entries) = std::fs::read_dir(self.of(pid, "fd")) else {
            return Vec::new();
        };
        let mut found: Vec<u64> = entries
            .take(MOST_DESCRIPTORS)
            .filter_map(|entry| socket_inode(std::fs::read_link(entry.ok()?.path()).ok()?.as_os_str()))
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// The inode number in a link such as `socket:[4711]`.
fn socket_inode(link: &OsStr) -> Option<u64> {
    let inode = link.as_bytes().strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(inode).ok()?.parse().ok()
}

/// At most so many bytes of a file.
pub(super) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
