//! Finds out which processes to trace and what is known of each.
//!
//! In: process numbers from the kernel's fork and exec events, and the user's [`Rules`]. Out: [`Process`]es. It reads
//! `/proc` and executables, changes nothing, and takes what it reads for what others wrote: bounded and never trusted.
mod birth;
mod container;
mod glob;
mod java;
mod procfs;
mod rules;
mod runtime;
mod service;
mod windows;

use std::sync::Arc;

pub use procfs::Proc;
pub use rules::{NoProcess, Rule, RuleError, Rules};
pub use service::ServiceSource;
pub(crate) use windows::Windows;

use crate::capture::Pid;
use crate::redact;

/// What is known of a process, fixed when it began its program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number in the initial PID namespace.
    pub pid: Pid,
    /// The executable's path as the process sees it.
    pub exe: String,
    /// The command line.
    pub args: Vec<String>,
    /// `service.name`; [`Found::service_source`] says where it came from.
    pub service: String,
    /// `service.namespace`, where the target's own variables give one.
    pub service_namespace: Option<String>,
    /// What runs the program's code.
    pub runtime: Runtime,
    /// Container id, from the cgroup path.
    pub container: Option<String>,
    /// Further resource attributes: OTEL_RESOURCE_ATTRIBUTES of the target, owner, when it began and the like.
    pub resource: Vec<(String, String)>,
}

impl Process {
    /// One that was over before it could be read: what it was called with is known, and by what name.
    pub fn over(pid: Pid, name: &str, args: Vec<String>) -> Self {
        let program = args.first().map_or(name, String::as_str);
        let runtime = runtime::by_name(&service::executable(program)).unwrap_or(Runtime::Unknown);
        let service = service::script(runtime, &args).unwrap_or_else(|| name.to_owned());
        Self {
            args: redact::arguments(args),
            runtime,
            ..Self::stranger(pid, &service)
        }
    }

    /// One of which only a name is known.
    pub fn stranger(pid: Pid, service: &str) -> Self {
        Self {
            pid,
            exe: String::new(),
            args: Vec::new(),
            service: service.to_owned(),
            service_namespace: None,
            runtime: Runtime::Unknown,
            container: None,
            resource: Vec::new(),
        }
    }
}

/// What runs a program's code, as far as it matters to causality.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Runtime {
    /// Compiled code without a scheduler of its own that Clew could name.
    Native,
    /// Go.
    Go,
    /// CPython.
    Python,
    /// Node.
    Node,
    /// A Java virtual machine before 21: its threads are the kernel's.
    Java,
    /// A Java virtual machine that may run virtual threads, many on one of the kernel's: 21 and later, or of unknown version.
    JavaVirtual,
    /// Rust.
    Rust,
    /// Ruby.
    Ruby,
    /// PHP.
    Php,
    /// nginx.
    Nginx,
    /// Envoy.
    Envoy,
    /// It could not be told.
    Unknown,
}

impl Runtime {
    /// It in a word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Go => "go",
            Self::Python => "python",
            Self::Node => "node",
            Self::Java | Self::JavaVirtual => "java",
            Self::Rust => "rust",
            Self::Ruby => "ruby",
            Self::Php => "php",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
            Self::Unknown => "unknown",
        }
    }
}

/// A process handed down the pipeline.
pub type ProcessRef = Arc<Process>;

/// The process ended before it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("process {} is gone", .0.0)]
pub struct Gone(pub Pid);

/// A process and how it was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The process.
    pub process: Process,
    /// Where its service name came from.
    pub service_source: ServiceSource,
}

/// Reads processes and remembers what it found in their executables.
#[derive(Debug, Default)]
pub struct Discovery {
    proc: Proc,
    runtimes: runtime::Runtimes,
    births: birth::Births,
}

impl Discovery {
    /// Reads the file system under another root.
    pub fn at(proc: Proc) -> Self {
        Self {
            proc,
            ..Self::default()
        }
    }

    /// The file system it reads.
    pub const fn proc(&self) -> &Proc {
        &self.proc
    }

    /// Reads a process.
    ///
    /// # Errors
    /// [`Gone`] if it has ended.
    pub fn read(&mut self, pid: Pid) -> Result<Process, Gone> {
        self.examine(pid).map(|found| found.process)
    }

