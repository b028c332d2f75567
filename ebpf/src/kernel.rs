//! Reading the kernel's structures and the memory of processes.
use core::ffi::c_void;
use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_probe_read_user,
};

use crate::settings;

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
    // Not cleared before, which LLVM may call a function for: the helper writes all of it, also when it fails.
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper checks the address itself.
    let failed = unsafe {
        bpf_probe_read_user(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            address as *const c_void,
        )
    };
    // SAFETY: the helper wrote it.
    (failed == 0).then(|| unsafe { value.assume_init() })
}

/// The current task, as a pointer the verifier knows the type of. For programs that load on no kernel before 5.11.
#[inline(always)]
pub fn task() -> *const c_void {
    // SAFETY: always valid in a tracing program.
    unsafe { bpf_get_current_task_btf() as *const c_void }
}

/// Reads a field of the current task, on any kernel. The verifier knows the setting and never looks at the other branch.
#[inline(always)]
pub fn of_task<T: Copy + Default>(offset: u32) -> T {
    if settings::typed_task() != 0 {
        // SAFETY: the task is valid.
        unsafe { Direct::read(task(), offset) }
    } else {
        // SAFETY: the task is valid; the helper checks the address itself.
        unsafe { Probe::read(bpf_get_current_task() as *const c_void, offset) }
    }
}
