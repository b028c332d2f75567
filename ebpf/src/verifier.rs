//! Tricks for the verifier, one function each.

/// Hides where a value came from, so that LLVM keeps a bounds check that stands before a helper call on the very register
/// the helper gets. Without it LLVM checks a copy and the verifier says `R2 min value is negative` or
/// `invalid access to map value`. The instruction must be a real one: an empty assembly leaves a line record of length
/// zero, which the kernel refuses (`Invalid line_info[..].insn_off`).
#[inline(always)]
pub fn opaque(value: u64) -> u64 {
    let mut same = value;
    // SAFETY: moves a register onto itself.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) same) };
    same
}
