//! What passes on top of HTTP.
use std::net::TcpStream;

use clew_tests::{Clew, Kind, Lab, Outcome, Plan, Span, free_port, get, nginx, until};

const DRIVE: &str = env!("CARGO_BIN_EXE_clew-drive");

/// The only span of this kind of a path and a number.
#[track_caller]
fn only<'a>(out: &'a Outcome, kind: Kind, path: &str, number: u64) -> &'a Span {
    let found = out
        .spans
        .filter(|span| span.kind == kind && span.path() == path && span.number() == Some(number));
    let [span] = found.as_slice() else {
        out.fail(&format!("{} {kind:?} spans of {path} {number}", found.len()));
    };
    span
}

#[test]
fn a_websocket_is_one_span_at_each_end() {
    const REQUESTS: u64 = 90;
    let Some(lab) = Lab::new("a_websocket_is_one_span_at_each_end") else {
        return;
    };
    let port = free_port();
    let app = Lab::workload("python/websocket_app.py");
    let plan = Plan::default()
        .service(port, &[&Lab::python("python"), &app, &port.to_string()])
        .rested()
        .load(port, "/front", REQUESTS, 16);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
    for number in 1..=REQUESTS {
        let failed = number % 3 == 0;
        let client = only(&out, Kind::Client, "/talk", number);
        let server = only(&out, Kind::Server, "/talk", number);
        let (sent, received) = ("clew.websocket.sent", "clew.websocket.received");
        for (span, to_server, to_client) in [(client, sent, received), (server, received, sent)] {
            out.check_span(
                span,
                &[
                    ("http.response.status_code", "101"),
                    ("clew.websocket", "true"),
                    (&format!("{to_server}.messages"), "4"),
                    (&format!("{to_server}.frames"), "5"),
                    (&format!("{to_server}.bytes"), "5011"),
                    (&format!("{to_client}.messages"), "3"),
                    (&format!("{to_client}.frames"), "4"),
                    (&format!("{to_client}.bytes"), "5008"),
                    ("clew.websocket.close.by", "server"),
                    ("clew.websocket.close.code", if failed { "1011" } else { "1000" }),
                    ("error.type", if failed { "1011" } else { "" }),
                    ("clew.exchange.outcome", ""),
                ],
            );
            out.check_eq(span.status, if failed { 2 } else { 0 }, "status");
        }
        // The connection lasts as long as what is asked on its account.
        let back = only(&out, Kind::Client, "/back", number);
        for (span, parent) in [
            (client, only(&out, Kind::Server, "/front", number)),
            (server, client),
            (back, server),
        ] {
            out.check_eq(
                span.parent.as_ref(),
                Some(&parent.id),
                &format!("the parent of {}", span.path()),
            );
            out.check(
                span.end <= parent.end || span.kind == Kind::Server,
                "it ends within its parent",
            );
        }
    }
}

