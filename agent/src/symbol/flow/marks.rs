//! Numbers that several threads write, and how code does so: by exchanging them if nobody else did.
use iced_x86::{Code, Instruction, InstructionInfoFactory, OpAccess, OpKind, Register};

use super::{Flow, Value};
use crate::symbol::code::instructions;

/// A place where a function sets a bit in a number, in a loop until nobody interferes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::symbol) struct Marks {
    /// The branch behind it, which the kernel emulates; or, where it was counted before what near it is put into a queue, that behind the
    /// counting.
    pub(in crate::symbol) branch: u64,
    /// What the number is near to, and how many bytes it lies behind that.
    pub(in crate::symbol) base: Register,
    pub(in crate::symbol) offset: i32,
}

/// What a channel without a bound counts a message by: the lowest bit says that it is closed.
const MESSAGE: u64 = 2;

/// The register in which the instruction makes a number of one message more.
fn counts(instruction: &Instruction) -> Option<Register> {
    let adds = match instruction.code() {
        Code::Lea_r64_m => {
            instruction.memory_index() == Register::None && instruction.memory_displacement64() == MESSAGE
        }
        Code::Add_rm64_imm8 => instruction.op0_kind() == OpKind::Register && instruction.immediate(1) == MESSAGE,
        _ => false,
    };
    adds.then(|| instruction.op0_register())
}

/// The instruction exchanges a number near what the first register holds for what the second does, if nobody else did.
fn exchanges(instruction: &Instruction) -> Option<(Register, Register)> {
    (instruction.code() == Code::Cmpxchg_rm64_r64
        && instruction.has_lock_prefix()
        && instruction.op0_kind() == OpKind::Memory
        && instruction.memory_index() == Register::None)
        .then(|| (instruction.memory_base(), instruction.op1_register()))
}

/// Where the code sets the bit `bit` so in numbers that lie `offset` bytes behind what a register holds:
/// `or $bit,%a; lock cmpxchg %a,offset(%b); jne`. Where it counted a message near the same register before,
/// `lea 2(%c),%d; lock cmpxchg %d,(%b); jne`, that is the place.
pub(in crate::symbol) fn marks(code: &[u8], address: u64, bit: u64, offset: i32) -> Vec<Marks> {
    let mut found = Vec::new();
    let mut factory = InstructionInfoFactory::new();
    let mut set: Option<Register> = None;
    let mut counted: Option<Register> = None;
    // What was exchanged right before, and whether it was marked by that or counted.
    let mut exchanged: Option<(Register, bool)> = None;
    let mut claimed: Option<(Register, u64)> = None;
    for instruction in instructions(code, address) {
        if let Some((base, is_mark)) = exchanged.take()
            && instruction.is_jcc_short_or_near()
        {
            if is_mark {
                let branch = claimed.filter(|(near, _)| *near == base).map(|(_, branch)| branch);
                found.push(Marks {
                    branch: branch.unwrap_or(instruction.ip()),
                    base,
                    offset,
                });
            } else {
                claimed = Some((base, instruction.ip()));
            }
        }
        if let Some((near, _)) = claimed
            && factory.info(&instruction).used_registers().iter().any(|used| {
                let reads = matches!(
                    used.access(),
                    OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess
                );
                !reads && used.register().full_register() == near
            })
        {
            claimed = None;
        }
        let sets = matches!(
            instruction.code(),
            Code::Or_rm64_imm8 | Code::Or_rm64_imm32 | Code::Or_RAX_imm32
        );
        if sets && instruction.op0_kind() == OpKind::Register && instruction.immediate(1) == bit {
            set = Some(instruction.op0_register());
        } else if let Some((base, with)) = exchanges(&instruction) {
            let is_there = instruction.memory_displacement64().cast_signed() == i64::from(offset);
            if is_there && set.take() == Some(with) {
                exchanged = Some((base, true));
            } else if counted.take() == Some(with) {
                exchanged = Some((base, false));
            }
        } else if let Some(register) = counts(&instruction) {
            counted = Some(register);
        }
    }
    found
}

