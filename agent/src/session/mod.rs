//! Runs the agent: reads the ring buffer, drives the pipeline, and hands spans to the outputs.
//!
//! This is where the clock, `/proc`, the kernel and the terminal are; the pipeline itself does no I/O. One loop waits for
//! everything that can wake it.
mod libraries;
mod looker;
mod machines;
mod outputs;
mod stacks;
mod wake;

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use tokio::runtime::{self, Builder};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::attach::{AttachError, Capture, Probes, Setup};
use crate::capture::{Actor, Event, Moment, Pid, decode, parts};
use crate::config::Settings;
use crate::discover::{Discovery, NoProcess, Process, Rules, Runtime};
use crate::export::otlp::SettingsError;
use crate::pipeline::{Input, Output, Pipeline};
use crate::priority;
use crate::protocol::Limits;
use crate::run::{Caught, Child, NotStarted, Signals};
use crate::span::Policy;
use crate::telemetry::{Counters, LOST};
use crate::trace::Placed;
use libraries::{Cipher, Finder};
use looker::{Look, Looker};
use machines::{Machines, helps};
use outputs::Outputs;
use stacks::Symbolizer;
use wake::{Wake, Waker};

/// Size of the ring buffer: a fifth of a second at 20 000 exchanges a second with both ends traced.
const RING_BYTES: u32 = 16 * 1024 * 1024;
/// Records taken from the ring buffer before the loop looks at anything else.
const BATCH: usize = 512;
/// Such batches taken before the loop looks at signals and the time.
const MAX_BATCHES: usize = 256;
/// How often the pipeline is told the time, nanoseconds.
const TELL_NS: u64 = 5_000_000;
/// Files that are looked for once more where they were gone.
const MAX_VANISHED: usize = 4096;
/// The same while it lags behind the kernel: what is due then still has to go.
const LAG_NS: u64 = 20_000_000;
/// How long after the command has ended its last events are waited for.
const LAST_EVENTS: Duration = Duration::from_millis(60);

/// What to trace.
pub enum Start {
    /// A command, which waits before its program.
    Command(Child),
    /// What runs and matches, now and later.
    Attach(Rules),
}

/// Everything a session is made of.
pub struct Session {
    /// What the user set.
    pub settings: Settings,
    /// What to trace.
    pub start: Start,
    /// Signals, already taken.
    pub signals: Signals,
    /// Owner (user and group id) of files that are made, under sudo.
    pub owner: Option<(u32, u32)>,
    /// The folder of the store, where traces are kept.
    pub store: Option<PathBuf>,
    /// What is traced, in the user's words.
    pub title: String,
}

