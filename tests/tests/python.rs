//! Event loops of Python: which request each task works for, under concurrency. See tests/workloads/python/mix.py.
use std::collections::BTreeMap;

use clew_tests::{Clew, Kind, Lab, Outcome, Plan, free_port};

const DRIVE: &str = env!("CARGO_BIN_EXE_clew-drive");
const REQUESTS: u64 = 200;
const CONCURRENCY: u64 = 32;

/// An interpreter's programs.
type Python = fn(&str) -> Option<String>;

fn oldest(program: &str) -> Option<String> {
    Some(Lab::python(program))
}

fn newest(program: &str) -> Option<String> {
    Lab::newest_python(program)
}

fn uvicorn(lab: &Lab, python: Python, event_loop: &str, path: &str) -> Option<Outcome> {
    let Some(uvicorn) = python("uvicorn") else {
        lab.skip("this machine has one interpreter only");
        return None;
    };
    let port = free_port();
    let folder = Lab::workload("python");
    let argv = [
        uvicorn.as_str(),
        "--port",
        &port.to_string(),
        "--app-dir",
        &folder,
        "--log-level",
        "warning",
        "--loop",
        event_loop,
        "fastapi_app:app",
    ];
    Some(through(lab, port, &argv, path, "asyncio"))
}

fn aiohttp(lab: &Lab, event_loop: &str) -> Outcome {
    let port = free_port();
    let argv = [
        Lab::python("python"),
        Lab::workload("python/aiohttp_app.py"),
        port.to_string(),
    ];
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    through(lab, port, &argv, "/front", event_loop)
}

fn through(lab: &Lab, port: u16, argv: &[&str], path: &str, event_loop: &str) -> Outcome {
    let leaf = free_port();
    let plan = Plan::default()
        .service(leaf, &[&Lab::go("server"), &leaf.to_string()])
        .service(port, argv)
        .env("NEXT", &format!("{leaf}/leaf"))
        .env("THREAD", "1")
        .env("LOOP", event_loop)
        .load(port, path, REQUESTS, CONCURRENCY)
        .rested();
    Clew::run(lab).traced(&plan.argv(lab, DRIVE))
}

/// Each call that a request makes at `paths` is there once and is the request's; so is every other call that was sent.
fn check_exact(out: &Outcome, service: &str, front: &str, paths: &[&str]) {
    check_exact_by(out, service, front, paths, "context");
}

fn check_exact_by(out: &Outcome, service: &str, front: &str, paths: &[&str], source: &str) {
    out.check_no_wrong_links();
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for call in out
        .spans
        .filter(|span| span.kind == Kind::Client && span.service() == service)
    {
        *seen.entry(call.path()).or_default() += 1;
        let parent = out.spans.parent(call);
        let right = parent.is_some_and(|parent| parent.kind == Kind::Server && parent.path() == front);
        out.check(right, &format!("{} is of no request", call.brief()));
        out.check_eq(
            call.text("clew.parent.source").as_str(),
            source,
            "how its parent was found",
        );
    }
    for path in paths {
        out.check_eq(seen.get(*path).copied(), Some(REQUESTS), path);
    }
}

const MIXED: &[&str] = &["/a", "/b", "/thread", "/pool", "/last"];

#[test]
fn uvicorn_on_asyncio() {
    let Some(lab) = Lab::new("uvicorn_on_asyncio") else {
        return;
    };
    if let Some(out) = uvicorn(&lab, oldest, "asyncio", "/front") {
        check_exact(&out, "fastapi_app", "/front", MIXED);
    }
}

#[test]
fn uvicorn_on_asyncio_with_the_newest_interpreter() {
    let Some(lab) = Lab::new("uvicorn_on_asyncio_with_the_newest_interpreter") else {
        return;
    };
    if let Some(out) = uvicorn(&lab, newest, "asyncio", "/front") {
        check_exact(&out, "fastapi_app", "/front", MIXED);
    }
}

#[test]
fn uvicorn_on_uvloop() {
    let Some(lab) = Lab::new("uvicorn_on_uvloop") else {
        return;
    };
    if let Some(out) = uvicorn(&lab, oldest, "uvloop", "/front") {
        check_exact(&out, "fastapi_app", "/front", MIXED);
    }
}

