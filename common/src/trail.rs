//! By which words a walk over a stack went, so that the same walk need not be made again.
//!
//! A walk is settled by the registers it begins with, the rows it goes by and the words it reads ([`unwind::step`](crate::unwind::step)).
//! Where all of them are what they were it comes to the same frames. So it is enough to look at these words again, which lie close to each
//! other, where a walk looks up a row for each frame. The caller's frame pointer is among them only where a row uses it: most code keeps
//! something else in that register.
use crate::unwind::{Registers, Row, Word};

/// Words that a walk may go by.
pub const TRAIL_SLOTS: usize = 96;
/// Bytes of a stack, from the stack pointer on, within which they may stand.
pub const TRAIL_BYTES: usize = 16 << 10;
const TRAIL_WORDS: usize = TRAIL_BYTES / 8;
/// In place of the number of words: they are too many, or elsewhere.
const LOST: u32 = u32::MAX;

/// What hashes begin with, and what each word is mixed with (FNV-1a).
pub const SEED: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x100_0000_01b3;

/// A hash with one more word in it.
#[inline(always)]
pub const fn mix(hash: u64, word: u64) -> u64 {
    let mixed = (hash ^ word).wrapping_mul(PRIME);
    mixed ^ mixed >> 32
}

/// Where a walk begins.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// As [`Place::space`](crate::unwind::Place::space).
    pub space: u64,
    /// As [`Place::pc`](crate::unwind::Place::pc).
    pub pc: u64,
    /// The stack pointer.
    pub sp: u64,
}

/// Where the words stand that a walk went by.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trail {
    /// How many words.
    n_slots: u32,
    /// Bytes from the stack pointer to behind the last of them.
    pub size: u32,
    /// 1 where the frame pointer that the walk began with was used.
    by_frame: u32,
    /// Zero.
    reserved: u32,
    /// How many words above the stack pointer each of them stands, in the order in which they were read.
    slots: [u16; TRAIL_SLOTS],
}

/// A walk that is being made.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Tracing {
    /// Where it begins.
    pub start: Start,
    trail: Trail,
    /// A hash of the words so far and of where they stand.
    words: u64,
    /// The age of the rows that it goes by.
    age: u64,
    /// The frame pointer and the link register that it began with.
    fp: u64,
    link: u64,
    /// Where the frame pointer stood that holds now, until a row uses it; [`FIRST`] while it is the one that the walk began with.
    frame_at: u64,
}

/// See [`Tracing::frame_at`]: no address of a word.
const FIRST: u64 = 1;
/// The frame pointer that holds now is among the words.
const NOTED: u64 = 0;

impl Tracing {
    /// A walk over the memory `space` begins.
    #[inline(always)]
    pub fn begin(&mut self, registers: &Registers, space: u64, age: u64) {
        self.start = Start {
            space,
            pc: registers.pc,
            sp: registers.sp,
        };
        self.fp = registers.fp;
        self.link = registers.link;
        self.frame_at = FIRST;
        self.words = SEED;
        self.age = age;
        self.trail.n_slots = 0;
        self.trail.size = 0;
        self.trail.by_frame = 0;
        self.trail.reserved = 0;
    }

    /// The walk takes a step by `row`, from the frame pointer `fp`.
    #[inline(always)]
    pub fn goes_by(&mut self, row: &Row, fp: u64) {
        if !row.uses_frame() || self.frame_at == NOTED {
            return;
        }
        if self.frame_at == FIRST {
            self.trail.by_frame = 1;
        } else {
            self.note(self.frame_at, fp);
        }
        self.frame_at = NOTED;
    }

    /// It has read a word; none where it could not, which may be otherwise next time.
    #[inline(always)]
    pub fn reads(&mut self, what: Word, address: u64, value: Option<u64>) {
        match (value, what) {
            (None, _) => self.trail.n_slots = LOST,
            (Some(_), Word::Frame) => self.frame_at = address,
            (Some(value), Word::Cfa | Word::Back) => self.note(address, value),
        }
    }

