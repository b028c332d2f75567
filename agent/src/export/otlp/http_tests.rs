//! The HTTP transport against a server of a few lines.
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;

use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;

use super::*;

/// What a server got.
struct Got {
    head: Vec<String>,
    request: ExportTraceServiceRequest,
}

/// Sends one request to a server that answers with `response`.
async fn exchange(variables: &[(&str, &str)], response: Vec<u8>) -> (Reply, Got) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        let mut reader = BufReader::new(&stream);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a line");
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_ascii_lowercase()),
            }
        }
        let length = head.iter().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.expect("a length").parse().expect("a number")];
        reader.read_exact(&mut body).expect("a body");
        (&stream).write_all(&response).expect("a reader");
        if head.iter().any(|line| line == "content-encoding: gzip") {
            let packed = std::mem::take(&mut body);
            GzDecoder::new(&*packed).read_to_end(&mut body).expect("gzip");
        }
        let request = ExportTraceServiceRequest::decode(&*body).expect("a request");
        Got { head, request }
    });
    let mut transport = transport(&format!("http://{address}"), variables);
    let prepared = transport.prepare(sample());
    let reply = transport.send(&prepared, Duration::from_secs(30)).await;
    (reply, server.join().expect("no panic"))
}

fn transport(url: &str, variables: &[(&str, &str)]) -> Http {
    let settings = Settings::resolve(Some(url), |name| {
        let found = variables.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    });
    Http::new(&settings.expect("valid").expect("an endpoint")).expect("a transport")
}

fn sample() -> ExportTraceServiceRequest {
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            schema_url: "s".repeat(1000),
            ..ResourceSpans::default()
        }],
    }
}

fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut all = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n").into_bytes();
    all.extend_from_slice(body);
    all
}

#[tokio::test]
async fn requests() {
    for (coding, is_gzip) in [("gzip", true), ("none", false)] {
        let variables = [
            ("OTEL_EXPORTER_OTLP_COMPRESSION", coding),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=some%20thing"),
        ];
        let (reply, got) = exchange(&variables, response("200 OK", "", b"")).await;
        assert_eq!(
            reply,
            Reply::Accepted {
                rejected_spans: 0,
                message: String::new()
            }
        );
        assert_eq!(got.request, sample());
        let has = |line: &str| got.head.iter().any(|other| other == line);
        assert!(has("post /v1/traces http/1.1"), "{:?}", got.head);
        assert!(has("content-type: application/x-protobuf"), "{:?}", got.head);
        assert!(has("x-key: some thing"), "{:?}", got.head);
        assert_eq!(has("content-encoding: gzip"), is_gzip, "{:?}", got.head);
    }
}

#[tokio::test]
async fn responses() {
    let partial = ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans: 3,
            error_message: "too old".to_owned(),
        }),
    };
    let status = RpcStatus {
        message: "no such tenant".to_owned(),
        ..RpcStatus::default()
    };
    let accepted = |rejected_spans, message: &str| Reply::Accepted {
        rejected_spans,
        message: message.to_owned(),
    };
    let later = |why: &str, seconds: Option<u64>| Reply::Later {
        why: why.to_owned(),
        after: seconds.map(Duration::from_secs),
    };
    let refused = |why: &str| Reply::Refused(why.to_owned());
    let cases = [
        (response("200 OK", "", &partial.encode_to_vec()), accepted(3, "too old")),
        (response("202 Accepted", "", b"not protobuf"), accepted(0, "")),
        (
            response("429 Too Many Requests", "retry-after: 7\r\n", b""),
            later("HTTP status 429 Too Many Requests", Some(7)),
        ),
        (
            response("503 Service Unavailable", "", b"no"),
            later("HTTP status 503 Service Unavailable, no", None),
        ),
        (
            response("502 Bad Gateway", "retry-after: soon\r\n", b""),
            later("HTTP status 502 Bad Gateway", None),
        ),
        (
            response("504 Gateway Timeout", "", b""),
            later("HTTP status 504 Gateway Timeout", None),
        ),
        (
            response("400 Bad Request", "", &status.encode_to_vec()),
            refused("HTTP status 400 Bad Request, no such tenant"),
        ),
        (
            response("500 Internal Server Error", "", b""),
            refused("HTTP status 500 Internal Server Error"),
        ),
        (
            response("307 Temporary Redirect", "location: http://127.0.0.1:1/\r\n", b""),
            refused("HTTP status 307 Temporary Redirect"),
        ),
    ];
    for (response, expected) in cases {
        let (reply, _) = exchange(&[], response).await;
        assert_eq!(reply, expected);
    }
}

#[tokio::test]
async fn nobody_listens() {
    // A bound socket that does not listen refuses connections, and nobody else gets its port.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let port = socket.local_addr().expect("an address").port();
    let mut transport = transport(&format!("http://127.0.0.1:{port}"), &[]);
    let prepared = transport.prepare(sample());
    let reply = transport.send(&prepared, Duration::from_secs(30)).await;
    assert!(
        matches!(&reply, Reply::Unreachable(why) if why.contains("refused")),
        "{reply:?}"
    );
}

#[tokio::test]
async fn a_connection_that_breaks_is_worth_another_request() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut transport = transport(&format!("http://{}", listener.local_addr().expect("an address")), &[]);
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a request");
    });
    let prepared = transport.prepare(sample());
    let reply = transport.send(&prepared, Duration::from_secs(30)).await;
    server.join().expect("no panic");
    assert!(matches!(&reply, Reply::Later { .. }), "{reply:?}");
}

#[tokio::test]
async fn a_server_that_never_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut transport = transport(&format!("http://{}", listener.local_addr().expect("an address")), &[]);
    let prepared = transport.prepare(sample());
    let reply = transport.send(&prepared, Duration::from_millis(50)).await;
    assert!(matches!(&reply, Reply::Later { .. }), "{reply:?}");
}

#[test]
fn certificates() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ca.pem");
    for (text, message) in [
        ("", "it holds no certificate"),
        (
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
            "it is no PEM",
        ),
    ] {
        std::fs::write(&path, text).expect("a file");
        let settings = Settings::resolve(Some("https://c"), |name| {
            (name == "OTEL_EXPORTER_OTLP_CERTIFICATE").then(|| path.display().to_string())
        });
        let settings = settings.expect("valid").expect("an endpoint");
        let error = Http::<Spans>::new(&settings).err().expect(message).to_string();
        assert!(
            error.contains("OTEL_EXPORTER_OTLP_CERTIFICATE") && error.contains(message),
            "{error}"
        );
    }
}
