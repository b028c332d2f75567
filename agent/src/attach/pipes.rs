//! Processes that take work out of pipes, and the program that sees what they read from them: attached only while there are some, since
//! every process pays for it that reads.
use std::collections::HashSet;

use aya::Ebpf;
use aya::programs::TracePoint;
use aya::programs::trace_point::TracePointLink;

use super::{AttachError, Capture, patiently};
use crate::capture::Pid;

const PROGRAM: &str = "pipe_taken";

/// Who takes work out of pipes.
pub(super) struct Pipes {
    takers: HashSet<Pid>,
    capture: Capture,
    link: Option<TracePointLink>,
}

impl Pipes {
    /// Nobody does. Has the kernel verify the program, where the one that sees system calls end does not see pipes.
    ///
    /// # Errors
    /// [`AttachError`] if the kernel refuses it: what is read from pipes cannot be seen then.
    pub(super) fn new(ebpf: &mut Ebpf, capture: Capture) -> Result<Self, AttachError> {
        if capture == Capture::Socket {
            let program = program(ebpf)?;
            patiently(|| program.load()).map_err(failed)?;
        }
        Ok(Self {
            takers: HashSet::new(),
            capture,
            link: None,
        })
    }

    /// `pid` may take work out of pipes.
    ///
    /// # Errors
    /// [`AttachError`] if the kernel refuses to attach the program.
    pub(super) fn takes(&mut self, ebpf: &mut Ebpf, pid: Pid) -> Result<(), AttachError> {
        if self.capture == Capture::Socket && self.link.is_none() {
            let program = program(ebpf)?;
            let id = program.attach("syscalls", "sys_exit_read").map_err(failed)?;
            self.link = Some(program.take_link(id).map_err(failed)?);
        }
        self.takers.insert(pid);
        Ok(())
    }

    /// `pid` is over.
    pub(super) fn over(&mut self, pid: Pid) {
        if self.takers.remove(&pid)
            && self.takers.is_empty()
            && let Some(link) = self.link.take()
        {
            // The kernel takes its time; nobody waits for it.
            let _detached = std::thread::Builder::new().spawn(move || drop(link));
        }
    }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut TracePoint, AttachError> {
    let program = ebpf.program_mut(PROGRAM).ok_or(AttachError::Object(PROGRAM))?;
    program.try_into().map_err(failed)
}

fn failed(source: aya::programs::ProgramError) -> AttachError {
    AttachError::Program {
        program: PROGRAM,
        source,
    }
}
