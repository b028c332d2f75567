//! A number that a function is pointed to, and holds against another in memory.
use iced_x86::{Code, Instruction, InstructionInfoFactory, OpAccess, OpKind, Register};

use super::{Flow, Value};
use crate::symbol::code::instructions;

/// Bytes of the numbers.
const SIZE: u32 = 4;

/// Where a number lies: the argument that points to what has it, and how many bytes behind that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::symbol) struct Number {
    pub(in crate::symbol) argument: Register,
    pub(in crate::symbol) offset: u32,
}

/// What the instruction loads into a register from what an argument points to.
fn loads(flow: &Flow, instruction: &Instruction) -> Option<Number> {
    let is_load = matches!(instruction.code(), Code::Mov_r32_rm32 | Code::Mov_r64_rm64)
        && instruction.op1_kind() == OpKind::Memory
        && instruction.memory_index() == Register::None
        && instruction.segment_prefix() == Register::None;
    let Some(Value::Argument(argument)) = is_load.then(|| flow.value(instruction.memory_base()))? else {
        return None;
    };
    let offset = u32::try_from(instruction.memory_displacement64()).ok()?;
    (argument != Register::RSP).then_some(Number { argument, offset })
}

/// The number of 32 bits that the function is pointed to by an argument, and compares first with one that lies elsewhere in memory. It
/// may be loaded together with the 32 bits before it.
pub(in crate::symbol) fn compared(code: &[u8], address: u64) -> Option<Number> {
    let mut flow = Flow::default();
    let mut factory = InstructionInfoFactory::new();
    let mut held: Vec<(Register, Number)> = Vec::new();
    for instruction in instructions(code, address) {
        flow.reach(&instruction);
        let compared = match instruction.code() {
            Code::Cmp_rm32_r32 => Some((instruction.op0_kind(), instruction.op1_register())),
            Code::Cmp_r32_rm32 => Some((instruction.op1_kind(), instruction.op0_register())),
            _ => None,
        };
        if let Some((OpKind::Memory, register)) = compared {
            let whole = register.full_register();
            if let Some((_, number)) = held.iter().find(|(holder, _)| *holder == whole) {
                return Some(*number);
            }
        }
        let of = |register: Register| {
            let whole = register.full_register();
            held.iter()
                .find(|(holder, _)| *holder == whole)
                .map(|(_, number)| *number)
        };
        let result = match instruction.code() {
            Code::Mov_r32_rm32 | Code::Mov_r64_rm64 | Code::Mov_rm32_r32 | Code::Mov_rm64_r64
                if instruction.op0_kind() == OpKind::Register && instruction.op1_kind() == OpKind::Register =>
            {
                of(instruction.op1_register())
            }
            Code::Shr_rm64_imm8 if instruction.op0_kind() == OpKind::Register && instruction.immediate(1) == 32 => {
                of(instruction.op0_register()).and_then(|number| {
                    let offset = number.offset.checked_add(SIZE)?;
                    Some(Number { offset, ..number })
                })
            }
            _ => loads(&flow, &instruction),
        };
        for used in factory.info(&instruction).used_registers() {
            if !matches!(
                used.access(),
                OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess
            ) {
                let whole = used.register().full_register();
                held.retain(|(holder, _)| *holder != whole);
            }
        }
        if let Some(number) = result {
            held.push((instruction.op0_register().full_register(), number));
        }
        flow.step(&instruction, &mut factory);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// h2 0.4, `OpaqueStreamRef::new`, up to where it compares the stream's number.
    const NEW: &[u8] = &[
        0x41, 0x56, 0x53, 0x48, 0x83, 0xec, 0x28, 0x48, 0x89, 0xf3, 0x48, 0x89, 0x74, 0x24, 0x10, 0x48, 0x8b, 0x32,
        0x8b, 0x4a, 0x08, 0x8b, 0x42, 0x0c, 0x89, 0x4c, 0x24, 0x08, 0x89, 0x44, 0x24, 0x0c, 0x48, 0x39, 0x4e, 0x10,
        0x76, 0x62, 0x48, 0x8b, 0x56, 0x08, 0x48, 0x69, 0xf1, 0x48, 0x01, 0x00, 0x00, 0x83, 0x3c, 0x32, 0x02, 0x74,
        0x51, 0x48, 0x01, 0xf2, 0x39, 0x82, 0x2c, 0x01, 0x00, 0x00,
    ];

    #[test]
    fn numbers_of_streams() {
        let number = Number {
            argument: Register::RDX,
            offset: 12,
        };
        assert_eq!(compared(NEW, 0x1000), Some(number));
        assert_eq!(compared(&NEW[..NEW.len() - 6], 0x1000), None);
        // mov 8(%rsi),%rax; mov %rax,%rcx; shr $32,%rcx; cmp %ecx,0x12c(%rdi)
        let pair = [
            0x48, 0x8b, 0x46, 0x08, 0x48, 0x89, 0xc1, 0x48, 0xc1, 0xe9, 0x20, 0x39, 0x8f, 0x2c, 0x01, 0, 0,
        ];
        let number = Number {
            argument: Register::RSI,
            offset: 12,
        };
        assert_eq!(compared(&pair, 0), Some(number));
        // What was loaded is another by then: xor %ecx,%ecx before it is compared.
        let changed = [&pair[..11], &[0x31, 0xc9], &pair[11..]].concat();
        assert_eq!(compared(&changed, 0), None);
    }
}
