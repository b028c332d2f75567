//! Makes a fresh Debian machine ready to build and test Clew. Every step looks first and does nothing where nothing is
//! missing, so this runs before everything else.
mod go;
mod hook;
mod java;
mod kernel;
mod library;
mod linker;
mod node;
mod packages;
mod python;
mod rust;

use std::time::Instant;

use anyhow::{Result, bail};

/// What a step found or did.
pub(crate) enum Step {
    /// Nothing was missing.
    Ready(String),
    /// It was missing and is there now.
    Done(String),
}

/// One thing the machine needs.
struct Need {
    name: &'static str,
    why: &'static str,
    provide: fn() -> Result<Step>,
    /// Whether nothing at all can be built without it.
    compiler: bool,
}

const HOOK: &str = "hook for Java";
const PAGE: &str = "packages of the page";

/// In the order in which they need each other.
const NEEDS: &[Need] = &[
    Need {
        name: "packages",
        why: "servers, clients and runtimes that the tests trace",
        provide: packages::provide,
        compiler: false,
    },
    Need {
        name: "library source",
        why: "core is compiled for the BPF target",
        provide: library::provide,
        compiler: true,
    },
    Need {
        name: "bpf-linker",
        why: "links the kernel programs",
        provide: linker::provide,
        compiler: true,
    },
    Need {
        name: HOOK,
        why: "clew run hands it to Java, so that it tells which request it works for",
        provide: hook::provide,
        compiler: false,
    },
    Need {
        name: "tracefs",
        why: "numbers of the kernel's tracepoints, for --capture syscall",
        provide: kernel::provide,
        compiler: false,
    },
    Need {
        name: "Python environment",
        why: "Flask, gunicorn, Envoy and a collector for the tests",
        provide: python::provide,
        compiler: false,
    },
    Need {
        name: "Node.js packages",
        why: "what the Node.js workloads use, and the newest Node.js",
        provide: node::provide,
        compiler: false,
    },
    Need {
        name: PAGE,
        why: "what the dashboard's page is built with",
        provide: node::page,
        compiler: false,
    },
    Need {
        name: "Java libraries",
        why: "Spring, Tomcat, Jetty, Netty, Kafka, Cassandra and Java 21 for the tests",
        provide: java::provide,
        compiler: false,
    },
    Need {
        name: "collector",
        why: "the upstream OpenTelemetry Collector for the tests",
        provide: go::collector,
        compiler: false,
    },
    Need {
        name: "Go modules",
        why: "gin and errgroup for the program that the tests trace",
        provide: go::modules,
        compiler: false,
    },
    Need {
        name: "Rust workloads",
        why: "axum, hyper and reqwest programs that the tests trace",
        provide: rust::workloads,
        compiler: false,
    },
];

/// `cargo xtask setup`.
///
/// # Errors
/// When something could not be got; it is named.
pub(crate) fn report() -> Result<()> {
    let missing = provide(|_| true, true);
    if missing.is_empty() {
        println!("setup: this machine is ready");
        return Ok(());
    }
    println!("setup: could not get");
    for (name, why) in &missing {
        println!("  {name}: {why}");
    }
    bail!("{} of {} steps failed", missing.len(), NEEDS.len());
}

/// All steps, saying only what had to be done and what is missing. Only a missing compiler part is an error: tests that
/// want the rest say that they are skipped, or fail.
///
/// # Errors
/// When Clew cannot be built on this machine.
pub(crate) fn quiet() -> Result<()> {
    check_compiler(&provide(|_| true, false))
}

/// The steps without which nothing can be built, and what a whole `clew` is built with.
///
/// # Errors
/// When Clew cannot be built on this machine.
pub(crate) fn compiler() -> Result<()> {
    check_compiler(&provide(|need| need.compiler || need.name == HOOK, false))
}

/// What the page is built with.
///
/// # Errors
/// It cannot be had.
pub(crate) fn page() -> Result<()> {
    match provide(|need| need.name == PAGE, false).pop() {
        Some((name, why)) => bail!("{name}: {why}"),
        None => Ok(()),
    }
}

fn check_compiler(missing: &[(&str, String)]) -> Result<()> {
    let needed = |name: &str| NEEDS.iter().any(|need| need.compiler && need.name == name);
    match missing.iter().find(|(name, _)| needed(name)) {
        Some((name, _)) => bail!("Clew cannot be built here without the {name}"),
        None => Ok(()),
    }
}

/// Provides what `chosen` says, and returns what could not be got and why.
fn provide(chosen: impl Fn(&Need) -> bool, talkative: bool) -> Vec<(&'static str, String)> {
    let mut missing = Vec::new();
    for need in NEEDS.iter().filter(|need| chosen(need)) {
        let begun = Instant::now();
        if talkative {
            println!("setup: {} ({})", need.name, need.why);
        }
        let result = (need.provide)();
        let seconds = begun.elapsed().as_secs();
        match result {
            Ok(Step::Ready(what)) if talkative => println!("  ready: {what}"),
            Ok(Step::Ready(_)) => {}
            Ok(Step::Done(what)) => println!("  {}: done in {seconds} s: {what}", need.name),
            Err(error) => {
                let error = format!("{error:#}");
                println!("  {}: MISSING after {seconds} s: {error}", need.name);
                missing.push((need.name, crate::shell::first_line(&error).to_owned()));
            }
        }
    }
    missing
}
