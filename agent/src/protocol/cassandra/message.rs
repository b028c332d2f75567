//! What the bodies of messages say (the specification of the protocol, 3 and 4).
//!
//! ```text
//! QUERY    text | parameters
//! PREPARE  text [flags [keyspace]]
//! EXECUTE  id [id of the columns] | parameters
//! BATCH    kind (1) | count (2) | *((0 text | 1 id) values) | consistency (2) | flags
//! parameters = consistency (2) | flags (1; 4 in version 5) | [values] [page size (4)] [state] [consistency (2)] [time (8)] [keyspace] ...
//! RESULT   kind (4) | nothing | columns, count (4), rows | keyspace | id ... | change
//! ERROR    code (4) | message ...
//! ```
use std::borrow::Cow;

use smol_str::{SmolStr, format_smolstr};

use super::frame::{Head, KEPT, flag, opcode};
use crate::protocol::Id;
use crate::protocol::call::{Failure, Outcome, Text};
use crate::protocol::frames::Frame;

/// Longest name that is told.
const MAX_NAME: usize = 255;
/// Most queries of a batch that are looked at.
const MAX_BATCH: u16 = 64;
/// Columns of a result that are passed to find how many rows it has.
const MAX_COLUMNS: u32 = 4096;
/// Types within types.
const MAX_DEPTH: u32 = 8;

/// The body of a message.
pub(super) struct Body<'a> {
    bytes: Cow<'a, [u8]>,
    /// Some of it was not seen or is not kept.
    cut: bool,
    version: u8,
    flags: u8,
}

impl<'a> Body<'a> {
    /// The body that was read. None where it is compressed and that cannot be undone.
    pub(super) fn of(head: Head, frame: &Frame<'a>) -> Option<Self> {
        let cut = frame.cut || (frame.payload.len() as u64) < frame.length;
        let (bytes, cut) = if head.flags & flag::COMPRESSED == 0 {
            (Cow::Borrowed(frame.payload), cut)
        } else if cut {
            return None;
        } else {
            (Cow::Owned(decompressed(frame.payload)?), false)
        };
        Some(Self {
            bytes,
            cut,
            version: head.version,
            flags: head.flags,
        })
    }

    /// What stands in the body behind what the flags of the head say is there.
    fn content(&self, answers: bool) -> Option<Cursor<'_>> {
        let mut cursor = Cursor(&self.bytes);
        if answers && self.flags & flag::TRACED != 0 {
            cursor.take(16)?;
        }
        if answers && self.flags & flag::WARNED != 0 {
            for _ in 0..cursor.short()? {
                cursor.string()?;
            }
        }
        if self.flags & flag::PAYLOAD != 0 {
            for _ in 0..cursor.short()? {
                cursor.string()?;
                cursor.value()?;
            }
        }
        Some(cursor)
    }
}

/// Undoes compression: of messages that are kept whole. Which it is was said when the connection was made, and shows: before a
/// block of LZ4 stands its length, which for Snappy would be that of nothing.
fn decompressed(bytes: &[u8]) -> Option<Vec<u8>> {
    let (length, block) = bytes.split_first_chunk::<4>()?;
    match usize::try_from(u32::from_be_bytes(*length)) {
        Ok(length) if length <= KEPT => lz4_flex::block::decompress(block, length).ok(),
        _ if snap::raw::decompress_len(bytes).is_ok_and(|length| length <= KEPT) => {
            snap::raw::Decoder::new().decompress_vec(bytes).ok()
        }
        _ => None,
    }
}

/// What a client asks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// The text it is asked in.
    pub(super) text: Option<Text>,
    /// What the text, or each of a batch, was called when it was prepared.
    pub(super) prepared: Vec<Id>,
    /// Texts of a batch, in their order; none where they were prepared.
    pub(super) batch: Vec<Option<Text>>,
    /// Queries of a batch.
    pub(super) count: Option<u16>,
    pub(super) consistency: Option<&'static str>,
    pub(super) page_rows: Option<u32>,
    pub(super) keyspace: Option<SmolStr>,
}

