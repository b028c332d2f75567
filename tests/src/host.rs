//! Hosts that lack something: `clew` started where files of the kernel look different, or without privileges.
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::lab::Lab;
use crate::process::without_own;

/// A host under construction. What is hidden or told is so for the `clew` that is started alone, in a mount namespace of its own.
#[derive(Debug)]
pub struct Host<'a> {
    lab: &'a Lab,
    mounts: Vec<(PathBuf, PathBuf)>,
    script: String,
    before: Vec<String>,
    bpf: Option<i32>,
}

impl<'a> Host<'a> {
    /// This host.
    pub fn new(lab: &'a Lab) -> Self {
        Self {
            lab,
            mounts: Vec::new(),
            script: String::new(),
            before: Vec::new(),
            bpf: None,
        }
    }

    /// The folder is empty.
    #[must_use]
    pub fn hiding(mut self, folder: &str) -> Self {
        let empty = self.lab.dir().join("empty");
        std::fs::create_dir_all(&empty).expect("create an empty folder");
        self.mounts.push((empty, folder.into()));
        self
    }

    /// The file holds this.
    #[must_use]
    pub fn telling(mut self, file: &str, content: impl AsRef<[u8]>) -> Self {
        let told = self.lab.dir().join(format!("told-{}", self.mounts.len()));
        std::fs::write(&told, content).expect("write a file to tell");
        self.mounts.push((told, file.into()));
        self
    }

    /// The kernel's type information names this tracepoint no more. Other ways in which it could be absent would need another
    /// kernel.
    #[must_use]
    pub fn without_tracepoint(self, name: &str) -> Self {
        let mut btf = std::fs::read(BTF).expect("the kernel has type information");
        let word = format!("\0btf_trace_{name}\0").into_bytes();
        let at = btf.windows(word.len()).position(|window| window == word);
        if let Some(byte) = at.and_then(|at| btf.get_mut(at + 1)) {
            *byte = b'x';
        }
        self.telling(BTF, btf)
    }

    /// A line of shell that runs before `clew`, in its process.
    #[must_use]
    pub fn shell(mut self, line: &str) -> Self {
        self.script.push_str(line);
        self.script.push('\n');
        self
    }

    /// Root without these capabilities, as setpriv(1) names them, or as another user with options of its own.
    #[must_use]
    pub fn setpriv(mut self, options: &[&str]) -> Self {
        // By its path: busybox's shell would take its own, which can do less.
        self.before.push("/usr/bin/setpriv".to_owned());
        self.before.extend(options.iter().map(|&option| option.to_owned()));
        self
    }

    /// bpf(2) fails with this error, as where a seccomp profile or the kernel's configuration forbids it.
    #[must_use]
    pub fn refusing_bpf(mut self, errno: i32) -> Self {
        self.bpf = Some(errno);
        self
    }

    /// `clew` on that host.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut script = self.script.clone();
        for (from, to) in &self.mounts {
            script.push_str(&format!(
                "mount --bind '{}' '{}' || exit 99\n",
                from.display(),
                to.display()
            ));
        }
        script.push_str("exec \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["--mount", "/bin/sh", "-c", &script, "sh"]);
        command.args(&self.before).arg(Lab::clew()).args(args);
        without_own(&mut command, &["OTEL_", "CLEW_", "SUDO_"]);
        command.env("CLEW_NO_STORE", "true").current_dir("/");
        if let Some(errno) = self.bpf {
            // SAFETY: the closure makes one system call and allocates nothing.
            unsafe { command.pre_exec(move || refuse_bpf(errno)) };
        }
        command
    }

    /// Runs `clew` there to its end.
    pub fn clew(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("start unshare")
    }

    /// `clew run` and `clew attach` end with 3 and a message that has each of `words`, the command is never started, and
    /// `clew doctor` says no less. `options` are those of `clew run`.
    ///
    /// # Panics
    /// When it is otherwise.
    pub fn refuses(&self, options: &[&str], words: &[&str]) {
        let mark = self.lab.dir().join("started");
        let touch = mark.display().to_string();
        let command = ["--", "/bin/touch", &touch];
        let run = self.clew(&[&["run"], options, &command].concat());
        told(&run, words);
        assert!(!mark.exists(), "the command was started");
        let attach = self.clew(&[&["attach", "--port", "1"], options].concat());
        told(&attach, words);
        let doctor = self.clew(&["doctor"]);
        let text = String::from_utf8_lossy(&doctor.stdout);
        for word in words {
            assert!(text.contains(word), "`clew doctor` does not say {word:?}:\n{text}");
        }
        // What was asked for may be impossible where another way is not.
        if options.is_empty() {
            assert_eq!(doctor.status.code(), Some(3), "{text}");
        }
    }
}

const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Installs a seccomp filter that fails bpf(2) and lets all else pass (seccomp_data begins with the call's number).
fn refuse_bpf(errno: i32) -> std::io::Result<()> {
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        step((libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, 0, 0, 0),
        step(
            (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
            0,
            1,
            libc::SYS_bpf as u32,
        ),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the filter outlives the call.
    let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter, 0, 0) };
    if done == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

fn told(output: &Output, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "no {word:?} in: {stderr}");
    }
}

/// Whether the kernel has this BTF tracepoint.
pub fn has_tracepoint(name: &str) -> bool {
    let word = format!("\0btf_trace_{name}\0").into_bytes();
    let btf = std::fs::read(Path::new(BTF)).unwrap_or_default();
    btf.windows(word.len()).any(|window| window == word)
}
