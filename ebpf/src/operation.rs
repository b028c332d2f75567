//! One operation on a socket: where its bytes lie in the process's memory, and telling the agent of them.
use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use clew_common::event::{
    CHUNK_BYTES, DATA_CONTINUED, DATA_END, Data, EGRESS, INGRESS, NO_PAYLOAD_BUDGET, NO_PAYLOAD_FD_MISMATCH,
    NO_PAYLOAD_NONE, NO_PAYLOAD_SPLICE, NO_PAYLOAD_TRUNC, NO_PAYLOAD_USER_FAULT, Times,
};
use clew_common::{budget, counter};

use crate::arch::call;
use crate::connection::{Mode, Socket};
use crate::kernel;
use crate::maps::{BATCH_WALK, BatchWalk, CONNECTIONS_BY_INODE, Conn, SCRATCH, Scratch, VERDICTS, WALK, Walk};
use crate::verifier::opaque;
use crate::{assist, ring, settings, stacks, times, tls};

pub const MSG_OOB: u32 = 0x1;
pub const MSG_PEEK: u32 = 0x2;
pub const MSG_TRUNC: u32 = 0x20;
pub const MSG_ERRQUEUE: u32 = 0x2000;

/// `struct user_msghdr`: `msg_iov` within it, with `msg_iovlen` behind it, and the size of `struct mmsghdr` around it.
const MSG_IOV: u64 = 16;
pub const MMSGHDR_BYTES: u64 = 64;
pub const MMSGHDR_LEN: u64 = 56;
const IOVEC_BYTES: u64 = 16;
/// Steps one operation may take, in turns of so many: each of the 1024 buffers that it may have (`UIO_MAXIOV`) may take two, one that writes
/// what was gathered before, and each chunk of a large buffer one. Two loops in turn are looked at by the verifier for as many steps as
/// both have, one loop for all.
const TURNS: u32 = 56;
const TURN_STEPS: u32 = 40;
/// Longest buffer that is gathered with others, and most that is gathered before one, bytes.
const HALF: u64 = CHUNK_BYTES as u64 / 2;
/// Operations of a connection that have their beginning copied although their message's budget is spent: what a connection
/// that carries many messages at once says until the agent has understood it.
const MAX_SPARED: u16 = 32;

/// Where an operation's bytes lie.
#[derive(Clone, Copy)]
pub struct Memory {
    /// User address of a `struct iovec` array; 0 for one buffer.
    pub vector: u64,
    /// Its length.
    pub vectors: u64,
    /// The one buffer.
    pub base: u64,
    /// Its size.
    pub room: u64,
    /// Why nothing may be read, a `NO_PAYLOAD_` reason.
    pub reason: u8,
}

impl Memory {
    /// Nothing may be read.
    #[inline(always)]
    pub const fn none(reason: u8) -> Self {
        Self {
            vector: 0,
            vectors: 0,
            base: 0,
            room: 0,
            reason,
        }
    }

    #[inline(always)]
    const fn buffer(base: u64, room: u64) -> Self {
        Self {
            vector: 0,
            vectors: 0,
            base,
            room,
            reason: NO_PAYLOAD_NONE,
        }
    }

    #[inline(always)]
    pub const fn vector(vector: u64, vectors: u64) -> Self {
        Self {
            vector,
            vectors,
            base: 0,
            room: 0,
            reason: NO_PAYLOAD_NONE,
        }
    }

    /// The vector of a `struct msghdr`.
    #[inline(always)]
    pub fn message(header: u64) -> Self {
        match kernel::user::<[u64; 2]>(header + MSG_IOV) {
            Some([vector, vectors]) => Self::vector(vector, vectors),
            None => Self::none(NO_PAYLOAD_USER_FAULT),
        }
    }

