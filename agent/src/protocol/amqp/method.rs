//! Methods and the headers of contents (AMQP 0-9-1, sections 4.2.5 and 4.2.6), with RabbitMQ's extensions.
//!
//! ```text
//! method: class (16) | method (16) | arguments
//! header: class (16) | weight (16) | body size (64) | flags (16) | properties, those that the flags name
//! ```
use smol_str::SmolStr;

use crate::protocol::http1::Fields;
use crate::protocol::message::Content;

pub(super) const CONNECTION: u16 = 10;
const CHANNEL: u16 = 20;
pub(super) const BASIC: u16 = 60;

/// Headers of a message that are kept.
const MAX_HEADERS: usize = 64;
/// Longest header that is kept.
const MAX_HEADER: usize = 4096;
/// Tables within tables.
const MAX_DEPTH: usize = 8;

/// Who may say a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Client,
    Server,
    Either,
}

/// Who may say this method, if there is such a one.
pub(super) const fn origin(class: u16, method: u16) -> Option<Origin> {
    use Origin::{Client, Either, Server};
    Some(match (class, method) {
        (CONNECTION, 11 | 21 | 31 | 40 | 70) => Client,
        (CONNECTION, 10 | 20 | 30 | 41 | 60 | 61 | 71) => Server,
        (CONNECTION, 50 | 51) => Either,
        (CHANNEL, 10) => Client,
        (CHANNEL, 11) => Server,
        (CHANNEL, 20 | 21 | 40 | 41) => Either,
        // access.
        (30, 10) => Client,
        (30, 11) => Server,
        // exchange.
        (40, 10 | 20 | 30 | 40) => Client,
        (40, 11 | 21 | 31 | 51) => Server,
        // queue.
        (50, 10 | 20 | 30 | 40 | 50) => Client,
        (50, 11 | 21 | 31 | 41 | 51) => Server,
        (BASIC, 10 | 20 | 40 | 70 | 90 | 100 | 110) => Client,
        (BASIC, 11 | 21 | 50 | 60 | 71 | 72 | 111) => Server,
        (BASIC, 30 | 31 | 80 | 120) => Either,
        // confirm.
        (85, 10) => Client,
        (85, 11) => Server,
        // tx.
        (90, 10 | 20 | 30) => Client,
        (90, 11 | 21 | 31) => Server,
        _ => return None,
    })
}

/// What of the methods matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Publish {
        route: Route,
    },
    Deliver {
        consumer: SmolStr,
        tag: u64,
        redelivered: bool,
        route: Route,
    },
    Get {
        queue: SmolStr,
    },
    GetOk {
        tag: u64,
        redelivered: bool,
        route: Route,
    },
    GetEmpty,
    Return {
        code: u16,
        text: SmolStr,
        route: Route,
    },
    Consume {
        queue: SmolStr,
        consumer: SmolStr,
        no_ack: bool,
        /// It is not confirmed.
        no_wait: bool,
    },
    ConsumeOk {
        consumer: SmolStr,
    },
    Cancel {
        consumer: SmolStr,
    },
    /// `basic.ack`, `basic.nack` and `basic.reject`.
    Settle {
        tag: u64,
        multiple: bool,
        accepted: bool,
        requeue: bool,
    },
    Recover,
    ConfirmSelect,
    QueueDeclared {
        queue: SmolStr,
    },
    /// `channel.open`.
    Open,
    /// `channel.close` and, on channel 0, `connection.close`.
    Close {
        code: u16,
        text: SmolStr,
    },
    CloseOk,
    Other,
}

/// Where a message is published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) exchange: SmolStr,
    pub(super) key: SmolStr,
}

