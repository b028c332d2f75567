use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value as Json;

use super::lab::Lab;
use super::{Server, bind};
use crate::store::sqlite::{Bounds, SqliteStore};

fn lab() -> Lab {
    Lab::new(|listening, folder, _| Server::start(listening, folder.to_owned(), || ()).expect("a server"))
}

#[test]
fn questions_are_answered_and_others_refused() {
    let lab = lab();
    lab.store(1, "/cart");
    lab.store(2, "/<script>alert(1)</script>");
    let (code, head, list) = lab.ask("/api/v1/traces?q=service%3Ashop&sort=duration&limit=1", "");
    assert_eq!((code, list["traces"].as_array().map(Vec::len)), (200, Some(1)));
    for wanted in [
        "content-type: application/json",
        "content-security-policy: default-src 'none'",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
    ] {
        assert!(head.contains(wanted), "{head}");
    }
    let next = list["next"].as_str().expect("more").to_owned();
    let (_, _, second) = lab.ask(&format!("/api/v1/traces?sort=duration&limit=1&after={next}"), "");
    assert_eq!(second["traces"].as_array().map(Vec::len), Some(1));
    assert_ne!(second["traces"][0]["trace_id"], list["traces"][0]["trace_id"]);
    let (code, head, shown) = lab.ask("/api/v1/traces/00010203040506070000000000000002", "");
    // What a program said stays what it is, and no browser takes it for a page.
    assert_eq!(
        (code, &shown["span_list"][0]["attributes"]["url.path"]),
        (200, &"/<script>alert(1)</script>".into())
    );
    assert!(head.contains("content-type: application/json"));
    let (_, _, facets) = lab.ask("/api/v1/facets?q=service:shop", "");
    assert_eq!(facets["fields"][0]["values"][0]["traces"], 2, "{facets}");
    let (_, _, map) = lab.ask("/api/v1/map", "");
    assert_eq!(
        (&map["edges"][0]["from"], &map["edges"][0]["count"]),
        (&"caller".into(), &2.into())
    );
    assert_eq!(lab.ask("/api/v1/inflight", "").2, serde_json::json!([]));
    for (path, found) in [("services", 1), ("endpoints?run=1", 1), ("errors", 0), ("runs", 1)] {
        let (code, _, list) = lab.ask(&format!("/api/v1/{path}"), "");
        assert_eq!((code, list.as_array().map(Vec::len)), (200, Some(found)), "{path}");
    }
    // Each path of the description is there.
    let (_, _, described) = lab.ask("/api/v1/openapi.json", "");
    for path in described["paths"].as_object().expect("paths").keys() {
        if !["/live", "/follow"].contains(&path.as_str()) {
            let path = path.replace("{id}", "00010203040506070000000000000001");
            let path = path.replace("/compare", "/compare?base=1&run=1");
            let path = path.replace("/replay", "/replay?span=0000000000000001");
            assert_eq!(lab.ask(&format!("/api/v1{path}"), "").0, 200, "{path}");
        }
    }
    assert_eq!(lab.ask("/", "").0, 200);
    let long = format!("X: {}\r\n", "x".repeat(400_000));
    for (target, more, want) in [
        ("/api/v1/traces?q=duration:long", "", 400),
        ("/api/v1/traces?limit=0", "", 400),
        ("/api/v1/traces?limit=1001", "", 400),
        ("/api/v1/traces?sort=age", "", 400),
        ("/api/v1/traces?order=up", "", 400),
        ("/api/v1/points?limit=10001", "", 400),
        ("/api/v1/compare", "", 404),
        ("/api/v1/compare?base=1&run=x", "", 400),
        ("/api/v1/follow?q=duration:long", "", 400),
        ("/api/v1/endpoints?run=x", "", 400),
        ("/api/v1/traces/ffffffffffffffff", "", 404),
        ("/api/v1/traces/../../etc/passwd", "", 404),
        ("/../../etc/passwd", "", 404),
        ("/%2e%2e/%2e%2e/etc/passwd", "", 404),
        ("/api/v2/traces", "", 404),
        ("POST /api/v1/services", "Content-Length: 0\r\n", 405),
        ("POST /api/v1/traces", "Content-Length: 0\r\n", 415),
        (
            "POST /api/v1/traces",
            "Content-Type: application/json\r\nContent-Length: 99999999\r\n",
            413,
        ),
        (
            "POST /mcp",
            "Content-Type: application/json\r\nContent-Length: 9999999\r\n",
            413,
        ),
        (
            "POST /mcp",
            "Content-Type: application/json\r\nOrigin: http://evil.example\r\n",
            403,
        ),
        ("POST /mcp", "Content-Type: text/plain\r\n", 415),
        ("/mcp", "", 405),
        ("/api/v1/traces/ffffffffffffffff/otlp", "", 404),
        ("/api/v1/traces/00010203040506070000000000000001/xml", "", 404),
        ("DELETE /api/v1/traces", "", 405),
        ("/api/v1/traces", "Host: evil.example\r\n", 403),
        ("/api/v1/traces", "Origin: http://evil.example\r\n", 403),
        ("/api/v1/live", "Upgrade: websocket\r\nOrigin: null\r\n", 403),
        ("/api/v1/traces", &long, 431),
    ] {
        let (code, _, body) = lab.ask(target, more);
        assert_eq!(code, want, "{target} {}", &more[..more.len().min(80)]);
        assert!(body["error"].is_string() || want == 431, "{target}: {body}");
    }
}

