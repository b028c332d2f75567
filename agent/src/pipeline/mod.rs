//! All wiring of the stages: what goes in, in which order it passes them, and what comes out.
//!
//! In: [`Input`]s, the closed list of everything that can happen to a trace. Out: [`Output`]: settled spans, verdicts for
//! the kernel, counters. It is a synchronous function of its inputs; whoever drives it does the I/O and brings the time.
#![forbid(unsafe_code)]
mod connection;
mod openings;
mod passages;
mod pipes;
mod processes;
mod secured;
mod sessions;
mod times;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use clew_common::event::TURN_MANY;
use foldhash::fast::RandomState;

use crate::attach::Verdict;
use crate::capture::{
    Actor, ConnId, ConnState, Connection, Context, Data, Direction, Endpoints, Event, Library, LogWrite, Moment, Pid,
    PipeRead, Plain,
};
use crate::discover::{Process, Runtime};
use crate::log::{Logs, Record, Written};
use crate::protocol::{Broken, Limits};
use crate::span::{Detail, Policy, SpanEvent, Spans};
use crate::stream::Content;
use crate::trace::{Loose, Origin, Placed, Traces, Unanswered, forwards};
use connection::{Live, Passing};
use openings::{Openings, Took};
use passages::{Held, Passages, Says};
use pipes::{Pipes, Reads};
use processes::Processes;
use secured::Since;
use sessions::Sessions;
use times::Threads;

/// Connections that are followed at once. Beyond it the ones that were silent longest are given up.
const MAX_CONNECTIONS: usize = 131_072;
/// How long after a connection's end its last data may still be reported.
const CLOSING_NS: u64 = 50_000_000;
/// How long after that its ends can still be joined.
const JOINABLE_NS: u64 = 2_000_000_000;
/// How long a connection that is over for the peer, but whose end the kernel does not report, is kept.
const ENDED_NS: u64 = 5_000_000_000;
/// How long a connection that does nothing and awaits nothing is told the time.
const RESTLESS_NS: u64 = 3_000_000_000;

/// Everything that can happen.
#[derive(Debug)]
pub enum Input {
    /// The kernel saw something.
    Event(Event),
    /// A process was read, or could not be: it began a program, or was seen for the first time.
    Process(Process),
    /// A process became a target while it ran.
    Running {
        /// Which.
        pid: Pid,
        /// Who created it, where that is known.
        creator: Option<Pid>,
        /// Its sockets: bytes may have passed them before.
        sockets: Vec<u64>,
        /// When, `CLOCK_MONOTONIC` nanoseconds.
        now_ns: u64,
    },
    /// A thread of a process that became a target while it ran helps others: see [`Event::Helper`].
    Helper {
        /// Which.
        pid: Pid,
        /// Its number.
        tid: u32,
        /// Any thread of the process does.
        any: bool,
    },
    /// The time is this, `CLOCK_MONOTONIC` nanoseconds, and every event before it has been told.
    Time(u64),
    /// Nothing more will come.
    Stop(Moment),
}

/// What comes out.
#[derive(Debug, Default)]
pub struct Output {
    /// Spans whose place is settled.
    pub spans: Vec<Placed>,
    /// Records of logs without a span that takes them along.
    pub logs: Vec<Loose>,
    /// What the kernel should copy of connections.
    pub verdicts: Vec<(ConnId, Verdict)>,
    /// Connections that are over.
    pub closed: Vec<ConnId>,
    /// Processes that may hand work to those that they create.
    pub hands: Vec<Pid>,
    /// Processes that may be handed work by pipes.
    pub takes: Vec<Pid>,
    /// Counters to raise.
    pub counts: Vec<&'static str>,
}

/// The stages from `stream` to `trace`.
pub struct Pipeline {
    limits: Limits,
    connections: HashMap<ConnId, Box<Live>, RandomState>,
    /// Connections that await something, or did something lately.
    restless: HashSet<ConnId, RandomState>,
    /// Connections that are over, by the time they are let go.
    closing: BTreeMap<(u64, ConnId), Closing>,
    openings: Openings,
    sessions: Sessions,
    passages: Passages,
    pipes: Pipes,
    older: HashSet<u64>,
    processes: Processes,
    threads: Threads,
    policy: Policy,
    logs: Logs<Origin>,
    spans: Spans,
    traces: Traces,
    passing: Passing,
    now_ns: u64,
}

