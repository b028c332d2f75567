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
mod tests {
    use super::*;

    /// Tokio 1.54, `set_current_task_id`, from its start to its end.
    const SET: &[u8] = &[
        0x41, 0x56, 0x53, 0x50, 0x48, 0x89, 0xfb, 0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0, 0x48, 0x8d, 0x80, 0xa8,
        0xfe, 0xff, 0xff, 0x0f, 0xb6, 0x48, 0x48, 0x83, 0xf9, 0x01, 0x74, 0x24, 0x48, 0x8b, 0x48, 0x30, 0x48, 0x89,
        0x58, 0x30,
    ];

    #[test]
    fn thread_stores() {
        assert_eq!(stores_in_thread(SET, 0x1000), Some(-0x158 + 0x30));
        assert_eq!(stores_in_thread(&SET[..SET.len() - 1], 0x1000), None);
        // mov %rdi,%fs:0xfffffffffffffff8
        assert_eq!(
            stores_in_thread(&[0x64, 0x48, 0x89, 0x3c, 0x25, 0xf8, 0xff, 0xff, 0xff], 0),
            Some(-8)
        );
        // mov %rsi,%rdi; mov %rdi,%fs:-8: no longer the argument.
        let other = [0x48, 0x89, 0xf7, 0x64, 0x48, 0x89, 0x3c, 0x25, 0xf8, 0xff, 0xff, 0xff];
        assert_eq!(stores_in_thread(&other, 0), None);
        assert_eq!(stores_in_thread(&[], 0), None);
    }

    #[test]
    fn tables() {
        // mov %rsi,%rbx; mov 0x10(%rsi),%rax; mov 0x48(%rax),%rax; mov (%rsi,%rax,1),%r14
        let code = [
            0x48, 0x89, 0xf3, 0x48, 0x8b, 0x46, 0x10, 0x48, 0x8b, 0x40, 0x48, 0x4c, 0x8b, 0x34, 0x06,
        ];
        assert_eq!(reads_by_table(&code, 0), Some((0x10, 0x48)));
        assert!(reads_second(&code, 0, 0x10));
        assert!(!reads_second(&code, 0, 0x18));
        // A call in between forgets.
        let mut called = code.to_vec();
        called.splice(3..3, [0xe8, 0, 0, 0, 0]);
        assert_eq!(reads_by_table(&called, 0), None);
        assert_eq!(reads_by_table(&code[..code.len() - 1], 0), None);
    }

    #[test]
    fn the_second_argument_is_kept() {
        // mov %rsi,%rdx; mov %rdi,%rsi; lea 0(%rip),%rdi; jmp
        let code = [
            0x48, 0x89, 0xf2, 0x48, 0x89, 0xfe, 0x48, 0x8d, 0x3d, 0, 0, 0, 0, 0xe9, 0, 0, 0, 0,
        ];
        assert_eq!(holds_second(&code, 0x1000), Some((0x100d, Register::RDX)));
        // Without the first it is gone.
        assert_eq!(holds_second(&code[3..], 0x1000), None);
        assert_eq!(holds_second(&code[..13], 0x1000), None);
        // push %rbp
        assert_eq!(holds_second(&[0x55], 0x1000), Some((0x1000, Register::RSI)));
    }

    #[test]
    fn what_calls_are_given() {
        // mov %rsi,%rbx; lea 0x400(%rbx),%rdi; call; add $0x88,%rbx; mov %rbx,%rdi; call; call
        let code = [
            0x48, 0x89, 0xf3, 0x48, 0x8d, 0xbb, 0, 4, 0, 0, 0xe8, 0, 0, 0, 0, 0x48, 0x81, 0xc3, 0x88, 0, 0, 0, 0x48,
            0x89, 0xdf, 0xe8, 0, 0, 0, 0, 0xe8, 0, 0, 0, 0,
        ];
        let [(first, buffer), (second, records)] = given(&code, 0x1000, &[0x100a, 0x1019, 0x101e])[..] else {
            panic!("behind a call the register holds anything");
        };
        assert_eq!((first, second), (0x100a, 0x1019));
        assert_eq!(buffer.from(records), Some(0x378));
        assert_eq!(behind_first(buffer), None, "it was the second argument");
        // mov 8(%rdi),%rbx; lea 0x10(%rbx),%rdi; call: behind a pointer.
        let found = [0x48, 0x8b, 0x5f, 8, 0x48, 0x8d, 0x7b, 0x10, 0xe8, 0, 0, 0, 0];
        let [(_, spot)] = given(&found, 0, &[8])[..] else {
            panic!("a place behind a pointer");
        };
        assert_eq!(spot.from(buffer), None, "another object");
        assert_eq!(behind_first(spot), None);
        // add $0x98,%rdi; call
        let own = [0x48, 0x81, 0xc7, 0x98, 0, 0, 0, 0xe8, 0, 0, 0, 0];
        assert_eq!(
            given(&own, 0, &[7]).first().and_then(|(_, spot)| behind_first(*spot)),
            Some(0x98)
        );
    }

