//! Where a client's time went, and what a request waited for before its server read it.
//!
//! The semantic conventions have no attributes for this; these are named after the timings of the HTTP Archive format:
//!
//! ```text
//!  connect        | send           | wait          | receive
//!  SYN -> SYN+ACK | first -> last  | -> first byte | -> last byte of the response
//!                 | byte of the    |
//!                 | request        |
//!                 ^ start of the span                ^ end of the span
//! ```
//!
//! How long bytes lay in the socket until the process took them is counted from the last segment that had come by then: at least so
//! long. On a server's end it is before the span, whose start is the read; on a client's it is the last part of the wait.
use super::{ConnFacts, Span, Value};
use crate::capture::Transport;
use crate::protocol::{Request, Response};

/// When the parts of an exchange passed, as far as they did.
pub(super) struct Phases<'a> {
    pub(super) request: &'a Request,
    /// When the request's last byte passed.
    pub(super) request_end_ns: Option<u64>,
    pub(super) response: Option<&'a Response>,
    /// When the response's last byte passed.
    pub(super) response_end_ns: Option<u64>,
    /// How the transport did when the request began, when its response did, and at last.
    pub(super) transport: [Transport; 3],
}

/// Says how long each phase took. One that did not happen, that was not seen, or that overlaps the one before it (an answer
/// that did not wait for the whole request) is left out.
pub(super) fn describe(span: &mut Span, facts: &ConnFacts, phases: &Phases<'_>) {
    let reused = !facts.is_first(phases.request);
    // Of a connection older than the agent it is not known whether its first bytes are the ones seen first.
    if reused || !facts.midway {
        span.attributes
            .push(("clew.network.connection.reused", Value::Bool(reused)));
    }
    let first_byte_ns = phases.response.map(|response| response.start.time_ns);
    if !reused {
        connect(span, facts);
    }
    let mut phase = |name, from: Option<u64>, to: Option<u64>| {
        if let (Some(from), Some(to)) = (from, to)
            && let Some(length) = to.checked_sub(from)
        {
            push(span, name, length);
        }
    };
    phase(
        "clew.network.send_ns",
        Some(phases.request.start.time_ns),
        phases.request_end_ns,
    );
    phase("clew.network.wait_ns", phases.request_end_ns, first_byte_ns);
    phase("clew.network.receive_ns", first_byte_ns, phases.response_end_ns);
    let [begun, answered, ended] = phases.transport;
    buffered(span, answered);
    // What was sent again to open a connection belongs to the exchange it was opened for.
    let before = if reused || facts.midway {
        begun
    } else {
        Transport::default()
    };
    transport(span, before, ended);
}

/// Says what a request waited for before the server read it, and how the transport did.
pub(super) fn serve(span: &mut Span, facts: &ConnFacts, request: &Request, begun: Transport, ended: Transport) {
    if facts.is_first(request)
        && !facts.midway
        && let Some(waited) = facts.accept_ns
    {
        push(span, "clew.network.accept_ns", waited);
    }
    buffered(span, begun);
    transport(span, begun, ended);
}

fn buffered(span: &mut Span, transport: Transport) {
    if transport.buffered_ns > 0 {
        push(span, "clew.network.buffered_ns", transport.buffered_ns);
    }
}

/// Says how long a round trip takes, and how many segments were sent again between two moments. A transport that has no round trip has
/// said nothing.
fn transport(span: &mut Span, before: Transport, after: Transport) {
    if after.rtt_us > 0 {
        push(span, "clew.network.rtt_ns", u64::from(after.rtt_us) * 1000);
        let again = after.retransmits.wrapping_sub(before.retransmits);
        push(span, "clew.network.retransmits", u64::from(again));
    }
}

fn push(span: &mut Span, name: &'static str, value: u64) {
    let value = Value::Int(i64::try_from(value).unwrap_or(i64::MAX));
    span.attributes.push((name, value));
}

/// Says how long its name was looked up before the connection was asked for, if that was seen.
pub(super) fn lookup(span: &mut Span, took_ns: Option<u64>) {
    if let Some(length) = took_ns {
        push(span, "clew.network.dns_ns", length);
    }
}

