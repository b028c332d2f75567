use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::super::Status;
use super::*;
use crate::capture::{Actor, ConnId, Direction, Endpoints, Moment, Pid};
use crate::discover::{Process, Runtime};
use crate::protocol::http1::Version;
use crate::protocol::{
    Broken, Exchange, Known, Mark, Request, RequestHead as AnyRequest, Response, ResponseHead as AnyResponse, Step,
};
use crate::span::{ConnFacts, Layer, SpanEvent, Spans};

fn moment(time_ns: u64) -> Moment {
    Moment::new(time_ns, Actor::thread(Pid(1), 1))
}

fn parse_fields(lines: &str) -> Fields {
    lines
        .lines()
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_owned(), Bytes::copy_from_slice(value.as_bytes())))
        .collect()
}

/// A connection of a process.
fn shop() -> (Arc<ConnFacts>, Arc<Process>) {
    let facts = ConnFacts {
        conn: ConnId(1),
        endpoints: Endpoints::Tcp {
            local: "10.0.0.1:40000".parse().unwrap(),
            remote: "10.0.0.2:8080".parse().unwrap(),
        },
        netns: 1,
        isn: None,
        midway: false,
        layer: Layer::Wire,
        asks: None,
        connect_ns: None,
        accept_ns: None,
        preface: crate::protocol::Preface::default(),
        handshake: None,
    };
    let process = Process {
        pid: Pid(1),
        exe: String::new(),
        args: Vec::new(),
        service: "test".to_owned(),
        service_namespace: None,
        runtime: Runtime::Native,
        container: None,
        resource: Vec::new(),
    };
    (Arc::new(facts), Arc::new(process))
}

/// The span of a request line and fields, and the response's status, as `key=value` lines of those keys asked for.
fn check(direction: Direction, request: &str, status: Option<u16>, broken: Option<Broken>, expected: &[(&str, &str)]) {
    let (line, fields) = request.split_once('\n').unwrap_or((request, ""));
    let (protocol, fields) = match fields.strip_prefix(":protocol: ") {
        Some(rest) => rest
            .split_once('\n')
            .map(|(protocol, rest)| (Some(protocol.into()), rest))
            .unwrap(),
        None => (None, fields),
    };
    let (method, target) = line.split_once(' ').unwrap();
    let (facts, process) = shop();
    let mut spans = Spans::new(Policy::default());
    let mut out = Vec::new();
    let mark = |time_ns| Mark {
        offset: 10,
        moment: moment(time_ns),
    };
    let head = RequestHead {
        method: method.into(),
        target: target.into(),
        version: Version::Http11,
        scheme: None,
        authority: None,
        protocol,
        first: false,
        fields: parse_fields(fields),
        unknown: 0,
        gateway: None,
    };
    let exchange = Exchange(0);
    let request = Request {
        whole: false,
        record: None,
        exchange,
        direction,
        stream: None,
        offset: 0,
        start: moment(5),
        head_end: mark(5),
        head: AnyRequest::Http(head),
    };
    spans.step(&facts, &process, Step::Request(request), &mut out);
    if let Some(status) = status {
        let head = ResponseHead {
            status,
            version: Version::Http11,
            fields: Fields::default(),
            unknown: 0,
        };
        let response = Response {
            whole: false,
            exchange,
            start: moment(6),
            head_end: mark(7),
            head: AnyResponse::Http(head),
        };
        spans.step(&facts, &process, Step::Response(response), &mut out);
    }
    let body = Body::from(Known {
        bytes: Some(3),
        captured: Bytes::from_static(b"abc"),
        ..Known::default()
    });
    let end = match broken {
        None => Step::ResponseEnd {
            exchange,
            end: mark(9),
            body,
        },
        Some(reason) => Step::Broken {
            exchange,
            at: mark(9),
            reason,
            body: Body::default(),
        },
    };
    spans.step(&facts, &process, end, &mut out);
    let Some(SpanEvent::Finished { span, .. }) = out.pop() else {
        panic!("no span")
    };
    for (key, value) in expected {
        let found = span
            .attributes
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| match value {
                Value::Text(text) => text.to_string(),
                other => format!("{other:?}"),
            });
        let found = match *key {
            "name" => span.name.to_string(),
            "status" => format!("{:?}", span.status),
            _ => found.unwrap_or_else(|| "-".to_owned()),
        };
        assert_eq!(found, *value, "{key} of {line}");
    }
}

