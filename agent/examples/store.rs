//! What keeping traces costs, without a kernel: spans as of a system of services, written while questions are asked.
//!
//! `cargo run --release -p clew --example store [TRACES [FOLDER]]`; prints one JSON object. `cargo xtask bench --workload store`
//! runs it.
#![expect(clippy::unwrap_used, reason = "a tool for developers")]
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clew::capture::Pid;
use clew::discover::{Process, Runtime};
use clew::export::{Clock, Host};
use clew::span::{Policy, Span, SpanKind, Status, Value};
use clew::store::sqlite::{Bounds, SqliteReader, SqliteStore};
use clew::store::{Order, Page, Query, Reader as _, Setup, Writer};
use clew::telemetry::{Counters, usage};
use clew::trace::Placed;

/// Spans of each trace: a request that passes three services, with calls to a database and a cache.
const SPANS: u64 = 10;

fn main() {
    let mut args = std::env::args().skip(1);
    let traces: u64 = args.next().map_or(100_000, |text| text.parse().unwrap());
    let scratch = std::env::temp_dir().join(format!("clew-bench-store-{}", std::process::id()));
    let folder = args.next().map_or(scratch.clone(), PathBuf::from);
    let counters = Counters::new();
    let before = resident_kib();
    let setup = Setup {
        command: "bench".to_owned(),
        host: Host::read(Path::new("/")),
        clock: Clock::now(),
        counters: counters.clone(),
        warn: Arc::new(|line| eprintln!("{line}")),
        policy: Policy::default(),
    };
    let at = folder.clone();
    let bounds = Bounds {
        bytes: 4 << 30,
        ..Bounds::default()
    };
    let writer = Writer::start(setup, move || SqliteStore::open(&at, bounds)).unwrap();
    let processes: Vec<Arc<Process>> = ["shop", "cart", "stock"]
        .iter()
        .enumerate()
        .map(|(n, name)| process(n, name))
        .collect();

    // Questions are asked all the while, as by two open pages.
    let over = Arc::new(AtomicBool::new(false));
    let (asked_over, asked_folder) = (Arc::clone(&over), folder.clone());
    let asking = std::thread::spawn(move || {
        let reader = SqliteReader::open(&asked_folder).unwrap();
        let mut asked = 0_u64;
        while !asked_over.load(Ordering::Relaxed) {
            for question in ["", "service:cart status:>=500", "error:true duration:>2ms"] {
                let _traces = ask(&reader, question, Order::Start);
                asked += 1;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        asked
    });
    let begun = Instant::now();
    let cpu = usage().cpu;
    let mut most_resident = 0;
    for trace in 0..traces {
        for placed in spans(trace, &processes) {
            while !writer.has_room() {
                std::thread::sleep(Duration::from_micros(500));
            }
            writer.push(placed);
        }
        if trace % 1_000 == 0 {
            most_resident = most_resident.max(resident_kib());
        }
    }
    while counters.value("store.spans") + counters.value("store.failed") < traces * SPANS {
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = begun.elapsed();
    let cpu = usage().cpu.saturating_sub(cpu);
    over.store(true, Ordering::Relaxed);
    let asked = asking.join().unwrap();
    drop(writer);
    let bytes = std::fs::metadata(folder.join("traces.db")).unwrap().len();

    let reader = SqliteReader::open(&folder).unwrap();
    let mut slowest = (Duration::ZERO, Duration::ZERO, String::new());
    let mut answers = serde_json::Map::new();
    for (question, order) in QUESTIONS {
        let mut times: Vec<(Duration, Duration, usize)> = (0..5)
            .map(|_| {
                let (begun, cpu) = (Instant::now(), thread_cpu());
                let found = ask(&reader, question, *order);
                (begun.elapsed(), thread_cpu().saturating_sub(cpu), found)
            })
            .collect();
        times.sort();
        let (median, cpu, found) = times[2];
        let name = format!("{question:?} by {order:?}");
        if median > slowest.0 {
            slowest = (median, cpu, name.clone());
        }
        let answer = serde_json::json!({"ms": ms(median), "cpu_ms": ms(cpu), "found": found});
        answers.insert(name, answer);
    }
    let spans = (traces * SPANS) as f64;
    let result = serde_json::json!({
        "spans_per_second": spans / took.as_secs_f64(),
        "cpu_us_per_span": cpu.as_secs_f64() * 1e6 / spans,
        "questions_meanwhile": asked,
        "bytes_per_span": bytes as f64 / spans,
        "failed": counters.value("store.failed") + counters.value("store.queue_full"),
        "resident_mib_more": most_resident.saturating_sub(before) as f64 / 1024.0,
        "slowest_filter_ms": ms(slowest.0),
        // On a loaded machine the time is mostly others'.
        "slowest_filter_cpu_ms": ms(slowest.1),
        "slowest_filter": slowest.2,
        "answers": answers,
    });
    println!("{result:#}");
    if folder == scratch {
        std::fs::remove_dir_all(folder).unwrap();
    }
}

const QUESTIONS: &[(&str, Order)] = &[
    ("", Order::Start),
    ("", Order::Duration),
    ("service:cart", Order::Start),
    ("service:nobody", Order::Start),
    ("service:stock status:503", Order::Start),
    ("-service:stock", Order::Start),
    ("error:true duration:>2ms", Order::Duration),
    ("duration:>1h", Order::Start),
    ("kind:client span.duration:>1h", Order::Start),
    ("shelf", Order::Start),
    ("user77777", Order::Start),
    ("-shelf", Order::Start),
    ("path:/cart/77777", Order::Start),
    ("url.path:/cart/77777", Order::Start),
    ("service:cart", Order::Spans),
];

fn ask(reader: &SqliteReader, question: &str, order: Order) -> usize {
    let page = Page {
        order,
        limit: 100,
        ..Page::default()
    };
    reader
        .traces(&Query::parse(question).unwrap(), &page)
        .unwrap()
        .traces
        .len()
}

fn process(number: usize, name: &str) -> Arc<Process> {
    Arc::new(Process {
        pid: Pid(number as u32 + 1),
        exe: format!("/usr/bin/{name}"),
        args: vec![name.to_owned(), "--serve".to_owned()],
        service: name.to_owned(),
        service_namespace: None,
        runtime: Runtime::Python,
        container: None,
        resource: Vec::new(),
    })
}

fn spans(trace: u64, processes: &[Arc<Process>]) -> Vec<Arc<Placed>> {
    let mut trace_id = [0; 16];
    // As far apart as ids that were drawn.
    trace_id[..8].copy_from_slice(&(trace + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    trace_id[8..].copy_from_slice(&trace.to_be_bytes());
    let failed = trace.is_multiple_of(50);
    let start = 1_000_000_000 + trace * 100_000;
    let span_id = |n: u64| (trace * 16 + n + 1).to_be_bytes();
    let text = |text: String| Value::Text(text.into());
    (0..SPANS)
        .map(|n| {
            let service = usize::try_from(n % 3).unwrap();
            let kind = if n < 3 { SpanKind::Server } else { SpanKind::Client };
            let (name, attributes) = match n {
                0..3 => (
                    "GET",
                    vec![
                        ("http.request.method", Value::fixed("GET")),
                        ("url.path", text(format!("/cart/{trace}"))),
                        ("url.query", text(format!("user=user{trace}"))),
                        ("url.scheme", Value::fixed("http")),
                        ("http.response.status_code", Value::Int(if failed { 503 } else { 200 })),
                        ("network.protocol.version", Value::fixed("1.1")),
                        ("server.address", Value::fixed("127.0.0.1")),
                        ("server.port", Value::Int(8080 + n as i64)),
                        ("client.address", Value::fixed("127.0.0.1")),
                        ("client.port", Value::Int(30_000 + (trace % 20_000) as i64)),
                        ("user_agent.original", Value::fixed("python-requests/2.32.3")),
                    ],
                ),
                3..8 => (
                    "SELECT shelf",
                    vec![
                        ("db.system.name", Value::fixed("postgresql")),
                        (
                            "db.query.text",
                            text(format!("SELECT id, name, price FROM shelf WHERE item = $1 LIMIT {n}")),
                        ),
                        ("db.query.summary", Value::fixed("SELECT shelf")),
                        ("db.namespace", Value::fixed("shop")),
                        ("server.address", Value::fixed("127.0.0.1")),
                        ("server.port", Value::Int(5432)),
                    ],
                ),
                _ => (
                    "GET",
                    vec![
                        ("db.system.name", Value::fixed("redis")),
                        ("db.operation.name", Value::fixed("GET")),
                        ("db.query.text", text(format!("GET session:{}", trace % 1000))),
                        ("server.address", Value::fixed("127.0.0.1")),
                        ("server.port", Value::Int(6379)),
                    ],
                ),
            };
            Arc::new(Placed {
                trace_id,
                span_id: span_id(n),
                parent_id: (n > 0).then(|| span_id(if n < 3 { n - 1 } else { n % 3 })),
                trace_state: String::new(),
                flags: 1,
                process: Arc::clone(&processes[service]),
                links: Vec::new(),
                parent_is_remote: n > 0 && n < 3,
                logs: Vec::new(),
                span: Span {
                    kind,
                    name: name.into(),
                    start_ns: start + n * 10_000,
                    end_ns: start + n * 10_000 + 1_000_000 + trace % 3_000_000,
                    attributes,
                    named: Vec::new(),
                    status: if failed && n < 3 {
                        Status::Error(String::new())
                    } else {
                        Status::Unset
                    },
                    events: Vec::new(),
                },
            })
        })
        .collect()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn thread_cpu() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID)
        .unwrap()
        .into()
}

/// Memory that is this process's own: the file's pages are the kernel's.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
