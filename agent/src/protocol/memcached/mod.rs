//! Memcached: the text protocol with its meta commands, and the binary protocol.
//!
//! Each command is an exchange. A quiet one is answered only where something is to be said: in the binary protocol the opaque
//! number or the key that comes back tells what it answers; in text nothing does, so that a quiet command has no outcome.
mod binary;
mod frames;
mod lines;
mod text;

use smol_str::SmolStr;

use super::call::{Call, Command, MAX_ARGUMENTS, Query};
use super::ordered::Ordered;
use super::{Parser, Recognized, Start};

/// The name of this system, as `db.system.name` has it.
const SYSTEM: &str = "memcached";
/// Largest value: memcached takes 1 GiB at most.
const MAX_VALUE: u64 = 1 << 30;
/// Longest key.
const MAX_KEY: usize = 250;

/// A parser for one connection.
pub(super) fn parser(start: &Start) -> Box<dyn Parser> {
    let asks = start.direction;
    if start.bytes.first() == Some(&frames::ASKS) {
        return Box::new(Ordered::new(binary::Binary::new(start), start, asks, false));
    }
    Box::new(Ordered::new(text::Text::new(start), start, asks, false))
}

/// Whether bytes begin with a command that is unlike what other protocols say.
pub(super) fn recognize(bytes: &[u8]) -> Recognized {
    match bytes.first() {
        Some(&frames::ASKS) => binary::recognize(bytes),
        _ => text::recognize(bytes),
    }
}

/// A command with its arguments, which are kept if `values`.
fn call<'a>(name: SmolStr, arguments: impl Iterator<Item = &'a [u8]>, values: bool) -> Call {
    let mut kept = Vec::new();
    let mut argument_count = 0_usize;
    for argument in arguments {
        if values && kept.len() < MAX_ARGUMENTS {
            kept.push(SmolStr::from(String::from_utf8_lossy(argument)));
        }
        argument_count = argument_count.saturating_add(1);
    }
    Call {
        system: SYSTEM,
        query: Query::Command(Command {
            name,
            collection: None,
            arguments: kept,
            argument_count,
        }),
        namespace: None,
    }
}

#[cfg(test)]
mod tests;
