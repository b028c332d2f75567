//! Java: pools of threads, hand-over, virtual threads and event loops, on each release with other threads.
use clew_tests::{Lab, free_port};

use super::workload::{Expect, Made, Workload, leaf, made};

/// Calls made in the thread that serves the request: one after the other, refused, given up.
const HERE: &str = "a=here,none=refused,slow=impatient,last=here";
/// Some of them handed to the threads of a pool, to one that is made for it, and to the threads of the JDK's `HttpClient`.
const HANDED: &str = "a=here,pool=pool,thread=thread,sent=client,last=here";
/// Every way to hand a call over, and calls that are refused or given up.
const MIXED: &str =
    "a=here,pool=pool,thread=thread,common=common,none=refused,sent=client,slow=impatient,async=async,last=here";
/// By the `HttpClient`, which goes on with tasks of the common pool.
const ASYNC: &str = "a=here,common=async,last=here";
/// One of them a task of the common pool, which any thread that waits may run.
const COMMON: &str = "a=here,common=common,last=here";

macro_rules! here {
    ($service:literal) => {
        &[
            "client clew-drive /front",
            concat!(" server ", $service, " /front"),
            concat!("  client ", $service, " /a"),
            "   server go-server /a",
            concat!("  ?client ", $service, " /slow"),
            "   ?server go-server /slow",
            concat!("  client ", $service, " /last"),
            "   server go-server /last",
        ]
    };
}

macro_rules! handed {
    ($service:literal) => {
        &[
            "client clew-drive /front",
            concat!(" server ", $service, " /front"),
            concat!("  client ", $service, " /a"),
            "   server go-server /a",
            concat!("  ~client ", $service, " /pool"),
            "   server go-server /pool",
            concat!("  ~client ", $service, " /thread"),
            "   server go-server /thread",
            concat!("  ~client ", $service, " /sent"),
            "   server go-server /sent",
            concat!("  client ", $service, " /last"),
            "   server go-server /last",
        ]
    };
}

macro_rules! mixed {
    ($service:literal) => {
        &[
            "client clew-drive /front",
            concat!(" server ", $service, " /front"),
            concat!("  client ", $service, " /a"),
            "   server go-server /a",
            concat!("  client ", $service, " /pool"),
            "   server go-server /pool",
            concat!("  client ", $service, " /thread"),
            "   server go-server /thread",
            concat!("  client ", $service, " /common"),
            "   server go-server /common",
            concat!("  client ", $service, " /sent"),
            "   server go-server /sent",
            concat!("  ?client ", $service, " /slow"),
            "   ?server go-server /slow",
            concat!("  client ", $service, " /async"),
            "   server go-server /async",
            concat!("  client ", $service, " /last"),
            "   server go-server /last",
        ]
    };
}

macro_rules! common {
    ($service:literal) => {
        &[
            "client clew-drive /front",
            concat!(" server ", $service, " /front"),
            concat!("  ~client ", $service, " /a"),
            "   server go-server /a",
            concat!("  ~client ", $service, " /common"),
            "   server go-server /common",
            concat!("  ~client ", $service, " /last"),
            "   server go-server /last",
        ]
    };
}

/// Every workload whose Java this machine has.
pub(super) fn workloads() -> impl Iterator<Item = &'static Workload> {
    let releases: [(u32, &[Workload]); 3] = [(17, JAVA_17), (21, JAVA_21), (25, JAVA_25)];
    releases
        .into_iter()
        .filter(|(release, _)| Lab::jdk(*release).is_some())
        .flat_map(|(_, rows)| rows)
}

macro_rules! rows {
    ($list:ident, $release:literal: $($name:literal, $runtime:literal, $expect:ident, $main:literal, $server:literal, $steps:expr, $truth:ident;)*) => {
        const $list: &[Workload] = &[$(Workload {
            name: concat!("java-", $release, "-", $name),
            runtime: concat!("Java ", $release, ", ", $runtime),
            expect: Expect::$expect,
            make: |_| front($release, $main, $server, $steps, $truth!($main)),
        },)*];
    };
}

