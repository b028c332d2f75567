//! What a text in SQL asks for, and the text without its literals.
//!
//! This cuts a text into words, names, literals and marks; it parses no grammar. What it takes for a literal is hidden, and
//! what it cannot make out is rather hidden than shown.
mod tokens;

use smol_str::{SmolStr, SmolStrBuilder};

use super::database::MAX_SUMMARY;
use tokens::{Token, Tokens};

/// Words that are looked at for the summary; a text may be long.
const MAX_TOKENS: usize = 20_000;
/// Tables that are told apart.
const MAX_TABLES: usize = 64;

/// How a system writes strings and names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavor {
    /// `'string'`, `E'string\n'`, `$tag$string$tag$`, `"name"`.
    Postgresql,
    /// `'string\n'`, `"string"`, `` `name` ``, `# comment`.
    Mysql,
    /// `'string'`, `N'string'`, `"name"`, `[name]`, `@variable`, `#table`.
    SqlServer,
}

impl Flavor {
    /// The flavor of a system, by `db.system.name`.
    pub(super) fn of(system: &str) -> Self {
        match system {
            "mysql" | "mariadb" => Self::Mysql,
            // Texts have escapes with backslashes, and names may stand in backticks.
            "clickhouse" => Self::Mysql,
            "microsoft.sql_server" => Self::SqlServer,
            _ => Self::Postgresql,
        }
    }
}

/// What is told of a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Digest {
    /// The text with each literal replaced by `?`, lists of literals behind `IN` by one, and without comments.
    pub(super) text: String,
    /// Operations and what they work on, as `db.query.summary` has it.
    pub(super) summary: SmolStr,
    /// The first operation.
    pub(super) operation: Option<SmolStr>,
    /// What all of it works on, if that is one table.
    pub(super) collection: Option<SmolStr>,
}

/// Reads a text.
pub(super) fn digest(text: &str, flavor: Flavor) -> Digest {
    let mut writer = Writer::default();
    let mut reader = Reader::default();
    for token in Tokens::new(text, flavor) {
        writer.token(token);
        if reader.seen < MAX_TOKENS {
            reader.token(token);
        }
    }
    reader.finish(writer.text)
}

/// Writes the text without literals.
#[derive(Default)]
struct Writer {
    text: String,
    /// Inside the parentheses behind `IN`: what has come of the list.
    list: List,
    /// A comment came last.
    comment: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum List {
    #[default]
    Outside,
    /// `IN` has come.
    Announced,
    Begun,
    /// A literal, which stands for those behind it.
    Literal,
    /// A comma behind a literal.
    Comma,
}

impl Writer {
    fn token(&mut self, token: Token<'_>) {
        let (list, shown) = match (self.list, token) {
            (list, Token::Space(_) | Token::Comment) if list == List::Comma => (list, ""),
            (list, Token::Comment) => (list, " "),
            (list, Token::Space(space)) => (list, space),
            (List::Announced, Token::Mark('(')) => (List::Begun, "("),
            (List::Begun, Token::Literal) => (List::Literal, "?"),
            (List::Literal, Token::Mark(',')) => (List::Comma, ""),
            (List::Comma, Token::Literal) => (List::Literal, ""),
            (list, other) => {
                if list == List::Comma {
                    self.text.push_str(", ");
                }
                match other {
                    Token::Word(word) | Token::Raw(word) => {
                        self.text.push_str(word);
                        let announced = word.eq_ignore_ascii_case("IN");
                        (if announced { List::Announced } else { List::Outside }, "")
                    }
                    Token::Name(_, raw) => (List::Outside, raw),
                    Token::Literal => (List::Outside, "?"),
                    Token::Mark(mark) => {
                        self.text.push(mark);
                        (List::Outside, "")
                    }
                    Token::Space(_) | Token::Comment => (list, ""),
                }
            }
        };
        self.list = list;
        // A comment leaves one blank at most.
        let behind_comment = std::mem::replace(&mut self.comment, token == Token::Comment);
        let blank = token == Token::Comment || (behind_comment && shown.starts_with(' '));
        if !(blank && (self.text.is_empty() || self.text.ends_with(char::is_whitespace))) {
            self.text.push_str(shown);
        }
    }
}

/// What is expected where a name may come.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Awaiting {
    #[default]
    Nothing,
    /// The name of a table; of a list of them, if `list`.
    Table { list: bool },
    /// An alias, or what ends the name before.
    Behind { list: bool },
    /// The name of a common table expression.
    Common,
}

/// An opening parenthesis.
#[derive(Clone, Copy)]
struct Paren {
    /// It holds a statement of its own.
    statement: bool,
    /// What is expected behind it.
    behind: Awaiting,
}