/// Reads a request that asks something in CQL; what cannot be read is not told.
pub(super) fn asked(code: u8, body: &Body<'_>) -> Asked {
    let mut asked = Asked::default();
    // What was cut off is missing, and nothing else.
    let _whole = body.content(false).and_then(|mut cursor| match code {
        opcode::QUERY => {
            asked.text = Some(cursor.text(body.cut)?);
            asked.parameters(&mut cursor, body.version)
        }
        opcode::PREPARE => {
            asked.text = Some(cursor.text(body.cut)?);
            if body.version >= 5 && cursor.word()? & 1 != 0 {
                asked.keyspace = Some(cursor.name()?);
            }
            Some(())
        }
        opcode::EXECUTE => {
            asked.prepared.push(cursor.id()?);
            if body.version >= 5 {
                cursor.string()?;
            }
            asked.parameters(&mut cursor, body.version)
        }
        opcode::BATCH => asked.batch(&mut cursor, body),
        _ => None,
    });
    asked
}

impl Asked {
    fn parameters(&mut self, cursor: &mut Cursor<'_>, version: u8) -> Option<()> {
        const VALUES: u32 = 0x01;
        const PAGE: u32 = 0x04;
        const STATE: u32 = 0x08;
        const SERIAL: u32 = 0x10;
        const TIME: u32 = 0x20;
        const NAMED: u32 = 0x40;
        const KEYSPACE: u32 = 0x80;
        self.consistency = consistency(cursor.short()?);
        let flags = cursor.flags(version)?;
        if flags & VALUES != 0 {
            for _ in 0..cursor.short()? {
                if flags & NAMED != 0 {
                    cursor.string()?;
                }
                cursor.value()?;
            }
        }
        if flags & PAGE != 0 {
            self.page_rows = Some(cursor.word()?);
        }
        if flags & STATE != 0 {
            cursor.value()?;
        }
        if flags & SERIAL != 0 {
            cursor.short()?;
        }
        if flags & TIME != 0 {
            cursor.take(8)?;
        }
        if version >= 5 && flags & KEYSPACE != 0 {
            self.keyspace = Some(cursor.name()?);
        }
        Some(())
    }

    fn batch(&mut self, cursor: &mut Cursor<'_>, body: &Body<'_>) -> Option<()> {
        const SERIAL: u32 = 0x10;
        const TIME: u32 = 0x20;
        const KEYSPACE: u32 = 0x80;
        cursor.take(1)?;
        let count = cursor.short()?;
        self.count = Some(count);
        for number in 0..count {
            let text = match cursor.take(1)?.first()? {
                0 => Some(cursor.text(body.cut)?),
                1 => {
                    let id = cursor.id()?;
                    if number < MAX_BATCH {
                        self.prepared.push(id);
                    }
                    None
                }
                _ => return None,
            };
            if number < MAX_BATCH {
                self.batch.push(text);
            }
            for _ in 0..cursor.short()? {
                cursor.value()?;
            }
        }
        self.consistency = consistency(cursor.short()?);
        let flags = cursor.flags(body.version)?;
        if flags & SERIAL != 0 {
            cursor.short()?;
        }
        if flags & TIME != 0 {
            cursor.take(8)?;
        }
        if body.version >= 5 && flags & KEYSPACE != 0 {
            self.keyspace = Some(cursor.name()?);
        }
        Some(())
    }
}

/// What a server answers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) outcome: Outcome,
    /// The keyspace that the connection uses from here on.
    pub(super) keyspace: Option<SmolStr>,
    /// What stands for the text that was prepared.
    pub(super) prepared: Option<Id>,
}

/// Reads an answer; what cannot be read is not told.
pub(super) fn answered(code: u8, body: &Body<'_>) -> Answered {
    let mut answered = Answered::default();
    let _whole = body.content(true).and_then(|mut cursor| match code {
        opcode::ERROR => {
            let code = cursor.word()?;
            let message = cursor.string().unwrap_or_default();
            answered.outcome.error = Some(Box::new(failure(code, message)));
            Some(())
        }
        opcode::RESULT => answered.result(&mut cursor),
        _ => None,
    });
    answered
}

impl Answered {
    fn result(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        match cursor.word()? {
            2 => self.outcome.returned_rows = Some(rows(cursor)?.into()),
            3 => self.keyspace = Some(cursor.name()?),
            4 => self.prepared = Some(cursor.id()?),
            _ => {}
        }
        Some(())
    }
}

