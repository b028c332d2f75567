//! Shapes of HTTP/1.1 exchanges, played byte for byte by `workloads/python/shapes.py`.
use std::process::Command;

use clew_tests::{Clew, Kind, Lab, Outcome, until};
use nix::sys::signal::Signal;

/// What both ends' spans of a request must say: number, status, body sizes of request and response, error.type.
type Row<'a> = (u64, &'a str, &'a str, &'a str, &'a str);

fn play(test: &str, shape: &str) -> Option<Outcome> {
    let lab = Lab::new(test)?;
    let argv = [
        "/usr/bin/python3".to_owned(),
        Lab::workload("python/shapes.py"),
        shape.to_owned(),
    ];
    Some(Clew::run(&lab).traced(&argv))
}

/// Both ends of each request, joined, and nothing else.
fn check(shape: &str, rows: &[Row<'_>]) {
    let Some(out) = play(shape, shape) else { return };
    let path = format!("/{shape}");
    for kind in [Kind::Client, Kind::Server] {
        for (number, status, request, response, error) in rows {
            let found = out
                .spans
                .filter(|span| span.kind == kind && span.path() == path && span.number() == Some(*number));
            let [span] = found.as_slice() else {
                out.fail(&format!("{} {kind:?} spans of request {number}", found.len()));
            };
            // A status of 4xx is an error to the client only.
            let error = if kind == Kind::Server && error.starts_with('4') {
                ""
            } else {
                error
            };
            out.check_span(
                span,
                &[
                    ("http.response.status_code", status),
                    ("http.request.body.size", request),
                    ("http.response.body.size", response),
                    ("error.type", error),
                ],
            );
            if kind == Kind::Server {
                let parent = out.spans.parent(span);
                out.check(
                    parent.is_some_and(|parent| parent.number() == Some(*number)),
                    "the ends are not joined",
                );
            }
        }
    }
    out.check_eq(out.spans.0.len(), 2 * rows.len(), "number of spans");
}

#[test]
fn chunked() {
    check("chunked", &[(1, "200", "11", "3", ""), (2, "200", "0", "2", "")]);
}

#[test]
fn head() {
    check("head", &[(1, "200", "0", "0", ""), (2, "200", "0", "2", "")]);
}

#[test]
fn network_phases() {
    let Some(out) = play("network_phases", "head") else {
        return;
    };
    let client = |number| {
        let found = out
            .spans
            .filter(|span| span.kind == Kind::Client && span.number() == Some(number));
        found
            .first()
            .copied()
            .unwrap_or_else(|| out.fail("a request has no span"))
    };
    let (first, second) = (client(1), client(2));
    out.check_span(first, &[("clew.network.connection.reused", "false")]);
    out.check_span(
        second,
        &[
            ("clew.network.connection.reused", "true"),
            ("clew.network.connect_ns", ""),
        ],
    );
    let ns = |span: &clew_tests::Span, name: &str| -> u64 {
        let text = span.text(&format!("clew.network.{name}_ns"));
        text.parse()
            .unwrap_or_else(|_| out.fail(&format!("{name} of {} is {text:?}", span.brief())))
    };
    // A handshake over loopback takes microseconds; a loaded machine may make it milliseconds.
    let connect = ns(first, "connect");
    out.check(connect > 0 && connect < 10_000_000_000, "the time to connect");
    for span in [first, second] {
        let phases = ns(span, "send") + ns(span, "wait") + ns(span, "receive");
        let length = span.end - span.start;
        // A span that was moved to its server's start is longer.
        let moved = !span.text("clew.time.adjusted").is_empty();
        out.check(
            phases == length || (moved && phases < length),
            &format!("the phases of {} are not its {length} ns", span.brief()),
        );
        out.check(ns(span, "wait") > 0, "the wait for the first byte");
    }
    for server in out.spans.filter(|span| span.kind == Kind::Server) {
        out.check_span(server, &[("clew.network.connection.reused", "")]);
    }
}

/// What `workloads/python/phases.py` lets its requests wait for, at least.
#[test]
fn what_a_request_waits_for() {
    let Some(lab) = Lab::new("what_a_request_waits_for") else {
        return;
    };
    let argv = ["/usr/bin/python3".to_owned(), Lab::workload("python/phases.py")];
    let out = Clew::run(&lab).traced(&argv);
    let span = |kind, number| {
        let found = out
            .spans
            .filter(|span| span.kind == kind && span.number() == Some(number));
        found
            .first()
            .copied()
            .unwrap_or_else(|| out.fail("a request has no span"))
    };
    let value = |kind, number, name: &str| -> u64 {
        let span = span(kind, number);
        let text = span.text(&format!("clew.network.{name}"));
        text.parse()
            .unwrap_or_else(|_| out.fail(&format!("{name} of {} is {text:?}", span.brief())))
    };
    let at_least = |kind, number, name: &str, ms: u64| {
        let ns = value(kind, number, name);
        out.check(ns >= ms * 1_000_000, &format!("{name} of {kind:?} {number} is {ns} ns"));
    };
    at_least(Kind::Client, 1, "receive_ns", 100);
    at_least(Kind::Server, 1, "accept_ns", 200);
    // It came while nobody had accepted the connection.
    at_least(Kind::Server, 1, "buffered_ns", 150);
    // The server was deaf to it for a while.
    at_least(Kind::Client, 2, "wait_ns", 300);
    out.check(
        value(Kind::Client, 1, "retransmits") == 0,
        "the first request was sent again",
    );
    out.check(
        value(Kind::Client, 2, "retransmits") > 0,
        "the second request was not sent again",
    );
    out.check_span(span(Kind::Server, 2), &[("clew.network.accept_ns", "")]);
    for (kind, number) in [
        (Kind::Client, 1),
        (Kind::Client, 2),
        (Kind::Server, 1),
        (Kind::Server, 2),
    ] {
        let rtt = value(kind, number, "rtt_ns");
        out.check(
            (1000..10_000_000_000).contains(&rtt),
            &format!("a round trip of {rtt} ns"),
        );
    }
}

/// What both ends show of the bodies of request and response, `kept` bytes of each kept.
fn check_secrets(kept: &str, request: &str, response: &str) {
    let Some(lab) = Lab::new("secrets_in_bodies") else {
        return;
    };
    let argv = [
        "/usr/bin/python3".to_owned(),
        Lab::workload("python/shapes.py"),
        "secrets".to_owned(),
    ];
    let out = Clew::run(&lab)
        .args(&["--redact", "body:card", "--bodies", kept, "--otlp-bodies"])
        .traced(&argv);
    for kind in [Kind::Client, Kind::Server] {
        out.check_span(
            out.only(kind, "/secrets"),
            &[
                ("clew.http.request.body", request),
                ("clew.http.response.body", response),
            ],
        );
    }
    let all = format!("{:?}{}", out.spans.0, out.stderr);
    // No number and no identifier of a span has these letters.
    out.check(!all.contains("qzxw"), "a secret is shown");
}

#[test]
fn secrets_in_bodies() {
    check_secrets("1000", r#"{"user":"u","card":"REDACTED","n":1}"#, "ok=1&card=REDACTED");
    // Cut within the value.
    check_secrets("24", r#"{"user":"u","card":"REDACTED""#, "ok=1&card=REDACTED");
    check_secrets("12", r#"{"user":"u","#, "ok=1&card=REDACTED");
}

/// What is exported has none unless that was asked for.
#[test]
fn bodies_stay_in_the_store() {
    let Some(lab) = Lab::new("bodies_stay_in_the_store") else {
        return;
    };
    let argv = [
        "/usr/bin/python3".to_owned(),
        Lab::workload("python/shapes.py"),
        "secrets".to_owned(),
    ];
    let store = lab.dir().join("kept").display().to_string();
    let out = Clew::run(&lab)
        .args(&["--bodies", "1000", "--store", &store])
        .traced(&argv);
    for kind in [Kind::Client, Kind::Server] {
        let span = out.only(kind, "/secrets");
        let bodies = ["clew.http.request.body", "clew.http.response.body"].map(|name| span.text(name));
        out.check_eq(bodies, [String::new(), String::new()], "bodies that are exported");
        out.check(!span.text("http.request.body.size").is_empty(), "their size is");
    }
    let mut find = Command::new(Lab::clew());
    find.args([
        "traces",
        "search",
        "clew.http.response.body:ok=1*",
        "--json",
        "--store",
        &store,
    ]);
    let found = find.output().expect("start clew");
    let found: serde_json::Value = serde_json::from_slice(&found.stdout).expect("JSON");
    out.check_eq(
        found["traces"].as_array().map(Vec::len),
        Some(1),
        "traces with bodies in the store",
    );
}

#[test]
fn not_modified_and_no_content() {
    check(
        "notmodified",
        &[
            (1, "304", "0", "0", ""),
            (2, "204", "0", "0", ""),
            (3, "200", "0", "2", ""),
        ],
    );
}

#[test]
fn expect_continue_and_early_hints() {
    check("expect", &[(1, "201", "4", "2", ""), (2, "200", "0", "2", "")]);
}

#[test]
fn pipelining() {
    check(
        "pipelining",
        &[
            (1, "200", "0", "2", ""),
            (2, "404", "0", "2", "404"),
            (3, "200", "0", "2", ""),
        ],
    );
}

#[test]
fn until_close() {
    check("untilclose", &[(1, "200", "0", "1000", "")]);
}

#[test]
fn absolute_form() {
    let Some(out) = play("absolute", "absolute") else {
        return;
    };
    let client = out.only(Kind::Client, "/absolute");
    out.check_span(client, &[("server.address", "proxied.test"), ("server.port", "8080")]);
    let text = format!("{:?}", out.spans.0);
    out.check(!text.contains("secret"), "credentials in a span");
}

#[test]
fn answer_before_the_request_ended() {
    check("early", &[(1, "413", "10", "2", "413"), (2, "200", "0", "2", "")]);
}

#[test]
fn very_long_head() {
    let Some(out) = play("longhead", "longhead") else {
        return;
    };
    // The head is longer than what is kept of one; what follows must still be right.
    for kind in [Kind::Client, Kind::Server] {
        let second = out.spans.filter(|span| span.kind == kind && span.number() == Some(2));
        out.check_eq(second.len(), 1, "spans of the request after the long one");
        out.check_eq(second[0].code(), "200".to_owned(), "its status");
    }
}

#[test]
fn aborted() {
    for shape in ["clientaborts", "serveraborts", "noanswer"] {
        let Some(out) = play(shape, shape) else { return };
        let path = format!("/{shape}");
        for kind in [Kind::Client, Kind::Server] {
            let span = out.only(kind, &path);
            out.check(
                !span.text("error.type").is_empty(),
                &format!("no reason on {}", span.brief()),
            );
            out.check_eq(span.status, 2, &format!("status of {}", span.brief()));
            let outcome = span.text("clew.exchange.outcome");
            out.check(
                !outcome.is_empty() && outcome != "complete",
                &format!("outcome {outcome} of {}", span.brief()),
            );
        }
    }
}

#[test]
fn in_flight_when_the_command_is_killed() {
    let Some(lab) = Lab::new("in_flight_when_the_command_is_killed") else {
        return;
    };
    let argv = [
        "/usr/bin/python3".to_owned(),
        Lab::workload("python/shapes.py"),
        "inflight".to_owned(),
    ];
    let run = Clew::run(&lab).start(&argv);
    until("the request is in flight", || {
        run.proc.stdout().contains("hanging").then_some(())
    });
    run.proc.signal(Signal::SIGTERM);
    let out = run.wait();
    out.check_eq(out.code, 128 + 15, "the command's code");
    let spans = out.spans.filter(|span| span.kind == Kind::Client);
    out.check_eq(spans.len(), 2, "client spans");
    let open = spans.iter().find(|span| span.number() == Some(2));
    let open = open.unwrap_or_else(|| out.fail("the request in flight has no span"));
    out.check(
        !open.text("error.type").is_empty(),
        "the request in flight has no reason",
    );
}

#[test]
fn upgrade() {
    let Some(out) = play("upgrade", "upgrade") else { return };
    for kind in [Kind::Client, Kind::Server] {
        out.check_span(
            out.only(kind, "/upgrade"),
            &[("http.response.status_code", "101"), ("error.type", "")],
        );
    }
    out.check_eq(out.spans.0.len(), 2, "number of spans");
}

#[test]
fn connect_and_what_is_tunneled() {
    let Some(out) = play("connect", "connect") else { return };
    let connects = out.spans.filter(|span| span.text("http.request.method") == "CONNECT");
    out.check_eq(connects.len(), 2, "spans of CONNECT");
    for kind in [Kind::Client, Kind::Server] {
        out.check_eq(
            out.only(kind, "/connect").code(),
            "200".to_owned(),
            "the tunneled exchange",
        );
    }
}

#[test]
fn garbage() {
    let Some(out) = play("garbage", "garbage") else { return };
    // Whatever it makes of this, it survives and invents no success.
    out.check(out.spans.0.len() <= 4, "spans made of garbage");
}
