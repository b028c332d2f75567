//! What targets write to their logs: standard output and error, files that are called so, and the sockets of syslog and the journal.
//!
//! Seen where the call ends, when the result says how much was written; the registers still have the arguments. So an untraced
//! process pays for one program at the end of a call that writes, and for nothing at its beginning. Datagrams are seen where all
//! sockets are (`--capture socket`).
use core::ffi::c_void;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::{
    bpf_probe_read_kernel, bpf_probe_read_kernel_str, bpf_probe_read_user, bpf_probe_read_user_str,
};
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;
use clew_common::counter;
use clew_common::event::{
    CHUNK_BYTES, EGRESS, KIND_LOG, LOG_MESSAGE, LOG_MORE, LOG_NAME_BYTES, LOG_STDERR, LOG_STDOUT, Log, NO_PAYLOAD_NONE,
};
use clew_common::log::{ANY_LOG, LOG_IF_APPENDED, NO_LOG, Name};
use clew_common::settings::{TARGET_ASSISTED, TARGET_LOGS};

use crate::arch::{Registers, call};
use crate::kernel::{self, Direct, Probe, Reader};
use crate::maps::{LOG_SCRATCH, LOG_SECOND};
use crate::operation::Memory;
use crate::verifier::opaque;
use crate::{assist, connection, context, ring, settings as offset, socket};

/// Bytes copied within a second on one CPU.
const RATE_BYTES: u64 = 8 << 20;
/// Buffers of one call that are looked at.
const MAX_BUFFERS: u64 = 16;
/// Records that one buffer is told in at most.
const MAX_CHUNKS: u64 = 8;

/// `syscalls/sys_exit_write`, `_writev`, `_pwrite64`. Needs the task's registers (Linux 5.15).
#[tracepoint]
pub fn log_written(ctx: TracePointContext) -> u32 {
    const RESULT: usize = 16;
    let Some(target) = context::target() else { return 0 };
    // SAFETY: the map gave the pointer.
    let target = unsafe { *target };
    if target & TARGET_LOGS == 0 {
        return 0;
    }
    // SAFETY: the record of a `syscalls` tracepoint has this field, and the verifier checks loads through the context.
    let written = unsafe { ctx.as_ptr().cast::<u8>().add(RESULT).cast::<i64>().read() };
    if written <= 0 {
        return 0;
    }
    let registers = Registers::current();
    // SAFETY: the task is valid.
    let status: u32 = unsafe { Direct::read(kernel::task(), offset::task_status()) };
    if registers.compat(status) {
        return 0;
    }
    let [fd, memory, buffers, ..] = registers.arguments();
    let vector = registers.number() == call::WRITEV;
    let Some(file) = find(fd) else { return 0 };
    if file.stream == 0 {
        name(&file);
        let called = is_called();
        if called != ANY_LOG && (called != LOG_IF_APPENDED || !file.is_appended) {
            return 0;
        }
    }
    begin(&file, target & TARGET_ASSISTED != 0);
    if vector {
        pieces(memory, buffers, written as u64);
    } else {
        piece(memory, written as u64, written as u64, 0);
    }
    0
}

/// Tells of `written` bytes in the `buffers` that a vector at `memory` names.
#[inline(always)]
fn pieces(memory: u64, buffers: u64, written: u64) {
    let mut left = written;
    let mut index = 0;
    while index < MAX_BUFFERS && index < buffers {
        let Some([base, room]) = kernel::user::<[u64; 2]>(memory + index * 16) else {
            break;
        };
        let size = if room < left { room } else { left };
        left -= size;
        if size > 0 {
            let more = left > 0 && index + 1 < MAX_BUFFERS;
            // Of what is behind the last buffer that is looked at, it is told that it was written.
            let length = if more { size } else { size + left };
            piece(base, size, length, u64::from(more));
        }
        index += 1;
    }
    ring::count(counter::LOG_CUT, left);
}

