//! Event loops in C, Envoy, and Ruby, whose puma reads on one thread and serves on another.
use clew_tests::{Lab, envoy, free_port};

use super::workload::{Expect, Made, Workload, chain, front, leaf, made};

pub(super) const WORKLOADS: &[Workload] = &[
    Workload {
        name: "ruby-puma",
        runtime: "Ruby, puma, a reactor and a pool of threads",
        expect: Expect::Exact,
        make: |lab| puma(lab, &["-t", "16:16"], &[], MIXED),
    },
    Workload {
        name: "ruby-puma-cluster",
        runtime: "Ruby, puma, two processes",
        expect: Expect::Exact,
        make: |lab| puma(lab, &["-t", "4:8", "-w", "2"], &[], MIXED),
    },
    Workload {
        name: "ruby-puma-fanout",
        runtime: "Ruby, puma, calls on threads of their own",
        expect: Expect::NeverWrong,
        make: |lab| puma(lab, &["-t", "8:8"], &[("FANOUT", "1")], FANOUT),
    },
    Workload {
        name: "envoy-proxy",
        runtime: "Envoy, two event loops that forward",
        expect: Expect::NeverWrong,
        make: |lab| proxy(lab, 1024),
    },
    Workload {
        name: "envoy-proxy-waiting",
        runtime: "Envoy, requests wait for two connections",
        expect: Expect::NeverWrong,
        make: |lab| proxy(lab, 2),
    },
    Workload {
        name: "envoy-passed",
        runtime: "Envoy, requests that carry trace contexts",
        expect: Expect::Exact,
        make: |lab| proxy(lab, 1024).traced(),
    },
    Workload {
        name: "envoy-passed-waiting",
        runtime: "Envoy, such requests wait for two connections",
        expect: Expect::Exact,
        make: |lab| proxy(lab, 2).traced(),
    },
    Workload {
        name: "c-epoll",
        runtime: "C, an event loop, a connection a call",
        expect: Expect::NeverWrong,
        make: |lab| event_loop(lab, &[]),
    },
    Workload {
        name: "c-epoll-pool",
        runtime: "C, an event loop, requests wait for kept connections",
        expect: Expect::NeverWrong,
        make: |lab| event_loop(lab, &[("POOL", "4")]),
    },
    Workload {
        name: "c-poll-pool",
        runtime: "C, the same with poll",
        expect: Expect::NeverWrong,
        make: |lab| event_loop(lab, &[("POOL", "4"), ("WAIT", "poll")]),
    },
    Workload {
        name: "c-select",
        runtime: "C, an event loop with select",
        expect: Expect::NeverWrong,
        make: |lab| event_loop(lab, &[("WAIT", "select")]),
    },
];

/// What `mix.ru` does for a request.
const MIXED: &[&str] = &[
    "client clew-drive /front",
    " server puma /front",
    "  client puma /a",
    "   server go-server /a",
    "  ?client puma /cancelled",
    "   ?server go-server /cancelled",
    "  client puma /last",
    "   server go-server /last",
];

/// The same with two calls at once from threads that are created for them, or that Ruby keeps from earlier ones.
const FANOUT: &[&str] = &[
    "client clew-drive /front",
    " server puma /front",
    "  client puma /a",
    "   server go-server /a",
    "  ?client puma /cancelled",
    "   ?server go-server /cancelled",
    "  ~client puma /x",
    "   server go-server /x",
    "  ~client puma /y",
    "   server go-server /y",
    "  client puma /last",
    "   server go-server /last",
];

fn puma(_: &Lab, options: &[&str], env: &[(&str, &str)], chain: &'static [&'static str]) -> Made {
    let (plan, leaf) = leaf();
    let port = free_port();
    let (bind, app) = (format!("tcp://127.0.0.1:{port}"), Lab::workload("ruby/mix.ru"));
    let mut argv = vec!["puma", "--quiet", "--bind", &bind];
    argv.extend(options);
    argv.push(&app);
    made(plan.service(port, &argv), leaf, port, env, chain)
}

fn proxy(lab: &Lab, connections: u32) -> Made {
    let (plan, leaf) = leaf();
    let port = free_port();
    let argv = envoy(lab, port, leaf, connections);
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    made(
        plan.service(port, &argv),
        leaf,
        port,
        &[],
        &[
            "client clew-drive /front",
            "server envoy /front",
            "client envoy /front",
            "server go-server /front",
        ],
    )
}

fn event_loop(lab: &Lab, env: &[(&str, &str)]) -> Made {
    front(lab, &[&Lab::c("loop")], env, chain!("loop"))
}
