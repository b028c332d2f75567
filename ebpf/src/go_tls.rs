//! Plaintext of Go's crypto/tls.
//!
//! Probes at returns would be single-stepped, and return probes break Go's stacks, so the end of a call is never waited for. What
//! `(*Conn).Write` was given is told when the goroutine sends on a socket within it: then a record was made of it. What
//! `(*Conn).Read` gives is told where it copies it to the program. Whether the goroutine is within a call is read off its stack,
//! whose frames are linked: a return address lies in the function. So a call that is over is never taken for one that runs, and a
//! goroutine may change its thread and its stack at any time.
use core::ffi::c_void;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::bpf_get_attach_cookie;
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use clew_common::counter;
use clew_common::event::{EGRESS, INGRESS, SESSION_FRESH, SOURCE_GO};
use clew_common::tls::Cookie;

use crate::arch::{self, Registers, go_argument};
use crate::context::{self, scoped};
use crate::maps::{GO_TLS_CALLS, GoTlsCall, TLS_SESSIONS, TlsCall, remember};
use crate::tls::{self, NO_DATA};
use crate::{golang, kernel, ring, settings};

/// Frames between a system call and the function of crypto/tls that asked for it, at most.
const MOST_FRAMES: u32 = 24;

/// At the start of `crypto/tls.(*Conn).Read(c, buffer)`, where the frame is made.
#[uprobe]
pub fn go_tls_reads(ctx: ProbeContext) -> u32 {
    begin(&ctx, INGRESS.into());
    0
}

/// At the start of `crypto/tls.(*Conn).Write(c, buffer)`, where the frame is made.
#[uprobe]
pub fn go_tls_writes(ctx: ProbeContext) -> u32 {
    begin(&ctx, EGRESS.into());
    0
}

/// At the start of `crypto/tls.(*Conn).clientHandshake(c, context)` and `serverHandshake`, where the frame is made: a session
/// begins.
#[uprobe]
pub fn go_tls_begins(ctx: ProbeContext) -> u32 {
    begin(&ctx, NO_DATA);
    0
}

/// In `crypto/tls.(*Conn).Read`, before `runtime.memmove(buffer, plaintext, size)` gives plaintext to the program.
#[uprobe]
pub fn go_tls_gives(ctx: ProbeContext) -> u32 {
    if settings::typed_task() == 0 || !context::traced() {
        return 0;
    }
    let Some(goroutine) = goroutine() else { return 0 };
    let Some(call) = GO_TLS_CALLS.get_ptr(&scoped(key(goroutine, INGRESS.into()))) else {
        // It began before Clew came, or fell out.
        ring::count(counter::TLS_CALL_UNKNOWN, 1);
        return 0;
    };
    // SAFETY: the map gave the pointer.
    let (object, buffer, room) = unsafe { ((*call).call.object, (*call).call.buffer, (*call).call.size) };
    let (to, from, size) = (go_argument(&ctx, 0), go_argument(&ctx, 1), go_argument(&ctx, 2));
    if to != buffer || size > room {
        // The stack may have moved, and with it what the program gave: the call is this one all the same.
        ring::count(counter::TLS_CALL_UNKNOWN, 1);
        return 0;
    }
    let call = TlsCall {
        buffer: from,
        size,
        direction: INGRESS.into(),
        ..plain(object)
    };
    tls::told(&call, size);
    0
}

/// A call of the library that has begun and has not gone on to anything.
#[inline(always)]
fn plain(object: u64) -> TlsCall {
    let cookie = Cookie {
        source: SOURCE_GO,
        first: 0,
        second: 0,
    };
    TlsCall {
        object,
        cookie: cookie.pack(),
        direction: NO_DATA,
        ..TlsCall::NEW
    }
}

/// The goroutine's number, if the current process is Go's.
#[inline(always)]
fn goroutine() -> Option<u64> {
    golang::goroutine(golang::plan()?)
}

/// The key of a goroutine's call: a handshake may run within another.
#[inline(always)]
fn key(goroutine: u64, direction: u32) -> u64 {
    goroutine << 1 | u64::from(direction == NO_DATA)
}

