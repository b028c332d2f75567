use super::frame::{Frames, Got};

/// What is counted of frames of a server, whole and byte by byte.
#[track_caller]
fn check(bytes: &[u8], expected: Got, frames: u64, messages: u64, content: u64) {
    for cut in [usize::MAX, 1] {
        let mut read = Frames::new(false);
        let mut taken = 0;
        let mut last = Got::More;
        for piece in bytes.chunks(cut.min(bytes.len().max(1))) {
            last = read.read(piece);
            if last != Got::More {
                break;
            }
            taken += piece.len();
        }
        if let Got::Close(more, code) = last {
            last = Got::Close(taken + more, code);
        }
        assert_eq!(last, expected, "in pieces of {cut}");
        let counts = read.counts;
        assert_eq!(
            (counts.frames, counts.messages, counts.bytes),
            (frames, messages, content)
        );
    }
}

#[test]
fn frames_and_messages_are_counted() {
    check(b"\x81\x02hi\x82\x00", Got::More, 2, 2, 2);
    // One message of three frames, with a ping between them.
    check(b"\x01\x01a\x89\x01p\x00\x01b\x80\x01c", Got::More, 4, 1, 3);
    check(b"\x88\x02\x03\xe8rest", Got::Close(4, Some(1000)), 1, 0, 0);
    check(b"\x88\x00", Got::Close(2, None), 1, 0, 0);
    let mut long = b"\x82\x7e\x01\x00".to_vec();
    long.resize(4 + 256, 0);
    check(&long, Got::More, 1, 1, 256);
}

#[test]
fn frames_that_are_none() {
    for bytes in [
        // Masked, and of a server.
        &b"\x81\x82"[..],
        // No such opcode.
        b"\x83\x00",
        // Goes on with nothing.
        b"\x80\x00",
        // Begins within a message.
        b"\x01\x00\x01\x00",
        // Longer than frames of control are, or not in one.
        b"\x89\x7e\x00\x80",
        b"\x09\x00",
        // Not the shortest form.
        b"\x82\x7e\x00\x7d",
        b"\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff",
        b"\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00",
    ] {
        let mut read = Frames::new(false);
        assert_eq!(read.read(bytes), Got::Invalid, "{bytes:?}");
    }
}

#[test]
fn a_hole_within_content_costs_nothing() {
    let mut read = Frames::new(false);
    assert_eq!(read.read(b"\x82\x7e\x01\x00some"), Got::More);
    assert!(read.hole(252));
    assert_eq!(read.read(b"\x81\x02hi"), Got::More);
    assert_eq!((read.counts.messages, read.counts.bytes), (2, 258));
    assert!(!read.hole(1));
}