/// Passes what is said of columns; how many rows follow.
fn rows(cursor: &mut Cursor<'_>) -> Option<u32> {
    const GLOBAL: u32 = 0x01;
    const MORE: u32 = 0x02;
    const UNTOLD: u32 = 0x04;
    const CHANGED: u32 = 0x08;
    let flags = cursor.word()?;
    let columns = cursor.word()?;
    if flags & MORE != 0 {
        cursor.value()?;
    }
    if flags & CHANGED != 0 {
        cursor.string()?;
    }
    if flags & UNTOLD == 0 {
        if columns > MAX_COLUMNS {
            return None;
        }
        if flags & GLOBAL != 0 {
            cursor.string()?;
            cursor.string()?;
        }
        for _ in 0..columns {
            if flags & GLOBAL == 0 {
                cursor.string()?;
                cursor.string()?;
            }
            cursor.string()?;
            cursor.kind(MAX_DEPTH)?;
        }
    }
    cursor.word()
}

fn failure(code: u32, message: &[u8]) -> Failure {
    /// The statement is not known to the server, and is to be prepared again.
    const UNPREPARED: u32 = 0x2500;
    Failure {
        code: format_smolstr!("0x{code:04x}"),
        sqlstate: None,
        message: SmolStr::from(String::from_utf8_lossy(message)),
        severity: None,
        expected: code == UNPREPARED,
    }
}

/// A level of consistency, as `cassandra.consistency.level` has it.
const fn consistency(number: u16) -> Option<&'static str> {
    Some(match number {
        0 => "any",
        1 => "one",
        2 => "two",
        3 => "three",
        4 => "quorum",
        5 => "all",
        6 => "local_quorum",
        7 => "each_quorum",
        8 => "serial",
        9 => "local_serial",
        10 => "local_one",
        _ => return None,
    })
}

/// Reads what is left of a body.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn short(&mut self) -> Option<u16> {
        self.take(2)?.first_chunk().map(|short| u16::from_be_bytes(*short))
    }

    fn word(&mut self) -> Option<u32> {
        self.take(4)?.first_chunk().map(|word| u32::from_be_bytes(*word))
    }

    /// Text or bytes behind a length of two bytes.
    fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.short()?;
        self.take(length.into())
    }

    /// Bytes behind a length of four, which is below 0 where there are none.
    fn value(&mut self) -> Option<()> {
        let length = self.word()?.cast_signed();
        self.take(usize::try_from(length).unwrap_or(0)).map(|_| ())
    }

    /// A text in CQL, of which some may be `cut` off.
    fn text(&mut self, cut: bool) -> Option<Text> {
        let length = usize::try_from(self.word()?).ok()?;
        match self.take(length) {
            Some(text) => Some(Text::new(text, false)),
            None if cut => Some(Text::new(std::mem::take(&mut self.0), true)),
            None => None,
        }
    }

    fn name(&mut self) -> Option<SmolStr> {
        let name = self.string()?;
        let name = name.get(..MAX_NAME).unwrap_or(name);
        Some(SmolStr::from(String::from_utf8_lossy(name)))
    }

    /// A hash of 16 bytes.
    fn id(&mut self) -> Option<Id> {
        self.string()?.try_into().ok()
    }

    fn flags(&mut self, version: u8) -> Option<u32> {
        if version >= 5 {
            self.word()
        } else {
            self.take(1)?.first().copied().map(u32::from)
        }
    }

    /// Passes the type of a column.
    fn kind(&mut self, depth: u32) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match self.short()? {
            0x0000 => {
                self.string()?;
            }
            // A list, a set; a map.
            0x0020 | 0x0022 => self.kind(depth)?,
            0x0021 => {
                self.kind(depth)?;
                self.kind(depth)?;
            }
            // A type of the user's: keyspace, name, fields.
            0x0030 => {
                self.string()?;
                self.string()?;
                for _ in 0..self.short()? {
                    self.string()?;
                    self.kind(depth)?;
                }
            }
            // A tuple.
            0x0031 => {
                for _ in 0..self.short()? {
                    self.kind(depth)?;
                }
            }
            _ => {}
        }
        Some(())
    }
}
