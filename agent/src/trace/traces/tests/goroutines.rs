//! Goroutines, and what passes between them.
use super::*;

/// Goroutine 8 serves a request that was read before goroutines were followed, and made 9: a token that another request
/// gives them is no work.
#[test]
fn what_began_before_is_not_handed_work() {
    let script = |rest: &str| {
        format!(
            "
            shop.21 reads 1
            shop.22g7 reads 2
            shop.21g8 makes 9
            {rest}
            shop.23g8 asks 3
            shop.23g9 asks 4
            shop.23g8 gets 3
            shop.23g9 gets 4
            shop.21g8 answers 1
            shop.22g7 answers 2"
        )
    };
    let tree = &["shop asks 3", "shop asks 4", "shop reads 1", "shop reads 2"];
    let unknown = &["causality.unknown.context", "causality.unknown.context"];
    check(GO, &script(""), tree, unknown);
    check(GO, &script("shop.22g7 hands 8\nshop.22g7 hands 9"), tree, unknown);
}

/// Goroutine 8 serves what nobody saw that it read, and a second one hands it something.
#[test]
fn what_nobody_saw_read_is_not_handed_work() {
    let script = |rest: &str| {
        format!(
            "
            shop.22g7 misses 0
            shop.22g7 reads 2
            {rest}
            shop.23g8 asks 3
            shop.23g8 gets 3
            shop.22g7 answers 2"
        )
    };
    let tree = &["shop asks 3", "shop reads 2"];
    check(GO, &script("shop.22g7 hands 8"), tree, &["causality.unknown.context"]);
    check(
        GO,
        &script("shop.22g7 hands 8\nshop.22g7 hands 8"),
        tree,
        &["causality.unknown.context"],
    );
    // What reads is known again, and so is what was made for it.
    let linked = &["shop asks 3 < shop reads 2 by goroutine", "shop reads 2"];
    check(GO, &script("shop.22g7 makes 8"), linked, &[]);
    // A stream of which the head is missing.
    let unread = "shop.21g4 makes 8\nshop.21g4 serves 8 s=3\nshop.22g7 hands 8\nshop.22g7 hands 8";
    check(GO, &script(unread), tree, &["causality.unknown.context"]);
}

/// What a request started works for it for a minute after it is over.
#[test]
fn what_goes_on_longer_works_for_others() {
    check(
        GO,
        "
        shop.21g7 reads 1
        shop.21g7 makes 8
        shop.21g7 answers 1
        shop.23g8 sleeps 59
        shop.23g8 asks 3
        shop.23g8 gets 3
        shop.23g8 sleeps 2
        shop.23g8 asks 3
        shop.23g8 gets 3",
        &[
            "shop asks 3 < shop reads 1 by goroutine",
            "shop asks 3'",
            "shop reads 1",
        ],
        &["causality.unknown.late"],
    );
}

/// Goroutine 9 answers 6, which request 1 made, when another request has asked it.
#[test]
fn an_answer_is_no_work() {
    let exchange = "
        shop.21g6 hands 9 s=1
        shop.23g9 asks 4
        shop.23g9 gets 4
        shop.22g8 hands 9 s=1
        shop.23g9 hands 6 s=2";
    check(
        GO,
        &format!(
            "
            shop.21g7 reads 1
            shop.22g8 reads 2
            shop.21g7 makes 6
            {exchange}
            {exchange}
            shop.21g6 asks 3
            shop.21g6 gets 3
            shop.21g7 answers 1
            shop.22g8 answers 2"
        ),
        &[
            "shop asks 3",
            "shop asks 4 < shop reads 1 by goroutine",
            "shop asks 4'",
            "shop reads 1",
            "shop reads 2",
        ],
        &["causality.unknown.context", "causality.unknown.context"],
    );
}

/// Goroutine 9 serves nobody and takes buffers that requests have used, as they take each other's.
#[test]
fn what_goes_round_is_no_work() {
    check(
        GO,
        "
        shop.21g7 reads 1
        shop.22g8 reads 2
        shop.21g7 makes 6
        shop.22g8 hands 6
        shop.21g6 hands 9
        shop.23g9 asks 3
        shop.22g8 hands 6
        shop.21g6 asks 4
        shop.23g9 gets 3
        shop.21g6 gets 4
        shop.21g7 makes 5
        shop.22g8 hands 5
        shop.21g5 asks 10
        shop.21g5 gets 10
        shop.21g7 answers 1
        shop.22g8 answers 2",
        &[
            "shop asks 10 < shop reads 1 by goroutine",
            "shop asks 3",
            "shop asks 4",
            "shop reads 1",
            "shop reads 2",
        ],
        &["causality.unknown.context", "causality.unknown.context"],
    );
}

/// A worker takes work of requests that are known, also if it was there before.
#[test]
fn workers_that_were_there_before() {
    check(
        GO,
        "
        shop.21 reads 1
        shop.21 answers 1
        shop.22g7 reads 2
        shop.22g7 hands 9
        shop.23g9 asks 4
        shop.23g9 gets 4
        shop.22g7 answers 2",
        &[
            "shop asks 4 < shop reads 2 by goroutine",
            "shop reads 1",
            "shop reads 2",
        ],
        &[],
    );
}
