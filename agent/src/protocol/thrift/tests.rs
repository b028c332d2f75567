use super::*;

#[track_caller]
fn check(bytes: &[u8], expected: Recognized) {
    assert_eq!(recognize(bytes), expected, "{bytes:02x?}");
}

#[test]
fn calls_are_recognized_when_they_have_come_whole() {
    for call in [
        b"\x80\x01\0\x01\0\0\0\x04ping\0\0\0\0\0".as_slice(),
        b"\0\0\0\x11\x80\x01\0\x04\0\0\0\x04ping\0\0\0\0\0",
        b"\x82\x21\0\x04ping\0",
        b"\0\0\0\x0b\x82\x81\x80\x01\x04ping\x15\x02\0",
    ] {
        let shown = call
            .len()
            .saturating_sub(if call.ends_with(b"\x15\x02\0") { 2 } else { 0 });
        for length in 0..shown {
            check(&call[..length], Recognized::More);
        }
        check(&call[..shown], Recognized::Yes);
    }
}

#[test]
fn what_is_no_call_is_not_recognized() {
    for no in [
        // An answer, another version, an empty name, one that is none, a kind of value that there is not.
        b"\x80\x01\0\x02\0\0\0\x04ping\0\0\0\0\0".as_slice(),
        b"\x80\x02\0\x01\0\0\0\x04ping\0\0\0\0\0",
        b"\x80\x01\0\x01\0\0\0\0\0\0\0\0\0",
        b"\x80\x01\0\x01\0\0\0\x04pi g\0\0\0\0\0",
        b"\x80\x01\0\x01\0\0\0\x04ping\0\0\0\0\x07\0\x01",
        b"\x82\x22\0\x04ping\0",
        b"\x82\x41\0\x04ping\0",
        // A frame that is too short for it, and one that holds something else.
        b"\0\0\0\x05\x80\x01\0\x01\0\0\0\x04ping\0\0\0\0\0",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        // A command of memcached.
        b"\x80\x01\0\x01\x08\0\0\0\0\0\0\x0a",
        b"GET / HTTP/1.1\r\n",
    ] {
        check(no, Recognized::No);
    }
}

/// Plays a call and its answer to a connection, and says how the call ended.
fn played(answer: &[u8]) -> Vec<crate::protocol::Step> {
    use crate::capture::{Actor, Direction, Moment, Pid};
    use crate::protocol::{Conversation, Limits, Step};
    use crate::stream::{Content, Piece};

    let mut conversation = Conversation::new(Limits::default());
    let mut steps = Vec::new();
    let call = b"\x80\x01\0\x01\0\0\0\x04ping\0\0\0\x07\0".as_slice();
    for (direction, bytes, time_ns) in [(Direction::Egress, call, 1), (Direction::Ingress, answer, 2)] {
        let piece = Piece {
            direction,
            offset: 0,
            moment: Moment::new(time_ns, Actor::thread(Pid(1), 1)),
            content: Content::Bytes(bytes::Bytes::copy_from_slice(bytes)),
        };
        conversation.piece(piece, &mut steps);
    }
    steps.retain(|step| !matches!(step, Step::Request(_)));
    steps
}

#[test]
fn an_answer_of_another_call_is_nobodys() {
    use crate::protocol::{Broken, Step};

    for other in [
        b"\x80\x01\0\x02\0\0\0\x04ping\0\0\0\x08\0".as_slice(),
        b"\x80\x01\0\x02\0\0\0\x04pong\0\0\0\x07\0",
    ] {
        let steps = played(other);
        let is_broken = |step: &Step| {
            matches!(
                step,
                Step::Broken {
                    reason: Broken::Unseen,
                    ..
                }
            )
        };
        assert!(steps.iter().any(is_broken), "{steps:?}");
        assert!(!steps.iter().any(|step| matches!(step, Step::Response(_))), "{steps:?}");
    }
    let steps = played(b"\x80\x01\0\x02\0\0\0\x04ping\0\0\0\x07\0");
    assert!(
        steps
            .iter()
            .any(|step| matches!(step, Step::Response(response) if response.whole)),
        "{steps:?}"
    );
}

#[test]
fn structs_are_passed_within_bounds() {
    use super::walk::Walk;
    use super::wire::Encoding::{Binary, Compact};

    #[track_caller]
    fn check(encoding: wire::Encoding, bytes: &[u8], expected: Result<(usize, bool), Stop>) {
        assert_eq!(Walk::new(encoding, Kind::Call).read(bytes), expected, "{bytes:02x?}");
    }
    check(Binary, b"\x0b\0\x01\0\0\0\x02hi\0rest", Ok((10, true)));
    check(Binary, b"\x0b\0\x01\0\0\0\x02h", Ok((8, false)));
    // Lists within lists, deeper than any library takes.
    let deep = [b"\x0f\0\x01".as_slice(), &b"\x0f\0\0\0\x01".repeat(80)].concat();
    check(Binary, &deep, Err(Stop::Wrong));
    // As many values as fit a number, none of which come.
    check(Binary, b"\x0f\0\x01\x0a\x7f\xff\xff\xff", Ok((8, false)));
    check(Binary, b"\x0f\0\x01\x0a\x80\0\0\0", Err(Stop::Wrong));
    check(
        Binary,
        b"\x0d\0\x01\x0b\x08\0\0\0\x01\0\0\0\x01k\0\0\0\x01\0",
        Ok((19, true)),
    );
    check(Compact, b"\x18\x02hi\x11\0rest", Ok((6, true)));
    check(Compact, b"\x1b\0\0", Ok((3, true)));
    check(
        Compact,
        b"\x15\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        Err(Stop::Wrong),
    );
    check(Compact, b"\x1e", Err(Stop::Wrong));
}
