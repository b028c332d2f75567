//! Contexts that a runtime tells itself, through the hook that `clew run` handed to it: see `clew_common::assist`.
use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_probe_read_user};
use clew_common::assist::{ASKED, ASKED_BYTES, BYTES, JAVA, JAVA_UNKNOWN, MAGIC, fold, id};
use clew_common::event::{
    ASKS, Asks, CONTEXT_HANDED, CONTEXT_NODE, CONTEXT_THREAD, CONTEXT_UNKNOWN, EGRESS, Header, KIND_ASKS, KIND_DATA,
};
use clew_common::settings::TARGET_ASSISTED;

use crate::connection::{Mode, Socket};
use crate::maps::{WORDS, Words};
use crate::operation::Memory;
use crate::verifier::opaque;
use crate::{context, kernel, ring};

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
        let _full = WORDS.insert(&thread(), &Words { address, told: 0 }, 0);
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
    let Some(([writes, reads], asked)) = current() else {
        return NONE;
    };
    if reads & JAVA != 0 {
        return match if direction == EGRESS { writes } else { reads & !JAVA } {
            0 | JAVA_UNKNOWN => (CONTEXT_UNKNOWN, 0),
            context => (CONTEXT_HANDED, context),
        };
    }
    if direction == EGRESS {
        if asked != reads {
            assist_asked(reads);
        }
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

/// The context for which the thread gives plaintext to a library, where it tells it. What Node.js takes from one, up to the offset `end`
/// of the session's plaintext, is of a context that the agent names by that: here the connection's addresses are not known.
#[inline(always)]
pub fn told_plain(direction: u8, end: u64) -> Context {
    if !assisted() {
        return NONE;
    }
    let Some(([writes, reads], asked)) = current() else {
        return NONE;
    };
    if direction != EGRESS {
        return if reads & JAVA == 0 { (CONTEXT_NODE, end) } else { NONE };
    }
    if reads & JAVA == 0 && asked != reads {
        assist_asked(reads);
    }
    by_words(writes, reads)
}

/// The context in which the thread writes to its logs, where it tells it.
#[inline(always)]
pub fn told_log() -> Context {
    if !assisted() {
        return NONE;
    }
    match current() {
        Some(([writes, reads], _)) => by_words(writes, reads),
        None => NONE,
    }
}

/// The context of what is written under these words.
#[inline(always)]
fn by_words(writes: u64, reads: u64) -> Context {
    match writes {
        0 | JAVA_UNKNOWN => (CONTEXT_UNKNOWN, 0),
        context if reads & JAVA != 0 => (CONTEXT_HANDED, context),
        context => (CONTEXT_NODE, context),
    }
}

/// Tells which streams of HTTP/2 the thread asked for since it was looked at, of the `asked` in all: before the write that may carry them.
/// Of more than are kept the first are not known.
///
/// A global function: the verifier looks at it once by itself, not anew in every state of its callers.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn assist_asked(asked: u64) -> u64 {
    // The first record may begin, and the last end, amid what one has room for.
    let mut told = 0;
    while told <= ASKED / ASKS as u64 && assist_tell_asked(asked) != 0 {
        told += 1;
    }
    0
}

/// Tells of the next of them, as many as one record has room for; of none where they cannot be read. Whether there are more.
///
/// A global function as well: within the loop every step would begin in as many states as the one before ended in, which are a million
/// instructions for Linux 6.1.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn assist_tell_asked(asked: u64) -> u64 {
    let Some(entry) = WORDS.get_ptr_mut(&thread()) else {
        return 0;
    };
    // SAFETY: the map gave the pointer, and only this thread uses the entry.
    let (address, mut number) = unsafe { ((*entry).address, (*entry).told) };
    if asked.wrapping_sub(number) > ASKED {
        number = asked.wrapping_sub(ASKED);
    }
    let room = ASKS as u64 - number % ASKS as u64;
    let left = asked.wrapping_sub(number);
    let count = if left < room { left } else { room };
    if count == 0 {
        return 0;
    }
    let place = address + BYTES + (number % ASKED) * ASKED_BYTES;
    ring::fill_deep(|record: *mut Asks| {
        // SAFETY: the record was reserved for one, and the helper checks the address.
        unsafe {
            (*record).header = context::header(KIND_ASKS);
            (*record).header.context_kind = CONTEXT_NODE;
            (*record).count = count as u32;
            (*record).reserved = 0;
            let size = u64::from((&raw const (*record).count).read_volatile()) * ASKED_BYTES;
            let size = opaque(size);
            let asked = (&raw mut (*record).asked).cast();
            if size > ASKS as u64 * ASKED_BYTES || bpf_probe_read_user(asked, size as u32, place as *const c_void) != 0
            {
                (*record).count = 0;
            }
        }
    });
    // SAFETY: as above.
    unsafe { (*entry).told = number.wrapping_add(count) };
    left - count
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

/// What the thread's words say, if it has some, zeros where they are no words any more; and how many streams were told of those it asked
/// for.
#[inline(always)]
fn current() -> Option<([u64; 2], u64)> {
    let entry = WORDS.get_ptr(&thread())?;
    // SAFETY: the map gave the pointer.
    let (address, told) = unsafe { ((*entry).address, (*entry).told) };
    Some((words(address).unwrap_or_default(), told))
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
