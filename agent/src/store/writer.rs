//! A thread that writes, and the queue before it.
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use tokio::sync::oneshot;

use super::{Backend, InFlight, Incoming, Received, StoreError, facts};
use crate::discover::Process;
use crate::export::hex;
use crate::export::otlp::{self, attributes, resource, span};
use crate::export::{Bounds, Clock, Finished, Host, Queue, Warn};
use crate::log::Record;
use crate::span::Policy;
use crate::telemetry::{Counters, LOST};
use crate::trace::Unanswered;

/// What waits at most: a second of a busy host.
const QUEUE: Bounds = Bounds {
    spans: 32_768,
    bytes: 12 << 20,
};
/// What is written at once.
const BATCH: Bounds = Bounds {
    spans: 2_048,
    bytes: 2 << 20,
};
/// The longest a span waits for others.
const WAIT: Duration = Duration::from_millis(200);
/// How often what is due by age is looked for while nothing comes.
const TRIM_IDLE: Duration = Duration::from_secs(60);
/// What was received and waits at most: requests, and about their bytes.
const INBOX: usize = 256;
const INBOX_BYTES: usize = 16 << 20;
/// Processes whose resource is remembered.
const RESOURCES: usize = 512;

/// Writes spans into a store in the background.
pub struct Writer {
    queue: Arc<Queue>,
    done: oneshot::Receiver<()>,
    /// Spans that were queued and neither written nor given up.
    waiting: Arc<AtomicU64>,
    inbox: Inbox,
    /// What is in flight, until the thread has taken it.
    open: Arc<Mutex<Option<Vec<InFlight>>>>,
    counters: Counters,
}

/// Where spans that others made come in.
#[derive(Clone, Debug)]
pub struct Inbox {
    sender: mpsc::SyncSender<Received>,
    bytes: Arc<AtomicUsize>,
    counters: Counters,
}

impl Inbox {
    /// Takes spans unless the writer is behind; never waits.
    #[must_use]
    pub fn put(&self, received: Received) -> bool {
        let (bytes, spans, refused) = (received.bytes(), received.count(), received.refused());
        let fits = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= INBOX_BYTES;
        if fits && self.sender.try_send(received).is_ok() {
            self.counters.add("otlp.received", spans);
            self.counters.add("otlp.refused", refused);
            return true;
        }
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.counters.add("otlp.inbox_full", spans);
        false
    }
}

/// What a writer needs.
pub struct Setup {
    /// What is traced, in the words of whoever asked for it.
    pub command: String,
    /// Facts of the host.
    pub host: Host,
    /// Unix time of spans.
    pub clock: Clock,
    /// Clew's account.
    pub counters: Counters,
    /// Where trouble is told of.
    pub warn: Warn,
    /// What of spans that are received may be stored; those that were captured hide it already.
    pub policy: Policy,
}

