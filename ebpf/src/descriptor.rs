//! From a descriptor of the current task to the socket behind it, for programs to which a socket is a number.
use core::ffi::c_void;

use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;
use clew_common::event::{KIND_STATE, STATE_ACCEPTED, STATE_INSPECTED, State};

use crate::kernel::{self, Probe, Reader};
use crate::{connection, context, python, ring, settings as offset};

/// The `struct file` behind descriptor `fd` of the current task, null where it could not be found; none where there is no such
/// descriptor.
#[inline(always)]
pub fn file(fd: u64) -> Option<*const c_void> {
    // SAFETY: the helper checks every address.
    unsafe {
        let files = kernel::of_task::<u64>(offset::task_files()) as *const c_void;
        let table = Probe::pointer(files, offset::files_fdt());
        // A descriptor is an int: the upper half of the register is the caller's leftovers.
        let fd = fd & 0xffff_ffff;
        if fd >= u64::from(Probe::read::<u32>(table, offset::fdt_max())) {
            return None;
        }
        let array = Probe::pointer(table, offset::fdt_fd());
        Some(Probe::pointer((array as u64 + fd * 8) as *const c_void, 0))
    }
}

/// The `struct sock` behind descriptor `fd` of the current task, null where it could not be found; none where the descriptor
/// is no socket.
#[inline(always)]
pub fn socket(fd: u64) -> Option<*const c_void> {
    const S_IFMT: u16 = 0o170_000;
    const S_IFSOCK: u16 = 0o140_000;
    let file = file(fd)?;
    if file.is_null() {
        return Some(file);
    }
    // SAFETY: the helper checks every address.
    unsafe {
        let inode = Probe::pointer(file, offset::file_inode());
        if Probe::read::<u16>(inode, offset::inode_mode()) & S_IFMT != S_IFSOCK {
            return None;
        }
        let socket = Probe::pointer(file, offset::file_private());
        Some(Probe::pointer(socket, offset::socket_sk()))
    }
}

/// `syscalls/sys_enter_getsockopt`: a server that asks for TCP_INFO looks whether its client is still there. The cookie was
/// made when the connection was told.
#[tracepoint]
pub fn inspected(ctx: TracePointContext) -> u32 {
    inspect(&ctx, |sk| {
        // SAFETY: the helper checks every address.
        unsafe { Probe::read::<u64>(sk, offset::sk_cookie()) }
    })
}

/// The same for `--capture syscall`, where a connection is its inode's number.
#[tracepoint]
pub fn call_inspected(ctx: TracePointContext) -> u32 {
    inspect(&ctx, |sk| {
        // SAFETY: the helper checks every address.
        unsafe {
            let socket = Probe::pointer(sk, offset::sk_socket());
            let file = Probe::pointer(socket, offset::socket_file());
            let inode = Probe::pointer(file, offset::file_inode());
            Probe::read::<u64>(inode, offset::inode_ino())
        }
    })
}

#[inline(always)]
fn inspect(ctx: &TracePointContext, name: impl FnOnce(*const c_void) -> u64) -> u32 {
    const FD: usize = 16;
    const LEVEL: usize = 24;
    const OPTION: usize = 32;
    const IPPROTO_TCP: u64 = 6;
    const TCP_INFO: u64 = 11;
    if !context::traced() {
        return 0;
    }
    // SAFETY: the record of a `syscalls` tracepoint has these fields.
    let (level, option, fd) = unsafe {
        (
            ctx.read_at::<u64>(LEVEL).unwrap_or(0) & 0xffff_ffff,
            ctx.read_at::<u64>(OPTION).unwrap_or(0) & 0xffff_ffff,
            ctx.read_at::<u64>(FD).unwrap_or(u64::MAX),
        )
    };
    if level != IPPROTO_TCP || option != TCP_INFO {
        return 0;
    }
    let Some(sk) = socket(fd).filter(|sk| !sk.is_null()) else {
        return 0;
    };
    let conn = name(sk);
    // One that has no name yet was never told of.
    if conn == 0 {
        return 0;
    }
    let _lost = ring::send(&State {
        header: context::header_in_context(KIND_STATE),
        conn,
        state: STATE_INSPECTED,
        error: 0,
    });
    0
}

/// `syscalls/sys_exit_accept4` and `sys_exit_accept`.
#[tracepoint]
pub fn accepted(ctx: TracePointContext) -> u32 {
    const RESULT: usize = 16;
    if !context::traced() {
        return 0;
    }
    // SAFETY: the record of a `syscalls` tracepoint has this field.
    let fd = unsafe { ctx.read_at::<i64>(RESULT).unwrap_or(-1) };
    if fd < 0 {
        return 0;
    }
    waited(fd as u64);
    python::accepted(fd as u64);
    0
}

/// Tells how long a connection that was just accepted had waited for that. The kernel measures how fast bytes are taken out of a socket
/// from the end of the handshake on (`tcp_init_buffer_space`); nothing has taken any yet.
#[inline(always)]
fn waited(fd: u64) {
    /// What the event holds, some half an hour.
    const MOST_US: u64 = i32::MAX as u64;
    let Some(sk) = socket(fd).filter(|sk| !sk.is_null()) else {
        return;
    };
    // SAFETY: the helper checks every address.
    let established_us: u64 = unsafe {
        if !connection::is_tcp(sk) {
            return;
        }
        Probe::read(sk, offset::tcp_space_time())
    };
    let conn = if offset::by_inode() != 0 {
        connection::inode(sk)
    } else {
        // SAFETY: as above.
        unsafe { Probe::read(sk, offset::sk_cookie()) }
    };
    if conn == 0 || established_us == 0 {
        return;
    }
    let header = context::header(KIND_STATE);
    let waited_us = (header.time_ns / 1000).saturating_sub(established_us);
    let _lost = ring::send(&State {
        header,
        conn,
        state: STATE_ACCEPTED,
        error: if waited_us > MOST_US {
            MOST_US as u32
        } else {
            waited_us as u32
        },
    });
}
