//! Where spans go: a collector, a file, the terminal.
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

use super::{Session, SessionError};
use crate::config::{Format, Verbosity};
use crate::export::file::OtlpFile;
use crate::export::otlp::{Exporter, LogRecords, Settings as OtlpSettings};
use crate::export::summary::Summary;
use crate::export::{Assembler, Clock, Finished, Host, Limits, Logged, Warn, json, tree};
use crate::serve::{ADDRESS, Listening, Receiver, ServeError, Server, bind, bind_near};
use crate::span::{Policy, Span};
use crate::store::sqlite::{Bounds, SqliteStore};
use crate::store::{Setup, Writer};
use crate::telemetry::{Counters, usage};
use crate::trace::{Loose, Placed, Unanswered};

/// How long outputs may take to bring home what they hold.
const LAST: Duration = Duration::from_secs(5);
/// How long a full queue is left alone before it is looked at again.
const ROOM: Duration = Duration::from_millis(2);
/// Trees drawn in a second.
const MAX_TREES: u64 = 100;
/// Requests in flight that are shown.
pub(super) const MOST_OPEN: usize = 200;
/// How often they are looked for, and how long one has to last to be shown: most are over before anyone could look.
const OPEN_NS: u64 = 300_000_000;
/// How often Unix time is compared with the kernel's monotonic time.
const RESAMPLE_NS: u64 = 10_000_000_000;

pub(super) struct Outputs {
    otlp: Option<Exporter>,
    otlp_logs: Option<Exporter<LogRecords>>,
    file: Option<OtlpFile>,
    store: Option<Writer>,
    /// Answers questions as long as it is here.
    server: Option<Server>,
    /// Takes spans from SDKs likewise.
    receiver: Option<Receiver>,
    /// What of spans may be shown.
    policy: Policy,
    /// Bodies leave the store.
    exports_bodies: bool,
    shown: Option<Shown>,
    summary: Summary,
    clock: Clock,
    resampled_ns: u64,
    /// When what is in flight was looked for last.
    looked_ns: u64,
    counters: Counters,
    verbosity: Verbosity,
    since: Instant,
    /// CPU time the start took; it is no part of what tracing costs.
    start_cpu: Duration,
}

/// Traces on their way to the terminal or a script.
struct Shown {
    assembler: Assembler,
    tree: Option<tree::Options>,
    counters: Counters,
    /// When the current second of drawing began, and the trees drawn and left out in it.
    second_ns: u64,
    drawn: u64,
    hidden: u64,
}

impl Outputs {
    /// Opens what the settings name.
    pub(super) fn new(session: &Session, policy: Policy, counters: Counters) -> Result<Self, SessionError> {
        let (settings, owner) = (&session.settings, session.owner);
        let clock = Clock::now();
        let host = Host::read(Path::new("/"));
        let warn: Warn = Arc::new(say);
        let variable = |name: &str| std::env::var(name).ok();
        let target = OtlpSettings::resolve(settings.otlp.as_deref(), variable)?;
        let otlp_logs = match &target {
            Some(target) if settings.logs => logs_exporter(target, &host, &clock, &counters, &warn)?,
            _ => None,
        };
        let otlp = match &target {
            Some(target) => Some(Exporter::start(
                target,
                host.clone(),
                clock.clone(),
                counters.clone(),
                Arc::clone(&warn),
            )?),
            None => None,
        };
        let file = match &settings.otlp_file {
            Some(path) => {
                let path = path.to_string_lossy();
                let file = OtlpFile::open(
                    &path,
                    owner,
                    host.clone(),
                    clock.clone(),
                    counters.clone(),
                    Arc::clone(&warn),
                )
                .map_err(|source| file_error(&path, source))?;
                Some(file)
            }
            None => None,
        };
        let store = match &session.store {
            Some(folder) => {
                let setup = Setup {
                    command: session.title.clone(),
                    host,
                    clock: clock.clone(),
                    counters: counters.clone(),
                    warn,
                    policy: policy.clone(),
                };
                kept(session, folder, setup)?
            }
            None => None,
        };
        let server = match &session.store {
            Some(folder) if store.is_some() => served(session, folder)?,
            _ => None,
        };
        let receiver = match (&store, settings.otlp_listen) {
            (Some(store), Some(address)) => Some(received(session, address, store)?),
            _ => None,
        };
        let terminal = tree::terminal(io::stderr());
        let tree = match settings.format {
            Format::None => None,
            Format::Tree => Some(Some(tree::Options::detect(terminal, variable))),
            Format::Json => Some(None),
        };
        let shown = tree.map(|tree| Shown {
            assembler: Assembler::new(Limits::default(), counters.clone()),
            tree,
            counters: counters.clone(),
            second_ns: 0,
            drawn: 0,
            hidden: 0,
        });
        Ok(Self {
            otlp,
            otlp_logs,
            file,
            store,
            server,
            receiver,
            policy,
            exports_bodies: settings.otlp_bodies,
            shown,
            summary: Summary::default(),
            clock,
            resampled_ns: 0,
            looked_ns: 0,
            counters,
            verbosity: settings.verbosity,
            since: Instant::now(),
            start_cpu: usage().cpu,
        })
    }

