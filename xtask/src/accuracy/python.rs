//! Python: threads, event loops, and both together, on the oldest and the newest interpreter.
use clew_tests::{Lab, free_port};

use super::workload::{Expect, Made, Workload, chain, front, leaf, made, words};

/// What `mix.py` does for a request, where `$service` is the program under test.
macro_rules! mixed {
    ($service:literal $(, $more:literal)*) => {
        &[
            "client clew-drive /front",
            concat!(" server ", $service, " /front"),
            concat!("  client ", $service, " /a"),
            "   server go-server /a",
            concat!("  client ", $service, " /b"),
            "   server go-server /b",
            concat!("  ?client ", $service, " /cancelled"),
            "   ?server go-server /cancelled",
            $(concat!("  client ", $service, " ", $more), concat!("   server go-server ", $more),)*
            concat!("  client ", $service, " /last"),
            "   server go-server /last",
            concat!("  client ", $service, " /later"),
            "   server go-server /later",
        ]
    };
}

/// Two calls from the threads of a pool.
const POOLED: &[&str] = &[
    "client clew-drive /front",
    " server pooled_app /front",
    "  ~client pooled_app /a",
    "   server go-server /a",
    "  ~client pooled_app /b",
    "   server go-server /b",
];

/// One row for each of two interpreters.
macro_rules! rows {
    ($($name:literal, $runtime:literal, $expect:ident, $make:expr;)*) => {
        pub(super) const OLDEST: &[Workload] = &[
            $(Workload { name: $name, runtime: $runtime, expect: Expect::$expect, make: |lab| $make(lab, oldest) },)*
        ];
        pub(super) const NEWEST: &[Workload] = &[
            $(Workload {
                name: concat!($name, "-newest"),
                runtime: $runtime,
                expect: Expect::$expect,
                make: |lab| $make(lab, newest),
            },)*
        ];
    };
}

rows! {
    "fastapi-asyncio", "Python, uvicorn on asyncio", Exact,
        |lab, python| uvicorn(lab, python, "asyncio", "/front", mixed!("fastapi_app", "/thread", "/pool"));
    "fastapi-uvloop", "Python, uvicorn on uvloop", Exact,
        |lab, python| uvicorn(lab, python, "uvloop", "/front", mixed!("fastapi_app", "/thread", "/pool"));
    "fastapi-threads", "Python, uvicorn, handlers on a pool of threads", Exact,
        |lab, python| uvicorn(lab, python, "asyncio", "/plain", PLAIN);
    "aiohttp-asyncio", "Python, aiohttp on asyncio", Exact,
        |lab, python| aiohttp(lab, python, "asyncio");
    "aiohttp-uvloop", "Python, aiohttp on uvloop", Exact,
        |lab, python| aiohttp(lab, python, "uvloop");
    "flask-gunicorn-sync", "Python, a process a request", Exact,
        |lab, python| gunicorn(lab, python, &["-k", "sync", "-w", "4"], "flask_app:app", chain!("flask_app")).closing();
    "flask-gunicorn-gthread", "Python, a pool of threads", Exact,
        |lab, python| gunicorn(lab, python, GTHREAD, "flask_app:app", chain!("flask_app"));
    "flask-executor", "Python, calls on another pool of threads", Exact,
        |lab, python| gunicorn(lab, python, GTHREAD, "pooled_app:app", POOLED);
    "flask-executor-sync", "Python, a process a request, calls on a pool of threads", Exact,
        |lab, python| gunicorn(lab, python, &["-k", "sync", "-w", "4"], "pooled_app:app", POOLED).closing();
}

const PLAIN: &[&str] = &[
    "client clew-drive /plain",
    "server fastapi_app /plain",
    "client fastapi_app /leaf",
    "server go-server /leaf",
];

const GTHREAD: &[&str] = &["-k", "gthread", "-w", "1", "--threads", "64", "--keep-alive", "30"];

/// Finds a program of one of the environments.
type Python = fn(&str) -> String;

fn oldest(program: &str) -> String {
    Lab::python(program)
}

/// The rows are only run where it exists.
fn newest(program: &str) -> String {
    Lab::newest_python(program).unwrap_or_else(|| Lab::python(program))
}

fn folder() -> String {
    Lab::workload("python")
}

/// The command that serves the application on a port by FastAPI and uvicorn.
pub(super) fn uvicorn_on(port: u16, program: String, event_loop: &str, options: &[&str]) -> Vec<String> {
    let (folder, port) = (folder(), port.to_string());
    let usual = ["--host", "127.0.0.1", "--port", &port, "--app-dir", &folder];
    let quiet = ["--log-level", "warning", "--loop", event_loop];
    let all = usual.iter().chain(&quiet).chain(options).chain(&["fastapi_app:app"]);
    std::iter::once(program)
        .chain(all.map(|word| (*word).to_owned()))
        .collect()
}

fn uvicorn(_: &Lab, python: Python, event_loop: &str, path: &'static str, chain: &'static [&'static str]) -> Made {
    let (plan, leaf) = leaf();
    let port = free_port();
    let argv = uvicorn_on(port, python("uvicorn"), event_loop, &[]);
    let made = made(plan.service(port, &words(&argv)), leaf, port, &[("THREAD", "1")], chain);
    Made { path, ..made }
}

fn aiohttp(lab: &Lab, python: Python, event_loop: &str) -> Made {
    let argv = [python("python"), Lab::workload("python/aiohttp_app.py")];
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    front(
        lab,
        &argv,
        &[("LOOP", event_loop), ("THREAD", "1")],
        mixed!("aiohttp_app", "/thread", "/pool"),
    )
}

fn gunicorn(_: &Lab, python: Python, worker: &[&str], app: &str, chain: &'static [&'static str]) -> Made {
    let (plan, leaf) = leaf();
    let port = free_port();
    let (program, folder, bind) = (python("gunicorn"), folder(), format!("127.0.0.1:{port}"));
    let mut argv = vec![
        program.as_str(),
        "-b",
        &bind,
        "--chdir",
        &folder,
        "--log-level",
        "warning",
    ];
    argv.extend(worker);
    argv.push(app);
    made(plan.service(port, &argv), leaf, port, &[], chain)
}
