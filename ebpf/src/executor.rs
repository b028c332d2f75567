//! Python's pools of threads: whose work a thread does.
//!
//! `concurrent.futures` hands work to threads as objects in a queue: what one thread puts there, another takes out. Each piece of
//! work is a context, made by whoever puts it there, and the thread that took it runs in it until it takes the next. An object
//! lives at least until it is taken, so its address is its own until then.
//!
//! Other things in queues may be anything, also connections that pass from one request to the next: they say nothing.
use aya_ebpf::macros::{uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use clew_common::context::{PY_POOLS, Plan};
use clew_common::event::{CONTEXT_PYTHON, CONTEXT_THREAD, KIND_LINK, LINK_SUBMITTED, LINK_WITHIN, Link};

use crate::arch::argument;
use crate::context::{scoped, word};
use crate::maps::{PYTHON_WORK, PYTHON_WORKERS, Work, Worker, remember};
use crate::python::{self, OB_TYPE, python, tid};
use crate::{context, kernel, ring};

/// `PyTypeObject.tp_name`.
const TP_NAME: u64 = 24;
/// `_WorkItem`, the class of what `ThreadPoolExecutor` puts into its queue, and the end of the name.
const NAME: (u64, u16) = (u64::from_le_bytes(*b"_WorkIte"), u16::from_le_bytes(*b"m\0"));
/// The bit of a count of arguments that is not part of it.
const ARGUMENTS_OFFSET: u64 = 1 << 63;
/// Arguments of `SimpleQueue.put`.
const MOST_ARGUMENTS: u64 = 3;

/// The work the current thread does.
#[inline(always)]
pub fn current(plan: *const Plan) -> Option<u64> {
    if word(plan, PY_POOLS) == 0 {
        return None;
    }
    let worker = PYTHON_WORKERS.get_ptr(&tid())?;
    // SAFETY: the map gave the pointer.
    Some(unsafe { (*worker).work.id })
}

/// The current thread runs in `context`: tells it, once, if it does so for a piece of work.
#[inline(always)]
pub fn within(plan: *const Plan, running: u64) {
    if word(plan, PY_POOLS) == 0 {
        return;
    }
    let Some(worker) = PYTHON_WORKERS.get_ptr_mut(&tid()) else {
        return;
    };
    // SAFETY: the map gave the pointer.
    let Worker { work, told } = unsafe { *worker };
    if told != running {
        // SAFETY: the map gave the pointer.
        unsafe { (*worker).told = running };
        link((CONTEXT_PYTHON, running), work.id, LINK_WITHIN);
    }
}

/// The current thread is over.
#[inline(always)]
pub fn forget() {
    let _absent = PYTHON_WORKERS.remove(tid());
}

/// At the start of `_queue.SimpleQueue.put(self, *args)` and `put_nowait`, functions of the kind
/// `METH_FASTCALL | METH_KEYWORDS`.
#[uprobe]
pub fn python_put(ctx: ProbeContext) -> u32 {
    let Some(plan) = python() else { return 0 };
    let (queue, arguments) = (argument(&ctx, 0), argument(&ctx, 1));
    let count = argument(&ctx, 2) & !ARGUMENTS_OFFSET;
    if count == 0 {
        // They come by name, in whatever order. Whose they are is unknown, and not whose they were.
        for index in 0..MOST_ARGUMENTS {
            if let Some(item) = kernel::user::<u64>(arguments + index * 8) {
                let _absent = PYTHON_WORK.remove(scoped(item));
            }
        }
        return 0;
    }
    let Some(item) = kernel::user::<u64>(arguments) else {
        return 0;
    };
    if is_work(item) {
        put(plan, queue, item);
    } else {
        // Who empties the queue of a pool, or leaves the pool, tells the threads of it that way.
        let tid = tid();
        if let Some(worker) = PYTHON_WORKERS.get_ptr(&tid)
            // SAFETY: the map gave the pointer.
            && unsafe { (*worker).work.queue } == queue
        {
            let _absent = PYTHON_WORKERS.remove(tid);
        }
    }
    0
}

#[inline(always)]
fn put(plan: *const Plan, queue: u64, item: u64) {
    let id = python::new_number();
    let key = scoped(item);
    if !remember(&PYTHON_WORK, &key, &Work { id, queue }) {
        let _absent = PYTHON_WORK.remove(key);
        return;
    }
    match python::running(plan) {
        python::Current::Context(running) => link((CONTEXT_PYTHON, running), id, LINK_SUBMITTED),
        python::Current::Thread => link((CONTEXT_THREAD, 0), id, LINK_SUBMITTED),
        python::Current::Unknown => {}
    }
}

/// Behind `_queue.SimpleQueue.get(self, *args)` and `get_nowait`: the result was taken out.
#[uretprobe]
pub fn python_taken(ctx: RetProbeContext) -> u32 {
    if python().is_none() {
        return 0;
    }
    let item: u64 = ctx.ret();
    if item == 0 {
        return 0;
    }
    let key = scoped(item);
    match PYTHON_WORK.get_ptr(&key) {
        Some(work) => {
            // SAFETY: the map gave the pointer.
            let work = unsafe { *work };
            let _absent = PYTHON_WORK.remove(key);
            if PYTHON_WORKERS.insert(tid(), Worker { work, told: 0 }, 0).is_err() {
                forget();
            }
        }
        // Put there before anyone looked.
        None if is_work(item) => forget(),
        None => {}
    }
    0
}

/// Whether an object is of the class that pools put into their queues.
#[inline(always)]
fn is_work(object: u64) -> bool {
    let name = kernel::user::<u64>(object.wrapping_add(OB_TYPE))
        .and_then(|class| kernel::user::<u64>(class.wrapping_add(TP_NAME)));
    let Some(name) = name else { return false };
    kernel::user::<u64>(name) == Some(NAME.0) && kernel::user::<u16>(name.wrapping_add(8)) == Some(NAME.1)
}

#[inline(always)]
fn link((kind, id): (u16, u64), other: u64, link: u32) {
    let mut header = context::header(KIND_LINK);
    header.context = id;
    header.context_kind = kind;
    // In place and without a call: this runs deep below programs whose stack is nearly spent.
    ring::fill_deep(|record: *mut Link| {
        // SAFETY: the record was reserved for a link. Written by parts, and none left out: LLVM would call memset for what is zero.
        unsafe {
            (*record).header = header;
            (*record).other = other;
            (&raw mut (*record).site).write_volatile(0);
            (&raw mut (*record).place).write_volatile(0);
            (*record).link = link;
            (*record).reserved = 0;
        }
    });
}
