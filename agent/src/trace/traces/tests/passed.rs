//! Contexts in headers that a program passes on.
use super::{Runtime, Traces, check, parse, settle, show, tell};

/// An event loop, of which nothing else tells.
const LOOP: &[(&str, Runtime)] = &[("shop", Runtime::Node), ("edge", Runtime::Envoy)];

#[test]
fn a_context_that_is_passed_on_tells_for_whom() {
    // Two at once; one whose call comes when it is over; one that is tried again.
    check(
        LOOP,
        "
        shop.21@5 reads 1 ctx=7/9/1
        shop.21@5 reads 2 ctx=8/10/1
        shop.21@6 asks 3 ctx=8/10/1
        shop.21@6 asks 4 ctx=7/9/1
        shop.21@7 gets 4
        shop.21@7 asks 4 ctx=7/9/1
        shop.21@7 gets 4
        shop.21@8 gets 3
        shop.21@8 answers 1
        shop.21@8 answers 2
        shop.21@9 asks 5 ctx=8/10/1
        shop.21@9 gets 5",
        &[
            "shop asks 3 < shop reads 2 by header",
            "shop asks 4 < shop reads 1 by header",
            "shop asks 4' < shop reads 1 by header",
            "shop asks 5 < shop reads 2 by header",
            "shop reads 1 < 9 by header",
            "shop reads 2 < 10 by header",
        ],
        &[],
    );
    // Envoy, at any concurrency.
    check(
        LOOP,
        "
        edge.21@5 reads 1 ctx=7/9/1
        edge.21@5 reads 2 ctx=7/10/1
        edge.21@5 reads 3 ctx=7/11/1
        edge.21@6 asks 4 ctx=7/11/1
        edge.21@6 asks 5 ctx=7/9/1
        edge.21@7 gets 5
        edge.21@7 answers 1
        edge.21@8 asks 6 ctx=7/10/1
        edge.21@8 gets 4
        edge.21@8 gets 6
        edge.21@9 answers 2
        edge.21@9 answers 3",
        &[
            "edge asks 4 < edge reads 3 by header",
            "edge asks 5 < edge reads 1 by header",
            "edge asks 6 < edge reads 2 by header",
            "edge reads 1 < 9 by header",
            "edge reads 2 < 10 by header",
            "edge reads 3 < 11 by header",
        ],
        &[],
    );
}

#[test]
fn a_context_that_several_came_with_tells_nothing() {
    check(
        LOOP,
        "
        shop.21@5 reads 1 ctx=7/9/1
        shop.21@5 reads 2 ctx=7/9/1
        shop.21@6 asks 3 ctx=7/9/1
        shop.21@6 gets 3
        shop.21@6 answers 1
        shop.21@6 answers 2",
        &[
            "shop asks 3",
            "shop reads 1 < 9 by header",
            "shop reads 2 < 9 by header",
        ],
        &["causality.unknown.ambiguous"],
    );
    // One of them may have been lost.
    check(
        LOOP,
        "
        shop.21@5 reads 1 ctx=7/9/1
        shop.21 misses 0
        shop.21@6 asks 3 ctx=7/9/1
        shop.21@6 gets 3
        shop.21@6 answers 1",
        &["shop asks 3", "shop reads 1 < 9 by header"],
        &["causality.unknown.ambiguous"],
    );
}

#[test]
fn a_context_that_the_process_may_have_made_tells_nothing() {
    // It asks itself, by way of one that nobody sees, and asks again.
    let script = "
        shop.21@5 reads 1
        shop.21@5 asks 2 ctx=7/9/1
        shop.21@6 reads 3 ctx=7/9/1
        shop.21@7 asks 4 ctx=7/9/1
        shop.21@7 gets 4
        shop.21@7 gets 2
        shop.21@7 answers 3
        shop.21@7 answers 1";
    let mut traces = Traces::new(1);
    for line in parse(script, LOOP) {
        tell(&mut traces, &line);
    }
    assert_eq!(
        show(&settle(&mut traces)),
        [
            "shop asks 2 < 9 by header",
            "shop asks 4 < 9 by header",
            "shop reads 1",
            "shop reads 3 < 9 by header",
        ]
    );
    // It asks itself, and is seen to read before it is seen to ask.
    check(
        LOOP,
        "
        shop.21@5 reads 1 ctx=7/9/1
        shop.22@5 asks 1 ctx=7/9/1
        shop.21@6 answers 1
        shop.22@7 gets 1",
        &["shop asks 1 < 9 by header", "shop reads 1 < shop asks 1 by socket"],
        &[],
    );
}

#[test]
fn a_context_and_what_runs_have_to_agree() {
    const GO: &[(&str, Runtime)] = &[("shop", Runtime::Go)];
    check(
        GO,
        "
        shop.21g7 reads 1 ctx=7/9/1
        shop.22g8 reads 2 ctx=7/10/1
        shop.21g7 asks 3 ctx=7/9/1
        shop.22g8 asks 4 ctx=7/9/1
        shop.21g7 gets 3
        shop.22g8 gets 4
        shop.21g7 answers 1
        shop.22g8 answers 2",
        &[
            "shop asks 3 < shop reads 1 by goroutine",
            "shop asks 4",
            "shop reads 1 < 9 by header",
            "shop reads 2 < 10 by header",
        ],
        &["causality.unknown.conflict"],
    );
}
