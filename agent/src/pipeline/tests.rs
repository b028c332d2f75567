use std::net::SocketAddr;

use bytes::Bytes;

use super::*;
use crate::capture::{Actor, Direction};
use crate::span::SpanKind;

const CURL: u32 = 10;
const SHOP: u32 = 20;
const STOCK: u32 = 30;

/// A tiny world: processes, connections between them, and requests.
struct World {
    pipeline: Pipeline,
    out: Output,
    now: u64,
    offsets: HashMap<(u64, Direction), u64>,
}

impl World {
    fn new(runtimes: &[(u32, &str, Runtime)]) -> Self {
        let mut world = Self {
            pipeline: Pipeline::new(
                Policy::default(),
                Limits {
                    body_bytes: 0,
                    ..Limits::default()
                },
                1,
            ),
            out: Output::default(),
            now: 1_000_000_000,
            offsets: HashMap::new(),
        };
        for (pid, service, runtime) in runtimes {
            let process = Process {
                service: (*service).to_owned(),
                runtime: *runtime,
                ..Process::clone(&stranger(Pid(*pid)))
            };
            world.handle(Input::Process(process));
        }
        world
    }

    fn handle(&mut self, input: Input) {
        self.pipeline.handle(input, &mut self.out);
    }

    fn moment(&mut self, pid: u32, tid: u32, turn: u32) -> Moment {
        self.now += 1000;
        let thread = Actor::thread(Pid(pid), tid);
        Moment::new(self.now, Actor { turn, ..thread })
    }

    /// Connection `n` as client `2n` and server `2n + 1` see it.
    fn connect(&mut self, n: u64, client: u32, server: u32) {
        let (near, far): (SocketAddr, SocketAddr) =
            ("127.0.0.1:4000".parse().unwrap(), "127.0.0.1:80".parse().unwrap());
        let isn = n as u32 * 100;
        for (conn, pid, local, remote, isn, opened_here) in [
            (2 * n, client, near, far, (isn, isn + 1), true),
            (2 * n + 1, server, far, near, (isn + 1, isn), false),
        ] {
            let moment = self.moment(pid, pid, 0);
            let endpoints = Endpoints::Tcp { local, remote };
            let connection = Connection {
                conn: ConnId(conn),
                moment,
                endpoints,
                netns: 1,
                inode: 0,
                isn: Some(isn),
                opened_here,
                midway: false,
            };
            self.handle(Input::Event(Event::Connection(connection)));
        }
    }

    fn pass(&mut self, conn: u64, direction: Direction, by: (u32, u32, u32), text: &str) {
        let moment = self.moment(by.0, by.1, by.2);
        let offset = self.offsets.entry((conn, direction)).or_default();
        let data = Data {
            conn: ConnId(conn),
            moment,
            direction,
            offset: *offset,
            length: text.len() as u64,
            payload: Bytes::copy_from_slice(text.as_bytes()),
            end: false,
            error: 0,
            transport: crate::capture::Transport::default(),
        };
        *offset += text.len() as u64;
        self.handle(Input::Event(Event::Data(data)));
    }

    /// The client's side of a request on connection `n`.
    fn ask(&mut self, n: u64, by: (u32, u32, u32), path: &str) {
        self.pass(2 * n, Direction::Egress, by, &format!("GET {path} HTTP/1.1\r\n\r\n"));
    }

    fn asked(&mut self, n: u64, by: (u32, u32, u32), path: &str) {
        self.pass(
            2 * n + 1,
            Direction::Ingress,
            by,
            &format!("GET {path} HTTP/1.1\r\n\r\n"),
        );
    }

    fn answer(&mut self, n: u64, by: (u32, u32, u32)) {
        self.pass(2 * n + 1, Direction::Egress, by, "HTTP/1.1 204 No\r\n\r\n");
    }

    fn answered(&mut self, n: u64, by: (u32, u32, u32)) {
        self.pass(2 * n, Direction::Ingress, by, "HTTP/1.1 204 No\r\n\r\n");
    }

