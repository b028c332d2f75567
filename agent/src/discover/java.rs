//! Tells whether a Java virtual machine may run virtual threads.
use super::{Proc, Runtime};
use crate::capture::Pid;

/// The first version with virtual threads (JEP 444).
const VIRTUAL_THREADS: u32 = 21;
/// Most bytes read of a `release` file.
const MAX_BYTES: u64 = 16 * 1024;

/// The kind of a Java process, by the `release` file beside its `bin` folder, as the process sees it. A machine of unknown
/// version may do anything.
pub(super) fn kind(proc: &Proc, pid: Pid, exe: &str) -> Runtime {
    let home = exe.rsplit_once("/bin/").map(|(home, _)| home);
    let release = home.and_then(|home| {
        let path = proc.of(pid, "root").join(home.trim_start_matches('/')).join("release");
        super::procfs::read(&path, MAX_BYTES).ok()
    });
    match release.and_then(|bytes| major(&String::from_utf8_lossy(&bytes))) {
        Some(major) if major < VIRTUAL_THREADS => Runtime::Java,
        _ => Runtime::JavaVirtual,
    }
}

/// `JAVA_VERSION="17.0.15"` is 17; before Java 9 it was `"1.8.0_392"`.
fn major(release: &str) -> Option<u32> {
    let version = release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION="))?;
    let mut numbers = version.trim().trim_matches('"').split(['.', '_', '-', '+']);
    let first: u32 = numbers.next()?.parse().ok()?;
    if first == 1 {
        numbers.next()?.parse().ok()
    } else {
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (release, expected) in [
            ("IMPLEMENTOR=\"x\"\nJAVA_VERSION=\"17.0.15\"\n", Some(17)),
            ("JAVA_VERSION=\"1.8.0_392\"", Some(8)),
            ("JAVA_VERSION=\"21\"", Some(21)),
            ("JAVA_VERSION=\"23-ea\"", Some(23)),
            ("JAVA_VERSION=x", None),
            ("", None),
        ] {
            assert_eq!(major(release), expected, "{release}");
        }
    }

    #[test]
    fn the_release_file_decides() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("proc/7/root/opt/jdk");
        std::fs::create_dir_all(&home).unwrap();
        let proc = Proc::at(root.path());
        for (release, expected) in [
            ("JAVA_VERSION=\"17.0.1\"", Runtime::Java),
            ("JAVA_VERSION=\"21.0.1\"", Runtime::JavaVirtual),
        ] {
            std::fs::write(home.join("release"), release).unwrap();
            assert_eq!(kind(&proc, Pid(7), "/opt/jdk/bin/java"), expected);
        }
        assert_eq!(kind(&proc, Pid(7), "/opt/app"), Runtime::JavaVirtual);
    }
}
