//! Calls of every kind between two processes, as `grpc_calls.py` makes them.
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::post;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tonic::client::Grpc as Client;
use tonic::server::Grpc as Service;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};
use tower::service_fn;

use crate::raw::Raw;

async fn unary(request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
    match &request.get_ref()[..] {
        b"wrong" => return Err(Status::not_found("no such thing: 100 % sure, möglich")),
        b"bug" => return Err(Status::unknown("a bug")),
        b"slow" => tokio::time::sleep(Duration::from_secs(5)).await,
        _ => {}
    }
    let mut answer = Response::new([b"answer to ", &request.get_ref()[..]].concat().into());
    answer.metadata_mut().insert("x-answer", "1".parse().expect("a value"));
    Ok(answer)
}

type Answers = Result<Response<stream::BoxStream<'static, Result<Bytes, Status>>>, Status>;

async fn down(request: Request<Bytes>) -> Answers {
    let count = std::str::from_utf8(request.get_ref())
        .ok()
        .and_then(|text| text.parse().ok());
    let count: usize = count.ok_or_else(|| Status::invalid_argument("no number"))?;
    let messages = (0..count).map(|length| Ok(vec![b'x'; length].into()));
    Ok(Response::new(stream::iter(messages).boxed()))
}

async fn up(request: Request<Streaming<Bytes>>) -> Result<Response<Bytes>, Status> {
    let mut requests = request.into_inner();
    let mut count = 0;
    while requests.message().await?.is_some() {
        count += 1;
    }
    Ok(Response::new(count.to_string().into()))
}

async fn both(request: Request<Streaming<Bytes>>) -> Answers {
    let twice = |message: Result<Bytes, Status>| stream::iter([message.clone(), message]);
    Ok(Response::new(request.into_inner().flat_map(twice).boxed()))
}

type Asked = http::Request<Body>;

pub async fn serve(port: u16) {
    let router = Router::new()
        .route(
            "/clew.test.Calls/Unary",
            post(async |asked: Asked| Service::new(Raw).unary(service_fn(unary), asked).await),
        )
        .route(
            "/clew.test.Calls/Down",
            post(async |asked: Asked| Service::new(Raw).server_streaming(service_fn(down), asked).await),
        )
        .route(
            "/clew.test.Calls/Up",
            post(async |asked: Asked| Service::new(Raw).client_streaming(service_fn(up), asked).await),
        )
        .route(
            "/clew.test.Calls/Both",
            post(async |asked: Asked| Service::new(Raw).streaming(service_fn(both), asked).await),
        )
        .fallback(async || Status::unimplemented("").into_http::<Body>());
    let ends = async {
        let mut rest = Vec::new();
        let _end = tokio::io::stdin().read_to_end(&mut rest).await;
    };
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("listen");
    println!("ready");
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let served = crate::server()
        .add_routes(Routes::from(router))
        .serve_with_incoming_shutdown(incoming, ends);
    served.await.expect("serve");
}

/// Starts a server process, and does `work` with a connection to it.
pub async fn with_server<F: Future<Output = ()>>(work: impl FnOnce(Channel) -> F) {
    if std::env::var_os("CERTIFICATE").is_some() {
        wait_until_watched().await;
    }
    let free = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let port = free.local_addr().expect("its address").port();
    drop(free);
    let mut server = Command::new("/proc/self/exe");
    server.arg0("tonic-server").args(["serve", &port.to_string()]);
    let mut server = server
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a server");
    let mut ready = String::new();
    let said = server.stdout.take().expect("its output");
    BufReader::new(said).read_line(&mut ready).await.expect("what it says");
    assert_eq!(ready, "ready\n");
    work(crate::channel(port)).await;
    drop(server.stdin.take());
    server.wait().await.expect("its end");
}

