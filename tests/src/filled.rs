//! Stores whose traces were made up: what no traced program would say, and more than any would in the time of a test.
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use clew::capture::Pid;
use clew::discover::{Process, Runtime};
use clew::export::{Clock, Host};
use clew::span::{Policy, Span, SpanKind, Status, Value};
use clew::store::sqlite::{Bounds, SqliteStore};
use clew::store::{Setup, Writer};
use clew::telemetry::Counters;
use clew::trace::{Link, Placed};

use crate::wait::DEADLINE;

/// What a browser would run if the page took it for a part of itself.
pub const SCRIPT: &str = "<img src=x onerror=\"window.taken=1\"><script>window.taken=1</script>";
/// The trace that has it in every field.
pub const SCRIPT_TRACE: [u8; 16] = [0xee; 16];
/// The trace of many spans.
pub const LARGE_TRACE: [u8; 16] = [0xbb; 16];

/// The trace that has something of everything, and whose process died.
pub const RICH_TRACE: [u8; 16] = [0xdd; 16];

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
    let (writer, counters) = writer(folder);
    // As if more events had come than could be taken, about when the last of them ended.
    counters.add(clew::telemetry::LOST, 7);
    let services: Vec<Arc<Process>> = SERVICES.iter().map(|name| process(name)).collect();
    let now_ns = now_ns();
    let all = (0..small)
        .map(|n| one(n, now_ns.saturating_sub((small - n) * 1_000_000), &services))
        .chain((0..large).map(|n| part(n, large, now_ns, &services)))
        .chain([script(now_ns)])
        .chain(rich(now_ns));
    let mut written = 0;
    for placed in all {
        while_it_writes(&counters, || writer.has_room());
        writer.push(Arc::new(placed));
        written += 1;
    }
    while_it_writes(&counters, || counters.value("store.spans") >= written);
}

/// Adds traces of one span to a store, so many a second: each ends when it is handed over.
///
/// # Panics
/// The store refuses, or cannot keep up.
pub fn pour(folder: &Path, per_second: u64, time: Duration) {
    const EVERY: Duration = Duration::from_millis(20);
    /// Of none that [`fill`] writes.
    const FIRST: u64 = 1 << 40;
    let (writer, counters) = writer(folder);
    let services: Vec<Arc<Process>> = SERVICES.iter().map(|name| process(name)).collect();
    let begun = Instant::now();
    let mut written = 0;
    while begun.elapsed() < time {
        let due = begun.elapsed().as_micros() as u64 * per_second / 1_000_000;
        while written < due {
            let mut placed = one(FIRST + written, 0, &services);
            placed.span.end_ns = now_ns();
            placed.span.start_ns = placed.span.end_ns - 1_000_000;
            assert!(writer.has_room(), "the store cannot keep up");
            writer.push(Arc::new(placed));
            written += 1;
        }
        std::thread::sleep(EVERY);
    }
    while_it_writes(&counters, || counters.value("store.spans") >= written);
}

/// Waits as long as the store writes, and panics when nothing was written for [`DEADLINE`]: its thread is stuck, gave spans up, or is gone.
fn while_it_writes(counters: &Counters, condition: impl Fn() -> bool) {
    let mut last = (0, Instant::now());
    while !condition() {
        let written = counters.value("store.spans");
        if written > last.0 {
            last = (written, Instant::now());
        }
        assert!(
            last.1.elapsed() < DEADLINE,
            "the store writes nothing any more, after {written} spans"
        );
        std::thread::sleep(Duration::from_micros(500));
    }
}

fn writer(folder: &Path) -> (Writer, Counters) {
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
    (writer, counters)
}

fn now_ns() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("a clock");
    Duration::from(now).as_nanos() as u64
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