/// The current thread sent `length` bytes on the socket that is [`connection::numbered`], which is no stream: tells of it if that is a
/// message to syslog or the journal. Zero.
///
/// A global function: the verifier looks at it once by itself, not anew in every state of its callers.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn sent(length: u64) -> u64 {
    const AF_UNIX: u16 = 1;
    let sk = connection::numbered();
    // SAFETY: the helper checks every address.
    if unsafe { Probe::read::<u16>(sk, offset::sk_family()) } != AF_UNIX || offset::typed_task() == 0 {
        return 0;
    }
    let service = addressed(sk);
    if !SERVICES.contains(&service) {
        return 0;
    }
    let memory = Memory::left(socket::locate(EGRESS.into(), length));
    if memory.reason != NO_PAYLOAD_NONE {
        ring::count(counter::LOG_FAULT, length);
        return 0;
    }
    message(sk, service);
    if memory.vector != 0 {
        pieces(memory.vector, memory.vectors, length);
    } else {
        piece(memory.base, length, length, 0);
    }
    0
}

/// How the addresses of syslog and of the journal end: `/dev/log` and `/run/systemd/journal/dev-log`, and
/// `/run/systemd/journal/socket`.
const SERVICES: [u64; 3] = [
    u64::from_ne_bytes(*b"/dev/log"),
    u64::from_ne_bytes(*b"/dev-log"),
    u64::from_ne_bytes(*b"l/socket"),
];

/// The last bytes of the path to which the current call sent on a Unix socket; 0 where there is none.
#[inline(always)]
fn addressed(sk: *const c_void) -> u64 {
    /// `struct sockaddr_un`: the path behind the family.
    const PATH: u64 = 2;
    /// `struct unix_address`: the name behind a counter and a length.
    const NAME: u64 = 8;
    /// The most a path and the end of it take.
    const PATH_BYTES: u32 = 109;
    /// Eight bytes that are looked at, and the one that ends the path.
    const SHORTEST: u64 = 9;
    let Some(scratch) = LOG_SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    let registers = Registers::current();
    let arguments = registers.arguments();
    let given = match registers.number() {
        call::SENDTO => arguments[4],
        call::SENDMSG => kernel::user::<u64>(arguments[1]).unwrap_or(0),
        _ => 0,
    };
    // SAFETY: the map gave the pointer, nothing interrupts a program on its CPU that uses it, and the helpers check every address.
    unsafe {
        let place: *mut u8 = (&raw mut (*scratch).payload).cast();
        let size = if given != 0 {
            bpf_probe_read_user_str(place.cast(), PATH_BYTES, (given + PATH) as *const c_void)
        } else {
            let peer = Probe::pointer(sk, offset::unix_peer());
            let address = Probe::pointer(peer, offset::unix_addr()) as u64;
            bpf_probe_read_kernel_str(place.cast(), PATH_BYTES, (address + NAME + PATH) as *const c_void)
        };
        // The verifier of Linux 6.12 knows of the number that was compared alone.
        let start = opaque((size as u64).wrapping_sub(SHORTEST));
        if start > u64::from(PATH_BYTES) - SHORTEST {
            return 0;
        }
        place.add(start as usize).cast::<u64>().read_unaligned()
    }
}

/// Begins the record of a message to `service`.
#[inline(always)]
fn message(sk: *const c_void, service: u64) {
    let Some(scratch) = LOG_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    let told = assist::or_read(assist::told_log());
    // SAFETY: the map gave the pointer, and nothing interrupts a program on its CPU that uses it.
    unsafe {
        let head = &raw mut (*scratch).head;
        (*head).header = context::header(KIND_LOG);
        ((*head).header.context_kind, (*head).header.context) = told;
        (*head).file = sk as u64;
        (*head).inode = 0;
        (*head).flags = LOG_MESSAGE;
        (*head).name = [0; LOG_NAME_BYTES];
        (&raw mut (*head).name).cast::<u64>().write_unaligned(service);
        (*head).named = 8;
    }
}

/// An open file that is a standard stream, or may be a log.
struct File {
    /// `struct file`, and the number of its inode.
    file: *const c_void,
    number: u64,
    /// Which standard streams it is: `LOG_` bits.
    stream: u32,
    is_appended: bool,
}

