//! What the facts mean.
use std::fmt::Write as _;

use serde::Serialize;

use super::host::{Host, Lockdown, Programs, SyscallEvents, cap};
use crate::attach::{self, Capture};

/// The oldest kernel Clew's programs load on.
const OLDEST: (u32, u32) = (5, 10);
/// From here on maps are charged to the memory cgroup, not to the limit of locked memory.
const NO_MEMLOCK: (u32, u32) = (5, 11);

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// Clew traces, with less or at a higher cost.
    Limited,
    /// Clew cannot trace.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// How it came out.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What that costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<&'static str>,
    /// What mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// Everything that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Clew can trace here.
    pub possible: bool,
    /// The kernel's release.
    pub kernel: String,
    /// The architecture.
    pub arch: String,
    /// The ways to capture that work here, the best first.
    pub capture: Vec<&'static str>,
    /// Each check.
    pub checks: Vec<Check>,
}

impl Report {
    /// Judges a host.
    pub fn of(host: &Host) -> Self {
        let mut checks = vec![
            kernel(host),
            privileges(host),
            btf(host),
            lockdown(host),
            processes(host),
            namespace(host),
        ];
        checks.extend(memlock(host));
        checks.extend(programs(host, &checks));
        let basis = checks.iter().all(|check| check.state != State::Missing);
        let socket = lacks(host, Capture::Socket).is_none();
        let syscall = lacks(host, Capture::Syscall).is_none() && can_see_calls(host);
        checks.push(capture_socket(host, syscall));
        checks.push(capture_syscall(host, socket));
        checks.push(tracefs(host));
        checks.push(logs(host, socket));
        checks.push(times(host));
        checks.push(stacks(host));
        checks.push(priority(host));
        checks.push(jit(host));
        checks.push(cgroup2(host));
        checks.push(ok(
            "hooks of runtimes",
            match &host.no_java_hook {
                None => "clew run hands Node.js one in NODE_OPTIONS and Java one in JAVA_TOOL_OPTIONS; with --assist off none"
                    .to_owned(),
                Some(why) => format!("clew run hands Node.js one in NODE_OPTIONS; with --assist off none; {why}"),
            },
        ));
        let capture = [("socket", socket), ("syscall", syscall)];
        Self {
            possible: basis && (socket || syscall),
            kernel: host.release.clone(),
            arch: host.arch.clone(),
            capture: capture
                .into_iter()
                .filter(|(_, works)| basis && *works)
                .map(|(name, _)| name)
                .collect(),
            checks,
        }
    }

    /// Why a session cannot start, if it cannot.
    pub fn refusal(&self, wanted: Option<Capture>) -> Option<String> {
        let wanted = match wanted {
            Some(Capture::Socket) => Some("socket"),
            Some(Capture::Syscall) => Some("syscall"),
            None => None,
        };
        let lacking = |check: &Check| match check.name {
            "capture at the socket" => wanted == Some("socket") && check.state != State::Ok,
            "capture at system calls" => wanted == Some("syscall") && check.state != State::Ok,
            _ => check.state == State::Missing,
        };
        let granted = wanted.is_none_or(|wanted| self.capture.contains(&wanted));
        if self.possible && granted {
            return None;
        }
        let mut text = "this host cannot trace:".to_owned();
        let mut lines: Vec<&Check> = self.checks.iter().filter(|check| lacking(check)).collect();
        if lines.is_empty() {
            lines = self
                .checks
                .iter()
                .filter(|check| check.state == State::Missing)
                .collect();
        }
        for check in lines {
            let _infallible = write!(text, "\n  {}: {}", check.name, check.found);
            if let Some(cost) = check.cost {
                let _infallible = write!(text, "; {cost}");
            }
            if let Some(mend) = &check.mend {
                let _infallible = write!(text, "; to mend it: {mend}");
            }
        }
        text.push_str("\n`clew doctor` shows everything that was looked at");
        Some(text)
    }

