//! What is known of a session beyond one statement.
use std::collections::HashMap;

use foldhash::fast::RandomState;
use smol_str::SmolStr;

use super::value::{self, Kind};
use super::wire::{able, encoded, number, string};
use crate::protocol::call::{MAX_ARGUMENTS, Outcome, Statement, Text};

/// Prepared statements that are remembered.
const MAX_STATEMENTS: usize = 1024;
/// What MariaDB's clients call the statement that was prepared last.
const LAST: u32 = u32::MAX;
/// Errors with which the server has rolled the transaction back: a deadlock.
const ROLLED_BACK: u32 = 1213;

/// Flags of the server's status.
pub(super) mod status {
    /// A transaction is open.
    pub(crate) const IN_TRANSACTION: u16 = 1;
    /// Another result follows.
    pub(crate) const MORE: u16 = 1 << 3;
    /// A cursor was opened; its rows are fetched later.
    pub(crate) const CURSOR: u16 = 1 << 6;
    /// What is told of the session follows.
    pub(crate) const CHANGED: u16 = 1 << 14;
}

#[derive(Debug)]
pub(super) struct Session {
    /// The system, as `db.system.name` has it.
    pub(super) system: &'static str,
    pub(super) namespace: Option<SmolStr>,
    /// What both ends are able to do, where that was seen.
    pub(super) able: Option<u32>,
    statements: HashMap<u32, Prepared, RandomState>,
    last: Option<Text>,
    /// Offset of the request that began the transaction.
    transaction: Option<u64>,
}

/// A statement that was prepared.
#[derive(Debug)]
struct Prepared {
    text: Text,
    parameters: u16,
    /// Kinds of its parameters, as they were told last; at most [`MAX_ARGUMENTS`].
    kinds: Vec<Kind>,
    /// Parameters whose values were sent apart, a bit each.
    apart: u32,
}

/// What a statement does to the transaction, by its first words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Does {
    /// It begins one.
    Begins,
    /// It ends the one that is open.
    Ends,
    #[default]
    Other,
}

impl Session {
    pub(super) fn new() -> Self {
        Self {
            // What speaks this protocol and has not said that it is MariaDB.
            system: "mysql",
            namespace: None,
            able: None,
            statements: HashMap::default(),
            last: None,
            transaction: None,
        }
    }

    /// Messages were lost. A number may stand for something else by now if some of the client's were.
    pub(super) fn restart(&mut self, asked_unseen: bool) {
        if asked_unseen {
            self.forget_statements();
            self.namespace = None;
        }
        self.transaction = None;
    }

    pub(super) fn forget_statements(&mut self) {
        self.statements.clear();
        self.last = None;
    }

    /// A statement is to be prepared.
    pub(super) fn preparing(&mut self, text: &Text) {
        self.last = Some(text.clone());
    }

    /// A statement was prepared. Whether there was room.
    pub(super) fn prepared(&mut self, number: u32, text: Text, parameters: u16) -> bool {
        let room = self.statements.len() < MAX_STATEMENTS || self.statements.contains_key(&number);
        if room {
            let statement = Prepared {
                text,
                parameters,
                kinds: Vec::new(),
                apart: 0,
            };
            self.statements.insert(number, statement);
        }
        room
    }

    /// `COM_STMT_CLOSE`.
    pub(super) fn close(&mut self, number: u32) {
        self.statements.remove(&number);
    }

    /// `COM_STMT_SEND_LONG_DATA`: the value of a parameter is sent apart.
    pub(super) fn sent_apart(&mut self, number: u32, parameter: u16) {
        if let Some(statement) = self.statements.get_mut(&number) {
            statement.apart |= 1_u32.checked_shl(u32::from(parameter)).unwrap_or(0);
        }
    }

    /// What an execution executes, with its parameters if `values`:
    ///
    /// ```text
    /// | 0x17 | statement (4) | flags (1) | 1 (4) | count | NULLs | told anew (1) | kinds | values |
    /// ```
    ///
    /// The count is there if attributes may be, and the kinds if they are told anew.
    pub(super) fn execution(&mut self, payload: &[u8], values: bool) -> Statement {
        let unknown = Statement {
            text: None,
            prepared: true,
            parameters: Vec::new(),
            ..Statement::default()
        };
        let Some(number) = payload.get(1..).and_then(|rest| number(rest, 4)) else {
            return unknown;
        };
        if number == LAST {
            return Statement {
                text: self.last.clone(),
                ..unknown
            };
        }
        let able = self.able;
        let Some(statement) = self.statements.get_mut(&number) else {
            return unknown;
        };
        let apart = std::mem::take(&mut statement.apart);
        let parameters = match (able, payload.get(10..)) {
            (Some(able), Some(rest)) if values => statement.parameters(rest, able, apart),
            _ => None,
        };
        Statement {
            text: Some(statement.text.clone()),
            parameters: parameters.unwrap_or_default(),
            ..unknown
        }
    }

