//! The facts about a host.
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::attach::{self, Capture};

/// Bits of capability sets (capabilities(7), `linux/capability.h`).
pub(super) mod cap {
    /// Read files whatever their permissions say.
    pub(in super::super) const DAC_READ_SEARCH: u64 = 1 << 2;
    /// Everything the newer ones were split from.
    pub(in super::super) const SYS_ADMIN: u64 = 1 << 21;
    /// Have threads preferred.
    pub(in super::super) const SYS_NICE: u64 = 1 << 23;
    /// Exceed limits on resources.
    pub(in super::super) const SYS_RESOURCE: u64 = 1 << 24;
    /// Attach to tracepoints.
    pub(in super::super) const PERFMON: u64 = 1 << 38;
    /// Load programs and maps.
    pub(in super::super) const BPF: u64 = 1 << 39;
}

/// What bears on whether and how Clew can trace here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The kernel's release, such as `6.18.44-fc`.
    pub release: String,
    /// The machine's architecture.
    pub arch: String,
    /// Clew runs as root.
    pub root: bool,
    /// Capabilities in effect, as a bit set.
    pub capabilities: u64,
    /// The BTF tracepoints Clew uses that this kernel has; none if its BTF cannot be read.
    pub tracepoints: Option<BTreeSet<&'static str>>,
    /// Programs can read the registers of a thread that is in a system call: both helpers are named in the kernel's BTF.
    pub registers: bool,
    /// Kernel lockdown.
    pub lockdown: Lockdown,
    /// Tracepoints of system calls.
    pub syscall_events: SyscallEvents,
    /// Whether kernel programs are compiled to machine code; none if that cannot be read.
    pub jit: Option<bool>,
    /// Clew sees process numbers as the kernel's programs do.
    pub initial_pid_namespace: bool,
    /// Where the unified cgroup hierarchy is mounted.
    pub cgroup2: Option<PathBuf>,
    /// Bytes of memory Clew may lock, as far as it can raise the limit; none is unlimited. It bounds maps before Linux 5.11.
    pub memlock_bytes: Option<u64>,
    /// Whether the kernel loads a program that does nothing.
    pub programs: Programs,
    /// Why Java processes that `clew run` starts from here load no hook; none where they do.
    pub no_java_hook: Option<String>,
}

/// What the kernel keeps even from root (kernel_lockdown(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lockdown {
    /// Nothing.
    Off,
    /// Its file is not there to tell.
    Unknown,
    /// Changing the kernel.
    Integrity,
    /// Reading it too.
    Confidentiality,
}

/// What bpf(2) answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Programs {
    /// It loads them.
    Loaded,
    /// There is no such call.
    Absent,
    /// It refuses, with this error.
    Refused(String),
}

/// Whether tracefs names the tracepoints of system calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyscallEvents {
    /// It does.
    Present,
    /// tracefs is mounted and lacks this one.
    Absent(String),
    /// tracefs is not mounted, or cannot be read.
    Unknown,
}

