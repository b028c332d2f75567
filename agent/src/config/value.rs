//! Values as people write them. An error says what would be good.
use std::net::SocketAddr;
use std::time::Duration;

use crate::span::Policy;

/// A number of bytes: `4096`, `64KiB`, `1 MB`. At most `most`.
pub(super) fn bytes(text: &str, most: u32) -> Result<u32, String> {
    let bytes = bytes_long(text).and_then(|bytes| u32::try_from(bytes).ok());
    bytes
        .filter(|bytes| *bytes <= most)
        .ok_or_else(|| format!("a number of bytes such as 4096 or 64KiB is wanted, at most {most}"))
}

/// A number of bytes of any size.
pub(super) fn bytes_long(text: &str) -> Option<u64> {
    const UNITS: &[(&str, u64)] = &[
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("tib", 1 << 40),
        ("kb", 1_000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("tb", 1_000_000_000_000),
        ("k", 1 << 10),
        ("m", 1 << 20),
        ("g", 1 << 30),
        ("t", 1 << 40),
        ("b", 1),
        ("", 1),
    ];
    let (number, unit) = split(text);
    let unit = unit.to_ascii_lowercase();
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// A time: `10s`, `500ms`, `2m`, `1h`, `7d`, or seconds without a unit. Never zero.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "a time such as 10s, 500ms, 2m, 1h or 7d is wanted".to_owned();
    let (number, unit) = split(text);
    let ms: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    match number.checked_mul(ms) {
        Some(ms) if ms > 0 => Ok(Duration::from_millis(ms)),
        _ => Err(wrong()),
    }
}

/// Digits, and the unit behind them.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

/// An address to listen on.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "an address with its port such as 127.0.0.1:9911 or [::]:9911 is wanted".to_owned())
}

/// Yes or no.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("true or false is wanted".to_owned()),
    }
}

/// A collector's address.
pub(super) fn endpoint(text: &str) -> Result<String, String> {
    let wrong = || {
        "an address such as grpc://localhost:4317 or http://localhost:4318 is wanted (grpc, grpcs, http or https)"
            .to_owned()
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let blank = text.chars().any(|char| char.is_whitespace() || char.is_control());
    let known = matches!(scheme, "grpc" | "grpcs" | "http" | "https");
    if !known || blank || host.is_empty() || host.starts_with(':') {
        return Err(wrong());
    }
    // An IPv6 address stands in brackets; what follows the last colon behind them is a port.
    let port = host.rsplit(']').next().and_then(|rest| rest.rsplit_once(':'));
    if port.is_some_and(|(_, port)| port.parse::<u16>().is_err()) {
        return Err(wrong());
    }
    Ok(text.to_owned())
}

/// The name of a message header (RFC 9110, section 5.1), in lower case.
pub(super) fn header(text: &str) -> Result<String, String> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || !text.bytes().all(token) {
        return Err("the name of a message header such as x-request-id is wanted".to_owned());
    }
    Ok(text.to_ascii_lowercase())
}

/// A rule of what to hide.
pub(super) fn redaction(text: &str) -> Result<String, String> {
    match Policy::default().redact(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Where the name of a request's user stands.
pub(super) fn user(text: &str) -> Result<String, String> {
    if Policy::default().name_user(text) {
        Ok(text.to_owned())
    } else {
        Err("header:NAME or claim:NAME is wanted, and no header that holds a secret".to_owned())
    }
}

/// Text that says something.
pub(super) fn text(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, want) in [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("64KiB", Some(65_536)),
            ("64 kib", Some(65_536)),
            ("64K", Some(65_536)),
            ("64kB", Some(64_000)),
            ("1MiB", Some(1 << 20)),
            ("1MiB1", None),
            ("2MiB", None),
            ("many", None),
            ("", None),
            ("-1", None),
            ("1.5KiB", None),
            ("99999999999999999999GiB", None),
            ("18446744073709551615GiB", None),
        ] {
            assert_eq!(bytes(text, 1 << 20).ok(), want, "{text}");
        }
    }

    #[test]
    fn times() {
        for (text, want) in [
            ("10s", Some(10_000)),
            ("10", Some(10_000)),
            ("500ms", Some(500)),
            ("2m", Some(120_000)),
            ("1h", Some(3_600_000)),
            ("7d", Some(604_800_000)),
            ("0", None),
            ("soon", None),
            ("18446744073709551615h", None),
        ] {
            assert_eq!(duration(text).ok(), want.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn endpoints() {
        for (text, want) in [
            ("grpc://localhost:4317", true),
            ("http://[::1]:4318/v1/traces", true),
            ("https://user:secret@collector.example", true),
            ("http://[::1]", true),
            ("ftp://collector", false),
            ("localhost:4317", false),
            ("http://", false),
            ("http://:80", false),
            ("http://a b", false),
            ("http://collector:port", false),
            ("http://collector:70000", false),
        ] {
            assert_eq!(endpoint(text).is_ok(), want, "{text}");
        }
    }

    #[test]
    fn the_rest() {
        assert_eq!(header("X-Request-ID").as_deref(), Ok("x-request-id"));
        assert!(header("a b").is_err() && header("").is_err());
        assert!(redaction("header:x").is_ok() && redaction("body:all").is_ok());
        assert!(user("claim:sub").is_ok() && user("header:cookie").is_err());
        assert!(redaction("everything").is_err() && redaction("header:").is_err() && redaction("cookie:a").is_err());
        assert_eq!((switch("on"), switch("0")), (Ok(true), Ok(false)));
        assert!(switch("maybe").is_err() && text(" ").is_err());
    }
}
