//! Reads what the kernel side wrote and decodes it.
//!
//! In: records of the ring buffer. Out: [`Event`]s. A record that does not decode is counted, never trusted.
mod decode;
mod event;

pub use decode::{Malformed, decode, parts};
pub use event::*;