/// Why a session ended without having done its work.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The host cannot do it.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// A named process is not there.
    #[error(transparent)]
    NoProcess(#[from] NoProcess),
    /// A setting of an output is no good.
    #[error(transparent)]
    Output(#[from] SettingsError),
    /// A redaction rule is no good.
    #[error(transparent)]
    Redact(#[from] crate::span::RuleError),
    /// A file could not be opened.
    #[error("failed to open {path} for `--otlp-file`")]
    File {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// Questions cannot be answered at the address that was asked for.
    #[error(transparent)]
    Serve(#[from] crate::serve::ServeError),
    /// The command did not begin.
    #[error(transparent)]
    NotStarted(#[from] NotStarted),
    /// Something the agent itself needs.
    #[error("failed to {0}")]
    Agent(&'static str, #[source] io::Error),
}

/// Traces until the command has ended, a signal comes or the time is over. Gives the exit code.
///
/// # Errors
/// [`SessionError`], before anything was traced.
pub fn run(session: Session) -> Result<u8, SessionError> {
    let policy = policy(&session.settings)?;
    let rules = match &session.start {
        Start::Attach(rules) => Some(rules),
        Start::Command(_) => None,
    };
    let setup = Setup {
        capture: session.settings.capture,
        head_bytes: session.settings.head_bytes,
        body_bytes: session.settings.body_bytes,
        assist: rules.is_none() && session.settings.assist,
        times: session.settings.times,
        stacks: session.settings.stacks,
        watch_all: rules.is_some_and(Rules::watch_all),
        logs: session.settings.logs,
        ring_bytes: RING_BYTES,
    };
    let discovery = Discovery::default();
    let existing = match rules {
        Some(rules) => rules.find_existing(discovery.proc())?,
        None => Vec::new(),
    };
    let mut probes = Probes::attach(&setup)?;
    let ring = probes.events()?;
    let rows = if session.settings.stacks {
        Some(probes.rows()?)
    } else {
        None
    };
    let runtimes = || -> io::Result<(runtime::Runtime, runtime::Runtime)> {
        // What sends must not wait for what reads.
        let background = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        // The loop waits by itself: one that another thread wakes takes two turns of the scheduler.
        Ok((background, Builder::new_current_thread().enable_all().build()?))
    };
    let (background, runtime) = runtimes().map_err(|error| SessionError::Agent("start the runtime", error))?;
    let code = runtime.block_on(async {
        let counters = Counters::new();
        let outputs = {
            let _spawns = background.enter();
            Outputs::new(&session, policy.clone(), counters.clone())?
        };
        let limits = Limits {
            body_bytes: session.settings.body_bytes as usize,
            values: session.settings.db_values,
            turns: session.settings.unknown_protocols,
        };
        let (looker, looks) =
            Looker::start(discovery.proc().clone()).map_err(|error| SessionError::Agent("start a thread", error))?;
        let (finder, ciphers) =
            Finder::start(discovery.proc().clone()).map_err(|error| SessionError::Agent("start a thread", error))?;
        let symbolizer = Symbolizer::start(discovery.proc().clone(), rows, policy.clone())
            .map_err(|error| SessionError::Agent("start a thread", error))?;
        let agent = Agent {
            pipeline: Pipeline::new(policy, limits, rand::random()),
            probes,
            ring,
            discovery,
            looker,
            finder,
            vanished: HashSet::new(),
            symbolizer,
            machines: Machines::default(),
            outputs,
            counters,
            told: HashSet::new(),
            targets: HashSet::new(),
            service_name: session.settings.service_name.clone(),
            events: Vec::with_capacity(BATCH),
            out: Output::default(),
            told_ns: 0,
            assist: setup.assist,
            contexts: session.settings.contexts,
        };
        agent.trace(session, looks, ciphers, existing).await
    });
    // What may still run is a collector that does not answer.
    background.shutdown_timeout(Duration::from_millis(100));
    code
}

fn policy(settings: &Settings) -> Result<Policy, SessionError> {
    let mut policy = Policy::default();
    policy.values = settings.db_values;
    for header in &settings.headers {
        policy.show_header(header);
    }
    for rule in &settings.users {
        policy.name_user(rule);
    }
    for rule in &settings.redact {
        policy.redact(rule)?;
    }
    Ok(policy)
}

struct Agent {
    pipeline: Pipeline,
    probes: Probes,
    ring: RingBuf<MapData>,
    discovery: Discovery,
    looker: Looker,
    finder: Finder,
    /// Files of libraries that were gone when they were to be watched.
    vanished: HashSet<PathBuf>,
    symbolizer: Symbolizer,
    machines: Machines,
    outputs: Outputs,
    counters: Counters,
    /// Connections the kernel has a verdict on.
    told: HashSet<crate::capture::ConnId>,
    targets: HashSet<Pid>,
    service_name: Option<String>,
    /// Events on their way; empty between batches, and kept for its memory.
    events: Vec<Event>,
    /// What the pipeline gave last, likewise.
    out: Output,
    /// The time the pipeline was told last.
    told_ns: u64,
    /// The command was handed hooks.
    assist: bool,
    /// Execution contexts below the thread are followed.
    contexts: bool,
}

impl Agent {
    async fn trace(
        mut self,
        session: Session,
        looks: UnboundedReceiver<Look>,
        ciphers: UnboundedReceiver<Cipher>,
        existing: Vec<Pid>,
    ) -> Result<u8, SessionError> {
        let Session {
            settings,
            mut start,
            signals,
            ..
        } = session;
        // Not of the command, which was made before.
        priority::prefer();
        // Every target is set before anything else happens: two that talk to each other begin to be traced together.
        for pid in &existing {
            self.target(*pid)?;
        }
        for pid in existing {
            self.look_at(pid);
        }
        let mut waker = Waker::new(&self.ring, signals, looks, ciphers, settings.duration)
            .map_err(|error| SessionError::Agent("wait for events", error))?;
        match &mut start {
            Start::Command(child) => {
                self.target(child.pid())?;
                waker
                    .watch(child)
                    .map_err(|error| SessionError::Agent("wait for the command", error))?;
                self.outputs.begin(&self.begun_command(child.no_java_hook()));
                // A short command may be over before it could be looked at.
                for (library, path) in libraries::usual() {
                    let pid = child.pid();
                    self.decipher(&Cipher { pid, library, path });
                }
                child.release()?;
            }
            Start::Attach(_) => self.outputs.begin(&self.begun()),
        }
        if settings.logs && !self.probes.sees_logs() {
            self.outputs
                .begin("logs are not read: this kernel does not let Clew see them (Linux 5.15)");
        }
        let mut code = 0;
        loop {
            match waker.next().await {
                wake @ (Wake::Events | Wake::Time) => {
                    if matches!(wake, Wake::Time) {
                        self.follow_machines();
                    }
                    let events = self.drain(&start);
                    let more = events >= BATCH;
                    waker.found(events, more);
                    if more {
                        // Signals are looked for also where there is always something to do.
                        tokio::task::yield_now().await;
                    }
                }
                Wake::Rescan => {
                    self.rescan(&start);
                    self.probes.let_go();
                }
                Wake::Looked(look) => self.looked(look),
                Wake::Found(cipher) => self.decipher(&cipher),
                Wake::Signal(caught) => match &start {
                    Start::Command(child) => {
                        if let Some(signal) = caught.pass_on() {
                            child.signal(signal);
                        }
                    }
                    Start::Attach(_) if caught.ends() => break,
                    Start::Attach(_) => {}
                },
                Wake::Over => {
                    if matches!(start, Start::Attach(_)) {
                        break;
                    }
                    // The command goes on; only the tracing ends. What is signaled meanwhile is the command's.
                    self.end(std::future::pending()).await;
                    if let Start::Command(child) = &mut start {
                        code = waker.wait_for(child).await.map_or(1, |exit| exit.code());
                    }
                    return Ok(code);
                }
                Wake::Ended => {
                    let Start::Command(child) = &mut start else {
                        continue;
                    };
                    // What was signaled until now was meant for the command, not for what is left to do.
                    let caught = waker.caught();
                    if let Ok(Some(exit)) = child.try_wait() {
                        code = exit.code();
                        tokio::time::sleep(LAST_EVENTS).await;
                        self.drain(&start);
                        break;
                    }
                    for signal in caught.into_iter().filter_map(Caught::pass_on) {
                        child.signal(signal);
                    }
                }
            }
        }
        self.drain(&start);
        let complete = self.end(waker.asked_to_end()).await;
        let attached = matches!(start, Start::Attach(_));
        Ok(if attached && !complete { 1 } else { code })
    }

    /// How operations are captured.
    fn how(&self) -> &'static str {
        match self.probes.capture() {
            Capture::Socket => "sockets",
            Capture::Syscall => "system calls",
        }
    }

    fn begun(&self) -> String {
        let how = self.how();
        match self.targets.len() {
            1 => format!("tracing 1 process at {how}; Ctrl-C ends it"),
            n => format!("tracing {n} processes at {how}; Ctrl-C ends it"),
        }
    }

    fn begun_command(&self, no_java_hook: Option<&str>) -> String {
        let how = self.how();
        match no_java_hook {
            _ if !self.assist => format!("tracing the command at {how}"),
            None => format!(
                "tracing the command at {how}; its Node.js and Java processes load a hook of Clew's (--assist off)"
            ),
            Some(why) => format!(
                "tracing the command at {how}; its Node.js processes load a hook of Clew's (--assist off); {why}"
            ),
        }
    }

    fn target(&mut self, pid: Pid) -> Result<(), AttachError> {
        if self.targets.insert(pid) {
            self.probes.target(pid)?;
        }
        Ok(())
    }

    /// Reads a process that became a target while it ran.
    fn look_at(&mut self, pid: Pid) {
        let proc = self.discovery.proc();
        let running = Input::Running {
            pid,
            creator: proc.status(pid, "PPid").map(Pid),
            sockets: proc.sockets(pid),
            now_ns: monotonic_ns(),
        };
        self.input(running);
        self.know(pid);
        self.finder.look_at(pid);
        for (tid, name) in self.discovery.proc().threads(pid) {
            if let Some(any) = helps(&name) {
                self.input(Input::Helper { pid, tid, any });
            }
        }
    }

    fn know(&mut self, pid: Pid) {
        // One that has ended is told as unknown.
        if let Ok(mut process) = self.discovery.read(pid) {
            if let Some(name) = &self.service_name {
                process.service.clone_from(name);
            }
            self.follow(&process);
            self.input(Input::Process(process));
        }
    }

    /// A target began a program: reads it, or takes what the kernel told of it if it is over by now.
    fn began(&mut self, pid: Pid, name: &str, args: &[String]) {
        if self.discovery.proc().is_alive(pid) || name.is_empty() {
            self.know(pid);
        } else {
            let mut process = Process::over(pid, name, args.to_vec());
            if let Some(name) = &self.service_name {
                process.service.clone_from(name);
            }
            self.input(Input::Process(process));
        }
    }

    /// Follows the execution contexts of a process, if it has any below the thread.
    fn follow(&mut self, process: &Process) {
        self.probes.unfollow(process.pid);
        if !self.contexts {
            return;
        }
        if process.runtime == Runtime::JavaVirtual {
            self.machines.wait_for(process.pid);
            self.follow_machines();
        }
        if !self.looker.ask(process) {
            self.counters.raise("context.unfollowed");
        }
    }

    /// Follows the threads of Java's virtual machines that have come up since.
    fn follow_machines(&mut self) {
        for (pid, plan) in self.machines.come_up(self.discovery.proc()) {
            let why = match plan {
                Ok(plan) => self.probes.read_by(pid, &plan).err().map(|error| chain(&error)),
                Err(why) => Some(why.to_string()),
            };
            self.unfollowed(pid, why);
        }
    }

    /// The looker has found how to follow a process, or has not.
    fn looked(&mut self, look: Look) {
        let (pids, found) = self.looker.answer(look);
        for pid in pids {
            let why = match &found {
                Ok(found) => self.probes.follow(pid, found).err().map(|error| chain(&error)),
                Err(why) => Some(why.to_string()),
            };
            self.unfollowed(pid, why);
        }
    }

    /// Tells of a process whose contexts are not followed. One that has ended meanwhile is no loss.
    fn unfollowed(&mut self, pid: Pid, why: Option<String>) {
        if let Some(why) = why
            && self.discovery.proc().is_alive(pid)
        {
            self.counters.raise("context.unfollowed");
            self.outputs.mention(&format!(
                "which request process {} works for is not followed: {why}",
                pid.0
            ));
        }
    }

    /// Sees the plaintext of what a library encrypts for a process.
    fn decipher(&mut self, cipher: &Cipher) {
        let Cipher { pid, library, path } = cipher;
        if library.points.is_empty() {
            self.counters.raise("tls.unwatched");
            self.outputs
                .mention(&format!("process {}: {}", pid.0, library.limits.join("; ")));
            return;
        }
        let placed = self.probes.decipher(*pid, library, path);
        if !self.discovery.proc().is_alive(*pid) {
            // It was over before its library was known, and nothing will tell of its end again.
            self.probes.over(*pid);
        } else if let Err(error) = placed {
            // Who brings a library along may have removed the file since it was found: it is still mapped, and is found once more there.
            if self.vanished.len() < MAX_VANISHED && !path.exists() && self.vanished.insert(path.clone()) {
                self.finder.look_at(*pid);
                return;
            }
            self.counters.raise("tls.unwatched");
            self.outputs.mention(&format!(
                "what {} encrypts for process {} is not seen: {}",
                library.name,
                pid.0,
                chain(&error)
            ));
        }
    }

    /// Passes what the ring buffer holds to the pipeline, and tells it the time: now, or where more comes than can be taken
    /// at once, how far it has got. Gives the number of events.
    fn drain(&mut self, start: &Start) -> usize {
        let mut events = std::mem::take(&mut self.events);
        let mut taken = 0;
        for _ in 0..MAX_BATCHES {
            for _ in 0..BATCH {
                let Some(record) = self.ring.next() else { break };
                for part in parts(&record) {
                    match decode(part) {
                        Ok(event) => events.push(event),
                        Err(error) => {
                            self.counters.raise("capture.malformed");
                            if self.counters.value("capture.malformed") == 1 {
                                self.outputs
                                    .mention(&format!("an event of the kernel programs is left out: {error}"));
                            }
                        }
                    }
                }
            }
            let Some(last) = events.last().map(Event::time_ns) else {
                self.time();
                break;
            };
            taken += events.len();
            for event in events.drain(..) {
                self.event(event, start);
            }
            if last.saturating_sub(self.told_ns) >= LAG_NS {
                self.tell(last);
            }
        }
        self.events = events;
        taken
    }

    fn event(&mut self, event: Event, start: &Start) {
        match &event {
            Event::Exec {
                moment, target: false, ..
            } => {
                let pid = moment.actor.pid;
                if let Start::Attach(rules) = start
                    && rules.matches(self.discovery.proc(), pid)
                {
                    self.join(pid);
                }
                return;
            }
            Event::Exit {
                moment, process: true, ..
            } => {
                self.targets.remove(&moment.actor.pid);
                self.looker.forget(moment.actor.pid);
                self.probes.exited(moment.actor.pid);
                self.machines.forget(moment.actor.pid);
                self.symbolizer.forget(moment.actor.pid);
            }
            Event::Stack(stack) => {
                if let Some(count) = self.symbolizer.ask(stack) {
                    self.counters.raise(count);
                }
            }
            Event::Mapped(moment) => self.finder.look_at(moment.actor.pid),
            Event::Fork { moment, child } => {
                let (parent, child) = (moment.actor.pid, *child);
                let asked = self.looker.forked(parent, child);
                if !self.probes.forked(parent, child)
                    && !asked
                    && let Ok(process) = self.discovery.read(child)
                {
                    self.follow(&process);
                }
            }
            _ => {}
        }
        if let Some(pid) = self.pipeline.wants(&event) {
            match &event {
                Event::Exec { name, args, .. } => {
                    self.probes.over(pid);
                    self.began(pid, name, args);
                    self.finder.expect(pid);
                    self.symbolizer.forget(pid);
                }
                // A child, or one that was traced before: its creator's libraries may have been found since.
                _ => {
                    self.know(pid);
                    self.finder.look_at(pid);
                }
            }
        }
        self.input(Input::Event(event));
    }

    /// Begins to trace a process that matches and was not a target.
    fn join(&mut self, pid: Pid) {
        match self.target(pid) {
            Ok(()) => self.look_at(pid),
            Err(_) => self.counters.raise("capture.targets_full"),
        }
    }

    fn rescan(&mut self, start: &Start) {
        if let Start::Attach(rules) = start
            && rules.rescan()
        {
            for pid in rules.find_more(self.discovery.proc()) {
                if !self.targets.contains(&pid) {
                    self.join(pid);
                }
            }
        }
    }

    fn input(&mut self, input: Input) {
        self.handle(input);
        let mut spans = std::mem::take(&mut self.out.spans);
        let now_ns = if spans.is_empty() { 0 } else { monotonic_ns() };
        for mut span in spans.drain(..) {
            self.place(&mut span);
            self.outputs.push(span, now_ns);
        }
        self.out.spans = spans;
    }

    /// Hands over records of logs that no span takes along.
    fn push_logs(&mut self) {
        for loose in self.out.logs.drain(..) {
            self.outputs.push_log(loose);
        }
    }

    /// Hides what a span must not show, and puts the functions of its stack on it, of which that was hidden before.
    fn place(&mut self, span: &mut Placed) {
        self.outputs.conceal(&mut span.span);
        if let Some(count) = self.symbolizer.show(&mut span.span) {
            self.counters.raise(count);
        }
    }

    /// Lets the pipeline take an input, and does what it asks for but for the spans.
    fn handle(&mut self, input: Input) {
        self.pipeline.handle(input, &mut self.out);
        for name in self.out.counts.drain(..) {
            self.counters.raise(name);
        }
        self.push_logs();
        for (conn, verdict) in self.out.verdicts.drain(..) {
            self.told.insert(conn);
            self.probes.verdict(conn, verdict);
        }
        for pid in self.out.hands.drain(..) {
            self.probes.hands(pid);
        }
        for pid in self.out.takes.drain(..) {
            if self.probes.takes(pid).is_err() {
                self.counters.raise("pipes.unseen");
            }
        }
        for conn in self.out.closed.drain(..) {
            if self.told.remove(&conn) {
                self.probes.forget(conn);
            }
        }
    }

    /// Every event before now has been taken.
    fn time(&mut self) {
        let now_ns = monotonic_ns();
        if now_ns.saturating_sub(self.told_ns) >= TELL_NS {
            self.tell(now_ns);
            self.outputs.tick(now_ns);
            if let Some(before_ns) = self.outputs.asks_what_is_open(now_ns) {
                let open = self.pipeline.unanswered(before_ns, outputs::MOST_OPEN);
                self.outputs.open(&open);
                // Who keeps traces notes when it was.
                self.counters.set(LOST, self.probes.lost());
            }
        }
    }

    fn tell(&mut self, now_ns: u64) {
        self.told_ns = now_ns;
        self.input(Input::Time(now_ns));
    }

    /// Tells what is still held, until `hurry` is over. Whether everything was told.
    async fn end(mut self, hurry: impl Future<Output = ()>) -> bool {
        self.input(Input::Time(monotonic_ns()));
        let nobody = Actor::thread(Pid(0), 0);
        self.handle(Input::Stop(Moment::new(monotonic_ns(), nobody)));
        self.symbolizer.settle().await;
        let mut spans = std::mem::take(&mut self.out.spans);
        for span in &mut spans {
            self.place(span);
        }
        for (name, value) in self.probes.counters() {
            self.counters.set(name, value);
        }
        self.outputs.end(spans, monotonic_ns(), hurry).await
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// `CLOCK_MONOTONIC`, nanoseconds: the clock of the kernel side's events.
fn monotonic_ns() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    now.map_or(0, |now| {
        let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
        seconds
            .saturating_mul(1_000_000_000)
            .saturating_add(u64::try_from(now.tv_nsec()).unwrap_or(0))
    })
}
