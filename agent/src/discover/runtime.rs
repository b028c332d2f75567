//! What runs a program's code, from its executable and the libraries it needs.
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;

use object::read::ReadCache;
use object::{Object as _, ObjectSection as _};

use super::Runtime;
use super::procfs::Proc;
use super::service::executable;
use super::windows::Windows;
use crate::capture::Pid;

/// Executables remembered; a host runs a few hundred different ones.
const MOST_REMEMBERED: usize = 4096;

/// What was found in executables, by device, inode and change time.
#[derive(Debug, Default)]
pub(super) struct Runtimes {
    found: HashMap<(u64, u64, i64, i64), Runtime>,
}

impl Runtimes {
    /// The runtime of a process.
    pub(super) fn of(&mut self, proc: &Proc, pid: Pid, exe: &str) -> Runtime {
        let runtime = by_name(&executable(exe)).unwrap_or_else(|| self.by_file(proc, pid));
        if !matches!(runtime, Runtime::Native | Runtime::Unknown) {
            return runtime;
        }
        // A program may load an interpreter while it runs.
        let maps = proc.bytes(pid, "maps").unwrap_or_default();
        by_library(&maps).unwrap_or(runtime)
    }

    fn by_file(&mut self, proc: &Proc, pid: Pid) -> Runtime {
        // The link leads to the file the process began with, even when another stands in its place by now.
        let Ok(file) = File::open(proc.of(pid, "exe")) else {
            return Runtime::Unknown;
        };
        let Ok(meta) = file.metadata() else {
            return Runtime::Unknown;
        };
        let key = (meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec());
        if let Some(&runtime) = self.found.get(&key) {
            return runtime;
        }
        let runtime = by_content(file).unwrap_or(Runtime::Unknown);
        if self.found.len() >= MOST_REMEMBERED {
            self.found.clear();
        }
        self.found.insert(key, runtime);
        runtime
    }
}

/// Programs that keep their name.
pub(super) fn by_name(name: &str) -> Option<Runtime> {
    let versioned = |base: &str| {
        name.strip_prefix(base)
            .is_some_and(|rest| rest.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit()))
    };
    let rows: &[(&[&str], Runtime)] = &[
        (&["python", "pypy"], Runtime::Python),
        (&["node", "nodejs"], Runtime::Node),
        (&["java"], Runtime::Java),
        (&["ruby"], Runtime::Ruby),
        (&["php", "php-fpm", "php-cgi"], Runtime::Php),
        (&["nginx", "openresty", "angie"], Runtime::Nginx),
        (&["envoy"], Runtime::Envoy),
    ];
    rows.iter()
        .find(|(names, _)| names.iter().any(|base| versioned(base)))
        .map(|(_, runtime)| *runtime)
}

/// Libraries that run code, as they stand in memory maps and in dynamic string tables.
fn by_library(bytes: &[u8]) -> Option<Runtime> {
    let rows: &[(&[u8], Runtime)] = &[
        (b"libpython", Runtime::Python),
        (b"libjvm.so", Runtime::Java),
        (b"libnode.so", Runtime::Node),
        (b"libruby", Runtime::Ruby),
        (b"libphp", Runtime::Php),
    ];
    rows.iter()
        .find(|(name, _)| memchr::memmem::find(bytes, name).is_some())
        .map(|(_, runtime)| *runtime)
}

/// Most bytes read of one file.
const MOST_BYTES: u64 = 32 << 20;

/// What an ELF file shows of its compiler and its libraries.
fn by_content(file: File) -> Option<Runtime> {
    let cache = ReadCache::new(Windows::new(file, MOST_BYTES)?);
    let elf = object::File::parse(&cache).ok()?;
    let section = |names: &[&str]| names.iter().find_map(|name| elf.section_by_name(name));
    // The pclntab stays when a Go program is stripped; position-independent ones carry it under another name.
    if section(&[
        ".go.buildinfo",
        ".gopclntab",
        ".data.rel.ro.gopclntab",
        ".note.go.buildid",
    ])
    .is_some()
    {
        return Some(Runtime::Go);
    }
    let content = |name: &str| section(&[name]).and_then(|section| section.data().ok());
    if let Some(needed) = content(".dynstr") {
        if let Some(runtime) = by_library(needed) {
            return Some(runtime);
        }
        // Node exports this one for its addons whatever its executable is called.
        if memchr::memmem::find(needed, b"node_module_register").is_some() {
            return Some(Runtime::Node);
        }
    }
    let rust = match content(".comment") {
        Some(comment) => memchr::memmem::find(comment, b"rustc version").is_some(),
        // Paths of the standard library stand in its panic messages.
        None => content(".rodata").is_some_and(|text| memchr::memmem::find(text, b"/rustc/").is_some()),
    };
    Some(if rust { Runtime::Rust } else { Runtime::Native })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn names() {
        for (name, want) in [
            ("python3.11", Some(Runtime::Python)),
            ("python", Some(Runtime::Python)),
            ("pypy3", Some(Runtime::Python)),
            ("node", Some(Runtime::Node)),
            ("php-fpm8.2", Some(Runtime::Php)),
            ("nginx", Some(Runtime::Nginx)),
            ("java", Some(Runtime::Java)),
            ("javac", None),
            ("nginx-prometheus", None),
            ("pythonic", None),
            ("", None),
        ] {
            assert_eq!(by_name(name), want, "{name}");
        }
    }

    /// The runtime of a process whose executable has this content.
    fn check(content: &[u8], maps: &str, want: Runtime) {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("proc/7");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(root.path().join("program"), content).expect("a program");
        std::os::unix::fs::symlink(root.path().join("program"), folder.join("exe")).expect("a link");
        std::fs::write(folder.join("maps"), maps).expect("maps");
        let got = Runtimes::default().of(&Proc::at(root.path()), Pid(7), "/srv/program");
        assert_eq!(got, want, "{maps}");
    }

    #[test]
    fn content() {
        let own = std::fs::read("/proc/self/exe").expect("this test");
        check(&own, "", Runtime::Rust);
        let map = "7f00-7f01 r-xp 0 08:01 1 /usr/lib/libpython3.11.so.1.0\n";
        check(b"\x7fELF broken", map, Runtime::Python);
        check(b"\x7fELF broken", "", Runtime::Unknown);
        check(b"", "", Runtime::Unknown);
        check(own.get(..4096).expect("a page"), "", Runtime::Unknown);
        // Every header byte in turn made hostile: an answer, whatever it is, and no panic.
        for at in 0..64 {
            let mut bent = own.get(..65_536).expect("the beginning").to_vec();
            bent[at] = 0xff;
            let file = tempfile::tempfile().expect("a file");
            file.write_all_at(&bent, 0).expect("write");
            by_content(file);
        }
    }
}
