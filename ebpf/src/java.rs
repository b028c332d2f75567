//! Java: which virtual thread a thread of the kernel runs, and which threads may run what others asked for.
//!
//! HotSpot keeps the `JavaThread` of a thread in thread-local storage of `libjvm.so`. The storage of a library that was loaded
//! while the program ran is found through the thread's vector of modules:
//!
//! ```text
//! fs:8 -> dtv   0        16       32
//!               +--------+--------+--------+--
//!               | unused | block, | block, | ...   a block's address is the first half of an entry; -1 where there is none
//!               |        | mod. 1 | mod. 2 |
//!               +--------+--------+--------+--
//! ```
//!
//! (glibc, `sysdeps/generic/dl-dtv.h` and `sysdeps/x86_64/nptl/tls.h`.) Which module is libjvm's is not known: it is the one where a
//! `JavaThread` is found whose stack is this thread's, at whose upper end the C library keeps what the thread pointer points at.
use core::ffi::c_void;

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use clew_common::context::{
    JAVA_MOUNTED, JAVA_NUMBER, JAVA_STACK_BASE, JAVA_STACK_SIZE, JAVA_TID, JAVA_TID_UNKNOWN, JAVA_TLS, Plan,
};
use clew_common::event::{JAVA_VIRTUAL, KIND_HELPER, LIFE_PROCESS, Life};

use crate::context::word;
use crate::kernel::{self, Direct, Probe, Reader};
use crate::maps::TARGETS;
use crate::{context, ring, settings as offset};

/// Where a thread's vector of modules stands behind the thread pointer, and the size of an entry.
const DTV: u64 = 8;
const ENTRY_BYTES: u64 = 16;
/// The modules that may be libjvm's. The first is the C library's.
const MODULES: core::ops::Range<u64> = 2..10;

/// The virtual thread the current thread runs, as `CONTEXT_JAVA` names it; none on a thread that is not Java's.
#[inline(always)]
pub fn current(plan: *const Plan) -> Option<u64> {
    let thread = thread(plan)?;
    let mounted: u64 = kernel::user(thread.wrapping_add(word(plan, JAVA_MOUNTED)))?;
    let number: u64 = kernel::user(thread.wrapping_add(word(plan, JAVA_NUMBER)))?;
    let tid = word(plan, JAVA_TID);
    let id = if tid == 0 {
        if mounted == 0 {
            return Some(0);
        }
        number
    } else {
        // Both are handles: addresses of the objects' addresses.
        let mounted: u64 = kernel::user(mounted)?;
        if mounted == kernel::user::<u64>(number)? {
            return Some(0);
        }
        if tid == JAVA_TID_UNKNOWN {
            return None;
        }
        kernel::user(mounted.wrapping_add(tid))?
    };
    (id != 0 && id & JAVA_VIRTUAL == 0).then_some(id | JAVA_VIRTUAL)
}

/// The `JavaThread` of the current thread.
#[inline(always)]
fn thread(plan: *const Plan) -> Option<u64> {
    let base: u64 = kernel::of_task(offset::task_fsbase());
    let modules: u64 = kernel::user(base.wrapping_add(DTV))?;
    for module in MODULES {
        let block: u64 = kernel::user(modules.wrapping_add(module * ENTRY_BYTES))?;
        let Some(thread) = kernel::user::<u64>(block.wrapping_add(word(plan, JAVA_TLS))) else {
            continue;
        };
        let top = kernel::user::<u64>(thread.wrapping_add(word(plan, JAVA_STACK_BASE)));
        let size = kernel::user::<u64>(thread.wrapping_add(word(plan, JAVA_STACK_SIZE)));
        if let (Some(top), Some(size)) = (top, size)
            && base <= top
            && top.wrapping_sub(base) < size
        {
            return Some(thread);
        }
    }
    None
}

/// `task_rename(struct task_struct *task, const char *comm)`: workers of a `ForkJoinPool` tell who they are by their name. While
/// one waits it runs what others asked for; and for the common pool so does any thread that waits for a `CompletableFuture`.
#[btf_tracepoint(function = "task_rename")]
pub fn java_named(ctx: BtfTracePointContext) -> i32 {
    let task: *const c_void = ctx.arg(0);
    let comm: *const c_void = ctx.arg(1);
    // SAFETY: the tracepoint gives a task and a name of at least 16 bytes; the helper checks the address.
    let (tgid, tid, name) = unsafe {
        (
            Direct::read::<u32>(task, offset::task_tgid()),
            Direct::read::<u32>(task, offset::task_pid()),
            Probe::read::<[u8; 16]>(comm, 0),
        )
    };
    if TARGETS.get_ptr(&tgid).is_none() || !name.starts_with(b"ForkJoinPool") {
        return 0;
    }
    let mut header = context::header(KIND_HELPER);
    header.tgid = tgid;
    header.tid = tid;
    let _lost = ring::send(&Life {
        header,
        code: 0,
        flags: if name[12] == b'.' { LIFE_PROCESS } else { 0 },
    });
    0
}
