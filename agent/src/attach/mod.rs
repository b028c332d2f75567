//! Loads the kernel programs, attaches them, and tells them which processes to trace.
//!
//! Out: a [`Probes`] that holds everything attached; when it is dropped, or the agent dies, the kernel removes it all.
//! Only this stage and `capture` name aya.
mod btf;
mod contexts;
mod multi;
mod offsets;
mod pipes;
mod rows;
mod skipped;
#[cfg(test)]
mod stack;

use std::path::Path;

use aya::maps::{HashMap, MapData, PerCpuArray, RingBuf};
use aya::programs::{BtfTracePoint, ProgramError, ProgramType, TracePoint};
use aya::sys::{BpfHelper, is_helper_supported, is_program_supported};
use aya::{Ebpf, EbpfLoader};
use clew_common::context::{Plan, plan_of, with_plan};
use clew_common::settings::{
    TARGET_ASSISTED, TARGET_CHILDREN, TARGET_HANDS, TARGET_LOGS, TARGET_TAKES, TARGET_TRACED, WATCH_ALL,
};
use clew_common::{budget, counter};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

pub use btf::BtfError;

use crate::capture::{ConnId, Pid};
use crate::symbol::{Encryption, Found, TIMED};
use contexts::{Contexts, Use};
use multi::Multi;
use pipes::Pipes;
pub use rows::Rows;
use skipped::{SKIPPED, skipped};

/// Where the kernel's own type information lies.
const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Where tracefs is mounted, as the kernel documents it since Linux 4.1.
const TRACEFS: &str = "/sys/kernel/tracing";

/// The kernel programs.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/clew-ebpf"));

/// How socket operations are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capture {
    /// Tracepoints at the socket, since Linux 6.3.
    Socket,
    /// Pairs of tracepoints at the system calls.
    Syscall,
}

/// What is fixed when the programs are loaded.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How to capture; none lets the kernel's abilities decide.
    pub capture: Option<Capture>,
    /// First part of a message's payload budget, bytes.
    pub head_bytes: u32,
    /// Second part, bytes.
    pub body_bytes: u32,
    /// Programs that begin in any process are reported, not only in targets.
    pub watch_all: bool,
    /// Runtimes in the targets were handed hooks that tell of their contexts.
    pub assist: bool,
    /// It is told where threads' time goes.
    pub times: bool,
    /// What targets write to their logs is wanted.
    pub logs: bool,
    /// It is told where in their programs threads ask others.
    pub stacks: bool,
    /// Size of the ring buffer in bytes; a power of two and at least a page.
    pub ring_bytes: u32,
}

