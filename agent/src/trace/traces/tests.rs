mod java;

use clew_common::event::JAVA_VIRTUAL;

use super::*;
use crate::capture::{Context, Direction, Endpoints, LinkKind, Moment, Pid};
use crate::discover::Runtime;
use crate::span::{Layer, Status};

mod bounds;
mod goroutines;
mod handover;
mod messages;
mod node;
mod passed;
mod python;
mod streams;
mod upstream;

/// One line of a scenario: who did what on which connection, and when.
///
/// ```text
/// shop.21@5 reads 1 ctx=7/9/0      process shop, thread 21, round 5 of its loop, as server of connection 1,
///                                  a request that names span 9 of trace 7, not sampled
/// shop.21g4 asks 2                 goroutine 4, as client of connection 2
/// shop.21n7 asks 2                 context 7 that Node.js tells
/// shop.21c4 makes 5                Python's context 4 makes context 5
/// shop.21c4 accepts 5 conn=2       it does so because it accepted connection 2
/// shop.21c4 takes 5 conn=2         it does so for what was read of connection 2
/// shop.21c4 submits 5              it hands the work 5 to a pool of threads; does: it runs where a thread does the work
/// shop.21g4 makes 5                goroutine 4 makes goroutine 5
/// shop.21g4 hands 5 s=2            it hands it something, which that takes at place 2 of its program
/// shop.21g4 reads 1 s=3            stream 3 of a connection that carries many at once; asks likewise
/// shop.21g4 serves 5 s=3           goroutine 5 serves stream 3 of what goroutine 4 reads
/// shop.21g4 leaves 0 s=3           the head of a request is left for whoever writes it
/// shop.21g4 writes 5 s=3           goroutine 5 is about to write it; without a stream, what it asks itself
/// shop.21n7 wants 4 s=3            context 7 that Node.js tells asks for stream 3 of connection 4
/// shop.21n0 reads 1 s=3            Node.js reads stream 3, which context 103 serves
/// shop.21v4 asks 2                 virtual thread 4 of Java; 21j is a thread of Java that is the kernel's
/// shop.21 exits 0                  the process is over; sleeps: so many seconds pass
/// shop.21 misses 0                 events are lost, of whomever
/// shop.21 helps 0                  the thread runs what others asked for while it waits; pools: any of its process does
/// ```
#[derive(Clone, Debug)]
struct Line {
    moment: Moment,
    process: Arc<Process>,
    verb: String,
    n: u64,
    /// Which request of its end of the connection it is.
    nth: u64,
    remote: Option<RemoteContext>,
    /// The connection a context was made for.
    socket: u64,
    stream: Option<u32>,
}

fn process(service: &str, runtimes: &[(&str, Runtime)]) -> Arc<Process> {
    let pid = service.bytes().fold(7, |pid, byte| pid * 31 + u32::from(byte)) % 30_000;
    let runtime = runtimes.iter().find(|(name, _)| *name == service);
    Arc::new(Process {
        pid: Pid(pid),
        exe: String::new(),
        args: Vec::new(),
        service: service.to_owned(),
        service_namespace: None,
        runtime: runtime.map_or(Runtime::Native, |(_, runtime)| *runtime),
        container: None,
        resource: Vec::new(),
    })
}

