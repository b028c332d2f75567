//! Java: requests and the calls made for them, on threads of the kernel and virtual ones.
use clew_tests::{Clew, Kind, Lab, Outcome, Plan, free_port};

const DRIVE: &str = env!("CARGO_BIN_EXE_clew-drive");
const REQUESTS: u64 = 200;
const CONCURRENCY: u64 = 32;
/// Two calls in the thread that serves the request.
const HERE: &str = "a=here,last=here";

/// Every way to hand a call over.
const HANDED: &str = "a=here,pool=pool,thread=thread,common=common,sent=client,async=async,last=here";
const HANDED_PATHS: [&str; 7] = ["/a", "/pool", "/thread", "/common", "/sent", "/async", "/last"];

/// Load -> the service (`/front`) -> a leaf in Go that answers out of order. Java is handed no hook.
fn through(lab: &Lab, java: &str, main: &str, server: &str, steps: &str) -> Outcome {
    started(lab, &["--assist", "off"], java, main, server, steps)
}

/// As [`through`], with Clew's own choice of options.
fn assisted(lab: &Lab, java: &str, main: &str, server: &str, steps: &str) -> Outcome {
    started(lab, &[], java, main, server, steps)
}

fn started(lab: &Lab, options: &[&str], java: &str, main: &str, server: &str, steps: &str) -> Outcome {
    let (leaf, front) = (free_port(), free_port());
    let mut argv = Lab::java(java, main);
    argv.insert(1, "-Djava.util.concurrent.ForkJoinPool.common.parallelism=4".to_owned());
    argv.push(front.to_string());
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    let plan = Plan::default()
        .service(leaf, &[&Lab::go("server"), &leaf.to_string()])
        .service(front, &argv)
        .env("NEXT", &format!("{leaf}/leaf"))
        .env("SERVER", server)
        .env("STEPS", steps)
        .rested();
    Clew::run(lab)
        .args(options)
        .traced(&plan.load(front, "/front", REQUESTS, CONCURRENCY).argv(lab, DRIVE))
}

fn links(out: &Outcome, path: &str) -> usize {
    out.check_numbers(Kind::Client, path, REQUESTS);
    let calls = out.spans.at(Kind::Client, path);
    calls.iter().filter(|span| span.parent.is_some()).count()
}

/// Calls to `whole` are linked, each to the right request; none of those to `never` is, and each is counted under `reason`.
fn check(out: &Outcome, whole: &[&str], never: &[&str], reason: &str) {
    out.check_no_wrong_links();
    for path in whole {
        out.check_eq(links(out, path) as u64, REQUESTS, &format!("links of {path}"));
    }
    for path in never {
        out.check_eq(links(out, path), 0, &format!("links of {path}"));
    }
    let counted = out.counters.get(reason).copied().unwrap_or(0);
    out.check_eq(counted, never.len() as u64 * REQUESTS, reason);
}

/// Calls through pools, threads, futures and the JDK's client are linked where Java has its hook.
#[test]
fn handed_over_with_the_hook() {
    let Some(lab) = Lab::new("handed_over_with_the_hook") else {
        return;
    };
    for java in [17, 21, 25].into_iter().filter_map(Lab::jdk) {
        let out = assisted(&lab, &java, "Front", "pool", HANDED);
        check(&out, &HANDED_PATHS, &[], "causality.unknown.context");
        let calls = out.spans.at(Kind::Client, "/pool");
        let told = calls.iter().filter(|span| span.text("clew.parent.source") == "handed");
        out.check_eq(told.count() as u64, REQUESTS, "links that the hook told");
    }
}

#[test]
fn virtual_threads_with_the_hook() {
    let Some(lab) = Lab::new("virtual_threads_with_the_hook") else {
        return;
    };
    let Some(java) = [25, 21].into_iter().find_map(Lab::jdk) else {
        return lab.skip("no Java 21 or newer");
    };
    let out = assisted(&lab, &java, "Front", "virtual", &format!("{HANDED},virtual=virtual"));
    check(&out, &HANDED_PATHS, &[], "causality.unknown.context");
    check(&out, &["/virtual"], &[], "causality.unknown.context");
}

