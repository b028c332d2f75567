//! What the instructions of a function do with its arguments: read once, from its start to its end, so that whatever is not
//! plain is unknown.
use std::collections::HashMap;

use iced_x86::{Code, FlowControl, Instruction, InstructionInfoFactory, OpAccess, OpKind, Register};

use super::code::instructions;

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
}

/// Registers that were written since the function began; none where the value is unknown.
type Written = HashMap<Register, Option<Value>>;

/// Follows registers through a function, along branches that lead forward.
#[derive(Default)]
struct Flow {
    written: Written,
    /// What holds where a branch leads.
    ahead: HashMap<u64, Written>,
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
                match self.value(instruction.memory_base()) {
                    Some(Value::Thread(at)) => Some(Value::Thread(at.checked_add(displacement)?)),
                    _ => None,
                }
            }
            (Code::Add_rm64_imm32 | Code::Add_rm64_imm8 | Code::Add_RAX_imm32, _) => {
                match self.value(instruction.op0_register()) {
                    Some(Value::Thread(at)) => {
                        Some(Value::Thread(at.checked_add(instruction.immediate(1).cast_signed())?))
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn load(&self, instruction: &Instruction) -> Option<Value> {
        let (base, index) = (instruction.memory_base(), instruction.memory_index());
        if instruction.segment_prefix() == Register::FS {
            // The first word of the thread's block is its own address.
            let own = base == Register::None && index == Register::None && instruction.memory_displacement64() == 0;
            return own.then_some(Value::Thread(0));
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
            (Some(ahead), true) => self.written = ahead,
            (Some(ahead), false) => {
                for register in ahead.keys().chain(self.written.clone().keys()) {
                    let there = ahead.get(register).copied().unwrap_or(Some(Value::Argument(*register)));
                    if self.value(*register) != there {
                        self.written.insert(*register, None);
                    }
                }
            }
            (None, true) => {
                // Only a branch back leads here.
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
        let written: Vec<Register> = factory
            .info(instruction)
            .used_registers()
            .iter()
            .filter(|used| {
                !matches!(
                    used.access(),
                    OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess
                )
            })
            .map(|used| used.register().full_register())
            .collect();
        for register in written {
            self.written.insert(register, None);
        }
        if let (Some(value), true) = (result, plain) {
            self.written.insert(instruction.op0_register(), Some(value));
        }
        match instruction.flow_control() {
            FlowControl::Call | FlowControl::IndirectCall => {
                for register in VOLATILE {
                    self.written.insert(register, None);
                }
            }
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                let target = instruction.near_branch_target();
                self.cut = instruction.flow_control() == FlowControl::UnconditionalBranch;
                if target > instruction.ip() && !self.ahead.contains_key(&target) {
                    self.ahead.insert(target, self.written.clone());
                } else if let Some(ahead) = self.ahead.get_mut(&target) {
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

/// The offset from the thread pointer at which the function `code` stores its first argument.
pub(super) fn stores_in_thread(code: &[u8], address: u64) -> Option<i64> {
    let mut flow = Flow::default();
    let mut factory = InstructionInfoFactory::new();
    for instruction in instructions(code, address) {
        flow.reach(&instruction);
        let stores = matches!(instruction.code(), Code::Mov_rm64_r64 | Code::Xchg_rm64_r64)
            && instruction.op0_kind() == OpKind::Memory
            && instruction.memory_index() == Register::None
            && flow.value(instruction.op1_register()) == Some(Value::Argument(Register::RDI));
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

/// The first instruction the kernel emulates in a function, while its first argument is in its register and the return
/// address on the top of the stack.
pub(super) fn first_emulated(code: &[u8], address: u64) -> Option<u64> {
    /// Instructions looked at: nearly all functions begin by saving registers.
    const MOST: usize = 12;
    let mut flow = Flow::default();
    let mut factory = InstructionInfoFactory::new();
    for instruction in instructions(code, address).take(MOST) {
        let whole = flow.value(Register::RDI) == Some(Value::Argument(Register::RDI))
            && flow.value(Register::RSP) == Some(Value::Argument(Register::RSP));
        if !whole {
            return None;
        }
        if instruction.code() == Code::Push_r64 || instruction.is_jcc_short_or_near() {
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
        // xor %edi,%edi; push %rbx
        assert_eq!(first_emulated(&[0x31, 0xff, 0x53], 0), None);
        assert_eq!(first_emulated(&[], 0), None);
    }
}
