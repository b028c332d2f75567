//! Where plaintext stands on a connection whose bytes the program moves itself, and which connection that is, where the session's
//! beginning was not seen.
//!
//! Such a program hands what a thread has read from a socket to the library at once, and what the library made of its plaintext to
//! the socket. A record is longer than its plaintext by what the cipher adds, always the same (RFC 8446, section 5.2; RFC 5288,
//! section 3; RFC 7905, section 2): where both lengths fit, the record ends where the operation did. A session for which this was
//! so several times on one connection, and never on another, is that connection's.
use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use foldhash::fast::RandomState;

use super::secured::Since;
use crate::capture::{ConnId, Data, Direction, Moment, Pid, Plain, SessionId};

/// What a record has besides its plaintext, bytes: its head, the tag, and an explicit nonce or the type of its content.
const OVERHEAD: RangeInclusive<u64> = 21..=29;
/// How often both lengths have to fit before a session is a connection's.
const CONFIRMED: u32 = 3;
/// How long plaintext waits for the operation that carries it.
const HELD_NS: u64 = 20_000_000;
/// Processes, threads, sessions and pieces of plaintext that are remembered.
const MOST: usize = 8192;

/// What passed sockets and libraries last. It follows only processes with sessions that need it.
#[derive(Debug, Default)]
pub(super) struct Passages {
    watched: HashSet<Pid, RandomState>,
    /// What each thread read from a socket last.
    came: HashMap<(Pid, u32), Came, RandomState>,
    ties: HashMap<SessionId, Tie, RandomState>,
    /// The session each connection may carry.
    claims: HashMap<ConnId, SessionId, RandomState>,
    held: HashMap<ConnId, Held, RandomState>,
}

#[derive(Clone, Copy, Debug)]
struct Came {
    conn: ConnId,
    length: u64,
    end: u64,
    /// The session that plaintext of it was taken from.
    taken: Option<SessionId>,
}

/// What speaks for a session being a connection's.
#[derive(Clone, Copy, Debug)]
struct Tie {
    conn: ConnId,
    overhead: u64,
    times: u32,
}

/// Plaintext that was given to the library and has not passed the socket.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) plain: Plain,
    pub(super) since: Since,
}

/// What plaintext that was taken from the library says of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    Nothing,
    /// It is on this connection, on which the record ended there.
    On(ConnId, u64),
    /// It is on another connection than was thought.
    Elsewhere,
}

impl Passages {
    /// Whether operations of a process are evidence for one of its sessions.
    pub(super) fn watches(&self, pid: Pid) -> bool {
        !self.watched.is_empty() && self.watched.contains(&pid)
    }

    /// An operation on a socket passed. What was held for it comes out, with its place if that fits.
    pub(super) fn carried(&mut self, data: &Data) -> Option<Held> {
        let end = data.offset.saturating_add(data.length);
        match data.direction {
            Direction::Ingress => {
                let came = Came {
                    conn: data.conn,
                    length: data.length,
                    end,
                    taken: None,
                };
                if self.came.len() >= MOST {
                    self.came.clear();
                }
                self.came.insert(thread(&data.moment), came);
                None
            }
            Direction::Egress => {
                let mut held = self.held.remove(&data.conn)?;
                if fits(data.length, held.plain.data.length).is_some() {
                    held.plain.wire = Some(end);
                }
                Some(held)
            }
        }
    }

    /// Plaintext was taken from a session, which is thought to be on `conn`.
    pub(super) fn taken(&mut self, plain: &Plain, conn: Option<ConnId>) -> Says {
        self.watch(plain.data.moment.actor.pid);
        let Some(came) = self.came.get_mut(&thread(&plain.data.moment)) else {
            return Says::Nothing;
        };
        match came.taken.replace(plain.session) {
            None => {}
            Some(same) if same == plain.session => return Says::Nothing,
            Some(other) => {
                // The thread hands on what it has read for several at once: nothing tells whose was whose.
                came.taken = Some(other);
                self.ties.remove(&other);
                self.ties.remove(&plain.session);
                return Says::Nothing;
            }
        }
        let came = *came;
        let overhead = fits(came.length, plain.data.length);
        match (overhead, conn) {
            (Some(_), Some(conn)) if came.conn == conn => Says::On(conn, came.end),
            (Some(_), Some(_)) => {
                self.ties.remove(&plain.session);
                Says::Elsewhere
            }
            (None, Some(_)) => Says::Nothing,
            (overhead, None) => {
                if self.confirm(plain.session, came.conn, overhead) {
                    Says::On(came.conn, came.end)
                } else {
                    Says::Nothing
                }
            }
        }
    }