/// How far behind what a register holds the address lies that the call at `place` is given first: it is made right before.
pub(in crate::symbol) fn given_right_before(code: &[u8], address: u64, place: u64) -> Option<i32> {
    /// Instructions in between.
    const NEAR: usize = 6;
    let before: Vec<Instruction> = instructions(code, address)
        .take_while(|instruction| instruction.ip() < place)
        .collect();
    let made = before.iter().rev().take(NEAR).find(|instruction| {
        instruction.op0_kind() == OpKind::Register && instruction.op0_register() == Register::RDI
    })?;
    match made.code() {
        Code::Lea_r64_m if made.memory_index() == Register::None => {
            i32::try_from(made.memory_displacement64().cast_signed()).ok()
        }
        Code::Add_rm64_imm32 | Code::Add_rm64_imm8 => i32::try_from(made.immediate(1).cast_signed()).ok(),
        _ => None,
    }
}

/// Where behind its first argument the function first exchanges a number that it compares.
pub(in crate::symbol) fn compares(code: &[u8], address: u64) -> Option<i32> {
    let mut flow = Flow::default();
    let mut factory = InstructionInfoFactory::new();
    for instruction in instructions(code, address) {
        flow.reach(&instruction);
        if instruction.code() == Code::Cmpxchg_rm64_r64 && instruction.op0_kind() == OpKind::Memory {
            let whole = instruction.memory_index() == Register::None
                && flow.value(instruction.memory_base()) == Some(Value::Argument(Register::RDI));
            return whole.then(|| i32::try_from(instruction.memory_displacement64().cast_signed()).ok())?;
        }
        flow.step(&instruction, &mut factory);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked() {
        // mov %rax,%rcx; or $2,%rcx; lock cmpxchg %rcx,0x110(%r13); jne
        let code = [
            0x48, 0x89, 0xc1, 0x48, 0x83, 0xc9, 0x02, 0xf0, 0x49, 0x0f, 0xb1, 0x8d, 0x10, 0x01, 0x00, 0x00, 0x75, 0xee,
        ];
        let want = Marks {
            branch: 0x1010,
            base: Register::R13,
            offset: 0x110,
        };
        assert_eq!(marks(&code, 0x1000, 2, 0x110), [want]);
        assert_eq!(marks(&code, 0x1000, 2, 0x118), []);
        assert_eq!(marks(&code, 0x1000, 4, 0x110), []);
        assert_eq!(marks(&code[..16], 0x1000, 2, 0x110), []);
        // Another register is written than was marked.
        let mut bent = code;
        bent[11] = 0x95;
        assert_eq!(marks(&bent, 0x1000, 2, 0x110), []);
        // lea 2(%rax),%rcx; lock cmpxchg %rcx,0x1c0(%r13); jne; nop or pop %r13
        let counted = [
            0x48, 0x8d, 0x48, 0x02, 0xf0, 0x49, 0x0f, 0xb1, 0x8d, 0xc0, 0x01, 0x00, 0x00, 0x75, 0xf1,
        ];
        let before = [counted.as_slice(), &[0x66, 0x90], &code].concat();
        let claimed = Marks { branch: 0x100d, ..want };
        assert_eq!(marks(&before, 0x1000, 2, 0x110), [claimed]);
        let changed = [counted.as_slice(), &[0x41, 0x5d], &code].concat();
        let marked = Marks { branch: 0x1021, ..want };
        assert_eq!(marks(&changed, 0x1000, 2, 0x110), [marked]);
        // lea 0x100(%r15),%rdi; mov %r12,%rsi; call
        let call = [0x49, 0x8d, 0xbf, 0, 1, 0, 0, 0x4c, 0x89, 0xe6, 0xe8, 0, 0, 0, 0];
        assert_eq!(given_right_before(&call, 0, 10), Some(0x100));
        assert_eq!(given_right_before(&call[7..], 0, 3), None);
        // mov $1,%ecx; xor %eax,%eax; lock cmpxchg %rcx,0x10(%rdi)
        let register = [0xb9, 1, 0, 0, 0, 0x31, 0xc0, 0xf0, 0x48, 0x0f, 0xb1, 0x4f, 0x10];
        assert_eq!(compares(&register, 0), Some(0x10));
        assert_eq!(compares(&register[..7], 0), None);
    }
}
