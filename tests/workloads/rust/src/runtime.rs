//! Tokio's runtimes.
use std::future::Future;

use crate::common::port;

/// Runs `serve` on the port that the first argument names and the runtime that RUNTIME names.
pub fn run<F: Future<Output = ()>>(serve: impl FnOnce(u16) -> F) {
    let mut builder = if std::env::var("RUNTIME").is_ok_and(|runtime| runtime == "current") {
        tokio::runtime::Builder::new_current_thread()
    } else {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(4);
        builder
    };
    builder.enable_all().build().expect("a runtime").block_on(serve(port()));
}