    /// Whether that what came on a connection was taken from a session makes it that connection's.
    fn confirm(&mut self, session: SessionId, conn: ConnId, overhead: Option<u64>) -> bool {
        if self.ties.len() >= MOST || self.claims.len() >= MOST {
            self.ties.clear();
            self.claims.clear();
        }
        let other = self.claims.insert(conn, session).filter(|other| *other != session);
        if let Some(other) = other {
            self.ties.remove(&other);
            self.ties.remove(&session);
        }
        let Some(overhead) = overhead else {
            // Of several records, or a part of one: that says nothing, unless it came on another connection.
            if self.ties.get(&session).is_some_and(|tie| tie.conn != conn) {
                self.ties.remove(&session);
            }
            return false;
        };
        let new = Tie {
            conn,
            overhead,
            times: 0,
        };
        let tie = self.ties.entry(session).or_insert(new);
        if tie.conn != conn || tie.overhead != overhead {
            *tie = new;
        }
        tie.times += 1;
        tie.times >= CONFIRMED
    }

    /// Plaintext was given to a session on `conn`: it is held until the operation that carries it. Gives it back if there is no room.
    pub(super) fn hold(&mut self, conn: ConnId, held: Held) -> Option<Held> {
        self.watch(held.plain.data.moment.actor.pid);
        if self.held.len() >= MOST || self.held.contains_key(&conn) {
            return Some(held);
        }
        self.held.insert(conn, held)
    }

    /// What is held for a connection, which is over or has gone on.
    pub(super) fn release(&mut self, conn: ConnId) -> Option<Held> {
        if self.held.is_empty() {
            return None;
        }
        self.held.remove(&conn)
    }

    /// What has waited long enough at `now_ns`.
    pub(super) fn overdue(&mut self, now_ns: u64) -> Vec<(ConnId, Held)> {
        if self.held.is_empty() {
            return Vec::new();
        }
        let is_due = |held: &Held| held.plain.data.moment.time_ns.saturating_add(HELD_NS) <= now_ns;
        self.held.extract_if(|_, held| is_due(held)).collect()
    }

    /// A process is over.
    pub(super) fn exited(&mut self, pid: Pid) {
        if self.watched.remove(&pid) {
            self.came.retain(|(other, _), _| *other != pid);
        }
    }

    fn watch(&mut self, pid: Pid) {
        if self.watched.len() >= MOST {
            self.watched.clear();
        }
        self.watched.insert(pid);
    }
}

const fn thread(moment: &Moment) -> (Pid, u32) {
    (moment.actor.pid, moment.actor.tid)
}

