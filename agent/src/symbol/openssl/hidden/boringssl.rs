//! BoringSSL: a function says by which reason it fails, of numbers that are its own.
use std::collections::{BTreeSet, HashMap};

use super::site::{self, BORING};
use super::{Failing, Hidden, only};

/// Reasons of failures, as `include/openssl/ssl.h` and `err.h` number them.
const SHOULD_NOT_HAVE_BEEN_CALLED: u64 = 66;
const BAD_LENGTH: u64 = 111;
const CONNECTION_TYPE_NOT_SET: u64 = 134;
const NULL_SSL_CTX: u64 = 185;
const SSL_HANDSHAKE_FAILURE: u64 = 215;
const UNINITIALIZED: u64 = 226;
const APPLICATION_DATA_ON_SHUTDOWN: u64 = 291;

/// The functions among those that fail in its file.
pub(super) fn identify(functions: &[Failing]) -> Result<Hidden, &'static str> {
    let all: Vec<(&Failing, BTreeSet<u64>)> = functions
        .iter()
        .filter_map(|function| Some((function, reasons(function)?)))
        .collect();
    let with = |wanted: fn(&BTreeSet<u64>) -> bool| {
        all.iter()
            .filter(move |(_, reasons)| wanted(reasons))
            .map(|(function, _)| *function)
    };
    // `SSL_write`: it is not for QUIC, and in newer versions no size is negative.
    let write = only(
        with(|reasons| {
            let ways = [SHOULD_NOT_HAVE_BEEN_CALLED, UNINITIALIZED, SSL_HANDSHAKE_FAILURE];
            let most = ways.iter().chain(&[BAD_LENGTH]);
            ways.iter().all(|way| reasons.contains(way)) && reasons.is_subset(&most.copied().collect())
        }),
        "what writes does not show",
    )?;
    // What `SSL_read` and `SSL_peek` call.
    let inner = only(
        with(|reasons| {
            let others = [SHOULD_NOT_HAVE_BEEN_CALLED, BAD_LENGTH];
            let begins = [UNINITIALIZED, SSL_HANDSHAKE_FAILURE];
            begins.iter().all(|way| reasons.contains(way)) && !others.iter().any(|way| reasons.contains(way))
        }),
        "what reads does not show",
    )?;
    // `SSL_do_handshake`, and it within `SSL_connect` and `SSL_accept`.
    let handshakes: Vec<&Failing> = with(|reasons| reasons.iter().eq(&[CONNECTION_TYPE_NOT_SET])).collect();
    let shake = handshakes.iter().find(|function| write.calls(function.range.address));
    if !shake.is_some_and(|function| inner.calls(function.range.address)) {
        return Err("what reads and what writes do not begin with the same handshake");
    }
    // `SSL_peek` leaves a session as it is.
    let read = only(
        with(|reasons| reasons.iter().eq(&[SHOULD_NOT_HAVE_BEEN_CALLED])).filter(|function| {
            function.calls(inner.range.address) && site::changes(&function.code, function.range.address)
        }),
        "what reads and takes does not show",
    )?;
    let made = only(
        with(|reasons| reasons.contains(&NULL_SSL_CTX)),
        "what makes a session does not show",
    )?;
    if !write.takes_three() || !read.takes_three() || !made.takes_one() {
        return Err("its functions begin in another way than Clew knows");
    }
    if !handshakes.iter().all(|function| function.takes_one()) {
        return Err("its handshake begins in another way than Clew knows");
    }
    // All fail through the same function.
    let found = [write, inner, read, made];
    let fails: BTreeSet<u64> = found
        .iter()
        .chain(&handshakes)
        .flat_map(|function| &function.sites)
        .filter_map(|site| site.called)
        .collect();
    if fails.len() != 1 {
        return Err("it fails in another way than Clew knows");
    }
    let mut named = HashMap::from([
        ("SSL_read", read.range.address),
        ("SSL_write", write.range.address),
        ("SSL_new", made.range.address),
    ]);
    let shutdown = with(|reasons| reasons.contains(&APPLICATION_DATA_ON_SHUTDOWN) && reasons.contains(&UNINITIALIZED));
    if let Ok(shutdown) = only(shutdown, "")
        && shutdown.takes_one()
    {
        named.insert("SSL_shutdown", shutdown.range.address);
    }
    Ok(Hidden {
        functions: named,
        calls: handshakes.iter().map(|function| function.range.address).collect(),
        hands_on: false,
        random: None,
        name: "BoringSSL",
    })
}

/// The reasons by which a function fails; none if one of them does not show.
fn reasons(function: &Failing) -> Option<BTreeSet<u64>> {
    let reasons = function.sites.iter().map(|site| match site.arguments {
        [library, _, Some(reason), ..] => library.is_none_or(|library| library == BORING).then_some(reason),
        _ => None,
    });
    reasons.collect()
}
