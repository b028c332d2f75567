//! What naming the functions of stacks costs, in a program of 500 MB of which most is DWARF.
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::example;
use super::row::Row;
use crate::workspace;

pub(super) const NAME: &str = "symbols";

/// Figures of the example that are rows.
const FIGURES: &[&str] = &[
    "program_mib",
    "first_rows_ms",
    "first_function_ms",
    "other_function_us",
    "other_function_most_us",
    "known_function_us",
    "resident_mib_more",
];
/// How large its objects are together, bytes: almost half of them are relocations, which the program has no more.
const BYTES: u64 = 900 << 20;
/// Functions of a unit, and statements of each.
const FUNCTIONS: usize = 300;
const STATEMENTS: usize = 24;

/// Has the example name functions of such a program.
pub(super) fn measure() -> Result<Vec<Row>> {
    let folder = workspace::target().join("tmp").join(NAME);
    std::fs::create_dir_all(&folder)?;
    let program = folder.join("program");
    let result = build(&folder, &program).and_then(|()| {
        let results = example::results(NAME, &[&program.to_string_lossy()])?;
        let result = results.first().context("nothing was measured")?;
        example::rows(NAME, result, FIGURES)
    });
    std::fs::remove_dir_all(&folder)?;
    result
}

/// A unit is compiled once, and linked as often as it takes: its functions lie at other addresses each time.
fn build(folder: &Path, program: &Path) -> Result<()> {
    std::fs::write(folder.join("unit.c"), unit())?;
    std::fs::write(
        folder.join("main.c"),
        "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n",
    )?;
    for source in ["unit", "main"] {
        run(folder, "gcc", &["-g", "-O1", "-c", &format!("{source}.c")])?;
    }
    let size = std::fs::metadata(folder.join("unit.o"))?.len();
    let units = BYTES.div_ceil(size);
    let mut objects = vec!["main.o".to_owned()];
    for number in 0..units {
        let object = format!("unit-{number}.o");
        run(
            folder,
            "objcopy",
            &[&format!("--prefix-symbols=u{number}_"), "unit.o", &object],
        )?;
        objects.push(object);
    }
    let output = program.to_string_lossy();
    let mut args = vec!["-no-pie", "-o", &*output];
    args.extend(objects.iter().map(String::as_str));
    run(folder, "gcc", &args)
}

fn unit() -> String {
    let mut text = "struct s { long a, b, c; struct s *next; };\n\
        static inline long mix(struct s *p, long x) { long t = p->a * x, u = p->b + t; return u ^ p->c; }\n"
        .to_owned();
    for function in 0..FUNCTIONS {
        let _ = writeln!(text, "long f{function}(struct s *p, long x) {{\n    long v = x;");
        for at in 0..STATEMENTS {
            let number = function * STATEMENTS + at;
            let _ = writeln!(
                text,
                "    long v{at} = mix(p, v + {number});\n    if (v{at} & {number}) {{ p->a += v{at}; p = p->next; }}\n    v += v{at};"
            );
        }
        text.push_str("    return v;\n}\n");
    }
    text
}

fn run(folder: &Path, program: &str, args: &[&str]) -> Result<()> {
    let status = Command::new(program).args(args).current_dir(folder).status();
    let status = status.with_context(|| format!("failed to start {program}"))?;
    ensure!(
        status.success(),
        "{program} {} ended with {status}",
        args.first().unwrap_or(&"")
    );
    Ok(())
}
