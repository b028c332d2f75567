//! The decoder of ring-buffer records: any bytes give an event or a reason, and what is decoded keeps its promises.
#![no_main]
use clew::capture::{Event, decode, parts};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|record: &[u8]| {
    for part in parts(record) {
        if let Ok(Event::Data(data)) = decode(part) {
            assert!(data.payload.len() <= part.len());
            assert!(data.payload.len() as u64 <= data.length);
        }
    }
});
