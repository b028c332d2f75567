//! Reading x86-64 instructions: where a probe is cheap, and where a call goes.
//!
//! The kernel emulates some instructions under a uprobe and single-steps the rest, which costs many times more
//! (`arch/x86/kernel/uprobes.c`, `branch_setup_xol_ops` and `push_setup_xol_ops`).
use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, Register};

/// The instructions of `code`, which lies at `address`, up to the first that makes no sense.
pub(super) fn instructions(code: &[u8], address: u64) -> impl Iterator<Item = Instruction> + '_ {
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    std::iter::from_fn(move || {
        let instruction = decoder.can_decode().then(|| decoder.decode())?;
        (!instruction.is_invalid()).then_some(instruction)
    })
}

/// The first `push` of a function of Go's, whose arguments are still in their registers there: behind the check of the stack's
/// size, so it is passed once a call, where the first instruction is passed again after the stack has grown.
pub(super) fn frame_push(code: &[u8], address: u64) -> Option<u64> {
    /// Instructions the check may have.
    const CHECK: usize = 6;
    instructions(code, address)
        .take(CHECK)
        .take_while(|instruction| {
            // The check compares the stack pointer, itself or moved by the frame's size into r12, and branches.
            match instruction.mnemonic() {
                Mnemonic::Cmp | Mnemonic::Push => true,
                Mnemonic::Lea | Mnemonic::Mov | Mnemonic::Sub => instruction.op0_register() == Register::R12,
                _ => instruction.is_jcc_short_or_near(),
            }
        })
        .find(|instruction| instruction.code() == Code::Push_r64 && instruction.op0_register() == Register::RBP)
        .map(|instruction| instruction.ip())
}

/// Whether the kernel emulates the first instruction of `code`.
pub(super) fn starts_cheaply(code: &[u8], address: u64) -> bool {
    instructions(code, address).next().is_some_and(|first| is_cheap(&first))
}

/// Whether the kernel emulates the instruction.
pub(super) fn is_cheap(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Push | Mnemonic::Nop)
        || instruction.is_jcc_short_or_near()
        || matches!(
            instruction.code(),
            Code::Jmp_rel32_64 | Code::Jmp_rel8_64 | Code::Call_rel32_64
        )
}

/// The first instruction of a function of C that the kernel emulates, if every call passes it and finds the stack and the
/// registers `needs` as they were at the start.
pub(super) fn cheap_entry(code: &[u8], address: u64, needs: &[Register]) -> Option<u64> {
    /// Instructions that are looked at.
    const MOST: usize = 4;
    for instruction in instructions(code, address).take(MOST) {
        if is_cheap(&instruction) {
            return Some(instruction.ip());
        }
        let target = instruction.op0_register().full_register();
        let harmless = match instruction.mnemonic() {
            Mnemonic::Test | Mnemonic::Cmp | Mnemonic::Endbr64 => true,
            Mnemonic::Mov | Mnemonic::Lea | Mnemonic::Xor => {
                target.is_gpr64() && target != Register::RSP && !needs.contains(&target)
            }
            _ => false,
        };
        if !harmless {
            return None;
        }
    }
    None
}

/// The calls in `code`, which lies at `address`, that go to `target`.
pub(super) fn calls_to(code: &[u8], address: u64, target: u64) -> impl Iterator<Item = u64> + '_ {
    instructions(code, address)
        .filter(move |instruction| instruction.code() == Code::Call_rel32_64 && instruction.near_branch64() == target)
        .map(|instruction| instruction.ip())
}

/// The offset from the thread pointer at which the first instruction of `code` stores a register.
pub(super) fn thread_store(code: &[u8], address: u64) -> Option<i64> {
    let first = instructions(code, address).next()?;
    let stores = first.code() == Code::Mov_rm64_r64
        && first.segment_prefix() == Register::FS
        && first.memory_base() == Register::None
        && first.memory_index() == Register::None;
    stores.then(|| i64::from(first.memory_displacement32().cast_signed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushes() {
        let check = |code: &[u8], want: Option<u64>| assert_eq!(frame_push(code, 0x1000), want, "{code:x?}");
        // cmp 0x10(%r14),%rsp; jbe; push %rbp
        check(
            &[0x49, 0x3b, 0x66, 0x10, 0x76, 0x48, 0x55, 0x48, 0x89, 0xe5],
            Some(0x1006),
        );
        // lea -0x68(%rsp),%r12; cmp 0x10(%r14),%r12; jbe near; push %rbp
        check(
            &[
                0x4c, 0x8d, 0x64, 0x24, 0x98, 0x4d, 0x3b, 0x66, 0x10, 0x0f, 0x86, 0xd0, 2, 0, 0, 0x55,
            ],
            Some(0x100f),
        );
        // An argument is changed before the push.
        check(&[0x48, 0x31, 0xc0, 0x55], None);
        check(&[0x55], Some(0x1000));
        check(&[], None);
        check(&[0x49], None);
    }

    #[test]
    fn entries() {
        let check = |code: &[u8], needs: &[Register], want: Option<u64>| {
            assert_eq!(cheap_entry(code, 0x1000, needs), want, "{code:x?}");
        };
        // push %r12
        check(&[0x41, 0x54], &[Register::RSI], Some(0x1000));
        // test %rcx,%rcx; jne
        check(&[0x48, 0x85, 0xc9, 0x75, 0x13], &[], Some(0x1003));
        // mov %rsi,%rdi; push %rbx
        let moves = [0x48, 0x89, 0xf7, 0x53];
        check(&moves, &[], Some(0x1003));
        check(&moves, &[Register::RDI], None);
        // sub $8,%rsp; push %rbx
        check(&[0x48, 0x83, 0xec, 0x08, 0x53], &[], None);
        // mov (%rdi),%eax, five times
        check(&[0x8b, 0x07].repeat(5), &[], None);
        check(&[], &[], None);
    }

    #[test]
    fn calls() {
        // nop; call 0x1106; call 0x1206
        let code = [0x90, 0xe8, 0, 1, 0, 0, 0xe8, 0xfb, 1, 0, 0];
        let check = |code: &[u8], target, want: &[u64]| {
            assert_eq!(calls_to(code, 0x1000, target).collect::<Vec<_>>(), want, "{target:x}");
        };
        check(&code, 0x1206, &[0x1006]);
        check(&code, 0x1207, &[]);
        check(&code[..8], 0x1206, &[]);
    }

    #[test]
    fn thread_stores() {
        // mov %rdx,%fs:0xfffffffffffffff8
        let code = [0x64, 0x48, 0x89, 0x14, 0x25, 0xf8, 0xff, 0xff, 0xff];
        assert_eq!(thread_store(&code, 0), Some(-8));
        assert_eq!(thread_store(&code[1..], 0), None);
        assert_eq!(thread_store(&[], 0), None);
    }
}