/// A step of a connection's end.
#[derive(Clone, Copy, Debug)]
enum Closing {
    /// Its last data has been told: its exchanges end.
    Exchanges(Moment, Broken),
    /// Its ends join no more.
    Ends,
}

impl Pipeline {
    /// Nothing seen yet. `seed` makes the ids.
    pub fn new(policy: Policy, limits: Limits, seed: u64) -> Self {
        Self {
            limits,
            connections: HashMap::default(),
            restless: HashSet::default(),
            closing: BTreeMap::new(),
            openings: Openings::default(),
            sessions: Sessions::default(),
            passages: Passages::default(),
            pipes: Pipes::default(),
            older: HashSet::new(),
            processes: Processes::default(),
            threads: Threads::default(),
            policy: policy.clone(),
            logs: Logs::default(),
            spans: Spans::new(policy),
            traces: Traces::new(seed),
            passing: Passing::default(),
            now_ns: 0,
        }
    }

    /// The process `event` speaks of, if it is not known and has to be read before the event is handled.
    pub fn wants(&self, event: &Event) -> Option<Pid> {
        match event {
            Event::Exec {
                moment, target: true, ..
            } => Some(moment.actor.pid),
            Event::Data(data) | Event::Plain(Plain { data, .. }) => self.processes.unknown(data.moment.actor.pid),
            Event::Log(write) => self.processes.unknown(write.moment.actor.pid),
            Event::State {
                moment,
                state: ConnState::Connecting,
                ..
            } => self.processes.unknown(moment.actor.pid),
            _ => None,
        }
    }

    /// Requests that have been asked and not answered.
    pub fn open(&self) -> usize {
        self.spans.open()
    }

    /// Requests that began before this moment and are not answered, the oldest first, at most `most`.
    pub fn unanswered(&self, before_ns: u64, most: usize) -> Vec<Unanswered> {
        let open = self.spans.unanswered(before_ns);
        let mut found: Vec<Unanswered> = open
            .filter_map(|(key, kind, start_ns, asks)| {
                let (span_id, process) = self.traces.whose(key)?;
                Some(Unanswered {
                    span_id,
                    kind,
                    process: Arc::clone(process),
                    start_ns,
                    asks,
                })
            })
            .collect();
        found.sort_by_key(|request| request.start_ns);
        found.truncate(most);
        found
    }

    /// Takes what happened.
    pub fn handle(&mut self, input: Input, out: &mut Output) {
        match input {
            Input::Event(event) => self.event(event, out),
            Input::Process(process) => self.processes.know(process),
            Input::Running {
                pid,
                creator,
                sockets,
                now_ns,
            } => {
                self.older.extend(sockets);
                if let Some(creator) = creator {
                    self.processes.created(creator, pid);
                    out.takes.extend(self.processes.takes(pid).then_some(pid));
                }
                self.traces.running(pid, now_ns);
            }
            Input::Helper { pid, tid, any } => {
                let actor = Actor {
                    pid,
                    tid,
                    context: Context::Thread,
                    turn: 0,
                };
                self.traces.helps(&actor, any);
            }
            Input::Time(now_ns) => self.tick(now_ns, out),
            Input::Stop(moment) => self.stop(moment, out),
        }
        out.counts.extend(self.traces.take_counts());
        out.logs.append(&mut self.traces.take_loose());
    }

    fn event(&mut self, event: Event, out: &mut Output) {
        match event {
            Event::Connection(connection) => self.connection(connection, out),
            Event::Data(data) => self.data(data, out),
            Event::Session(session) => {
                let conn = self.sessions.session(&session);
                if session.conn.is_some() && conn != session.conn {
                    out.counts.push("tls.tie_conflict");
                }
                // Programs hand rustls's keys to the kernel and go on without it.
                if session.library != Library::Rustls
                    && let Some(live) = conn.and_then(|conn| self.connections.get_mut(&conn))
                {
                    live.tied();
                }
            }
            Event::Plain(plain) => self.plain(plain, out),
            Event::Log(write) => self.log(&write, out),
            Event::Pipe(read) => self.pipe(&read, out),
            Event::State {
                conn,
                moment,
                state,
                error,
            } => self.state(conn, moment, state, error, out),
            Event::Link { moment, other, link } => {
                self.traces.link(&moment, other, link);
            }
            Event::Asks { moment, asked } => self.traces.asks(moment.actor.pid, &asked),
            Event::Stack(stack) => {
                let full = stack
                    .conn
                    .and_then(|conn| self.threads.stands(&stack.moment, conn, stack.hash));
                out.counts.extend(full);
            }
            Event::Signal(signal) => self.spans.struck(signal),
            Event::Times(moment, times) => out.counts.extend(self.threads.told(&moment, times)),
            Event::Lost(moment) => {
                self.pipes.lost();
                self.traces.lost(moment.time_ns);
            }
            Event::Helper { moment, any } => self.traces.helps(&moment.actor, any),
            Event::Fork { moment, child } => {
                self.processes.forked(moment.actor.pid, child);
                out.takes.extend(self.processes.takes(child).then_some(child));
            }
            // The program is read by whoever drives the pipeline: see `wants`.
            Event::Exec { .. } | Event::Mapped(_) => {}
            Event::Exit {
                moment,
                status,
                process,
            } => {
                if process {
                    self.exited(moment, status);
                }
            }
        }
    }

