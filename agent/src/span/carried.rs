//! Which exchanges a connection carried by themselves: others may be under way on it at the same time.
use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::capture::ConnId;

/// The connections that carry an exchange.
#[derive(Debug, Default)]
pub(super) struct Carried {
    connections: HashMap<ConnId, Connection, RandomState>,
}

#[derive(Debug, Default)]
struct Connection {
    n_open: usize,
    /// Exchanges that began since there was none.
    n_begun: u64,
}

/// The place of an exchange among those of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Which of them it is, the first being 1.
    number: u64,
    /// There was another when it began.
    joined: bool,
}

impl Carried {
    /// An exchange begins.
    pub(super) fn begin(&mut self, conn: ConnId) -> Place {
        let connection = self.connections.entry(conn).or_default();
        connection.n_begun = connection.n_begun.wrapping_add(1);
        let joined = connection.n_open > 0;
        connection.n_open = connection.n_open.saturating_add(1);
        Place {
            number: connection.n_begun,
            joined,
        }
    }

    /// One is over. Whether there was no other meanwhile.
    pub(super) fn end(&mut self, conn: ConnId, place: Option<Place>) -> bool {
        let (Some(place), Some(connection)) = (place, self.connections.get_mut(&conn)) else {
            return false;
        };
        let alone = !place.joined && connection.n_begun == place.number;
        connection.n_open = connection.n_open.saturating_sub(1);
        if connection.n_open == 0 {
            self.connections.remove(&conn);
        }
        alone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_after_the_other_and_several_at_once() {
        const ONE: ConnId = ConnId(1);
        let mut carried = Carried::default();
        for _ in 0..2 {
            let first = carried.begin(ONE);
            let other = carried.begin(ConnId(2));
            assert!(carried.end(ONE, Some(first)));
            assert!(carried.end(ConnId(2), Some(other)));
        }
        let first = carried.begin(ONE);
        let second = carried.begin(ONE);
        assert!(!carried.end(ONE, Some(first)), "another began meanwhile");
        assert!(!carried.end(ONE, Some(second)), "it began meanwhile");
        assert!(!carried.end(ONE, None));
        assert_eq!(carried.connections.len(), 0);
    }
}
