//! Logs: each line is on the span of the request that wrote it, at concurrency 64, in every runtime.
use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use clew_tests::{Clew, Kind, Lab, Log, Outcome, Plan, Span, free_port, nginx};

const DRIVE: &str = env!("CARGO_BIN_EXE_clew-drive");
const REQUESTS: u64 = 200;
const CONCURRENCY: u64 = 64;
/// OTLP's numbers.
const INFO: i64 = 9;
const WARN: i64 = 13;
const ERROR: i64 = 17;

/// Programs that each write three records a request, some of them from another thread, task or goroutine.
#[test]
fn lines_are_on_the_span_of_their_request() {
    let Some(lab) = Lab::new("logs") else { return };
    let [threads, tasks, node, go, java, proxy] = std::array::from_fn(|_| free_port());
    let folder = Lab::workload("python");
    let access = lab.dir().join("access.log").display().to_string();
    let locations = format!("access_log {access}; location / {{ proxy_pass http://127.0.0.1:{go}; }}");
    let nginx = nginx(&lab, proxy, &locations, "");
    let nginx: Vec<&str> = nginx.iter().map(String::as_str).collect();
    let mut plan = Plan::default()
        .service(
            threads,
            &[
                &Lab::python("python"),
                &Lab::workload("python/logs_app.py"),
                &threads.to_string(),
            ],
        )
        .env("OTEL_SERVICE_NAME", "threads")
        .service(
            tasks,
            &[
                &Lab::python("uvicorn"),
                "--port",
                &tasks.to_string(),
                "--app-dir",
                &folder,
                "--log-level",
                "warning",
                "logs_app:app",
            ],
        )
        .env("OTEL_SERVICE_NAME", "tasks")
        .service(node, &["node", &Lab::workload("node/logs.js"), &node.to_string()])
        .env("OTEL_SERVICE_NAME", "node")
        .service(java, &["java", &Lab::workload("java/Logs.java"), &java.to_string()])
        .env("OTEL_SERVICE_NAME", "java")
        .service(go, &[&Lab::go("logs"), &go.to_string()])
        .env("OTEL_SERVICE_NAME", "go")
        // Its title lies over its environment: no name can be given to it so.
        .service(proxy, &nginx);
    for port in [threads, tasks, node, java, proxy] {
        plan = plan.load(port, "/logs", REQUESTS, CONCURRENCY);
    }
    let out = Clew::run(&lab).traced(&plan.rested().argv(&lab, DRIVE));
    for service in ["threads", "tasks", "node", "java", "go"] {
        out.check_logs(service, "rid=", REQUESTS, 3);
    }
    out.check_logs("nginx", "GET /logs?id=", REQUESTS, 1);
    for service in ["threads", "tasks"] {
        check_contents(&out, service);
    }
    for (service, kind) in [("node", "TypeError"), ("java", "java.lang.IllegalStateException")] {
        let failed = out
            .logs
            .iter()
            .filter(|log| log.service == service && log.body.contains("failed rid="));
        let kinds: Vec<&str> = failed.map(|log| log.text("exception.type")).collect();
        out.check_eq(kinds, vec![kind; 40], &format!("exceptions of {service}"));
    }
    out.check_eq(out.counter("logs.bytes_over_rate"), 0, "what was too much");
}

