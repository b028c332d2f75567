//! Maps of functions that are made at run time, which anyone may have written: no panic, never two functions at one place, and what a line
//! that can be read says is so until a later one says otherwise.
#![no_main]

use clew::symbol::Functions;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut functions = Functions::default();
    for line in input.split(|byte| *byte == b'\n') {
        functions.add(line);
        let mut numbers = line.splitn(3, |byte| *byte == b' ').map_while(number);
        let (Some(start), Some(size)) = (numbers.next(), numbers.next()) else {
            continue;
        };
        // Other lines are refused.
        let Some(end) = start
            .checked_add(size)
            .filter(|_| (1..=1 << 20).contains(&size) && is_named(line))
        else {
            continue;
        };
        assert!(functions.at(start).is_some(), "{}", String::from_utf8_lossy(line));
        assert_eq!(functions.at(start), functions.at(end - 1));
    }
});

fn number(field: &[u8]) -> Option<u64> {
    let field = std::str::from_utf8(field).ok()?;
    u64::from_str_radix(field.strip_prefix("0x").unwrap_or(field), 16).ok()
}

/// A name follows the numbers.
fn is_named(line: &[u8]) -> bool {
    let name = line.splitn(3, |byte| *byte == b' ').nth(2);
    name.is_some_and(|name| !name.trim_ascii().is_empty())
}
