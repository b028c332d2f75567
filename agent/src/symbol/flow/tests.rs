use super::*;

/// Tokio 1.54, `set_current_task_id`, from its start to its end.
const SET: &[u8] = &[
    0x41, 0x56, 0x53, 0x50, 0x48, 0x89, 0xfb, 0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0, 0x48, 0x8d, 0x80, 0xa8, 0xfe,
    0xff, 0xff, 0x0f, 0xb6, 0x48, 0x48, 0x83, 0xf9, 0x01, 0x74, 0x24, 0x48, 0x8b, 0x48, 0x30, 0x48, 0x89, 0x58, 0x30,
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
        0x48, 0x89, 0xf3, 0x48, 0x8d, 0xbb, 0, 4, 0, 0, 0xe8, 0, 0, 0, 0, 0x48, 0x81, 0xc3, 0x88, 0, 0, 0, 0x48, 0x89,
        0xdf, 0xe8, 0, 0, 0, 0, 0xe8, 0, 0, 0, 0,
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
        0x48, 0x83, 0xec, 0x48, 0x48, 0x89, 0x7c, 0x24, 8, 0x48, 0x8d, 0x7c, 0x24, 0x10, 0xe8, 0, 0, 0, 0, 0x48, 0x8b,
        0x7c, 0x24, 8, 0x48, 0x83, 0xef, 0x80, 0xe8, 0, 0, 0, 0,
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
        0x48, 0x8b, 0x6f, 0x28, 0x48, 0x85, 0xed, 0x48, 0x8d, 0x47, 0x50, 0x48, 0x83, 0x7f, 0x10, 0, 0x48, 0x8b, 0x4f,
        0x28, 0x48, 0x8b, 0x56, 8,
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
        0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0, 0x48, 0x8d, 0x80, 0xa8, 0xfe, 0xff, 0xff, 0x48, 0x89, 0xc7, 0xe8, 0,
        0, 0, 0,
    ];
    assert_eq!(hands_of_thread(&own, 0), Some(-0x158));
}
