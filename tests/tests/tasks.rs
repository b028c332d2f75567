//! Which request caused which call in programs on Tokio, where tasks make them.
use clew_tests::{Clew, Kind, Lab, Outcome, Plan, free_port};

const DRIVE: &str = env!("CARGO_BIN_EXE_clew-drive");
const REQUESTS: u64 = 200;
const CONCURRENCY: u64 = 32;

/// Load -> the program under test (`/front`) -> a leaf in Go that answers out of order.
fn through(lab: &Lab, program: &str, env: &[(&str, &str)]) -> Outcome {
    let (leaf, front) = (free_port(), free_port());
    let mut plan = Plan::default()
        .service(leaf, &[&Lab::go("server"), &leaf.to_string()])
        .service(front, &[program, &front.to_string()])
        .env("NEXT", &format!("{leaf}/leaf"));
    for (name, value) in env {
        plan = plan.env(name, value);
    }
    // Clew reads the program's symbols meanwhile; what is asked before that is unknown.
    let plan = plan.rested();
    Clew::run(lab).traced(&plan.load(front, "/front", REQUESTS, CONCURRENCY).argv(lab, DRIVE))
}

/// Every call to `paths` is there, and the request that caused it is its parent. On several threads a connection that is just
/// looking for a request may write it before its giver was seen to give it: one call in a thousand may be without a parent,
/// if that is counted.
fn check_linked(out: &Outcome, service: &str, paths: &[&str], threads: Threads) {
    out.check_no_wrong_links();
    let mut missing = 0;
    for path in paths {
        // Those that outlive their request may not be made before the program ends.
        if *path != LATER {
            out.check_numbers(Kind::Client, path, REQUESTS);
        }
        for call in out.spans.at(Kind::Client, path) {
            if call.parent.is_none() {
                missing += 1;
                continue;
            }
            let parent = out.spans.parent(call).map(clew_tests::Span::brief);
            let name = parent.clone().unwrap_or_default();
            let right = out.spans.parent(call).is_some_and(|parent| {
                parent.kind == Kind::Server && parent.service() == service && parent.number() == call.number()
            });
            out.check(right, &format!("{} is under {name:?}", call.brief()));
            out.check_eq(
                call.text("clew.parent.source"),
                "task".to_owned(),
                "source of the parent",
            );
        }
    }
    let most = match threads {
        Threads::One => 0,
        Threads::Several => REQUESTS * paths.len() as u64 / 1000 + 1,
    };
    let counted = out.counter("causality.unknown.runtime") + out.counter("causality.unknown.context");
    out.check(
        missing <= most && missing <= counted,
        &format!("{missing} links are missing"),
    );
}

#[derive(Clone, Copy)]
enum Threads {
    One,
    Several,
}

/// Every call to `path` is there, no request is its parent, and that is counted.
fn check_unknown(out: &Outcome, path: &str, counter: &str) {
    out.check_no_wrong_links();
    out.check_numbers(Kind::Client, path, REQUESTS);
    let calls = out.spans.at(Kind::Client, path);
    let told = calls.iter().filter(|call| !call.text("clew.parent.unknown").is_empty());
    out.check_eq(told.count(), calls.len(), "calls that tell it");
    let linked = calls.iter().filter(|call| call.parent.is_some()).count();
    out.check_eq(linked, 0, &format!("calls to {path} that are linked"));
    // The first may be sent before the program's tasks are followed.
    let counted = out.counter(counter) + out.counter("causality.unknown.runtime");
    out.check(counted >= REQUESTS, &format!("{counter} counts them"));
}

#[test]
fn axum_on_several_threads() {
    let Some(lab) = Lab::new("axum_on_several_threads") else {
        return;
    };
    let out = through(&lab, &Lab::rust("axum-server"), &[]);
    check_linked(&out, "axum-server", AXUM, Threads::Several);
}

#[test]
fn axum_on_one_thread() {
    let Some(lab) = Lab::new("axum_on_one_thread") else {
        return;
    };
    let out = through(&lab, &Lab::rust("axum-server"), &[("RUNTIME", "current")]);
    check_linked(&out, "axum-server", AXUM, Threads::One);
}

/// The worker is a child of the first request that needed it, and no call it makes may pass for that request's.
#[test]
fn a_worker_for_all_requests_is_nobodys() {
    let Some(lab) = Lab::new("a_worker_for_all_requests_is_nobodys") else {
        return;
    };
    let out = through(&lab, &Lab::rust("axum-server"), &[("WORKER", "1")]);
    check_linked(&out, "axum-server", AXUM, Threads::Several);
    check_unknown(&out, "/worker", "causality.unknown.context");
}

#[test]
fn hyper_connections() {
    let Some(lab) = Lab::new("hyper_connections") else {
        return;
    };
    let out = through(&lab, &Lab::rust("hyper-server"), &[]);
    check_linked(&out, "hyper-server", &["/a", "/b", "/spawned"], Threads::Several);
}

#[test]
fn stripped_programs_are_unknown() {
    let Some(lab) = Lab::new("stripped_programs_are_unknown") else {
        return;
    };
    let out = through(&lab, &Lab::stripped_rust("axum-server"), &[]);
    for path in AXUM.iter().filter(|path| **path != LATER) {
        check_unknown(&out, path, "causality.unknown.runtime");
    }
    out.check(out.counter("context.unfollowed") >= 1, "context.unfollowed counts it");
}

/// What `axum.rs` calls for a request, always.
const AXUM: &[&str] = &["/a", "/b", "/spawned", "/set1", "/set2", "/blocking", "/last", LATER];
const LATER: &str = "/later";