/// A method and who may say it; none where the bytes are no method, or not enough of one.
pub(super) fn method(bytes: &[u8]) -> Option<(Origin, Method)> {
    let mut rest = Rest(bytes);
    let (class, id) = (rest.u16()?, rest.u16()?);
    let origin = origin(class, id)?;
    let method = match (class, id) {
        (CONNECTION, 50) | (CHANNEL, 40) => Method::Close {
            code: rest.u16()?,
            text: rest.short()?,
        },
        (CONNECTION, 51) | (CHANNEL, 41) => Method::CloseOk,
        (CHANNEL, 10) => Method::Open,
        (50, 11) => Method::QueueDeclared { queue: rest.short()? },
        (BASIC, 20) => {
            rest.u16()?;
            let (queue, consumer, bits) = (rest.short()?, rest.short()?, rest.u8()?);
            Method::Consume {
                queue,
                consumer,
                no_ack: bits & 2 != 0,
                no_wait: bits & 8 != 0,
            }
        }
        (BASIC, 21) => Method::ConsumeOk {
            consumer: rest.short()?,
        },
        (BASIC, 30) => Method::Cancel {
            consumer: rest.short()?,
        },
        (BASIC, 40) => {
            rest.u16()?;
            Method::Publish { route: rest.route()? }
        }
        (BASIC, 50) => Method::Return {
            code: rest.u16()?,
            text: rest.short()?,
            route: rest.route()?,
        },
        (BASIC, 60) => Method::Deliver {
            consumer: rest.short()?,
            tag: rest.u64()?,
            redelivered: rest.u8()? & 1 != 0,
            route: rest.route()?,
        },
        (BASIC, 70) => {
            rest.u16()?;
            Method::Get { queue: rest.short()? }
        }
        (BASIC, 71) => Method::GetOk {
            tag: rest.u64()?,
            redelivered: rest.u8()? & 1 != 0,
            route: rest.route()?,
        },
        (BASIC, 72) => Method::GetEmpty,
        (BASIC, 80) => Method::Settle {
            tag: rest.u64()?,
            multiple: rest.u8()? & 1 != 0,
            accepted: true,
            requeue: false,
        },
        (BASIC, 90) => Method::Settle {
            tag: rest.u64()?,
            multiple: false,
            accepted: false,
            requeue: rest.u8()? & 1 != 0,
        },
        (BASIC, 120) => {
            let (tag, bits) = (rest.u64()?, rest.u8()?);
            Method::Settle {
                tag,
                multiple: bits & 1 != 0,
                accepted: false,
                requeue: bits & 2 != 0,
            }
        }
        (BASIC, 100 | 110) => Method::Recover,
        (85, 10) => Method::ConfirmSelect,
        _ => Method::Other,
    };
    Some((origin, method))
}

/// The header of a content: what is known of the message, and where its sender wants answers. None if it is none.
pub(super) fn header(bytes: &[u8]) -> Option<Content> {
    let mut rest = Rest(bytes);
    let (class, weight) = (rest.u16()?, rest.u16()?);
    if class != BASIC || weight != 0 {
        return None;
    }
    let mut content = Content {
        bytes: Some(rest.u64()?),
        ..Content::default()
    };
    let flags = rest.u16()?;
    // More flags may follow, of which no property is known.
    let mut more = flags & 1 != 0;
    while more {
        more = rest.u16()? & 1 != 0;
    }
    // What was cut off is not known.
    let _cut = properties(&mut rest, flags, &mut content);
    Some(content)
}

fn properties(rest: &mut Rest<'_>, flags: u16, content: &mut Content) -> Option<()> {
    let has = |bit: u32| flags & 1_u16.wrapping_shl(bit) != 0;
    for bit in (2..=15).rev().filter(|bit| has(*bit)) {
        match bit {
            13 => rest.table(&mut content.headers)?,
            12 | 11 => {
                rest.u8()?;
            }
            10 => content.conversation = rest.short()?,
            7 => content.id = rest.short()?,
            6 => {
                rest.u64()?;
            }
            _ => {
                rest.take_short()?;
            }
        }
    }
    Some(())
}

