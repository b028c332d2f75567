//! Export to collectors not written here, and to servers that refuse.
use std::path::{Path, PathBuf};

use clew_tests::{Clew, Kind, Lab, Outcome, Plan, Proc, Spans, free_port, until};
use nix::sys::signal::Signal;

/// Ten requests to a threaded Python server, traced and exported to `endpoint`.
fn traced(lab: &Lab, name: &str, endpoint: &str) -> Outcome {
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
        .load(port, name, 10, 2);
    let out = Clew::run(lab)
        .args(&["--otlp", endpoint])
        .traced(&plan.argv(lab, env!("CARGO_BIN_EXE_clew-drive")));
    out.check_numbers(Kind::Server, name, 10);
    out
}

/// What the collector wrote must be the spans that clew wrote itself.
fn check_received(out: &Outcome, received: &Spans) {
    let line = |spans: &Spans| {
        let mut lines: Vec<_> = spans
            .0
            .iter()
            .map(|span| {
                (
                    span.trace.clone(),
                    span.id.clone(),
                    span.parent.clone(),
                    span.name.clone(),
                    span.start,
                    span.end,
                    span.brief(),
                )
            })
            .collect();
        lines.sort();
        lines
    };
    out.check_eq(line(received), line(&out.spans), "what the collector received");
}

/// The upstream OpenTelemetry Collector, built by `cargo xtask setup`.
fn collector(lab: &Lab, grpc: u16, http: u16) -> Option<(Proc, PathBuf)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/collector/otelcol");
    if !path.exists() {
        lab.skip("the upstream collector is not built (cargo xtask setup)");
        return None;
    }
    let received = lab.dir().join("received.jsonl");
    let config = format!(
        "receivers:
  otlp:
    protocols:
      grpc: {{ endpoint: '127.0.0.1:{grpc}' }}
      http: {{ endpoint: '127.0.0.1:{http}' }}
exporters:
  file:
    path: {}
service:
  telemetry:
    metrics: {{ level: none }}
  pipelines:
    traces: {{ receivers: [otlp], exporters: [file] }}
    logs: {{ receivers: [otlp], exporters: [file] }}
",
        received.display()
    );
    let config = lab.file("collector.yaml", &config).display().to_string();
    let mut proc = lab.start("collector", &[&path.display().to_string(), "--config", &config]);
    proc.until_listening(grpc);
    proc.until_listening(http);
    Some((proc, received))
}

/// Spans and records of logs, each record with the ids of its span.
fn check_collector(test: &str, scheme: &str) {
    let Some(lab) = Lab::new(test) else { return };
    let (grpc, http) = (free_port(), free_port());
    let Some((mut collector, received)) = collector(&lab, grpc, http) else {
        return;
    };
    let port = if scheme == "grpc" { grpc } else { http };
    let server = free_port();
    let app = [
        Lab::python("python"),
        Lab::workload("python/logs_app.py"),
        server.to_string(),
    ];
    let plan = Plan::default()
        .service(server, &app.each_ref().map(String::as_str))
        .env("OTEL_SERVICE_NAME", "logs")
        .load(server, "/exported", 10, 2);
    let out = Clew::run(&lab)
        .args(&["--otlp", &format!("{scheme}://127.0.0.1:{port}")])
        .traced(&plan.argv(&lab, env!("CARGO_BIN_EXE_clew-drive")));
    collector.stop(Signal::SIGTERM);
    let text = std::fs::read_to_string(received).unwrap_or_default();
    out.check_numbers(Kind::Server, "/exported", 10);
    check_received(&out, &Spans::parse(&text));
    let got = Outcome::of(&text);
    got.check_logs("logs", "rid=", 10, 3);
    let lines = |outcome: &Outcome| {
        let mut lines: Vec<String> = outcome.logs.iter().map(|log| format!("{log:?}")).collect();
        lines.sort();
        lines
    };
    out.check_eq(lines(&got), lines(&out), "the records that the collector received");
}

#[test]
fn upstream_collector_over_grpc() {
    check_collector("upstream_collector_over_grpc", "grpc");
}

#[test]
fn upstream_collector_over_http() {
    check_collector("upstream_collector_over_http", "http");
}