fn parse(script: &str, runtimes: &[(&str, Runtime)]) -> Vec<Line> {
    let mut counts: HashMap<(String, u64), u64> = HashMap::new();
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .zip(1..)
        .scan(0, |slept, (line, time)| {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words[1] == "sleeps" {
                *slept += words[2].parse::<u64>().unwrap() * 1000;
            }
            Some((words, time + *slept))
        })
        .filter(|(words, _)| words[1] != "sleeps")
        .map(|(words, time)| {
            let (service, thread) = words[0].split_once('.').unwrap();
            let (thread, turn) = thread.split_once('@').unwrap_or((thread, "0"));
            let place = thread.find(|letter: char| letter.is_ascii_lowercase());
            let (tid, id) = thread.split_at(place.unwrap_or(thread.len()));
            let number = || id[1..].parse::<u64>().unwrap();
            let context = match id.get(..1) {
                Some("g") => Context::Goroutine(number()),
                Some("n") => Context::Node(number()),
                Some("c") => Context::Python(number()),
                Some("v") => Context::Java(JAVA_VIRTUAL | number()),
                Some("j") => Context::Java(0),
                _ => Context::Thread,
            };
            let process = process(service, runtimes);
            let actor = Actor {
                pid: process.pid,
                tid: tid.parse().unwrap(),
                context,
                turn: turn.parse().unwrap(),
            };
            let n = words[2].parse().unwrap();
            let count = counts.entry((words[1].to_owned(), n)).or_default();
            *count += 1;
            Line {
                moment: Moment::new(time * 1_000_000, actor),
                process,
                verb: words[1].to_owned(),
                n,
                nth: *count,
                remote: words
                    .get(3)
                    .filter(|text| text.starts_with("ctx"))
                    .map(|text| remote(text)),
                socket: words
                    .get(3)
                    .and_then(|text| text.strip_prefix("conn="))
                    .map_or(0, |n| inode(n.parse().unwrap())),
                stream: words
                    .get(3)
                    .and_then(|text| text.strip_prefix("s="))
                    .map(|stream| stream.parse().unwrap()),
            }
        })
        .collect()
}

fn remote(text: &str) -> RemoteContext {
    let mut parts = text.strip_prefix("ctx=").unwrap().split('/');
    let mut number = || parts.next().map(|part| part.parse::<u64>().unwrap());
    RemoteContext {
        trace_id: u128::from(number().unwrap()).to_be_bytes(),
        span_id: number().unwrap().to_be_bytes(),
        sampled: number().map(|sampled| sampled == 1),
        trace_state: "k=v".to_owned(),
        format: "w3c",
    }
}

/// The two ends of connection `n`: 2n is the client's.
fn facts(n: u64, serves: bool) -> ConnFacts {
    let port = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let isn = u32::try_from(n).unwrap() * 10;
    let (local, remote, isn) = if serves {
        (port(80), port(4000), (isn + 1, isn))
    } else {
        (port(4000), port(80), (isn, isn + 1))
    };
    ConnFacts {
        conn: ConnId(2 * n + u64::from(serves)),
        endpoints: Endpoints::Tcp { local, remote },
        netns: 1,
        isn: Some(isn),
        midway: false,
        layer: Layer::Wire,
        asks: None,
        connect_ns: None,
        accept_ns: None,
        preface: crate::protocol::Preface::default(),
        handshake: None,
    }
}

/// The inode number of the server's socket of connection `n`.
const fn inode(n: u64) -> u64 {
    5000 + n
}

