//! Looks into executables beside the loop: a large one takes longer than the ring buffer can wait.
use std::collections::HashMap;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::capture::Pid;
use crate::discover::{Proc, Process};
use crate::symbol::{Found, NoHooks, Symbols};

/// Processes that may wait to be looked at.
const MOST_WAITING: usize = 4096;

/// What was found of a process.
#[derive(Debug)]
pub(super) struct Look {
    number: u64,
    found: Result<Found, NoHooks>,
}

/// Hands processes to the thread that looks.
pub(super) struct Looker {
    asked: SyncSender<(Process, u64)>,
    /// The number of the last look at each process's program that has not been answered: an older answer is of another
    /// program.
    latest: HashMap<Pid, u64>,
    number: u64,
}

impl Looker {
    /// Starts the thread. What it finds comes out of the receiver.
    pub(super) fn start(proc: Proc) -> io::Result<(Self, UnboundedReceiver<Look>)> {
        let (asked, asks) = sync_channel(MOST_WAITING);
        let (answers, answered) = unbounded_channel();
        std::thread::Builder::new()
            .name("clew-symbols".to_owned())
            .spawn(move || look(&proc, &asks, &answers))?;
        let looker = Self {
            asked,
            latest: HashMap::new(),
            number: 0,
        };
        Ok((looker, answered))
    }

    /// Asks for a look at a process, if its runtime has contexts below the thread. Whether there was room.
    pub(super) fn ask(&mut self, process: &Process) -> bool {
        self.latest.remove(&process.pid);
        if !Symbols::wants(process) {
            return true;
        }
        self.number += 1;
        self.latest.insert(process.pid, self.number);
        self.asked.try_send((process.clone(), self.number)).is_ok()
    }

    /// A child runs its creator's program. Whether it is still being looked at.
    pub(super) fn forked(&mut self, parent: Pid, child: Pid) -> bool {
        let number = self.latest.get(&parent).copied();
        number.is_some_and(|number| {
            self.latest.insert(child, number);
            true
        })
    }

    /// A process is over.
    pub(super) fn forget(&mut self, pid: Pid) {
        self.latest.remove(&pid);
    }

    /// What was found, and the processes that run the program.
    pub(super) fn answer(&mut self, look: Look) -> (Vec<Pid>, Result<Found, NoHooks>) {
        let pids = self
            .latest
            .extract_if(|_, number| *number == look.number)
            .map(|(pid, _)| pid)
            .collect();
        (pids, look.found)
    }
}

/// Answers until nobody asks or listens any more.
fn look(proc: &Proc, asks: &Receiver<(Process, u64)>, answers: &UnboundedSender<Look>) {
    let mut symbols = Symbols::default();
    while let Ok((process, number)) = asks.recv() {
        let Some(found) = symbols.hooks(proc, &process) else {
            continue;
        };
        if answers.send(Look { number, found }).is_err() {
            return;
        }
    }
}
