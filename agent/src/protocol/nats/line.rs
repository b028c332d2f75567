//! Lines of the protocol, and what follows them.
//!
//! ```text
//! client: CONNECT {...} | PUB subject [reply] size | HPUB subject [reply] header-size size | SUB subject [queue] sid | UNSUB sid [max]
//! server: INFO {...} | MSG subject sid [reply] size | HMSG subject sid [reply] header-size size | +OK | -ERR 'text'
//! either: PING | PONG
//! ```
use std::borrow::Cow;

use serde::Deserialize;
use smol_str::SmolStr;

use crate::protocol::http1::Fields;

/// Longest line but for `INFO` and `CONNECT`. The server takes 4096 bytes unless set otherwise.
pub(super) const MAX_LINE: usize = 8 * 1024;
/// Largest message with its headers. The server takes 1 MiB unless set otherwise, and no more than this.
const MAX_SIZE: u64 = 64 << 20;
/// More words than any line has behind its first.
const MAX_WORDS: usize = 6;

/// Who says a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Client,
    Server,
    Either,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// `PUB`, `HPUB`, `MSG` and `HMSG`.
    Message(Message),
    Subscribe {
        sid: SmolStr,
        queue: SmolStr,
    },
    Unsubscribe {
        sid: SmolStr,
    },
    /// The server tells of itself: the name of its cluster, or its own.
    Info(Option<SmolStr>),
    Other,
}

/// The line before a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) subject: SmolStr,
    pub(super) reply: SmolStr,
    /// The subscription it is handed to.
    pub(super) sid: SmolStr,
    /// Bytes of headers, and of all without the line end.
    pub(super) headers: u64,
    pub(super) size: u64,
}

/// What a server says of itself, as far as it is of interest.
#[derive(Deserialize)]
struct Info<'a> {
    #[serde(borrow)]
    cluster: Option<Cow<'a, str>>,
    #[serde(borrow)]
    server_id: Option<Cow<'a, str>>,
}

/// What a server is called that tells this of itself.
fn name(json: &[u8]) -> Option<SmolStr> {
    let info: Info<'_> = serde_json::from_slice(json).ok()?;
    info.cluster.or(info.server_id).map(SmolStr::from)
}

/// What a line without its end says, and who says it; none if it is none.
pub(super) fn parse(line: &[u8]) -> Option<(Origin, Line)> {
    use Origin::{Client, Either, Server};
    if let Some(json) = line.strip_prefix(b"INFO ").filter(|json| json.starts_with(b"{")) {
        return Some((Server, Line::Info(name(json))));
    }
    if line.starts_with(b"CONNECT {") {
        return Some((Client, Line::Other));
    }
    if line == b"+OK" || line.starts_with(b"-ERR ") {
        return Some((Server, Line::Other));
    }
    if line.len() > MAX_LINE {
        return None;
    }
    let words = line.split(|byte| matches!(byte, b' ' | b'\t'));
    let mut words = words.filter(|word| !word.is_empty());
    let verb = words.next()?;
    let (mut space, mut count) = ([""; MAX_WORDS], 0_usize);
    for (space, word) in space.iter_mut().zip(words) {
        *space = std::str::from_utf8(word).ok()?;
        count = count.saturating_add(1);
    }
    let words = space.get(..count)?;
    let text = |word: &&str| SmolStr::new(*word);
    let is = |name: &str| verb.eq_ignore_ascii_case(name.as_bytes());
    let size = |word: &str| {
        let short = word.len() <= 10 && word.bytes().all(|byte| byte.is_ascii_digit());
        word.parse::<u64>().ok().filter(|size| short && *size <= MAX_SIZE)
    };
    let headed = is("HPUB") || is("HMSG");
    let (origin, names, sizes) = match () {
        () if is("PUB") => (
            Client,
            words.split_last_chunk::<1>()?.0,
            words.split_last_chunk::<1>()?.1.as_slice(),
        ),
        () if is("HPUB") => (
            Client,
            words.split_last_chunk::<2>()?.0,
            words.split_last_chunk::<2>()?.1.as_slice(),
        ),
        () if is("MSG") => (
            Server,
            words.split_last_chunk::<1>()?.0,
            words.split_last_chunk::<1>()?.1.as_slice(),
        ),
        () if is("HMSG") => (
            Server,
            words.split_last_chunk::<2>()?.0,
            words.split_last_chunk::<2>()?.1.as_slice(),
        ),
        () if is("SUB") => {
            let (sid, names) = words.split_last()?;
            let queue = match names {
                [_] => SmolStr::default(),
                [_, queue] => text(queue),
                _ => return None,
            };
            return Some((Client, Line::Subscribe { sid: text(sid), queue }));
        }
        () if is("UNSUB") => {
            let sid = words.first().map(text)?;
            return (words.len() <= 2).then_some((Client, Line::Unsubscribe { sid }));
        }
        () if (is("PING") || is("PONG")) && words.is_empty() => return Some((Either, Line::Other)),
        () => return None,
    };
    let mut message = Message::default();
    let reply = match (origin, names) {
        (Client, [subject, reply @ ..]) => {
            message.subject = text(subject);
            reply
        }
        (Server, [subject, sid, reply @ ..]) => {
            message.subject = text(subject);
            message.sid = text(sid);
            reply
        }
        _ => return None,
    };
    message.reply = match reply {
        [] => SmolStr::default(),
        [reply] => text(reply),
        _ => return None,
    };
    message.size = size(sizes.last()?)?;
    if headed {
        message.headers = size(sizes.first()?).filter(|headers| *headers <= message.size)?;
    }
    Some((origin, Line::Message(message)))
}

