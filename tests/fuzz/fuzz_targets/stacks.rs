//! What names the functions of stacks of compiled programs and says how they are walked, on files that anyone may have made: no panic, and
//! never more than a second or 200 MB.
//!
//! An input changes the tables of a small C program, eight bytes a change, of which the last ones say where its thread is.
//!
//! ```text
//! 0 which table | 1 how much | 2 where in it | 4 what is written there
//! ```
#![no_main]

#[path = "symbol/measure.rs"]
mod measure;

use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use clew::capture::{Actor, Language, Moment, Pid, Stack, StackRest};
use clew::discover::Proc;
use clew::symbol::Stacks;
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static MEMORY: measure::Counting = measure::Counting;

const MOST_TIME: Duration = Duration::from_secs(1);
const MOST_BYTES: usize = 200 << 20;
/// Where the program is loaded.
const BASE: u64 = 0x5555_0000_0000;
const PID: u32 = 1;
/// Tables that are changed.
const TABLES: [&str; 12] = [
    ".eh_frame",
    ".eh_frame_hdr",
    ".debug_info",
    ".debug_abbrev",
    ".debug_line",
    ".debug_line_str",
    ".debug_str",
    ".debug_aranges",
    ".debug_rnglists",
    ".symtab",
    ".dynsym",
    ".note.gnu.build-id",
];
const SOURCE: &str = "
int work(int number);
static inline __attribute__((always_inline)) int within(int number) { return work(number + 1) + 1; }
__attribute__((noinline)) int work(int number) { volatile char text[number + 9]; return number > 9 ? text[1] = 1 : within(number) + text[2]; }
int main(void) { return work(1); }
";

/// A program, where its tables are in the file, and its code.
struct Program {
    folder: PathBuf,
    bytes: Vec<u8>,
    tables: Vec<(usize, usize)>,
    code: (u64, u64),
}

static PROGRAM: LazyLock<Program> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("clew-fuzz-stacks-{}", std::process::id()));
    let process = folder.join(PID.to_string());
    std::fs::create_dir_all(process.join("root")).expect("a folder");
    let (source, out) = (folder.join("work.c"), process.join("root/work"));
    std::fs::write(&source, SOURCE).expect("the source");
    let mut compiler = Command::new("cc");
    let status = compiler.args(["-O2", "-g", "-o"]).arg(&out).arg(&source).status();
    assert!(status.expect("start cc").success());
    let bytes = std::fs::read(&out).expect("the program");
    let map = format!("{BASE:x}-{:x} r-xp 00000000 00:00 1 /work\n", BASE + 0x10_0000);
    std::fs::write(process.join("maps"), map).expect("the map");
    let sections = sections(&bytes);
    let find = |name: &str| sections.iter().find(|(other, ..)| other == name);
    let (_, offset, size) = find(".text").expect("the code");
    let tables = TABLES
        .into_iter()
        .filter_map(find)
        .map(|(_, offset, size)| (*offset, *size));
    let program = Program {
        tables: tables.collect(),
        code: (*offset as u64, *size as u64),
        folder,
        bytes,
    };
    let seen = resolve(&program, &(0..*size as u64).collect::<Vec<_>>());
    assert!(
        seen > 100,
        "only {seen} rows and functions are found in the program as it is"
    );
    program
});

/// Names, offsets and sizes of the sections of an ELF file that is right.
fn sections(bytes: &[u8]) -> Vec<(String, usize, usize)> {
    let word = |at: usize, size: usize| {
        let mut word = [0; 8];
        word[..size].copy_from_slice(&bytes[at..at + size]);
        usize::try_from(u64::from_le_bytes(word)).expect("a number")
    };
    let (table, count, names) = (word(0x28, 8), word(0x3c, 2), word(0x3e, 2));
    let section = |index: usize| table + index * 64;
    let names = word(section(names) + 24, 8);
    let name = |index: usize| {
        let start = names + word(section(index), 4);
        let end = bytes[start..].iter().position(|byte| *byte == 0).expect("an end");
        String::from_utf8_lossy(&bytes[start..start + end]).into_owned()
    };
    (0..count)
        .map(|index| (name(index), word(section(index) + 24, 8), word(section(index) + 32, 8)))
        .collect()
}

/// Walks and names from places in the code; how many rows and functions there were.
fn resolve(program: &Program, places: &[u64]) -> usize {
    let proc = Proc::at(&program.folder);
    let (mut stacks, mut found) = (Stacks::default(), 0);
    for place in places {
        let mut rest = StackRest {
            registers: clew_common::unwind::Registers::default(),
            start: 0x7000_0000,
            bytes: Vec::new(),
        };
        let pc = BASE + program.code.0 + place % program.code.1.max(1);
        rest.registers.pc = pc;
        rest.registers.sp = rest.start;
        rest.registers.fp = rest.start + 64;
        rest.bytes = std::iter::repeat_n(pc.to_le_bytes(), 64).flatten().collect();
        let mut stack = Stack {
            moment: Moment::new(1, Actor::thread(Pid(PID), PID)),
            conn: None,
            hash: 1,
            language: Language::Compiled {
                space: clew_common::unwind::space(PID, 0),
            },
            words: Vec::new(),
            rest: Some(Box::new(rest)),
        };
        stacks.walk(&proc, &mut stack, &mut |_, _| found += 1);
        found += stacks.frames(&proc, &stack).len();
    }
    found
}

fuzz_target!(|input: &[u8]| {
    let mut bytes = PROGRAM.bytes.clone();
    let mut places = Vec::new();
    for change in input.chunks_exact(8).take(64) {
        let [table, size, low, high, ref value @ ..] = *change else {
            continue;
        };
        let at = usize::from(u16::from_le_bytes([low, high]));
        let (offset, length) = PROGRAM.tables[usize::from(table) % PROGRAM.tables.len()];
        let start = offset + at % length.max(1);
        let end = (start + usize::from(size % 4) + 1).min(bytes.len());
        for (byte, new) in bytes[start..end].iter_mut().zip(value) {
            *byte = *new;
        }
        places.push(at as u64);
    }
    std::fs::write(PROGRAM.folder.join(format!("{PID}/root/work")), bytes).expect("the file");
    let spent = measure::spent(|| resolve(&PROGRAM, &places));
    assert!(spent.time < MOST_TIME && spent.bytes < MOST_BYTES, "{spent:?}");
});