/// Server-sent events: the request is in flight as long as the stream is open, and a span with its end.
#[test]
fn a_stream_of_events_is_live_while_it_is_open() {
    const SHOWN_NS: u64 = 300_000_000;
    let Some(lab) = Lab::new("a_stream_of_events_is_live_while_it_is_open") else {
        return;
    };
    let port = free_port();
    let app = Lab::workload("python/events_app.py");
    let store = lab.dir().join("store").display().to_string();
    let run = Clew::run(&lab)
        .args(&["--store", &store, "--listen", "127.0.0.1:0"])
        .start(&[&Lab::python("python"), &app, &port.to_string()]);
    until("the program listens", || TcpStream::connect(("127.0.0.1", port)).ok());
    let readers = [1, 2].map(|number| std::thread::spawn(move || get(port, &format!("/front?id={number}"))));
    let live = || {
        let all = run.api("inflight");
        let titles = all.as_array().expect("a list").iter();
        let streams = titles.filter(|one| one["title"] == "GET /events");
        let mut kinds: Vec<String> = streams.map(|one| one["kind"].to_string()).collect();
        kinds.sort_unstable();
        kinds.join(" ")
    };
    until("both streams are in flight at both ends", || {
        (live() == r#""client" "client" "server" "server""#).then_some(())
    });
    assert!(!run.otlp().contains("/events"), "no stream has ended");
    for (number, left) in [(1, r#""client" "server""#), (2, "")] {
        let stopped = get(port, &format!("/stop?id={number}")).expect("an answer");
        assert_eq!(stopped.code, 200);
        until("the stream is in flight no more", || (live() == left).then_some(()));
    }
    for reader in readers {
        assert_eq!(reader.join().expect("a thread").expect("an answer").code, 200);
    }
    get(port, "/quit").expect("an answer");
    let out = run.wait();
    out.check_eq(out.code, 0, "exit code");
    // The second reader has left, with or without having read all that had come.
    for (number, outcome) in [(1, ""), (2, "aborted")] {
        let client = only(&out, Kind::Client, "/events", number);
        let server = only(&out, Kind::Server, "/events", number);
        let front = only(&out, Kind::Server, "/front", number);
        for (span, parent) in [(client, front), (server, client)] {
            out.check_eq(span.parent.as_ref(), Some(&parent.id), "the parent");
            out.check_span(
                span,
                &[("http.response.status_code", "200"), ("clew.exchange.outcome", outcome)],
            );
            if number == 1 {
                out.check_span(span, &[("http.response.body.size", "25"), ("error.type", "")]);
            }
            out.check(span.end - span.start > SHOWN_NS, "it lasts as long as the stream");
        }
    }
}

#[test]
fn lookups_of_names_are_below_the_request_that_needs_them() {
    const REQUESTS: u64 = 90;
    let Some(lab) = Lab::new("lookups_of_names_are_below_the_request_that_needs_them") else {
        return;
    };
    let (port, names) = (free_port(), free_port());
    let address = format!("127.53.{}.{}", names >> 8, names & 0xff);
    let resolv = lab.dir().join("resolv.conf");
    std::fs::write(&resolv, format!("nameserver {address}\n")).expect("a file of the test's own");
    // glibc asks where /etc/resolv.conf says.
    let script = format!("mount --bind {} /etc/resolv.conf && exec \"$@\"", resolv.display());
    let server = Lab::workload("python/name_server.py");
    let app = Lab::workload("python/names_app.py");
    let (python, ports) = (Lab::python("python"), [port.to_string(), names.to_string()]);
    let inside = ["unshare", "-m", "sh", "-c", &script, "sh"];
    let plan = Plan::default()
        .service(names, &[&python, &server, &address, &ports[1]])
        .service(port, &[&inside[..], &[&python, &app, &ports[0]]].concat())
        .rested()
        .load(port, "/front", REQUESTS, 12);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
    for number in 1..=REQUESTS {
        let front = only(&out, Kind::Server, "/front", number);
        let lookups = out
            .spans
            .filter(|span| span.parent.as_ref() == Some(&front.id) && span.name.starts_with("DNS "));
        let mut told: Vec<String> = lookups
            .iter()
            .map(|span| {
                let of = |key: &str| span.text(key);
                out.check_eq(span.kind, Kind::Client, "kind");
                format!(
                    "{} {} over {} of {}: {} {}",
                    span.name,
                    of("dns.question.name"),
                    of("network.transport"),
                    of("server.address"),
                    of("clew.dns.response.code"),
                    of("dns.answers"),
                )
            })
            .collect();
        told.sort_unstable();
        let of = |kind: &str, name: &str, over: &str, told: &str| {
            format!("DNS {kind} {name}.test over {over} of {address}: {told}")
        };
        let mut want = match number % 3 {
            0 => vec![
                of("A", "real", "udp", "NOERROR two.test,127.0.0.1"),
                of("AAAA", "real", "udp", "NOERROR two.test"),
            ],
            // It goes over to TCP with both questions when it has read one answer.
            1 => vec![
                of("A", "long", "udp", "NOERROR "),
                of("AAAA", "long", "udp", " "),
                of("A", "long", "tcp", "NOERROR 127.0.0.1"),
                of("AAAA", "long", "tcp", "NOERROR "),
            ],
            _ => vec![
                of("A", "none", "udp", "NXDOMAIN "),
                of("AAAA", "none", "udp", "NXDOMAIN "),
            ],
        };
        want.sort_unstable();
        if number % 3 == 1 && told.contains(&of("A", "long", "udp", " ")) {
            // The answers came the other way round.
            want.retain(|line| !line.contains("udp"));
            want.extend([of("A", "long", "udp", " "), of("AAAA", "long", "udp", "NOERROR ")]);
            want.sort_unstable();
        }
        out.check_eq(told, want, &format!("lookups of request {number}"));
        if number % 3 != 2 {
            let back = only(&out, Kind::Client, "/back", number);
            out.check_eq(back.parent.as_ref(), Some(&front.id), "the parent of the call");
            let answered = lookups
                .iter()
                .filter(|lookup| !lookup.text("clew.dns.response.code").is_empty());
            let times: Vec<(u64, u64)> = answered.map(|lookup| (lookup.start, lookup.end)).collect();
            let begun = times.iter().map(|(start, _)| *start).min().unwrap_or_default();
            let ended = times.iter().map(|(_, end)| *end).max().unwrap_or_default();
            out.check(ended <= back.start, "a lookup after its call");
            // From the first question that was answered to the last answer, times being those of a clock that is set.
            let took: u64 = back.text("clew.network.dns_ns").parse().unwrap_or_default();
            let off = took.abs_diff(ended.saturating_sub(begun));
            out.check(off < 1_000_000, &format!("looking up took {took} ns: {times:?}"));
        }
    }
}

#[test]
fn bodies_say_what_is_asked() {
    const REQUESTS: u64 = 60;
    let Some(lab) = Lab::new("bodies_say_what_is_asked") else {
        return;
    };
    let port = free_port();
    let app = Lab::workload("python/bodies_app.py");
    let plan = Plan::default()
        .service(port, &[&Lab::python("python"), &app, &port.to_string()])
        .rested()
        .load(port, "/front", REQUESTS, 8);
    let out = Clew::run(&lab)
        .args(&["--bodies", "4096"])
        .traced(&plan.argv(&lab, DRIVE));
    for number in 1..=REQUESTS {
        let failed = number % 3 == 0;
        let (digits, id) = (number.to_string(), format!("c-{number}"));
        for kind in [Kind::Client, Kind::Server] {
            let graphql = only(&out, kind, "/graphql", number);
            out.check_eq(graphql.name.as_str(), "query", "name");
            out.check_span(
                graphql,
                &[
                    ("graphql.operation.type", "query"),
                    ("graphql.operation.name", "Find"),
                    ("http.response.status_code", "200"),
                    ("clew.graphql.errors", if failed { "1" } else { "" }),
                    ("error.type", if failed { "graphql" } else { "" }),
                ],
            );
            let rpc = only(&out, kind, "/rpc", number);
            out.check_eq(rpc.name.as_str(), "sum", "name");
            out.check_span(
                rpc,
                &[
                    ("rpc.system.name", "jsonrpc"),
                    ("jsonrpc.request.id", &digits),
                    ("rpc.response.status_code", if failed { "-32000" } else { "" }),
                    ("error.type", if failed { "-32000" } else { "" }),
                ],
            );
            for (path, reason) in [
                ("/v1/chat/completions", "length"),
                ("/stream/v1/chat/completions", "stop"),
            ] {
                let call = only(&out, kind, path, number);
                out.check_eq(call.name.as_str(), "chat tiny-1", "name");
                out.check_span(
                    call,
                    &[
                        ("gen_ai.operation.name", "chat"),
                        ("gen_ai.request.model", "tiny-1"),
                        ("gen_ai.request.max_tokens", "32"),
                        ("gen_ai.response.id", &id),
                        ("gen_ai.response.model", "tiny-1b"),
                        ("gen_ai.usage.input_tokens", "7"),
                        ("gen_ai.usage.output_tokens", &digits),
                        ("gen_ai.response.finish_reasons", reason),
                    ],
                );
                let first: Option<f64> = call.text("gen_ai.response.time_to_first_chunk").parse().ok();
                let first = first.map(|seconds| (seconds * 1e9) as u64);
                // The server waits before the first, and between them; its client may be late to read.
                let between = if kind == Kind::Server { 40_000_000 } else { 0 };
                let fits = match first {
                    Some(first) => first >= 50_000_000 && first + between <= call.end - call.start,
                    None => reason == "length",
                };
                out.check(
                    fits && first.is_some() == (reason == "stop"),
                    "the time to the first chunk",
                );
            }
        }
    }
}

#[test]
fn turns_of_an_unknown_protocol_are_told_where_asked_for() {
    const REQUESTS: u64 = 60;
    let Some(lab) = Lab::new("turns_of_an_unknown_protocol_are_told_where_asked_for") else {
        return;
    };
    let (leaf, back, front) = (free_port(), free_port(), free_port());
    let (python, app) = (Lab::python("python"), Lab::workload("python/frames_app.py"));
    let ports = [leaf, back, front].map(|port| port.to_string());
    let plan = Plan::default()
        .service(leaf, &[&Lab::go("server"), &ports[0]])
        .service(back, &[&python, &app, "back", &ports[1], &ports[0]])
        .env("OTEL_SERVICE_NAME", "back")
        .service(front, &[&python, &app, "front", &ports[2], &ports[1]])
        .env("OTEL_SERVICE_NAME", "front")
        .rested()
        .load(front, "/front", REQUESTS, 8);
    let out = Clew::run(&lab)
        .args(&["--unknown-protocols"])
        .traced(&plan.argv(&lab, DRIVE));
    for number in 1..=REQUESTS {
        let served = only(&out, Kind::Server, "/front", number);
        let below = |above: &Span, what: &str| -> &Span {
            let found = out.spans.filter(|span| span.parent.as_ref() == Some(&above.id));
            let [span] = found.as_slice() else {
                out.fail(&format!("{} spans below {what} of {number}", found.len()));
            };
            span
        };
        let asked = below(served, "the request");
        let answered = below(asked, "the question");
        for (span, service, kind) in [(asked, "front", Kind::Client), (answered, "back", Kind::Server)] {
            out.check_eq((span.service().as_str(), span.kind), (service, kind), "an end");
            out.check_eq(span.name.as_str(), "TCP", "name");
            out.check_span(
                span,
                &[
                    ("clew.turn.request.bytes", "32"),
                    ("clew.turn.response.bytes", "61"),
                    ("network.transport", "tcp"),
                    ("network.protocol.name", ""),
                    ("server.port", &ports[1]),
                    ("clew.exchange.outcome", ""),
                    ("error.type", ""),
                ],
            );
            out.check(span.end > span.start, "it took time");
        }
        let call = below(answered, "the answer");
        out.check_eq(
            (call.kind, call.path().as_str()),
            (Kind::Client, "/leaf"),
            "the call of the back",
        );
        out.check_eq(call.number(), Some(number), "its number");
    }
    out.check_eq(out.spans.0.len() as u64, 6 * REQUESTS, "number of spans");
}

/// Says whom it speaks for in version 2, and asks in the same breath.
const BEHIND_VERSION_2: &str = r#"
import socket, struct, sys
server = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
addresses = socket.inet_aton("192.0.2.7") + socket.inet_aton("192.0.2.8") + struct.pack(">HH", 40000, 80)
preface = b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack(">H", len(addresses)) + addresses
server.sendall(preface + b"GET /three HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
while server.recv(4096):
    pass
"#;

/// What stands behind what a proxy says first (the PROXY protocol) is read from the first request on.
#[test]
fn requests_behind_what_a_proxy_says_first() {
    let Some(lab) = Lab::new("requests_behind_what_a_proxy_says_first") else {
        return;
    };
    let (other, port) = (free_port(), free_port());
    let server = format!("server {{ listen 127.0.0.1:{port} proxy_protocol; location / {{ return 200 ok; }} }}");
    let server = nginx(&lab, other, "", &server)
        .iter()
        .fold(String::new(), |line, word| line + &format!("'{word}' "));
    let client = lab.file("client.py", BEHIND_VERSION_2);
    let url = format!("http://127.0.0.1:{port}");
    let script = format!(
        "{server} & until curl -s --haproxy-protocol -o /dev/null {url}/ready; do sleep 0.05; done
         curl -s --haproxy-protocol -o /dev/null {url}/one -o /dev/null {url}/two
         {} {} {port}; kill $!; wait",
        Lab::python("python"),
        client.display()
    );
    let out = Clew::run(&lab).traced(&["sh".to_owned(), "-c".to_owned(), script]);
    for path in ["/one", "/two", "/three"] {
        let [client, server] = [Kind::Client, Kind::Server].map(|kind| {
            let found = out.spans.filter(|span| span.kind == kind && span.path() == path);
            let [span] = found.as_slice() else {
                out.fail(&format!("{} {kind:?} spans of {path}", found.len()));
            };
            *span
        });
        out.check_eq(
            server.parent.as_ref(),
            Some(&client.id),
            &format!("the parent of {path}"),
        );
        for span in [client, server] {
            out.check_span(span, &[("http.response.status_code", "200")]);
        }
        // The connection was opened for the first request behind the preface.
        let reused = path == "/two";
        out.check_span(client, &[("clew.network.connection.reused", &reused.to_string())]);
        out.check_eq(
            client.text("clew.network.connect_ns").is_empty(),
            reused,
            &format!("whether {path} has no connect time"),
        );
        let address = if path == "/three" { "192.0.2.7" } else { "127.0.0.1" };
        out.check_span(
            server,
            &[("client.address", address), ("network.peer.address", "127.0.0.1")],
        );
        if path == "/three" {
            out.check_span(server, &[("client.port", "40000")]);
        }
    }
}
