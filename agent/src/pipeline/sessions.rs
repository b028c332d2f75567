//! Which connection carries a session of encryption.
//!
//! The kernel side knows it where an operation on a socket ran within a call for the session. Where the program moves the bytes
//! itself, the random number of the ClientHello tells: it stands on the wire and in the library's object. Anything else is a
//! guess, and such a session is told of nowhere.
use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use crate::capture::{ConnId, Direction, Pid, Plain, Session, SessionId};

/// Sessions, and ClientHellos, that are remembered.
const MOST: usize = 65_536;

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
    /// It was counted that nobody knows its connection.
    counted: bool,
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

    /// A session was seen first.
    pub(super) fn session(&mut self, session: &Session) {
        let known = Known {
            conn: session.conn,
            fresh: session.fresh,
            hello: session.random.map(|random| (session.moment.actor.pid, random)),
            counted: false,
        };
        if self.known.insert(session.session, known).is_none() {
            self.ages.push_back(session.session);
            if self.ages.len() > MOST
                && let Some(oldest) = self.ages.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
    }

    /// The session of plaintext that passed, with its connection; or the name of a counter, if it has to be raised.
    pub(super) fn of(&mut self, plain: &Plain) -> Result<(ConnId, Known), Option<&'static str>> {
        let Some(known) = self.known.get_mut(&plain.session) else {
            return Err(Some("tls.session_unknown"));
        };
        if plain.data.conn != ConnId(0) {
            known.conn = Some(plain.data.conn);
        }
        if known.conn.is_none() {
            known.conn = known
                .hello
                .and_then(|hello| self.hellos.get(&hello))
                .and_then(Ends::one);
        }
        match known.conn {
            Some(conn) => Ok((conn, *known)),
            None if std::mem::replace(&mut known.counted, true) => Err(None),
            None => Err(Some("tls.untied")),
        }
    }

    /// A session is over.
    pub(super) fn forget(&mut self, session: SessionId) {
        self.known.remove(&session);
    }
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
