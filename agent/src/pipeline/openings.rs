//! How long connections took to open, or to be accepted. The kernel tells of that before the connection itself is first seen.
use std::collections::HashMap;

use crate::capture::ConnId;
use crate::trace::Origin;

/// Connections without a byte that are remembered.
const MAX_OPENINGS: usize = 65_536;
/// How long one that was accepted and passes nothing is remembered at least.
const SILENT_NS: u64 = 10_000_000_000;

/// Connections that are being opened, or are open and have passed nothing.
#[derive(Debug, Default)]
pub(super) struct Openings(HashMap<ConnId, Opening>);

#[derive(Clone, Copy, Debug)]
struct Opening {
    /// When connect(2) was called, or accept(2) returned.
    since_ns: u64,
    took: Option<Took>,
    /// For whom.
    origin: Option<Origin>,
}

/// How a connection began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Took {
    /// The handshake of one opened here took so many nanoseconds.
    Connecting(u64),
    /// One that the other end opened waited so many nanoseconds to be accepted.
    Accepting(u64),
}

impl Openings {
    /// connect(2) was called; the name of a counter where that could not be remembered.
    pub(super) fn begin(&mut self, conn: ConnId, now_ns: u64) -> Option<&'static str> {
        self.insert(conn, now_ns, None)
    }

    /// accept(2) returned the connection, which had waited for it so long; the name of a counter where that could not be remembered.
    pub(super) fn accepted(&mut self, conn: ConnId, now_ns: u64, waited_ns: u64) -> Option<&'static str> {
        self.insert(conn, now_ns, Some(Took::Accepting(waited_ns)))
    }

    fn insert(&mut self, conn: ConnId, now_ns: u64, took: Option<Took>) -> Option<&'static str> {
        if self.0.len() >= MAX_OPENINGS && !self.0.contains_key(&conn) {
            // The kernel tells of the end of a connection only if something passed it.
            self.0.retain(|_, opening| {
                !matches!(opening.took, Some(Took::Accepting(_))) || now_ns.saturating_sub(opening.since_ns) < SILENT_NS
            });
            if self.0.len() >= MAX_OPENINGS {
                return Some("pipeline.openings_full");
            }
        }
        let opening = Opening {
            since_ns: now_ns,
            took,
            origin: None,
        };
        self.0.insert(conn, opening);
        None
    }

    /// It was called for `origin`.
    pub(super) fn asked_by(&mut self, conn: ConnId, origin: Origin) {
        if let Some(opening) = self.0.get_mut(&conn) {
            opening.origin = Some(origin);
        }
    }

    /// For whom it was called and when, of a connection that never was open.
    pub(super) fn failed(&self, conn: ConnId) -> Option<(Origin, u64)> {
        let opening = self.0.get(&conn).filter(|opening| opening.took.is_none())?;
        opening.origin.map(|origin| (origin, opening.since_ns))
    }

    /// The handshake is complete.
    pub(super) fn complete(&mut self, conn: ConnId, now_ns: u64) {
        if let Some(opening) = self.0.get_mut(&conn) {
            opening.took = now_ns.checked_sub(opening.since_ns).map(Took::Connecting);
        }
    }

    /// How long it took, once; none while that is not known.
    pub(super) fn take(&mut self, conn: ConnId) -> Option<Took> {
        let took = self.0.get(&conn)?.took?;
        self.0.remove(&conn);
        Some(took)
    }

    /// The connection is over.
    pub(super) fn forget(&mut self, conn: ConnId) {
        self.0.remove(&conn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_is_told_once() {
        let mut openings = Openings::default();
        let conn = ConnId(1);
        assert_eq!(openings.begin(conn, 100), None);
        assert_eq!(openings.take(conn), None);
        openings.complete(conn, 350);
        assert_eq!(
            (openings.take(conn), openings.take(conn)),
            (Some(Took::Connecting(250)), None)
        );
        openings.complete(conn, 400);
        assert_eq!(openings.take(conn), None);
    }

    #[test]
    fn memory_is_bounded_and_a_number_used_again_counts_anew() {
        let mut openings = Openings::default();
        for conn in 0..MAX_OPENINGS as u64 {
            assert_eq!(openings.begin(ConnId(conn), conn), None);
        }
        assert_eq!(openings.begin(ConnId(u64::MAX), 1), Some("pipeline.openings_full"));
        openings.complete(ConnId(7), 10);
        assert_eq!(openings.begin(ConnId(7), 20), None);
        assert_eq!(openings.take(ConnId(7)), None);
        openings.forget(ConnId(8));
        assert_eq!(openings.begin(ConnId(u64::MAX), 1), None);
    }

    #[test]
    fn what_was_accepted_and_stays_silent_makes_room() {
        let mut openings = Openings::default();
        for conn in 0..MAX_OPENINGS as u64 {
            assert_eq!(openings.accepted(ConnId(conn), 5, 70), None);
        }
        assert_eq!(openings.take(ConnId(1)), Some(Took::Accepting(70)));
        assert_eq!(openings.begin(ConnId(1), 6), None);
        assert_eq!(openings.begin(ConnId(u64::MAX), 6), Some("pipeline.openings_full"));
        assert_eq!(openings.begin(ConnId(u64::MAX), 5 + SILENT_NS), None);
        openings.complete(ConnId(1), 16);
        assert_eq!(openings.take(ConnId(1)), Some(Took::Connecting(10)));
        assert_eq!(openings.take(ConnId(2)), None);
    }
}
