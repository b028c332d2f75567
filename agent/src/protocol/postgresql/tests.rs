use bytes::Bytes;

use crate::capture::{Actor, Direction, Moment, Pid};
use crate::protocol::{Broken, Conversation, Exchange, Limits, Step};
use crate::stream::{Content, Piece};

#[test]
fn what_was_asked_before_encryption_was_granted_ends() {
    let asked = b"\0\0\0\x08\x04\xd2\x16\x2f\0\0\0\x10\0\x03\0\0user\0a\0\0";
    for cut in [usize::MAX, 7, 1] {
        let mut conversation = Conversation::new(Limits::default());
        let mut steps = Vec::new();
        for (time_ns, direction, bytes) in [(1, Direction::Egress, &asked[..]), (2, Direction::Ingress, b"S")] {
            let mut offset = 0;
            for piece in bytes.chunks(cut) {
                let length = piece.len() as u64;
                let piece = Piece {
                    direction,
                    offset,
                    content: Content::Bytes(Bytes::copy_from_slice(piece)),
                    moment: Moment::new(time_ns, Actor::thread(Pid(1), 1)),
                };
                offset += length;
                conversation.piece(piece, &mut steps);
            }
        }
        let broken = |step: &Step| match step {
            Step::Broken { exchange, reason, .. } => Some((*exchange, *reason)),
            _ => None,
        };
        let broken: Vec<_> = steps.iter().filter_map(broken).collect();
        assert_eq!(broken, [(Exchange(0), Broken::Unseen)], "in pieces of {cut}");
        assert_eq!(conversation.open(), 0);
    }
}
