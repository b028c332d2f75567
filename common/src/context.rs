//! How the kernel side learns which execution context a thread is in: a plan for each process, made by the agent.
#[cfg(feature = "user")]
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What to read of a thread of a process. Plans stand in an array; [`plan_of`] tells a target's place in it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Plan {
    /// One of the `PLAN_` constants.
    pub kind: u64,
    /// Offsets and addresses, as the kind says.
    pub words: [u64; PLAN_WORDS],
}

impl Plan {
    /// A plan of `kind` with these words, each with its place.
    pub const fn of(kind: u64, words: &[(usize, u64)]) -> Self {
        let mut plan = Self {
            kind,
            words: [0; PLAN_WORDS],
        };
        let mut at = 0;
        while at < words.len() {
            plan.words[words[at].0] = words[at].1;
            at += 1;
        }
        plan
    }
}

/// Words of a plan.
pub const PLAN_WORDS: usize = 28;

/// The context is the thread.
pub const PLAN_THREAD: u64 = 0;
/// Go. Words: `GO_` constants.
pub const PLAN_GO: u64 = 1;
/// Tokio. Words: `TOKIO_` constants.
pub const PLAN_TOKIO: u64 = 3;

/// Offset of the running `g` from the thread pointer, as a signed number.
pub const GO_TLS: usize = 0;
/// Offset of `g.goid`.
pub const GO_GOID: usize = 1;
/// Offset of `g.parentGoid`.
pub const GO_PARENT: usize = 2;
/// Offset of `g.m`.
pub const GO_M: usize = 3;
/// Offset of `m.curg`.
pub const GO_CURG: usize = 4;

/// Offset of `sudog.isSelect`; `sudog.g` is the first field.
pub const GO_IS_SELECT: usize = 5;
/// Offset of the frame pointer `g` was parked with (`g.sched.bp`).
pub const GO_PARKED: usize = 6;
/// Offset of `hchan.recvx`.
pub const GO_RECVX: usize = 7;
/// The lowest address of a probe in `runtime.selectgo`, in `runtime.chanrecv` and in `runtime.chansend`, before the program is
/// moved to where it is loaded. Probes in one function lie less than [`PAGE`] apart, and programs are moved by whole pages: so a
/// probe's address tells how far.
pub const GO_LOWEST_SELECT: usize = 8;
/// See [`GO_LOWEST_SELECT`].
pub const GO_LOWEST_RECEIVE: usize = 9;
/// See [`GO_LOWEST_SELECT`].
pub const GO_LOWEST_SEND: usize = 10;
/// Functions that receive what is nobody's work: see [`code_range`].
pub const GO_POOLS: core::ops::Range<usize> = 11..14;
/// Address of the probe where goroutines are run, before the program is moved to where it is loaded; 0 where their time is not told.
pub const GO_RUNS: usize = 14;
/// The code in which goroutines wait: see [`code_range`].
pub const GO_WAITS: usize = 15;
/// Why they wait: see [`go_reasons`].
pub const GO_REASONS: usize = 16;

/// `runtime.waitReasonIOWait`, in every release line.
pub const GO_WAITS_NETWORK: u8 = 2;

/// Numbers of `runtime.waitReason` in one word: of sleep, below, and above one bit each of those of locks and channels.
pub const fn go_reasons(sleep: u8, locks: &[u8]) -> u64 {
    let (mut word, mut at) = (sleep as u64, 0);
    while at < locks.len() {
        word |= 1 << (8 + locks[at]);
        at += 1;
    }
    word
}

/// Whether a goroutine that waits for `reason` sleeps.
pub const fn go_sleeps(reasons: u64, reason: u8) -> bool {
    reasons & 0xff == reason as u64
}

/// Whether a goroutine that waits for `reason` waits for others of its process.
pub const fn go_waits_for_lock(reasons: u64, reason: u8) -> bool {
    reason < 56 && reasons >> (8 + reason) & 1 != 0
}

/// Where grpc-go's `transport.ServerStream` keeps its stream's number since grpc 1.80, bytes.
pub const GRPC_ID: u64 = 108;

