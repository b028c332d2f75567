//! Where the time of threads goes that use sockets, and of goroutines that do: on a CPU, waiting for one, blocked, and on what.
//!
//! All of it is measured by one clock at the switches of the scheduler, so that the parts of any stretch are as long as it is. The
//! kernel's own `sum_exec_runtime` is brought up to date only every few milliseconds while a thread runs. What a thread's time goes for
//! also goes to the goroutine that it runs; from when no thread runs it until one does, to what it waits for.
use core::ffi::{c_int, c_void};

use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use aya_ebpf::macros::{btf_tracepoint, uprobe};
use aya_ebpf::programs::{BtfTracePointContext, ProbeContext};
use clew_common::context::{
    GO_GOID, GO_REASONS, GO_RUNS, GO_WAITS, GO_WAITS_NETWORK, PAGE, Plan, go_sleeps, go_waits_for_lock, in_code_range,
};
use clew_common::event::{BLOCKED_DISK, BLOCKED_FAULT, BLOCKED_LOCK, BLOCKED_NETWORK, BLOCKED_OTHER, BLOCKED_SLEEP};
use clew_common::event::{CONTEXT_GOROUTINE, CONTEXT_THREAD, KIND_TIMES, Times};

use crate::arch::{Registers, call, go_argument, probed_at};
use crate::context::{scoped, word};
use crate::kernel::{self, Direct, Reader};
use crate::maps::{BLOCKED_BY, CPU, GOROUTINES, Goroutine, PARTS, RUNQUEUE, TARGETS, THREADS, Thread, remember};
use crate::{context, descriptor, golang, ring, settings as offset};

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
        bring_up(thread, bpf_ktime_get_ns(), delay_ns);
        (*thread).state = if preempted || state == 0 {
            RUNQUEUE as u32
        } else {
            BLOCKED_BY as u32 + reason(state & TASK_UNINTERRUPTIBLE != 0)
        };
        // What the thread waits for with no goroutine is not the last one's.
        if (*thread).goroutine != 0 && golang::plan().and_then(golang::goroutine) != Some((*thread).goroutine) {
            release(thread);
        }
    }
}

/// # Safety
/// `thread` is what is kept of the task that runs next.
#[inline(always)]
unsafe fn enter(thread: *mut Thread) {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        if (*thread).state == CPU as u32 {
            return;
        }
        let now_ns = bpf_ktime_get_ns();
        (*thread).gap_ns = now_ns.wrapping_sub((*thread).mark_ns);
        (*thread).gap = (*thread).state;
        (*thread).mark_ns = now_ns;
        (*thread).state = CPU as u32;
    }
}

/// The time of the current thread, and of the goroutine that it runs, is known until now. The last time off the CPU is divided: the
/// kernel knows how long of it the task waited for a CPU once it has one, which is after the switch was told of (`sched_info_arrive`).
///
/// # Safety
/// `thread` is what is kept of the current task.
#[inline(always)]
unsafe fn bring_up(thread: *mut Thread, now_ns: u64, delay_ns: u64) {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        let goroutine = running(thread);
        let (gap, gap_ns) = ((*thread).gap as usize, (*thread).gap_ns);
        (*thread).gap = 0;
        if gap != 0 {
            let mut waited_ns = gap_ns;
            if gap != RUNQUEUE {
                waited_ns = delay_ns.wrapping_sub((*thread).delay_ns);
                if waited_ns > gap_ns {
                    waited_ns = gap_ns;
                }
                add(thread, goroutine, gap, gap_ns - waited_ns);
            }
            add(thread, goroutine, RUNQUEUE, waited_ns);
        }
        add(thread, goroutine, CPU, now_ns.wrapping_sub((*thread).mark_ns));
        (*thread).mark_ns = now_ns;
        (*thread).delay_ns = delay_ns;
        if let Some(goroutine) = goroutine {
            (*goroutine).until_ns = now_ns;
        }
    }
}

/// # Safety
/// The pointers are a map's.
#[inline(always)]
unsafe fn add(thread: *mut Thread, goroutine: Option<*mut Goroutine>, part: usize, ns: u64) {
    if part >= PARTS {
        return;
    }
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        (*thread).parts[part] += ns;
        if let Some(goroutine) = goroutine {
            (*goroutine).parts[part] += ns;
        }
    }
}

/// The goroutine that the current thread runs, if its time is followed: unless another thread has come to run it.
///
/// # Safety
/// `thread` is what is kept of the current task.
#[inline(always)]
unsafe fn running(thread: *mut Thread) -> Option<*mut Goroutine> {
    // SAFETY: the caller vouches for the pointer, and the map gives others.
    unsafe {
        if (*thread).goroutine == 0 {
            return None;
        }
        let goroutine = GOROUTINES.get_ptr_mut(&scoped((*thread).goroutine))?;
        ((*goroutine).thread == tid()).then_some(goroutine)
    }
}

/// The current thread has stopped to run its goroutine.
///
/// # Safety
/// `thread` is what is kept of the current task.
#[inline(always)]
unsafe fn release(thread: *mut Thread) {
    // SAFETY: the caller vouches for the pointer, and the map gave the other.
    unsafe {
        if let Some(goroutine) = running(thread) {
            (*goroutine).thread = 0;
        }
        (*thread).goroutine = 0;
    }
}

