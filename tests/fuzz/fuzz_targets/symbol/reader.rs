//! The readers as the agent calls them, on a made-up process whose every file is the one to be read.
use std::path::PathBuf;

use clew::capture::Pid;
use clew::discover::{Proc, Process, Runtime};
use clew::symbol::{Libraries, Machines, Symbols};

use crate::elf::{self, Elf};
use crate::hidden;

const PID: Pid = Pid(1);

/// A reader of executables.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reader {
    Go,
    Tokio,
    Python,
    Java,
    /// Go's crypto/tls, by the pclntab.
    GoTls,
    /// BoringSSL, whose functions nothing names.
    Hidden,
}

impl Reader {
    pub(crate) const ALL: [Self; 6] = [
        Self::Go,
        Self::Tokio,
        Self::Python,
        Self::Java,
        Self::GoTls,
        Self::Hidden,
    ];

    /// The file it finds all in.
    pub(crate) fn base(self) -> Elf {
        match self {
            Self::Hidden => hidden::elf(),
            _ => elf::everything(),
        }
    }
}

unsafe extern "C" {
    /// atexit(3).
    fn atexit(handler: extern "C" fn()) -> i32;
}

/// Removes this process's folder.
extern "C" fn clean() {
    let _gone = std::fs::remove_dir_all(folder());
}

/// A folder of this process alone, in memory where that is usual.
fn folder() -> PathBuf {
    let shared = PathBuf::from("/dev/shm");
    let parent = if shared.is_dir() { shared } else { std::env::temp_dir() };
    parent.join(format!("clew-fuzz-{}", std::process::id()))
}

/// A folder with the process.
pub(crate) struct Lab {
    file: PathBuf,
    proc: Proc,
}

impl Lab {
    pub(crate) fn new() -> Self {
        // SAFETY: the handler touches nothing but the folder.
        unsafe { atexit(clean) };
        let folder = folder();
        let process = folder.join("proc/1");
        // By this thread a machine of Java's that is loaded is known.
        let task = process.join("task/1");
        std::fs::create_dir_all(&task).expect("make the thread's folder");
        std::fs::write(task.join("comm"), "VM Thread\n").expect("name the thread");
        let uvloop = process.join("root/uvloop");
        std::fs::create_dir_all(&uvloop).expect("make the process's folders");
        let file = folder.join("file");
        let link = |at: PathBuf| std::os::unix::fs::symlink(&file, at).expect("make a link");
        let library = "loop.cpython-311-x86_64-linux-gnu.so";
        for name in ["exe", "mem", "root/libc.so.6", "root/libjvm.so"] {
            link(process.join(name));
        }
        link(uvloop.join(library));
        std::fs::write(uvloop.join("_version.py"), "__version__ = '0.21.0'\n").expect("write the version");
        let names = ["/exe", "/libc.so.6", "/libjvm.so", &format!("/uvloop/{library}")];
        let maps: String = names
            .iter()
            .map(|name| format!("0-100000 r--p 00000000 00:01 1 {name}\n"))
            .collect();
        std::fs::write(process.join("maps"), maps).expect("write the map");
        Self {
            file,
            proc: Proc::at(folder),
        }
    }

    /// Replaces the file.
    pub(crate) fn write(&self, bytes: &[u8]) {
        std::fs::write(&self.file, bytes).expect("write the file");
    }

    /// Whether the reader found all it looks for.
    pub(crate) fn read(&self, reader: Reader) -> bool {
        let runtime = match reader {
            Reader::Go => Runtime::Go,
            Reader::Tokio => Runtime::Rust,
            Reader::Python => Runtime::Python,
            Reader::GoTls | Reader::Hidden => {
                let found = Libraries::default().at(&self.file);
                if std::env::var_os("VERBOSE").is_some() {
                    eprintln!("{found:?}");
                }
                return found.is_some_and(|found| !found.points.is_empty());
            }
            Reader::Java => return Machines::default().plan(&self.proc, PID).is_ok(),
        };
        let process = Process {
            exe: "/exe".to_owned(),
            args: vec!["/bin/exe".to_owned()],
            runtime,
            ..Process::stranger(PID, "made-up")
        };
        let found = Symbols::default().hooks(&self.proc, &process);
        if std::env::var_os("VERBOSE").is_some() {
            eprintln!("{found:?}");
        }
        found.is_some_and(|found| found.is_ok_and(|found| found.hooks.limits.is_empty()))
    }
}
