//! Go: goroutines, worker pools, and everything at once, on each release line.
use clew_tests::{Certificate, Lab, Plan, free_port};

use super::workload::{Expect, Made, Workload, front, made};

/// What `mix.go` does for `/front`.
const MIXED: &[&str] = &[
    "client clew-drive /front",
    " server mix /front",
    "  client mix /a",
    "   server go-server /a",
    "  client mix /b",
    "   server go-server /b",
    "  client mix /c",
    "   server go-server /c",
    "  ?client mix /cancelled",
    "   ?server go-server /cancelled",
    "  client mix /last",
    "   server go-server /last",
    "  client mix /later",
    "   server go-server /later",
];

/// What it does for `/crowded`.
const CROWDED: &[&str] = &[
    "client clew-drive /crowded",
    " server mix /crowded",
    "  ?client mix /w-gone",
    "   ?server go-server /w-gone",
    "  ?client mix /w-left",
    "   ?server go-server /w-left",
    "  client mix /w",
    "   server go-server /w",
    "  ?client mix /x-gone",
    "   ?server go-server /x-gone",
    "  ?client mix /x-left",
    "   ?server go-server /x-left",
    "  client mix /x",
    "   server go-server /x",
    "  ?client mix /y-gone",
    "   ?server go-server /y-gone",
    "  ?client mix /y-left",
    "   ?server go-server /y-left",
    "  client mix /y",
    "   server go-server /y",
    "  ?client mix /z-gone",
    "   ?server go-server /z-gone",
    "  ?client mix /z-left",
    "   ?server go-server /z-left",
    "  client mix /z",
    "   server go-server /z",
];

/// What `gin/main.go` does.
const GIN: &[&str] = &[
    "client clew-drive /front",
    " server gin /front",
    "  ?client gin /aborted",
    "   ?server go-server /aborted",
    "  client gin /g1",
    "   server go-server /g1",
    "  client gin /g2",
    "   server go-server /g2",
    "  client gin /g3",
    "   server go-server /g3",
    "  client gin /g4",
    "   server go-server /g4",
    "  client gin /l1",
    "   server go-server /l1",
    "  client gin /l2",
    "   server go-server /l2",
    // The program may end before them.
    "  ?client gin /after",
    "   ?server go-server /after",
    "  ?client gin /ticked",
    "   ?server go-server /ticked",
];

macro_rules! thrice {
    ($path:literal) => {
        &[
            concat!("client clew-drive ", $path),
            concat!(" server mix ", $path),
            "  client mix /m0",
            "   server go-server /m0",
            "  client mix /m1",
            "   server go-server /m1",
            "  client mix /m2",
            "   server go-server /m2",
            "  client mix /n0",
            "   server go-server /n0",
            "  client mix /n1",
            "   server go-server /n1",
            "  client mix /n2",
            "   server go-server /n2",
        ]
    };
}

macro_rules! pool {
    ($path:literal) => {
        &[
            concat!("client clew-drive ", $path),
            concat!("server mix ", $path),
            "client mix /job",
            "server go-server /job",
        ]
    };
}

/// On the installed toolchain, as they are run everywhere.
pub(super) const ROWS: &[Workload] = &[
    Workload {
        name: "go-mix",
        runtime: "Go, fan-out, cancelled and late calls",
        expect: Expect::Exact,
        make: |lab| mix(lab, Lab::go("mix"), "/front", MIXED),
    },
    Workload {
        name: "go-pool",
        runtime: "Go, workers behind a channel",
        expect: Expect::Exact,
        make: |lab| mix(lab, Lab::go("mix"), "/eager", pool!("/eager")),
    },
    Workload {
        name: "go-relay",
        runtime: "Go, workers behind two channels",
        expect: Expect::Exact,
        make: |lab| mix(lab, Lab::go("mix"), "/relay", pool!("/relay")),
    },
    Workload {
        name: "go-crowded",
        runtime: "Go, calls that give up give connections away",
        expect: Expect::Exact,
        make: |lab| mix(lab, Lab::go("mix"), "/crowded", CROWDED),
    },
    // What is given the first time, before anybody gave it back, contradicts who made the goroutine that gets it.
    Workload {
        name: "go-rounds",
        runtime: "Go, buffers that go round in a channel",
        expect: Expect::NeverWrong,
        make: |lab| mix(lab, Lab::go("mix"), "/rounds", thrice!("/rounds")),
    },
    // The answers come from a goroutine that works for whoever asked it last.
    Workload {
        name: "go-clerk",
        runtime: "Go, a goroutine that answers out of turn",
        expect: Expect::NeverWrong,
        make: |lab| mix(lab, Lab::go("mix"), "/clerk", thrice!("/clerk")),
    },
    Workload {
        name: "go-gin",
        runtime: "Go, gin, groups and timers",
        expect: Expect::Exact,
        make: |lab| gin(lab, false),
    },
    Workload {
        name: "go-gin-stripped",
        runtime: "Go, gin, groups and timers, stripped",
        expect: Expect::Exact,
        make: |lab| gin(lab, true),
    },
    // The first job of a worker that a request started may be for another request: it is left unknown.
    Workload {
        name: "go-lazy-pool",
        runtime: "Go, workers that requests start",
        expect: Expect::NeverWrong,
        make: |lab| mix(lab, Lab::go("mix"), "/lazy", pool!("/lazy")),
    },
    Workload {
        name: "go-https",
        runtime: "Go, crypto/tls at both ends",
        expect: Expect::Exact,
        make: |lab| secure(lab, &Lab::go("secure")),
    },
    Workload {
        name: "go-https-stripped",
        runtime: "Go, crypto/tls at both ends, stripped",
        expect: Expect::Exact,
        make: |lab| secure(lab, &Lab::go_by("local", "secure", true)),
    },
];