    /// Reads a process and says where its service name came from.
    ///
    /// # Errors
    /// [`Gone`] if it has ended.
    pub fn examine(&mut self, pid: Pid) -> Result<Found, Gone> {
        let mut args = self.proc.strings(pid, "cmdline").map_err(|_| Gone(pid))?;
        cut(&mut args);
        // A kernel thread has no executable; one that cannot be read says nothing worse.
        let exe = self.proc.exe(pid).unwrap_or_default();
        let runtime = match self.runtimes.of(&self.proc, pid, &exe) {
            Runtime::Java => java::kind(&self.proc, pid, &exe),
            other => other,
        };
        let environ = self.proc.strings(pid, "environ").unwrap_or_default();
        let mut declared = service::Declared::read(&environ);
        let container = container::Container::of(&self.proc, pid);
        let attribute = declared.take("service.name");
        let service_namespace = declared.take("service.namespace");
        let container_name = container.as_ref().and_then(|container| container.name.clone());
        let candidates = [
            (declared.name.take(), ServiceSource::Variable),
            (attribute, ServiceSource::Attributes),
            (container_name, ServiceSource::Container),
            (service::script(runtime, &args), ServiceSource::Script),
        ];
        let (service, service_source) = candidates
            .into_iter()
            .find_map(|(name, source)| Some((name?, source)))
            .unwrap_or_else(|| {
                // One whose executable cannot be read goes by what it was called with.
                let path = if exe.is_empty() { args.first() } else { Some(&exe) };
                let name = service::executable(path.map_or("", String::as_str));
                let comm = self.proc.text(pid, "comm").unwrap_or_default();
                let name = service::linked(&name, comm.trim_end(), &args).unwrap_or(name);
                (name, ServiceSource::Executable)
            });
        let mut resource = declared.attributes;
        let owner = container.is_none().then(|| self.owner(pid)).flatten();
        let born = self.births.of(&self.proc, pid);
        let known = container
            .iter()
            .flat_map(|container| container.attributes.clone())
            .chain(owner.map(|owner| ("process.owner".to_owned(), owner)))
            .chain(born.map(|born| ("process.creation.time".to_owned(), born)));
        for (name, value) in known {
            // What the process says of itself wins.
            if resource.iter().all(|(key, _)| *key != name) {
                resource.push((name, value));
            }
        }
        let process = Process {
            pid,
            exe,
            args: redact::arguments(args),
            service,
            service_namespace,
            runtime,
            container: container.map(|container| container.id),
            resource,
        };
        Ok(Found {
            process,
            service_source,
        })
    }

    /// The owner's name by this host's own list. Name services that ask the network are not worth the wait.
    fn owner(&self, pid: Pid) -> Option<String> {
        const LIST_BYTES: u64 = 1 << 20;
        let uid = self.proc.status(pid, "Uid")?.to_string();
        let list = procfs::read(&self.proc.path("etc/passwd"), LIST_BYTES).ok()?;
        String::from_utf8_lossy(&list).lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)? == uid).then(|| name.to_owned())
        })
    }
}

