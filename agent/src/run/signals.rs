//! Signals to Clew, and which of them the command must be given.
//!
//! The command is in Clew's process group, so what the terminal sends (Ctrl-C, Ctrl-\, hang-up) reaches both, and passing
//! it on would deliver it twice. What another process sends to Clew alone must be passed on. The kernel tells the two
//! apart: `si_code` is `SI_KERNEL` for the terminal's. SIGINT is never passed on: programs that stop a whole group send
//! it like the terminal does, and a command that counts on Ctrl-C for its own purposes must see each once. Stop and
//! continue (Ctrl-Z, `fg`) are left to the kernel, which treats both processes alike.
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The signals Clew takes.
const TAKEN: &[Signal] = &[
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// Who sent a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The kernel, for the terminal: to the whole foreground group.
    Terminal,
    /// A process, perhaps to Clew alone.
    Process,
}

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caught {
    /// Which.
    pub signal: Signal,
    /// Who sent it.
    pub origin: Origin,
}

impl Caught {
    /// The signal to give the command, if it has not got it already.
    pub fn pass_on(self) -> Option<Signal> {
        (self.origin == Origin::Process && self.signal != Signal::SIGINT).then_some(self.signal)
    }

    /// Whether it asks a Clew without a command to end.
    pub const fn ends(self) -> bool {
        !matches!(self.signal, Signal::SIGUSR1 | Signal::SIGUSR2)
    }
}

/// Takes signals from now on. The descriptor becomes readable when one has come.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Blocks the signals in this thread and those it makes from now on, so call it after
    /// [`Child::spawn`](super::Child::spawn) and before other threads are made. Signals that are ignored, as nohup(1)
    /// and shells without job control want it, stay so.
    ///
    /// # Errors
    /// If the kernel makes no descriptor.
    pub fn take() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for &signal in TAKEN {
            if !is_ignored(signal)? {
                set.add(signal);
            }
        }
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { fd })
    }

    /// The next signal that has come, without waiting.
    ///
    /// # Errors
    /// If the descriptor cannot be read.
    pub fn next(&self) -> io::Result<Option<Caught>> {
        let Some(caught) = self.fd.read_signal()? else {
            return Ok(None);
        };
        let number = i32::try_from(caught.ssi_signo).unwrap_or_default();
        let origin = if caught.ssi_code == libc::SI_KERNEL {
            Origin::Terminal
        } else {
            Origin::Process
        };
        Ok(Some(Caught {
            signal: Signal::try_from(number)?,
            origin,
        }))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn is_ignored(signal: Signal) -> io::Result<bool> {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action the call only writes the old one, for which there is room.
    let result = unsafe { libc::sigaction(signal as i32, std::ptr::null(), action.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded and has written the whole structure.
    let action = unsafe { action.assume_init() };
    Ok(action.sa_sigaction == libc::SIG_IGN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_on() {
        for (signal, origin, want) in [
            (Signal::SIGTERM, Origin::Process, true),
            (Signal::SIGUSR1, Origin::Process, true),
            (Signal::SIGHUP, Origin::Process, true),
            (Signal::SIGHUP, Origin::Terminal, false),
            (Signal::SIGQUIT, Origin::Process, true),
            (Signal::SIGQUIT, Origin::Terminal, false),
            (Signal::SIGINT, Origin::Process, false),
            (Signal::SIGINT, Origin::Terminal, false),
        ] {
            let caught = Caught { signal, origin };
            assert_eq!(caught.pass_on(), want.then_some(signal), "{caught:?}");
        }
    }

    #[test]
    fn a_signal_is_taken() {
        // Blocked in this thread alone: the signal goes to the thread, not to the process.
        let signals = Signals::take().expect("a descriptor");
        assert_eq!(signals.next().expect("nothing yet"), None);
        nix::sys::signal::raise(Signal::SIGUSR1).expect("a signal");
        let want = Caught {
            signal: Signal::SIGUSR1,
            origin: Origin::Process,
        };
        assert_eq!(signals.next().expect("a signal"), Some(want));
        assert!(!want.ends());
        assert_eq!(signals.next().expect("no more"), None);
    }
}
