//! The gRPC transport against a server of a few lines.
use std::io::Read as _;
use std::sync::{Arc, Mutex};

use bytes::{BufMut as _, Bytes, BytesMut};
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use tokio::net::TcpListener;
use ureq::http::{HeaderMap, Response};

use super::*;

/// What a server answers: a message, or a status with its message and details.
#[derive(Clone)]
enum Answer {
    Message(ExportTraceServiceResponse),
    Status(i32, &'static str, Vec<u8>),
}

/// Headers and message of a request.
type Got = (HeaderMap, String, ExportTraceServiceRequest);

/// Sends one request to a server that answers with `answer`.
async fn exchange(variables: &[(&str, &str)], answer: Answer) -> (Reply, Got) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let got: Arc<Mutex<Option<Got>>> = Arc::default();
    let server = tokio::spawn(serve(listener, answer, Arc::clone(&got)));
    let mut transport = transport(&format!("grpc://{address}"), variables);
    let prepared = transport.prepare(sample());
    let reply = transport.send(&prepared, Duration::from_secs(30)).await;
    server.abort();
    let got = got.lock().expect("no panic").take().expect("a request");
    (reply, got)
}

async fn serve(listener: TcpListener, answer: Answer, got: Arc<Mutex<Option<Got>>>) {
    let (socket, _) = listener.accept().await.expect("a connection");
    let mut connection = h2::server::handshake(socket).await.expect("HTTP/2");
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let (got, answer) = (Arc::clone(&got), answer.clone());
        // The connection makes progress only while it is asked for the next request.
        tokio::spawn(async move {
            let (parts, mut stream) = request.into_parts();
            let mut body = BytesMut::new();
            while let Some(Ok(part)) = stream.data().await {
                body.extend_from_slice(&part);
                let _closed = stream.flow_control().release_capacity(part.len());
            }
            let message = ExportTraceServiceRequest::decode(&*unframed(&body)).expect("a request");
            *got.lock().expect("no panic") = Some((parts.headers, parts.uri.path().to_owned(), message));
            let head = Response::builder().header("content-type", "application/grpc");
            let mut trailers = HeaderMap::new();
            let mut send = respond
                .send_response(head.body(()).expect("a head"), false)
                .expect("a stream");
            match answer {
                Answer::Message(message) => {
                    let mut frame = BytesMut::new();
                    frame.put_u8(0);
                    frame.put_u32(u32::try_from(message.encoded_len()).expect("short"));
                    frame.put_slice(&message.encode_to_vec());
                    send.send_data(frame.freeze(), false).expect("a stream");
                    trailers.insert("grpc-status", 0.into());
                }
                Answer::Status(code, text, details) => {
                    trailers.insert("grpc-status", code.into());
                    trailers.insert("grpc-message", text.parse().expect("a header"));
                    trailers.insert("grpc-status-details-bin", base64(&details).parse().expect("a header"));
                }
            }
            send.send_trailers(trailers).expect("a stream");
        });
    }
}

/// A message without the 5 bytes before it: whether it is compressed, and its length.
fn unframed(frame: &[u8]) -> Bytes {
    let (head, body) = frame.split_at(5);
    if head[0] == 0 {
        return Bytes::copy_from_slice(body);
    }
    let mut plain = Vec::new();
    GzDecoder::new(body).read_to_end(&mut plain).expect("gzip");
    plain.into()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |group: u32, place: usize| char::from(DIGITS[(group >> (18 - 6 * place)) as usize & 63]);
    let groups = bytes.chunks(3).flat_map(|chunk| {
        let group = (0..3).fold(0, |group, place| {
            group << 8 | u32::from(*chunk.get(place).unwrap_or(&0))
        });
        (0..=chunk.len()).map(move |place| digit(group, place))
    });
    groups.collect()
}

fn transport(url: &str, variables: &[(&str, &str)]) -> Grpc {
    let settings = Settings::resolve(Some(url), |name| {
        let found = variables.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    });
    Grpc::new(&settings.expect("valid").expect("an endpoint")).expect("a transport")
}

fn sample() -> ExportTraceServiceRequest {
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            schema_url: "s".repeat(1000),
            ..ResourceSpans::default()
        }],
    }
}

/// Details that ask to come back after this many milliseconds.
fn retry_info(ms: i32) -> Vec<u8> {
    let info = RetryInfo {
        retry_delay: Some(RpcDuration {
            seconds: i64::from(ms / 1000),
            nanos: ms % 1000 * 1_000_000,
        }),
    };
    let status = RpcStatus {
        code: 8,
        message: String::new(),
        details: vec![RpcDetail {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
            value: info.encode_to_vec(),
        }],
    };
    status.encode_to_vec()
}

