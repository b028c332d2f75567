//! Files of 10 MB that were made to keep a reader busy, or to fill its memory.
use crate::elf::{Elf, FUNCTION, Symbols, everything, mangled};
use crate::hidden;

const BYTES: usize = 10 << 20;

/// Each with what it is.
pub(crate) fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("symbols that share one endless name", endless_names()),
        ("symbols at one address, called all over", one_address()),
        ("functions of one name", one_name()),
        ("names that unfold", unfolding()),
        ("functions of Go far apart", far_apart()),
        ("names of Go's functions again and again", repeated(".gopclntab")),
        ("variables again and again", repeated(".data")),
        ("code again and again", repeated(".text")),
        ("pointers again and again", repeated(".rela.dyn")),
        ("names for the linker again and again", repeated(".dynstr")),
        ("symbols for the linker again and again", repeated(".dynsym")),
        ("sections with endless names", sections()),
        ("code that fails again and again", again(".text")),
        (
            "functions of the table for unwinding again and again",
            again(".eh_frame"),
        ),
        ("names of a source file again and again", again(".rodata")),
        ("one function that fails all over", one_failing()),
        ("a table that is said to be larger than the file", claimed()),
    ]
}

fn with_symbols(symbols: Symbols, more: impl FnOnce(&mut Elf)) -> Vec<u8> {
    let mut elf = everything();
    elf.named(".symtab").bytes = symbols.table;
    elf.named(".strtab").bytes = symbols.names;
    more(&mut elf);
    elf.bytes()
}

/// 24 bytes each.
const fn symbols_in(bytes: usize) -> u64 {
    (bytes / 24) as u64
}

fn endless_names() -> Vec<u8> {
    let mut symbols = Symbols::new();
    let name = symbols.name(&"_ZN5tokio4recv4wake".repeat(BYTES / 2 / 19));
    for n in 0..symbols_in(BYTES / 2) {
        symbols.add(name, FUNCTION, 1 + n, 8);
    }
    with_symbols(symbols, |_| {})
}

fn one_address() -> Vec<u8> {
    let mut symbols = Symbols::new();
    let wake = symbols.name(&mangled("tokio::sync::task::atomic_waker::AtomicWaker::wake"));
    let channel = symbols.name(&mangled("tokio::sync::mpsc::chan::Tx::send"));
    let mut elf = everything();
    let text = elf.named(".text");
    let at = 5 * 0x2000;
    text.bytes.clear();
    // Calls of the first one.
    for n in 0..BYTES as u64 / 2 / 5 {
        text.bytes.push(0xe8);
        text.bytes
            .extend((0_u64.wrapping_sub((n + 1) * 5) as u32).to_le_bytes());
    }
    symbols.add(wake, FUNCTION, at, 8);
    for _ in 0..symbols_in(BYTES / 2) {
        symbols.add(channel, FUNCTION, at, BYTES as u64);
    }
    let code = std::mem::take(&mut text.bytes);
    with_symbols(symbols, |elf| elf.named(".text").bytes = code)
}

fn one_name() -> Vec<u8> {
    let mut symbols = Symbols::new();
    let name = symbols.name(&mangled("tokio::runtime::context::set_current_task_id"));
    for n in 0..symbols_in(BYTES) {
        // In the middle of code that is there.
        symbols.add(name, FUNCTION, 5 * 0x2000 + n % 512, 2048);
    }
    with_symbols(symbols, |_| {})
}

/// Names by version 0, which may refer back to parts of themselves.
fn unfolding() -> Vec<u8> {
    let mut symbols = Symbols::new();
    // A tuple of two of what stands before, over and over.
    let mut name = "_RINvC5tokio4recv".to_owned();
    let mut before = name.len() - 2;
    name.push_str("ThhE");
    for _ in 0..40 {
        let back = format!("B{}_", base_62(before));
        before = name.len() - 2;
        name.push_str(&format!("T{back}{back}E"));
    }
    name.push('E');
    let name = symbols.name(&name);
    for n in 0..symbols_in(BYTES) {
        symbols.add(name, FUNCTION, 1 + n, 8);
    }
    with_symbols(symbols, |_| {})
}

/// A number in a back reference: less by one than it stands for.
fn base_62(number: usize) -> String {
    const DIGITS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let (mut rest, mut text) = (number - 1, Vec::new());
    loop {
        text.insert(0, DIGITS[rest % 62]);
        rest /= 62;
        if rest == 0 {
            break;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn far_apart() -> Vec<u8> {
    let mut elf = everything();
    let table = &mut elf.named(".gopclntab").bytes;
    let functions_at = u64::from_le_bytes(table[64..72].try_into().expect("eight bytes")) as usize;
    table.truncate(functions_at);
    let n_functions = (BYTES / 2 / 8) as u64;
    table[8..16].copy_from_slice(&n_functions.to_le_bytes());
    for n in 0..n_functions {
        let at = if n % 2 == 0 { BYTES / 2 } else { BYTES - 64 };
        table.extend([0; 4]);
        table.extend((at as u32).to_le_bytes());
    }
    table.resize(BYTES, 0xff);
    elf.bytes()
}

fn repeated(name: &str) -> Vec<u8> {
    repeat(everything(), name)
}

/// The same of a file with functions that nothing names.
fn again(name: &str) -> Vec<u8> {
    repeat(hidden::elf(), name)
}

/// A function as large as the file, said to be another one many times, in which every instruction refers to the file's name.
fn one_failing() -> Vec<u8> {
    let mut elf = hidden::elf();
    let (text, names) = (hidden::TEXT, hidden::NAME);
    let mut code = Vec::new();
    while code.len() < BYTES / 2 {
        let next = text + code.len() as u64 + 7;
        code.extend([0x48, 0x8d, 0x0d]);
        code.extend((names.wrapping_sub(next) as u32).to_le_bytes());
    }
    let mut table = hidden::common();
    while table.len() < BYTES / 4 {
        let at = table.len() as u64 / 20;
        hidden::entry(&mut table, text + at, BYTES as u32 / 2);
    }
    elf.named(".text").bytes = code;
    elf.named(".eh_frame").bytes = table;
    elf.bytes()
}

fn repeat(mut elf: Elf, name: &str) -> Vec<u8> {
    let section = elf.named(name);
    section.bytes = section.bytes.iter().copied().cycle().take(BYTES).collect();
    elf.bytes()
}

/// As many sections as there can be, whose names are one long text.
fn sections() -> Vec<u8> {
    const MOST: u64 = 0xfe00;
    let mut file = everything().bytes();
    let names_at = file.len() as u64;
    file.resize(BYTES - (MOST as usize) * 64, b'a');
    let headers_at = file.len() as u64;
    let header = |kind: u32| {
        let mut header = [1_u32.to_le_bytes(), kind.to_le_bytes()].concat();
        for word in [0, 0, names_at, headers_at - names_at, 0, 0, 0] {
            header.extend(u64::to_le_bytes(word));
        }
        header
    };
    for n in 0..MOST {
        file.extend(header(if n + 1 == MOST { 3 } else { 1 }));
    }
    file[40..48].copy_from_slice(&headers_at.to_le_bytes());
    file[60..62].copy_from_slice(&(MOST as u16).to_le_bytes());
    file[62..64].copy_from_slice(&(MOST as u16 - 1).to_le_bytes());
    file
}

fn claimed() -> Vec<u8> {
    let mut elf = everything();
    for name in [".symtab", ".strtab", ".dynsym", ".dynstr", ".rela.dyn"] {
        elf.named(name).size = Some(120 << 20);
    }
    elf.bytes()
}