    /// Lets time pass, stops, and shows each span as `parent > kind service path`.
    fn end(mut self) -> Vec<String> {
        self.now += 20_000_000_000;
        let now = self.now;
        self.handle(Input::Time(now));
        let moment = self.moment(0, 0, 0);
        self.handle(Input::Stop(moment));
        let name = |placed: &Placed| {
            let kind = if placed.span.kind == SpanKind::Server {
                "server"
            } else {
                "client"
            };
            let path = placed.span.attributes.iter().find_map(|(key, value)| match value {
                crate::span::Value::Text(text) if *key == "url.path" => Some(text.to_string()),
                _ => None,
            });
            format!("{kind} {} {}", placed.process.service, path.unwrap_or_default())
        };
        let names: HashMap<[u8; 8], (String, [u8; 16])> = self
            .out
            .spans
            .iter()
            .map(|placed| (placed.span_id, (name(placed), placed.trace_id)))
            .collect();
        let mut lines: Vec<String> = self
            .out
            .spans
            .iter()
            .map(|placed| match placed.parent_id {
                None => name(placed),
                Some(parent) => {
                    let (parent, trace) = names.get(&parent).expect("the parent is there");
                    assert_eq!(trace, &placed.trace_id, "a child is in its parent's trace");
                    format!("{parent} > {}", name(placed))
                }
            })
            .collect();
        lines.sort();
        lines
    }
}

fn shop(runtime: Runtime) -> World {
    let mut world = World::new(&[
        (CURL, "curl", Runtime::Native),
        (SHOP, "shop", runtime),
        (STOCK, "stock", Runtime::Native),
    ]);
    world.connect(1, CURL, SHOP);
    world.connect(2, SHOP, STOCK);
    world
}

#[test]
fn a_thread_that_serves_one_request() {
    let mut world = shop(Runtime::Native);
    let (curl, shop, stock) = ((CURL, 10, 0), (SHOP, 21, 0), (STOCK, 31, 0));
    world.ask(1, curl, "/a");
    world.asked(1, shop, "/a");
    world.ask(2, shop, "/b");
    world.asked(2, stock, "/b");
    world.answer(2, stock);
    world.answered(2, shop);
    world.answer(1, shop);
    world.answered(1, curl);
    assert_eq!(
        world.end(),
        [
            "client curl /a",
            "client curl /a > server shop /a",
            "client shop /b > server stock /b",
            "server shop /a > client shop /b",
        ]
    );
}

/// What a process asks that has just begun to be traced may be for requests that nobody saw begin.
#[test]
fn a_process_that_ran_before() {
    let mut world = shop(Runtime::Native);
    let (pid, now_ns) = (Pid(SHOP), world.now);
    world.handle(Input::Running {
        pid,
        creator: None,
        sockets: Vec::new(),
        now_ns,
    });
    let ask = |world: &mut World, path| {
        world.out.counts.clear();
        world.ask(2, (SHOP, 21, 0), path);
        world.answered(2, (SHOP, 21, 0));
        world.out.counts.clone()
    };
    assert_eq!(ask(&mut world, "/early"), ["causality.unknown.older"]);
    world.now += 10_000_000_000;
    assert!(ask(&mut world, "/late").is_empty());
}

/// Two threads tell of a connection that both use for the first time; then its name is another's.
#[test]
fn a_connection_that_is_told_of_again() {
    let mut world = shop(Runtime::Native);
    let (curl, shop) = ((CURL, 10, 0), (SHOP, 21, 0));
    world.ask(1, curl, "/a");
    world.asked(1, shop, "/a");
    world.connect(1, CURL, SHOP);
    world.answer(1, shop);
    world.answered(1, curl);
    world.ask(1, curl, "/b");
    world.asked(1, shop, "/b");
    world.offsets.clear();
    let (near, far) = ("127.0.0.1:5000".parse().unwrap(), "127.0.0.1:80".parse().unwrap());
    let moment = world.moment(SHOP, 21, 0);
    world.handle(Input::Event(Event::Connection(Connection {
        conn: ConnId(3),
        moment,
        endpoints: Endpoints::Tcp {
            local: far,
            remote: near,
        },
        netns: 1,
        inode: 0,
        isn: Some((7, 8)),
        opened_here: false,
        midway: false,
    })));
    world.asked(1, shop, "/c");
    world.answer(1, shop);
    assert_eq!(
        world.end(),
        [
            "client curl /a",
            "client curl /a > server shop /a",
            "client curl /b",
            "client curl /b > server shop /b",
            "server shop /c",
        ]
    );
}

