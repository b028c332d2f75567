//! What a piece of code takes.
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The system's allocator, counted.
pub(crate) struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn more(bytes: usize) {
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(now, Ordering::Relaxed);
}

fn less(bytes: usize) {
    NOW.fetch_sub(bytes, Ordering::Relaxed);
}

// SAFETY: everything is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        less(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        more(size);
        less(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// What was spent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    /// On the CPU, so that other programs make no difference.
    pub(crate) time: Duration,
    /// Most memory at once.
    pub(crate) bytes: usize,
}

/// What `work` takes on this thread.
pub(crate) fn spent<T>(work: impl FnOnce() -> T) -> Spent {
    let (time, bytes) = (on_cpu(), NOW.load(Ordering::Relaxed));
    PEAK.store(bytes, Ordering::Relaxed);
    work();
    Spent {
        time: on_cpu().saturating_sub(time),
        bytes: PEAK.load(Ordering::Relaxed).saturating_sub(bytes),
    }
}

/// The first number of Linux's Documentation/scheduler/sched-stats.rst, /proc/PID/schedstat.
fn on_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let time_ns = text.split(' ').next().and_then(|number| number.parse().ok());
    Duration::from_nanos(time_ns.unwrap_or(0))
}
