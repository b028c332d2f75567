//! What each parser costs on one core: recordings of real clients and servers through a connection's conversation.
//!
//! `cargo run --release -p clew --example parsers [PROTOCOL]` prints, for each protocol, bytes a second of the thread's time, and
//! allocations for each exchange and each operation; with `--json` a line of JSON for each. A connection is played from its beginning to its end, recognition included, so that
//! what a connection costs once is in the figures.
#![expect(clippy::expect_used, reason = "a tool for developers")]
#[path = "../tests/recorded/mod.rs"]
mod recorded;

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clew::capture::{Actor, Moment, Pid};
use clew::protocol::{Conversation, Limits, PROTOCOLS, Step};
use clew::stream::{Content, Piece};

/// How long each protocol is played.
const WINDOW: Duration = Duration::from_millis(700);

/// The system's allocator, and how often it was asked.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: What is asked is handed on as it is, and the answer as it comes.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: The caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: The caller keeps the contract of `dealloc`, which is the same; `pointer` is of `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: The caller keeps the contract of `realloc`, which is the same; `pointer` is of `System`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What was played.
#[derive(Default)]
struct Played {
    bytes: u64,
    operations: u64,
    exchanges: u64,
    allocations: u64,
    time: Duration,
}

fn main() {
    let (flags, names): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|word| word == "--json");
    let (is_json, only) = (!flags.is_empty(), names.first().map_or("", String::as_str));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    if !is_json {
        println!(
            "protocol     connections     MB/s  bytes an exchange  ns an exchange  allocations: an exchange  an operation"
        );
    }
    for protocol in PROTOCOLS {
        let name = if protocol.name == "http" {
            "http1"
        } else {
            protocol.name
        };
        if !name.contains(only) {
            continue;
        }
        let connections = connections(&folder.join(name));
        let played = play(&connections);
        let per = |count: u64, of: u64| count as f64 / of.max(1) as f64;
        let speed = played.bytes as f64 / played.time.as_secs_f64() / 1e6;
        let time_ns = played.time.as_nanos() as f64 / played.exchanges.max(1) as f64;
        if is_json {
            let row = serde_json::json!({
                "protocol": name,
                "mb_per_second": speed,
                "ns_per_exchange": time_ns,
                "allocations_per_exchange": per(played.allocations, played.exchanges),
            });
            println!("{row}");
            continue;
        }
        println!(
            "{name:<12} {:>11} {speed:>8.0} {:>18.0} {time_ns:>15.0} {:>25.2} {:>13.2}",
            connections.len(),
            per(played.bytes, played.exchanges),
            per(played.allocations, played.exchanges),
            per(played.allocations, played.operations),
        );
    }
}

/// The connections of a protocol's recordings, ready to be played.
fn connections(folder: &Path) -> Vec<(bool, Vec<Piece>)> {
    let mut found = Vec::new();
    let all = recorded::recordings(folder.parent().expect("the folder of all protocols"));
    for path in all.iter().filter(|path| path.parent() == Some(folder)) {
        let text = std::fs::read_to_string(path).expect("a recording");
        for connection in recorded::parse(&text) {
            let mut offsets = [0_u64; 2];
            let datagrams = connection.iter().any(|operation| operation.datagram);
            let piece = |operation: recorded::Operation| {
                let offset = &mut offsets[operation.direction as usize];
                let bytes = Bytes::from(operation.bytes?);
                let piece = Piece {
                    direction: operation.direction,
                    offset: *offset,
                    moment: Moment::new(operation.time_us * 1000, Actor::thread(Pid(1), 1)),
                    content: Content::Bytes(bytes.clone()),
                };
                *offset += bytes.len() as u64;
                Some(piece)
            };
            found.push((datagrams, connection.into_iter().filter_map(piece).collect()));
        }
    }
    found
}

/// The thread's time on a processor: what else the machine does makes no difference.
fn spent() -> Duration {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.expect("the clock of a thread").into()
}

/// Plays all of them over and over.
fn play(connections: &[(bool, Vec<Piece>)]) -> Played {
    let mut played = Played::default();
    let mut steps = Vec::with_capacity(1024);
    let mut rounds = 0_u32;
    // The first round warms up.
    while rounds == 0 || played.time < WINDOW {
        if rounds == 0 {
            rounds = 1;
            once(connections, &mut steps, &mut Played::default());
            continue;
        }
        let (begin, before) = (spent(), ALLOCATIONS.load(Ordering::Relaxed));
        once(connections, &mut steps, &mut played);
        played.allocations += ALLOCATIONS.load(Ordering::Relaxed) - before;
        played.time += spent() - begin;
    }
    played
}

fn once(connections: &[(bool, Vec<Piece>)], steps: &mut Vec<Step>, played: &mut Played) {
    for (datagrams, pieces) in connections {
        let mut conversation = if *datagrams {
            Conversation::datagrams(Limits::default())
        } else {
            Conversation::new(Limits::default())
        };
        for piece in pieces {
            let Content::Bytes(bytes) = &piece.content else {
                continue;
            };
            played.bytes += bytes.len() as u64;
            played.operations += 1;
            conversation.piece(piece.clone(), steps);
            played.exchanges += steps.iter().filter(|step| matches!(step, Step::Request(_))).count() as u64;
            steps.clear();
        }
    }
}
