//! What a collector answers to a request, over either transport.
use std::time::Duration;

use super::signal::{Signal, Spans};

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// The collector took it, save some.
    Accepted {
        /// What it refused of it: spans, or records of logs.
        rejected_spans: u64,
        /// Why, or a warning; may be empty.
        message: String,
    },
    /// It will never take this request.
    Refused(String),
    /// It may take it later.
    Later {
        /// What it said.
        why: String,
        /// How long it wants to be left alone, where it said so.
        after: Option<Duration>,
    },
    /// There was no connection.
    Unreachable(String),
}

impl Reply {
    /// OTLP specification, "Partial Success".
    pub(super) fn accepted<S: Signal>(response: S::Response) -> Self {
        let (rejected, message) = S::partial(response);
        Self::Accepted {
            rejected_spans: u64::try_from(rejected).unwrap_or(0),
            message,
        }
    }
}

/// Whether a failure broke a connection that stood, such as one the collector closed while it was idle: that one is worth
/// another request, even at the end.
pub(super) fn broke_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}

/// A way to a collector.
pub(super) trait Transport<S: Signal = Spans>: Send + 'static {
    /// A request made ready, so that it can be sent again without doing the work again.
    type Prepared: Send + Sync;

    /// Makes a request ready.
    fn prepare(&self, request: S::Request) -> Self::Prepared;

    /// Sends a request. The answer comes within about `timeout`.
    fn send(&mut self, prepared: &Self::Prepared, timeout: Duration) -> impl Future<Output = Reply> + Send;
}