/// Bytes that are still to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.first_chunk().copied()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn take_short(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    fn take_long(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.take(length)
    }

    /// A name, lossily decoded.
    fn short(&mut self) -> Option<SmolStr> {
        self.take_short().map(|bytes| String::from_utf8_lossy(bytes).into())
    }

    fn route(&mut self) -> Option<Route> {
        Some(Route {
            exchange: self.short()?,
            key: self.short()?,
        })
    }

    /// Keeps the texts of a table.
    fn table(&mut self, fields: &mut Fields) -> Option<()> {
        let mut rest = Rest(self.take_long()?);
        while !rest.0.is_empty() {
            let name = rest.take_short()?;
            let kind = rest.u8()?;
            if kind == b'S' {
                let value = rest.take_long()?;
                let fits = value.len() <= MAX_HEADER && fields.len() < MAX_HEADERS;
                if fits && name.is_ascii() && !name.is_empty() {
                    fields.push(name, value);
                }
            } else {
                rest.skip(kind, 0)?;
            }
        }
        Some(())
    }

    /// Passes a value of a table.
    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        let length = match kind {
            b'V' => 0,
            b't' | b'b' | b'B' => 1,
            b's' | b'u' | b'U' => 2,
            b'I' | b'i' | b'f' => 4,
            b'D' => 5,
            b'l' | b'L' | b'd' | b'T' => 8,
            b'S' | b'x' | b'F' => {
                self.take_long()?;
                0
            }
            b'A' if depth < MAX_DEPTH => {
                let mut rest = Rest(self.take_long()?);
                while !rest.0.is_empty() {
                    let kind = rest.u8()?;
                    rest.skip(kind, depth.saturating_add(1))?;
                }
                0
            }
            _ => return None,
        };
        self.take(length).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_far_as_it_goes() {
        let mut bytes = b"\0\x3c\0\0\0\0\0\0\0\0\0\x05\x34\x80".to_vec();
        bytes.extend(
            b"\0\0\0\x32\x04deepA\0\0\0\x06A\0\0\0\x01V\x0btraceparentS\0\0\0\x02ab\x01nI\0\0\0\x07\x01sx\0\0\0\x01a",
        );
        bytes.extend(b"\x02\x04corr\x02id");
        let content = header(&bytes).expect("a header");
        assert_eq!(content.bytes, Some(5));
        assert_eq!(
            (content.conversation.as_str(), content.id.as_str()),
            ("corr", "id"),
            "{content:?}"
        );
        assert_eq!(
            content.headers.iter().collect::<Vec<_>>(),
            [("traceparent", b"ab".as_ref())]
        );
        for length in 0..bytes.len() {
            let cut = header(&bytes[..length]);
            assert_eq!(cut.is_some(), length >= 14, "{length}");
        }
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: Option<(Origin, Method)>) {
        assert_eq!(method(bytes), expected);
    }

    #[test]
    fn methods() {
        let route = Route {
            exchange: "x".into(),
            key: "key".into(),
        };
        let publish = Method::Publish { route: route.clone() };
        check(b"\0\x3c\0\x28\0\0\x01x\x03key\0", Some((Origin::Client, publish)));
        check(b"\0\x3c\0\x28\0\0\x01x\x03ke", None);
        let deliver = Method::Deliver {
            consumer: "c".into(),
            tag: 258,
            redelivered: true,
            route,
        };
        let bytes = b"\0\x3c\0\x3c\x01c\0\0\0\0\0\0\x01\x02\x01\x01x\x03key";
        check(bytes, Some((Origin::Server, deliver)));
        let nack = Method::Settle {
            tag: 1,
            multiple: true,
            accepted: false,
            requeue: true,
        };
        check(b"\0\x3c\0\x78\0\0\0\0\0\0\0\x01\x03", Some((Origin::Either, nack)));
        check(b"\0\x3c\0\x29", None);
        check(b"\0\x3c\0", None);
    }
}