fn tell(traces: &mut Traces, line: &Line) {
    let place = line.stream.unwrap_or_default().into();
    let link = match line.verb.as_str() {
        "wants" => return node::wants(traces, line),
        "makes" => Some(LinkKind::Created),
        "hands" => Some(LinkKind::Handed { site: 1 + place }),
        "accepts" => Some(LinkKind::Accepted(line.socket)),
        "takes" => Some(LinkKind::Read(line.socket)),
        "submits" => Some(LinkKind::Submitted),
        "does" => Some(LinkKind::Within),
        "serves" => line.stream.map(|stream| LinkKind::Serves { stream }),
        "leaves" => Some(LinkKind::Left { place }),
        "writes" => Some(LinkKind::Writes {
            stream: line.stream,
            place,
        }),
        _ => None,
    };
    if let Some(link) = link {
        let other = match line.moment.actor.context {
            Context::Goroutine(_) => Context::Goroutine(line.n),
            _ => Context::Python(line.n),
        };
        return traces.link(&line.moment, other, link);
    }
    let serves = matches!(line.verb.as_str(), "reads" | "answers");
    let facts = facts(line.n, serves);
    let conn = facts.conn;
    let key = |serves| SpanKey(line.n * 1000 + line.nth * 2 + u64::from(serves));
    let kind = if serves { SpanKind::Server } else { SpanKind::Client };
    let actor = line.moment.actor;
    let direction = match line.verb.as_str() {
        "connects" => return traces.connecting(conn, &line.moment, line.process.runtime),
        "inspects" => {
            return traces.inspected(ConnId(2 * line.n + 1), &actor, line.process.runtime);
        }
        "helps" | "pools" => return traces.helps(&actor, line.verb == "pools"),
        "exits" => return traces.exited(actor.pid),
        "misses" => return traces.lost(line.moment.time_ns),
        "loses" => return traces.unconnected(conn, line.moment.time_ns),
        "reads" | "gets" | "fails" => Direction::Ingress,
        _ => Direction::Egress,
    };
    // That a connection broke may be seen by nobody.
    if line.verb != "breaks" {
        traces.operation(conn, &actor, direction);
    }
    // A connection that is told by itself, until its content is seen.
    let connection = SpanKey(line.n * 1000 + 500);
    if line.verb == "sees" {
        return traces.event(SpanEvent::Withdrawn { key: connection });
    }
    if matches!(line.verb.as_str(), "asks" | "reads" | "shakes") {
        let shakes = line.verb == "shakes";
        if line.nth == 1 {
            traces.connection(&facts);
            if serves {
                traces.socket(conn, inode(line.n));
            }
        }
        traces.event(SpanEvent::Opened(Opened {
            key: if shakes { connection } else { key(serves) },
            kind,
            conn,
            stream: line.stream,
            stream_context: line.stream.map(|stream| {
                let stream = if serves { stream } else { 0 };
                Context::Node(line.n * 100 + u64::from(stream))
            }),
            places: [(!shakes).then_some(Position::Wire(line.nth * 100)), None],
            start: line.moment,
            actor,
            process: Arc::clone(&line.process),
            remote: line.remote.clone(),
            is_connection: shakes,
            message: None,
        }));
    } else {
        let verb = if serves { "reads" } else { "asks" };
        let mut span = Box::new(Span {
            kind,
            name: format!(
                "{verb} {}{}",
                line.n,
                "'".repeat(usize::try_from(line.nth.max(1) - 1).unwrap())
            )
            .into(),
            start_ns: line.moment.time_ns,
            end_ns: line.moment.time_ns,
            attributes: Vec::new(),
            named: Vec::new(),
            status: Status::Unset,
            events: Vec::new(),
        });
        if matches!(line.verb.as_str(), "fails" | "breaks") {
            span.attributes.push((OUTCOME, Value::fixed("aborted")));
        }
        traces.event(SpanEvent::Finished {
            key: key(serves),
            actor,
            span,
        });
    }
}

/// Each span as `child < parent by source`.
fn show(out: &[Placed]) -> Vec<String> {
    let name = |placed: &Placed| format!("{} {}", placed.process.service, placed.span.name);
    let mut known = HashMap::new();
    for placed in out {
        assert_ne!((placed.trace_id, placed.span_id), ([0; 16], [0; 8]));
        assert!(known.insert(placed.span_id, placed).is_none(), "span ids are unique");
    }
    let mut lines: Vec<String> = out
        .iter()
        .map(|placed| {
            let source = placed
                .span
                .attributes
                .iter()
                .find(|(key, _)| *key == "clew.parent.source");
            let Some(parent) = placed.parent_id else {
                assert_eq!(source, None);
                return name(placed);
            };
            let Some((_, Value::Text(source))) = source else {
                panic!("a parent without a source")
            };
            let parent = match known.get(&parent) {
                Some(parent) => {
                    assert_eq!(parent.trace_id, placed.trace_id, "of {}", name(placed));
                    name(parent)
                }
                None => u64::from_be_bytes(parent).to_string(),
            };
            format!("{} < {parent} by {source}", name(placed))
        })
        .collect();
    lines.sort();
    lines
}

