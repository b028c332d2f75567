//! Connections that are opened: for whom, before anything is asked on them.
use super::{Causality, Found, MAX_RESERVED, Reserved, Sent, forwards};
use crate::capture::{ConnId, Moment};
use crate::discover::Runtime;
use crate::trace::threads::thread_of;

impl Causality {
    /// connect(2) was called for `conn`.
    pub(in crate::trace) fn connecting(&mut self, conn: ConnId, moment: &Moment, runtime: Runtime) {
        // Whoever waits longest is sent on the connection that is open first, not on the one that was opened for it.
        let pools = matches!(runtime, Runtime::Envoy);
        if !forwards(runtime) || pools || self.reserved.len() >= MAX_RESERVED {
            return;
        }
        let tid = thread_of(&moment.actor);
        let found = self.upstream(&moment.actor, moment.time_ns);
        if let Found::Candidate(candidate) = found {
            if let Some(inbound) = self.inbound.get_mut(&candidate.parent) {
                inbound.upstream += 1;
            }
            self.tried(tid, candidate.parent);
        }
        self.reserved.insert(conn, Reserved { tid, found });
    }

    /// A connection is over; where it was only being opened, what it was opened for may be tried on another.
    pub(in crate::trace) fn unconnected(&mut self, conn: ConnId, now_ns: u64) {
        if let Some(Reserved { tid, found }) = self.unreserve(conn) {
            self.failed(tid, found.parent(), now_ns);
        }
    }

    pub(super) fn unreserve(&mut self, conn: ConnId) -> Option<Reserved> {
        let reserved = self.reserved.remove(&conn)?;
        if let Some(inbound) = reserved.found.parent().and_then(|parent| self.inbound.get_mut(&parent)) {
            inbound.upstream = inbound.upstream.saturating_sub(1);
        }
        Some(reserved)
    }

    /// A connection that a program opened has a span of its own, which may be withdrawn. Whoever it was opened for is told, and
    /// nothing is taken from what its first request will be judged by.
    pub(in crate::trace) fn opened(&mut self, conn: ConnId, sent: &Sent, runtime: Runtime) -> Found {
        let reserved = self.reserved.get(&conn).copied();
        let found = self.find(conn, sent, runtime);
        if let Some(reserved) = reserved {
            if let Some(inbound) = reserved.found.parent().and_then(|parent| self.inbound.get_mut(&parent)) {
                inbound.upstream += 1;
            }
            self.reserved.insert(conn, reserved);
        }
        let found = self.certain(found);
        if let Some(inbound) = found.parent().and_then(|parent| self.inbound.get_mut(&parent)) {
            inbound.users += 1;
        }
        found
    }
}
