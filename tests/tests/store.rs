//! What was traced can be asked for, while it is traced and afterwards.
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
    let services = run.api("services");
    assert!(services.to_string().contains("\"requests\":11"), "{services}");
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

/// What the description of the API promises, `schemathesis` asks for; nothing here needs the kernel.
#[test]
fn the_api_does_as_described() {
    let Some(lab) = Lab::new("the_api_does_as_described") else {
        return;
    };
    let store = lab.dir().join("store").display().to_string();
    let file = lab.dir().join("spans.jsonl");
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a clock")
        .as_nanos();
    let span = |trace: u32, id: u32, parent: &str, kind: u32, more: &str| {
        format!(
            r#"{{"traceId":"{trace:032x}","spanId":"{id:016x}","parentSpanId":"{parent}","name":"GET","kind":{kind},
            "startTimeUnixNano":"{now}","endTimeUnixNano":"{}"{more}}}"#,
            now + 5_000_000
        )
        .replace('\n', "")
    };
    let line = |trace: u32| {
        let failed = r#","status":{"code":2,"message":"it broke"}"#;
        let query = r#","attributes":[{"key":"db.system.name","value":{"stringValue":"postgresql"}}]"#;
        let root = span(trace, 1, "", 2, if trace.is_multiple_of(3) { failed } else { "" });
        let call = span(trace, 2, "0000000000000001", 3, query);
        let service = r#"{"key":"service.name","value":{"stringValue":"shop"}}"#;
        format!(
            r#"{{"resourceSpans":[{{"resource":{{"attributes":[{service}]}},"scopeSpans":[{{"spans":[{root},{call}]}}]}}]}}"#
        )
    };
    // Each import is a run, and two can be compared.
    for run in 0..2 {
        let lines: Vec<String> = (run * 20 + 1..=run * 20 + 20).map(line).collect();
        std::fs::write(&file, lines.join("\n")).expect("a file");
        let imported = Command::new(Lab::clew())
            .args(["traces", "import", "--store", &store])
            .arg(&file)
            .output()
            .expect("start clew");
        assert!(
            imported.status.success(),
            "{}",
            String::from_utf8_lossy(&imported.stderr)
        );
    }
    let ui = lab.start(
        "ui",
        &[
            &Lab::clew().display().to_string(),
            "ui",
            "--store",
            &store,
            "--listen",
            "127.0.0.1:0",
        ],
    );
    let url = until("clew ui says where it is", || {
        let said = ui.stderr();
        let (_, rest) = said.split_once("http://127.0.0.1:")?;
        Some(format!("http://127.0.0.1:{}", rest.split('/').next()?))
    });
    let output = Command::new(Lab::api_python("schemathesis"))
        .args(["run", &format!("{url}/api/v1/openapi.json"), "--no-color", "--seed", "1", "--max-examples", "12"])
        // Streams have no end.
        .args(["--exclude-path", "/live", "--exclude-path", "/follow", "--phases", "examples,coverage,fuzzing"])
        // What is made up is seldom there, as the request of a trace that can be sent again.
        .args(["--warnings", "missing_auth,validation_mismatch"])
        .args([
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ])
        .current_dir(lab.dir())
        .output()
        .expect("start schemathesis");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("No issues found"), "{said}");
}
