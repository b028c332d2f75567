//! HTTP/2 and gRPC: connections that carry many requests at once, in and out.
use clew_tests::{Certificate, Lab, Plan, free_port};

use super::workload::{Expect, Made, Workload, fronted, leaf};

/// What `h2.go` does.
const H2: &[&str] = &[
    "client clew-drive /front",
    " server front /front",
    "  client front /middle",
    "   server middle /middle",
    "    client middle /a",
    "     server leaf /a",
    "    client middle /b",
    "     server leaf /b",
    "    client middle /c",
    "     server leaf /c",
    "    client middle /d",
    "     server leaf /d",
    "    ?client middle /cancelled",
    "     ?server leaf /cancelled",
    "    client middle /long",
    "     server leaf /long",
    "    client middle /later",
    "     server leaf /later",
    "  client front /other",
    "   server middle /other",
];

/// What `grpc/main.go` does.
const GRPC: &[&str] = &[
    "client clew-drive /front",
    " server front /front",
    "  client front /calls/middle",
    "   server middle /calls/middle",
    "    client middle /calls/a",
    "     server leaf /calls/a",
    "    client middle /calls/b",
    "     server leaf /calls/b",
    "    client middle /calls/c",
    "     server leaf /calls/c",
    "    client middle /calls/d",
    "     server leaf /calls/d",
    "    ?client middle /calls/cancelled",
    "     ?server leaf /calls/cancelled",
    "    client middle /calls/stream",
    "     server leaf /calls/stream",
    "    client middle /calls/later",
    "     server leaf /calls/later",
    "    client middle /calls/last",
    "     server leaf /calls/last",
    "  client front /calls/other",
    "   server middle /calls/other",
];

/// Three rows each: without and with TLS, and on the newest Node.js without, all handed their hook.
macro_rules! nodes {
    ($($name:literal, $file:literal, $runtime:literal, $chain:expr;)*) => {
        pub(super) const NODE: &[Workload] = &[
            $(
                node(concat!("node-", $name, "+assist"), $runtime, |_| line(&by_node("node", $file), &[], $chain)),
                node(concat!("tls-node-", $name, "+assist"), concat!($runtime, "; TLS"), |lab| {
                    secure(lab, &by_node("node", $file), $chain)
                }),
                node(concat!("node-newest-", $name, "+assist"), $runtime, |_| {
                    line(&by_node(&Lab::newest_node(), $file), &[], $chain)
                }),
            )*
        ];
    };
}

nodes! {
    "h2", "h2.js", "Node.js, http2 at both ends", H2;
    "grpc", "grpc.js", "Node.js, grpc-js at both ends", GRPC;
}

/// What `tonic/src/chain.rs` does by axum and reqwest.
const AXUM: &[&str] = &[
    "client clew-drive /front",
    " server front /front",
    "  client front /middle",
    "   server middle /middle",
    "    client middle /a",
    "     server leaf /a",
    "    client middle /b",
    "     server leaf /b",
    "    client middle /c",
    "     server leaf /c",
    "    client middle /d",
    "     server leaf /d",
    "    ?client middle /cancelled",
    "     ?server leaf /cancelled",
    "    client middle /later",
    "     server leaf /later",
    "    client middle /last",
    "     server leaf /last",
    "  client front /other",
    "   server middle /other",
];

/// What it does where tonic's handlers call over HTTP/1.1.
const MIXED: &[&str] = &[
    "client clew-drive /front",
    " server front /front",
    "  client front /calls/middle",
    "   server mixed /calls/middle",
    "    client mixed /a",
    "     server go-server /a",
    "    client mixed /b",
    "     server go-server /b",
    "    client mixed /c",
    "     server go-server /c",
    "    client mixed /d",
    "     server go-server /d",
    "    ?client mixed /cancelled",
    "     ?server go-server /cancelled",
    "    client mixed /later",
    "     server go-server /later",
    "    client mixed /last",
    "     server go-server /last",
    "  client front /calls/other",
    "   server mixed /calls/other",
];

