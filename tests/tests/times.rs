//! Where the time of a request went, as its server measured it; and nothing where that cannot be told.
use clew_tests::{Clew, Kind, Lab, Outcome, Plan, Span, free_port};

const DRIVE: &str = env!("CARGO_BIN_EXE_clew-drive");

/// How much of a span's time went where, nanoseconds.
fn part(span: &Span, name: &str) -> u64 {
    span.text(&format!("clew.time.{name}")).parse().unwrap_or_default()
}

/// The parts of a span's time add up to it.
fn check_sum(out: &Outcome, span: &Span) {
    let length = span.end - span.start;
    let names = ["cpu", "runqueue", "blocked.network", "blocked.disk", "blocked.lock"];
    let others = ["blocked.sleep", "blocked.fault", "blocked.other"];
    let all: u64 = names.iter().chain(&others).map(|name| part(span, name)).sum();
    out.check(
        all.abs_diff(length) * 50 <= length,
        &format!("the parts of {} are not its {length} ns", span.brief()),
    );
}

/// The parts of a span's time add up to it, and `least` went to one of them. What the program measured itself, but for what it did before
/// and after, is what it had of a CPU and what it waited. Whom a CPU was taken from by an interrupt or another machine cannot know which of
/// the two that was.
fn check_parts(out: &Outcome, span: &Span, (name, least): (&str, u64)) {
    let length = span.end - span.start;
    check_sum(out, span);
    if name == "blocked.disk" && span.text("http.response.status_code") == "204" {
        eprintln!("no disk was read: its part is not looked at");
        return;
    }
    out.check(part(span, name) >= least, &format!("{name} of {}", span.brief()));
    let [wall, cpu, taken] = &measured(out, span);
    let margin = length / 50 + length.saturating_sub(*wall) + taken;
    let is_near = |got: u64, want: u64| got.abs_diff(want) <= margin;
    out.check(
        is_near(part(span, "cpu"), *cpu),
        &format!("cpu of {}: {}, not {cpu}, of {length}", span.brief(), part(span, "cpu")),
    );
    let waited = match name {
        // To have the only processor of Go's scheduler everything is stopped.
        "cpu" | "runqueue" => part(span, "runqueue") + part(span, "blocked.lock"),
        name => part(span, name) + part(span, "runqueue"),
    };
    if name != "blocked.disk" {
        let want = wall.saturating_sub(*cpu);
        out.check(
            is_near(waited, want),
            &format!("waits of {}: {waited}, not {want}", span.brief()),
        );
    }
}

/// What the program measured itself and answered.
fn measured<const N: usize>(out: &Outcome, span: &Span) -> [u64; N] {
    let told = span.text("clew.http.response.body");
    let told: Vec<u64> = told.split(' ').filter_map(|number| number.parse().ok()).collect();
    let told = told.try_into();
    told.unwrap_or_else(|_| out.fail(&format!("{} does not say what it took", span.brief())))
}

/// One request of many at once sleeps, waits for another server and for a channel, each as long as the program says: but for what it did in
/// between, and what it waited for a CPU and its runtime.
fn check_waits(out: &Outcome, span: &Span) {
    check_sum(out, span);
    let length = span.end - span.start;
    let parts = ["sleep", "network", "lock"].map(|name| part(span, &format!("blocked.{name}")));
    let walls = measured::<3>(out, span);
    let between = length.saturating_sub(parts.iter().sum());
    let margin = length / 50;
    out.check(
        parts
            .into_iter()
            .zip(walls)
            .all(|(ns, wall)| ns <= wall + margin && ns + between + margin >= wall),
        &format!("{parts:?} of {}, not {walls:?}; {between} in between", span.brief()),
    );
}

/// Where `workloads/python/times.py` spends its requests' time, at least.
#[test]
fn where_a_thread_s_time_goes() {
    /// The kind of request, the part it has most of, and how much of that at least.
    const KINDS: &[(&str, &str, u64)] = &[
        ("burn", "cpu", 195_000_000),
        // How long, is up to the machine; it is as long as the program says.
        ("contend", "runqueue", 1_000_000),
        ("sleep", "blocked.sleep", 150_000_000),
        ("lock", "blocked.lock", 150_000_000),
        ("network", "blocked.network", 150_000_000),
        ("disk", "blocked.disk", 10_000),
    ];
    let Some(lab) = Lab::new("where_a_thread_s_time_goes") else {
        return;
    };
    let argv = ["/usr/bin/python3".to_owned(), Lab::workload("python/times.py")];
    let out = Clew::run(&lab).args(&["--otlp-bodies"]).traced(&argv);
    for (kind, name, least) in KINDS {
        check_parts(&out, out.only(Kind::Server, &format!("/{kind}")), (name, *least));
    }
    // The caller's own call took long because it waited for the network.
    let call = out.only(Kind::Client, "/sleep");
    let waited = part(call, "blocked.network");
    out.check(waited >= 150_000_000, &format!("the caller waited {waited} ns"));
    out.check_eq(part(call, "blocked.sleep"), 0, "the caller's sleep");
}