fn settle(traces: &mut Traces) -> Vec<Placed> {
    let mut out = Vec::new();
    traces.tick(600_000_000_000, &mut out);
    assert_eq!(traces.pending(), 0);
    out
}

/// Plays a scenario; the tree, and the `causality.` counters raised, must be these.
fn check(runtimes: &[(&str, Runtime)], script: &str, tree: &[&str], counters: &[&str]) {
    let mut traces = Traces::new(1);
    for line in parse(script, runtimes) {
        tell(&mut traces, &line);
    }
    let settled = settle(&mut traces);
    assert_eq!(show(&settled), tree, "of{script}");
    let mut counted: Vec<_> = traces.take_counts().collect();
    counted.retain(|name| name.starts_with("causality."));
    assert_eq!(counted, counters, "of{script}");
    // What is counted is told on the span as well.
    let attributes = settled.iter().flat_map(|placed| &placed.span.attributes);
    let mut told: Vec<String> = attributes
        .filter_map(|attribute| match attribute {
            ("clew.parent.unknown", Value::Text(why)) => Some(format!("causality.unknown.{why}")),
            _ => None,
        })
        .collect();
    told.sort_unstable();
    counted.sort_unstable();
    assert_eq!(told, counted, "of{script}");
}

const NGINX: &[(&str, Runtime)] = &[("shop", Runtime::Nginx)];
const GO: &[(&str, Runtime)] = &[("shop", Runtime::Go)];

const CHAIN: &str = "
    curl.1 asks 1
    shop.21 reads 1
    shop.21 asks 2
    stock.31 reads 2
    stock.31 answers 2
    shop.21 gets 2
    shop.21 answers 1
    curl.1 gets 1";
const CHAIN_TREE: &[&str] = &[
    "curl asks 1",
    "shop asks 2 < shop reads 1 by thread",
    "shop reads 1 < curl asks 1 by socket",
    "stock reads 2 < shop asks 2 by socket",
];

#[test]
fn a_chain_of_threads() {
    check(&[], CHAIN, CHAIN_TREE, &[]);
}

/// Calls `visit` with every merge of the sequences that keeps the order within each.
fn merges(sequences: &mut [std::collections::VecDeque<Line>], so_far: &mut Vec<Line>, visit: &mut impl FnMut(&[Line])) {
    let mut done = true;
    for index in 0..sequences.len() {
        let Some(line) = sequences[index].pop_front() else {
            continue;
        };
        done = false;
        so_far.push(line);
        merges(sequences, so_far, visit);
        sequences[index].push_front(so_far.pop().unwrap());
    }
    if done {
        visit(so_far);
    }
}

#[test]
fn the_order_in_which_threads_are_reported_does_not_matter() {
    let lines = parse(CHAIN, &[]);
    let mut sequences: Vec<std::collections::VecDeque<Line>> = ["curl", "shop", "stock"]
        .iter()
        .map(|service| {
            lines
                .iter()
                .filter(|line| line.process.service == *service)
                .cloned()
                .collect()
        })
        .collect();
    let mut visited = 0;
    merges(&mut sequences, &mut Vec::new(), &mut |order| {
        visited += 1;
        let mut traces = Traces::new(1);
        for line in order {
            tell(&mut traces, line);
        }
        assert_eq!(show(&settle(&mut traces)), CHAIN_TREE);
    });
    assert_eq!(visited, 420);
}