    /// Leaves where the bytes lie for [`Self::left`], on this CPU. The reason: a function that the verifier looks at by itself gives
    /// back no more than a number.
    #[inline(always)]
    pub fn leave(self) -> u64 {
        let Some(walk) = WALK.get_ptr_mut(0) else {
            return u64::from(NO_PAYLOAD_BUDGET);
        };
        // SAFETY: the map gave the pointer, and nothing interrupts a program on its CPU that uses it.
        unsafe {
            (*walk).vector = self.vector;
            (*walk).vectors = self.vectors;
            (*walk).base = self.base;
            (*walk).room = self.room;
        }
        u64::from(self.reason)
    }

    /// What was left with `reason`.
    #[inline(always)]
    pub fn left(reason: u64) -> Self {
        let Some(walk) = WALK.get_ptr(0) else {
            return Self::none(NO_PAYLOAD_BUDGET);
        };
        // SAFETY: the map gave the pointer, and nothing interrupts a program on its CPU that uses it.
        unsafe {
            Self {
                vector: (*walk).vector,
                vectors: (*walk).vectors,
                base: (*walk).base,
                room: (*walk).room,
                reason: reason as u8,
            }
        }
    }

    /// The memory a call names, for every call but the batches. What is not in the table is not read.
    #[inline(always)]
    pub fn of_call(number: u64, arguments: &[u64; 6], direction: u8) -> Self {
        let wrong_way = match number {
            call::READ | call::READV | call::RECVFROM | call::RECVMSG | call::PREADV2 => direction != INGRESS,
            call::WRITE | call::WRITEV | call::SENDTO | call::SENDMSG | call::PWRITEV2 => direction != EGRESS,
            _ => false,
        };
        if wrong_way {
            return Self::none(NO_PAYLOAD_FD_MISMATCH);
        }
        let sent = match number {
            call::SENDTO => arguments[3],
            call::SENDMSG => arguments[2],
            _ => 0,
        };
        if sent & MSG_OOB as u64 != 0 {
            // The urgent byte has a place in the sequence, but the other end does not read it there.
            return Self::none(NO_PAYLOAD_TRUNC);
        }
        match number {
            call::READ | call::WRITE | call::SENDTO | call::RECVFROM => Self::buffer(arguments[1], arguments[2]),
            call::READV | call::WRITEV | call::PREADV2 | call::PWRITEV2 => Self::vector(arguments[1], arguments[2]),
            call::SENDMSG | call::RECVMSG => Self::message(arguments[1]),
            call::SENDFILE | call::SPLICE | call::VMSPLICE => Self::none(NO_PAYLOAD_SPLICE),
            _ => Self::none(NO_PAYLOAD_FD_MISMATCH),
        }
    }
}

/// What the flags of an operation say of its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Flagged {
    /// They are of the stream and in memory.
    Plain,
    /// They are of the stream, but were not copied to memory.
    Consumed,
    /// They are not of the stream, or stay in it.
    Outside,
}

/// What `flags` of `direction` say.
#[inline(always)]
pub fn flagged(direction: u8, flags: u32) -> Flagged {
    if direction == EGRESS {
        return Flagged::Plain;
    }
    if flags & (MSG_PEEK | MSG_ERRQUEUE | MSG_OOB) != 0 {
        Flagged::Outside
    } else if flags & MSG_TRUNC != 0 {
        Flagged::Consumed
    } else {
        Flagged::Plain
    }
}

/// Whether the agent has to hear of an operation that returned `result`: it moved bytes, or ended the connection.
#[inline(always)]
pub fn matters(result: i64) -> bool {
    result >= 0 || ending(-result) != 0
}

