//! Plaintext of rustls.
//!
//! Its objects move about in memory, so an address says nothing for long: a session is named by the connection that carries it.
//! Which one that is shows each time anew. What comes is read off a socket into the session's buffer, within one call, and taken
//! out as plaintext by the same thread before it reads for another. What goes is given to the session as plaintext and written to
//! the socket as records, within a call for a part of the same object. How far these parts are from each other is read off the
//! program's instructions by the agent and told with each probe; what does not fit is not told.
use core::ffi::c_void;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::{bpf_get_attach_cookie, bpf_get_current_pid_tgid, bpf_probe_read_user};
use aya_ebpf::macros::{uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use clew_common::counter;
use clew_common::event::{EGRESS, INGRESS, SESSION_FRESH, SOURCE_RUSTLS};
use clew_common::tls::{Cookie, RUSTLS_FLUSH, RUSTLS_GIVE_SLICE, RUSTLS_READ};

use crate::arch;
use crate::context::{self, scoped};
use crate::maps::{
    RUSTLS_OBJECTS, RUSTLS_PARTS, RUSTLS_THREADS, RustlsObject, RustlsThread, TLS_SESSIONS, TlsCall, TlsSession,
    remember,
};
use crate::tls::{self, NO_DATA, TOLD};
use crate::verifier::opaque;
use crate::{kernel, ring, settings};

/// What was given to a session is to be told, by [`rustls_tells`].
pub const TELLS: u64 = u64::MAX;
/// Most plaintext of a record (RFC 8446, section 5.1), bytes.
const RECORD_BYTES: u64 = 1 << 14;

#[inline(always)]
fn thread() -> u32 {
    // SAFETY: no arguments.
    unsafe { bpf_get_current_pid_tgid() as u32 }
}

/// An address that is some bytes away, as the agent told.
#[inline(always)]
fn away(address: u64, bytes: u16) -> u64 {
    address.wrapping_sub(i64::from(bytes as i16) as u64)
}

/// At the start of a function that reads from the connection into the session's buffer, or writes records to the connection: a
/// part of the session is the first argument.
#[uprobe]
pub fn rustls_moves(ctx: ProbeContext) -> u32 {
    // Without the registers of a system call nothing shows within which call it is made.
    if settings::typed_task() == 0 {
        return 0;
    }
    tls::enter(&ctx, NO_DATA, 0, 0)
}

/// At the start of `CommonState::buffer_plaintext(&mut self, payload, ..)`: plaintext is given to the session.
///
/// ```text
/// OutboundChunks     0         8         16       24       32
///   Single           +---------+---------+--------+--------+
///                    | 0       | address | size   |        |
///   Multiple         +---------+---------+--------+--------+
///                    | slices  | number  | start  | end    |
///                    +---------+---------+--------+--------+
/// ```
#[uprobe]
pub fn rustls_gives(ctx: ProbeContext) -> u32 {
    if settings::typed_task() == 0 || !context::traced() {
        return 0;
    }
    tls::enter(&ctx, NO_DATA, 0, 0);
    let Some(object) = object(arch::argument(&ctx, 0)) else {
        return 0;
    };
    let [slices, address, size, _] = kernel::user::<[u64; 4]>(arch::argument(&ctx, 1)).unwrap_or([0; 4]);
    // SAFETY: the map gave the pointer.
    unsafe {
        anew(object);
        if slices == 0 {
            (*object).parts[0] = [address, size];
            (*object).n_parts = 1;
        } else {
            let mut n = address;
            if n > RUSTLS_PARTS as u64 {
                n = RUSTLS_PARTS as u64;
            }
            let to = (&raw mut (*object).parts).cast();
            let bytes = opaque(n * size_of::<[u64; 2]>() as u64);
            // Where it is not given from its beginning, nothing is known of where it stands.
            let read = size == 0
                && bytes <= size_of::<[[u64; 2]; RUSTLS_PARTS]>() as u64
                && bpf_probe_read_user(to, bytes as u32, slices as *const c_void) == 0;
            (*object).n_parts = if read { n as u32 } else { 0 };
        }
        (*object).mark = mark(object);
    }
    0
}

/// At the start of `CommonState::send_some_plaintext(&mut self, data: &[u8]) -> usize`, by which plaintext is given before rustls 0.23.
#[uprobe]
pub fn rustls_gives_slice(ctx: ProbeContext) -> u32 {
    if settings::typed_task() == 0 {
        return 0;
    }
    tls::enter(&ctx, NO_DATA, arch::argument(&ctx, 2), 0)
}

/// The session took `taken` bytes at `address`, maybe beside others of which records were not written yet, as where several slices
/// are given one after the other.
///
/// # Safety
/// The map gave the pointer.
#[inline(always)]
unsafe fn took(object: *mut RustlsObject, address: u64, taken: u64) {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        let is_more = (*object).size != 0 && (*object).thread == thread() && mark(object) == (*object).mark;
        if !is_more {
            anew(object);
        }
        let place = (*object).n_parts as usize;
        if place < RUSTLS_PARTS {
            (*object).parts[place % RUSTLS_PARTS] = [address, taken];
            (*object).n_parts = place as u32 + 1;
        }
        (*object).size += taken;
        if !is_more {
            (*object).mark = mark(object);
        }
    }
}

