//! Bad usage and bad hosts: a clear message and the right exit code.
use std::process::{Command, Output};

use clew_tests::{Clew, Kind, Lab, Plan, free_port};

fn clew(args: &[&str]) -> Output {
    let mut command = Command::new(Lab::clew());
    command.args(args);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("OTEL_") || name.starts_with("CLEW_") {
            command.env_remove(name);
        }
    }
    command.env("CLEW_NO_STORE", "true").output().expect("start clew")
}

/// Exit code and every word in the message, which has no panic in it.
fn check(output: &Output, code: i32, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "no {word:?} in: {stderr}");
    }
}

#[test]
fn bad_usage() {
    let Some(_lab) = Lab::new("bad_usage") else { return };
    let rows: &[(&[&str], &[&str])] = &[
        (&["run", "--formt", "none", "--", "true"], &["--formt", "--format"]),
        (&["run", "--format", "xml", "--", "true"], &["xml", "tree"]),
        (&["run", "--capture", "magic", "--", "true"], &["magic", "socket"]),
        (&["run", "--bodies", "many", "--", "true"], &["many"]),
        (&["run", "--duration", "soon", "--", "true"], &["soon"]),
        (&["run", "--otlp", "ftp://collector", "--", "true"], &["ftp"]),
        (&["run", "--redact", "everything", "--", "true"], &["everything"]),
        (&["attach"], &["--pid"]),
        (&["attach", "--pid", "zero"], &["zero"]),
        (&["run"], &[]),
        (&["trace"], &["trace"]),
        // Not built yet, so not accepted either.
        (&["run", "--propagate", "on", "--", "true"], &["--propagate"]),
    ];
    for (args, words) in rows {
        check(&clew(args), 2, words);
    }
}

#[test]
fn a_process_that_does_not_exist() {
    let Some(_lab) = Lab::new("a_process_that_does_not_exist") else {
        return;
    };
    // Larger than any pid_max.
    let output = clew(&["attach", "--pid", "4194305"]);
    let code = output.status.code();
    assert!(code == Some(1) || code == Some(2), "{output:?}");
    check(&output, code.unwrap_or(0), &["4194305"]);
}

#[test]
fn not_root() {
    let Some(lab) = Lab::new("not_root") else { return };
    // A copy that the other user can execute, wherever the build lies.
    let copy = lab.dir().join("clew");
    std::fs::copy(Lab::clew(), &copy).expect("copy clew");
    let as_nobody = |args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--bounding-set=-all",
        ]);
        command
            .arg(&copy)
            .args(args)
            .current_dir("/")
            .env("CLEW_NO_STORE", "true")
            .output()
            .expect("start setpriv")
    };
    let mark = lab.dir().join("started");
    let touch = mark.display().to_string();
    let output = as_nobody(&["run", "--", "/usr/bin/touch", &touch]);
    check(&output, 3, &["root"]);
    assert!(!mark.exists(), "the command was started");
    check(&as_nobody(&["attach", "--port", "80"]), 3, &["root"]);
    let doctor = as_nobody(&["doctor"]);
    assert_eq!(doctor.status.code(), Some(3), "{doctor:?}");
    // Help and version need nothing.
    assert_eq!(as_nobody(&["--help"]).status.code(), Some(0));
    assert_eq!(as_nobody(&["--version"]).status.code(), Some(0));
}

#[test]
fn doctor_as_root() {
    let Some(_lab) = Lab::new("doctor_as_root") else { return };
    let output = clew(&["doctor"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let json = clew(&["doctor", "--json"]);
    let parsed: Result<serde_json::Value, _> = serde_json::from_slice(&json.stdout);
    assert!(parsed.is_ok(), "{json:?}");
}

#[test]
fn an_otlp_file_that_cannot_be_written() {
    let Some(_lab) = Lab::new("an_otlp_file_that_cannot_be_written") else {
        return;
    };
    let output = clew(&["run", "--otlp-file", "/nonexistent/spans.jsonl", "--", "true"]);
    let code = output.status.code().unwrap_or(0);
    assert!(code == 1 || code == 2, "{output:?}");
    check(&output, code, &["/nonexistent/spans.jsonl"]);
}

#[test]
fn a_full_disk() {
    let Some(lab) = Lab::new("a_full_disk") else { return };
    let port = free_port();
    let plan = Plan::default()
        .service(
            port,
            &[
                "/usr/bin/python3",
                &Lab::workload("python/threaded.py"),
                &port.to_string(),
            ],
        )
        .load(port, "/full", 5, 1);
    let [drive, file] = plan.argv(&lab, env!("CARGO_BIN_EXE_clew-drive"));
    let output = clew(&[
        "run",
        "--format",
        "none",
        "--otlp-file",
        "/dev/full",
        "--",
        &drive,
        &file,
    ]);
    // The command's code stays the command's.
    check(&output, 0, &["/dev/full", "export.file_failed"]);
}

#[test]
fn a_program_that_cannot_be_read() {
    let Some(lab) = Lab::new("a_program_that_cannot_be_read") else {
        return;
    };
    // The file behind the running program is gone and another, broken one stands in its place.
    let port = free_port();
    let path = lab.dir().join("server");
    std::fs::copy(Lab::go("server"), &path).expect("copy a program");
    let mut server = lab.start("server", &[path.display().to_string(), port.to_string()]);
    server.until_listening(port);
    std::fs::remove_file(&path).expect("remove the program");
    std::fs::write(&path, b"\x7fELF broken").expect("write another");
    let run = Clew::attach(&lab)
        .args(&["--pid".to_owned(), server.pid().to_string()])
        .tracing();
    clew_tests::get(port, "/gone?id=1").expect("an answer");
    clew_tests::until("a span", || run.otlp().contains("/gone").then_some(()));
    let out = run.stop();
    out.only(Kind::Server, "/gone");
}
