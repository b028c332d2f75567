//! What both servers need.
use std::future::Future;
use std::time::Duration;

/// Runs `serve` on the port that the first argument names and the runtime that RUNTIME names.
pub fn run<F: Future<Output = ()>>(serve: impl FnOnce(u16) -> F) {
    let port = std::env::args()
        .nth(1)
        .and_then(|port| port.parse().ok())
        .expect("a port");
    let mut builder = if std::env::var("RUNTIME").is_ok_and(|runtime| runtime == "current") {
        tokio::runtime::Builder::new_current_thread()
    } else {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(4);
        builder
    };
    builder.enable_all().build().expect("a runtime").block_on(serve(port));
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
