//! One trace out of many processes: contexts that messages carry, and connections whose both ends are on this host.
use std::process::Command;

use clew_tests::{Clew, Kind, Lab, Plan, Spans, free_port, until};

/// A request with these header lines; both ends must continue the trace named there.
fn check_context(test: &str, lines: &[&str], trace: &str, parent: &str, state: &str) {
    let Some(lab) = Lab::new(test) else { return };
    let mut argv = vec![
        "/usr/bin/python3".to_owned(),
        Lab::workload("python/context.py"),
        "/context".to_owned(),
    ];
    argv.extend(lines.iter().map(|&line| line.to_owned()));
    let out = Clew::run(&lab).traced(&argv);
    let (client, server) = (out.only(Kind::Client, "/context"), out.only(Kind::Server, "/context"));
    out.check_eq(client.trace.as_str(), trace, "trace id of the client span");
    out.check_eq(server.trace.as_str(), trace, "trace id of the server span");
    out.check_eq(client.parent.as_deref(), Some(parent), "the client span's parent");
    out.check_eq(
        server.parent.as_deref(),
        Some(client.id.as_str()),
        "the server span's parent",
    );
    out.check_eq(client.trace_state.as_str(), state, "tracestate of the client span");
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

#[test]
fn w3c() {
    let lines = [
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "tracestate: congo=t61rcWkgMzE,rojo=00f067aa0ba902b7",
    ];
    check_context("w3c", &lines, TRACE, SPAN, "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7");
}

#[test]
fn b3_single() {
    check_context(
        "b3_single",
        &["b3: 4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1"],
        TRACE,
        SPAN,
        "",
    );
}

#[test]
fn b3_multi() {
    let lines = [
        "X-B3-TraceId: 4bf92f3577b34da6a3ce929d0e0e4736",
        "X-B3-SpanId: 00f067aa0ba902b7",
        "X-B3-Sampled: 1",
    ];
    check_context("b3_multi", &lines, TRACE, SPAN, "");
}

#[test]
fn jaeger() {
    check_context(
        "jaeger",
        &["uber-trace-id: 4bf92f3577b34da6a3ce929d0e0e4736:f067aa0ba902b7:0:1"],
        TRACE,
        SPAN,
        "",
    );
}

#[test]
fn datadog() {
    let lines = [
        // 0xa3ce929d0e0e4736 and 0x00f067aa0ba902b7 in decimal.
        "x-datadog-trace-id: 11803532876627986230",
        "x-datadog-parent-id: 67667974448284343",
        "x-datadog-sampling-priority: 1",
        "x-datadog-tags: _dd.p.tid=4bf92f3577b34da6",
    ];
    check_context("datadog", &lines, TRACE, SPAN, "");
}

#[test]
fn xray() {
    let line = "X-Amzn-Trace-Id: Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067aa0ba902b7;Sampled=1";
    check_context("xray", &[line], TRACE, SPAN, "");
}

#[test]
fn a_malformed_context_is_ignored() {
    let Some(lab) = Lab::new("a_malformed_context_is_ignored") else {
        return;
    };
    let line = "traceparent: 00-00000000000000000000000000000000-00f067aa0ba902b7-01".to_owned();
    let argv = [
        "/usr/bin/python3".to_owned(),
        Lab::workload("python/context.py"),
        "/context".to_owned(),
        line,
    ];
    let out = Clew::run(&lab).traced(&argv);
    let (client, server) = (out.only(Kind::Client, "/context"), out.only(Kind::Server, "/context"));
    out.check_eq(client.parent.as_deref(), None, "the client span's parent");
    out.check_eq(
        server.parent.as_deref(),
        Some(client.id.as_str()),
        "the server span's parent",
    );
}

#[test]
fn nginx_over_a_unix_socket() {
    let Some(lab) = Lab::new("nginx_over_a_unix_socket") else {
        return;
    };
    let port = free_port();
    let path = lab.dir().join("app.sock").display().to_string();
    let dir = Lab::workload("python/flask_app.py").replace("/flask_app.py", "");
    // nginx answers /ready itself; gunicorn has made its socket before nginx starts, as `bind` below shows.
    let proxy = clew_tests::nginx(
        &lab,
        port,
        &format!("location / {{ proxy_pass http://unix:{path}; }}"),
        "",
    );
    let proxy: Vec<&str> = proxy.iter().map(String::as_str).collect();
    let second = free_port();
    let (unix, tcp) = (format!("unix:{path}"), format!("127.0.0.1:{second}"));
    let gunicorn = Lab::python("gunicorn");
    let plan = Plan::default()
        .service(
            second,
            &[
                &gunicorn,
                "-k",
                "gthread",
                "-w",
                "1",
                "--threads",
                "16",
                "-b",
                &unix,
                "-b",
                &tcp,
                "--chdir",
                &dir,
                "--log-level",
                "warning",
                "flask_app:app",
            ],
        )
        .service(port, &proxy)
        .rested()
        .load(port, "/unix", 50, 8);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, env!("CARGO_BIN_EXE_clew-drive")));
    out.check_chains(
        50,
        &[
            "client clew-drive /unix",
            "server nginx /unix",
            "client nginx /unix",
            "server flask_app /unix",
        ],
    );
    let upstream = out
        .spans
        .filter(|span| span.service() == "nginx" && span.kind == Kind::Client);
    out.check(
        upstream.iter().all(|span| span.text("network.transport") == "unix"),
        "network.transport of the upstream",
    );
}

