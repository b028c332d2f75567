//! The command's process, from fork to its end.
use std::ffi::{CString, OsStr, OsString};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::{fs::File, ptr};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid as NixPid, fork, pipe2};

use super::{Assist, Identity, no_java_hook};
use crate::capture::Pid;

/// What the parent writes to let the child begin its program. So does the parent's death: the pipe's end.
const GO: u8 = b'g';
/// What the parent writes to end the child before its program.
const STOP: u8 = b's';

/// The command's process.
#[derive(Debug)]
pub struct Child {
    pid: NixPid,
    pidfd: OwnedFd,
    program: OsString,
    gate: Option<Gate>,
    exit: Option<Exit>,
    no_java_hook: Option<String>,
}

/// Both pipes between Clew and a child that waits.
#[derive(Debug)]
struct Gate {
    release: File,
    outcome: File,
}

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It returned this code.
    Code(u8),
    /// This signal ended it.
    Signal(i32),
}

impl Exit {
    /// The exit code a shell reports: 128 + n for signal n.
    pub fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(number) => u8::try_from(number).map_or(u8::MAX, |number| number.saturating_add(128)),
        }
    }
}

/// Why no process could be made.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// There is no command.
    #[error("there is no command to run: write it behind --, for example `clew run -- npm start`")]
    Empty,
    /// A word of the command or a variable has a zero byte in it.
    #[error("the command or its environment holds a zero byte, which no program can be given")]
    ZeroByte,
    /// The kernel refused.
    #[error("failed to make a process for the command")]
    Refused(#[source] io::Error),
}

