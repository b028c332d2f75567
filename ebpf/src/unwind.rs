//! Walks the stacks of compiled programs: by the rows of [`clew_common::unwind`], which the agent makes as it is asked.
use core::ffi::c_void;
use core::mem::offset_of;

use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_probe_read_user};
use clew_common::counter;
use clew_common::event::{KIND_STACK_REST, STACK_BYTES, STACK_PIECE, STACK_WORDS, StackRest};
use clew_common::unwind::{CFA_ASKED, CFA_SILENT, EXACT, Place, Row, space, step};

use crate::arch::Registers;
use crate::kernel::{Probe, Reader as _};
use crate::maps::{ROWS, UNWIND};
use crate::verifier::opaque;
use crate::{context, kernel, ring, settings};

/// How a walk ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Walked {
    /// At the outermost frame.
    Whole,
    /// Where it is not known how to go on.
    Asking,
    /// Nothing is told of this program.
    Silent,
}

/// What [`walk_frame`] gives.
const ON: u64 = 0;
const WHOLE: u64 = 1;
const ASKING: u64 = 2;
const SILENT: u64 = 3;

/// Walks the stack of the current thread, which is in a system call.
///
/// # Safety
/// `rest` is what [`UNWIND`] holds.
#[inline(always)]
pub unsafe fn walk(rest: *mut StackRest) -> Walked {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        // By helper: what it gives is a mere number.
        let memory: u64 = Probe::read(kernel::task(), settings::task_mm());
        (*rest).stack.layout = space(context::tgid(), memory);
        (*rest).stack.n_words = 0;
        (*rest).registers = Registers::current().walk();
        if (*rest).registers.pc == 0 {
            // A thread of the kernel's, which works for the process.
            return Walked::Silent;
        }
        (*rest).registers.pc |= EXACT;
    }
    let mut depth = 0;
    while depth < STACK_WORDS as u64 {
        match walk_frame(depth) {
            ON => {}
            WHOLE => break,
            ASKING => return Walked::Asking,
            _ => return Walked::Silent,
        }
        depth += 1;
    }
    Walked::Whole
}

/// Notes the frame that the registers in [`UNWIND`] are of, which is at this depth, and goes to its caller.
///
/// A global function: the verifier looks at it once by itself.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn walk_frame(depth: u64) -> u64 {
    let Some(rest) = UNWIND.get_ptr_mut(0) else {
        return SILENT;
    };
    // SAFETY: the map gave the pointer, and the place is within.
    unsafe {
        let pc = (*rest).registers.pc;
        let place = Place {
            pc,
            space: (*rest).stack.layout,
        };
        let Some(row) = ROWS.get_ptr(&place) else { return ASKING };
        match (*row).cfa {
            CFA_SILENT => return SILENT,
            CFA_ASKED => return ASKING,
            _ => {}
        }
        let depth = opaque(depth);
        if depth >= STACK_WORDS as u64 {
            return WHOLE;
        }
        (*rest).stack.words[depth as usize] = pc;
        (*rest).stack.n_words = depth as u32 + 1;
        if step(&*row, &mut (*rest).registers, kernel::user::<u64>) {
            ON
        } else {
            WHOLE
        }
    }
}

/// Hands what was walked to the agent, and what lies above on the stack.
///
/// # Safety
/// As [`walk`].
#[inline(always)]
pub unsafe fn ask(rest: *mut StackRest) {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        if ask_frame() == 0 {
            ring::count(counter::STACKS_UNWALKED, 1);
            return;
        }
        (*rest).stack.header = context::header(KIND_STACK_REST);
        let size = opaque((*rest).n_bytes);
        if size > STACK_BYTES as u64 {
            return;
        }
        ring::write_now(rest, offset_of!(StackRest, bytes) as u64 + size);
    }
}

/// Copies the stack from the frame on that the registers in [`UNWIND`] are of; 0 where the agent was asked often enough.
///
/// A global function: the verifier looks at it once by itself.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn ask_frame() -> u64 {
    let Some(rest) = UNWIND.get_ptr_mut(0) else { return 0 };
    // SAFETY: the map gave the pointer, and each piece is within.
    unsafe {
        let place = Place {
            pc: (*rest).registers.pc,
            space: (*rest).stack.layout,
        };
        if !may_ask(&place) {
            return 0;
        }
        // Pieces do not cross pages, of which the last may be followed by none.
        let start = (*rest).registers.sp & !(STACK_PIECE as u64 - 1);
        (*rest).start = start;
        let mut copied = 0_usize;
        while copied < STACK_BYTES {
            let piece = (&raw mut (*rest).bytes).cast::<u8>().add(copied);
            let from = start.wrapping_add(copied as u64) as *const c_void;
            if bpf_probe_read_user(piece.cast(), STACK_PIECE as u32, from) != 0 {
                break;
            }
            copied += STACK_PIECE;
        }
        (*rest).n_bytes = copied as u64;
    }
    1
}

/// Notes that the agent is asked for a row, unless it was often enough.
#[inline(always)]
fn may_ask(place: &Place) -> bool {
    /// Within a second, more or less.
    const MOST: i32 = 64;
    const SECOND: u32 = 30;
    // SAFETY: no arguments.
    let second = (unsafe { bpf_ktime_get_ns() } >> SECOND) as i32;
    let mut row = Row {
        cfa: CFA_ASKED,
        cfa_offset: second,
        ..Row::END
    };
    if let Some(asked) = ROWS.get_ptr(place) {
        // SAFETY: the map gave the pointer.
        unsafe {
            if (*asked).cfa != CFA_ASKED {
                return true;
            }
            if (*asked).cfa_offset == second {
                row.frame_offset = (*asked).frame_offset + 1;
            }
        }
        if row.frame_offset >= MOST {
            return false;
        }
    }
    let _full = ROWS.insert(place, &row, 0);
    true
}
