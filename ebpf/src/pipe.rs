//! What processes read from pipes by which others hand them work: targets that have been told to ([`TARGET_TAKES`]), and no others.
use core::ffi::c_void;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;
use clew_common::counter;
use clew_common::event::{CHUNK_BYTES, KIND_PIPE, PipeRead};
use clew_common::settings::TARGET_TAKES;

use crate::arch::Registers;
use crate::kernel::{self, Direct, Probe, Reader};
use crate::verifier::opaque;
use crate::{context, descriptor, log, ring, settings as offset};

/// What records have room for: a length, a short message, and the most.
const SMALL: usize = 64;
const MIDDLE: usize = 4096;

/// Whether it is told what the current process reads from pipes.
#[inline(always)]
pub fn takes() -> bool {
    // SAFETY: the map gave the pointer.
    context::target().is_some_and(|target| unsafe { *target & TARGET_TAKES != 0 })
}

/// `syscalls/sys_exit_read`. Needs the task's registers (Linux 5.15).
#[tracepoint]
pub fn pipe_taken(ctx: TracePointContext) -> u32 {
    const RESULT: usize = 16;
    if !takes() {
        return 0;
    }
    // SAFETY: the record of a `syscalls` tracepoint has this field, and the verifier checks loads through the context.
    let length = unsafe { ctx.as_ptr().cast::<u8>().add(RESULT).cast::<i64>().read() };
    let registers = Registers::current();
    // SAFETY: the task is valid.
    let status: u32 = unsafe { Direct::read(kernel::task(), offset::task_status()) };
    if !registers.compat(status) {
        let [fd, base, ..] = registers.arguments();
        read(fd, base, length);
    }
    0
}

/// The current thread has read `length` bytes of descriptor `fd` to `base`: tells of it, if that is a pipe.
#[inline(always)]
pub fn read(fd: u64, base: u64, length: i64) {
    const S_IFMT: u16 = 0o170_000;
    const S_IFIFO: u16 = 0o010_000;
    let Some(file) = descriptor::file(fd) else { return };
    // SAFETY: the helper checks every address.
    let mode: u16 = unsafe { Probe::read(Probe::pointer(file, offset::file_inode()), offset::inode_mode()) };
    if length > 0 && mode & S_IFMT == S_IFIFO {
        tell(file, base, length as u64);
    }
}

/// Tells that `length` bytes of the pipe `file` were read to `base`.
#[inline(always)]
fn tell(file: *const c_void, base: u64, length: u64) {
    // SAFETY: the helper checks every address.
    let pipe: u64 = unsafe { Probe::read(Probe::pointer(file, offset::file_inode()), offset::inode_ino()) };
    if length <= SMALL as u64 {
        tell_small(pipe, base, length);
    } else if length <= MIDDLE as u64 {
        tell_middle(pipe, base, length);
    } else {
        tell_large(pipe, base, length);
    }
}

/// Global functions: the verifier looks at each once by itself, not anew in every state of its callers.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn tell_small(pipe: u64, base: u64, length: u64) -> u64 {
    told::<SMALL>(pipe, base, length)
}

#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn tell_middle(pipe: u64, base: u64, length: u64) -> u64 {
    told::<MIDDLE>(pipe, base, length)
}

#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn tell_large(pipe: u64, base: u64, length: u64) -> u64 {
    told::<CHUNK_BYTES>(pipe, base, length)
}

/// Writes a record that has room for `ROOM` bytes. Zero.
#[inline(always)]
fn told<const ROOM: usize>(pipe: u64, base: u64, length: u64) -> u64 {
    ring::fill(|record: *mut Padded<ROOM>| {
        // SAFETY: the record was reserved for one, and the helper checks the address.
        unsafe {
            let head = &raw mut (*record).head;
            (*head).header = context::header(KIND_PIPE);
            (*head).pipe = pipe;
            (*head).length = length as u32;
            (*head).captured = 0;
            let length = u64::from((&raw const (*head).length).read_volatile());
            let mut size = length;
            if size > ROOM as u64 {
                ring::count(counter::PIPE_CUT, size - ROOM as u64);
                size = ROOM as u64;
            }
            if !log::may_copy(size, (*head).header.time_ns) {
                ring::count(counter::PIPE_RATE, size);
                return;
            }
            let size = opaque(size);
            let payload = (&raw mut (*record).payload).cast();
            if size > ROOM as u64 || bpf_probe_read_user(payload, size as u32, base as *const c_void) != 0 {
                ring::count(counter::PIPE_FAULT, length);
            } else {
                (*head).captured = size as u32;
            }
        }
    });
    0
}

/// A record with room for more than it may hold.
#[repr(C)]
struct Padded<const ROOM: usize> {
    head: PipeRead,
    payload: [u8; ROOM],
}
