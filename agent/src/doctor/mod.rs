//! What this host offers, what is missing, what that costs, and the one command that mends it.
//!
//! In: [`Host`], the facts. Out: a [`Report`], to read or as JSON, and the refusal that keeps a session from starting.
mod host;
mod report;

pub use host::{Host, Lockdown, Programs, SyscallEvents};
pub use report::{Check, Report, State};
