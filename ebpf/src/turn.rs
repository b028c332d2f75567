//! Counts how often a thread asks for readiness: what an event loop does between two batches of callbacks.
use aya_ebpf::helpers::generated::bpf_get_current_pid_tgid;
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;

use crate::context;
use crate::maps::TURNS;

/// `syscalls/sys_enter_epoll_wait` and its kin.
#[tracepoint]
pub fn readiness(_ctx: TracePointContext) -> u32 {
    if !context::traced() {
        return 0;
    }
    // SAFETY: no arguments.
    let tid = unsafe { bpf_get_current_pid_tgid() } as u32;
    if let Some(turn) = TURNS.get_ptr_mut(&tid) {
        // SAFETY: only the thread itself writes its entry. 0 means unknown and is skipped when the count wraps.
        unsafe {
            let next = (*turn).wrapping_add(1);
            *turn = if next == 0 { 1 } else { next };
        }
    } else {
        let _full = TURNS.insert(&tid, &1, 0);
    }
    0
}