pub(super) const ROWS: &[Workload] = &[
    Workload {
        name: "go-h2c",
        runtime: "Go, net/http over HTTP/2 at both ends",
        expect: Expect::Exact,
        make: |_| line(&[Lab::go("h2")], &[], H2),
    },
    Workload {
        name: "go-h2-tls",
        runtime: "Go, net/http over HTTP/2 and TLS at both ends",
        expect: Expect::Exact,
        make: |lab| secure(lab, &[Lab::go("h2")], H2),
    },
    Workload {
        name: "go-h2-tls-stripped",
        runtime: "Go, net/http over HTTP/2 and TLS, stripped",
        expect: Expect::Exact,
        make: |lab| secure(lab, &[Lab::go_by("local", "h2", true)], H2),
    },
    Workload {
        name: "go-grpc",
        runtime: "Go, grpc-go at both ends, unary calls and streams",
        expect: Expect::Exact,
        make: |_| line(&[Lab::go_module("grpc", false)], &[], GRPC),
    },
    // Calls that come with the first bytes of a connection are read by who accepts it, and given to a worker by another.
    Workload {
        name: "go-grpc-workers",
        runtime: "Go, grpc-go, a pool of goroutines that serve calls",
        expect: Expect::NeverWrong,
        make: |_| line(&[Lab::go_module("grpc", true)], &[("WORKERS", "8")], GRPC),
    },
    Workload {
        name: "go-grpc-stripped",
        runtime: "Go, grpc-go at both ends, stripped",
        expect: Expect::Exact,
        make: |_| line(&[Lab::go_module("grpc", true)], &[], GRPC),
    },
    Workload {
        name: "go-grpc-tls",
        runtime: "Go, grpc-go over TLS",
        expect: Expect::Exact,
        make: |lab| secure(lab, &[Lab::go_module("grpc", false)], GRPC),
    },
    Workload {
        name: "go-grpc-tls-stripped",
        runtime: "Go, grpc-go over TLS, stripped",
        expect: Expect::Exact,
        make: |lab| secure(lab, &[Lab::go_module("grpc", true)], GRPC),
    },
    Workload {
        name: "rust-tonic",
        runtime: "Rust, tonic at both ends, unary calls and streams",
        expect: Expect::Exact,
        make: |_| line(&[Lab::tonic()], &[], GRPC),
    },
    Workload {
        name: "rust-tonic-tls",
        runtime: "Rust, tonic over rustls",
        expect: Expect::Exact,
        make: |lab| secure(lab, &[Lab::tonic()], GRPC),
    },
    Workload {
        name: "rust-tonic-mixed",
        runtime: "Rust, tonic, whose handlers call over HTTP/1.1",
        expect: Expect::Exact,
        make: |_| mixed(),
    },
    Workload {
        name: "rust-axum-h2",
        runtime: "Rust, axum and reqwest over HTTP/2",
        expect: Expect::Exact,
        make: |_| line(&[Lab::tonic(), "axum".to_owned()], &[], AXUM),
    },
];

/// The oldest release line, and the newest, whose HTTP/2 lies in another package.
pub(super) const LINES: &[(&str, Workload)] = &[
    (
        "go1.21.13",
        Workload {
            name: "go-h2-1.21",
            runtime: "Go, go1.21.13, net/http over HTTP/2 and TLS, stripped",
            expect: Expect::Exact,
            make: |lab| secure(lab, &[Lab::go_by("go1.21.13", "h2", true)], H2),
        },
    ),
    (
        "go1.27.3",
        Workload {
            name: "go-h2-1.27",
            runtime: "Go, go1.27.3, net/http over HTTP/2 and TLS, stripped",
            expect: Expect::Exact,
            make: |lab| secure(lab, &[Lab::go_by("go1.27.3", "h2", true)], H2),
        },
    ),
];

const fn node(name: &'static str, runtime: &'static str, make: fn(&Lab) -> Made) -> Workload {
    Workload {
        name,
        runtime,
        expect: Expect::Exact,
        make,
    }
}

fn by_node(node: &str, file: &str) -> [String; 2] {
    [node.to_owned(), Lab::workload(&format!("node/{file}"))]
}

fn secure(lab: &Lab, program: &[String], chain: &'static [&'static str]) -> Made {
    let certificate = Certificate::new(lab);
    let env = [("CERTIFICATE", certificate.file()), ("KEY", certificate.key())];
    line(program, &env, chain)
}

/// Three processes of one program, each asking the next.
fn line(program: &[String], env: &[(&str, &str)], chain: &'static [&'static str]) -> Made {
    let mut plan = Plan::default();
    let mut next: Option<u16> = None;
    for role in ["leaf", "middle", "front"] {
        let port = free_port();
        let mut argv = program.to_vec();
        argv.extend([role.to_owned(), port.to_string()]);
        argv.extend(next.map(|next| next.to_string()));
        let words: Vec<&str> = argv.iter().map(String::as_str).collect();
        plan = plan
            .service(port, &words)
            .env("OTEL_SERVICE_NAME", role)
            .env("NODE_PATH", &Lab::node_modules());
        for (name, value) in env {
            plan = plan.env(name, value);
        }
        next = Some(port);
    }
    fronted(plan.rested(), next.unwrap_or_default(), chain)
}

/// A service that calls over gRPC, one that serves that and calls over HTTP/1.1, and one that is called so.
fn mixed() -> Made {
    let (mut plan, mut next) = leaf();
    for role in ["mixed", "front"] {
        let port = free_port();
        plan = plan
            .service(port, &[&Lab::tonic(), role, &port.to_string(), &next.to_string()])
            .env("OTEL_SERVICE_NAME", role);
        next = port;
    }
    fronted(plan.rested(), next, MIXED)
}