    /// Tells that tracing has begun.
    pub(super) fn begin(&self, what: &str) {
        if self.verbosity > Verbosity::Quiet {
            say(what);
        }
    }

    /// Tells something that matters to those who look closely.
    pub(super) fn mention(&self, what: &str) {
        if self.verbosity > Verbosity::Normal {
            say(what);
        }
    }

    /// Hides what a span must not show.
    pub(super) fn conceal(&self, span: &mut Span) {
        self.policy.conceal(span);
    }

    /// Brings out a span that shows nothing which it must not.
    pub(super) fn push(&mut self, span: Placed, now_ns: u64) {
        let span: Finished = Arc::new(span);
        self.summary.add(&span);
        let exported = self.exported(&span);
        if let Some(otlp) = &self.otlp {
            otlp.push(Arc::clone(&exported));
        }
        if let Some(logs) = self.otlp_logs.as_ref().filter(|_| !span.logs.is_empty()) {
            logs.push(Logged::OfSpan(Arc::clone(&span)));
        }
        if let Some(file) = &self.file {
            file.push(exported);
        }
        if let Some(store) = &self.store {
            store.push(Arc::clone(&span));
        }
        if let Some(shown) = &mut self.shown {
            let traces = shown.assembler.add(span, now_ns);
            shown.show(&traces, &self.clock, now_ns);
        }
    }

    /// What of a span is exported: all but bodies, unless these are wanted.
    fn exported(&self, span: &Finished) -> Finished {
        let stays = (self.otlp.is_some() || self.file.is_some()) && !self.exports_bodies && span.span.has_bodies();
        if !stays {
            return Arc::clone(span);
        }
        let mut exported = Placed::clone(span);
        exported.span.remove_bodies();
        Arc::new(exported)
    }

    /// A record of a log that no span takes along.
    pub(super) fn push_log(&self, loose: Loose) {
        let loose = Arc::new(loose);
        if let Some(logs) = &self.otlp_logs {
            logs.push(Logged::Alone(Arc::clone(&loose)));
        }
        if let Some(file) = &self.file {
            file.push_log(loose);
        }
    }

    /// Hands over the last spans, which may be more than the queues hold: waits for room, until `hurry` is over.
    async fn push_last(&mut self, spans: Vec<Placed>, now_ns: u64, hurry: impl Future<Output = ()>) {
        let begun = Instant::now();
        let mut hurry = std::pin::pin!(hurry);
        let mut waits = true;
        for span in spans {
            while waits && !self.have_room() {
                waits = tokio::select! {
                    () = &mut hurry => false,
                    () = tokio::time::sleep(ROOM) => begun.elapsed() < LAST,
                };
            }
            self.push(span, now_ns);
        }
    }

    fn have_room(&self) -> bool {
        self.otlp.as_ref().is_none_or(Exporter::has_room)
            && self.otlp_logs.as_ref().is_none_or(Exporter::has_room)
            && self.file.as_ref().is_none_or(OtlpFile::has_room)
            && self.store.as_ref().is_none_or(Writer::has_room)
    }

