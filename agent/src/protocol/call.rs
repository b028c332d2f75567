//! What is asked of a database, and what it answers.
use std::sync::Arc;

use smol_str::SmolStr;

use super::Id;
use super::message::Detail;

/// A call to a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The database system, as `db.system.name` has it.
    pub system: &'static str,
    /// What it asks.
    pub query: Query,
    /// The database the connection uses, where that is known.
    pub namespace: Option<SmolStr>,
}

/// What a call asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// A text in SQL.
    Sql(Statement),
    /// A command with a name: of the protocol itself, or all of what the system knows.
    Command(Command),
    /// What is asked for beside its language, by a name of the protocol's.
    Operation(Operation),
}

/// An operation that is no text: a login, a stored procedure, the end of a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operation {
    /// Its name, as `db.operation.name` has it.
    pub name: &'static str,
    /// The stored procedure that is called.
    pub procedure: Option<SmolStr>,
    /// Values of its parameters, as those of a [`Statement`].
    pub parameters: Vec<Option<SmolStr>>,
    /// Further names and numbers, as the attributes that tell them are called.
    pub details: Vec<(&'static str, Detail)>,
}

/// A statement in SQL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statement {
    /// Its text. None where it was prepared before the connection was followed.
    pub text: Option<Text>,
    /// It was prepared, and its parameters are sent apart.
    pub prepared: bool,
    /// Values of its parameters in their order, where they are text or can be told as one; none for NULL and others.
    pub parameters: Vec<Option<SmolStr>>,
    /// What stands for its text on whatever connection, where the text is not known: [`Step::Named`](super::Step) may tell it.
    pub id: Option<Id>,
    /// Further names and numbers, as the attributes that tell them are called.
    pub details: Vec<(&'static str, Detail)>,
}

/// A text as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The text, lossily decoded.
    pub text: Arc<str>,
    /// Its end was not seen or not kept.
    pub cut: bool,
}

impl Text {
    /// A text of these bytes.
    pub(crate) fn new(bytes: &[u8], cut: bool) -> Self {
        Self {
            text: Arc::from(String::from_utf8_lossy(bytes)),
            cut,
        }
    }

    /// Texts in a row, once where all are the same; none if there is none.
    pub(super) fn joined(texts: &[&Self]) -> Option<Self> {
        let (first, rest) = texts.split_first()?;
        let text = if rest.iter().all(|text| text.text == first.text) {
            Arc::clone(&first.text)
        } else {
            let texts: Vec<&str> = texts.iter().map(|text| text.text.as_ref()).collect();
            texts.join("; ").into()
        };
        Some(Self {
            text,
            cut: texts.iter().any(|text| text.cut),
        })
    }
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its name, in the case in which the system's manual has it.
    pub name: SmolStr,
    /// What it works on, where that has a name of low cardinality: a table, a collection.
    pub collection: Option<SmolStr>,
    /// Its arguments, lossily decoded, at most [`MAX_ARGUMENTS`], where they are kept: they may hold secrets.
    pub arguments: Vec<SmolStr>,
    /// Arguments, including those that are not kept.
    pub argument_count: usize,
}

impl Command {
    /// Its first arguments, at most [`MAX_ARGUMENTS`]; none for each that is not kept.
    pub fn first_arguments(&self) -> impl Iterator<Item = Option<&SmolStr>> {
        (0..self.argument_count.min(MAX_ARGUMENTS)).map(|place| self.arguments.get(place))
    }
}

/// Arguments of a command that are kept.
pub const MAX_ARGUMENTS: usize = 16;

/// What a database answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the call failed, and how the system says so.
    pub error: Option<Box<Failure>>,
    /// Rows it returned.
    pub returned_rows: Option<u64>,
    /// Rows it changed.
    pub affected_rows: Option<u64>,
    /// What was done, as the answer calls it.
    pub operation: Option<SmolStr>,
    /// The transaction the call was part of, by the offset of the request that began it.
    pub transaction: Option<u64>,
    /// The server did not do it, since something before it failed.
    pub skipped: bool,
}

/// How a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The system's code: SQLSTATE, a number, the first word of the message.
    pub code: SmolStr,
    /// SQLSTATE, where that is not the code.
    pub sqlstate: Option<SmolStr>,
    /// What it says; it may hold values.
    pub message: SmolStr,
    /// How severe the system says it is.
    pub severity: Option<u8>,
    /// The code says how things are, such as that there is no such key or that the call is to be made elsewhere: nothing is
    /// wrong.
    pub expected: bool,
}
