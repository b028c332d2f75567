//! Bounds of what is held.
use super::*;

#[test]
fn more_spans_than_are_held_are_counted() {
    let mut traces = Traces::new(1);
    let line = parse("shop.21 asks 1", &[]).remove(0);
    for n in 0..=MAX_SPANS as u64 {
        traces.event(SpanEvent::Opened(Opened {
            key: SpanKey(n),
            kind: SpanKind::Client,
            conn: ConnId(n),
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
    assert_eq!(traces.pending(), MAX_SPANS);
    assert_eq!(traces.take_counts().collect::<Vec<_>>(), ["trace.spans_full"]);
}
