//! What an exchange costs in user space, without a kernel: records as of a busy server, through the pipeline to an OTLP file.
//!
//! `cargo run --release -p clew --example replay [EXCHANGES [EXCHANGES_A_SECOND]]`
#![expect(clippy::unwrap_used, reason = "a tool for developers")]
use std::sync::Arc;
use std::time::Duration;

use clew::capture::{Pid, decode};
use clew::discover::{Process, Runtime};
use clew::export::file::OtlpFile;
use clew::export::summary::Summary;
use clew::export::{Clock, Host};
use clew::pipeline::{Input, Output, Pipeline};
use clew::protocol::Limits;
use clew::span::Policy;
use clew::telemetry::{Counters, usage};
use clew_common::event as abi;
use zerocopy::IntoBytes;

const REQUEST: &[u8] = b"GET /page HTTP/1.1\r\nHost: 127.0.0.1:18999\r\n\r\n";
/// What nginx answers; the body is sent from a file, so that only its length is seen.
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.26.3\r\nDate: Sat, 28 Nov 2026 18:21:40 GMT\r\n\
    Content-Type: application/octet-stream\r\nContent-Length: 600\r\nLast-Modified: Sat, 28 Nov 2026 18:15:40 GMT\r\n\
    Connection: keep-alive\r\nETag: \"6929e58c-258\"\r\nAccept-Ranges: bytes\r\n\r\n";
const BODY: usize = 600;
const CONNECTIONS: u64 = 16;
const SERVER: u32 = 77;
/// How often the pipeline is told the time.
const TICKS_A_SECOND: u64 = 100;

fn header(time_ns: u64, kind: u16) -> abi::Header {
    abi::Header {
        time_ns,
        tgid: SERVER,
        tid: SERVER,
        turn: (time_ns / 100_000) as u32 | 1,
        kind,
        ..abi::Header::default()
    }
}

fn connection(conn: u64) -> Vec<u8> {
    let mut record = abi::Connection {
        header: header(1, abi::KIND_CONNECTION),
        conn,
        local_isn: conn as u32,
        remote_isn: (CONNECTIONS + conn) as u32,
        local_port: 80,
        remote_port: 40_000 + conn as u16,
        family: 2,
        flags: abi::CONN_SEQUENCED,
        ..abi::Connection::default()
    };
    record.local[..4].copy_from_slice(&[127, 0, 0, 1]);
    record.remote[..4].copy_from_slice(&[127, 0, 0, 1]);
    record.as_bytes().to_vec()
}

fn data(time_ns: u64, conn: u64, direction: u8, offset: usize, length: usize, payload: &[u8]) -> Vec<u8> {
    let record = abi::Data {
        header: header(time_ns, abi::KIND_DATA),
        conn,
        offset: offset as u64,
        length: length as u32,
        captured: payload.len() as u32,
        direction,
        ..abi::Data::default()
    };
    [record.as_bytes(), payload].concat()
}

/// The n-th exchange of all.
fn exchange(n: u64, now_ns: u64) -> [Vec<u8>; 3] {
    let (conn, turn) = (n % CONNECTIONS + 1, (n / CONNECTIONS) as usize);
    let (asked, answered) = (turn * REQUEST.len(), turn * (RESPONSE.len() + BODY));
    [
        data(now_ns, conn, abi::INGRESS, asked, REQUEST.len(), REQUEST),
        data(now_ns + 10_000, conn, abi::EGRESS, answered, RESPONSE.len(), RESPONSE),
        data(now_ns + 20_000, conn, abi::EGRESS, answered + RESPONSE.len(), BODY, b""),
    ]
}

fn server() -> Process {
    Process {
        pid: Pid(SERVER),
        exe: "/usr/sbin/nginx".to_owned(),
        args: vec!["nginx".to_owned()],
        service: "nginx".to_owned(),
        service_namespace: None,
        runtime: Runtime::Nginx,
        container: None,
        resource: Vec::new(),
    }
}

/// Everything between the records and the file.
struct Agent {
    pipeline: Pipeline,
    out: Output,
    summary: Summary,
    file: OtlpFile,
    counters: Counters,
}

impl Agent {
    fn new() -> Self {
        let counters = Counters::new();
        let warn = Arc::new(|line: &str| println!("{line}"));
        let file = OtlpFile::open("/dev/null", None, Host::default(), Clock::now(), counters.clone(), warn);
        Self {
            pipeline: Pipeline::new(
                Policy::default(),
                Limits {
                    body_bytes: 0,
                    ..Limits::default()
                },
                1,
            ),
            out: Output::default(),
            summary: Summary::default(),
            file: file.unwrap(),
            counters,
        }
    }

    fn record(&mut self, record: &[u8]) {
        self.take(Input::Event(decode(record).unwrap()));
    }

    fn take(&mut self, input: Input) {
        self.pipeline.handle(input, &mut self.out);
        for name in self.out.counts.drain(..) {
            self.counters.raise(name);
        }
        for span in self.out.spans.drain(..) {
            let span = Arc::new(span);
            self.summary.add(&span);
            self.file.push(span);
        }
    }
}

fn main() {
    let argument = |place: usize| std::env::args().nth(place).map(|number| number.parse::<u64>().unwrap());
    let (exchanges, rate) = (argument(1).unwrap_or(400_000), argument(2).unwrap_or(20_000));
    let mut agent = Agent::new();
    agent.take(Input::Process(server()));
    for conn in 1..=CONNECTIONS {
        agent.record(&connection(conn));
    }
    let (before, mut highest) = (usage(), 0);
    for n in 0..exchanges {
        let now_ns = 1_000_000 + n * (1_000_000_000 / rate);
        for record in exchange(n, now_ns) {
            agent.record(&record);
        }
        if n % (rate / TICKS_A_SECOND) == 0 {
            agent.take(Input::Time(now_ns));
            highest = highest.max(usage().rss_bytes);
            // The file's thread keeps up, as it does on a machine with time to spare.
            std::thread::sleep(Duration::from_micros(300));
        }
    }
    let cpu = usage().cpu.saturating_sub(before.cpu);
    println!(
        "{} ns an exchange, at most {} MiB resident, {} spans written, {} dropped",
        cpu.as_nanos() / u128::from(exchanges),
        highest >> 20,
        agent.counters.value("export.spans"),
        agent.counters.value("export.file_queue_full")
    );
}
