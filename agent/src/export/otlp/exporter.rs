//! Sends spans to a collector: batches, retries, gives up.
use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::grpc::Grpc;
use super::http::Http;
use super::queue::Queue;
use super::reply::{Reply, Transport};
use super::settings::{Protocol, Settings, SettingsError};
use super::signal::{Signal, Spans};
use crate::export::text::one_line;
use crate::export::{Clock, Host, Warn};
use crate::telemetry::Counters;

/// The longest a span waits for its batch to fill.
const BATCH_WAIT: Duration = Duration::from_secs(1);
/// The first wait before a request is sent again; it doubles each time.
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
/// The longest wait before a request is sent again, unless the collector asks for more.
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
/// How long a request is tried before its spans are given up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(300);

/// Sends spans to a collector in the background. It holds a bounded number of spans, and every span it does not bring
/// home is counted under an `export.` counter.
pub struct Exporter<S: Signal = Spans> {
    queue: Arc<Queue<S::Item>>,
    counters: Counters,
    closing: watch::Sender<Option<Instant>>,
    task: JoinHandle<()>,
}

/// What the outside gives the task.
struct Surroundings {
    host: Host,
    clock: Clock,
    counters: Counters,
    warn: Warn,
    /// The collector, for messages.
    shown: String,
    timeout: Duration,
}

impl<S: Signal> Exporter<S> {
    /// Starts the task; must be called within a tokio runtime. Nothing is sent before there are spans.
    ///
    /// # Errors
    /// [`SettingsError`] if a certificate or key cannot be used.
    pub fn start(
        settings: &Settings,
        host: Host,
        clock: Clock,
        counters: Counters,
        warn: Warn,
    ) -> Result<Self, SettingsError> {
        let surroundings = Surroundings {
            host,
            clock,
            counters,
            warn,
            shown: settings.shown.clone(),
            timeout: settings.timeout,
        };
        Ok(match settings.protocol {
            Protocol::Grpc => Self::spawn(Grpc::<S>::new(settings)?, surroundings),
            Protocol::Http => Self::spawn(Http::<S>::new(settings)?, surroundings),
        })
    }

    fn spawn<T: Transport<S>>(transport: T, surroundings: Surroundings) -> Self {
        let queue = Arc::new(Queue::default());
        let (closing, closes) = watch::channel(None);
        let counters = surroundings.counters.clone();
        let task = Task::<T, S> {
            transport,
            queue: Arc::clone(&queue),
            closes,
            surroundings,
            warned: Warned::default(),
        };
        Self {
            queue,
            counters,
            closing,
            task: tokio::spawn(task.run()),
        }
    }

    /// Whether a span of usual size would be taken.
    pub fn has_room(&self) -> bool {
        self.queue.has_room()
    }

    /// Queues a span. Never waits: where there is no room the span is dropped and counted.
    pub fn push(&self, item: S::Item) {
        let count = S::count(&item);
        if !self.queue.push(item) {
            self.counters.add(S::COUNTERS.queue_full, count);
        }
    }

    /// Sends what waits and ends, within `limit`. What could not be sent by then is counted `export.failed`. A collector
    /// that cannot be reached is tried once more, not until the limit. Once `hurry` is over nothing more is tried. Gives the
    /// spans that were not sent.
    pub async fn shutdown(mut self, limit: Duration, hurry: impl Future<Output = ()>) -> u64 {
        let failed = self.counters.value(S::COUNTERS.failed);
        let deadline = Instant::now() + limit;
        self.closing.send_replace(Some(deadline));
        // The task keeps to the deadline itself; the allowance is for one that is starved of CPU.
        let ended = tokio::select! {
            ended = timeout_at(deadline + Duration::from_secs(1), &mut self.task) => ended.is_ok(),
            () = hurry => {
                let now = Instant::now();
                self.closing.send_replace(Some(now));
                timeout_at(now + Duration::from_millis(200), &mut self.task).await.is_ok()
            }
        };
        if !ended {
            self.task.abort();
        }
        self.counters.add(S::COUNTERS.failed, self.queue.clear(S::count));
        self.counters.value(S::COUNTERS.failed).saturating_sub(failed)
    }
}

impl<S: Signal> Drop for Exporter<S> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Task<T: Transport<S>, S: Signal> {
    transport: T,
    queue: Arc<Queue<S::Item>>,
    /// When everything must be over, once that is known.
    closes: watch::Receiver<Option<Instant>>,
    surroundings: Surroundings,
    warned: Warned,
}

/// Troubles the user has been told of.
#[derive(Default)]
struct Warned {
    unreachable: bool,
    failing: bool,
    refused: bool,
    partial: bool,
}

/// Whether there is a point in going on.
#[derive(PartialEq, Eq)]
enum Next {
    Batch,
    Stop,
}

impl<T: Transport<S>, S: Signal> Task<T, S> {
    async fn run(mut self) {
        while let Some(batch) = self.batch().await {
            if self.deliver(&batch).await == Next::Stop {
                break;
            }
        }
        self.surroundings
            .counters
            .add(S::COUNTERS.failed, self.queue.clear(S::count));
    }

