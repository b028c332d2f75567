//! The readers of logs: any bytes in any pieces give texts within bounds, and each text a record.
#![no_main]
use clew::capture::{Actor, FileId, LogWrite, Moment, Pid, Stream};
use clew::log::{Logs, RECORD_BYTES, Record, Written};
use clew::span::Policy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let (mut logs, mut out, mut counts) = (Logs::default(), Vec::new(), Vec::new());
    // A piece ends where a byte that is no text stands; it tells the writer and how the call went on.
    for (place, piece) in input.split_inclusive(|byte| *byte >= 0xf8).enumerate() {
        let code = piece.last().copied().unwrap_or(0);
        let (pid, tid) = (u32::from(code >> 2 & 1), u32::from(code & 3));
        let write = LogWrite {
            moment: Moment::new(place as u64 * 30_000_000, Actor::thread(Pid(pid), tid)),
            file: FileId { address: 1, inode: 1 },
            stream: match code & 3 {
                0 => Some(Stream::Out),
                1 => None,
                2 => Some(Stream::Syslog),
                _ => Some(Stream::Journal),
            },
            name: "shop.log".into(),
            length: piece.len() as u64 + u64::from(code == 0xfe),
            payload: bytes::Bytes::copy_from_slice(piece),
            more: code == 0xff,
        };
        logs.write(&write, &code, &mut out, &mut counts);
        logs.tick(place as u64 * 30_000_000, &mut out);
    }
    logs.finish(&mut out);
    assert!(logs.is_empty());
    let policy = Policy::default();
    for written in &out {
        read(written, &policy);
    }
});

fn read(written: &Written<u8>, policy: &Policy) {
    assert!(written.text.len() <= RECORD_BYTES + 4);
    let record = Record::parse(&policy.text(&written.text), written);
    if let Some(exception) = &record.exception {
        assert!(!exception.kind.is_empty());
    }
}
