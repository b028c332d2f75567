//! Counts how often a thread asks for readiness: what an event loop does between two batches of callbacks.
use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_get_current_pid_tgid;
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;

use clew_common::context::PLAN_PYTHON;
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
    /// Events that Python's own object for epoll asks for where a program does not say how many (`FD_SETSIZE - 1`). A loop that
    /// is part of Python asks for as many as it watches.
    const UNSAID: u64 = 1023;
    let many = match argument(&ctx, 2) & 0xffff_ffff {
        1 => 0,
        UNSAID if in_python() && watches_one(argument(&ctx, 0)) != 0 => 0,
        _ => TURN_MANY,
    };
    asked(|before| (before & TURN_MANY) | many, many);
    0
}

#[inline(always)]
fn in_python() -> bool {
    // SAFETY: the map gave the pointer.
    context::plan().is_some_and(|plan| unsafe { (*plan).kind == PLAN_PYTHON })
}

/// Whether a set of epoll's watches no more than one connection to a server, beside what wakes who waits: a client that blocks,
/// such as pika's. A set is a tree (`struct eventpoll`, `fs/eventpoll.c`); one of more than three descriptors is not looked through.
///
/// A global function, as [`watches_clients`] is.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn watches_one(set: u64) -> i64 {
    let Some(file) = descriptor::file(set).filter(|file| !file.is_null()) else {
        return 0;
    };
    // SAFETY: the helper checks every address.
    let (root, left, right) = unsafe {
        let set = Probe::pointer(file, offset::file_private());
        let root = Probe::pointer(set, offset::epoll_items());
        (root, child(root, LEFT), child(root, RIGHT))
    };
    // SAFETY: as above.
    let deeper = unsafe {
        !child(left, LEFT).is_null()
            || !child(left, RIGHT).is_null()
            || !child(right, LEFT).is_null()
            || !child(right, RIGHT).is_null()
    };
    i64::from(!deeper && watched(root) + watched(left) + watched(right) <= 1)
}

/// Offsets of the children in a `struct rb_node` (`include/linux/rbtree_types.h`).
const RIGHT: u32 = 8;
const LEFT: u32 = 16;

/// A child in a tree; null where there is none.
///
/// # Safety
/// `node` is a kernel pointer or null.
#[inline(always)]
unsafe fn child(node: *const c_void, side: u32) -> *const c_void {
    if node.is_null() {
        return node;
    }
    // SAFETY: the caller vouches for it.
    unsafe { Probe::pointer(node, side) }
}

/// What an entry of a set (`struct epitem`, which begins with its node) counts for: nothing if it wakes who waits, one if it is a
/// connection to a server, and more than can be for anything else.
#[inline(always)]
fn watched(item: *const c_void) -> i64 {
    if item.is_null() {
        return 0;
    }
    // SAFETY: the helper checks every address.
    weighs(unsafe { Probe::read::<u32>(item, offset::epoll_item_fd()) }.into())
}

/// The same of a descriptor. What wakes who waits is a pair of sockets: without a name or, as in pika, of TCP, one end of which was
/// accepted as a client's is. The other end is a descriptor that was made with it.
///
/// A global function, as [`watches_clients`] is.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn weighs(fd: u64) -> i64 {
    const AF_UNIX: u16 = 1;
    const AF_INET: u16 = 2;
    const IPPROTO_TCP: u16 = 6;
    const TOO_MUCH: i64 = 100;
    let Some(sk) = descriptor::socket(fd).filter(|sk| !sk.is_null()) else {
        return TOO_MUCH;
    };
    let brings = watches_clients(fd) != 0;
    // SAFETY: the helper checks every address.
    let (family, protocol) = unsafe {
        (
            Probe::read::<u16>(sk, offset::sk_family()),
            Probe::read::<u16>(sk, offset::sk_protocol()),
        )
    };
    let paired = family == AF_INET && brings && has_other_end(fd);
    match (family, protocol, brings) {
        (AF_UNIX, _, false) => 0,
        (_, IPPROTO_TCP, _) if paired => 0,
        (_, IPPROTO_TCP, false) => 1,
        _ => TOO_MUCH,
    }
}

/// Whether the other end of a descriptor's connection is this process's own, and was made with it: several threads may make theirs at once.
#[inline(always)]
fn has_other_end(fd: u64) -> bool {
    /// Descriptors that are looked at, on either side.
    const NEAR: u64 = 8;
    let mut distance = 1;
    while distance <= NEAR {
        if are_ends(fd, fd.wrapping_sub(distance)) != 0 || are_ends(fd, fd.wrapping_add(distance)) != 0 {
            return true;
        }
        distance += 1;
    }
    false
}

/// Whether two descriptors are the two ends of one connection over IPv4.
///
/// A global function, as [`watches_clients`] is.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn are_ends(one: u64, other: u64) -> i64 {
    let (Some(one), Some(other)) = (descriptor::socket(one), descriptor::socket(other)) else {
        return 0;
    };
    // SAFETY: the helper checks every address, and reads zeros where there is nothing.
    let (here, there, from, to) = unsafe { (name(one), peer(one), name(other), peer(other)) };
    i64::from(here == to && there == from && here.1 != 0)
}

/// Address and port of a socket, in network order.
///
/// # Safety
/// `sk` is a kernel pointer or null.
#[inline(always)]
unsafe fn name(sk: *const c_void) -> (u32, u16) {
    // SAFETY: the caller vouches for it.
    unsafe {
        (
            Probe::read(sk, offset::sk_rcv_saddr()),
            Probe::read::<u16>(sk, offset::sk_num()).to_be(),
        )
    }
}

/// The same of who it is connected with.
///
/// # Safety
/// As [`name`].
#[inline(always)]
unsafe fn peer(sk: *const c_void) -> (u32, u16) {
    // SAFETY: the caller vouches for it.
    unsafe { (Probe::read(sk, offset::sk_daddr()), Probe::read(sk, offset::sk_dport())) }
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
