//! The page, in a browser: a shop with planted faults is traced, and a store of made-up traces is shown beside it.
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clew_tests::{Clew, Lab, Proc, fill, free_port, get, postgresql, pour, redis, until};
use nix::sys::signal::Signal;

/// Spans of the largest trace.
const LARGE: u64 = 50_000;

/// What `clew` says it shows traces on.
fn shown(proc: &Proc) -> String {
    until("clew says where traces are shown", || {
        let stderr = proc.stderr();
        let (_, rest) = stderr.split_once("shown on ")?;
        let (url, _) = rest.split_once(|char: char| char.is_whitespace() || char == ';')?;
        Some(url.to_owned())
    })
}

/// Where `clew` says it takes spans from SDKs.
fn taken(proc: &Proc) -> String {
    until("clew says where spans are taken", || {
        let stderr = proc.stderr();
        let (_, rest) = stderr.split_once("spans of SDKs are taken at ")?;
        Some(rest.split_once('\n')?.0.to_owned())
    })
}

/// Four ports one after the other that nobody has.
fn ports() -> u16 {
    let free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    until("four free ports", || {
        let first = free_port();
        (first..=first.checked_add(3)?).all(|port| free(&port)).then_some(first)
    })
}

#[test]
fn what_a_person_does_and_sees() {
    let Some(lab) = Lab::new("page") else { return };
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/ui");
    let version = Command::new(Lab::clew()).arg("--version").output().expect("start clew");
    if String::from_utf8_lossy(&version.stdout).contains("without its page") {
        lab.skip("this clew has no page");
        return;
    }
    let ruby = Path::new("/usr/bin/ruby").exists();
    for needed in ["/usr/bin/chromium", "/usr/sbin/nats-server"] {
        if !Path::new(needed).exists() || !ruby || !page.join("node_modules").exists() {
            lab.skip(&format!(
                "there is no {needed}, no Ruby, or the page's packages are missing"
            ));
            return;
        }
    }
    let [database, cache, queue] = [free_port(), free_port(), free_port()];
    let cluster = postgresql(&lab, database);
    let mut servers = [
        (lab.start("postgresql", &cluster.argv), database),
        (lab.start("redis", &redis(&lab, cache)), cache),
        (
            lab.start("nats", &["nats-server", "-a", "127.0.0.1", "-p", &queue.to_string()]),
            queue,
        ),
    ];
    let filled = lab.dir().join("filled");
    // Two runs; it takes a while, in which the servers start.
    pour(&filled, 200, Duration::from_secs(1));
    fill(&filled, LARGE, 2_000);
    for (server, port) in &mut servers {
        server.until_listening(*port);
    }
    let port = ports();
    let mut run = Clew::run(&lab)
        .args(&["--store", "kept", "--listen", "127.0.0.1:0", "--db-values"])
        .args(&["--otlp-listen", "127.0.0.1:0"])
        .start(&[
            &Lab::python("python"),
            &Lab::workload("page/shop.py"),
            &port.to_string(),
            &cluster.dsn,
            &cache.to_string(),
            &queue.to_string(),
            &Lab::go("demo/stock"),
            &Lab::workload("demo/orders.js"),
        ]);
    run.proc.until_listening(port);
    for number in 1..=6 {
        let answer = get(port, &format!("/checkout?id={number}"));
        let answer = answer.unwrap_or_else(|error| panic!("{error}: {}", run.proc.stderr()));
        assert_eq!(answer.code, 200, "{}", String::from_utf8_lossy(&answer.body));
    }
    for (path, code) in [("/list?id=7", 200), ("/report?id=8", 200), ("/refund?id=9", 500)] {
        assert_eq!(get(port, path).expect("an answer").code, code, "{path}");
    }
    let show = |name, address, store: &Path| {
        let mut ui = Command::new(Lab::clew());
        ui.args(["ui", "--listen", address, "--store"]).arg(store);
        Proc::start(lab.dir(), name, ui)
    };
    let mut ui = show("ui", "127.0.0.1:0", &filled);
    // Not this machine's own address, though it is asked here.
    let mut open = show("open", "0.0.0.0:0", &filled);
    // Over the store that the agent writes meanwhile.
    let mut beside = show("beside", "127.0.0.1:0", &lab.dir().join("kept"));

    let mut browser = Command::new("node");
    browser
        .arg("test/all.mjs")
        .current_dir(&page)
        .env("CLEW_PAGE", shown(&run.proc))
        .env("CLEW_FILLED", shown(&ui))
        .env("CLEW_TOKEN_PAGE", shown(&open))
        .env("CLEW_OTLP", taken(&run.proc))
        .env("CLEW_BESIDE", shown(&beside))
        .env("CLEW_SHOP", format!("http://127.0.0.1:{port}"))
        .env("CLEW_SPANS", LARGE.to_string());
    if let Some(folder) = std::env::var_os("CLEW_SCREENSHOTS") {
        browser.env("CLEW_SCREENSHOTS", folder);
    }
    // Each of its tests has an end, and so has the browser.
    let browsed = browser.output().expect("start node");
    let said = String::from_utf8_lossy(&browsed.stdout);
    print!("{said}");
    let wrong = String::from_utf8_lossy(&browsed.stderr);
    assert!(browsed.status.success(), "{}{said}{wrong}", browsed.status);
    ui.stop(Signal::SIGTERM);
    open.stop(Signal::SIGTERM);
    beside.stop(Signal::SIGTERM);
    run.proc.signal_group(Signal::SIGTERM);
    let _code = run.proc.wait();
}
