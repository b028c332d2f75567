//! Queues in blocks: where code claims the next place of one, and from where it takes the next element.
use iced_x86::{Code, FlowControl, Instruction, InstructionInfoFactory, OpAccess, OpKind, Register};

use super::{Flow, Value};
use crate::symbol::code::instructions;

/// Elements of a block (`BLOCK_CAP` of `tokio::sync::mpsc`, on 64 bits).
const BLOCK: i64 = 32;

/// A function claims a place: it counts what lies near its first argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::symbol) struct Claim {
    /// The branch behind it, which the kernel emulates. The first argument is still in its register.
    pub(in crate::symbol) branch: u64,
    /// What has the number of the place there.
    pub(in crate::symbol) index: Register,
    /// How far behind a block's start its number lies, which tells queues of larger elements from those of smaller ones.
    pub(in crate::symbol) block: u64,
}

/// A function takes the next element out of a queue that its second argument is the end of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::symbol) struct Take {
    /// Where behind the second argument the number of the place lies.
    pub(in crate::symbol) index: u32,
    /// As [`Claim::block`].
    pub(in crate::symbol) block: u64,
}

/// What the instruction compares with a number in memory lies so far behind what a register holds.
fn compared_at(instruction: &Instruction) -> Option<u64> {
    let compares = match instruction.code() {
        Code::Cmp_r64_rm64 | Code::Sub_r64_rm64 => instruction.op1_kind() == OpKind::Memory,
        Code::Cmp_rm64_r64 => instruction.op0_kind() == OpKind::Memory,
        _ => false,
    };
    (compares && instruction.memory_index() == Register::None).then(|| instruction.memory_displacement64())
}

/// Where a function claims a place, on its way from its start to the first branch.
pub(in crate::symbol) fn claims(code: &[u8], address: u64) -> Option<Claim> {
    let mut flow = Flow::default();
    let mut factory = InstructionInfoFactory::new();
    // Where it was counted, and what has the number.
    let mut counted: Option<(u64, Vec<Register>)> = None;
    let mut block = None;
    let mut found = None;
    for instruction in instructions(code, address) {
        if let Some((_, holders)) = counted.as_mut() {
            if instruction.is_jcc_short_or_near() {
                let index = *holders.first()?;
                let stays = flow.value(Register::RDI) == Some(Value::Argument(Register::RDI));
                found = Some(Claim {
                    branch: instruction.ip(),
                    index,
                    block: block.filter(|_| stays)?,
                });
                break;
            }
            block = block.or_else(|| compared_at(&instruction));
            let copies = matches!(instruction.code(), Code::Mov_r64_rm64 | Code::Mov_rm64_r64)
                && instruction.op0_kind() == OpKind::Register
                && instruction.op1_kind() == OpKind::Register
                && holders.contains(&instruction.op1_register());
            for used in factory.info(&instruction).used_registers() {
                if !matches!(
                    used.access(),
                    OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess
                ) {
                    holders.retain(|holder| *holder != used.register().full_register());
                }
            }
            if copies {
                holders.push(instruction.op0_register());
            }
        } else if instruction.code() == Code::Xadd_rm64_r64
            && instruction.has_lock_prefix()
            && instruction.memory_index() == Register::None
            && flow.value(instruction.memory_base()) == Some(Value::Argument(Register::RDI))
        {
            counted = Some((instruction.ip(), vec![instruction.op1_register()]));
        }
        if instruction.flow_control() != FlowControl::Next {
            return None;
        }
        flow.step(&instruction, &mut factory);
    }
    let (from, claim) = (counted?.0, found?);
    // Who comes to the branch by another way has claimed nothing.
    let within = |target: u64| target > from && target <= claim.branch;
    let is_entered = instructions(code, address).any(|instruction| {
        let near = matches!(
            instruction.op0_kind(),
            OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
        );
        near && within(instruction.near_branch_target())
    });
    (!is_entered).then_some(claim)
}

