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
    let folder = Lab::workload("python/mix.py").replace("/mix.py", "");
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
        .load(port, path, REQUESTS, CONCURRENCY);
    Clew::run(lab).traced(&plan.argv(lab, DRIVE))
}

/// Each call that a request makes at `paths` is there once and is the request's; so is every other call that was sent.
fn check_exact(out: &Outcome, service: &str, front: &str, paths: &[&str]) {
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
            "context",
            "how its parent was found",
        );
    }
    for path in paths {
        out.check_eq(seen.get(*path).copied(), Some(REQUESTS), path);
    }
}

const MIXED: &[&str] = &["/a", "/b", "/thread", "/last"];

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
    check_exact(
        &aiohttp(&lab, "asyncio"),
        "aiohttp_app",
        "/front",
        &["/a", "/b", "/last"],
    );
}

#[test]
fn aiohttp_on_uvloop() {
    let Some(lab) = Lab::new("aiohttp_on_uvloop") else {
        return;
    };
    check_exact(
        &aiohttp(&lab, "uvloop"),
        "aiohttp_app",
        "/front",
        &["/a", "/b", "/last"],
    );
}
