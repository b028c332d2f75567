//! How stacks of compiled programs are walked, alike on both sides: by a [`Row`] for each instruction that calls.
//!
//! The agent makes the rows from a program's tables (`.eh_frame`), one by one, as the kernel side comes to an instruction it has none for
//! and hands over the rest of the stack: a program calls from few places.
//!
//! ```text
//! higher addresses
//! |   ..                    |
//! |   ..                    | <- CFA: the caller's stack pointer
//! |   return address        | <- CFA + return_offset
//! |   caller's frame pointer| <- CFA + frame_offset
//! |   ..                    | <- sp
//! ```
#[cfg(feature = "user")]
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What is added to an address that was not put on the stack by a call: the instruction at it is meant, not the one before.
pub const EXACT: u64 = 1 << 63;

/// Where a row holds.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Place {
    /// A return address, or another plus [`EXACT`].
    pub pc: u64,
    /// Whose: see [`space`].
    pub space: u64,
}

/// Names the memory of a process, until it begins another program: its number, and the address of the kernel's description of the memory.
pub const fn space(tgid: u32, memory: u64) -> u64 {
    (tgid as u64) << 32 | (memory >> 6) as u32 as u64
}

/// The process of a [`space`].
pub const fn process(space: u64) -> u32 {
    (space >> 32) as u32
}

/// How the caller's registers are found.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Row {
    /// Where the CFA is, a `CFA_` constant.
    pub cfa: u8,
    /// Where the caller's frame pointer is, a `SAVED_` constant.
    pub frame: u8,
    /// Where the return address is, a `SAVED_` constant.
    pub back: u8,
    /// 1 where the caller was interrupted rather than called: see [`EXACT`].
    pub interrupted: u8,
    /// Bytes from the register to the CFA, or to where it stands.
    pub cfa_offset: i32,
    /// Bytes from what stands there to the CFA.
    pub cfa_add: i32,
    /// Bytes to where the frame pointer stands.
    pub frame_offset: i32,
    /// Bytes to where the return address stands.
    pub back_offset: i32,
}

/// Nothing of the stack is told.
pub const CFA_SILENT: u8 = 0;
/// The stack pointer plus `cfa_offset`.
pub const CFA_SP: u8 = 1;
/// The frame pointer plus `cfa_offset`.
pub const CFA_FP: u8 = 2;
/// What stands at the stack pointer plus `cfa_offset`, plus `cfa_add`.
pub const CFA_AT_SP: u8 = 3;
/// What stands at the frame pointer plus `cfa_offset`, plus `cfa_add`.
pub const CFA_AT_FP: u8 = 4;
/// There is no caller, or it cannot be found.
pub const CFA_END: u8 = 5;
/// The agent was asked: `frame_offset` times in the second `cfa_offset`.
pub const CFA_ASKED: u8 = 6;

/// The register still has it; of the return address, that is the link register.
pub const SAVED_NOWHERE: u8 = 0;
/// At the CFA plus the offset.
pub const SAVED_AT_CFA: u8 = 1;
/// At the stack pointer plus the offset.
pub const SAVED_AT_SP: u8 = 2;
/// At the frame pointer plus the offset.
pub const SAVED_AT_FP: u8 = 3;

impl Row {
    /// No caller.
    pub const END: Self = Self::bare(CFA_END);
    /// Nothing is told.
    pub const SILENT: Self = Self::bare(CFA_SILENT);
    /// The frames are linked by the frame pointer, on x86-64 as on AArch64.
    pub const LINKED: Self = Self {
        cfa: CFA_FP,
        frame: SAVED_AT_CFA,
        back: SAVED_AT_CFA,
        interrupted: 0,
        cfa_offset: 16,
        cfa_add: 0,
        frame_offset: -16,
        back_offset: -8,
    };

    /// Whether a step by it goes by the frame pointer.
    #[inline(always)]
    pub const fn uses_frame(&self) -> bool {
        matches!(self.cfa, CFA_FP | CFA_AT_FP) || self.frame == SAVED_AT_FP || self.back == SAVED_AT_FP
    }

    const fn bare(cfa: u8) -> Self {
        Self {
            cfa,
            frame: 0,
            back: 0,
            interrupted: 0,
            cfa_offset: 0,
            cfa_add: 0,
            frame_offset: 0,
            back_offset: 0,
        }
    }
}

/// The registers that a walk needs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Registers {
    /// As [`Place::pc`].
    pub pc: u64,
    /// The stack pointer.
    pub sp: u64,
    /// The frame pointer.
    pub fp: u64,
    /// The link register; 0 where the machine has none, and in callers.
    pub link: u64,
}

/// What a word of the stack is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The CFA.
    Cfa,
    /// The caller's frame pointer.
    Frame,
    /// The return address.
    Back,
}