/// What one record had besides its plaintext, if an operation of this length carried it and nothing else.
fn fits(length: u64, plain: u64) -> Option<u64> {
    length.checked_sub(plain).filter(|rest| OVERHEAD.contains(rest))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::capture::{Actor, Transport};

    const APP: Pid = Pid(10);
    const ADDED: u64 = 22;
    const SINCE: Since = Since {
        fresh: false,
        missed: false,
    };

    fn data(conn: u64, tid: u32, direction: Direction, offset: u64, length: u64) -> Data {
        Data {
            conn: ConnId(conn),
            moment: Moment::new(1, Actor::thread(APP, tid)),
            direction,
            offset,
            length,
            payload: Bytes::new(),
            end: false,
            error: 0,
            transport: Transport::default(),
        }
    }

    fn plain(session: u64, tid: u32, direction: Direction, length: u64) -> Plain {
        Plain {
            session: SessionId(session),
            wire: None,
            data: data(0, tid, direction, 0, length),
        }
    }

    /// What comes on a connection, thread 1 takes from a session.
    fn passes(passages: &mut Passages, conn: u64, session: u64, record: u64, length: u64) -> Says {
        let offset = 1000;
        passages.carried(&data(conn, 1, Direction::Ingress, offset, record));
        passages.taken(&plain(session, 1, Direction::Ingress, length), None)
    }

    #[test]
    fn several_records_confirm() {
        let mut passages = Passages::default();
        assert!(!passages.watches(APP));
        assert_eq!(passes(&mut passages, 5, 1, 100 + ADDED, 100), Says::Nothing);
        assert!(passages.watches(APP), "from then on");
        assert_eq!(passes(&mut passages, 5, 1, 70 + ADDED, 70), Says::Nothing);
        // Several records at once say nothing, of nothing.
        assert_eq!(passes(&mut passages, 5, 1, 500, 70), Says::Nothing);
        assert_eq!(
            passes(&mut passages, 5, 1, 80 + ADDED, 80),
            Says::On(ConnId(5), 1080 + ADDED)
        );
        passages.exited(APP);
        assert!(!passages.watches(APP) && passages.came.is_empty());
    }

    #[test]
    fn what_does_not_fit_begins_anew() {
        let confirmed = |steps: &[(u64, u64, u64)]| {
            let mut passages = Passages::default();
            let mut last = Says::Nothing;
            for (conn, session, overhead) in steps {
                last = passes(&mut passages, *conn, *session, 50 + overhead, 50);
            }
            last != Says::Nothing
        };
        assert!(confirmed(&[(5, 1, 22), (5, 1, 22), (5, 1, 22)]));
        assert!(!confirmed(&[(5, 1, 22), (5, 1, 22), (6, 1, 22)]), "another connection");
        assert!(!confirmed(&[(5, 1, 22), (5, 1, 22), (5, 2, 22)]), "another session");
        assert!(
            !confirmed(&[(5, 1, 22), (5, 1, 22), (6, 1, 90), (5, 1, 22)]),
            "another in between"
        );
        assert!(!confirmed(&[(5, 1, 22), (5, 1, 29), (5, 1, 22)]), "another cipher");
        assert!(!confirmed(&[(5, 1, 20), (5, 1, 20), (5, 1, 20)]), "no cipher");
    }

    /// A thread that reads for several before it hands on tells of none.
    #[test]
    fn what_is_handed_on_later() {
        let mut passages = Passages::default();
        for _ in 0..9 {
            passages.carried(&data(5, 1, Direction::Ingress, 0, 72));
            passages.carried(&data(6, 1, Direction::Ingress, 0, 72));
            for session in [1, 2] {
                let says = passages.taken(&plain(session, 1, Direction::Ingress, 50), None);
                assert_eq!(says, Says::Nothing);
            }
        }
        // Another thread's reading says nothing either.
        for _ in 0..9 {
            passages.carried(&data(5, 1, Direction::Ingress, 0, 72));
            let says = passages.taken(&plain(1, 2, Direction::Ingress, 50), None);
            assert_eq!(says, Says::Nothing);
        }
    }

    #[test]
    fn places_on_a_connection_that_is_known() {
        let mut passages = Passages::default();
        let mut taken = |record, length| {
            passages.carried(&data(5, 1, Direction::Ingress, 7, record));
            passages.taken(&plain(1, 1, Direction::Ingress, length), Some(ConnId(5)))
        };
        assert_eq!(taken(122, 100), Says::On(ConnId(5), 129));
        assert_eq!(taken(150, 100), Says::Nothing);
        passages.carried(&data(6, 1, Direction::Ingress, 7, 122));
        let says = passages.taken(&plain(1, 1, Direction::Ingress, 100), Some(ConnId(5)));
        assert_eq!(says, Says::Elsewhere);
    }

    #[test]
    fn what_is_given_waits_for_its_record() {
        let held = |length| Held {
            plain: plain(1, 1, Direction::Egress, length),
            since: SINCE,
        };
        let mut passages = Passages::default();
        assert!(passages.hold(ConnId(5), held(100)).is_none());
        assert!(passages.hold(ConnId(5), held(100)).is_some(), "one at a time");
        assert!(passages.carried(&data(6, 1, Direction::Egress, 0, 122)).is_none());
        let out = passages
            .carried(&data(5, 1, Direction::Egress, 300, 122))
            .expect("held");
        assert_eq!(out.plain.wire, Some(422));
        assert!(passages.hold(ConnId(5), held(100)).is_none());
        let out = passages
            .carried(&data(5, 1, Direction::Egress, 300, 500))
            .expect("held");
        assert_eq!(out.plain.wire, None, "more went with it");
        assert!(passages.hold(ConnId(5), held(100)).is_none());
        assert!(passages.overdue(1).is_empty());
        assert_eq!(passages.overdue(1 + HELD_NS).len(), 1);
        assert!(passages.release(ConnId(5)).is_none());
    }

    #[test]
    fn all_is_bounded() {
        let mut passages = Passages::default();
        for n in 0..2 * MOST as u64 + 3 {
            let pid = Pid(n as u32);
            let mut came = data(n, 1, Direction::Ingress, 0, 72);
            came.moment.actor.pid = pid;
            passages.carried(&came);
            let mut taken = plain(n, 1, Direction::Ingress, 50);
            taken.data.moment.actor.pid = pid;
            passages.taken(&taken, None);
            let held = Held {
                plain: plain(n, 1, Direction::Egress, 1),
                since: SINCE,
            };
            let _full = passages.hold(ConnId(n), held);
        }
        for size in [
            passages.watched.len(),
            passages.came.len(),
            passages.ties.len(),
            passages.claims.len(),
            passages.held.len(),
        ] {
            assert!(size <= MOST, "{size}");
        }
    }
}
