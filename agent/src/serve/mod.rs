//! Answers questions about the store to scripts and browsers: the HTTP API under `/api/v1`.
//!
//! In: a store's folder. Out: answers, and streams of what changes. It reads the store as any other process would, on threads
//! of its own, so whoever asks, however slowly, holds up neither capture nor writing. [`guard`] decides who may ask. What
//! programs said is text here and never part of a page.
#![forbid(unsafe_code)]
mod answer;
mod api;
mod connections;
mod follow;
mod guard;
pub(crate) mod mcp;
mod page;
mod receive;
mod replay;
mod server;

pub use guard::Access;
pub use page::HAS_PAGE;
pub use receive::Receiver;
pub use server::{ADDRESS, Listening, ServeError, Server, bind, bind_near};

/// The description of the API, for people and generators.
pub const OPENAPI: &str = include_str!("openapi.json");

#[cfg(test)]
mod lab;
#[cfg(test)]
mod tests;