/// What was done for a request whose end nobody can tell any more must not name it.
#[test]
fn a_request_whose_number_another_takes() {
    let (facts, process) = shop();
    let mut spans = Spans::new(Policy::default());
    let mut out = Vec::new();
    for time_ns in [5, 8] {
        let request = Request {
            whole: false,
            record: None,
            exchange: Exchange(0),
            direction: Direction::Ingress,
            stream: None,
            offset: time_ns,
            start: moment(time_ns),
            head_end: Mark {
                offset: time_ns,
                moment: moment(time_ns),
            },
            head: AnyRequest::Turn,
        };
        spans.step(&facts, &process, Step::Request(request), &mut out);
    }
    let [
        SpanEvent::Opened(first),
        SpanEvent::Opened(_),
        SpanEvent::Withdrawn { key },
        SpanEvent::Count("span.replaced"),
    ] = out.as_slice()
    else {
        panic!("{} events", out.len());
    };
    assert_eq!(*key, first.key);
}

#[test]
fn client_attributes() {
    check(
        Direction::Egress,
        "GET /a/b?x=1&token=s\nhost: shop:81\nuser-agent: curl/8",
        Some(200),
        None,
        &[
            ("name", "GET /a/b"),
            ("url.template", "/a/b"),
            ("clew.http.route.guessed", "Bool(true)"),
            ("url.full", "http://shop:81/a/b?x=1&token=REDACTED"),
            ("server.address", "shop"),
            ("server.port", "Int(81)"),
            ("user_agent.original", "curl/8"),
            ("http.response.status_code", "Int(200)"),
            ("http.response.body.size", "Int(3)"),
            ("clew.http.response.body", "abc"),
            ("network.peer.address", "10.0.0.2"),
            ("network.peer.port", "Int(8080)"),
            ("error.type", "-"),
            ("status", "Unset"),
        ],
    );
}

#[test]
fn bodies_are_left_out() {
    let mut span = Span {
        attributes: [
            "clew.http.request.body",
            "clew.http.request.body.truncated",
            "clew.http.response.body.encoding",
            "http.request.body.size",
        ]
        .map(|name| (name, Value::Bool(true)))
        .into(),
        kind: SpanKind::Server,
        name: "GET".into(),
        start_ns: 0,
        end_ns: 0,
        named: Vec::new(),
        status: Status::Unset,
        events: Vec::new(),
    };
    assert!(span.has_bodies());
    span.remove_bodies();
    assert!(!span.has_bodies());
    assert_eq!(span.attributes, [("http.request.body.size", Value::Bool(true))]);
}

#[test]
fn server_attributes() {
    check(
        Direction::Ingress,
        "GET /a\nx-forwarded-for: 1.2.3.4, 5.6.7.8",
        Some(404),
        None,
        &[
            ("url.full", "-"),
            ("url.path", "/a"),
            ("client.address", "1.2.3.4"),
            ("server.address", "10.0.0.1"),
            ("server.port", "Int(40000)"),
            ("error.type", "-"),
            ("status", "Unset"),
        ],
    );
    check(
        Direction::Ingress,
        "GET /a\nforwarded: for=\"[2001:db8::1]:4711\";proto=http",
        Some(500),
        None,
        &[
            ("client.address", "2001:db8::1"),
            ("url.scheme", "http"),
            ("error.type", "500"),
            ("status", "Error(\"\")"),
        ],
    );
}

