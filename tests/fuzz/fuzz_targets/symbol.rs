//! The readers of executables, on files that anyone may have made: no panic, and never more than a second or 100 MB.
//!
//! An input's first byte chooses the reader, or says that the rest is the file as it is. Otherwise what follows changes an
//! ELF file that has something for each reader, twelve bytes a change; see `symbol/change.rs`. Before the first input the
//! readers have to cope with 10 MB that were made to keep them busy.
#![no_main]

#[path = "symbol/change.rs"]
mod change;
#[path = "symbol/elf.rs"]
mod elf;
#[path = "symbol/hidden.rs"]
mod hidden;
#[path = "symbol/hostile.rs"]
mod hostile;
#[path = "symbol/measure.rs"]
mod measure;
#[path = "symbol/reader.rs"]
mod reader;

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;

use reader::Reader;

#[global_allocator]
static MEMORY: measure::Counting = measure::Counting;

/// What reading 10 MB may take.
const MOST_TIME: Duration = Duration::from_secs(1);
const MOST_BYTES: usize = 100 << 20;
/// What reading an input's file may take, which is far smaller.
const SHORT: Duration = Duration::from_millis(300);

static LAB: LazyLock<reader::Lab> = LazyLock::new(|| {
    let lab = reader::Lab::new();
    for reader in Reader::ALL {
        lab.write(&reader.base().bytes());
        assert!(lab.read(reader), "{reader:?} finds nothing in the file made for it");
    }
    for (name, file) in hostile::files() {
        lab.write(&file);
        for reader in Reader::ALL {
            let spent = measure::spent(|| lab.read(reader));
            if std::env::var_os("VERBOSE").is_some() {
                eprintln!("{name}, {reader:?}: {spent:?}");
            }
            assert!(
                spent.time < MOST_TIME && spent.bytes < MOST_BYTES,
                "{name}, {reader:?}: {spent:?} for {} bytes",
                file.len()
            );
        }
    }
    lab
});

fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else {
        return;
    };
    let reader = Reader::ALL[usize::from(kind & 0x7f) % Reader::ALL.len()];
    let file = if kind & 0x80 != 0 {
        rest.to_vec()
    } else {
        change::apply(reader.base(), rest)
    };
    LAB.write(&file);
    let spent = measure::spent(|| LAB.read(reader));
    assert!(spent.time < SHORT && spent.bytes < MOST_BYTES, "{reader:?}: {spent:?}");
});