#[test]
fn uvicorn_on_uvloop_with_the_newest_interpreter() {
    let Some(lab) = Lab::new("uvicorn_on_uvloop_with_the_newest_interpreter") else {
        return;
    };
    if let Some(out) = uvicorn(&lab, newest, "uvloop", "/front") {
        check_exact(&out, "fastapi_app", "/front", MIXED);
    }
}

#[test]
fn handlers_on_a_pool_of_threads() {
    let Some(lab) = Lab::new("handlers_on_a_pool_of_threads") else {
        return;
    };
    if let Some(out) = uvicorn(&lab, oldest, "asyncio", "/plain") {
        check_exact(&out, "fastapi_app", "/plain", &["/leaf"]);
    }
}

#[test]
fn aiohttp_on_asyncio() {
    let Some(lab) = Lab::new("aiohttp_on_asyncio") else {
        return;
    };
    check_exact(&aiohttp(&lab, "asyncio"), "aiohttp_app", "/front", MIXED);
}

#[test]
fn aiohttp_on_uvloop() {
    let Some(lab) = Lab::new("aiohttp_on_uvloop") else {
        return;
    };
    check_exact(&aiohttp(&lab, "uvloop"), "aiohttp_app", "/front", MIXED);
}

fn gunicorn(lab: &Lab, python: Python, app: &str, worker: &[&str]) -> Option<Outcome> {
    let Some(gunicorn) = python("gunicorn") else {
        lab.skip("this machine has one interpreter only");
        return None;
    };
    let port = free_port();
    let folder = Lab::workload("python");
    let bind = format!("127.0.0.1:{port}");
    let mut argv = vec![
        gunicorn.as_str(),
        "-b",
        &bind,
        "--chdir",
        &folder,
        "--log-level",
        "warning",
    ];
    argv.extend(worker);
    argv.push(app);
    Some(through(lab, port, &argv, "/front", "asyncio"))
}

/// A pool of threads that serve, which hand calls to those of another.
const THREADS: &[&str] = &["-k", "gthread", "-w", "1", "--threads", "32"];

#[test]
fn calls_on_a_pool_of_threads() {
    let Some(lab) = Lab::new("calls_on_a_pool_of_threads") else {
        return;
    };
    if let Some(out) = gunicorn(&lab, oldest, "pooled_app:app", THREADS) {
        check_exact(&out, "pooled_app", "/front", &["/a", "/b"]);
    }
}

#[test]
fn calls_on_a_pool_of_threads_with_the_newest_interpreter() {
    let Some(lab) = Lab::new("calls_on_a_pool_of_threads_with_the_newest_interpreter") else {
        return;
    };
    if let Some(out) = gunicorn(&lab, newest, "pooled_app:app", THREADS) {
        check_exact(&out, "pooled_app", "/front", &["/a", "/b"]);
    }
}

/// Whoever serves a request and hands out its calls is a thread without a context.
#[test]
fn calls_a_thread_hands_to_a_pool() {
    let Some(lab) = Lab::new("calls_a_thread_hands_to_a_pool") else {
        return;
    };
    if let Some(out) = gunicorn(&lab, oldest, "pooled_app:app", &["-k", "sync", "-w", "4"]) {
        check_exact_by(&out, "pooled_app", "/front", &["/a", "/b"], "thread");
    }
}

/// Work that is run in another request's context, work that is never done, and queues that carry something else.
#[test]
fn work_that_contradicts_is_of_no_request() {
    let Some(lab) = Lab::new("work_that_contradicts_is_of_no_request") else {
        return;
    };
    let Some(out) = gunicorn(&lab, oldest, "crossed_app:app", THREADS) else {
        return;
    };
    out.check_no_wrong_links();
    let calls = |path: &str| {
        let calls = out
            .spans
            .filter(|span| span.kind == Kind::Client && span.service() == "crossed_app");
        calls.into_iter().filter(|call| call.path() == path).collect::<Vec<_>>()
    };
    for path in ["/borrowed", "/own", "/after"] {
        let linked = calls(path)
            .into_iter()
            .filter(|call| out.spans.parent(call).is_some())
            .count();
        let all = calls(path).len();
        out.check_eq(all as u64, REQUESTS, path);
        if path == "/own" {
            out.check_eq(linked, all, "calls of a request's own work that are linked");
        }
    }
    // All but the first run in the context of the request before.
    let borrowed = calls("/borrowed")
        .into_iter()
        .filter(|call| out.spans.parent(call).is_some())
        .count();
    out.check(
        borrowed <= 1,
        &format!("{borrowed} calls in borrowed contexts are linked"),
    );
}
