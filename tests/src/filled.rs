//! Stores whose traces were made up: what no traced program would say, and more than any would in the time of a test.
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clew::capture::Pid;
use clew::discover::{Process, Runtime};
use clew::export::{Clock, Host};
use clew::span::{Policy, Span, SpanKind, Status, Value};
use clew::store::sqlite::{Bounds, SqliteStore};
use clew::store::{Setup, Writer};
use clew::telemetry::Counters;
use clew::trace::Placed;

/// What a browser would run if the page took it for a part of itself.
pub const SCRIPT: &str = "<img src=x onerror=\"window.taken=1\"><script>window.taken=1</script>";
/// The trace that has it in every field.
pub const SCRIPT_TRACE: [u8; 16] = [0xee; 16];
/// The trace of many spans.
pub const LARGE_TRACE: [u8; 16] = [0xbb; 16];

/// Children of each span of the large trace.
const FAN: u64 = 8;
const SERVICES: [&str; 9] = [
    "gateway", "cart", "stock", "prices", "orders", "mail", "search", "users", "ads",
];

/// Writes a store: the large trace, the one with scripts, and small ones, the last of which ended now.
///
/// # Panics
/// The store refuses.
pub fn fill(folder: &Path, large: u64, small: u64) {
    let counters = Counters::new();
    let setup = Setup {
        command: SCRIPT.to_owned(),
        host: Host::default(),
        clock: Clock::now(),
        counters: counters.clone(),
        warn: Arc::new(|line| panic!("{line}")),
        policy: Policy::default(),
    };
    let at: PathBuf = folder.to_owned();
    let bounds = Bounds {
        bytes: 4 << 30,
        ..Bounds::default()
    };
    let writer = Writer::start(setup, move || SqliteStore::open(&at, bounds)).expect("a store");
    let services: Vec<Arc<Process>> = SERVICES.iter().map(|name| process(name)).collect();
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("a clock");
    let now_ns = Duration::from(now).as_nanos() as u64;
    let all = (0..small)
        .map(|n| one(n, now_ns.saturating_sub((small - n) * 1_000_000), &services))
        .chain((0..large).map(|n| part(n, large, now_ns, &services)))
        .chain([script(now_ns)]);
    let mut written = 0;
    for placed in all {
        while !writer.has_room() {
            std::thread::sleep(Duration::from_micros(500));
        }
        writer.push(Arc::new(placed));
        written += 1;
    }
    while counters.value("store.spans") < written {
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn process(service: &str) -> Arc<Process> {
    Arc::new(Process {
        pid: Pid(service.len() as u32),
        exe: format!("/usr/bin/{service}"),
        args: vec![service.to_owned()],
        service: service.to_owned(),
        service_namespace: None,
        runtime: Runtime::Go,
        container: None,
        resource: Vec::new(),
    })
}

fn text(text: String) -> Value {
    Value::Text(text.into())
}

fn placed(trace_id: [u8; 16], id: u64, parent: Option<u64>, process: &Arc<Process>, span: Span) -> Placed {
    Placed {
        trace_id,
        span_id: id.to_be_bytes(),
        parent_id: parent.map(u64::to_be_bytes),
        trace_state: String::new(),
        flags: 1,
        process: Arc::clone(process),
        links: Vec::new(),
        parent_is_remote: false,
        logs: Vec::new(),
        span,
    }
}

/// A trace of one span.
fn one(n: u64, start_ns: u64, services: &[Arc<Process>]) -> Placed {
    let failed = n.is_multiple_of(40);
    let process = &services[n as usize % services.len()];
    let mut trace_id = [0; 16];
    trace_id[..8].copy_from_slice(&(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    trace_id[8..].copy_from_slice(&n.to_be_bytes());
    let span = Span {
        kind: SpanKind::Server,
        name: "GET".into(),
        start_ns,
        end_ns: start_ns + 1_000_000 + (n * 7919) % 90_000_000,
        attributes: vec![
            ("http.request.method", Value::fixed("GET")),
            ("url.path", text(format!("/item/{n}"))),
            ("url.scheme", Value::fixed("http")),
            ("http.response.status_code", Value::Int(if failed { 503 } else { 200 })),
            ("user_agent.original", Value::fixed("made-up/1")),
        ],
        named: Vec::new(),
        status: if failed {
            Status::Error(String::new())
        } else {
            Status::Unset
        },
        events: Vec::new(),
    };
    placed(trace_id, n + 1, None, process, span)
}

/// A span of the large trace: a tree in which each span has a part of its parent's time.
fn part(n: u64, all: u64, end_ns: u64, services: &[Arc<Process>]) -> Placed {
    const WHOLE_NS: f64 = 30e9;
    let mut way = Vec::new();
    let mut at = n;
    while at > 0 {
        way.push((at - 1) % FAN);
        at = (at - 1) / FAN;
    }
    let (mut start, mut length) = (0.0, WHOLE_NS);
    for step in way.iter().rev() {
        length *= 0.9 / FAN as f64;
        start += length * (*step as f64 + 0.5);
    }
    let start_ns = end_ns - WHOLE_NS as u64 + start as u64;
    let failed = n > 0 && n.is_multiple_of(9_973);
    let is_query = n > all / 2;
    let mut attributes = vec![
        ("server.address", Value::fixed("10.0.0.7")),
        ("server.port", Value::Int(8080)),
        ("network.protocol.version", Value::fixed("1.1")),
        ("clew.network.wait_ns", Value::Int(length as i64 / 2)),
        ("clew.network.receive_ns", Value::Int(length as i64 / 9)),
    ];
    if is_query {
        attributes.push(("db.system.name", Value::fixed("postgresql")));
        attributes.push((
            "db.query.text",
            text(format!("SELECT {} FROM shelf WHERE id = $1", letters(n))),
        ));
    } else {
        attributes.push(("http.request.method", Value::fixed("GET")));
        attributes.push(("url.path", text(format!("/{}", letters(n)))));
        attributes.push(("http.response.status_code", Value::Int(if failed { 500 } else { 200 })));
        attributes.push(("user_agent.original", Value::fixed("made-up/1")));
    }
    let span = Span {
        kind: if is_query { SpanKind::Client } else { SpanKind::Server },
        name: if is_query { "SELECT shelf".into() } else { "GET".into() },
        start_ns,
        end_ns: start_ns + length.max(1.0) as u64,
        attributes,
        named: Vec::new(),
        status: if failed {
            Status::Error("the shelf is empty".into())
        } else {
            Status::Unset
        },
        events: Vec::new(),
    };
    let parent = (n > 0).then(|| (n - 1) / FAN + 1);
    placed(LARGE_TRACE, n + 1, parent, &services[n as usize % services.len()], span)
}

/// A word for a number: what differs in numbers alone counts as the same call.
fn letters(mut n: u64) -> String {
    let mut word = String::new();
    loop {
        word.push(char::from(b'a' + (n % 26) as u8));
        n /= 26;
        if n == 0 {
            return word;
        }
    }
}

fn script(now_ns: u64) -> Placed {
    let value = || text(SCRIPT.to_owned());
    let span = Span {
        kind: SpanKind::Client,
        name: SCRIPT.into(),
        start_ns: now_ns - 5_000_000,
        end_ns: now_ns,
        attributes: [
            "http.request.method",
            "url.full",
            "url.path",
            "http.response.status_code",
            "clew.http.request.body",
            "clew.http.response.body",
            "db.system.name",
            "db.query.text",
            "messaging.destination.name",
            "messaging.system",
            "rpc.system",
            "gen_ai.request.model",
            "dns.question.name",
            "tls.cipher",
            "server.address",
            "error.type",
            "user_agent.original",
            "clew.other",
        ]
        .into_iter()
        .map(|name| (name, value()))
        .collect(),
        named: vec![
            ("http.request.header.x-evil".into(), value()),
            (SCRIPT.into(), value()),
            ("db.query.parameter.0".into(), value()),
        ],
        status: Status::Error(SCRIPT.into()),
        events: Vec::new(),
    };
    placed(SCRIPT_TRACE, 1, None, &process(SCRIPT), span)
}
