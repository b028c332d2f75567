//! Python: which `contextvars.Context` a thread runs in, and which it was copied from.
//!
//! A thread's `PyThreadState` is found through pthread's thread-specific data, which stays where it is while the interpreter's
//! lock is given up for a call. Contexts are freed and made again at the same address all the time, so each gets a number when
//! it is made or first seen, and loses it when it is freed. One that nothing has entered is merely where a thread keeps
//! variables of its own: the thread is the context then.
use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use aya_ebpf::macros::{uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use clew_common::context::{
    PLAN_PYTHON, PY_CONTEXT, PY_KEY, PY_SPECIFIC, PY_TYPE, PY_UVLOOP_CONTEXT, PY_UVLOOP_FD, PY_UVLOOP_HANDLE, Plan,
};
use clew_common::event::{CONTEXT_PYTHON, KIND_LINK, LINK_ACCEPTED, LINK_CREATED, LINK_READ, Link};

use crate::arch::{Registers, call};
use crate::context::{scoped, word};
use crate::kernel::{self, Probe, Reader};
use crate::maps::{PYTHON_BASES, PYTHON_CONTEXTS, PYTHON_STEPS, PYTHON_WRITES, PythonWrite, Scoped, Step, remember};
use crate::{context, executor, ring, settings as offset};

/// `PyObject.ob_type`, and `ctx_entered` of `PyContext`.
pub const OB_TYPE: u64 = 8;
const CTX_ENTERED: u64 = 40;
/// `struct pthread_key_data`s in a block of glibc's, their size, and where the data is in one.
const BLOCK_KEYS: u64 = 32;
const KEY_BYTES: u64 = 16;
const KEY_DATA: u64 = 8;

/// What a thread runs in.
pub enum Current {
    /// Itself.
    Thread,
    /// The context of this number.
    Context(u64),
    /// Something that could not be read.
    Unknown,
}

#[inline(always)]
pub fn tid() -> u32 {
    // SAFETY: no arguments.
    unsafe { bpf_get_current_pid_tgid() as u32 }
}

/// What the current thread works in: where uvloop writes for others, the context that asked for it.
#[inline(always)]
pub fn current(plan: *const Plan) -> Current {
    if word(plan, PY_UVLOOP_FD) != 0
        && let Some(asked) = asked(plan)
    {
        return if asked == 0 {
            Current::Unknown
        } else {
            Current::Context(asked)
        };
    }
    let running = running(plan);
    if let Current::Context(id) = running {
        executor::within(plan, id);
    }
    running
}

/// What the current thread runs in: the context it has entered, else the work it took.
#[inline(always)]
pub fn running(plan: *const Plan) -> Current {
    match entered(plan) {
        Ok(0) => match executor::current(plan) {
            Some(id) => Current::Context(id),
            None => Current::Thread,
        },
        Ok(address) => match number(address) {
            Some(id) => Current::Context(id),
            None => Current::Unknown,
        },
        Err(Unreadable) => Current::Unknown,
    }
}

/// It could not be read.
struct Unreadable;

/// Address of the innermost frame that the current thread runs, where `layout` ([`PY_FRAMES`](clew_common::context::PY_FRAMES)) says.
#[inline(always)]
pub fn frame(plan: *const Plan, layout: u64) -> Option<u64> {
    let base = PYTHON_BASES.get_ptr(&context::tgid())?;
    // SAFETY: the map gave the pointer.
    let state = state(plan, unsafe { *base }).ok()?;
    if state == 0 {
        return None;
    }
    let first = kernel::user::<u64>(state + (layout & 0xff))?;
    let further = layout >> 8 & 0xff;
    if further == 0 || first == 0 {
        return Some(first);
    }
    kernel::user(first + further - 1)
}

/// Address of the `PyThreadState` of the current thread; 0 where it has none.
#[inline(always)]
fn state(plan: *const Plan, base: u64) -> Result<u64, Unreadable> {
    let thread: u64 = kernel::of_task(offset::task_fsbase());
    let read = |address: u64| kernel::user::<u64>(address).ok_or(Unreadable);
    let key = kernel::user::<u32>(base.wrapping_add(word(plan, PY_KEY))).ok_or(Unreadable)?;
    let key = u64::from(key);
    let block = read(
        thread
            .wrapping_add(word(plan, PY_SPECIFIC))
            .wrapping_add(key / BLOCK_KEYS * 8),
    )?;
    if block == 0 {
        return Ok(0);
    }
    read(block.wrapping_add(key % BLOCK_KEYS * KEY_BYTES + KEY_DATA))
}

/// Address of the context the current thread has entered; 0 where it has entered none.
#[inline(always)]
fn entered(plan: *const Plan) -> Result<u64, Unreadable> {
    let Some(base) = PYTHON_BASES.get_ptr(&context::tgid()) else {
        // The process has made no context yet.
        return Ok(0);
    };
    // SAFETY: the map gave the pointer.
    let base = unsafe { *base };
    let read = |address: u64| kernel::user::<u64>(address).ok_or(Unreadable);
    let state = state(plan, base)?;
    if state == 0 {
        return Ok(0);
    }
    let address = read(state.wrapping_add(word(plan, PY_CONTEXT)))?;
    if address == 0 {
        return Ok(0);
    }
    // The offsets are right if what they lead to is a context.
    if read(address.wrapping_add(OB_TYPE))? != base.wrapping_add(word(plan, PY_TYPE)) {
        return Err(Unreadable);
    }
    let entered = kernel::user::<u32>(address.wrapping_add(CTX_ENTERED)).ok_or(Unreadable)?;
    Ok(if entered == 0 { 0 } else { address })
}

/// The number of the context at `address`, which it gets now if it has none.
#[inline(always)]
fn number(address: u64) -> Option<u64> {
    let key = scoped(address);
    if let Some(id) = PYTHON_CONTEXTS.get_ptr(&key) {
        // SAFETY: the map gave the pointer.
        return Some(unsafe { *id });
    }
    give_number(&key)
}

/// Time is a number that no two contexts of an interpreter share: its lock is held to make one.
#[inline(always)]
pub fn new_number() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
fn give_number(key: &Scoped) -> Option<u64> {
    let id = new_number();
    remember(&PYTHON_CONTEXTS, key, &id).then_some(id)
}

/// The first argument of a function of C.
#[inline(always)]
fn argument(ctx: &ProbeContext) -> u64 {
    ctx.arg(0).unwrap_or(0)
}

/// The plan, if the process is Python.
#[inline(always)]
pub fn python() -> Option<*const Plan> {
    let plan = context::plan()?;
    // SAFETY: the map gave the pointer.
    (unsafe { (*plan).kind } == PLAN_PYTHON).then_some(plan)
}

/// Behind `PyContext_CopyCurrent()` and `context_tp_new(type, args, kwds)`: the result is a new context.
#[uretprobe]
pub fn python_created(ctx: RetProbeContext) -> u32 {
    let Some(plan) = python() else { return 0 };
    let address: u64 = ctx.ret();
    if address == 0 {
        return 0;
    }
    learn_base(plan, address);
    let key = scoped(address);
    let Some(id) = give_number(&key) else { return 0 };
    let Ok(creator) = entered(plan) else { return 0 };
    let (link, socket) = step(creator);
    let creator = match creator {
        0 => executor::current(plan),
        address => number(address),
    };
    // Else a thread of its own accord.
    let Some(creator) = creator else { return 0 };
    let mut header = context::header(KIND_LINK);
    header.context = creator;
    header.context_kind = CONTEXT_PYTHON;
    let _lost = ring::send(&Link {
        header,
        other: id,
        site: 0,
        place: socket,
        link,
        reserved: 0,
    });
    0
}

/// Where the interpreter is loaded, from the first context: its type is part of it.
#[inline(always)]
fn learn_base(plan: *const Plan, address: u64) {
    /// Programs and libraries are loaded at pages.
    const PAGE: u64 = 4096;
    let tgid = context::tgid();
    if PYTHON_BASES.get_ptr(&tgid).is_some() {
        return;
    }
    let Some(kind) = kernel::user::<u64>(address.wrapping_add(OB_TYPE)) else {
        return;
    };
    let base = kind.wrapping_sub(word(plan, PY_TYPE));
    if base % PAGE == 0 {
        let _full = PYTHON_BASES.insert(tgid, base, 0);
    }
}

/// At the start of `context_tp_dealloc(self)`: the context is gone, and another may come to lie there.
#[uprobe]
pub fn python_freed(ctx: ProbeContext) -> u32 {
    if python().is_some() {
        let _absent = PYTHON_CONTEXTS.remove(scoped(argument(&ctx)));
    }
    0
}

/// For what the thread makes contexts right now, and the socket it is about.
#[inline(always)]
fn step(creator: u64) -> (u32, u64) {
    let tid = tid();
    let Some(step) = PYTHON_STEPS.get_ptr(&tid) else {
        return (LINK_CREATED, 0);
    };
    // SAFETY: the map gave the pointer.
    let step = unsafe { *step };
    if step.context != creator {
        return (LINK_CREATED, 0);
    }
    if step.once != 0 {
        let _absent = PYTHON_STEPS.remove(&tid);
    }
    (step.link, step.socket)
}

/// The current thread accepted the connection `fd`. asyncio makes a task for each right after that.
#[inline(always)]
pub fn accepted(fd: u64) {
    let Some(plan) = python() else { return };
    match entered(plan) {
        Ok(context) if context != 0 => begin(LINK_ACCEPTED, fd, context, 1),
        _ => {}
    }
}

#[inline(always)]
fn begin(link: u32, fd: u64, context: u64, once: u32) {
    let tid = tid();
    match inode(fd) {
        Some(socket) => {
            let _full = PYTHON_STEPS.insert(
                tid,
                Step {
                    socket,
                    context,
                    link,
                    once,
                },
                0,
            );
        }
        None => {
            let _absent = PYTHON_STEPS.remove(&tid);
        }
    }
}

/// The inode number of a descriptor of the current process.
#[inline(always)]
fn inode(fd: u64) -> Option<u64> {
    let files: u64 = kernel::of_task(offset::task_files());
    // SAFETY: the helper checks every address.
    unsafe {
        let table = Probe::pointer(files as *const _, offset::files_fdt());
        let size: u32 = Probe::read(table, offset::fdt_max());
        if fd >= u64::from(size) {
            return None;
        }
        let array: u64 = Probe::read(table, offset::fdt_fd());
        let file = Probe::read::<u64>((array + fd * 8) as *const _, 0);
        let inode = Probe::pointer(file as *const _, offset::file_inode());
        let number = Probe::read::<u64>(inode, offset::inode_ino());
        (number != 0).then_some(number)
    }
}

/// The descriptor of uvloop's `UVHandle` at `handle`.
#[inline(always)]
fn descriptor(plan: *const Plan, handle: u64) -> Option<(u64, u64)> {
    let stream = kernel::user::<u64>(handle.wrapping_add(word(plan, PY_UVLOOP_HANDLE)))?;
    let fd = kernel::user::<i32>(stream.wrapping_add(word(plan, PY_UVLOOP_FD)))?;
    u64::try_from(fd).ok().map(|fd| (stream, fd))
}

/// At the start of uvloop's `UVStream._initiate_write(self)`: what was written leaves later, from the loop.
#[uprobe]
pub fn uvloop_write(ctx: ProbeContext) -> u32 {
    let Some(plan) = python() else { return 0 };
    let handle = argument(&ctx);
    let Some((stream, fd)) = descriptor(plan, handle) else {
        return 0;
    };
    let id = match entered(plan) {
        Ok(address) if address != 0 => number(address).unwrap_or(0),
        _ => 0,
    };
    let key = scoped(fd);
    let waiting = match PYTHON_WRITES.get_ptr(&key) {
        // SAFETY: the map gave the pointer.
        Some(write) => unsafe { *write },
        None => PythonWrite { stream: 0, context: id },
    };
    // Two that write at once cannot be told apart in what leaves.
    let one = waiting.stream != stream || waiting.context == id;
    let write = PythonWrite {
        stream,
        context: if one { id } else { 0 },
    };
    let _full = PYTHON_WRITES.insert(key, write, 0);
    0
}

/// The context that asked for the write the current thread is in, once for each; 0 where it is not known.
#[inline(always)]
fn asked(plan: *const Plan) -> Option<u64> {
    // The verifier knows the setting and never looks further where the helper is missing.
    if offset::typed_task() == 0 {
        return None;
    }
    let registers = Registers::current();
    let number = registers.number();
    if !matches!(number, call::WRITE | call::WRITEV | call::SENDTO | call::SENDMSG) || !registers.inside_call() {
        return None;
    }
    let fd = registers.arguments()[0] & 0xffff_ffff;
    let key = scoped(fd);
    let write = PYTHON_WRITES.get_ptr(&key)?;
    // SAFETY: the map gave the pointer.
    let PythonWrite { stream, context } = unsafe { *write };
    let _absent = PYTHON_WRITES.remove(key);
    // The stream may have been closed, and the descriptor be another's.
    let now = kernel::user::<i32>(stream.wrapping_add(word(plan, PY_UVLOOP_FD)));
    (now == Some(fd as i32)).then_some(context)
}

/// At the start of uvloop's `__uv_stream_on_read(stream, nread, buf)`: what was just read is handed to the protocol, in the
/// transport's context, which all connections of a server share.
#[uprobe]
pub fn uvloop_read(ctx: ProbeContext) -> u32 {
    let Some(plan) = python() else { return 0 };
    let stream = argument(&ctx);
    // `uv_handle_t` begins with the owner's pointer.
    if let Some(handle) = kernel::user::<u64>(stream) {
        transport(plan, handle, LINK_READ);
    }
    0
}

/// At the start of uvloop's `UVBaseTransport._call_connection_made(self)`.
#[uprobe]
pub fn uvloop_connected(ctx: ProbeContext) -> u32 {
    if let Some(plan) = python() {
        transport(plan, argument(&ctx), LINK_ACCEPTED);
    }
    0
}

/// At the start of uvloop's `Handle._run(self)`: whatever went before is over.
#[uprobe]
pub fn uvloop_runs(_ctx: ProbeContext) -> u32 {
    if python().is_some() {
        let _absent = PYTHON_STEPS.remove(tid());
    }
    0
}

#[inline(always)]
fn transport(plan: *const Plan, handle: u64, link: u32) {
    let context = kernel::user::<u64>(handle.wrapping_add(word(plan, PY_UVLOOP_CONTEXT)));
    if let (Some(context), Some((_, fd))) = (context, descriptor(plan, handle)) {
        begin(link, fd, context, 0);
    }
}