    /// A program wrote to its logs. For whom is asked now: the text may be whole only later.
    fn log(&mut self, write: &LogWrite, out: &mut Output) {
        let process = self.processes.get(write.moment.actor.pid);
        let actor = Actor {
            turn: round(write.moment.actor.turn, process.runtime),
            ..write.moment.actor
        };
        let origin = self.traces.origin(&actor, write.moment.time_ns, process.runtime);
        let mut written = Vec::new();
        self.logs.write(write, &origin, &mut written, &mut out.counts);
        self.written(written);
    }

    /// A thread read from a pipe, by which one of those that created its process may have handed it work.
    fn pipe(&mut self, read: &PipeRead, out: &mut Output) {
        let actor = &read.moment.actor;
        let named = match self.pipes.read(read) {
            Reads::Part => return,
            Reads::Nothing => Vec::new(),
            Reads::Message(named) => named,
            Reads::Cut => {
                out.counts.push("pipes.message_cut");
                Vec::new()
            }
        };
        let givers = self.processes.creators(actor.pid).collect();
        self.traces.took(actor, read.pipe, givers, named);
    }

    /// Programs wrote texts that are whole.
    fn written(&mut self, written: Vec<Written<Origin>>) {
        for mut text in written {
            let process = self.processes.get(text.actor.pid);
            for (name, value) in &mut text.fields {
                // Secrets are known by the names before them.
                let named = format!("{name}={value}");
                let shown = self.policy.text(&named);
                *value = shown
                    .split_once('=')
                    .map_or_else(String::new, |(_, value)| value.to_owned());
            }
            let record = Record::parse(&self.policy.text(&text.text), &text);
            self.traces.log(text.origin, &process, record, text.shared);
        }
    }

    fn connection(&mut self, mut connection: Connection, out: &mut Output) {
        let unix = matches!(connection.endpoints, Endpoints::Unix { .. });
        let older = self.older.contains(&connection.inode);
        connection.midway |= unix && older;
        let datagram = matches!(connection.endpoints, Endpoints::Udp { .. });
        if let Some(live) = self.connections.get_mut(&connection.conn) {
            if datagram || live.is_same(&connection) {
                // Messages tell of theirs anew each time. Of any other two threads tell that use it for the first time at the
                // same moment.
                return;
            }
            // Its end was not seen.
            let (conn, moment) = (connection.conn, connection.moment);
            self.close(conn, Closing::Exchanges(moment, Broken::Unseen), out);
            self.closing.retain(|(_, closing), _| *closing != conn);
            self.traces.connection_closed(conn);
        }
        if self.connections.len() >= MAX_CONNECTIONS {
            self.make_room(out);
        }
        let took = self.openings.take(connection.conn);
        let live = Live::new(&connection, took, older, self.limits);
        self.traces.connection(live.facts());
        self.traces.socket(connection.conn, connection.inode);
        self.connections.insert(connection.conn, Box::new(live));
    }

