//! What the programs over a TLS library do, whichever it is: PORT CERTIFICATE KEY answers with axum and hyper on localhost; asks NEXT
//! (PORT/path), if set, over TLS by reqwest with the same number. With PLAIN set it answers without TLS. Each tenth answer is large.
//! With ask before the port it asks that port COUNT times instead, eight requests at once.
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use reqwest::Client;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// Bytes of a large answer: many records, more than a socket takes at once.
const LARGE: usize = 3 << 20;

/// A request's number.
#[derive(serde::Deserialize)]
struct Number {
    id: u64,
}

/// What the program's arguments say, with what `accepting` makes of the files of a certificate and its key: a function that gives the
/// encrypted stream on a connection, or nothing where the other end went.
pub async fn run<A, F, S>(accepting: impl FnOnce(&str, &str) -> A)
where
    A: Fn(TcpStream) -> F,
    F: Future<Output = Option<S>> + Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_asker = arguments[0] == "ask";
    if is_asker {
        arguments.remove(0);
    }
    let pem = std::fs::read(&arguments[1]).expect("read the certificate");
    let client = Client::builder()
        .no_proxy()
        .add_root_certificate(reqwest::Certificate::from_pem(&pem).expect("a certificate"))
        .build()
        .expect("a client");
    if is_asker {
        let count = std::env::var("COUNT").expect("COUNT").parse().expect("a number");
        return asks(client, arguments[0].clone(), count).await;
    }
    let accept = accepting(&arguments[1], &arguments[2]);
    let app = Router::new().route("/{path}", get(answer)).with_state(client);
    let port: u16 = arguments[0].parse().expect("a port");
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("listen");
    if std::env::var_os("PLAIN").is_some() {
        axum::serve(listener, app).await.expect("serve");
        return;
    }
    loop {
        let (stream, _) = listener.accept().await.expect("accept");
        let (accepted, app) = (accept(stream), app.clone());
        tokio::spawn(async move {
            if let Some(stream) = accepted.await {
                let service = TowerToHyperService::new(app);
                let _gone = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        });
    }
}

async fn ask(client: &Client, port: &str, path: &str, number: u64) -> Result<u16, reqwest::Error> {
    let url = format!("https://localhost:{port}/{path}?id={number}");
    let answer = client.get(url).send().await?;
    let status = answer.status().as_u16();
    answer.bytes().await?;
    Ok(status)
}

async fn answer(State(client): State<Client>, Query(Number { id }): Query<Number>) -> Result<Vec<u8>, StatusCode> {
    tokio::time::sleep(Duration::from_millis(id * 7 % 5)).await;
    if let Ok(next) = std::env::var("NEXT") {
        let (port, path) = next.split_once('/').expect("NEXT is PORT/path");
        if !ask(&client, port, path, id).await.is_ok_and(|status| status == 200) {
            return Err(StatusCode::BAD_GATEWAY);
        }
    }
    Ok(vec![b'.'; if id % 10 == 0 { LARGE } else { 5 }])
}

async fn asks(client: Client, port: String, count: u64) {
    // Clew looks at the program meanwhile.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let next = Arc::new(AtomicU64::new(1));
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (client, port, next) = (client.clone(), port.clone(), next.clone());
        askers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number > count {
                    return;
                }
                let status = ask(&client, &port, "front", number).await.expect("an answer");
                assert_eq!(status, 200);
            }
        });
    }
    askers.join_all().await;
}
