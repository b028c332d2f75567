//! What a browser is shown: where the API is.
use hyper::StatusCode;

use super::answer::{Answer, Body, Problem, response};

const INDEX: &[u8] = b"<!doctype html><html lang=en><meta charset=utf-8><title>Clew</title><h1>Clew</h1>\
    <p>The traces of this store are answered as JSON by <a href=/api/v1/traces>/api/v1/traces</a> and what \
    <a href=/api/v1/openapi.json>openapi.json</a> describes beside it.\n";

/// The file at a path.
pub(super) fn file(path: &str) -> Answer {
    match path {
        "/" => Ok(response(StatusCode::OK, "text/html; charset=utf-8", Body::of(INDEX))),
        _ => Err(Problem(StatusCode::NOT_FOUND, "there is nothing here".to_owned())),
    }
}
