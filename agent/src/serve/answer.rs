//! Answers, and what went wrong, as JSON.
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::{Response, StatusCode, header};
use serde::Serialize;
use serde_json::json;

use super::connections::Answering;
use super::guard::{HEADERS, Refused};
use crate::store::{QueryError, StoreError};

/// What became of a request.
pub(super) type Answer = Result<Response<Body>, Problem>;

/// Why there is no answer: a code, and a line for who asked.
#[derive(Debug)]
pub(super) struct Problem(pub(super) StatusCode, pub(super) String);

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        Self(refused.0, refused.1.to_owned())
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        Self(StatusCode::BAD_REQUEST, error.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::Absent(_) => StatusCode::NOT_FOUND,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(code, format!("{:#}", anyhow::Error::from(error)))
    }
}

impl Problem {
    pub(super) fn response(&self) -> Response<Body> {
        let text = json!({"error": self.1}).to_string();
        response(self.0, "application/json", Body::Whole(Some(text.into())))
    }
}

/// A value as JSON.
pub(super) fn json(value: &impl Serialize) -> Answer {
    let text = serde_json::to_vec(value).map_err(|_| StoreError::Malformed)?;
    Ok(response(
        StatusCode::OK,
        "application/json",
        Body::Whole(Some(text.into())),
    ))
}

/// A response with what every response has.
pub(super) fn response(code: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    for (name, value) in HEADERS {
        headers.insert(name, value);
    }
    response
}

/// What an answer holds.
pub(super) enum Body {
    /// All of it.
    Whole(Option<Bytes>),
    /// Pieces as they come, as long as the connection is answered.
    Stream(tokio::sync::mpsc::Receiver<Bytes>, Option<Answering>),
}

impl Body {
    /// What is part of the program.
    pub(super) const fn of(content: &'static [u8]) -> Self {
        Self::Whole(Some(Bytes::from_static(content)))
    }

    /// A body whose end is the answer's takes this along.
    pub(super) fn hold(&mut self, answering: Answering) {
        if let Self::Stream(_, held) = self {
            *held = Some(answering);
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take()),
            Self::Stream(pieces, _) => pieces.poll_recv(context),
        };
        bytes.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Stream(..) => SizeHint::default(),
        }
    }
}
