//! What code says of itself: which constants a function hands on, which of its arguments it reads, what it changes.
use std::collections::{BTreeMap, HashMap, HashSet};

use iced_x86::{
    Code, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register, UsedRegister,
};

use super::super::super::code::instructions;
use super::super::super::flow;
use super::super::super::frames::Range;
use super::super::super::image::{Image, Span};
use super::super::place::ARGUMENTS;
use super::{FILE, FUNCTION_BYTES, Hidden};

/// What BoringSSL numbers its TLS in failures (`include/openssl/err.h`).
pub(super) const BORING: u64 = 16;

/// Longest path of a source file.
const LONGEST: u64 = 256;
/// Ways through a function that are tried.
const MOST_STEPS: usize = 4096;

/// A call, or a jump to one that several places share, that is handed a constant which is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::symbol::openssl) struct Site {
    /// The constants in the registers of the first five arguments.
    pub(super) arguments: [Option<u64>; 5],
    /// The function; none for a jump.
    pub(super) called: Option<u64>,
}

/// Where the texts begin that have the file's name at these places and end with it, and whether it is BoringSSL's name.
pub(super) fn starts(image: &Image, places: &[u64]) -> Vec<(u64, bool)> {
    let mut found: Vec<(u64, bool)> = places
        .iter()
        .filter_map(|&place| {
            let end = image.data(place.checked_add(FILE.len() as u64)?, 2)?;
            let boring = match end[..] {
                [0, _] => false,
                [b'c', 0] => true,
                _ => return None,
            };
            let before = image.data(place.checked_sub(LONGEST)?, usize::try_from(LONGEST).ok()?)?;
            let start = memchr::memrchr(0, &before)? as u64 + 1;
            Some((place - LONGEST + start, boring))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Instructions in `text` that refer to one of `targets`, and to which: relative to themselves, or in programs at a fixed address
/// by it.
pub(super) fn references(image: &Image, text: Span, targets: &[u64], most: usize) -> Vec<(u64, u64)> {
    const WINDOW: usize = 1 << 20;
    /// The longest instruction that is looked for, so that none is cut between windows.
    const OVERLAP: u64 = 16;
    let fixed: Vec<(memchr::memmem::Finder<'static>, u64)> = targets
        .iter()
        .filter(|_| image.is_fixed())
        .filter_map(|target| {
            let word = u32::try_from(*target).ok()?.to_le_bytes();
            Some((memchr::memmem::Finder::new(&word).into_owned(), *target))
        })
        .collect();
    let mut found = Vec::new();
    let mut start = 0;
    while start < text.size && found.len() < most {
        let Some(mut bytes) = text.offset.checked_add(start).and_then(|at| image.bytes(at, WINDOW)) else {
            break;
        };
        bytes.truncate(usize::try_from(text.size - start).unwrap_or(usize::MAX));
        let base = text.address.wrapping_add(start);
        // lea: a prefix, the opcode, a byte that says "relative to the next instruction", the distance.
        for place in memchr::memchr_iter(0x8d, &bytes) {
            let Some(&[kind, ref distance @ ..]) = bytes.get(place + 1..place + 6) else {
                continue;
            };
            if kind & 0xc7 == 5
                && let Some(distance) = distance.first_chunk::<4>()
            {
                let at = base.wrapping_add(place as u64);
                let distance = i64::from(i32::from_le_bytes(*distance));
                let target = at.wrapping_add(6).wrapping_add_signed(distance);
                if targets.contains(&target) {
                    found.push((at, target));
                }
            }
        }
        for (word, target) in &fixed {
            let places = word.find_iter(&bytes);
            found.extend(places.map(|place| (base.wrapping_add(place as u64), *target)));
        }
        if bytes.len() < WINDOW {
            break;
        }
        start += WINDOW as u64 - OVERLAP;
    }
    found.truncate(most);
    found
}

/// The calls of a function that are handed `wanted`, with the constants they are handed besides.
///
/// Constants count within a block: where a branch leads they may be others'.
pub(super) fn sites(code: &[u8], address: u64, wanted: u64) -> Vec<Site> {
    let targets: HashSet<u64> = instructions(code, address).filter_map(|one| branch(&one)).collect();
    let mut factory = InstructionInfoFactory::new();
    let mut known: HashMap<Register, u64> = HashMap::new();
    let mut found = Vec::new();
    let mut note = |known: &HashMap<Register, u64>, called| {
        let arguments = ARGUMENTS.map(|register| known.get(&register).copied());
        if arguments.contains(&Some(wanted)) {
            found.push(Site { arguments, called });
        }
    };
    for instruction in instructions(code, address) {
        if targets.contains(&instruction.ip()) {
            // What goes on into a block that others share is as good as a jump to it.
            note(&known, None);
            known.clear();
        }
        let flow = instruction.flow_control();
        if matches!(flow, FlowControl::Call | FlowControl::UnconditionalBranch) {
            // A jump out of the function is a call whose return is the function's own.
            let target = instruction.near_branch_target();
            let leaves = target.wrapping_sub(address) >= code.len() as u64;
            note(&known, (flow == FlowControl::Call || leaves).then_some(target));
        }
        let value = constant(&instruction, &known);
        for register in written(&mut factory, &instruction) {
            known.remove(&register);
        }
        if let Some(value) = value {
            known.insert(instruction.op0_register().full_register(), value);
        }
        if !matches!(flow, FlowControl::Next | FlowControl::ConditionalBranch) {
            known.clear();
        }
    }
    found
}

/// Where a branch leads that is no call.
fn branch(instruction: &Instruction) -> Option<u64> {
    let is_branch = matches!(
        instruction.flow_control(),
        FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
    );
    is_branch.then(|| instruction.near_branch_target())
}

/// The constant an instruction gives its first register.
fn constant(instruction: &Instruction, known: &HashMap<Register, u64>) -> Option<u64> {
    match instruction.code() {
        Code::Mov_r32_imm32 => Some(u64::from(instruction.immediate32())),
        Code::Mov_rm64_imm32 if instruction.op0_kind() == OpKind::Register => {
            Some(instruction.immediate32to64().cast_unsigned())
        }
        Code::Mov_r64_imm64 => Some(instruction.immediate64()),
        Code::Lea_r64_m if instruction.is_ip_rel_memory_operand() => Some(instruction.ip_rel_memory_address()),
        Code::Mov_r64_rm64 | Code::Mov_rm64_r64 | Code::Mov_r32_rm32 | Code::Mov_rm32_r32
            if instruction.op0_kind() == OpKind::Register && instruction.op1_kind() == OpKind::Register =>
        {
            known.get(&instruction.op1_register().full_register()).copied()
        }
        _ if instruction.mnemonic() == Mnemonic::Xor
            && instruction.op1_kind() == OpKind::Register
            && instruction.op0_register() == instruction.op1_register()
            && (instruction.op0_register().is_gpr32() || instruction.op0_register().is_gpr64()) =>
        {
            Some(0)
        }
        _ => None,
    }
}

const fn reads(used: &UsedRegister) -> bool {
    matches!(
        used.access(),
        OpAccess::Read | OpAccess::CondRead | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}

fn written(factory: &mut InstructionInfoFactory, instruction: &Instruction) -> Vec<Register> {
    let used = factory.info(instruction).used_registers();
    used.iter()
        .filter(|used| {
            !matches!(
                used.access(),
                OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess
            )
        })
        .map(|used| used.register().full_register())
        .collect()
}

/// The function reads each of its first `n` arguments before anything changes it, on one way or another, and it returns.
pub(super) fn takes(code: &[u8], address: u64, n: usize) -> bool {
    let wanted = ARGUMENTS.get(..n).unwrap_or(&ARGUMENTS);
    let mut by_address: BTreeMap<u64, Instruction> = BTreeMap::new();
    let mut returns = false;
    for instruction in instructions(code, address) {
        returns |= matches!(instruction.flow_control(), FlowControl::Return)
            || branch(&instruction).is_some_and(|target| target.wrapping_sub(address) >= code.len() as u64);
        by_address.insert(instruction.ip(), instruction);
    }
    let mut factory = InstructionInfoFactory::new();
    let mut read: HashSet<Register> = HashSet::new();
    let mut seen: HashSet<(u64, u8)> = HashSet::new();
    // Where to go on, and which arguments are as they were, a bit for each.
    let mut ways: Vec<(u64, u8)> = vec![(address, u8::MAX)];
    let mut steps = 0;
    while let Some((at, untouched)) = ways.pop() {
        steps += 1;
        let Some(instruction) = by_address.get(&at).filter(|_| steps <= MOST_STEPS) else {
            continue;
        };
        if !seen.insert((at, untouched)) {
            continue;
        }
        let mut left = untouched;
        // Clearing a register by itself reads nothing.
        let clears = constant(instruction, &HashMap::new()).is_some();
        let used = factory.info(instruction).used_registers();
        for (bit, register) in wanted.iter().enumerate() {
            let of = || used.iter().filter(|used| used.register().full_register() == *register);
            if left >> bit & 1 != 0 && !clears && of().any(reads) {
                read.insert(*register);
            }
            if of().any(|used| used.access() != OpAccess::Read) {
                left &= !(1 << bit);
            }
        }
        let flow = instruction.flow_control();
        if matches!(flow, FlowControl::Call | FlowControl::IndirectCall) {
            left = 0;
        }
        if left == 0 {
            continue;
        }
        if matches!(flow, FlowControl::Next | FlowControl::ConditionalBranch) {
            ways.push((instruction.next_ip(), left));
        }
        ways.extend(branch(instruction).map(|target| (target, left)));
    }
    returns && read.len() == wanted.len()
}

/// The function changes memory that is not on its own stack.
pub(super) fn changes(code: &[u8], address: u64) -> bool {
    let mut factory = InstructionInfoFactory::new();
    instructions(code, address).any(|instruction| {
        let own = |register: Register| matches!(register, Register::RSP | Register::RBP);
        let memory = factory.info(&instruction).used_memory();
        memory.iter().any(|used| {
            let writes = !matches!(
                used.access(),
                OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess
            );
            writes && !own(used.base())
        })
    })
}

/// Where the label stands that keys are derived with from the random numbers of both ends (RFC 5246, section 6.3).
pub(super) fn labels(image: &Image) -> Vec<u64> {
    const LABEL: &[u8] = b"\0key expansion\0";
    /// Those of other libraries too.
    const MOST: usize = 8;
    let data = image.section(&[".rodata"]);
    let places = data.map_or_else(Vec::new, |data| image.places(data, LABEL, MOST));
    places.into_iter().map(|at| at + 1).collect()
}

/// Where a session has the random number of its ClientHello, by the functions in `ranges` that derive keys from it, at `places`,
/// and from the server's, which lies before it. A wrong answer ties no session: the number has to be one that passed on the wire.
pub(super) fn random(image: &Image, ranges: &[Range], places: &[u64], hidden: &Hidden) -> Option<(u16, u16)> {
    const BYTES: i64 = 32;
    let write = hidden.functions.get("SSL_write")?;
    let mut found: HashSet<(u16, u16)> = HashSet::new();
    for range in ranges {
        if !places.iter().any(|place| range.holds(*place)) {
            continue;
        }
        let code = image.code(range.address, usize::try_from(range.size.min(FUNCTION_BYTES)).ok()?)?;
        for place in places.iter().filter(|place| range.holds(**place)) {
            // The two numbers are handed on together with the label.
            let near = flow::near(&code, range.address, *place);
            for (pointer, client) in &near {
                if near.contains(&(*pointer, client - BYTES)) {
                    found.extend(packed(*pointer, *client));
                }
            }
        }
    }
    let mut all = found.into_iter();
    let one = all.next().filter(|_| all.next().is_none())?;
    // `SSL_write` begins with the same pointer of the session's.
    let code = image.code(*write, usize::try_from(FUNCTION_BYTES).ok()?)?;
    let pointer = u32::from(one.0);
    (one.1 == 0 || flow::looks_at(&code, *write, Register::RDI).contains(&pointer)).then_some(one)
}

/// As in `place::random`.
fn packed(pointer: Option<u32>, client: i64) -> Option<(u16, u16)> {
    let client = u16::try_from(client).ok()?;
    match pointer {
        None => Some((client, 0)),
        Some(pointer) => Some((u16::try_from(pointer).ok()?, client.checked_add(1)?)),
    }
}
