//! Where in its program a thread is that asks others, or serves them: the frames of Go, of Python's interpreter, or of compiled code ([`unwind`]).
//!
//! A stack is told whole once and by its number from then on: a program asks from few places.
use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_get_task_stack, bpf_ktime_get_ns};
use clew_common::context::{PLAN_GO, PLAN_PYTHON};
use clew_common::counter;
use clew_common::event::{KIND_STACK, STACK_COMPILED, STACK_GO, STACK_ONCE, STACK_PYTHON, STACK_WORDS, Stack};
use clew_common::trail::{SEED, mix};

use crate::context::{scoped, word};
use crate::maps::{GO_STACKS, STACK, STACKS, UNWIND};
use crate::unwind::Walked;
use crate::{context, golang, kernel, python, ring, settings, unwind};

/// `BPF_F_USER_STACK`.
const USER_STACK: u64 = 1 << 8;

/// Tells in front of an operation on the connection `conn`, or of none if that is 0, where the current thread is. The name of the stack; 0
/// where nothing is told.
///
/// A global function: the verifier looks at it once by itself, not anew in every state of its callers.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn tell_stack(conn: u64) -> u64 {
    let Some(plan) = context::plan() else { return 0 };
    // SAFETY: the map gave the pointer.
    let kind = unsafe { (*plan).kind };
    if kind == PLAN_GO {
        let running = golang::goroutine(plan).unwrap_or(0);
        let asker = golang::current(plan).unwrap_or(0);
        if running != asker {
            // It writes what others ask: its own stack says nothing.
            if let Some(hash) = GO_STACKS.get_ptr(&scoped(asker)) {
                // SAFETY: the map gave the pointer.
                let hash = unsafe { *hash };
                let _absent = GO_STACKS.remove(&scoped(asker));
                let Some(stack) = STACK.get_ptr_mut(0) else { return 0 };
                // SAFETY: the map gave the pointer, and nothing interrupts a program on its CPU that uses it.
                unsafe {
                    (*stack).conn = conn;
                    (*stack).hash = hash;
                    (*stack).n_words = 0;
                    (*stack).language = STACK_GO;
                    send(stack);
                }
                return hash;
            }
            return 0;
        }
        let Some(stack) = STACK.get_ptr_mut(0) else { return 0 };
        // SAFETY: the map gave the pointer.
        unsafe {
            if take_addresses(stack) != 0 {
                return tell(stack, conn, u64::from(context::tgid()));
            }
        }
    } else if kind == PLAN_PYTHON {
        let Some(stack) = STACK.get_ptr_mut(0) else { return 0 };
        if take_python() != 0 {
            // SAFETY: the map gave the pointer.
            return unsafe { tell(stack, conn, u64::from(context::tgid())) };
        }
    } else if settings::typed_task() != 0 {
        return tell_compiled(conn);
    }
    0
}

/// Tells of the stack of compiled code. Its name; 0 where nothing is told.
#[inline(always)]
fn tell_compiled(conn: u64) -> u64 {
    let Some(rest) = UNWIND.get_ptr_mut(0) else { return 0 };
    // SAFETY: the map gave the pointer, and nothing interrupts a program on its CPU that uses it.
    unsafe {
        let walked = unwind::walk(rest);
        let stack = &raw mut (*rest).stack;
        (*stack).language = STACK_COMPILED;
        match walked {
            Walked::Again => {
                (*stack).conn = conn;
                (*stack).n_words = 0;
                send(stack);
                (*stack).hash
            }
            Walked::Whole => {
                let name = tell(stack, conn, (*stack).layout);
                unwind::keep_trail(name);
                name
            }
            Walked::Asking => {
                (*stack).conn = conn;
                let hash = number(stack, bpf_ktime_get_ns()) | STACK_ONCE;
                (*stack).hash = hash;
                unwind::ask(rest);
                hash
            }
            Walked::Silent => 0,
        }
    }
}

/// Tells of where the current goroutine is, `id`, which has another send its request: see [`golang::go_asks`]. Zero.
///
/// It builds the record in the ring buffer: a probe in user code may be preempted, and another's would write over a map's.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn keep_stack(id: u64) -> u64 {
    ring::fill_if(|stack: *mut Stack| {
        // SAFETY: the record was reserved for one.
        unsafe {
            (*stack).header = context::header(KIND_STACK);
            (*stack).conn = 0;
            (*stack).layout = 0;
            if take_addresses(stack) == 0 {
                return false;
            }
            let hash = number(stack, u64::from(context::tgid()));
            (*stack).hash = hash;
            let _full = GO_STACKS.insert(scoped(id), hash, 0);
            if STACKS.get_ptr(&hash).is_some() {
                return false;
            }
            let _full = STACKS.insert(&hash, &1, 0);
            ring::count(counter::STACKS, 1);
            true
        }
    });
    0
}