/// Says how long the connection took to open, if that was seen.
pub(super) fn connect(span: &mut Span, facts: &ConnFacts) {
    if let Some(length) = facts.connect_ns {
        push(span, "clew.network.connect_ns", length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{Actor, ConnId, Direction, Endpoints, Moment, Pid};
    use crate::protocol::http1;
    use crate::protocol::{Exchange, Mark, RequestHead, ResponseHead};
    use crate::span::{Layer, SpanKind, Status};

    /// When something happened on a connection, nanoseconds; none if it was not seen.
    #[derive(Clone, Copy, Default)]
    struct Times {
        /// Offset of the request, and its stream.
        offset: u64,
        stream: Option<u32>,
        first: bool,
        midway: bool,
        connect: Option<u64>,
        request_end: Option<u64>,
        first_byte: Option<u64>,
        last_byte: Option<u64>,
        transport: [Transport; 3],
    }

    fn mark(time_ns: u64) -> Mark {
        Mark {
            offset: 0,
            moment: Moment::new(time_ns, Actor::thread(Pid(1), 1)),
        }
    }

    /// The attributes of a request that began at 1000, as `name=value`, without their prefix.
    #[track_caller]
    fn check(times: Times, expected: &[&str]) {
        let facts = ConnFacts {
            conn: ConnId(1),
            endpoints: Endpoints::Unix { address: 1, peer: 2 },
            netns: 1,
            isn: None,
            midway: times.midway,
            layer: Layer::Wire,
            asks: None,
            connect_ns: times.connect,
            accept_ns: None,
            preface: crate::protocol::Preface::default(),
            handshake: None,
        };
        let request = Request {
            whole: false,
            record: None,
            exchange: Exchange(0),
            direction: Direction::Egress,
            stream: times.stream,
            offset: times.offset,
            start: mark(1000).moment,
            head_end: mark(1000),
            head: RequestHead::Http(http1::RequestHead {
                method: "GET".into(),
                target: "/".into(),
                version: http1::Version::Http11,
                scheme: None,
                authority: None,
                protocol: None,
                first: times.first,
                fields: http1::Fields::default(),
                unknown: 0,
                gateway: None,
            }),
        };
        let response = times.first_byte.map(|time_ns| Response {
            whole: false,
            exchange: Exchange(0),
            start: mark(time_ns).moment,
            head_end: mark(time_ns),
            head: ResponseHead::Http(http1::ResponseHead {
                status: 200,
                version: http1::Version::Http11,
                fields: http1::Fields::default(),
                unknown: 0,
            }),
        });
        let phases = Phases {
            request: &request,
            request_end_ns: times.request_end,
            response: response.as_ref(),
            response_end_ns: times.last_byte,
            transport: times.transport,
        };
        let mut span = Span {
            kind: SpanKind::Client,
            name: smol_str::SmolStr::default(),
            start_ns: 1000,
            end_ns: 9000,
            attributes: Vec::new(),
            named: Vec::new(),
            status: Status::Unset,
            events: Vec::new(),
        };
        describe(&mut span, &facts, &phases);
        let shown: Vec<String> = span
            .attributes
            .iter()
            .map(|(name, value)| {
                let name = name.strip_prefix("clew.network.").unwrap();
                match value {
                    Value::Int(number) => format!("{name}={number}"),
                    other => format!("{name}={other:?}"),
                }
            })
            .collect();
        assert_eq!(shown, expected);
    }

    const WHOLE: Times = Times {
        first: false,
        offset: 0,
        stream: None,
        midway: false,
        connect: Some(300),
        request_end: Some(1200),
        first_byte: Some(5000),
        last_byte: Some(9000),
        transport: [transport(0, 0, 0); 3],
    };

    const fn transport(rtt_us: u32, retransmits: u32, buffered_ns: u64) -> Transport {
        Transport {
            rtt_us,
            retransmits,
            buffered_ns,
        }
    }

    #[test]
    fn what_was_sent_again() {
        let expected = |retransmits: &'static str, reused| {
            let connect = if reused { "" } else { "connect_ns=300" };
            let reused = if reused {
                "connection.reused=Bool(true)"
            } else {
                "connection.reused=Bool(false)"
            };
            let all = [
                reused,
                connect,
                "send_ns=200",
                "wait_ns=3800",
                "receive_ns=4000",
                "buffered_ns=70",
                "rtt_ns=40000",
                retransmits,
            ];
            all.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>()
        };
        let times = Times {
            transport: [transport(9, 2, 0), transport(8, 3, 70), transport(40, 5, 0)],
            ..WHOLE
        };
        // What was sent again to open the connection is the first request's.
        check(times, &expected("retransmits=5", false));
        check(Times { offset: 80, ..times }, &expected("retransmits=3", true));
    }

    #[test]
    fn all_phases() {
        check(
            WHOLE,
            &[
                "connection.reused=Bool(false)",
                "connect_ns=300",
                "send_ns=200",
                "wait_ns=3800",
                "receive_ns=4000",
            ],
        );
    }

    /// Both sides of HTTP/2 say something before.
    #[test]
    fn the_first_stream_of_a_connection() {
        for (stream, first, reused) in [(1, true, false), (1, false, false), (3, true, false), (3, false, true)] {
            let times = Times {
                offset: 80,
                stream: Some(stream),
                first,
                connect: Some(300),
                ..Times::default()
            };
            let expected = [format!("connection.reused=Bool({reused})"), "connect_ns=300".to_owned()];
            let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            check(times, &expected[..if reused { 1 } else { 2 }]);
        }
    }

    #[test]
    fn a_connection_used_again_was_not_opened_for_this_request() {
        check(
            Times { offset: 80, ..WHOLE },
            &[
                "connection.reused=Bool(true)",
                "send_ns=200",
                "wait_ns=3800",
                "receive_ns=4000",
            ],
        );
    }

    #[test]
    fn what_was_not_seen_is_not_told() {
        let begun = Times {
            request_end: Some(1200),
            ..Times::default()
        };
        check(begun, &["connection.reused=Bool(false)", "send_ns=200"]);
        let midway = Times { midway: true, ..begun };
        check(midway, &["send_ns=200"]);
        check(
            Times { offset: 1, ..midway },
            &["connection.reused=Bool(true)", "send_ns=200"],
        );
    }

    #[test]
    fn an_answer_that_did_not_wait_for_the_request() {
        check(
            Times {
                request_end: Some(6000),
                ..WHOLE
            },
            &[
                "connection.reused=Bool(false)",
                "connect_ns=300",
                "send_ns=5000",
                "receive_ns=4000",
            ],
        );
    }
}