/// Tells the agent of an operation that returned `result`. `memory` finds where its bytes lie; it is not asked where none
/// may be copied.
///
/// # Safety
/// `socket` was made in mode `M`.
#[inline(always)]
pub unsafe fn tell<M: Mode>(
    socket: Socket,
    direction: u8,
    result: i64,
    flagged: Flagged,
    memory: impl FnOnce() -> Memory,
) {
    let error = if result < 0 { ending(-result) } else { 0 };
    if (result < 0 && error == 0) || flagged == Flagged::Outside {
        return;
    }
    // SAFETY: the socket is of the mode.
    if result == 0 && (direction == EGRESS || unsafe { !socket.at_end::<M>() }) {
        return;
    }
    let conn = M::remember(socket.sk);
    if conn.is_null() {
        ring::count(counter::CONN_STATE_FULL, 1);
        return;
    }
    let moved = if result > 0 { result as u64 } else { 0 };
    // SAFETY: the map gave `conn`, and the socket is of the mode.
    unsafe {
        // The name has to be there before an offset is asked for: it says whether the SYN counts.
        // Nothing tells that a socket of datagrams is closed: the agent forgets it when it is silent.
        if (*conn).announced == 0 || socket.is_datagram() {
            socket.announce::<M>(conn);
        }
        let ended = socket.advance::<M>(conn, direction, moved);
        let end = ended.said;
        if !socket.is_datagram() {
            tls::carried((*conn).id, direction, moved, ended.wire, ended.is_changed);
        }
        socket.measure::<M>(conn);
        if settings::stacks() != 0 && socket.begins(conn, direction) {
            stacks::tell_stack((*conn).id);
        }
        refill(conn, direction);
        let memory = if moved == 0 || (*conn).budget == 0 {
            Memory::none(NO_PAYLOAD_BUDGET)
        } else if flagged == Flagged::Consumed {
            Memory::none(NO_PAYLOAD_TRUNC)
        } else {
            memory()
        };
        let context = assist::told::<M>(socket, direction, end);
        if settings::times() != 0 {
            times::tell_times();
        }
        copy(conn, direction, end.wrapping_sub(moved), moved, error, memory, context);
    }
}

/// The `errno`s that end a connection; 0 for every other.
#[inline(always)]
fn ending(errno: i64) -> u32 {
    const EPIPE: i64 = 32;
    const ECONNRESET: i64 = 104;
    const ETIMEDOUT: i64 = 110;
    const ECONNREFUSED: i64 = 111;
    match errno {
        EPIPE | ECONNRESET | ETIMEDOUT | ECONNREFUSED => errno as u32,
        _ => 0,
    }
}

/// A connection that turns round has begun a message, which has a budget of its own.
#[inline(always)]
unsafe fn refill(conn: *mut Conn, direction: u8) {
    // SAFETY: the map gave the pointer.
    unsafe {
        let turned = (*conn).last != u16::from(direction) + 1;
        let spent = (*conn).budget == 0;
        if turned || spent {
            let id = (*conn).id;
            if let Some(verdict) = VERDICTS.get_ptr(&id) {
                (*conn).verdict = u16::from(*verdict);
            }
        }
        if turned || (*conn).verdict >= u16::from(budget::VERDICT_EVERY) {
            (*conn).last = u16::from(direction) + 1;
            (*conn).budget = budget::of((*conn).verdict as u8, settings::head_bytes(), settings::body_bytes());
        } else if spent && (*conn).verdict == 0 && (*conn).spared < MAX_SPARED {
            (*conn).spared += 1;
            (*conn).budget = settings::head_bytes();
        }
    }
}

/// Writes the operation's records: what the budget allows with payload, the rest as a length.
#[inline(always)]
unsafe fn copy(
    conn: *mut Conn,
    direction: u8,
    offset: u64,
    moved: u64,
    error: u32,
    memory: Memory,
    context: assist::Context,
) {
    let (Some(scratch), Some(walk)) = (SCRATCH.get_ptr_mut(0), WALK.get_ptr_mut(0)) else {
        return;
    };
    // SAFETY: the maps gave the pointers, and nothing interrupts a program on its CPU that uses them.
    unsafe {
        (*scratch).head = Data {
            header: assist::header(context),
            conn: (*conn).id,
            offset,
            length: 0,
            captured: 0,
            error,
            direction,
            no_payload: NO_PAYLOAD_NONE,
            flags: if moved == 0 && error == 0 { DATA_END } else { 0 },
            rtt_us: (*conn).rtt_us,
            retransmits: (*conn).retransmits,
            buffered_ns: 0,
        };
        if direction == INGRESS && (*conn).arrived_ns != 0 {
            (*scratch).head.buffered_ns = (*scratch).head.header.time_ns.saturating_sub((*conn).arrived_ns);
            (*conn).arrived_ns = 0;
        }
        if moved == 0 {
            write(scratch, 0);
            return;
        }
        *walk = Walk {
            sk: 0,
            vector: memory.vector,
            vectors: memory.vectors,
            base: memory.base,
            room: memory.room,
            left: moved,
            gathered: 0,
            offset,
            budget: u64::from((*conn).budget),
            stopped: u64::from(memory.reason),
            settled: 0,
        };
        count_reason(memory.reason);
        walk_through();
        (*conn).budget = (*walk).budget as u32;
        if (*walk).settled != 0 {
            (*conn).verdict = (*walk).settled as u16;
        }
    }
}