#[tokio::test]
async fn requests() {
    for coding in ["gzip", "none"] {
        let variables = [
            ("OTEL_EXPORTER_OTLP_COMPRESSION", coding),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=some%20thing"),
        ];
        let (reply, (headers, path, message)) =
            exchange(&variables, Answer::Message(ExportTraceServiceResponse::default())).await;
        let accepted = Reply::Accepted {
            rejected_spans: 0,
            message: String::new(),
        };
        assert_eq!(reply, accepted);
        assert_eq!(message, sample());
        assert_eq!(path, Spans::METHOD);
        assert_eq!(headers["x-key"], "some thing");
        assert_eq!(headers.contains_key("grpc-encoding"), coding == "gzip", "{headers:?}");
        assert!(headers.contains_key("grpc-timeout"), "{headers:?}");
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
    let later = |why: &str, ms: Option<u64>| Reply::Later {
        why: why.to_owned(),
        after: ms.map(Duration::from_millis),
    };
    let refused = |why: &str| Reply::Refused(why.to_owned());
    let cases = [
        (
            Answer::Message(partial),
            Reply::Accepted {
                rejected_spans: 3,
                message: "too old".to_owned(),
            },
        ),
        (
            Answer::Status(14, "down", vec![]),
            later("gRPC status Unavailable, down", None),
        ),
        (
            Answer::Status(14, "down", retry_info(1500)),
            later("gRPC status Unavailable, down", Some(1500)),
        ),
        (
            Answer::Status(4, "slow", vec![]),
            later("gRPC status DeadlineExceeded, slow", None),
        ),
        (
            Answer::Status(8, "full", retry_info(20)),
            later("gRPC status ResourceExhausted, full", Some(20)),
        ),
        (
            Answer::Status(8, "full", vec![]),
            refused("gRPC status ResourceExhausted, full"),
        ),
        (
            Answer::Status(3, "bad", vec![]),
            refused("gRPC status InvalidArgument, bad"),
        ),
        (
            Answer::Status(16, "who", vec![]),
            refused("gRPC status Unauthenticated, who"),
        ),
        (
            Answer::Status(12, "no", vec![]),
            refused("gRPC status Unimplemented, no"),
        ),
    ];
    for (answer, expected) in cases {
        let (reply, _) = exchange(&[], answer).await;
        assert_eq!(reply, expected);
    }
}

#[tokio::test]
async fn nobody_listens() {
    // A bound socket that does not listen refuses connections, and nobody else gets its port.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let mut transport = transport(&format!("grpc://{}", socket.local_addr().expect("an address")), &[]);
    let prepared = transport.prepare(sample());
    for _ in 0..2 {
        let reply = transport.send(&prepared, Duration::from_secs(30)).await;
        assert!(
            matches!(&reply, Reply::Unreachable(why) if why.contains("refused")),
            "{reply:?}"
        );
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_worth_another_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut transport = transport(&format!("grpc://{}", listener.local_addr().expect("an address")), &[]);
    let server = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.expect("a connection");
        let mut connection = h2::server::handshake(socket).await.expect("HTTP/2");
        let request = connection.accept().await;
        assert!(matches!(request, Some(Ok(_))));
    });
    let prepared = transport.prepare(sample());
    let reply = transport.send(&prepared, Duration::from_secs(30)).await;
    server.await.expect("no panic");
    assert!(matches!(&reply, Reply::Later { .. }), "{reply:?}");
}

#[tokio::test]
async fn a_server_that_speaks_something_else() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut transport = transport(&format!("grpc://{}", listener.local_addr().expect("an address")), &[]);
    let server = tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.expect("a connection");
            let _gone = socket.try_write(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let prepared = transport.prepare(sample());
    let reply = transport.send(&prepared, Duration::from_secs(30)).await;
    server.abort();
    assert!(
        matches!(&reply, Reply::Later { .. } | Reply::Unreachable(_)),
        "{reply:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut transport = transport(&format!("grpc://{}", listener.local_addr().expect("an address")), &[]);
    let prepared = transport.prepare(sample());
    let reply = transport.send(&prepared, Duration::from_secs(3)).await;
    assert!(matches!(&reply, Reply::Later { .. }), "{reply:?}");
}
