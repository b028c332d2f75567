//! Bounds hold, and what is lost is counted.
use std::io::{Read as _, Write as _};

use clew_tests::{Clew, ClewRun, Kind, Lab, Plan, Proc, Spans, free_port, until};
use nix::sys::signal::Signal;

/// Connections of the long form; the short form is for every run.
const CONNECTIONS: u64 = 100_000;
const CONNECTIONS_QUICK: u64 = 10_000;

/// Resident memory that shows a bound that does not hold, MiB. How little it takes is measured by `cargo xtask bench`; a
/// build without optimization, which falls behind, fills more of its queues.
const MEMORY_MIB: u64 = 192;

#[test]
fn many_connections() {
    let Some(lab) = Lab::new("many_connections") else {
        return;
    };
    let n = if std::env::var_os("CLEW_TEST_LONG").is_some() {
        CONNECTIONS
    } else {
        CONNECTIONS_QUICK
    };
    let (port, mut server, run) = attached(&lab);
    let before = resident_mib(run.proc.pid());
    let mut highest = before;
    for number in 1..=n {
        let answer = clew_tests::get(port, &format!("/many?id={number}")).expect("an answer");
        assert_eq!(answer.code, 200);
        if number % 1000 == 0 {
            highest = highest.max(resident_mib(run.proc.pid()));
        }
    }
    server.stop(Signal::SIGTERM);
    let out = run.stop();
    let seen = out.spans.at(Kind::Server, "/many").len() as u64;
    let lost = out.counter("capture.ring_full") + out.counter("capture.conn_state_full");
    out.check_eq(lost, 0, "lost at this pace");
    // A slow disk may hold the file up; what is dropped for it is counted too.
    let dropped = out.counter("export.file_queue_full");
    out.check_eq(seen + dropped, n, "spans written and spans counted as dropped");
    out.check(
        highest <= MEMORY_MIB,
        &format!("{highest} MiB resident, {before} at the start"),
    );
}

/// One thread reads while small pieces arrive all the time, and an end right behind them: where each lies is known all the same.
#[test]
fn what_arrives_meanwhile_moves_no_offset() {
    const CONNECTIONS: u64 = 40;
    const PIECES: u64 = 4000;
    let Some(lab) = Lab::new("what_arrives_meanwhile_moves_no_offset") else {
        return;
    };
    let (port, mut server, run) = attached(&lab);
    for number in 1..=CONNECTIONS {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("connect");
        stream.set_nodelay(true).expect("no delay");
        let head = format!("GET /pieces?id={number} HTTP/1.1\r\nHost: load.test\r\nX-Fill: ");
        stream.write_all(head.as_bytes()).expect("a head");
        for piece in 0..PIECES {
            let piece = &b"0123456789"[..usize::try_from(piece % 10).expect("small") + 1];
            stream.write_all(piece).expect("a piece");
        }
        stream.write_all(b"\r\n\r\n").expect("its end");
        stream.shutdown(std::net::Shutdown::Write).expect("an end");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    }
    server.stop(Signal::SIGTERM);
    let out = run.stop();
    for name in [
        "capture.malformed",
        "stream.duplicate",
        "stream.reordered",
        "stream.after_end",
    ] {
        out.check_eq(out.counter(name), 0, name);
    }
    let answered = out.spans.at(Kind::Server, "/pieces");
    let answered = answered.iter().filter(|span| span.code() == "200").count() as u64;
    out.check_eq(answered, CONNECTIONS, "answers seen");
}

#[test]
fn a_full_ring_buffer_is_counted() {
    let Some(lab) = Lab::new("a_full_ring_buffer_is_counted") else {
        return;
    };
    let (port, _server, run) = attached(&lab);
    // A stopped agent drains nothing: the ring buffer must fill, and the target must not care.
    run.proc.signal(Signal::SIGSTOP);
    flood(port);
    run.proc.signal(Signal::SIGCONT);
    // What comes after is seen again.
    until("a span after the flood", || {
        clew_tests::get(port, "/after?id=7000").expect("an answer");
        run.otlp().contains("/after").then_some(())
    });
    let highest = resident_mib(run.proc.pid());
    let out = run.stop();
    out.check(out.counter("capture.ring_full") > 0, "capture.ring_full was not raised");
    out.check(highest <= MEMORY_MIB, &format!("{highest} MiB resident"));
    for span in out.spans.at(Kind::Server, "/fill") {
        out.check(["", "200"].contains(&span.code().as_str()), "a wrong answer");
    }
}

/// A server in C, and Clew that is attached to it.
fn attached(lab: &Lab) -> (u16, Proc, ClewRun) {
    let port = free_port();
    let mut server = lab.start("server", &[Lab::c("closing"), port.to_string()]);
    server.until_listening(port);
    let run = Clew::attach(lab)
        .args(&["--pid".to_owned(), server.pid().to_string()])
        .tracing();
    (port, server, run)
}

/// More than the ring buffer holds.
fn flood(port: u16) {
    let body = "x".repeat(12_000);
    for number in 1..=6000 {
        let header = format!("X-Fill: {body}\r\nConnection: close\r\n");
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("connect");
        let answer = clew_tests::ask(&mut stream, &format!("/fill?id={number}"), &header).expect("an answer");
        assert_eq!(answer.code, 200);
    }
}

