//! Connections that event loops open to forward what they read.
use super::*;

#[test]
fn upstream_connections_are_opened_for_one_request_each() {
    // Both connections are opened in the round of one reading: the second is for something else.
    check(
        NGINX,
        "
        shop.21@5 reads 1
        shop.21@5 connects 2
        shop.21@5 connects 3
        shop.21@6 asks 3
        shop.21@6 asks 2
        shop.21@7 gets 3
        shop.21@7 gets 2
        shop.21@7 answers 1",
        &["shop asks 2 < shop reads 1 by upstream", "shop asks 3", "shop reads 1"],
        &["causality.unknown.upstream"],
    );
    // The first is refused, the next one tried.
    check(
        NGINX,
        "
        shop.21@5 reads 1
        shop.21@5 connects 2
        shop.21@5 loses 2
        shop.21@5 connects 3
        shop.21@6 asks 3
        shop.21@7 gets 3
        shop.21@7 answers 1",
        &["shop asks 3 < shop reads 1 by upstream", "shop reads 1"],
        &[],
    );
    // What the answer of one upstream server causes belongs to the same request.
    check(
        NGINX,
        "
        shop.21@5 reads 1
        shop.21@5 asks 2
        shop.21@6 gets 2
        shop.21@6 asks 3
        shop.21@7 gets 3
        shop.21@7 answers 1",
        &[
            "shop asks 2 < shop reads 1 by upstream",
            "shop asks 3 < shop reads 1 by upstream",
            "shop reads 1",
        ],
        &[],
    );
}

/// Encryption begins on a connection before the request that it was opened for is sent on it.
#[test]
fn upstream_connections_that_are_encrypted() {
    let linked = ["shop asks 2 < shop reads 1 by upstream", "shop reads 1"];
    check(
        NGINX,
        "
        shop.21@5 reads 1
        shop.21@5 connects 2
        shop.21@6 shakes 2
        shop.21@7 sees 2
        shop.21@7 asks 2
        shop.21@8 gets 2
        shop.21@8 answers 1",
        &linked,
        &[],
    );
    // Nothing else that is sent meanwhile belongs to the same request.
    check(
        NGINX,
        "
        shop.21@5 reads 1
        shop.21@5 connects 2
        shop.21@6 shakes 2
        shop.21@6 asks 3
        shop.21@7 sees 2
        shop.21@7 asks 2
        shop.21@8 gets 3
        shop.21@8 gets 2
        shop.21@9 answers 1",
        &[linked[0], "shop asks 3", linked[1]],
        &["causality.unknown.upstream"],
    );
    // It is never asked on, and for whom the next one is opened no operation says.
    check(
        NGINX,
        "
        shop.21@5 reads 1
        shop.21@5 connects 3
        shop.21@6 shakes 3
        shop.21@7 sees 3
        shop.21@7 loses 3
        shop.21@7 connects 2
        shop.21@8 asks 2
        shop.21@9 gets 2
        shop.21@9 answers 1",
        &["shop asks 2", linked[1]],
        &["causality.unknown.upstream"],
    );
    // Envoy sends what a connection was opened for, or what has waited longer.
    check(
        &[("shop", Runtime::Envoy)],
        "
        shop.21@5 reads 1
        shop.21@6 shakes 2
        shop.21@7 sees 2
        shop.21@7 asks 2
        shop.21@8 gets 2
        shop.21@8 answers 1",
        &linked,
        &[],
    );
}