#[test]
fn threads_that_serve_more_than_one_request() {
    // Two clients' requests are open at once.
    check(
        &[],
        "
        shop.21 reads 1
        shop.21 reads 2
        shop.21 asks 3
        shop.21 gets 3
        shop.21 answers 2
        shop.21 answers 1",
        &["shop asks 3", "shop reads 1", "shop reads 2"],
        &["causality.unknown.ambiguous"],
    );
    // The second comes when the first one's call has been sent.
    check(
        &[],
        "
        shop.21 reads 1
        shop.21 asks 3
        shop.21 reads 2
        shop.21 gets 3
        shop.21 answers 2
        shop.21 answers 1",
        &["shop asks 3", "shop reads 1", "shop reads 2"],
        &["causality.unknown.event_loop"],
    );
    // A call that was sent before the request is answered while it is served: the thread does something else as well.
    check(
        &[],
        "
        shop.21 asks 2
        shop.21 reads 1
        shop.21 gets 2
        shop.21 asks 3
        shop.21 gets 3
        shop.21 answers 1",
        &["shop asks 2", "shop asks 3", "shop reads 1"],
        &["causality.unknown.event_loop"],
    );
}

#[test]
fn a_thread_that_serves_one_request_after_the_other() {
    check(
        &[],
        "
        shop.21 reads 1
        shop.21 asks 3
        shop.21 gets 3
        shop.21 asks 3
        shop.21 gets 3
        shop.21 answers 1
        shop.21 asks 3
        shop.21 gets 3
        shop.21 reads 2
        shop.21 asks 3
        shop.21 gets 3
        shop.21 answers 2",
        &[
            "shop asks 3 < shop reads 1 by thread",
            "shop asks 3' < shop reads 1 by thread",
            "shop asks 3''",
            "shop asks 3''' < shop reads 2 by thread",
            "shop reads 1",
            "shop reads 2",
        ],
        &[],
    );
}

#[test]
fn an_end_that_is_reported_late_ends_when_it_did() {
    // The call was sent at 4, after the answer at 3, which is reported last.
    let mut lines = parse(
        "
        shop.21 reads 1
        shop.22 reads 2
        shop.21 answers 1
        shop.21 asks 3
        shop.21 gets 3
        shop.22 answers 2",
        &[],
    );
    let answer = lines.remove(2);
    lines.push(answer);
    let mut traces = Traces::new(1);
    for line in &lines {
        tell(&mut traces, line);
    }
    assert_eq!(
        show(&settle(&mut traces)),
        ["shop asks 3", "shop reads 1", "shop reads 2"]
    );
    assert!(traces.take_counts().any(|name| name == "causality.unknown.thread"));
}

#[test]
fn a_second_try_is_of_the_same_request_or_of_an_unknown_one() {
    let linked = ["shop asks 2 < shop reads 1 by upstream", "shop reads 1"];
    // The end of the first try is read, and the second follows.
    check(
        NGINX,
        "
        shop.21@5 reads 1
        shop.21@5 asks 2
        shop.21@6 fails 2
        shop.21@6 connects 3
        shop.21@7 asks 3
        shop.21@8 gets 3
        shop.21@8 answers 1",
        &[linked[0], "shop asks 3 < shop reads 1 by upstream", linked[1]],
        &[],
    );
    // The kernel tells the loop of a refusal, in a round in which it has read another request that waits for something.
    check(
        NGINX,
        "
        shop.21@5 reads 1
        shop.21@5 connects 2
        shop.21@0 loses 2
        shop.21@6 reads 4
        shop.21@6 connects 3
        shop.21@7 asks 3
        shop.21@8 gets 3
        shop.21@8 answers 1
        shop.21@9 asks 5
        shop.21@9 gets 5
        shop.21@9 answers 4",
        &["shop asks 3", "shop asks 5", "shop reads 1", "shop reads 4"],
        &["causality.unknown.upstream", "causality.unknown.upstream"],
    );
    // A timer runs out in such a round; the end of the first connection is told of later.
    check(
        NGINX,
        "
        shop.21@5 reads 1
        shop.21@5 asks 2
        shop.21@6 reads 4
        shop.21@6 connects 3
        shop.21@0 breaks 2
        shop.21@7 asks 3
        shop.21@8 gets 3
        shop.21@8 answers 1
        shop.21@9 answers 4",
        &[linked[0], "shop asks 3", linked[1], "shop reads 4"],
        &["causality.unknown.upstream"],
    );
    // It is answered without a second try, but not long ago: that is only known of what comes much later.
    check(
        NGINX,
        "
        shop.21@5 reads 1
        shop.21@5 connects 2
        shop.21@0 loses 2
        shop.21@6 answers 1
        shop.21@7 reads 4
        shop.21@7 asks 3
        shop.21@8 gets 3
        shop.21@8 answers 4",
        &["shop asks 3", "shop reads 1", "shop reads 4"],
        &["causality.unknown.upstream"],
    );
}