/// The number of the stream that a `transport.Stream` or `ServerStream` of grpc-go is, given its first word, the number at the address
/// that word is, and the one at [`GRPC_ID`]; none where it can be told by neither.
///
/// ```text
/// to grpc 1.68     Stream        0 id, 32 bits, then as much padding
/// to 1.79          ServerStream  0 *Stream, which begins with id
/// since            ServerStream  0 an interface's type ...  108 id
/// ```
///
/// Streams that clients open have odd numbers (RFC 9113 section 5.1.1), and what else stands in these places are addresses, which are
/// even.
#[inline(always)]
pub fn grpc_stream(first: u64, behind: impl FnOnce() -> u32, within: impl FnOnce() -> u32) -> Option<u32> {
    let is_odd = |id: &u32| *id & 1 == 1;
    if first == 0 {
        return None;
    }
    let id = first as u32;
    if first >> 32 == 0 && is_odd(&id) {
        return Some(id);
    }
    match behind() {
        // Of a stream that a handler of HTTP serves; it has no number of its own.
        0 => None,
        id if is_odd(&id) => Some(id),
        _ => Some(within()).filter(is_odd),
    }
}

/// The least by which a program is moved.
pub const PAGE: u64 = 4096;

/// A piece of a program's code in one word: where it starts, above, and how many bytes it has, below.
pub const fn code_range(start: u64, size: u16) -> u64 {
    (start << 16) | size as u64
}

/// Whether a piece of code holds `address`.
pub const fn in_code_range(range: u64, address: u64) -> bool {
    address.wrapping_sub(range >> 16) < range & 0xffff
}

/// Python. Words: `PY_` constants. Addresses are the interpreter's own, before it is moved to where it is loaded.
pub const PLAN_PYTHON: u64 = 2;

/// Address of the key under which a thread keeps its `PyThreadState`.
pub const PY_KEY: usize = 0;
/// Address of `PyContext_Type`.
pub const PY_TYPE: usize = 1;
/// Offset from the thread pointer of the table of thread-specific data.
pub const PY_SPECIFIC: usize = 2;
/// Offset of `PyThreadState.context`.
pub const PY_CONTEXT: usize = 3;
/// uvloop: offset of `UVHandle._handle`.
pub const PY_UVLOOP_HANDLE: usize = 4;
/// uvloop: offset of `UVHandle.context`.
pub const PY_UVLOOP_CONTEXT: usize = 5;
/// uvloop: offset of `uv_stream_t.io_watcher.fd`; 0 where there is no uvloop.
pub const PY_UVLOOP_FD: usize = 6;
/// 1 where it is seen what threads of pools work on; else 0.
pub const PY_POOLS: usize = 7;

/// Where frames lie, a byte each from the lowest: offset in `PyThreadState` of the frame or of what leads to it; offset there, plus 1, or 0
/// where it is the frame; offsets in a frame of the code, the frame before and the instruction; [`PY_MINOR`].
pub const PY_FRAMES: usize = 8;
/// Place in [`PY_FRAMES`] of the release line's second number, bits.
pub const PY_MINOR: u32 = 40;

/// Offset of the running task's number from the thread pointer, as a signed number.
pub const TOKIO_TASK: usize = 0;
/// Where a task's number lies: offset of the table of functions in its header, below; offset in that table of the number's
/// offset in the task, above.
pub const TOKIO_HEADER: usize = 1;
/// Where hyper's clients wake the task that writes their requests: return addresses, relative to the probe, two a word.
pub const TOKIO_SENDS: core::ops::Range<usize> = 2..4;
/// Where those tasks wait for requests; as [`TOKIO_SENDS`].
pub const TOKIO_WAITS: core::ops::Range<usize> = 4..7;
/// Where such a task is woken by code that is a part of its callers': see [`wake`]. Unused ones are 0.
pub const TOKIO_WAKES: core::ops::Range<usize> = 7..17;
/// Address of the probe where wakers are used up, before the program is moved to where it is loaded; 0 where the time of tasks is not told.
pub const TOKIO_TIMED: usize = 17;
/// The code that wakes who waits for the network: see [`code_range`]. 0 where it cannot be told.
pub const TOKIO_NETWORK: usize = 18;
/// The same for the clock.
pub const TOKIO_CLOCK: usize = 19;

/// What says which stream of HTTP/2 a task takes up: see [`stream`].
pub const TOKIO_STREAM: usize = 20;

/// Where the tasks that open streams for clients take them up; as [`TOKIO_SENDS`].
pub const TOKIO_OPENS: core::ops::Range<usize> = 21..23;

/// Places where a message was given a place in its channel, whose number a register has: [`wake`] without an offset.
pub const TOKIO_CLAIMS: core::ops::Range<usize> = 23..27;

/// How many bytes behind the receiver of a channel the number of the place lies from which it takes the next message.
pub const TOKIO_NEXT: usize = 27;

/// The word `register` of the saved registers points to what has the number of a stream `number` bytes on, and the address of what all
/// streams of its connection lie in `store` bytes on.
pub const fn stream(register: u8, number: u16, store: u16) -> u64 {
    (register as u64) << 32 | (store as u64) << 16 | number as u64
}

