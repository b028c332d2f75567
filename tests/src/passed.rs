//! The bytes that pass connections, as the kernel side tells of them before anything is made of them.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clew::attach::{Probes, Setup};
use clew::capture::{ConnId, Data, Direction, Endpoints, Event, Pid, Plain, SessionId, decode};
use clew::symbol::Libraries;

use crate::wait::DEADLINE;

/// Most of a message that is copied, bytes.
const WHOLE_BYTES: u32 = 1 << 20;

/// What passed one connection at one of its ends. Of an encrypted one, what the program gave to its library and took from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// The process at this end, the one that was there first.
    pub pid: u32,
    /// The ports of both ends: this one's, and the other's.
    pub ports: (u16, u16),
    /// A library encrypted it.
    pub is_secured: bool,
    /// In the order in which it was sent.
    pub sent: Vec<u8>,
    /// In the order in which it was received.
    pub received: Vec<u8>,
}

/// Watches processes and the children that they create until it is `over`, which is asked again and again from when all is watched.
///
/// # Errors
/// The kernel refuses, events were lost, or a byte passed unseen.
pub fn passed(pids: &[u32], mut over: impl FnMut() -> bool) -> Result<Vec<Passed>> {
    let setup = Setup {
        logs: false,
        capture: None,
        head_bytes: WHOLE_BYTES,
        body_bytes: 0,
        watch_all: false,
        assist: false,
        times: false,
        stacks: false,
        ring_bytes: 64 << 20,
    };
    let mut probes = Probes::attach(&setup)?;
    let mut ring = probes.events()?;
    let mut libraries = Libraries::default();
    for pid in pids {
        probes.target(Pid(*pid))?;
        let at = |name: &str| PathBuf::from(format!("/proc/{pid}/{name}"));
        let maps = std::fs::read_to_string(at("maps")).with_context(|| format!("no process {pid}"))?;
        for (library, path) in libraries.of(&at("exe"), &at("root"), &maps) {
            probes.decipher(Pid(*pid), &library, &path)?;
        }
    }
    let mut seen = Seen::default();
    let begun = Instant::now();
    loop {
        ensure!(begun.elapsed() < DEADLINE, "it was not over within {DEADLINE:?}");
        // What happened before it was over is in the ring buffer then.
        let is_over = over();
        while let Some(record) = ring.next() {
            seen.event(decode(&record).context("a record did not decode")?);
        }
        if is_over {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    ensure!(probes.lost() == 0, "{} events were lost", probes.lost());
    seen.passed()
}

/// What was told of.
#[derive(Default)]
struct Seen {
    ports: HashMap<ConnId, (u16, u16)>,
    /// The connections that carry sessions.
    sessions: HashMap<SessionId, ConnId>,
    raw: BTreeMap<ConnId, Ends>,
    plain: BTreeMap<SessionId, Ends>,
}

/// Both directions of one, by the process that was there first.
struct Ends {
    pid: u32,
    sent: Pieces,
    received: Pieces,
}

/// What passed, by offset, and how much of each piece was not copied.
#[derive(Default)]
struct Pieces(BTreeMap<u64, (Vec<u8>, u64)>);

impl Seen {
    fn event(&mut self, event: Event) {
        match event {
            Event::Connection(connection) => {
                if let Endpoints::Tcp { local, remote } = connection.endpoints {
                    self.ports.insert(connection.conn, (local.port(), remote.port()));
                }
            }
            Event::Session(session) => {
                self.sessions.extend(session.conn.map(|conn| (session.session, conn)));
            }
            Event::Data(data) => self
                .raw
                .entry(data.conn)
                .or_insert_with(|| Ends::new(&data))
                .take(&data),
            Event::Plain(Plain { session, data, .. }) => {
                if data.conn != ConnId(0) {
                    self.sessions.insert(session, data.conn);
                }
                self.plain
                    .entry(session)
                    .or_insert_with(|| Ends::new(&data))
                    .take(&data);
            }
            _ => {}
        }
    }

    fn passed(self) -> Result<Vec<Passed>> {
        let secured: HashSet<ConnId> = self.sessions.values().copied().collect();
        let mut all = Vec::new();
        for (session, ends) in self.plain {
            let conn = self.sessions.get(&session).context("a session is on no connection")?;
            all.push((*conn, true, ends));
        }
        all.extend(
            self.raw
                .into_iter()
                .filter(|(conn, _)| !secured.contains(conn))
                .map(|(conn, ends)| (conn, false, ends)),
        );
        all.into_iter()
            .map(|(conn, is_secured, ends)| {
                Ok(Passed {
                    pid: ends.pid,
                    ports: self.ports.get(&conn).copied().unwrap_or_default(),
                    is_secured,
                    sent: ends.sent.whole().with_context(|| format!("what {conn:?} sent"))?,
                    received: ends
                        .received
                        .whole()
                        .with_context(|| format!("what {conn:?} received"))?,
                })
            })
            .collect()
    }
}

impl Ends {
    fn new(data: &Data) -> Self {
        Self {
            pid: data.moment.actor.pid.0,
            sent: Pieces::default(),
            received: Pieces::default(),
        }
    }

    fn take(&mut self, data: &Data) {
        let pieces = match data.direction {
            Direction::Egress => &mut self.sent,
            Direction::Ingress => &mut self.received,
        };
        if data.length > 0 {
            let unseen = data.length - data.payload.len() as u64;
            pieces.0.insert(data.offset, (data.payload.to_vec(), unseen));
        }
    }
}

impl Pieces {
    /// All of it, each byte once.
    fn whole(self) -> Result<Vec<u8>> {
        let mut whole = Vec::new();
        let mut next = None;
        for (offset, (bytes, unseen)) in self.0 {
            ensure!(unseen == 0, "{unseen} bytes from {offset} on were not copied");
            ensure!(
                next.is_none_or(|next| next == offset),
                "a piece begins at {offset}, not where the one before ends: {next:?}"
            );
            next = Some(offset + bytes.len() as u64);
            whole.extend(bytes);
        }
        Ok(whole)
    }
}
