//! What the instructions of a function do with its arguments: read once, from its start to its end, so that whatever is not
//! plain is unknown.
pub(super) mod marks;
pub(super) mod number;
pub(super) mod slots;

use std::collections::HashMap;
use std::ops::Range;

use iced_x86::{Code, FlowControl, Instruction, InstructionInfoFactory, OpAccess, OpKind, Register};

use super::code::{instructions, is_cheap};

/// What a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// What it held when the function began.
    Argument(Register),
    /// The thread pointer, moved.
    Thread(i64),
    /// What is in memory at the argument, moved.
    Field(Register, u32),
    /// What is in memory there, moved.
    FieldOfField(Register, u32, u32),
    /// The argument itself, moved.
    Near(Register, i64),
    /// A pointer in memory at the argument, moved on.
    Behind(Register, u32, i64),
}

impl Value {
    /// The value as an address, some bytes on.
    fn moved(self, by: i64) -> Option<Self> {
        Some(match self {
            Self::Thread(at) => Self::Thread(at.checked_add(by)?),
            Self::Argument(register) => Self::Near(register, by),
            Self::Near(register, at) => Self::Near(register, at.checked_add(by)?),
            Self::Field(register, field) => Self::Behind(register, field, by),
            Self::Behind(register, field, at) => Self::Behind(register, field, at.checked_add(by)?),
            Self::FieldOfField(..) => return None,
        })
    }
}

/// Registers that were written since the function began; none where the value is unknown.
type Written = HashMap<Register, Option<Value>>;

/// What the function keeps in its own frame, as far as it is known: by the distance from where the stack pointer was when it began.
/// Code that is not optimized keeps everything there.
type Slots = HashMap<i64, Value>;

/// Follows registers through a function, along branches that lead forward.
#[derive(Default)]
struct Flow {
    written: Written,
    slots: Slots,
    /// From where on in the frame others may write: the lowest place that the function has made an address of. What it keeps for itself
    /// lies below what it hands out.
    shared: Option<i64>,
    /// What holds where a branch leads.
    ahead: HashMap<u64, (Written, Slots)>,
    /// The instruction before does not go on to the next.
    cut: bool,
}

/// Registers a called function may change.
const VOLATILE: [Register; 9] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
];

/// All registers that carry values.
const ALL: [Register; 16] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RBX,
    Register::RSP,
    Register::RBP,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];

/// A register's size, bytes.
const WORD: i64 = 8;

impl Flow {
    fn value(&self, register: Register) -> Option<Value> {
        if !register.is_gpr64() {
            return None;
        }
        match self.written.get(&register) {
            Some(value) => *value,
            None => Some(Value::Argument(register)),
        }
    }

    /// The value a plain instruction gives its first register.
    fn result(&self, instruction: &Instruction) -> Option<Value> {
        let displacement = instruction.memory_displacement64().cast_signed();
        match (instruction.code(), instruction.op1_kind()) {
            (Code::Mov_r64_rm64, OpKind::Memory) => self.load(instruction),
            (Code::Mov_r64_rm64 | Code::Mov_rm64_r64, OpKind::Register) => self.value(instruction.op1_register()),
            (Code::Lea_r64_m, _) if instruction.memory_index() == Register::None => {
                self.value(instruction.memory_base())?.moved(displacement)
            }
            (Code::Add_rm64_imm32 | Code::Add_rm64_imm8 | Code::Add_RAX_imm32, _) => self
                .value(instruction.op0_register())?
                .moved(instruction.immediate(1).cast_signed()),
            (Code::Sub_rm64_imm32 | Code::Sub_rm64_imm8 | Code::Sub_RAX_imm32, _) => self
                .value(instruction.op0_register())?
                .moved(instruction.immediate(1).cast_signed().checked_neg()?),
            _ => None,
        }
    }

    /// Which part of the frame the instruction's memory is.
    fn slot(&self, instruction: &Instruction) -> Option<i64> {
        if instruction.memory_index() != Register::None || instruction.segment_prefix() != Register::None {
            return None;
        }
        let base = match self.value(instruction.memory_base())? {
            Value::Argument(Register::RSP) => 0,
            Value::Near(Register::RSP, at) => at,
            _ => return None,
        };
        base.checked_add(instruction.memory_displacement64().cast_signed())
    }

