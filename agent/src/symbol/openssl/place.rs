//! Where in a function of C a probe is cheap while its arguments are still where the caller put them.
//!
//! A probe on an instruction that the kernel emulates costs a fraction of one it must single-step. If the first one lies behind
//! the function's own stack frame the return address is out of reach, so the function that it hands its arguments on to is
//! watched in its stead.
use iced_x86::{Code, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

use crate::symbol::code::instructions;
use crate::symbol::image::Image;

/// Bytes of a function that are looked at.
const CODE_BYTES: usize = 160;
/// Instructions of a function that are looked at.
const MOST_INSTRUCTIONS: usize = 24;

/// The registers of the first five integer arguments (System V ABI for AMD64, section 3.2.3).
pub(super) const ARGUMENTS: [Register; 5] = [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8];

/// A cheap place in a function that moves plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::symbol) struct Place {
    /// Address of the instruction. Nothing was pushed before it: the return address is on top of the stack.
    pub(super) at: u64,
    /// The argument that says where the number of bytes is written; none where it is returned.
    pub(super) count: Option<usize>,
}

impl Place {
    /// The first instruction the kernel emulates, before which only the session's register has to be untouched.
    pub(in crate::symbol) fn start(image: &Image, address: u64) -> Option<u64> {
        let code = image.code(address, CODE_BYTES)?;
        cheap(&code, address, 1, false)
    }

    /// The same with the return address on top of the stack.
    pub(in crate::symbol) fn entry(image: &Image, address: u64) -> Option<u64> {
        let code = image.code(address, CODE_BYTES)?;
        cheap(&code, address, 1, true)
    }

    /// The same where the function has all of its first `arguments`.
    pub(in crate::symbol) fn own(image: &Image, address: u64, arguments: usize) -> Option<u64> {
        let code = image.code(address, CODE_BYTES)?;
        cheap(&code, address, arguments, true)
    }

    /// The place for a function that moves plaintext, whose argument `count` says where the number of bytes is written; none if it
    /// returns the number itself.
    pub(super) fn data(image: &Image, address: u64, count: Option<usize>) -> Option<Self> {
        let code = image.code(address, CODE_BYTES)?;
        let arguments = count.map_or(3, |count| count + 1);
        if let Some(at) = cheap(&code, address, arguments, true) {
            return Some(Self { at, count });
        }
        Self::handed(image, address, count)
    }

    /// The place in the function that such a one hands its arguments on to.
    pub(super) fn handed(image: &Image, address: u64, count: Option<usize>) -> Option<Self> {
        handed_on_to(address, count, |address| image.code(address, CODE_BYTES))
    }
}

/// Follows a function to the first one that has a cheap place of those that hand on to each other: one adds an argument, the next
/// changes what is returned.
fn handed_on_to(mut address: u64, mut count: Option<usize>, code_at: impl Fn(u64) -> Option<Vec<u8>>) -> Option<Place> {
    /// Functions in a row.
    const MOST: usize = 3;
    let mut code = code_at(address)?;
    for _ in 0..MOST {
        let (target, place) = handed_on(&code, address, count)?;
        code = code_at(target)?;
        if let Some(at) = cheap(&code, target, place + 1, true) {
            return Some(Place { at, count: Some(place) });
        }
        (address, count) = (target, Some(place));
    }
    None
}

/// The first instruction of a function that the kernel emulates, if the first `arguments` are untouched there and, where
/// `framed`, the stack too.
fn cheap(code: &[u8], address: u64, arguments: usize, framed: bool) -> Option<u64> {
    let mut info = InstructionInfoFactory::new();
    for instruction in instructions(code, address).take(MOST_INSTRUCTIONS) {
        if emulated(&instruction) {
            return Some(instruction.ip());
        }
        if instruction.flow_control() != FlowControl::Next {
            return None;
        }
        let writes = |register: Register| written(&mut InstructionInfoFactory::new(), &instruction, register);
        if ARGUMENTS.iter().take(arguments).any(|register| writes(*register)) {
            return None;
        }
        if framed && written(&mut info, &instruction, Register::RSP) {
            return None;
        }
    }
    None
}

