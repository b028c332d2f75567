//! Plays what two ends say to a conversation.
use bytes::Bytes;

use super::{Conversation, Step};
use crate::capture::{Actor, Direction, Moment, Pid};
use crate::stream::{Content, Piece};

/// The steps of all that is said, in pieces of at most `cut` bytes; each message comes a microsecond after the one before. A conversation
/// that is joined `midway` has an offset.
pub(super) fn played(conversation: Conversation, midway: bool, all: &[(Direction, Vec<u8>)], cut: usize) -> Vec<Step> {
    let mut conversation = conversation.midway(midway);
    let mut steps = Vec::new();
    let mut offsets = if midway { (9000, 9000) } else { (0, 0) };
    for (time_ns, (direction, bytes)) in (1_u64..).zip(all) {
        let offset = match direction {
            Direction::Egress => &mut offsets.0,
            Direction::Ingress => &mut offsets.1,
        };
        for piece in bytes.chunks(cut) {
            conversation.piece(
                Piece {
                    direction: *direction,
                    offset: *offset,
                    content: Content::Bytes(Bytes::copy_from_slice(piece)),
                    moment: Moment::new(time_ns * 1000, Actor::thread(Pid(1), 1)),
                },
                &mut steps,
            );
            *offset += piece.len() as u64;
        }
    }
    steps
}
