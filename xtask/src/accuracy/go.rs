//! Go: goroutines, worker pools, and everything at once, on each release line.
use clew_tests::Lab;

use super::workload::{Expect, Made, Workload, front};

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
    // The first job of a worker that a request started may be for another request: it is left unknown.
    Workload {
        name: "go-lazy-pool",
        runtime: "Go, workers that requests start",
        expect: Expect::NeverWrong,
        make: |lab| mix(lab, Lab::go("mix"), "/lazy", pool!("/lazy")),
    },
];

/// One row a release line, stripped.
macro_rules! lines {
    ($($name:literal, $toolchain:literal;)*) => {
        /// Release lines and the rows that need them.
        pub(super) const LINES: &[(&str, Workload)] = &[$((
            $toolchain,
            Workload {
                name: $name,
                runtime: concat!("Go, ", $toolchain, ", stripped"),
                expect: Expect::Exact,
                make: |lab| mix(lab, Lab::go_stripped("mix", $toolchain), "/front", MIXED),
            },
        )),*];
    };
}

lines! {
    "go-mix-1.21", "go1.21.13";
    "go-mix-1.22", "go1.22.12";
    "go-mix-1.23", "go1.23.12";
    "go-mix-1.24", "go1.24.13";
    "go-mix-1.25", "go1.25.8";
    "go-mix-1.26", "go1.26.8";
    "go-mix-1.27", "go1.27.3";
}

fn mix(lab: &Lab, program: String, path: &'static str, chain: &'static [&'static str]) -> Made {
    let made = front(lab, &[&program], &[("OTEL_SERVICE_NAME", "mix")], chain);
    Made { path, ..made }
}