/// The same of goroutines, which are on whatever thread there is, also where 64 wait at once.
#[test]
fn where_a_goroutine_s_time_goes() {
    const KINDS: &[(&str, &str, u64)] = &[
        ("burn", "cpu", 190_000_000),
        // As above.
        ("contend", "runqueue", 1_000_000),
        ("sleep", "blocked.sleep", 195_000_000),
        ("mutex", "blocked.lock", 395_000_000),
        ("channel", "blocked.lock", 195_000_000),
        ("network", "blocked.network", 195_000_000),
    ];
    let Some(lab) = Lab::new("where_a_goroutine_s_time_goes") else {
        return;
    };
    let out = Clew::run(&lab).args(&["--otlp-bodies"]).traced(&[Lab::go("times")]);
    for (kind, name, least) in KINDS {
        check_parts(&out, out.only(Kind::Server, &format!("/{kind}")), (name, *least));
    }
    let many = out.spans.at(Kind::Server, "/many");
    out.check_eq(many.len(), 64, "requests at once");
    for span in many {
        check_waits(&out, span);
    }
}

/// The same of Tokio's tasks. What kept the thread of a runtime and is no task is nobody's CPU time. A task that is preempted just as it
/// begins to run says nothing; none says what is wrong.
#[test]
fn where_a_task_s_time_goes() {
    check_tasks("where_a_task_s_time_goes", "release", "threads", true);
}

/// The same where all code was optimized at once: where not all of it can be found nothing is told.
#[test]
fn where_a_task_s_time_goes_link_time_optimized() {
    check_tasks("where_a_task_s_time_goes_link_time_optimized", "fat", "threads", false);
}

/// The same where nothing was: which of Tokio's drivers woke a task cannot be seen there.
#[test]
fn where_a_task_s_time_goes_not_optimized() {
    check_tasks("where_a_task_s_time_goes_not_optimized", "dev", "threads", false);
}

/// The same on one thread.
#[test]
fn where_a_task_s_time_goes_on_one_thread() {
    check_tasks("where_a_task_s_time_goes_on_one_thread", "release", "current", true);
}

/// The same of the tasks of a `LocalSet`.
#[test]
fn where_a_local_task_s_time_goes() {
    check_tasks("where_a_local_task_s_time_goes", "release", "local", true);
}

/// What `workloads/rust/src/times.rs` tells of its tasks on a runtime, compiled by a profile; `tells` says that something has to be told.
fn check_tasks(test: &str, profile: &str, runtime: &str, tells: bool) {
    const KINDS: &[(&str, &str, u64)] = &[
        ("burn", "cpu", 190_000_000),
        ("sleep", "blocked.sleep", 195_000_000),
        ("threadsleep", "blocked.sleep", 150_000_000),
        ("mutex", "blocked.lock", 395_000_000),
        ("channel", "blocked.lock", 195_000_000),
        ("join", "blocked.lock", 195_000_000),
        ("network", "blocked.network", 195_000_000),
    ];
    let Some(lab) = Lab::new(test) else {
        return;
    };
    let program = Lab::rust_built("times-server", profile);
    let out = Clew::run(&lab)
        .args(&["--otlp-bodies"])
        .env("RUNTIME", runtime)
        .traced(&[program]);
    let told = |kind: &str, least: usize| {
        let mut spans = out.spans.at(Kind::Server, &format!("/{kind}"));
        let all = spans.len();
        spans.retain(|span| !span.text("clew.time.cpu").is_empty());
        out.check(
            spans.len() >= least || !tells,
            &format!(
                "{} of {all} requests for {kind} tell where their time went",
                spans.len()
            ),
        );
        spans
    };
    for (kind, name, least) in KINDS {
        let spans = told(kind, 1);
        for span in &spans {
            check_sum(&out, span);
        }
        // The one that others disturbed least.
        if let Some(span) = spans.iter().min_by_key(|span| span.end - span.start) {
            check_parts(&out, span, (name, *least));
        }
    }
    // Before, it waits until others have the threads.
    for span in told("contend", 1) {
        check_sum(&out, span);
        let ns = part(span, "runqueue");
        out.check(
            ns >= 150_000_000,
            &format!("waits for a thread of {}: {ns}", span.brief()),
        );
    }
    for span in told("many", 56) {
        check_waits(&out, span);
    }
    if runtime == "local" {
        return;
    }
    for outside in told("outside", 1) {
        let (cpu, length) = (part(outside, "cpu"), outside.end - outside.start);
        out.check(cpu < length / 50, &format!("{cpu} ns of {}", outside.brief()));
        let waited = part(outside, "blocked.sleep") + part(outside, "runqueue");
        out.check(
            waited * 50 >= length * 48,
            &format!("{waited} ns of {}", outside.brief()),
        );
    }
}