    /// The instruction writes to memory.
    fn store(&mut self, instruction: &Instruction) {
        let Some(at) = self.slot(instruction) else {
            self.others_write();
            return;
        };
        let end = i64::try_from(instruction.memory_size().size())
            .ok()
            .and_then(|size| at.checked_add(size));
        // A size that is not known may be any.
        self.slots
            .retain(|slot, _| slot.saturating_add(WORD) <= at || end.is_some_and(|end| end > at && *slot >= end));
        if instruction.code() == Code::Mov_rm64_r64
            && let Some(value) = self.value(instruction.op1_register())
        {
            self.slots.insert(at, value);
        }
    }

    /// Something writes wherever in the frame it may.
    fn others_write(&mut self) {
        if let Some(shared) = self.shared {
            self.slots.retain(|slot, _| slot.saturating_add(WORD) <= shared);
        }
    }

    fn load(&self, instruction: &Instruction) -> Option<Value> {
        let (base, index) = (instruction.memory_base(), instruction.memory_index());
        if instruction.segment_prefix() == Register::FS {
            // The first word of the thread's block is its own address.
            let own = base == Register::None && index == Register::None && instruction.memory_displacement64() == 0;
            return own.then_some(Value::Thread(0));
        }
        if let Some(kept) = self.slot(instruction).and_then(|slot| self.slots.get(&slot)) {
            return Some(*kept);
        }
        let at = u32::try_from(instruction.memory_displacement64()).ok()?;
        match self.value(base) {
            _ if index != Register::None => None,
            Some(Value::Argument(register)) => Some(Value::Field(register, at)),
            Some(Value::Field(register, first)) => Some(Value::FieldOfField(register, first, at)),
            _ => None,
        }
    }

    /// The instruction is reached: by the one before, by branches, or both.
    fn reach(&mut self, instruction: &Instruction) {
        match (self.ahead.remove(&instruction.ip()), self.cut) {
            (Some((ahead, slots)), true) => (self.written, self.slots) = (ahead, slots),
            (Some((ahead, slots)), false) => {
                self.slots.retain(|slot, value| slots.get(slot) == Some(value));
                for register in ahead.keys().chain(self.written.clone().keys()) {
                    let there = ahead.get(register).copied().unwrap_or(Some(Value::Argument(*register)));
                    if self.value(*register) != there {
                        self.written.insert(*register, None);
                    }
                }
            }
            (None, true) => {
                // Only a branch back leads here.
                self.slots.clear();
                self.written = ALL.into_iter().map(|register| (register, None)).collect();
            }
            (None, false) => {}
        }
        self.cut = false;
    }

    /// The instruction has been executed.
    fn step(&mut self, instruction: &Instruction, factory: &mut InstructionInfoFactory) {
        let plain = instruction.op0_kind() == OpKind::Register;
        let result = if plain { self.result(instruction) } else { None };
        let writes = |access| !matches!(access, OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess);
        let info = factory.info(instruction);
        let stores = info.used_memory().iter().any(|used| writes(used.access()));
        let written: Vec<Register> = info
            .used_registers()
            .iter()
            .filter(|used| writes(used.access()))
            .map(|used| used.register().full_register())
            .collect();
        if stores {
            self.store(instruction);
        }
        let calls = matches!(
            instruction.flow_control(),
            FlowControl::Call | FlowControl::IndirectCall
        );
        for register in written {
            // A function gives the stack back as it found it.
            if !calls || register != Register::RSP {
                self.written.insert(register, None);
            }
        }
        if let (Some(value), true) = (result, plain) {
            let to = instruction.op0_register();
            let frame = match value {
                Value::Argument(Register::RSP) => Some(0),
                Value::Near(Register::RSP, at) => Some(at),
                _ => None,
            };
            if let Some(at) = frame.filter(|_| to != Register::RSP) {
                self.shared = Some(self.shared.map_or(at, |lowest| lowest.min(at)));
            }
            self.written.insert(to, Some(value));
        }
        match instruction.flow_control() {
            FlowControl::Call | FlowControl::IndirectCall => {
                for register in VOLATILE {
                    self.written.insert(register, None);
                }
                self.others_write();
            }
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                let target = instruction.near_branch_target();
                self.cut = instruction.flow_control() == FlowControl::UnconditionalBranch;
                if target > instruction.ip() && !self.ahead.contains_key(&target) {
                    self.ahead.insert(target, (self.written.clone(), self.slots.clone()));
                } else if let Some((ahead, slots)) = self.ahead.get_mut(&target) {
                    slots.retain(|slot, value| self.slots.get(slot) == Some(value));
                    for register in ALL {
                        let here = self
                            .written
                            .get(&register)
                            .copied()
                            .unwrap_or(Some(Value::Argument(register)));
                        let there = ahead.get(&register).copied().unwrap_or(Some(Value::Argument(register)));
                        if here != there {
                            ahead.insert(register, None);
                        }
                    }
                }
            }
            FlowControl::Return | FlowControl::IndirectBranch | FlowControl::Exception => self.cut = true,
            _ => {}
        }
    }
}