/// Why the programs could not be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The kernel's type information is not there.
    #[error(
        "failed to read {KERNEL_BTF}: this kernel was built without CONFIG_DEBUG_INFO_BTF; boot a kernel that has it"
    )]
    NoBtf(#[source] std::io::Error),
    /// It could not be understood, or lacks a field.
    #[error("failed to find the fields Clew reads in {KERNEL_BTF}")]
    Fields(#[source] BtfError),
    /// `--capture socket` on a kernel without the tracepoints.
    #[error("this kernel has no tracepoint {0}, which `--capture socket` needs (Linux 6.3); use `--capture syscall`")]
    NoTracepoint(&'static str),
    /// The file system that names system call tracepoints is not mounted and could not be.
    #[error("failed to mount tracefs, which names the system call tracepoints: run `mount -t tracefs none {TRACEFS}`")]
    NoTracefs(#[source] std::io::Error),
    /// The kernel refused the object or one of its maps.
    #[error("failed to load the kernel programs; `clew doctor` says what this host lacks")]
    Load(#[source] aya::EbpfError),
    /// The kernel refused a program.
    #[error("failed to attach {program}; `clew doctor` says what this host lacks")]
    Program {
        /// The program.
        program: &'static str,
        /// Why.
        #[source]
        source: aya::programs::ProgramError,
    },
    /// The file that a probe is for is not the one that was looked at.
    #[error("the file that {0} watches has been replaced since it was looked at")]
    Replaced(&'static str),
    /// More different programs run than plans are kept for.
    #[error("more programs are traced at once than their execution contexts can be followed of")]
    PlansFull,
    /// A part of the object is missing or of another kind.
    #[error("the kernel object has no {0}; rebuild Clew")]
    Object(&'static str),
    /// A map could not be used.
    #[error("failed to use the map {map}")]
    Map {
        /// The map.
        map: &'static str,
        /// Why.
        #[source]
        source: aya::maps::MapError,
    },
}

/// Everything attached to the kernel.
pub struct Probes {
    /// What holds the programs to the kernel.
    /// Never read: dropping it lets the programs go.
    _links: Links,
    ebpf: Ebpf,
    capture: Capture,
    logs: bool,
    /// Probes can be given numbers.
    cookies: bool,
    /// Value of every target.
    target: u32,
    targets: HashMap<MapData, u32, u32>,
    contexts: Contexts,
    /// None where it cannot be seen what is read from pipes.
    pipes: Option<Pipes>,
    python_bases: HashMap<MapData, u32, u64>,
    verdicts: HashMap<MapData, u64, u8>,
    counters: PerCpuArray<MapData, u64>,
}

/// The system calls that carry bytes, by the program that sees them end.
const CALLS: &[(&str, &[&str])] = &[
    (
        "call_exit",
        &[
            "read",
            "write",
            "readv",
            "writev",
            "sendfile64",
            "sendto",
            "recvfrom",
            "sendmsg",
            "recvmsg",
            "preadv2",
            "pwritev2",
        ],
    ),
    ("splice_exit", &["splice"]),
    ("batch_exit", &["sendmmsg", "recvmmsg"]),
];
/// The system calls that move bytes of sockets past the others.
const UNSEEN: &[&str] = &["io_uring_enter", "io_submit"];
/// The system calls by which an event loop waits for readiness, by the program that counts them.
const WAITS: &[(&str, &[&str])] = &[
    ("readiness", &["epoll_wait", "epoll_pwait", "epoll_pwait2"]),
    ("polls", &["poll", "ppoll"]),
    ("selects", &["select", "pselect6"]),
];
/// The system calls by which libraries are loaded.
const MAPS: &[&str] = &["mmap"];
/// The kernel's helpers that give programs the registers of a thread in a system call.
pub const REGISTERS: [&str; 2] = ["get_current_task_btf", "task_pt_regs"];
/// The system calls that write to logs.
const WRITES: &[&str] = &["write", "writev", "pwrite64"];
/// The system calls that accept a connection.
const ACCEPTS: &[&str] = &["accept", "accept4"];
const PROCESS_PROGRAMS: &[(&str, &str)] = &[
    ("process_fork", "sched_process_fork"),
    ("process_exec", "sched_process_exec"),
    ("process_exit", "sched_process_exit"),
    ("java_named", "task_rename"),
];
const SOCKET_PROGRAMS: &[(&str, &str)] = &[
    ("socket_send", "sock_send_length"),
    ("socket_recv", "sock_recv_length"),
    ("socket_copied", "tcp_rcv_space_adjust"),
    ("socket_state", "inet_sock_set_state"),
    ("socket_reset_received", "tcp_receive_reset"),
    ("socket_reset_sent", "tcp_send_reset"),
];
const SYSCALL_PROGRAMS: &[(&str, &str)] = &[
    ("call_state", "inet_sock_set_state"),
    ("call_reset_received", "tcp_receive_reset"),
    ("call_reset_sent", "tcp_send_reset"),
];

impl Probes {
    /// Loads and attaches everything. Nothing is traced until [`target`](Self::target) names a process.
    ///
    /// # Errors
    /// [`AttachError`] says what the host lacks.
    pub fn attach(setup: &Setup) -> Result<Self, AttachError> {
        let probes = Self::attach_all(setup)?;
        give_back();
        Ok(probes)
    }

    fn attach_all(setup: &Setup) -> Result<Self, AttachError> {
        let bytes = std::fs::read(Path::new(KERNEL_BTF)).map_err(AttachError::NoBtf)?;
        let kernel = btf::Btf::parse(&bytes).map_err(AttachError::Fields)?;
        let capture = choose(setup.capture, &kernel)?;
        let offsets = offsets::resolve(&kernel).map_err(AttachError::Fields)?;
        // Event loops can be left unfollowed; without system calls there is nothing to see.
        if let Err(error) = mount_tracefs()
            && capture == Capture::Syscall
        {
            return Err(AttachError::NoTracefs(error));
        }
        raise_memlock();
        let typed_task = REGISTERS.into_iter().all(|helper| kernel.has_helper(helper));
        let mut ebpf = load(setup, capture, &offsets, typed_task)?;
        let btf =
            aya::Btf::from_sys_fs().map_err(|error| AttachError::NoBtf(std::io::Error::other(error.to_string())))?;

        let multi = match kernel.has_attach_type("TRACE_UPROBE_MULTI") {
            true => Some(Multi::new(OBJECT, &ebpf).map_err(AttachError::Load)?),
            false => None,
        };
        let mut links = Links::default();
        for (program, tracepoint) in PROCESS_PROGRAMS {
            attach_btf(&mut ebpf, &mut links, program, tracepoint, &btf)?;
        }
        for (program, calls) in WAITS {
            attach_calls(&mut ebpf, &mut links, program, "enter", calls, Missing::Skipped)?;
        }
        attach_calls(&mut ebpf, &mut links, "process_mapped", "enter", MAPS, Missing::Skipped)?;
        let inspected = match capture {
            Capture::Socket => "inspected",
            Capture::Syscall => "call_inspected",
        };
        attach_calls(
            &mut ebpf,
            &mut links,
            inspected,
            "enter",
            &["getsockopt"],
            Missing::Skipped,
        )?;
        attach_calls(&mut ebpf, &mut links, "accepted", "exit", ACCEPTS, Missing::Skipped)?;
        if setup.times {
            attach_btf(&mut ebpf, &mut links, "times_switch", "sched_switch", &btf)?;
        }
        if setup.stacks {
            attach_btf(&mut ebpf, &mut links, "process_struck", "signal_deliver", &btf)?;
        }
        // Without them there is still everything else.
        let logs = setup.logs
            && typed_task
            && attach_calls(&mut ebpf, &mut links, "log_written", "exit", WRITES, Missing::Skipped).is_ok();
        let pipes = Pipes::new(&mut ebpf, capture).ok();
        match capture {
            Capture::Socket => {
                for (program, tracepoint) in SOCKET_PROGRAMS {
                    attach_btf(&mut ebpf, &mut links, program, tracepoint, &btf)?;
                }
            }
            Capture::Syscall => {
                for (program, tracepoint) in SYSCALL_PROGRAMS {
                    attach_btf(&mut ebpf, &mut links, program, tracepoint, &btf)?;
                }
                for (program, calls) in CALLS {
                    attach_calls(&mut ebpf, &mut links, program, "exit", calls, Missing::Fatal)?;
                }
                let all: Vec<&str> = CALLS.iter().flat_map(|(_, calls)| *calls).copied().collect();
                attach_calls(&mut ebpf, &mut links, "call_enter", "enter", &all, Missing::Fatal)?;
                attach_calls(&mut ebpf, &mut links, "call_unseen", "enter", UNSEEN, Missing::Skipped)?;
            }
        }
        let targets = HashMap::try_from(take(&mut ebpf, "TARGETS")?).map_err(map_error("TARGETS"))?;
        let verdicts = HashMap::try_from(take(&mut ebpf, "VERDICTS")?).map_err(map_error("VERDICTS"))?;
        let spare: &[&str] = if setup.times { &[] } else { TIMED };
        let contexts = Contexts::new(&mut ebpf, multi, spare)?;
        let python_bases = HashMap::try_from(take(&mut ebpf, "PYTHON_BASES")?).map_err(map_error("PYTHON_BASES"))?;
        let counters = PerCpuArray::try_from(take(&mut ebpf, "COUNTERS")?).map_err(map_error("COUNTERS"))?;
        Ok(Self {
            _links: links,
            ebpf,
            capture,
            logs,
            cookies: typed_task,
            target: TARGET_TRACED
                | TARGET_CHILDREN
                | if setup.assist { TARGET_ASSISTED } else { 0 }
                | if logs { TARGET_LOGS } else { 0 },
            targets,
            contexts,
            pipes,
            python_bases,
            verdicts,
            counters,
        })
    }

    /// How operations are seen.
    pub const fn capture(&self) -> Capture {
        self.capture
    }

    /// Whether it is seen what targets write to their logs.
    pub const fn sees_logs(&self) -> bool {
        self.logs
    }

    /// The ring buffer of events. It can be taken once.
    ///
    /// # Errors
    /// [`AttachError::Object`] if it was taken before.
    pub fn events(&mut self) -> Result<RingBuf<MapData>, AttachError> {
        RingBuf::try_from(take(&mut self.ebpf, "EVENTS")?).map_err(map_error("EVENTS"))
    }

    /// Where the kernel side reads how stacks are walked. It can be taken once.
    ///
    /// # Errors
    /// [`AttachError::Object`] if it was taken before.
    pub fn rows(&mut self) -> Result<Rows, AttachError> {
        Rows::new(take(&mut self.ebpf, "ROWS")?, take(&mut self.ebpf, "ROWS_AGE")?)
    }

    /// Traces a process from now on, and the children it creates from now on.
    ///
    /// # Errors
    /// [`AttachError::Map`] if there are too many targets.
    pub fn target(&mut self, pid: Pid) -> Result<(), AttachError> {
        self.targets.insert(pid.0, self.target, 0).map_err(map_error("TARGETS"))
    }

    /// Stops tracing a process. One that is not traced is left alone.
    pub fn release(&mut self, pid: Pid) {
        // The process may have ended, and the kernel removed it, in between.
        let _absent = self.targets.remove(&pid.0);
    }

    /// A target may hand work to processes that it creates: what those read from pipes is told from their beginning on.
    pub fn hands(&mut self, pid: Pid) {
        self.flag(pid, TARGET_HANDS);
    }

    /// Tells what a target reads from pipes: others may hand it work by them.
    ///
    /// # Errors
    /// [`AttachError`] if the kernel does not let it be seen.
    pub fn takes(&mut self, pid: Pid) -> Result<(), AttachError> {
        let pipes = self
            .pipes
            .as_mut()
            .ok_or(AttachError::Object("program for pipes that this kernel takes"))?;
        pipes.takes(&mut self.ebpf, pid)?;
        self.flag(pid, TARGET_TAKES);
        Ok(())
    }

    fn flag(&mut self, pid: Pid, flag: u32) {
        // One that is over meanwhile has no entry.
        if let Ok(target) = self.targets.get(&pid.0, 0) {
            let _gone = self.targets.insert(pid.0, target | flag, 0);
        }
    }

    /// Follows the execution contexts of a target as `found` says.
    ///
    /// # Errors
    /// [`AttachError`] if the kernel refuses a probe or there are too many plans: the contexts are not followed then.
    pub fn follow(&mut self, pid: Pid, found: &Found) -> Result<(), AttachError> {
        let points = found.located().map_err(AttachError::Replaced)?;
        // What the kernel takes its time to verify comes first: what happens between the plan and the last probe is half seen.
        for (point, _) in &points {
            self.contexts.load(&mut self.ebpf, point.program)?;
        }
        let place = self.contexts.plan(pid, &found.hooks.plan)?;
        let followed = self.set_plan(pid, place).and_then(|()| {
            let points = points.into_iter().map(|(point, path)| (point, None, path));
            self.contexts.attach(&mut self.ebpf, (pid, Use::Contexts), points)
        });
        if let (Some(base), Ok(())) = (found.base, &followed) {
            let _full = self.python_bases.insert(pid.0, base, 0);
        }
        if followed.is_err() {
            // Half of it would be worse than nothing.
            let _gone = self.set_plan(pid, 0);
            self.contexts.unfollow(pid);
        }
        followed
    }

    /// Sees the plaintext of what a library in the file at `path` encrypts, for `pid` and every other target.
    ///
    /// # Errors
    /// [`AttachError`] if the kernel refuses a probe.
    pub fn decipher(&mut self, pid: Pid, library: &Encryption, path: &Path) -> Result<(), AttachError> {
        let cookies = self.cookies;
        let points = library.points.iter();
        let points = points.map(|(point, cookie)| (point, cookies.then_some(*cookie), path));
        self.contexts.attach(&mut self.ebpf, (pid, Use::Plaintext), points)
    }

    /// Reads the execution contexts of a target by `plan`, without any probe.
    ///
    /// # Errors
    /// As [`follow`](Self::follow).
    pub fn read_by(&mut self, pid: Pid, plan: &Plan) -> Result<(), AttachError> {
        let place = self.contexts.plan(pid, plan)?;
        let set = self.set_plan(pid, place);
        if set.is_err() {
            self.contexts.unfollow(pid);
        }
        set
    }

    fn set_plan(&mut self, pid: Pid, place: u32) -> Result<(), AttachError> {
        let target = self.targets.get(&pid.0, 0).map_err(map_error("TARGETS"))?;
        self.targets
            .insert(pid.0, with_plan(target, place), 0)
            .map_err(map_error("TARGETS"))
    }

    /// A child runs its creator's program. Whether it has the creator's plan: it may have been created just before that had one.
    pub fn forked(&mut self, parent: Pid, child: Pid) -> bool {
        self.contexts.forked(parent, child);
        if !self.contexts.has_plan(parent) {
            return true;
        }
        let target = self.targets.get(&child.0, 0);
        target.is_ok_and(|target| plan_of(target) != 0)
    }

    /// A process has exited.
    pub fn exited(&mut self, pid: Pid) {
        self.over(pid);
        if let Some(pipes) = &mut self.pipes {
            pipes.over(pid);
        }
    }

    /// The execution contexts of a process are not followed any more.
    pub fn unfollow(&mut self, pid: Pid) {
        self.contexts.unfollow(pid);
    }

    /// A process is over, or has begun another program.
    pub fn over(&mut self, pid: Pid) {
        self.contexts.release(pid);
    }

    /// Lets go of probes that nobody has needed for a while.
    pub fn let_go(&mut self) {
        self.contexts.let_go();
    }

    /// Changes what is copied of a connection.
    pub fn verdict(&mut self, conn: ConnId, verdict: Verdict) {
        // A verdict that does not arrive only costs bytes.
        let _full = self.verdicts.insert(conn.0, verdict.code(), 0);
    }

    /// Forgets the verdict on a connection that is over.
    pub fn forget(&mut self, conn: ConnId) {
        let _absent = self.verdicts.remove(&conn.0);
    }

    /// The kernel side's counters by name, summed over CPUs.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let all = counter::ALL.iter();
        let own = all.map(|(index, name, _)| (*name, self.counter(*index)));
        own.chain([(SKIPPED, skipped())]).collect()
    }

    /// Events that were lost so far.
    pub fn lost(&self) -> u64 {
        self.counter(counter::RING_FULL)
    }

    fn counter(&self, index: u32) -> u64 {
        self.counters.get(&index, 0).map_or(0, |slots| slots.iter().sum())
    }
}

/// Returns to the system what the kernel's type information took while it was read, about 40 MiB that glibc would keep.
fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes no pointer, is thread-safe, and touches only memory that is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// What the agent has understood of a connection, as far as it bears on what is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing Clew decodes.
    Drop,
    /// Heads only.
    Heads,
    /// Each operation has a budget of its own.
    Every,
    /// The same, and it is large.
    Whole,
}

impl Verdict {
    const fn code(self) -> u8 {
        match self {
            Self::Drop => budget::VERDICT_DROP,
            Self::Heads => budget::VERDICT_HEADS,
            Self::Every => budget::VERDICT_EVERY,
            Self::Whole => budget::VERDICT_WHOLE,
        }
    }
}

/// The BTF tracepoints a way to capture needs.
pub fn tracepoints(capture: Capture) -> impl Iterator<Item = &'static str> {
    let own = match capture {
        Capture::Socket => SOCKET_PROGRAMS,
        Capture::Syscall => SYSCALL_PROGRAMS,
    };
    PROCESS_PROGRAMS.iter().chain(own).map(|(_, tracepoint)| *tracepoint)
}

/// What the kernel can do, or what was asked for if it can.
fn choose(wanted: Option<Capture>, kernel: &btf::Btf) -> Result<Capture, AttachError> {
    let missing = ["sock_send_length", "sock_recv_length"]
        .into_iter()
        .find(|name| !kernel.has_tracepoint(name));
    match (wanted, missing) {
        (Some(Capture::Socket), Some(name)) => Err(AttachError::NoTracepoint(name)),
        (Some(Capture::Syscall), _) | (None, Some(_)) => Ok(Capture::Syscall),
        (Some(Capture::Socket) | None, None) => Ok(Capture::Socket),
    }
}

/// The events of tracefs that `--capture syscall` needs, folders under `events/syscalls`.
pub fn system_call_events() -> impl Iterator<Item = String> {
    let calls = || CALLS.iter().flat_map(|(_, calls)| *calls);
    ["exit", "enter"]
        .into_iter()
        .flat_map(move |side| calls().map(move |call| format!("sys_{side}_{call}")))
}

/// Why the kernel loads not even the smallest program, if it does not.
pub fn refusal_of_programs() -> Option<std::io::Error> {
    match is_program_supported(ProgramType::TracePoint) {
        Ok(true) => None,
        // What aya says of an error that means "not supported".
        Ok(false) => Some(std::io::Error::from(std::io::ErrorKind::Unsupported)),
        Err(ProgramError::SyscallError(error)) => Some(error.io_error),
        Err(error) => Some(std::io::Error::other(error)),
    }
}

/// Whether the kernel lets programs read its memory, as lockdown does not; none if it does not say.
pub fn may_read_kernel() -> Option<bool> {
    is_helper_supported(ProgramType::TracePoint, BpfHelper::BPF_FUNC_probe_read_kernel).ok()
}

/// Mounts tracefs where it is usual, unless it is there or under debugfs. Fresh machines often lack it.
///
/// # Errors
/// What mount(2) says.
pub fn mount_tracefs() -> std::io::Result<()> {
    let there = |folder: &str| Path::new(folder).join("events/syscalls").exists();
    if there(TRACEFS) || there("/sys/kernel/debug/tracing") {
        return Ok(());
    }
    nix::mount::mount(
        Some("none"),
        TRACEFS,
        Some("tracefs"),
        nix::mount::MsFlags::empty(),
        None::<&str>,
    )?;
    Ok(())
}

/// Before Linux 5.11 maps count as locked memory, of which a process may have 64 KiB as a rule. Where the limit cannot be
/// raised the kernel refuses the maps and says so.
fn raise_memlock() {
    let limit = Resource::RLIMIT_MEMLOCK;
    if setrlimit(limit, libc::RLIM_INFINITY, libc::RLIM_INFINITY).is_err()
        && let Ok((_, hard)) = getrlimit(limit)
    {
        let _kept = setrlimit(limit, hard, hard);
    }
}

fn load(
    setup: &Setup,
    capture: Capture,
    offsets: &[(&'static str, u32)],
    typed_task: bool,
) -> Result<Ebpf, AttachError> {
    /// Connections and calls in flight that `--capture syscall` remembers.
    const REMEMBERED: u32 = 32_768;
    /// Stacks that are known.
    const STACKS: u32 = 8192;
    /// Instructions from which it is known how stacks are walked.
    const ROWS: u32 = 32_768;
    /// Walks that are known.
    const TRAILS: u32 = 8192;
    /// Threads whose time is followed, and goroutines and tasks.
    const THREADS: u32 = 16_384;
    let watch = if setup.watch_all { WATCH_ALL } else { 0 };
    let typed_task = u32::from(typed_task);
    let times = u32::from(setup.times);
    let stacks = u32::from(setup.stacks);
    let by_inode = u32::from(capture == Capture::Syscall);
    let mut loader = EbpfLoader::new();
    loader
        .override_global("HEAD_BYTES", &setup.head_bytes, true)
        .override_global("BODY_BYTES", &setup.body_bytes, true)
        .override_global("WATCH", &watch, true)
        .override_global("TYPED_TASK", &typed_task, true)
        .override_global("BY_INODE", &by_inode, true)
        .override_global("TIMES", &times, true)
        .override_global("TELL_STACKS", &stacks, true)
        .map_max_entries("EVENTS", setup.ring_bytes);
    for (global, offset) in offsets {
        loader.override_global(global, offset, false);
    }
    if capture == Capture::Syscall {
        for map in ["CONNECTIONS_BY_INODE", "INODE_OF_SOCK", "CALLS"] {
            loader.map_max_entries(map, REMEMBERED);
        }
    }
    if setup.stacks {
        loader
            .map_max_entries("STACKS", STACKS)
            .map_max_entries("GO_STACKS", STACKS)
            .map_max_entries("ROWS", ROWS)
            .map_max_entries("TRAILS", TRAILS)
            .map_max_entries("WALKS", TRAILS);
    }
    if setup.times {
        loader
            .map_max_entries("THREADS", THREADS)
            .map_max_entries("TASKS", THREADS);
    }
    loader.load(OBJECT).map_err(AttachError::Load)
}

/// Attachments of any kind.
#[derive(Default)]
struct Links(Vec<Box<dyn Send>>);

impl Drop for Links {
    /// The kernel waits for a grace period at each link it lets go (60 to 100 ms for a tracepoint), so they are let go side
    /// by side: one after the other takes seconds.
    fn drop(&mut self) {
        std::thread::scope(|scope| {
            for link in self.0.drain(..) {
                // Where no thread can be had the link is let go here.
                let _detached = std::thread::Builder::new()
                    .stack_size(64 * 1024)
                    .spawn_scoped(scope, move || drop(link));
            }
        });
    }
}

fn attach_btf(
    ebpf: &mut Ebpf,
    links: &mut Links,
    name: &'static str,
    tracepoint: &str,
    btf: &aya::Btf,
) -> Result<(), AttachError> {
    let failed = |source| AttachError::Program { program: name, source };
    let program = ebpf.program_mut(name).ok_or(AttachError::Object(name))?;
    let program: &mut BtfTracePoint = program.try_into().map_err(failed)?;
    patiently(|| program.load(tracepoint, btf)).map_err(failed)?;
    let id = program.attach().map_err(failed)?;
    links.0.push(Box::new(program.take_link(id).map_err(failed)?));
    Ok(())
}

/// Loads a program, again where a signal interrupted the verifier: it gives up then (`do_check` in kernel/bpf/verifier.c, EAGAIN).
fn patiently<T, E: Interrupted>(mut load: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    const TRIES: u32 = 8;
    for _ in 1..TRIES {
        match load() {
            Err(error) if error.is_interrupted() => {}
            result => return result,
        }
    }
    load()
}

/// Why a program was not loaded.
trait Interrupted {
    /// A signal interrupted the verifier.
    fn is_interrupted(&self) -> bool;
}

impl Interrupted for std::io::Error {
    fn is_interrupted(&self) -> bool {
        self.kind() == std::io::ErrorKind::WouldBlock
    }
}

impl Interrupted for ProgramError {
    fn is_interrupted(&self) -> bool {
        matches!(self, Self::LoadError { io_error, .. } if io_error.is_interrupted())
    }
}

/// What to do when a kernel does not have a system call's tracepoint.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Skipped,
    Fatal,
}

fn attach_calls(
    ebpf: &mut Ebpf,
    links: &mut Links,
    name: &'static str,
    side: &str,
    calls: &[&str],
    missing: Missing,
) -> Result<(), AttachError> {
    let failed = |source| AttachError::Program { program: name, source };
    let program = ebpf.program_mut(name).ok_or(AttachError::Object(name))?;
    let program: &mut TracePoint = program.try_into().map_err(failed)?;
    patiently(|| program.load()).map_err(failed)?;
    for call in calls {
        match program.attach("syscalls", &format!("sys_{side}_{call}")) {
            Ok(id) => links.0.push(Box::new(program.take_link(id).map_err(failed)?)),
            Err(source) if missing == Missing::Fatal => return Err(failed(source)),
            Err(_) => {}
        }
    }
    Ok(())
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<aya::maps::Map, AttachError> {
    ebpf.take_map(name).ok_or(AttachError::Object(name))
}

fn map_error(map: &'static str) -> impl Fn(aya::maps::MapError) -> AttachError {
    move |source| AttachError::Map { map, source }
}
