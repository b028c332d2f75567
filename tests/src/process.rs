//! Programs the tests start, and end.
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{SigHandler, SigSet, Signal, kill};
use nix::unistd::Pid;

use crate::wait::{WHOLE, until, within};

/// Gives the signals that tests send their default action, in this process and so in the programs it starts. Whoever runs the
/// tests may ignore them: a shell does so for SIGINT in what it starts in the background, nohup(1) for SIGHUP.
pub fn heed_signals() {
    let sent = [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGTSTP,
        Signal::SIGCONT,
    ];
    for signal in sent {
        // SAFETY: the default action runs no code of this program.
        let set = unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) };
        set.expect("every signal in the list may have its default action");
    }
    SigSet::empty().thread_set_mask().expect("no signal stays blocked");
}

/// Keeps from a command what this machine's own environment says to programs whose variables begin so: it is no part of a test.
pub fn without_own(command: &mut Command, beginnings: &[&str]) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if beginnings.iter().any(|beginning| text.starts_with(beginning)) {
            command.env_remove(&name);
        }
    }
}

/// A program with its output kept in files. It is killed when dropped, with all of its process group.
#[derive(Debug)]
pub struct Proc {
    child: Child,
    name: String,
    stdout: PathBuf,
    stderr: PathBuf,
    code: Option<i32>,
}

impl Proc {
    /// Starts `command` in a process group of its own; its output goes to files named after `name` in `dir`.
    pub fn start(dir: &Path, name: &str, mut command: Command) -> Self {
        let stdout = dir.join(format!("{name}.stdout"));
        let stderr = dir.join(format!("{name}.stderr"));
        let create = |path: &Path| File::create(path).expect("create an output file");
        let child = command
            .stdin(Stdio::null())
            .stdout(create(&stdout))
            .stderr(create(&stderr))
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("failed to start {command:?}: {error}"));
        Self {
            child,
            name: name.to_owned(),
            stdout,
            stderr,
            code: None,
        }
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to its standard output so far.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// What it wrote to its standard error so far.
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Sends a signal to the process alone.
    pub fn signal(&self, signal: Signal) {
        if self.code.is_none() {
            let _ = kill(Pid::from_raw(self.pid() as i32), signal);
        }
    }

    /// Sends a signal to the process and its group, as a terminal does on Ctrl-C.
    pub fn signal_group(&self, signal: Signal) {
        if self.code.is_none() {
            let _ = kill(Pid::from_raw(-(self.pid() as i32)), signal);
        }
    }

    /// Its exit code if it has ended: 128 + n after signal n.
    pub fn ended(&mut self) -> Option<i32> {
        if self.code.is_none() {
            let status = self.child.try_wait().expect("wait for a child");
            self.code = status.map(|status| status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
        }
        self.code
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> i32 {
        let what = format!("{} ends", self.name);
        within(WHOLE, &what, || self.ended())
    }

    /// Asks it to end with `signal` and waits.
    pub fn stop(&mut self, signal: Signal) -> i32 {
        self.signal(signal);
        let what = format!("{} ends", self.name);
        until(&what, || self.ended())
    }

    /// Waits until a connection to `port` on `127.0.0.1` is accepted.
    pub fn until_listening(&mut self, port: u16) {
        let what = format!("{} listens on port {port}", self.name);
        until(&what, || {
            if let Some(code) = self.ended() {
                panic!(
                    "{} ended with {code} instead of listening:\n{}{}",
                    self.name,
                    self.stdout(),
                    self.stderr()
                );
            }
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.signal_group(Signal::SIGKILL);
            self.signal(Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// A command with these arguments.
pub(crate) fn command<S: AsRef<OsStr>>(argv: &[S]) -> Command {
    let (program, args) = argv.split_first().expect("a command has a program");
    let mut command = Command::new(program);
    command.args(args);
    command
}