/// Cuts a command line that is longer than anyone reads; class paths of Java reach 100 KiB.
fn cut(args: &mut Vec<String>) {
    const MOST_BYTES: usize = 16 << 10;
    let mut total = 0;
    let keep = args
        .iter()
        .take_while(|arg| {
            total += arg.len();
            total <= MOST_BYTES
        })
        .count();
    args.truncate(keep);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A made-up process 7 with these files.
    fn found(files: &[(&str, &str)], exe: &str) -> Result<Found, Gone> {
        let root = tempfile::tempdir().expect("a folder");
        for (path, content) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, content).expect("a file");
        }
        let folder = root.path().join("proc/7");
        if folder.exists() && !exe.is_empty() {
            std::os::unix::fs::symlink(exe, folder.join("exe")).expect("a link");
        }
        Discovery::at(Proc::at(root.path())).examine(Pid(7))
    }

    fn check_service(files: &[(&str, &str)], want: (&str, ServiceSource)) {
        let found = found(files, "/usr/bin/python3.11").expect("a process");
        assert_eq!(
            (found.process.service.as_str(), found.service_source),
            want,
            "{files:?}"
        );
    }

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn service_names_in_order() {
        let docker = format!("0::/docker/{ID}\n");
        let config_path = format!("var/lib/docker/containers/{ID}/config.v2.json");
        let files = [
            (
                "proc/7/environ",
                "A=b\0OTEL_SERVICE_NAME=one\0OTEL_RESOURCE_ATTRIBUTES=service.name=two\0",
            ),
            ("proc/7/environ", "OTEL_RESOURCE_ATTRIBUTES=service.name=two\0"),
            (config_path.as_str(), r#"{"Name":"/three"}"#),
            ("proc/7/cmdline", "python\0four.py\0"),
        ];
        let rest = |from: usize| {
            let mut kept = vec![("proc/7/cgroup", docker.as_str())];
            kept.extend(files.iter().skip(from).rev().copied());
            kept
        };
        check_service(
            &{
                let mut all = rest(2);
                all.push(files[0]);
                all
            },
            ("one", ServiceSource::Variable),
        );
        check_service(&rest(1), ("two", ServiceSource::Attributes));
        check_service(&rest(2), ("three", ServiceSource::Container));
        check_service(&rest(3), ("four", ServiceSource::Script));
        check_service(
            &[("proc/7/cmdline", "python\0")],
            ("python3.11", ServiceSource::Executable),
        );
        let called = [("proc/7/comm", "httpd\n"), ("proc/7/cmdline", "/sbin/httpd -f\0-p\0")];
        check_service(&called, ("httpd", ServiceSource::Executable));
    }

    #[test]
    fn programs_that_were_over() {
        let over = |name: &str, line: &str| {
            let args = line.split_whitespace().map(str::to_owned).collect();
            let process = Process::over(Pid(7), name, args);
            (process.service, process.runtime)
        };
        let want = |service: &str, runtime| (service.to_owned(), runtime);
        assert_eq!(
            over("node", "/usr/bin/node -r x /srv/mix.js 1"),
            want("mix", Runtime::Node)
        );
        assert_eq!(over("job.py", "python3 ./job.py"), want("job", Runtime::Python));
        assert_eq!(over("curl", "curl http://[::1]/"), want("curl", Runtime::Unknown));
        assert_eq!(over("node", "node"), want("node", Runtime::Node));
        assert_eq!(over("node", ""), want("node", Runtime::Node));
    }

    #[test]
    fn what_is_known() {
        let files = [
            ("proc/7/cmdline", "nginx: worker process\0"),
            (
                "proc/7/environ",
                "OTEL_RESOURCE_ATTRIBUTES=service.namespace=eu,team=x\0",
            ),
            ("proc/7/status", "Name:\tnginx\nUid:\t33\t33\t33\t33\n"),
            ("etc/passwd", "root:x:0:0::/:/bin/sh\nwww-data:x:33:33::/:/bin/sh\n"),
        ];
        let process = found(&files, "/usr/sbin/nginx (deleted)").expect("a process").process;
        let text = |pair: (&str, &str)| (pair.0.to_owned(), pair.1.to_owned());
        assert_eq!(process.exe, "/usr/sbin/nginx");
        assert_eq!(process.service, "nginx");
        assert_eq!(process.service_namespace.as_deref(), Some("eu"));
        assert_eq!(process.runtime, Runtime::Nginx);
        assert_eq!(process.container, None);
        assert_eq!(
            process.resource,
            [text(("team", "x")), text(("process.owner", "www-data"))]
        );
        assert_eq!(found(&[], "/x"), Err(Gone(Pid(7))));
        let unread = found(&[("proc/7/cmdline", "/sbin/init\0")], "").map(|found| found.process.service);
        assert_eq!(unread.as_deref(), Ok("init"));
    }

    #[test]
    fn long_command_lines_are_cut() {
        let mut args = vec!["java".to_owned(), "x".repeat(20_000), "Main".to_owned()];
        cut(&mut args);
        assert_eq!(args, ["java"]);
    }

    #[test]
    fn this_process() {
        let pid = Pid(std::process::id());
        let process = Discovery::default().read(pid).expect("this process");
        assert_eq!(process.runtime, Runtime::Rust);
        assert!(process.exe.ends_with(&process.service), "{process:?}");
    }
}
