//! Walks the stacks of compiled programs: by the rows of [`clew_common::unwind`], which the agent makes as it is asked.
use core::ffi::c_void;
use core::mem::offset_of;

use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_probe_read_user};
use clew_common::counter;
use clew_common::event::{KIND_STACK_REST, STACK_BYTES, STACK_PIECE, STACK_WORDS, StackRest};
use clew_common::trail::TRAIL_BYTES;
use clew_common::unwind::{CFA_ASKED, CFA_SILENT, EXACT, Place, Row, space, step};

use crate::arch::Registers;
use crate::kernel::{Probe, Reader as _};
use crate::maps::{ROWS, ROWS_AGE, Reached, STACKS, TRACE, TRAILS, UNWIND, WALKS, remember};
use crate::verifier::opaque;
use crate::{context, kernel, ring, settings};

/// How a walk ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Walked {
    /// As one before, whose stack was told: it was not made again.
    Again,
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

/// Walks the stack of the current thread, which is in a system call. Where it comes to one that was told the stack has its name.
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
        let name = retrace();
        if name != 0 {
            (*rest).stack.hash = name;
            return Walked::Again;
        }
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
    let (Some(rest), Some(trace)) = (UNWIND.get_ptr_mut(0), TRACE.get_ptr_mut(0)) else {
        return SILENT;
    };
    // SAFETY: the maps gave the pointers, and the place is within.
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
        let tracing = &mut (*trace).tracing;
        tracing.goes_by(&*row, (*rest).registers.fp);
        let read = |what, address| {
            let value = kernel::user::<u64>(address);
            tracing.reads(what, address, value);
            value
        };
        if step(&*row, &mut (*rest).registers, read) {
            ON
        } else {
            WHOLE
        }
    }
}

/// Begins the walk from the registers in [`UNWIND`]. The name of the stack if one was walked from here that was told, and would be walked
/// the same way now; else 0.
///
/// A global function: the verifier looks at it once by itself.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn retrace() -> u64 {
    let (Some(rest), Some(trace), Some(age)) = (UNWIND.get_ptr(0), TRACE.get_ptr_mut(0), ROWS_AGE.get_ptr(0)) else {
        return 0;
    };
    // SAFETY: the maps gave the pointers, nothing interrupts a program on its CPU that uses them, and the helper writes no more than is
    // there.
    unsafe {
        // Before a row is read: rows that are removed meanwhile are of this age.
        let age = age.read_volatile();
        let registers = &raw const (*rest).registers;
        (*trace).tracing.begin(&*registers, (*rest).stack.layout, age);
        let Some(trail) = TRAILS.get_ptr(&(*trace).tracing.start) else {
            return 0;
        };
        let size = opaque(u64::from((*trail).size));
        if size > TRAIL_BYTES as u64 {
            return 0;
        }
        let words = (&raw mut (*trace).words).cast();
        if bpf_probe_read_user(words, size as u32, (*registers).sp as *const c_void) != 0 {
            return 0;
        }
        let walk = (*trace)
            .tracing
            .name(&*trail, |place| (*trace).words[place % (TRAIL_BYTES / 8)]);
        let Some(reached) = WALKS.get_ptr(&walk) else { return 0 };
        let name = (&raw const (*reached).stack).read_volatile();
        // Memory of what falls out is another's at once, which is written from its beginning on.
        if (&raw const (*reached).walk).read_volatile() == walk && STACKS.get_ptr(&name).is_some() {
            name
        } else {
            0
        }
    }
}

/// The walk was over the stack `name`, which is told: it need not be made again while the stack is the same. Zero.
///
/// A global function: the verifier looks at it once by itself.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn keep_trail(name: u64) -> u64 {
    let Some(trace) = TRACE.get_ptr(0) else { return 0 };
    // SAFETY: the map gave the pointer, and nothing interrupts a program on its CPU that uses it.
    unsafe {
        let tracing = &(*trace).tracing;
        if let Some((trail, walk)) = tracing.end() {
            remember(&TRAILS, &tracing.start, trail);
            remember(&WALKS, &walk, &Reached { walk, stack: name });
        }
    }
    0
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