/// A request whose process died, and what it had asked for: spans 1 to 9.
fn rich(now_ns: u64) -> Vec<Placed> {
    let fixed = Value::fixed;
    let start_ns = now_ns - 90_000_000;
    let mut clerk = Arc::unwrap_or_clone(process("clerk"));
    clerk.resource.push((
        "process.creation.time".to_owned(),
        unix_seconds(now_ns, start_ns - 500_000_000),
    ));
    let clerk = Arc::new(clerk);
    let part = |id: u64, kind: SpanKind, name: &'static str, attributes: Vec<(&'static str, Value)>| {
        let span = Span {
            kind,
            name: name.into(),
            start_ns: start_ns + id * 1_000_000,
            end_ns: if id == 1 {
                now_ns
            } else {
                start_ns + id * 1_000_000 + 900_000
            },
            attributes,
            named: Vec::new(),
            status: Status::Unset,
            events: Vec::new(),
        };
        placed(RICH_TRACE, id, (id > 1).then_some(1), &clerk, span)
    };
    let sql = |id, text: &'static str| {
        let attributes = vec![
            ("db.system.name", fixed("postgresql")),
            ("db.query.text", fixed(text)),
            ("clew.db.transaction.id", fixed("7-42")),
        ];
        part(id, SpanKind::Client, "orders", attributes)
    };
    let lookup = |id, rows| {
        let attributes = vec![
            ("db.system.name", fixed("redis")),
            ("db.operation.name", fixed("GET")),
            ("db.query.text", text(format!("GET session:{id}"))),
            ("db.response.returned_rows", Value::Int(rows)),
        ];
        part(id, SpanKind::Client, "GET", attributes)
    };
    let mut root = part(
        1,
        SpanKind::Server,
        "POST",
        vec![
            ("http.request.method", fixed("POST")),
            ("url.path", fixed("/died")),
            ("user.id", fixed("ann")),
            ("clew.exchange.outcome", fixed("process_exited")),
            ("clew.process.signal", fixed("SIGSEGV")),
            ("clew.time.cpu", Value::Int(30_000_000)),
            ("clew.time.runqueue", Value::Int(20_000_000)),
            ("clew.time.blocked.disk", Value::Int(39_000_000)),
        ],
    );
    root.span.status = Status::Error("the process ended".to_owned());
    root.links.push(Link {
        trace_id: SCRIPT_TRACE,
        span_id: 1_u64.to_be_bytes(),
        trace_state: String::new(),
        flags: 1,
    });
    let mut call = vec![
        ("http.request.method", fixed("GET")),
        ("url.full", fixed("https://bank.example/rates")),
        ("tls.protocol.version", fixed("1.3")),
        ("tls.cipher", fixed("TLS_AES_128_GCM_SHA256")),
        ("tls.client.server_name", fixed("bank.example")),
        ("tls.next_protocol", fixed("http/1.1")),
        ("clew.network.connection.reused", Value::Bool(false)),
    ];
    let phases = [
        ("clew.network.dns_ns", 1),
        ("clew.network.connect_ns", 2),
        ("clew.network.tls_ns", 3),
        ("clew.network.send_ns", 1),
        ("clew.network.wait_ns", 40),
        ("clew.network.receive_ns", 5),
    ];
    call.extend(phases.map(|(name, part)| (name, Value::Int(part * 10_000))));
    let queue = vec![
        ("messaging.system", fixed("kafka")),
        ("messaging.destination.name", fixed("orders.placed")),
        ("messaging.message.id", fixed("m-17")),
    ];
    let again = vec![
        ("messaging.system", fixed("nats")),
        ("messaging.destination.name", fixed("orders.failed")),
        ("clew.messaging.delivery_attempt", Value::Int(3)),
        ("clew.messaging.redelivered", Value::Bool(true)),
    ];
    vec![
        root,
        sql(2, "BEGIN"),
        sql(3, "INSERT INTO orders VALUES ($1)"),
        sql(4, "ROLLBACK"),
        lookup(5, 1),
        lookup(6, 0),
        part(7, SpanKind::Client, "GET", call),
        part(8, SpanKind::Producer, "publish orders.placed", queue),
        part(9, SpanKind::Consumer, "deliver orders.failed", again),
    ]
}

/// A moment of the monotonic clock in seconds since 1970.
fn unix_seconds(now_ns: u64, at_ns: u64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("now");
    let at = now - Duration::from_nanos(now_ns - at_ns);
    format!("{}.{:09}", at.as_secs(), at.subsec_nanos())
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
            "rpc.system.name",
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
