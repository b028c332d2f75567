//! Contexts that Node.js tells.
use super::{Line, Runtime, Traces, check};
use crate::capture::{Asked, Context};

#[test]
fn contexts_that_node_tells() {
    let node: &[(&str, Runtime)] = &[("shop", Runtime::Node)];
    // One thread, several requests: the second call leaves when its request is over, the third in a context that is not known.
    check(
        node,
        "
        shop.21n100@1 reads 1
        shop.21n200@1 reads 2
        shop.21n200@2 asks 3
        shop.21n100@2 asks 4
        shop.21n901@3 gets 3
        shop.21n902@3 gets 4
        shop.21@3 answers 1
        shop.21n100@4 asks 5
        shop.21n903@5 gets 5
        shop.21n300@5 asks 6
        shop.21n904@6 gets 6
        shop.21@7 answers 2",
        &[
            "shop asks 3 < shop reads 2 by async",
            "shop asks 4 < shop reads 1 by async",
            "shop asks 5 < shop reads 1 by async",
            "shop asks 6",
            "shop reads 1",
            "shop reads 2",
        ],
        &["causality.unknown.context"],
    );
    // A request that waits behind another may be looked at when more was read, and then has the name of a later one.
    check(
        node,
        "
        shop.21n100@1 reads 1
        shop.21n200@1 reads 1
        shop.21n100@2 asks 2
        shop.21n901@3 gets 2
        shop.21n200@4 asks 3
        shop.21n902@5 gets 3
        shop.21@6 answers 1
        shop.21@6 answers 1",
        &[
            "shop asks 2 < shop reads 1 by async",
            "shop asks 3",
            "shop reads 1",
            "shop reads 1'",
        ],
        &["causality.unknown.context"],
    );
}

/// Streams of HTTP/2 are served under their own names, and asked for before whatever writes them: all that were asked for leave together.
#[test]
fn streams_that_node_tells() {
    let node: &[(&str, Runtime)] = &[("shop", Runtime::Node)];
    check(
        node,
        "
        shop.21n9 reads 1 s=1
        shop.21n9 reads 1 s=3
        shop.21n103 asks 2
        shop.21n8 gets 2
        shop.21n103 wants 4 s=1
        shop.21n101 wants 4 s=3
        shop.21 asks 4 s=1
        shop.21 asks 4 s=3
        shop.21 asks 4 s=5
        shop.21n8 gets 4
        shop.21n8 gets 4
        shop.21n8 gets 4
        shop.21 answers 1
        shop.21 answers 1
        shop.21n101 wants 4 s=7
        shop.21 asks 4 s=7
        shop.21n8 gets 4",
        &[
            "shop asks 2 < shop reads 1' by async",
            "shop asks 4 < shop reads 1' by async",
            "shop asks 4' < shop reads 1 by async",
            "shop asks 4''",
            "shop asks 4''' < shop reads 1 by async",
            "shop reads 1",
            "shop reads 1'",
        ],
        &["causality.unknown.multiplexed"],
    );
}

/// A context asks for a stream of connection `n`.
pub(super) fn wants(traces: &mut Traces, line: &Line) {
    let actor = &line.moment.actor;
    let asked = line.stream.map(|stream| Asked {
        conn: Context::Node(line.n * 100),
        stream,
        context: actor.context,
    });
    traces.asks(actor.pid, asked.as_slice());
}
