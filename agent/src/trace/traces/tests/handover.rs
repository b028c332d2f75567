//! Requests that pass from thread to thread, and loops that forward or poll.
use clew_common::event::TURN_POLLED;

use super::*;

const PUMA: &[(&str, Runtime)] = &[("shop", Runtime::Ruby)];
const ENVOY: &[(&str, Runtime)] = &[("shop", Runtime::Envoy)];

#[test]
fn who_takes_a_request_over_serves_it() {
    // A reactor (21) reads two; each is served by another thread, in the other order.
    let two = "
        shop.21@5 reads 1
        shop.21@6 reads 2
        shop.32 inspects 2
        shop.31 inspects 1
        shop.32 asks 4
        shop.31 asks 3
        shop.31 gets 3
        shop.32 gets 4
        shop.32 answers 2
        shop.31 answers 1";
    check(
        PUMA,
        two,
        &[
            "shop asks 3 < shop reads 1 by thread",
            "shop asks 4 < shop reads 2 by thread",
            "shop reads 1",
            "shop reads 2",
        ],
        &[],
    );
    // In other programs the question means nothing.
    check(
        &[],
        two,
        &["shop asks 3", "shop asks 4", "shop reads 1", "shop reads 2"],
        &["causality.unknown.thread", "causality.unknown.thread"],
    );
    // A thread that has read a request and hands it on works for the one it takes instead.
    check(
        PUMA,
        "
        shop.31 reads 1
        shop.31 inspects 1
        shop.31 answers 1
        shop.31 reads 1
        shop.21@5 reads 2
        shop.31 inspects 2
        shop.31 asks 3
        shop.32 inspects 1
        shop.32 asks 4
        shop.31 gets 3
        shop.31 answers 2
        shop.32 gets 4
        shop.32 answers 1",
        &[
            "shop asks 3 < shop reads 2 by thread",
            "shop asks 4 < shop reads 1' by thread",
            "shop reads 1",
            "shop reads 1'",
            "shop reads 2",
        ],
        &[],
    );
}

#[test]
fn who_takes_a_request_over_and_does_not_end_it_is_not_trusted() {
    for (rest, counter) in [
        // Another thread answers.
        ("shop.33 answers 1", "causality.unknown.event_loop"),
        // It takes a second one before the first is over.
        ("shop.31 inspects 2\nshop.31 answers 1", "causality.unknown.event_loop"),
        // It turns out to run a loop.
        ("shop.31@2 answers 1", "causality.unknown.event_loop"),
    ] {
        check(
            PUMA,
            &format!(
                "
                shop.21@5 reads 1
                shop.21@5 reads 2
                shop.31 inspects 1
                shop.31 asks 3
                shop.31 gets 3
                {rest}
                shop.21@6 answers 2"
            ),
            &["shop asks 3", "shop reads 1", "shop reads 2"],
            &[counter],
        );
    }
}

#[test]
fn who_polls_for_several_while_it_serves_is_not_trusted() {
    // Rounds of a thread that never waited with epoll have a bit of their own.
    let script = |first: u32, last: u32| {
        let (first, last) = (TURN_POLLED | first, TURN_POLLED | last);
        format!(
            "
            shop.21@{first} reads 1
            shop.21@{first} asks 2
            shop.21@{last} gets 2
            shop.21@{last} answers 1"
        )
    };
    // It waited before, for new connections.
    check(
        &[],
        &script(7, 7),
        &["shop asks 2 < shop reads 1 by thread", "shop reads 1"],
        &[],
    );
    check(
        &[],
        &script(7, 8),
        &["shop asks 2", "shop reads 1"],
        &["causality.unknown.event_loop"],
    );
}

