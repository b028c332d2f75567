//! Contexts that a runtime tells itself, through the hook that `clew run` handed to it: see `clew_common::assist`.
use aya_ebpf::helpers::generated::bpf_get_current_pid_tgid;
use clew_common::assist::{BYTES, JAVA, JAVA_UNKNOWN, MAGIC, fold, id};
use clew_common::event::{CONTEXT_HANDED, CONTEXT_NODE, CONTEXT_THREAD, CONTEXT_UNKNOWN, EGRESS, Header, KIND_DATA};
use clew_common::settings::TARGET_ASSISTED;

use crate::connection::{Mode, Socket};
use crate::maps::WORDS;
use crate::operation::Memory;
use crate::{context, kernel};

/// A context: what kind of number it is, a `CONTEXT_` constant, and the number.
pub type Context = (u16, u64);

/// The thread tells nothing.
pub const NONE: Context = (CONTEXT_THREAD, 0);

/// The thread sent `memory` on a socket that is no stream: remembers where its words lie, if that is what it holds.
#[inline(always)]
pub fn listen(memory: impl FnOnce() -> Memory) {
    if !assisted() {
        return;
    }
    let memory = memory();
    let (mut address, mut room) = (memory.base, memory.room);
    if memory.vector != 0 {
        address = kernel::user(memory.vector).unwrap_or(0);
        room = kernel::user(memory.vector + 8).unwrap_or(0);
    }
    if room == BYTES && address != 0 && words(address).is_some() {
        let _full = WORDS.insert(&thread(), &address, 0);
    }
}

/// The context of an operation on `socket` that took its direction to offset `end`, where the thread tells it.
///
/// A write is of the context that stands in the words, and else of one that is not known. A read is, in Java, of the context that
/// stands in the words as well; in Node.js of the one that begins if the read completes the head of a request.
///
/// # Safety
/// The socket was made in mode `M`.
#[inline(always)]
pub unsafe fn told<M: Mode>(socket: Socket, direction: u8, end: u64) -> Context {
    if !assisted() {
        return NONE;
    }
    let Some(address) = WORDS.get_ptr(&thread()) else {
        return NONE;
    };
    // SAFETY: the map gave the pointer.
    let [writes, reads] = words(unsafe { *address }).unwrap_or_default();
    if reads & JAVA != 0 {
        return match if direction == EGRESS { writes } else { reads & !JAVA } {
            0 | JAVA_UNKNOWN => (CONTEXT_UNKNOWN, 0),
            context => (CONTEXT_HANDED, context),
        };
    }
    if direction == EGRESS {
        return match writes {
            0 => (CONTEXT_UNKNOWN, 0),
            context => (CONTEXT_NODE, context),
        };
    }
    // SAFETY: the caller vouches for the mode.
    match unsafe { socket.remote::<M>() } {
        Some((remote, local, address)) => (CONTEXT_NODE, id(remote, local, fold(address), end)),
        None => (CONTEXT_UNKNOWN, 0),
    }
}

/// The context for which the thread gives plaintext to a library, where it tells it.
#[inline(always)]
pub fn told_plain(direction: u8) -> Context {
    if direction != EGRESS || !assisted() {
        return NONE;
    }
    let Some(address) = WORDS.get_ptr(&thread()) else {
        return NONE;
    };
    // SAFETY: the map gave the pointer.
    let [writes, reads] = words(unsafe { *address }).unwrap_or_default();
    match writes {
        0 | JAVA_UNKNOWN => (CONTEXT_UNKNOWN, 0),
        context if reads & JAVA != 0 => (CONTEXT_HANDED, context),
        context => (CONTEXT_NODE, context),
    }
}

/// The context in which the thread writes to its logs, where it tells it.
#[inline(always)]
pub fn told_log() -> Context {
    told_plain(EGRESS)
}

/// The header of an operation's record: with the context that the thread tells, else with the one that can be read.
#[inline(always)]
pub fn header(told: Context) -> Header {
    let mut header = context::header(KIND_DATA);
    (header.context_kind, header.context) = or_read(told);
    header
}

/// The context that the thread tells, else the one that can be read.
#[inline(always)]
pub fn or_read(told: Context) -> Context {
    let read = context::here();
    if told.0 == CONTEXT_THREAD { read } else { told }
}

/// The current thread is over, or its memory.
#[inline(always)]
pub fn forget() {
    let _absent = WORDS.remove(&thread());
}

/// What stands in the words at `address`; none if they are no words.
#[inline(always)]
fn words(address: u64) -> Option<[u64; 2]> {
    // Read in halves, which share their place on the stack.
    let [first, second] = kernel::user::<[u64; 2]>(address)?;
    if first != MAGIC[0] || second != MAGIC[1] {
        return None;
    }
    kernel::user::<[u64; 2]>(address + 16)
}

#[inline(always)]
fn assisted() -> bool {
    // SAFETY: the map gave the pointer.
    context::target().is_some_and(|target| unsafe { *target & TARGET_ASSISTED != 0 })
}

#[inline(always)]
fn thread() -> u32 {
    // SAFETY: no arguments.
    unsafe { bpf_get_current_pid_tgid() as u32 }
}
