//! Exceptions in the answers of servers that failed: what frameworks say of them in JSON, in pages and in plain text.
//!
//! Only what was kept of a body is looked into (`--bodies`).
use std::borrow::Cow;

use super::json::{elements, member, string};
use super::{Event, Policy, Span, Status, Value};
use crate::log::{Exception, exception_in};

/// Most bytes of a body that are looked into.
const MAX_BYTES: usize = 256 << 10;
/// Members that hold a stack trace as text.
const TRACES: &[&str] = &[
    "trace",
    "stack",
    "stackTrace",
    "stacktrace",
    "stack_trace",
    "StackTrace",
    "traceback",
    "details",
    "exception",
];
/// Members that hold the class of an exception; the last two hold other things as well.
const KINDS: &[&str] = &[
    "exception",
    "exceptionType",
    "exception_type",
    "exceptionClass",
    "ExceptionType",
    "type",
    "name",
];
/// Members that hold what it says.
const MESSAGES: &[&str] = &[
    "message",
    "exceptionMessage",
    "ExceptionMessage",
    "detail",
    "error_description",
    "msg",
];

/// Tells of the exception in `body`, the beginning of an answer without its content coding.
pub(super) fn describe(span: &mut Span, body: &[u8], policy: &Policy) {
    let body = body.get(..MAX_BYTES).unwrap_or(body);
    let Some(exception) = of_body(body) else { return };
    let [kind, message, trace] =
        [exception.kind, exception.message, exception.trace].map(|text| policy.text(&text).into_owned());
    let mut attributes = vec![("exception.type", Value::Text(kind.as_str().into()))];
    if !message.is_empty() {
        attributes.push(("exception.message", Value::Text(message.as_str().into())));
    }
    if !trace.is_empty() {
        attributes.push(("exception.stacktrace", Value::Text(trace.into())));
    }
    span.events.push(Event {
        name: "exception",
        time_ns: span.end_ns,
        attributes,
    });
    if let Status::Error(why) = &mut span.status
        && why.is_empty()
    {
        *why = if message.is_empty() {
            kind
        } else {
            format!("{kind}: {message}")
        };
    }
}

fn of_body(body: &[u8]) -> Option<Exception> {
    let text = String::from_utf8_lossy(body);
    match text.trim_start().bytes().next()? {
        b'{' => of_json(body.trim_ascii_start()),
        b'<' => {
            let text = without_markup(&text);
            exception_in(&text).or_else(|| framed(&text))
        }
        _ => exception_in(&text),
    }
}

/// A class, and frames below it that have no word before them, as Tomcat writes them.
fn framed(page: &str) -> Option<Exception> {
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let (kind, message) = line.split_once(": ").unwrap_or((line, ""));
        let is_frame = |next: &&str| next.starts_with('\t') && next.ends_with(')');
        if is_class(kind) && lines.peek().is_some_and(is_frame) {
            let frames: Vec<&str> = lines.take_while(|next| is_frame(next)).collect();
            return Some(Exception {
                kind: kind.to_owned(),
                message: message.to_owned(),
                trace: format!("{line}\n{}", frames.join("\n")),
            });
        }
    }
    None
}

/// The object itself, or what it says of an error: in a member, or in the first element of one.
fn of_json(body: &[u8]) -> Option<Exception> {
    let inner = ["error", "exception", "errors"].into_iter();
    let inner = inner.filter_map(|name| {
        let value = member(body, name)?;
        Some(elements(value).next().unwrap_or(value))
    });
    inner.chain([body]).find_map(of_object)
}

fn of_object(object: &[u8]) -> Option<Exception> {
    let text = |names: &[&str]| -> Option<Cow<'_, str>> { names.iter().find_map(|name| string(member(object, name)?)) };
    let traces = TRACES.iter().filter_map(|name| string(member(object, name)?));
    let traced = traces.into_iter().find_map(|trace| exception_in(&trace));
    if traced.is_some() {
        return traced;
    }
    let kind = KINDS
        .iter()
        .find_map(|name| string(member(object, name)?).filter(|kind| is_class(kind)))?;
    Some(Exception {
        kind: kind.into_owned(),
        message: text(MESSAGES).unwrap_or_default().into_owned(),
        trace: String::new(),
    })
}

/// A class of exceptions, by its name.
fn is_class(kind: &str) -> bool {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '$' | '\\' | ':');
    let last = kind.rsplit(['.', '$', '\\', ':']).next().unwrap_or(kind);
    kind.chars().all(is_name) && (last.ends_with("Exception") || last.ends_with("Error"))
}

/// The text of a page: breaks are line feeds, tags are gone, what a comment holds stays.
fn without_markup(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    let mut rest = page;
    while let Some(at) = rest.find(['<', '&']) {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        rest = if let Some(comment) = from.strip_prefix("<!--") {
            text.push('\n');
            comment
        } else if from.starts_with('<') {
            let end = from.find('>').map_or(from.len(), |end| end.saturating_add(1));
            let (tag, behind) = from.split_at(end);
            let name = tag.trim_start_matches(['<', '/']).to_ascii_lowercase();
            if ["br", "p", "pre", "div", "li", "h1", "h2", "h3", "tr", "title"]
                .iter()
                .any(|block| {
                    name.strip_prefix(block)
                        .is_some_and(|rest| rest.starts_with(['>', ' ', '/']))
                })
            {
                text.push('\n');
            }
            behind
        } else {
            let known = ENTITIES
                .iter()
                .find_map(|(entity, letter)| Some((from.strip_prefix(entity)?, letter)));
            let (behind, letter) = known.unwrap_or_else(|| (from.get(1..).unwrap_or_default(), &"&"));
            text.push_str(letter);
            behind
        };
    }
    text.push_str(rest);
    text.replace("-->", "\n")
}