/// Writes the record that was built, with `payload` bytes.
///
/// # Safety
/// The map gave the pointer, and no more bytes are there.
#[inline(always)]
unsafe fn write(scratch: *mut Scratch, payload: u64) {
    const HEAD: u64 = size_of::<Data>() as u64;
    const TIMES: u64 = size_of::<Times>() as u64;
    // SAFETY: the caller vouches for the pointer, and nothing interrupts a program on its CPU that uses it.
    unsafe {
        if (*scratch).times.header.kind == 0 {
            ring::write(&raw const (*scratch).head, HEAD + payload);
        } else {
            ring::write(&raw const (*scratch).times, TIMES + HEAD + payload);
            (*scratch).times.header.kind = 0;
        }
    }
}

/// Counts why an operation has no payload.
#[inline(always)]
fn count_reason(reason: u8) {
    use clew_common::event as e;
    let index = match reason {
        e::NO_PAYLOAD_IO_URING => counter::NO_PAYLOAD_IO_URING,
        e::NO_PAYLOAD_AIO => counter::NO_PAYLOAD_AIO,
        e::NO_PAYLOAD_SPLICE => counter::NO_PAYLOAD_SPLICE,
        e::NO_PAYLOAD_COMPAT => counter::NO_PAYLOAD_COMPAT,
        e::NO_PAYLOAD_KERNEL_SOCKET => counter::NO_PAYLOAD_KERNEL_SOCKET,
        e::NO_PAYLOAD_FD_MISMATCH => counter::NO_PAYLOAD_FD_MISMATCH,
        e::NO_PAYLOAD_USER_FAULT => counter::USER_FAULT,
        e::NO_PAYLOAD_MMSG => counter::MMSG_INDEX_UNKNOWN,
        _ => return,
    };
    ring::count(index, 1);
}

/// Takes all steps of an operation. Zero. A global function, as [`step`]: in its callers the loop would be looked at once for each
/// state they come to it in.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn walk_through() -> i64 {
    let mut turns = 0;
    while turns < TURNS {
        if turn() != 0 {
            return 0;
        }
        turns += 1;
    }
    let Some(walk) = WALK.get_ptr_mut(0) else { return 0 };
    ring::count(counter::IOVEC_LIMIT, 1);
    // SAFETY: the map gave the pointer, and nothing interrupts a program on its CPU that uses it.
    unsafe { (*walk).stopped = u64::from(NO_PAYLOAD_BUDGET) };
    step();
    0
}

/// So many steps of an operation. 1 when it is told whole. A global function, as [`step`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn turn() -> i64 {
    let mut steps = 0;
    while steps < TURN_STEPS {
        if step() != 0 {
            return 1;
        }
        steps += 1;
    }
    0
}

/// One step of an operation: gathers a buffer, or part of one, or writes a record of what was gathered. 1 when the operation is told
/// whole.
///
/// A global function: the verifier looks at it once by itself, not anew in every state of its callers. So they may call it in
/// a plain loop; `bpf_loop` is there since 5.17 only.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn step() -> i64 {
    let (Some(scratch), Some(walk)) = (SCRATCH.get_ptr_mut(0), WALK.get_ptr_mut(0)) else {
        return 1;
    };
    // SAFETY: the maps gave the pointers, and nothing interrupts a program on its CPU that uses them.
    unsafe {
        if (*walk).stopped == 0 && (*walk).budget == 0 {
            (*walk).stopped = u64::from(NO_PAYLOAD_BUDGET);
        }
        if (*walk).stopped == 0 && (*walk).room == 0 {
            take_buffer(walk);
        }
        if (*walk).stopped == 0 && gather(scratch, walk) {
            return 0;
        }
        record(scratch, walk)
    }
}