impl Writer {
    /// Starts the thread, which opens the store first.
    ///
    /// # Errors
    /// The store cannot be opened, or there is no thread.
    pub fn start<B: Backend + 'static>(
        setup: Setup,
        open: impl FnOnce() -> Result<B, StoreError> + Send + 'static,
    ) -> Result<Self, StoreError> {
        let queue = Arc::new(Queue::new(QUEUE, BATCH, WAIT));
        let spans = Arc::clone(&queue);
        let waiting = Arc::new(AtomicU64::new(0));
        let counters = setup.counters.clone();
        let left = Arc::clone(&waiting);
        let (sender, received) = mpsc::sync_channel(INBOX);
        let inbox = Inbox {
            sender,
            bytes: Arc::default(),
            counters: counters.clone(),
        };
        let received_bytes = Arc::clone(&inbox.bytes);
        let open_requests = Arc::<Mutex<_>>::default();
        let told_open = Arc::clone(&open_requests);
        let (finished, done) = oneshot::channel();
        let (opened, is_open) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("clew-store".to_owned());
        let started = thread.spawn(move || {
            let begun = open().and_then(|mut backend| {
                backend.begin(&setup.command, unix_ns())?;
                Ok(backend)
            });
            let backend = match begun {
                Ok(backend) => backend,
                Err(error) => {
                    let _gone = opened.send(Err(error));
                    return;
                }
            };
            let _gone = opened.send(Ok(()));
            let worker = Worker {
                backend,
                setup,
                waiting: left,
                received,
                received_bytes,
                open: told_open,
                said: (Vec::new(), Instant::now()),
                resources: HashMap::new(),
                told: Told::default(),
                trimmed: Instant::now(),
                lost: (0, unix_ns()),
            };
            worker.run(&spans);
            let _nobody_waits = finished.send(());
        });
        started.map_err(|source| StoreError::Open {
            path: "thread".into(),
            source,
        })?;
        is_open.recv().unwrap_or(Err(StoreError::Malformed))?;
        Ok(Self {
            queue,
            done,
            waiting,
            inbox,
            open: open_requests,
            counters,
        })
    }

    /// Where spans that others made come in.
    pub fn inbox(&self) -> Inbox {
        self.inbox.clone()
    }

    /// Queues a span. Never waits.
    pub fn push(&self, span: Finished) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if !self.queue.push(span) {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.counters.raise("store.queue_full");
        }
    }

    /// Says which requests are in flight. Never waits.
    pub fn in_flight(&self, requests: &[Unanswered], clock: &Clock) {
        let request = |it: &Unanswered| InFlight {
            span_id: hex(&it.span_id),
            service: it.process.service.clone(),
            kind: facts::kind_word(otlp::kind(it.kind) as i64),
            title: it.asks.clone(),
            pid: i64::from(it.process.pid.0),
            start_unix_ns: clock.unix_ns(it.start_ns),
            run: 0,
            lost: false,
        };
        let requests = requests.iter().map(request).collect();
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(requests);
    }

    /// Whether a span of usual size would be taken.
    pub fn has_room(&self) -> bool {
        self.queue.has_room()
    }

    /// Writes what waits, within `limit` and until `hurry` is over. Gives the spans that could not be written by then; they
    /// are counted `store.failed`.
    pub async fn close(mut self, limit: Duration, hurry: impl Future<Output = ()>) -> u64 {
        self.queue.close();
        let written = tokio::select! {
            done = tokio::time::timeout(limit, &mut self.done) => done.is_ok(),
            () = hurry => false,
        };
        let left = if written {
            0
        } else {
            self.waiting.load(Ordering::Relaxed)
        };
        self.counters.add("store.failed", left);
        left
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.close();
    }
}

struct Worker<B> {
    backend: B,
    setup: Setup,
    waiting: Arc<AtomicU64>,
    received: mpsc::Receiver<Received>,
    received_bytes: Arc<AtomicUsize>,
    open: Arc<Mutex<Option<Vec<InFlight>>>>,
    /// What was said last of what is in flight, and when.
    said: (Vec<InFlight>, Instant),
    resources: HashMap<usize, (Arc<Process>, Arc<Resource>)>,
    told: Told,
    trimmed: Instant,
    /// Events that were lost up to when it was looked last, in Unix time.
    lost: (u64, u64),
}

/// What the user has been told of.
#[derive(Default)]
struct Told {
    failed: bool,
    full: bool,
}

impl<B: Backend> Worker<B> {
    fn run(mut self, queue: &Queue) {
        // What is over its age goes also where nothing comes.
        self.trim();
        loop {
            self.say_what_is_open();
            self.note_lost();
            match queue.soon() {
                Some(Some(batch)) => {
                    self.write(&batch);
                    self.receive();
                    self.trim();
                }
                Some(None) => break,
                None if self.receive() => self.trim(),
                None if self.trimmed.elapsed() >= TRIM_IDLE => self.trim(),
                None => {}
            }
        }
        self.receive();
        if let Err(error) = self.backend.end(unix_ns()) {
            self.tell(&error, 0);
        }
    }

    fn write(&mut self, batch: &[Finished]) {
        let spans = batch.len() as u64;
        if self.resources.len() > RESOURCES {
            self.resources.clear();
        }
        let resources: Vec<Arc<Resource>> = batch.iter().map(|placed| self.resource(&placed.process)).collect();
        let incoming: Vec<Incoming<'_>> = batch
            .iter()
            .zip(&resources)
            .map(|(placed, resource)| {
                let mut span = span(placed, &self.setup.clock);
                span.trace_id = Vec::new();
                span.events
                    .extend(placed.logs.iter().map(|record| log(record, &self.setup.clock)));
                Incoming {
                    resource,
                    trace_id: placed.trace_id,
                    span,
                }
            })
            .collect();
        self.keep(&incoming);
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
    }

