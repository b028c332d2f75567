//! An inbound request, and what was seen of it that bears on who works for it.
use super::Tid;
use crate::capture::ConnId;
use crate::span::SpanKey;
use crate::trace::contexts;
use crate::trace::recent::Recent;

/// Requests that are over of which it is remembered when.
const MAX_ENDED: usize = 65_536;

#[derive(Debug)]
pub(super) struct Inbound {
    pub(super) tid: Tid,
    pub(super) conn: ConnId,
    pub(super) context: Option<contexts::Key>,
    /// Upstream requests that are open, and connections being opened for one.
    pub(super) upstream: usize,
    /// It came with others on one connection.
    pub(super) multiplexed: bool,
    /// Something was seen that a thread serving this request alone would not do.
    pub(super) tainted: bool,
    /// A thread took it over from the one that read it, or from itself.
    pub(super) taken: bool,
    /// The round of its thread when that began to serve it.
    pub(super) turn: u32,
    /// A request was sent upstream for it alone.
    pub(super) forwarded: bool,
    /// More requests were sent upstream than there were inbound ones to send them for.
    pub(super) doubted: bool,
    /// The process is over, and its thread may have run what another request asked for.
    pub(super) pooled: bool,
    /// The process is over, and had an event loop.
    pub(super) looped: bool,
    pub(super) start_ns: u64,
    /// When it ended, if it has.
    pub(super) end_ns: Option<u64>,
    /// Requests that may belong to it and are not settled.
    pub(super) users: usize,
}

impl Inbound {
    pub(super) const fn new(tid: Tid, conn: ConnId, turn: u32, start_ns: u64) -> Self {
        Self {
            tid,
            conn,
            context: None,
            upstream: 0,
            multiplexed: false,
            tainted: false,
            taken: false,
            turn,
            forwarded: false,
            doubted: false,
            pooled: false,
            looped: false,
            start_ns,
            end_ns: None,
            users: 0,
        }
    }

    pub(super) const fn is_open(&self) -> bool {
        self.end_ns.is_none()
    }
}

/// When requests ended, in nanoseconds.
#[derive(Debug)]
pub(super) struct Ended(pub(super) Recent<SpanKey, u64>);

impl Default for Ended {
    fn default() -> Self {
        Self(Recent::of(MAX_ENDED))
    }
}
