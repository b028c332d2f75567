//! What every event says of the moment: time, thread, execution context.
use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use clew_common::event::{CONTEXT_THREAD, Header};

use crate::kernel::{self, Direct, Reader};
use crate::maps::{TARGETS, TURNS};
use crate::settings as offset;

/// The current process is traced.
#[inline(always)]
pub fn traced() -> bool {
    // SAFETY: no arguments.
    let tgid = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    TARGETS.get_ptr(&tgid).is_some()
}

/// The header of an event of the current thread.
#[inline(always)]
pub fn header(kind: u16) -> Header {
    // SAFETY: no arguments.
    let ids = unsafe { bpf_get_current_pid_tgid() };
    // SAFETY: no arguments.
    let time_ns = unsafe { bpf_ktime_get_ns() };
    let task = kernel::task();
    let tid = ids as u32;
    let turn = match TURNS.get_ptr(&tid) {
        // SAFETY: the map gave the pointer.
        Some(turn) => unsafe { *turn },
        None => 0,
    };
    Header {
        time_ns,
        // SAFETY: the task is valid.
        cpu_ns: unsafe { Direct::read(task, offset::task_sum_exec()) },
        // SAFETY: the task is valid.
        runqueue_ns: unsafe { Direct::read(task, offset::task_run_delay()) },
        context: 0,
        tgid: (ids >> 32) as u32,
        tid,
        turn,
        kind,
        context_kind: CONTEXT_THREAD,
    }
}
