//! Messages that processes are handed by pipes, as Python's `multiprocessing` and `billiard` frame them.
//!
//! ```text
//! 0 length, 32 bits, big endian, signed    4 the message
//! 0 -1, as many                            4 length, 64 bits, big endian    12 the message
//! ```
//! The length is always read by itself (`Connection._recv` in CPython 3.13's `Lib/multiprocessing/connection.py`). Who reads in another
//! way takes nothing that is known.
use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::capture::{Pid, PipeRead};
use crate::protocol::uuid::{Uuid, Uuids};

/// Messages that threads are in the middle of reading.
const MAX_READING: usize = 16_384;
/// What is found in messages that are longer is not told, bytes: nobody waits for the end of what may be no message.
const MAX_MESSAGE: u64 = 64 << 20;

/// A thread, and the pipe it reads from.
type Reader = (Pid, u32, u64);

#[derive(Default)]
pub(super) struct Pipes {
    reading: HashMap<Reader, Reading, RandomState>,
}

/// Where in a message a thread is.
enum Reading {
    /// The length that takes 64 bits follows.
    Length,
    /// So many bytes follow.
    Body { left: u64, uuids: Uuids, cut: bool },
}

/// What a thread has taken out of a pipe.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reads {
    /// More of a message.
    Part,
    /// The beginning of a message, or something else: what it took before is done.
    Nothing,
    /// A message, with these identifiers.
    Message(Vec<Uuid>),
    /// A message of which something was not seen.
    Cut,
}

impl Pipes {
    pub(super) fn read(&mut self, read: &PipeRead) -> Reads {
        let reader = (read.moment.actor.pid, read.moment.actor.tid, read.pipe);
        let bytes: &[u8] = &read.payload;
        let whole = bytes.len() as u64 == read.length;
        let next = match self.reading.remove(&reader) {
            None => match bytes {
                [a, b, c, d] if whole => match i32::from_be_bytes([*a, *b, *c, *d]) {
                    -1 => Some(Reading::Length),
                    length => u64::try_from(length).ok().and_then(Reading::body),
                },
                _ => None,
            },
            Some(Reading::Length) => match <[u8; 8]>::try_from(bytes) {
                Ok(length) if whole => Reading::body(u64::from_be_bytes(length)),
                _ => None,
            },
            Some(Reading::Body { left, uuids, cut }) => return self.body(reader, read, (left, uuids, cut)),
        };
        if let Some(next) = next
            && self.reading.len() < MAX_READING
        {
            self.reading.insert(reader, next);
        }
        Reads::Nothing
    }

    /// More of a message of which `left` bytes were to come.
    fn body(&mut self, reader: Reader, read: &PipeRead, (left, mut uuids, cut): (u64, Uuids, bool)) -> Reads {
        let Some(left) = left.checked_sub(read.length) else {
            // It was none.
            return Reads::Nothing;
        };
        let cut = cut || read.payload.len() as u64 != read.length;
        if !cut {
            uuids.feed(&read.payload);
        }
        if left > 0 {
            self.reading.insert(reader, Reading::Body { left, uuids, cut });
            return Reads::Part;
        }
        uuids.end();
        match uuids.found() {
            Some(found) if !cut => Reads::Message(found),
            _ => Reads::Cut,
        }
    }

    /// Something was not seen: nobody is in the middle of anything that is known.
    pub(super) fn lost(&mut self) {
        self.reading.clear();
    }

    pub(super) fn exited(&mut self, pid: Pid) {
        self.reading.retain(|(reader, ..), _| *reader != pid);
    }
}

impl Reading {
    fn body(length: u64) -> Option<Self> {
        let is_message = (1..=MAX_MESSAGE).contains(&length);
        is_message.then(|| Self::Body {
            left: length,
            uuids: Uuids::default(),
            cut: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::capture::{Actor, Moment};

    const ID: &str = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";

    fn read(pipes: &mut Pipes, tid: u32, bytes: &[u8], length: usize) -> Reads {
        pipes.read(&PipeRead {
            moment: Moment::new(1, Actor::thread(Pid(1), tid)),
            pipe: 7,
            length: length as u64,
            payload: Bytes::copy_from_slice(bytes),
        })
    }

    /// What the last of `reads` is taken for, of one thread; each is bytes and how many were read.
    #[track_caller]
    fn check(reads: &[(&[u8], usize)], want: &Reads) {
        let mut pipes = Pipes::default();
        let mut last = Reads::Part;
        for (bytes, length) in reads {
            last = read(&mut pipes, 1, bytes, *length);
        }
        assert_eq!(&last, want, "{reads:?}");
    }

    #[test]
    fn messages() {
        let id = ID.as_bytes();
        let known = Reads::Message(vec![Uuid::parse(id).expect("one")]);
        let head: (&[u8], usize) = (&[0, 0, 0, 36], 4);
        check(&[head], &Reads::Nothing);
        check(&[head, (id, 36)], &known);
        check(&[head, (&id[..9], 9)], &Reads::Part);
        check(&[head, (&id[..9], 9), (&id[9..], 27)], &known);
        check(&[(&[0xff; 4], 4), (&[0, 0, 0, 0, 0, 0, 0, 36], 8), (id, 36)], &known);
        check(&[(&[0, 0, 0, 1], 4), (b"x", 1)], &Reads::Message(Vec::new()));
        // The next.
        check(&[head, (id, 36), head], &Reads::Nothing);
        check(&[head, (id, 36), head, (id, 36)], &known);
    }

    #[test]
    fn what_is_no_message_and_what_was_not_seen() {
        let id = ID.as_bytes();
        let head: (&[u8], usize) = (&[0, 0, 0, 36], 4);
        check(&[(id, 36)], &Reads::Nothing);
        check(&[head, (id, 37)], &Reads::Nothing);
        check(&[(&[0, 0, 0, 35], 4), (id, 36)], &Reads::Nothing);
        check(&[(&[0, 0, 0, 0], 4), (id, 36)], &Reads::Nothing);
        check(&[(&[0x80, 0, 0, 0], 4), (id, 36)], &Reads::Nothing);
        check(&[(&[0xff; 4], 4), (&[0xff; 8], 8), (id, 36)], &Reads::Nothing);
        check(&[(&[0, 0], 4), (id, 36)], &Reads::Nothing);
        check(&[head, (b"", 36)], &Reads::Cut);
        check(&[head, (&id[..9], 10), (&id[9..], 26)], &Reads::Cut);
    }

    /// Workers of one pool read from one pipe, one after the other.
    #[test]
    fn each_thread_reads_for_itself() {
        let mut pipes = Pipes::default();
        read(&mut pipes, 1, &[0, 0, 0, 36], 4);
        assert_eq!(read(&mut pipes, 2, ID.as_bytes(), 36), Reads::Nothing);
        assert!(matches!(read(&mut pipes, 1, ID.as_bytes(), 36), Reads::Message(_)));
        read(&mut pipes, 1, &[0, 0, 0, 36], 4);
        pipes.lost();
        assert_eq!(read(&mut pipes, 1, ID.as_bytes(), 36), Reads::Nothing);
        read(&mut pipes, 1, &[0, 0, 0, 36], 4);
        pipes.exited(Pid(1));
        assert!(pipes.reading.is_empty());
    }
}
