//! `--capture socket`, the default: one probe an operation, at the socket itself.
use core::ffi::{c_int, c_void};

use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_skc_to_tcp_sock};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use clew_common::event::{
    EGRESS, INGRESS, NO_PAYLOAD_AIO, NO_PAYLOAD_COMPAT, NO_PAYLOAD_FD_MISMATCH, NO_PAYLOAD_IO_URING,
    NO_PAYLOAD_KERNEL_SOCKET, NO_PAYLOAD_MMSG, NO_PAYLOAD_NONE,
};

use crate::arch::{Registers, call};
use crate::connection::Mode;
use crate::kernel::{self, Direct, Probe, Reader};
use crate::maps::{BATCHES, Batch};
use crate::operation::{self, Memory};
use crate::{assist, connection, context, log, settings as offset};

/// `sock_send_length(struct sock *sk, int ret, int flags)`, since 6.3; the flags it passes are always 0.
#[btf_tracepoint(function = "sock_send_length")]
pub fn socket_send(ctx: BtfTracePointContext) -> i32 {
    operation(&ctx, EGRESS)
}

/// `sock_recv_length(struct sock *sk, int ret, int flags)`, since 6.3.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn socket_recv(ctx: BtfTracePointContext) -> i32 {
    operation(&ctx, INGRESS)
}

/// `tcp_rcv_space_adjust(struct sock *sk)`, since 4.15: bytes are being copied to a process. Right behind it the socket's clock is set
/// to now (`tcp_rcv_space_adjust` calls `tcp_mstamp_refresh`); here it still says when the last segment came.
#[btf_tracepoint(function = "tcp_rcv_space_adjust")]
pub fn socket_copied(ctx: BtfTracePointContext) -> i32 {
    if !context::traced() {
        return 0;
    }
    let sk: *const c_void = ctx.arg(0);
    // SAFETY: the helper checks the socket's kind.
    let tcp = unsafe { bpf_skc_to_tcp_sock(sk.cast_mut()) } as *const c_void;
    if tcp.is_null() {
        return 0;
    }
    let conn = Direct::remember(sk);
    if conn.is_null() {
        return 0;
    }
    // SAFETY: the map gave the pointer, and the verifier knows the socket.
    unsafe {
        // An operation copies several segments; the first has waited longest.
        if (*conn).arrived_ns == 0 {
            (*conn).arrived_ns = Direct::read(tcp, offset::tcp_clock());
        }
    }
    0
}

#[inline(always)]
fn operation(ctx: &BtfTracePointContext, direction: u8) -> i32 {
    if !context::traced() {
        return 0;
    }
    let sk: *const c_void = ctx.arg(0);
    let result: c_int = ctx.arg(1);
    let flags: c_int = ctx.arg(2);
    let result = i64::from(result);
    let number = Registers::current().number();
    // Each operation of a batch moves its place on, also one that is not told.
    let batched = number == call::SENDMMSG || number == call::RECVMMSG;
    if !operation::matters(result) && !batched {
        return 0;
    }
    let memory = || Memory::left(connection::by_number(sk, || locate(direction.into(), result as u64)));
    // SAFETY: the tracepoint gives a socket.
    let Some(socket) = (unsafe { connection::stream::<Direct>(sk) }) else {
        if direction == EGRESS {
            if context::logs() {
                connection::by_number(sk, || log::sent(result as u64));
            }
            assist::listen(memory);
        }
        return 0;
    };
    let flagged = operation::flagged(direction, flags as u32);
    // SAFETY: the socket is of this mode.
    unsafe {
        if batched {
            let memory = memory();
            operation::tell::<Direct>(socket, direction, result, flagged, || memory);
        } else {
            operation::tell::<Direct>(socket, direction, result, flagged, memory);
        }
    }
    0
}

/// Finds the memory of the operation on the socket that stands in [`WALK`]: see [`Memory::left`].
///
/// A global function: the verifier looks at it once by itself, not anew in every state of its callers.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn locate(direction: u64, result: u64) -> u64 {
    memory(connection::file(connection::numbered()), direction as u8, result as i64).leave()
}

/// The memory of the operation on the socket that is `file`, if the saved registers are proven to be the operation's own.
#[inline(always)]
fn memory(file: u64, direction: u8, result: i64) -> Memory {
    const PF_IO_WORKER: u32 = 0x10;
    const PF_USER_WORKER: u32 = 0x4000;
    const PF_KTHREAD: u32 = 0x0020_0000;
    let task = kernel::task();
    // SAFETY: the task is valid.
    let flags: u32 = unsafe { Direct::read(task, offset::task_flags()) };
    if flags & (PF_IO_WORKER | PF_USER_WORKER) != 0 {
        return Memory::none(NO_PAYLOAD_IO_URING);
    }
    if flags & PF_KTHREAD != 0 {
        return Memory::none(NO_PAYLOAD_KERNEL_SOCKET);
    }
    let registers = Registers::current();
    let number = registers.number();
    // SAFETY: the task is valid.
    let status: u32 = unsafe { Direct::read(task, offset::task_status()) };
    if registers.compat(status) {
        return Memory::none(NO_PAYLOAD_COMPAT);
    }
    match number {
        _ if !registers.inside_call() => return Memory::none(beside_call(task)),
        call::IO_URING_ENTER => return Memory::none(NO_PAYLOAD_IO_URING),
        call::IO_SUBMIT => return Memory::none(NO_PAYLOAD_AIO),
        call::SENDFILE | call::SPLICE | call::VMSPLICE => {
            return Memory::of_call(number, &registers.arguments(), direction);
        }
        _ => {}
    }
    if !carries_buffer(number) {
        return Memory::none(beside_call(task));
    }
    let arguments = registers.arguments();
    if !descriptor_is(task, arguments[0], file) {
        let reason = beside_call(task);
        return Memory::none(if reason == NO_PAYLOAD_KERNEL_SOCKET {
            NO_PAYLOAD_FD_MISMATCH
        } else {
            reason
        });
    }
    if number == call::SENDMMSG || number == call::RECVMMSG {
        return batch(registers, number, direction, result);
    }
    Memory::of_call(number, &arguments, direction)
}

