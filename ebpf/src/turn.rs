//! Counts how often a thread asks for readiness: what an event loop does between two batches of callbacks.
use aya_ebpf::helpers::generated::bpf_get_current_pid_tgid;
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;

use clew_common::event::TURN_MANY;

use crate::context;
use crate::maps::TURNS;

/// Offset of `maxevents`, the third argument, in the record of a `syscalls` tracepoint.
const MAX_EVENTS: usize = 32;

/// `syscalls/sys_enter_epoll_wait` and its kin.
#[tracepoint]
pub fn readiness(ctx: TracePointContext) -> u32 {
    if !context::traced() {
        return 0;
    }
    // SAFETY: the record of a `syscalls` tracepoint has this field.
    let many = match unsafe { ctx.read_at::<u64>(MAX_EVENTS) } {
        Ok(1) => 0,
        _ => TURN_MANY,
    };
    // SAFETY: no arguments.
    let tid = unsafe { bpf_get_current_pid_tgid() } as u32;
    if let Some(turn) = TURNS.get_ptr_mut(&tid) {
        // SAFETY: only the thread itself writes its entry. A count of 0 means that there was none, and is skipped when the
        // count wraps.
        unsafe {
            let next = (*turn & !TURN_MANY).wrapping_add(1) & !TURN_MANY;
            *turn = (if next == 0 { 1 } else { next }) | (*turn & TURN_MANY) | many;
        }
    } else {
        let _full = TURNS.insert(tid, 1 | many, 0);
    }
    0
}