    /// Says what is in flight, where that is news or was said too long ago to be believed.
    fn say_what_is_open(&mut self) {
        const STILL_HERE: Duration = Duration::from_secs(1);
        let news = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(now) = news else { return };
        let (before, said) = &self.said;
        let due = !now.is_empty() && said.elapsed() >= STILL_HERE;
        // What cannot be written is said again with the next news.
        if (now != *before || due) && self.backend.in_flight(&now, unix_ns()).is_ok() {
            self.said = (now, Instant::now());
        }
    }

    /// Notes when events were lost: what ran then may not be whole.
    fn note_lost(&mut self) {
        /// The kernel's counters are read a few times a second.
        const LATE_NS: u64 = 1_000_000_000;
        let (before, looked_ns) = self.lost;
        let (now, now_ns) = (self.setup.counters.value(LOST), unix_ns());
        let lost = now.saturating_sub(before);
        // What cannot be written is said again the next time.
        if lost == 0
            || self
                .backend
                .lost(looked_ns.saturating_sub(LATE_NS), now_ns, lost)
                .is_ok()
        {
            self.lost = (now, now_ns);
        }
    }

    /// Writes what was received; whether there was anything.
    fn receive(&mut self) -> bool {
        let mut any = false;
        // No more than there can be now: who sends all the while does not keep others from being written.
        for _ in 0..INBOX {
            let Ok(mut received) = self.received.try_recv() else {
                break;
            };
            any = true;
            let bytes = received.bytes();
            received.conceal(&self.setup.policy);
            for chunk in received.spans().chunks(BATCH.spans) {
                self.keep(chunk);
            }
            self.received_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        any
    }

    fn keep(&mut self, incoming: &[Incoming<'_>]) {
        let spans = incoming.len() as u64;
        let mut written = self.backend.write(incoming, unix_ns());
        if matches!(written, Err(StoreError::Full)) {
            written = match self.backend.relieve() {
                Ok(gone) => {
                    self.setup.counters.add("store.traces_cut", gone);
                    self.backend.write(incoming, unix_ns())
                }
                Err(_) => Err(StoreError::Full),
            };
            if written.is_ok() && !std::mem::replace(&mut self.told.full, true) {
                (self.setup.warn)(
                    "the disk of the store is full: the oldest traces make room for new ones (store.traces_cut)",
                );
            }
        }
        let unnamed = self.backend.unnamed();
        self.setup.counters.add("store.names_full", unnamed);
        match written {
            Ok(()) => self.setup.counters.add("store.spans", spans),
            Err(error) => {
                self.setup.counters.add("store.failed", spans);
                self.tell(&error, spans);
            }
        }
    }

    fn trim(&mut self) {
        self.trimmed = Instant::now();
        match self.backend.trim(unix_ns()) {
            Ok(gone) => self.setup.counters.add("store.traces_expired", gone),
            // What a full disk asks for is done when there is something to write.
            Err(StoreError::Full) => {}
            Err(error) => self.tell(&error, 0),
        }
    }

    fn resource(&mut self, process: &Arc<Process>) -> Arc<Resource> {
        // Held as well, so that no other process can come to lie there.
        let (_, known) = self
            .resources
            .entry(Arc::as_ptr(process).addr())
            .or_insert_with(|| (Arc::clone(process), Arc::new(resource(process, &self.setup.host))));
        Arc::clone(known)
    }

    /// Tells of trouble once.
    fn tell(&mut self, error: &StoreError, spans: u64) {
        if std::mem::replace(&mut self.told.failed, true) {
            return;
        }
        let cause = std::error::Error::source(error).map_or_else(String::new, |cause| format!(": {cause}"));
        let lost = if spans > 0 {
            "; spans are not stored and counted (store.failed)"
        } else {
            ""
        };
        (self.setup.warn)(&format!("failed to write the store: {error}{cause}{lost}"));
    }
}

/// A record of a log as it is kept: an event of its span.
fn log(record: &Record, clock: &Clock) -> Event {
    let text = |key: &str, text: &str| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Any::StringValue(text.to_owned())),
        }),
    };
    let own = [
        text(facts::LOG_SEVERITY, record.severity.name()),
        text(facts::LOG_BODY, &record.body),
    ];
    Event {
        time_unix_nano: clock.unix_ns(record.time_ns),
        name: facts::LOG.to_owned(),
        attributes: own.into_iter().chain(attributes(record)).collect(),
        ..Event::default()
    }
}

fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