/// Why an operation runs that the call in the registers did not ask for: completions of io_uring run as task work inside
/// and behind any call.
#[inline(always)]
fn beside_call(task: *const c_void) -> u8 {
    // SAFETY: the task is valid.
    let ring: u64 = unsafe { Direct::read(task, offset::task_io_uring()) };
    if ring != 0 {
        NO_PAYLOAD_IO_URING
    } else {
        NO_PAYLOAD_KERNEL_SOCKET
    }
}

#[inline(always)]
fn carries_buffer(number: u64) -> bool {
    matches!(
        number,
        call::READ
            | call::WRITE
            | call::READV
            | call::WRITEV
            | call::SENDTO
            | call::RECVFROM
            | call::SENDMSG
            | call::RECVMSG
            | call::RECVMMSG
            | call::SENDMMSG
            | call::PREADV2
            | call::PWRITEV2
    )
}

/// Descriptor `fd` of the task is the socket that is `own`, a file.
#[inline(always)]
fn descriptor_is(task: *const c_void, fd: u64, own: u64) -> bool {
    // SAFETY: each pointer is of the type the field before it has, which the verifier knows, down to the array of files.
    unsafe {
        let files = Direct::pointer(task, offset::task_files());
        let table = Direct::pointer(files, offset::files_fdt());
        let size: u32 = Direct::read(table, offset::fdt_max());
        // A descriptor is an int: the upper half of the register is the caller's leftovers.
        let fd = fd & 0xffff_ffff;
        if fd >= u64::from(size) {
            return false;
        }
        let array: u64 = Direct::read(table, offset::fdt_fd());
        let file = Probe::read::<u64>((array + fd * 8) as *const c_void, 0);
        file != 0 && file == own
    }
}

/// The message of a sendmmsg or recvmmsg that this operation belongs to. The call has one set of registers for the whole
/// batch, so the place in it is kept beside the thread. It starts anew when the batch ends: after its last message, a
/// failed one, or one sent in part (`__sys_sendmmsg`, `do_recvmmsg`). A recvmmsg with a timeout may end unseen.
#[inline(always)]
fn batch(registers: Registers, number: u64, direction: u8, result: i64) -> Memory {
    // SAFETY: no arguments.
    let tid = unsafe { bpf_get_current_pid_tgid() } as u32;
    let arguments = registers.arguments();
    let (vector, length, timeout) = (arguments[1], arguments[2] & 0xffff_ffff, arguments[4]);
    let index = match BATCHES.get_ptr(&tid) {
        // SAFETY: the map gave the pointer.
        Some(at) => unsafe {
            if (*at).vector == vector && u64::from((*at).number) == number {
                u64::from((*at).index)
            } else {
                0
            }
        },
        None => 0,
    };
    let uncertain = direction == INGRESS && timeout != 0 && length > 1;
    let memory = Memory::message(vector + index * operation::MMSGHDR_BYTES);
    let size = if memory.reason == NO_PAYLOAD_NONE {
        total(memory)
    } else {
        None
    };
    let ends = result <= 0
        || index + 1 >= length
        || size.is_none()
        || (direction == EGRESS && size.is_some_and(|size| (result as u64) < size));
    if ends {
        let _absent = BATCHES.remove(&tid);
    } else {
        let next = Batch {
            vector,
            index: index as u32 + 1,
            number: number as u32,
        };
        let _full = BATCHES.insert(&tid, &next, 0);
    }
    match size {
        Some(size) if !uncertain && (result <= 0 || result as u64 <= size) => memory,
        _ => Memory::none(NO_PAYLOAD_MMSG),
    }
}

/// Bytes a vector has room for; none if it has more buffers than are looked at or cannot be read.
#[inline(always)]
fn total(memory: Memory) -> Option<u64> {
    const MAX_BUFFERS: u64 = 8;
    if memory.vectors > MAX_BUFFERS {
        return None;
    }
    let mut sum = 0_u64;
    let mut index = 0;
    while index < MAX_BUFFERS {
        if index >= memory.vectors {
            break;
        }
        sum = sum.wrapping_add(kernel::user::<u64>(memory.vector + index * 16 + 8)?);
        index += 1;
    }
    Some(sum)
}
