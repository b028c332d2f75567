//! The stack that the kernel programs need. Linux 5.10 to 6.12 refuse a program where the frames along one chain of calls are larger
//! than 512 bytes together, and each kernel tells so only when it loads the program: so it is reckoned here, for every chain, from
//! the object itself.
use std::collections::HashMap;

use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionIndex, SymbolKind};

/// `MAX_BPF_STACK`: bytes all frames of a chain may have together.
const MOST: u64 = 512;
/// `MAX_CALL_FRAMES`: functions a chain may have.
const MOST_FRAMES: usize = 8;
/// What the kernel rounds a frame up to (`check_max_stack_depth`).
const ROUNDED: u64 = 32;

/// Bytes of an instruction.
const WIDTH: u64 = 8;
/// The frame pointer.
const FRAME: u8 = 10;

/// Where a function stands: its section, and its place in it.
type Place = (SectionIndex, u64);

struct Function {
    name: String,
    /// It is a program: the kernel calls it.
    entry: bool,
    /// The farthest byte it reaches below its frame pointer.
    bytes: u64,
    calls: Vec<Place>,
}

impl Function {
    /// What the kernel reckons for it.
    fn frame(&self) -> u64 {
        self.bytes.max(1).next_multiple_of(ROUNDED)
    }
}

/// An instruction (`struct bpf_insn`).
struct Instruction {
    code: u8,
    to: u8,
    from: u8,
    offset: i16,
    value: i32,
}

impl Instruction {
    fn of(bytes: [u8; 8]) -> Self {
        let [code, registers, low, high, value @ ..] = bytes;
        Self {
            code,
            to: registers & 15,
            from: registers >> 4,
            offset: i16::from_le_bytes([low, high]),
            value: i32::from_le_bytes(value),
        }
    }

    /// How far below the frame pointer it reads or writes.
    fn reaches(&self) -> u64 {
        const LOAD: u8 = 1;
        const STORE: u8 = 2;
        const STORE_REGISTER: u8 = 3;
        let base = match self.code & 7 {
            LOAD => self.from,
            STORE | STORE_REGISTER => self.to,
            _ => return 0,
        };
        if base == FRAME { below(self.offset.into()) } else { 0 }
    }

    /// `to = from`, all 64 bits.
    fn copies(&self) -> bool {
        self.code == 0xbf
    }

    /// `to += value`.
    fn adds(&self) -> bool {
        self.code == 0x07
    }

    /// A call of another function of the object, not of a helper.
    fn calls(&self) -> bool {
        const FUNCTION: u8 = 1;
        self.code == 0x85 && self.from == FUNCTION
    }
}

fn below(offset: i64) -> u64 {
    if offset < 0 { offset.unsigned_abs() } else { 0 }
}

/// How far below its frame pointer a function reaches: what it reads and writes there, and what it makes pointers to.
fn reach(code: &[Instruction]) -> u64 {
    let mut copies = [false; 16];
    let mut most = 0;
    for instruction in code {
        most = most.max(instruction.reaches());
        let to = &mut copies[usize::from(instruction.to)];
        if instruction.copies() {
            *to = instruction.from == FRAME;
        } else if instruction.adds() && *to {
            most = most.max(below(instruction.value.into()));
            *to = false;
        }
    }
    most
}

