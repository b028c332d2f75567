//! What differs between machines: the registers of a system call, the calls' numbers, and how a 32-bit call is told.
//!
//! `bpf_target_arch` is the machine the programs are for; `agent/build.rs` gives it. It is not the target they are compiled
//! for, which is the same on all.
#[cfg(bpf_target_arch = "aarch64")]
mod aarch64;
#[cfg(not(bpf_target_arch = "aarch64"))]
mod x86_64;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use clew_common::unwind;

#[cfg(bpf_target_arch = "aarch64")]
use self::aarch64 as machine;
#[cfg(not(bpf_target_arch = "aarch64"))]
use self::x86_64 as machine;

use crate::kernel::{Probe, Reader as _};

/// Numbers of the calls that carry bytes.
pub use self::machine::call;

/// Argument `index` of a Go function at its first instruction (`src/cmd/compile/abi-internal.md` of Go); only the first four.
#[inline(always)]
pub fn go_argument(ctx: &ProbeContext, index: usize) -> u64 {
    machine::go_argument(ctx, index)
}

/// Argument `index` of a C or Rust function at its first instruction; 0 where the machine passes it elsewhere.
#[inline(always)]
pub fn argument(ctx: &ProbeContext, index: usize) -> u64 {
    ctx.arg(index).unwrap_or(0)
}

/// Where a function returns to, at its first instruction; none where it cannot be read.
#[inline(always)]
pub fn return_address(ctx: &ProbeContext) -> Option<u64> {
    machine::return_address(ctx)
}

/// The address of the probed instruction.
#[inline(always)]
pub fn probed_at(ctx: &ProbeContext) -> u64 {
    machine::probed_at(ctx)
}

/// The word `index` of the registers at a probed instruction, as the kernel saved them; 0 where it cannot be read.
#[inline(always)]
pub fn saved(ctx: &ProbeContext, index: u8) -> u64 {
    /// Words of the longest `struct pt_regs`.
    const MOST: u32 = 64;
    let registers = ctx.as_ptr();
    // Which word it is the verifier does not know, so it is no load through the context.
    // SAFETY: the helper checks the address itself.
    unsafe { Probe::read(registers, (u32::from(index) % MOST) * 8) }
}

/// The running `g` of Go, anywhere in a Go function.
#[inline(always)]
pub fn go_running(ctx: &ProbeContext) -> u64 {
    machine::go_running(ctx)
}

/// The frame pointer at a probed instruction.
#[inline(always)]
pub fn frame_pointer(ctx: &ProbeContext) -> u64 {
    machine::frame_pointer(ctx)
}

/// The stack pointer at a probed instruction.
#[inline(always)]
pub fn stack_pointer(ctx: &ProbeContext) -> u64 {
    machine::stack_pointer(ctx)
}

/// The stack pointer behind a function's return, as it was at its first instruction.
#[inline(always)]
pub fn stack_at_return(ctx: &RetProbeContext) -> u64 {
    machine::stack_at_return(ctx)
}

/// The registers with which the current task entered the kernel, `struct pt_regs`.
#[derive(Clone, Copy)]
pub struct Registers(*const u8);

impl Registers {
    /// Those of the current task.
    #[inline(always)]
    pub fn current() -> Self {
        // SAFETY: the helper takes the pointer `bpf_get_current_task_btf` gives.
        Self(unsafe { bpf_task_pt_regs(bpf_get_current_task_btf() as *mut _) as *const u8 })
    }

    /// The number of the system call.
    #[inline(always)]
    pub fn number(self) -> u64 {
        machine::number(self)
    }

    /// The kernel is still inside the call: the result has not been written.
    #[inline(always)]
    pub fn inside_call(self) -> bool {
        machine::inside_call(self)
    }

    /// The call's arguments.
    #[inline(always)]
    pub fn arguments(self) -> [u64; 6] {
        machine::arguments(self)
    }

    /// The call follows the conventions of 32-bit programs, where pointers and structures look otherwise. `status` is the
    /// field of the task that the agent names (`agent/src/attach/offsets.rs`).
    #[inline(always)]
    pub fn compat(self, status: u32) -> bool {
        machine::compat(self, status)
    }

    /// The user's stack pointer.
    #[inline(always)]
    pub fn stack(self) -> u64 {
        machine::stack(self)
    }

    /// Those that a walk over the stack needs.
    #[inline(always)]
    pub fn walk(self) -> unwind::Registers {
        unwind::Registers {
            pc: machine::instruction(self),
            sp: machine::stack(self),
            fp: machine::frame(self),
            link: machine::link(self),
        }
    }

    /// The user's frame pointer.
    #[inline(always)]
    pub fn frame(self) -> u64 {
        machine::frame(self)
    }

    /// The word of `T`s size at `offset` bytes.
    #[inline(always)]
    fn at<T: Copy>(self, offset: usize) -> T {
        // SAFETY: the verifier knows the pointer as a `struct pt_regs`, and refuses what lies outside.
        unsafe { core::ptr::read_volatile(self.0.add(offset).cast()) }
    }
}
