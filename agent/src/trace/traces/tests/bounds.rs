//! Bounds of what is held.
use super::*;

/// So many calls, which have their numbers from here on.
fn fill(traces: &mut Traces, from: u64, n_calls: usize) {
    let line = parse("web.21 asks 1", &[]).remove(0);
    for n in 0..n_calls as u64 {
        traces.event(SpanEvent::Opened(Opened {
            key: SpanKey(from + n),
            kind: SpanKind::Client,
            conn: ConnId(from + n),
            stream: None,
            stream_context: None,
            places: [Some(Position::Wire(0)), None],
            start: line.moment,
            actor: line.moment.actor,
            process: Arc::clone(&line.process),
            remote: None,
            is_connection: false,
            message: None,
        }));
    }
}

#[test]
fn more_spans_than_are_held_are_counted() {
    let mut traces = Traces::new(1);
    fill(&mut traces, 0, MAX_SPANS);
    assert_eq!(traces.take_counts().count(), 0);
    fill(&mut traces, MAX_SPANS as u64, MAX_SPANS);
    assert_eq!(traces.pending(), MAX_SPANS);
    let full: Vec<_> = traces.take_counts().collect();
    assert_eq!(full, ["trace.spans_full"; MAX_SPANS]);
}

/// Goroutine 7 reads a request for which there is no room: what it asks is not for the one before.
#[test]
fn what_a_request_caused_that_is_not_held_is_not_another_s() {
    const FROM: u64 = 1 << 32;
    let mut traces = Traces::new(1);
    let lines = parse(
        "
        shop.21g7 reads 1
        shop.21g7 answers 1
        shop.21g7 reads 1
        shop.21g7 asks 3
        shop.21g7 gets 3",
        GO,
    );
    lines[..2].iter().for_each(|line| tell(&mut traces, line));
    // One of those that are held is the request's.
    fill(&mut traces, FROM, MAX_SPANS - 1);
    tell(&mut traces, &lines[2]);
    for n in 0..MAX_SPANS as u64 {
        traces.event(SpanEvent::Withdrawn { key: SpanKey(FROM + n) });
    }
    lines[3..].iter().for_each(|line| tell(&mut traces, line));
    assert_eq!(show(&settle(&mut traces)), ["shop asks 3", "shop reads 1"]);
    let mut counts: Vec<_> = traces.take_counts().collect();
    counts.retain(|name| *name != "stitch.no_peer");
    assert_eq!(counts, ["trace.spans_full", "causality.unknown.lost"]);
}

/// Calls whose other end was seen do not wait for what could change their place, where many others are open; those of a program that forwards,
/// and those nobody answered, do.
#[test]
fn what_is_known_does_not_wait_where_memory_runs_short() {
    const SHORT_NS: u64 = 60_000_000;
    const LONG_NS: u64 = 600_000_000;
    let script = "
        web.21 asks 1
        proxy.22@1 reads 1
        proxy.22@1 asks 2
        shop.23 reads 2
        shop.23 answers 2
        proxy.22@2 gets 2
        proxy.22@2 answers 1
        web.21 gets 1
        web.24 asks 3
        web.24 gets 3";
    let settled = |others: usize, now_ns: u64| {
        let mut traces = Traces::new(1);
        fill(&mut traces, 1 << 32, others);
        for line in parse(script, &[("proxy", Runtime::Nginx)]) {
            tell(&mut traces, &line);
        }
        let mut out = Vec::new();
        traces.tick(now_ns, &mut out);
        let mut services: Vec<_> = out.iter().map(|placed| placed.process.service.clone()).collect();
        services.sort();
        services
    };
    let none: [&str; 0] = [];
    assert_eq!(settled(0, SHORT_NS), none);
    assert_eq!(settled(MAX_SPANS / 4, SHORT_NS), ["proxy", "web"]);
    assert_eq!(settled(MAX_SPANS / 4, SHORT_NS / 3), none);
    assert_eq!(settled(MAX_SPANS / 4 * 3, SHORT_NS / 3), ["proxy", "web"]);
    let all = ["proxy", "proxy", "shop", "web", "web"];
    assert_eq!(settled(0, LONG_NS), all);
    assert_eq!(settled(MAX_SPANS / 4, LONG_NS), all);
}