/// The open file behind descriptor `fd`, if it may be a log.
#[inline(always)]
fn find(fd: u64) -> Option<File> {
    const S_IFMT: u16 = 0o170_000;
    const S_IFREG: u16 = 0o100_000;
    const S_IFIFO: u16 = 0o010_000;
    const S_IFCHR: u16 = 0o020_000;
    const S_IFSOCK: u16 = 0o140_000;
    const O_APPEND: u32 = 0o2000;
    const AF_UNIX: u16 = 1;
    /// The major number of /dev/null and its kin (`Documentation/admin-guide/devices.txt`).
    const MEMORY: u32 = 1;
    /// Bits of a device's minor number, in the kernel's own form.
    const MINOR_BITS: u32 = 20;
    // SAFETY: the task is valid, the verifier knows the types up to the array, and the helper checks every other address.
    unsafe {
        let files = Direct::pointer(kernel::task(), offset::task_files());
        let table = Direct::pointer(files, offset::files_fdt());
        let fd = fd & 0xffff_ffff;
        let size = u64::from(Direct::read::<u32>(table, offset::fdt_max()));
        if fd >= size || size < 3 {
            return None;
        }
        let array = Direct::pointer(table, offset::fdt_fd());
        let file = Probe::pointer((array as u64 + fd * 8) as *const c_void, 0);
        let [input, output, error] = Probe::read::<[u64; 3]>(array, 0);
        let inode = Probe::pointer(file, offset::file_inode());
        // A program may write through a copy of the descriptor; one file may be both.
        let is = |other: u64| file as u64 == other;
        let stream = if fd == 2 || (is(error) && !is(output)) {
            LOG_STDERR
        } else if is(output) || is(error) {
            LOG_STDOUT
        } else {
            0
        };
        let logs = match Probe::read::<u16>(inode, offset::inode_mode()) & S_IFMT {
            S_IFREG => true,
            S_IFIFO => stream != 0,
            S_IFCHR => stream != 0 && Probe::read::<u32>(inode, offset::inode_rdev()) >> MINOR_BITS != MEMORY,
            // What a service manager or a parent reads. A server that is handed its connection has it as its input, too.
            S_IFSOCK if stream != 0 && !is(input) => {
                let socket = Probe::pointer(file, offset::file_private());
                let sk = Probe::pointer(socket, offset::socket_sk());
                Probe::read::<u16>(sk, offset::sk_family()) == AF_UNIX
            }
            _ => false,
        };
        logs.then(|| File {
            file,
            number: Probe::read(inode, offset::inode_ino()),
            stream,
            is_appended: stream == 0 && Probe::read::<u32>(file, offset::file_flags()) & O_APPEND != 0,
        })
    }
}

/// Notes what a file is called.
#[inline(always)]
fn name(file: &File) {
    let Some(scratch) = LOG_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the map gave the pointer, nothing interrupts a program on its CPU that uses it, and the helper checks every address.
    unsafe {
        let head = &raw mut (*scratch).head;
        let dentry = Probe::pointer(file.file, offset::file_dentry());
        let name = Probe::pointer(dentry, offset::dentry_name()) as u64;
        let length = Probe::read::<u32>(dentry, offset::dentry_length());
        let named = if length > LOG_NAME_BYTES as u32 {
            LOG_NAME_BYTES as u32
        } else {
            length
        };
        let size = opaque(u64::from(named));
        let from = name + u64::from(length) - size;
        let place = (&raw mut (*head).name).cast();
        let read =
            size <= LOG_NAME_BYTES as u64 && bpf_probe_read_kernel(place, size as u32, from as *const c_void) == 0;
        (*head).named = if read { named } else { 0 };
    }
}

/// What the file is whose name was noted, as [`Name::is`] has it.
#[inline(always)]
fn is_called() -> u32 {
    let Some(scratch) = LOG_SCRATCH.get_ptr_mut(0) else {
        return NO_LOG;
    };
    // SAFETY: the map gave the pointer, and nothing interrupts a program on its CPU that uses it.
    unsafe {
        (*scratch).called = Name::EMPTY;
        let mut at = 0;
        while at < LOG_NAME_BYTES as u64 && letter(at) != 0 {
            at += 1;
        }
        (*scratch).called.is()
    }
}

