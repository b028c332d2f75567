//! Which processes the user wants traced.
use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::container::{id, paths};
use super::glob::Glob;
use super::procfs::Proc;
use crate::capture::Pid;

/// One rule. A process that any rule matches is traced, and so are its children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// This process.
    Pid(Pid),
    /// Every process whose executable matches a pattern.
    Exe(String),
    /// Every process that listens on a TCP port.
    Port(u16),
    /// Every process in a cgroup or below it: a folder under `/sys/fs/cgroup`, or the path the kernel shows.
    Cgroup(String),
    /// Every process in a container, by its id, a beginning of it, or its name.
    Container(String),
}

impl std::fmt::Display for Rule {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pid(pid) => write!(out, "--pid {}", pid.0),
            Self::Exe(glob) => write!(out, "--exe {glob}"),
            Self::Port(port) => write!(out, "--port {port}"),
            Self::Cgroup(path) => write!(out, "--cgroup {path}"),
            Self::Container(name) => write!(out, "--container {name}"),
        }
    }
}

/// Why a rule cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// No rule was given.
    #[error(
        "nothing to attach to: name at least one target with --pid, --exe, --port, --cgroup or --container, for example \
         `clew attach --port 8080`"
    )]
    None,
    /// A value is no good.
    #[error("invalid value {value:?} for {option}: {why}")]
    Value {
        /// The option.
        option: &'static str,
        /// The value.
        value: String,
        /// What would be good.
        why: &'static str,
    },
}

/// A process named by its number is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoProcess {
    /// No such process.
    #[error("there is no process {}: it has ended or never was; `pgrep -a NAME` finds one by name", .0.0)]
    Gone(Pid),
    /// It is this agent.
    #[error("process {} is Clew itself, which it never traces; name another with --pid", .0.0)]
    Own(Pid),
}

impl Rule {
    /// Reads a process number.
    ///
    /// # Errors
    /// [`RuleError::Value`] if it is none.
    pub fn pid(value: &str) -> Result<Self, RuleError> {
        match value.parse() {
            Ok(pid) if pid > 0 => Ok(Self::Pid(Pid(pid))),
            _ => Err(bad("--pid", value, "a process number such as 4120 is wanted")),
        }
    }

    /// Reads a port number.
    ///
    /// # Errors
    /// [`RuleError::Value`] if it is none.
    pub fn port(value: &str) -> Result<Self, RuleError> {
        match value.parse() {
            Ok(port) if port > 0 => Ok(Self::Port(port)),
            _ => Err(bad("--port", value, "a port from 1 to 65535 is wanted")),
        }
    }

    /// Reads a pattern for executables.
    ///
    /// # Errors
    /// [`RuleError::Value`] if it is empty.
    pub fn exe(value: &str) -> Result<Self, RuleError> {
        if value.is_empty() {
            return Err(bad(
                "--exe",
                value,
                "a name such as nginx or a pattern such as /opt/*/server is wanted",
            ));
        }
        Ok(Self::Exe(value.to_owned()))
    }

    /// Reads a cgroup's path.
    ///
    /// # Errors
    /// [`RuleError::Value`] if it is not absolute.
    pub fn cgroup(value: &str) -> Result<Self, RuleError> {
        if !value.starts_with('/') {
            return Err(bad(
                "--cgroup",
                value,
                "an absolute path such as /system.slice/nginx.service is wanted",
            ));
        }
        Ok(Self::Cgroup(value.to_owned()))
    }

    /// Reads a container's id or name.
    ///
    /// # Errors
    /// [`RuleError::Value`] if it cannot be either.
    pub fn container(value: &str) -> Result<Self, RuleError> {
        if value.is_empty() || value.contains('/') {
            return Err(bad(
                "--container",
                value,
                "an id, the beginning of one, or a name is wanted",
            ));
        }
        Ok(Self::Container(value.to_owned()))
    }
}

fn bad(option: &'static str, value: &str, why: &'static str) -> RuleError {
    RuleError::Value {
        option,
        value: value.to_owned(),
        why,
    }
}

/// All rules of a session, combined by "or".
#[derive(Clone, Debug)]
pub struct Rules {
    pids: Vec<Pid>,
    exes: Vec<Glob>,
    ports: Vec<u16>,
    cgroups: Vec<CgroupRule>,
    containers: Vec<String>,
    own: Pid,
}