    /// The report to read.
    pub fn text(&self) -> String {
        let verdict = match self.capture.first() {
            Some(&"socket") if self.possible => "Clew can trace here, at the socket.",
            Some(_) if self.possible => "Clew can trace here, at system calls.",
            _ => "Clew cannot trace here.",
        };
        let mut text = format!("Linux {} on {}: {verdict}\n\n", self.kernel, self.arch);
        let width = self
            .checks
            .iter()
            .map(|check| check.name.len())
            .max()
            .unwrap_or_default();
        for check in &self.checks {
            let state = match check.state {
                State::Ok => "ok",
                State::Limited => "limited",
                State::Missing => "missing",
            };
            let _infallible = writeln!(text, "  {state:<8} {:<width$}  {}", check.name, check.found);
            let indent = width + 13;
            if let Some(cost) = check.cost {
                let _infallible = writeln!(text, "{:indent$}{cost}", "");
            }
            if let Some(mend) = &check.mend {
                let _infallible = writeln!(text, "{:indent$}to mend it: {mend}", "");
            }
        }
        text
    }
}

fn ok(name: &'static str, found: impl Into<String>) -> Check {
    Check {
        name,
        state: State::Ok,
        found: found.into(),
        cost: None,
        mend: None,
    }
}

impl Check {
    fn limited(mut self, cost: &'static str, mend: impl Into<String>) -> Self {
        self.state = State::Limited;
        self.cost = Some(cost);
        self.mend = Some(mend.into());
        self
    }

    fn missing(self, cost: &'static str, mend: impl Into<String>) -> Self {
        let mut check = self.limited(cost, mend);
        check.state = State::Missing;
        check
    }
}

fn kernel(host: &Host) -> Check {
    let check = ok("kernel", &host.release);
    match host.version() {
        Some(version) if version < OLDEST => check.missing(
            "Clew's programs need Linux 5.10",
            "boot Linux 5.10 or later, 6.3 or later for the least cost",
        ),
        _ => check,
    }
}

fn privileges(host: &Host) -> Check {
    let has = |bits: u64| host.capabilities & bits == bits;
    let load = has(cap::SYS_ADMIN) || has(cap::BPF | cap::PERFMON);
    let found = if host.root { "root" } else { "not root" };
    let check = ok("privileges", found);
    if load && (host.root || has(cap::DAC_READ_SEARCH)) {
        return check;
    }
    if host.root {
        let wanted = [("BPF", cap::BPF), ("PERFMON", cap::PERFMON)].map(|(name, bit)| (name, has(bit)));
        let lacking = || wanted.iter().filter(|(_, has)| !has).map(|(name, _)| *name);
        let add: String = lacking().map(|name| format!("--cap-add {name} ")).collect();
        let mend = format!("start the container with {add}--cap-add SYS_PTRACE, or with --privileged");
        let mut check = check.missing("the kernel loads no programs for it", mend);
        let names: Vec<String> = lacking().map(|name| format!("CAP_{name}")).collect();
        let _infallible = write!(check.found, " without {}", names.join(" and "));
        return check;
    }
    check.missing("the kernel loads programs for root only", "sudo clew ...")
}

/// Told only where nothing else explains it.
fn programs(host: &Host, checks: &[Check]) -> Option<Check> {
    if checks.iter().any(|check| check.state == State::Missing) {
        return None;
    }
    let check = ok("kernel programs", "the kernel loads them");
    Some(match &host.programs {
        Programs::Loaded => check,
        Programs::Absent => {
            let mut check = check.missing(
                "Clew sees through programs in the kernel",
                "boot a kernel built with CONFIG_BPF_SYSCALL=y",
            );
            check.found = "this kernel has no bpf(2)".to_owned();
            check
        }
        Programs::Refused(error) => {
            let mut check = check.missing(
                "Clew sees through programs in the kernel",
                "let the container's seccomp profile allow bpf(2), or start it with --privileged",
            );
            check.found = format!("something refuses to load programs: {error}");
            check
        }
    })
}