/// The offset from the thread pointer at which the function `code` stores its first argument, or what that points to.
pub(super) fn stores_in_thread(code: &[u8], address: u64) -> Option<i64> {
    let mut flow = Flow::default();
    let mut factory = InstructionInfoFactory::new();
    for instruction in instructions(code, address) {
        flow.reach(&instruction);
        let stores = matches!(instruction.code(), Code::Mov_rm64_r64 | Code::Xchg_rm64_r64)
            && instruction.op0_kind() == OpKind::Memory
            && instruction.memory_index() == Register::None
            && matches!(
                flow.value(instruction.op1_register()),
                Some(Value::Argument(Register::RDI) | Value::Field(Register::RDI, 0))
            );
        if stores {
            let displacement = instruction.memory_displacement64().cast_signed();
            if instruction.segment_prefix() == Register::FS && instruction.memory_base() == Register::None {
                return Some(displacement);
            }
            if let Some(Value::Thread(at)) = flow.value(instruction.memory_base()) {
                return at.checked_add(displacement);
            }
        }
        flow.step(&instruction, &mut factory);
    }
    None
}

/// The function reads a number of its second argument, whose place another structure tells: where the argument points to
/// that structure, and where in it the place stands. Both are offsets in bytes.
pub(super) fn reads_by_table(code: &[u8], address: u64) -> Option<(u32, u32)> {
    let mut flow = Flow::default();
    let mut factory = InstructionInfoFactory::new();
    for instruction in instructions(code, address) {
        flow.reach(&instruction);
        if instruction.code() == Code::Mov_r64_rm64
            && instruction.op1_kind() == OpKind::Memory
            && instruction.memory_displacement64() == 0
            && instruction.memory_index_scale() == 1
        {
            let (base, index) = (instruction.memory_base(), instruction.memory_index());
            for (argument, place) in [(base, index), (index, base)] {
                if let (Some(Value::Argument(Register::RSI)), Some(Value::FieldOfField(Register::RSI, first, second))) =
                    (flow.value(argument), flow.value(place))
                {
                    return Some((first, second));
                }
            }
        }
        flow.step(&instruction, &mut factory);
    }
    None
}

/// The function reads a number by way of a table that its first argument points to: where it points to the table, and where in that
/// the number stands. Both are offsets in bytes.
pub(super) fn reads_in_table(code: &[u8], address: u64) -> Option<(u32, u32)> {
    let mut flow = Flow::default();
    let mut factory = InstructionInfoFactory::new();
    for instruction in instructions(code, address) {
        flow.reach(&instruction);
        flow.step(&instruction, &mut factory);
        if let Some(Value::FieldOfField(Register::RDI, first, second)) = flow.value(instruction.op0_register()) {
            return Some((first, second));
        }
    }
    None
}

/// The offset from the thread pointer of what the function hands to the first that it calls.
pub(super) fn hands_of_thread(code: &[u8], address: u64) -> Option<i64> {
    match first_handed(code, address)? {
        (Some(Value::Thread(at)), _) => Some(at),
        _ => None,
    }
}

/// How far behind its second argument the place lies that the function hands to the first that it calls, with what its first argument
/// points to.
pub(super) fn hands_behind_second(code: &[u8], address: u64) -> Option<i64> {
    match first_handed(code, address)? {
        (Some(Value::Near(Register::RSI, at)), Some(Value::Field(Register::RDI, 0))) => Some(at),
        _ => None,
    }
}

/// The two arguments of the function's first call.
fn first_handed(code: &[u8], address: u64) -> Option<(Option<Value>, Option<Value>)> {
    let mut flow = Flow::default();
    let mut factory = InstructionInfoFactory::new();
    for instruction in instructions(code, address) {
        flow.reach(&instruction);
        if matches!(
            instruction.flow_control(),
            FlowControl::Call | FlowControl::IndirectCall
        ) {
            return Some((flow.value(Register::RDI), flow.value(Register::RSI)));
        }
        flow.step(&instruction, &mut factory);
    }
    None
}

