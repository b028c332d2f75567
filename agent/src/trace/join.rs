//! Finds the two ends of a connection.
//!
//! What is claimed, and why it is true:
//!
//! * **Sequence numbers**: the two ends of a TCP connection have the same pair of initial sequence numbers, turned round: 64
//!   bits that address translation does not touch.
//! * **Addresses**: in one network namespace no two sockets have the same pair of addresses at the same time, so where the
//!   sequence numbers of an end are not known, the end with its addresses turned round is the other one, if both were open
//!   when the later one was first seen. Translated addresses match nothing.
//! * **Kernel addresses**: a Unix socket names its peer.
//!
//! One kind of evidence never overrules another: where they name different ends, or ends that cannot talk to each other,
//! nothing is joined.
use std::collections::HashMap;
use std::net::SocketAddr;

use foldhash::fast::RandomState;

use crate::capture::{ConnId, Endpoints};
use crate::span::ConnFacts;

/// What names an end, and, turned round, the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Name {
    /// The initial sequence numbers of both directions.
    Sequences(u32, u32),
    /// Network namespace, local and remote address.
    Addresses(u64, SocketAddr, SocketAddr),
    /// Kernel addresses of the two sockets.
    Sockets(u64, u64),
}

impl Name {
    const fn other(self) -> Self {
        match self {
            Self::Sequences(local, remote) => Self::Sequences(remote, local),
            Self::Addresses(netns, local, remote) => Self::Addresses(netns, remote, local),
            Self::Sockets(address, peer) => Self::Sockets(peer, address),
        }
    }
}

/// An end.
#[derive(Debug)]
struct End {
    /// What names it for good: sequence numbers or kernel addresses.
    name: Option<Name>,
    /// TCP: its addresses.
    addresses: Option<Name>,
    /// The end with its addresses turned round, both open when the later one came. It counts where sequence numbers are
    /// missing.
    opposite: Option<ConnId>,
    /// It is closed.
    over: bool,
}

impl End {
    fn of(facts: &ConnFacts) -> Option<Self> {
        let (name, addresses) = match &facts.endpoints {
            Endpoints::Tcp { local, remote } => {
                let addresses = Name::Addresses(facts.netns, *local, *remote);
                let sequences = facts.isn.map(|(local, remote)| Name::Sequences(local, remote));
                // Offsets that do not count from byte 0 cannot be compared.
                if sequences.is_none() && facts.midway {
                    return None;
                }
                (sequences, Some(addresses))
            }
            // A Unix socket that is older than the agent counts its bytes from where it was joined.
            Endpoints::Unix { address, peer } if !facts.midway && *peer != 0 && *address != 0 => {
                (Some(Name::Sockets(*address, *peer)), None)
            }
            Endpoints::Unix { .. } | Endpoints::Udp { .. } => return None,
        };
        Some(Self {
            name,
            addresses,
            opposite: None,
            over: false,
        })
    }

    /// Whether the two cannot be the ends of one connection, whatever translates addresses on the way.
    fn excludes(&self, other: &Self) -> bool {
        let (Some(Name::Addresses(near, local, remote)), Some(Name::Addresses(far, other_local, other_remote))) =
            (self.addresses, other.addresses)
        else {
            return false;
        };
        // The same socket twice, or loopback addresses, which never leave their namespace.
        let twice = near == far && local == other_local && remote == other_remote && local != remote;
        let apart = near != far && local.ip().is_loopback() && other_local.ip().is_loopback();
        twice || apart
    }
}

/// The other end, as one end's evidence has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judged {
    Peer(ConnId),
    Unseen,
    /// The evidence contradicts itself.
    Conflict,
}

/// The ends Clew sees.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// A name and the connection it is of; none where two claim it.
    by_name: HashMap<Name, Option<ConnId>, RandomState>,
    ends: HashMap<ConnId, End, RandomState>,
}

