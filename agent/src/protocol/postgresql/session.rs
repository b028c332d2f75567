//! What is known of a session beyond one statement.
use std::collections::HashMap;

use foldhash::fast::RandomState;
use smol_str::SmolStr;

use super::Answering;
use super::types::{self, Types};
use crate::protocol::call::{Statement, Text};

/// Prepared statements, and portals, that are remembered.
const MAX_NAMES: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) database: Option<SmolStr>,
    statements: Names<Prepared>,
    portals: Names<Statement>,
    /// Offset of the request that began the transaction.
    transaction: Option<u64>,
}

/// A statement that was prepared.
#[derive(Debug)]
struct Prepared {
    text: Text,
    /// The types of its parameters, where values are told.
    types: Option<Types>,
}

/// What names stand for. The empty name is one that is replaced without being closed.
#[derive(Debug)]
struct Names<T> {
    named: HashMap<SmolStr, T, RandomState>,
    unnamed: Option<T>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self {
            named: HashMap::default(),
            unnamed: None,
        }
    }
}

impl<T> Names<T> {
    /// Whether there was room.
    fn set(&mut self, name: &[u8], what: T) -> bool {
        if name.is_empty() {
            self.unnamed = Some(what);
            return true;
        }
        let name = SmolStr::from(String::from_utf8_lossy(name));
        if self.named.len() >= MAX_NAMES && !self.named.contains_key(&name) {
            return false;
        }
        self.named.insert(name, what);
        true
    }

    fn get(&self, name: &[u8]) -> Option<&T> {
        if name.is_empty() {
            return self.unnamed.as_ref();
        }
        self.named.get(std::str::from_utf8(name).ok()?)
    }

    fn remove(&mut self, name: &[u8]) {
        if name.is_empty() {
            self.unnamed = None;
        } else if let Ok(name) = std::str::from_utf8(name) {
            self.named.remove(name);
        }
    }

    fn clear(&mut self) {
        self.named.clear();
        self.unnamed = None;
    }
}

impl Session {
    /// Messages were lost. A name may stand for something else by now if some of the client's were.
    pub(super) fn restart(&mut self, asked_unseen: bool) {
        if asked_unseen {
            self.statements.clear();
            self.portals.clear();
        }
        self.transaction = None;
    }

    /// A statement was prepared. The counter to raise if it is not remembered.
    pub(super) fn parse(&mut self, name: &[u8], text: Text, types: Option<Types>) -> Option<&'static str> {
        (!self.statements.set(name, Prepared { text, types })).then_some("protocol.postgresql.statements_full")
    }

    /// The types of a statement's parameters.
    pub(super) fn types(&self, statement: &[u8]) -> Option<Types> {
        self.statements.get(statement)?.types.clone()
    }

    /// A statement was bound to a portal; `values` are its parameters, if they are to be told.
    pub(super) fn bind(&mut self, portal: &[u8], statement: &[u8], values: &[u8]) -> Option<&'static str> {
        let prepared = self.statements.get(statement);
        let unknown = Types::default();
        let types = prepared
            .and_then(|prepared| prepared.types.as_ref())
            .unwrap_or(&unknown);
        let statement = Statement {
            text: prepared.map(|prepared| prepared.text.clone()),
            prepared: true,
            parameters: types::values(values, types),
            ..Statement::default()
        };
        (!self.portals.set(portal, statement)).then_some("protocol.postgresql.statements_full")
    }

    /// What a portal executes.
    pub(super) fn portal(&self, portal: &[u8]) -> Statement {
        self.portals.get(portal).cloned().unwrap_or(Statement {
            text: None,
            prepared: true,
            parameters: Vec::new(),
            ..Statement::default()
        })
    }

    pub(super) fn close_statement(&mut self, name: &[u8]) {
        self.statements.remove(name);
    }

    pub(super) fn close_portal(&mut self, name: &[u8]) {
        self.portals.remove(name);
    }

    /// A `CommandComplete` with this tag: what it says of the call, and of the transaction it is in.
    pub(super) fn tag(&mut self, tag: &[u8], call: &mut Answering) {
        let tag = String::from_utf8_lossy(tag);
        let mut words = tag.split(' ');
        let verb = words.next().unwrap_or_default();
        let count = words.next_back().and_then(|word| word.parse::<u64>().ok());
        match verb {
            "BEGIN" | "START" if self.transaction.is_none() => self.transaction = Some(call.offset),
            _ => {}
        }
        call.outcome.transaction = call.outcome.transaction.or(self.transaction);
        let ends =
            matches!(verb, "COMMIT") || (verb == "ROLLBACK" && !call.to_savepoint) || tag == "PREPARE TRANSACTION";
        if ends {
            self.transaction = None;
        }
        let outcome = &mut call.outcome;
        match verb {
            "COPY" if call.copies_out => outcome.returned_rows = count,
            "SELECT" | "FETCH" if outcome.returned_rows.is_none() => outcome.returned_rows = count,
            "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "COPY" => {
                outcome.affected_rows = match (outcome.affected_rows, count) {
                    (Some(before), Some(count)) => Some(before.saturating_add(count)),
                    (before, count) => count.or(before),
                };
            }
            _ => {}
        }
        if outcome.operation.is_none() {
            let named = tag.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == ' ');
            outcome.operation = Some(SmolStr::new(named));
        }
    }

    /// A call is in the transaction that is open.
    pub(super) fn within(&self, call: &mut Answering) {
        call.outcome.transaction = self.transaction;
    }

    /// What `ReadyForQuery` says; `last` is the offset of the request it answers.
    pub(super) fn status(&mut self, status: Option<u8>, last: Option<u64>) {
        match status {
            // What began it was not seen, or it was chained to the one before.
            Some(b'T' | b'E') => self.transaction = self.transaction.or(last),
            _ => self.transaction = None,
        }
    }
}
