//! Writing events and counters.
use aya_ebpf::helpers::generated::{
    bpf_ktime_get_ns, bpf_ringbuf_discard, bpf_ringbuf_output, bpf_ringbuf_query, bpf_ringbuf_reserve,
    bpf_ringbuf_submit,
};
use clew_common::counter;
use clew_common::event::{Header, KIND_LOST};

use crate::maps::{COUNTERS, EVENTS, LOST};
use crate::settings;

const BPF_RB_NO_WAKEUP: u64 = 1;
const BPF_RB_FORCE_WAKEUP: u64 = 2;
const BPF_RB_AVAIL_DATA: u64 = 0;
/// `BPF_RINGBUF_HDR_SZ`: what the ring buffer puts before each record.
const RECORD_HEADER_BYTES: u64 = 8;

/// Counts an event that found no room, and has the next one that finds some tell of it.
#[inline(always)]
fn lost() {
    count(counter::RING_FULL, 1);
    if let Some(flag) = LOST.get_ptr_mut(0) {
        // SAFETY: the map gave the pointer; whichever CPU writes, it writes the same.
        unsafe { flag.write_volatile(1) };
    }
}

/// Tells of events that were lost, in their place among those that were not: what the agent knows of who works for whom may rest on
/// them. Zero.
///
/// A global function: the verifier looks at it once by itself, not anew in every state of its callers.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn tell_lost() -> u64 {
    let Some(flag) = LOST.get_ptr_mut(0) else { return 0 };
    // SAFETY: the map gave the pointer.
    if unsafe { flag.read_volatile() } == 0 {
        return 0;
    }
    let ring = (&raw const EVENTS).cast_mut().cast();
    // SAFETY: the map is a ring buffer.
    let record: *mut Header = unsafe { bpf_ringbuf_reserve(ring, size_of::<Header>() as u64, 0) }.cast();
    if record.is_null() {
        return 0;
    }
    // Before the record is visible: a loss from here on asks for another.
    // SAFETY: the map gave the pointer, and the record was reserved above.
    unsafe {
        flag.write_volatile(0);
        record.write(Header {
            time_ns: bpf_ktime_get_ns(),
            kind: KIND_LOST,
            ..Header::default()
        });
        bpf_ringbuf_submit(record.cast(), BPF_RB_NO_WAKEUP);
    }
    0
}

/// Raises a counter.
#[inline(always)]
pub fn count(index: u32, by: u64) {
    if let Some(slot) = COUNTERS.get_ptr_mut(index) {
        // Where the kernel may preempt a program, another task's counts on the same CPU before it goes on.
        // SAFETY: the map gave the pointer.
        unsafe { core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) slot, in(reg) by) };
    }
}

/// Writes `size` bytes at `event` into the ring buffer, or counts the loss. Whether it was written.
///
/// # Safety
/// `size` bytes at `event` are readable.
#[inline(always)]
pub unsafe fn write<T>(event: *const T, size: u64) -> bool {
    // SAFETY: the caller vouches for the bytes.
    unsafe { write_waking(event, size, false) }
}

/// As [`write`]; `now` wakes the reader whatever the buffer holds.
#[inline(always)]
unsafe fn write_waking<T>(event: *const T, size: u64, now: bool) -> bool {
    tell_lost();
    let ring = (&raw const EVENTS).cast_mut().cast();
    let flags = if now { BPF_RB_FORCE_WAKEUP } else { waking(size) };
    // SAFETY: the caller vouches for the bytes.
    let failed = unsafe { bpf_ringbuf_output(ring, event.cast_mut().cast(), size, flags) };
    if failed == 0 {
        count(counter::EVENTS, 1);
    } else {
        lost();
    }
    failed == 0
}

/// As [`write`], for an event that the agent should act upon at once.
///
/// # Safety
/// As [`write`].
#[inline(always)]
pub unsafe fn write_now<T>(event: *const T, size: u64) -> bool {
    // SAFETY: the caller vouches for the bytes.
    unsafe { write_waking(event, size, true) }
}