    fn data(&mut self, mut data: Data, out: &mut Output) {
        let conn = data.conn;
        let process = self.processes.get(data.moment.actor.pid);
        data.moment.actor.turn = round(data.moment.actor.turn, process.runtime);
        let Some(live) = self.connections.get_mut(&conn) else {
            out.counts.push("pipeline.connection_unknown");
            return;
        };
        let ended = data.end || data.error != 0;
        let held = if data.length > 0 && self.passages.watches(process.pid) {
            self.passages.carried(&data)
        } else {
            None
        };
        if live.is_datagram() && forwards(process.runtime) {
            // What a loop that forwards looks up is for whatever it forwards next, and no request that it sends.
            return;
        }
        if live.is_datagram() {
            // Looking something up says nothing of whom a thread works for.
        } else if data.length > 0 || (ended && forwards(process.runtime)) {
            self.traces.operation(conn, &data.moment.actor, data.direction);
        }
        let time_ns = data.moment.time_ns;
        let brings = live.brings(Some(data.direction));
        data.moment.detail = self.spans.note(Detail {
            transport: data.transport,
            times: self.threads.at(&data.moment, conn, brings),
            stack: self.threads.stack(&data.moment, conn, false),
        });
        live.data(
            data,
            &process,
            &mut self.spans,
            &mut self.traces,
            &mut self.passing,
            out,
        );
        if let Some(hello) = live.take_hello() {
            self.sessions.hello(process.pid, hello.direction, hello.random, conn);
        }
        if let Some(verdict) = live.verdict() {
            out.verdicts.push((conn, verdict));
        }
        if live.brings_work()
            && let Some(children) = self.processes.hands(process.pid)
        {
            out.hands.push(process.pid);
            out.takes.extend(children);
        }
        self.restless.insert(conn);
        // The kernel tells of no Unix socket that it is closed.
        if ended && live.is_unix() && live.open() == 0 {
            self.closing
                .insert((time_ns.saturating_add(ENDED_NS), conn), Closing::Ends);
        }
        if let Some(held) = held {
            self.secured(conn, held, out);
        }
    }

    fn plain(&mut self, mut plain: Plain, out: &mut Output) {
        let mut found = self.sessions.of(&mut plain);
        // Where the kernel side knows the connection it knows the place on it too; a session that was seen whole needs none.
        let is_moved = plain.data.conn == ConnId(0) && plain.wire.is_none();
        let needs = match &found {
            Ok((_, known)) => is_moved && !known.fresh,
            Err(count) => is_moved && *count != Some(sessions::UNKNOWN),
        };
        if needs && plain.data.direction == Direction::Ingress {
            let conn = found.as_ref().ok().map(|(conn, _)| *conn);
            match self.passages.taken(&plain, conn) {
                Says::Nothing => {}
                Says::On(on, end) => {
                    plain.wire = Some(end);
                    if conn.is_none() {
                        self.sessions.tie(plain.session, Some(on));
                        found = self.sessions.of(&mut plain);
                    }
                }
                Says::Elsewhere => {
                    self.sessions.tie(plain.session, None);
                    out.counts.push("tls.tie_conflict");
                    return;
                }
            }
        }
        let (conn, known) = match found {
            Ok(found) => found,
            Err(count) => {
                out.counts.extend(count);
                return;
            }
        };
        if let Some(held) = self.passages.release(conn) {
            self.secured(conn, held, out);
        }
        let process = self.processes.get(plain.data.moment.actor.pid);
        plain.data.moment.actor.turn = round(plain.data.moment.actor.turn, process.runtime);
        let Some(live) = self.connections.get_mut(&conn) else {
            out.counts.push("pipeline.connection_unknown");
            return;
        };
        if let (Context::Node(end), Direction::Ingress) = (plain.data.moment.actor.context, plain.data.direction) {
            // The hook counts from the session's beginning.
            let named = live.plain_context(end).filter(|_| known.fresh);
            plain.data.moment.actor.context = named.unwrap_or(Context::Unknown);
        }
        plain.data.moment.detail = self.spans.note(Detail {
            // The library tells of no transport; the operation that carried the plaintext has.
            transport: live.transport(plain.data.direction),
            times: self.threads.at(&plain.data.moment, conn, live.brings(None)),
            stack: self.threads.stack(&plain.data.moment, conn, true),
        });
        self.traces
            .operation(conn, &plain.data.moment.actor, plain.data.direction);
        let since = Since {
            fresh: known.fresh,
            missed: known.missed,
        };
        let mut held = Held { plain, since };
        if needs && held.plain.data.direction == Direction::Egress {
            // The operation that carries it is still to come.
            match self.passages.hold(conn, held) {
                None => return,
                Some(full) => held = full,
            }
        }
        self.secured(conn, held, out);
    }

    /// Plaintext passes the stages, and where on its connection it went is known, if it ever will be.
    fn secured(&mut self, conn: ConnId, Held { plain, since }: Held, out: &mut Output) {
        let process = self.processes.get(plain.data.moment.actor.pid);
        let Some(live) = self.connections.get_mut(&conn) else {
            out.counts.push("pipeline.connection_unknown");
            return;
        };
        live.plain(
            plain,
            since,
            &process,
            &mut self.spans,
            &mut self.traces,
            &mut self.passing,
            out,
        );
        out.verdicts.extend(live.verdict().map(|verdict| (conn, verdict)));
        out.verdicts.extend(live.plain_verdict());
        self.restless.insert(conn);
    }

