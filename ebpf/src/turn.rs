//! Counts how often a thread asks for readiness: what an event loop does between two batches of callbacks.
use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_get_current_pid_tgid;
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;

use clew_common::event::{TURN_MANY, TURN_POLLED};

use crate::connection::Mode as _;
use crate::kernel::{self, Probe, Reader as _};
use crate::maps::TURNS;
use crate::{context, descriptor, settings as offset};

/// Offset of the first argument in the record of a `syscalls` tracepoint; each has eight bytes.
const ARGUMENTS: usize = 16;
/// Descriptors of one poll(2) that are looked at; who waits for more serves several.
const MOST_POLLED: u64 = 16;
/// Words of a `fd_set` (`FD_SETSIZE` bits).
const SET_WORDS: u64 = 16;
const SET_BITS: u64 = SET_WORDS * 64;

#[inline(always)]
fn argument(ctx: &TracePointContext, index: usize) -> u64 {
    // SAFETY: the record of a `syscalls` tracepoint has six arguments.
    unsafe { ctx.read_at::<u64>(ARGUMENTS + 8 * index) }.unwrap_or(0)
}

/// `syscalls/sys_enter_epoll_wait` and its kin.
#[tracepoint]
pub fn readiness(ctx: TracePointContext) -> u32 {
    if !context::traced() {
        return 0;
    }
    let many = if argument(&ctx, 2) == 1 { 0 } else { TURN_MANY };
    asked(|before| (before & TURN_MANY) | many, many);
    0
}

/// `syscalls/sys_enter_poll` and `sys_enter_ppoll`. Blocking clients wait for one socket, some beside a descriptor that wakes
/// them; only who waits for a client or for new ones beside others may run a loop.
#[tracepoint]
pub fn polls(ctx: TracePointContext) -> u32 {
    if !context::traced() {
        return 0;
    }
    let (array, length) = (argument(&ctx, 0), argument(&ctx, 1) & 0xffff_ffff);
    if length < 2 {
        return 0;
    }
    let (mut watched, mut clients) = (0_u32, length > MOST_POLLED);
    let mut index = 0;
    while !clients && index < MOST_POLLED {
        if index >= length {
            break;
        }
        // struct pollfd: a descriptor, then two masks.
        match kernel::user::<i32>(array + index * 8) {
            Some(fd) if fd < 0 => {}
            Some(fd) => {
                watched += 1;
                clients |= watches_clients(fd as u64) != 0;
            }
            // What cannot be read may be anything.
            None => clients = true,
        }
        index += 1;
    }
    // The rest of a set that has a client in it need not be read to know that there is more than one.
    if clients && (watched > 1 || index < length) {
        polled();
    }
    0
}

/// `syscalls/sys_enter_select` and `sys_enter_pselect6`.
#[tracepoint]
pub fn selects(ctx: TracePointContext) -> u32 {
    if !context::traced() {
        return 0;
    }
    let (size, read, write) = (argument(&ctx, 0) & 0xffff_ffff, argument(&ctx, 1), argument(&ctx, 2));
    let (mut several, mut one) = (size > SET_BITS, false);
    let mut index = 0;
    while !several && index < SET_WORDS {
        if index * 64 >= size {
            break;
        }
        let mut bits = word(read, index) | word(write, index);
        let rest = size - index * 64;
        if rest < 64 {
            bits &= (1 << rest) - 1;
        }
        if bits != 0 {
            several = one || bits & (bits - 1) != 0;
            one = true;
        }
        index += 1;
    }
    if several {
        polled();
    }
    0
}

#[inline(always)]
fn word(set: u64, index: u64) -> u64 {
    if set == 0 {
        return 0;
    }
    kernel::user::<u64>(set + index * 8).unwrap_or(u64::MAX)
}

/// Whether a descriptor is a socket that brings requests: one that listens, or that the other end opened.
///
/// A global function: the verifier looks at it once by itself, not anew in every state of its callers.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn watches_clients(fd: u64) -> i64 {
    const AF_UNIX: u16 = 1;
    const IPPROTO_TCP: u16 = 6;
    const TCP_SYN_SENT: u8 = 2;
    const TCP_LISTEN: u8 = 10;
    let Some(sk) = descriptor::socket(fd).filter(|sk| !sk.is_null()) else {
        return 0;
    };
    // SAFETY: the helper checks every address.
    unsafe {
        let state: u8 = Probe::read(sk, offset::sk_state());
        if state == TCP_LISTEN {
            return 1;
        }
        let family: u16 = Probe::read(sk, offset::sk_family());
        if family == AF_UNIX {
            // Who accepts gets the name of the socket that listens; who connects or makes a pair has none.
            let name: *const c_void = Probe::pointer(sk, offset::unix_addr());
            return i64::from(!name.is_null());
        }
        if state == TCP_SYN_SENT || Probe::read::<u16>(sk, offset::sk_protocol()) != IPPROTO_TCP {
            return 0;
        }
        i64::from(!Probe::narrow(sk, family).opened_here())
    }
}

/// The thread waits with poll or select for several descriptors.
#[inline(always)]
fn polled() {
    // One that waits with epoll as well is a loop, however many it asks for there.
    asked(|before| TURN_MANY | (before & TURN_POLLED), TURN_MANY | TURN_POLLED);
}

/// Counts a round: `again` makes the flags from those before, `first` are the flags of a thread that never asked.
#[inline(always)]
fn asked(again: impl FnOnce(u32) -> u32, first: u32) {
    const COUNT: u32 = !(TURN_MANY | TURN_POLLED);
    // SAFETY: no arguments.
    let tid = unsafe { bpf_get_current_pid_tgid() } as u32;
    if let Some(turn) = TURNS.get_ptr_mut(&tid) {
        // SAFETY: only the thread itself writes its entry. A count of 0 means that there was none, and is skipped when the
        // count wraps.
        unsafe {
            let next = (*turn & COUNT).wrapping_add(1) & COUNT;
            *turn = (if next == 0 { 1 } else { next }) | again(*turn);
        }
    } else {
        let _full = TURNS.insert(tid, 1 | first, 0);
    }
}