/// Requests and their calls are tasks of one pool, stages of a future, or requests wait for another pool's tasks.
#[test]
fn shared_pools_with_the_hook() {
    let Some(lab) = Lab::new("shared_pools_with_the_hook") else {
        return;
    };
    for (main, server) in [("Front", "async"), ("Front", "forkjoin"), ("TomcatFront", "async")] {
        let out = assisted(&lab, "java", main, server, HANDED);
        check(&out, &HANDED_PATHS, &[], "causality.unknown.context");
    }
}

/// The program has its own options, its own agent's errors and its own output.
#[test]
fn the_hook_changes_nothing() {
    let Some(lab) = Lab::new("the_hook_changes_nothing") else {
        return;
    };
    let source = lab.file(
        "Own.java",
        r#"public class Own {
            public static void main(String[] args) throws Exception {
                System.out.println(System.getProperty("own"));
                Class.forName("org.objectweb.asm.ClassReader");
            }
        }"#,
    );
    // The 21 of the tests has no compiler.
    for java in [17, 25].into_iter().filter_map(Lab::jdk) {
        let argv = [java.as_str(), &source.display().to_string()];
        let own = [("JAVA_TOOL_OPTIONS", "-Down=kept")];
        let run = |options: &[&str]| {
            let clew = own.iter().fold(Clew::run(&lab).args(options), |clew, (name, value)| {
                clew.env(name, value)
            });
            clew.start(&argv).wait()
        };
        let (with, without) = (run(&[]), run(&["--assist", "off"]));
        for out in [&with, &without] {
            out.check_eq(out.stdout.as_str(), "kept\n", "what the program said");
            out.check_eq(out.code, 1, "its status");
            out.check(
                out.stderr.contains("ClassNotFoundException: org.objectweb.asm"),
                "what it has not is not there",
            );
        }
        with.check(
            with.stderr.contains("JAVA_TOOL_OPTIONS: -Down=kept -javaagent:"),
            "Java says what it has",
        );
    }
}

#[test]
fn virtual_threads() {
    let Some(lab) = Lab::new("virtual_threads") else { return };
    let mut found = false;
    for java in [21, 25].into_iter().filter_map(Lab::jdk) {
        found = true;
        for main in ["Front", "TomcatFront"] {
            let out = through(&lab, &java, main, "virtual", HERE);
            check(&out, &["/a", "/last"], &[], "causality.unknown.runtime");
        }
    }
    if !found {
        lab.skip("no Java 21 or newer");
    }
}

#[test]
fn threads_of_a_machine_with_virtual_ones() {
    let Some(lab) = Lab::new("threads_of_a_machine_with_virtual_ones") else {
        return;
    };
    let Some(java) = [25, 21].into_iter().find_map(Lab::jdk) else {
        return lab.skip("no Java 21 or newer");
    };
    let out = through(
        &lab,
        &java,
        "Front",
        "pool",
        "a=here,pool=pool,virtual=virtual,last=here",
    );
    check(
        &out,
        &["/a", "/last"],
        &["/pool", "/virtual"],
        "causality.unknown.thread",
    );
}

/// With the common pool any thread that waits for a future may make another request's call.
#[test]
fn the_common_pool_is_never_wrong() {
    let Some(lab) = Lab::new("the_common_pool_is_never_wrong") else {
        return;
    };
    let out = through(&lab, "java", "Front", "pool", "a=here,common=common,last=here");
    out.check_no_wrong_links();
    links(&out, "/common");
    let counted = out.counters.contains_key("causality.unknown.pool");
    out.check(counted, "links are missing and nothing is counted");
}

/// Requests and their calls are tasks of one pool: a thread that read one request makes another's call.
#[test]
fn a_shared_pool_is_never_wrong() {
    let Some(lab) = Lab::new("a_shared_pool_is_never_wrong") else {
        return;
    };
    let out = through(&lab, "java", "Front", "async", HERE);
    out.check_no_wrong_links();
    links(&out, "/a");
}
