//! What requests ask ([MS-TDS] 2.2.6).
//!
//! ```text
//! batch        [headers] | text in UTF-16
//! call         [headers] | *(procedure | flags (2) | *(name | status (1) | type | value)), with 0xff between them
//! transaction  [headers] | what (2) | ...
//! headers      length of all (4) | *(length (4) | what (2) | content)
//! ```
use smol_str::SmolStr;

use super::cursor::{Cursor, Stop, utf16};
use super::types::{Type, Value, integer};
use crate::protocol::call::{MAX_ARGUMENTS, Text};

/// Most letters of a procedure's name that are told.
const MAX_NAME: usize = 256;

/// Passes the headers of a request; the number of the transaction it is in, where they say it.
pub(super) fn headers(cursor: &mut Cursor<'_>) -> Option<u64> {
    /// The header that says in which transaction the request is.
    const TRANSACTION: u16 = 2;
    let mut ahead = *cursor;
    let length = ahead.word().ok()?;
    let mut content = Cursor(ahead.take(usize::try_from(length).ok()?.checked_sub(4)?).ok()?);
    let mut transaction = None;
    while !content.0.is_empty() {
        let length = content.word().ok()?;
        let mut one = Cursor(content.take(usize::try_from(length).ok()?.checked_sub(4)?).ok()?);
        if one.short().ok()? == TRANSACTION {
            transaction = Some(one.long().ok()?);
        }
    }
    *cursor = ahead;
    transaction
}

/// Procedures that have a number ([MS-TDS] 2.2.6.6), by number.
const NUMBERED: [&str; 15] = [
    "sp_cursor",
    "sp_cursoropen",
    "sp_cursorprepare",
    "sp_cursorexecute",
    "sp_cursorprepexec",
    "sp_cursorunprepare",
    "sp_cursorfetch",
    "sp_cursoroption",
    "sp_cursorclose",
    "sp_executesql",
    "sp_prepare",
    "sp_execute",
    "sp_prepexec",
    "sp_prepexecrpc",
    "sp_unprepare",
];

/// A call of a procedure.
#[derive(Debug, Default)]
pub(super) struct Called {
    pub(super) procedure: SmolStr,
    /// The handle of what was prepared.
    pub(super) handle: Option<i32>,
    /// A text that is executed, or prepared.
    pub(super) text: Option<Text>,
    pub(super) does: Does,
    /// Values that are handed over.
    pub(super) parameters: Vec<Option<SmolStr>>,
}

/// What a call does with a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Does {
    /// It executes it.
    Executes,
    /// It prepares it, and tells its handle.
    Prepares,
    /// Both.
    Both,
    /// It executes what a handle stands for.
    Handle,
    /// A handle stands for nothing any more.
    Forgets,
    /// It has none.
    #[default]
    Other,
}

/// Reads calls of procedures, as far as they have been kept; their values if `values`.
pub(super) fn calls(cursor: &mut Cursor<'_>, cut: bool, values: bool) -> Vec<Called> {
    let mut calls = Vec::new();
    while !cursor.0.is_empty() && calls.len() < MAX_CALLS {
        let mut call = Called::default();
        let read = call.read(cursor, cut, values);
        if !call.procedure.is_empty() {
            calls.push(call);
        }
        if read.is_err() {
            break;
        }
    }
    calls
}

/// Calls of a message that are told apart.
const MAX_CALLS: usize = 1024;

impl Called {
    fn read(&mut self, cursor: &mut Cursor<'_>, cut: bool, values: bool) -> Result<(), Stop> {
        self.procedure = match cursor.short()? {
            NUMBER => {
                let number = cursor.short()?;
                let name = usize::from(number).checked_sub(1).and_then(|place| NUMBERED.get(place));
                SmolStr::new_static(name.ok_or(Stop::Unknown)?)
            }
            letters => {
                let name = cursor.take(usize::from(letters).saturating_mul(2))?;
                SmolStr::from(utf16(name.get(..MAX_NAME * 2).unwrap_or(name)))
            }
        };
        cursor.short()?;
        let plan = Plan::of(&self.procedure);
        self.does = plan.does;
        for place in 0_usize.. {
            match cursor.0.first() {
                None => break,
                Some(byte) if is_between(*byte) => {
                    cursor.byte()?;
                    break;
                }
                Some(_) => {}
            }
            cursor.name()?;
            cursor.byte()?;
            let of = Type::read(cursor, false)?;
            if plan.text == Some(place) && cut {
                // Some of it may not have been kept.
                let mut rest = *cursor;
                if of.value(&mut rest).is_err() {
                    self.text = Some(beginning(of, cursor.0));
                }
            }
            let value = of.value(cursor)?;
            if plan.handle == Some(place) {
                let number = value.as_ref().and_then(|value| integer(&value.bytes()));
                self.handle = number.and_then(|number| i32::try_from(number).ok());
            }
            if plan.text == Some(place) {
                self.text = value.as_ref().and_then(|value| of.shown(value)).map(|text| Text {
                    text: text.as_str().into(),
                    cut: false,
                });
            }
            if values && place >= plan.values && self.parameters.len() < MAX_ARGUMENTS {
                self.parameters.push(value.as_ref().and_then(|value| of.shown(value)));
            }
        }
        Ok(())
    }
}

