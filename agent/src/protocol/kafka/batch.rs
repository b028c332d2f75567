//! Batches of messages.
//!
//! ```text
//! +--------+--------+-------+-------+-----+------------+------------+------------+----------+----------+-------+----------+-------+----
//! | offset | length | epoch | magic | CRC | attributes | last delta | first time | max time | producer | epoch | sequence | count | ..
//! +--------+--------+-------+-------+-----+------------+------------+------------+----------+----------+-------+----------+-------+----
//!  8        4        4       1 (2)   4     2            4            8            8          8          2       4          4
//! ```
//! The broker sets the first offset and the first epoch, and where a topic is set to keep the time of arrival the greatest time, with
//! the CRC of all behind it.
use super::record::Records;
use super::topics::Topic;
use super::wire::{Cursor, Got, Short};
use crate::protocol::message::Identity;

/// Bytes before the messages.
pub(super) const HEAD_BYTES: u64 = 61;
/// Bytes up to and with the magic, which all versions have in one place.
pub(super) const OLD_HEAD_BYTES: u64 = 17;
/// Bytes up to and with the length.
const LENGTH_END: u64 = 12;
const SYSTEM: &str = "kafka";
/// The time of the messages is that of their arrival.
const BY_ARRIVAL: i16 = 1 << 3;
/// It is no message, but marks the end of a transaction.
const CONTROL: i16 = 1 << 5;

/// What the head of a batch says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) offset: i64,
    /// Bytes behind the head, or of older versions behind the magic.
    pub(super) rest: u64,
    /// It is of version 2.
    pub(super) is_new: bool,
    crc: u32,
    attributes: i16,
    first_ms: i64,
    max_ms: i64,
    producer: i64,
    epoch: i16,
    sequence: i32,
    pub(super) count: i32,
}

impl Head {
    /// Bytes of a batch's head, as its first bytes tell.
    pub(super) fn bytes(begin: &[u8]) -> u64 {
        match begin.get(16) {
            Some(2) => HEAD_BYTES,
            _ => OLD_HEAD_BYTES,
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Got<Self> {
        let mut cursor = Cursor::new(bytes, false);
        let offset = cursor.i64()?;
        let length = u64::try_from(cursor.i32()?).map_err(|_| Short::Wrong)?;
        cursor.i32()?;
        let magic = cursor.i8()?;
        let rest = |head: u64| length.saturating_add(LENGTH_END).checked_sub(head);
        if magic != 2 {
            let rest = rest(OLD_HEAD_BYTES).filter(|_| matches!(magic, 0 | 1));
            return Ok(Self {
                offset,
                rest: rest.ok_or(Short::Wrong)?,
                count: 1,
                ..Self::default()
            });
        }
        let (crc, attributes) = (cursor.u32()?, cursor.i16()?);
        cursor.i32()?;
        Ok(Self {
            offset,
            rest: rest(HEAD_BYTES).ok_or(Short::Wrong)?,
            is_new: true,
            crc,
            attributes,
            first_ms: cursor.i64()?,
            max_ms: cursor.i64()?,
            producer: cursor.i64()?,
            epoch: cursor.i16()?,
            sequence: cursor.i32()?,
            count: cursor.i32()?,
        })
    }

    /// How its messages are compressed; 0 if they are not.
    pub(super) const fn compression(&self) -> u8 {
        (self.attributes & 0x07) as u8
    }

    /// What compresses them, as settings of Kafka name it.
    pub(super) const fn compression_name(&self) -> Option<&'static str> {
        Some(match self.compression() {
            0 => return None,
            1 => "gzip",
            2 => "snappy",
            3 => "lz4",
            4 => "zstd",
            _ => "unknown",
        })
    }

    /// Whether it holds no messages of programs.
    pub(super) const fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }
}

/// A batch.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) topic: Topic,
    pub(super) partition: i32,
    pub(super) head: Head,
    /// What is known of its messages.
    pub(super) records: Records,
}

impl Batch {
    /// What both ends recognize it by: what the producer made of it, and where that is kept.
    pub(super) fn identities(&self, stored_at: Option<i64>) -> impl Iterator<Item = Identity> {
        let (partition, head) = (self.partition, self.head);
        // The topic is not compared: one end may know its name alone and the other its number.
        let made = (head.attributes & BY_ARRIVAL == 0 && head.is_new).then(|| {
            Identity::of(
                SYSTEM,
                ("made", partition, head.rest, head.crc, head.first_ms, head.max_ms),
            )
        });
        made.into_iter()
            .chain(stored_at.and_then(|offset| self.mark().stored(offset)))
    }

    /// What of it says what it is recognized by once its offset is known.
    pub(super) const fn mark(&self) -> Mark {
        Mark {
            partition: self.partition,
            head: self.head,
        }
    }
}

/// What of a batch tells what it is recognized by, once its offset is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    partition: i32,
    head: Head,
}

impl Mark {
    pub(super) fn stored(&self, offset: i64) -> Option<Identity> {
        let head = self.head;
        let sent = (head.producer, head.epoch, head.sequence);
        let parts = (
            "stored",
            self.partition,
            offset,
            head.rest,
            head.count,
            head.first_ms,
            sent,
        );
        (head.is_new && offset >= 0).then(|| Identity::of(SYSTEM, parts))
    }
}
