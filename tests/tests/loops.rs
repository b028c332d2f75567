//! Programs that serve many on few threads: event loops, proxies with pools, puma. A link is right or absent.
use clew_tests::{Clew, Kind, Lab, Outcome, Plan, envoy, free_port};

const DRIVE: &str = env!("CARGO_BIN_EXE_clew-drive");
const REQUESTS: u64 = 200;

/// Load -> the service under test (`/front`) -> a leaf in Go that answers out of order (`/leaf`).
fn through(lab: &Lab, argv: &[&str], env: &[(&str, &str)], concurrency: u64) -> Outcome {
    let (leaf, front) = (free_port(), free_port());
    let port = front.to_string();
    let argv: Vec<&str> = argv
        .iter()
        .map(|&word| if word == "PORT" { port.as_str() } else { word })
        .collect();
    let bind = format!("tcp://127.0.0.1:{port}");
    let argv: Vec<&str> = argv
        .iter()
        .map(|&word| if word == "BIND" { bind.as_str() } else { word })
        .collect();
    let mut plan = Plan::default()
        .service(leaf, &[&Lab::go("server"), &leaf.to_string()])
        .service(front, &argv)
        .env("NEXT", &format!("{leaf}/leaf"));
    for (name, value) in env {
        plan = plan.env(name, value);
    }
    Clew::run(lab).traced(&plan.load(front, "/front", REQUESTS, concurrency).argv(lab, DRIVE))
}

/// Every request has its spans and the calls at `paths`, each below the service's own server span.
fn check_linked(out: &Outcome, paths: &[&str]) {
    out.check_no_wrong_links();
    out.check_numbers(Kind::Server, "/front", REQUESTS);
    for path in paths {
        out.check_numbers(Kind::Client, path, REQUESTS);
        for call in out.spans.at(Kind::Client, path) {
            let parent = out.spans.parent(call);
            out.check(
                parent.is_some_and(|parent| parent.kind == Kind::Server && parent.path() == "/front"),
                &format!("not below its request: {}", call.brief()),
            );
        }
    }
}

/// Every span is there, and no link is wrong. Some calls at `path` are without a parent, and that is counted.
fn check_absent(out: &Outcome, path: &str) {
    out.check_no_wrong_links();
    out.check_numbers(Kind::Server, "/front", REQUESTS);
    let calls: Vec<_> = out.spans.at(Kind::Client, path);
    let calls: Vec<_> = calls.iter().filter(|span| span.service() != "clew-drive").collect();
    out.check_eq(calls.len() as u64, REQUESTS, "number of calls");
    let missing = calls.iter().filter(|span| span.parent.is_none()).count() as u64;
    let counted: u64 = out
        .counters
        .iter()
        .filter(|(name, _)| name.starts_with("causality.unknown"))
        .map(|(_, n)| n)
        .sum();
    out.check(
        missing > 0 && counted >= missing,
        "links are missing and are not counted",
    );
}

fn puma<'a>(app: &'a str, options: &[&'a str]) -> Vec<&'a str> {
    let mut argv = vec!["puma", "--quiet", "--bind", "BIND"];
    argv.extend(options);
    argv.push(app);
    argv
}

#[test]
fn puma_serves_on_another_thread_than_reads() {
    let Some(lab) = Lab::new("puma_serves_on_another_thread_than_reads") else {
        return;
    };
    let app = Lab::workload("ruby/mix.ru");
    // Fewer threads than connections: most requests are read by the reactor.
    check_linked(&through(&lab, &puma(&app, &["-t", "4:4"]), &[], 32), &["/a", "/last"]);
}

#[test]
fn puma_in_processes() {
    let Some(lab) = Lab::new("puma_in_processes") else {
        return;
    };
    let app = Lab::workload("ruby/mix.ru");
    let argv = puma(&app, &["-t", "2:4", "-w", "2"]);
    check_linked(&through(&lab, &argv, &[], 32), &["/a", "/last"]);
}

#[test]
fn puma_with_threads_of_its_own_is_never_wrong() {
    let Some(lab) = Lab::new("puma_with_threads_of_its_own_is_never_wrong") else {
        return;
    };
    let app = Lab::workload("ruby/mix.ru");
    let out = through(&lab, &puma(&app, &["-t", "4:4"]), &[("FANOUT", "1")], 16);
    check_linked(&out, &["/a", "/last"]);
    check_absent(&out, "/x");
}

#[test]
fn envoy_one_at_a_time() {
    let Some(lab) = Lab::new("envoy_one_at_a_time") else {
        return;
    };
    let out = proxied(&lab, 16, 1);
    out.check_chains(
        REQUESTS,
        &[
            "client clew-drive /front",
            "server envoy /front",
            "client envoy /front",
            "server go-server /front",
        ],
    );
}

#[test]
fn envoy_with_waiting_requests_is_never_wrong() {
    let Some(lab) = Lab::new("envoy_with_waiting_requests_is_never_wrong") else {
        return;
    };
    let out = proxied(&lab, 1, 32);
    out.check_no_wrong_links();
    let servers = out.spans.at(Kind::Server, "/front");
    let of = |service: &str| servers.iter().filter(|span| span.service() == service).count() as u64;
    out.check_eq((of("envoy"), of("go-server")), (REQUESTS, REQUESTS), "server spans");
    out.check(out.counter("causality.unknown.upstream") > 0, "nothing is counted");
}

fn proxied(lab: &Lab, connections: u32, concurrency: u64) -> Outcome {
    let (leaf, front) = (free_port(), free_port());
    let argv = envoy(lab, front, leaf, connections);
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    let plan = Plan::default()
        .service(leaf, &[&Lab::go("server"), &leaf.to_string()])
        .service(front, &argv)
        .load(front, "/front", REQUESTS, concurrency);
    Clew::run(lab).traced(&plan.argv(lab, DRIVE))
}

#[test]
fn event_loops_in_c_are_never_wrong() {
    for wait in ["epoll", "poll", "select"] {
        for pool in ["0", "3"] {
            let name = format!("event_loops_in_c_are_never_wrong {wait} {pool}");
            let Some(lab) = Lab::new(&name) else { return };
            let argv = [&Lab::c("loop"), "PORT"];
            check_absent(&through(&lab, &argv, &[("WAIT", wait), ("POOL", pool)], 32), "/leaf");
        }
    }
}

/// A loop that has one request open at a time and sends one of its own accord meanwhile: by threads alone that would be the
/// request's.
#[test]
fn a_loop_with_purposes_of_its_own_deceives_nobody() {
    for wait in ["epoll", "poll", "select"] {
        let name = format!("a_loop_with_purposes_of_its_own_deceives_nobody {wait}");
        let Some(lab) = Lab::new(&name) else { return };
        let argv = [&Lab::c("loop"), "PORT"];
        let out = through(&lab, &argv, &[("WAIT", wait), ("OWN", "1")], 1);
        out.check_numbers(Kind::Server, "/front", REQUESTS);
        let own = out.spans.at(Kind::Client, "/own");
        out.check(own.len() > 20, "it sent hardly any of its own");
        for span in own {
            out.check(span.parent.is_none(), &format!("{wait}: {} has a parent", span.brief()));
        }
    }
}
