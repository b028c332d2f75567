//! An ELF file with functions of BoringSSL that nothing names: they show by how they fail, by whom they call, and by the table for
//! unwinding (`agent/src/symbol/openssl/hidden`).
use crate::elf::Elf;

/// Where its sections lie, as [`Elf`] places them: code may grow, since nothing is looked up by its address behind it.
const DATA: u64 = 0x2000;
pub(crate) const TEXT: u64 = 2 * DATA;
const TABLE: u64 = 3 * DATA;
/// What stands in front of the source file's name, as texts do of any length.
const BEFORE: usize = 0x200;
/// Where the name of the source file lies.
pub(crate) const NAME: u64 = DATA + BEFORE as u64;
/// Bytes of each function.
const FUNCTION_BYTES: u64 = 0x100;

/// push %rbx; mov %edx,%ebx; mov %rsi,%rax; test %rdi,%rdi
const TAKES_THREE: &[u8] = &[0x53, 0x89, 0xd3, 0x48, 0x89, 0xf0, 0x48, 0x85, 0xff];
/// The same; mov %rdi,(%rax)
const CHANGES: &[u8] = &[0x53, 0x89, 0xd3, 0x48, 0x89, 0xf0, 0x48, 0x85, 0xff, 0x48, 0x89, 0x38];

/// The file.
pub(crate) fn elf() -> Elf {
    let mut code = Vec::new();
    let fail = function(&mut code, &[0x55], &[], &[]);
    let fails = |code: &mut Vec<u8>, start: &[u8], calls: &[u64], reasons: &[u32]| {
        let reasons: Vec<(u32, u64)> = reasons.iter().map(|reason| (*reason, fail)).collect();
        function(code, start, calls, &reasons)
    };
    let shake = fails(&mut code, TAKES_THREE, &[], &[134]);
    let inner = fails(&mut code, TAKES_THREE, &[shake], &[226, 215]);
    fails(&mut code, TAKES_THREE, &[shake], &[66, 226, 215, 111]);
    fails(&mut code, CHANGES, &[inner], &[66]);
    fails(&mut code, TAKES_THREE, &[], &[185]);
    let mut table = common();
    for n in 0..code.len() as u64 / FUNCTION_BYTES {
        entry(&mut table, TEXT + n * FUNCTION_BYTES, FUNCTION_BYTES as u32);
    }
    let mut data = vec![0; BEFORE];
    data.extend(b"ssl/ssl_lib.cc\0");
    let mut elf = Elf::new();
    for (name, bytes) in [(".rodata", data), (".text", code), (".eh_frame", table)] {
        elf.section(name, bytes);
    }
    elf
}

/// A function that begins so, calls these, and fails by these reasons through these functions.
fn function(code: &mut Vec<u8>, start: &[u8], calls: &[u64], reasons: &[(u32, u64)]) -> u64 {
    let at = TEXT + code.len() as u64;
    let distance = |code: &Vec<u8>, target: u64| {
        let next = TEXT + code.len() as u64 + 4;
        (target.wrapping_sub(next) as u32).to_le_bytes()
    };
    code.extend(start);
    for target in calls {
        code.push(0xe8);
        code.extend(distance(code, *target));
    }
    for (reason, fail) in reasons {
        // mov $16,%edi; xor %esi,%esi; mov $reason,%edx; lea name,%rcx; mov $1,%r8d; call fail
        code.extend([0xbf, 16, 0, 0, 0, 0x31, 0xf6, 0xba]);
        code.extend(reason.to_le_bytes());
        code.extend([0x48, 0x8d, 0x0d]);
        code.extend(distance(code, NAME));
        code.extend([0x41, 0xb8, 1, 0, 0, 0, 0xe8]);
        code.extend(distance(code, *fail));
    }
    code.push(0xc3);
    let size = (at - TEXT + FUNCTION_BYTES) as usize;
    assert!(code.len() <= size, "a function is longer than its room");
    code.resize(size, 0x90);
    at
}

/// The common entry of a table for unwinding: addresses are four bytes, relative to themselves.
pub(crate) fn common() -> Vec<u8> {
    let body = b"\0\0\0\0\x01zR\0\x01\x78\x10\x01\x1b\0\0\0";
    [&(body.len() as u32).to_le_bytes()[..], body].concat()
}

/// The entry of a function.
pub(crate) fn entry(table: &mut Vec<u8>, address: u64, size: u32) {
    let back = table.len() as u32 + 4;
    let here = TABLE + table.len() as u64 + 8;
    table.extend(16_u32.to_le_bytes());
    table.extend(back.to_le_bytes());
    table.extend((address.wrapping_sub(here) as u32).to_le_bytes());
    table.extend(size.to_le_bytes());
    table.extend([0; 4]);
}
