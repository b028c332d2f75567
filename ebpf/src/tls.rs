//! Plaintext of TLS: what a program gives to a library and takes from it, and which connection carries it.
//!
//! A session is the library's object. The connection behind it is told by evidence: an operation on a socket that the same thread
//! makes between the entry and the return of a call for the session. Each later operation confirms it, and one that contradicts
//! ends the session. Where the program itself moves the bytes between socket and library no operation happens within a call;
//! the agent then finds the connection by the random number of the ClientHello.
//!
//! These programs may be preempted, so they keep nothing by CPU: what a call needs is kept by thread, and records are written
//! where the ring buffer has reserved them.
use core::ffi::c_void;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::{
    bpf_get_attach_cookie, bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_probe_read_user,
};
use aya_ebpf::macros::{uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use clew_common::event::{
    CHUNK_BYTES, CONTEXT_NODE, CONTEXT_UNKNOWN, DATA_CONTINUED, EGRESS, INGRESS, KIND_PLAIN, KIND_SESSION,
    NO_PAYLOAD_BUDGET, NO_PAYLOAD_NONE, NO_PAYLOAD_SPLICE, NO_PAYLOAD_USER_FAULT, Plain, SESSION_BIT, SESSION_FRESH,
    SOURCE_OPENSSL, SOURCE_RUSTLS, Session,
};
use clew_common::settings::TARGET_TLS;
use clew_common::tls::Cookie;
use clew_common::{budget, counter};

use crate::arch::{self, Registers};
use crate::context::{self, scoped};
use crate::kernel;
use crate::maps::{TLS_CALLS, TLS_SESSIONS, TlsCall, TlsSession, VERDICTS, remember};
use crate::verifier::opaque;
use crate::{assist, go_tls, golang, ring, rustls, settings};

/// The call moves no plaintext.
pub const NO_DATA: u32 = 2;
/// How much of C code's stack a call takes at most, bytes: what a thread has by default.
const MOST_DEEP: u64 = 8 << 20;
/// Records one call's plaintext is told in, at most.
const MAX_CHUNKS: u32 = 64;

/// Beside the calls of a thread that run: one that is told while another runs.
pub const TOLD: u64 = 2;

/// The calls of the current thread that have begun: the outer one, the one within it, or [`TOLD`].
#[inline(always)]
fn key(place: u64) -> u64 {
    // SAFETY: no arguments.
    let tid = unsafe { bpf_get_current_pid_tgid() } as u32;
    u64::from(tid) << 2 | place & 3
}

/// The current process is traced; notes that it uses TLS.
#[inline(always)]
pub fn traced() -> bool {
    let Some(target) = context::target() else {
        return false;
    };
    // SAFETY: the map gave the pointer.
    unsafe {
        if *target & TARGET_TLS == 0 {
            *target |= TARGET_TLS;
        }
    }
    true
}

/// A call begins, whose second argument is a buffer.
#[inline(always)]
pub fn enter(ctx: &ProbeContext, direction: u32, size: u64, count: u64) -> u32 {
    begin(ctx, direction, arch::argument(ctx, 1), size, count)
}

/// A call begins, whose plaintext lies in no buffer if that is 0.
#[inline(always)]
fn begin(ctx: &ProbeContext, direction: u32, buffer: u64, size: u64, count: u64) -> u32 {
    if !traced() {
        return 0;
    }
    let stack = arch::stack_pointer(ctx);
    let cookie = if settings::typed_task() != 0 {
        // SAFETY: the context is this program's.
        unsafe { bpf_get_attach_cookie(ctx.as_ptr()) }
    } else {
        0
    };
    let call = TlsCall {
        object: arch::argument(ctx, 0),
        buffer,
        size,
        count,
        stack,
        cookie,
        direction,
        ..TlsCall::NEW
    };
    // A library may be called from within another call, for a connection that runs through it: stacks grow downward.
    let within = match TLS_CALLS.get_ptr(&key(0)) {
        // SAFETY: the map gave the pointer.
        Some(outer) => u64::from(unsafe { (*outer).stack } > stack),
        None => 0,
    };
    let _full = TLS_CALLS.insert(&key(within), &call, 0);
    0
}

/// `f(session, buffer, size_t size, size_t *count)` that takes plaintext from the library, such as `SSL_read_ex`.
#[uprobe]
pub fn tls_read(ctx: ProbeContext) -> u32 {
    enter(&ctx, INGRESS.into(), arch::argument(&ctx, 2), arch::argument(&ctx, 3))
}

/// `f(session, buffer, size_t size, size_t *count)` that gives plaintext to the library, such as `SSL_write_ex`.
#[uprobe]
pub fn tls_write(ctx: ProbeContext) -> u32 {
    enter(&ctx, EGRESS.into(), arch::argument(&ctx, 2), arch::argument(&ctx, 3))
}

/// `f(session, buffer, size_t size, flags, size_t *count)` that gives plaintext to the library.
#[uprobe]
pub fn tls_write_flags(ctx: ProbeContext) -> u32 {
    enter(&ctx, EGRESS.into(), arch::argument(&ctx, 2), arch::argument(&ctx, 4))
}

/// `int f(session, buffer, int size)` that takes plaintext from the library and returns how much, such as `SSL_read`.
#[uprobe]
pub fn tls_read_counted(ctx: ProbeContext) -> u32 {
    enter(&ctx, INGRESS.into(), positive(arch::argument(&ctx, 2)), 0)
}

/// `int f(session, buffer, int size)` that gives plaintext to the library, such as `SSL_write`.
#[uprobe]
pub fn tls_write_counted(ctx: ProbeContext) -> u32 {
    enter(&ctx, EGRESS.into(), positive(arch::argument(&ctx, 2)), 0)
}

/// `ssize_t f(session, int file, off_t start, size_t size, flags)` that has the kernel encrypt what is in a file and returns how much,
/// such as `SSL_sendfile`.
#[uprobe]
pub fn tls_write_file(ctx: ProbeContext) -> u32 {
    begin(&ctx, EGRESS.into(), 0, arch::argument(&ctx, 3), 0)
}

/// `f(session, ...)` that moves no plaintext but uses the connection, such as `SSL_do_handshake`.
#[uprobe]
pub fn tls_call(ctx: ProbeContext) -> u32 {
    enter(&ctx, NO_DATA, 0, 0)
}

/// An `int` argument; 0 if it is negative. The upper half of the register is the caller's leftovers.
#[inline(always)]
fn positive(argument: u64) -> u64 {
    let value = argument as u32;
    if value >> 31 == 0 { u64::from(value) } else { 0 }
}

/// Behind a function that makes a session object, such as `SSL_new`.
#[uretprobe]
pub fn tls_made(ctx: RetProbeContext) -> u32 {
    let object: u64 = ctx.ret();
    if object != 0 && traced() {
        remember(&TLS_SESSIONS, &scoped(object), &new(SESSION_FRESH));
    }
    0
}

/// Behind `int f(session **, ...)`, which makes a session object, such as `gnutls_init`.
#[uretprobe]
pub fn tls_made_at(ctx: RetProbeContext) -> u32 {
    if !context::traced() {
        return 0;
    }
    let Some((call, place)) = ending(arch::stack_at_return(&ctx)) else {
        return 0;
    };
    // SAFETY: the map gave the pointer, and only this thread uses the entry.
    let object = kernel::user::<u64>(unsafe { (*call).object }).unwrap_or(0);
    over(place);
    if object != 0 {
        remember(&TLS_SESSIONS, &scoped(object), &new(SESSION_FRESH));
    }
    0
}

/// At the start of a function that makes a session object as if it were new, such as `SSL_clear`.
#[uprobe]
pub fn tls_cleared(ctx: ProbeContext) -> u32 {
    if traced() {
        remember(&TLS_SESSIONS, &scoped(arch::argument(&ctx, 0)), &new(SESSION_FRESH));
    }
    0
}

/// At the start of a function that ends a session object, such as `SSL_free`.
#[uprobe]
pub fn tls_freed(ctx: ProbeContext) -> u32 {
    if context::traced() {
        let _absent = TLS_SESSIONS.remove(&scoped(arch::argument(&ctx, 0)));
    }
    0
}

#[inline(always)]
pub fn new(flags: u32) -> TlsSession {
    // Time and CPU are a name that no other session has.
    // SAFETY: no arguments.
    let id = unsafe { bpf_ktime_get_ns() << 8 | u64::from(bpf_get_smp_processor_id() & 0xff) };
    TlsSession {
        id: id | SESSION_BIT,
        conn: 0,
        sent: 0,
        received: 0,
        wire_sent: 0,
        wire_received: 0,
        budget: 0,
        flags,
        last: 0,
        verdict: 0,
        announced: 0,
        held: 0,
        held_context: 0,
    }
}

/// An operation on a socket moved bytes up to offset `end` of connection `conn`: evidence for the call it runs within, which may be
/// one that is told now. They may be plaintext, which the kernel encrypts.
#[inline(always)]
pub fn carried(conn: u64, direction: u8, moved: u64, end: u64, plain: bool) {
    if moved == 0 {
        return;
    }
    let passed = tls_carried(conn, direction.into(), end, moved);
    if plain {
        tls_claims(conn);
    }
    if passed == rustls::TELLS {
        rustls::rustls_tells();
    } else if passed != 0 {
        tls_settled(0, passed - 1);
    }
}

/// Gives 0, or one more than the bytes of plaintext that the thread's call is now known to have moved, or [`rustls::TELLS`].
///
/// A global function: the verifier looks at it once by itself, not anew in every state of its callers.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn tls_carried(conn: u64, direction: u64, end: u64, moved: u64) -> u64 {
    let uses = match context::target() {
        // SAFETY: the map gave the pointer.
        Some(target) => unsafe { *target & TARGET_TLS != 0 },
        None => false,
    };
    if !uses {
        return 0;
    }
    let goes = golang::plan().is_some();
    if goes && settings::typed_task() != 0 {
        let passed = go_tls::go_tls_carried(conn, direction, end);
        if passed != 0 {
            return passed;
        }
    }
    let inner = TLS_CALLS.get_ptr_mut(&key(1));
    let Some(call) = inner.or_else(|| TLS_CALLS.get_ptr_mut(&key(0))) else {
        return 0;
    };
    // SAFETY: the map gave the pointer, and only this thread uses the entry.
    unsafe {
        // A call whose return was not seen is left behind with the stack it had.
        if settings::typed_task() != 0 {
            let deep = (*call).stack.wrapping_sub(Registers::current().stack());
            // Goroutines have their stacks elsewhere, below those of C code: how deep they are says nothing.
            if deep as i64 <= 0 || (goes && deep > MOST_DEEP) {
                return 0;
            }
        }
        if (*call).conn != 0 && (*call).conn != conn {
            (*call).torn = 1;
        } else {
            (*call).conn = conn;
            if direction == u64::from(EGRESS) {
                (*call).sent = end;
            } else {
                (*call).received = end;
            }
        }
        if Cookie::unpack((*call).cookie).source == SOURCE_RUSTLS {
            return rustls::rustls_carried((*call).object, (*call).cookie, conn, end, moved);
        }
    }
    0
}