    fn state(&mut self, conn: ConnId, moment: Moment, state: ConnState, error: i32, out: &mut Output) {
        /// `ECONNRESET`.
        const RESET: i32 = 104;
        match state {
            ConnState::Connecting => {
                let runtime = self.processes.get(moment.actor.pid).runtime;
                let turn = round(moment.actor.turn, runtime);
                let moment = Moment {
                    actor: Actor { turn, ..moment.actor },
                    ..moment
                };
                self.traces.connecting(conn, &moment, runtime);
                out.counts.extend(self.openings.begin(conn, moment.time_ns));
                if !forwards(runtime) {
                    let origin = self.traces.origin(&moment.actor, moment.time_ns, runtime);
                    self.openings.asked_by(conn, origin);
                }
            }
            ConnState::Inspected => {
                let runtime = self.processes.get(moment.actor.pid).runtime;
                let turn = round(moment.actor.turn, runtime);
                self.traces.inspected(conn, &Actor { turn, ..moment.actor }, runtime);
            }
            ConnState::Established => {
                self.openings.complete(conn, moment.time_ns);
                // With TCP Fast Open the first bytes are sent before.
                if let Some(live) = self.connections.get_mut(&conn)
                    && let Some(took) = self.openings.take(conn)
                {
                    live.began(took);
                }
            }
            ConnState::Accepted { waited_us } => {
                let waited_ns = u64::from(waited_us).saturating_mul(1000);
                match self.connections.get_mut(&conn) {
                    Some(live) => live.began(Took::Accepting(waited_ns)),
                    None => out
                        .counts
                        .extend(self.openings.accepted(conn, moment.time_ns, waited_ns)),
                }
            }
            ConnState::ResetReceived | ConnState::ResetSent => {
                if let Some(live) = self.connections.get_mut(&conn) {
                    live.reset(RESET);
                }
            }
            ConnState::Closed => {
                self.traces.unconnected(conn, moment.time_ns);
                // Of one that passed something the news that it was open is lost.
                if let Some((origin, since_ns)) = self.openings.failed(conn)
                    && (error != 0 || !self.connections.contains_key(&conn))
                {
                    self.traces.unreachable(origin, since_ns, moment.time_ns, error);
                }
                self.openings.forget(conn);
                if let Some(live) = self.connections.get_mut(&conn) {
                    let reason = live.reason(error);
                    let due = moment.time_ns.saturating_add(CLOSING_NS);
                    self.closing.insert((due, conn), Closing::Exchanges(moment, reason));
                }
            }
        }
    }

    /// A process is over. TCP tells of its connections itself; what the process still owed on others ends here.
    fn exited(&mut self, moment: Moment, status: u32) {
        let pid = moment.actor.pid;
        self.traces.exited(pid);
        self.passages.exited(pid);
        self.pipes.exited(pid);
        self.processes.exited(pid, moment.time_ns);
        for (conn, live) in &mut self.connections {
            if live.pid() != Some(pid) {
                continue;
            }
            if live.is_datagram() {
                // Whether it still waited is not known: no closing of such a socket is seen.
                let due = moment.time_ns.saturating_add(CLOSING_NS);
                self.closing
                    .insert((due, *conn), Closing::Exchanges(moment, Broken::Unseen));
                continue;
            }
            live.exited(status);
            if live.is_unix() {
                let due = moment.time_ns.saturating_add(CLOSING_NS);
                self.closing
                    .insert((due, *conn), Closing::Exchanges(moment, Broken::Exited(status)));
            }
        }
    }

    fn tick(&mut self, now_ns: u64, out: &mut Output) {
        self.now_ns = now_ns;
        for (conn, held) in self.passages.overdue(now_ns) {
            self.secured(conn, held, out);
        }
        let mut restless = std::mem::take(&mut self.restless);
        restless.retain(|conn| {
            let Some(live) = self.connections.get_mut(conn) else {
                return false;
            };
            live.tick(now_ns, &mut self.spans, &mut self.traces, &mut self.passing, out);
            let restless = live.awaits() || now_ns.saturating_sub(live.last_ns()) < RESTLESS_NS;
            if !restless && live.is_datagram() {
                self.closing.insert((now_ns, *conn), Closing::Ends);
            }
            restless
        });
        self.restless = restless;
        while let Some(entry) = self.closing.first_entry().filter(|entry| entry.key().0 <= now_ns) {
            let ((_, conn), closing) = entry.remove_entry();
            self.close(conn, closing, out);
        }
        self.processes.tick(now_ns);
        let mut written = Vec::new();
        self.logs.tick(now_ns, &mut written);
        self.written(written);
        self.traces.tick(now_ns, &mut out.spans);
    }