/// Writes one whole structure. Whether it was written.
#[inline(always)]
pub fn send<T>(event: &T) -> bool {
    // SAFETY: a reference is readable for its size.
    unsafe { write(event, size_of::<T>() as u64) }
}

/// As [`send`], for an event that the agent should act upon at once.
#[inline(always)]
pub fn send_now<T>(event: &T) -> bool {
    // SAFETY: a reference is readable for its size.
    unsafe { write_waking(event, size_of::<T>() as u64, true) }
}

/// Whether a record of `size` bytes wakes the reader. Waking it for every record costs several times the record, so the record
/// that crosses the mark wakes it; it also looks by itself every few milliseconds.
#[inline(always)]
fn waking(size: u64) -> u64 {
    let ring = (&raw const EVENTS).cast_mut().cast();
    // SAFETY: the map is a ring buffer.
    let filled = unsafe { bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) };
    let mark = settings::wake_bytes();
    if filled < mark && filled + size + RECORD_HEADER_BYTES >= mark {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    }
}

/// Writes a record in its place in the ring buffer, or counts the loss. What `fill` branches on it must read from memory itself: LLVM
/// may make it a function that finds what it captured on its caller's stack, and before Linux 6.8 the verifier may take a number that
/// comes that way for another it has seen there, and write what it believes over the branch ("bpf: track and propagate precision through
/// PTR_TO_STACK"). `fill` writes all of it: programs that may be preempted
/// need no other memory, and a record takes no stack. Whether it was written.
#[inline(always)]
pub fn fill<T>(fill: impl FnOnce(*mut T)) -> bool {
    tell_lost();
    fill_waking(fill, waking(size_of::<T>() as u64))
}

/// As [`fill`], for an event that the agent should act upon at once.
#[inline(always)]
pub fn fill_now<T>(fill: impl FnOnce(*mut T)) -> bool {
    tell_lost();
    fill_waking(fill, BPF_RB_FORCE_WAKEUP)
}

/// As [`fill`], but a loss before it is told by the next event only: a call less on the stack, of which all functions below one
/// program share 512 bytes.
#[inline(always)]
pub fn fill_deep<T>(fill: impl FnOnce(*mut T)) -> bool {
    fill_waking(fill, waking(size_of::<T>() as u64))
}

/// As [`fill_now`], where `fill` says whether the record is to be written.
#[inline(always)]
pub fn fill_if<T>(fill: impl FnOnce(*mut T) -> bool) {
    let ring = (&raw const EVENTS).cast_mut().cast();
    // SAFETY: the map is a ring buffer.
    let record: *mut T = unsafe { bpf_ringbuf_reserve(ring, size_of::<T>() as u64, 0) }.cast();
    if record.is_null() {
        lost();
        return;
    }
    if fill(record) {
        count(counter::EVENTS, 1);
        // SAFETY: the record was reserved above.
        unsafe { bpf_ringbuf_submit(record.cast(), BPF_RB_FORCE_WAKEUP) };
    } else {
        // SAFETY: as above.
        unsafe { bpf_ringbuf_discard(record.cast(), BPF_RB_NO_WAKEUP) };
    }
}

#[inline(always)]
fn fill_waking<T>(fill: impl FnOnce(*mut T), flags: u64) -> bool {
    let ring = (&raw const EVENTS).cast_mut().cast();
    // SAFETY: the map is a ring buffer.
    let record: *mut T = unsafe { bpf_ringbuf_reserve(ring, size_of::<T>() as u64, 0) }.cast();
    if record.is_null() {
        lost();
        return false;
    }
    fill(record);
    count(counter::EVENTS, 1);
    // SAFETY: the record was reserved above.
    unsafe { bpf_ringbuf_submit(record.cast(), flags) };
    true
}
