//! Where whoever waits for requests is woken by code that was made a part of its callers, as link-time optimization does.
//!
//! `AtomicWaker::wake` sets a bit in its state, which nothing else does in this way at this place of a channel: how far behind the channel
//! the state lies is told by where its receivers wait. Channels of others are marked as well, and nobody asks for them.
//!
//! Who waits may look by itself and take a request before its giver has woken anybody. So the giver is seen before it puts the request into
//! the channel, where that can be watched: where it calls the function that does, or where it counts the message.
use std::collections::{BTreeMap, HashSet};

use clew_common::context::{PAGE, TOKIO_WAKES, wake};
use iced_x86::Register;

use super::{DEPTH, GIVERS, PART, PUSH, Program, TAKERS, Watch};
use crate::symbol::code::starts_cheaply;
use crate::symbol::flow::marks::{Marks, compares, given_right_before, marks};
use crate::symbol::flow::{behind_first, given};
use crate::symbol::functions::Function;

/// `AtomicWaker`: somebody wakes.
const WAKING: u64 = 0b10;
/// Longest function that is searched, bytes.
const FUNCTION_BYTES: u64 = 256 << 10;
/// Places that are looked at.
const MOST_PLACES: usize = 4096;
/// Who gives requests is more likely in functions of these.
const LIKELY: &[&str] = &["hyper::", "hyper_util::", "reqwest::"];

/// Places that wake whoever waits for requests.
pub(super) struct Wakes {
    /// As the plan has them.
    pub(super) words: Vec<u64>,
    pub(super) points: Vec<Watch>,
    pub(super) limit: Option<String>,
}

impl Program<'_> {
    /// Finds where requests are put into channels behind which `wake` is called. None if that cannot be watched for each.
    pub(super) fn pushes(&self, wake: &Function) -> Option<Wakes> {
        let mut found = Vec::new();
        for site in self.sites(wake) {
            if self.backs(*site, GIVERS, DEPTH).is_none_or(|backs| backs.is_empty()) {
                continue;
            }
            let around = self.functions.around(site.address);
            self.look(around)?;
            let function = around.first()?;
            let most = usize::try_from(function.size.min(FUNCTION_BYTES)).ok()?;
            let code = self.image.code(function.address, most)?;
            let push = self.push(function, &code, site.address);
            found.push(push.or_else(|| self.push_by_parts(function, &code, site.address))?);
        }
        select(found.into_iter(), 0).filter(|wakes| wakes.limit.is_none())
    }

    /// The last call of one of `callees` before the function calls at `place`.
    fn before(&self, function: &Function, place: u64, callees: &str) -> Option<u64> {
        let within = function.address..place;
        let sites = self.all(callees).iter().flat_map(|callee| self.sites(callee));
        sites
            .map(|site| site.address)
            .filter(|site| within.contains(site))
            .max()
    }

    /// Where the function, whose `code` this is, puts a message into the channel whose waker it calls at `wake`.
    fn push(&self, function: &Function, code: &[u8], wake: u64) -> Option<Marks> {
        let push = self.before(function, wake, PUSH)?;
        let at = usize::try_from(push - function.address).ok()?;
        if !starts_cheaply(code.get(at..)?, push) {
            return None;
        }
        let given = given(code, function.address, &[push, wake]);
        let spot = |place| given.iter().find(|(at, _)| *at == place).map(|(_, spot)| *spot);
        Some(Marks {
            branch: push,
            base: Register::RDI,
            offset: i32::try_from(spot(wake)?.from(spot(push)?)?).ok()?,
        })
    }

    /// The same where nothing is optimized: the function is given the channel, and finds its parts by calls.
    fn push_by_parts(&self, function: &Function, code: &[u8], wake: u64) -> Option<Marks> {
        if !self.is_plain() {
            return None;
        }
        let part = self.before(function, wake, PART)?;
        self.before(function, part, PUSH)?;
        let given = given(code, function.address, &[part]);
        let (_, spot) = given.first()?;
        Some(Marks {
            branch: self.watch("tokio_marks", function)?.1,
            base: Register::RDI,
            offset: i32::try_from(behind_first(*spot)?).ok()?,
        })
    }

    /// Finds them, where receivers wait by `register`.
    pub(super) fn wakes(&self, register: &Function) -> Option<Wakes> {
        let state = compares(&self.code(register)?, register.address)?;
        let offset = self.waker(register)?.checked_add(state)?;
        let text = self.image.section(&[".text"])?;
        // The displacement of the instruction that sets the bit.
        let places = self.image.places(text, &offset.to_le_bytes(), MOST_PLACES);
        let mut seen = HashSet::new();
        let mut found: Vec<(bool, Marks)> = Vec::new();
        for place in places {
            let around = self.functions.around(place);
            let Some(function) = around.first().filter(|function| seen.insert(function.address)) else {
                continue;
            };
            self.look(around)?;
            let names: Vec<String> = around.iter().map(|function| self.functions.name(function)).collect();
            // Who lets go of a channel wakes its receiver, too, and gives nothing.
            let gives = |name: &String| !name.contains("drop_in_place") && !name.split("::").any(|word| word == "drop");
            if !names.iter().all(gives) {
                continue;
            }
            let likely = names
                .iter()
                .any(|name| LIKELY.iter().any(|root| name.starts_with(root)));
            let most = usize::try_from(function.size.min(FUNCTION_BYTES)).ok()?;
            let code = self.image.code(function.address, most)?;
            let marks = marks(&code, function.address, WAKING, offset);
            found.extend(marks.into_iter().map(|mark| (likely, mark)));
        }
        found.sort_by_key(|(likely, _)| !likely);
        select(found.into_iter().map(|(_, mark)| mark), state)
    }

    /// How far behind the channel its receivers' waker lies, for which they wait.
    fn waker(&self, register: &Function) -> Option<i32> {
        let mut offsets = self.sites(register).iter().filter_map(|site| {
            self.backs(*site, TAKERS, DEPTH).filter(|backs| !backs.is_empty())?;
            let function = self.functions.around(site.address).first()?;
            let most = usize::try_from(function.size.min(FUNCTION_BYTES)).ok()?;
            given_right_before(
                &self.image.code(function.address, most)?,
                function.address,
                site.address,
            )
        });
        let first = offsets.next()?;
        offsets.all(|other| other == first).then_some(first)
    }
}

