//! What is known of a session beyond one request.
use std::collections::HashMap;

use foldhash::fast::RandomState;
use smol_str::SmolStr;

use super::cursor::{Cursor, utf16};
use crate::protocol::call::{Outcome, Text};

/// Prepared statements that are remembered.
const MAX_STATEMENTS: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) namespace: Option<SmolStr>,
    statements: HashMap<i32, Text, RandomState>,
    /// The transaction's number, and the offset of the request that began it.
    transaction: Option<(u64, u64)>,
}

impl Session {
    /// Messages were lost. A handle may stand for something else by now if some of the client's were.
    pub(super) fn restart(&mut self, asked_unseen: bool) {
        if asked_unseen {
            self.statements.clear();
        }
        self.namespace = None;
        self.transaction = None;
    }

    /// An answer was not read to its end, to something that `may_use` another database.
    pub(super) fn unseen(&mut self, may_use: bool) {
        if may_use {
            self.namespace = None;
        }
        self.transaction = None;
    }

    /// What was prepared is gone.
    pub(super) fn reset(&mut self) {
        self.statements.clear();
    }

    /// A statement was prepared. Whether there was room.
    pub(super) fn prepared(&mut self, handle: i32, text: Text) -> bool {
        let room = self.statements.len() < MAX_STATEMENTS || self.statements.contains_key(&handle);
        if room {
            self.statements.insert(handle, text);
        }
        room
    }

    pub(super) fn unprepare(&mut self, handle: i32) {
        self.statements.remove(&handle);
    }

    pub(super) fn text(&self, handle: i32) -> Option<&Text> {
        self.statements.get(&handle)
    }

    /// A request at `offset` says in which transaction it is; 0 is none. What it belongs to.
    pub(super) const fn within(&mut self, number: Option<u64>, offset: u64) -> Option<u64> {
        match (number, self.transaction) {
            (Some(0), _) => self.transaction = None,
            (Some(number), Some((known, _))) if number == known => {}
            (Some(number), _) => self.transaction = Some((number, offset)),
            (None, _) => {}
        }
        match self.transaction {
            Some((_, offset)) => Some(offset),
            None => None,
        }
    }

    /// The server says that something of the session changed, in answer to a request at `offset`:
    ///
    /// ```text
    /// | what (1) | new, behind its length | old, behind its length |
    /// ```
    pub(super) fn changed(&mut self, what: u8, content: &[u8], offset: u64, outcome: &mut Outcome) {
        let mut cursor = Cursor(content);
        match what {
            1 => {
                if let Ok(name) = cursor.name() {
                    self.namespace = Some(SmolStr::from(utf16(name)));
                }
            }
            // A transaction begins, or one of several servers is joined.
            8 | 11 => {
                if let (Ok(8), Ok(number)) = (cursor.byte(), cursor.long()) {
                    self.transaction = Some((number, offset));
                    outcome.transaction.get_or_insert(offset);
                }
            }
            // It was committed or rolled back, left, or is over.
            9 | 10 | 12 | 17 => {
                if let Some((_, offset)) = self.transaction.take() {
                    outcome.transaction.get_or_insert(offset);
                }
            }
            _ => {}
        }
    }
}
