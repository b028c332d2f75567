//! Node.js, without and with the hook that `clew run` hands to it, on the host's version and the newest.
use clew_tests::{Lab, Plan, free_port};

use super::workload::{Expect, Made, Workload, chain, front, leaf, made};

/// What the names of workloads end with whose runtimes are handed hooks. All others go without.
pub(super) const ASSISTED: &str = "+assist";

/// What `mix.js` does for a request.
const MIXED: &[&str] = &[
    "client clew-drive /front",
    " server mix /front",
    "  client mix /pooled",
    "   server leaf /pooled",
    "  client mix /fetched",
    "   server leaf /fetched",
    "  client mix /late",
    "   server leaf /late",
    "  client mix /second",
    "   server mix /second",
    "    client mix /behind",
    "     server leaf /behind",
    "  client mix /fail",
    "   server leaf /fail",
    "  client mix /cancel",
    "   server leaf /cancel",
    "  client mix /last",
    "   server leaf /last",
];

/// One thread asks another of its process, over a socket.
const WORKERS: &[&str] = &[
    "client clew-drive /front",
    "server workers /front",
    "client workers /work",
    "server workers /work",
    "client workers /leaf",
    "server go-server /leaf",
];

/// Four rows each: without and with the hook, on two versions.
macro_rules! rows {
    ($($name:literal, $runtime:literal, $make:expr;)*) => {
        pub(super) const WORKLOADS: &[Workload] = &[
            $(
                row(concat!("node-", $name), $runtime, Expect::NeverWrong, |lab| $make(lab, "node")),
                row(concat!("node-", $name, "+assist"), $runtime, Expect::Exact, |lab| $make(lab, "node")),
                row(concat!("node-newest-", $name), $runtime, Expect::NeverWrong, |lab| {
                    $make(lab, &Lab::newest_node())
                }),
                row(concat!("node-newest-", $name, "+assist"), $runtime, Expect::Exact, |lab| {
                    $make(lab, &Lab::newest_node())
                }),
            )*
        ];
    };
}

/// A program that passes on the context which comes with a request: no hook is needed.
pub(super) const PASSED: Workload = row(
    "node-passed",
    "Node.js, http, passes trace contexts on",
    Expect::Exact,
    |lab| one(lab, "node", "server", chain!("server")).traced(),
);

rows! {
    "http", "Node.js, http and a pool", |lab, node| one(lab, node, "server", chain!("server"));
    "mix", "Node.js, queues, fetch, timers, streams, failures", |_, node| mix(node);
    "express", "Node.js, Express and a pool of undici", |lab, node| one(lab, node, "express", chain!("express"));
    "fastify", "Node.js, Fastify and fetch", |lab, node| one(lab, node, "fastify", chain!("fastify"));
    "workers", "Node.js, an event loop a thread", |_, node| workers(node);
    "cluster", "Node.js, processes that share a port", |lab, node| one(lab, node, "cluster", chain!("cluster"));
}

const fn row(name: &'static str, runtime: &'static str, expect: Expect, make: fn(&Lab) -> Made) -> Workload {
    Workload {
        name,
        runtime,
        expect,
        make,
    }
}

/// A program that asks the leaf in Go once.
fn one(lab: &Lab, node: &str, program: &str, chain: &'static [&'static str]) -> Made {
    let program = Lab::workload(&format!("node/{program}.js"));
    front(lab, &[node, &program], &[("NODE_PATH", &Lab::node_modules())], chain)
}

/// Every way of asking at once, of a leaf in Node.js.
fn mix(node: &str) -> Made {
    let (leaf, port) = (free_port(), free_port());
    let program = |name: &str| Lab::workload(&format!("node/{name}.js"));
    let plan = Plan::default()
        .service(leaf, &[node, &program("leaf"), &leaf.to_string()])
        .service(port, &[node, &program("mix"), &port.to_string()]);
    made(plan, leaf, port, &[], MIXED)
}

fn workers(node: &str) -> Made {
    let (plan, leaf) = leaf();
    let port = free_port();
    let argv = [node, &Lab::workload("node/workers.js"), &port.to_string()];
    made(plan.service(port, &argv), leaf, port, &[], WORKERS)
}
