//! Logs: each line is on the span of the request that wrote it, at concurrency 16, in every runtime.
use std::collections::BTreeMap;

use clew_tests::{Clew, Kind, Lab, Outcome, Plan, Span, free_port, nginx};

const DRIVE: &str = env!("CARGO_BIN_EXE_clew-drive");
const REQUESTS: u64 = 200;
const CONCURRENCY: u64 = 16;
/// OTLP's numbers.
const INFO: i64 = 9;
const ERROR: i64 = 17;

/// Programs that each write three records a request, some of them from another thread, task or goroutine.
#[test]
fn lines_are_on_the_span_of_their_request() {
    let Some(lab) = Lab::new("logs") else { return };
    let [threads, tasks, node, go, java, proxy] = std::array::from_fn(|_| free_port());
    let folder = Lab::workload("python/mix.py").replace("/mix.py", "");
    let access = lab.dir().join("access.log").display().to_string();
    let locations = format!("access_log {access}; location / {{ proxy_pass http://127.0.0.1:{go}; }}");
    let nginx = nginx(&lab, proxy, &locations, "");
    let nginx: Vec<&str> = nginx.iter().map(String::as_str).collect();
    let mut plan = Plan::default()
        .service(
            threads,
            &[
                &Lab::python("python"),
                &Lab::workload("python/logs_app.py"),
                &threads.to_string(),
            ],
        )
        .env("OTEL_SERVICE_NAME", "threads")
        .service(
            tasks,
            &[
                &Lab::python("uvicorn"),
                "--port",
                &tasks.to_string(),
                "--app-dir",
                &folder,
                "--log-level",
                "warning",
                "logs_app:app",
            ],
        )
        .env("OTEL_SERVICE_NAME", "tasks")
        .service(node, &["node", &Lab::workload("node/logs.js"), &node.to_string()])
        .env("OTEL_SERVICE_NAME", "node")
        .service(java, &["java", &Lab::workload("java/Logs.java"), &java.to_string()])
        .env("OTEL_SERVICE_NAME", "java")
        .service(go, &[&Lab::go("logs"), &go.to_string()])
        .env("OTEL_SERVICE_NAME", "go")
        // Its title lies over its environment: no name can be given to it so.
        .service(proxy, &nginx);
    for port in [threads, tasks, node, java, proxy] {
        plan = plan.load(port, "/logs", REQUESTS, CONCURRENCY);
    }
    let out = Clew::run(&lab).traced(&plan.rested().argv(&lab, DRIVE));
    for service in ["threads", "tasks", "node", "java", "go"] {
        out.check_logs(service, "rid=", REQUESTS, 3);
    }
    out.check_logs("nginx", "GET /logs?id=", REQUESTS, 1);
    for service in ["threads", "tasks"] {
        check_contents(&out, service);
    }
    for (service, kind) in [("node", "TypeError"), ("java", "java.lang.IllegalStateException")] {
        let failed = out
            .logs
            .iter()
            .filter(|log| log.service == service && log.body.contains("failed rid="));
        let kinds: Vec<&str> = failed.map(|log| log.text("exception.type")).collect();
        out.check_eq(kinds, vec![kind; 40], &format!("exceptions of {service}"));
    }
    out.check_eq(out.counter("logs.bytes_over_rate"), 0, "what was too much");
}

/// Exceptions, refused connections and the ends of processes are told on the requests they broke.
#[test]
fn failures_are_told_on_the_requests_they_broke() {
    let Some(lab) = Lab::new("failures") else { return };
    let [first, second] = std::array::from_fn(|_| free_port());
    let app = Lab::workload("python/logs_app.py");
    let python = Lab::python("python");
    let asks = "import sys, urllib.request
for url in sys.argv[1:]:
    try:
        urllib.request.urlopen(url).read()
    except Exception:
        pass
";
    let url = |port: u16, path: &str| format!("http://127.0.0.1:{port}/fail/{path}");
    let plan = Plan::default()
        .service(first, &[&python, &app, &first.to_string()])
        .service(second, &[&python, &app, &second.to_string()])
        .command(&[
            &python,
            "-c",
            asks,
            &url(first, "raise"),
            &url(first, "refused"),
            &url(first, "kill"),
            &url(second, "exit"),
        ]);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
    let server = |path: &str| out.only(Kind::Server, &format!("/fail/{path}"));
    let events = |span: &Span| -> Vec<(String, String)> {
        let text =
            |attributes: &BTreeMap<String, String>, name: &str| attributes.get(name).cloned().unwrap_or_default();
        let events = span.events.iter().filter(|(name, _)| name == "exception");
        events
            .map(|(_, of)| (text(of, "exception.type"), text(of, "exception.message")))
            .collect()
    };
    let told = |kind: &str, message: &str| vec![(kind.to_owned(), message.to_owned())];

    let raised = server("raise");
    out.check_eq(events(raised), told("ValueError", "no stock"), "what was raised");
    out.check_eq(
        (raised.status, raised.message.as_str()),
        (2, "ValueError: no stock"),
        "status",
    );
    let refused = server("refused");
    let want = told("connection_refused", "connect: connection refused");
    out.check_eq(events(refused), want, "what was refused");
    out.check_eq(refused.status, 0, "the request itself was answered");
    let killed = server("kill");
    out.check_span(
        killed,
        &[("clew.process.signal", "SIGKILL"), ("error.type", "process_exited")],
    );
    out.check_eq(killed.message.as_str(), "process ended by SIGKILL", "status");
    let exited = server("exit");
    out.check_span(exited, &[("process.exit.code", "3"), ("clew.process.signal", "")]);
    out.check_eq(exited.message.as_str(), "process exited with code 3", "status");
}

/// Severities, the traceback as one record, and what is hidden.
fn check_contents(out: &Outcome, service: &str) {
    let of = |text: &str| {
        let mut found = out
            .logs
            .iter()
            .filter(|log| log.service == service && log.body.contains(text));
        found
            .next()
            .unwrap_or_else(|| out.fail(&format!("no record of {service} with {text}")))
    };
    let begun = of("begin rid=7 ");
    out.check_eq(begun.severity, INFO, "severity");
    out.check(begun.body.contains("password=REDACTED"), "the secret is hidden");
    let failed = of("failed rid=10\n");
    out.check_eq(failed.severity, ERROR, "severity");
    out.check_eq(failed.text("exception.type"), "KeyError", "exception");
    out.check_eq(failed.text("exception.message"), "'10'", "message");
    out.check(
        failed
            .text("exception.stacktrace")
            .starts_with("Traceback (most recent call last):"),
        "the traceback is one record",
    );
    let ended = of("end rid=7");
    out.check_eq(
        (ended.severity, ended.body.as_str()),
        (INFO, "end rid=7"),
        "a line of JSON",
    );
    out.check_eq(ended.text("log.iostream"), "stdout", "stream");
}
