//! x86-64.
//!
//! ```text
//! struct pt_regs, words: 0 r15  1 r14  2 r13  3 r12  4 rbp  5 rbx  6 r11  7 r10  8 r9  9 r8
//! 10 rax  11 rcx  12 rdx  13 rsi  14 rdi  15 orig_rax  16 rip  17 cs  18 flags  19 rsp  20 ss
//! ```
//! Source: `arch/x86/include/asm/ptrace.h` of Linux 6.18.
use aya_ebpf::programs::{ProbeContext, RetProbeContext};

use super::Registers;
use crate::kernel;

/// `arch/x86/entry/syscalls/syscall_64.tbl`.
pub mod call {
    pub const READ: u64 = 0;
    pub const WRITE: u64 = 1;
    pub const READV: u64 = 19;
    pub const WRITEV: u64 = 20;
    pub const SENDFILE: u64 = 40;
    pub const SENDTO: u64 = 44;
    pub const RECVFROM: u64 = 45;
    pub const SENDMSG: u64 = 46;
    pub const RECVMSG: u64 = 47;
    pub const IO_SUBMIT: u64 = 209;
    pub const SPLICE: u64 = 275;
    pub const VMSPLICE: u64 = 278;
    pub const RECVMMSG: u64 = 299;
    pub const SENDMMSG: u64 = 307;
    pub const PREADV2: u64 = 327;
    pub const PWRITEV2: u64 = 328;
    pub const IO_URING_ENTER: u64 = 426;
    pub const FUTEX: u64 = 202;
    pub const FUTEX_WAITV: u64 = 449;
    pub const NANOSLEEP: u64 = 35;
    pub const CLOCK_NANOSLEEP: u64 = 230;
    pub const POLL: u64 = 7;
    pub const PPOLL: u64 = 271;
    pub const SELECT: u64 = 23;
    pub const PSELECT: u64 = 270;
    pub const EPOLL_WAIT: u64 = 232;
    pub const EPOLL_PWAIT: u64 = 281;
    pub const EPOLL_PWAIT2: u64 = 441;
    pub const CONNECT: u64 = 42;
    pub const ACCEPT: u64 = 43;
    pub const ACCEPT4: u64 = 288;
}

#[inline(always)]
fn word(registers: Registers, index: usize) -> u64 {
    registers.at(index * 8)
}

#[inline(always)]
pub(super) fn number(registers: Registers) -> u64 {
    word(registers, 15)
}

/// `rax` is -ENOSYS from the entry on until the result is written (`PUSH_AND_CLEAR_REGS rax=$-ENOSYS`).
#[inline(always)]
pub(super) fn inside_call(registers: Registers) -> bool {
    const ENOSYS: i64 = 38;
    word(registers, 10) as i64 == -ENOSYS
}

#[inline(always)]
pub(super) fn arguments(registers: Registers) -> [u64; 6] {
    [14, 13, 12, 7, 9, 8].map(|index| word(registers, index))
}

/// `status` is `thread_info.status`. Calls of the x32 convention are told by a bit of their number.
#[inline(always)]
pub(super) fn compat(registers: Registers, status: u32) -> bool {
    const TS_COMPAT: u32 = 2;
    const X32: u64 = 0x4000_0000;
    status & TS_COMPAT != 0 || (number(registers) & X32 != 0 && inside_call(registers))
}

#[inline(always)]
pub(super) fn go_argument(ctx: &ProbeContext, index: usize) -> u64 {
    // SAFETY: the kernel gives the registers of the probed instruction.
    unsafe {
        match index {
            0 => (*ctx.regs).rax,
            1 => (*ctx.regs).rbx,
            2 => (*ctx.regs).rcx,
            _ => (*ctx.regs).rdi,
        }
    }
}

#[inline(always)]
pub(super) fn go_running(ctx: &ProbeContext) -> u64 {
    // SAFETY: the kernel gives the registers of the probed instruction.
    unsafe { (*ctx.regs).r14 }
}

#[inline(always)]
pub(super) fn frame_pointer(ctx: &ProbeContext) -> u64 {
    // SAFETY: the kernel gives the registers of the probed instruction.
    unsafe { (*ctx.regs).rbp }
}

#[inline(always)]
pub(super) fn return_address(ctx: &ProbeContext) -> Option<u64> {
    // SAFETY: the kernel gives the registers of the probed instruction.
    kernel::user(unsafe { (*ctx.regs).rsp })
}

#[inline(always)]
pub(super) fn probed_at(ctx: &ProbeContext) -> u64 {
    // SAFETY: the kernel gives the registers of the probed instruction.
    unsafe { (*ctx.regs).rip }
}

#[inline(always)]
pub(super) fn stack_pointer(ctx: &ProbeContext) -> u64 {
    // SAFETY: the kernel gives the registers of the probed instruction.
    unsafe { (*ctx.regs).rsp }
}

/// The return has taken its address off the stack.
#[inline(always)]
pub(super) fn stack_at_return(ctx: &RetProbeContext) -> u64 {
    // SAFETY: the kernel gives the registers behind the return.
    unsafe { (*ctx.regs).rsp }.wrapping_sub(8)
}

#[inline(always)]
pub(super) fn instruction(registers: Registers) -> u64 {
    word(registers, 16)
}

/// Calls put the return address on the stack.
#[inline(always)]
pub(super) fn link(_: Registers) -> u64 {
    0
}

#[inline(always)]
pub(super) fn stack(registers: Registers) -> u64 {
    word(registers, 19)
}

#[inline(always)]
pub(super) fn frame(registers: Registers) -> u64 {
    word(registers, 4)
}