/// Where a function that gives back an element has the number of the place to take it from: it rounds that down to a block's.
pub(in crate::symbol) fn takes(code: &[u8], address: u64) -> Option<Take> {
    let mut flow = Flow::default();
    let mut factory = InstructionInfoFactory::new();
    let mut index = None;
    for instruction in instructions(code, address) {
        flow.reach(&instruction);
        if let Some((index, block)) = index.zip(compared_at(&instruction)) {
            return Some(Take { index, block });
        }
        if instruction.code() == Code::And_rm64_imm8
            && instruction.op0_kind() == OpKind::Register
            && instruction.immediate(1).cast_signed() == -BLOCK
        {
            let Some(Value::Field(Register::RSI, at)) = flow.value(instruction.op0_register()) else {
                return None;
            };
            index = Some(at);
        }
        flow.step(&instruction, &mut factory);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokio 1.54, `list::Tx::push`, up to its first branch: saves registers; mov $1,%ebx; lock xadd %rbx,8(%rdi); mov %rbx,%rbp;
    /// and $-32,%rbp; mov (%rdi),%r15; mov %rbp,%rax; sub 0x2400(%r15),%rax; jne +8.
    const PUSH: &[u8] = &[
        0x55, 0x41, 0x57, 0x41, 0x56, 0x53, 0xbb, 1, 0, 0, 0, 0xf0, 0x48, 0x0f, 0xc1, 0x5f, 0x08, 0x48, 0x89, 0xdd,
        0x48, 0x83, 0xe5, 0xe0, 0x4c, 0x8b, 0x3f, 0x48, 0x89, 0xe8, 0x49, 0x2b, 0x87, 0x00, 0x24, 0, 0, 0x75, 0x08,
    ];

    #[test]
    fn places_are_claimed() {
        let claim = Claim {
            branch: 0x1025,
            index: Register::RBX,
            block: 0x2400,
        };
        assert_eq!(claims(PUSH, 0x1000), Some(claim));
        assert_eq!(claims(&PUSH[..PUSH.len() - 2], 0x1000), None);
        // and $31,%ebx before the branch: the number is gone.
        let (before, branch) = PUSH.split_at(PUSH.len() - 2);
        let cut = [before, &[0x83, 0xe3, 0x1f], branch].concat();
        assert_eq!(claims(&cut, 0x1000), None);
        // xor %edi,%edi: so is the queue.
        let moved = [before, &[0x31, 0xff], branch].concat();
        assert_eq!(claims(&moved, 0x1000), None);
        // jmp back to the branch, from behind it.
        let entered = [PUSH, &[0xeb, 0xfc]].concat();
        assert_eq!(claims(&entered, 0x1000), None);
        // Nobody else is kept from counting.
        let mut alone = PUSH.to_vec();
        alone[11] = 0x90;
        assert_eq!(claims(&alone, 0x1000), None);
    }

    #[test]
    fn elements_are_taken() {
        // push %r14; push %rbx; mov %rsi,%r14; mov %rdi,%rbx; mov (%rsi),%rsi; mov 0x10(%r14),%rax; and $-32,%rax; cmp %rax,0x2100(%rsi)
        let pop = [
            0x41, 0x56, 0x53, 0x49, 0x89, 0xf6, 0x48, 0x89, 0xfb, 0x48, 0x8b, 0x36, 0x49, 0x8b, 0x46, 0x10, 0x48, 0x83,
            0xe0, 0xe0, 0x48, 0x39, 0x86, 0x00, 0x21, 0, 0,
        ];
        let take = Take {
            index: 0x10,
            block: 0x2100,
        };
        assert_eq!(takes(&pop, 0x1000), Some(take));
        assert_eq!(takes(&pop[..20], 0x1000), None);
        // and $-16: other blocks.
        let mut other = pop;
        other[19] = 0xf0;
        assert_eq!(takes(&other, 0x1000), None);
    }
}