/// What `secure.go` does for `/front`, which it asks over TLS.
const SECURE: &[&str] = &[
    "client clew-drive /front",
    "server secure /front",
    "client secure /leaf",
    "server secure-leaf /leaf",
];

/// Four rows a release line: everything at once and crypto/tls, each stripped and with symbols.
macro_rules! lines {
    ($($name:literal, $secured:literal, $toolchain:literal;)*) => {
        /// Release lines and the rows that need them.
        pub(super) const LINES: &[(&str, Workload)] = &[$(
            line!($name, $toolchain, "stripped", mixed, true),
            line!(concat!($name, "-symbols"), $toolchain, "with symbols", mixed, false),
            line!($secured, $toolchain, "crypto/tls at both ends, stripped", secured, true),
            line!(
                concat!($secured, "-symbols"), $toolchain, "crypto/tls at both ends, with symbols", secured, false
            ),
        )*];
    };
}

macro_rules! line {
    ($name:expr, $toolchain:literal, $what:literal, $make:ident, $stripped:literal) => {
        (
            $toolchain,
            Workload {
                name: $name,
                runtime: concat!("Go, ", $toolchain, ", ", $what),
                expect: Expect::Exact,
                make: |lab| $make(lab, $toolchain, $stripped),
            },
        )
    };
}

lines! {
    "go-mix-1.21", "go-https-1.21", "go1.21.13";
    "go-mix-1.22", "go-https-1.22", "go1.22.12";
    "go-mix-1.23", "go-https-1.23", "go1.23.12";
    "go-mix-1.24", "go-https-1.24", "go1.24.13";
    "go-mix-1.25", "go-https-1.25", "go1.25.8";
    "go-mix-1.26", "go-https-1.26", "go1.26.8";
    "go-mix-1.27", "go-https-1.27", "go1.27.3";
}

fn gin(lab: &Lab, stripped: bool) -> Made {
    let program = Lab::go_module("gin", stripped);
    front(lab, &[&program], &[("OTEL_SERVICE_NAME", "gin")], GIN)
}

fn mix(lab: &Lab, program: String, path: &'static str, chain: &'static [&'static str]) -> Made {
    let made = front(lab, &[&program], &[("OTEL_SERVICE_NAME", "mix")], chain);
    Made { path, ..made }
}

fn mixed(lab: &Lab, toolchain: &str, stripped: bool) -> Made {
    mix(lab, Lab::go_by(toolchain, "mix", stripped), "/front", MIXED)
}

fn secured(lab: &Lab, toolchain: &str, stripped: bool) -> Made {
    secure(lab, &Lab::go_by(toolchain, "secure", stripped))
}

/// A server that answers without TLS, and one behind it that is asked over TLS.
fn secure(lab: &Lab, program: &str) -> Made {
    let certificate = Certificate::new(lab);
    let (leaf, port) = (free_port(), free_port());
    let argv = |port: &str| [program, port, certificate.file(), certificate.key()].map(str::to_owned);
    let (behind, before) = (argv(&leaf.to_string()), argv(&port.to_string()));
    let plan = Plan::default()
        .service(leaf, &behind.each_ref().map(String::as_str))
        .env("OTEL_SERVICE_NAME", "secure-leaf")
        .service(port, &before.each_ref().map(String::as_str));
    let env = [("OTEL_SERVICE_NAME", "secure"), ("PLAIN", "1")];
    made(plan, leaf, port, &env, SECURE)
}