/// The functions of an object.
fn functions(object: &ElfFile64<'_>) -> HashMap<Place, Function> {
    let mut all = HashMap::new();
    for symbol in object
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0)
    {
        let index = symbol.section_index().expect("a function has a section");
        let section = object.section_by_index(index).expect("the section is there");
        let data = section.data().expect("the section can be read");
        let (start, end) = (symbol.address(), symbol.address() + symbol.size());
        let code: Vec<Instruction> = data[start as usize..end as usize]
            .chunks_exact(WIDTH as usize)
            .map(|bytes| Instruction::of(bytes.try_into().expect("eight bytes")))
            .collect();
        let relocations: HashMap<u64, RelocationTarget> = section
            .relocations()
            .map(|(at, relocation)| (at, relocation.target()))
            .collect();
        let mut calls = Vec::new();
        for (at, instruction) in (start..).step_by(WIDTH as usize).zip(&code) {
            if !instruction.calls() {
                continue;
            }
            // Calls count from behind the instruction, or from the symbol that is put in.
            let steps = (i64::from(instruction.value) + 1) * WIDTH as i64;
            calls.push(match relocations.get(&at) {
                Some(RelocationTarget::Symbol(symbol)) => {
                    let symbol = object.symbol_by_index(*symbol).expect("the symbol is there");
                    let section = symbol.section_index().expect("what is called has a section");
                    (section, symbol.address().wrapping_add_signed(steps))
                }
                Some(other) => panic!("a call of {other:?}"),
                None => (index, at.wrapping_add_signed(steps)),
            });
        }
        let function = Function {
            name: symbol.name().expect("a name is text").to_owned(),
            entry: section.name().is_ok_and(|name| name != ".text"),
            bytes: reach(&code),
            calls,
        };
        all.insert((index, start), function);
    }
    all
}

/// The chain of calls from `at` that needs the most bytes, and how many, of functions called by those in `above`.
fn deepest(all: &HashMap<Place, Function>, at: Place, above: usize) -> (u64, Vec<&Function>) {
    let function = all.get(&at).expect("what is called is a function");
    assert!(above < MOST_FRAMES, "{}: calls itself or is too deep", function.name);
    let mut most = (0, Vec::new());
    for called in &function.calls {
        let chain = deepest(all, *called, above + 1);
        if chain.0 > most.0 {
            most = chain;
        }
    }
    most.0 += function.frame();
    most.1.insert(0, function);
    most
}

#[test]
fn programs_fit_the_stack() {
    let bytes = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/clew-ebpf"));
    let object = ElfFile64::parse(bytes).expect("the object is ELF");
    let all = functions(&object);
    let mut programs = 0;
    let mut findings = Vec::new();
    for (place, _) in all.iter().filter(|(_, function)| function.entry) {
        programs += 1;
        let (bytes, chain) = deepest(&all, *place, 0);
        if bytes > MOST {
            let chain: Vec<String> = chain
                .iter()
                .map(|function| format!("{} ({})", function.name, function.bytes))
                .collect();
            findings.push(format!("{bytes} bytes: {}", chain.join(" > ")));
        }
    }
    assert!(programs > 50, "only {programs} programs were looked at");
    assert!(
        findings.is_empty(),
        "more than {MOST} bytes of stack:\n{}",
        findings.join("\n")
    );
}

#[test]
fn reaches_of_instructions() {
    let code = |lines: &[[u8; 8]]| reach(&lines.iter().map(|line| Instruction::of(*line)).collect::<Vec<_>>());
    // *(u64 *)(r10 - 16) = r1
    let store = [0x7b, 0x1a, 0xf0, 0xff, 0, 0, 0, 0];
    // r1 = *(u64 *)(r10 - 24)
    let load = [0x79, 0xa1, 0xe8, 0xff, 0, 0, 0, 0];
    // r2 = r10; r2 += -96
    let (copy, add) = (
        [0xbf, 0xa2, 0, 0, 0, 0, 0, 0],
        [0x07, 0x02, 0, 0, 0xa0, 0xff, 0xff, 0xff],
    );
    // r2 = r1
    let other = [0xbf, 0x12, 0, 0, 0, 0, 0, 0];
    assert_eq!(code(&[]), 0);
    assert_eq!(code(&[store, load]), 24);
    assert_eq!(code(&[copy, store, add]), 96);
    assert_eq!(code(&[copy, other, add]), 0, "a pointer to elsewhere");
    assert_eq!(code(&[add]), 0);
}
