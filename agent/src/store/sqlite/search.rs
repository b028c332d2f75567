//! A question as SQL, and what of it only the spans themselves can answer.
use rusqlite::Connection;
use rusqlite::types::Value as Sql;

use super::{part, signed};
use crate::store::StoreError;
use crate::store::facts;
use crate::store::query::{Comparison, Pattern, Quantity, Query, StatusIs, Term, ValueIs, What};

/// Fewer traces that have a call are listed by it; if there are more, each trace is asked whether it has one.
const FEW: i64 = 30_000;

/// A condition on rows of `trace t`.
#[derive(Debug, Default)]
pub(super) struct Condition {
    sql: String,
    params: Vec<Sql>,
    /// What is left to ask the spans.
    attributes: Vec<(bool, String, ValueIs)>,
}

impl Condition {
    /// Understands a question about a store.
    pub(super) fn new(query: &Query, connection: &Connection, now_ns: u64) -> Result<Self, StoreError> {
        let mut condition = Self::default();
        let mut spans: Vec<Calls> = Vec::new();
        for Term { negated, what } in &query.terms {
            let negated = *negated;
            match what {
                What::Quantity(quantity, comparison, value) => {
                    condition.quantity(negated, *quantity, *comparison, *value, now_ns);
                }
                What::Failed(yes) => {
                    let sign = if *yes == negated { "=" } else { ">" };
                    condition.and(&format!("t.errors {sign} 0"), []);
                }
                What::Died(yes) => condition.and(&format!("t.died = {}", i32::from(*yes != negated)), []),
                What::TraceId(digits) => condition.trace_id(negated, digits),
                What::Title(pattern) => {
                    let sql = "t.title LIKE ? ESCAPE '\\'";
                    condition.and(&not(negated, sql), [like(pattern)]);
                }
                What::Test(pattern) => {
                    let sql = "t.test LIKE ? ESCAPE '\\'";
                    condition.and(&not(negated, sql), [like(pattern)]);
                }
                What::Word(word) => condition.word(negated, word, connection)?,
                What::Attribute(name, value) => {
                    if let (false, ValueIs::Like(pattern)) = (negated, value)
                        && !pattern.0.contains('*')
                    {
                        condition.word(false, &pattern.0, connection)?;
                    }
                    condition.attributes.push((negated, name.clone(), value.clone()));
                }
                of_span if negated => {
                    let mut alone = Calls::default();
                    alone.term(of_span);
                    condition.calls(&alone, true, connection)?;
                }
                of_span => match spans.last_mut().filter(|span| span.is_open_to(of_span)) {
                    Some(span) => span.term(of_span),
                    None => {
                        let mut next = Calls::default();
                        next.term(of_span);
                        spans.push(next);
                    }
                },
            }
        }
        for span in &spans {
            condition.calls(span, false, connection)?;
        }
        Ok(condition)
    }

    pub(super) fn and(&mut self, sql: &str, params: impl IntoIterator<Item = Sql>) {
        self.sql.push_str(" AND ");
        self.sql.push_str(sql);
        self.params.extend(params);
    }

    /// What stands behind `WHERE true`.
    pub(super) fn sql(&self) -> &str {
        &self.sql
    }

    pub(super) fn params(&self) -> &[Sql] {
        &self.params
    }

    /// Whether rows that are found have to be looked into.
    pub(super) fn looks_into_spans(&self) -> bool {
        !self.attributes.is_empty()
    }

    /// Looks into a trace's spans.
    pub(super) fn holds(&self, trace: i64, connection: &Connection) -> Result<bool, StoreError> {
        let mut open: Vec<(bool, bool)> = self.attributes.iter().map(|(negated, ..)| (*negated, false)).collect();
        let mut statement = connection.prepare_cached("SELECT data FROM part WHERE trace = ?1")?;
        let mut rows = statement.query([trace])?;
        while let Some(row) = rows.next()? {
            for (_, span) in part::unpack(row.get_ref(0)?.as_blob().unwrap_or_default())? {
                for ((_, name, value), (_, found)) in self.attributes.iter().zip(&mut open) {
                    *found |= facts::find(&span.attributes, name).is_some_and(|of| fits(&facts::plain(of), value));
                }
            }
        }
        Ok(open.iter().all(|(negated, found)| negated != found))
    }