/// Requests to `path` of a program under load, one after the other, and their spans.
fn served(lab: &Lab, options: &[&str], argv: &[String], port: u16, path: &str, env: &[(&str, &str)]) -> Outcome {
    const REQUESTS: u64 = 20;
    let leaf = free_port();
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    let mut plan = Plan::default()
        .service(leaf, &[&Lab::go("server"), &leaf.to_string()])
        .service(port, &argv)
        .env("NEXT", &format!("{leaf}/leaf"));
    for (name, value) in env {
        plan = plan.env(name, value);
    }
    let out = Clew::run(lab)
        .args(options)
        .traced(&plan.rested().load(port, path, REQUESTS, 1).argv(lab, DRIVE));
    out.check_numbers(Kind::Server, path, REQUESTS);
    out
}

/// How many of the server spans of `path` say where their time went.
fn n_told(out: &Outcome, path: &str) -> usize {
    let spans = out.spans.at(Kind::Server, path);
    spans
        .iter()
        .filter(|span| !span.text("clew.time.cpu").is_empty())
        .count()
}

/// What an event loop ran beside a request is not known, so neither is the request's part of it; but that of one that it answers before
/// it looks for other work.
#[test]
fn the_time_of_a_loop_is_no_request_s() {
    let Some(lab) = Lab::new("the_time_of_a_loop_is_no_request_s") else {
        return;
    };
    let port = free_port();
    let loop_of = |text: &str| text.replace("PORT", &port.to_string());
    let uvicorn = [
        Lab::python("uvicorn"),
        "--app-dir".to_owned(),
        Lab::workload("python"),
        "--port".to_owned(),
        loop_of("PORT"),
        "--log-level".to_owned(),
        "warning".to_owned(),
        "asyncio_app:app".to_owned(),
    ];
    let node = |program: &str| ["node".to_owned(), Lab::workload(program), loop_of("PORT")];
    for argv in [&uvicorn[..], &node("node/server.js")] {
        let out = served(&lab, &[], argv, port, "/waits", &[]);
        out.check_eq(n_told(&out, "/waits"), 0, "requests that tell a loop's time");
    }
    let out = served(&lab, &[], &node("node/burns.js"), port, "/burns", &[]);
    for span in out.spans.at(Kind::Server, "/burns") {
        check_sum(&out, span);
        out.check(part(span, "cpu") > 0, &format!("no time of a CPU of {}", span.brief()));
    }
}

/// A thread that carries virtual threads runs others while one waits.
#[test]
fn the_time_of_a_carrier_is_no_virtual_thread_s() {
    let Some(lab) = Lab::new("the_time_of_a_carrier_is_no_virtual_thread_s") else {
        return;
    };
    let port = free_port();
    for (java, server, least) in [(25, "virtual", 0), (21, "virtual", 0), (21, "pool", 15)] {
        let Some(java) = Lab::jdk(java) else { continue };
        let argv = [Lab::java(&java, "Front"), vec![port.to_string()]].concat();
        for hook in ["auto", "off"] {
            let env = [("SERVER", server), ("STEPS", "a=here,last=here")];
            let out = served(&lab, &["--assist", hook], &argv, port, "/front", &env);
            let told = n_told(&out, "/front");
            let right = if least == 0 { told == 0 } else { told >= least };
            out.check(
                right,
                &format!("{told} requests on {server} tell a thread's time, hook {hook}"),
            );
        }
    }
}
