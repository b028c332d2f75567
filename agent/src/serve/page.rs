//! The page a browser is shown: files that `cargo xtask build` makes of `agent/ui`, part of the program.
use hyper::StatusCode;

use super::answer::{Answer, Body, Problem, response};

/// Each with its path.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// Whether the page was built with this program.
pub const HAS_PAGE: bool = !FILES.is_empty();

const HTML: &str = "text/html; charset=utf-8";

/// Shown where the page was not built.
const NONE: &[u8] = b"<!doctype html><html lang=en><meta charset=utf-8><title>Clew</title><h1>Clew</h1>\
    <p>This clew was built without its page: run <code>cargo xtask build</code>.\
    <p>The traces of this store are answered as JSON by <a href=/api/v1/traces>/api/v1/traces</a> and what \
    <a href=/api/v1/openapi.json>openapi.json</a> describes beside it.\n";

/// Where the page shows something: it reads the path itself.
const VIEWS: [&str; 6] = ["/", "/endpoints", "/errors", "/map", "/runs", "/tests"];

/// The file at a path.
pub(super) fn file(path: &str) -> Answer {
    if VIEWS.contains(&path) || path.starts_with("/trace/") {
        return Ok(response(
            StatusCode::OK,
            HTML,
            Body::of(of("/index.html").unwrap_or(NONE)),
        ));
    }
    match of(path) {
        Some(content) => Ok(response(StatusCode::OK, kind(path), Body::of(content))),
        None => Err(Problem(StatusCode::NOT_FOUND, "there is nothing here".to_owned())),
    }
}

fn of(path: &str) -> Option<&'static [u8]> {
    FILES
        .iter()
        .find(|(name, _)| *name == path)
        .map(|(_, content)| *content)
}

fn kind(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => HTML,
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_the_page_and_files_themselves() {
        let code = |path| {
            file(path)
                .map_or_else(|problem| problem.0, |answer| answer.status())
                .as_u16()
        };
        for path in VIEWS.into_iter().chain(["/trace/00010203040506070000000000000002"]) {
            assert_eq!(code(path), 200, "{path}");
        }
        for path in ["/nothing", "/../Cargo.toml", "/assets/../index.html", "//", "/traces/1"] {
            assert_eq!(code(path), 404, "{path}");
        }
        for (path, _) in FILES {
            assert_eq!(code(path), 200, "{path}");
            assert_ne!(kind(path), "application/octet-stream", "{path}");
        }
    }

    /// The content security policy lets nothing run or be drawn that stands in the page itself.
    #[test]
    fn nothing_is_inline_or_from_elsewhere() {
        let index = String::from_utf8_lossy(of("/index.html").unwrap_or_default());
        for wrong in ["<style", " style=", "onload=", "http://", "https://"] {
            assert!(!index.contains(wrong), "{wrong} in {index}");
        }
        for script in index.split("<script").skip(1) {
            assert!(script.contains(" src=\"/"), "{index}");
        }
    }
}
