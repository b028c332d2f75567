//! Compressed bodies, which anyone may have sent: no panic, never more than was asked for, and where less is asked for the same bytes.
#![no_main]

use clew::coding;
use libfuzzer_sys::fuzz_target;

/// Bytes that are asked for.
const MOST: usize = 16 << 10;

fuzz_target!(|input: &[u8]| {
    let Some((kind, input)) = input.split_first() else {
        return;
    };
    // What each begins with; Brotli with nothing of its own.
    let (decode, head): (fn(&[u8], usize) -> Vec<u8>, &[u8]) = match kind % 5 {
        0 => (coding::gzip, &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]),
        1 => (coding::zlib, &[0x78, 0x9c]),
        2 => (coding::brotli, &[]),
        3 => (coding::zstandard, &[0x28, 0xb5, 0x2f, 0xfd]),
        _ => (coding::zstandard, &[]),
    };
    let body = [head, input].concat();
    let whole = decode(&body, MOST);
    assert!(whole.len() <= MOST);
    let few = decode(&body, MOST / 16);
    assert_eq!(few, whole.get(..MOST / 16).unwrap_or(&whole));
});
