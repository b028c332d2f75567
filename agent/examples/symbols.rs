//! What naming functions costs, in a program with much DWARF: the first of it, others in it, and the same again.
//!
//! `cargo run --release -p clew --example symbols PROGRAM`, whose addresses are as in its file and which waits; prints one JSON object.
//! `cargo xtask bench --workload symbols` makes such a program and runs it.
#![expect(clippy::unwrap_used, reason = "a tool for developers")]
use std::process::Command;
use std::time::{Duration, Instant};

use clew::capture::{Actor, Language, Moment, Pid, Stack, StackRest};
use clew::discover::Proc;
use clew::symbol::Stacks;
use clew_common::unwind::{Registers, space};
use object::{Object as _, ObjectSymbol as _, SymbolKind};

/// Functions that are named.
const FUNCTIONS: usize = 2000;

fn main() {
    let program = std::env::args().nth(1).expect("a program");
    let bytes = std::fs::read(&program).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let functions = file
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 64);
    let places: Vec<(u64, String)> = functions
        .map(|symbol| {
            let name = symbol.name().unwrap().trim_start_matches(|letter| letter != 'f');
            (symbol.address() + symbol.size() / 2, name.to_owned())
        })
        .filter(|(_, name)| name.len() > 1 && name[1..].bytes().all(|digit| digit.is_ascii_digit()))
        .collect();
    let each = (places.len() / FUNCTIONS).max(1);
    let places: Vec<(u64, String)> = places.into_iter().step_by(each).take(FUNCTIONS).collect();
    assert_eq!(places.len(), FUNCTIONS, "it has too few functions");
    let size = bytes.len();
    drop(bytes);

    let mut child = Command::new(&program).spawn().unwrap();
    let proc = Proc::default();
    // Until it is what it will be.
    std::thread::sleep(Duration::from_millis(300));
    let before = resident_kib();
    let mut stacks = Stacks::default();
    let mut took = |at: usize| {
        let (address, name) = &places[at];
        let mut stack = stack(child.id(), at as u64, *address);
        let begun = Instant::now();
        stacks.walk(&proc, &mut stack, &mut |_, _| {});
        let walked = begun.elapsed();
        let frames = stacks.frames(&proc, &stack);
        let named = begun.elapsed() - walked;
        assert_eq!(frames.last().unwrap().function, *name, "at {address:#x}");
        assert!(frames.iter().all(|frame| frame.line > 0), "no line at {address:#x}");
        [walked, named].map(|took| took.as_secs_f64() * 1e6)
    };
    let [first_walk, first] = took(0);
    let mut others: Vec<f64> = (1..FUNCTIONS).map(|at| took(at)[1]).collect();
    let more = resident_kib().saturating_sub(before);
    let mut again: Vec<f64> = (0..FUNCTIONS).map(|at| took(at)[1]).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    others.sort_by(f64::total_cmp);
    again.sort_by(f64::total_cmp);
    let result = serde_json::json!({
        "program_mib": size >> 20,
        "first_rows_ms": first_walk / 1e3,
        "first_function_ms": first / 1e3,
        "other_function_us": others[others.len() / 2],
        "other_function_most_us": others[others.len() - 1],
        "known_function_us": again[again.len() / 2],
        "resident_mib_more": more / 1024,
    });
    println!("{result}");
}

/// As the kernel side tells it, of one frame that it could not walk on from.
fn stack(pid: u32, hash: u64, address: u64) -> Stack {
    let registers = Registers {
        // What is called lies behind its caller's last instruction.
        pc: address,
        sp: 0,
        fp: 0,
        link: 0,
    };
    Stack {
        moment: Moment::new(1, Actor::thread(Pid(pid), pid)),
        conn: None,
        hash,
        language: Language::Compiled {
            space: space(pid, 1 << 6),
        },
        words: Vec::new(),
        rest: Some(Box::new(StackRest {
            registers,
            start: 0,
            bytes: Vec::new(),
        })),
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
