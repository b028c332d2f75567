//! Which connection carries a session of encryption.
//!
//! The random number of the ClientHello tells, which stands on the wire and in the library's object. The kernel side knows the
//! connection where an operation on a socket ran within a call for the session; in a callback a program may also ask elsewhere
//! meanwhile, which the random number then contradicts. Where the program moves the bytes itself and the beginning was not seen,
//! what passes both tells (see [`super::passages`]). Anything else is a guess, and such a session is told of nowhere.
use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use crate::capture::{ConnId, Direction, Pid, Plain, Session, SessionId};

/// Sessions, and ClientHellos, that are remembered.
const MOST: usize = 65_536;
/// What is counted where nothing is known of a session.
pub(super) const UNKNOWN: &str = "tls.session_unknown";

/// A ClientHello: who sent or received it, and its random number.
type Hello = (Pid, [u8; 32]);

#[derive(Debug, Default)]
pub(super) struct Sessions {
    known: HashMap<SessionId, Known, RandomState>,
    ages: VecDeque<SessionId>,
    hellos: HashMap<Hello, Ends, RandomState>,
    hello_ages: VecDeque<Hello>,
}

/// What is known of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) conn: Option<ConnId>,
    /// Its plaintext counts from byte 0.
    pub(super) fresh: bool,
    hello: Option<Hello>,
    /// The random number names the connection, whatever the kernel side saw.
    proven: bool,
    /// Plaintext of it passed while nobody knew its connection; that was counted.
    pub(super) missed: bool,
}

/// The connections of a process on which a ClientHello passed, by its direction. Two that went the same way are none.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    ingress: Option<ConnId>,
    egress: Option<ConnId>,
    doubtful: bool,
}

impl Sessions {
    /// A ClientHello passed a connection of a process.
    pub(super) fn hello(&mut self, pid: Pid, direction: Direction, random: [u8; 32], conn: ConnId) {
        let hello = (pid, random);
        if !self.hellos.contains_key(&hello) {
            self.hello_ages.push_back(hello);
            if self.hello_ages.len() > MOST
                && let Some(oldest) = self.hello_ages.pop_front()
            {
                self.hellos.remove(&oldest);
            }
        }
        let ends = self.hellos.entry(hello).or_default();
        let end = match direction {
            Direction::Ingress => &mut ends.ingress,
            Direction::Egress => &mut ends.egress,
        };
        ends.doubtful |= end.is_some_and(|other| other != conn);
        *end = Some(conn);
    }

    /// A session was seen first. Gives its connection, as far as it is known: another than `session` has, where the ClientHello
    /// passed another.
    pub(super) fn session(&mut self, session: &Session) -> Option<ConnId> {
        let hello = session.random.map(|random| (session.moment.actor.pid, random));
        let named = named(&self.hellos, hello);
        let known = Known {
            conn: named.or(session.conn),
            fresh: session.fresh,
            hello,
            proven: named.is_some(),
            missed: false,
        };
        if self.known.insert(session.session, known).is_none() {
            self.ages.push_back(session.session);
            if self.ages.len() > MOST
                && let Some(oldest) = self.ages.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
        known.conn
    }

    /// The session of plaintext that passed, with its connection; or the name of a counter, if it has to be raised. Where the kernel
    /// side saw another connection, what it says of that is taken from the plaintext.
    pub(super) fn of(&mut self, plain: &mut Plain) -> Result<(ConnId, Known), Option<&'static str>> {
        let Some(known) = self.known.get_mut(&plain.session) else {
            return Err(Some(UNKNOWN));
        };
        let seen = plain.data.conn;
        if seen != ConnId(0) && !known.proven {
            known.conn = Some(seen);
        } else if seen != ConnId(0) && known.conn != Some(seen) {
            plain.data.conn = ConnId(0);
            plain.wire = None;
        }
        if known.conn.is_none() {
            known.conn = named(&self.hellos, known.hello);
            known.proven = known.conn.is_some();
        }
        match known.conn {
            Some(conn) => Ok((conn, *known)),
            None if std::mem::replace(&mut known.missed, true) => Err(None),
            None => Err(Some("tls.untied")),
        }
    }