/// In `runtime.execute(gp, inheritTime)`, before `runtime.casgstatus(gp, ...)`: the thread runs a goroutine next, and has it as its own
/// already, so that it is not taken for idle at a switch. Where the thread that ran the goroutine before does not know that it has
/// parked, which is not long ago, that one still looks for another: this is taken for the goroutine's own time.
#[uprobe]
pub fn go_runs(ctx: ProbeContext) -> u32 {
    let Some(plan) = golang::plan() else { return 0 };
    let g = go_argument(&ctx, 0);
    let Some(id) = kernel::user::<u64>(g.wrapping_add(word(plan, GO_GOID))) else {
        return 0;
    };
    // SAFETY: no arguments.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    let known = THREADS.get_ptr_mut(&tid());
    if let Some(thread) = known {
        // SAFETY: the map gave the pointer, and no other CPU runs the task.
        unsafe {
            bring_up(thread, now_ns, kernel::of_task(offset::task_run_delay()));
            if (*thread).goroutine != 0 {
                release(thread);
            }
        }
    }
    let Some(goroutine) = GOROUTINES.get_ptr_mut(&scoped(id)) else {
        return 0;
    };
    let Some(thread) = known.or_else(|| followed(now_ns)) else {
        return 0;
    };
    // SAFETY: the maps gave the pointers.
    unsafe {
        let part = if (*goroutine).thread != 0 {
            CPU
        } else {
            waited_for(&ctx, plan, g)
        };
        if part < PARTS {
            (*goroutine).parts[part] += now_ns.wrapping_sub((*goroutine).until_ns);
        }
        (*goroutine).until_ns = now_ns;
        (*goroutine).thread = tid();
        (*thread).goroutine = id;
    }
    0
}

/// What the goroutine `g`, which is run next, has waited for: a CPU, unless it had parked.
#[inline(always)]
fn waited_for(ctx: &ProbeContext, plan: *const Plan, g: u64) -> usize {
    /// Offset of `g.sched.pc`.
    const PC: u64 = 64;
    /// Offset of `g.waitreason` behind `g.goid`.
    const REASON: u64 = 24;
    let moved = probed_at(ctx).wrapping_sub(word(plan, GO_RUNS)) & !(PAGE - 1);
    let pc: u64 = kernel::user(g + PC).unwrap_or(0);
    if !in_code_range(word(plan, GO_WAITS), pc.wrapping_sub(moved)) {
        return RUNQUEUE;
    }
    let reason: u8 = kernel::user(g.wrapping_add(word(plan, GO_GOID)) + REASON).unwrap_or(0);
    let reasons = word(plan, GO_REASONS);
    let blocked = if reason == GO_WAITS_NETWORK {
        BLOCKED_NETWORK
    } else if go_sleeps(reasons, reason) {
        BLOCKED_SLEEP
    } else if go_waits_for_lock(reasons, reason) {
        BLOCKED_LOCK
    } else {
        BLOCKED_OTHER
    };
    BLOCKED_BY + blocked as usize
}

/// The current thread.
#[inline(always)]
fn tid() -> u32 {
    // SAFETY: no arguments.
    unsafe { bpf_get_current_pid_tgid() as u32 }
}

/// The current thread's time is followed from now on; none where there is no memory.
#[inline(always)]
fn followed(now_ns: u64) -> Option<*mut Thread> {
    let thread = Thread::running(now_ns, kernel::of_task(offset::task_run_delay()));
    let _full = THREADS.insert(&tid(), &thread, 0);
    THREADS.get_ptr_mut(&tid())
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

/// Tells of the time so far of the current thread, or of the goroutine that it runs. Zero.
///
/// A global function: the verifier looks at it once by itself, not anew in every state of its callers.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn tell_times() -> u64 {
    // SAFETY: no arguments.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    let Some(thread) = THREADS.get_ptr_mut(&tid()).or_else(|| followed(now_ns)) else {
        return 0;
    };
    // SAFETY: the map gave the pointer, and no other CPU runs the task.
    unsafe { bring_up(thread, now_ns, kernel::of_task(offset::task_run_delay())) };
    let plan = golang::plan().filter(|plan| word(*plan, GO_RUNS) != 0);
    let goroutine = plan.and_then(golang::goroutine).unwrap_or(0);
    let of_goroutine = if goroutine == 0 {
        None
    } else {
        // SAFETY: as above.
        let of_goroutine = unsafe { goroutine_of(thread, goroutine, now_ns) };
        if of_goroutine.is_none() {
            return 0;
        }
        of_goroutine
    };
    ring::fill(|record: *mut Times| {
        // SAFETY: the record was reserved for one, and the maps gave the pointers.
        unsafe {
            (*record).header = context::header(KIND_TIMES);
            (*record).header.time_ns = now_ns;
            (*record).header.context = goroutine;
            (*record).header.context_kind = if goroutine == 0 {
                CONTEXT_THREAD
            } else {
                CONTEXT_GOROUTINE
            };
            let parts = match of_goroutine {
                Some(goroutine) => &(*goroutine).parts,
                None => &(*thread).parts,
            };
            (*record).cpu_ns = parts[CPU];
            (*record).runqueue_ns = parts[RUNQUEUE];
            (*record).blocked_ns.copy_from_slice(&parts[BLOCKED_BY..]);
        }
    });
    0
}

/// What is kept of the goroutine `id`, which the current thread runs; none where there is no memory. Where it was not known to run here,
/// its time begins anew.
///
/// # Safety
/// `thread` is what is kept of the current task.
#[inline(always)]
unsafe fn goroutine_of(thread: *mut Thread, id: u64, now_ns: u64) -> Option<*mut Goroutine> {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        if (*thread).goroutine == id
            && let Some(goroutine) = running(thread)
        {
            return Some(goroutine);
        }
        release(thread);
        (*thread).goroutine = id;
    }
    let goroutine = Goroutine {
        parts: [0; PARTS],
        until_ns: now_ns,
        thread: tid(),
        reserved: 0,
    };
    remember(&GOROUTINES, &scoped(id), &goroutine);
    GOROUTINES.get_ptr_mut(&scoped(id))
}
