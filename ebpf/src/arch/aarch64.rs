//! AArch64. Compiled, and not yet tried on such a machine.
//!
//! ```text
//! struct pt_regs, words: 0..=30 x0..x30  31 sp  32 pc  33 pstate  34 orig_x0  35 syscallno (s32, little-endian)
//! ```
//! Source: `arch/arm64/include/asm/ptrace.h` of Linux 6.18.
use aya_ebpf::programs::{ProbeContext, RetProbeContext};

use super::Registers;

/// `include/uapi/asm-generic/unistd.h`.
pub mod call {
    pub const IO_SUBMIT: u64 = 2;
    pub const READ: u64 = 63;
    pub const WRITE: u64 = 64;
    pub const READV: u64 = 65;
    pub const WRITEV: u64 = 66;
    pub const SENDFILE: u64 = 71;
    pub const VMSPLICE: u64 = 75;
    pub const SPLICE: u64 = 76;
    pub const SENDTO: u64 = 206;
    pub const RECVFROM: u64 = 207;
    pub const SENDMSG: u64 = 211;
    pub const RECVMSG: u64 = 212;
    pub const RECVMMSG: u64 = 243;
    pub const SENDMMSG: u64 = 269;
    pub const PREADV2: u64 = 286;
    pub const PWRITEV2: u64 = 287;
    pub const IO_URING_ENTER: u64 = 426;
    pub const FUTEX: u64 = 98;
    pub const FUTEX_WAITV: u64 = 449;
    pub const NANOSLEEP: u64 = 101;
    pub const CLOCK_NANOSLEEP: u64 = 115;
    pub const POLL: u64 = ABSENT;
    pub const PPOLL: u64 = 73;
    pub const SELECT: u64 = ABSENT - 1;
    pub const PSELECT: u64 = 72;
    pub const EPOLL_WAIT: u64 = ABSENT - 2;
    pub const EPOLL_PWAIT: u64 = 22;
    pub const EPOLL_PWAIT2: u64 = 441;
    pub const CONNECT: u64 = 203;
    pub const ACCEPT: u64 = 202;
    pub const ACCEPT4: u64 = 242;
    /// This machine has only the newer forms of some calls.
    const ABSENT: u64 = u64::MAX;
}

const FIRST_ARGUMENT: usize = 34 * 8;
const NUMBER: usize = 35 * 8;

/// -1, which is no call's number, where the task is in none.
#[inline(always)]
pub(super) fn number(registers: Registers) -> u64 {
    u64::from(registers.at::<u32>(NUMBER))
}

/// `x0` holds the first argument until the result takes its place (`invoke_syscall`). A result that equals the argument looks
/// as if there was none yet: a call on descriptor 5 that moved 5 bytes.
#[inline(always)]
pub(super) fn inside_call(registers: Registers) -> bool {
    registers.at::<u64>(0) == registers.at::<u64>(FIRST_ARGUMENT)
}

#[inline(always)]
pub(super) fn arguments(registers: Registers) -> [u64; 6] {
    [FIRST_ARGUMENT, 8, 16, 24, 32, 40].map(|offset| registers.at(offset))
}

/// `status` is `thread_info.flags`: a task runs either 32-bit or 64-bit code, never both.
#[inline(always)]
pub(super) fn compat(_registers: Registers, status: u32) -> bool {
    const TIF_32BIT: u32 = 1 << 22;
    status & TIF_32BIT != 0
}

#[inline(always)]
pub(super) fn go_argument(ctx: &ProbeContext, index: usize) -> u64 {
    // SAFETY: the kernel gives the registers of the probed instruction.
    unsafe { (*ctx.regs).regs[if index < 3 { index } else { 3 }] }
}

#[inline(always)]
pub(super) fn go_running(ctx: &ProbeContext) -> u64 {
    // SAFETY: the kernel gives the registers of the probed instruction.
    unsafe { (*ctx.regs).regs[28] }
}

#[inline(always)]
pub(super) fn frame_pointer(ctx: &ProbeContext) -> u64 {
    // SAFETY: the kernel gives the registers of the probed instruction.
    unsafe { (*ctx.regs).regs[29] }
}

#[inline(always)]
pub(super) fn return_address(ctx: &ProbeContext) -> Option<u64> {
    // SAFETY: the kernel gives the registers of the probed instruction.
    Some(unsafe { (*ctx.regs).regs[30] })
}

#[inline(always)]
pub(super) fn probed_at(ctx: &ProbeContext) -> u64 {
    // SAFETY: the kernel gives the registers of the probed instruction.
    unsafe { (*ctx.regs).pc }
}

#[inline(always)]
pub(super) fn stack_pointer(ctx: &ProbeContext) -> u64 {
    // SAFETY: the kernel gives the registers of the probed instruction.
    unsafe { (*ctx.regs).sp }
}

/// The return leaves it alone.
#[inline(always)]
pub(super) fn stack_at_return(ctx: &RetProbeContext) -> u64 {
    // SAFETY: the kernel gives the registers behind the return.
    unsafe { (*ctx.regs).sp }
}

#[inline(always)]
pub(super) fn instruction(registers: Registers) -> u64 {
    registers.at(32 * 8)
}

#[inline(always)]
pub(super) fn link(registers: Registers) -> u64 {
    registers.at(30 * 8)
}

#[inline(always)]
pub(super) fn stack(registers: Registers) -> u64 {
    registers.at(31 * 8)
}

#[inline(always)]
pub(super) fn frame(registers: Registers) -> u64 {
    registers.at(29 * 8)
}