/// Takes the addresses on the stack of the current thread, by frame pointers. How many words they are.
///
/// # Safety
/// `stack` is memory for one.
#[inline(always)]
unsafe fn take_addresses(stack: *mut Stack) -> u64 {
    if settings::typed_task() == 0 {
        return 0;
    }
    // SAFETY: the caller vouches for the pointer, and the helper writes no more than is there.
    unsafe {
        let words: *mut c_void = (&raw mut (*stack).words).cast();
        let size = (STACK_WORDS * 8) as u32;
        let taken = bpf_get_task_stack(bpf_get_current_task_btf() as *mut _, words, size, USER_STACK);
        (*stack).layout = 0;
        (*stack).language = STACK_GO;
        (*stack).n_words = if taken > 0 { (taken / 8) as u32 } else { 0 };
        u64::from((*stack).n_words)
    }
}

/// Takes the frames of the interpreter. How many words they are.
#[inline(always)]
fn take_python() -> u64 {
    let (Some(plan), Some(stack)) = (context::plan(), STACK.get_ptr_mut(0)) else {
        return 0;
    };
    let layout = word(plan, clew_common::context::PY_FRAMES);
    if layout == 0 {
        return 0;
    }
    let Some(mut frame) = python::frame(plan, layout) else {
        return 0;
    };
    let mut count = 0_usize;
    while count < STACK_WORDS / 2 {
        if frame == 0 {
            break;
        }
        let code = kernel::user::<u64>(frame + (layout >> 16 & 0xff)).unwrap_or(0);
        let instruction = kernel::user::<u64>(frame + (layout >> 32 & 0xff)).unwrap_or(0);
        if code == 0 {
            break;
        }
        // SAFETY: the map gave the pointer, and the place is within.
        unsafe {
            (*stack).words[count * 2] = code;
            (*stack).words[count * 2 + 1] = instruction;
        }
        frame = kernel::user::<u64>(frame + (layout >> 24 & 0xff)).unwrap_or(0);
        count += 1;
    }
    // SAFETY: the map gave the pointer.
    unsafe {
        (*stack).layout = layout;
        (*stack).language = STACK_PYTHON;
        (*stack).n_words = (count * 2) as u32;
    }
    (count * 2) as u64
}

/// Tells in front of an operation on the connection `conn` of a stack of the memory `space`. Its name.
///
/// # Safety
/// `stack` was taken, and nobody else uses it.
#[inline(always)]
unsafe fn tell(stack: *mut Stack, conn: u64, space: u64) -> u64 {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        let hash = number(stack, space);
        (*stack).conn = conn;
        (*stack).hash = hash;
        if STACKS.get_ptr(&hash).is_some() {
            (*stack).n_words = 0;
            send(stack);
        } else if send(stack) {
            let _full = STACKS.insert(&hash, &1, 0);
        }
        hash
    }
}

/// The name of a stack: one of its words and whose they are.
///
/// # Safety
/// `stack` was taken.
#[inline(always)]
unsafe fn number(stack: *const Stack, space: u64) -> u64 {
    let mut hash = SEED ^ space;
    let mut at = 0_usize;
    // SAFETY: the caller vouches for the pointer, and each place is within.
    unsafe {
        let words = (*stack).n_words as usize;
        while at < STACK_WORDS {
            if at >= words {
                break;
            }
            hash = mix(hash, (*stack).words[at]);
            at += 1;
        }
    }
    hash & !STACK_ONCE
}

/// Writes the record of a stack, without its words where it was told before. Whether it was written.
///
/// # Safety
/// `stack` was taken, and nobody else uses it.
#[inline(always)]
unsafe fn send(stack: *mut Stack) -> bool {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        (*stack).header = context::header(KIND_STACK);
        if (*stack).n_words == 0 {
            return ring::write(stack, core::mem::offset_of!(Stack, words) as u64);
        }
        ring::count(counter::STACKS, 1);
        ring::write_now(stack, size_of::<Stack>() as u64)
    }
}