#[test]
fn across_network_namespaces() {
    let Some(lab) = Lab::new("across_network_namespaces") else {
        return;
    };
    let Some(net) = Namespace::new() else {
        lab.skip("cannot make a network namespace with ip(8)");
        return;
    };
    // The server lives behind a veth pair in a namespace of its own; the client stays here.
    let script = Lab::workload("python/anywhere.py");
    let mut server = lab.start(
        "server",
        &["ip", "netns", "exec", &net.name, "/usr/bin/python3", &script, "8080"],
    );
    until("the server listens", || {
        if let Some(code) = server.ended() {
            panic!("the server ended with {code}: {}", server.stderr());
        }
        server.stdout().contains("listening").then_some(())
    });
    // `ip netns exec` becomes the program, so this is the server.
    let copy = lab.dir().join("curl-of-this-test").display().to_string();
    std::fs::copy("/usr/bin/curl", &copy).expect("copy curl");
    let url = format!("http://{}:8080/across?id=1", net.inside);
    let args = ["--pid".to_owned(), server.pid().to_string(), "--pid".to_owned()];
    // The client is held by a pipe until clew traces it.
    let hold = format!("while [ ! -e go ]; do sleep 0.02; done; {copy} -sSf -o /dev/null '{url}'");
    let mut client = lab.start("client", &["/bin/sh", "-c", &hold]);
    let run = Clew::attach(&lab)
        .args(&args)
        .args(&[client.pid().to_string()])
        .tracing();
    lab.file("go", "");
    assert_eq!(client.wait(), 0, "{}", client.stderr());
    until("both spans", || (Spans::parse(&run.otlp()).0.len() == 2).then_some(()));
    let out = run.stop();
    let (client, server) = (out.only(Kind::Client, "/across"), out.only(Kind::Server, "/across"));
    out.check_eq(
        server.parent.as_deref(),
        Some(client.id.as_str()),
        "the server span's parent",
    );
    out.check_eq(server.trace.as_str(), client.trace.as_str(), "the trace");
}

/// A network namespace joined to this one by a veth pair.
struct Namespace {
    name: String,
    inside: String,
}

impl Namespace {
    fn new() -> Option<Self> {
        let id = std::process::id() % 60_000;
        let name = format!("clew-test-{id}");
        let (near, far) = (format!("cla{id}"), format!("clb{id}"));
        let (high, low) = (id / 250, id % 250);
        let (outside, inside) = (format!("10.{high}.{low}.1"), format!("10.{high}.{low}.2"));
        let ip = |args: &str| {
            let output = Command::new("ip").args(args.split(' ')).output();
            output.is_ok_and(|output| output.status.success()).then_some(())
        };
        ip(&format!("netns add {name}"))?;
        let namespace = Self { name, inside };
        let (name, inside) = (&namespace.name, &namespace.inside);
        ip(&format!("link add {near} type veth peer name {far} netns {name}"))?;
        ip(&format!("addr add {outside}/30 dev {near}"))?;
        ip(&format!("link set {near} up"))?;
        ip(&format!("-n {name} addr add {inside}/30 dev {far}"))?;
        ip(&format!("-n {name} link set {far} up"))?;
        ip(&format!("-n {name} link set lo up"))?;
        Some(namespace)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The veth pair goes with it.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}