/// rotel, a collector in Rust from PyPI: writes the id of each span it got into its log.
fn check_rotel(test: &str, scheme: &str) {
    let Some(lab) = Lab::new(test) else { return };
    let (grpc, http) = (free_port(), free_port());
    let rotel = Lab::python_file("rotel/rotel-agent");
    let (grpc_at, http_at) = (format!("127.0.0.1:{grpc}"), format!("127.0.0.1:{http}"));
    let mut collector = lab.start(
        "rotel",
        &[
            &rotel,
            "start",
            "--otlp-grpc-endpoint",
            &grpc_at,
            "--otlp-http-endpoint",
            &http_at,
            "--exporter",
            "blackhole",
            "--debug-log",
            "traces",
            "--debug-log-verbosity",
            "detailed",
        ],
    );
    collector.until_listening(grpc);
    collector.until_listening(http);
    let port = if scheme == "grpc" { grpc } else { http };
    let out = traced(&lab, "/exported", &format!("{scheme}://127.0.0.1:{port}"));
    for span in &out.spans.0 {
        until("rotel has logged every span", || {
            let log = collector.stdout() + &collector.stderr();
            log.contains(&span.id).then_some(())
        });
    }
    collector.stop(Signal::SIGTERM);
}

#[test]
fn rotel_over_grpc() {
    check_rotel("rotel_over_grpc", "grpc");
}

#[test]
fn rotel_over_http() {
    check_rotel("rotel_over_http", "http");
}

/// A server that answers with these codes, one after the other.
fn answering(lab: &Lab, port: u16, codes: &[&str]) -> Proc {
    let port_text = port.to_string();
    let script = Lab::workload("python/answer.py");
    let argv: Vec<&str> = ["/usr/bin/python3", &script, &port_text]
        .into_iter()
        .chain(codes.iter().copied())
        .collect();
    let mut proc = lab.start("answer", &argv);
    proc.until_listening(port);
    proc
}

#[test]
fn temporary_failures_are_retried() {
    let Some(lab) = Lab::new("temporary_failures_are_retried") else {
        return;
    };
    let port = free_port();
    let server = answering(&lab, port, &["503", "429", "200"]);
    let out = traced(&lab, "/retried", &format!("http://127.0.0.1:{port}"));
    let said = server.stdout();
    let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split(' ').collect()).collect();
    let word = |n: usize, m: usize| lines.get(n).and_then(|line| line.get(m)).copied().unwrap_or_default();
    out.check_eq([word(0, 1), word(1, 1), word(2, 1)], ["503", "429", "200"], "codes");
    out.check_eq(word(0, 0), "/v1/traces", "path");
    out.check_eq(word(0, 3), "application/x-protobuf", "content type");
    out.check_eq(word(0, 2), word(2, 2), "the same batch is sent again");
    out.check_eq(
        out.counter("export.rejected") + out.counter("export.failed"),
        0,
        "spans not exported",
    );
}

#[test]
fn refusals_are_counted_and_not_retried() {
    let Some(lab) = Lab::new("refusals_are_counted_and_not_retried") else {
        return;
    };
    let port = free_port();
    let server = answering(&lab, port, &["400"]);
    let out = traced(&lab, "/refused", &format!("http://127.0.0.1:{port}"));
    out.check_eq(
        out.counter("export.rejected"),
        out.spans.0.len() as u64,
        "export.rejected",
    );
    out.check(out.stderr.contains("400"), "the message names the status");
    let lines = server.stdout().lines().count();
    out.check(lines > 0 && lines <= out.spans.0.len(), &format!("{lines} requests"));
}

#[test]
fn no_collector() {
    let Some(lab) = Lab::new("no_collector") else { return };
    for scheme in ["http", "grpc"] {
        let _ = std::fs::remove_file(lab.dir().join("spans.jsonl"));
        let endpoint = format!("{scheme}://127.0.0.1:{}", free_port());
        let out = traced(&lab, "/unreachable", &endpoint);
        out.check(
            out.stderr.contains(endpoint.trim_start_matches("grpc://")),
            "the message names the collector",
        );
        let lost = out.counter("export.failed") + out.counter("export.queue_full");
        out.check_eq(lost, out.spans.0.len() as u64, "spans counted as lost");
        let warnings = out
            .stderr
            .lines()
            .filter(|line| line.contains("unreachable") || line.contains("refused"))
            .count();
        out.check(warnings <= 2, "one warning, not one for each attempt");
    }
}

