//! `clew attach`: which processes are traced, and that they are none the worse for it.
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clew_tests::{Clew, ClewRun, Kind, Lab, Outcome, Plan, Proc, free_port, get, until};
use nix::sys::signal::Signal;

/// A threaded Python server.
fn server(lab: &Lab, name: &str) -> (Proc, u16) {
    let port = free_port();
    let argv = [
        "/usr/bin/python3".to_owned(),
        Lab::workload("python/threaded.py"),
        port.to_string(),
    ];
    let mut proc = lab.start(name, &argv);
    proc.until_listening(port);
    (proc, port)
}

fn ask(port: u16, path: &str) {
    let answer = get(port, path).expect("the server answers");
    assert_eq!(answer.code, 200, "{path}");
}

/// Waits until a span of this path has come out, then stops clew.
fn stop_after(run: ClewRun, path: &str) -> Outcome {
    until(&format!("a span of {path}"), || {
        let spans = clew_tests::Spans::parse(&run.otlp());
        (!spans.at(Kind::Server, path).is_empty()).then_some(())
    });
    run.stop()
}

/// One request to a target, one to another process: only the first is traced.
fn check_rule(lab: &Lab, args: &[String], target: u16, other: u16) -> Outcome {
    let run = Clew::attach(lab).args(args).tracing();
    ask(other, "/other?id=2");
    ask(target, "/target?id=1");
    let out = stop_after(run, "/target");
    out.check_eq(out.only(Kind::Server, "/target").code().as_str(), "200", "status");
    out.check_eq(out.spans.0.len(), 1, "number of spans");
    out
}

#[test]
fn by_pid() {
    let Some(lab) = Lab::new("by_pid") else { return };
    let ((proc, target), (_other, other)) = (server(&lab, "a"), server(&lab, "b"));
    check_rule(&lab, &["--pid".to_owned(), proc.pid().to_string()], target, other);
}

#[test]
fn by_port() {
    let Some(lab) = Lab::new("by_port") else { return };
    let ((_proc, target), (_other, other)) = (server(&lab, "a"), server(&lab, "b"));
    check_rule(&lab, &["--port".to_owned(), target.to_string()], target, other);
}

#[test]
fn by_executable() {
    let Some(lab) = Lab::new("by_executable") else { return };
    let port = free_port();
    let copy = lab.dir().join("own-server");
    std::fs::copy(Lab::go("server"), &copy).expect("copy a program");
    let mut target = lab.start("a", &[copy.display().to_string(), port.to_string()]);
    target.until_listening(port);
    let (_other, other) = server(&lab, "b");
    check_rule(&lab, &["--exe".to_owned(), "*/own-server".to_owned()], port, other);
}

#[test]
fn by_cgroup() {
    check_cgroup("by_cgroup", "group", |group| ["--cgroup".to_owned(), group.to_owned()]);
}

#[test]
fn by_container() {
    // Where systemd drives Docker, a container's cgroup has this form of name.
    let id = format!("{:064x}", 0xc1e3_u64 << 32 | u64::from(std::process::id()));
    let rule = |_: &str| ["--container".to_owned(), id.chars().take(40).collect()];
    let out = check_cgroup("by_container", &format!("docker-{id}.scope"), rule);
    if let Some(out) = out {
        let span = out.only(Kind::Server, "/target");
        out.check_eq(span.resource("container.id"), id.clone(), "container.id");
    }
}

/// Traces what is in a new cgroup of this name by a rule made of its path.
fn check_cgroup(test: &str, name: &str, rule: impl Fn(&str) -> [String; 2]) -> Option<Outcome> {
    let lab = Lab::new(test)?;
    let root = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
    let Some(root) = root.iter().find(|root| Path::new(root).join("cgroup.procs").exists()) else {
        lab.skip("no cgroup v2 hierarchy");
        return None;
    };
    let parent = Cgroup(PathBuf::from(format!("{root}/clew-test-{}", std::process::id())));
    let group = Cgroup(parent.0.join(name));
    if let Err(error) = std::fs::create_dir_all(&group.0) {
        lab.skip(&format!("cannot make a cgroup: {error}"));
        return None;
    }
    let ((mut proc, target), (_other, other)) = (server(&lab, "a"), server(&lab, "b"));
    std::fs::write(group.0.join("cgroup.procs"), proc.pid().to_string()).expect("move a process to the cgroup");
    let path = group.0.display().to_string();
    let out = check_rule(&lab, &rule(&path), target, other);
    proc.stop(Signal::SIGTERM);
    // The inner one first.
    drop(group);
    drop(parent);
    Some(out)
}

/// A cgroup that goes when it is dropped.
struct Cgroup(PathBuf);

impl Drop for Cgroup {
    fn drop(&mut self) {
        until("the cgroup is empty", || {
            (!self.0.exists() || std::fs::remove_dir(&self.0).is_ok()).then_some(())
        });
    }
}

