//! Java's threads, and the pools that deceive who trusts them.
use super::*;

const JAVA: &[(&str, Runtime)] = &[("shop", Runtime::Java)];
const VIRTUAL: &[(&str, Runtime)] = &[("shop", Runtime::JavaVirtual)];

#[test]
fn virtual_threads_are_threads() {
    // Two on one thread of the kernel, and each on several.
    check(
        VIRTUAL,
        "
        shop.21v4@1 reads 1
        shop.21v5@1 reads 2
        shop.22v5@9 asks 4
        shop.22v4@9 asks 3
        shop.21v4@2 gets 3
        shop.21v5@2 gets 4
        shop.22v4@9 answers 1
        shop.21v5@2 answers 2",
        &[
            "shop asks 3 < shop reads 1 by thread",
            "shop asks 4 < shop reads 2 by thread",
            "shop reads 1",
            "shop reads 2",
        ],
        &[],
    );
    // Another one than the one that read the request.
    check(
        VIRTUAL,
        "
        shop.21v4 reads 1
        shop.21v6 asks 3
        shop.21v6 gets 3
        shop.21v4 answers 1",
        &["shop asks 3", "shop reads 1"],
        &["causality.unknown.thread"],
    );
}

#[test]
fn a_thread_is_trusted_where_it_is_read_what_it_runs() {
    let script = |thread: &str| {
        format!(
            "
            shop.{thread} reads 1
            shop.{thread} asks 3
            shop.{thread} gets 3
            shop.{thread} answers 1"
        )
    };
    let linked = ["shop asks 3 < shop reads 1 by thread", "shop reads 1"];
    check(VIRTUAL, &script("21j"), &linked, &[]);
    check(
        VIRTUAL,
        &script("21"),
        &["shop asks 3", "shop reads 1"],
        &["causality.unknown.runtime"],
    );
    // An event loop.
    check(
        VIRTUAL,
        &script("21j@3"),
        &["shop asks 3", "shop reads 1"],
        &["causality.unknown.event_loop"],
    );
}

#[test]
fn threads_that_run_what_others_asked_for() {
    for (runtimes, thread) in [(JAVA, "21"), (VIRTUAL, "21j"), (VIRTUAL, "21v4")] {
        // That the process has such a pool may be seen late.
        check(
            runtimes,
            &format!(
                "
                shop.{thread} reads 1
                shop.{thread} asks 3
                shop.23 pools 0
                shop.{thread} gets 3
                shop.{thread} answers 1"
            ),
            &["shop asks 3", "shop reads 1"],
            &["causality.unknown.pool"],
        );
    }
    // A worker of a pool of its own; other threads do not run its tasks.
    check(
        JAVA,
        "
        shop.21 helps 0
        shop.21 reads 1
        shop.22 reads 2
        shop.21 asks 3
        shop.22 asks 4
        shop.21 gets 3
        shop.22 gets 4
        shop.21 answers 1
        shop.22 answers 2",
        &[
            "shop asks 3",
            "shop asks 4 < shop reads 2 by thread",
            "shop reads 1",
            "shop reads 2",
        ],
        &["causality.unknown.pool"],
    );
    // A thread that carries virtual ones may be such a worker; they are not.
    check(
        VIRTUAL,
        "
        shop.21 helps 0
        shop.21v4 reads 1
        shop.21v4 asks 3
        shop.21v4 gets 3
        shop.21v4 answers 1",
        &["shop asks 3 < shop reads 1 by thread", "shop reads 1"],
        &[],
    );
}

#[test]
fn requests_and_their_tasks_in_one_pool() {
    // Thread 21 reads request 1, then runs a task of request 2, then answers request 1: only that thread 22 answers what others
    // read tells that the pool is one.
    check(
        JAVA,
        "
        shop.21 reads 1
        shop.22 reads 2
        shop.21 asks 3
        shop.21 gets 3
        shop.23 reads 5
        shop.21 answers 1
        shop.23 answers 2
        shop.22 answers 5",
        &["shop asks 3", "shop reads 1", "shop reads 2", "shop reads 5"],
        &["causality.unknown.pool"],
    );
    // Threads that answer and never read are another pool.
    check(
        JAVA,
        "
        shop.21 reads 1
        shop.22 reads 2
        shop.21 asks 3
        shop.21 gets 3
        shop.21 answers 1
        shop.24 answers 2",
        &["shop asks 3 < shop reads 1 by thread", "shop reads 1", "shop reads 2"],
        &[],
    );
}

#[test]
fn what_was_known_of_a_process_outlives_it() {
    let script = |known: &str| {
        format!(
            "
            shop.21 reads 1
            {known}
            shop.21 asks 3
            shop.21 gets 3
            shop.21 answers 1
            shop.21 exits 0"
        )
    };
    let unlinked = ["shop asks 3", "shop reads 1"];
    for known in ["shop.23 pools 0", "shop.21 helps 0"] {
        check(JAVA, &script(known), &unlinked, &["causality.unknown.pool"]);
    }
    // In compiled programs a loop anywhere.
    check(
        &[],
        &script("shop.23@1 asks 9\n shop.23@1 gets 9"),
        &["shop asks 3", "shop asks 9", "shop reads 1"],
        &["causality.unknown.thread", "causality.unknown.event_loop"],
    );
}