/// Whether the kernel emulates an instruction under a probe (`branch_setup_xol_ops` and `push_setup_xol_ops` in
/// `arch/x86/kernel/uprobes.c`, the same since Linux 5.10).
fn emulated(instruction: &Instruction) -> bool {
    match instruction.code() {
        Code::Push_r64 | Code::Call_rel32_64 | Code::Jmp_rel32_64 | Code::Jmp_rel8_64 | Code::Nopd => true,
        _ => instruction.is_jcc_short_or_near(),
    }
}

fn written(info: &mut InstructionInfoFactory, instruction: &Instruction, register: Register) -> bool {
    info.info(instruction).used_registers().iter().any(|used| {
        used.register().full_register() == register
            && matches!(
                used.access(),
                OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
            )
    })
}

/// The function that a short one hands the session, the buffer and its size on to, and which argument of that says where the
/// number of bytes is written: a place on the stack if the short one returns the number, else its own argument `count`.
fn handed_on(code: &[u8], address: u64, count: Option<usize>) -> Option<(u64, usize)> {
    let counted = count.is_none();
    let count = match count {
        Some(count) => Some(*ARGUMENTS.get(count)?),
        None => None,
    };
    let mut branches = Vec::new();
    let found = handed_on_from(code, address, counted, count, &mut branches);
    // Where a failure is told of first, a branch leads around it. A place on the stack is unlike anything that is told then.
    found.or_else(|| {
        let first = branches.first().copied().filter(|_| counted)?;
        let skipped = usize::try_from(first.checked_sub(address)?).ok()?;
        handed_on_from(code.get(skipped..)?, first, counted, count, &mut Vec::new())
    })
}

/// The same from an instruction on, up to which nothing was changed; notes branches while that is so.
fn handed_on_from(
    code: &[u8],
    address: u64,
    counted: bool,
    mut count: Option<Register>,
    branches: &mut Vec<u64>,
) -> Option<(u64, usize)> {
    let mut info = InstructionInfoFactory::new();
    for instruction in instructions(code, address).take(MOST_INSTRUCTIONS) {
        match instruction.code() {
            Code::Call_rel32_64 | Code::Jmp_rel32_64 => {
                let argument = ARGUMENTS.iter().position(|register| Some(*register) == count)?;
                return (argument >= 3).then_some((instruction.near_branch64(), argument));
            }
            _ => {}
        }
        let (to, from) = (instruction.op0_register(), instruction.op1_register());
        let moves = matches!(instruction.code(), Code::Mov_r64_rm64 | Code::Mov_rm64_r64)
            && instruction.op1_kind() == OpKind::Register;
        let on_stack = (moves && from == Register::RSP)
            || (instruction.mnemonic() == Mnemonic::Lea && instruction.memory_base() == Register::RSP);
        let told = (on_stack && counted) || (moves && Some(from) == count);
        if told && ARGUMENTS.contains(&to) {
            count = Some(to);
        } else if count.is_some_and(|count| written(&mut info, &instruction, count)) {
            return None;
        }
        // The size may be widened in its own register; the session and the buffer stay.
        if written(&mut info, &instruction, Register::RDI) || written(&mut info, &instruction, Register::RSI) {
            return None;
        }
        let widens =
            matches!(instruction.mnemonic(), Mnemonic::Movsxd | Mnemonic::Mov) && from.full_register() == Register::RDX;
        if written(&mut info, &instruction, Register::RDX) && !widens {
            return None;
        }
        if instruction.flow_control() == FlowControl::ConditionalBranch {
            branches.push(instruction.near_branch_target());
        }
        if !matches!(
            instruction.flow_control(),
            FlowControl::Next | FlowControl::ConditionalBranch
        ) {
            return None;
        }
    }
    None
}

/// Where a session object has the random number of the ClientHello, from the functions that copy it out and the server's: the
/// server's lies before it. The second number is 0 where the object itself has it, else the offset in what a pointer leads to,
/// plus 1.
pub(super) fn random(image: &Image, client: Option<&u64>, server: Option<&u64>) -> Option<(u16, u16)> {
    const BYTES: u32 = 32;
    let read = |address: Option<&u64>| {
        let address = *address?;
        copied(&image.code(address, CODE_BYTES)?, address)
    };
    let (pointer, client) = read(client)?;
    let (other, server) = read(server)?;
    if pointer != other || client != server.checked_add(BYTES)? {
        return None;
    }
    let narrow = |offset: u32| u16::try_from(offset).ok();
    match pointer {
        None => Some((narrow(client)?, 0)),
        Some(pointer) => Some((narrow(pointer)?, narrow(client)?.checked_add(1)?)),
    }
}

