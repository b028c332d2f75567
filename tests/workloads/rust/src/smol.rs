//! hyper on smol's executor, whose tasks any of four threads may run next.
//!
//! Arguments: the port.
mod common;
mod exchange;

use std::convert::Infallible;

use bytes::Bytes;
use common::{leaf, port, short};
use exchange::{Error, answer, call};
use http_body_util::{Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Response};
use smol::Timer;
use smol::net::{TcpListener, TcpStream};
use smol_hyper::rt::FuturesIo;

async fn connect() -> Result<SendRequest<Empty<Bytes>>, Error> {
    let stream = TcpStream::connect(("127.0.0.1", leaf())).await?;
    let (sender, connection) = hyper::client::conn::http1::handshake(FuturesIo::new(stream)).await?;
    smol::spawn(connection).detach();
    Ok(sender)
}

/// Two calls on one connection, while another is made on a second.
async fn work(query: &str) -> Result<(), Error> {
    let mut sender = connect().await?;
    let other = query.to_owned();
    let spawned = smol::spawn(async move {
        let mut sender = connect().await?;
        call(&mut sender, "spawned", &other).await
    });
    call(&mut sender, "a", query).await?;
    Timer::after(short(2000)).await;
    call(&mut sender, "b", query).await?;
    spawned.await
}

async fn front(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    answer(work(request.uri().query().unwrap_or_default()).await)
}

async fn serve() {
    let listener = TcpListener::bind(("127.0.0.1", port())).await.expect("listen");
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let service = hyper::service::service_fn(front);
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(FuturesIo::new(stream), service);
        // Clients that go away end the task, nothing else.
        smol::spawn(async move { drop(connection.await) }).detach();
    }
}

fn main() {
    smol::block_on(serve());
}