#[test]
fn a_collector_that_comes_later() {
    let Some(lab) = Lab::new("a_collector_that_comes_later") else {
        return;
    };
    let (port, collector) = (free_port(), free_port());
    let argv = [
        "/usr/bin/python3".to_owned(),
        Lab::workload("python/threaded.py"),
        port.to_string(),
    ];
    let mut server = lab.start("server", &argv);
    server.until_listening(port);
    let endpoint = format!("http://127.0.0.1:{collector}");
    let run = Clew::attach(&lab)
        .args(&[
            "--pid".to_owned(),
            server.pid().to_string(),
            "--otlp".to_owned(),
            endpoint,
        ])
        .tracing();
    clew_tests::get(port, "/early?id=1").expect("an answer");
    until("the span is out", || run.otlp().contains("/early").then_some(()));
    until("clew has tried in vain", || {
        run.proc.stderr().contains(&collector.to_string()).then_some(())
    });
    let late = answering(&lab, collector, &["200"]);
    until("the span arrives", || {
        late.stdout().contains("/v1/traces 200").then_some(())
    });
    let out = run.stop();
    out.check_eq(out.counter("export.failed"), 0, "spans lost");
}

#[test]
fn endpoint_from_the_standard_variables() {
    let Some(lab) = Lab::new("endpoint_from_the_standard_variables") else {
        return;
    };
    let (port, collector) = (free_port(), free_port());
    let receiver = answering(&lab, collector, &["200"]);
    let plan = Plan::default()
        .service(
            port,
            &[
                "/usr/bin/python3",
                &Lab::workload("python/threaded.py"),
                &port.to_string(),
            ],
        )
        .load(port, "/variables", 3, 1);
    let out = Clew::run(&lab)
        .env(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            &format!("http://127.0.0.1:{collector}/base"),
        )
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        .traced(&plan.argv(&lab, env!("CARGO_BIN_EXE_clew-drive")));
    out.check(receiver.stdout().contains("/base/v1/traces 200"), &receiver.stdout());
}

/// A collector that takes requests and never answers.
fn silent(lab: &Lab) -> (Proc, String) {
    let port = free_port();
    let argv = [
        "/usr/bin/python3",
        &Lab::workload("python/dead.py"),
        &port.to_string(),
        "hang",
    ];
    let mut collector = lab.start("silent", &argv);
    collector.until_listening(port);
    (collector, format!("http://127.0.0.1:{port}"))
}

/// It ended on the second signal, and says what is missing. Without that signal it waits for five seconds and says something else.
fn check_hurried(out: &Outcome) {
    let lost = out.counter("export.failed");
    out.check_eq(lost, out.spans.0.len() as u64, "spans counted as lost");
    let message = format!("ended by a second signal: the last {lost} spans were not sent to the collector");
    out.check(out.stderr.contains(&message), "the message says what was not sent");
}

#[test]
fn a_second_signal_ends_attach_at_once() {
    let Some(lab) = Lab::new("a_second_signal_ends_attach_at_once") else {
        return;
    };
    let (_collector, endpoint) = silent(&lab);
    let port = free_port();
    let argv = [
        "/usr/bin/python3".to_owned(),
        Lab::workload("python/threaded.py"),
        port.to_string(),
    ];
    let mut server = lab.start("server", &argv);
    server.until_listening(port);
    let pid = server.pid().to_string();
    let run = Clew::attach(&lab).args(&["--pid", &pid, "--otlp", &endpoint]).tracing();
    clew_tests::get(port, "/hurry?id=1").expect("an answer");
    until("the span is out", || run.otlp().contains("/hurry").then_some(()));
    // Two of a kind that come together are one.
    run.proc.signal(Signal::SIGINT);
    run.proc.signal(Signal::SIGTERM);
    let out = run.wait();
    check_hurried(&out);
    out.check_eq(out.code, 1, "the exit code");
}

#[test]
fn a_second_signal_ends_run_at_once() {
    let Some(lab) = Lab::new("a_second_signal_ends_run_at_once") else {
        return;
    };
    let (_collector, endpoint) = silent(&lab);
    let port = free_port();
    let argv = [
        "/usr/bin/python3".to_owned(),
        Lab::workload("python/threaded.py"),
        port.to_string(),
    ];
    let mut server = lab.start("server", &argv);
    server.until_listening(port);
    let script = format!("echo $$; curl -sSf -o /dev/null 'http://127.0.0.1:{port}/hurry?id=1'; exit 7");
    let run = Clew::run(&lab)
        .args(&["--otlp", &endpoint])
        .start(&["/bin/sh", "-c", &script]);
    let pid = until("the command says who it is", || {
        let stdout = run.proc.stdout();
        stdout.ends_with('\n').then(|| stdout.trim().to_owned())
    });
    until("the command is over", || {
        (!Path::new("/proc").join(&pid).exists()).then_some(())
    });
    run.proc.signal(Signal::SIGINT);
    let out = run.wait();
    check_hurried(&out);
    out.check_eq(out.code, 7, "the command's code");
}