#[test]
fn who_follows_is_told() {
    let lab = lab();
    lab.store(1, "/before");
    let follow = |target: &str| {
        let stream = lab.send(format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", lab.address));
        let mut lines = BufReader::new(stream).lines().map(|line| line.expect("a line"));
        assert_eq!(lines.next().as_deref(), Some("HTTP/1.1 200 OK"));
        lines
    };
    let mut lines = follow("/api/v1/follow?q=path:/wanted");
    let mut events = follow("/api/v1/live");
    // What comes before the first word belongs to what was there. Behind the head each piece has its length before it.
    for lines in [&mut lines, &mut events] {
        assert!(lines.any(|line| line.is_empty()) && lines.next().is_some());
    }
    lab.store(2, "/other");
    lab.store(3, "/wanted");
    let found = lines.find(|line| line.starts_with('{')).expect("a trace");
    let found: Json = serde_json::from_str(&found).expect("JSON");
    assert_eq!(found["title"], "GET /wanted");
    let data = events.find(|line| line.starts_with("data: [")).expect("traces");
    assert!(data.contains("GET /other"), "{data}");
    // More followers than are served, none of whom reads: they are told so, and others are still answered.
    let idle: Vec<TcpStream> = (0..40)
        .map(|_| lab.send(format!("GET /api/v1/live HTTP/1.1\r\nHost: {}\r\n\r\n", lab.address)))
        .collect();
    let refused = idle.iter().filter(|stream| {
        let mut head = [0; 12];
        (&**stream).read_exact(&mut head).expect("a head");
        head.ends_with(b"503")
    });
    assert!(refused.count() >= 8);
    drop(idle);
}

#[test]
fn a_thousand_slow_clients() {
    let lab = lab();
    (1..=20).for_each(|id| lab.store(id, &format!("/{}", "x".repeat(150))));
    let begun = std::time::Instant::now();
    let mut slow: Vec<TcpStream> = Vec::new();
    for number in 0..1000 {
        // One that begins a request, one that says nothing, and one that asks for much and reads nothing.
        let said = match number % 3 {
            0 => "GET /api".to_owned(),
            1 => String::new(),
            _ => format!("GET /api/v1/traces HTTP/1.1\r\nHost: {}\r\n\r\n", lab.address).repeat(30),
        };
        slow.push(lab.send(&said));
        if number % 250 == 249 {
            assert_eq!(lab.ask("/api/v1/services", "").0, 200, "after {number}");
        }
    }
    // Nobody had to wait for a client's time to be over, which is 10 seconds at least.
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    drop(slow);
}

#[test]
fn traces_are_added_and_assistants_answered() {
    let lab = lab();
    lab.store(1, "/cart");
    let id = "00010203040506070000000000000001";
    let (code, head, mut request) = lab.ask(&format!("/api/v1/traces/{id}/otlp"), "");
    assert_eq!(code, 200);
    assert!(
        head.contains("content-disposition: attachment; filename=\"trace-00010203.otlp.json\""),
        "{head}"
    );
    let spans = &mut request["resourceSpans"][0]["scopeSpans"][0]["spans"];
    assert_eq!(spans[0]["traceId"], id);
    spans[0]["spanId"] = "00000000000000aa".into();
    let (code, added) = lab.post("/api/v1/traces", &request.to_string());
    assert_eq!(
        (code, &added["spans"], &added["known"]),
        (200, &1.into(), &0.into()),
        "{added}"
    );
    let (_, _, shown) = lab.ask(&format!("/api/v1/traces/{id}"), "");
    assert_eq!(shown["span_list"].as_array().map(Vec::len), Some(2));
    let (_, _, timeline) = lab.ask(&format!("/api/v1/traces/{id}/perfetto"), "");
    assert_eq!(timeline["traceEvents"].as_array().map(Vec::len), Some(3));
    let (code, said) = lab.post("/api/v1/traces", "{\"resourceSpans\":7}");
    assert!(code == 400 && said["error"].to_string().contains("OTLP JSON"), "{said}");
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"traces","arguments":{"query":"path:/cart"}}}"#;
    let (code, answer) = lab.post("/mcp", call);
    assert_eq!(
        (code, &answer["result"]["structuredContent"]["traces"][0]["spans"]),
        (200, &2.into()),
        "{answer}"
    );
    assert_eq!(
        lab.post("/mcp", r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)
            .0,
        202
    );
}

#[test]
fn a_store_that_comes_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let listening = bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let taken = listening
        .url()
        .trim_end_matches('/')
        .trim_start_matches("http://")
        .to_owned();
    assert!(
        bind(taken.parse().expect("an address")).is_err(),
        "a port was taken twice"
    );
    let absent: &Path = folder.path();
    let _server = Server::start(listening, absent.to_owned(), || ()).expect("a server");
    let mut elsewhere = lab();
    elsewhere.address = taken.parse().expect("an address");
    let (code, _, body) = elsewhere.ask("/api/v1/traces", "");
    assert_eq!(code, 404, "{body}");
    SqliteStore::open(absent, Bounds::default()).expect("a store");
    assert_eq!(elsewhere.ask("/api/v1/traces", "").0, 200);
}