/// A goroutine reads a request whose event is lost, and makes a call that is seen: it must not belong to the request before.
#[test]
fn a_lost_request_gives_no_parent() {
    let Some(lab) = Lab::new("a_lost_request_gives_no_parent") else {
        return;
    };
    let (leaf, front, filled) = (free_port(), free_port(), free_port());
    let next = format!("NEXT={leaf}/leaf");
    let mut servers = [
        (leaf, lab.start("leaf", &[Lab::go("server"), leaf.to_string()])),
        (
            front,
            lab.start(
                "front",
                &["/usr/bin/env".to_owned(), next, Lab::go("server"), front.to_string()],
            ),
        ),
        (filled, lab.start("filled", &[Lab::c("closing"), filled.to_string()])),
    ];
    let mut args = Vec::new();
    for (port, server) in &mut servers {
        server.until_listening(*port);
        args.extend(["--pid".to_owned(), server.pid().to_string()]);
    }
    let run = Clew::attach(&lab).args(&args).tracing();
    let mut kept = clew_tests::connect(front, std::time::Duration::from_secs(20)).expect("connect");
    let mut number = 0;
    until("a call with a parent", || {
        number += 1;
        clew_tests::ask(&mut kept, &format!("/front?id={number}"), "").expect("an answer");
        let spans = Spans::parse(&run.otlp());
        let linked = spans.at(Kind::Client, "/leaf").iter().any(|span| span.parent.is_some());
        linked.then_some(())
    });
    run.proc.signal(Signal::SIGSTOP);
    flood(filled);
    let head = "POST /front?id=9000 HTTP/1.1\r\nHost: load.test\r\nContent-Length: 4\r\n\r\n";
    kept.write_all(head.as_bytes()).expect("a head");
    // The server has read it, and waits for the body.
    std::thread::sleep(std::time::Duration::from_millis(500));
    run.proc.signal(Signal::SIGCONT);
    until("a span after the flood", || {
        clew_tests::get(filled, "/after?id=7000").expect("an answer");
        run.otlp().contains("/after").then_some(())
    });
    kept.write_all(b"body").expect("a body");
    let mut answer = [0; 1024];
    let read = kept.read(&mut answer).expect("an answer");
    assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "{:?}", &answer[..read]);
    clew_tests::get(front, "/front?id=9001").expect("an answer");
    let out = run.stop();
    out.check(out.counter("capture.ring_full") > 0, "capture.ring_full was not raised");
    out.check_no_wrong_links();
    let calls = out.spans.at(Kind::Client, "/leaf");
    let linked = |number| {
        let call = calls.iter().find(|span| span.number() == Some(number));
        call.map(|span| span.parent.is_some())
    };
    out.check_eq(linked(9000), Some(false), "the call for the request that was lost");
    out.check_eq(linked(9001), Some(true), "the call for the one behind the loss");
    out.check(out.counter("causality.unknown.lost") > 0, "causality.unknown.lost");
}

#[test]
fn a_large_body_costs_its_head() {
    let Some(lab) = Lab::new("a_large_body_costs_its_head") else {
        return;
    };
    let port = free_port();
    let size = 50_000_000;
    let file = lab.dir().join("large");
    std::fs::write(&file, vec![b'z'; size]).expect("write a large file");
    let url = format!("http://127.0.0.1:{port}/upload?id=1");
    let data = format!("@{}", file.display());
    let plan = Plan::default()
        .service(
            port,
            &[
                "/usr/bin/python3",
                &Lab::workload("python/threaded.py"),
                &port.to_string(),
            ],
        )
        .command(&["/usr/bin/curl", "-sSf", "-o", "/dev/null", "--data-binary", &data, &url]);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, env!("CARGO_BIN_EXE_clew-drive")));
    for kind in [Kind::Client, Kind::Server] {
        let span = out.only(kind, "/upload");
        out.check_span(
            span,
            &[
                ("http.request.body.size", &size.to_string()),
                ("http.response.status_code", "200"),
            ],
        );
    }
    let copied = out.counter("capture.payload_bytes");
    out.check(copied > 0 && copied < 1_000_000, &format!("{copied} bytes copied"));
    out.check(
        out.counter("capture.budget_bytes") > size as u64,
        "capture.budget_bytes",
    );
}

/// Resident memory of a process, MiB.
fn resident_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.expect("the agent runs") / 1024
}

/// Answers itself one request and ends.
const SHORT: &str = r#"
import http.server, threading, urllib.request
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()
server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
threading.Thread(target=server.serve_forever).start()
urllib.request.urlopen("http://127.0.0.1:%d/short" % server.server_port).read()
server.shutdown()
"#;

#[test]
fn a_program_that_was_over_has_its_name() {
    let Some(lab) = Lab::new("a_program_that_was_over_has_its_name") else {
        return;
    };
    let script = lab.file("briefly.py", SHORT);
    let at = |name: &str| lab.dir().join(name);
    let steps = format!(
        "touch begun; until [ -e go ]; do sleep 0.02; done; /usr/bin/python3 {} >/dev/null 2>&1; \
         touch over; until [ -e end ]; do sleep 0.02; done",
        script.display()
    );
    let run = Clew::run(&lab).start(&["/bin/sh", "-c", &steps]);
    until("the command", || at("begun").exists().then_some(()));
    run.proc.signal(Signal::SIGSTOP);
    lab.file("go", "");
    until("the program's end", || at("over").exists().then_some(()));
    run.proc.signal(Signal::SIGCONT);
    lab.file("end", "");
    let out = run.wait();
    for kind in [Kind::Client, Kind::Server] {
        out.check_eq(out.only(kind, "/short").service().as_str(), "briefly", "service.name");
    }
}
