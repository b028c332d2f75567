//! What was traced can be asked for, while it is traced and afterwards.
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::process::Command;

use clew_tests::{Clew, Lab, free_port, until};
use serde_json::Value as Json;

/// What `clew traces` answers: of the store that stands behind its options, without root's rights.
fn traces(args: &[&str]) -> Json {
    let output = Command::new(Lab::clew())
        .args(["traces"])
        .args(args)
        .arg("--json")
        .output()
        .expect("start clew");
    let stderr = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        assert!(stderr.contains("there is no store"), "{stderr}");
        return Json::Null;
    }
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn traces_are_kept() {
    let Some(lab) = Lab::new("traces_are_kept") else {
        return;
    };
    let port = free_port();
    let python = [
        "/usr/bin/python3",
        &Lab::workload("python/threaded.py"),
        &port.to_string(),
    ];
    let mut server = lab.start("server", &python);
    server.until_listening(port);
    // The caller of sudo has a folder, and the store is the caller's.
    let home = lab.dir().join("home");
    std::fs::create_dir(&home).expect("a folder");
    chown(&home, Some(65534), Some(65534)).expect("given away");
    let store = home.join("deep/store").display().to_string();
    let run = Clew::attach(&lab)
        .args(&[
            "--store",
            &store,
            "--listen",
            "127.0.0.1:0",
            "--pid",
            &server.pid().to_string(),
        ])
        .env("SUDO_UID", "65534")
        .env("SUDO_GID", "65534")
        .env("SUDO_USER", "nobody")
        .tracing();
    for number in 1..=10 {
        let answer = clew_tests::get(port, &format!("/full?id={number}")).expect("an answer");
        assert_eq!(answer.code, 200);
    }
    let last = clew_tests::get(port, "/nothing-here").expect("an answer");
    let list = until("the store has all that was asked", || {
        let list = traces(&["list", "--store", &store]);
        (list["traces"].as_array().map_or(0, Vec::len) == 11).then_some(list)
    });
    let stderr = run.proc.stderr();
    let url = stderr.split_once("shown on http://127.0.0.1:").map(|(_, rest)| rest);
    let served = url
        .and_then(|rest| rest.split('/').next()?.parse::<u16>().ok())
        .expect("a port");
    let mut stream = TcpStream::connect(("127.0.0.1", served)).expect("a connection");
    let request = format!("GET /api/v1/services HTTP/1.1\r\nHost: localhost:{served}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("\"requests\":11"),
        "{answer}"
    );
    for name in ["traces.db", "traces.db-wal", "reserve"] {
        let meta = std::fs::metadata(home.join("deep/store").join(name)).expect(name);
        assert_eq!((meta.uid(), meta.gid()), (65534, 65534), "{name}");
        assert_eq!(meta.mode() & 0o077, 0, "{name} is open to others");
    }
    assert!(
        list["traces"][0]["title"]
            .as_str()
            .is_some_and(|title| title == "GET /nothing-here"),
        "{list}"
    );
    let status = format!("status:{} kind:server -path:/full", last.code);
    let found = traces(&["search", &status, "--store", &store]);
    assert_eq!(found["traces"].as_array().map(Vec::len), Some(1), "{found}");

    let out = run.stop();
    out.check_eq(
        out.counter("store.spans"),
        out.spans.0.len() as u64,
        "spans in the store",
    );
    let id = found["traces"][0]["trace_id"].as_str().unwrap_or_default().to_owned();
    let trace = traces(&["show", id.get(..8).unwrap_or_default(), "--store", &store]);
    out.check_eq(trace["trace_id"].as_str(), Some(id.as_str()), "the trace");
    let span = &trace["span_list"][0];
    out.check_eq(
        span["attributes"]["url.path"].as_str(),
        Some("/nothing-here"),
        "its path",
    );
    out.check_eq(span["pid"].as_u64(), Some(u64::from(server.pid())), "its process");
    let words = traces(&["search", "\"id=7\" -nothing", "--store", &store]);
    out.check_eq(
        words["traces"].as_array().map(Vec::len),
        Some(1),
        "found by a word of its query",
    );
}