#[derive(Clone, Debug)]
struct CgroupRule {
    path: String,
    /// The path names a folder of the cgroup2 file system, which is hierarchy 0.
    unified: bool,
}

impl Rules {
    /// Puts rules together. `own` is the agent, which is never traced.
    ///
    /// # Errors
    /// [`RuleError::None`] if there are none.
    pub fn new(rules: &[Rule], proc: &Proc, own: Pid) -> Result<Self, RuleError> {
        if rules.is_empty() {
            return Err(RuleError::None);
        }
        let mut all = Self {
            pids: Vec::new(),
            exes: Vec::new(),
            ports: Vec::new(),
            cgroups: Vec::new(),
            containers: Vec::new(),
            own,
        };
        for rule in rules {
            match rule {
                Rule::Pid(pid) => all.pids.push(*pid),
                Rule::Exe(pattern) => all.exes.push(Glob::new(pattern)),
                Rule::Port(port) => all.ports.push(*port),
                Rule::Cgroup(path) => all.cgroups.push(CgroupRule::new(proc, path)),
                Rule::Container(name) => all.containers.push(name.clone()),
            }
        }
        Ok(all)
    }

    /// Whether a process that starts later can match: exec events of the whole host are then wanted.
    pub fn watch_all(&self) -> bool {
        !(self.exes.is_empty() && self.ports.is_empty() && self.cgroups.is_empty() && self.containers.is_empty())
    }

    /// Whether [`find_existing`](Self::find_existing) should be asked again from time to time: no event tells that a
    /// process begins to listen or is moved to a cgroup.
    pub fn rescan(&self) -> bool {
        !(self.ports.is_empty() && self.cgroups.is_empty())
    }

    /// Whether a process matches now, by anything that costs one or two small reads. Ports are left to
    /// [`find_existing`](Self::find_existing): a process that has just begun its program does not listen yet.
    pub fn matches(&self, proc: &Proc, pid: Pid) -> bool {
        pid != self.own && (self.pids.contains(&pid) || self.matches_exe(proc, pid) || self.matches_cgroup(proc, pid))
    }

    fn matches_exe(&self, proc: &Proc, pid: Pid) -> bool {
        !self.exes.is_empty()
            && proc
                .exe(pid)
                .is_ok_and(|path| self.exes.iter().any(|glob| glob.matches(&path)))
    }

    fn matches_cgroup(&self, proc: &Proc, pid: Pid) -> bool {
        if self.cgroups.is_empty() && self.containers.is_empty() {
            return false;
        }
        let Ok(cgroups) = proc.text(pid, "cgroup") else {
            return false;
        };
        self.cgroups.iter().any(|rule| rule.matches(&cgroups))
            || self
                .containers
                .iter()
                .any(|wanted| in_container(proc, pid, &cgroups, wanted))
    }

    /// All processes that match now, with all their descendants, in ascending order.
    ///
    /// # Errors
    /// [`NoProcess`] if a process named by number is not there.
    pub fn find_existing(&self, proc: &Proc) -> Result<Vec<Pid>, NoProcess> {
        let mut found = HashSet::new();
        for &pid in &self.pids {
            // A number of a thread stands for its process.
            let process = proc.status(pid, "Tgid").map(Pid).ok_or(NoProcess::Gone(pid))?;
            if process == self.own {
                return Err(NoProcess::Own(process));
            }
            found.insert(process);
        }
        Ok(self.complete(proc, found))
    }

    /// The same for a later time: processes named by number may have ended by then.
    pub fn find_more(&self, proc: &Proc) -> Vec<Pid> {
        let alive = self.pids.iter().filter_map(|&pid| proc.status(pid, "Tgid").map(Pid));
        self.complete(proc, alive.collect())
    }

    fn complete(&self, proc: &Proc, mut found: HashSet<Pid>) -> Vec<Pid> {
        let processes = proc.processes();
        let other = |&pid: &Pid| self.matches_exe(proc, pid) || self.matches_cgroup(proc, pid);
        found.extend(processes.iter().copied().filter(other));
        found.extend(listeners(proc, &processes, &self.ports));
        with_descendants(proc, &processes, &mut found);
        found.remove(&self.own);
        let mut found: Vec<Pid> = found.into_iter().collect();
        found.sort_unstable();
        found
    }
}