/// The same, where something about the thread says that it may serve others.
fn no_link(change: impl FnOnce(&mut World), read: (u32, u32, u32), send: (u32, u32, u32), reply: (u32, u32, u32)) {
    let mut world = shop(Runtime::Native);
    world.connect(3, CURL, SHOP);
    world.ask(1, (CURL, 10, 0), "/a");
    world.asked(1, read, "/a");
    change(&mut world);
    world.ask(2, send, "/b");
    world.asked(2, (STOCK, 31, 0), "/b");
    world.answer(2, (STOCK, 31, 0));
    world.answered(2, send);
    world.answer(1, reply);
    assert!(world.end().contains(&"client shop /b".to_owned()));
}

#[test]
fn event_loops_are_not_trusted_by_thread() {
    let thread = (SHOP, 21, 0);
    // It waited for readiness, before, in between or behind.
    no_link(|_| {}, (SHOP, 21, 4), (SHOP, 21, 4), (SHOP, 21, 4));
    no_link(|_| {}, thread, (SHOP, 21, 1), thread);
    no_link(|_| {}, thread, thread, (SHOP, 21, 2));
    // Another thread answered, or sent.
    no_link(|_| {}, thread, thread, (SHOP, 22, 0));
    no_link(|_| {}, thread, (SHOP, 22, 0), thread);
    // Another request came in on the thread.
    no_link(|world| world.asked(3, thread, "/c"), thread, thread, thread);
    // Another thread of the program waits for readiness.
    no_link(
        |world| world.pass(6, Direction::Ingress, (SHOP, 29, 7), "x"),
        thread,
        thread,
        thread,
    );
}

#[test]
fn a_python_thread_that_waits_for_one_descriptor_runs_no_loop() {
    for (turn, linked) in [(3, true), (3 | TURN_MANY, false)] {
        let mut world = shop(Runtime::Python);
        let thread = (SHOP, 21, turn);
        world.asked(1, thread, "/a");
        world.ask(2, thread, "/b");
        world.answered(2, thread);
        world.answer(1, thread);
        let line = "server shop /a > client shop /b".to_owned();
        assert_eq!(world.end().contains(&line), linked, "{turn:x}");
    }
}

#[test]
fn runtimes_that_move_requests_are_not_trusted_by_thread() {
    for runtime in [Runtime::Go, Runtime::Node, Runtime::Rust, Runtime::Unknown] {
        let mut world = shop(runtime);
        let thread = (SHOP, 21, 0);
        world.asked(1, thread, "/a");
        world.ask(2, thread, "/b");
        world.answered(2, thread);
        world.answer(1, thread);
        assert_eq!(world.end(), ["client shop /b", "server shop /a"], "{runtime:?}");
    }
}

#[test]
fn nginx_forwards_within_a_round_of_its_loop() {
    let mut world = shop(Runtime::Nginx);
    world.connect(3, CURL, SHOP);
    world.connect(4, SHOP, STOCK);
    // Two requests in one round, each forwarded directly behind its reading.
    world.asked(1, (SHOP, 21, 5), "/1");
    world.ask(2, (SHOP, 21, 5), "/u1");
    world.asked(3, (SHOP, 21, 5), "/2");
    world.ask(4, (SHOP, 21, 5), "/u2");
    world.answered(4, (SHOP, 21, 6));
    world.answer(3, (SHOP, 21, 6));
    world.answered(2, (SHOP, 21, 7));
    world.answer(1, (SHOP, 21, 7));
    assert_eq!(
        world.end(),
        [
            "server shop /1",
            "server shop /1 > client shop /u1",
            "server shop /2",
            "server shop /2 > client shop /u2",
        ]
    );
}

#[test]
fn nginx_opens_a_connection_in_one_round_and_sends_in_another() {
    let mut world = shop(Runtime::Nginx);
    world.connect(3, CURL, SHOP);
    world.asked(1, (SHOP, 21, 5), "/1");
    let moment = world.moment(SHOP, 21, 5);
    world.handle(Input::Event(Event::State {
        conn: ConnId(4),
        moment,
        state: ConnState::Connecting,
        error: 0,
    }));
    world.asked(3, (SHOP, 21, 5), "/2");
    world.ask(2, (SHOP, 21, 6), "/u1");
    world.answered(2, (SHOP, 21, 7));
    world.answer(1, (SHOP, 21, 7));
    world.answer(3, (SHOP, 21, 8));
    assert_eq!(
        world.end(),
        ["server shop /1", "server shop /1 > client shop /u1", "server shop /2"]
    );
}