#[test]
fn a_server_behind_a_proxy_shows_the_original_request() {
    for fields in [
        "x-forwarded-proto: HTTPS\nx-forwarded-host: shop.example, inner",
        "forwarded: host=shop.example;proto=https, proto=http",
    ] {
        check(
            Direction::Ingress,
            &format!("GET /a\nhost: inner:8080\n{fields}"),
            Some(200),
            None,
            &[
                ("url.scheme", "https"),
                ("server.address", "shop.example"),
                ("server.port", "Int(443)"),
            ],
        );
        // What a client sends about others says nothing about where it sends it.
        check(
            Direction::Egress,
            &format!("GET /a\nhost: inner:8080\n{fields}"),
            Some(200),
            None,
            &[("url.full", "http://inner:8080/a"), ("server.address", "inner")],
        );
    }
    check(
        Direction::Ingress,
        "GET /a\nx-forwarded-proto: javascript",
        Some(200),
        None,
        &[("url.scheme", "http")],
    );
}

#[test]
fn other_forms_of_targets_and_methods() {
    check(
        Direction::Egress,
        "GET http://u:p@h.example/x?y\nhost: other",
        Some(404),
        None,
        &[
            ("url.full", "http://REDACTED:REDACTED@h.example/x?y"),
            ("server.address", "h.example"),
            ("server.port", "Int(80)"),
            ("error.type", "404"),
        ],
    );
    check(
        Direction::Egress,
        "CONNECT h.example:443",
        Some(200),
        None,
        &[("server.port", "Int(443)"), ("url.path", "-")],
    );
    // What opens a WebSocket over HTTP/2 has a path, and becomes one only if it is let (RFC 8441).
    for (status, is_one) in [(200, "Bool(true)"), (403, "-")] {
        check(
            Direction::Egress,
            "CONNECT /talk\n:protocol: websocket\nhost: h.example",
            Some(status),
            None,
            &[
                ("name", "CONNECT /talk"),
                ("url.full", "http://h.example/talk"),
                ("server.address", "h.example"),
                ("url.path", "/talk"),
                ("clew.websocket", is_one),
            ],
        );
    }
    check(
        Direction::Egress,
        "OPTIONS *\nhost: h.example",
        Some(200),
        None,
        &[("url.full", "http://h.example"), ("url.path", "*")],
    );
    // Without a host the socket is the server.
    check(
        Direction::Egress,
        "GET /a?sig=x",
        Some(200),
        None,
        &[
            ("url.full", "http://10.0.0.2:8080/a?sig=REDACTED"),
            ("server.address", "10.0.0.2"),
            ("server.port", "Int(8080)"),
        ],
    );
    check(
        Direction::Egress,
        "QUERY /x\nhost: [::1]:9",
        Some(200),
        None,
        &[("name", "QUERY /x"), ("http.request.method", "QUERY")],
    );
    check(
        Direction::Egress,
        "PURGE /x\nhost: [::1]:9",
        Some(200),
        None,
        &[
            ("name", "HTTP"),
            ("http.request.method", "_OTHER"),
            ("http.request.method_original", "PURGE"),
            ("server.address", "::1"),
            ("server.port", "Int(9)"),
        ],
    );
}

#[test]
fn exchanges_without_an_end() {
    check(
        Direction::Egress,
        "GET /",
        None,
        Some(Broken::Failed(104)),
        &[
            ("error.type", "connection_reset"),
            ("clew.exchange.outcome", "aborted"),
            ("status", "Error(\"connection reset\")"),
        ],
    );
    check(
        Direction::Ingress,
        "GET /",
        None,
        Some(Broken::AgentStopped),
        &[
            ("error.type", "-"),
            ("clew.exchange.outcome", "in_flight"),
            ("status", "Unset"),
        ],
    );
}

