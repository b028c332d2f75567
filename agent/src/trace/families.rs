//! Which execution contexts serve a connection, rather than a request.
//!
//! A server on an event loop makes contexts when it accepts a connection, before anything was read of it: one reads, another
//! works, and they share nothing but their origin. Whatever one of them creates while exactly one request of the connection is
//! open, it creates for that request.
use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use super::contexts::Key;
use crate::capture::{ConnId, Pid};
use crate::span::SpanKey;

/// Sockets that are remembered; the oldest are forgotten.
const MAX_SOCKETS: usize = 65_536;
/// Contexts of one connection that are remembered.
const MAX_MEMBERS: usize = 64;

/// A socket by its inode number.
pub(super) type Inode = u64;

#[derive(Debug, Default)]
struct Socket {
    conn: Option<ConnId>,
    /// The only inbound request so far.
    first: Option<SpanKey>,
    /// Inbound requests so far.
    requests: usize,
    members: Vec<Key>,
}

/// What a family has served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// No request yet.
    Nothing,
    /// This one alone.
    One(SpanKey),
    /// Several, on this connection.
    Many(ConnId),
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Families {
    sockets: HashMap<Inode, Socket, RandomState>,
    order: VecDeque<Inode>,
    inodes: HashMap<ConnId, Inode, RandomState>,
    members: HashMap<Key, Inode, RandomState>,
}

impl Families {
    /// A connection was seen for the first time.
    pub(super) fn connection(&mut self, conn: ConnId, inode: Inode) {
        let socket = self.socket(inode);
        if socket.conn.is_none_or(|other| other == conn) {
            socket.conn = Some(conn);
        } else {
            // Another socket's number, used again.
            self.forget(inode);
            self.socket(inode).conn = Some(conn);
        }
        self.inodes.insert(conn, inode);
    }

    /// The connection with this socket.
    pub(super) fn conn(&self, inode: Inode) -> Option<ConnId> {
        self.sockets.get(&inode)?.conn
    }

    /// A context was made to serve the connection with this socket.
    pub(super) fn join(&mut self, key: Key, inode: Inode) {
        let socket = self.socket(inode);
        if socket.members.len() < MAX_MEMBERS {
            socket.members.push(key);
            self.members.insert(key, inode);
        }
    }

    /// An inbound request was read of a connection.
    pub(super) fn request(&mut self, conn: ConnId, span: SpanKey) {
        let socket = self.inodes.get(&conn).and_then(|inode| self.sockets.get_mut(inode));
        if let Some(socket) = socket {
            socket.requests += 1;
            socket.first = (socket.requests == 1).then_some(span);
        }
    }

    /// The socket of a context's family, if it has one.
    pub(super) fn of(&self, key: Key) -> Option<Inode> {
        self.members.get(&key).copied()
    }

    /// What the family of a socket has served.
    pub(super) fn served(&self, inode: Inode) -> Served {
        match self.sockets.get(&inode) {
            Some(Socket { first: Some(span), .. }) => Served::One(*span),
            Some(Socket {
                conn: Some(conn),
                requests,
                ..
            }) if *requests > 0 => Served::Many(*conn),
            _ => Served::Nothing,
        }
    }

    /// A connection is over.
    pub(super) fn closed(&mut self, conn: ConnId) {
        if let Some(inode) = self.inodes.get(&conn).copied() {
            self.forget(inode);
        }
    }

    /// A process is over.
    pub(super) fn exited(&mut self, pid: Pid) {
        self.members.retain(|(process, ..), _| *process != pid);
    }

    fn forget(&mut self, inode: Inode) {
        if let Some(socket) = self.sockets.remove(&inode) {
            for member in socket.members {
                self.members.remove(&member);
            }
            if let Some(conn) = socket.conn {
                self.inodes.remove(&conn);
            }
        }
    }

    fn socket(&mut self, inode: Inode) -> &mut Socket {
        if !self.sockets.contains_key(&inode) {
            while self.sockets.len() >= MAX_SOCKETS || self.order.len() >= 2 * MAX_SOCKETS {
                match self.order.pop_front() {
                    Some(oldest) => self.forget(oldest),
                    None => break,
                }
            }
            self.order.push_back(inode);
        }
        self.sockets.entry(inode).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBER: Key = (Pid(1), 2, 7);

    #[test]
    fn a_family_serves_its_connection() {
        let mut families = Families::default();
        families.join(MEMBER, 40);
        assert_eq!((families.of(MEMBER), families.served(40)), (Some(40), Served::Nothing));
        families.connection(ConnId(3), 40);
        families.request(ConnId(3), SpanKey(1));
        assert_eq!(families.served(40), Served::One(SpanKey(1)));
        families.request(ConnId(3), SpanKey(2));
        assert_eq!(families.served(40), Served::Many(ConnId(3)));
        families.closed(ConnId(3));
        assert_eq!((families.of(MEMBER), families.served(40)), (None, Served::Nothing));
    }

    #[test]
    fn a_number_used_again_is_another_socket() {
        let mut families = Families::default();
        families.join(MEMBER, 40);
        families.connection(ConnId(3), 40);
        families.request(ConnId(3), SpanKey(1));
        families.connection(ConnId(4), 40);
        assert_eq!((families.of(MEMBER), families.served(40)), (None, Served::Nothing));
        assert_eq!(families.conn(40), Some(ConnId(4)));
    }

    #[test]
    fn memory_is_bounded() {
        let mut families = Families::default();
        for inode in 1..=3 * MAX_SOCKETS as u64 {
            families.join((Pid(1), 2, inode), inode);
            families.connection(ConnId(inode), inode);
        }
        for id in 0..10 * MAX_MEMBERS as u64 {
            families.join((Pid(2), 2, id), 1);
        }
        assert!(families.sockets.len() <= MAX_SOCKETS && families.order.len() <= 2 * MAX_SOCKETS);
        assert!(families.members.len() <= MAX_SOCKETS + MAX_MEMBERS);
        assert_eq!(families.inodes.len(), families.sockets.len() - 1);
    }
}