/// Finds operations and tables.
#[derive(Default)]
struct Reader {
    seen: usize,
    parts: SmolStrBuilder,
    length: usize,
    operation: Option<SmolStr>,
    tables: Vec<SmolStr>,
    common: Vec<String>,
    depth: Vec<Paren>,
    awaiting: Awaiting,
    /// The name being read, and whether a dot has come behind it.
    name: Option<(String, bool)>,
    /// The word or mark before, in upper case.
    last: String,
    /// Something has come of the statement.
    begun: bool,
    /// Behind `WITH`, until the statement it leads to.
    with: bool,
    /// The verb of which the kind of object follows (`CREATE TABLE`).
    object: Option<String>,
}

/// Words that may stand between `CREATE`, `ALTER` or `DROP` and the kind of object.
const FILLERS: &[&str] = &[
    "OR",
    "REPLACE",
    "TEMP",
    "TEMPORARY",
    "UNIQUE",
    "UNLOGGED",
    "GLOBAL",
    "LOCAL",
    "MATERIALIZED",
    "CONCURRENTLY",
];
/// Words that may stand before the name of a table.
const BEFORE_NAMES: &[&str] = &[
    "ONLY",
    "IF",
    "NOT",
    "EXISTS",
    "TABLE",
    "LATERAL",
    "LOW_PRIORITY",
    "HIGH_PRIORITY",
    "IGNORE",
    "DELAYED",
    "QUICK",
];
/// Words that are no names of tables, and end a list of them.
const ENDS: &[&str] = &[
    "WHERE",
    "SET",
    "GROUP",
    "ORDER",
    "LIMIT",
    "HAVING",
    "ON",
    "USING",
    "VALUES",
    "RETURNING",
    "UNION",
    "INTERSECT",
    "EXCEPT",
    "FOR",
    "WINDOW",
    "OFFSET",
    "FETCH",
    "INNER",
    "LEFT",
    "RIGHT",
    "FULL",
    "CROSS",
    "NATURAL",
    "DEFAULT",
    "TO",
    "PARTITION",
    "FORCE",
    "USE",
    "TABLESAMPLE",
];

impl Reader {
    fn token(&mut self, token: Token<'_>) {
        if matches!(token, Token::Space(_) | Token::Comment) {
            return;
        }
        self.seen += 1;
        match token {
            Token::Word(word) => self.word(word),
            Token::Name(name, _) => {
                self.part(name);
                self.last.clear();
            }
            Token::Mark(mark) => {
                self.mark(mark);
                self.last.clear();
                self.last.push(mark);
            }
            Token::Space(_) | Token::Comment | Token::Literal | Token::Raw(_) => {
                self.end_name(true);
                self.awaiting = Awaiting::Nothing;
                self.last.clear();
            }
        }
        self.begun = !matches!(token, Token::Mark(';'));
    }

    fn mark(&mut self, mark: char) {
        match (mark, self.awaiting) {
            ('.', _) => {
                if let Some((_, dotted)) = &mut self.name {
                    *dotted = true;
                }
            }
            ('(', awaiting) => {
                // A name before a parenthesis is a function's, but for `INSERT INTO t (`.
                let function = matches!(awaiting, Awaiting::Table { list: true }) && self.name.is_some();
                self.end_name(!function);
                let behind = match awaiting {
                    Awaiting::Table { list: true } | Awaiting::Behind { list: true } => Awaiting::Behind { list: true },
                    _ => Awaiting::Nothing,
                };
                self.depth.push(Paren {
                    statement: false,
                    behind,
                });
                // `FROM (a JOIN b ON ...)`
                let joins = matches!(awaiting, Awaiting::Table { list: true }) && !function;
                self.awaiting = if joins { awaiting } else { Awaiting::Nothing };
            }
            (')', _) => {
                self.end_name(true);
                self.awaiting = self.depth.pop().map_or(Awaiting::Nothing, |paren| paren.behind);
            }
            (',', _) => {
                self.end_name(true);
                self.awaiting = match self.awaiting {
                    // `WITH a AS (...), b AS (...)`
                    _ if self.with && self.depth.is_empty() => Awaiting::Common,
                    Awaiting::Behind { list: true } => Awaiting::Table { list: true },
                    _ => Awaiting::Nothing,
                };
            }
            (';', _) => {
                self.end_name(true);
                self.depth.clear();
                self.awaiting = Awaiting::Nothing;
                self.with = false;
                self.object = None;
            }
            ('*', Awaiting::Behind { .. }) => {}
            _ => {
                self.end_name(true);
                self.awaiting = Awaiting::Nothing;
            }
        }
    }

    /// A part of a name, where one is awaited.
    fn part(&mut self, part: &str) {
        match &mut self.name {
            Some((name, dotted)) if *dotted => {
                name.push('.');
                name.push_str(part);
                *dotted = false;
            }
            // An alias.
            Some(_) => self.end_name(true),
            None if matches!(self.awaiting, Awaiting::Table { .. } | Awaiting::Common) => {
                self.name = Some((part.to_owned(), false));
            }
            None => {}
        }
    }

