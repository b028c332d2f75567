//! Everything that can wake the loop.
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use super::libraries::Cipher;
use super::looker::Look;
use crate::run::{Caught, Child, Exit, Signals};

/// How often the ring buffer is looked at without having been filled, and the pipeline told the time.
const TICK: Duration = Duration::from_millis(10);
/// The same where much comes: what is taken at once keeps a processor from the programs for as long.
const SHORT: Duration = Duration::from_millis(2);
/// Events of one look from which on much comes.
const MUCH: usize = 32;
/// The same once nothing has been seen for as many looks as [`CALM`].
const REST: Duration = Duration::from_millis(40);
/// Looks in vain after which nothing is expected soon.
const CALM: u32 = 25;
/// How often rules are tried again.
const RESCAN: Duration = Duration::from_secs(1);

/// Why the loop woke.
#[derive(Debug)]
pub(super) enum Wake {
    /// The ring buffer has filled past its mark.
    Events,
    /// A while has passed.
    Time,
    /// Rules are to be tried again.
    Rescan,
    /// A process was looked at.
    Looked(Look),
    /// A library that encrypts was found.
    Found(Cipher),
    /// A signal came.
    Signal(Caught),
    /// The time the user gave is over.
    Over,
    /// The command may have ended.
    Ended,
}

pub(super) struct Waker {
    ring: AsyncFd<OwnedFd>,
    signals: Signals,
    signaled: AsyncFd<OwnedFd>,
    command: Option<AsyncFd<OwnedFd>>,
    /// When it is looked next.
    look: Instant,
    /// Looks in vain since something was seen.
    vain: u32,
    rescan: Interval,
    looks: UnboundedReceiver<Look>,
    ciphers: UnboundedReceiver<Cipher>,
    over: Option<Instant>,
}

impl Waker {
    /// Wakes for events of the ring buffer, signals, looks at processes, and the end of `duration`.
    pub(super) fn new(
        ring: &RingBuf<MapData>,
        signals: Signals,
        looks: UnboundedReceiver<Look>,
        ciphers: UnboundedReceiver<Cipher>,
        duration: Option<Duration>,
    ) -> io::Result<Self> {
        let mut rescan = interval(RESCAN);
        rescan.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            ring: watched(ring.as_fd())?,
            signaled: watched(signals.as_fd())?,
            signals,
            command: None,
            look: Instant::now(),
            vain: 0,
            rescan,
            looks,
            ciphers,
            over: duration.map(|duration| Instant::now() + duration),
        })
    }

    /// Wakes also when the command ends.
    pub(super) fn watch(&mut self, child: &Child) -> io::Result<()> {
        self.command = Some(watched(child.as_fd())?);
        Ok(())
    }

    /// So many `events` were found; it is looked again after a while, or at once where there may be `more`.
    pub(super) fn found(&mut self, events: usize, more: bool) {
        self.vain = if events > 0 { 0 } else { self.vain.saturating_add(1) };
        self.look = Instant::now()
            + match events {
                _ if more => Duration::ZERO,
                MUCH.. => SHORT,
                _ => self.pause(),
            };
    }

    const fn pause(&self) -> Duration {
        if self.vain < CALM { TICK } else { REST }
    }

    pub(super) async fn next(&mut self) -> Wake {
        loop {
            let over = self.over;
            tokio::select! {
                biased;
                ready = self.signaled.readable() => {
                    let Ok(mut ready) = ready else { continue };
                    match self.signals.next() {
                        Ok(Some(caught)) => return Wake::Signal(caught),
                        Ok(None) => ready.clear_ready(),
                        Err(_) => ready.clear_ready(),
                    }
                }
                ready = ended(self.command.as_ref()) => {
                    if let Ok(mut ready) = ready {
                        ready.clear_ready();
                    }
                    return Wake::Ended;
                }
                Some(cipher) = self.ciphers.recv() => return Wake::Found(cipher),
                Some(look) = self.looks.recv() => return Wake::Looked(look),
                ready = self.ring.readable() => {
                    if let Ok(mut ready) = ready {
                        ready.clear_ready();
                    }
                    return Wake::Events;
                }
                () = sleep_until(self.look) => {
                    self.look = Instant::now() + self.pause();
                    return Wake::Time;
                }
                _ = self.rescan.tick() => return Wake::Rescan,
                () = at(over) => {
                    self.over = None;
                    return Wake::Over;
                }
            }
        }
    }

    /// Signals that have come and were not told of.
    pub(super) fn caught(&self) -> Vec<Caught> {
        std::iter::from_fn(|| self.signals.next().ok().flatten()).collect()
    }

    /// Waits for a signal that asks to end.
    pub(super) async fn asked_to_end(&mut self) {
        loop {
            if self.caught().into_iter().any(Caught::ends) {
                return;
            }
            match self.signaled.readable().await {
                Ok(mut ready) => ready.clear_ready(),
                Err(_) => return std::future::pending().await,
            }
        }
    }

    /// Waits for the end of the command, passing signals on.
    pub(super) async fn wait_for(&mut self, child: &mut Child) -> io::Result<Exit> {
        loop {
            match self.next().await {
                Wake::Ended => {
                    if let Some(exit) = child.try_wait()? {
                        return Ok(exit);
                    }
                }
                Wake::Signal(caught) => {
                    if let Some(signal) = caught.pass_on() {
                        child.signal(signal);
                    }
                }
                _ => {}
            }
        }
    }
}

/// A copy of a descriptor, to wait on: its owner goes on reading it.
fn watched(fd: BorrowedFd<'_>) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the copy is owned by the result alone, so it stays open and the same file until it is deregistered.
    let watched = unsafe { AsyncFd::register_with_interest(fd.try_clone_to_owned()?, Interest::READABLE) };
    watched.map_err(io::Error::from)
}

/// Becomes ready when the command has ended; never without one.
async fn ended(command: Option<&AsyncFd<OwnedFd>>) -> io::Result<tokio::io::unix::AsyncFdReadyGuard<'_, OwnedFd>> {
    match command {
        Some(command) => command.readable().await,
        None => std::future::pending().await,
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
