//! Connections that are served, as many as there is room for. Whoever holds one without being answered makes way for who
//! comes: a thousand clients that say nothing, or read nothing, keep nobody else out.
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Sleep;

/// How long a client may take none of what it is sent.
const PATIENCE: Duration = Duration::from_secs(20);

/// Every connection there is.
pub(super) struct Connections {
    most: usize,
    held: Mutex<Held>,
    left: Notify,
    /// Counts answers: tells who was served longest ago.
    clock: AtomicU64,
}

#[derive(Default)]
struct Held {
    slots: HashMap<u64, Slot>,
    next: u64,
}

struct Slot {
    state: Arc<State>,
    task: Option<AbortHandle>,
}

/// What a connection does.
#[derive(Default)]
pub(super) struct State {
    answering: AtomicUsize,
    last: AtomicU64,
}

/// A place among the connections; given back when it is dropped.
pub(super) struct Place {
    all: Arc<Connections>,
    number: u64,
    state: Arc<State>,
}

/// A connection is being answered as long as this is held.
pub(super) struct Answering {
    all: Arc<Connections>,
    state: Arc<State>,
}

impl Connections {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            held: Mutex::default(),
            left: Notify::new(),
            clock: AtomicU64::new(1),
        })
    }

    /// Takes a place for one that has come, from whoever was not answered for longest if there is no other; waits if all are
    /// being answered.
    pub(super) async fn enter(self: &Arc<Self>) -> Place {
        loop {
            let left = self.left.notified();
            if let Some(place) = self.try_enter() {
                return place;
            }
            left.await;
        }
    }

    fn try_enter(self: &Arc<Self>) -> Option<Place> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.slots.len() >= self.most {
            let idle = held
                .slots
                .iter()
                .filter(|(_, slot)| slot.task.is_some() && slot.state.answering.load(Ordering::Relaxed) == 0);
            let longest = idle.min_by_key(|(_, slot)| slot.state.last.load(Ordering::Relaxed));
            let number = longest.map(|(number, _)| *number)?;
            if let Some(Slot { task: Some(task), .. }) = held.slots.remove(&number) {
                task.abort();
            }
        }
        let state = Arc::new(State::default());
        state
            .last
            .store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        let number = held.next;
        held.next += 1;
        let slot = Slot {
            state: Arc::clone(&state),
            task: None,
        };
        held.slots.insert(number, slot);
        Some(Place {
            all: Arc::clone(self),
            number,
            state,
        })
    }

    /// Says which task serves a place, so that it can be ended.
    pub(super) fn served_by(&self, number: u64, task: AbortHandle) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = held.slots.get_mut(&number) {
            slot.task = Some(task);
        }
    }
}

impl Place {
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// An answer begins.
    pub(super) fn answering(&self) -> Answering {
        self.state.answering.fetch_add(1, Ordering::Relaxed);
        Answering {
            all: Arc::clone(&self.all),
            state: Arc::clone(&self.state),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.all.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.slots.remove(&self.number);
        self.all.left.notify_one();
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let now = self.all.clock.fetch_add(1, Ordering::Relaxed);
        self.state.last.store(now, Ordering::Relaxed);
        self.state.answering.fetch_sub(1, Ordering::Relaxed);
        self.all.left.notify_one();
    }
}

/// A stream to a client that has to take what it is sent.
pub(super) struct Patient<T> {
    stream: T,
    waits: Option<Pin<Box<Sleep>>>,
}

impl<T> Patient<T> {
    pub(super) const fn new(stream: T) -> Self {
        Self { stream, waits: None }
    }

    fn waited<R>(&mut self, written: Poll<io::Result<R>>, context: &mut Context<'_>) -> Poll<io::Result<R>> {
        if written.is_ready() {
            self.waits = None;
            return written;
        }
        let waits = self.waits.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
        waits
            .as_mut()
            .poll(context)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Patient<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Patient<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.waited(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.waited(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.waited(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_not_answered_makes_way() {
        let all = Connections::new(2);
        let idle = || tokio::spawn(std::future::pending::<()>());
        let (first, second) = (all.enter().await, all.enter().await);
        let tasks = [idle(), idle()];
        for (place, task) in [&first, &second].into_iter().zip(&tasks) {
            all.served_by(place.number(), task.abort_handle());
        }
        // The first was answered last, so the second goes.
        drop(first.answering());
        let third = all.enter().await;
        all.served_by(third.number(), idle().abort_handle());
        let [one, two] = tasks;
        assert!(two.await.is_err_and(|error| error.is_cancelled()));
        assert!(!one.is_finished());
        // Nobody goes who is being answered.
        let (busy, other) = (first.answering(), third.answering());
        assert!(all.try_enter().is_none());
        drop(busy);
        assert!(all.try_enter().is_some());
        drop(other);
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_nothing_is_left() {
        use tokio::io::AsyncWriteExt as _;
        let (near, _far) = tokio::io::duplex(16);
        let mut patient = Patient::new(near);
        let error = patient.write_all(&[0; 64]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
