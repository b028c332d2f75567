//! hyper on one thread in a LocalSet: every connection is served by a local task, and a request makes calls itself, in a local
//! task, and in a set of local tasks. Every call goes to the leaf (NEXT: PORT/path) and repeats the request's number.
//!
//! Arguments: the port.
mod common;
mod runtime;

use std::convert::Infallible;

use bytes::Bytes;
use common::{leaf, short};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use reqwest::Client;
use tokio::net::TcpListener;
use tokio::task::{JoinSet, LocalSet, spawn_local};

async fn call(client: Client, path: &'static str, query: String) -> bool {
    tokio::time::sleep(short(2000)).await;
    let answer = client
        .get(format!("http://127.0.0.1:{}/{path}?{query}", leaf()))
        .send()
        .await;
    match answer {
        Ok(answer) => answer.status().is_success() && answer.bytes().await.is_ok(),
        Err(_) => false,
    }
}

async fn work(client: Client, query: &str) -> bool {
    let local = spawn_local(call(client.clone(), "local", query.to_owned()));
    let mut set = JoinSet::new();
    for path in ["set1", "set2"] {
        set.spawn_local(call(client.clone(), path, query.to_owned()));
    }
    let own = call(client.clone(), "a", query.to_owned()).await;
    let in_set = set.join_all().await.into_iter().all(|done| done);
    let local = local.await.unwrap_or(false);
    own && in_set && local && call(client, "last", query.to_owned()).await
}

async fn front(client: Client, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut answer = Response::new(Full::from("ok\n"));
    if !work(client, request.uri().query().unwrap_or_default()).await {
        *answer.status_mut() = StatusCode::BAD_GATEWAY;
    }
    Ok(answer)
}

async fn serve(port: u16) {
    let client = Client::new();
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("listen");
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let client = client.clone();
        spawn_local(async move {
            let service = hyper::service::service_fn(|request| front(client.clone(), request));
            // Clients that go away end the task, nothing else.
            let _gone = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn main() {
    runtime::run(|port| async move { LocalSet::new().run_until(serve(port)).await });
}