    fn quantity(&mut self, negated: bool, quantity: Quantity, comparison: Comparison, value: i64, now_ns: u64) {
        let left = match quantity {
            Quantity::Duration => "(t.end_ns - t.start_ns)",
            Quantity::Spans => "t.spans",
            Quantity::Errors => "t.errors",
            Quantity::Run => "t.run",
            Quantity::Age => "(? - t.start_ns)",
            Quantity::Start => "t.start_ns",
        };
        let now = (quantity == Quantity::Age).then(|| Sql::Integer(signed(now_ns)));
        // No time is met to the nanosecond.
        let sql = match (quantity, comparison) {
            (Quantity::Duration | Quantity::Age, Comparison::Equal) => format!("{left} / 1000000 = ? / 1000000"),
            _ => format!("{left} {} ?", comparison.sql()),
        };
        self.and(&not(negated, &sql), now.into_iter().chain([Sql::Integer(value)]));
    }

    fn trace_id(&mut self, negated: bool, digits: &str) {
        let (from, to) = id_range(digits);
        self.and(
            &not(negated, "t.trace_id BETWEEN ? AND ?"),
            [Sql::Blob(from), Sql::Blob(to)],
        );
    }

    fn word(&mut self, negated: bool, word: &str, connection: &Connection) -> Result<(), StoreError> {
        let Some(words) = matched(word) else {
            return Ok(());
        };
        let count = format!("SELECT count(*) FROM (SELECT 1 FROM text WHERE text MATCH ?1 LIMIT {FEW})");
        let count: i64 = connection
            .prepare_cached(&count)?
            .query_row([&words], |row| row.get(0))?;
        let parts = "SELECT rowid FROM text WHERE text MATCH ?";
        let sql = if count < FEW {
            format!("t.id IN (SELECT trace FROM part WHERE id IN ({parts}))")
        } else {
            // The sign keeps SQLite from going through the whole list for each trace.
            format!("EXISTS (SELECT 1 FROM part INDEXED BY part_trace WHERE trace = t.id AND +id IN ({parts}))")
        };
        self.and(&not(negated, &sql), [Sql::Text(words)]);
        Ok(())
    }

    fn calls(&mut self, calls: &Calls, negated: bool, connection: &Connection) -> Result<(), StoreError> {
        let sql = format!("SELECT id FROM operation WHERE true{}", calls.sql);
        let mut statement = connection.prepare(&sql)?;
        let ids = statement.query_map(rusqlite::params_from_iter(&calls.params), |row| row.get::<_, i64>(0))?;
        let ids = ids.collect::<rusqlite::Result<Vec<i64>>>()?;
        let list = ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        let most = calls.most.iter().map(|(comparison, ns)| {
            // What the index knows of a time is its number of digits.
            let digits = match comparison {
                Comparison::More | Comparison::MoreOrEqual => ">=",
                Comparison::Less | Comparison::LessOrEqual => "<=",
                Comparison::Equal => "=",
            };
            format!(
                " AND length(most_ns) {digits} length({ns}) AND most_ns {} {ns}",
                comparison.sql()
            )
        });
        let most: String = most.collect();
        let count = format!("SELECT count(*) FROM (SELECT 1 FROM call WHERE operation IN ({list}){most} LIMIT {FEW})");
        let count: i64 = connection.query_row(&count, [], |row| row.get(0))?;
        let sql = if count < FEW {
            format!("t.id IN (SELECT trace FROM call WHERE operation IN ({list}){most})")
        } else {
            format!("EXISTS (SELECT 1 FROM call WHERE trace = t.id AND operation IN ({list}){most})")
        };
        self.and(&not(negated, &sql), []);
        Ok(())
    }
}

/// What one span has to be.
#[derive(Default)]
struct Calls {
    sql: String,
    params: Vec<Sql>,
    most: Vec<(Comparison, i64)>,
    /// Fields that say what it is.
    named: Vec<std::mem::Discriminant<What>>,
}