    /// Whether it is time to tell of requests in flight: of those that began before the moment given.
    pub(super) fn asks_what_is_open(&mut self, now_ns: u64) -> Option<u64> {
        let due = self.store.is_some() && now_ns.saturating_sub(self.looked_ns) >= OPEN_NS;
        due.then(|| {
            self.looked_ns = now_ns;
            now_ns.saturating_sub(OPEN_NS)
        })
    }

    /// These requests are in flight.
    pub(super) fn open(&self, requests: &[Unanswered]) {
        if let Some(store) = &self.store {
            store.in_flight(requests, &self.clock);
        }
    }

    pub(super) fn tick(&mut self, now_ns: u64) {
        if now_ns.saturating_sub(self.resampled_ns) >= RESAMPLE_NS {
            self.resampled_ns = now_ns;
            self.clock.resample();
        }
        if let Some(shown) = &mut self.shown {
            let traces = shown.assembler.tick(now_ns);
            shown.show(&traces, &self.clock, now_ns);
        }
    }

    /// Brings home what is held and `spans`, the last ones, and sums up. Once `hurry` is over nothing more is brought. Gives
    /// whether everything was.
    pub(super) async fn end(mut self, spans: Vec<Placed>, now_ns: u64, hurry: impl Future<Output = ()>) -> bool {
        let mut hurry = std::pin::pin!(hurry);
        let mut hurried = false;
        self.push_last(spans, now_ns, once(&mut hurried, hurry.as_mut())).await;
        if let Some(shown) = &mut self.shown {
            let traces = shown.assembler.finish();
            shown.show(&traces, &self.clock, u64::MAX);
            shown.tell_hidden();
        }
        let mut left = Vec::new();
        if let Some(otlp) = self.otlp {
            let unsent = otlp.shutdown(LAST, once(&mut hurried, hurry.as_mut())).await;
            left.push((unsent, "not sent to the collector"));
        }
        if let Some(logs) = self.otlp_logs {
            // Those that are not sent are counted; what users are told of is spans.
            logs.shutdown(LAST, once(&mut hurried, hurry.as_mut())).await;
        }
        if let Some(file) = self.file {
            let unwritten = file.close(LAST, once(&mut hurried, hurry.as_mut())).await;
            left.push((unwritten, "not written to the file of --otlp-file"));
        }
        // What SDKs sent until now is a part of what is written.
        drop(self.receiver);
        if let Some(store) = self.store {
            let unwritten = store.close(LAST, once(&mut hurried, hurry.as_mut())).await;
            left.push((unwritten, "not written to the store"));
        }
        left.retain(|(spans, _)| *spans > 0);
        let why = if hurried { "ended by a second signal: " } else { "" };
        for (spans, what) in &left {
            say(&format!("{why}the last {spans} spans were {what}"));
        }
        drop(self.server);
        if self.verbosity > Verbosity::Quiet {
            let mut usage = usage();
            usage.cpu = usage.cpu.saturating_sub(self.start_cpu);
            let summary = self
                .summary
                .render(self.since.elapsed(), &self.counters.snapshot(), usage);
            // A terminal that is gone is no reason to fail.
            let _gone = io::stderr().write_all(summary.as_bytes());
        }
        left.is_empty()
    }
}

/// What sends records of logs, if it is known where to.
fn logs_exporter(
    target: &OtlpSettings,
    host: &Host,
    clock: &Clock,
    counters: &Counters,
    warn: &Warn,
) -> Result<Option<Exporter<LogRecords>>, SessionError> {
    let Some(uri) = target.logs_uri.clone() else {
        return Ok(None);
    };
    let target = OtlpSettings { uri, ..target.clone() };
    let exporter = Exporter::start(&target, host.clone(), clock.clone(), counters.clone(), Arc::clone(warn))?;
    Ok(Some(exporter))
}