/// What is sent to syslog and to the journal; the sockets are the test's own.
#[test]
fn messages_are_on_the_span_of_their_request() {
    let Some(lab) = Lab::new("messages") else { return };
    let folder = lab.dir().display().to_string();
    let bind = |path: &str| {
        let path = lab.dir().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("create a folder");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        // A program that logs waits while its messages lie here.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while socket.recv(&mut bytes).is_ok_and(|got| got > 0) {}
        });
        path
    };
    let sockets = ["dev/log", "journal/socket"].map(bind);
    let [python, c] = std::array::from_fn(|_| free_port());
    let python_argv = [
        Lab::python("python"),
        Lab::workload("python/logs_app.py"),
        python.to_string(),
    ];
    // syslog(3) knows one address: in a view of the file system of its own it is the test's.
    let c_argv = format!("mount --bind {folder}/dev /dev && exec {} {c}", Lab::c("threads"));
    let plan = Plan::default()
        .service(python, &python_argv.each_ref().map(String::as_str))
        .env("OTEL_SERVICE_NAME", "python")
        .env("SERVICES", &folder)
        .service(c, &["unshare", "--mount", "sh", "-c", &c_argv])
        .env("OTEL_SERVICE_NAME", "c")
        .env("LOGS", "syslog")
        .load(python, "/logs", REQUESTS, CONCURRENCY)
        .load(c, "/logs", REQUESTS, CONCURRENCY);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
    for path in sockets {
        // Ends whoever reads it.
        let last = UnixDatagram::unbound().and_then(|socket| socket.send_to(&[], path));
        out.check(last.is_ok(), "the socket is still the test's");
    }
    out.check_logs("c", "rid=", REQUESTS, 3);
    out.check_logs("python", "rid=", REQUESTS, 3);
    let of = |service: &str, word: &str| {
        let is_it = |log: &&Log| log.service == service && log.body.split_whitespace().take(2).eq([word, "rid=7"]);
        let found = out.logs.iter().find(is_it);
        found.unwrap_or_else(|| out.fail(&format!("no record of {service} with {word}")))
    };
    let asked = of("c", "asked");
    out.check_eq(
        (asked.severity, asked.body.as_str()),
        (WARN, "asked rid=7"),
        "syslog(3)",
    );
    out.check_eq(asked.text("clew.syslog.facility"), "user", "facility");
    let begun = of("python", "begin");
    out.check_eq(begun.severity, WARN, "severity");
    out.check_eq(begun.text("clew.syslog.appname"), "shop", "the program");
    out.check_eq(
        begun.body.as_str(),
        "begin rid=7 password=REDACTED",
        "what syslog was told",
    );
    let ended = of("python", "end");
    out.check_eq(ended.severity, ERROR, "severity");
    out.check_eq(
        ended.body.as_str(),
        "end rid=7\nof two lines",
        "what the journal was told",
    );
    out.check_eq(ended.text("PASSWORD"), "REDACTED", "the secret is hidden");
}

/// Files that are called like logs, whether they are appended to or not, also where a line is longer than one record; and no others.
#[test]
fn files_that_are_logs() {
    const PROGRAM: &str = "import os, sys
def opened(name, flags):
    return os.open(sys.argv[1] + '/' + name, os.O_WRONLY | os.O_CREAT | flags)
for name, flags in (('shop.log', os.O_APPEND), ('rotated.log', 0), ('catalina.out', os.O_APPEND)):
    file = opened(name, flags)
    for number in range(20):
        os.write(file, b'INFO line %d\\n' % number)
for name, flags in (('appendonly.aof', os.O_APPEND), ('000012.log', 0), ('notes.txt', 0)):
    file = opened(name, flags)
    for number in range(2000):
        os.write(file, b'SET key value\\n')
os.write(opened('long.log', os.O_APPEND), b'ERROR ' + b'x' * 20000 + b' rid=7\\n')
os.write(2, b'ERROR ' + b'y' * 60000 + b' rid=8\\n')
";
    let Some(lab) = Lab::new("files_that_are_logs") else {
        return;
    };
    let folder = lab.dir().display().to_string();
    let out = Clew::run(&lab).traced(&["/usr/bin/python3", "-c", PROGRAM, &folder]);
    let of = |name: &str| out.logs.iter().filter(|log| log.text("log.file.name") == name).count();
    let names = [
        "shop.log",
        "rotated.log",
        "catalina.out",
        "appendonly.aof",
        "000012.log",
        "notes.txt",
    ];
    out.check_eq(names.map(of), [20, 20, 20, 0, 0, 0], "lines of each file");
    let long = |name: &str| out.logs.iter().find(|log| log.text("log.file.name") == name);
    let whole = long("long.log").is_some_and(|log| log.body.ends_with(" rid=7") && log.body.len() == 20_012);
    out.check(whole, "the long line");
    let cut = out.logs.iter().find(|log| log.body.starts_with("ERROR yyy"));
    out.check_eq(
        cut.map(|log| log.body.len()),
        Some(32 << 10),
        "what is kept of a longer one",
    );
    out.check_eq(out.counter("logs.lines_cut"), 1, "lines that were cut");
    out.check_eq(out.counter("logs.bytes_cut"), 0, "bytes that were not read");
    let events = out.counter("capture.events");
    out.check(events < 1_000, &format!("{events} events"));
}