#[test]
fn rules_combine_by_or() {
    let Some(lab) = Lab::new("rules_combine_by_or") else {
        return;
    };
    let ((a, first), (_b, second), (_c, third)) = (server(&lab, "a"), server(&lab, "b"), server(&lab, "c"));
    let args = [
        "--pid".to_owned(),
        a.pid().to_string(),
        "--port".to_owned(),
        second.to_string(),
    ];
    let run = Clew::attach(&lab).args(&args).tracing();
    ask(third, "/third?id=3");
    ask(first, "/first?id=1");
    ask(second, "/second?id=2");
    let out = stop_after(run, "/second");
    out.only(Kind::Server, "/first");
    out.only(Kind::Server, "/second");
    out.check_eq(out.spans.0.len(), 2, "number of spans");
}

#[test]
fn children_are_traced() {
    let Some(lab) = Lab::new("children_are_traced") else {
        return;
    };
    let port = free_port();
    // The shell is the target; its child comes to be after clew has attached.
    let script = format!(
        "while [ ! -e go ]; do sleep 0.02; done; /usr/bin/python3 {} {port}",
        Lab::workload("python/threaded.py")
    );
    let mut shell = lab.start("shell", &["/bin/sh", "-c", &script]);
    let run = Clew::attach(&lab)
        .args(&["--pid".to_owned(), shell.pid().to_string()])
        .tracing();
    lab.file("go", "");
    shell.until_listening(port);
    ask(port, "/child?id=1");
    let out = stop_after(run, "/child");
    out.check(
        out.only(Kind::Server, "/child").resource("process.pid") != shell.pid().to_string(),
        "the span belongs to the child",
    );
}

#[test]
fn a_process_that_starts_later() {
    let Some(lab) = Lab::new("a_process_that_starts_later") else {
        return;
    };
    let copy = lab.dir().join("late-server");
    std::fs::copy(Lab::go("server"), &copy).expect("copy a program");
    let run = Clew::attach(&lab).args(&["--exe", "*/late-server"]).tracing();
    let port = free_port();
    let mut late = lab.start("late", &[copy.display().to_string(), port.to_string()]);
    late.until_listening(port);
    // Discovery follows exec; from some request on every one is seen.
    until("a span of the late process", || {
        ask(port, "/late?id=1");
        let spans = clew_tests::Spans::parse(&run.otlp());
        (!spans.at(Kind::Server, "/late").is_empty()).then_some(())
    });
    run.stop();
}

#[test]
fn sockets_older_than_the_agent() {
    let Some(lab) = Lab::new("sockets_older_than_the_agent") else {
        return;
    };
    let (proc, port) = server(&lab, "a");
    let mut kept = std::net::TcpStream::connect(("127.0.0.1", port)).expect("connect");
    let before = clew_tests::ask(&mut kept, "/before?id=1", "").expect("an answer");
    let run = Clew::attach(&lab)
        .args(&["--pid".to_owned(), proc.pid().to_string()])
        .tracing();
    let after = clew_tests::ask(&mut kept, "/after?id=2", "").expect("an answer");
    assert_eq!((before.code, after.code), (200, 200));
    let out = stop_after(run, "/after");
    let span = out.only(Kind::Server, "/after");
    out.check_span(
        span,
        &[
            ("http.response.status_code", "200"),
            ("error.type", ""),
            ("network.local.port", &port.to_string()),
        ],
    );
    out.check_eq(out.spans.0.len(), 1, "number of spans");
}

