//! What each parser costs on one core: recordings of real clients and servers through a connection's conversation.
//!
//! `cargo run --release -p clew --example parsers [PROTOCOL]` prints, for each protocol, bytes a second of the thread's time, and
//! allocations for each exchange, each operation, and each operation that neither begins nor ends anything; with `--json` a line of JSON for each. A connection is played from its beginning to its end, recognition included, so that
//! what a connection costs once is in the figures.
#![expect(clippy::expect_used, reason = "a tool for developers")]
#[path = "../tests/counting/mod.rs"]
mod counting;
#[path = "../tests/recorded/mod.rs"]
mod recorded;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use clew::capture::{Actor, Moment, Pid};
use clew::protocol::{Conversation, Limits, PROTOCOLS, Recognition, Step};
use clew::stream::{Content, Piece};

/// How long each protocol is played.
const WINDOW: Duration = Duration::from_millis(700);
/// Pieces that are played between two looks at the clock, which is a system call: as many as lie in a processor's cache, where those
/// that were just captured are.
const BATCH: usize = 1024;

/// What was played.
#[derive(Default)]
struct Played {
    bytes: u64,
    operations: u64,
    exchanges: u64,
    allocations: u64,
    /// Operations that neither begin nor end anything, of connections that are recognized, and what they allocate.
    passing: u64,
    passing_allocations: u64,
    time: Duration,
}

fn main() {
    let (flags, names): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|word| word == "--json");
    let (is_json, only) = (!flags.is_empty(), names.first().map_or("", String::as_str));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    if !is_json {
        println!(
            "protocol     connections     MB/s  bytes an exchange  ns an exchange  allocations: an exchange  an operation  one that passes"
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
                "allocations_per_operation": per(played.allocations, played.operations),
                "allocations_per_passing_operation": per(played.passing_allocations, played.passing),
            });
            println!("{row}");
            continue;
        }
        println!(
            "{name:<12} {:>11} {speed:>8.0} {:>18.0} {time_ns:>15.0} {:>25.2} {:>13.2} {:>16.2}",
            connections.len(),
            per(played.bytes, played.exchanges),
            per(played.allocations, played.exchanges),
            per(played.allocations, played.operations),
            per(played.passing_allocations, played.passing),
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
    // The first round warms up.
    once(connections.to_vec(), &mut steps, &mut Played::default());
    let pieces: usize = connections.iter().map(|(_, pieces)| pieces.len()).sum();
    let rounds = (BATCH / pieces.max(1)).max(1);
    while played.time < WINDOW {
        // Who captures makes the pieces; what that costs is not of a parser.
        let batch: Vec<_> = (0..rounds).map(|_| connections.to_vec()).collect();
        let begin = spent();
        for connections in batch {
            once(connections, &mut steps, &mut played);
        }
        played.time += spent() - begin;
    }
    played
}

fn once(connections: Vec<(bool, Vec<Piece>)>, steps: &mut Vec<Step>, played: &mut Played) {
    for (datagrams, pieces) in connections {
        let begin = counting::allocations();
        let mut conversation = if datagrams {
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
            let before = counting::allocations();
            let was_known = matches!(conversation.recognized(), Recognition::Known(_));
            conversation.piece(piece, steps);
            if steps.is_empty() && was_known {
                played.passing += 1;
                played.passing_allocations += counting::allocations() - before;
            }
            played.exchanges += steps.iter().filter(|step| matches!(step, Step::Request(_))).count() as u64;
            steps.clear();
        }
        drop(conversation);
        played.allocations += counting::allocations() - begin;
    }
}