fn btf(host: &Host) -> Check {
    let check = ok("kernel type information", "/sys/kernel/btf/vmlinux");
    if host.tracepoints.is_some() {
        return check;
    }
    let mut check = check.missing(
        "Clew cannot know where this kernel keeps what it reads",
        "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y, as distributions build theirs",
    );
    check.found.push_str(" cannot be read");
    check
}

fn lockdown(host: &Host) -> Check {
    match host.lockdown {
        Lockdown::Off => ok("kernel lockdown", "off"),
        Lockdown::Unknown => ok("kernel lockdown", "not known, and not in the way"),
        Lockdown::Integrity => ok("kernel lockdown", "integrity, which Clew does not need to break"),
        Lockdown::Confidentiality => ok("kernel lockdown", "confidentiality").missing(
            "the kernel lets no program read its memory",
            "boot without lockdown=confidentiality on the kernel's command line",
        ),
    }
}

/// What is found of tracepoints where nothing lists them.
const NOT_KNOWN: &str = "not known without kernel type information";

/// Tracepoints that both ways to capture need.
fn processes(host: &Host) -> Check {
    let check = ok("process tracepoints", "present");
    let both = attach::tracepoints(Capture::Socket)
        .filter(|name| attach::tracepoints(Capture::Syscall).any(|other| other == *name));
    match missing(host, both) {
        None => check,
        Some(_) if host.tracepoints.is_none() => {
            let mut check = check.missing(
                "Clew cannot follow processes and connections",
                "see kernel type information",
            );
            check.found = NOT_KNOWN.to_owned();
            check
        }
        Some(name) => {
            let mut check = check.missing(
                "Clew cannot follow processes and connections",
                "boot a kernel built with CONFIG_TRACEPOINTS=y and CONFIG_NET=y",
            );
            check.found = format!("{name} is absent");
            check
        }
    }
}

fn namespace(host: &Host) -> Check {
    let check = ok("process numbers", "as the kernel counts them");
    if host.initial_pid_namespace {
        return check;
    }
    let mut check = check.missing(
        "the kernel's programs know processes by other numbers than Clew sees",
        "start Clew on the host, or its container with --pid=host",
    );
    check.found = "those of a container".to_owned();
    check
}

/// The first tracepoint a way to capture needs that is not there.
fn lacks(host: &Host, capture: Capture) -> Option<&'static str> {
    missing(host, attach::tracepoints(capture))
}

fn missing(host: &Host, mut names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    match &host.tracepoints {
        Some(present) => names.find(|name| !present.contains(name)),
        None => names.next(),
    }
}

fn capture_socket(host: &Host, syscall: bool) -> Check {
    let check = ok("capture at the socket", "works");
    let mend = "boot Linux 6.3 or later";
    let mut check = match (lacks(host, Capture::Socket), syscall) {
        (None, _) => return check,
        (Some(name), true) => {
            let mut check = check.limited("Clew captures at system calls, which costs each of them more", mend);
            check.found = format!("the tracepoint {name} is absent");
            return check;
        }
        (Some(_), false) => check.missing("there is no way to see bytes pass", mend),
    };
    check.found = match host.tracepoints {
        Some(_) => "its tracepoints are absent".to_owned(),
        None => NOT_KNOWN.to_owned(),
    };
    check
}

fn capture_syscall(host: &Host, socket: bool) -> Check {
    let check = ok("capture at system calls", "works");
    let mut mend = "boot a kernel built with CONFIG_FTRACE_SYSCALLS=y";
    let found = match (lacks(host, Capture::Syscall), &host.syscall_events) {
        _ if host.tracepoints.is_none() => NOT_KNOWN.to_owned(),
        (Some(name), _) => format!("the tracepoint {name} is absent"),
        (None, SyscallEvents::Absent(name)) => format!("the tracepoint {name} is absent"),
        (None, SyscallEvents::Unknown) if !can_mount(host) => {
            mend = MOUNT;
            "tracefs, which names their tracepoints, is not mounted".to_owned()
        }
        (None, _) => return check,
    };
    let mut check = if socket {
        check.limited("--capture syscall does not work; Clew does not need it here", mend)
    } else {
        check.missing("there is no way to see bytes pass", mend)
    };
    check.found = found;
    check
}