/// Plaintext passes the socket of connection `conn`: if that is within a call for a session, the session is told of before it.
///
/// A global function, as [`tls_carried`], which has noted the connection.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn tls_claims(conn: u64) -> u64 {
    let inner = TLS_CALLS.get_ptr(&key(1));
    let within = u64::from(inner.is_some());
    let Some(call) = inner.or_else(|| TLS_CALLS.get_ptr(&key(0))) else {
        return 0;
    };
    // SAFETY: the maps gave the pointers, and only this thread uses the call.
    unsafe {
        if (*call).conn == conn
            && (*call).torn == 0
            && let Some(session) = TLS_SESSIONS.get_ptr_mut(&scoped((*call).object))
            && (*session).announced == 0
        {
            (*session).conn = conn;
            (*session).announced = 1;
            tls_announce(within);
        }
    }
    0
}

/// Behind every function whose entry is a call here.
#[uretprobe]
pub fn tls_done(ctx: RetProbeContext) -> u32 {
    if !context::traced() {
        return 0;
    }
    let stack = arch::stack_at_return(&ctx);
    let Some((call, within)) = ending(stack) else {
        ring::count(counter::TLS_CALL_UNKNOWN, 1);
        return 0;
    };
    let result: u64 = ctx.ret();
    // SAFETY: the map gave the pointer, and only this thread uses the entry.
    let (size, count, direction, buffer) = unsafe { ((*call).size, (*call).count, (*call).direction, (*call).buffer) };
    let mut moved = positive(result);
    if moved != 0 && count != 0 {
        moved = kernel::user::<u64>(count).unwrap_or(0);
    }
    // GnuTLS may be asked to go on with what it was given before, without being given it again.
    let again = buffer == 0 && direction == u32::from(EGRESS);
    if (moved > size && !again) || direction == NO_DATA {
        moved = 0;
    }
    if within != 0 && moved != 0 && hands_on(call, direction) {
        moved = 0;
    }
    tls_settled(within, moved);
    0
}