/// The places that the plan has room for and a probe can be told by. `state` is how far behind the waker its state lies.
fn select(found: impl Iterator<Item = Marks>, state: i32) -> Option<Wakes> {
    let mut words: BTreeMap<u64, u64> = BTreeMap::new();
    let mut points = Vec::new();
    let mut n_left = 0_usize;
    for mark in found {
        let waker = mark.offset.checked_sub(state)?;
        let word = saved(mark.base).map(|register| wake(mark.branch, register, waker));
        let known = words.get(&(mark.branch % PAGE)).copied();
        match (word, known) {
            (Some(word), None) if words.len() < TOKIO_WAKES.len() => {
                words.insert(mark.branch % PAGE, word);
                points.push(("tokio_marks", mark.branch));
            }
            (Some(word), Some(known)) if word == known => points.push(("tokio_marks", mark.branch)),
            _ => n_left += 1,
        }
    }
    (!words.is_empty()).then(|| Wakes {
        words: words.into_values().collect(),
        points,
        limit: (n_left != 0).then(|| format!("requests that are given at {n_left} more places are linked to nothing")),
    })
}

/// The word of the saved registers that a register is (`ebpf/src/arch/x86_64.rs`).
pub(super) fn saved(register: Register) -> Option<u8> {
    const ORDER: [Register; 15] = [
        Register::R15,
        Register::R14,
        Register::R13,
        Register::R12,
        Register::RBP,
        Register::RBX,
        Register::R11,
        Register::R10,
        Register::R9,
        Register::R8,
        Register::RAX,
        Register::RCX,
        Register::RDX,
        Register::RSI,
        Register::RDI,
    ];
    let at = ORDER.iter().position(|other| *other == register)?;
    u8::try_from(at).ok()
}

#[cfg(test)]
mod tests {
    use clew_common::context::wake_at;

    use super::*;

    const fn mark(branch: u64, base: Register) -> Marks {
        Marks {
            branch,
            base,
            offset: 0x110,
        }
    }

    #[test]
    fn selected() {
        let found = [mark(0x1010, Register::R13), mark(0x8020, Register::RCX)];
        let wakes = select(found.into_iter(), 0x10).expect("two");
        assert_eq!(wakes.limit, None);
        assert_eq!(wakes.points, [("tokio_marks", 0x1010), ("tokio_marks", 0x8020)]);
        let told = |place| wakes.words.iter().find_map(|word| wake_at(*word, place));
        // Wherever the program was loaded.
        assert_eq!(told(0x5555_5555_5010), Some((2, 0x100)));
        assert_eq!(told(0x5555_5555_c020), Some((11, 0x100)));
        assert_eq!(told(0x5555_5555_c030), None);
        assert_eq!(wake_at(0, 0), None);
    }

    #[test]
    fn places_that_cannot_be_told_apart_are_left_out() {
        let found = [
            mark(0x1010, Register::R13),
            mark(0x8010, Register::R12),
            mark(0x9010, Register::R13),
        ];
        let wakes = select(found.into_iter(), 0x10).expect("one");
        assert_eq!(wakes.points, [("tokio_marks", 0x1010), ("tokio_marks", 0x9010)]);
        assert!(wakes.limit.is_some());
        let many = (0..20).map(|at| mark(at * 16, Register::R13));
        let wakes = select(many, 0x10).expect("some");
        assert_eq!(wakes.points.len(), TOKIO_WAKES.len());
        assert!(select(std::iter::empty(), 0).is_none());
    }
}