impl CgroupRule {
    fn new(proc: &Proc, path: &str) -> Self {
        let path = match path.trim_end_matches('/') {
            "" => "/",
            path => path,
        };
        let mounts = super::procfs::read(&proc.path("proc/self/mountinfo"), 1 << 20).unwrap_or_default();
        let mounts = String::from_utf8_lossy(&mounts);
        // The longest mount point wins: cgroup2 may lie inside the folder of version 1.
        let mount = mounts
            .lines()
            .filter_map(cgroup_mount)
            .filter(|(point, _)| Path::new(path).starts_with(point))
            .max_by_key(|(point, _)| point.len());
        match mount {
            Some((point, unified)) => {
                let below = path.strip_prefix(point).unwrap_or(path);
                Self {
                    path: if below.is_empty() {
                        "/".to_owned()
                    } else {
                        below.to_owned()
                    },
                    unified,
                }
            }
            None => Self {
                path: path.to_owned(),
                unified: false,
            },
        }
    }

    fn matches(&self, cgroups: &str) -> bool {
        let lines = cgroups.lines().filter(|line| !self.unified || line.starts_with("0:"));
        let below = |path: &str| Path::new(path).starts_with(&self.path);
        // Every process is in the root of some hierarchy: the root means something in the unified one only.
        lines
            .filter(|line| self.path != "/" || line.starts_with("0:"))
            .any(|line| paths(line).any(below))
    }
}

/// Mount point of a cgroup file system and whether it is version 2, from a line of `/proc/self/mountinfo`
/// (proc_pid_mountinfo(5)): `id parent major:minor root point options [tags] - type source superoptions`.
fn cgroup_mount(line: &str) -> Option<(&str, bool)> {
    let (place, kind) = line.split_once(" - ")?;
    let point = place.split(' ').nth(4)?;
    match kind.split(' ').next()? {
        "cgroup2" => Some((point, true)),
        "cgroup" => Some((point, false)),
        _ => None,
    }
}

/// Whether a process is in a container of this id or name.
fn in_container(proc: &Proc, pid: Pid, cgroups: &str, wanted: &str) -> bool {
    /// A beginning that is shorter is more likely a name.
    const SHORTEST_ID: usize = 6;
    let by_id = wanted.len() >= SHORTEST_ID && id(cgroups).is_some_and(|id| id.starts_with(wanted));
    let by_component = || {
        paths(cgroups).flat_map(|path| path.split('/')).any(|component| {
            let component = component.strip_suffix(".scope").unwrap_or(component);
            // LXC and systemd-nspawn name the group after the container.
            component == wanted
                || component.strip_prefix("lxc.payload.") == Some(wanted)
                || component.strip_prefix("machine-") == Some(wanted)
        })
    };
    let by_name = || {
        super::container::Container::of(proc, pid).is_some_and(|container| {
            container.name.as_deref() == Some(wanted)
                || container
                    .attributes
                    .iter()
                    .any(|(key, value)| key.ends_with("container.name") && value == wanted)
        })
    };
    by_id || by_component() || by_name()
}

/// The processes that hold a socket listening on one of the ports, in any network namespace.
fn listeners(proc: &Proc, processes: &[Pid], ports: &[u16]) -> Vec<Pid> {
    if ports.is_empty() {
        return Vec::new();
    }
    let mut namespaces = HashSet::new();
    let mut inodes = HashSet::new();
    for &pid in processes {
        // Each namespace once; where it cannot be read, the table is read again, which costs time only.
        let namespace = std::fs::read_link(proc.of(pid, "ns/net")).ok();
        if namespace.is_some_and(|namespace| !namespaces.insert(namespace)) {
            continue;
        }
        for table in ["net/tcp", "net/tcp6"] {
            if let Ok(text) = proc.text(pid, table) {
                inodes.extend(text.lines().filter_map(|line| listening(line, ports)));
            }
        }
    }
    if inodes.is_empty() {
        return Vec::new();
    }
    let holds = |pid: &Pid| proc.sockets(*pid).iter().any(|inode| inodes.contains(inode));
    processes.iter().copied().filter(holds).collect()
}

