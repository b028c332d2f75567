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