    #[inline(always)]
    fn note(&mut self, address: u64, value: u64) {
        let distance = address.wrapping_sub(self.start.sp);
        let at = self.trail.n_slots as usize;
        if at >= TRAIL_SLOTS || distance >= TRAIL_BYTES as u64 || distance & 7 != 0 {
            self.trail.n_slots = LOST;
            return;
        }
        self.trail.slots[at] = (distance / 8) as u16;
        self.trail.n_slots = at as u32 + 1;
        self.words = at_slot(self.words, distance / 8, value);
        let end = distance as u32 + 8;
        if end > self.trail.size {
            self.trail.size = end;
        }
    }

    /// It came to the end of the stack: its trail, if it has one, and what names it among all walks, as [`Tracing::name`] does.
    #[inline(always)]
    pub fn end(&self) -> Option<(&Trail, u64)> {
        if self.trail.n_slots == LOST {
            return None;
        }
        Some((&self.trail, self.trail.sealed(self.words, self)))
    }

    /// What names the walk that goes by `trail` from where this one begins. Two of the same name go the same way: each word is found by the
    /// ones before. `word` gives the one so many words above the stack pointer, and is asked for none that does not stand within the
    /// trail's size. While another trail is written over it, the name is none that a walk has.
    #[inline(always)]
    pub fn name(&self, trail: &Trail, word: impl Fn(usize) -> u64) -> u64 {
        let mut words = SEED;
        let mut at = 0;
        while at < TRAIL_SLOTS {
            if at >= trail.n_slots as usize {
                break;
            }
            let slot = trail.slots[at] as usize & (TRAIL_WORDS - 1);
            words = at_slot(words, slot as u64, word(slot));
            at += 1;
        }
        trail.sealed(words, self)
    }
}

/// A hash with the word in it that stands at a slot.
#[inline(always)]
const fn at_slot(hash: u64, slot: u64, word: u64) -> u64 {
    mix(hash, word ^ slot << 48)
}

