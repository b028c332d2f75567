//! A chain of services: one that is asked over HTTP/1.1, one that asks for each call several others, and the last.
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::{StreamExt as _, stream};
use tokio::net::TcpListener;
use tonic::client::Grpc as Client;
use tonic::server::Grpc as Service;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};
use tower::service_fn;

use crate::raw::Raw;

/// A request's number.
#[derive(Clone, Copy, serde::Deserialize)]
struct Number {
    id: u64,
}

async fn pause(number: u64, salt: u64) {
    tokio::time::sleep(Duration::from_millis((number * 7 + salt * 3) % 5)).await;
}

/// A method's path: who is asked learns the number from it.
fn path(method: &str, number: u64) -> http::uri::PathAndQuery {
    format!("/calls/{method}?id={number}").parse().expect("a path")
}

/// Who is asked.
#[derive(Clone)]
pub enum Next {
    Grpc(Channel),
    /// On this port.
    Http(reqwest::Client, u16),
}

impl Next {
    /// A service that speaks HTTP/1.1.
    pub fn http(port: u16) -> Self {
        Self::Http(reqwest::Client::builder().no_proxy().build().expect("a client"), port)
    }

    /// One that speaks HTTP/2 without TLS.
    pub fn http2(port: u16) -> Self {
        let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge();
        Self::Http(client.build().expect("a client"), port)
    }
}

async fn call(next: Next, method: &'static str, number: u64) -> Result<(), Status> {
    let next = match next {
        Next::Grpc(next) => next,
        Next::Http(client, port) => {
            let url = format!("http://127.0.0.1:{port}/{method}?id={number}");
            let answer = async { client.get(url).send().await?.error_for_status()?.bytes().await };
            return answer
                .await
                .map(|_| ())
                .map_err(|error| Status::unavailable(error.to_string()));
        }
    };
    let mut client = Client::new(next);
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let message = Bytes::from_static(method.as_bytes());
    client
        .unary::<_, Bytes, _>(Request::new(message), path(method, number), Raw)
        .await?;
    Ok(())
}

/// Sends three messages while it receives the answers.
async fn stream(next: Channel, number: u64) -> Result<(), Status> {
    let mut client = Client::new(next);
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let messages = stream::iter(0..3).then(move |at| async move {
        pause(number, at).await;
        Bytes::from_static(b"message")
    });
    let answers = client
        .streaming(Request::new(messages), path("stream", number), Raw)
        .await?;
    let mut answers: Streaming<Bytes> = answers.into_inner();
    while answers.message().await?.is_some() {}
    Ok(())
}

/// Makes calls side by side: the first two in this task, the others in tasks of their own.
async fn together(next: &Next, number: u64, methods: &[&'static str]) -> Result<(), Status> {
    let asked = methods.iter().zip(0..).map(|(method, at)| {
        let (next, method) = (next.clone(), *method);
        async move {
            pause(number, at).await;
            call(next, method, number).await
        }
    });
    let mut asked: Vec<_> = asked.collect();
    let spawned = asked
        .split_off(asked.len().min(2))
        .into_iter()
        .map(tokio::spawn)
        .collect::<Vec<_>>();
    try_join_all(asked).await?;
    for task in spawned {
        task.await.map_err(|error| Status::internal(error.to_string()))??;
    }
    Ok(())
}

async fn middle(next: Next, number: u64) -> Result<(), Status> {
    pause(number, 1).await;
    call(next.clone(), "a", number).await?;
    together(&next, number, &["b", "c", "d"]).await?;
    let wait = Duration::from_millis(number % 3) + Duration::from_micros(200);
    let _given_up = tokio::time::timeout(wait, call(next.clone(), "cancelled", number)).await;
    if let Next::Grpc(next) = &next {
        stream(next.clone(), number).await?;
    }
    let later = next.clone();
    tokio::spawn(async move {
        pause(number, 4).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        call(later, "later", number).await
    });
    call(next, "last", number).await
}

/// Answers each message of a call, and calls on behind the last one.
async fn handle(
    next: Option<Next>,
    other: bool,
    number: u64,
    request: Request<Streaming<Bytes>>,
) -> Result<Vec<Bytes>, Status> {
    let mut requests = request.into_inner();
    let mut answers = Vec::new();
    while let Some(message) = requests.message().await? {
        answers.push(message);
    }
    pause(number, answers.len() as u64).await;
    if let Some(next) = next.filter(|_| !other) {
        middle(next, number).await?;
    }
    Ok(answers)
}

async fn answer(
    State(next): State<Option<Next>>,
    Query(Number { id }): Query<Number>,
    asked: http::Request<Body>,
) -> http::Response<tonic::body::Body> {
    let other = asked.uri().path() == "/calls/other";
    let service = service_fn(move |request| {
        let next = next.clone();
        async move {
            let answers = handle(next, other, id, request).await?;
            Ok::<_, Status>(Response::new(stream::iter(answers.into_iter().map(Ok))))
        }
    });
    Service::new(Raw).streaming(service, asked).await
}

pub async fn serve(port: u16, next: Option<Next>) {
    let router = Router::new().fallback(answer).with_state(next);
    let address = ([127, 0, 0, 1], port).into();
    crate::server()
        .add_routes(Routes::from(router))
        .serve(address)
        .await
        .expect("serve");
}

/// Answers, and calls on behind what is asked in the middle.
async fn respond(
    State(next): State<Option<Next>>,
    Query(Number { id }): Query<Number>,
    asked: http::Uri,
) -> Result<&'static str, StatusCode> {
    pause(id, 0).await;
    if let Some(next) = next.filter(|_| asked.path() == "/middle") {
        middle(next, id).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    }
    Ok("ok\n")
}

/// Serves HTTP/1.1 and HTTP/2, without TLS.
pub async fn serve_http(port: u16, next: Option<Next>) {
    let app = Router::new().fallback(respond).with_state(next);
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("listen");
    axum::serve(listener, app).await.expect("serve");
}

pub async fn front(port: u16, next: Next) {
    let front = async |State(next): State<Next>, Query(Number { id }): Query<Number>| {
        let asked = together(&next, id, &["middle", "other"]).await;
        asked.map(|()| "ok\n").map_err(|_| StatusCode::BAD_GATEWAY)
    };
    let app = Router::new().route("/front", get(front)).with_state(next);
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("listen");
    axum::serve(listener, app).await.expect("serve");
}

async fn free_port() -> u16 {
    let free = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    free.local_addr().expect("its address").port()
}

async fn until_served(port: u16) {
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Is all services of a chain in this process, of which the first two speak gRPC and the last does if it is told to, and makes `count`
/// calls, 16 at once.
pub async fn within(count: u64, all: bool) {
    let (port, leaf) = (free_port().await, free_port().await);
    let last = if all {
        tokio::spawn(serve(leaf, None));
        Next::Grpc(crate::channel(leaf))
    } else {
        tokio::spawn(serve_http(leaf, None));
        Next::http(leaf)
    };
    tokio::spawn(serve(port, Some(last)));
    until_served(leaf).await;
    until_served(port).await;
    crate::calls::wait_until_watched().await;
    let next = Next::Grpc(crate::channel(port));
    stream::iter(1..=count)
        .for_each_concurrent(16, |number| {
            let next = next.clone();
            async move { call(next, "middle", number).await.expect("an answer") }
        })
        .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
}