    /// The next batch, none when the queue is empty and closed.
    async fn batch(&mut self) -> Option<Vec<S::Item>> {
        tokio::select! {
            () = self.queue.some() => {}
            () = closing(self.closes.clone()) => {}
        }
        tokio::select! {
            () = self.queue.full_batch() => {}
            () = tokio::time::sleep(BATCH_WAIT) => {}
            () = closing(self.closes.clone()) => {}
        }
        let batch = self.queue.take();
        (!batch.is_empty()).then_some(batch)
    }

    async fn deliver(&mut self, batch: &[S::Item]) -> Next {
        let spans: u64 = batch.iter().map(S::count).sum();
        let outside = &self.surroundings;
        let prepared = self.transport.prepare(S::request(batch, &outside.host, &outside.clock));
        let counters = outside.counters.clone();
        let started = Instant::now();
        let mut backoff = FIRST_BACKOFF;
        loop {
            let deadline = *self.closes.borrow();
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let timeout = left.map_or(outside.timeout, |left| left.min(outside.timeout));
            let reply = tokio::select! {
                reply = self.transport.send(&prepared, timeout) => reply,
                () = over(self.closes.clone()) => {
                    counters.add(S::COUNTERS.failed, spans);
                    return Next::Stop;
                }
            };
            let (after, unreachable) = match reply {
                Reply::Accepted {
                    rejected_spans,
                    message,
                } => {
                    self.warned.accepted::<S>(outside, rejected_spans, &message);
                    let rejected = rejected_spans.min(spans);
                    counters.add(S::COUNTERS.partial, rejected);
                    counters.add(S::COUNTERS.sent, spans - rejected);
                    return Next::Batch;
                }
                Reply::Refused(why) => {
                    self.warned.refused::<S>(outside, &why);
                    counters.add(S::COUNTERS.rejected, spans);
                    return Next::Batch;
                }
                Reply::Later { why, after } => {
                    self.warned.failing::<S>(outside, &why);
                    (after, false)
                }
                Reply::Unreachable(why) => {
                    self.warned.unreachable(outside, &why);
                    (None, true)
                }
            };
            let is_closing = self.closes.borrow().is_some();
            if unreachable && is_closing {
                counters.add(S::COUNTERS.failed, spans);
                return Next::Stop;
            }
            let wait = after.unwrap_or_else(|| with_jitter(backoff));
            let until = Instant::now() + wait;
            if until.duration_since(started) > GIVE_UP_AFTER {
                counters.add(S::COUNTERS.failed, spans);
                return Next::Batch;
            }
            tokio::select! {
                () = sleep_until(until) => {}
                () = over(self.closes.clone()) => {
                    counters.add(S::COUNTERS.failed, spans);
                    return Next::Stop;
                }
                // At the end there is no time to be patient, unless the collector asked for it.
                () = closing(self.closes.clone()), if !is_closing && after.is_none() => {}
            }
            backoff = (backoff * 2).min(LONGEST_BACKOFF);
            counters.raise("export.retries");
        }
    }
}

impl Warned {
    fn accepted<S: Signal>(&mut self, outside: &Surroundings, rejected: u64, message: &str) {
        if (rejected > 0 || !message.is_empty()) && !std::mem::replace(&mut self.partial, true) {
            let (shown, message) = (&outside.shown, one_line(message));
            (outside.warn)(&format!(
                "collector {shown} took a request but refused {rejected} {} of it: {message}",
                S::NAME
            ));
        }
    }

    fn refused<S: Signal>(&mut self, outside: &Surroundings, why: &str) {
        if !std::mem::replace(&mut self.refused, true) {
            let (shown, why) = (&outside.shown, one_line(why));
            (outside.warn)(&format!(
                "collector {shown} does not take Clew's {}: {why}; they are dropped and counted ({})",
                S::NAME,
                S::COUNTERS.rejected
            ));
        }
    }

    fn failing<S: Signal>(&mut self, outside: &Surroundings, why: &str) {
        if !std::mem::replace(&mut self.failing, true) {
            let (shown, why) = (&outside.shown, one_line(why));
            (outside.warn)(&format!(
                "collector {shown} cannot take {} now: {why}; trying again",
                S::NAME
            ));
        }
    }

    fn unreachable(&mut self, outside: &Surroundings, why: &str) {
        if !std::mem::replace(&mut self.unreachable, true) {
            let (shown, why) = (&outside.shown, one_line(why));
            (outside.warn)(&format!(
                "collector {shown} is unreachable: {why}; start it or correct --otlp; trying again until then"
            ));
        }
    }
}

/// Waits until the end has been announced.
async fn closing(mut closes: watch::Receiver<Option<Instant>>) {
    // The sender is gone only when the task is being aborted too.
    let _gone = closes.wait_for(Option::is_some).await;
}

/// Waits until the time for the end is up.
async fn over(mut closes: watch::Receiver<Option<Instant>>) {
    loop {
        // It may be moved nearer.
        let deadline = *closes.borrow_and_update();
        let up = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = up => return,
            changed = closes.changed() => if changed.is_err() {
                return;
            }
        }
    }
}

/// Between four fifths and six fifths, so that many agents do not come back at once.
fn with_jitter(wait: Duration) -> Duration {
    wait.mul_f64(rand::rng().random_range(0.8..1.2))
}

#[cfg(test)]
#[path = "exporter_tests.rs"]
mod tests;
