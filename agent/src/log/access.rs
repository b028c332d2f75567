//! Lines of the common log format, which most HTTP servers write for each request.
//!
//! ```text
//! 127.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET /a?b HTTP/1.0" 200 2326 "referer" "user agent"
//! ```
//! Source: Apache HTTP Server, "Log Files". Servers of Python put other things before the quoted line, and the status behind it.
use smol_str::SmolStr;

use super::{Said, Severity};
use crate::span::Value;

const METHODS: &[&str] = &[
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

/// What a line says, if it tells of a request that was answered.
pub(super) fn parse(text: &str) -> Option<Said> {
    if text.contains('\n') {
        return None;
    }
    let (before, method, target, rest) = request_line(text)?;
    let status = rest.trim_start().split(' ').next()?;
    let code: i64 = status
        .parse()
        .ok()
        .filter(|code| (100..600).contains(code) && status.len() == 3)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut attributes = vec![
        (SmolStr::new_static("http.request.method"), Value::Text(method.into())),
        (SmolStr::new_static("url.path"), Value::Text(path.into())),
        (SmolStr::new_static("http.response.status_code"), Value::Int(code)),
    ];
    if !query.is_empty() {
        attributes.push((SmolStr::new_static("url.query"), Value::Text(query.into())));
    }
    if let Some(client) = before
        .split(' ')
        .next()
        .filter(|client| client.parse::<std::net::IpAddr>().is_ok())
    {
        attributes.push((SmolStr::new_static("client.address"), Value::Text(client.into())));
    }
    let (severity, word) = super::severity::near_beginning(before);
    Some(Said {
        severity: match severity {
            Severity::UNSPECIFIED if code >= 500 => Severity::ERROR,
            Severity::UNSPECIFIED => Severity::INFO,
            said => said,
        },
        severity_text: word.into(),
        attributes,
        ..Said::default()
    })
}

/// The request line in quotes: what stands before it, method, target, and what stands behind it.
pub(crate) fn request_line(text: &str) -> Option<(&str, &str, &str, &str)> {
    let mut from = 0_usize;
    loop {
        let (_, rest) = text.split_at_checked(from)?;
        let quote = from.checked_add(rest.find('"')?)?;
        let (before, inside) = text.split_at_checked(quote)?;
        let inside = inside.get(1..)?;
        // Not up to the next space, which may be far behind each of very many quotes.
        let method = METHODS.iter().find(|method| inside.starts_with(**method));
        if let Some((method, rest)) = method.and_then(|method| inside.split_at_checked(method.len()))
            && let Some(rest) = rest.strip_prefix(' ')
            && let Some((line, behind)) = rest.split_once('"')
            && let Some((target, version)) = line.rsplit_once(' ')
            && version.starts_with("HTTP/")
        {
            return Some((before, method, target, behind));
        }
        from = quote.checked_add(1)?;
    }
}