impl Calls {
    /// Whether a term can be of the same span: one span has one service, one name, one kind and one status.
    fn is_open_to(&self, what: &What) -> bool {
        !says_which(what) || !self.named.contains(&std::mem::discriminant(what))
    }

    fn term(&mut self, what: &What) {
        if says_which(what) {
            self.named.push(std::mem::discriminant(what));
        }
        let (sql, param) = match what {
            What::Service(pattern) => ("service LIKE ? ESCAPE '\\'".to_owned(), like(pattern)),
            What::Name(pattern) => ("name LIKE ? ESCAPE '\\'".to_owned(), like(pattern)),
            What::Status(StatusIs::Like(pattern)) => ("status LIKE ? ESCAPE '\\'".to_owned(), like(pattern)),
            What::Status(StatusIs::Number(comparison, code)) => (
                format!(
                    "status GLOB '[0-9]*' AND CAST(status AS INTEGER) {} ?",
                    comparison.sql()
                ),
                Sql::Integer(*code),
            ),
            What::Kind(kind) => ("kind = ?".to_owned(), Sql::Integer(*kind)),
            What::SpanDuration(comparison, ns) => {
                self.most.push((*comparison, *ns));
                return;
            }
            _ => return,
        };
        self.sql.push_str(" AND ");
        self.sql.push_str(&sql);
        self.params.push(param);
    }
}

/// Whether a term says what a span is; others are bounds, of which one span can have many.
fn says_which(what: &What) -> bool {
    matches!(
        what,
        What::Service(_) | What::Name(_) | What::Kind(_) | What::Status(StatusIs::Like(_))
    )
}

fn not(negated: bool, sql: &str) -> String {
    if negated {
        format!("NOT ({sql})")
    } else {
        sql.to_owned()
    }
}

/// A pattern as `LIKE` has it.
fn like(pattern: &Pattern) -> Sql {
    let mut text = String::with_capacity(pattern.0.len());
    for char in pattern.0.chars() {
        match char {
            '*' => text.push('%'),
            '%' | '_' | '\\' => text.extend(['\\', char]),
            char => text.push(char),
        }
    }
    Sql::Text(text)
}

/// A text as full text search has it: each word that the index knows, a last one that ends in `*` by its beginning. None if
/// it has no word.
fn matched(text: &str) -> Option<String> {
    let mut query = String::new();
    let mut words = text
        .split(|char: char| !char.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .peekable();
    while let Some(word) = words.next() {
        if !query.is_empty() {
            query.push(' ');
        }
        query.push('"');
        query.push_str(word);
        query.push('"');
        if words.peek().is_none() && text.ends_with('*') {
            query.push('*');
        }
    }
    (!query.is_empty()).then_some(query)
}

fn fits(text: &str, value: &ValueIs) -> bool {
    match value {
        ValueIs::Like(pattern) => pattern.matches(text),
        ValueIs::Number(comparison, number) => text.parse::<f64>().is_ok_and(|found| comparison.holds(found, *number)),
    }
}

/// The least and the greatest id that begin with these hex digits.
pub(super) fn id_range(digits: &str) -> (Vec<u8>, Vec<u8>) {
    let filled = |with: char| {
        let mut digits: Vec<u32> = digits.chars().filter_map(|char| char.to_digit(16)).take(32).collect();
        digits.resize(32, with.to_digit(16).unwrap_or(0));
        digits
            .chunks(2)
            .map(|pair| pair.iter().fold(0_u8, |byte, digit| (byte << 4) | *digit as u8))
            .collect::<Vec<u8>>()
    };
    (filled('0'), filled('f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_as_the_index_has_them() {
        for (text, want) in [
            ("stock", Some("\"stock\"")),
            ("/api/us*", Some("\"api\" \"us\"*")),
            ("a\" OR b", Some("\"a\" \"OR\" \"b\"")),
            ("--", None),
        ] {
            assert_eq!(matched(text).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn ids_by_their_first_digits() {
        let (from, to) = id_range("0a1");
        assert_eq!((from.len(), to.len()), (16, 16));
        assert_eq!((&from[..3], &to[..3]), (&[0x0a, 0x10, 0][..], &[0x0a, 0x1f, 0xff][..]));
    }
}
