//! How a process ended that owed an answer, and where in its program, if a signal ended it.
use std::collections::HashMap;

use clew_common::event::EXIT_OOM;
use foldhash::fast::RandomState;

use super::{Event, STACK, Span, Value};
use crate::capture::{Pid, Signal};

/// Processes whose signals are remembered.
const MOST_STRUCK: usize = 1024;

/// The last signals that ended processes.
#[derive(Debug, Default)]
pub(super) struct Ends {
    struck: HashMap<Pid, Signal, RandomState>,
}

/// What a wait status says (wait(2)): the low seven bits are a signal, the byte above them the code of an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Code(u32),
    Signal(u32),
    OutOfMemory,
}

impl End {
    const fn of(status: u32) -> Self {
        if status & EXIT_OOM != 0 {
            return Self::OutOfMemory;
        }
        match status & 0x7f {
            0 => Self::Code(status >> 8 & 0xff),
            signal => Self::Signal(signal),
        }
    }
}

impl Ends {
    /// A thread got a signal that ends its process.
    pub(super) fn struck(&mut self, signal: Signal) {
        if self.struck.len() >= MOST_STRUCK {
            self.struck.clear();
        }
        self.struck.insert(signal.moment.actor.pid, signal);
    }

    /// Tells on a span how the process ended.
    pub(super) fn tell(&self, span: &mut Span, pid: Pid, status: u32) {
        let attributes = &mut span.attributes;
        attributes.push(("clew.process.exit_status", Value::Int(i64::from(status & !EXIT_OOM))));
        match End::of(status) {
            End::Code(code) => attributes.push(("process.exit.code", Value::Int(i64::from(code)))),
            End::Signal(number) => {
                attributes.push(("clew.process.signal", Value::Text(name(number).into())));
                // A number may be another process's by now, which ended otherwise.
                let struck = self.struck.get(&pid).filter(|signal| signal.number == number);
                span.events.extend(
                    struck
                        .filter(|signal| signal.moment.time_ns >= span.start_ns)
                        .map(event),
                );
            }
            End::OutOfMemory => attributes.push(("clew.process.oom", Value::Bool(true))),
        }
    }
}

/// The exception that a signal is.
fn event(signal: &Signal) -> Event {
    let mut attributes = vec![("exception.type", Value::Text(name(signal.number).into()))];
    if let Some(message) = message(signal) {
        attributes.push(("exception.message", Value::Text(message.into())));
    }
    attributes.push(("thread.id", Value::Int(i64::from(signal.moment.actor.tid))));
    if signal.stack != 0 {
        attributes.push((STACK, Value::Int(signal.stack.cast_signed())));
    }
    Event {
        name: "exception",
        time_ns: signal.moment.time_ns,
        attributes,
    }
}

/// Why the kernel sent a signal (`si_code` in sigaction(2)), where it says more than its name.
fn message(signal: &Signal) -> Option<String> {
    const SIGBUS: u32 = 7;
    const SIGFPE: u32 = 8;
    const SIGSEGV: u32 = 11;
    let address = signal.address;
    Some(match (signal.number, signal.code) {
        (SIGSEGV, 1) => format!("nothing is mapped at {address:#x}"),
        (SIGSEGV, 2) => format!("no permission at {address:#x}"),
        (SIGBUS, 1) => format!("{address:#x} is not aligned"),
        (SIGBUS, 2) => format!("there is no memory at {address:#x}"),
        (SIGFPE, 1) => "division by zero".to_owned(),
        _ => return None,
    })
}

/// The same in words.
pub(super) fn story(status: u32) -> String {
    match End::of(status) {
        End::Code(code) => format!("process exited with code {code}"),
        End::Signal(signal) => format!("process ended by {}", name(signal)),
        End::OutOfMemory => "process ended by the kernel: out of memory".to_owned(),
    }
}

/// A signal's name, as signal(7) has those that end processes.
fn name(signal: u32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use smol_str::SmolStr;

    use super::*;
    use crate::capture::{Actor, Moment};
    use crate::span::{SpanKind, Status};

    #[test]
    fn a_signal_is_an_exception_of_what_it_broke() {
        let signal = |number, code| Signal {
            moment: Moment::new(50, Actor::thread(Pid(7), 8)),
            number,
            code,
            address: 0x10,
            stack: 9,
        };
        let told = |ends: &Ends, pid, status| {
            let mut span = Span {
                kind: SpanKind::Server,
                name: SmolStr::default(),
                start_ns: 10,
                end_ns: 60,
                attributes: Vec::new(),
                named: Vec::new(),
                status: Status::Unset,
                events: Vec::new(),
            };
            ends.tell(&mut span, Pid(pid), status);
            span.events
        };
        let mut ends = Ends::default();
        ends.struck(signal(11, 1));
        // With a core dump.
        let events = told(&ends, 7, 11 | 0x80);
        let [event] = events.as_slice() else {
            panic!("{} events", events.len());
        };
        let want = [
            ("exception.type", Value::Text("SIGSEGV".into())),
            ("exception.message", Value::Text("nothing is mapped at 0x10".into())),
            ("thread.id", Value::Int(8)),
            (STACK, Value::Int(9)),
        ];
        assert_eq!(
            (event.name, event.time_ns, event.attributes.as_slice()),
            ("exception", 50, &want[..])
        );
        // Another process, another end.
        assert!(told(&ends, 8, 11).is_empty());
        assert!(told(&ends, 7, 9).is_empty());
        assert!(told(&ends, 7, 1 << 8).is_empty());
        assert_eq!(message(&signal(6, -6)), None);
        for pid in 0..2 * MOST_STRUCK as u32 {
            ends.struck(Signal {
                moment: Moment::new(1, Actor::thread(Pid(pid), pid)),
                ..signal(6, 0)
            });
            assert!(ends.struck.len() <= MOST_STRUCK);
        }
    }

    #[test]
    fn stories() {
        for (status, want) in [
            (0, "process exited with code 0"),
            (3 << 8, "process exited with code 3"),
            (9, "process ended by SIGKILL"),
            // With a core dump.
            (11 | 0x80, "process ended by SIGSEGV"),
            (40, "process ended by signal 40"),
            (9 | EXIT_OOM, "process ended by the kernel: out of memory"),
        ] {
            assert_eq!(story(status), want);
        }
    }
}