/// Why the command's program did not begin.
#[derive(Debug, thiserror::Error)]
pub enum NotStarted {
    /// Its program could not be executed.
    #[error("failed to start {}", program.display())]
    Program {
        /// The first word of the command.
        program: OsString,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The process could not become the calling user's.
    #[error("failed to run {} as the calling user; --as-root runs it as root", program.display())]
    Identity {
        /// The first word of the command.
        program: OsString,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ended before its program began, by a signal for example.
    #[error("{} ended before its program began", program.display())]
    Ended {
        /// The first word of the command.
        program: OsString,
        /// How.
        exit: Exit,
    },
}

impl NotStarted {
    /// The exit code a shell reports: 127 if there is no such program, 126 if it cannot be executed.
    pub fn code(&self) -> u8 {
        match self {
            Self::Program { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            Self::Program { .. } | Self::Identity { .. } => 126,
            Self::Ended { exit, .. } => exit.code(),
        }
    }
}

impl Child {
    /// Makes the process, which waits before its program. Call this before signals are caught and before threads are
    /// made: the command inherits the signal state.
    ///
    /// # Errors
    /// [`SpawnError`] if there is no process.
    pub fn spawn(command: &[OsString], identity: &Identity, assist: Option<&Assist>) -> Result<Self, SpawnError> {
        let program = command.first().ok_or(SpawnError::Empty)?.clone();
        let plan = Plan::new(command, identity, assist)?;
        let refused = |errno: Errno| SpawnError::Refused(errno.into());
        let (release_read, release_write) = pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(refused)?;
        let (outcome_read, outcome_write) = pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(refused)?;
        let ends = Ends {
            release: release_read.as_raw_fd(),
            outcome: outcome_write.as_raw_fd(),
            parents: [release_write.as_raw_fd(), outcome_read.as_raw_fd()],
        };
        // SAFETY: the child calls nothing but functions that are safe in a signal handler (signal-safety(7)), and never
        // returns: `Plan::carry_out` says so for each.
        let pid = match unsafe { fork() }.map_err(refused)? {
            ForkResult::Child => plan.carry_out(&ends),
            ForkResult::Parent { child } => child,
        };
        let gate = Gate {
            release: release_write.into(),
            outcome: outcome_read.into(),
        };
        let pidfd = match pidfd_open(pid) {
            Ok(fd) => fd,
            Err(source) => {
                gate.stop(pid);
                return Err(SpawnError::Refused(source));
            }
        };
        Ok(Self {
            pid,
            pidfd,
            program,
            gate: Some(gate),
            exit: None,
            no_java_hook: plan.no_java_hook,
        })
    }

    /// Why Java processes it starts load no hook; none where they do.
    pub fn no_java_hook(&self) -> Option<&str> {
        self.no_java_hook.as_deref()
    }

    /// Its process number.
    pub fn pid(&self) -> Pid {
        Pid(self.pid.as_raw().unsigned_abs())
    }

    /// Lets the program begin, and waits until it has or could not. Called again it does nothing.
    ///
    /// # Errors
    /// [`NotStarted`] if the program did not begin; the process has ended then.
    pub fn release(&mut self) -> Result<(), NotStarted> {
        let Some(mut gate) = self.gate.take() else {
            return Ok(());
        };
        // A child that ended meanwhile has closed its end; what became of it is told below.
        let _gone = gate.release.write_all(&[GO]);
        let program = self.program.clone();
        let mut passed = [0];
        let mut report = [0; Report::BYTES];
        if gate.outcome.read_exact(&mut passed).is_err() {
            let exit = self.wait().unwrap_or(Exit::Signal(libc::SIGKILL));
            return Err(NotStarted::Ended { program, exit });
        }
        match gate.outcome.read_exact(&mut report) {
            // The pipe closed by itself: the program began.
            Err(_) => Ok(()),
            Ok(()) => {
                // It exits right after the report.
                let _reaped = self.wait();
                let source = io::Error::from_raw_os_error(Report::errno(report));
                Err(if Report::is_identity(report) {
                    NotStarted::Identity { program, source }
                } else {
                    NotStarted::Program { program, source }
                })
            }
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If the kernel does not know it.
    pub fn wait(&mut self) -> io::Result<Exit> {
        loop {
            match self.reap(None) {
                Ok(Some(exit)) => return Ok(exit),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// How it ended, if it has. Its descriptor ([`AsFd`]) becomes readable when there is an answer.
    ///
    /// # Errors
    /// If the kernel does not know it.
    pub fn try_wait(&mut self) -> io::Result<Option<Exit>> {
        self.reap(Some(WaitPidFlag::WNOHANG))
    }

    fn reap(&mut self, flags: Option<WaitPidFlag>) -> io::Result<Option<Exit>> {
        if self.exit.is_none() {
            self.exit = match waitpid(self.pid, flags)? {
                WaitStatus::Exited(_, code) => Some(Exit::Code((code & 0xff) as u8)),
                WaitStatus::Signaled(_, signal, _) => Some(Exit::Signal(signal as i32)),
                _ => None,
            };
        }
        Ok(self.exit)
    }

    /// Sends it a signal. One that has ended gets none.
    pub fn signal(&self, signal: Signal) {
        // Until it is waited for its number belongs to no other process.
        if self.exit.is_none() {
            let _refused = kill(self.pid, signal);
        }
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Child {
    /// A command that was never released never starts; one that runs goes on.
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            gate.stop(self.pid);
        }
    }
}

impl Gate {
    fn stop(mut self, pid: NixPid) {
        let _gone = self.release.write_all(&[STOP]);
        while waitpid(pid, None) == Err(Errno::EINTR) {}
    }
}

fn pidfd_open(pid: NixPid) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open(2) takes two numbers and touches no memory.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let fd = RawFd::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The pipes' ends in the child.
struct Ends {
    release: RawFd,
    outcome: RawFd,
    parents: [RawFd; 2],
}

/// What the child tells once it has passed the gate, and when it failed to be the caller.
const PASSED: u8 = b'p';

/// What the child tells after that if it fails: which step, and `errno`.
struct Report;

impl Report {
    const BYTES: usize = 5;
    const IDENTITY: u8 = 1;
    const PROGRAM: u8 = 2;

    /// Its bytes: step u8 | errno i32.
    const fn of(step: u8, errno: i32) -> [u8; Self::BYTES] {
        let [a, b, c, d] = errno.to_ne_bytes();
        [step, a, b, c, d]
    }

    const fn errno([_, a, b, c, d]: [u8; Self::BYTES]) -> i32 {
        i32::from_ne_bytes([a, b, c, d])
    }

    const fn is_identity([step, ..]: [u8; Self::BYTES]) -> bool {
        step == Self::IDENTITY
    }
}

/// Everything the child needs, made before the fork: a child of a program with threads must not allocate.
struct Plan {
    /// Where the program may lie, in the order to try.
    paths: Vec<CString>,
    args: Pointers,
    /// The command line for a file that is a script without a first line that says so, by path: `/bin/sh path args...`.
    scripts: Vec<Pointers>,
    environ: Pointers,
    no_java_hook: Option<String>,
    /// User, group and further groups to become.
    ids: Option<(libc::uid_t, libc::gid_t, Vec<libc::gid_t>)>,
}

/// Strings, and the null-terminated list of pointers to them that execve(2) takes.
struct Pointers {
    list: Vec<*const libc::c_char>,
    _strings: Vec<CString>,
}

impl Pointers {
    fn new(strings: Vec<CString>) -> Self {
        // The bytes of a CString lie on the heap and stay where they are when the vector moves.
        let list = strings
            .iter()
            .map(|string| string.as_ptr())
            .chain([ptr::null()])
            .collect();
        Self {
            list,
            _strings: strings,
        }
    }
}

const SHELL: &[u8] = b"/bin/sh\0";

impl Plan {
    fn new(command: &[OsString], identity: &Identity, assist: Option<&Assist>) -> Result<Self, SpawnError> {
        let c_string = |text: &OsStr| CString::new(text.as_bytes()).map_err(|_| SpawnError::ZeroByte);
        let environ = identity.environ(std::env::vars_os());
        let environ = match assist {
            Some(assist) => assist.environ(environ),
            None => environ,
        };
        let no_java_hook = no_java_hook(&environ);
        let path = environ
            .iter()
            .find(|(name, _)| name == "PATH")
            .map(|(_, value)| value.as_os_str());
        let program = command.first().ok_or(SpawnError::Empty)?;
        let paths = candidates(program, path)
            .iter()
            .map(|path| c_string(path))
            .collect::<Result<Vec<_>, _>>()?;
        let args = command.iter().map(|arg| c_string(arg)).collect::<Result<Vec<_>, _>>()?;
        let scripts = paths
            .iter()
            .map(|path| {
                let line = [c"/bin/sh".to_owned(), path.clone()]
                    .into_iter()
                    .chain(args.iter().skip(1).cloned());
                Pointers::new(line.collect())
            })
            .collect();
        let variables = environ
            .iter()
            .map(|(name, value)| {
                let mut entry = name.clone();
                entry.push("=");
                entry.push(value);
                c_string(&entry)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            paths,
            args: Pointers::new(args),
            scripts,
            environ: Pointers::new(variables),
            no_java_hook,
            ids: identity.ids(),
        })
    }

    /// What the child does. It allocates nothing, takes no lock and calls system calls only.
    fn carry_out(&self, ends: &Ends) -> ! {
        for fd in ends.parents {
            // SAFETY: the descriptor is this process's own copy, which nothing uses again.
            unsafe { libc::close(fd) };
        }
        // Rust programs ignore it; the command shall not inherit that.
        // SAFETY: the default action replaces the other; no handler is involved.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        if let Err(errno) = self.become_caller() {
            tell(ends.outcome, &[PASSED]);
            fail(ends.outcome, Report::of(Report::IDENTITY, errno));
        }
        if !released(ends.release) {
            // SAFETY: it ends the process without running anything of its parent's.
            unsafe { libc::_exit(0) };
        }
        tell(ends.outcome, &[PASSED]);
        let errno = self.execute();
        fail(ends.outcome, Report::of(Report::PROGRAM, errno))
    }

    fn become_caller(&self) -> Result<(), i32> {
        let Some((uid, gid, groups)) = &self.ids else {
            return Ok(());
        };
        let done = |result: i32| if result == 0 { Ok(()) } else { Err(Errno::last_raw()) };
        // The system calls themselves: the C library's functions would take locks to tell other threads, of which the
        // child has none. Groups come first, for which the process must still be root.
        // SAFETY: the pointer and the length describe one vector.
        done(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) } as i32)?;
        // SAFETY: setresgid(2) takes numbers only.
        done(unsafe { libc::syscall(libc::SYS_setresgid, *gid, *gid, *gid) } as i32)?;
        // SAFETY: setresuid(2) takes numbers only.
        done(unsafe { libc::syscall(libc::SYS_setresuid, *uid, *uid, *uid) } as i32)
    }

    /// Tries each path as execvp(3) does and gives the `errno` that says most.
    fn execute(&self) -> i32 {
        let mut told = libc::ENOENT;
        for (path, script) in self.paths.iter().zip(&self.scripts) {
            // SAFETY: all three are zero-terminated and alive, and both lists end with a null pointer.
            unsafe { libc::execve(path.as_ptr(), self.args.list.as_ptr(), self.environ.list.as_ptr()) };
            match Errno::last_raw() {
                libc::ENOENT | libc::ENOTDIR => {}
                // Another folder of PATH may have one that can be executed.
                libc::EACCES => told = libc::EACCES,
                libc::ENOEXEC => {
                    // SAFETY: as above.
                    unsafe { libc::execve(SHELL.as_ptr().cast(), script.list.as_ptr(), self.environ.list.as_ptr()) };
                    return libc::ENOEXEC;
                }
                errno => return errno,
            }
        }
        told
    }
}

/// Waits at the gate. Clew's death opens it.
fn released(fd: RawFd) -> bool {
    let mut byte = 0_u8;
    loop {
        // SAFETY: the buffer is one byte long and alive.
        match unsafe { libc::read(fd, (&raw mut byte).cast(), 1) } {
            1 => return byte == GO,
            0 => return true,
            _ if Errno::last_raw() == libc::EINTR => {}
            _ => return true,
        }
    }
}

fn tell(fd: RawFd, bytes: &[u8]) {
    // SAFETY: pointer and length describe the slice. A pipe takes so few bytes whole.
    unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
}

fn fail(fd: RawFd, report: [u8; Report::BYTES]) -> ! {
    tell(fd, &report);
    // SAFETY: it ends the process without running anything of its parent's.
    unsafe { libc::_exit(127) }
}

/// Where a program may lie (execvp(3)): the name itself if it has a slash, else in each folder of PATH.
fn candidates(program: &OsStr, path: Option<&OsStr>) -> Vec<OsString> {
    /// What the C library uses without PATH (`confstr(_CS_PATH)`).
    const DEFAULT: &[u8] = b"/bin:/usr/bin";
    if program.is_empty() {
        return Vec::new();
    }
    if program.as_bytes().contains(&b'/') {
        return vec![program.to_owned()];
    }
    let folders = path.map_or(DEFAULT, OsStr::as_bytes);
    folders
        .split(|&byte| byte == b':')
        .map(|folder| {
            // An empty folder is the current one.
            let mut joined = if folder.is_empty() {
                b".".to_vec()
            } else {
                folder.to_vec()
            };
            joined.push(b'/');
            joined.extend_from_slice(program.as_bytes());
            OsString::from_vec(joined)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &[&str]) -> Vec<OsString> {
        command.iter().map(OsString::from).collect()
    }

    fn spawn(command: &[&str]) -> Child {
        Child::spawn(&words(command), &Identity::unchanged(), None).expect("a process")
    }

    #[test]
    fn exit_codes() {
        for (script, want) in [
            ("exit 0", Exit::Code(0)),
            ("exit 200", Exit::Code(200)),
            ("kill -TERM $$", Exit::Signal(15)),
        ] {
            let mut child = spawn(&["sh", "-c", script]);
            child.release().expect("a program");
            child.release().expect("no harm");
            assert_eq!(child.wait().expect("an end"), want, "{script}");
            assert_eq!(child.try_wait().expect("an end"), Some(want), "{script}");
        }
        assert_eq!([Exit::Code(3).code(), Exit::Signal(9).code()], [3, 137]);
    }

    #[test]
    fn programs_that_cannot_start() {
        let folder = tempfile::tempdir().expect("a folder");
        let plain = folder.path().join("plain");
        std::fs::write(&plain, "exit 7").expect("a file");
        let plain = plain.display().to_string();
        for (program, code) in [
            ("/nonexistent/program", 127),
            ("no-such-program-anywhere", 127),
            ("", 127),
            (plain.as_str(), 126),
            ("/", 126),
        ] {
            let error = spawn(&[program]).release().expect_err(program);
            assert_eq!(error.code(), code, "{program}: {error:?}");
            assert!(error.to_string().contains(program));
        }
        let none = Child::spawn(&[], &Identity::unchanged(), None);
        assert!(matches!(none, Err(SpawnError::Empty)));
        let zero = Child::spawn(&words(&["a\0b"]), &Identity::unchanged(), None);
        assert!(matches!(zero, Err(SpawnError::ZeroByte)));
    }

    #[test]
    fn a_script_without_interpreter_runs_in_the_shell() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let script = folder.path().join("script");
        std::fs::write(&script, "exit $1").expect("a file");
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("permissions");
        let mut child = spawn(&[&script.display().to_string(), "7"]);
        // Other tests fork meanwhile, and their children hold the file open for writing until they execute.
        while let Err(error) = child.release() {
            assert!(error.to_string().contains("script"), "{error:?}");
            let NotStarted::Program { source, .. } = error else {
                panic!("{error:?}")
            };
            assert_eq!(source.raw_os_error(), Some(libc::ETXTBSY));
            child = spawn(&[&script.display().to_string(), "7"]);
        }
        assert_eq!(child.wait().expect("an end"), Exit::Code(7));
    }

    #[test]
    fn it_waits_until_released() {
        let folder = tempfile::tempdir().expect("a folder");
        let mark = folder.path().join("mark");
        let mark_text = mark.display().to_string();
        let child = spawn(&["touch", &mark_text]);
        let exe = |child: &Child| std::fs::read_link(format!("/proc/{}/exe", child.pid().0)).expect("a process");
        assert_eq!(exe(&child), std::env::current_exe().expect("this test"));
        let pid = child.pid();
        drop(child);
        assert!(!std::path::Path::new(&format!("/proc/{}", pid.0)).exists());
        assert!(!mark.exists(), "it ran without being released");
        let mut child = spawn(&["touch", &mark_text]);
        child.release().expect("a program");
        assert_eq!(child.wait().expect("an end"), Exit::Code(0));
        assert!(mark.exists());
    }

    #[test]
    fn the_end_shows_in_the_descriptor() {
        let mut child = spawn(&["cat", "/proc/self/fd/0"]);
        child.release().expect("a program");
        child.signal(Signal::SIGKILL);
        let mut poll = [nix::poll::PollFd::new(child.as_fd(), nix::poll::PollFlags::POLLIN)];
        while nix::poll::poll(&mut poll, nix::poll::PollTimeout::NONE) == Err(Errno::EINTR) {}
        let exit = child.try_wait().expect("an end").expect("it has ended");
        assert!(matches!(exit, Exit::Signal(9) | Exit::Code(_)), "{exit:?}");
        // The number may belong to another process by now.
        child.signal(Signal::SIGKILL);
    }

    #[test]
    fn a_child_killed_at_the_gate() {
        let mut child = spawn(&["true"]);
        child.signal(Signal::SIGTERM);
        let mut poll = [nix::poll::PollFd::new(child.as_fd(), nix::poll::PollFlags::POLLIN)];
        while nix::poll::poll(&mut poll, nix::poll::PollTimeout::NONE) == Err(Errno::EINTR) {}
        let error = child.release().expect_err("it was killed");
        assert_eq!(error.code(), 143, "{error:?}");
    }

    #[test]
    fn places_of_a_program() {
        for (program, path, want) in [
            ("/bin/a", Some("/x"), &["/bin/a"][..]),
            ("./a", None, &["./a"]),
            ("a", Some("/x:/y"), &["/x/a", "/y/a"]),
            ("a", Some("/x:"), &["/x/a", "./a"]),
            ("a", None, &["/bin/a", "/usr/bin/a"]),
            ("", Some("/x"), &[]),
        ] {
            let got = candidates(OsStr::new(program), path.map(OsStr::new));
            assert_eq!(got, words(want), "{program} {path:?}");
        }
    }
}