const MOUNT: &str = "mount -t tracefs none /sys/kernel/tracing";

const fn can_mount(host: &Host) -> bool {
    host.capabilities & cap::SYS_ADMIN != 0
}

fn can_see_calls(host: &Host) -> bool {
    match host.syscall_events {
        SyscallEvents::Present => true,
        SyscallEvents::Absent(_) => false,
        SyscallEvents::Unknown => can_mount(host),
    }
}

fn tracefs(host: &Host) -> Check {
    let check = ok("tracefs", "mounted");
    if host.syscall_events != SyscallEvents::Unknown {
        return check;
    }
    let found = "not mounted, or not to be read";
    let mut check = if can_mount(host) {
        check.limited("Clew mounts it when it begins to trace", MOUNT)
    } else {
        check.limited(
            "event loops such as nginx are traced without the calls they make",
            MOUNT,
        )
    };
    check.found = found.to_owned();
    check
}

/// What the kernel lacks where threads' registers cannot be read.
const NO_REGISTERS: &str = "this kernel tells programs no registers of threads";
/// What mends that.
const NEWER: &str = "boot Linux 5.15 or later";

/// Whether `--logs` works.
fn logs(host: &Host, socket: bool) -> Check {
    let check = ok("logs", "stdout, stderr, log files, syslog and the journal");
    if !host.registers {
        let mut check = check.limited("--logs sees nothing", NEWER);
        NO_REGISTERS.clone_into(&mut check.found);
        return check;
    }
    if !can_see_calls(host) {
        let mut check = check.limited("--logs sees nothing of stdout, stderr and files", "see tracefs");
        "no tracepoints of system calls".clone_into(&mut check.found);
        return check;
    }
    if !socket {
        let mut check = check.limited(
            "--logs does not see what is sent to syslog and to the journal",
            "boot Linux 6.3 or later",
        );
        "stdout, stderr and log files".clone_into(&mut check.found);
        return check;
    }
    check
}

/// Whether `--times` works.
fn times(host: &Host) -> Check {
    let check = ok("times", "on a CPU, waiting for one, and what threads are blocked on");
    if host.registers {
        return check;
    }
    let mut check = check.limited(
        "--times tells of what blocks threads only whether it is the disk",
        NEWER,
    );
    NO_REGISTERS.clone_into(&mut check.found);
    check
}

/// Whether `--stacks` works.
fn stacks(host: &Host) -> Check {
    let check = ok("stacks", "of programs whose calls are told of");
    if host.registers {
        return check;
    }
    let mut check = check.limited("--stacks tells nothing but of Python", NEWER);
    NO_REGISTERS.clone_into(&mut check.found);
    check
}

/// Whether Clew's loop is preferred.
fn priority(host: &Host) -> Check {
    let check = ok("priority", "Clew's loop is preferred to other threads (nice -10)");
    if host.capabilities & cap::SYS_NICE != 0 {
        return check;
    }
    let mend = if host.root {
        "start the container with --cap-add SYS_NICE"
    } else {
        "sudo clew ..."
    };
    let mut check = check.limited("events are lost sooner where many threads want a processor", mend);
    "no CAP_SYS_NICE".clone_into(&mut check.found);
    check
}

fn jit(host: &Host) -> Check {
    match host.jit {
        Some(false) => ok("compiler for kernel programs", "off").limited(
            "Clew's programs are interpreted, which costs each event several times as much",
            "sysctl net.core.bpf_jit_enable=1",
        ),
        Some(true) => ok("compiler for kernel programs", "on"),
        None => ok("compiler for kernel programs", "always on, or not to be read"),
    }
}

fn memlock(host: &Host) -> Option<Check> {
    /// Maps and ring buffer.
    const NEEDED: u64 = 96 << 20;
    let old = host.version().is_some_and(|version| version < NO_MEMLOCK);
    let limit = host.memlock_bytes.filter(|limit| old && *limit < NEEDED)?;
    Some(ok("locked memory", format!("at most {limit} bytes")).missing("Clew's maps do not fit", "ulimit -l unlimited"))
}