/// A program that answers `/front` by calls, which is loaded when it is attached to, and again when it is known: what it asks for
/// requests that began before is nobody's and says so, what it asks for others has its parent, and nothing has another's.
fn under_load(test: &str, argv: impl FnOnce(&str) -> Vec<String>, env: &[(&str, &str)]) {
    const CONCURRENCY: u64 = 16;
    let Some(lab) = Lab::new(test) else { return };
    let (leaf, front) = (free_port(), free_port());
    let argv = argv(&front.to_string());
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    let mut plan = Plan::default()
        .service(leaf, &[&Lab::go("server"), &leaf.to_string()])
        .service(front, &argv)
        .env("NEXT", &format!("{leaf}/leaf"));
    for (name, value) in env {
        plan = plan.env(name, value);
    }
    let services = plan.start(lab.dir()).expect("the services start");
    let load = |requests| {
        let plan = Plan::default().load(front, "/front", requests, CONCURRENCY);
        lab.start("load", &plan.argv(&lab, env!("CARGO_BIN_EXE_clew-drive")))
    };
    let mut before = load(3000);
    std::thread::sleep(Duration::from_millis(500));
    let pid = services.last().expect("a service").pid().to_string();
    let run = Clew::attach(&lab).args(&["--pid", &pid]).tracing();
    assert_eq!(before.ended(), None, "the load was over too soon");
    assert_eq!(before.wait(), 0, "{}", before.stderr());
    // What outlives its request is asked for, too.
    std::thread::sleep(Duration::from_secs(1));
    let begun = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("a clock")
        .as_nanos();
    assert_eq!(load(300).wait(), 0);
    std::thread::sleep(Duration::from_millis(500));
    let out = run.stop();
    out.check_no_wrong_links();
    let calls = out.spans.filter(|span| span.kind == Kind::Client);
    let (late, early): (Vec<_>, Vec<_>) = calls.into_iter().partition(|span| u128::from(span.start) >= begun);
    let unknown: Vec<_> = early.iter().filter(|call| call.parent.is_none()).collect();
    out.check(unknown.len() >= CONCURRENCY as usize, "calls of requests in flight");
    out.check(unknown.len() < early.len(), "no call before has a parent");
    for call in &unknown {
        out.check(!call.text("clew.parent.unknown").is_empty(), &call.brief());
    }
    let counted: u64 = out
        .counters
        .iter()
        .filter(|(name, _)| name.starts_with("causality.unknown"))
        .map(|(_, n)| n)
        .sum();
    out.check(counted >= unknown.len() as u64, &format!("{counted} are counted"));
    out.check(late.len() >= 600, &format!("{} calls later", late.len()));
    for call in late {
        out.check(call.parent.is_some(), &call.brief());
    }
}

#[test]
fn under_load_in_go() {
    let argv = |port: &str| vec![Lab::go("mix"), port.to_owned()];
    under_load("under_load_in_go", argv, &[]);
}

#[test]
fn under_load_in_rust() {
    let argv = |port: &str| vec![Lab::rust("axum-server"), port.to_owned()];
    under_load("under_load_in_rust", argv, &[("RUNTIME", "current")]);
}

#[test]
fn under_load_in_python() {
    let folder = Lab::workload("python");
    let program = Lab::python("uvicorn");
    let argv = |port: &str| {
        let options = [
            "--loop",
            "asyncio",
            "--log-level",
            "warning",
            "--port",
            port,
            "--app-dir",
            &folder,
        ];
        let all = std::iter::once(&*program).chain(options).chain(["fastapi_app:app"]);
        all.map(str::to_owned).collect()
    };
    under_load("under_load_in_python", argv, &[]);
}

#[test]
fn targets_stay_healthy() {
    let Some(lab) = Lab::new("targets_stay_healthy") else {
        return;
    };
    let (mut proc, port) = server(&lab, "a");
    let before = programs();
    for (path, signal) in [("/first", Signal::SIGINT), ("/second", Signal::SIGKILL)] {
        let _ = std::fs::remove_file(lab.dir().join("spans.jsonl"));
        let mut run = Clew::attach(&lab)
            .args(&["--pid".to_owned(), proc.pid().to_string()])
            .tracing();
        assert!(!programs().is_subset(&before), "clew has no programs in the kernel");
        ask(port, path);
        run.proc.stop(signal);
        ask(port, path);
        // The kernel frees programs some time after their last reference went.
        until("no BPF program of clew is left", || {
            programs().is_subset(&before).then_some(())
        });
        assert_eq!(proc.ended(), None, "the target ended");
    }
    assert_eq!(proc.stop(Signal::SIGTERM), 128 + 15);
    assert_eq!(proc.stderr(), "");
}

#[test]
fn a_target_that_dies() {
    let Some(lab) = Lab::new("a_target_that_dies") else {
        return;
    };
    let ((mut a, first), (b, second)) = (server(&lab, "a"), server(&lab, "b"));
    let args = [
        "--pid".to_owned(),
        a.pid().to_string(),
        "--pid".to_owned(),
        b.pid().to_string(),
    ];
    let run = Clew::attach(&lab).args(&args).tracing();
    ask(first, "/first?id=1");
    a.stop(Signal::SIGKILL);
    ask(second, "/second?id=2");
    let out = stop_after(run, "/second");
    out.only(Kind::Server, "/first");
    out.only(Kind::Server, "/second");
}

/// The numbers of all BPF programs in the kernel.
fn programs() -> BTreeSet<u32> {
    /// `BPF_PROG_GET_NEXT_ID` of bpf(2).
    const PROG_GET_NEXT_ID: libc::c_long = 11;
    let mut found = BTreeSet::new();
    let mut attr = [0_u32; 4];
    loop {
        // SAFETY: the attribute is 16 bytes of initialized memory: start_id, next_id, open_flags, and one unused.
        let result = unsafe { libc::syscall(libc::SYS_bpf, PROG_GET_NEXT_ID, &raw mut attr, 12_u32) };
        if result != 0 {
            return found;
        }
        found.insert(attr[1]);
        attr[0] = attr[1];
    }
}
