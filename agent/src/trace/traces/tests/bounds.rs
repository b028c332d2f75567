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