fn cgroup2(host: &Host) -> Check {
    match &host.cgroup2 {
        Some(point) => ok("unified cgroups", point.display().to_string()),
        None => ok("unified cgroups", "not mounted").limited(
            "--cgroup and --container go by the groups of version 1",
            "mount -t cgroup2 none /sys/fs/cgroup",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host that has everything.
    fn good() -> Host {
        Host {
            release: "6.18.44".to_owned(),
            arch: "x86_64".to_owned(),
            root: true,
            capabilities: u64::MAX,
            tracepoints: Some(
                attach::tracepoints(Capture::Socket)
                    .chain(attach::tracepoints(Capture::Syscall))
                    .collect(),
            ),
            registers: true,
            lockdown: Lockdown::Integrity,
            syscall_events: SyscallEvents::Present,
            jit: Some(true),
            initial_pid_namespace: true,
            cgroup2: Some("/sys/fs/cgroup".into()),
            memlock_bytes: Some(65_536),
            programs: Programs::Loaded,
            no_java_hook: None,
        }
    }

    fn without_socket(host: &mut Host) {
        if let Some(tracepoints) = &mut host.tracepoints {
            tracepoints.remove("sock_send_length");
        }
    }

    /// Changes the good host; wants the ways to capture and the words of the refusal, if there is one.
    fn check(change: impl FnOnce(&mut Host), capture: &[&str], refusal: &[&str]) {
        let mut host = good();
        change(&mut host);
        let report = Report::of(&host);
        assert_eq!(report.capture, capture, "{report:?}");
        assert_eq!(report.possible, !capture.is_empty(), "{report:?}");
        let told = report.refusal(None);
        assert_eq!(told.is_none(), refusal.is_empty(), "{told:?}");
        for word in refusal {
            let told = told.clone().unwrap_or_default();
            assert!(told.contains(word), "no {word:?} in {told}");
            assert!(report.text().contains(word), "no {word:?} in {}", report.text());
        }
        // What is wrong says what it costs and what mends it.
        for check in report.checks.iter().filter(|check| check.state != State::Ok) {
            assert!(check.cost.is_some() && check.mend.is_some(), "{check:?}");
        }
    }

    #[test]
    fn hosts() {
        let both = ["socket", "syscall"];
        let absent = || SyscallEvents::Absent("sys_enter_read".to_owned());
        check(|_| (), &both, &[]);
        check(
            |host| host.release = "5.4.0".to_owned(),
            &[],
            &["5.4.0", "boot Linux 5.10"],
        );
        let user = |host: &mut Host| (host.root, host.capabilities) = (false, 0);
        check(user, &[], &["not root", "sudo clew"]);
        let capable = |host: &mut Host| {
            (host.root, host.capabilities) = (false, cap::BPF | cap::PERFMON | cap::DAC_READ_SEARCH);
        };
        check(capable, &both, &[]);
        let both_caps = ["without CAP_BPF and CAP_PERFMON", "--cap-add BPF --cap-add PERFMON"];
        check(|host| host.capabilities = 0, &[], &both_caps);
        check(
            |host| host.capabilities = cap::BPF,
            &[],
            &["root without CAP_PERFMON", "with --cap-add PERFMON"],
        );
        let unmounted = |host: &mut Host| {
            host.syscall_events = SyscallEvents::Unknown;
            host.capabilities &= !cap::SYS_ADMIN;
        };
        check(unmounted, &["socket"], &[]);
        let refused = Programs::Refused("Operation not permitted".to_owned());
        check(|host| host.programs = refused, &[], &["not permitted", "seccomp"]);
        check(
            |host| host.programs = Programs::Absent,
            &[],
            &["no bpf(2)", "CONFIG_BPF_SYSCALL"],
        );
        check(
            |host| host.tracepoints = None,
            &[],
            &["/sys/kernel/btf/vmlinux cannot be read", "CONFIG_DEBUG_INFO_BTF"],
        );
        check(
            |host| host.lockdown = Lockdown::Confidentiality,
            &[],
            &["confidentiality", "boot without"],
        );
        check(|host| host.lockdown = Lockdown::Unknown, &both, &[]);
        check(|host| host.initial_pid_namespace = false, &[], &["--pid=host"]);
        check(without_socket, &["syscall"], &[]);
        check(|host| host.syscall_events = absent(), &["socket"], &[]);
        check(|host| host.syscall_events = SyscallEvents::Unknown, &both, &[]);
        check(|host| host.jit = Some(false), &both, &[]);
        check(|host| host.cgroup2 = None, &both, &[]);
        check(
            |host| host.release = "5.10.1".to_owned(),
            &[],
            &["locked memory", "ulimit -l unlimited"],
        );
        let neither = |host: &mut Host| {
            without_socket(host);
            host.syscall_events = absent();
        };
        check(neither, &[], &["boot Linux 6.3", "CONFIG_FTRACE_SYSCALLS"]);
        let nothing = |host: &mut Host| host.tracepoints = Some([].into());
        check(nothing, &[], &["is absent", "CONFIG_TRACEPOINTS"]);
    }

    /// What is said of logs, times and stacks.
    #[track_caller]
    fn check_features(change: impl FnOnce(&mut Host), want: [(State, &str); 3]) {
        let mut host = good();
        change(&mut host);
        let report = Report::of(&host);
        for (name, (state, words)) in ["logs", "times", "stacks"].into_iter().zip(want) {
            let check = report
                .checks
                .iter()
                .find(|check| check.name == name)
                .expect("the check");
            assert_eq!(check.state, state, "{check:?}");
            let said = format!("{} {}", check.found, check.cost.unwrap_or_default());
            assert!(said.contains(words), "no {words:?} in {check:?}");
        }
    }

    #[test]
    fn what_may_be_told_of_a_span() {
        use State::{Limited, Ok};
        check_features(|_| (), [(Ok, "journal"), (Ok, "blocked"), (Ok, "programs")]);
        let none = [(Limited, "sees nothing"), (Limited, "disk"), (Limited, "Python")];
        check_features(|host| host.registers = false, none);
        let files = [(Limited, "log files --logs does not see"), (Ok, ""), (Ok, "")];
        check_features(without_socket, files);
        let unmounted = SyscallEvents::Absent("sys_exit_write".to_owned());
        let messages = [(Limited, "nothing of stdout"), (Ok, ""), (Ok, "")];
        check_features(|host| host.syscall_events = unmounted, messages);
    }

    #[test]
    fn nobody_is_preferred_without_the_capability() {
        let mut host = good();
        host.capabilities &= !cap::SYS_NICE;
        let report = Report::of(&host);
        assert!(report.possible);
        let check = report.checks.iter().find(|check| check.name == "priority");
        let check = check.expect("the check");
        assert_eq!(check.state, State::Limited);
        assert!(
            check
                .mend
                .as_ref()
                .is_some_and(|mend| mend.contains("--cap-add SYS_NICE")),
            "{check:?}"
        );
    }

    #[test]
    fn a_way_to_capture_that_was_asked_for() {
        let mut host = good();
        without_socket(&mut host);
        let report = Report::of(&host);
        assert_eq!(report.refusal(Some(Capture::Syscall)), None);
        let told = report.refusal(Some(Capture::Socket)).expect("a refusal");
        assert!(
            told.contains("sock_send_length") && told.contains("boot Linux 6.3"),
            "{told}"
        );
    }

    #[test]
    fn as_json() {
        let mut host = good();
        host.jit = Some(false);
        let json = serde_json::to_value(Report::of(&host)).expect("JSON");
        assert_eq!(json["possible"], true);
        assert_eq!(json["capture"][0], "socket");
        let jit = json["checks"].as_array().and_then(|checks| {
            checks
                .iter()
                .find(|check| check["name"] == "compiler for kernel programs")
        });
        let jit = jit.expect("the check");
        assert_eq!(jit["state"], "limited");
        assert_eq!(jit["mend"], "sysctl net.core.bpf_jit_enable=1");
    }
}