    /// A session was found to be on a connection; or not to be on the one it was thought to be on.
    pub(super) fn tie(&mut self, session: SessionId, conn: Option<ConnId>) {
        if let Some(known) = self.known.get_mut(&session) {
            known.conn = conn;
            // What its random number said was not true.
            known.hello = known.hello.filter(|_| conn.is_some());
            known.proven &= conn.is_some();
        }
    }

    /// A session is over.
    pub(super) fn forget(&mut self, session: SessionId) {
        self.known.remove(&session);
    }
}

/// The connection that a ClientHello passed.
fn named(hellos: &HashMap<Hello, Ends, RandomState>, hello: Option<Hello>) -> Option<ConnId> {
    hellos.get(&hello?).and_then(Ends::one)
}

impl Ends {
    /// The connection, if there is one only: both ends may be in one process.
    const fn one(&self) -> Option<ConnId> {
        match (self.ingress, self.egress) {
            (Some(conn), None) | (None, Some(conn)) if !self.doubtful => Some(conn),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::capture::{Actor, Data, Library, Moment};

    const CURL: Pid = Pid(10);
    const SHOP: Pid = Pid(20);
    const RANDOM: [u8; 32] = [7; 32];

    fn moment(pid: Pid) -> Moment {
        Moment::new(1, Actor::thread(pid, pid.0))
    }

    fn session(n: u64, pid: Pid, conn: Option<u64>, random: Option<[u8; 32]>) -> Session {
        Session {
            session: SessionId(n),
            moment: moment(pid),
            conn: conn.map(ConnId),
            random,
            fresh: true,
            library: Library::OpenSsl,
        }
    }

    /// Plaintext of a session; the kernel side knows its connection, or 0.
    fn plain(n: u64, conn: u64) -> Plain {
        Plain {
            session: SessionId(n),
            wire: None,
            data: Data {
                conn: ConnId(conn),
                moment: moment(CURL),
                direction: Direction::Egress,
                offset: 0,
                length: 1,
                payload: Bytes::new(),
                end: false,
                error: 0,
                transport: crate::capture::Transport::default(),
            },
        }
    }

    /// The connection that plaintext of session `n` passed, or the counter.
    fn of(sessions: &mut Sessions, n: u64, conn: u64) -> Result<u64, Option<&'static str>> {
        sessions.of(&mut plain(n, conn)).map(|(conn, _)| conn.0)
    }

    #[test]
    fn the_kernel_knows() {
        let mut sessions = Sessions::default();
        sessions.session(&session(1, CURL, Some(5), None));
        sessions.session(&session(2, CURL, None, None));
        assert_eq!(of(&mut sessions, 1, 0), Ok(5));
        assert_eq!(of(&mut sessions, 2, 6), Ok(6), "found by a later call");
        assert_eq!(of(&mut sessions, 2, 0), Ok(6), "and remembered");
    }

    #[test]
    fn whose_session_was_lost() {
        let mut sessions = Sessions::default();
        assert_eq!(of(&mut sessions, 1, 5), Err(Some("tls.session_unknown")));
        sessions.session(&session(1, CURL, Some(5), None));
        sessions.forget(SessionId(1));
        assert_eq!(of(&mut sessions, 1, 5), Err(Some("tls.session_unknown")));
    }

    #[test]
    fn a_hello_ties() {
        let mut sessions = Sessions::default();
        sessions.session(&session(1, CURL, None, Some(RANDOM)));
        assert_eq!(of(&mut sessions, 1, 0), Err(Some("tls.untied")));
        assert_eq!(of(&mut sessions, 1, 0), Err(None), "it is counted once");
        // The other end's process sees the same random number.
        sessions.hello(SHOP, Direction::Ingress, RANDOM, ConnId(9));
        assert_eq!(of(&mut sessions, 1, 0), Err(None));
        sessions.hello(CURL, Direction::Egress, [8; 32], ConnId(7));
        assert_eq!(of(&mut sessions, 1, 0), Err(None));
        sessions.hello(CURL, Direction::Egress, RANDOM, ConnId(8));
        sessions.hello(CURL, Direction::Egress, RANDOM, ConnId(8));
        assert_eq!(of(&mut sessions, 1, 0), Ok(8), "told twice, it is still one");
    }

    /// Nothing is guessed where one process has two connections with the hello.
    #[test]
    fn a_hello_that_names_two() {
        for second in [Direction::Ingress, Direction::Egress] {
            let mut sessions = Sessions::default();
            sessions.hello(CURL, Direction::Egress, RANDOM, ConnId(8));
            sessions.hello(CURL, second, RANDOM, ConnId(9));
            sessions.session(&session(1, CURL, None, Some(RANDOM)));
            assert_eq!(of(&mut sessions, 1, 0), Err(Some("tls.untied")), "{second:?}");
        }
    }

    /// In a callback of the library a program asks elsewhere, on which the kernel side sees an operation within the call.
    #[test]
    fn a_hello_that_contradicts() {
        let mut sessions = Sessions::default();
        sessions.hello(CURL, Direction::Ingress, RANDOM, ConnId(8));
        let told = sessions.session(&session(1, CURL, Some(5), Some(RANDOM)));
        assert_eq!(told, Some(ConnId(8)));
        let mut elsewhere = Plain {
            wire: Some(70),
            ..plain(1, 5)
        };
        let conn = sessions.of(&mut elsewhere).map(|(conn, _)| conn);
        assert_eq!(conn, Ok(ConnId(8)));
        assert_eq!((elsewhere.data.conn, elsewhere.wire), (ConnId(0), None));
        let mut here = Plain {
            wire: Some(70),
            ..plain(1, 8)
        };
        assert!(sessions.of(&mut here).is_ok());
        assert_eq!(
            (here.data.conn, here.wire),
            (ConnId(8), Some(70)),
            "the kernel side agrees"
        );
        // The other end's random number says nothing of this one's.
        let told = sessions.session(&session(2, SHOP, Some(6), Some(RANDOM)));
        assert_eq!(told, Some(ConnId(6)));
        assert_eq!(of(&mut sessions, 2, 7), Ok(7), "the kernel side alone knows");
    }

    #[test]
    fn a_tie_outlasts_its_hello() {
        let mut sessions = Sessions::default();
        sessions.hello(CURL, Direction::Egress, RANDOM, ConnId(8));
        sessions.session(&session(1, CURL, None, Some(RANDOM)));
        assert_eq!(of(&mut sessions, 1, 0), Ok(8));
        sessions.hello(CURL, Direction::Egress, RANDOM, ConnId(9));
        assert_eq!(of(&mut sessions, 1, 0), Ok(8));
    }

    #[test]
    fn both_tables_are_bounded() {
        let mut sessions = Sessions::default();
        for n in 0..MOST as u64 + 2 {
            let mut random = [0; 32];
            random[..8].copy_from_slice(&n.to_le_bytes());
            sessions.hello(CURL, Direction::Egress, random, ConnId(n + 1));
            sessions.session(&session(n, CURL, None, Some(random)));
            // Seen again, it has no second place among the ages.
            sessions.session(&session(n, CURL, None, Some(random)));
        }
        assert_eq!((sessions.known.len(), sessions.ages.len()), (MOST, MOST));
        assert_eq!((sessions.hellos.len(), sessions.hello_ages.len()), (MOST, MOST));
        assert_eq!(of(&mut sessions, 1, 0), Err(Some("tls.session_unknown")));
        assert_eq!(of(&mut sessions, 2, 0), Ok(3));
    }
}