impl Ends {
    /// Adds an end; the name of a counter where something is wrong with it.
    pub(super) fn add(&mut self, facts: &ConnFacts) -> Option<&'static str> {
        let conn = facts.conn;
        let Some(end) = End::of(facts) else {
            let midway = facts.midway && matches!(facts.endpoints, Endpoints::Unix { .. });
            return midway.then_some("stitch.unix_midway");
        };
        self.remove(conn);
        let (name, addresses) = (end.name, end.addresses);
        self.ends.insert(conn, end);
        let mut ambiguous = false;
        if let Some(name) = name {
            // A Unix socket's address is used again as soon as it is freed: the newest is meant. Sequence numbers are not.
            let newest = matches!(name, Name::Sockets(..));
            ambiguous |= !self.claim(name, conn, newest);
        }
        if let Some(addresses) = addresses {
            let alone = self.claim(addresses, conn, false);
            ambiguous |= !alone && name.is_none();
            self.oppose(conn, addresses);
        }
        let named = name.and_then(|name| self.holder(name.other()));
        let opposite = self.ends.get(&conn).and_then(|end| end.opposite);
        let conflict = [Some(conn), named, opposite]
            .into_iter()
            .flatten()
            .any(|conn| self.judge(conn) == Judged::Conflict);
        match (conflict, ambiguous) {
            (true, _) => Some("stitch.conflict"),
            (false, true) => Some("stitch.ambiguous"),
            (false, false) => None,
        }
    }

    /// The connection as its other end sees it, if that end is seen too and the two agree.
    pub(super) fn peer(&self, conn: ConnId) -> Option<ConnId> {
        match self.judge(conn) {
            Judged::Peer(peer) if self.judge(peer) == Judged::Peer(conn) => Some(peer),
            _ => None,
        }
    }

    /// An end is closed: one that is seen from now on is not its other one by address alone.
    pub(super) fn over(&mut self, conn: ConnId) {
        if let Some(end) = self.ends.get_mut(&conn) {
            end.over = true;
        }
    }

    pub(super) fn remove(&mut self, conn: ConnId) {
        let Some(end) = self.ends.remove(&conn) else { return };
        for name in [end.name, end.addresses].into_iter().flatten() {
            if self.holder(name).is_none_or(|holder| holder == conn) {
                self.by_name.remove(&name);
            }
        }
    }

    /// Whether nobody else has the name.
    fn claim(&mut self, name: Name, conn: ConnId, newest: bool) -> bool {
        match self.by_name.get_mut(&name) {
            Some(holder) if !newest && *holder != Some(conn) => {
                *holder = None;
                false
            }
            _ => {
                self.by_name.insert(name, Some(conn));
                true
            }
        }
    }

    fn holder(&self, name: Name) -> Option<ConnId> {
        self.by_name.get(&name).copied().flatten()
    }

    /// Finds the end with these addresses turned round. Addresses that two ends have name none.
    fn oppose(&mut self, conn: ConnId, addresses: Name) {
        let alone = self.holder(addresses) == Some(conn);
        let found = self.holder(addresses.other()).filter(|other| *other != conn);
        let Some((found, other)) = found.and_then(|found| Some((found, self.ends.get_mut(&found)?))) else {
            return;
        };
        let opposite = (alone && !other.over).then_some(found);
        other.opposite = opposite.map(|_| conn);
        if let Some(end) = self.ends.get_mut(&conn) {
            end.opposite = opposite;
        }
    }

    fn judge(&self, conn: ConnId) -> Judged {
        let Some(end) = self.ends.get(&conn) else {
            return Judged::Unseen;
        };
        // A name that another end claims too names nobody.
        let own = end.name.filter(|name| self.holder(*name) == Some(conn));
        let named = own
            .and_then(|name| self.holder(name.other()))
            .filter(|other| *other != conn);
        // Two ends with sequence numbers are judged by these.
        let opposite = end.opposite.filter(|other| {
            let other = self.ends.get(other).filter(|other| other.opposite == Some(conn));
            other.is_some_and(|other| end.name.is_none() || other.name.is_none())
        });
        let peer = match (named, opposite) {
            (Some(named), Some(opposite)) if named != opposite => return Judged::Conflict,
            (Some(peer), _) | (None, Some(peer)) => peer,
            (None, None) => return Judged::Unseen,
        };
        if self.ends.get(&peer).is_some_and(|other| end.excludes(other)) {
            return Judged::Conflict;
        }
        Judged::Peer(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::Layer;

    fn facts(conn: u64, endpoints: Endpoints, isn: Option<(u32, u32)>, midway: bool) -> ConnFacts {
        ConnFacts {
            conn: ConnId(conn),
            endpoints,
            netns: 1,
            isn,
            midway,
            layer: Layer::Wire,
            asks: None,
            connect_ns: None,
            accept_ns: None,
            preface: crate::protocol::Preface::default(),
            handshake: None,
        }
    }

    /// `local > remote`, ports of 10.0.0.1, or other addresses; behind `@` the namespace if it is not 1.
    fn tcp(conn: u64, addresses: &str, isn: Option<(u32, u32)>) -> ConnFacts {
        let (addresses, netns) = addresses.split_once(" @").unwrap_or((addresses, "1"));
        let (local, remote) = addresses.split_once(" > ").unwrap();
        let address = |text: &str| match text.parse::<u16>() {
            Ok(port) => SocketAddr::from(([10, 0, 0, 1], port)),
            Err(_) => text.parse().unwrap(),
        };
        let endpoints = Endpoints::Tcp {
            local: address(local),
            remote: address(remote),
        };
        ConnFacts {
            netns: netns.parse().unwrap(),
            ..facts(conn, endpoints, isn, false)
        }
    }

    fn unix(conn: u64, address: u64, peer: u64, midway: bool) -> ConnFacts {
        facts(conn, Endpoints::Unix { address, peer }, None, midway)
    }

    /// The peer of connection 1 among these, in whatever order they are seen, and the counters raised at most.
    #[track_caller]
    fn check(all: &[ConnFacts], peer: Option<u64>, counts: &[&str]) {
        for turn in 0..all.len() {
            let mut ends = Ends::default();
            let mut raised = Vec::new();
            for facts in all.iter().cycle().skip(turn).take(all.len()) {
                raised.extend(ends.add(facts));
            }
            assert_eq!(ends.peer(ConnId(1)), peer.map(ConnId), "turned by {turn}");
            raised.dedup();
            assert_eq!(raised, counts, "turned by {turn}");
        }
    }

    #[test]
    fn sequence_numbers_join() {
        let client = tcp(1, "4000 > 80", Some((5, 9)));
        let server = |conn, isn| tcp(conn, "80 > 4000", Some(isn));
        check(&[client.clone(), server(2, (9, 5))], Some(2), &[]);
        check(&[client.clone(), server(2, (9, 6))], None, &[]);
        let thrice = [client.clone(), server(2, (9, 5)), server(3, (9, 5))];
        check(&thrice, None, &["stitch.ambiguous"]);
        check(&[tcp(1, "4000 > 80", Some((5, 5)))], None, &[]);
        // The same addresses, used before and not let go yet.
        check(&[client.clone(), server(2, (9, 5)), server(3, (7, 8))], Some(2), &[]);
    }

    #[test]
    fn translated_addresses_do_not_matter() {
        let client = tcp(1, "4000 > 10.96.0.1:80", Some((5, 9)));
        check(
            &[client.clone(), tcp(2, "10.244.0.5:8080 > 4000 @2", Some((9, 5)))],
            Some(2),
            &[],
        );
        check(&[client, tcp(2, "8080 > 4000", Some((9, 5)))], Some(2), &[]);
        // A node's port, opened over loopback.
        let client = tcp(1, "127.0.0.1:4000 > 127.0.0.1:30080", Some((5, 9)));
        check(
            &[client, tcp(2, "10.244.0.5:8080 > 10.244.0.1:999 @2", Some((9, 5)))],
            Some(2),
            &[],
        );
    }

    #[test]
    fn addresses_join_where_sequence_numbers_are_missing() {
        let (client, server) = (tcp(1, "4000 > 80", None), tcp(2, "80 > 4000", None));
        check(&[client.clone(), server.clone()], Some(2), &[]);
        check(&[client.clone(), tcp(2, "80 > 4000", Some((9, 5)))], Some(2), &[]);
        check(&[tcp(1, "4000 > 80", Some((5, 9))), server.clone()], Some(2), &[]);
        // Another namespace, another port, and translated.
        check(&[client.clone(), tcp(2, "80 > 4000 @2", None)], None, &[]);
        check(&[client.clone(), tcp(2, "80 > 4001", None)], None, &[]);
        check(&[client.clone(), tcp(2, "8080 > 4000", None)], None, &[]);
        let thrice = [client.clone(), server.clone(), tcp(3, "80 > 4000", None)];
        check(&thrice, None, &["stitch.ambiguous"]);
        let midway = ConnFacts { midway: true, ..server };
        check(&[client, midway], None, &[]);
    }

    #[test]
    fn evidence_that_contradicts_itself_joins_nothing() {
        // Sequence numbers name 2, addresses name 3.
        let client = tcp(1, "4000 > 80", Some((5, 9)));
        let server = tcp(2, "8080 > 4000", Some((9, 5)));
        let other = tcp(3, "80 > 4000", None);
        check(&[client, server, other], None, &["stitch.conflict"]);
        // Loopback does not leave its namespace.
        let client = tcp(1, "127.0.0.1:4000 > 127.0.0.1:80", Some((5, 9)));
        let far = tcp(2, "127.0.0.1:80 > 127.0.0.1:4000 @2", Some((9, 5)));
        check(&[client.clone(), far], None, &["stitch.conflict"]);
        // No two sockets have the same addresses.
        let twin = tcp(2, "127.0.0.1:4000 > 127.0.0.1:80", Some((9, 5)));
        check(&[client, twin], None, &["stitch.conflict"]);
    }

    #[test]
    fn an_end_that_is_closed_is_not_that_of_a_later_one() {
        let mut ends = Ends::default();
        ends.add(&tcp(1, "4000 > 80", None));
        ends.over(ConnId(1));
        ends.add(&tcp(2, "80 > 4000", None));
        assert_eq!((ends.peer(ConnId(1)), ends.peer(ConnId(2))), (None, None));
        // Two that were open together stay joined.
        ends.add(&tcp(3, "5000 > 80", None));
        ends.add(&tcp(4, "80 > 5000", None));
        ends.over(ConnId(3));
        assert_eq!(
            (ends.peer(ConnId(3)), ends.peer(ConnId(4))),
            (Some(ConnId(4)), Some(ConnId(3)))
        );
    }

    #[test]
    fn unix_sockets_join_unless_older_than_the_agent() {
        check(&[unix(1, 100, 200, false), unix(2, 200, 100, false)], Some(2), &[]);
        check(&[unix(1, 100, 200, false), unix(2, 200, 101, false)], None, &[]);
        let midway = [unix(1, 100, 200, true), unix(2, 200, 100, false)];
        check(&midway, None, &["stitch.unix_midway"]);
        check(&[unix(1, 100, 0, false), unix(2, 0, 100, false)], None, &[]);
        let mut ends = Ends::default();
        for facts in [
            unix(1, 100, 200, false),
            unix(2, 200, 100, false),
            unix(3, 200, 100, false),
        ] {
            ends.add(&facts);
        }
        assert_eq!(ends.peer(ConnId(1)), Some(ConnId(3)));
    }

    #[test]
    fn an_end_that_is_over_joins_no_more() {
        let mut ends = Ends::default();
        ends.add(&tcp(1, "4000 > 80", Some((5, 9))));
        ends.add(&tcp(2, "80 > 4000", Some((9, 5))));
        ends.remove(ConnId(2));
        assert_eq!(ends.peer(ConnId(1)), None);
        assert_eq!((ends.ends.len(), ends.by_name.len()), (1, 2));
    }
}