/// Headers: their status, if their first line has one, and the others.
pub(super) type Headers = (Option<SmolStr>, Fields);

/// What headers say.
///
/// ```text
/// NATS/1.0[ code[ text]] CRLF *(name: value CRLF) CRLF
/// ```
pub(super) fn headers(bytes: &[u8]) -> Headers {
    let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end.saturating_add(1));
    let (first, rest) = bytes.split_at_checked(end).unwrap_or_default();
    let status = first.strip_prefix(b"NATS/1.0").unwrap_or_default().trim_ascii();
    let status = (!status.is_empty()).then(|| SmolStr::from(String::from_utf8_lossy(status)));
    (status, Fields::parse(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Option<(Origin, &str, &str, &str, u64, u64)>) {
        let told = match parse(line.as_bytes()) {
            Some((origin, Line::Message(of))) => Some((origin, of)),
            _ => None,
        };
        let told = told.as_ref().map(|(origin, of)| {
            (
                *origin,
                of.subject.as_str(),
                of.sid.as_str(),
                of.reply.as_str(),
                of.headers,
                of.size,
            )
        });
        assert_eq!(told, expected, "{line}");
    }

    #[test]
    fn messages() {
        check("PUB a.b 5", Some((Origin::Client, "a.b", "", "", 0, 5)));
        check("pub a.b  r 0", Some((Origin::Client, "a.b", "", "r", 0, 0)));
        check("HPUB a r 12 20", Some((Origin::Client, "a", "", "r", 12, 20)));
        check("MSG a 1 5", Some((Origin::Server, "a", "1", "", 0, 5)));
        check("HMSG a 1 r 12 20", Some((Origin::Server, "a", "1", "r", 12, 20)));
        for wrong in [
            "PUB 5",
            "PUB a",
            "PUB a r s 5",
            "PUB a -5",
            "PUB a 99999999999",
            "HPUB a 20 12",
            "HPUB a 20",
            "MSG a 5",
            "MSG a 1 r s 5",
            "PUBLISH a 5",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn other_lines() {
        let is = |line: &str| parse(line.as_bytes()).map(|(origin, _)| origin);
        assert_eq!(is("INFO {\"a\":1}"), Some(Origin::Server));
        assert_eq!(is("CONNECT {}"), Some(Origin::Client));
        assert_eq!(is("CONNECT example.org:443 HTTP/1.1"), None);
        assert_eq!(is("SUB a 1"), Some(Origin::Client));
        assert_eq!(is("SUB a q 1"), Some(Origin::Client));
        assert_eq!(is("SUB a q 1 2"), None);
        assert_eq!(is("UNSUB 1 2"), Some(Origin::Client));
        assert_eq!(is("PING"), Some(Origin::Either));
        assert_eq!(is("PING a"), None);
        assert_eq!(is(""), None);
    }
}
