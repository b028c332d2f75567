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

/// By the `HttpClient` alone: one after the other, at once, each when the one before is answered, given up.
const CLIENT: &str = "a=client,fan=fan,next=chain,slow=abandoned,last=async";
/// Spring's clients in the thread that serves the request.
const SPRING: &str = "a=template,none=refused,slow=impatient,last=template";
/// And on threads of its executor, several at once, and by the JDK's client.
const SPRING_MIXED: &str = "a=template,sent=client,async=async,none=refused,fan=fan,slow=impatient,last=template";
/// Calls of one pool of connections that is too small: one after the other, at once, later, on other threads, in one stream with
/// those of other requests, after a wait that many share, refused, given up.
const FLUX: &str =
    "a=call,fan=fan,late=late,none=refused,elastic=elastic,shared=shared,cached=cached,slow=impatient,last=call";

/// What these programs do before they listen is more than what they do for the requests.
const SLOW_STARTERS: [&str; 2] = ["MvcFront", "FluxFront"];
const QUICK_START: [&str; 2] = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];

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

macro_rules! client {
    ($service:literal) => {
        &[
            "client clew-drive /front",
            concat!(" server ", $service, " /front"),
            concat!("  client ", $service, " /a"),
            "   server go-server /a",
            concat!("  client ", $service, " /fan1"),
            "   server go-server /fan1",
            concat!("  client ", $service, " /fan2"),
            "   server go-server /fan2",
            concat!("  client ", $service, " /fan3"),
            "   server go-server /fan3",
            concat!("  client ", $service, " /next1"),
            "   server go-server /next1",
            concat!("  client ", $service, " /next2"),
            "   server go-server /next2",
            concat!("  client ", $service, " /next3"),
            "   server go-server /next3",
            concat!("  ?client ", $service, " /slow"),
            "   ?server go-server /slow",
            concat!("  client ", $service, " /last"),
            "   server go-server /last",
        ]
    };
}

macro_rules! spring {
    ($service:literal) => {
        &[
            "client clew-drive /front",
            concat!(" server ", $service, " /front"),
            concat!("  client ", $service, " /a"),
            "   server go-server /a",
            concat!("  client ", $service, " /sent"),
            "   server go-server /sent",
            concat!("  client ", $service, " /async"),
            "   server go-server /async",
            concat!("  client ", $service, " /fan1"),
            "   server go-server /fan1",
            concat!("  client ", $service, " /fan2"),
            "   server go-server /fan2",
            concat!("  client ", $service, " /fan3"),
            "   server go-server /fan3",
            concat!("  ?client ", $service, " /slow"),
            "   ?server go-server /slow",
            concat!("  client ", $service, " /last"),
            "   server go-server /last",
        ]
    };
}

macro_rules! flux {
    ($service:literal) => {
        &[
            "client clew-drive /front",
            concat!(" server ", $service, " /front"),
            concat!("  client ", $service, " /a"),
            "   server go-server /a",
            concat!("  client ", $service, " /fan1"),
            "   server go-server /fan1",
            concat!("  client ", $service, " /fan2"),
            "   server go-server /fan2",
            concat!("  client ", $service, " /fan3"),
            "   server go-server /fan3",
            concat!("  client ", $service, " /late"),
            "   server go-server /late",
            concat!("  client ", $service, " /elastic"),
            "   server go-server /elastic",
            concat!("  client ", $service, " /shared"),
            "   server go-server /shared",
            concat!("  client ", $service, " /cached"),
            "   server go-server /cached",
            concat!("  ?client ", $service, " /slow"),
            "   ?server go-server /slow",
            concat!("  client ", $service, " /last"),
            "   server go-server /last",
        ]
    };
}

/// Every workload whose Java this machine has.
pub(super) fn workloads() -> impl Iterator<Item = &'static Workload> {
    had(&[(17, JAVA_17), (21, JAVA_21), (25, JAVA_25)])
}

/// Those that the short form leaves out: a start of Spring's costs ten seconds on a small machine, and two of its rows have what
/// is new in all of these.
pub(super) fn long() -> impl Iterator<Item = &'static Workload> {
    had(&[(17, LONG_17), (21, LONG_21)])
}

