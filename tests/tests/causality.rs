//! Which request caused which call, inside a process, under concurrency.
use clew_tests::{Clew, Lab, Outcome, Plan, free_port};

const DRIVE: &str = env!("CARGO_BIN_EXE_clew-drive");
const REQUESTS: u64 = 200;
const CONCURRENCY: u64 = 32;

/// Load -> the service under test (`/front`) -> a leaf in Go that answers out of order (`/leaf`).
fn through(lab: &Lab, front: u16, argv: &[&str], env: &[(&str, &str)]) -> Outcome {
    let leaf = free_port();
    let mut plan = Plan::default()
        .service(leaf, &[&Lab::go("server"), &leaf.to_string()])
        .service(front, argv)
        .env("NEXT", &format!("{leaf}/leaf"))
        .rested();
    for (name, value) in env {
        plan = plan.env(name, value);
    }
    Clew::run(lab).traced(&plan.load(front, "/front", REQUESTS, CONCURRENCY).argv(lab, DRIVE))
}

/// Every link is there and right.
fn check_exact(out: &Outcome, service: &str) {
    let (server, client) = (format!("server {service} /front"), format!("client {service} /leaf"));
    out.check_chains(
        REQUESTS,
        &["client clew-drive /front", &server, &client, "server go-server /leaf"],
    );
    out.check_eq(out.spans.0.len() as u64, 4 * REQUESTS, "number of spans");
}

#[test]
fn python_threads_with_requests() {
    let Some(lab) = Lab::new("python_threads_with_requests") else {
        return;
    };
    let port = free_port();
    let argv: [&str; 3] = [
        &Lab::python("python"),
        &Lab::workload("python/threaded.py"),
        &port.to_string(),
    ];
    check_exact(&through(&lab, port, &argv, &[]), "threaded");
}

#[test]
fn python_threads_with_http_client() {
    let Some(lab) = Lab::new("python_threads_with_http_client") else {
        return;
    };
    let port = free_port();
    let argv = [
        "/usr/bin/python3",
        &Lab::workload("python/threaded.py"),
        &port.to_string(),
    ];
    check_exact(&through(&lab, port, &argv, &[("CLIENT", "plain")]), "threaded");
}

#[test]
fn gunicorn_threads() {
    let Some(lab) = Lab::new("gunicorn_threads") else {
        return;
    };
    let port = free_port();
    let dir = Lab::workload("python/flask_app.py").replace("/flask_app.py", "");
    let argv = [
        &Lab::python("gunicorn"),
        "-k",
        "gthread",
        "-w",
        "1",
        "--threads",
        "64",
        "-b",
        &format!("127.0.0.1:{port}"),
        "--chdir",
        &dir,
        "--keep-alive",
        "30",
        "--log-level",
        "warning",
        "flask_app:app",
    ];
    check_exact(&through(&lab, port, &argv, &[]), "flask_app");
}

#[test]
fn goroutines() {
    let Some(lab) = Lab::new("goroutines") else {
        return;
    };
    let port = free_port();
    let argv: [&str; 2] = [&Lab::go("server"), &port.to_string()];
    check_exact(&through(&lab, port, &argv, &[]), "go-server");
}

/// Load -> a service in Go that works through channels -> a leaf.
fn through_channels(lab: &Lab, program: &str, path: &str, capture: &str) {
    let (leaf, front) = (free_port(), free_port());
    let plan = Plan::default()
        .service(leaf, &[&Lab::go("server"), &leaf.to_string()])
        .service(front, &[program, &front.to_string()])
        .env("NEXT", &format!("{leaf}/"))
        .env("OTEL_SERVICE_NAME", "mix");
    let plan = plan.rested().load(front, path, REQUESTS, CONCURRENCY).argv(lab, DRIVE);
    let out = Clew::run(lab).args(&["--capture", capture]).traced(&plan);
    let (root, server) = (format!("client clew-drive {path}"), format!("server mix {path}"));
    out.check_chains(REQUESTS, &[&root, &server, "client mix /job", "server go-server /job"]);
}

#[test]
fn go_pool() {
    let Some(lab) = Lab::new("go_pool") else {
        return;
    };
    through_channels(&lab, &Lab::go("mix"), "/eager", "socket");
}

#[test]
fn go_pool_at_system_calls() {
    let Some(lab) = Lab::new("go_pool_at_system_calls") else {
        return;
    };
    through_channels(&lab, &Lab::go("mix"), "/eager", "syscall");
}

#[test]
fn go_relay_stripped() {
    let Some(lab) = Lab::new("go_relay_stripped") else {
        return;
    };
    through_channels(&lab, &Lab::go_by("local", "mix", true), "/relay", "socket");
}
