//! Rust: axum, hyper and reqwest on both of Tokio's schedulers, with symbols and without.
use clew_tests::Lab;

use super::workload::{Expect, Made, Workload, front};

/// What `axum.rs` does for a request.
macro_rules! axum {
    ($service:literal, $mark:literal $(, $more:literal)*) => {
        &[
            "client clew-drive /front",
            concat!(" server ", $service, " /front"),
            axum!(@call $mark, $service, "/a"),
            "   server go-server /a",
            axum!(@call $mark, $service, "/b"),
            "   server go-server /b",
            concat!("  ?", $mark, "client ", $service, " /cancelled"),
            "   ?server go-server /cancelled",
            axum!(@call $mark, $service, "/spawned"),
            "   server go-server /spawned",
            axum!(@call $mark, $service, "/set1"),
            "   server go-server /set1",
            axum!(@call $mark, $service, "/set2"),
            "   server go-server /set2",
            axum!(@call $mark, $service, "/blocking"),
            "   server go-server /blocking",
            $(axum!(@call "~", $service, $more), concat!("   server go-server ", $more),)*
            axum!(@call $mark, $service, "/last"),
            "   server go-server /last",
            // The program may end before it.
            concat!("  ?", $mark, "client ", $service, " /later"),
            "   ?server go-server /later",
        ]
    };
    (@call $mark:literal, $service:literal, $path:literal) => {
        concat!("  ", $mark, "client ", $service, " ", $path)
    };
}

const AXUM: &[&str] = axum!("axum-server", "");
/// One task makes the calls of all requests, which is seen, so that they are linked to none.
const WORKER: &[&str] = axum!("axum-server", "", "/worker");
/// Nothing is known of tasks.
const STRIPPED: &[&str] = axum!("axum-server-stripped", "~");
const LOCAL: &[&str] = &[
    "client clew-drive /front",
    " server local-server /front",
    "  client local-server /a",
    "   server go-server /a",
    "  client local-server /local",
    "   server go-server /local",
    "  client local-server /set1",
    "   server go-server /set1",
    "  client local-server /set2",
    "   server go-server /set2",
    "  client local-server /last",
    "   server go-server /last",
];
const HYPER: &[&str] = &[
    "client clew-drive /front",
    " server hyper-server /front",
    "  client hyper-server /a",
    "   server go-server /a",
    "  client hyper-server /b",
    "   server go-server /b",
    "  client hyper-server /spawned",
    "   server go-server /spawned",
];
/// Nothing is known of smol's tasks.
const SMOL: &[&str] = &[
    "client clew-drive /front",
    " server smol-server /front",
    "  ~client smol-server /a",
    "   server go-server /a",
    "  ~client smol-server /b",
    "   server go-server /b",
    "  ~client smol-server /spawned",
    "   server go-server /spawned",
];

/// On several threads a connection that is just looking for a request may take it, and write it, before its giver was seen to
/// give it: about one in ten thousand is unknown.
pub(super) const WORKLOADS: &[Workload] = &[
    Workload {
        name: "rust-axum",
        runtime: "Rust, axum and reqwest on several threads",
        expect: Expect::NeverWrong,
        make: |lab| rust(lab, "axum-server", &[], AXUM),
    },
    Workload {
        name: "rust-axum-current",
        runtime: "Rust, axum and reqwest on one thread",
        expect: Expect::Exact,
        make: |lab| rust(lab, "axum-server", &[("RUNTIME", "current")], AXUM),
    },
    Workload {
        name: "rust-axum-worker",
        runtime: "Rust, one task calls for all requests",
        expect: Expect::NeverWrong,
        make: |lab| rust(lab, "axum-server", &[("WORKER", "1")], WORKER),
    },
    Workload {
        name: "rust-axum-stripped",
        runtime: "Rust, stripped: tasks are unknown",
        expect: Expect::NeverWrong,
        make: |lab| front(lab, &[&Lab::stripped_rust("axum-server")], &[], STRIPPED),
    },
    Workload {
        name: "rust-axum-debug",
        runtime: "Rust, axum and reqwest, not optimized",
        expect: Expect::NeverWrong,
        make: |lab| front(lab, &[&Lab::rust_built("axum-server", "dev")], &[], AXUM),
    },
    Workload {
        name: "rust-axum-fat",
        runtime: "Rust, axum and reqwest, link-time optimized",
        expect: Expect::NeverWrong,
        make: |lab| front(lab, &[&Lab::rust_built("axum-server", "fat")], &[], AXUM),
    },
    Workload {
        name: "rust-local",
        runtime: "Rust, tasks of a LocalSet",
        expect: Expect::Exact,
        make: |lab| rust(lab, "local-server", &[("RUNTIME", "current")], LOCAL),
    },
    Workload {
        name: "rust-hyper",
        runtime: "Rust, hyper on several threads",
        expect: Expect::NeverWrong,
        make: |lab| rust(lab, "hyper-server", &[], HYPER),
    },
    Workload {
        name: "rust-hyper-current",
        runtime: "Rust, hyper on one thread",
        expect: Expect::Exact,
        make: |lab| rust(lab, "hyper-server", &[("RUNTIME", "current")], HYPER),
    },
    Workload {
        name: "rust-smol",
        runtime: "Rust, hyper on smol: its tasks are unknown",
        expect: Expect::NeverWrong,
        make: |lab| rust(lab, "smol-server", &[("SMOL_THREADS", "4")], SMOL),
    },
    Workload {
        name: "rust-https",
        runtime: "Rust, rustls at both ends",
        expect: Expect::Exact,
        make: |lab| super::tls::rust(lab, &Lab::rustls("release")),
    },
];

fn rust(lab: &Lab, program: &str, env: &[(&str, &str)], chain: &'static [&'static str]) -> Made {
    front(lab, &[&Lab::rust(program)], env, chain)
}