/// What stands for letters in pages.
const ENTITIES: &[(&str, &str)] = &[
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&amp;", "&"),
    ("&quot;", "\""),
    ("&#34;", "\""),
    ("&#39;", "'"),
    ("&#x27;", "'"),
    ("&nbsp;", " "),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Class, message and the last line of the trace.
    #[track_caller]
    fn check(body: &str, want: Option<(&str, &str, &str)>) {
        let got = of_body(body.as_bytes());
        let got = got.as_ref().map(|found| {
            let last = found.trace.trim_end().lines().last().unwrap_or_default().trim();
            (found.kind.as_str(), found.message.as_str(), last)
        });
        assert_eq!(got, want, "{body}");
    }

    #[test]
    fn what_frameworks_answer_in_json() {
        // Spring Boot, with server.error.include-exception and -stacktrace, and without the latter.
        check(
            r#"{"status":500,"error":"Internal Server Error","exception":"java.lang.IllegalStateException","trace":"java.lang.IllegalStateException: no stock\r\n\tat shop.Cart.add(Cart.java:7)\r\n","message":"no stock","path":"/cart"}"#,
            Some((
                "java.lang.IllegalStateException",
                "no stock",
                "at shop.Cart.add(Cart.java:7)",
            )),
        );
        check(
            r#"{"status":500,"error":"Internal Server Error","exception":"java.lang.IllegalStateException","message":"no stock"}"#,
            Some(("java.lang.IllegalStateException", "no stock", "")),
        );
        // Laravel.
        check(
            r#"{"message":"no stock","exception":"App\\Exceptions\\StockException","file":"/app/Cart.php","line":7,"trace":[{"file":"/app/Cart.php"}]}"#,
            Some(("App\\Exceptions\\StockException", "no stock", "")),
        );
        // A handler of Express's.
        check(
            r#"{"error":{"name":"TypeError","message":"x is not a function","stack":"TypeError: x is not a function\n    at cart (/app/cart.js:7:3)"}}"#,
            Some(("TypeError", "x is not a function", "at cart (/app/cart.js:7:3)")),
        );
        // ASP.NET Core.
        check(
            r#"{"title":"System.InvalidOperationException","status":500,"detail":"no stock","exception":{"details":"System.InvalidOperationException: no stock\n   at Shop.Cart.Add() in /src/Cart.cs:line 7"}}"#,
            Some((
                "System.InvalidOperationException",
                "no stock",
                "at Shop.Cart.Add() in /src/Cart.cs:line 7",
            )),
        );
        // GraphQL's servers, and a body that was cut off.
        check(
            r#"{"errors":[{"message":"no stock","name":"StockError","path":["cart"]}]}"#,
            Some(("StockError", "no stock", "")),
        );
        check(
            r#"{"exception":"RuntimeError","message":"no stock","frames":[{"fi"#,
            Some(("RuntimeError", "no stock", "")),
        );
    }

    #[test]
    fn what_frameworks_answer_in_pages_and_texts() {
        // Express.
        check(
            "<!DOCTYPE html>\n<html><head><title>Error</title></head><body><pre>Error: no &quot;stock&quot;<br> &nbsp; &nbsp;at cart (/app/cart.js:7:3)<br> &nbsp; &nbsp;at next (/app/router.js:2:1)</pre></body></html>",
            Some(("Error", "no \"stock\"", "at next (/app/router.js:2:1)")),
        );
        // Werkzeug's debugger.
        check(
            "<!doctype html><html><body><h1>ValueError</h1></body></html>\n<!--\n\nTraceback (most recent call last):\n  File \"/app/cart.py\", line 7, in add\n    raise ValueError(\"no stock\")\nValueError: no stock\n\n\n-->\n",
            Some(("ValueError", "no stock", "ValueError: no stock")),
        );
        // Starlette with debug=True.
        check(
            "Traceback (most recent call last):\n  File \"/app/cart.py\", line 7, in add\nKeyError: 'stock'\n",
            Some(("KeyError", "'stock'", "KeyError: 'stock'")),
        );
        // Tomcat.
        check(
            "<html><body><h1>HTTP Status 500</h1><p><b>Exception</b></p><pre>java.lang.IllegalStateException: no stock\n\tshop.Cart.add(Cart.java:7)\n\tshop.Cart.go(Cart.java:9)\n</pre></body></html>",
            Some((
                "java.lang.IllegalStateException",
                "no stock",
                "shop.Cart.go(Cart.java:9)",
            )),
        );
        // Puma, without an environment that hides it.
        check(
            "Puma caught this error: no stock (RuntimeError)\n/app/config.ru:3:in `add'\n/app/config.ru:9:in `block in <main>'\n",
            Some(("RuntimeError", "no stock", "/app/config.ru:9:in `block in <main>'")),
        );
        // PHP with display_errors.
        check(
            "<br />\n<b>Fatal error</b>:  Uncaught App\\StockException: no stock in /app/cart.php:6\nStack trace:\n#0 {main}\n  thrown in <b>/app/cart.php</b> on line <b>6</b><br />\n",
            Some(("App\\StockException", "no stock", "thrown in /app/cart.php on line 6")),
        );
    }

    #[test]
    fn what_is_no_exception() {
        for body in [
            "",
            "Internal Server Error",
            "<html><body>at work</body></html>",
            "{}",
            r#"{"error":"no stock","type":"about:blank","name":"cart"}"#,
            r#"{"error":{"type":"overloaded","message":"later"}}"#,
            "<!--",
            "&",
            "<",
            "{\"error\":[",
        ] {
            check(body, None);
        }
    }
}