/// The session is given plaintext, and nobody has seen go what it was given before: where that was, other things may be by now.
///
/// # Safety
/// The map gave the pointer.
#[inline(always)]
unsafe fn anew(object: *mut RustlsObject) {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        (*object).late += (*object).size;
        (*object).size = 0;
        (*object).next = 0;
        (*object).n_parts = 0;
        (*object).thread = thread();
    }
}

/// The ends of what was given first. If they are others later, it is no longer there.
#[inline(always)]
unsafe fn mark(object: *const RustlsObject) -> [u64; 2] {
    // SAFETY: the caller vouches for the pointer.
    let [address, size] = unsafe { (*object).parts[0] };
    let word = |at| kernel::user::<u64>(at).unwrap_or(0);
    if size < 8 {
        return [0; 2];
    }
    [word(address), word(address.wrapping_add(size - 8))]
}

/// What is known of the session whose state is at `address`.
#[inline(always)]
fn object(address: u64) -> Option<*mut RustlsObject> {
    let name = scoped(address);
    if let Some(object) = RUSTLS_OBJECTS.get_ptr_mut(&name) {
        return Some(object);
    }
    let _full = RUSTLS_OBJECTS.insert(&name, &RustlsObject::NEW, 0);
    RUSTLS_OBJECTS.get_ptr_mut(&name)
}

/// What the current thread does for sessions.
#[inline(always)]
fn doing() -> Option<*mut RustlsThread> {
    let name = thread();
    if let Some(doing) = RUSTLS_THREADS.get_ptr_mut(&name) {
        return Some(doing);
    }
    let _full = RUSTLS_THREADS.insert(&name, &RustlsThread::NEW, 0);
    RUSTLS_THREADS.get_ptr_mut(&name)
}

/// The current thread is over.
#[inline(always)]
pub fn forget() {
    let _absent = RUSTLS_THREADS.remove(&thread());
}

/// Behind the functions whose starts are probed.
#[uretprobe]
pub fn rustls_done(ctx: RetProbeContext) -> u32 {
    if settings::typed_task() == 0 || !context::traced() {
        return 0;
    }
    let Some((call, place)) = tls::ending(arch::stack_at_return(&ctx)) else {
        ring::count(counter::TLS_CALL_UNKNOWN, 1);
        return 0;
    };
    // SAFETY: the map gave the pointer, and only this thread uses the entry.
    let (part, conn, torn, end) = unsafe { ((*call).object, (*call).conn, (*call).torn, (*call).received) };
    // SAFETY: as above.
    let cookie = Cookie::unpack(unsafe { (*call).cookie });
    tls::over(place);
    match cookie.first {
        RUSTLS_READ => {
            if let Some(doing) = doing() {
                // SAFETY: the map gave the pointer, and only this thread uses the entry.
                unsafe {
                    (*doing).read = if conn != 0 && torn == 0 { part } else { 0 };
                    (*doing).read_conn = conn;
                    (*doing).read_end = end;
                }
            }
        }
        RUSTLS_FLUSH => {
            if let (0, Some(object)) = (conn, RUSTLS_OBJECTS.get_ptr_mut(&scoped(away(part, cookie.second)))) {
                // It will go later, when the program's own memory may hold other things.
                // SAFETY: the map gave the pointer.
                unsafe {
                    (*object).late += (*object).size;
                    (*object).size = 0;
                }
            }
        }
        RUSTLS_GIVE_SLICE => {
            // SAFETY: the map gave the pointer, and only this thread uses the entry.
            let (address, size) = unsafe { ((*call).buffer, (*call).size) };
            let taken: u64 = ctx.ret();
            if let Some(object) = object(part)
                && taken != 0
                && taken <= size
            {
                // SAFETY: the map gave the pointer.
                unsafe { took(object, address, taken) };
            }
        }
        _ => {
            if let Some(object) = RUSTLS_OBJECTS.get_ptr_mut(&scoped(part)) {
                let taken: u64 = ctx.ret();
                // SAFETY: the map gave the pointer.
                unsafe { (*object).size = if taken >> 32 == 0 { taken } else { 0 } };
            }
        }
    }
    0
}

