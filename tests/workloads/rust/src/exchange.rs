//! What a server on hyper does over HTTP, on whatever runtime.
use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Response, StatusCode};

pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Asks the leaf for a path.
pub async fn call(sender: &mut SendRequest<Empty<Bytes>>, path: &str, query: &str) -> Result<(), Error> {
    let request = Request::get(format!("/{path}?{query}"))
        .header("host", "leaf")
        .body(Empty::new())?;
    sender.ready().await?;
    sender.send_request(request).await?.into_body().collect().await?;
    Ok(())
}

/// The answer to a request whose calls went so.
pub fn answer(done: Result<(), Error>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut answer = Response::new(Full::from("ok\n"));
    if done.is_err() {
        *answer.status_mut() = StatusCode::BAD_GATEWAY;
    }
    Ok(answer)
}
