//! What a produce request and the answer to a fetch have in common: partitions of topics, with batches.
//!
//! ```text
//! prelude | number of topics *(topic | number of partitions *(partition | length of its batches | batches | tags) tags) tags
//! ```
use smol_str::SmolStr;

use super::head;
use super::wire::{Cursor, Got, Short};
use crate::protocol::Id;

/// Transactions that were given up and are told of with a partition.
const MAX_ABORTED: u32 = 1024;

/// A topic: its name, or in newer versions its number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Topic {
    pub(super) name: SmolStr,
    pub(super) id: Id,
}

/// What is read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Prelude,
    Topic,
    Partition,
    /// Bytes of a partition's batches to come.
    Batches(u64),
    PartitionEnd,
    TopicEnd,
    Over,
}

/// A walk through the partitions of one message.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    key: i16,
    version: i16,
    pub(super) place: Place,
    topics: u32,
    partitions: u32,
    pub(super) topic: Topic,
    pub(super) partition: i32,
    /// Of a produce request: the broker is not to answer.
    pub(super) unanswered: bool,
}

impl Walk {
    /// A walk through a message of this API and version.
    pub(super) fn new(key: i16, version: i16) -> Self {
        Self {
            key,
            version,
            place: Place::Prelude,
            topics: 0,
            partitions: 0,
            topic: Topic::default(),
            partition: 0,
            unanswered: false,
        }
    }

    /// Reads what is next, unless that is a batch; how many bytes it has.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Got<usize> {
        let mut cursor = Cursor::new(bytes, head::is_flexible(self.key, self.version));
        match self.place {
            Place::Prelude => {
                self.prelude(&mut cursor)?;
                self.topics = cursor.length()?.unwrap_or(0);
                self.place = self.next_topic();
            }
            Place::Topic => {
                self.topic = if self.version >= 13 {
                    Topic {
                        name: SmolStr::default(),
                        id: cursor.id()?,
                    }
                } else {
                    Topic {
                        name: SmolStr::new(cursor.text()?.ok_or(Short::Wrong)?),
                        id: Id::default(),
                    }
                };
                self.partitions = cursor.length()?.unwrap_or(0);
                self.place = self.next_partition();
            }
            Place::Partition => {
                self.partition = cursor.i32()?;
                if self.key == head::FETCH {
                    self.fetched(&mut cursor)?;
                }
                let length = cursor.length()?.unwrap_or(0);
                self.place = Place::Batches(length.into());
            }
            Place::PartitionEnd => {
                cursor.tags()?;
                self.place = self.next_partition();
            }
            Place::TopicEnd => {
                cursor.tags()?;
                self.place = self.next_topic();
            }
            Place::Batches(_) | Place::Over => {}
        }
        Ok(cursor.taken())
    }

    const fn next_topic(&mut self) -> Place {
        match self.topics.checked_sub(1) {
            Some(left) => {
                self.topics = left;
                Place::Topic
            }
            None => Place::Over,
        }
    }

    const fn next_partition(&mut self) -> Place {
        match self.partitions.checked_sub(1) {
            Some(left) => {
                self.partitions = left;
                Place::Partition
            }
            None => Place::TopicEnd,
        }
    }

    fn prelude(&mut self, cursor: &mut Cursor<'_>) -> Got<()> {
        // The rest of the header.
        cursor.tags()?;
        if self.key == head::PRODUCE {
            if self.version >= 3 {
                cursor.text()?;
            }
            self.unanswered = cursor.i16()? == 0;
            cursor.i32()?;
            return Ok(());
        }
        if self.version >= 1 {
            cursor.i32()?;
        }
        if self.version >= 7 {
            cursor.i16()?;
            cursor.i32()?;
        }
        Ok(())
    }

    /// What the answer to a fetch says of a partition before its batches.
    fn fetched(&self, cursor: &mut Cursor<'_>) -> Got<()> {
        cursor.i16()?;
        cursor.i64()?;
        if self.version >= 4 {
            cursor.i64()?;
        }
        if self.version >= 5 {
            cursor.i64()?;
        }
        if self.version >= 4 {
            let aborted = cursor.length()?.unwrap_or(0);
            if aborted > MAX_ABORTED {
                return Err(Short::Wrong);
            }
            for _ in 0..aborted {
                cursor.bytes(16)?;
                cursor.tags()?;
            }
        }
        if self.version >= 11 {
            cursor.i32()?;
        }
        Ok(())
    }
}