    /// What a function keeps below what it hands out is its own.
    #[test]
    fn what_is_kept_in_the_frame() {
        // sub $0x48,%rsp; mov %rdi,8(%rsp); lea 0x10(%rsp),%rdi; call; mov 8(%rsp),%rdi; sub $-0x80,%rdi; call
        let mut code = [
            0x48, 0x83, 0xec, 0x48, 0x48, 0x89, 0x7c, 0x24, 8, 0x48, 0x8d, 0x7c, 0x24, 0x10, 0xe8, 0, 0, 0, 0, 0x48,
            0x8b, 0x7c, 0x24, 8, 0x48, 0x83, 0xef, 0x80, 0xe8, 0, 0, 0, 0,
        ];
        let kept = |code: &[u8]| given(code, 0, &[28]).first().and_then(|(_, spot)| behind_first(*spot));
        assert_eq!(kept(&code), Some(0x80));
        (code[8], code[23]) = (0x10, 0x10);
        assert_eq!(kept(&code), None);
        (code[8], code[23]) = (0x18, 0x18);
        assert_eq!(kept(&code), None);
    }

    /// Where the ways to a call disagree, nothing is known of what it is given.
    #[test]
    fn what_calls_may_be_given() {
        // test %rsi,%rsi; je +7; add $0x88,%rdi; call
        let code = [
            0x48, 0x85, 0xf6, 0x74, 7, 0x48, 0x81, 0xc7, 0x88, 0, 0, 0, 0xe8, 0, 0, 0, 0,
        ];
        assert_eq!(given(&code, 0, &[12]), []);
    }

    #[test]
    fn looks() {
        // mov 0x28(%rdi),%rbp; test %rbp,%rbp; lea 0x50(%rdi),%rax; cmpq $0,0x10(%rdi); mov 0x28(%rdi),%rcx; mov 8(%rsi),%rdx
        let code = [
            0x48, 0x8b, 0x6f, 0x28, 0x48, 0x85, 0xed, 0x48, 0x8d, 0x47, 0x50, 0x48, 0x83, 0x7f, 0x10, 0, 0x48, 0x8b,
            0x4f, 0x28, 0x48, 0x8b, 0x56, 8,
        ];
        assert_eq!(looks_at(&code, 0, Register::RDI), [0x28, 0x10]);
        assert_eq!(looks_at(&code, 0, Register::RSI), [8]);
        // movabs $0x8000000000000001,%r13
        let number = [0x49, 0xbd, 1, 0, 0, 0, 0, 0, 0, 0x80];
        assert!(knows(&number, 0, 1 << 63..(1 << 63) + 4));
        assert!(!knows(&number, 0, 1 << 63..(1 << 63) + 1));
        assert!(!knows(&number[..9], 0, 0..u64::MAX));
    }

