//! rustls-server PORT CERTIFICATE KEY: axum and hyper over tokio-rustls on localhost; asks NEXT (PORT/path), if set, over TLS by
//! reqwest with the same number. With PLAIN set it answers without TLS. Each tenth answer is large. With ask before the port it
//! asks that port COUNT times instead, eight requests at once.
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
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Bytes of a large answer: many records, more than a socket takes at once.
const LARGE: usize = 3 << 20;

/// A request's number.
#[derive(serde::Deserialize)]
struct Number {
    id: u64,
}

async fn ask(client: &Client, port: &str, path: &str, number: u64) -> Result<StatusCode, reqwest::Error> {
    let url = format!("https://localhost:{port}/{path}?id={number}");
    let answer = client.get(url).send().await?;
    let status = answer.status();
    answer.bytes().await?;
    Ok(status)
}

async fn answer(State(client): State<Client>, Query(Number { id }): Query<Number>) -> Result<Vec<u8>, StatusCode> {
    tokio::time::sleep(Duration::from_millis(id * 7 % 5)).await;
    if let Ok(next) = std::env::var("NEXT") {
        let (port, path) = next.split_once('/').expect("NEXT is PORT/path");
        let status = ask(&client, port, path, id).await.unwrap_or(StatusCode::BAD_GATEWAY);
        if status != StatusCode::OK {
            return Err(status);
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
                assert_eq!(status, StatusCode::OK);
            }
        });
    }
    askers.join_all().await;
}

#[tokio::main(worker_threads = 4)]
async fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_asker = arguments[0] == "ask";
    if is_asker {
        arguments.remove(0);
    }
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("the first");
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
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .expect("certificates");
    let key = PrivateKeyDer::from_pem_file(&arguments[2]).expect("read the key");
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .expect("a configuration");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let app = Router::new().route("/{path}", get(answer)).with_state(client);
    let port: u16 = arguments[0].parse().expect("a port");
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("listen");
    if std::env::var_os("PLAIN").is_some() {
        axum::serve(listener, app).await.expect("serve");
        return;
    }
    loop {
        let (stream, _) = listener.accept().await.expect("accept");
        let (acceptor, app) = (acceptor.clone(), app.clone());
        tokio::spawn(async move {
            // A client may go at any time.
            if let Ok(stream) = acceptor.accept(stream).await {
                let service = TowerToHyperService::new(app);
                let _gone = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        });
    }
}