/// Makes the registers the caller's; false where there is no caller or it cannot be read. `read` gives the word at an address. By a row
/// that is silent nobody steps: whose stack has one is not told.
#[inline(always)]
pub fn step(row: &Row, registers: &mut Registers, mut read: impl FnMut(Word, u64) -> Option<u64>) -> bool {
    let (sp, fp) = (registers.sp, registers.fp);
    let base = if row.cfa == CFA_FP || row.cfa == CFA_AT_FP {
        fp
    } else {
        sp
    };
    let mut cfa = base.wrapping_add(row.cfa_offset as i64 as u64);
    if row.cfa >= CFA_AT_SP {
        if row.cfa > CFA_AT_FP {
            return false;
        }
        let Some(word) = read(Word::Cfa, cfa) else { return false };
        cfa = word.wrapping_add(row.cfa_add as i64 as u64);
    }
    // Callers' frames are above; an interrupted one may be elsewhere.
    if cfa < sp && row.interrupted == 0 {
        return false;
    }
    if row.frame != SAVED_NOWHERE {
        let Some(word) = read(Word::Frame, saved(row.frame, row.frame_offset, cfa, sp, fp)) else {
            return false;
        };
        registers.fp = word;
    }
    let mut back = registers.link;
    if row.back != SAVED_NOWHERE {
        let Some(word) = read(Word::Back, saved(row.back, row.back_offset, cfa, sp, fp)) else {
            return false;
        };
        back = word;
    }
    if back == 0 || back & EXACT != 0 {
        return false;
    }
    registers.pc = back | (row.interrupted as u64) << 63;
    registers.sp = cfa;
    registers.link = 0;
    true
}

/// Where a register stands.
#[inline(always)]
const fn saved(place: u8, offset: i32, cfa: u64, sp: u64, fp: u64) -> u64 {
    let base = match place {
        SAVED_AT_SP => sp,
        SAVED_AT_FP => fp,
        _ => cfa,
    };
    base.wrapping_add(offset as i64 as u64)
}

const _: () = {
    assert!(size_of::<Row>() == 20);
    assert!(size_of::<Place>() == 16);
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Words on a stack that begins at 1000.
    fn walk(row: &Row, registers: Registers, words: &[u64]) -> Option<Registers> {
        let mut caller = registers;
        let read = |_, address: u64| {
            let index = address.checked_sub(1000)? / 8;
            words.get(usize::try_from(index).ok()?).copied()
        };
        step(row, &mut caller, read).then_some(caller)
    }

    const HERE: Registers = Registers {
        pc: EXACT | 7,
        sp: 1000,
        fp: 1016,
        link: 5,
    };

    #[test]
    fn frames_by_their_rows() {
        let by_sp = Row {
            cfa: CFA_SP,
            back: SAVED_AT_CFA,
            cfa_offset: 16,
            back_offset: -8,
            ..Row::default()
        };
        let caller = |pc, sp, fp| Registers { pc, sp, fp, link: 0 };
        assert_eq!(walk(&by_sp, HERE, &[1, 2, 3, 4]), Some(caller(2, 1016, 1016)));
        assert_eq!(walk(&Row::LINKED, HERE, &[1, 2, 3, 4]), Some(caller(4, 1032, 3)));
        let linked = Row {
            back: SAVED_NOWHERE,
            ..by_sp
        };
        assert_eq!(walk(&linked, HERE, &[]), Some(caller(5, 1016, 1016)));
        let through = Row {
            cfa: CFA_AT_FP,
            cfa_offset: -8,
            cfa_add: 8,
            frame: SAVED_AT_FP,
            ..by_sp
        };
        assert_eq!(walk(&through, HERE, &[9, 1016, 2, 3]), Some(caller(2, 1024, 2)));
        let signal = Row {
            cfa: CFA_AT_SP,
            cfa_offset: 0,
            back: SAVED_AT_SP,
            back_offset: 8,
            interrupted: 1,
            ..by_sp
        };
        assert_eq!(walk(&signal, HERE, &[400, 2]), Some(caller(EXACT | 2, 400, 1016)));
    }

    #[test]
    fn walks_that_end() {
        let asked = Row {
            cfa: CFA_ASKED,
            ..Row::END
        };
        for row in [Row::END, asked] {
            assert_eq!(walk(&row, HERE, &[0; 8]), None);
        }
        assert_eq!(walk(&Row::LINKED, HERE, &[1, 2, 3, 0]), None, "no return address");
        assert_eq!(walk(&Row::LINKED, HERE, &[1, 2, 3]), None, "not readable");
        let down = Registers { fp: 900, ..HERE };
        assert_eq!(walk(&Row::LINKED, down, &[1; 8]), None, "below the callee");
    }

    #[test]
    fn spaces() {
        assert_eq!(process(space(7, 0xffff_8880_1234_5640)), 7);
        assert_ne!(space(7, 0xffff_8880_1234_5640), space(7, 0xffff_8880_1234_5a40));
    }
}