/// What a function of a session and a buffer copies out of the session: the first address that it makes of its first argument,
/// by an offset in it or in what a field of it points to.
fn copied(code: &[u8], address: u64) -> Option<(Option<u32>, u32)> {
    let mut info = InstructionInfoFactory::new();
    // Registers that hold the session, and those that hold what a field of it points to.
    let mut sessions = vec![Register::RDI];
    let mut fields: Vec<(Register, u32)> = Vec::new();
    for instruction in instructions(code, address).take(MOST_INSTRUCTIONS) {
        let (to, base) = (instruction.op0_register(), instruction.memory_base());
        let offset = u32::try_from(instruction.memory_displacement64()).ok();
        let plain = instruction.memory_index() == Register::None;
        let mut next = None;
        match instruction.code() {
            Code::Lea_r64_m if plain && sessions.contains(&base) => return offset.map(|offset| (None, offset)),
            Code::Lea_r64_m if plain => {
                if let Some((_, field)) = fields.iter().find(|(register, _)| *register == base) {
                    return offset.map(|offset| (Some(*field), offset));
                }
            }
            Code::Add_rm64_imm32 | Code::Add_rm64_imm8 | Code::Add_RAX_imm32 => {
                let by = u32::try_from(instruction.immediate(1)).ok();
                if instruction.op0_kind() == OpKind::Register && sessions.contains(&to) {
                    return by.map(|by| (None, by));
                }
                if let Some((_, field)) = fields.iter().find(|(register, _)| *register == to) {
                    return by.map(|by| (Some(*field), by));
                }
            }
            Code::Mov_r64_rm64 if instruction.op1_kind() == OpKind::Memory && plain && sessions.contains(&base) => {
                next = offset.map(|offset| (to, Some(offset)));
            }
            Code::Mov_r64_rm64 | Code::Mov_rm64_r64
                if instruction.op1_kind() == OpKind::Register && sessions.contains(&instruction.op1_register()) =>
            {
                next = Some((to, None));
            }
            _ => {}
        }
        sessions.retain(|register| !written(&mut info, &instruction, *register));
        fields.retain(|(register, _)| !written(&mut info, &instruction, *register));
        match next {
            Some((to, Some(offset))) => fields.push((to, offset)),
            Some((to, None)) => sessions.push(to),
            None => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cheap_places() {
        let check = |code: &[u8], arguments, framed, want: Option<u64>| {
            assert_eq!(cheap(code, 0x1000, arguments, framed), want, "{code:x?}");
        };
        // endbr64; push %rbx
        check(&[0xf3, 0x0f, 0x1e, 0xfa, 0x53], 4, true, Some(0x1004));
        // push %r12
        check(&[0x41, 0x54], 4, true, Some(0x1000));
        // sub $0x18,%rsp; call
        check(&[0x48, 0x83, 0xec, 0x18, 0xe8, 0, 0, 0, 0], 4, true, None);
        check(&[0x48, 0x83, 0xec, 0x18, 0xe8, 0, 0, 0, 0], 4, false, Some(0x1004));
        // test %rdi,%rdi; je
        check(&[0x48, 0x85, 0xff, 0x74, 0x10], 1, true, Some(0x1003));
        // mov %rsi,%rdi; push %rbx
        check(&[0x48, 0x89, 0xf7, 0x53], 1, true, None);
        // xor %edx,%edx; push %rbx
        check(&[0x31, 0xd2, 0x53], 3, true, None);
        check(&[0x31, 0xd2, 0x53], 2, true, Some(0x1002));
        // ret
        check(&[0xc3, 0x53], 1, true, None);
        check(&[], 1, true, None);
    }

    #[test]
    fn functions_handed_on_to() {
        let check = |code: &[u8], count, want: Option<(u64, usize)>| {
            assert_eq!(handed_on(code, 0x1000, count), want, "{code:x?}");
        };
        // sub $0x18,%rsp; test %edx,%edx; js; mov %rsp,%rcx; movslq %edx,%rdx; call 0x1112
        let read = [
            0x48, 0x83, 0xec, 0x18, 0x85, 0xd2, 0x78, 0x30, 0x48, 0x89, 0xe1, 0x48, 0x63, 0xd2, 0xe8, 0xff, 0, 0, 0,
        ];
        check(&read, None, Some((0x1112, 3)));
        // sub $8,%rsp; call 0x1009: the fourth argument is the caller's.
        check(&[0x48, 0x83, 0xec, 0x08, 0xe8, 0, 0, 0, 0], Some(3), Some((0x1009, 3)));
        check(&[0x48, 0x83, 0xec, 0x08, 0xe8, 0, 0, 0, 0], None, None);
        // lea 8(%rsp),%r8; xor %ecx,%ecx; call: with flags between.
        check(
            &[0x4c, 0x8d, 0x44, 0x24, 0x08, 0x31, 0xc9, 0xe8, 0, 0, 0, 0],
            None,
            Some((0x100c, 4)),
        );
        // mov %rcx,%r8; xor %ecx,%ecx; jmp
        check(
            &[0x49, 0x89, 0xc8, 0x31, 0xc9, 0xe9, 0, 0, 0, 0],
            Some(3),
            Some((0x100a, 4)),
        );
        // sub $0x18,%rsp; test %edx,%edx; jns +7; call; nop; nop; mov %rsp,%rcx; call 0x1119: a failure is told of first.
        let told = [
            0x48, 0x83, 0xec, 0x18, 0x85, 0xd2, 0x79, 7, 0xe8, 0, 0, 0, 0, 0x90, 0x90, 0x48, 0x89, 0xe1, 0xe8, 0, 1, 0,
            0,
        ];
        check(&told, None, Some((0x1117, 3)));
        // sub $8,%rsp; call 0x1009: so is the fifth.
        check(&[0x48, 0x83, 0xec, 0x08, 0xe8, 0, 0, 0, 0], Some(4), Some((0x1009, 4)));
        // xor %edi,%edi; call
        check(&[0x31, 0xff, 0xe8, 0, 0, 0, 0], Some(3), None);
    }

    /// `SSL_write_ex` of OpenSSL 3.5, which jumps to `SSL_write_ex2`, which calls what writes.
    #[test]
    fn functions_that_hand_on_in_a_row() {
        // mov %rcx,%r8; xor %ecx,%ecx; jmp 0x2000
        let first = [0x49, 0x89, 0xc8, 0x31, 0xc9, 0xe9, 0xf6, 0x0f, 0, 0];
        // sub $8,%rsp; call 0x3000
        let second = [0x48, 0x83, 0xec, 0x08, 0xe8, 0xf7, 0x0f, 0, 0];
        // push %r15
        let third = [0x41, 0x57];
        let code_at = |address: u64| match address {
            0x1000 => Some(first.to_vec()),
            0x2000 => Some(second.to_vec()),
            0x3000 => Some(third.to_vec()),
            _ => None,
        };
        let place = Some(Place {
            at: 0x3000,
            count: Some(4),
        });
        assert_eq!(handed_on_to(0x1000, Some(3), code_at), place);
        assert_eq!(handed_on_to(0x2000, Some(4), code_at), place);
        assert_eq!(handed_on_to(0x2000, None, code_at), None, "it returns no number");
        // sub $8,%rsp; jmp back
        let around = |_| Some(vec![0x48, 0x83, 0xec, 0x08, 0xe9, 0xf7, 0xff, 0xff, 0xff]);
        assert_eq!(handed_on_to(0x1000, Some(3), around), None);
    }

    #[test]
    fn copied_fields() {
        // mov %rsi,%rcx; lea 0x160(%rdi),%rsi
        let direct = [0x48, 0x89, 0xf1, 0x48, 0x8d, 0xb7, 0x60, 1, 0, 0];
        assert_eq!(copied(&direct, 0), Some((None, 0x160)));
        // mov 0xa8(%rdi),%rsi; add $0xb8,%rsi
        let pointer = [0x48, 0x8b, 0xb7, 0xa8, 0, 0, 0, 0x48, 0x81, 0xc6, 0xb8, 0, 0, 0];
        assert_eq!(copied(&pointer, 0), Some((Some(0xa8), 0xb8)));
        // xor %edi,%edi; lea 0x160(%rdi),%rsi
        assert_eq!(copied(&[0x31, 0xff, 0x48, 0x8d, 0xb7, 0x60, 1, 0, 0], 0), None);
    }
}