#[test]
fn nginx_in_another_round_is_not_trusted() {
    let mut world = shop(Runtime::Nginx);
    world.asked(1, (SHOP, 21, 5), "/1");
    world.ask(2, (SHOP, 21, 6), "/u1");
    world.answered(2, (SHOP, 21, 7));
    world.answer(1, (SHOP, 21, 7));
    assert_eq!(world.end(), ["client shop /u1", "server shop /1"]);
}

#[test]
fn the_order_in_which_both_ends_are_reported_does_not_matter() {
    for server_first in [false, true] {
        let mut world = shop(Runtime::Native);
        if server_first {
            world.asked(1, (SHOP, 21, 0), "/a");
            world.ask(1, (CURL, 10, 0), "/a");
        } else {
            world.ask(1, (CURL, 10, 0), "/a");
            world.asked(1, (SHOP, 21, 0), "/a");
        }
        world.answer(1, (SHOP, 21, 0));
        world.answered(1, (CURL, 10, 0));
        assert_eq!(
            world.end(),
            ["client curl /a", "client curl /a > server shop /a"],
            "{server_first}"
        );
    }
}

#[test]
fn a_client_does_not_begin_after_its_server() {
    let mut world = shop(Runtime::Native);
    world.asked(1, (SHOP, 21, 0), "/a");
    world.ask(1, (CURL, 10, 0), "/a");
    world.answer(1, (SHOP, 21, 0));
    world.answered(1, (CURL, 10, 0));
    let now = world.now + 1_000_000_000;
    world.handle(Input::Time(now));
    let starts: HashMap<&str, u64> = world
        .out
        .spans
        .iter()
        .map(|placed| (placed.process.service.as_str(), placed.span.start_ns))
        .collect();
    assert_eq!(starts["curl"], starts["shop"]);
}

#[test]
fn contexts_in_headers_are_continued() {
    let mut world = shop(Runtime::Native);
    let context = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    let by = (SHOP, 21, 0);
    world.pass(3, Direction::Ingress, by, &format!("GET /a HTTP/1.1\r\n{context}\r\n"));
    // Passed through by the program: below its inbound request.
    world.pass(4, Direction::Egress, by, &format!("GET /b HTTP/1.1\r\n{context}\r\n"));
    world.answered(2, by);
    // A span of the program's own: below that.
    let own = context.replace("b7ad6b7169203331", "1111111111111111");
    world.pass(4, Direction::Egress, by, &format!("GET /c HTTP/1.1\r\n{own}\r\n"));
    world.answered(2, by);
    world.answer(1, by);
    let now = world.now + 20_000_000_000;
    world.handle(Input::Time(now));
    let trace = [
        0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd, 0x84, 0x48, 0xeb, 0x21, 0x1c, 0x80, 0x31, 0x9c,
    ];
    assert!(world.out.spans.iter().all(|placed| placed.trace_id == trace));
    let server = world
        .out
        .spans
        .iter()
        .find(|placed| placed.span.kind == SpanKind::Server)
        .unwrap();
    assert_eq!(server.parent_id, Some([0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]));
    let mut parents: Vec<_> = world
        .out
        .spans
        .iter()
        .filter(|placed| placed.span.kind == SpanKind::Client)
        .map(|placed| placed.parent_id)
        .collect();
    parents.sort();
    let mut expected = [Some([0x11; 8]), Some(server.span_id)];
    expected.sort();
    assert_eq!(parents, expected);
}

#[test]
fn requests_that_are_open_at_the_end_are_told() {
    let mut world = shop(Runtime::Native);
    world.ask(1, (CURL, 10, 0), "/a");
    world.asked(1, (SHOP, 21, 0), "/a");
    assert_eq!(world.end(), ["client curl /a", "client curl /a > server shop /a"]);
}

#[test]
fn connections_are_bounded() {
    let mut world = World::new(&[(CURL, "curl", Runtime::Native)]);
    for n in 0..MAX_CONNECTIONS as u64 + 10 {
        let moment = world.moment(CURL, CURL, 0);
        let endpoints = Endpoints::Unix { address: n, peer: 0 };
        let connection = Connection {
            conn: ConnId(n),
            moment,
            endpoints,
            netns: 1,
            inode: n,
            isn: None,
            opened_here: false,
            midway: false,
        };
        world.handle(Input::Event(Event::Connection(connection)));
    }
    assert!(world.pipeline.connections.len() <= MAX_CONNECTIONS);
    assert!(world.out.counts.contains(&"pipeline.connections_full"));
}