/// Copies what can be copied of the current buffer behind what was gathered. Whether more may follow in the same record.
#[inline(always)]
unsafe fn gather(scratch: *mut Scratch, walk: *mut Walk) -> bool {
    // SAFETY: the maps gave the pointers, and nothing interrupts a program on its CPU that uses them.
    unsafe {
        let mut size = (*walk).room;
        if size > (*walk).left {
            size = (*walk).left;
        }
        if size > (*walk).budget {
            size = (*walk).budget;
        }
        if size > CHUNK_BYTES as u64 {
            size = CHUNK_BYTES as u64;
        }
        let size = opaque(size);
        let before = opaque((*walk).gathered);
        let payload: *mut u8 = (&raw mut (*scratch).payload).cast();
        let failed = if before == 0 {
            if size > CHUNK_BYTES as u64 {
                return false;
            }
            bpf_probe_read_user(payload.cast(), size as u32, (*walk).base as *const c_void)
        } else {
            if before > HALF || size > HALF {
                // What was gathered goes first.
                return false;
            }
            let place = payload.add(before as usize).cast();
            bpf_probe_read_user(place, size as u32, (*walk).base as *const c_void)
        };
        if failed != 0 {
            ring::count(counter::USER_FAULT, 1);
            (*walk).stopped = u64::from(NO_PAYLOAD_USER_FAULT);
            return false;
        }
        if (*walk).offset == 0 && before == 0 && size >= 8 {
            let first = payload.cast::<u64>();
            if let Some(verdict) = budget::begun_with(first.read_unaligned()) {
                (*walk).settled = u64::from(verdict);
                (*walk).budget = u64::from(budget::of(verdict, settings::head_bytes(), settings::body_bytes()));
            }
        }
        (*walk).gathered = before + size;
        (*walk).budget -= size;
        (*walk).base += size;
        (*walk).room -= size;
        (*walk).left -= size;
        (*walk).left != 0 && (*walk).budget != 0
    }
}

/// Writes a record of what was gathered. The last one that can carry anything carries the rest as a length, so that a large body costs
/// its head. 1 when the operation is told whole.
#[inline(always)]
unsafe fn record(scratch: *mut Scratch, walk: *mut Walk) -> i64 {
    // SAFETY: the maps gave the pointers, and nothing interrupts a program on its CPU that uses them.
    unsafe {
        let size = opaque((*walk).gathered);
        if size > CHUNK_BYTES as u64 {
            return 1;
        }
        let mut reason = (*walk).stopped;
        if reason == 0 && (*walk).budget == 0 {
            reason = u64::from(NO_PAYLOAD_BUDGET);
        }
        let rest = if reason == 0 { 0 } else { (*walk).left };
        if rest == 0 {
            reason = u64::from(NO_PAYLOAD_NONE);
        } else if reason == u64::from(NO_PAYLOAD_BUDGET) {
            ring::count(counter::BUDGET_BYTES, rest);
        }
        (*scratch).head.offset = (*walk).offset;
        (*scratch).head.length = (size + rest) as u32;
        (*scratch).head.captured = size as u32;
        (*scratch).head.no_payload = reason as u8;
        ring::count(counter::PAYLOAD_BYTES, size);
        write(scratch, size);
        (*scratch).head.flags |= DATA_CONTINUED;
        (*walk).gathered = 0;
        (*walk).offset += size + rest;
        (*walk).left -= rest;
        i64::from((*walk).left == 0)
    }
}