/// The first instruction of the function that the kernel emulates, and a register that holds the function's second argument there.
pub(super) fn holds_second(code: &[u8], address: u64) -> Option<(u64, Register)> {
    let mut flow = Flow::default();
    let mut factory = InstructionInfoFactory::new();
    for instruction in instructions(code, address) {
        // Up to it no branch leads elsewhere: the kernel emulates branches.
        if is_cheap(&instruction) {
            let holds = |register: &Register| flow.value(*register) == Some(Value::Argument(Register::RSI));
            return Some((instruction.ip(), ALL.into_iter().find(holds)?));
        }
        flow.step(&instruction, &mut factory);
    }
    None
}

/// An address that a function knows: one that it was given or found where it was given one, and how many bytes on it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    base: Value,
    offset: i64,
}

impl Spot {
    fn of(value: Value) -> Option<Self> {
        let (base, offset) = match value {
            // What lies in its frame is nobody else's.
            Value::Argument(Register::RSP) | Value::Near(Register::RSP, _) => return None,
            Value::Argument(_) | Value::Field(..) => (value, 0),
            Value::Near(register, at) => (Value::Argument(register), at),
            Value::Behind(register, field, at) => (Value::Field(register, field), at),
            Value::Thread(_) | Value::FieldOfField(..) => return None,
        };
        Some(Self { base, offset })
    }

    /// How far it is from another; none if that is not known.
    pub(super) fn from(self, other: Self) -> Option<i64> {
        (self.base == other.base).then(|| self.offset.checked_sub(other.offset))?
    }
}

/// What the function's calls at these places are given as the first argument, where it is known.
pub(super) fn given(code: &[u8], address: u64, calls: &[u64]) -> Vec<(u64, Spot)> {
    let mut flow = Flow::default();
    let mut factory = InstructionInfoFactory::new();
    let mut found = Vec::new();
    for instruction in instructions(code, address) {
        flow.reach(&instruction);
        if calls.contains(&instruction.ip())
            && let Some(spot) = flow.value(Register::RDI).and_then(Spot::of)
        {
            found.push((instruction.ip(), spot));
        }
        flow.step(&instruction, &mut factory);
    }
    found
}

/// How far behind the function's first argument what it is given at this call lies.
pub(super) fn behind_first(spot: Spot) -> Option<i64> {
    (spot.base == Value::Argument(Register::RDI)).then_some(spot.offset)
}

/// Where the function looks at what an argument points to, in bytes, in the order of its instructions; once each.
pub(super) fn looks_at(code: &[u8], address: u64, argument: Register) -> Vec<u32> {
    let mut flow = Flow::default();
    let mut factory = InstructionInfoFactory::new();
    let mut found = Vec::new();
    for instruction in instructions(code, address) {
        flow.reach(&instruction);
        let is_memory = (0..instruction.op_count()).any(|operand| instruction.op_kind(operand) == OpKind::Memory);
        if is_memory
            && instruction.code() != Code::Lea_r64_m
            && instruction.memory_index() == Register::None
            && flow.value(instruction.memory_base()) == Some(Value::Argument(argument))
            && let Ok(at) = u32::try_from(instruction.memory_displacement64())
            && !found.contains(&at)
        {
            found.push(at);
        }
        flow.step(&instruction, &mut factory);
    }
    found
}

/// The function has one of these numbers in its instructions, whole.
pub(super) fn knows(code: &[u8], address: u64, numbers: Range<u64>) -> bool {
    instructions(code, address)
        .any(|instruction| instruction.code() == Code::Mov_r64_imm64 && numbers.contains(&instruction.immediate64()))
}

/// Addresses that a few instructions before and behind the one at `place` make: by an offset in what a register holds, with the
/// offset of the field that register was loaded from, if it was.
pub(super) fn near(code: &[u8], address: u64, place: u64) -> Vec<(Option<u32>, i64)> {
    /// Instructions on either side.
    const NEAR: usize = 16;
    let all: Vec<Instruction> = instructions(code, address).collect();
    // A reference is found by a byte within the instruction.
    let Some(at) = all.iter().rposition(|instruction| instruction.ip() <= place) else {
        return Vec::new();
    };
    let mut loaded: HashMap<Register, u32> = HashMap::new();
    let mut factory = InstructionInfoFactory::new();
    let mut found = Vec::new();
    for instruction in all.iter().skip(at.saturating_sub(NEAR)).take(2 * NEAR) {
        let (to, base) = (instruction.op0_register(), instruction.memory_base());
        let plain = instruction.memory_index() == Register::None && base != Register::None;
        let mut field = None;
        match instruction.code() {
            Code::Lea_r64_m if plain => {
                let offset = instruction.memory_displacement64().cast_signed();
                found.push((loaded.get(&base).copied(), offset));
            }
            Code::Add_rm64_imm32 | Code::Add_rm64_imm8 | Code::Add_RAX_imm32
                if instruction.op0_kind() == OpKind::Register =>
            {
                found.push((loaded.get(&to).copied(), instruction.immediate(1).cast_signed()));
            }
            Code::Mov_r64_rm64 if instruction.op1_kind() == OpKind::Memory && plain => {
                field = u32::try_from(instruction.memory_displacement64()).ok();
            }
            _ => {}
        }
        for used in factory.info(instruction).used_registers() {
            if !matches!(
                used.access(),
                OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess
            ) {
                loaded.remove(&used.register().full_register());
            }
        }
        if let Some(field) = field {
            loaded.insert(to, field);
        }
    }
    found
}