/// Whether the call that this one runs within tells of the same plaintext: functions for early data hand on to those that read and
/// write, and may send what was given when those are over. One for files does too, but has seen nothing of it.
#[inline(always)]
fn hands_on(call: *mut TlsCall, direction: u32) -> bool {
    let Some(outer) = TLS_CALLS.get_ptr_mut(&key(0)) else {
        return false;
    };
    // SAFETY: the map gave the pointers, and only this thread uses the entries.
    unsafe {
        let same = (*outer).object == (*call).object && (*outer).direction == direction;
        let told = same && (*outer).buffer != 0;
        if told {
            (*call).direction = NO_DATA;
        } else if same {
            (*outer).direction = NO_DATA;
        }
        told
    }
}

/// A call was seen that moved `moved` bytes of plaintext.
#[inline(always)]
pub fn told(call: &TlsCall, moved: u64) {
    if call_is(0, call) {
        tls_settled(0, moved);
    }
}

/// The thread is in this call. Whether there was room to remember it.
#[inline(always)]
pub fn call_is(place: u64, call: &TlsCall) -> bool {
    TLS_CALLS.insert(&key(place), call, 0).is_ok()
}

/// The thread's innermost call that ends with this stack, and its place.
#[inline(always)]
pub fn ending(stack: u64) -> Option<(*mut TlsCall, u64)> {
    if let Some(call) = ended(1, stack) {
        return Some((call, 1));
    }
    ended(0, stack).map(|call| (call, 0))
}

