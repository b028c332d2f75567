//! Reading the kernel's structures and the memory of processes.
use core::ffi::c_void;

use aya_ebpf::helpers::generated::{
    bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_probe_read_user, bpf_task_pt_regs,
};

/// How a field of a kernel structure is read.
pub trait Reader {
    /// Reads a `T` at `base + offset`; zero where it cannot be read.
    ///
    /// # Safety
    /// `base` is a kernel pointer of the kind the reader is for, or null.
    unsafe fn read<T: Copy + Default>(base: *const c_void, offset: u32) -> T;

    /// Reads a pointer; null where it cannot be read.
    ///
    /// # Safety
    /// As [`read`](Self::read).
    #[inline(always)]
    unsafe fn pointer(base: *const c_void, offset: u32) -> *const c_void {
        // SAFETY: the caller vouches for `base`.
        unsafe { Self::read::<u64>(base, offset) as *const c_void }
    }
}

/// Plain loads through a pointer the verifier knows the type of. A fault gives zero.
pub struct Direct;

impl Reader for Direct {
    #[inline(always)]
    unsafe fn read<T: Copy + Default>(base: *const c_void, offset: u32) -> T {
        // SAFETY: the verifier has checked the type behind the pointer and handles faults.
        unsafe { core::ptr::read_volatile(base.cast::<u8>().add(offset as usize).cast::<T>()) }
    }
}

/// Reads by helper, for pointers that are mere numbers to the verifier.
pub struct Probe;

impl Reader for Probe {
    #[inline(always)]
    unsafe fn read<T: Copy + Default>(base: *const c_void, offset: u32) -> T {
        let mut value = T::default();
        // SAFETY: the helper checks the address itself.
        unsafe {
            bpf_probe_read_kernel(
                (&raw mut value).cast(),
                size_of::<T>() as u32,
                base.cast::<u8>().wrapping_add(offset as usize).cast(),
            );
        }
        value
    }
}

/// Reads a `T` of the current process's memory; none where it is not resident.
#[inline(always)]
pub fn user<T: Copy + Default>(address: u64) -> Option<T> {
    let mut value = T::default();
    // SAFETY: the helper checks the address itself.
    let failed =
        unsafe { bpf_probe_read_user((&raw mut value).cast(), size_of::<T>() as u32, address as *const c_void) };
    (failed == 0).then_some(value)
}

/// The current task.
#[inline(always)]
pub fn task() -> *const c_void {
    // SAFETY: always valid in a tracing program.
    unsafe { bpf_get_current_task_btf() as *const c_void }
}

/// The registers with which the current task entered the kernel.
#[inline(always)]
pub fn registers() -> Registers {
    // SAFETY: the helper takes the pointer `bpf_get_current_task_btf` gives.
    Registers(unsafe { bpf_task_pt_regs(bpf_get_current_task_btf() as *mut _) as *const u64 })
}

/// `struct pt_regs` of x86-64, as words.
///
/// ```text
/// 0 r15  1 r14  2 r13  3 r12  4 rbp  5 rbx  6 r11  7 r10  8 r9  9 r8
/// 10 rax 11 rcx 12 rdx 13 rsi 14 rdi 15 orig_rax 16 rip 17 cs 18 flags 19 rsp 20 ss
/// ```
#[derive(Clone, Copy)]
pub struct Registers(*const u64);

impl Registers {
    #[inline(always)]
    fn word(self, index: usize) -> u64 {
        // SAFETY: the verifier knows the pointer as a `struct pt_regs`, which has 21 words.
        unsafe { core::ptr::read_volatile(self.0.add(index)) }
    }

    /// The number of the system call.
    #[inline(always)]
    pub fn number(self) -> u64 {
        self.word(15)
    }

    /// The kernel is still inside the call: the result has not been written.
    #[inline(always)]
    pub fn inside_call(self) -> bool {
        const ENOSYS: i64 = 38;
        self.word(10) as i64 == -ENOSYS
    }

    /// The call's arguments.
    #[inline(always)]
    pub fn arguments(self) -> [u64; 6] {
        [
            self.word(14),
            self.word(13),
            self.word(12),
            self.word(7),
            self.word(9),
            self.word(8),
        ]
    }
}
