//! What all servers need.
use std::time::Duration;

/// The port to listen on: the first argument.
pub fn port() -> u16 {
    let port = std::env::args().nth(1);
    port.and_then(|port| port.parse().ok()).expect("a port")
}

/// The leaf's port.
pub fn leaf() -> u16 {
    let next = std::env::var("NEXT").expect("NEXT is PORT/path");
    next.split('/')
        .next()
        .and_then(|port| port.parse().ok())
        .expect("a port")
}

/// A time below `most_us` microseconds.
pub fn short(most_us: u64) -> Duration {
    Duration::from_micros(rand::random_range(0..most_us))
}