impl Trail {
    #[inline(always)]
    fn sealed(&self, words: u64, walk: &Tracing) -> u64 {
        let fp = if self.by_frame == 0 { 0 } else { walk.fp };
        let registers = mix(mix(mix(words, fp), walk.link), walk.start.pc);
        mix(mix(mix(registers, walk.start.sp), walk.start.space), walk.age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unwind::{CFA_AT_SP, CFA_SP, SAVED_AT_CFA, SAVED_AT_SP, step};

    const SP: u64 = 0x7fff_0000;

    /// Its return address lies on top of three words.
    const PLAIN: Row = Row {
        cfa: CFA_SP,
        cfa_offset: 24,
        back: SAVED_AT_CFA,
        back_offset: -8,
        ..Row::END
    };
    /// The same, and keeps the frame pointer at the second word.
    const KEEPS: Row = Row {
        frame: SAVED_AT_SP,
        frame_offset: 8,
        ..PLAIN
    };
    /// Its frame begins where its first word says.
    const MOVED: Row = Row {
        cfa: CFA_AT_SP,
        cfa_offset: 0,
        ..PLAIN
    };

    const fn registers(fp: u64) -> Registers {
        Registers {
            pc: 5,
            sp: SP,
            fp,
            link: 0,
        }
    }

    fn word(stack: &[u64], address: u64) -> Option<u64> {
        let place = address.checked_sub(SP)? / 8;
        stack.get(usize::try_from(place).ok()?).copied()
    }

    const EMPTY: Trail = Trail {
        n_slots: 9,
        size: 9,
        by_frame: 9,
        reserved: 0,
        slots: [9; TRAIL_SLOTS],
    };

    fn begun(fp: u64, age: u64) -> Tracing {
        let mut tracing = Tracing {
            start: Start::default(),
            trail: EMPTY,
            words: 9,
            age: 9,
            fp: 9,
            link: 9,
            frame_at: 9,
        };
        tracing.begin(&registers(fp), 3, age);
        tracing
    }

    /// The trail of a walk by these rows, which begins with the frame pointer `fp`, and its name.
    fn walked(rows: &[Row], fp: u64, stack: &[u64]) -> Option<(Trail, u64)> {
        let mut tracing = begun(fp, 1);
        let mut at = registers(fp);
        for row in rows {
            tracing.goes_by(row, at.fp);
            let read = |what, address| {
                let value = word(stack, address);
                tracing.reads(what, address, value);
                value
            };
            if !step(row, &mut at, read) {
                break;
            }
        }
        tracing.end().map(|(trail, name)| (*trail, name))
    }

    fn name(trail: &Trail, fp: u64, age: u64, stack: &[u64]) -> u64 {
        begun(fp, age).name(trail, |place| {
            assert!(place * 8 < trail.size as usize, "{place}");
            stack.get(place).copied().unwrap_or(0)
        })
    }

    /// A walk goes by these words of the stack, and by the first frame pointer or not.
    #[track_caller]
    fn check(rows: &[Row], stack: &[u64], by: &[usize], by_frame: bool) {
        const FP: u64 = SP + 48;
        let (trail, walked) = walked(rows, FP, stack).expect("a trail");
        assert_eq!(name(&trail, FP, 1, stack), walked, "the same stack");
        for place in 0..stack.len() {
            let mut other = [0; 16];
            other[..stack.len()].copy_from_slice(stack);
            other[place] ^= 8;
            let is_same = name(&trail, FP, 1, &other) == walked;
            assert_ne!(is_same, by.contains(&place), "word {place}");
        }
        assert_ne!(
            name(&trail, FP + 8, 1, stack) == walked,
            by_frame,
            "the first frame pointer"
        );
        assert_ne!(name(&trail, FP, 2, stack), walked, "other rows");
    }

    #[test]
    fn by_return_addresses_alone() {
        let stack = [1, 2, 11, 4, 5, 12, 7, 8, 13];
        check(&[PLAIN, PLAIN, PLAIN], &stack, &[2, 5, 8], false);
        // What is in the frame pointer's register says nothing as long as no frame is found by it.
        check(&[PLAIN, KEEPS, KEEPS], &stack, &[2, 5, 8], false);
    }

    #[test]
    fn by_frame_pointers_that_are_used() {
        // The first is linked by the register, the second by what the first kept.
        let stack = [1, 2, 3, 4, 5, 6, SP + 64, 11, SP + 80, 12];
        check(&[Row::LINKED, Row::LINKED], &stack, &[6, 7, 9], true);
        let stack = [1, SP + 40, 11, 4, 5, SP + 64, 12, 8, 9];
        check(&[KEEPS, Row::LINKED], &stack, &[1, 2, 6], false);
    }

    #[test]
    fn by_frames_that_begin_elsewhere() {
        let stack = [SP + 32, 2, 3, 11, 5, 6, 12];
        check(&[MOVED, PLAIN], &stack, &[0, 3, 6], false);
    }

    #[test]
    fn the_same_words_elsewhere_are_others() {
        let moved = Row {
            back_offset: -16,
            ..PLAIN
        };
        let ((trail, one), (_, other)) = (
            walked(&[PLAIN], 0, &[1, 7, 7]).expect("a trail"),
            walked(&[moved], 0, &[1, 7, 7]).expect("a trail"),
        );
        assert_ne!(one, other);
        assert_eq!(name(&trail, 0, 1, &[1, 7, 7]), one);
    }

    #[test]
    fn walks_without_a_trail() {
        assert!(
            walked(&[PLAIN, PLAIN], 0, &[1, 2, 11]).is_none(),
            "what cannot be read now may be soon"
        );
        let far = Row {
            cfa_offset: TRAIL_BYTES as i32 + 8,
            ..PLAIN
        };
        let stack = [7; TRAIL_BYTES / 4];
        assert!(walked(&[far], 0, &stack).is_none(), "too far");
        assert!(walked(&[PLAIN; TRAIL_SLOTS], 0, &stack).is_some());
        assert!(walked(&[PLAIN; TRAIL_SLOTS + 1], 0, &stack).is_none(), "too many");
        let odd = Row {
            back_offset: -7,
            ..PLAIN
        };
        assert!(walked(&[odd], 0, &stack).is_none(), "no word");
        // An end that the rows or the words tell of is one the next time, too.
        let ended = walked(&[PLAIN, PLAIN, PLAIN], 0, &[1, 2, 11, 4, 5, 0]).expect("a trail");
        let (trail, walked) = ended;
        assert_ne!(name(&trail, 0, 1, &[1, 2, 11, 4, 5, 12]), walked);
    }
}
