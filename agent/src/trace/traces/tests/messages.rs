//! Messages: who sent what another was handed.
use super::*;
use crate::protocol::message::Identity;

/// What an end of a message is, and who has it on which connection.
struct End {
    key: u64,
    kind: SpanKind,
    end: MessageEnd,
    conn: u64,
    remote: Option<RemoteContext>,
}

const fn end(key: u64, kind: SpanKind, end: MessageEnd, conn: u64) -> End {
    End {
        key,
        kind,
        end,
        conn,
        remote: None,
    }
}

fn open(traces: &mut Traces, of: &End, time_ms: u64) {
    let process = process("shop", &[]);
    let moment = Moment::new(time_ms * 1_000_000, Actor::thread(process.pid, 1));
    traces.event(SpanEvent::Opened(Opened {
        key: SpanKey(of.key),
        kind: of.kind,
        conn: ConnId(of.conn),
        stream: None,
        stream_context: None,
        places: [Some(Position::Wire(of.key)), None],
        start: moment,
        actor: moment.actor,
        process,
        remote: of.remote.clone(),
        is_connection: false,
        message: Some(of.end),
    }));
}

fn close(traces: &mut Traces, of: &End, time_ms: u64) {
    let process = process("shop", &[]);
    traces.event(SpanEvent::Finished {
        key: SpanKey(of.key),
        actor: Actor::thread(process.pid, 1),
        span: Box::new(Span {
            kind: of.kind,
            name: format!("{}", of.key).into(),
            start_ns: time_ms * 1_000_000,
            end_ns: time_ms * 1_000_000,
            attributes: Vec::new(),
            named: Vec::new(),
            status: Status::Unset,
            events: Vec::new(),
        }),
    });
}

fn message(traces: &mut Traces, key: u64, identity: u64, sent: bool) {
    traces.event(SpanEvent::Message {
        key: SpanKey(key),
        identity: Identity([identity, 0]),
        sent,
    });
}

/// Each span as `name < parent, links` by name, or the number of a span that is not here.
fn shown(out: &[Placed]) -> Vec<String> {
    let name = |id: &[u8; 8]| {
        let found = out.iter().find(|placed| placed.span_id == *id);
        found.map_or_else(
            || u64::from_be_bytes(*id).to_string(),
            |placed| placed.span.name.to_string(),
        )
    };
    let mut lines: Vec<String> = out
        .iter()
        .map(|placed| {
            let parent = placed.parent_id.as_ref().map_or("-".to_owned(), name);
            let links: Vec<String> = placed.links.iter().map(|link| name(&link.span_id)).collect();
            format!("{} < {parent} [{}]", placed.span.name, links.join(" "))
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn a_message_is_below_whoever_sent_it() {
    // Settled long before, settled together, sent twice, sent by nobody that was seen.
    let mut traces = Traces::new(1);
    let mut out = Vec::new();
    let early = end(1, SpanKind::Producer, MessageEnd::Asks, 1);
    open(&mut traces, &early, 1);
    message(&mut traces, 1, 100, true);
    close(&mut traces, &early, 2);
    traces.tick(5_000_000_000, &mut out);
    assert_eq!(out.len(), 1);
    for (key, identity) in [(2, 200), (3, 300), (4, 300)] {
        let producer = end(key, SpanKind::Producer, MessageEnd::Asks, key);
        open(&mut traces, &producer, 6000);
        message(&mut traces, key, identity, true);
        close(&mut traces, &producer, 6001);
    }
    for (key, identity) in [(11, 100), (12, 200), (13, 300), (14, 400)] {
        let consumer = end(key, SpanKind::Consumer, MessageEnd::Gets, key);
        open(&mut traces, &consumer, 6002);
        message(&mut traces, key, identity, false);
        close(&mut traces, &consumer, 6003);
    }
    out.extend(settle(&mut traces));
    let expected = [
        "1 < - []",
        "11 < 1 [1]",
        "12 < 2 [2]",
        "13 < - []",
        "14 < - []",
        "2 < - []",
        "3 < - []",
        "4 < - []",
    ];
    assert_eq!(shown(&out), expected);
    for (child, parent) in [("11", "1"), ("12", "2")] {
        let trace = |name: &str| {
            out.iter()
                .find(|placed| placed.span.name == name)
                .map(|one| one.trace_id)
        };
        assert_eq!(trace(child), trace(parent));
    }
}

#[test]
fn a_context_in_a_message_is_continued_and_linked_to() {
    let mut traces = Traces::new(1);
    let context = remote("ctx=7/9/1");
    for (key, kind, which) in [
        (1, SpanKind::Consumer, MessageEnd::Gets),
        (2, SpanKind::Client, MessageEnd::BrokerHands),
        (3, SpanKind::Producer, MessageEnd::Asks),
    ] {
        let span = End {
            remote: Some(context.clone()),
            ..end(key, kind, which, key)
        };
        open(&mut traces, &span, 1);
        close(&mut traces, &span, 2);
    }
    // It is asked for, and comes with the answer.
    let asked = end(4, SpanKind::Client, MessageEnd::Asks, 4);
    open(&mut traces, &asked, 1);
    traces.event(SpanEvent::Carried {
        key: SpanKey(4),
        context,
    });
    close(&mut traces, &asked, 2);
    let out = settle(&mut traces);
    assert_eq!(shown(&out), ["1 < 9 [9]", "2 < 9 []", "3 < 9 []", "4 < - [9]"]);
    assert_eq!(out[0].trace_id, 7_u128.to_be_bytes());
}

/// What both ends say at the same offset is two things.
#[test]
fn what_is_handed_over_is_not_what_is_sent_at_the_same_place() {
    let mut traces = Traces::new(1);
    traces.connection(&facts(1, false));
    traces.connection(&facts(1, true));
    let at = |key, kind, which, conn| End {
        remote: None,
        ..end(key, kind, which, conn)
    };
    let mut spans = [
        at(1, SpanKind::Producer, MessageEnd::Asks, 2),
        at(2, SpanKind::Consumer, MessageEnd::Gets, 2),
        at(3, SpanKind::Client, MessageEnd::BrokerHands, 3),
        at(4, SpanKind::Server, MessageEnd::BrokerAsked, 3),
    ];
    for span in &mut spans {
        let process = process("shop", &[]);
        let moment = Moment::new(1_000_000, Actor::thread(process.pid, 1));
        traces.event(SpanEvent::Opened(Opened {
            key: SpanKey(span.key),
            kind: span.kind,
            conn: ConnId(span.conn),
            stream: None,
            stream_context: None,
            places: [Some(Position::Wire(70)), None],
            start: moment,
            actor: moment.actor,
            process,
            remote: None,
            is_connection: false,
            message: Some(span.end),
        }));
        close(&mut traces, span, 2);
    }
    let out = settle(&mut traces);
    assert_eq!(shown(&out), ["1 < - []", "2 < 3 []", "3 < - []", "4 < 1 []"]);
}