#[test]
fn what_a_connection_was_opened_for_is_not_what_is_read_later() {
    check(
        NGINX,
        "
        shop.21@5 reads 1
        shop.21@6 connects 2
        shop.21@7 reads 3
        shop.21@7 asks 2
        shop.21@8 gets 2
        shop.21@9 answers 1
        shop.21@9 answers 3",
        &["shop asks 2", "shop reads 1", "shop reads 3"],
        &["causality.unknown.upstream"],
    );
    // Opened while nothing was served: a check of the server's health.
    check(
        NGINX,
        "
        shop.21@6 connects 2
        shop.21@7 reads 3
        shop.21@7 asks 2
        shop.21@8 gets 2
        shop.21@9 answers 3",
        &["shop asks 2", "shop reads 3"],
        &[],
    );
}

#[test]
fn upstream_requests_without_a_reading_directly_before_them() {
    // The last thing was an answer, here a part of one: nothing tells for whom the next request is.
    check(
        NGINX,
        "
        shop.21@5 reads 1
        shop.21@5 reads 2
        shop.21@5 answers 2
        shop.21@5 asks 3
        shop.21@6 gets 3
        shop.21@6 answers 1",
        &["shop asks 3", "shop reads 1", "shop reads 2"],
        &["causality.unknown.upstream"],
    );
}

#[test]
fn contexts() {
    check(
        GO,
        "
        shop.21g7 reads 1
        shop.21g8 reads 2
        shop.22g7 asks 3
        shop.23g9 asks 4
        shop.24g7 gets 3
        shop.24g9 gets 4
        shop.22g7 answers 1
        shop.25g8 answers 2",
        &[
            "shop asks 3 < shop reads 1 by goroutine",
            "shop asks 4",
            "shop reads 1",
            "shop reads 2",
        ],
        &["causality.unknown.context"],
    );
    check(
        GO,
        "
        shop.21g7 reads 1
        shop.21g7 reads 2
        shop.21g7 asks 3
        shop.21g7 gets 3
        shop.21g7 answers 2
        shop.21g7 answers 1",
        &["shop asks 3", "shop reads 1", "shop reads 2"],
        &["causality.unknown.ambiguous"],
    );
}

#[test]
fn contexts_in_headers() {
    // From outside; passed through by nginx; replaced by the program; each end of a connection sees the same.
    let script = "
        shop.21@5 reads 1 ctx=7/9/0
        shop.21@5 asks 2 ctx=7/9/0
        stock.31 reads 2 ctx=7/9/0
        stock.31 asks 3 ctx=7/11/0
        base.41 reads 3
        base.41 asks 4
        base.41 gets 4
        base.41 answers 3
        stock.31 gets 3
        stock.31 answers 2
        shop.21@6 gets 2
        shop.21@6 answers 1";
    let mut traces = Traces::new(1);
    for line in parse(script, NGINX) {
        tell(&mut traces, &line);
    }
    let out = settle(&mut traces);
    assert_eq!(
        show(&out),
        [
            "base asks 4 < base reads 3 by thread",
            "base reads 3 < stock asks 3 by socket",
            "shop asks 2 < shop reads 1 by header",
            "shop reads 1 < 9 by header",
            "stock asks 3 < 11 by header",
            "stock reads 2 < shop asks 2 by socket",
        ]
    );
    for placed in &out {
        assert_eq!(u128::from_be_bytes(placed.trace_id), 7);
        assert_eq!(
            (placed.flags, placed.trace_state.as_str()),
            (0, "k=v"),
            "{}",
            placed.span.name
        );
        let remote = placed.span.kind == SpanKind::Server;
        assert_eq!(placed.parent_is_remote, remote, "{}", placed.span.name);
    }
}