/// A call begins. The probe's number is how far behind the function's start it stands and, in the upper half, the function's
/// size.
#[inline(always)]
fn begin(ctx: &ProbeContext, direction: u32) {
    // Without the registers of a system call nothing shows within which call it is made.
    if settings::typed_task() == 0 || !tls::traced() {
        return;
    }
    let Some(goroutine) = goroutine() else { return };
    // SAFETY: the context is this program's.
    let cookie = unsafe { bpf_get_attach_cookie(ctx.as_ptr().cast::<c_void>()) };
    let low = arch::probed_at(ctx).wrapping_sub(cookie & 0xffff_ffff);
    let object = go_argument(ctx, 0);
    if direction == NO_DATA {
        remember(&TLS_SESSIONS, &scoped(object), &tls::new(SESSION_FRESH));
    }
    let call = GoTlsCall {
        call: TlsCall {
            buffer: go_argument(ctx, 1),
            size: if direction == NO_DATA { 0 } else { go_argument(ctx, 2) },
            direction,
            ..plain(object)
        },
        low,
        high: low.wrapping_add(cookie >> 32),
    };
    // It may wait for long before anything asks for it.
    remember(&GO_TLS_CALLS, &scoped(key(goroutine, direction)), &call);
}

/// The current goroutine moved bytes up to offset `end` of connection `conn`. If it does so within crypto/tls, that is evidence
/// of which session the connection carries: the call becomes the thread's, to be settled by the caller. Gives 0, or one more than
/// the bytes of plaintext that it gave.
///
/// A global function: the verifier looks at it once by itself, not anew in every state of its callers.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn go_tls_carried(conn: u64, direction: u64, end: u64) -> u64 {
    // The verifier looks at this by itself, also on kernels that cannot give the registers.
    if settings::typed_task() == 0 {
        return 0;
    }
    let Some(goroutine) = goroutine() else { return 0 };
    let mut name = scoped(key(goroutine, EGRESS.into()));
    let outer = GO_TLS_CALLS.get_ptr_mut(&name);
    name.id = key(goroutine, NO_DATA);
    let shake = GO_TLS_CALLS.get_ptr_mut(&name);
    let Some(call) = running(outer, shake) else { return 0 };
    // SAFETY: the map gave the pointer, and only this goroutine uses the entry.
    unsafe {
        let call = &raw mut (*call).call;
        let sends = direction == u64::from(EGRESS);
        (*call).conn = conn;
        (*call).sent = if sends { end } else { 0 };
        (*call).received = if sends { 0 } else { end };
        if !tls::call_is(0, &*call) {
            return 0;
        }
        if !sends || (*call).direction != u32::from(EGRESS) {
            return 1;
        }
        // The rest of its records say nothing more.
        let moved = (*call).size;
        (*call).size = 0;
        moved.wrapping_add(1)
    }
}

/// Which of two calls the goroutine is in, by the return addresses on its stack; a handshake runs within another call.
#[inline(always)]
fn running(outer: Option<*mut GoTlsCall>, shake: Option<*mut GoTlsCall>) -> Option<*mut GoTlsCall> {
    // The verifier knows pointers to be there only where each is asked for by itself; so numbers are compared.
    let bounds = |call: Option<*mut GoTlsCall>| match call {
        // SAFETY: the map gave the pointer.
        Some(call) => unsafe { ((*call).low, (*call).high) },
        None => (0, 0),
    };
    let (outer_in, shake_in) = (bounds(outer), bounds(shake));
    if outer_in.1 == 0 && shake_in.1 == 0 {
        return None;
    }
    let mut frame = Registers::current().frame();
    let mut frames = 0;
    while frames < MOST_FRAMES {
        frames += 1;
        let [next, back] = kernel::user::<[u64; 2]>(frame)?;
        if back > shake_in.0 && back <= shake_in.1 {
            return shake;
        }
        if back > outer_in.0 && back <= outer_in.1 {
            return outer;
        }
        if next <= frame {
            return None;
        }
        frame = next;
    }
    None
}