/// The parts of [`stream`].
pub const fn stream_parts(word: u64) -> (u8, u64, u64) {
    ((word >> 32) as u8, word & 0xffff, word >> 16 & 0xffff)
}

/// A place that wakes who waits at an address: how many bytes behind the word `register` of the saved registers that address is, and where
/// the probe lies in its page, in one word.
pub const fn wake(place: u64, register: u8, offset: i32) -> u64 {
    (1 << 63) | ((place % PAGE) << 40) | ((register as u64) << 32) | offset as u32 as u64
}

/// Where in its page the probe lies that a word of [`TOKIO_WAKES`] is of.
pub const fn wake_page(word: u64) -> u64 {
    (word >> 40) % PAGE
}

/// Whether a word of [`TOKIO_WAKES`] is of the probe at `place`; then the word of the registers, and the bytes behind it.
pub const fn wake_at(word: u64, place: u64) -> Option<(u8, i32)> {
    if word >> 40 == (1 << 23) | (place % PAGE) {
        Some(((word >> 32) as u8, word as u32 as i32))
    } else {
        None
    }
}

/// Java, since 21. Words: `JAVA_` constants.
pub const PLAN_JAVA: u64 = 5;

/// Offset of `Thread::_thr_current` in the thread-local storage of `libjvm.so`.
pub const JAVA_TLS: usize = 0;
/// Offset of `JavaThread::_stack_base`.
pub const JAVA_STACK_BASE: usize = 1;
/// Offset of `JavaThread::_stack_size`.
pub const JAVA_STACK_SIZE: usize = 2;
/// Offset of what tells that a virtual thread is mounted: `JavaThread::_cont_entry`, which is null where none is; or, where
/// [`JAVA_TID`] is not 0, `JavaThread::_vthread`.
pub const JAVA_MOUNTED: usize = 3;
/// Offset of `JavaThread::_monitor_owner_id`, the number of the thread that is mounted; or, where [`JAVA_TID`] is not 0,
/// `JavaThread::_threadObj`, which is what `_vthread` is where no virtual thread is mounted.
pub const JAVA_NUMBER: usize = 4;
/// Offset of `java.lang.Thread.tid` in an object of the class; 0 where the thread tells the number itself, [`JAVA_TID_UNKNOWN`]
/// where virtual threads cannot be told apart.
pub const JAVA_TID: usize = 5;
/// See [`JAVA_TID`].
pub const JAVA_TID_UNKNOWN: u64 = u64::MAX;

/// Plans the array holds. Place 0 is [`PLAN_THREAD`].
pub const PLANS: u32 = 4096;

/// Bits of a target's value below its plan.
const PLAN_SHIFT: u32 = 16;

/// The place of a target's plan, from its value in the map of targets.
pub const fn plan_of(target: u32) -> u32 {
    target >> PLAN_SHIFT
}

/// A target's value with the plan at `place`.
pub const fn with_plan(target: u32, place: u32) -> u32 {
    (target & ((1 << PLAN_SHIFT) - 1)) | (place << PLAN_SHIFT)
}

/// A target's value after it began another program.
pub const fn without_plan(target: u32) -> u32 {
    with_plan(target, 0)
}

const _: () = {
    assert!(size_of::<Plan>() == 232);
    assert!(PLANS <= 1 << (32 - PLAN_SHIFT));
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_code() {
        let range = code_range(0x64_0000, 0x200);
        let held = [0x63_ffff, 0x64_0000, 0x64_01ff, 0x64_0200].map(|address| in_code_range(range, address));
        assert_eq!(held, [false, true, true, false]);
        assert!(!in_code_range(0, 0));
    }

    #[test]
    fn streams_of_grpc() {
        const ADDRESS: u64 = 0xc0_0012_3400;
        let check = |first, behind, within, want| assert_eq!(grpc_stream(first, || behind, || within), want);
        check(7, 0, 0, Some(7));
        check(ADDRESS, 7, 0, Some(7));
        check(ADDRESS, 0x56_7800, 7, Some(7));
        // A program's own data lies low.
        check(0xb5_1020, 0x56_7800, 7, Some(7));
        check(0, 7, 7, None);
        check(ADDRESS, 0, 7, None);
        check(ADDRESS, 0x56_7800, 0, None);
        check(ADDRESS, 8, 0xc0, None);
    }

    #[test]
    fn plans_leave_flags_alone() {
        let target = with_plan(3, PLANS - 1);
        assert_eq!((plan_of(target), without_plan(target)), (PLANS - 1, 3));
        assert_eq!(plan_of(with_plan(target, 5)), 5);
    }
}
