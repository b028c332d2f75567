//! What every event says of the moment: time, thread, execution context.
use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use clew_common::context::{
    PLAN_GO, PLAN_JAVA, PLAN_PYTHON, PLAN_THREAD, PLAN_TOKIO, PLANS as MOST_PLANS, Plan, plan_of,
};
use clew_common::counter;
use clew_common::event::{
    CONTEXT_BITS, CONTEXT_GOROUTINE, CONTEXT_JAVA, CONTEXT_PYTHON, CONTEXT_THREAD, CONTEXT_TOKIO, CONTEXT_UNKNOWN,
    Header,
};
use clew_common::settings::TARGET_LOGS;

use crate::kernel;
use crate::maps::{PLANS, Scoped, TARGETS, TURNS};
use crate::python::Current;
use crate::{golang, java, python, ring, settings as offset, tokio};

/// The current process's entry in the map of targets.
#[inline(always)]
pub fn target() -> Option<*mut u32> {
    TARGETS.get_ptr_mut(&tgid())
}

/// The current process is traced.
#[inline(always)]
pub fn traced() -> bool {
    target().is_some()
}

/// The logs of the current process are wanted.
#[inline(always)]
pub fn logs() -> bool {
    // SAFETY: the map gave the pointer.
    target().is_some_and(|target| unsafe { *target & TARGET_LOGS != 0 })
}

/// The current process.
#[inline(always)]
pub fn tgid() -> u32 {
    // SAFETY: no arguments.
    (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32
}

/// A number or address of the current process, as the key of a map.
#[inline(always)]
pub fn scoped(id: u64) -> Scoped {
    Scoped {
        id,
        tgid: u64::from(tgid()),
    }
}

/// A word of a plan.
#[inline(always)]
pub fn word(plan: *const Plan, index: usize) -> u64 {
    // SAFETY: the map gave the pointer.
    unsafe { (*plan).words[index] }
}

/// The plan by which the current process's contexts are read; none if it is not traced.
#[inline(always)]
pub fn plan() -> Option<*const Plan> {
    // SAFETY: the map gave the pointer.
    let place = plan_of(unsafe { *target()? });
    PLANS.get_ptr(if place < MOST_PLANS { place } else { 0 })
}

/// The header of an event of the current thread, whose execution context does not matter.
#[inline(always)]
pub fn header(kind: u16) -> Header {
    // SAFETY: no arguments.
    let ids = unsafe { bpf_get_current_pid_tgid() };
    // SAFETY: no arguments.
    let time_ns = unsafe { bpf_ktime_get_ns() };
    let tid = ids as u32;
    let turn = match TURNS.get_ptr(&tid) {
        // SAFETY: the map gave the pointer.
        Some(turn) => unsafe { *turn },
        None => 0,
    };
    Header {
        time_ns,
        cpu_ns: kernel::of_task(offset::task_sum_exec()),
        runqueue_ns: kernel::of_task(offset::task_run_delay()),
        context: 0,
        tgid: (ids >> 32) as u32,
        tid,
        turn,
        kind,
        context_kind: CONTEXT_THREAD,
    }
}

/// The header of an event of the current thread, with its execution context.
#[inline(always)]
pub fn header_in_context(kind: u16) -> Header {
    let mut header = header(kind);
    (header.context_kind, header.context) = here();
    header
}

/// [`CONTEXT_UNKNOWN`], as [`current`] gives it back.
const UNKNOWN: u64 = 0xf;

/// The current thread's execution context: its kind, a `CONTEXT_` constant, and its number.
#[inline(always)]
pub fn here() -> (u16, u64) {
    let found = current();
    let kind = match found >> CONTEXT_BITS {
        UNKNOWN => CONTEXT_UNKNOWN,
        kind => kind as u16,
    };
    (kind, found & ((1 << CONTEXT_BITS) - 1))
}

/// Finds the current thread's execution context: its kind in the upper bits, its number below. Not by a map: a probe in user code may
/// be preempted, and another task's would write over it.
///
/// A global function: the verifier looks at it once by itself, not anew in every state of its callers.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn current() -> u64 {
    let Some(plan) = plan() else {
        return packed(CONTEXT_THREAD, 0);
    };
    // SAFETY: the map gave the pointer.
    let (kind, found) = match unsafe { (*plan).kind } {
        PLAN_THREAD => return packed(CONTEXT_THREAD, 0),
        PLAN_GO => (CONTEXT_GOROUTINE, golang::current(plan)),
        PLAN_PYTHON => match python::current(plan) {
            Current::Thread => return packed(CONTEXT_THREAD, 0),
            Current::Context(id) => (CONTEXT_PYTHON, Some(id)),
            Current::Unknown => (CONTEXT_PYTHON, None),
        },
        PLAN_TOKIO => (CONTEXT_TOKIO, tokio::current(plan)),
        PLAN_JAVA => (CONTEXT_JAVA, java::current(plan)),
        _ => (CONTEXT_UNKNOWN, None),
    };
    let Some(id) = found else {
        ring::count(counter::CONTEXT_UNREAD, 1);
        return UNKNOWN << CONTEXT_BITS;
    };
    packed(kind, id)
}

#[inline(always)]
const fn packed(kind: u16, id: u64) -> u64 {
    (kind as u64) << CONTEXT_BITS | id & ((1 << CONTEXT_BITS) - 1)
}