rows! { JAVA_17, 17:
    "httpserver+assist", "a pool of threads, hook", Exact, "Front", "pool", HERE, here;
    "handed+assist", "calls on other threads, hook", Exact, "Front", "pool", MIXED, mixed;
    "async+assist", "requests and calls are tasks of one pool, hook", Exact, "Front", "async", HERE, here;
    "forkjoin+assist", "requests are tasks of a ForkJoinPool, hook", Exact, "Front", "forkjoin", MIXED, mixed;
    "tomcat+assist", "Tomcat, hook", Exact, "TomcatFront", "pool", MIXED, mixed;
    "tomcat-async+assist", "Tomcat, requests wait for a pool of threads, hook", Exact, "TomcatFront", "async", HERE, here;
    "netty+assist", "Netty, event loops and a pool of threads, hook", Exact, "NettyFront", "", MIXED, mixed;
    "httpserver", "a pool of threads", Exact, "Front", "pool", HERE, here;
    "handed", "calls on other threads", Exact, "Front", "pool", HANDED, handed;
    "common", "calls on the common pool", NeverWrong, "Front", "pool", COMMON, common;
    "client-async", "HttpClient.sendAsync", NeverWrong, "Front", "pool", ASYNC, common;
    "async", "requests and calls are tasks of one pool", NeverWrong, "Front", "async", HERE, here;
    "forkjoin", "requests are tasks of a ForkJoinPool", NeverWrong, "Front", "forkjoin", COMMON, common;
    "tomcat", "Tomcat", Exact, "TomcatFront", "pool", HERE, here;
    "tomcat-async", "Tomcat, requests wait for a pool of threads", NeverWrong, "TomcatFront", "async", HERE, here;
    "netty", "Netty, event loops and a pool of threads", NeverWrong, "NettyFront", "", HERE, here;
}

rows! { JAVA_21, 21:
    "handed+assist", "calls on other threads, hook", Exact, "Front", "pool", MIXED, mixed;
    "httpserver", "a pool of threads", Exact, "Front", "pool", HERE, here;
    "virtual", "a virtual thread a request", Exact, "Front", "virtual", HERE, here;
    "virtual-handed", "virtual threads, calls on other threads", Exact, "Front", "virtual", HANDED, handed;
    "tomcat-virtual", "Tomcat on virtual threads", Exact, "TomcatFront", "virtual", HERE, here;
}

rows! { JAVA_25, 25:
    "handed+assist", "calls on other threads, hook", Exact, "Front", "pool", MIXED, mixed;
    "netty+assist", "Netty, event loops and a pool of threads, hook", Exact, "NettyFront", "", MIXED, mixed;
    "virtual-handed+assist", "virtual threads, calls on other threads, hook", Exact, "Front", "virtual", MIXED, mixed;
    "tomcat-virtual+assist", "Tomcat on virtual threads, hook", Exact, "TomcatFront", "virtual", HERE, here;
    "httpserver", "a pool of threads", Exact, "Front", "pool", HERE, here;
    "handed", "calls on other threads", Exact, "Front", "pool", HANDED, handed;
    "common", "calls on the common pool", NeverWrong, "Front", "pool", COMMON, common;
    "client-async", "HttpClient.sendAsync", NeverWrong, "Front", "pool", ASYNC, common;
    "async", "requests and calls are tasks of one pool", NeverWrong, "Front", "async", HERE, here;
    "tomcat", "Tomcat", Exact, "TomcatFront", "pool", HERE, here;
    "virtual", "a virtual thread a request", Exact, "Front", "virtual", HERE, here;
    "virtual-handed", "virtual threads, calls on other threads", Exact, "Front", "virtual", HANDED, handed;
    "virtual-common", "virtual threads, calls on the common pool", NeverWrong, "Front", "virtual", COMMON, common;
    "tomcat-virtual", "Tomcat on virtual threads", Exact, "TomcatFront", "virtual", HERE, here;
    "netty", "Netty, event loops and a pool of threads", NeverWrong, "NettyFront", "", HERE, here;
}

fn front(release: u32, main: &str, server: &str, steps: &str, truth: &'static [&'static str]) -> Made {
    let (plan, leaf) = leaf();
    let port = free_port();
    // The rows are only run where it exists.
    let java = Lab::jdk(release).unwrap_or_else(|| "java".to_owned());
    let mut argv = Lab::java(&java, main);
    // With one worker, which a small machine has, the common pool is not used for futures.
    argv.insert(1, "-Djava.util.concurrent.ForkJoinPool.common.parallelism=4".to_owned());
    argv.push(port.to_string());
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    made(
        plan.service(port, &argv),
        leaf,
        port,
        &[("SERVER", server), ("STEPS", steps)],
        truth,
    )
}
