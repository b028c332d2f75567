//! hyper without a framework or a pool: a server, and a client connection for each request, driven by a task of its own.
//!
//! Arguments: the port. RUNTIME=current runs everything on one thread.
mod common;
mod exchange;
mod runtime;

use std::convert::Infallible;

use bytes::Bytes;
use common::{leaf, short};
use exchange::{Error, answer, call};
use http_body_util::{Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

async fn connect() -> Result<SendRequest<Empty<Bytes>>, Error> {
    let stream = TcpStream::connect(("127.0.0.1", leaf())).await?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
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
    answer(work(request.uri().query().unwrap_or_default()).await)
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
