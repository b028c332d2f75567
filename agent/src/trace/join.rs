//! Finds the two ends of a connection.
use std::collections::HashMap;

use crate::capture::{ConnId, Endpoints};
use crate::span::ConnFacts;

/// What names an end, and, turned round, the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum End {
    /// The initial sequence numbers of both directions: 64 bits that address translation does not touch.
    Sequences(u32, u32),
    /// Kernel addresses of the two sockets.
    Sockets(u64, u64),
}

impl End {
    const fn of(facts: &ConnFacts) -> Option<Self> {
        match (&facts.endpoints, facts.isn) {
            (Endpoints::Tcp { .. }, Some((local, remote))) => Some(Self::Sequences(local, remote)),
            // A Unix socket that is older than the agent counts its bytes from where it was joined.
            (Endpoints::Unix { address, peer }, _) if !facts.midway && *peer != 0 && *address != 0 => {
                Some(Self::Sockets(*address, *peer))
            }
            _ => None,
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Sequences(local, remote) => Self::Sequences(remote, local),
            Self::Sockets(address, peer) => Self::Sockets(peer, address),
        }
    }
}

/// The ends Clew sees.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// An end and the connection it is; none where two claim to be it.
    by_end: HashMap<End, Option<ConnId>>,
    ends: HashMap<ConnId, End>,
}

impl Ends {
    /// Adds an end; the name of a counter where something is wrong with it.
    pub(super) fn add(&mut self, facts: &ConnFacts) -> Option<&'static str> {
        let midway = facts.midway && matches!(facts.endpoints, Endpoints::Unix { .. });
        let Some(end) = End::of(facts) else {
            return midway.then_some("stitch.unix_midway");
        };
        self.ends.insert(facts.conn, end);
        // A Unix socket's address is used again as soon as it is freed: the newest is meant. Sequence numbers are not.
        let newest = matches!(end, End::Sockets(..));
        match self.by_end.get_mut(&end) {
            Some(known) if !newest && *known != Some(facts.conn) => {
                *known = None;
                Some("stitch.ambiguous")
            }
            _ => {
                self.by_end.insert(end, Some(facts.conn));
                None
            }
        }
    }

    /// The connection as its other end sees it, if that end is seen too and the two agree.
    pub(super) fn peer(&self, conn: ConnId) -> Option<ConnId> {
        let end = self.ends.get(&conn)?;
        if self.by_end.get(end).copied().flatten() != Some(conn) {
            return None;
        }
        self.by_end
            .get(&end.other())
            .copied()
            .flatten()
            .filter(|peer| *peer != conn)
    }

    pub(super) fn remove(&mut self, conn: ConnId) {
        if let Some(end) = self.ends.remove(&conn)
            && self
                .by_end
                .get(&end)
                .copied()
                .flatten()
                .is_none_or(|known| known == conn)
        {
            self.by_end.remove(&end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(conn: u64, endpoints: Endpoints, isn: Option<(u32, u32)>, midway: bool) -> ConnFacts {
        ConnFacts {
            conn: ConnId(conn),
            endpoints,
            netns: 1,
            isn,
            midway,
            connect_ns: None,
        }
    }

    fn tcp(conn: u64, local: u32, remote: u32) -> ConnFacts {
        let address = "127.0.0.1:1".parse().unwrap();
        facts(
            conn,
            Endpoints::Tcp {
                local: address,
                remote: address,
            },
            Some((local, remote)),
            false,
        )
    }

    fn unix(conn: u64, address: u64, peer: u64, midway: bool) -> ConnFacts {
        facts(conn, Endpoints::Unix { address, peer }, None, midway)
    }

    /// The peer of connection 1 among these.
    fn check(all: &[ConnFacts], peer: Option<u64>) {
        let mut ends = Ends::default();
        for facts in all {
            ends.add(facts);
        }
        assert_eq!(ends.peer(ConnId(1)), peer.map(ConnId));
    }

    #[test]
    fn sequence_numbers_join() {
        check(&[tcp(1, 5, 9), tcp(2, 9, 5)], Some(2));
        check(&[tcp(1, 5, 9), tcp(2, 9, 6)], None);
        check(&[tcp(1, 5, 9), tcp(2, 9, 5), tcp(3, 9, 5)], None);
        check(&[tcp(1, 5, 5)], None);
    }

    #[test]
    fn unix_sockets_join_unless_older_than_the_agent() {
        check(&[unix(1, 100, 200, false), unix(2, 200, 100, false)], Some(2));
        check(&[unix(1, 100, 200, false), unix(2, 200, 101, false)], None);
        check(&[unix(1, 100, 200, true), unix(2, 200, 100, false)], None);
        check(&[unix(1, 100, 0, false), unix(2, 0, 100, false)], None);
        check(
            &[
                unix(1, 100, 200, false),
                unix(2, 200, 100, false),
                unix(3, 200, 100, false),
            ],
            Some(3),
        );
    }

    #[test]
    fn an_end_that_is_over_joins_no_more() {
        let mut ends = Ends::default();
        ends.add(&tcp(1, 5, 9));
        ends.add(&tcp(2, 9, 5));
        ends.remove(ConnId(2));
        assert_eq!(ends.peer(ConnId(1)), None);
        assert_eq!((ends.ends.len(), ends.by_end.len()), (1, 1));
    }
}