/// The inode number of a listening socket in a line of `/proc/net/tcp` (kernel: `get_tcp4_sock`):
/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode ...`.
fn listening(line: &str, ports: &[u16]) -> Option<u64> {
    /// `TCP_LISTEN`.
    const LISTEN: &str = "0A";
    let mut fields = line.split_whitespace();
    let local = fields.nth(1)?;
    let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?.parse().ok()?;
    (state == LISTEN && ports.contains(&port)).then_some(inode)
}

/// Adds the children of those found, and theirs.
fn with_descendants(proc: &Proc, processes: &[Pid], found: &mut HashSet<Pid>) {
    let mut children: HashMap<u32, Vec<Pid>> = HashMap::new();
    for &pid in processes {
        if let Some(parent) = proc.status(pid, "PPid") {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut open: Vec<Pid> = found.iter().copied().collect();
    while let Some(pid) = open.pop() {
        for &child in children.get(&pid.0).into_iter().flatten() {
            if found.insert(child) {
                open.push(child);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    /// A made-up host: 1 init, 10 shop in a container with a child 11 and its child 12, 20 nginx, 30 the agent.
    fn host() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        let write = |path: &str, content: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, content).expect("a file");
        };
        let container = format!("1:cpu:/docker/{ID}\n0::/docker/{ID}\n");
        let rows = [
            (1, 0, "/sbin/init", "0::/init.scope\n"),
            (10, 1, "/opt/shop/server", container.as_str()),
            (11, 10, "/bin/sh", "0::/\n"),
            (12, 11, "/usr/bin/node", "0::/\n"),
            (
                20,
                1,
                "/usr/sbin/nginx (deleted)",
                "5:memory:/x\n0::/system.slice/nginx.service/sub\n",
            ),
            (30, 1, "/usr/bin/clew", "0::/system.slice/nginx.service\n"),
        ];
        for (pid, parent, exe, cgroup) in rows {
            let at = format!("proc/{pid}");
            write(
                &format!("{at}/status"),
                &format!("Name:\tx\nTgid:\t{pid}\nPid:\t{pid}\nPPid:\t{parent}\n"),
            );
            write(&format!("{at}/cgroup"), cgroup);
            std::fs::create_dir_all(root.path().join(&at).join("fd")).expect("a folder");
            let link = |target: &str, name: &str| {
                std::os::unix::fs::symlink(target, root.path().join(&at).join(name)).expect("a link");
            };
            link(exe, "exe");
            link(&format!("socket:[{}]", 1000 + pid), "fd/3");
            link("pipe:[1]", "fd/4");
        }
        write("proc/13/status", "Tgid:\t12\nPid:\t13\nPPid:\t1\n");
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        let line = |local: &str, state: &str, inode: u32| {
            format!(
                "   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0\n"
            )
        };
        write(
            "proc/1/net/tcp",
            &format!(
                "{head}{}{}",
                line("0100007F:1F90", "0A", 1020),
                line("0100007F:1F91", "01", 1012)
            ),
        );
        write(
            "proc/1/net/tcp6",
            &format!(
                "{head}{}broken\n",
                line("00000000000000000000000000000000:0050", "0A", 1012)
            ),
        );
        write(
            "proc/self/mountinfo",
            "30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
             32 30 0:28 / /sys/fs/cgroup/memory rw shared:1 - cgroup cgroup rw,memory\n",
        );
        write(
            &format!("var/lib/docker/containers/{ID}/config.v2.json"),
            r#"{"Name":"/p-shop-1","Config":{"Labels":{"com.docker.compose.service":"shop"}}}"#,
        );
        root
    }

    fn check(rules: &[Rule], want: &[u32]) {
        let root = host();
        let proc = Proc::at(root.path());
        let rules = Rules::new(rules, &proc, Pid(30)).expect("rules");
        let found = rules.find_existing(&proc).expect("processes");
        assert_eq!(found, want.iter().map(|&pid| Pid(pid)).collect::<Vec<_>>(), "{rules:?}");
        assert_eq!(rules.find_more(&proc), found);
    }

    #[test]
    fn each_rule_finds_its_processes_and_their_children() {
        let text = |kind: fn(String) -> Rule, value: &str| kind(value.to_owned());
        check(&[Rule::Pid(Pid(20))], &[20]);
        check(&[Rule::Pid(Pid(11))], &[11, 12]);
        check(&[Rule::Pid(Pid(13))], &[12]);
        check(&[text(Rule::Exe, "nginx")], &[20]);
        check(&[text(Rule::Exe, "/opt/*")], &[10, 11, 12]);
        check(&[text(Rule::Exe, "clew")], &[]);
        check(&[Rule::Port(8080)], &[20]);
        check(&[Rule::Port(80)], &[12]);
        check(&[Rule::Port(8081)], &[]);
        check(&[text(Rule::Cgroup, "/system.slice/nginx.service")], &[20]);
        check(&[text(Rule::Cgroup, "/sys/fs/cgroup/unified/system.slice/")], &[20]);
        check(&[text(Rule::Cgroup, "/sys/fs/cgroup/memory/x")], &[20]);
        check(&[text(Rule::Cgroup, "/sys/fs/cgroup/unified/x")], &[]);
        check(&[text(Rule::Cgroup, "/system.slice/ngin")], &[]);
        check(&[text(Rule::Container, ID)], &[10, 11, 12]);
        check(&[text(Rule::Container, &ID[..12])], &[10, 11, 12]);
        check(&[text(Rule::Container, "shop")], &[10, 11, 12]);
        check(&[text(Rule::Container, "p-shop-1")], &[10, 11, 12]);
        check(&[text(Rule::Container, "other")], &[]);
        check(&[Rule::Pid(Pid(12)), Rule::Port(8080)], &[12, 20]);
    }

    #[test]
    fn what_cannot_be_traced() {
        let root = host();
        let proc = Proc::at(root.path());
        let find = |pid| Rules::new(&[Rule::Pid(Pid(pid))], &proc, Pid(30)).map(|rules| rules.find_existing(&proc));
        assert_eq!(find(99), Ok(Err(NoProcess::Gone(Pid(99)))));
        assert_eq!(find(30), Ok(Err(NoProcess::Own(Pid(30)))));
        assert_eq!(Rules::new(&[], &proc, Pid(30)).err(), Some(RuleError::None));
    }

    #[test]
    fn later_processes() {
        let root = host();
        let proc = Proc::at(root.path());
        let matches = |rule: Rule, pid| {
            let rules = Rules::new(&[rule], &proc, Pid(30)).expect("rules");
            (rules.matches(&proc, Pid(pid)), rules.watch_all(), rules.rescan())
        };
        assert_eq!(matches(Rule::Exe("node".to_owned()), 12), (true, true, false));
        assert_eq!(matches(Rule::Exe("node".to_owned()), 10), (false, true, false));
        assert_eq!(matches(Rule::Exe("clew".to_owned()), 30), (false, true, false));
        assert_eq!(matches(Rule::Pid(Pid(12)), 12), (true, false, false));
        assert_eq!(matches(Rule::Port(80), 12), (false, true, true));
        assert_eq!(matches(Rule::Cgroup("/docker".to_owned()), 10), (true, true, true));
    }

    #[test]
    fn values() {
        for bad in [
            Rule::pid("zero"),
            Rule::pid("0"),
            Rule::pid("-1"),
            Rule::port("0"),
            Rule::port("65536"),
            Rule::exe(""),
            Rule::cgroup("relative"),
            Rule::container("a/b"),
            Rule::container(""),
        ] {
            assert!(matches!(bad, Err(RuleError::Value { .. })), "{bad:?}");
        }
        assert_eq!(Rule::pid("4120"), Ok(Rule::Pid(Pid(4120))));
        assert_eq!(Rule::port("80"), Ok(Rule::Port(80)));
    }

    #[test]
    fn a_listening_port_of_this_process() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
        let port = socket.local_addr().expect("an address").port();
        let proc = Proc::default();
        // The agent is another process here: number 1 is no test.
        let rules = Rules::new(&[Rule::Port(port)], &proc, Pid(1)).expect("rules");
        let found = rules.find_existing(&proc).expect("processes");
        assert!(found.contains(&Pid(std::process::id())), "{found:?}");
    }
}
