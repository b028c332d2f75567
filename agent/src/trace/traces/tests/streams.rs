//! Streams of one connection, and the goroutines that serve and ask on them.
use super::*;

/// Goroutine 3 reads a connection and makes one for each stream. In net/http it hands frames to the one that makes them, 2.
#[test]
fn a_goroutine_a_stream() {
    let script = |maker: &str, between: &str| {
        format!(
            "
            shop.21g3 reads 1 s=1
            shop.21g3 reads 1 s=3
            {between}
            shop.22{maker} makes 7
            shop.22{maker} makes 8
            shop.22{maker} serves 8 s=3
            shop.22{maker} serves 7 s=1
            shop.23g8 makes 9
            shop.23g7 asks 4
            shop.23g9 asks 5
            shop.23g7 gets 4
            shop.23g9 gets 5
            shop.21g3 answers 1
            shop.21g3 answers 1"
        )
    };
    let tree = &[
        "shop asks 4 < shop reads 1 by goroutine",
        "shop asks 5 < shop reads 1' by goroutine",
        "shop reads 1",
        "shop reads 1'",
    ];
    check(GO, &script("g3", ""), tree, &[]);
    check(GO, &script("g2", "shop.21g3 hands 2"), tree, &[]);
    // What answers are handed to whoever serves is no work.
    let answers = "shop.21g3 hands 2\nshop.23g7 hands 2\nshop.23g2 hands 8";
    check(GO, &script("g2", answers), tree, &[]);
    // Nobody knows what 2 has to do with the connection.
    let unlinked = &["shop asks 4", "shop asks 5", "shop reads 1", "shop reads 1'"];
    let unknown = &["causality.unknown.multiplexed", "causality.unknown.multiplexed"];
    check(GO, &script("g2", ""), unlinked, unknown);
    check(GO, &script("g2", "shop.21g4 hands 2"), unlinked, unknown);
}

/// Who accepts a connection reads its beginning, and the first streams with it; the goroutine it makes reads on.
#[test]
fn a_beginning_that_another_read() {
    check(
        GO,
        "
        shop.21g2 reads 1 s=1
        shop.21g2 makes 3
        shop.22g3 makes 7
        shop.22g3 serves 7 s=1
        shop.22g3 reads 1 s=3
        shop.22g3 makes 8
        shop.22g3 serves 8 s=3
        shop.23g7 asks 4
        shop.23g8 asks 5
        shop.23g7 gets 4
        shop.23g8 gets 5
        shop.22g3 answers 1
        shop.22g3 answers 1",
        &[
            "shop asks 4 < shop reads 1 by goroutine",
            "shop asks 5 < shop reads 1' by goroutine",
            "shop reads 1",
            "shop reads 1'",
        ],
        &[],
    );
}

/// One that serves stream after stream is handed each, and what it was before does not count.
#[test]
fn goroutines_that_serve_one_after_the_other() {
    check(
        GO,
        "
        shop.21g3 reads 1 s=1
        shop.21g3 hands 7
        shop.21g2 serves 7 s=1
        shop.22g4 reads 2 s=1
        shop.22g4 hands 7
        shop.21g2 serves 7 s=1
        shop.23g7 asks 5
        shop.23g7 gets 5
        shop.21g3 answers 1
        shop.22g4 answers 2",
        &[
            "shop asks 5 < shop reads 2 by goroutine",
            "shop reads 1",
            "shop reads 2",
        ],
        &[],
    );
}

/// Two cannot serve one stream, and none serves one that was not read.
#[test]
fn streams_that_contradict() {
    let script = |stream: u32| {
        format!(
            "
            shop.21g3 reads 1 s=1
            shop.21g3 serves 7 s=1
            shop.21g3 serves 8 s={stream}
            shop.23g7 asks 5
            shop.23g8 asks 6
            shop.23g7 gets 5
            shop.23g8 gets 6
            shop.21g3 answers 1"
        )
    };
    let unknown = "causality.unknown.multiplexed";
    let tree = &["shop asks 5", "shop asks 6", "shop reads 1"];
    check(GO, &script(1), tree, &[unknown, unknown]);
    let tree = &["shop asks 5 < shop reads 1 by goroutine", "shop asks 6", "shop reads 1"];
    check(GO, &script(3), tree, &[unknown]);
}

/// The request is over before anybody serves it: it was given up.
#[test]
fn streams_that_are_given_up() {
    check(
        GO,
        "
        shop.21g3 reads 1 s=1
        shop.21g3 answers 1
        shop.21g3 serves 7 s=1
        shop.23g7 asks 5
        shop.23g7 gets 5",
        &["shop asks 5 < shop reads 1 by goroutine", "shop reads 1"],
        &[],
    );
}

/// Goroutine 9 writes what others ask, in the order in which it takes it.
#[test]
fn one_writes_for_all() {
    let script = |then: &str| {
        format!(
            "
            shop.21g7 reads 1
            shop.21g8 reads 2
            shop.21g7 leaves 0 s=1
            shop.21g8 leaves 0 s=3
            {then}
            shop.22g9 asks 3 s=1
            shop.22g9 asks 3 s=3
            shop.22g9 gets 3
            shop.22g9 gets 3
            shop.21g7 answers 1
            shop.21g8 answers 2"
        )
    };
    check(
        GO,
        &script("shop.22g8 writes 9 s=3\nshop.22g7 writes 9 s=1"),
        &[
            "shop asks 3 < shop reads 1 by goroutine",
            "shop asks 3' < shop reads 2 by goroutine",
            "shop reads 1",
            "shop reads 2",
        ],
        &[],
    );
    // 8 has read another request meanwhile: what it left before was not for that.
    check(
        GO,
        &script("shop.21g7 answers 1\nshop.21g7 reads 4\nshop.22g7 writes 9 s=1\nshop.21g7 answers 4"),
        &[
            "shop asks 3 < shop reads 1 by goroutine",
            "shop asks 3'",
            "shop reads 1",
            "shop reads 2",
            "shop reads 4",
        ],
        &["causality.unknown.multiplexed"],
    );
    // Another had left it.
    let unknown = &["causality.unknown.multiplexed", "causality.unknown.context"];
    let tree = &["shop asks 3", "shop asks 3'", "shop reads 1", "shop reads 2"];
    check(GO, &script("shop.22g7 writes 9 s=3"), tree, unknown);
}

/// One that was made for a request writes it itself.
#[test]
fn each_writes_its_own() {
    check(
        GO,
        "
        shop.21g7 reads 1
        shop.21g7 makes 9
        shop.22g9 writes 9
        shop.22g9 asks 3 s=1
        shop.22g9 asks 3 s=3
        shop.22g9 gets 3
        shop.22g9 gets 3
        shop.21g7 answers 1",
        &[
            "shop asks 3 < shop reads 1 by goroutine",
            "shop asks 3'",
            "shop reads 1",
        ],
        &["causality.unknown.multiplexed"],
    );
}
