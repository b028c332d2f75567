//! Where the time of the thread, goroutine or task that served a request, or made a call, went meanwhile.
//!
//! It is the request's own time only if it did nothing else. So nothing is told where it turned to another connection that brings
//! requests, served another request of the same connection, or went back to its event loop, which may run whatever is due; where another
//! ended the exchange; and where the runtime runs many contexts on many threads whose time is not known (virtual threads, goroutines and
//! tasks that are not followed).
use clew_common::event::BLOCKED_LOCK;

use super::{Span, SpanKind, Value};
use crate::capture::{Context, Moment, Times};
use crate::discover::Runtime;

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

/// An operation, and where the time of who made it had gone by then.
pub(super) type Known<'a> = (&'a Moment, &'a Times);

/// What else is known of an exchange.
#[derive(Clone, Copy)]
pub(super) struct Around {
    /// What runs the process.
    pub(super) runtime: Runtime,
    /// Its connection carried no other meanwhile.
    pub(super) alone: bool,
}

/// Says where the time of who worked went between the first operation of an exchange and the last. Another may have taken the first byte
/// of a request (net/http's goroutine that watches for the client's end does): then it is told from where its head was whole.
pub(super) fn describe(span: &mut Span, around: Around, start: Known<'_>, read: Known<'_>, end: Known<'_>) {
    let Some((_, from)) = [start, read]
        .into_iter()
        .find(|known| is_one(around.runtime, *known, end))
    else {
        return;
    };
    let (_, to) = end;
    let length_ns = span.end_ns.saturating_sub(span.start_ns);
    let is_alone = match span.kind {
        SpanKind::Server => around.alone && from.turned[0] == to.turned[0],
        SpanKind::Client => from.turned == to.turned && length_ns >= LONG_NS,
        _ => false,
    };
    if !is_alone || from.time_ns == 0 || to.time_ns < from.time_ns {
        return;
    }
    let blocked = from.blocked_ns.iter().zip(to.blocked_ns);
    let blocked: Vec<u64> = blocked.map(|(from, to)| to.wrapping_sub(*from)).collect();
    // It may have waited as a worker of a pool does, and run another task then.
    let may_wait = around.runtime != Runtime::Rust || from.context != Context::Thread;
    if !may_wait && blocked.get(BLOCKED_LOCK as usize).is_some_and(|ns| *ns > 0) {
        return;
    }
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

/// Whether one thread, goroutine or task made both operations, and did not go back to what gives it work in between.
fn is_one(runtime: Runtime, (start, from): Known<'_>, (end, to): Known<'_>) -> bool {
    let (first, last) = (&start.actor, &end.actor);
    first.pid == last.pid
        && from.context == to.context
        && match from.context {
            Context::Thread => {
                first.tid == last.tid
                    && first.turn == last.turn
                    && is_of_thread(runtime, first.context)
                    && is_of_thread(runtime, last.context)
            }
            Context::Goroutine(_) => true,
            // What others have it write and read is theirs, who do something else meanwhile.
            Context::Tokio(_) => first.context == from.context && last.context == from.context,
            _ => false,
        }
}

/// Whether what runs in a context runs on the thread from beginning to end.
const fn is_of_thread(runtime: Runtime, context: Context) -> bool {
    match context {
        _ if matches!(runtime, Runtime::Go) => false,
        // Which request one writes for is told of calls alone.
        Context::Unknown => matches!(runtime, Runtime::Node),
        Context::Thread | Context::Python(_) | Context::Node(_) | Context::Handed(_) => true,
        Context::Java(id) => id == 0,
        Context::Goroutine(_) | Context::Tokio(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use smol_str::SmolStr;

    use super::*;
    use crate::capture::{Actor, Pid};
    use crate::span::Status;

    const ALONE: Around = Around {
        runtime: Runtime::Native,
        alone: true,
    };

    #[derive(Clone, Copy)]
    struct At {
        moment: Moment,
        times: Times,
    }

    fn known(time_ns: u64, cpu_ns: u64, lock_ns: u64) -> At {
        let mut times = Times {
            time_ns,
            cpu_ns,
            turned: [4, 9],
            ..Times::default()
        };
        times.blocked_ns[2] = lock_ns;
        At {
            moment: Moment::new(time_ns, Actor::thread(Pid(1), 2)),
            times,
        }
    }

    #[track_caller]
    fn check(kind: SpanKind, start: At, end: At, expected: &[&str]) {
        check_read(kind, start, start, end, expected);
    }

    /// The attributes of a span of `kind`, as `name=value`, without their prefix.
    #[track_caller]
    fn check_read(kind: SpanKind, start: At, read: At, end: At, expected: &[&str]) {
        check_among(kind, ALONE, [start, read, end], expected);
    }

    #[track_caller]
    fn check_among(kind: SpanKind, around: Around, [start, read, end]: [At; 3], expected: &[&str]) {
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
        let [start, read, end] = [&start, &read, &end].map(|at| (&at.moment, &at.times));
        describe(&mut span, around, start, read, end);
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
        let among = |alone, runtime, end, expected: &[&str]| {
            check_among(
                SpanKind::Server,
                Around { runtime, alone },
                [start, start, end],
                expected,
            );
        };
        among(false, Runtime::Native, end, &[]);
        // Threads of these run many things at once, which are not followed.
        among(true, Runtime::Go, end, &[]);
        among(true, Runtime::Rust, end, &[]);
        let never_waited = known(2000, 1050, 7);
        among(true, Runtime::Rust, never_waited, &["cpu=1000", "runqueue=0"]);
        let mut untold = never_waited;
        untold.moment.actor.context = Context::Unknown;
        among(true, Runtime::Native, untold, &[]);
        among(true, Runtime::Node, untold, &["cpu=1000", "runqueue=0"]);
        // What else its event loop ran meanwhile is not known.
        let mut looped = end;
        looped.moment.actor.turn = 1;
        check(SpanKind::Server, start, looped, &[]);
        let late = known(1000 + 2 * LONG_NS, 50 + LONG_NS, 7 + LONG_NS);
        let mut looped = late;
        looped.moment.actor.turn = 1;
        check(SpanKind::Client, start, looped, &[]);
        // A virtual thread, whose numbers on the wire are those of whoever handed it the work.
        let mut mounted = [start, end];
        for at in &mut mounted {
            at.moment.actor.context = Context::Handed(7);
        }
        let told = ["cpu=600", "runqueue=0", "blocked.lock=400"];
        check(SpanKind::Server, mounted[0], mounted[1], &told);
        for at in &mut mounted {
            at.times.context = Context::Unknown;
        }
        check(SpanKind::Server, mounted[0], mounted[1], &[]);
        let mut task = end;
        task.moment.actor.context = Context::Goroutine(1);
        check(SpanKind::Server, start, task, &[]);
        let mut untold = start;
        untold.times = Times::default();
        check(SpanKind::Server, untold, end, &[]);
        // Three per cent are missing.
        check(SpanKind::Server, start, known(2000, 620, 407), &[]);
    }

    #[test]
    fn parts_of_a_goroutine_and_of_a_task() {
        let of = |at: At, context, tid| {
            let mut at = at;
            at.times.context = context;
            at.moment.actor.tid = tid;
            at.moment.actor.context = context;
            at
        };
        let (start, read, end) = (known(1000, 50, 7), known(1010, 10, 3), known(2000, 640, 360));
        let whole = known(2000, 650, 407);
        for context in [Context::Goroutine, Context::Tokio] {
            // On whatever threads it ran.
            let told = ["cpu=600", "runqueue=0", "blocked.lock=400"];
            check(
                SpanKind::Server,
                of(start, context(5), 2),
                of(whole, context(5), 3),
                &told,
            );
            check(
                SpanKind::Server,
                of(start, context(5), 2),
                of(whole, context(6), 2),
                &[],
            );
            // Another read the first byte.
            let told = ["cpu=630", "runqueue=0", "blocked.lock=357"];
            let [start, read, end] = [
                of(start, context(4), 2),
                of(read, context(5), 2),
                of(end, context(5), 3),
            ];
            check_read(SpanKind::Server, start, read, end, &told);
        }
        // It writes what another asked.
        let late = known(1000 + 2 * LONG_NS, 50 + LONG_NS, 7 + LONG_NS);
        let told = ["cpu=10000000", "runqueue=0", "blocked.lock=10000000"];
        let [mut start, mut late] = [start, late].map(|at| of(at, Context::Tokio(5), 2));
        check(SpanKind::Client, start, late, &told);
        for at in [&mut start, &mut late] {
            at.moment.actor.context = Context::Tokio(9);
        }
        check(SpanKind::Client, start, late, &[]);
    }
}
