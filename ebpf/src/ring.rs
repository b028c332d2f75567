//! Writing events and counters.
use aya_ebpf::helpers::generated::{bpf_ringbuf_output, bpf_ringbuf_query};
use clew_common::counter;

use crate::maps::{COUNTERS, EVENTS};
use crate::settings;

const BPF_RB_NO_WAKEUP: u64 = 1;
const BPF_RB_FORCE_WAKEUP: u64 = 2;
const BPF_RB_AVAIL_DATA: u64 = 0;
/// `BPF_RINGBUF_HDR_SZ`: what the ring buffer puts before each record.
const RECORD_HEADER_BYTES: u64 = 8;

/// Raises a counter.
#[inline(always)]
pub fn count(index: u32, by: u64) {
    if let Some(slot) = COUNTERS.get_ptr_mut(index) {
        // SAFETY: the slot belongs to this CPU. A program that interrupts another may lose a step, never more.
        unsafe { *slot += by };
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
    let ring = (&raw const EVENTS).cast_mut().cast();
    // Waking the reader for every record costs several times the record, so the record that crosses the mark wakes it; it
    // also looks by itself every few milliseconds.
    // SAFETY: the map is a ring buffer.
    let filled = unsafe { bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) };
    let mark = settings::wake_bytes();
    let crosses = now || (filled < mark && filled + size + RECORD_HEADER_BYTES >= mark);
    let flags = if crosses { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP };
    // SAFETY: the caller vouches for the bytes.
    let failed = unsafe { bpf_ringbuf_output(ring, event.cast_mut().cast(), size, flags) };
    if failed == 0 {
        count(counter::EVENTS, 1);
    } else {
        count(counter::RING_FULL, 1);
    }
    failed == 0
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
