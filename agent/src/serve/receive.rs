//! Takes spans that programs' own SDKs send, so that they lie in the same traces: OTLP over gRPC and HTTP at one address.
//!
//! In: `ExportTraceServiceRequest`s. Out: what the store's writer takes; when it is too slow for them whoever sends is told to
//! try again. Which of the two a client speaks its first bytes say. The service is one call with one message each way, so it is
//! read and written here. Only programs may send: what a browser's page sends is refused.
use std::convert::Infallible;
use std::io::Read as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::answer::Problem;
use super::api::whole;
use super::connections::{Connections, Patient, Place};
use super::guard::Access;
use super::server::{HEAD, HEAD_BYTES, Listening, ServeError, beside, listener};
use crate::store::{Inbox, Received};

/// Connections at once.
const CONNECTIONS: usize = 128;
/// Calls at once on one of gRPC's.
const STREAMS: u32 = 16;
/// Most of a request, and of what a compressed one may come to.
const REQUEST_BYTES: usize = 8 << 20;
const HTTP_PATH: &str = "/v1/traces";
const RPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// What gRPC's clients say first on a connection (RFC 9113, section 3.4).
const PREFACE: &[u8; 4] = b"PRI ";

/// Takes spans until it is dropped.
#[derive(Debug)]
pub struct Receiver {
    _stop: oneshot::Sender<()>,
}

impl Receiver {
    /// Takes spans on a thread.
    ///
    /// # Errors
    /// There is no thread.
    pub fn start(listening: Listening, inbox: Inbox) -> Result<Self, ServeError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ServeError::Thread)?;
        let stop = beside("clew-receive", runtime, accept(listening, inbox))?;
        Ok(Self { _stop: stop })
    }
}

