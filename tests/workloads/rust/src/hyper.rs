//! hyper without a framework or a pool: a server, and a client connection for each request, driven by a task of its own.
//!
//! Arguments: the port. RUNTIME=current runs everything on one thread.
mod common;
mod runtime;

use std::convert::Infallible;

use bytes::Bytes;
use common::{leaf, short};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

type Error = Box<dyn std::error::Error + Send + Sync>;

async fn connect() -> Result<SendRequest<Empty<Bytes>>, Error> {
    let stream = TcpStream::connect(("127.0.0.1", leaf())).await?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn call(sender: &mut SendRequest<Empty<Bytes>>, path: &str, query: &str) -> Result<(), Error> {
    let request = Request::get(format!("/{path}?{query}"))
        .header("host", "leaf")
        .body(Empty::new())?;
    sender.ready().await?;
    sender.send_request(request).await?.into_body().collect().await?;
    Ok(())
}

/// Two calls on one connection, while another is made on a second.
async fn work(query: &str) -> Result<(), Error> {
    let mut sender = connect().await?;
    let other = query.to_owned();
    let spawned = tokio::spawn(async move {
        let mut sender = connect().await?;
        call(&mut sender, "spawned", &other).await
    });
    call(&mut sender, "a", query).await?;
    tokio::time::sleep(short(2000)).await;
    call(&mut sender, "b", query).await?;
    spawned.await?
}

async fn front(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let done = work(request.uri().query().unwrap_or_default()).await;
    let mut answer = Response::new(Full::from("ok\n"));
    if done.is_err() {
        *answer.status_mut() = StatusCode::BAD_GATEWAY;
    }
    Ok(answer)
}

async fn serve(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("listen");
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        tokio::spawn(async move {
            let service = hyper::service::service_fn(front);
            // Clients that go away end the task, nothing else.
            let _gone = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn main() {
    runtime::run(serve);
}
