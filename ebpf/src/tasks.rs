//! Where the time of goroutines and of Tokio's tasks goes: see [`times`].
//!
//! Which one a thread runs is told by a probe where one begins to run. A goroutine has ended to run when its thread has none at a switch,
//! or runs another; a task's end is seen by a probe, since a thread may go on with what is no task. What a task waits for is told by who
//! wakes it; what a goroutine waits for, by itself.
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use clew_common::context::{
    GO_GOID, GO_REASONS, GO_RUNS, GO_WAITS, GO_WAITS_NETWORK, PAGE, PLAN_TOKIO, Plan, TOKIO_CLOCK, TOKIO_NETWORK,
    TOKIO_TIMED, go_sleeps, go_waits_for_lock, in_code_range,
};
use clew_common::event::{BLOCKED_LOCK, BLOCKED_NETWORK, BLOCKED_OTHER, BLOCKED_SLEEP};

use crate::arch::{argument, go_argument, probed_at, return_address};
use crate::context::{scoped, word};
use crate::maps::{BLOCKED_BY, CPU, PARTS, RUNQUEUE, TASKS, THREADS, Task, Thread, remember};
use crate::times::{bring_up, followed, tid};
use crate::{context, golang, kernel, settings as offset, tokio};

/// What the current thread runs, if its time is followed: unless another thread has come to run it.
///
/// # Safety
/// `thread` is what is kept of the current task.
#[inline(always)]
pub unsafe fn running(thread: *mut Thread) -> Option<*mut Task> {
    // SAFETY: the caller vouches for the pointer, and the map gives others.
    unsafe {
        if (*thread).task == 0 {
            return None;
        }
        let task = TASKS.get_ptr_mut(&scoped((*thread).task))?;
        ((*task).thread == tid()).then_some(task)
    }
}

/// The current thread has stopped to run `task`, which is what it is [`running`].
///
/// # Safety
/// `thread` is what is kept of the current task, and a map gave the other pointer.
#[inline(always)]
pub unsafe fn release(thread: *mut Thread, task: Option<*mut Task>) {
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        if let Some(task) = task {
            (*task).thread = 0;
        }
        (*thread).task = 0;
    }
}

/// What is kept of `id`, which the current thread runs, and is one of Tokio's if it is `polled`; none where there is no memory. Where it was
/// not known to run here, its time begins anew. `known` is what the thread is [`running`].
///
/// # Safety
/// `thread` is what is kept of the current task, and a map gave the other pointer.
#[inline(always)]
pub unsafe fn of(
    thread: *mut Thread,
    known: Option<*mut Task>,
    id: u64,
    polled: bool,
    now_ns: u64,
) -> Option<*mut Task> {
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        if (*thread).task == id && known.is_some() {
            return known;
        }
        release(thread, known);
        (*thread).task = id;
        (*thread).entering = 0;
        (*thread).polled = u32::from(polled);
    }
    let task = Task {
        parts: [0; PARTS],
        until_ns: now_ns,
        thread: tid(),
        woken: 0,
    };
    remember(&TASKS, &scoped(id), &task);
    TASKS.get_ptr_mut(&scoped(id))
}

/// Lets go of a task that is not known to run any more although nobody told of its end: what the thread has done since may be its own. A
/// thread that is preempted behind the probe may not yet have the task that it begins to run.
///
/// # Safety
/// `thread` is what is kept of the current task.
#[inline(always)]
pub unsafe fn check(thread: *mut Thread, preempted: bool) {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        let id = (*thread).task;
        // Of a goroutine's end the next one tells that is run.
        if id == 0 || (*thread).polled == 0 {
            return;
        }
        let Some(plan) = timed() else { return };
        if tokio::task(plan) == Some(id) {
            (*thread).entering = 0;
        } else if !preempted || (*thread).entering == 0 {
            let _absent = TASKS.remove(scoped(id));
            (*thread).task = 0;
        }
    }
}

/// The plan of a process that runs tasks, if their time is told.
#[inline(always)]
fn timed() -> Option<*const Plan> {
    // SAFETY: the map gave the pointer.
    context::plan().filter(|plan| unsafe { (**plan).kind } == PLAN_TOKIO && word(*plan, TOKIO_TIMED) != 0)
}

/// The current thread begins to run `id` now; `before` tells what it did since its time was brought up last. None where that is not known:
/// its time begins anew then. Where a thread begins to run a goroutine, it has stopped to run what it ran. A task of Tokio's, which is
/// `polled`, may be run within another's own time, of which nothing more is known then.
#[inline(always)]
fn begin(id: u64, polled: bool, before: impl FnOnce(*const Task) -> Option<usize>) {
    let known = THREADS.get_ptr_mut(&tid());
    if let Some(thread) = known {
        // SAFETY: the map gave the pointer, and no other CPU runs the task.
        unsafe {
            check(thread, false);
            if (*thread).task != 0 && polled {
                let _absent = TASKS.remove(scoped(id));
                return;
            }
        }
    }
    let next = TASKS.get_ptr_mut(&scoped(id));
    // SAFETY: the map gave the pointer.
    if next.is_none() && known.is_none_or(|thread| unsafe { (*thread).task } == 0) {
        // As most: nobody's time is followed, neither of what ends to run nor of what begins to.
        return;
    }
    // SAFETY: no arguments.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    if let Some(thread) = known {
        // SAFETY: the map gave the pointer, and no other CPU runs the task.
        unsafe {
            let ended = bring_up(thread, now_ns, kernel::of_task(offset::task_run_delay()));
            release(thread, ended);
        }
    }
    let Some(task) = next else { return };
    let Some(part) = before(task).filter(|part| *part < PARTS) else {
        let _absent = TASKS.remove(scoped(id));
        return;
    };
    let Some(thread) = known.or_else(|| followed(now_ns)) else {
        return;
    };
    // SAFETY: the maps gave the pointers.
    unsafe {
        (*task).parts[part] += now_ns.wrapping_sub((*task).until_ns);
        (*task).until_ns = now_ns;
        (*task).thread = tid();
        (*task).woken = 0;
        (*thread).task = id;
        (*thread).entering = u32::from(polled);
        (*thread).polled = u32::from(polled);
    }
}

