//! Operations of any offset and length in any order: no panic, and what comes out is in order and without overlap.
//!
//! An operation takes eight bytes: flags, offset (2, or from the end of all offsets), length (2), payload, time (2).
#![no_main]
use bytes::Bytes;
use clew::capture::{Actor, ConnId, Data, Direction, Moment, Pid, Transport};
use clew::stream::{Content, Piece, Stream};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let midway = input.first().is_some_and(|byte| byte & 1 == 1);
    let mut stream = Stream::new(midway);
    let (mut pieces, mut now) = (Vec::new(), 0_u64);
    let mut lanes = [Lane::default(), Lane::default()];
    for operation in input.get(1..).unwrap_or_default().chunks_exact(8) {
        let &[flags, a, b, c, d, payload, e, f] = operation else {
            return;
        };
        now += u64::from(u16::from_le_bytes([e, f])) * 10_000;
        let offset = u64::from(u16::from_le_bytes([a, b]));
        let length = u64::from(u16::from_le_bytes([c, d]));
        if flags & 0x20 != 0 {
            stream.tick(now, &mut pieces, &mut |_| {});
        }
        stream.data(
            Data {
                conn: ConnId(1),
                moment: Moment::new(now, Actor::thread(Pid(1), 1)),
                direction: if flags & 1 == 0 {
                    Direction::Ingress
                } else {
                    Direction::Egress
                },
                offset: if flags & 2 == 0 { offset } else { u64::MAX - offset },
                length: if flags & 4 == 0 { length } else { u64::MAX - length },
                payload: Bytes::from(vec![b'x'; usize::from(payload)]),
                end: flags & 0x18 == 0x18,
                error: if flags & 0xc0 == 0xc0 { 104 } else { 0 },
                transport: Transport::default(),
            },
            &mut pieces,
            &mut |name| assert!(name.starts_with("stream.")),
        );
        for piece in pieces.drain(..) {
            let lane = usize::from(piece.direction == Direction::Egress);
            if let Some(lane) = lanes.get_mut(lane) {
                lane.check(&piece, midway);
            }
        }
    }
    stream.tick(u64::MAX, &mut pieces, &mut |_| {});
    assert!(stream.idle());
});

#[derive(Default)]
struct Lane {
    next: Option<u64>,
    closed: bool,
}

impl Lane {
    fn check(&mut self, piece: &Piece, midway: bool) {
        let next = self.next.unwrap_or(if midway { piece.offset } else { 0 });
        assert!(!self.closed);
        assert_eq!(piece.offset, next);
        let length = match &piece.content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Unseen(length) => *length,
            Content::End | Content::Failed(_) => {
                self.closed = true;
                return;
            }
        };
        assert!(length > 0);
        self.next = Some(next.checked_add(length).expect("no stream is longer"));
    }
}