/// An operation on connection `conn` moved `moved` bytes, up to offset `end`, within a call for this part of a session. Gives
/// [`TELLS`] if the plaintext that was given to it has gone with it.
///
/// A global function: the verifier looks at it once by itself, not anew in every state of its callers.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn rustls_carried(part: u64, cookie: u64, conn: u64, end: u64, moved: u64) -> u64 {
    let cookie = Cookie::unpack(cookie);
    let name = scoped(conn);
    let mut begins = false;
    if TLS_SESSIONS.get_ptr(&name).is_none() {
        // Before the connection's first byte there was no plaintext.
        begins = end == moved;
        session(conn, if begins { SESSION_FRESH } else { 0 });
    }
    if cookie.first != RUSTLS_FLUSH {
        return 0;
    }
    let state = away(part, cookie.second);
    let Some(object) = RUSTLS_OBJECTS.get_ptr_mut(&scoped(state)) else {
        return 0;
    };
    let Some(doing) = doing() else { return 0 };
    // SAFETY: the maps gave the pointers.
    unsafe {
        if (*object).size != 0 && ((*object).thread != thread() || mark(object) != (*object).mark) {
            (*object).late += (*object).size;
            (*object).size = 0;
        }
        if begins {
            // It was given to another one that was here.
            (*object).late = 0;
            (*object).size = 0;
        } else if (*object).late != 0 && (*object).conn != conn {
            // Whose it was is not known.
            ring::count(counter::TLS_GIVEN_UNSEEN, 1);
            (*object).late = 0;
            (*object).size = 0;
            session(conn, 0);
        }
        (*object).conn = conn;
        if (*object).late | (*object).size == 0 {
            return 0;
        }
        (*doing).flush = state;
        (*doing).flush_conn = conn;
        (*doing).flush_end = end;
    }
    TELLS
}

/// A session begins, or what was known of it is not true any more.
#[inline(always)]
fn session(conn: u64, flags: u32) {
    let new = TlsSession {
        conn,
        ..tls::new(flags)
    };
    remember(&TLS_SESSIONS, &scoped(conn), &new);
}

/// Tells of what was given to the session that the current thread has written records of.
///
/// A global function, like the one it calls: neither's stack is on top of the other's.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn rustls_tells() -> u64 {
    /// Its parts, what was late, and what is in more parts than are known.
    const MOST: u64 = RUSTLS_PARTS as u64 + 2;
    let mut told = 0;
    while told < MOST {
        let moved = rustls_next();
        if moved == 0 {
            break;
        }
        tls::tls_settled(TOLD, moved);
        told += 1;
    }
    0
}

/// Makes the next part of what was given the call that is told. Gives its size, or 0.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn rustls_next() -> u64 {
    let Some(doing) = RUSTLS_THREADS.get_ptr(&thread()) else {
        return 0;
    };
    // SAFETY: the maps gave the pointers.
    unsafe {
        let Some(object) = RUSTLS_OBJECTS.get_ptr_mut(&scoped((*doing).flush)) else {
            return 0;
        };
        let mut buffer = 0;
        let mut moved = (*object).late;
        if moved != 0 {
            (*object).late = 0;
        } else {
            moved = (*object).size;
            let next = (*object).next;
            if next < (*object).n_parts {
                let [address, size] = (*object).parts[next as usize % RUSTLS_PARTS];
                buffer = address;
                if size < moved {
                    moved = size;
                }
            }
            (*object).next = next + 1;
            (*object).size -= moved;
            if moved == 0 {
                (*object).size = 0;
            }
        }
        let call = TlsCall {
            buffer,
            sent: (*doing).flush_end,
            direction: EGRESS.into(),
            ..plain((*doing).flush_conn)
        };
        if moved == 0 || !tls::call_is(TOLD, &call) {
            return 0;
        }
        moved
    }
}