/// The thread's call is over.
#[inline(always)]
pub fn over(place: u64) {
    let _absent = TLS_CALLS.remove(&key(place));
}

/// The current thread is over: calls that never returned would keep others' places.
#[inline(always)]
pub fn forget() {
    let mut place = 0;
    while place <= TOLD {
        over(place);
        place += 1;
    }
    rustls::forget();
}

/// The thread's call with this stack.
#[inline(always)]
fn ended(within: u64, stack: u64) -> Option<*mut TlsCall> {
    let call = TLS_CALLS.get_ptr_mut(&key(within))?;
    // SAFETY: the map gave the pointer.
    (unsafe { (*call).stack } == stack).then_some(call)
}

/// The thread's call is over and moved `moved` bytes of plaintext.
///
/// A global function, which the verifier looks at once by itself. So is each step: called one after the other, none's stack comes on
/// top of another's.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn tls_settled(within: u64, moved: u64) -> u64 {
    let steps = tls_settle(within, moved);
    if steps & STEP_ANNOUNCE != 0 {
        tls_announce(within);
    }
    if steps & STEP_HOLD != 0 {
        tls_context(within);
        tls_hold(within);
    }
    if steps & STEP_TELL != 0 {
        tls_context(within);
        tls_held(within);
        let mut chunks = 0;
        while chunks < MAX_CHUNKS && tls_chunk(within) == 0 {
            chunks += 1;
        }
    }
    over(within);
    0
}