/// Exceptions, refused connections and the ends of processes are told on the requests they broke.
#[test]
fn failures_are_told_on_the_requests_they_broke() {
    let Some(lab) = Lab::new("failures") else { return };
    let [first, second, go, rust, bounded] = std::array::from_fn(|_| free_port());
    let app = Lab::workload("python/logs_app.py");
    let python = Lab::python("python");
    let asks = "import sys, urllib.request
for url in sys.argv[1:]:
    try:
        urllib.request.urlopen(url).read()
    except Exception:
        pass
";
    let url = |port: u16, path: &str| format!("http://127.0.0.1:{port}/fail/{path}");
    let panics = |port: u16, who: &str| format!("http://127.0.0.1:{port}/panic?who={who}");
    let group = Group::of_memory(64 << 20);
    let enter = match &group {
        Some(group) => format!("echo $$ > {}/cgroup.procs && exec \"$@\"", group.0.display()),
        None => "exec \"$@\"".to_owned(),
    };
    let mut urls = vec![
        url(first, "raise"),
        url(first, "told"),
        url(first, "refused"),
        url(first, "late"),
        url(first, "kill"),
        url(second, "exit"),
        panics(go, "go"),
        panics(rust, "rust"),
    ];
    if group.is_some() {
        urls.push(url(bounded, "memory"));
    }
    let programs = [Lab::go("logs"), Lab::rust("axum-server")];
    let mut command = vec![python.as_str(), "-c", asks];
    command.extend(urls.iter().map(String::as_str));
    let plan = Plan::default()
        .service(first, &[&python, &app, &first.to_string()])
        .service(second, &[&python, &app, &second.to_string()])
        .service(go, &[&programs[0], &go.to_string()])
        .service(rust, &[&programs[1], &rust.to_string()])
        .env("NEXT", "1/leaf")
        .service(
            bounded,
            &["sh", "-c", &enter, "sh", &python, &app, &bounded.to_string()],
        )
        .rested()
        .command(&command);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
    let server = |path: &str| out.only(Kind::Server, &format!("/fail/{path}"));
    let events = |span: &Span| -> Vec<(String, String)> {
        let text =
            |attributes: &BTreeMap<String, String>, name: &str| attributes.get(name).cloned().unwrap_or_default();
        let events = span.events.iter().filter(|(name, _)| name == "exception");
        events
            .map(|(_, of)| (text(of, "exception.type"), text(of, "exception.message")))
            .collect()
    };
    let told = |kind: &str, message: &str| vec![(kind.to_owned(), message.to_owned())];

    let raised = server("raise");
    out.check_eq(events(raised), told("ValueError", "no stock"), "what was raised");
    out.check_eq(
        (raised.status, raised.message.as_str()),
        (2, "ValueError: no stock"),
        "status",
    );
    // What the answer alone says; and it says nothing that is hidden.
    let answered = server("told");
    out.check_eq(events(answered), told("StockError", "no stock"), "what was answered");
    out.check_eq(answered.message.as_str(), "StockError: no stock", "status");
    for who in ["go", "rust"] {
        let query = format!("who={who}");
        let spans = out
            .spans
            .filter(|span| span.kind == Kind::Server && span.text("url.query") == query);
        let [panicked] = spans.as_slice() else {
            out.fail(&format!("{} spans of the panic in {who}", spans.len()));
        };
        out.check_eq(events(panicked), told("panic", "no stock"), who);
        out.check_eq(panicked.status, 2, "the request that panicked");
    }
    if group.is_some() {
        let ended = server("memory");
        out.check_span(ended, &[("clew.process.oom", "true"), ("error.type", "process_exited")]);
        let why = "process ended by the kernel: out of memory";
        out.check_eq(ended.message.as_str(), why, "status");
    } else {
        lab.skip("no groups that bound memory: what runs out of it was not looked at");
    }
    let refused = server("refused");
    let waited = |span: &Span, kind: &str| -> u32 {
        let told = events(span);
        let prefix = format!("connect: {} after ", kind.replace('_', " "));
        let ms = match told.as_slice() {
            [(of, message)] if of == kind => message.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(" ms")),
            _ => None,
        };
        ms.and_then(|ms| ms.parse().ok())
            .unwrap_or_else(|| out.fail(&format!("{told:?} instead of one {kind}")))
    };
    waited(refused, "connection_refused");
    let late = server("late");
    out.check(waited(late, "connection_given_up") >= 300, "what was late");
    out.check_eq(late.status, 0, "the request itself was answered");
    out.check_eq(refused.status, 0, "the request itself was answered");
    let killed = server("kill");
    out.check_span(
        killed,
        &[("clew.process.signal", "SIGKILL"), ("error.type", "process_exited")],
    );
    out.check_eq(killed.message.as_str(), "process ended by SIGKILL", "status");
    let exited = server("exit");
    out.check_span(exited, &[("process.exit.code", "3"), ("clew.process.signal", "")]);
    out.check_eq(exited.message.as_str(), "process exited with code 3", "status");
}