impl Host {
    /// Reads the facts about this host.
    pub fn read() -> Self {
        let mut host = Self::at(Path::new("/"));
        host.root = nix::unistd::geteuid().is_root();
        host.memlock_bytes = match nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_MEMLOCK) {
            Ok((_, libc::RLIM_INFINITY)) | Err(_) => None,
            Ok(_) if host.capabilities & cap::SYS_RESOURCE != 0 => None,
            Ok((_, hard)) => Some(hard),
        };
        host.programs = match attach::refusal_of_programs() {
            None => Programs::Loaded,
            Some(error) if error.raw_os_error() == Some(libc::ENOSYS) => Programs::Absent,
            Some(error) => Programs::Refused(error.to_string()),
        };
        host.no_java_hook = crate::run::no_java_hook(&std::env::vars_os().collect::<Vec<_>>());
        // Its file may not be mounted; the kernel refuses all the same.
        if host.programs == Programs::Loaded && attach::may_read_kernel() == Some(false) {
            host.lockdown = Lockdown::Confidentiality;
        }
        host
    }

    /// What the files under a root tell.
    fn at(root: &Path) -> Self {
        /// Inode number of the first PID namespace: `PROC_PID_INIT_INO` in `include/linux/proc_ns.h`.
        const INITIAL: &str = "pid:[4026531836]";
        let text = |path: &str| fs::read_to_string(root.join(path)).ok();
        let line = |path: &str| text(path).map(|text| text.trim().to_owned());
        let status = text("proc/self/status").unwrap_or_default();
        let capabilities = status
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))
            .and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
        let lockdown = match line("sys/kernel/security/lockdown").as_deref() {
            Some(modes) if modes.contains("[confidentiality]") => Lockdown::Confidentiality,
            Some(modes) if modes.contains("[integrity]") => Lockdown::Integrity,
            Some(_) => Lockdown::Off,
            None => Lockdown::Unknown,
        };
        let btf = fs::read(root.join("sys/kernel/btf/vmlinux")).ok();
        Self {
            release: line("proc/sys/kernel/osrelease").unwrap_or_default(),
            arch: std::env::consts::ARCH.to_owned(),
            root: false,
            capabilities: capabilities.unwrap_or_default(),
            tracepoints: btf.as_deref().map(tracepoints),
            registers: btf.is_some_and(|btf| {
                let named =
                    |helper: &str| memchr::memmem::find(&btf, format!("\0BPF_FUNC_{helper}\0").as_bytes()).is_some();
                attach::REGISTERS.into_iter().all(named)
            }),
            lockdown,
            syscall_events: syscall_events(root),
            jit: line("proc/sys/net/core/bpf_jit_enable").map(|value| value != "0"),
            initial_pid_namespace: fs::read_link(root.join("proc/self/ns/pid"))
                .map_or(true, |namespace| namespace.as_os_str() == INITIAL),
            cgroup2: text("proc/self/mounts").and_then(|mounts| {
                let mut lines = mounts.lines().map(|line| line.split(' '));
                lines.find_map(|mut fields| {
                    let point = fields.nth(1)?;
                    (fields.next()? == "cgroup2").then(|| point.into())
                })
            }),
            memlock_bytes: None,
            programs: Programs::Loaded,
            no_java_hook: None,
        }
    }

    /// Major and minor version of the kernel.
    pub fn version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.release.split(|char: char| !char.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

/// The tracepoints Clew uses that have a type in this BTF. A name is there if its type is, so the string table tells.
fn tracepoints(btf: &[u8]) -> BTreeSet<&'static str> {
    [Capture::Socket, Capture::Syscall]
        .into_iter()
        .flat_map(attach::tracepoints)
        .filter(|name| memchr::memmem::find(btf, format!("\0btf_trace_{name}\0").as_bytes()).is_some())
        .collect()
}

fn syscall_events(root: &Path) -> SyscallEvents {
    let folders = ["sys/kernel/tracing/events", "sys/kernel/debug/tracing/events"].map(|path| root.join(path));
    let Some(folder) = folders.iter().find(|folder| folder.is_dir()) else {
        return SyscallEvents::Unknown;
    };
    let there = |event: &String| folder.join("syscalls").join(event).join("id").exists();
    match attach::system_call_events().find(|event| !there(event)) {
        None => SyscallEvents::Present,
        Some(event) => SyscallEvents::Absent(event),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_in_files() {
        let root = tempfile::tempdir().expect("a folder");
        let write = |path: &str, content: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, content).expect("a file");
        };
        let bare = Host::at(root.path());
        assert_eq!(
            (bare.tracepoints.clone(), bare.syscall_events.clone()),
            (None, SyscallEvents::Unknown)
        );
        assert_eq!((bare.jit, bare.cgroup2.clone(), bare.version()), (None, None, None));
        write("proc/sys/kernel/osrelease", "5.15.0-91-generic\n");
        write("proc/self/status", "Name:\tclew\nCapEff:\t000000c000200000\n");
        write(
            "proc/self/mounts",
            "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n",
        );
        write("proc/sys/net/core/bpf_jit_enable", "0\n");
        write("sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
        write(
            "sys/kernel/btf/vmlinux",
            "\0btf_trace_sched_process_exec\0btf_trace_sock_send_length_more\0BPF_FUNC_get_current_task_btf\0BPF_FUNC_task_pt_regs\0",
        );
        for event in attach::system_call_events() {
            write(&format!("sys/kernel/tracing/events/syscalls/{event}/id"), "1\n");
        }
        std::fs::create_dir_all(root.path().join("proc/self/ns")).expect("a folder");
        std::os::unix::fs::symlink("pid:[4026532000]", root.path().join("proc/self/ns/pid")).expect("a link");
        let want = Host {
            release: "5.15.0-91-generic".to_owned(),
            arch: bare.arch,
            root: false,
            capabilities: cap::BPF | cap::PERFMON | cap::SYS_ADMIN,
            tracepoints: Some(["sched_process_exec"].into()),
            registers: true,
            lockdown: Lockdown::Integrity,
            syscall_events: SyscallEvents::Present,
            jit: Some(false),
            initial_pid_namespace: false,
            cgroup2: Some("/sys/fs/cgroup".into()),
            memlock_bytes: None,
            programs: Programs::Loaded,
            no_java_hook: None,
        };
        let host = Host::at(root.path());
        assert_eq!(host, want);
        assert_eq!(host.version(), Some((5, 15)));
        fs::remove_dir_all(root.path().join("sys/kernel/tracing/events/syscalls/sys_enter_write")).expect("a folder");
        let lacking = SyscallEvents::Absent("sys_enter_write".to_owned());
        assert_eq!(Host::at(root.path()).syscall_events, lacking);
    }
}