/// Reads the letter at `at` of the name that was noted; 0 behind its end.
///
/// A global function: the verifier looks at it once by itself, not anew for each letter and all that the one before may have been.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn letter(at: u64) -> u64 {
    let Some(scratch) = LOG_SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    let at = opaque(at);
    // SAFETY: the map gave the pointer, the place is within, and nothing interrupts a program on its CPU that uses it.
    unsafe {
        if at >= LOG_NAME_BYTES as u64 || at >= u64::from((*scratch).head.named) {
            return 0;
        }
        (*scratch).called.read((*scratch).head.name[at as usize]);
    }
    1
}

/// Begins the records of a call: all but what was written, and what the file is called. `assisted` tells that the process may have a hook.
#[inline(always)]
fn begin(file: &File, assisted: bool) {
    let Some(scratch) = LOG_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    let told = assist::or_read(if assisted { assist::told_log() } else { assist::NONE });
    // SAFETY: the map gave the pointer, nothing interrupts a program on its CPU that uses it, and the helper checks every address.
    unsafe {
        let head = &raw mut (*scratch).head;
        (*head).header = context::header(KIND_LOG);
        ((*head).header.context_kind, (*head).header.context) = told;
        (*head).file = file.file as u64;
        (*head).inode = file.number;
        (*head).flags = file.stream;
        if file.stream != 0 {
            // Nobody asks what it is called.
            (*head).named = 0;
        }
    }
}

/// Tells of one buffer of `size` bytes, where `length` were written. Zero.
///
/// A global function: the verifier looks at it once by itself, not anew in every state of its callers.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn piece(base: u64, size: u64, length: u64, more: u64) -> u64 {
    const CHUNK: u64 = CHUNK_BYTES as u64;
    let mut told = 0;
    let mut chunks = 1;
    while chunks < MAX_CHUNKS && size - told > CHUNK {
        chunk(base + told, CHUNK, CHUNK, 1);
        told += CHUNK;
        chunks += 1;
    }
    chunk(base + told, size - told, length - told, more);
    0
}

/// Tells of a piece of a buffer as [`piece`] does of the buffer, but at most of so much as a record holds. Zero.
///
/// A global function, as [`piece`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn chunk(base: u64, mut size: u64, length: u64, more: u64) -> u64 {
    let Some(scratch) = LOG_SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    if size > CHUNK_BYTES as u64 {
        ring::count(counter::LOG_CUT, size - CHUNK_BYTES as u64);
        size = CHUNK_BYTES as u64;
    }
    // SAFETY: the map gave the pointer.
    if !may_copy(size, unsafe { (*scratch).head.header.time_ns }) {
        ring::count(counter::LOG_RATE, size);
        size = 0;
    }
    let size = opaque(size);
    if size > CHUNK_BYTES as u64 {
        return 0;
    }
    // SAFETY: the map gave the pointer, nothing interrupts a program on its CPU that uses it, and the helper checks the address.
    unsafe {
        let payload = (&raw mut (*scratch).payload).cast();
        let head = &raw mut (*scratch).head;
        let read = size > 0 && bpf_probe_read_user(payload, size as u32, base as *const c_void) == 0;
        (*head).length = length as u32;
        (*head).flags = (*head).flags & !LOG_MORE | if more == 0 { 0 } else { LOG_MORE };
        if read {
            (*head).captured = size as u32;
            ring::write(scratch, size_of::<Log>() as u64 + size);
        } else {
            ring::count(counter::LOG_FAULT, size);
            (*head).captured = 0;
            ring::write(scratch, size_of::<Log>() as u64);
        }
    }
    0
}

/// Whether so many bytes may be copied at `time_ns` of what is no traffic.
#[inline(always)]
pub fn may_copy(size: u64, time_ns: u64) -> bool {
    const NS: u64 = 1_000_000_000;
    let Some(state) = LOG_SECOND.get_ptr_mut(0) else {
        return false;
    };
    let second = time_ns / NS;
    // SAFETY: the map gave the pointer, and nothing interrupts a program on its CPU that uses it.
    unsafe {
        if (*state).second != second {
            (*state).second = second;
            (*state).bytes = 0;
        }
        (*state).bytes += size;
        (*state).bytes <= RATE_BYTES
    }
}