/// The session of the thread's call is to be told of.
const STEP_ANNOUNCE: u64 = 1;
/// Plaintext is to be told of.
const STEP_TELL: u64 = 2;

/// Plaintext was given that the library would not take yet.
const STEP_HOLD: u64 = 4;

/// Notes what the thread's call says of its session. Gives what is to be told, `STEP_` bits.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn tls_settle(within: u64, moved: u64) -> u64 {
    let Some(call) = TLS_CALLS.get_ptr_mut(&key(within)) else {
        return 0;
    };
    // SAFETY: the map gave the pointers, and only this thread uses the call.
    unsafe {
        let name = scoped((*call).object);
        let mut conn = (*call).conn;
        let mut session = TLS_SESSIONS.get_ptr_mut(&name);
        let mut known = true;
        let mut confirmed = false;
        if let Some(session) = session {
            confirmed = (*session).conn == conn;
            known = confirmed || conn == 0 || (*session).conn == 0;
            // One that was seen being made has one connection.
            if !known && moved == 0 && (*session).flags & SESSION_FRESH != 0 {
                known = true;
                conn = 0;
            }
            if !known {
                ring::count(counter::TLS_TIE_CONFLICT, 1);
            }
        }
        // What is asked elsewhere meanwhile, as in a callback, leaves what was known before and nothing else.
        if (*call).torn != 0 && !confirmed {
            conn = 0;
        }
        if session.is_none() || !known {
            let _full = TLS_SESSIONS.insert(&name, &new(0), 0);
            session = TLS_SESSIONS.get_ptr_mut(&name);
        }
        let Some(session) = session else {
            ring::count(counter::TLS_SESSIONS_FULL, 1);
            return 0;
        };
        if conn != 0 {
            (*session).conn = conn;
            if (*call).sent != 0 {
                (*session).wire_sent = (*call).sent;
            }
            if (*call).received != 0 {
                (*session).wire_received = (*call).received;
            }
        }
        if moved == 0 {
            let refused = (*call).direction == u32::from(EGRESS) && (*call).size != 0;
            return if refused { STEP_HOLD } else { 0 };
        }
        let mut steps = STEP_TELL;
        if (*session).announced == 0 {
            (*session).announced = 1;
            steps |= STEP_ANNOUNCE;
        }
        let direction = (*call).direction;
        let passed = if direction == u32::from(EGRESS) {
            &raw mut (*session).sent
        } else {
            &raw mut (*session).received
        };
        (*call).offset = *passed;
        *passed += moved;
        if (*call).offset == 0 && moved >= 8 {
            let first = kernel::user::<u64>((*call).buffer).unwrap_or(0);
            if let Some(verdict) = budget::begun_with(first) {
                (*session).verdict = u16::from(verdict);
            }
        }
        refill(session, direction as u16);
        (*call).left = moved;
        (*call).budget = u64::from((*session).budget);
        steps
    }
}

/// Notes for whom the thread's call was made.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn tls_context(within: u64) -> u64 {
    if let Some(call) = TLS_CALLS.get_ptr_mut(&key(within)) {
        // SAFETY: the map gave the pointer, and only this thread uses the call.
        unsafe {
            let end = (*call).offset.wrapping_add((*call).left);
            let (kind, context) = assist::or_read(assist::told_plain((*call).direction as u8, end));
            (*call).context = context;
            (*call).context_kind = u64::from(kind);
        }
    }
    0
}

