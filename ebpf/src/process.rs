//! The lives of processes: children of targets are targets, and the agent hears of programs that begin and end.
use core::ffi::c_void;

use aya_ebpf::helpers::bpf_get_current_comm;
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use aya_ebpf::macros::{btf_tracepoint, tracepoint};
use aya_ebpf::programs::{BtfTracePointContext, TracePointContext};
use clew_common::context::without_plan;
use clew_common::counter;
use clew_common::event::{
    ARGS_BYTES, EXIT_OOM, Exec, Fork, KIND_EXEC, KIND_EXIT, KIND_FORK, KIND_MAPPED, KIND_SIGNAL, LIFE_PROCESS,
    LIFE_TARGET, Life, Signal,
};
use clew_common::settings::{TARGET_CHILDREN, WATCH_ALL, inherited};

use crate::kernel::{self, Direct, Probe, Reader};
use crate::maps::{PYTHON_BASES, TARGETS};
use crate::verifier::opaque;
use crate::{assist, context, executor, ring, settings as offset, stacks, tls};

/// `sched_process_fork(struct task_struct *parent, struct task_struct *child)`.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn process_fork(ctx: BtfTracePointContext) -> i32 {
    let parent: *const c_void = ctx.arg(0);
    let child: *const c_void = ctx.arg(1);
    // SAFETY: the tracepoint gives tasks.
    let (tgid, child_tgid, child_tid) = unsafe {
        (
            Direct::read::<u32>(parent, offset::task_tgid()),
            Direct::read::<u32>(child, offset::task_tgid()),
            Direct::read::<u32>(child, offset::task_pid()),
        )
    };
    if tgid == child_tgid {
        return 0;
    }
    let Some(target) = TARGETS.get_ptr(&tgid) else { return 0 };
    // SAFETY: the map gave the pointer.
    let target = unsafe { *target };
    if target & TARGET_CHILDREN == 0 {
        return 0;
    }
    if TARGETS.insert(&child_tgid, &inherited(target), 0).is_err() {
        ring::count(counter::TARGETS_FULL, 1);
        return 0;
    }
    // What was loaded lies where it lay.
    if let Some(base) = PYTHON_BASES.get_ptr(&tgid) {
        // SAFETY: the map gave the pointer.
        let base = unsafe { *base };
        let _full = PYTHON_BASES.insert(child_tgid, base, 0);
    }
    let _lost = ring::send(&Fork {
        header: context::header(KIND_FORK),
        child_tgid,
        child_tid,
    });
    0
}

/// `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn process_exec(_ctx: BtfTracePointContext) -> i32 {
    let target = context::target();
    if let Some(target) = target {
        // What was known of the old program does not hold for the new one.
        // SAFETY: the map gave the pointer.
        unsafe { *target = without_plan(*target) };
        let _absent = PYTHON_BASES.remove(context::tgid());
    }
    let target = target.is_some();
    if target {
        assist::forget();
        executor::forget();
    }
    if target || offset::watch() & WATCH_ALL != 0 {
        let flags = LIFE_PROCESS | if target { LIFE_TARGET } else { 0 };
        began(flags);
    }
    0
}

/// Tells of a program that begins: its name and its arguments too, because it may be over before anyone can ask for them.
#[inline(always)]
fn began(flags: u32) {
    let life = Life {
        header: context::header(KIND_EXEC),
        code: 0,
        flags,
    };
    let mm = kernel::of_task::<u64>(offset::task_mm()) as *const c_void;
    // SAFETY: the helper checks the address itself.
    let (first, end): (u64, u64) = unsafe {
        (
            Probe::read(mm, offset::mm_arg_start()),
            Probe::read(mm, offset::mm_arg_end()),
        )
    };
    let name = bpf_get_current_comm().unwrap_or_default();
    // What it runs has to be looked at before it does much.
    ring::fill_now(|record: *mut Exec| {
        // SAFETY: the record was reserved for one.
        unsafe {
            (*record).life = life;
            (*record).name = name;
            (*record).reserved = 0;
            let mut size = end.wrapping_sub(first);
            if size > ARGS_BYTES as u64 {
                size = ARGS_BYTES as u64;
            }
            let size = opaque(size);
            let args = (&raw mut (*record).args).cast();
            let read = size <= ARGS_BYTES as u64 && bpf_probe_read_user(args, size as u32, first as *const c_void) == 0;
            (*record).written = if read { size as u32 } else { 0 };
        }
    });
}

