//! How long connections took to open. The kernel tells of that before the connection itself is first seen.
use std::collections::HashMap;

use crate::capture::ConnId;

/// Connections without a byte that are remembered.
const MAX_OPENINGS: usize = 65_536;

/// Connections that are being opened, or are open and have passed nothing.
#[derive(Debug, Default)]
pub(super) struct Openings(HashMap<ConnId, Opening>);

#[derive(Clone, Copy, Debug)]
struct Opening {
    /// When connect(2) was called.
    since_ns: u64,
    took_ns: Option<u64>,
}

impl Openings {
    /// connect(2) was called; the name of a counter where that could not be remembered.
    pub(super) fn begin(&mut self, conn: ConnId, now_ns: u64) -> Option<&'static str> {
        if self.0.len() >= MAX_OPENINGS && !self.0.contains_key(&conn) {
            return Some("pipeline.openings_full");
        }
        let opening = Opening {
            since_ns: now_ns,
            took_ns: None,
        };
        self.0.insert(conn, opening);
        None
    }

    /// The handshake is complete.
    pub(super) fn complete(&mut self, conn: ConnId, now_ns: u64) {
        if let Some(opening) = self.0.get_mut(&conn) {
            opening.took_ns = now_ns.checked_sub(opening.since_ns);
        }
    }

    /// How long it took, once; none while that is not known.
    pub(super) fn take(&mut self, conn: ConnId) -> Option<u64> {
        let took_ns = self.0.get(&conn)?.took_ns?;
        self.0.remove(&conn);
        Some(took_ns)
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
        assert_eq!((openings.take(conn), openings.take(conn)), (Some(250), None));
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
}