/// What the thread's call gives is held until the library takes it, which it does before anything else: Node.js gives it again
/// when a handshake is complete, outside of the request that it is sent for. Only where a hook says for whom it was given.
///
/// A global function, as the others.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn tls_hold(within: u64) -> u64 {
    if let Some(call) = TLS_CALLS.get_ptr(&key(within)) {
        // SAFETY: the map gave the pointers; only this thread uses the call.
        unsafe {
            if let Some(session) = TLS_SESSIONS.get_ptr_mut(&scoped((*call).object))
                && (*call).context_kind == u64::from(CONTEXT_NODE)
            {
                (*session).held = (*call).size;
                (*session).held_context = (*call).context;
            }
        }
    }
    0
}

/// The thread's call gives what was held before: it was given in the context of then.
///
/// A global function, as the others.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn tls_held(within: u64) -> u64 {
    if let Some(call) = TLS_CALLS.get_ptr_mut(&key(within)) {
        // SAFETY: the map gave the pointers; only this thread uses the call.
        unsafe {
            if let Some(session) = TLS_SESSIONS.get_ptr_mut(&scoped((*call).object))
                && (*session).held != 0
                && (*call).direction == u32::from(EGRESS)
            {
                if (*session).held == (*call).size && (*call).context_kind == u64::from(CONTEXT_UNKNOWN) {
                    (*call).context = (*session).held_context;
                    (*call).context_kind = u64::from(CONTEXT_NODE);
                }
                (*session).held = 0;
            }
        }
    }
    0
}

/// Tells of the session of the thread's call.
///
/// A global function: its stack is not its caller's.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn tls_announce(within: u64) -> i64 {
    let Some(call) = TLS_CALLS.get_ptr_mut(&key(within)) else {
        return 0;
    };
    // SAFETY: the map gave the pointers; only this thread uses the call.
    unsafe {
        let Some(session) = TLS_SESSIONS.get_ptr(&scoped((*call).object)) else {
            return 0;
        };
        ring::fill(|event: *mut Session| {
            let cookie = library((&raw const (*call).cookie).read_volatile());
            (*event).header = context::header(KIND_SESSION);
            (*event).session = (*session).id;
            (*event).conn = (*session).conn;
            (*event).flags = (*session).flags;
            (*event).source = cookie.source;
            (*event).reserved = 0;
            let mut at = (*call).object.wrapping_add(u64::from(cookie.first));
            if cookie.second != 0 {
                at = kernel::user::<u64>(at)
                    .unwrap_or(0)
                    .wrapping_add(u64::from(cookie.second - 1));
            }
            // The helper leaves zeros where it cannot read, which nobody can at address 0.
            if cookie.first == 0 {
                at = 0;
            }
            let random = (&raw mut (*event).random).cast();
            bpf_probe_read_user(random, size_of::<[u8; 32]>() as u32, at as *const c_void);
        });
    }
    0
}

/// What is known of the library a call is in; on kernels where a probe is given no number, that its functions are OpenSSL's.
#[inline(always)]
fn library(cookie: u64) -> Cookie {
    let mut library = Cookie::unpack(cookie);
    if cookie == 0 {
        library.source = SOURCE_OPENSSL;
    }
    library
}

/// As for sockets: a session that turns round has begun a message, which has a budget of its own.
#[inline(always)]
unsafe fn refill(session: *mut TlsSession, direction: u16) {
    // SAFETY: the map gave the pointer.
    unsafe {
        let turned = (*session).last != direction + 1;
        if turned {
            let id = (*session).id;
            if let Some(verdict) = VERDICTS.get_ptr(&id) {
                (*session).verdict = u16::from(*verdict);
            }
        }
        if turned || (*session).verdict >= u16::from(budget::VERDICT_EVERY) {
            (*session).last = direction + 1;
            (*session).budget = budget::of((*session).verdict as u8, settings::head_bytes(), settings::body_bytes());
        }
    }
}