    /// The result of a statement that began at `offset` is complete, and the server said this of the session.
    pub(super) fn status(&mut self, status: u16, offset: u64, does: Does, outcome: &mut Outcome) {
        let open = status & status::IN_TRANSACTION != 0;
        let before = self.transaction;
        let of = match does {
            Does::Begins if open => Some(offset),
            // `COMMIT AND CHAIN` begins another, as its own last act.
            Does::Ends => before,
            _ if open => before.or(Some(offset)),
            _ => before,
        };
        self.transaction = match does {
            _ if !open => None,
            Does::Ends => Some(offset),
            _ => of,
        };
        outcome.transaction = outcome.transaction.or(of);
    }

    /// What is called does nothing to the transaction that is open.
    pub(super) fn within(&self, outcome: &mut Outcome) {
        outcome.transaction = outcome.transaction.or(self.transaction);
    }

    /// The server's status was not seen.
    pub(super) fn status_unseen(&mut self) {
        self.transaction = None;
    }

    /// A statement failed with this code.
    pub(super) fn failed(&mut self, code: u32, outcome: &mut Outcome) {
        self.within(outcome);
        if code == ROLLED_BACK {
            self.transaction = None;
        }
    }

    /// What an answer tells of the session:
    ///
    /// ```text
    /// | what (1) | length | length | name | ...     1: the database is this one now
    /// ```
    pub(super) fn changed(&mut self, mut told: &[u8]) {
        while let Some((what, rest)) = told.split_first() {
            let Some((content, rest)) = string(rest) else { return };
            if *what == 1
                && let Some((name, _)) = string(content)
            {
                self.namespace = Some(SmolStr::from(String::from_utf8_lossy(name)));
            }
            told = rest;
        }
    }
}

impl Prepared {
    fn parameters(&mut self, rest: &[u8], able: u32, apart: u32) -> Option<Vec<Option<SmolStr>>> {
        let attributes = able & able::QUERY_ATTRIBUTES != 0;
        let mine = usize::from(self.parameters);
        if mine == 0 {
            return None;
        }
        let (count, rest) = if attributes {
            let (count, rest) = encoded(rest)?;
            (usize::try_from(count).ok()?, rest)
        } else {
            (mine, rest)
        };
        let (nulls, rest) = rest.split_at_checked(count.div_ceil(8))?;
        let (anew, rest) = rest.split_first()?;
        let rest = if *anew == 1 {
            let (kinds, rest) = value::kinds(rest, count, attributes)?;
            self.kinds = kinds;
            rest
        } else {
            rest
        };
        let is_null = |place: usize| nulls.get(place / 8).is_some_and(|byte| byte >> (place % 8) & 1 == 1);
        let mut rest = rest;
        let mut values = Vec::new();
        for (place, kind) in self.kinds.iter().enumerate().take(mine.min(MAX_ARGUMENTS)) {
            if is_null(place) || apart >> place & 1 == 1 {
                values.push(None);
                continue;
            }
            let Some((value, behind)) = kind.value(rest) else { break };
            values.push(value);
            rest = behind;
        }
        Some(values)
    }
}

/// What a statement does to the transaction.
pub(super) fn does(text: &str) -> Does {
    let (first, rest) = word(text);
    let (second, _) = word(rest);
    let is = |word: &str, other: &str| word.eq_ignore_ascii_case(other);
    if is(first, "BEGIN") || (is(first, "START") && is(second, "TRANSACTION")) {
        return Does::Begins;
    }
    // `ROLLBACK [WORK] TO name` goes back within a transaction.
    let back = is(first, "ROLLBACK") && !is(second, "TO") && !(is(second, "WORK") && is(word(word(rest).1).0, "TO"));
    if is(first, "COMMIT") || back {
        Does::Ends
    } else {
        Does::Other
    }
}

/// Whether a statement changes rows, so that it matters if there were none.
pub(super) fn changes_rows(text: &str) -> bool {
    let (first, _) = word(text);
    ["INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "WITH", "CALL"]
        .iter()
        .any(|verb| first.eq_ignore_ascii_case(verb))
}

/// The database that a statement makes the session's. The inner is none if its name is not known.
pub(super) fn uses(text: &Text) -> Option<Option<SmolStr>> {
    let (first, rest) = word(&text.text);
    if first.eq_ignore_ascii_case("USE") {
        let rest = rest.trim_start();
        let name = match rest.strip_prefix('`') {
            Some(quoted) => quoted.split_once('`').map(|(name, _)| name),
            None => rest
                .split(|letter: char| letter == ';' || letter.is_whitespace())
                .next(),
        };
        let name = name.filter(|name| !name.is_empty() && !text.cut);
        return Some(name.map(SmolStr::new));
    }
    None
}

/// Whether one of several statements may be `USE`.
pub(super) fn may_use(text: &Text) -> bool {
    let mut words = text.text.split(|letter: char| !letter.is_ascii_alphanumeric());
    text.cut || words.any(|word| word.eq_ignore_ascii_case("USE"))
}

/// The first word behind blanks, parentheses and comments, and what follows it.
fn word(text: &str) -> (&str, &str) {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|letter: char| letter.is_whitespace() || letter == '(');
        let behind = if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/")
        } else if rest.starts_with("-- ") || rest.starts_with('#') {
            rest.split_once('\n')
        } else {
            break;
        };
        match behind {
            Some((_, behind)) => rest = behind,
            None => return ("", ""),
        }
    }
    let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    rest.split_at_checked(letters).unwrap_or((rest, ""))
}