/// `sched_process_exit(struct task_struct *p, ...)`. `signal->live` has been lowered by then (`do_exit`): the last thread
/// sees 0.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn process_exit(_ctx: BtfTracePointContext) -> i32 {
    if !context::traced() {
        return 0;
    }
    assist::forget();
    executor::forget();
    tls::forget();
    let signal = kernel::of_task::<u64>(offset::task_signal()) as *const c_void;
    // SAFETY: the helper checks the address itself.
    let live: u32 = unsafe { Probe::read(signal, offset::signal_live()) };
    if live != 0 {
        return 0;
    }
    // What the kernel remembers of a process that it ends for want of memory (`mark_oom_victim`).
    // SAFETY: the helper checks the address itself.
    let victim: u64 = unsafe { Probe::read(signal, offset::signal_oom_mm()) };
    let code: u32 = kernel::of_task(offset::task_exit_code());
    let _absent = PYTHON_BASES.remove(context::tgid());
    let _lost = ring::send(&Life {
        header: context::header(KIND_EXIT),
        code: if victim != 0 { code | EXIT_OOM } else { code },
        flags: LIFE_PROCESS | LIFE_TARGET,
    });
    let _absent = TARGETS.remove(&kernel::of_task::<u32>(offset::task_tgid()));
    0
}

/// `signal_deliver(int sig, struct kernel_siginfo *info, struct k_sigaction *action)`: where in its program a thread is that gets a signal
/// whose default is to end the process with a core, which no handler takes. `struct k_sigaction` begins with the handler.
///
/// ```text
/// struct siginfo  0 si_signo  4 si_errno  8 si_code  16 si_addr       on machines of 64 bits
/// ```
#[btf_tracepoint(function = "signal_deliver")]
pub fn process_struck(ctx: BtfTracePointContext) -> i32 {
    const CODE: u32 = 8;
    const ADDRESS: u32 = 16;
    /// SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV and SIGSYS.
    const STRIKE: u32 = 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 11 | 1 << 31;
    let number: u32 = ctx.arg(0);
    let info: *const c_void = ctx.arg(1);
    let action: *const c_void = ctx.arg(2);
    // SAFETY: the helper checks the address itself.
    if !context::traced() || number > 31 || STRIKE >> number & 1 == 0 || unsafe { Probe::read::<u64>(action, 0) } != 0 {
        return 0;
    }
    let stack = stacks::tell_stack(0);
    ring::fill(|record: *mut Signal| {
        // SAFETY: the record was reserved for one, and the helper checks each address: `info` may be a mere number.
        unsafe {
            (*record).header = context::header(KIND_SIGNAL);
            (*record).stack = stack;
            (*record).address = Probe::read(info, ADDRESS);
            (*record).signal = number;
            (*record).code = Probe::read(info, CODE);
        }
    });
    0
}

/// `syscalls/sys_enter_mmap`: a library is loaded, at any time of a process's life.
#[tracepoint]
pub fn process_mapped(ctx: TracePointContext) -> u32 {
    /// Offsets of the arguments in the record of a `syscalls` tracepoint.
    const PROTECTION: usize = 32;
    const FD: usize = 48;
    const PROT_EXEC: u64 = 4;
    if !context::traced() {
        return 0;
    }
    // SAFETY: the record of a `syscalls` tracepoint has these fields.
    let (protection, fd) = unsafe {
        (
            ctx.read_at::<u64>(PROTECTION).unwrap_or(0),
            ctx.read_at::<u64>(FD).unwrap_or(0),
        )
    };
    if protection & PROT_EXEC == 0 || (fd as i32) < 0 {
        return 0;
    }
    // It may be used soon.
    let _lost = ring::send_now(&Life {
        header: context::header(KIND_MAPPED),
        code: 0,
        flags: LIFE_TARGET,
    });
    0
}
