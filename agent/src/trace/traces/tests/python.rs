//! Contexts of Python's event loops.
use super::{Runtime, check};

const PYTHON: &[(&str, Runtime)] = &[("shop", Runtime::Python)];

/// Two connections, each with a context that reads (11, 21); tasks are copies of it. Rounds are those of one event loop.
#[test]
fn tasks_of_an_event_loop() {
    check(
        PYTHON,
        "
        shop.21c11@1 reads 1
        shop.21c11@1 makes 12
        shop.21c21@1 reads 2
        shop.21c21@1 makes 22
        shop.21c22@2 asks 4
        shop.21c12@2 makes 13
        shop.21c13@3 asks 3
        shop.21c9@3 asks 5
        shop.21c31@4 gets 3
        shop.21c31@4 gets 4
        shop.21c31@4 gets 5
        shop.21c12@5 answers 1
        shop.21c22@5 answers 2",
        &[
            "shop asks 3 < shop reads 1 by context",
            "shop asks 4 < shop reads 2 by context",
            "shop asks 5",
            "shop reads 1",
            "shop reads 2",
        ],
        &["causality.unknown.context"],
    );
}

/// A server with one task a connection, which is made before anything is read and makes a task for each request.
#[test]
fn tasks_of_a_connection() {
    check(
        PYTHON,
        "
        shop.21c1@1 accepts 2 conn=1
        shop.21c2@1 makes 3
        shop.21c2@1 makes 4
        shop.21c3@2 reads 1
        shop.21c4@2 makes 5
        shop.21c5@3 asks 2
        shop.21c5@3 gets 2
        shop.21c4@3 answers 1
        shop.21c4@3 makes 6
        shop.21c3@4 reads 1
        shop.21c4@4 asks 7
        shop.21c6@4 asks 8
        shop.21c4@4 makes 9
        shop.21c9@4 asks 3
        shop.21c5@5 asks 4
        shop.21c3@6 gets 3
        shop.21c3@6 gets 4
        shop.21c3@6 gets 7
        shop.21c3@6 gets 8
        shop.21c4@6 answers 1",
        &[
            "shop asks 2 < shop reads 1 by context",
            "shop asks 3 < shop reads 1' by context",
            "shop asks 4 < shop reads 1 by context",
            // The connection's task may still be at the first request, and so may what it made between the two.
            "shop asks 7",
            "shop asks 8",
            "shop reads 1",
            "shop reads 1'",
        ],
        &["causality.unknown.context", "causality.unknown.context"],
    );
}

/// uvloop hands what it read to every connection in one context.
#[test]
fn tasks_made_for_what_was_read() {
    check(
        PYTHON,
        "
        shop.21@1 reads 1
        shop.21c1@1 takes 2 conn=1
        shop.21@1 reads 2
        shop.21c1@1 takes 3 conn=2
        shop.21c3@1 asks 4
        shop.21c2@1 asks 3
        shop.21@2 gets 3
        shop.21@2 gets 4
        shop.21@2 answers 2
        shop.21@2 answers 1",
        &[
            "shop asks 3 < shop reads 1 by context",
            "shop asks 4 < shop reads 2 by context",
            "shop reads 1",
            "shop reads 2",
        ],
        &[],
    );
}

/// Requests that wait behind each other are taken up by what served the one before.
#[test]
fn pipelined_requests_of_tasks_are_told_apart_or_not_at_all() {
    check(
        PYTHON,
        "
        shop.21c1@1 reads 1
        shop.21c1@1 makes 2
        shop.21c1@2 reads 1
        shop.21c1@2 makes 8
        shop.21c2@3 answers 1
        shop.21c2@3 makes 3
        shop.21c3@4 asks 2
        shop.21c8@4 asks 3
        shop.21c1@5 gets 2
        shop.21c1@5 gets 3
        shop.21c2@5 answers 1",
        &["shop asks 2", "shop asks 3", "shop reads 1", "shop reads 1'"],
        &["causality.unknown.context", "causality.unknown.context"],
    );
}

/// Work is a context: whoever hands it to a pool makes it. One that serves nothing hands out nothing.
#[test]
fn work_of_a_pool_is_its_givers() {
    check(
        PYTHON,
        "
        shop.20@1 submits 1
        shop.21c1 reads 1
        shop.21c1 submits 2
        shop.20@2 submits 3
        shop.22c3 reads 2
        shop.22c3 submits 4
        shop.23c4 asks 4
        shop.24c2 asks 3
        shop.20@3 submits 6
        shop.25c6 asks 6
        shop.24c2 gets 3
        shop.23c4 gets 4
        shop.25c6 gets 6
        shop.21c1 answers 1
        shop.22c3 answers 2",
        &[
            "shop asks 3 < shop reads 1 by context",
            "shop asks 4 < shop reads 2 by context",
            "shop asks 6",
            "shop reads 1",
            "shop reads 2",
        ],
        &["causality.unknown.context"],
    );
}

/// A thread that serves a request hands out work for it, if it serves no other at the same time.
#[test]
fn work_that_a_thread_hands_out_is_judged_by_the_thread() {
    check(
        PYTHON,
        "
        shop.21 reads 1
        shop.21 submits 1
        shop.31c1 asks 3
        shop.31c1 submits 2
        shop.32c2 asks 4
        shop.32c2 gets 4
        shop.31c1 gets 3
        shop.21 answers 1
        shop.22@1 reads 2
        shop.22@1 submits 5
        shop.31c5 asks 5
        shop.31c5 gets 5
        shop.22@1 answers 2",
        &[
            "shop asks 3 < shop reads 1 by thread",
            "shop asks 4 < shop reads 1 by thread",
            "shop asks 5",
            "shop reads 1",
            "shop reads 2",
        ],
        &["causality.unknown.event_loop"],
    );
}

/// Work of one request that is run in a context of another is nobody's; a copy of the giver's own says nothing new.
#[test]
fn contexts_that_contradict_the_work_are_of_no_request() {
    check(
        PYTHON,
        "
        shop.21c1@1 reads 1
        shop.21c1@1 makes 11
        shop.21c2@1 reads 2
        shop.21c2@1 submits 3
        shop.31c11 does 3
        shop.31c11 asks 3
        shop.21c2@2 makes 12
        shop.21c2@2 submits 4
        shop.32c12 does 4
        shop.32c12 asks 4
        shop.31c11 gets 3
        shop.32c12 gets 4
        shop.21c1@3 answers 1
        shop.21c2@3 answers 2",
        &[
            "shop asks 3",
            "shop asks 4 < shop reads 2 by context",
            "shop reads 1",
            "shop reads 2",
        ],
        &["causality.unknown.context"],
    );
}
