//! Where the time of threads goes that use sockets, and of goroutines and tasks that do ([`tasks`]): on a CPU, waiting for one, blocked, and
//! on what.
//!
//! All of it is measured by one clock at the switches of the scheduler, so that the parts of any stretch are as long as it is. The
//! kernel's own `sum_exec_runtime` is brought up to date only every few milliseconds while a thread runs. What a thread's time goes for
//! also goes to the goroutine or task that it runs; from when no thread runs it until one does, to what it waits for.
use core::ffi::{c_int, c_void};

use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use clew_common::context::{GO_RUNS, PLAN_GO, PLAN_JAVA, PLAN_TOKIO, TOKIO_TIMED};
use clew_common::event::{
    BLOCKED_DISK, BLOCKED_FAULT, BLOCKED_LOCK, BLOCKED_NETWORK, BLOCKED_OTHER, BLOCKED_SLEEP, CONTEXT_GOROUTINE,
    CONTEXT_TOKIO, CONTEXT_UNKNOWN, Header, KIND_TIMES,
};

use crate::arch::{Registers, call};
use crate::context::word;
use crate::kernel::{self, Direct, Reader};
use crate::maps::{BLOCKED_BY, CPU, PARTS, RUNQUEUE, SCRATCH, TARGETS, THREADS, Task, Thread};
use crate::{context, descriptor, golang, java, settings as offset, tasks, tokio};

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
        let is_preempted = preempted || state == 0;
        tasks::check(thread, is_preempted);
        let task = bring_up(thread, bpf_ktime_get_ns(), delay_ns);
        (*thread).state = if is_preempted {
            RUNQUEUE as u32
        } else {
            BLOCKED_BY as u32 + reason(state & TASK_UNINTERRUPTIBLE != 0)
        };
        // What the thread waits for with no goroutine is not the last one's.
        if (*thread).task != 0 && (*thread).polled == 0 && running_here().1 != (*thread).task {
            tasks::release(thread, task);
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

/// The time of the current thread, and of the goroutine or task that it runs, is known until now. The last time off the CPU is divided: the
/// kernel knows how long of it the task waited for a CPU once it has one, which is after the switch was told of (`sched_info_arrive`). What
/// the thread is [`tasks::running`].
///
/// # Safety
/// `thread` is what is kept of the current task.
#[inline(always)]
pub unsafe fn bring_up(thread: *mut Thread, now_ns: u64, delay_ns: u64) -> Option<*mut Task> {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        let task = tasks::running(thread);
        let (gap, gap_ns) = ((*thread).gap as usize, (*thread).gap_ns);
        (*thread).gap = 0;
        if gap != 0 {
            let mut waited_ns = gap_ns;
            if gap != RUNQUEUE {
                waited_ns = delay_ns.wrapping_sub((*thread).delay_ns);
                if waited_ns > gap_ns {
                    waited_ns = gap_ns;
                }
                add(thread, task, gap, gap_ns - waited_ns);
            }
            add(thread, task, RUNQUEUE, waited_ns);
        }
        add(thread, task, CPU, now_ns.wrapping_sub((*thread).mark_ns));
        (*thread).mark_ns = now_ns;
        (*thread).delay_ns = delay_ns;
        if let Some(task) = task {
            (*task).until_ns = now_ns;
        }
        task
    }
}

/// # Safety
/// The pointers are a map's.
#[inline(always)]
unsafe fn add(thread: *mut Thread, task: Option<*mut Task>, part: usize, ns: u64) {
    if part >= PARTS {
        return;
    }
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        (*thread).parts[part] += ns;
        if let Some(task) = task {
            (*task).parts[part] += ns;
        }
    }
}

/// The current thread.
#[inline(always)]
pub fn tid() -> u32 {
    // SAFETY: no arguments.
    unsafe { bpf_get_current_pid_tgid() as u32 }
}

/// The current thread's time is followed from now on; none where there is no memory.
#[inline(always)]
pub fn followed(now_ns: u64) -> Option<*mut Thread> {
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

/// Which context of those whose time may be followed the current thread runs, its kind and number; zeros where there are none,
/// and [`CONTEXT_UNKNOWN`] where it runs one whose time is not.
#[inline(always)]
fn running_here() -> (u16, u64) {
    let found = running_context();
    ((found >> KIND) as u16, found & ((1 << KIND) - 1))
}

/// Bits of a number below its kind in what [`running_context`] gives back.
const KIND: u32 = 48;

/// See [`running_here`].
///
/// A global function: the verifier looks at it once by itself, not anew in every state of its callers.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn running_context() -> u64 {
    let Some(plan) = context::plan() else { return 0 };
    let packed = |kind: u16, id: Option<u64>| match id {
        None | Some(0) => 0,
        Some(id) => u64::from(kind) << KIND | id & ((1 << KIND) - 1),
    };
    // SAFETY: the map gave the pointer.
    match unsafe { (*plan).kind } {
        PLAN_GO if word(plan, GO_RUNS) != 0 => packed(CONTEXT_GOROUTINE, golang::goroutine(plan)),
        PLAN_TOKIO if word(plan, TOKIO_TIMED) != 0 => packed(CONTEXT_TOKIO, tokio::task(plan)),
        // A virtual thread runs on one thread after the other, which runs others meanwhile.
        PLAN_JAVA if java::current(plan) != Some(0) => u64::from(CONTEXT_UNKNOWN) << KIND,
        _ => 0,
    }
}

/// Has the next record of an operation tell of the time so far of the current thread, or of the goroutine or task that it runs. Zero.
///
/// A global function: the verifier looks at it once by itself, not anew in every state of its callers.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn tell_times() -> u64 {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: the map gave the pointer, nothing interrupts a program on its CPU that uses it, and the helper has no arguments.
    let now_ns = unsafe {
        (*scratch).times.header.kind = 0;
        bpf_ktime_get_ns()
    };
    let Some(thread) = THREADS.get_ptr_mut(&tid()).or_else(|| followed(now_ns)) else {
        return 0;
    };
    // SAFETY: the map gave the pointer, and no other CPU runs the task.
    let known = unsafe {
        tasks::check(thread, false);
        bring_up(thread, now_ns, kernel::of_task(offset::task_run_delay()))
    };
    let (kind, id) = running_here();
    let task = if id == 0 {
        None
    } else {
        // SAFETY: as above.
        let task = unsafe { tasks::of(thread, known, id, kind == CONTEXT_TOKIO, now_ns) };
        if task.is_none() {
            return 0;
        }
        task
    };
    // SAFETY: the maps gave the pointers, nothing interrupts a program on its CPU that uses them, and the helper has no arguments.
    unsafe {
        let times = &raw mut (*scratch).times;
        let ids = bpf_get_current_pid_tgid();
        (*times).header = Header {
            time_ns: now_ns,
            cpu_ns: 0,
            runqueue_ns: 0,
            context: id,
            tgid: (ids >> 32) as u32,
            tid: ids as u32,
            turn: 0,
            kind: KIND_TIMES,
            context_kind: kind,
        };
        let parts = match task {
            Some(task) => &(*task).parts,
            None => &(*thread).parts,
        };
        (*times).cpu_ns = parts[CPU];
        (*times).runqueue_ns = parts[RUNQUEUE];
        (*times).blocked_ns.copy_from_slice(&parts[BLOCKED_BY..]);
    }
    0
}
