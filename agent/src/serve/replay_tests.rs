use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;

use serde_json::{Value as Json, json};

use super::*;
use crate::export::sample::{Sample, service};
use crate::serve::Server;
use crate::serve::lab::Lab;
use crate::span::Value;

/// A call of the shop's to a server on `port`, with what `more` says of it besides.
fn call(lab: &Lab, id: u64, port: u16, more: &[(&'static str, Value)]) {
    let text = |text: &str| Value::Text(text.into());
    let before = lab.counters.value("store.spans");
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("a clock");
    let now_ns = now.tv_sec() as u64 * 1_000_000_000;
    let mut sample = Sample::client(id, &service("shop"))
        .trace(id)
        .at(now_ns, now_ns + 1_000_000);
    for (name, value) in [
        ("http.request.method", text("POST")),
        (
            "url.full",
            text(&format!("http://shop.example:{port}/pay?token=REDACTED&n=1")),
        ),
        ("network.protocol.name", text("http")),
        ("network.protocol.version", text("1.1")),
        ("network.peer.address", text("127.0.0.1")),
        ("network.peer.port", Value::Int(i64::from(port))),
        ("http.request.header.content-type", text("application/json")),
        ("http.request.header.traceparent", text("00-0-0-01")),
        ("http.request.body.size", Value::Int(40)),
        ("clew.http.request.body", text("{\"password\":\"REDACTED\",\"item\":1}")),
    ] {
        let value = more
            .iter()
            .find(|(other, _)| *other == name)
            .map_or(value, |(_, other)| other.clone());
        sample = sample.with(name, value);
    }
    for (name, value) in more
        .iter()
        .filter(|(name, _)| name.ends_with("truncated") || name.ends_with("encoding"))
    {
        sample = sample.with(name, value.clone());
    }
    lab.writer.push(sample.done());
    while lab.counters.value("store.spans") == before {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn lab() -> Lab {
    Lab::new(|listening, folder, _| Server::start(listening, folder.to_owned(), || ()).expect("a server"))
}

fn path(id: u64) -> String {
    format!("/api/v1/traces/0001020304050607{id:016x}/replay")
}

#[test]
fn what_was_seen_is_sent_once_and_only_there() {
    let lab = lab();
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("an address").port();
    call(&lab, 1, port, &[]);
    let (code, _, plan) = lab.ask(&format!("{}?span=0000000000000001", path(1)), "");
    assert_eq!(code, 200, "{plan}");
    assert_eq!(
        (
            &plan["refused"],
            &plan["to"],
            &plan["own"],
            &plan["hidden"].as_array().map(Vec::len)
        ),
        (&json!(""), &json!(format!("127.0.0.1:{port}")), &json!(true), &Some(2)),
        "{plan}"
    );
    let asked = |to: &str, values: Json| {
        let body = json!({"span": "0000000000000001", "to": to, "values": values, "headers": [["X-More", "yes"], ["Host", "evil"]]});
        lab.post(&path(1), &body.to_string())
    };
    let to = format!("127.0.0.1:{port}");
    // Nobody connects before all is said.
    assert_eq!(asked("127.0.0.1:1", json!(["a", "b"])).0, 409);
    assert_eq!(asked(&to, json!(["a"])).0, 409);
    server.set_nonblocking(true).expect("set");
    assert!(server.accept().is_err(), "something was sent though it was refused");
    server.set_nonblocking(false).expect("set");
    let served = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().expect("a client");
        let mut lines = BufReader::new(stream.try_clone().expect("a stream"));
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            lines.read_line(&mut line).expect("a line");
            if let Some(count) = line.to_lowercase().strip_prefix("content-length: ") {
                length = count.trim().parse().expect("a number");
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        lines.read_exact(&mut body).expect("a body");
        stream
            .write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\nX-Said: so\r\n\r\npaid")
            .expect("sent");
        (head, String::from_utf8(body).expect("text"))
    });
    let (code, answer) = asked(&to, json!(["a b&c", "say \"so\""]));
    assert_eq!(
        (code, &answer["status"], &answer["body"]),
        (200, &json!(201), &json!("paid")),
        "{answer}"
    );
    let (head, body) = served.join().expect("served");
    assert!(head.starts_with("POST /pay?token=a+b%26c&n=1 HTTP/1.1\r\n"), "{head}");
    let head = head.to_lowercase();
    assert!(
        head.contains(&format!("host: shop.example:{port}\r\n")) && head.contains("x-more: yes"),
        "{head}"
    );
    assert!(!head.contains("traceparent") && !head.contains("evil"), "{head}");
    assert_eq!(body, "{\"password\":\"say \\\"so\\\"\",\"item\":1}");
    // Nobody listens any more.
    assert_eq!(asked(&to, json!(["a", "b"])).0, 502);
}

#[test]
fn what_is_not_wholly_known_is_refused() {
    let lab = lab();
    let text = |text: &str| Value::Text(text.into());
    for (id, (name, value, why)) in [
        (
            "clew.http.request.body.truncated",
            Value::Bool(true),
            "longer than what was kept",
        ),
        ("clew.http.request.body.encoding", text("base64"), "not text"),
        ("clew.http.request.body", text(""), "not kept"),
        ("url.full", text("https://shop.example/"), "TLS"),
        ("network.protocol.version", text("2"), "HTTP/1"),
        ("network.protocol.name", text("fastcgi"), "HTTP/1"),
        ("http.request.method", text("CONNECT"), "HTTP/1"),
        ("network.peer.address", text("shop.example"), "address"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = id as u64 + 1;
        call(&lab, id, 1, &[(name, value)]);
        let (_, _, plan) = lab.ask(&format!("{}?span={id:016x}", path(id)), "");
        let refused = plan["refused"].as_str().unwrap_or_default();
        assert!(refused.contains(why), "{name}: {plan}");
        let body = json!({"span": format!("{id:016x}"), "to": plan["to"], "values": ["", ""]});
        let (code, said) = lab.post(&path(id), &body.to_string());
        assert_eq!(code, 409, "{name}: {said}");
    }
    for (target, body, want) in [
        (path(1), "{}", 400),
        (path(1), "{\"span\":\"00000000000000ff\",\"to\":\"127.0.0.1:1\"}", 404),
        (path(99), "{\"span\":\"0000000000000001\",\"to\":\"127.0.0.1:1\"}", 404),
    ] {
        assert_eq!(lab.post(&target, body).0, want, "{target} {body}");
    }
    assert_eq!(lab.ask(&path(1), "").0, 400);
    // Another page cannot have it sent.
    let more = "Content-Type: application/json\r\nOrigin: http://evil.example\r\n";
    assert_eq!(lab.post_as(&path(1), more, b"{}").0, 403);
    assert_eq!(lab.post_as(&path(1), "Content-Type: text/plain\r\n", b"{}").0, 415);
}
