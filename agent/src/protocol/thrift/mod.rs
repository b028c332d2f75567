//! Thrift: the binary and the compact protocol, framed or not.
//!
//! A message says what is called and has a number, and so does its answer. Many clients number all of their calls alike; so order
//! pairs them, and an answer with another name or number is noticed.
mod connection;
mod reader;
mod walk;
mod wire;

use super::ordered::Ordered;
use super::{Parser, Recognized, Start};
use wire::{Envelope, Kind, Shape, Stop};

/// The name of this system, as `rpc.system.name` has it.
const SYSTEM: &str = "thrift";

/// A parser for one connection.
pub(super) fn parser(start: &Start) -> Box<dyn Parser> {
    let shape = shape(&start.bytes).unwrap_or_default();
    Box::new(Ordered::new(
        connection::Connection::new(shape, start),
        start,
        start.direction,
        false,
    ))
}

/// Whether bytes begin with a call.
pub(super) fn recognize(bytes: &[u8]) -> Recognized {
    match shape(bytes) {
        Ok(_) => Recognized::Yes,
        Err(Stop::More) => Recognized::More,
        Err(Stop::Wrong) => Recognized::No,
    }
}

/// How a call is written that bytes begin with.
fn shape(bytes: &[u8]) -> Result<Shape, Stop> {
    let first = *bytes.first().ok_or(Stop::More)?;
    let framed = Shape::unframed(first).is_none();
    let mut cursor = wire::Cursor::new(bytes);
    let frame = if framed { Some(cursor.frame()?) } else { None };
    let first = *bytes.get(cursor.taken()).ok_or(Stop::More)?;
    let encoding = Shape::unframed(first).ok_or(Stop::Wrong)?;
    let before = cursor.taken();
    let envelope = Envelope::read(encoding, &mut cursor)?;
    if !matches!(envelope.kind, Kind::Call | Kind::Oneway) {
        return Err(Stop::Wrong);
    }
    // Arguments follow, of which there may be none.
    cursor.field(encoding)?;
    let read = cursor.taken().saturating_sub(before) as u64;
    if frame.is_some_and(|length| length < read) {
        return Err(Stop::Wrong);
    }
    Ok(Shape { encoding, framed })
}

#[cfg(test)]
mod tests;