    /// The name that was read is complete, and that of a table if it `counts`.
    fn end_name(&mut self, counts: bool) {
        let Some((name, _)) = self.name.take() else { return };
        match self.awaiting {
            Awaiting::Common => {
                self.common.push(name.to_ascii_uppercase());
                self.awaiting = Awaiting::Nothing;
            }
            Awaiting::Table { list } => {
                self.awaiting = Awaiting::Behind { list };
                if counts && !self.common.contains(&name.to_ascii_uppercase()) {
                    self.add(&name);
                    let name = SmolStr::from(name);
                    if !self.tables.contains(&name) && self.tables.len() < MAX_TABLES {
                        self.tables.push(name);
                    }
                }
            }
            Awaiting::Nothing | Awaiting::Behind { .. } => {}
        }
    }

    /// A part of the summary.
    fn add(&mut self, part: &str) {
        let more = part.len() + usize::from(self.length > 0);
        if self.length + more > MAX_SUMMARY {
            // Nothing that comes later may take the place of what did not fit.
            self.length = MAX_SUMMARY;
            return;
        }
        if self.length > 0 {
            self.parts.push(' ');
        }
        self.parts.push_str(part);
        self.length += more;
    }

    fn verb(&mut self, word: &str) {
        self.add(word);
        if self.operation.is_none() {
            self.operation = Some(SmolStr::new(word));
        }
    }

    fn word(&mut self, word: &str) {
        if self.name.as_ref().is_some_and(|(_, dotted)| *dotted) {
            self.part(word);
            self.last.clear();
            return;
        }
        let upper = word.to_ascii_uppercase();
        let last = std::mem::replace(&mut self.last, upper.clone());
        let name = upper.as_str();
        if let Some(verb) = self.object.take() {
            if FILLERS.contains(&name) {
                self.object = Some(verb);
                return;
            }
            self.verb(&format!("{verb} {word}"));
            if matches!(name, "TABLE" | "VIEW") {
                self.awaiting = Awaiting::Table { list: false };
            }
            return;
        }
        let begins = !self.begun;
        let leads = begins || last == "(" || (self.with && self.depth.is_empty() && last == ")");
        if last == "("
            && matches!(name, "SELECT" | "WITH" | "INSERT" | "UPDATE" | "DELETE" | "VALUES")
            && let Some(paren) = self.depth.last_mut()
        {
            paren.statement = true;
        }
        match name {
            "WITH" if leads => {
                self.with = true;
                self.awaiting = Awaiting::Common;
            }
            "RECURSIVE" if last == "WITH" => {}
            "SELECT" => {
                self.end_name(true);
                self.awaiting = Awaiting::Nothing;
                self.verb(word);
                self.with &= !self.depth.is_empty();
            }
            "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "REPLACE" | "COPY" | "TRUNCATE" if leads => {
                self.verb(word);
                self.with &= !self.depth.is_empty();
                // `INSERT` and `MERGE` go on with `INTO`, `DELETE` with `FROM`.
                self.awaiting = match name {
                    "UPDATE" | "COPY" | "TRUNCATE" => Awaiting::Table { list: false },
                    _ => Awaiting::Nothing,
                };
            }
            "CREATE" | "ALTER" | "DROP" if begins => self.object = Some(word.to_owned()),
            _ if begins => self.verb(word),
            "FROM" => {
                self.end_name(true);
                let in_function = self.depth.last().is_some_and(|paren| !paren.statement);
                if !in_function && last != "DISTINCT" && !(self.is("COPY") && self.depth.is_empty()) {
                    self.awaiting = Awaiting::Table { list: true };
                }
            }
            "JOIN" | "STRAIGHT_JOIN" => {
                self.end_name(true);
                self.awaiting = Awaiting::Table { list: true };
            }
            "USING" if self.is("MERGE") || self.is("DELETE") => {
                self.end_name(true);
                self.awaiting = Awaiting::Table { list: true };
            }
            "INTO" => {
                self.end_name(true);
                self.awaiting = Awaiting::Table { list: false };
            }
            "AS" => self.end_name(true),
            _ if matches!(self.awaiting, Awaiting::Table { .. })
                && self.name.is_none()
                && BEFORE_NAMES.contains(&name) => {}
            _ if ENDS.contains(&name) => {
                self.end_name(true);
                self.awaiting = Awaiting::Nothing;
            }
            _ => self.part(word),
        }
    }

    /// Whether the first operation is this one.
    fn is(&self, verb: &str) -> bool {
        self.operation
            .as_ref()
            .is_some_and(|operation| operation.eq_ignore_ascii_case(verb))
    }

    fn finish(mut self, mut text: String) -> Digest {
        self.end_name(true);
        text.truncate(text.trim_end().len());
        let blank = text.len() - text.trim_start().len();
        text.drain(..blank);
        let collection = match self.tables.as_slice() {
            [one] => Some(one.clone()),
            _ => None,
        };
        Digest {
            text,
            summary: self.parts.finish(),
            operation: self.operation,
            collection,
        }
    }
}

#[cfg(test)]
mod tests;