/// Writes one record of the plaintext of the thread's call. 1 when it is told whole.
///
/// A global function: the verifier looks at it once by itself, not anew in every state of its callers.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn tls_chunk(within: u64) -> i64 {
    const SMALL: u64 = 512;
    const MIDDLE: u64 = 4096;
    let Some(call) = TLS_CALLS.get_ptr_mut(&key(within)) else {
        return 1;
    };
    // SAFETY: the map gave the pointers; only this thread uses the call.
    unsafe {
        let Some(session) = TLS_SESSIONS.get_ptr_mut(&scoped((*call).object)) else {
            return 1;
        };
        let left = (*call).left;
        if left == 0 {
            return 1;
        }
        let mut size = left;
        if size > (*call).budget {
            size = (*call).budget;
        }
        if size > CHUNK_BYTES as u64 {
            size = CHUNK_BYTES as u64;
        }
        let is_unread = (*call).buffer == 0;
        if is_unread {
            size = 0;
        }
        // The last record the budget allows carries the rest as a length.
        let spent = size == (*call).budget;
        let length = if spent || is_unread { left } else { size };
        if is_unread {
            ring::count(counter::NO_PAYLOAD_SPLICE, 1);
        } else if length > size {
            ring::count(counter::BUDGET_BYTES, length - size);
        }
        (*call).size_now = size;
        (*call).length_now = length;
        if size <= SMALL {
            write::<{ SMALL as usize }>(call, session);
        } else if size <= MIDDLE {
            write::<{ MIDDLE as usize }>(call, session);
        } else {
            write::<CHUNK_BYTES>(call, session);
        }
        // What the program gave does not matter any more: zero tells the next record that it continues.
        (*call).size = 0;
        (*call).buffer += size;
        (*call).offset += length;
        (*call).left -= length;
        (*call).budget -= size;
        (*session).budget = (*call).budget as u32;
        i64::from((*call).left == 0)
    }
}

/// Writes a record of `length_now` bytes of the call's plaintext, with the first `size_now` of them, in one that has room for `ROOM`.
///
/// They are handed on in the map: see [`ring::fill`].
///
/// # Safety
/// The maps gave the pointers.
#[inline(always)]
unsafe fn write<const ROOM: usize>(call: *const TlsCall, session: *const TlsSession) {
    ring::fill(|record: *mut Padded<ROOM>| {
        // SAFETY: the caller vouches for the pointers, and the record has room for head and payload.
        unsafe {
            let size = (&raw const (*call).size_now).read_volatile();
            let length = (&raw const (*call).length_now).read_volatile();
            let head = &raw mut (*record).head;
            (*head).header = context::header(KIND_PLAIN);
            (*head).header.context_kind = (*call).context_kind as u16;
            (*head).header.context = (*call).context;
            (*head).session = (*session).id;
            (*head).conn = (*session).conn;
            (*head).offset = (*call).offset;
            (*head).wire = if (*call).direction == u32::from(EGRESS) {
                (*session).wire_sent
            } else {
                (*session).wire_received
            };
            (*head).length = length as u32;
            (*head).captured = size as u32;
            (*head).direction = (*call).direction as u8;
            (*head).no_payload = if (&raw const (*call).buffer).read_volatile() == 0 {
                NO_PAYLOAD_SPLICE
            } else if length > size {
                NO_PAYLOAD_BUDGET
            } else {
                NO_PAYLOAD_NONE
            };
            (*head).flags = if (*call).size == 0 { DATA_CONTINUED } else { 0 };
            (*head).source = library((*call).cookie).source;
            (*head).reserved = 0;
            let size = opaque(size);
            let payload = (&raw mut (*record).payload).cast();
            if size > ROOM as u64 || bpf_probe_read_user(payload, size as u32, (*call).buffer as *const c_void) != 0 {
                ring::count(counter::USER_FAULT, 1);
                (*head).captured = 0;
                (*head).no_payload = NO_PAYLOAD_USER_FAULT;
            } else {
                ring::count(counter::PAYLOAD_BYTES, size);
            }
        }
    });
}

/// A record with room for more than it may hold.
#[repr(C)]
struct Padded<const ROOM: usize> {
    head: Plain,
    payload: [u8; ROOM],
}