/// In `runtime.execute(gp, inheritTime)`, before `runtime.casgstatus(gp, ...)`: the thread runs a goroutine next, and has it as its own
/// already, so that it is not taken for idle at a switch. Where the thread that ran the goroutine before does not know that it has
/// parked, which is not long ago, that one still looks for another: this is taken for the goroutine's own time.
#[uprobe]
pub fn go_runs(ctx: ProbeContext) -> u32 {
    let Some(plan) = golang::plan() else { return 0 };
    let g = go_argument(&ctx, 0);
    if let Some(id) = kernel::user::<u64>(g.wrapping_add(word(plan, GO_GOID))) {
        begin(id, false, |task| {
            // SAFETY: the map gave the pointer.
            let is_run = unsafe { (*task).thread } != 0;
            Some(if is_run { CPU } else { waited_for(&ctx, plan, g) })
        });
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

/// At the start of what makes a task, by its number, the thread's own: it is polled from here on.
#[uprobe]
pub fn tokio_enters(ctx: ProbeContext) -> u32 {
    if timed().is_some() {
        run(argument(&ctx, 0));
    }
    0
}

/// At the start of what polls a task, given its header.
#[uprobe]
pub fn tokio_polls(ctx: ProbeContext) -> u32 {
    if let Some(plan) = timed()
        && let Some(id) = tokio::number(plan, argument(&ctx, 0))
    {
        run(id);
    }
    0
}

#[inline(always)]
fn run(id: u64) {
    begin(id, true, |task| {
        // SAFETY: the map gave the pointer.
        let (thread, woken) = unsafe { ((*task).thread, (*task).woken) };
        let waited_for = if woken != 0 {
            RUNQUEUE
        } else {
            BLOCKED_BY + BLOCKED_OTHER as usize
        };
        // One that still runs elsewhere has ended there, and nobody has told when.
        (thread == 0).then_some(waited_for)
    });
}

/// At the start of what takes a task from its thread: it was polled until here.
#[uprobe]
pub fn tokio_leaves(_ctx: ProbeContext) -> u32 {
    let (Some(plan), Some(thread)) = (timed(), THREADS.get_ptr_mut(&tid())) else {
        return 0;
    };
    let Some(id) = tokio::task(plan) else { return 0 };
    // SAFETY: the map gave the pointer, no other CPU runs the task, and the helper has no arguments.
    unsafe {
        if (*thread).task == id {
            let ended = bring_up(thread, bpf_ktime_get_ns(), kernel::of_task(offset::task_run_delay()));
            release(thread, ended);
        } else if TASKS.get_ptr(&scoped(id)).is_some() {
            // That it began was not seen, or it was run within another.
            let _absent = TASKS.remove(scoped(id));
        }
    }
    0
}

/// At the start of what uses up the waker of a task, given its header, before anything was pushed: Tokio's own wakers of who waits for the
/// network or the clock call it themselves.
#[uprobe]
pub fn tokio_woken(ctx: ProbeContext) -> u32 {
    let Some(plan) = timed() else { return 0 };
    wake(plan, argument(&ctx, 0), || {
        let moved = probed_at(&ctx).wrapping_sub(word(plan, TOKIO_TIMED)) & !(PAGE - 1);
        let from = return_address(&ctx).unwrap_or(0).wrapping_sub(moved);
        if in_code_range(word(plan, TOKIO_NETWORK), from) {
            BLOCKED_NETWORK
        } else if in_code_range(word(plan, TOKIO_CLOCK), from) {
            BLOCKED_SLEEP
        } else if tokio::task(plan).is_some() {
            BLOCKED_LOCK
        } else {
            BLOCKED_OTHER
        }
    });
    0
}

/// In what uses the waker of a task, given its header, and keeps it: neither who waits for the network is woken so nor who waits for the
/// clock, but who waits for another task.
#[uprobe]
pub fn tokio_called(ctx: ProbeContext) -> u32 {
    if let Some(plan) = timed() {
        wake(plan, argument(&ctx, 0), || BLOCKED_LOCK);
    }
    0
}

/// The task with this header was woken: it waits for a thread now, or will once it ends to run.
#[inline(always)]
fn wake(plan: *const Plan, header: u64, waited_for: impl FnOnce() -> u32) {
    let Some(id) = tokio::number(plan, header) else { return };
    let Some(task) = TASKS.get_ptr_mut(&scoped(id)) else {
        return;
    };
    // SAFETY: the map gave the pointer, and the helper has no arguments.
    unsafe {
        if (*task).woken != 0 {
            return;
        }
        if (*task).thread == 0 {
            let now_ns = bpf_ktime_get_ns();
            let part = BLOCKED_BY + waited_for() as usize;
            if part < PARTS {
                (*task).parts[part] += now_ns.wrapping_sub((*task).until_ns);
            }
            (*task).until_ns = now_ns;
        }
        (*task).woken = 1;
    }
}
