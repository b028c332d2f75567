//! What is known of a connection when its exchanges become spans.
use crate::capture::{ConnId, Connection, Endpoints, Moment};

/// The facts of a connection that spans and traces are made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnFacts {
    /// The connection.
    pub conn: ConnId,
    /// When and by whom it was first seen.
    pub seen: Moment,
    /// Its ends.
    pub endpoints: Endpoints,
    /// Inode number of its network namespace.
    pub netns: u64,
    /// Sequence numbers before the first byte of (this end, the other end), where the transport has them.
    pub isn: Option<(u32, u32)>,
    /// This end was seen opening it.
    pub opened_here: bool,
    /// The socket may be older than the agent and offsets do not count from byte 0.
    pub midway: bool,
    /// When and by whom connect(2) was called.
    pub connecting: Option<Moment>,
    /// When the handshake was complete, `CLOCK_MONOTONIC` nanoseconds. Only of connections opened here.
    pub established_ns: Option<u64>,
}

impl From<&Connection> for ConnFacts {
    fn from(connection: &Connection) -> Self {
        Self {
            conn: connection.conn,
            seen: connection.moment,
            endpoints: connection.endpoints.clone(),
            netns: connection.netns,
            isn: connection.isn,
            opened_here: connection.opened_here,
            midway: connection.midway,
            connecting: None,
            established_ns: None,
        }
    }
}
