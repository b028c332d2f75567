//! Where the time of threads that use sockets goes: on a CPU, waiting for one, blocked, and on what.
//!
//! All of it is measured by one clock at the switches of the scheduler, so that the parts of any stretch are as long as it is. The
//! kernel's own `sum_exec_runtime` is brought up to date only every few milliseconds while a thread runs.
use core::ffi::{c_int, c_void};

use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use clew_common::event::{BLOCKED, BLOCKED_DISK, BLOCKED_FAULT, BLOCKED_LOCK, BLOCKED_NETWORK, BLOCKED_OTHER};
use clew_common::event::{BLOCKED_SLEEP, KIND_TIMES, Times};

use crate::arch::{Registers, call};
use crate::kernel::{self, Direct, Reader};
use crate::maps::{TARGETS, THREADS, Thread};
use crate::{context, descriptor, ring, settings as offset};

/// [`Thread::state`]: on a CPU.
const RUNNING: u32 = 0;
/// Waiting for one.
const RUNNABLE: u32 = 1;
/// Blocked; the reason is added.
const BLOCKED_BY: u32 = 2;

/// `sched_switch(bool preempt, struct task_struct *prev, struct task_struct *next, ...)`.
#[btf_tracepoint(function = "sched_switch")]
pub fn times_switch(ctx: BtfTracePointContext) -> i32 {
    let preempted: c_int = ctx.arg(0);
    let prev: *const c_void = ctx.arg(1);
    let next: *const c_void = ctx.arg(2);
    if let Some(thread) = known(prev) {
        // SAFETY: the map gave the pointer, and only this CPU switches the task.
        unsafe { leave(thread, prev, preempted & 0xff != 0) };
    }
    if let Some(thread) = known(next) {
        // SAFETY: as above.
        unsafe { enter(thread) };
    }
    0
}

/// What is kept of a task; none if it is of no target or has used no socket.
#[inline(always)]
fn known(task: *const c_void) -> Option<*mut Thread> {
    // SAFETY: the tracepoint gives tasks.
    let (tgid, tid) = unsafe {
        (
            Direct::read::<u32>(task, offset::task_tgid()),
            Direct::read::<u32>(task, offset::task_pid()),
        )
    };
    // The idle task.
    if tgid == 0 {
        return None;
    }
    TARGETS.get_ptr(&tgid)?;
    THREADS.get_ptr_mut(&tid)
}

/// # Safety
/// `thread` is what is kept of `task`, which is the current one.
#[inline(always)]
unsafe fn leave(thread: *mut Thread, task: *const c_void, preempted: bool) {
    const TASK_UNINTERRUPTIBLE: u32 = 2;
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        let delay_ns: u64 = Direct::read(task, offset::task_run_delay());
        let state: u32 = Direct::read(task, offset::task_state());
        let now_ns = bpf_ktime_get_ns();
        settle(thread, delay_ns);
        (*thread).cpu_ns += now_ns.wrapping_sub((*thread).mark_ns);
        (*thread).mark_ns = now_ns;
        (*thread).delay_ns = delay_ns;
        (*thread).state = if preempted || state == 0 {
            RUNNABLE
        } else {
            BLOCKED_BY + reason(state & TASK_UNINTERRUPTIBLE != 0)
        };
    }
}

/// # Safety
/// `thread` is what is kept of the task that runs next.
#[inline(always)]
unsafe fn enter(thread: *mut Thread) {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        if (*thread).state == RUNNING {
            return;
        }
        let now_ns = bpf_ktime_get_ns();
        (*thread).gap_ns = now_ns.wrapping_sub((*thread).mark_ns);
        (*thread).gap = (*thread).state;
        (*thread).mark_ns = now_ns;
        (*thread).state = RUNNING;
    }
}

/// Divides the last time off the CPU. The kernel knows how long of it the task waited for a CPU once it has one, which is after the
/// switch was told of (`sched_info_arrive`).
///
/// # Safety
/// `thread` is what is kept of the current task.
#[inline(always)]
unsafe fn settle(thread: *mut Thread, delay_ns: u64) {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        let gap_ns = (*thread).gap_ns;
        let gap = (*thread).gap;
        (*thread).gap = RUNNING;
        if gap == RUNNABLE {
            (*thread).runqueue_ns += gap_ns;
        } else if gap >= BLOCKED_BY {
            let mut waited_ns = delay_ns.wrapping_sub((*thread).delay_ns);
            if waited_ns > gap_ns {
                waited_ns = gap_ns;
            }
            (*thread).runqueue_ns += waited_ns;
            let reason = (gap - BLOCKED_BY) as usize;
            if reason < BLOCKED {
                (*thread).blocked_ns[reason] += gap_ns - waited_ns;
            }
        }
    }
}

/// Why the current task blocks, one of the `BLOCKED_` constants.
#[inline(always)]
fn reason(uninterruptible: bool) -> u32 {
    if offset::typed_task() == 0 {
        // The registers cannot be had.
        return if uninterruptible { BLOCKED_DISK } else { BLOCKED_OTHER };
    }
    let registers = Registers::current();
    if !registers.inside_call() {
        return if uninterruptible { BLOCKED_FAULT } else { BLOCKED_OTHER };
    }
    match registers.number() {
        call::FUTEX | call::FUTEX_WAITV => BLOCKED_LOCK,
        call::NANOSLEEP | call::CLOCK_NANOSLEEP => BLOCKED_SLEEP,
        _ if uninterruptible => BLOCKED_DISK,
        call::POLL
        | call::PPOLL
        | call::SELECT
        | call::PSELECT
        | call::EPOLL_WAIT
        | call::EPOLL_PWAIT
        | call::EPOLL_PWAIT2
        | call::CONNECT
        | call::ACCEPT
        | call::ACCEPT4
        | call::SENDTO
        | call::RECVFROM
        | call::SENDMSG
        | call::RECVMSG
        | call::SENDMMSG
        | call::RECVMMSG => BLOCKED_NETWORK,
        call::READ | call::WRITE | call::READV | call::WRITEV => {
            if descriptor::socket(registers.arguments()[0]).is_some() {
                BLOCKED_NETWORK
            } else {
                BLOCKED_OTHER
            }
        }
        _ => BLOCKED_OTHER,
    }
}

/// Tells of the current thread's time so far. Zero.
///
/// A global function: the verifier looks at it once by itself, not anew in every state of its callers.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn tell_times() -> u64 {
    // SAFETY: no arguments.
    let (tid, now_ns) = unsafe { (bpf_get_current_pid_tgid() as u32, bpf_ktime_get_ns()) };
    let delay_ns: u64 = kernel::of_task(offset::task_run_delay());
    let thread = match THREADS.get_ptr_mut(&tid) {
        Some(thread) => thread,
        None => {
            let _full = THREADS.insert(&tid, &Thread::running(now_ns, delay_ns), 0);
            let Some(thread) = THREADS.get_ptr_mut(&tid) else {
                return 0;
            };
            thread
        }
    };
    // SAFETY: the map gave the pointer, and no other CPU runs the task.
    unsafe { settle(thread, delay_ns) };
    ring::fill(|record: *mut Times| {
        // SAFETY: the record was reserved for one, and the map gave the pointer.
        unsafe {
            (*record).header = context::header(KIND_TIMES);
            let ran_ns = (*record).header.time_ns.wrapping_sub((*thread).mark_ns);
            (*record).cpu_ns = (*thread).cpu_ns + ran_ns;
            (*record).runqueue_ns = (*thread).runqueue_ns;
            (*record).blocked_ns = (*thread).blocked_ns;
        }
    });
    0
}