/// What is shown of a body with `--redact body:card`: `captured` is how much of it.
#[track_caller]
fn check_body(fields: &str, content: &[u8], captured: usize, expected: &str) {
    let mut policy = Policy::default();
    policy.redact("body:card").unwrap();
    let mut span = Span {
        kind: SpanKind::Client,
        name: String::new().into(),
        start_ns: 0,
        end_ns: 0,
        attributes: Vec::new(),
        named: Vec::new(),
        status: Status::Unset,
        events: Vec::new(),
    };
    let message = Body::from(Known {
        bytes: Some(content.len() as u64),
        captured: Bytes::copy_from_slice(&content[..captured]),
        ..Known::default()
    });
    body(&mut span, &REQUEST, &parse_fields(fields), &message, &policy);
    let shown = span.attributes.iter().find(|(name, _)| *name == REQUEST.content);
    assert_eq!(
        shown.map(|(_, value)| value.clone()),
        Some(Value::Text(expected.into()))
    );
    let truncated = span.attributes.iter().any(|(name, _)| *name == REQUEST.truncated);
    let is_long = expected.len() >= MAX_DECODED;
    assert_eq!(truncated, captured < content.len() || is_long);
}

#[test]
fn values_in_bodies_are_hidden_by_key() {
    let json = br#"{"card":"4111","n":1}"#;
    check_body(
        "content-type: application/json",
        json,
        json.len(),
        r#"{"card":"REDACTED","n":1}"#,
    );
    check_body("content-type: application/json", json, 11, r#"{"card":"REDACTED""#);
    let form = b"n=1&card=4111";
    let is_form = "content-type: application/x-www-form-urlencoded; charset=utf-8";
    check_body(is_form, form, form.len(), "n=1&card=REDACTED");
    check_body(is_form, form, 11, "n=1&card=REDACTED");
    // As curl sends it unless it is told better, and as it comes without a type.
    check_body(is_form, json, json.len(), r#"{"card":"REDACTED","n":1}"#);
    check_body("content-language: en", json, json.len(), r#"{"card":"REDACTED","n":1}"#);
    check_body("content-language: en", form, form.len(), "n=1&card=REDACTED");
    // A link in a text is none.
    let page = b"<a href='?n=1&card=4'>";
    check_body("content-type: text/html", page, page.len(), "<a href='?n=1&card=4'>");
    // Not valid UTF-8: shown as base64, but not before.
    check_body("", b"\xff{\"card\":1}", 11, &base64(b"\xff{\"card\":\"REDACTED\"}"));
}

#[test]
fn values_in_coded_bodies_are_hidden_or_the_body_is() {
    use std::io::Write as _;
    let json = br#"{"card":"4111","n":1}"#;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(json).unwrap();
    let coded = encoder.finish().unwrap();
    check_body(
        "content-encoding: gzip",
        &coded,
        coded.len(),
        r#"{"card":"REDACTED","n":1}"#,
    );
    check_body("content-encoding: gzip", &coded, 9, REDACTED);
    // What would be a thousand times as long is decoded up to a bound, and says so.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&vec![b'a'; 16 << 20]).unwrap();
    let bomb = encoder.finish().unwrap();
    let shown = "a".repeat(MAX_DECODED);
    check_body("content-encoding: gzip", &bomb, bomb.len(), &shown);
    check_body("content-encoding: compress", b"anything", 8, REDACTED);
    // By Node.js 20 and by zstd 1.5.
    let brotli = STANDARD.decode("CwqAeyJjYXJkIjoiNDExMSIsIm4iOjF9Aw==").unwrap();
    check_body(
        "content-encoding: br",
        &brotli,
        brotli.len(),
        r#"{"card":"REDACTED","n":1}"#,
    );
    check_body("content-encoding: br", b"anything", 8, REDACTED);
    let zstd = STANDARD
        .decode("KLUv/QRYqQAAeyJjYXJkIjoiNDExMSIsIm4iOjF9DnVmpg==")
        .unwrap();
    check_body(
        "content-encoding: zstd",
        &zstd,
        zstd.len(),
        r#"{"card":"REDACTED","n":1}"#,
    );
    check_body("content-encoding: zstd", b"anything", 8, REDACTED);
}