#[test]
fn envoy_is_linked_where_only_one_request_can_be_meant() {
    // The answer of the first may still be on its way when the second is sent.
    check(
        ENVOY,
        "
        shop.21@5 reads 1
        shop.21@6 asks 3
        shop.21@6 reads 2
        shop.21@7 asks 4
        shop.21@8 gets 3
        shop.21@9 answers 1
        shop.21@9 gets 4
        shop.21@9 answers 2",
        &[
            "shop asks 3 < shop reads 1 by upstream",
            "shop asks 4 < shop reads 2 by upstream",
            "shop reads 1",
            "shop reads 2",
        ],
        &[],
    );
    // Either may be meant, whatever was read last and for whatever the connection was opened.
    check(
        ENVOY,
        "
        shop.21@5 reads 1
        shop.21@5 connects 3
        shop.21@6 reads 2
        shop.21@6 asks 3
        shop.21@6 asks 4
        shop.21@7 gets 3
        shop.21@7 answers 1
        shop.21@7 gets 4
        shop.21@7 answers 2",
        &["shop asks 3", "shop asks 4", "shop reads 1", "shop reads 2"],
        &["causality.unknown.upstream", "causality.unknown.upstream"],
    );
    // One too many was sent: neither is linked.
    check(
        ENVOY,
        "
        shop.21@5 reads 1
        shop.21@6 asks 3
        shop.21@6 asks 4
        shop.21@7 gets 3
        shop.21@7 gets 4
        shop.21@7 answers 1",
        &["shop asks 3", "shop asks 4", "shop reads 1"],
        &["causality.unknown.upstream", "causality.unknown.upstream"],
    );
    // A second try is no surprise behind a failure.
    check(
        ENVOY,
        "
        shop.21@5 reads 1
        shop.21@6 asks 3
        shop.21@7 fails 3
        shop.21@9 asks 4
        shop.21@9 gets 4
        shop.21@9 answers 1",
        &[
            "shop asks 3 < shop reads 1 by upstream",
            "shop asks 4 < shop reads 1 by upstream",
            "shop reads 1",
        ],
        &[],
    );
}

#[test]
fn pipelined_requests_are_served_in_their_order() {
    let tree = |source: &str| {
        [
            format!("shop asks 2 < shop reads 1 by {source}"),
            format!("shop asks 2' < shop reads 1' by {source}"),
            "shop reads 1".to_owned(),
            "shop reads 1'".to_owned(),
        ]
    };
    let by_thread = tree("thread");
    let by_thread: Vec<&str> = by_thread.iter().map(String::as_str).collect();
    check(
        &[],
        "
        shop.21 reads 1
        shop.21 reads 1
        shop.21 asks 2
        shop.21 gets 2
        shop.21 answers 1
        shop.21 asks 2
        shop.21 gets 2
        shop.21 answers 1",
        &by_thread,
        &[],
    );
    check(
        NGINX,
        "
        shop.21@5 reads 1
        shop.21@5 reads 1
        shop.21@5 asks 2
        shop.21@6 gets 2
        shop.21@6 answers 1
        shop.21@6 asks 3
        shop.21@7 gets 3
        shop.21@7 answers 1",
        &[
            "shop asks 2 < shop reads 1 by upstream",
            "shop asks 3",
            "shop reads 1",
            "shop reads 1'",
        ],
        &["causality.unknown.upstream"],
    );
}

#[test]
fn lost_events() {
    // What goroutine 7 read next may be among them, and what thread 21 did.
    check(
        GO,
        "
        shop.21g7 reads 1
        shop.22g7 asks 3
        shop.22g7 gets 3
        shop.22g7 misses 0
        shop.22g7 asks 3
        shop.22g7 gets 3
        shop.22g7 answers 1
        shop.22g7 reads 1
        shop.22g7 asks 3
        shop.22g7 gets 3
        shop.22g7 answers 1",
        &[
            "shop asks 3 < shop reads 1 by goroutine",
            "shop asks 3'",
            "shop asks 3'' < shop reads 1' by goroutine",
            "shop reads 1",
            "shop reads 1'",
        ],
        &["causality.unknown.lost"],
    );
    check(
        &[],
        "
        shop.21 reads 1
        shop.21 misses 0
        shop.21 asks 3
        shop.21 gets 3
        shop.21 answers 1",
        &["shop asks 3", "shop reads 1"],
        &["causality.unknown.lost"],
    );
}
