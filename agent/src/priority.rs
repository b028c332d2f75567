//! Threads that are preferred to others.

/// How much sooner than other threads they get a processor, as nice(2) has it.
const NICE: i32 = -10;

/// Prefers the thread that calls it. Where hundreds of threads want a processor it would come too late for what fills the buffer that it
/// empties; what it does there it would do anyway. Without the capability for it (CAP_SYS_NICE) nothing happens.
pub(crate) fn prefer() {
    // In Linux of this thread alone.
    // SAFETY: it takes a number.
    unsafe { nix::libc::nice(NICE) };
}