/// A control group of the test's own.
struct Group(PathBuf);

impl Group {
    /// One whose processes may take so many bytes of memory; none where this host has no such groups.
    fn of_memory(bytes: u64) -> Option<Self> {
        let place = format!("clew-test-{}", std::process::id());
        let limits = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ];
        limits.into_iter().find_map(|(root, limit)| {
            let group = Self(Path::new(root).join(&place));
            std::fs::create_dir(&group.0).ok()?;
            std::fs::write(group.0.join(limit), bytes.to_string()).ok()?;
            Some(group)
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _busy = std::fs::remove_dir(&self.0);
    }
}

/// Severities, the traceback as one record, and what is hidden.
fn check_contents(out: &Outcome, service: &str) {
    let of = |text: &str| {
        let mut found = out
            .logs
            .iter()
            .filter(|log| log.service == service && log.body.contains(text));
        found
            .next()
            .unwrap_or_else(|| out.fail(&format!("no record of {service} with {text}")))
    };
    let begun = of("begin rid=7 ");
    out.check_eq(begun.severity, INFO, "severity");
    out.check(begun.body.contains("password=REDACTED"), "the secret is hidden");
    let failed = of("failed rid=10\n");
    out.check_eq(failed.severity, ERROR, "severity");
    out.check_eq(failed.text("exception.type"), "KeyError", "exception");
    out.check_eq(failed.text("exception.message"), "'10'", "message");
    out.check(
        failed
            .text("exception.stacktrace")
            .starts_with("Traceback (most recent call last):"),
        "the traceback is one record",
    );
    let mut ended = out
        .logs
        .iter()
        .filter(|log| log.service == service && log.body == "end rid=7");
    let ended = ended.next().unwrap_or_else(|| out.fail("no line of JSON"));
    out.check_eq(ended.severity, INFO, "severity");
    out.check_eq(ended.text("log.iostream"), "stdout", "stream");
}
