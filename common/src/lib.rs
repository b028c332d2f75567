//! What the kernel programs and the agent agree on: the shape of every event, the settings the agent hands down, the
//! counters the kernel hands up, and the decisions both sides take alike.
//!
//! Nothing here names a protocol, does I/O or allocates. Types that cross the boundary are `repr(C)` with fixed-width
//! integers, explicit padding and the widest field first, so that both sides see the same bytes.
#![no_std]
#![forbid(unsafe_code)]

pub mod assist;
pub mod budget;
pub mod context;
pub mod counter;
pub mod event;
pub mod log;
pub mod settings;
pub mod tls;
pub mod trail;
pub mod unwind;