/// Opens the store. One the user did not ask for is no reason not to trace.
fn kept(session: &Session, folder: &Path, setup: Setup) -> Result<Option<Writer>, SessionError> {
    let bounds = Bounds {
        bytes: session.settings.store_size,
        age: session.settings.store_age,
    };
    let (owner, at) = (session.owner, folder.to_owned());
    let writer = Writer::start(setup, move || {
        act_for(owner);
        SqliteStore::open(&at, bounds)
    });
    match writer {
        Ok(writer) => Ok(Some(writer)),
        Err(error) if session.settings.store.is_some() => Err(error.into()),
        Err(error) => {
            say(&format!("traces are not kept: {}", super::chain(&error)));
            Ok(None)
        }
    }
}

/// Shows what the store holds from now on, and says where.
fn served(session: &Session, folder: &Path) -> Result<Option<Server>, ServeError> {
    let Some(listening) = listening(&session.settings)? else {
        return Ok(None);
    };
    if session.settings.verbosity > Verbosity::Quiet {
        say(&format!("traces are shown on {}", listening.url()));
    }
    let owner = session.owner;
    Server::start(listening, folder.to_owned(), move || act_for(owner)).map(Some)
}

/// The port that was asked for, or one that is free where none was.
fn listening(settings: &super::Settings) -> Result<Option<Listening>, ServeError> {
    match settings.listen {
        Some(address) => bind(address).map(Some),
        None if settings.ui => Ok(bind_near(ADDRESS)
            // Tracing goes on without a page.
            .inspect_err(|error| say(&format!("traces are not shown: {}", super::chain(error))))
            .ok()),
        None => Ok(None),
    }
}

/// Takes spans from SDKs from now on, and says where.
fn received(session: &Session, address: SocketAddr, store: &Writer) -> Result<Receiver, ServeError> {
    let listening = bind(address)?;
    if session.settings.verbosity > Verbosity::Quiet {
        let (at, token) = listening.endpoint();
        let token = token.map_or_else(String::new, |token| {
            format!(" with OTEL_EXPORTER_OTLP_HEADERS=\"authorization=Bearer%20{token}\"")
        });
        say(&format!("spans of SDKs are taken at http://{at}{token}"));
    }
    Receiver::start(listening, store.inbox())
}

/// From here on what the thread makes belongs to the caller of sudo, and it may do no more in the caller's folders than they.
fn act_for(owner: Option<(u32, u32)>) {
    if let Some((user, group)) = owner {
        setfsgid(Gid::from_raw(group));
        setfsuid(Uid::from_raw(user));
    }
}

/// Waits for `event`, and notes that it came; if it has come before, there is nothing to wait for.
async fn once(came: &mut bool, event: Pin<&mut impl Future<Output = ()>>) {
    if !*came {
        event.await;
        *came = true;
    }
}

impl Shown {
    fn show(&mut self, traces: &[Vec<Finished>], clock: &Clock, now_ns: u64) {
        if now_ns.saturating_sub(self.second_ns) >= 1_000_000_000 {
            self.tell_hidden();
            (self.second_ns, self.drawn) = (now_ns, 0);
        }
        for trace in traces {
            let written = match &self.tree {
                // Nobody reads faster, and drawing must not become the cost of tracing.
                Some(_) if self.drawn >= MAX_TREES => {
                    self.hidden += 1;
                    continue;
                }
                Some(options) => io::stderr().write_all(format!("{}\n", tree::render(trace, options)).as_bytes()),
                None => io::stdout().write_all(format!("{}\n", json::line(trace, clock)).as_bytes()),
            };
            self.drawn += 1;
            // A reader that is gone is no reason to stop tracing.
            if written.is_err() {
                self.counters.raise("export.output_failed");
            }
        }
    }

    fn tell_hidden(&mut self) {
        let hidden = std::mem::take(&mut self.hidden);
        if hidden > 0 {
            self.counters.add("export.trees_hidden", hidden);
            say(&format!(
                "{hidden} more traces, not drawn: more than {MAX_TREES} a second"
            ));
        }
    }
}

/// Tells the user something. A terminal that is gone is no reason to fail.
fn say(line: &str) {
    let _gone = writeln!(io::stderr().lock(), "clew: {line}");
}

fn file_error(path: &str, source: io::Error) -> SessionError {
    SessionError::File {
        path: path.to_owned(),
        source,
    }
}