/// Takes the next buffer of the vector.
#[inline(always)]
unsafe fn take_buffer(walk: *mut Walk) {
    // SAFETY: the map gave the pointer.
    unsafe {
        if (*walk).vectors == 0 {
            // The registers name less memory than the operation moved: they are not of this operation.
            ring::count(counter::NO_PAYLOAD_FD_MISMATCH, 1);
            (*walk).stopped = u64::from(NO_PAYLOAD_FD_MISMATCH);
            return;
        }
        match kernel::user::<[u64; 2]>((*walk).vector) {
            Some([base, room]) => {
                (*walk).base = base;
                (*walk).room = room;
                (*walk).vector += IOVEC_BYTES;
                (*walk).vectors -= 1;
            }
            None => {
                ring::count(counter::USER_FAULT, 1);
                (*walk).stopped = u64::from(NO_PAYLOAD_USER_FAULT);
            }
        }
    }
}

/// Messages of one batch that are looked at. A loop the verifier walks, so a small number.
const MAX_BATCH: u64 = 8;

/// Tells the agent of `messages` messages of a batch that is over: their headers lie at `vector`, each with its length.
///
/// # Safety
/// `socket` was made in mode `M`.
#[inline(always)]
pub unsafe fn tell_batch<M: Mode>(socket: Socket, direction: u8, flags: u32, vector: u64, messages: u64) {
    let reason = match flagged(direction, flags) {
        Flagged::Outside => return,
        Flagged::Consumed => NO_PAYLOAD_TRUNC,
        Flagged::Plain => NO_PAYLOAD_NONE,
    };
    let mut total = 0_u64;
    let mut index = 0;
    while index < MAX_BATCH && index < messages {
        let length = kernel::user::<u32>(vector + index * MMSGHDR_BYTES + MMSGHDR_LEN).unwrap_or(0);
        total = total.wrapping_add(u64::from(length));
        index += 1;
    }
    let conn = M::remember(socket.sk);
    if conn.is_null() {
        ring::count(counter::CONN_STATE_FULL, 1);
        return;
    }
    // SAFETY: the map gave `conn` and the batch; the socket is of the mode.
    unsafe {
        if (*conn).announced == 0 || socket.is_datagram() {
            socket.announce::<M>(conn);
        }
        let end = socket.advance::<M>(conn, direction, total).said;
        if total == 0 {
            if direction == INGRESS && socket.at_end::<M>() {
                copy(conn, direction, end, 0, 0, Memory::none(NO_PAYLOAD_NONE), assist::NONE);
            }
            return;
        }
        socket.measure::<M>(conn);
        refill(conn, direction);
        if messages > MAX_BATCH {
            // Where the part that was looked at lies in the stream is not known: the agent sees a gap.
            ring::count(counter::MMSG_INDEX_UNKNOWN, 1);
            return;
        }
        let Some(batch) = BATCH_WALK.get_ptr_mut(0) else { return };
        *batch = BatchWalk {
            vector,
            left: messages,
            offset: end.wrapping_sub(total),
            conn: (*conn).id,
            direction: u64::from(direction),
            reason: u64::from(reason),
        };
        let mut told = 0;
        while told < MAX_BATCH && message() == 0 {
            told += 1;
        }
    }
}

/// One message of a batch. 1 after the last. A global function, as [`step`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn message() -> i64 {
    let Some(batch) = BATCH_WALK.get_ptr_mut(0) else {
        return 1;
    };
    // SAFETY: the map gave the pointers, and nothing interrupts a program on its CPU that uses them.
    unsafe {
        if (*batch).left == 0 {
            return 1;
        }
        let Some(conn) = CONNECTIONS_BY_INODE.get_ptr_mut(&(*batch).conn) else {
            return 1;
        };
        let header = (*batch).vector;
        let length = u64::from(kernel::user::<u32>(header + MMSGHDR_LEN).unwrap_or(0));
        let reason = (*batch).reason as u8;
        let memory = if reason == NO_PAYLOAD_NONE {
            Memory::message(header)
        } else {
            Memory::none(reason)
        };
        if length > 0 {
            copy(
                conn,
                (*batch).direction as u8,
                (*batch).offset,
                length,
                0,
                memory,
                assist::NONE,
            );
        }
        (*batch).offset = (*batch).offset.wrapping_add(length);
        (*batch).vector += MMSGHDR_BYTES;
        (*batch).left -= 1;
    }
    0
}