/// Buries as many spans as there are tombstones.
fn bury_others(traces: &mut Traces) {
    let first = 1_000_000_000 + traces.buried.len() as u64;
    for number in 0..=MAX_TOMBSTONES as u64 {
        let trace = traces.new_trace();
        let tombstone = Tombstone {
            trace,
            span_id: [1; 8],
            named: None,
        };
        traces.bury(SpanKey(first + number), tombstone);
    }
}

#[test]
fn a_call_that_outlives_its_request_keeps_its_parent() {
    let mut traces = Traces::new(1);
    let lines = parse(
        "
        shop.21 reads 1
        shop.21 asks 2
        shop.21 answers 1
        shop.21 gets 2",
        &[],
    );
    for line in &lines[..3] {
        tell(&mut traces, line);
    }
    let mut out = Vec::new();
    traces.tick(20_000_000_000, &mut out);
    assert_eq!(show(&out), ["shop reads 1"]);
    bury_others(&mut traces);
    tell(&mut traces, &lines[3]);
    traces.tick(600_000_000_000, &mut out);
    assert_eq!(show(&out), ["shop asks 2 < shop reads 1 by thread", "shop reads 1"]);
    // Nobody asks for the request any more.
    bury_others(&mut traces);
    assert_eq!(traces.tombstones.len(), MAX_TOMBSTONES);
    assert!(traces.awaited.is_empty());
}

#[test]
fn a_server_that_outlives_its_client_keeps_its_parent() {
    let mut traces = Traces::new(1);
    let lines = parse(
        "
        curl.1 asks 1
        shop.21 reads 1
        curl.1 gets 1
        shop.21 answers 1",
        &[],
    );
    for line in &lines[..3] {
        tell(&mut traces, line);
    }
    let mut out = Vec::new();
    traces.tick(1_000_000_000, &mut out);
    assert_eq!(show(&out), ["curl asks 1"]);
    // So many spans later that the client's tombstone is gone.
    bury_others(&mut traces);
    assert!(traces.tombstones.len() <= MAX_TOMBSTONES);
    tell(&mut traces, &lines[3]);
    traces.tick(600_000_000_000, &mut out);
    assert_eq!(show(&out), ["curl asks 1", "shop reads 1 < curl asks 1 by socket"]);
    assert!(!traces.take_counts().any(|name| name == "trace.parent_forgotten"));
}

#[test]
fn what_cannot_be_does_no_harm() {
    let lines = parse(
        "
        shop.21 gets 9
        shop.21 answers 9
        shop.21 asks 1
        shop.21 reads 1
        shop.21 reads 1
        shop.21 gets 1
        shop.21 answers 1
        shop.21 answers 1",
        &[],
    );
    let mut traces = Traces::new(1);
    for line in &lines {
        let mut late = line.clone();
        late.moment.time_ns = u64::MAX - line.moment.time_ns;
        tell(&mut traces, &late);
        // Everything twice.
        tell(&mut traces, &late);
    }
    let mut out = Vec::new();
    traces.tick(u64::MAX, &mut out);
    traces.finish_all(&mut out);
    assert_eq!(traces.pending(), 0);
    assert_eq!(out.len(), 3);
}