    #[test]
    fn emulated() {
        assert_eq!(first_emulated(SET, 0x1000), Some(0x1000));
        // mov 0x10(%rdi),%rax; mov %rax,%rcx; or $2,%rcx; lock cmpxchg %rcx,0x10(%rdi); jne
        let wake = [
            0x48, 0x8b, 0x47, 0x10, 0x48, 0x89, 0xc1, 0x48, 0x83, 0xc9, 0x02, 0xf0, 0x48, 0x0f, 0xb1, 0x4f, 0x10, 0x75,
            0xf1,
        ];
        assert_eq!(first_emulated(&wake, 0), Some(17));
        // sub $8,%rsp; push %rbx: the return address is elsewhere.
        assert_eq!(first_emulated(&[0x48, 0x83, 0xec, 0x08, 0x53], 0), None);
        assert_eq!(unoptimized(&[0x48, 0x83, 0xec, 0x08, 0x53], 7), Some(7));
        assert_eq!(unoptimized(&[0x48, 0x83, 0xec], 7), None);
        assert_eq!(unoptimized(&[0x53], 7), None);
        // sub $0x78,%rsp; mov %dl,%al; mov %rsi,0x30(%rsp); and $1,%al; mov %al,0x38(%rsp)
        let pair = [
            0x48, 0x83, 0xec, 0x78, 0x88, 0xd0, 0x48, 0x89, 0x74, 0x24, 0x30, 0x24, 0x01, 0x88, 0x44, 0x24, 0x38,
        ];
        assert!(keeps_pair(&pair, 0));
        assert!(!keeps_pair(&pair[..13], 0));
        // jmp: nothing but another's beginning.
        assert_eq!(first_emulated(&[0xe9, 0xab, 0x31, 0xfb, 0xff], 0x1000), Some(0x1000));
        // xor %edi,%edi; push %rbx
        assert_eq!(first_emulated(&[0x31, 0xff, 0x53], 0), None);
        assert_eq!(first_emulated(&[], 0), None);
    }

    /// What the compiler makes of Tokio 1.48's `Header::get_id_ptr` where it does not optimize.
    #[test]
    fn tables_in_frames() {
        // sub $0x48,%rsp; mov %rdi,(%rsp); mov %rsp,%rax; mov %rax,0x40(%rsp); mov (%rsp),%rax; mov 0x10(%rax),%rax;
        // mov 0x48(%rax),%rax
        let code = [
            0x48, 0x83, 0xec, 0x48, 0x48, 0x89, 0x3c, 0x24, 0x48, 0x89, 0xe0, 0x48, 0x89, 0x44, 0x24, 0x40, 0x48, 0x8b,
            0x04, 0x24, 0x48, 0x8b, 0x40, 0x10, 0x48, 0x8b, 0x40, 0x48,
        ];
        assert_eq!(reads_in_table(&code, 0x1000), Some((0x10, 0x48)));
        assert_eq!(reads_in_table(&code[..24], 0x1000), None);
        // movb $0,4(%rsp) in between: the word is no longer what it was.
        let (before, after) = code.split_at(16);
        let bent = [before, &[0xc6, 0x44, 0x24, 0x04, 0x00], after].concat();
        assert_eq!(reads_in_table(&bent, 0x1000), None);
        // movb $0,8(%rsp): another word.
        let other = [before, &[0xc6, 0x44, 0x24, 0x08, 0x00], after].concat();
        assert_eq!(reads_in_table(&other, 0x1000), Some((0x10, 0x48)));
    }

    #[test]
    fn handed_over() {
        // sub $0x18,%rsp; mov %rsi,(%rsp); mov %rdi,%rax; mov (%rsp),%rdi; mov %rax,8(%rsp); mov %rdi,0x10(%rsp);
        // add $0x30,%rdi; mov (%rax),%rsi; call
        let closure = [
            0x48, 0x83, 0xec, 0x18, 0x48, 0x89, 0x34, 0x24, 0x48, 0x89, 0xf8, 0x48, 0x8b, 0x3c, 0x24, 0x48, 0x89, 0x44,
            0x24, 0x08, 0x48, 0x89, 0x7c, 0x24, 0x10, 0x48, 0x83, 0xc7, 0x30, 0x48, 0x8b, 0x30, 0xff, 0x15, 0, 0, 0, 0,
        ];
        assert_eq!(hands_behind_second(&closure, 0), Some(0x30));
        assert_eq!(hands_behind_second(&closure[..32], 0), None);
        assert_eq!(hands_of_thread(&closure, 0), None);
        // mov %fs:0,%rax; lea -0x158(%rax),%rax; mov %rax,%rdi; call
        let own = [
            0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0, 0x48, 0x8d, 0x80, 0xa8, 0xfe, 0xff, 0xff, 0x48, 0x89, 0xc7, 0xe8,
            0, 0, 0, 0,
        ];
        assert_eq!(hands_of_thread(&own, 0), Some(-0x158));
    }
}