/// At the start of `CommonState::take_received_plaintext(&mut self, bytes)`: a record of plaintext has come.
///
/// ```text
/// Payload     0               8         16       24
///             +---------------+---------+--------+
///             | room, or none | address | size   |
///             +---------------+---------+--------+
/// ```
#[uprobe]
pub fn rustls_takes(ctx: ProbeContext) -> u32 {
    if settings::typed_task() == 0 || !tls::traced() {
        return 0;
    }
    let [_, buffer, size] = kernel::user::<[u64; 3]>(arch::argument(&ctx, 1)).unwrap_or([0; 3]);
    takes(&ctx, arch::argument(&ctx, 0), buffer, size)
}

/// At the start of `ExpectTraffic::handle(self: Box<Self>, cx: &mut Context, message) -> Result<..>`, by which a record of plaintext
/// comes before rustls 0.23. What it returns does not fit registers: the first argument is where it goes.
///
/// ```text
/// Context     0                       8
///             +-----------------------+-------+
///             | address of the state  | ...   |
///             +-----------------------+-------+
/// Message     0               8       16        24       32
///             +---------------+-------+---------+--------+-----+
///             | 2^63 + kind   | room  | address | size   | ... |
///             +---------------+-------+---------+--------+-----+
/// ```
#[uprobe]
pub fn rustls_takes_message(ctx: ProbeContext) -> u32 {
    /// `MessagePayload::ApplicationData`.
    const APPLICATION_DATA: u64 = (1 << 63) + 3;
    if settings::typed_task() == 0 || !tls::traced() {
        return 0;
    }
    let [kind, room, buffer, size] = kernel::user::<[u64; 4]>(arch::argument(&ctx, 3)).unwrap_or([0; 4]);
    if kind != APPLICATION_DATA || size > room {
        return 0;
    }
    let state = kernel::user::<u64>(arch::argument(&ctx, 2)).unwrap_or(0);
    takes(&ctx, state, buffer, size)
}

/// A record of plaintext has come for the session whose state is at `state`.
#[inline(always)]
fn takes(ctx: &ProbeContext, state: u64, buffer: u64, size: u64) -> u32 {
    // SAFETY: the context is this program's.
    let cookie = Cookie::unpack(unsafe { bpf_get_attach_cookie(ctx.as_ptr()) });
    let Some(object) = object(state) else { return 0 };
    // SAFETY: the maps gave the pointers.
    unsafe {
        let (mut conn, mut end) = (0, 0);
        if let Some(doing) = RUSTLS_THREADS.get_ptr(&thread()) {
            let read = (*doing).read;
            if read != 0 && (away(read, cookie.first) == state || away(read, cookie.second) == state) {
                (conn, end) = ((*doing).read_conn, (*doing).read_end);
            }
        }
        if conn == 0 || size > RECORD_BYTES || size == 0 {
            if size != 0 {
                ring::count(counter::TLS_CALL_UNKNOWN, 1);
                if (*object).conn != 0 {
                    // What its plaintext counts from is not known any more.
                    session((*object).conn, 0);
                }
            }
            return 0;
        }
        if (*object).conn != conn {
            (*object).conn = conn;
            (*object).late = 0;
            (*object).size = 0;
        }
        let call = TlsCall {
            buffer,
            received: end,
            direction: INGRESS.into(),
            ..plain(conn)
        };
        if tls::call_is(TOLD, &call) {
            tls::tls_settled(TOLD, size);
        }
    }
    0
}

/// A call for the session on this connection.
#[inline(always)]
fn plain(conn: u64) -> TlsCall {
    let cookie = Cookie {
        source: SOURCE_RUSTLS,
        first: 0,
        second: 0,
    };
    TlsCall {
        object: conn,
        conn,
        cookie: cookie.pack(),
        ..TlsCall::NEW
    }
}
