//! Clew: zero-code distributed tracing for Linux.
//!
//! Data flows one way: `capture` -> `stream` -> `protocol` -> `span` -> `trace` -> `export`. See ARCHITECTURE.md.
pub mod attach;
mod calendar;
pub mod capture;
pub mod cli;
pub mod coding;
pub mod config;
pub mod discover;
pub mod doctor;
pub mod export;
pub mod log;
mod percent;
pub mod pipeline;
mod priority;
pub mod protocol;
pub mod redact;
pub mod run;
pub mod serve;
pub mod session;
pub mod span;
pub mod store;
pub mod stream;
pub mod symbol;
pub mod telemetry;
pub mod trace;