async fn accept(listening: Listening, inbox: Inbox) {
    let Some((listener, access)) = listener(listening) else {
        return;
    };
    let service = Arc::new(Service { access, inbox });
    let connections = Connections::new(CONNECTIONS);
    loop {
        let Ok((connection, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let service = Arc::clone(&service);
        let place = Arc::new(connections.enter().await);
        let number = place.number();
        let served = tokio::spawn(serve(connection, service, place));
        connections.served_by(number, served.abort_handle());
    }
}

async fn serve(connection: TcpStream, service: Arc<Service>, place: Arc<Place>) {
    let Ok(Ok(speaks_rpc)) = tokio::time::timeout(HEAD, is_http2(&connection)).await else {
        return;
    };
    let asked = service_fn(move |request| {
        let (service, place) = (Arc::clone(&service), Arc::clone(&place));
        async move {
            let _answering = place.answering();
            Ok::<_, Infallible>(service.take(request).await)
        }
    });
    let stream = TokioIo::new(Patient::new(connection));
    // A client that is gone is no trouble of ours.
    let _gone = if speaks_rpc {
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEAD_BYTES as u32)
            .serve_connection(stream, asked)
            .await
    } else {
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(stream, asked)
            .await
    };
}

async fn is_http2(connection: &TcpStream) -> std::io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    loop {
        let length = connection.peek(&mut first).await?;
        let begun = first.get(..length).unwrap_or_default();
        if length == 0 || length == first.len() || !PREFACE.starts_with(begun) {
            return Ok(begun == PREFACE);
        }
        // A part of it is there, and peeking at the rest would not wait.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

struct Service {
    access: Access,
    inbox: Inbox,
}

/// How a client speaks, and is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Rpc,
    Protobuf,
    Json,
}

impl Service {
    async fn take(&self, request: Request<Incoming>) -> Response<Reply> {
        let (parts, body) = request.into_parts();
        let kind = parts
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let kind = kind
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        let form = match kind.as_str() {
            kind if kind == "application/grpc" || kind.starts_with("application/grpc+proto") => Form::Rpc,
            "application/x-protobuf" => Form::Protobuf,
            _ => Form::Json,
        };
        let host = parts.uri.authority().map(hyper::http::uri::Authority::as_str);
        if let Err(refused) = self.access.check_program(&parts.headers, host) {
            return failed(form, &refused.into());
        }
        let wanted = if form == Form::Rpc { RPC_PATH } else { HTTP_PATH };
        if parts.uri.path() != wanted {
            let problem = Problem(StatusCode::NOT_FOUND, "only traces are taken here".to_owned());
            return failed(form, &problem);
        }
        if parts.method != Method::POST {
            let problem = Problem(StatusCode::METHOD_NOT_ALLOWED, "spans are posted".to_owned());
            return failed(form, &problem);
        }
        if form == Form::Json && kind != "application/json" {
            let why = "application/x-protobuf or application/json is wanted".to_owned();
            return failed(form, &Problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
        }
        match self.keep(form, &parts.headers, body).await {
            Ok(refused) => taken(form, refused),
            Err(problem) => failed(form, &problem),
        }
    }

    /// Hands a request's spans on; how many of them cannot be stored.
    async fn keep(&self, form: Form, headers: &HeaderMap, body: Incoming) -> Result<u64, Problem> {
        let bytes = whole(body, REQUEST_BYTES).await?;
        let request = read(form, headers, &bytes)?;
        let received = Received::of(request);
        let refused = received.refused();
        if self.inbox.put(received) {
            Ok(refused)
        } else {
            let why = "the store is too slow for more".to_owned();
            Err(Problem(StatusCode::SERVICE_UNAVAILABLE, why))
        }
    }
}

fn bad(what: &str) -> Problem {
    Problem(StatusCode::BAD_REQUEST, what.to_owned())
}

/// A body's request.
///
/// ```text
/// gRPC:  +---------------+------------------------+---------+
///        | compressed: 1 | length: 4, big endian  | message |
///        +---------------+------------------------+---------+
/// HTTP:  the message
/// ```
fn read(form: Form, headers: &HeaderMap, bytes: &[u8]) -> Result<ExportTraceServiceRequest, Problem> {
    let (encoding, message) = if form == Form::Rpc {
        let (head, message) = bytes
            .split_first_chunk::<5>()
            .ok_or_else(|| bad("a message is missing"))?;
        let [compressed, length @ ..] = *head;
        if usize::try_from(u32::from_be_bytes(length)) != Ok(message.len()) {
            return Err(bad("one message is wanted"));
        }
        (
            if compressed == 0 {
                None
            } else {
                headers.get("grpc-encoding")
            },
            message,
        )
    } else {
        (headers.get(header::CONTENT_ENCODING), bytes)
    };
    let inflated;
    let message = match encoding.map(HeaderValue::as_bytes) {
        None | Some(b"identity") => message,
        Some(b"gzip") => {
            inflated = inflate(message)?;
            &inflated
        }
        Some(_) => {
            return Err(Problem(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "gzip is the one coding".to_owned(),
            ));
        }
    };
    let malformed = || bad("this is no ExportTraceServiceRequest");
    match form {
        Form::Json => serde_json::from_slice(message).map_err(|_| malformed()),
        Form::Rpc | Form::Protobuf => ExportTraceServiceRequest::decode(message).map_err(|_| malformed()),
    }
}

fn inflate(message: &[u8]) -> Result<Vec<u8>, Problem> {
    let mut out = Vec::new();
    let most = REQUEST_BYTES as u64;
    let mut reader = flate2::read::GzDecoder::new(message).take(most + 1);
    reader
        .read_to_end(&mut out)
        .map_err(|_| bad("the compressed message is broken"))?;
    if out.len() as u64 > most {
        return Err(Problem(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("{most} bytes are the most that is taken"),
        ));
    }
    Ok(out)
}

fn taken(form: Form, refused: u64) -> Response<Reply> {
    let answer = ExportTraceServiceResponse {
        partial_success: (refused > 0).then(|| ExportTracePartialSuccess {
            rejected_spans: i64::try_from(refused).unwrap_or(i64::MAX),
            error_message: "spans without an id or a trace are not stored".to_owned(),
        }),
    };
    match form {
        Form::Json => {
            // Whole numbers of 64 bits are texts in Protobuf's JSON.
            let said = answer.partial_success.map_or_else(
                || serde_json::json!({}),
                |it| serde_json::json!({"partialSuccess": {"rejectedSpans": it.rejected_spans.to_string(), "errorMessage": it.error_message}}),
            );
            reply("application/json", said.to_string().into(), None)
        }
        Form::Protobuf => reply("application/x-protobuf", answer.encode_to_vec(), None),
        Form::Rpc => {
            let message = answer.encode_to_vec();
            let length = u32::try_from(message.len()).unwrap_or(0);
            let framed = [&[0][..], &length.to_be_bytes(), &message].concat();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            reply("application/grpc", framed, Some(trailers))
        }
    }
}

fn failed(form: Form, problem: &Problem) -> Response<Reply> {
    let Problem(code, why) = problem;
    if form == Form::Rpc {
        // https://github.com/grpc/grpc/blob/master/doc/statuscodes.md
        let status = match *code {
            StatusCode::UNAUTHORIZED => "16",
            StatusCode::FORBIDDEN => "7",
            StatusCode::NOT_FOUND | StatusCode::UNSUPPORTED_MEDIA_TYPE | StatusCode::METHOD_NOT_ALLOWED => "12",
            StatusCode::PAYLOAD_TOO_LARGE => "8",
            StatusCode::SERVICE_UNAVAILABLE => "14",
            _ => "3",
        };
        let mut response = reply("application/grpc", Vec::new(), None);
        let headers = response.headers_mut();
        headers.insert("grpc-status", HeaderValue::from_static(status));
        if let Ok(why) = HeaderValue::from_str(why) {
            headers.insert("grpc-message", why);
        }
        return response;
    }
    let mut response = reply(
        "application/json",
        serde_json::json!({"code": 0, "message": why}).to_string().into(),
        None,
    );
    *response.status_mut() = *code;
    if *code == StatusCode::SERVICE_UNAVAILABLE {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn reply(kind: &'static str, data: Vec<u8>, trailers: Option<HeaderMap>) -> Response<Reply> {
    let data = Some(Bytes::from(data)).filter(|data| !data.is_empty());
    let mut response = Response::new(Reply { data, trailers });
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// A message, and what gRPC says behind it.
struct Reply {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl HttpBody for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.take().map(Frame::data);
        Poll::Ready(data.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }
}

#[cfg(test)]
#[path = "receive_tests.rs"]
mod tests;
