//! How a process ended that owed an answer.
use clew_common::event::EXIT_OOM;

use super::{Span, Value};

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

/// Tells how the process ended.
pub(super) fn exited(span: &mut Span, status: u32) {
    let attributes = &mut span.attributes;
    attributes.push(("clew.process.exit_status", Value::Int(i64::from(status & !EXIT_OOM))));
    match End::of(status) {
        End::Code(code) => attributes.push(("process.exit.code", Value::Int(i64::from(code)))),
        End::Signal(signal) => attributes.push(("clew.process.signal", Value::Text(name(signal).into()))),
        End::OutOfMemory => attributes.push(("clew.process.oom", Value::Bool(true))),
    }
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
    use super::*;

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