fn had(lists: &'static [(u32, &'static [Workload])]) -> impl Iterator<Item = &'static Workload> {
    lists
        .iter()
        .filter(|(release, _)| Lab::jdk(*release).is_some())
        .flat_map(|(_, rows)| *rows)
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
    "mvc+assist", "Spring MVC, hook", Exact, "MvcFront", "pool", SPRING_MIXED, spring;
    "webflux+assist", "Spring WebFlux, epoll of Netty's own, hook", Exact, "FluxFront", "native", FLUX, flux;
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

rows! { LONG_17, 17:
    "jetty+assist", "Jetty, hook", Exact, "JettyFront", "pool", MIXED, mixed;
    "jetty-async+assist", "Jetty, requests wait for a pool of threads, hook", Exact, "JettyFront", "async", MIXED, mixed;
    "jetty-dispatch+assist", "Jetty, requests wait and are served again, hook", Exact, "JettyFront", "dispatch", MIXED, mixed;
    "client+assist", "HttpClient at once and in chains, hook", Exact, "Front", "pool", CLIENT, client;
    "mvc-async+assist", "Spring MVC, requests wait for its executor, hook", Exact, "MvcFront", "async", SPRING, here;
    "webflux-nio+assist", "Spring WebFlux, Java's selectors, hook", Exact, "FluxFront", "nio", FLUX, flux;
    "client", "HttpClient at once and in chains", NeverWrong, "Front", "pool", CLIENT, client;
    "jetty", "Jetty", NeverWrong, "JettyFront", "pool", HERE, here;
    "jetty-async", "Jetty, requests wait for a pool of threads", NeverWrong, "JettyFront", "async", HERE, here;
    "jetty-dispatch", "Jetty, requests wait and are served again", NeverWrong, "JettyFront", "dispatch", HERE, here;
    "mvc", "Spring MVC", Exact, "MvcFront", "pool", SPRING, here;
    "mvc-mixed", "Spring MVC, its executor, JDK's client", NeverWrong, "MvcFront", "pool", SPRING_MIXED, spring;
    "mvc-async", "Spring MVC, requests wait for its executor", NeverWrong, "MvcFront", "async", SPRING, here;
    "webflux", "Spring WebFlux, epoll of Netty's own", NeverWrong, "FluxFront", "native", FLUX, flux;
    "webflux-nio", "Spring WebFlux, Java's selectors", NeverWrong, "FluxFront", "nio", FLUX, flux;
}

rows! { LONG_21, 21:
    "client+assist", "HttpClient at once and in chains, hook", Exact, "Front", "pool", CLIENT, client;
    "jetty+assist", "Jetty, hook", Exact, "JettyFront", "pool", MIXED, mixed;
    "jetty-async+assist", "Jetty, requests wait for a pool of threads, hook", Exact, "JettyFront", "async", MIXED, mixed;
    "mvc+assist", "Spring MVC, hook", Exact, "MvcFront", "pool", SPRING_MIXED, spring;
    "mvc-async+assist", "Spring MVC, requests wait for its executor, hook", Exact, "MvcFront", "async", SPRING, here;
    "mvc-virtual+assist", "Spring MVC on virtual threads, hook", Exact, "MvcFront", "virtual", SPRING_MIXED, spring;
    "webflux+assist", "Spring WebFlux, epoll of Netty's own, hook", Exact, "FluxFront", "native", FLUX, flux;
    "webflux-nio+assist", "Spring WebFlux, Java's selectors, hook", Exact, "FluxFront", "nio", FLUX, flux;
    "client", "HttpClient at once and in chains", NeverWrong, "Front", "pool", CLIENT, client;
    "jetty", "Jetty", NeverWrong, "JettyFront", "pool", HERE, here;
    "jetty-async", "Jetty, requests wait for a pool of threads", NeverWrong, "JettyFront", "async", HERE, here;
    "mvc", "Spring MVC", Exact, "MvcFront", "pool", SPRING, here;
    "mvc-mixed", "Spring MVC, its executor, JDK's client", NeverWrong, "MvcFront", "pool", SPRING_MIXED, spring;
    "mvc-virtual", "Spring MVC on virtual threads", Exact, "MvcFront", "virtual", SPRING, here;
    "webflux", "Spring WebFlux, epoll of Netty's own", NeverWrong, "FluxFront", "native", FLUX, flux;
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
    if SLOW_STARTERS.contains(&main) {
        argv.splice(1..1, QUICK_START.map(str::to_owned));
    }
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