    fn close(&mut self, conn: ConnId, closing: Closing, out: &mut Output) {
        match closing {
            Closing::Exchanges(moment, reason) => {
                if let Some(held) = self.passages.release(conn) {
                    self.secured(conn, held, out);
                }
                if let Some(mut live) = self.connections.remove(&conn) {
                    if let Some(session) = live.session() {
                        self.sessions.forget(session);
                    }
                    live.end(
                        moment,
                        reason,
                        &mut self.spans,
                        &mut self.traces,
                        &mut self.passing,
                        out,
                    );
                    self.closing
                        .insert((moment.time_ns.saturating_add(JOINABLE_NS), conn), Closing::Ends);
                    out.closed.push(conn);
                }
            }
            Closing::Ends => {
                // A Unix socket may have gone on after the peer's end.
                if self.connections.get(&conn).is_some_and(|live| live.open() > 0) {
                    return;
                }
                if self.connections.remove(&conn).is_some() {
                    out.closed.push(conn);
                }
                self.traces.connection_closed(conn);
            }
        }
    }

    /// Gives up the connections that were silent longest, an eighth of them.
    fn make_room(&mut self, out: &mut Output) {
        let mut ages: Vec<(u64, ConnId)> = self
            .connections
            .iter()
            .filter(|(_, live)| live.open() == 0)
            .map(|(conn, live)| (live.last_ns(), *conn))
            .collect();
        let share = (MAX_CONNECTIONS / 8).min(ages.len());
        if share == 0 {
            // Every connection has an open request: the newest must wait.
            ages = self
                .connections
                .iter()
                .map(|(conn, live)| (live.last_ns(), *conn))
                .collect();
        }
        let share = share.max(1).min(ages.len());
        if share < ages.len() {
            ages.select_nth_unstable(share);
        }
        for (_, conn) in ages.into_iter().take(share) {
            if let Some(mut live) = self.connections.remove(&conn) {
                let moment = live.last();
                live.end(
                    moment,
                    Broken::Unseen,
                    &mut self.spans,
                    &mut self.traces,
                    &mut self.passing,
                    out,
                );
            }
            self.traces.connection_closed(conn);
            out.closed.push(conn);
            out.counts.push("pipeline.connections_full");
        }
    }

    fn stop(&mut self, moment: Moment, out: &mut Output) {
        for (conn, held) in self.passages.overdue(u64::MAX) {
            self.secured(conn, held, out);
        }
        let mut written = Vec::new();
        self.logs.finish(&mut written);
        self.written(written);
        let closing = std::mem::take(&mut self.closing);
        for ((_, conn), closing) in closing {
            if let Closing::Exchanges(..) = closing {
                self.close(conn, closing, out);
            }
        }
        let connections = std::mem::take(&mut self.connections);
        for mut live in connections.into_values() {
            live.end(
                moment,
                Broken::AgentStopped,
                &mut self.spans,
                &mut self.traces,
                &mut self.passing,
                out,
            );
        }
        self.traces.finish_all(&mut out.spans);
    }
}

/// The round of an event loop that a thread's count of waits stands for, still with `TURN_POLLED`; 0 where the thread runs
/// none. Python's selectors ask
/// for as many events as they watch descriptors, so a thread that never asked for more than one only waits for its own.
const fn round(turn: u32, runtime: Runtime) -> u32 {
    let waits_for_one = turn & TURN_MANY == 0;
    if matches!(runtime, Runtime::Python) && waits_for_one {
        0
    } else {
        turn & !TURN_MANY
    }
}

/// Whether a piece ends something on the connection.
const fn is_ending(content: &Content) -> bool {
    matches!(content, Content::End | Content::Failed(_))
}

/// Hands what the span stage made to the trace stage.
fn pass(events: &mut Vec<SpanEvent>, traces: &mut Traces) {
    for event in events.drain(..) {
        traces.event(event);
    }
}

/// A process that could not be read any more: it is named after its number.
fn stranger(pid: Pid) -> Arc<Process> {
    Arc::new(Process::stranger(pid, "unknown_service"))
}

#[cfg(test)]
mod tests;
