//! The decoder of ring-buffer records: any bytes give an event or a reason, and what is decoded keeps its promises.
#![no_main]
use clew::capture::{Event, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|record: &[u8]| {
    if let Ok(Event::Data(data)) = decode(record) {
        assert!(data.payload.len() <= record.len());
        assert!(data.payload.len() as u64 <= data.length);
    }
});
