//! openssl-server PORT CERTIFICATE KEY: axum and hyper over tokio-openssl on localhost; asks NEXT (PORT/path), if set, over TLS by
//! reqwest on native-tls with the same number. With PLAIN set it answers without TLS.
use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use openssl::ssl::{Ssl, SslAcceptor, SslFiletype, SslMethod};
use reqwest::Client;
use tokio::net::TcpListener;
use tokio_openssl::SslStream;

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

async fn answer(State(client): State<Client>, Query(Number { id }): Query<Number>) -> Result<String, StatusCode> {
    tokio::time::sleep(Duration::from_millis(id * 7 % 5)).await;
    if let Ok(next) = std::env::var("NEXT") {
        let (port, path) = next.split_once('/').expect("NEXT is PORT/path");
        let status = ask(&client, port, path, id).await.unwrap_or(StatusCode::BAD_GATEWAY);
        if status != StatusCode::OK {
            return Err(status);
        }
    }
    Ok(format!("openssl {id}\n"))
}

#[tokio::main(worker_threads = 4)]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let pem = std::fs::read(&arguments[1]).expect("read the certificate");
    let client = Client::builder()
        .no_proxy()
        .add_root_certificate(reqwest::Certificate::from_pem(&pem).expect("a certificate"))
        .build()
        .expect("a client");
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).expect("a server");
    builder
        .set_certificate_chain_file(&arguments[1])
        .expect("the certificate");
    builder
        .set_private_key_file(&arguments[2], SslFiletype::PEM)
        .expect("the key");
    let acceptor = builder.build();
    let app = Router::new().route("/{path}", get(answer)).with_state(client);
    let port: u16 = arguments[0].parse().expect("a port");
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("listen");
    if std::env::var_os("PLAIN").is_some() {
        axum::serve(listener, app).await.expect("serve");
        return;
    }
    loop {
        let (stream, _) = listener.accept().await.expect("accept");
        let session = Ssl::new(acceptor.context()).expect("a session");
        let app = app.clone();
        tokio::spawn(async move {
            let mut stream = SslStream::new(session, stream).expect("a stream");
            // A client may go at any time.
            if Pin::new(&mut stream).accept().await.is_ok() {
                let service = TowerToHyperService::new(app);
                let _gone = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        });
    }
}
