//! Where the time of the thread that served a request, or made a call, went meanwhile.
//!
//! It is the request's own time only if the thread did nothing else: where it turned to another connection that brings requests, where
//! another thread ended the exchange, or where the runtime runs many contexts on many threads (goroutines, tokio's tasks, virtual
//! threads), nothing is told.
use super::{Span, SpanKind, Value};
use crate::capture::{Context, Moment, Times};

/// Calls that take less are not looked into.
const LONG_NS: u64 = 10_000_000;
/// The share of a span by which its parts may miss it.
const MISSED: u64 = 50;

/// Names of what threads block on, by the `BLOCKED_` constants of [`clew_common::event`].
const BLOCKED: [&str; clew_common::event::BLOCKED] = [
    "clew.time.blocked.network",
    "clew.time.blocked.disk",
    "clew.time.blocked.lock",
    "clew.time.blocked.sleep",
    "clew.time.blocked.fault",
    "clew.time.blocked.other",
];

/// Says where the time of the thread went between the first and the last operation of an exchange.
pub(super) fn describe(span: &mut Span, (start, from): (&Moment, &Times), (end, to): (&Moment, &Times)) {
    let length_ns = span.end_ns.saturating_sub(span.start_ns);
    let is_alone = match span.kind {
        SpanKind::Server => from.turned[0] == to.turned[0],
        SpanKind::Client => from.turned == to.turned && length_ns >= LONG_NS,
        _ => false,
    };
    let is_threads = start.actor.pid == end.actor.pid
        && start.actor.tid == end.actor.tid
        && is_of_thread(start.actor.context)
        && is_of_thread(end.actor.context);
    if !is_alone || !is_threads || from.time_ns == 0 || to.time_ns < from.time_ns {
        return;
    }
    let blocked = from.blocked_ns.iter().zip(to.blocked_ns);
    let blocked: Vec<u64> = blocked.map(|(from, to)| to.wrapping_sub(*from)).collect();
    let cpu_ns = to.cpu_ns.wrapping_sub(from.cpu_ns);
    let runqueue_ns = to.runqueue_ns.wrapping_sub(from.runqueue_ns);
    let parts = blocked
        .iter()
        .fold(cpu_ns.wrapping_add(runqueue_ns), |sum, part| sum.wrapping_add(*part));
    // What was lost on the way, or belongs to another thread of this number, does not add up.
    if parts.abs_diff(length_ns) > length_ns / MISSED {
        return;
    }
    let mut push = |name, ns: u64| {
        let value = Value::Int(i64::try_from(ns).unwrap_or(i64::MAX));
        span.attributes.push((name, value));
    };
    push("clew.time.cpu", cpu_ns);
    push("clew.time.runqueue", runqueue_ns);
    for (name, ns) in BLOCKED.into_iter().zip(blocked) {
        if ns > 0 {
            push(name, ns);
        }
    }
}

/// Whether what runs in a context runs on the thread from beginning to end.
const fn is_of_thread(context: Context) -> bool {
    match context {
        Context::Thread | Context::Python(_) | Context::Node(_) | Context::Handed(_) => true,
        Context::Java(id) => id == 0,
        Context::Goroutine(_) | Context::Tokio(_) | Context::Unknown => false,
    }
}

#[cfg(test)]
mod tests {
    use smol_str::SmolStr;

    use super::*;
    use crate::capture::{Actor, Pid};
    use crate::span::Status;

    #[derive(Clone, Copy)]
    struct Known {
        moment: Moment,
        times: Times,
    }

    fn known(time_ns: u64, cpu_ns: u64, lock_ns: u64) -> Known {
        let mut times = Times {
            time_ns,
            cpu_ns,
            turned: [4, 9],
            ..Times::default()
        };
        times.blocked_ns[2] = lock_ns;
        Known {
            moment: Moment::new(time_ns, Actor::thread(Pid(1), 2)),
            times,
        }
    }

    /// The attributes of a span of `kind`, as `name=value`, without their prefix.
    #[track_caller]
    fn check(kind: SpanKind, start: Known, end: Known, expected: &[&str]) {
        let mut span = Span {
            kind,
            name: SmolStr::default(),
            start_ns: start.moment.time_ns,
            end_ns: end.moment.time_ns,
            attributes: Vec::new(),
            named: Vec::new(),
            status: Status::Unset,
            events: Vec::new(),
        };
        describe(&mut span, (&start.moment, &start.times), (&end.moment, &end.times));
        let shown = span.attributes.iter().map(|(name, value)| {
            let name = name.strip_prefix("clew.time.").unwrap_or(name);
            match value {
                Value::Int(number) => format!("{name}={number}"),
                other => format!("{name}={other:?}"),
            }
        });
        assert_eq!(shown.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn parts_of_a_thread_that_did_nothing_else() {
        let (start, end) = (known(1000, 50, 7), known(2000, 650, 400));
        let told = ["cpu=600", "runqueue=0", "blocked.lock=393"];
        check(SpanKind::Server, start, end, &told);
        // Too short to look into.
        check(SpanKind::Client, start, end, &[]);
        let late = known(1000 + 2 * LONG_NS, 50 + LONG_NS, 7 + LONG_NS);
        let told = ["cpu=10000000", "runqueue=0", "blocked.lock=10000000"];
        check(SpanKind::Client, start, late, &told);
        let mut other = late;
        other.times.turned[1] += 1;
        check(SpanKind::Client, start, other, &[]);
        check(SpanKind::Server, start, other, &told);
    }

    #[test]
    fn what_is_not_the_request_s_own_is_not_told() {
        let (start, end) = (known(1000, 50, 7), known(2000, 650, 407));
        let mut turned = end;
        turned.times.turned[0] += 1;
        check(SpanKind::Server, start, turned, &[]);
        let mut elsewhere = end;
        elsewhere.moment.actor.tid = 3;
        check(SpanKind::Server, start, elsewhere, &[]);
        let mut task = end;
        task.moment.actor.context = Context::Goroutine(1);
        check(SpanKind::Server, start, task, &[]);
        let mut untold = start;
        untold.times = Times::default();
        check(SpanKind::Server, untold, end, &[]);
        // Three per cent are missing.
        check(SpanKind::Server, start, known(2000, 620, 407), &[]);
    }
}
