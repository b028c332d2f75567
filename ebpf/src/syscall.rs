//! `--capture syscall`, for kernels before 6.3: a pair of probes at each call that carries bytes.
use aya_ebpf::helpers::generated::bpf_get_current_pid_tgid;
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;
use clew_common::counter;
use clew_common::event::{EGRESS, INGRESS, NO_PAYLOAD_SPLICE};

use crate::arch::call;
use crate::connection::{self, Socket};
use crate::kernel::Probe;
use crate::maps::{CALLS, Call};
use crate::operation::{self, Memory};
use crate::{assist, context, descriptor, pipe, ring};

/// Offset of the call's number in a `syscalls` tracepoint's record, and of what follows it.
const NUMBER: usize = 8;
const REST: usize = 16;

/// `syscalls/sys_enter_*` of the calls in [`call`].
#[tracepoint]
pub fn call_enter(ctx: TracePointContext) -> u32 {
    if !context::traced() {
        return 0;
    }
    // SAFETY: the record of a `syscalls` tracepoint has these fields.
    let (Ok(number), Ok(arguments)) = (unsafe { ctx.read_at::<i32>(NUMBER) }, unsafe {
        ctx.read_at::<[u64; 6]>(REST)
    }) else {
        return 0;
    };
    // SAFETY: no arguments.
    let thread = unsafe { bpf_get_current_pid_tgid() };
    let _full = CALLS.insert(
        &thread,
        &Call {
            number: number as u64,
            arguments,
        },
        0,
    );
    0
}

/// `syscalls/sys_exit_*` of the calls that move one message. The others have programs of their own: together they are more
/// than the verifier looks at.
#[tracepoint]
pub fn call_exit(ctx: TracePointContext) -> u32 {
    let Some((number, arguments, result)) = finished(&ctx) else {
        return 0;
    };
    if number == call::READ && pipe::takes() {
        pipe::read(arguments[0], arguments[1], result);
    }
    let (direction, flags) = match number {
        call::RECVFROM => (INGRESS, arguments[3] as u32),
        call::RECVMSG => (INGRESS, arguments[2] as u32),
        call::READ | call::READV | call::PREADV2 => (INGRESS, 0),
        _ => (EGRESS, 0),
    };
    one(
        arguments[0],
        direction,
        result,
        flags,
        Memory::of_call(number, &arguments, direction),
    );
    0
}

/// `syscalls/sys_exit_splice`: either end may be the socket.
#[tracepoint]
pub fn splice_exit(ctx: TracePointContext) -> u32 {
    let Some((_, arguments, result)) = finished(&ctx) else {
        return 0;
    };
    let direction = if resolve(arguments[2]).is_some() {
        EGRESS
    } else {
        INGRESS
    };
    let fd = if direction == EGRESS {
        arguments[2]
    } else {
        arguments[0]
    };
    one(fd, direction, result, 0, Memory::none(NO_PAYLOAD_SPLICE));
    0
}

/// `syscalls/sys_exit_sendmmsg` and `sys_exit_recvmmsg`: each message is an operation of its own.
#[tracepoint]
pub fn batch_exit(ctx: TracePointContext) -> u32 {
    let Some((number, arguments, result)) = finished(&ctx) else {
        return 0;
    };
    let (direction, flags) = if number == call::RECVMMSG {
        (INGRESS, arguments[3] as u32)
    } else {
        (EGRESS, 0)
    };
    if result <= 0 {
        return 0;
    }
    if let Some(socket) = resolve(arguments[0]) {
        // SAFETY: the socket is of this mode.
        unsafe { operation::tell_batch::<Probe>(socket, direction, flags, arguments[1], result as u64) };
    }
    0
}

/// `syscalls/sys_enter_io_uring_enter` and `sys_enter_io_submit`: what they do to sockets passes no call that is seen here,
/// so that it was done is all that can be told.
#[tracepoint]
pub fn call_unseen(ctx: TracePointContext) -> u32 {
    if context::traced() {
        // SAFETY: the record of a `syscalls` tracepoint has this field.
        match unsafe { ctx.read_at::<i32>(NUMBER) } {
            Ok(number) if number as u64 == call::IO_SUBMIT => ring::count(counter::NO_PAYLOAD_AIO, 1),
            _ => ring::count(counter::NO_PAYLOAD_IO_URING, 1),
        }
    }
    0
}

/// A call of a traced process that is over: its number, arguments and result.
#[inline(always)]
fn finished(ctx: &TracePointContext) -> Option<(u64, [u64; 6], i64)> {
    if !context::traced() {
        return None;
    }
    // SAFETY: no arguments.
    let thread = unsafe { bpf_get_current_pid_tgid() };
    let Some(begun) = CALLS.get_ptr(&thread) else {
        ring::count(counter::ENTRY_UNKNOWN, 1);
        return None;
    };
    // SAFETY: the map gave the pointer.
    let begun = unsafe { *begun };
    let _absent = CALLS.remove(&thread);
    // SAFETY: the record of a `syscalls` tracepoint has this field.
    let result = unsafe { ctx.read_at::<i64>(REST) }.ok()?;
    Some((begun.number, begun.arguments, result))
}

#[inline(always)]
fn one(fd: u64, direction: u8, result: i64, flags: u32, memory: Memory) {
    let Some(socket) = resolve(fd) else {
        if direction == EGRESS {
            assist::listen(|| memory);
        }
        return;
    };
    let flagged = operation::flagged(direction, flags);
    // SAFETY: the socket is of this mode.
    unsafe { operation::tell::<Probe>(socket, direction, result, flagged, || memory) };
}

/// The stream socket behind a descriptor of the current task.
#[inline(always)]
fn resolve(fd: u64) -> Option<Socket> {
    let sk = descriptor::socket(fd)?;
    if sk.is_null() {
        ring::count(counter::FD_UNRESOLVED, 1);
        return None;
    }
    // SAFETY: the helper checks every address.
    unsafe { connection::stream::<Probe>(sk) }
}