/// The function reads what its second argument has at this offset.
pub(super) fn reads_second(code: &[u8], address: u64, at: u32) -> bool {
    let mut flow = Flow::default();
    let mut factory = InstructionInfoFactory::new();
    instructions(code, address).any(|instruction| {
        flow.reach(&instruction);
        flow.step(&instruction, &mut factory);
        flow.value(instruction.op0_register()) == Some(Value::Field(Register::RSI, at))
    })
}

/// Where a function of code that is not optimized begins, by its making room in its frame: a plain instruction, which the kernel steps
/// over at some cost.
pub(super) fn unoptimized(code: &[u8], address: u64) -> Option<u64> {
    let first = instructions(code, address).next()?;
    let makes_room = matches!(first.code(), Code::Sub_rm64_imm32 | Code::Sub_rm64_imm8);
    (makes_room && first.op0_register() == Register::RSP).then_some(address)
}

/// The function, which is not optimized, keeps its second argument and a byte behind it in its frame: a pair that it was given.
pub(super) fn keeps_pair(code: &[u8], address: u64) -> bool {
    /// Instructions that are looked at.
    const MOST: usize = 16;
    let mut flow = Flow::default();
    let mut factory = InstructionInfoFactory::new();
    let (mut words, mut bytes) = (Vec::new(), Vec::new());
    for instruction in instructions(code, address).take(MOST) {
        if let Some(at) = flow
            .slot(&instruction)
            .filter(|_| instruction.op0_kind() == OpKind::Memory)
        {
            match instruction.code() {
                Code::Mov_rm64_r64
                    if flow.value(instruction.op1_register()) == Some(Value::Argument(Register::RSI)) =>
                {
                    words.push(at);
                }
                Code::Mov_rm8_r8 => bytes.push(at),
                _ => {}
            }
        }
        flow.step(&instruction, &mut factory);
    }
    words.iter().any(|word| bytes.contains(&(word + WORD)))
}

/// The function uses as an address what an argument points to, at this offset.
pub(super) fn follows(code: &[u8], address: u64, argument: Register, at: u32) -> bool {
    let mut flow = Flow::default();
    let mut factory = InstructionInfoFactory::new();
    instructions(code, address).any(|instruction| {
        flow.reach(&instruction);
        let is_used = flow.value(instruction.memory_base()) == Some(Value::Field(argument, at));
        flow.step(&instruction, &mut factory);
        is_used
    })
}

/// The first instruction the kernel emulates in a function, while its first argument is in its register and the return
/// address on the top of the stack.
pub(super) fn first_emulated(code: &[u8], address: u64) -> Option<u64> {
    emulated_with(code, address, &[Register::RDI, Register::RSP])
}

/// The same while its first argument alone is where it was.
pub(super) fn emulated_with_first(code: &[u8], address: u64) -> Option<u64> {
    emulated_with(code, address, &[Register::RDI])
}

/// The first instruction the kernel emulates in a function, all of which comes by it, while these registers hold what they did.
fn emulated_with(code: &[u8], address: u64, kept: &[Register]) -> Option<u64> {
    /// Instructions looked at: nearly all functions begin by saving registers.
    const MOST: usize = 12;
    let mut flow = Flow::default();
    let mut factory = InstructionInfoFactory::new();
    for instruction in instructions(code, address).take(MOST) {
        let holds = |register: &Register| flow.value(*register) == Some(Value::Argument(*register));
        if !kept.iter().all(holds) {
            return None;
        }
        if instruction.code() == Code::Push_r64
            || instruction.is_jcc_short_or_near()
            || instruction.is_jmp_short_or_near()
        {
            return Some(instruction.ip());
        }
        flow.step(&instruction, &mut factory);
    }
    None
}

#[cfg(test)]
mod tests;