/// Waits until the kernel has put probes into this program, and puts no more: its code is another in memory than in the file.
pub async fn wait_until_watched() {
    let mut before = 0;
    for _ in 0..120 {
        let changed = changed().expect("read this program");
        if changed > 0 && changed == before {
            return;
        }
        before = changed;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("nobody watches this program");
}

/// How many bytes of its code are others in memory than in the file.
fn changed() -> io::Result<usize> {
    let (file, memory) = (File::open("/proc/self/exe")?, File::open("/proc/self/mem")?);
    let name = std::fs::read_link("/proc/self/exe")?.display().to_string();
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let mut count = 0;
    for line in maps
        .lines()
        .filter(|line| line.ends_with(&name) && line.contains("r-xp"))
    {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let number = |text| u64::from_str_radix(text, 16).map_err(io::Error::other);
        let (start, end) = words[0].split_once('-').expect("a range");
        let (start, end) = (number(start)?, number(end)?);
        let mut here = vec![0; usize::try_from(end - start).map_err(io::Error::other)?];
        let mut there = here.clone();
        memory.read_exact_at(&mut here, start)?;
        // The last page goes on behind the end of the file.
        let read = file.read_at(&mut there, number(words[2])?)?;
        count += here
            .iter()
            .zip(&there[..read])
            .filter(|(here, there)| here != there)
            .count();
    }
    Ok(count)
}

fn path(method: &str) -> http::uri::PathAndQuery {
    format!("/clew.test.Calls/{method}").parse().expect("a path")
}

/// A client that may make one call.
async fn ready(channel: &Channel) -> Client<Channel> {
    let mut client = Client::new(channel.clone());
    client.ready().await.expect("a connection");
    client
}

async fn ask(channel: &Channel, method: &str, request: Request<Bytes>) -> Result<Bytes, Status> {
    let mut client = ready(channel).await;
    Ok(client.unary(request, path(method), Raw).await?.into_inner())
}

fn code(answer: Result<Bytes, Status>) -> Code {
    answer.expect_err("the call should have failed").code()
}

async fn count(answers: impl Stream<Item = Result<Bytes, Status>>) -> usize {
    answers.map(|answer| answer.expect("a message")).count().await
}

/// The stream that a method takes; each of `messages` goes out a little later than the one before.
fn asked(messages: usize) -> Request<impl Stream<Item = Bytes>> {
    Request::new(stream::iter(0..messages).then(|_| async {
        tokio::time::sleep(Duration::from_millis(2)).await;
        Bytes::from_static(b"a")
    }))
}

pub async fn every_kind(channel: Channel) {
    let unary = |request: Request<Bytes>| ask(&channel, "Unary", request);
    let said = |text: &'static str| Request::new(Bytes::from_static(text.as_bytes()));
    assert_eq!(unary(said("one")).await.expect("an answer"), "answer to one");
    let mut second = said("two");
    second.metadata_mut().insert("x-request", "2".parse().expect("a value"));
    assert_eq!(unary(second).await.expect("an answer"), "answer to two");
    assert_eq!(code(unary(said("wrong")).await), Code::NotFound);
    assert_eq!(code(unary(said("bug")).await), Code::Unknown);
    let mut limited = said("slow");
    limited.set_timeout(Duration::from_millis(200));
    unary(limited).await.expect_err("it takes too long");
    let given_up = tokio::time::timeout(Duration::from_millis(200), unary(said("slow"))).await;
    given_up.expect_err("it takes too long");

    let mut client = ready(&channel).await;
    let down = client
        .server_streaming(said("5"), path("Down"), Raw)
        .await
        .expect("answers");
    assert_eq!(count(down.into_inner()).await, 5);
    let mut client = ready(&channel).await;
    let up = client
        .client_streaming(asked(4), path("Up"), Raw)
        .await
        .expect("an answer");
    assert_eq!(up.into_inner(), "4");
    let mut client = ready(&channel).await;
    let both = client.streaming(asked(3), path("Both"), Raw).await.expect("answers");
    assert_eq!(count(both.into_inner()).await, 6);

    let large = vec![b'z'; 40_000];
    let answer = unary(Request::new(large.clone().into())).await.expect("an answer");
    assert_eq!(answer, [b"answer to ", &large[..]].concat());
    let missing = ask(&channel, "Missing", said("")).await;
    assert_eq!(code(missing), Code::Unimplemented);
}

pub async fn many(channel: Channel, count: usize) {
    let limit = Arc::new(Semaphore::new(crate::STREAMS as usize));
    let mut calls = JoinSet::new();
    for number in 0..count {
        let permit = limit.clone().acquire_owned().await.expect("a permit");
        let channel = channel.clone();
        calls.spawn(async move {
            let answer = ask(&channel, "Unary", Request::new(number.to_string().into())).await;
            assert_eq!(answer.expect("an answer"), format!("answer to {number}"));
            drop(permit);
        });
    }
    calls.join_all().await;
}