/// The number that stands for a procedure follows.
const NUMBER: u16 = 0xffff;

/// Whether a byte ends a call: no name of a parameter is as long.
const fn is_between(byte: u8) -> bool {
    matches!(byte, 0xfe | 0xff)
}

/// What has come of a text whose end was not kept.
fn beginning(of: Type, bytes: &[u8]) -> Text {
    let head = match of.length {
        super::types::Length::Chunks => 12,
        super::types::Length::Pointed => 4,
        _ => 2,
    };
    let text = of.shown(&Value::Whole(bytes.get(head..).unwrap_or_default()));
    Text {
        text: text.as_deref().unwrap_or_default().into(),
        cut: true,
    }
}

/// Where a procedure has what is of interest among its parameters.
struct Plan {
    does: Does,
    handle: Option<usize>,
    text: Option<usize>,
    /// Values begin here.
    values: usize,
}

impl Plan {
    fn of(procedure: &str) -> Self {
        let plan = |does, handle, text, values| Self {
            does,
            handle,
            text,
            values,
        };
        let name = procedure.rsplit('.').next().unwrap_or(procedure);
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match () {
            () if is("sp_executesql") => plan(Does::Executes, None, Some(0), 2),
            () if is("sp_cursoropen") => plan(Does::Executes, None, Some(1), 6),
            () if is("sp_prepare") || is("sp_cursorprepare") => plan(Does::Prepares, None, Some(2), usize::MAX),
            () if is("sp_prepexec") => plan(Does::Both, None, Some(2), 3),
            () if is("sp_prepexecrpc") => plan(Does::Both, None, Some(1), 2),
            () if is("sp_cursorprepexec") => plan(Does::Both, None, Some(3), 7),
            () if is("sp_execute") => plan(Does::Handle, Some(0), None, 1),
            () if is("sp_cursorexecute") => plan(Does::Handle, Some(0), None, 5),
            () if is("sp_unprepare") || is("sp_cursorunprepare") => plan(Does::Forgets, Some(0), None, usize::MAX),
            () => plan(Does::Other, None, None, 0),
        }
    }
}

/// What a request to the manager of transactions asks for.
pub(super) fn transaction(cursor: &mut Cursor<'_>) -> Option<&'static str> {
    Some(match cursor.short().ok()? {
        0 => "GET DTC ADDRESS",
        1 => "PROPAGATE",
        5 => "BEGIN",
        6 => "PROMOTE",
        7 => "COMMIT",
        8 => "ROLLBACK",
        9 => "SAVE",
        _ => return None,
    })
}

/// What a client says of itself when it asks to be let in ([MS-TDS] 2.2.6.4). The password is never looked at.
///
/// ```text
/// | length (4) | version (4) | ... | from 36 on: offset (2), letters (2) of host, user, password, program, server, -, library, language, database |
/// ```
#[derive(Debug, Default)]
pub(super) struct Login {
    pub(super) program: Option<SmolStr>,
    pub(super) server: Option<SmolStr>,
    pub(super) database: Option<SmolStr>,
}

impl Login {
    pub(super) fn read(content: &[u8]) -> Self {
        let text = |at: usize| {
            let mut place = Cursor(content.get(at..)?);
            let (offset, letters) = (place.short().ok()?, place.short().ok()?);
            let bytes = content.get(usize::from(offset)..)?;
            let bytes = bytes.get(..usize::from(letters).min(MAX_NAME).checked_mul(2)?)?;
            Some(SmolStr::from(utf16(bytes))).filter(|text| !text.is_empty())
        };
        Self {
            program: text(48),
            server: text(52),
            database: text(68),
        }
    }
}

/// What both sides want of encryption ([MS-TDS] 2.2.6.5); none where that is not said.
///
/// ```text
/// | *(option (1) | offset (2, big-endian) | length (2, big-endian)) | 0xff | contents |
/// ```
pub(super) fn encryption(payload: &[u8]) -> Option<u8> {
    const ENCRYPTION: u8 = 1;
    let options = payload
        .chunks_exact(5)
        .take_while(|option| option.first() != Some(&0xff));
    for option in options {
        if let [ENCRYPTION, high, low, ..] = option {
            return payload.get(usize::from(u16::from_be_bytes([*high, *low]))).copied();
        }
    }
    None
}
