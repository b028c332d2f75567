//! A thread that writes, and the queue before it.
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use opentelemetry_proto::tonic::resource::v1::Resource;
use tokio::sync::oneshot;

use super::{Backend, Incoming, StoreError};
use crate::discover::Process;
use crate::export::otlp::{resource, span};
use crate::export::{Bounds, Clock, Finished, Host, Queue, Warn};
use crate::telemetry::Counters;

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
/// Processes whose resource is remembered.
const RESOURCES: usize = 512;

/// Writes spans into a store in the background.
pub struct Writer {
    queue: Arc<Queue>,
    done: oneshot::Receiver<()>,
    /// Spans that were queued and neither written nor given up.
    waiting: Arc<AtomicU64>,
    counters: Counters,
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
                resources: HashMap::new(),
                told: Told::default(),
                trimmed: Instant::now(),
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
            counters,
        })
    }

    /// Queues a span. Never waits.
    pub fn push(&self, span: Finished) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if !self.queue.push(span) {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.counters.raise("store.queue_full");
        }
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
    resources: HashMap<usize, (Arc<Process>, Arc<Resource>)>,
    told: Told,
    trimmed: Instant,
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
            match queue.soon() {
                Some(Some(batch)) => {
                    self.write(&batch);
                    self.trim();
                }
                Some(None) => break,
                None if self.trimmed.elapsed() >= TRIM_IDLE => self.trim(),
                None => {}
            }
        }
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
                Incoming {
                    resource,
                    trace_id: placed.trace_id,
                    span,
                }
            })
            .collect();
        let mut written = self.backend.write(&incoming, unix_ns());
        if matches!(written, Err(StoreError::Full)) {
            written = match self.backend.relieve() {
                Ok(gone) => {
                    self.setup.counters.add("store.traces_cut", gone);
                    self.backend.write(&incoming, unix_ns())
                }
                Err(_) => Err(StoreError::Full),
            };
            if written.is_ok() && !std::mem::replace(&mut self.told.full, true) {
                (self.setup.warn)(
                    "the disk of the store is full: the oldest traces make room for new ones (store.traces_cut)",
                );
            }
        }
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
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

fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
