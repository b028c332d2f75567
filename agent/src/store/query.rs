//! The search language: `field:value`, and words.
//!
//! ```text
//! service:cart status:500 duration:>100ms -name:health* http.route:/cart "out of stock"
//! ```
//! All terms must hold. A hyphen before a term turns it round. Values are compared with `>`, `>=`, `<`, `<=` where they are
//! quantities; `*` stands for anything where they are texts; quotes hold blanks together. `service`, `name`, `kind`, `status`
//! and `span.duration` are of one and the same span, which a trace must have; turned round they say that it has none such.
//! Where one of the first four is given again, it begins another span, and what follows is of that one: `service:cart
//! service:stock` are traces that touch both, `service:cart status:503 service:stock name:SELECT*` those in which cart answered 503
//! and stock selected something.
//! A field with a dot is an attribute of any span. Words are looked for in names, paths, queries, headers and messages.
use std::fmt::Write as _;

use super::facts;

/// A question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    pub(super) terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Term {
    pub(super) negated: bool,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    /// Of the trace.
    Quantity(Quantity, Comparison, i64),
    /// At least one span failed, or none.
    Failed(bool),
    /// A process ended in the midst of it.
    Died(bool),
    /// The first digits of its id.
    TraceId(String),
    /// The title of the trace.
    Title(Pattern),
    /// The test case that made its requests.
    Test(Pattern),
    /// Of a span.
    Service(Pattern),
    Name(Pattern),
    Kind(i64),
    Status(StatusIs),
    SpanDuration(Comparison, i64),
    /// An attribute of a span.
    Attribute(String, ValueIs),
    /// Somewhere in the trace.
    Word(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantity {
    Duration,
    Spans,
    Errors,
    Run,
    /// How long ago it began.
    Age,
    /// When it began.
    Start,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
}

impl Comparison {
    /// As SQL has it.
    pub(super) const fn sql(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::More => ">",
            Self::MoreOrEqual => ">=",
        }
    }

    pub(super) fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::More => left > right,
            Self::MoreOrEqual => left >= right,
        }
    }
}

/// A text, perhaps with `*` in it. Case does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(pub(super) String);

impl Pattern {
    fn new(text: &str) -> Self {
        Self(text.to_lowercase())
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else {
            return false;
        };
        let parts: Vec<&str> = parts.collect();
        let Some((last, middle)) = parts.split_last() else {
            return rest.is_empty();
        };
        for part in middle {
            match rest.find(part) {
                Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum StatusIs {
    Like(Pattern),
    Number(Comparison, i64),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum ValueIs {
    Like(Pattern),
    Number(Comparison, f64),
}

/// What is wrong with a question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{term:?} cannot be searched for: {why}")]
pub struct QueryError {
    /// The term.
    pub term: String,
    /// What would be good.
    pub why: String,
}

/// Longer questions are refused, and more terms.
const MOST_BYTES: usize = 4096;
const MOST_TERMS: usize = 32;

impl Query {
    /// Understands a question.
    ///
    /// # Errors
    /// The first term that says nothing.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        let wrong = |term: &str, why: &str| QueryError {
            term: term.chars().take(100).collect(),
            why: why.to_owned(),
        };
        if text.len() > MOST_BYTES {
            return Err(wrong(text, "it is too long"));
        }
        let mut query = Self::default();
        for (raw, quoted) in split(text) {
            if query.terms.len() >= MOST_TERMS {
                return Err(wrong(&raw, "there are too many terms"));
            }
            let (negated, rest) = match raw.strip_prefix('-') {
                Some(rest) if !quoted && !rest.is_empty() => (true, rest),
                _ => (false, raw.as_str()),
            };
            let what = match rest.split_once(':').filter(|(field, _)| !quoted && is_field(field)) {
                Some((field, value)) => term(field, value).map_err(|why| wrong(&raw, &why))?,
                None => What::Word(rest.to_owned()),
            };
            query.terms.push(Term { negated, what });
        }
        Ok(query)
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }
}

/// Terms, and whether each begins with a quote.
fn split(text: &str) -> Vec<(String, bool)> {
    let mut terms = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|char| char.is_whitespace()).is_some() {}
        let Some(first) = chars.peek() else {
            return terms;
        };
        let begins_quoted = *first == '"';
        let (mut term, mut quoted) = (String::new(), false);
        while let Some(char) = chars.next_if(|char| quoted || !char.is_whitespace()) {
            match char {
                '"' => quoted = !quoted,
                // Within quotes a backslash lets a quote stand for itself.
                '\\' if quoted && chars.peek().is_some_and(|next| matches!(next, '"' | '\\')) => {
                    term.extend(chars.next());
                }
                char => term.push(char),
            }
        }
        if !term.is_empty() {
            terms.push((term, begins_quoted));
        }
    }
}

/// Whether what stands before a colon can be a field: addresses and times have colons too.
fn is_field(text: &str) -> bool {
    text.starts_with(|char: char| char.is_ascii_alphabetic())
        && text
            .chars()
            .all(|char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-'))
}

fn term(field: &str, value: &str) -> Result<What, String> {
    if value.is_empty() {
        return Err("a value is missing".to_owned());
    }
    let (comparison, rest) = comparison(value);
    let quantity = |what, parse: fn(&str) -> Option<i64>, example: &str| {
        let value = parse(rest).ok_or_else(|| format!("{example} is wanted"))?;
        Ok(What::Quantity(what, comparison, value))
    };
    match field {
        "duration" => quantity(Quantity::Duration, time, "a time such as >100ms"),
        "age" => quantity(Quantity::Age, time, "a time such as <10m"),
        "start" => quantity(
            Quantity::Start,
            super::moment::parse,
            "a moment such as >=2026-01-31T12:00:00Z or seconds since 1970",
        ),
        "spans" => quantity(Quantity::Spans, number, "a number such as >10"),
        "errors" => quantity(Quantity::Errors, number, "a number such as >0"),
        "run" => quantity(Quantity::Run, number, "a run's number"),
        "span.duration" => time(rest)
            .map(|ns| What::SpanDuration(comparison, ns))
            .ok_or_else(|| "a time such as >100ms is wanted".to_owned()),
        "error" | "died" => {
            let what = if field == "error" { What::Failed } else { What::Died };
            match value {
                "true" | "yes" => Ok(what(true)),
                "false" | "no" => Ok(what(false)),
                _ => Err("true or false is wanted".to_owned()),
            }
        }
        "trace" | "trace_id" => {
            let digits = value.len() <= 32 && value.chars().all(|char| char.is_ascii_hexdigit());
            let id = digits.then(|| value.to_ascii_lowercase());
            id.map(What::TraceId).ok_or_else(|| "hex digits are wanted".to_owned())
        }
        "title" | "path" => Ok(What::Title(match field {
            "path" => Pattern::new(&format!("* {value}")),
            _ => Pattern::new(value),
        })),
        "test" => Ok(What::Test(Pattern::new(value))),
        "service" => Ok(What::Service(Pattern::new(value))),
        "name" | "operation" => Ok(What::Name(Pattern::new(value))),
        "kind" => facts::kind_number(value)
            .map(What::Kind)
            .ok_or_else(|| "server, client, producer, consumer or internal is wanted".to_owned()),
        "status" if comparison == Comparison::Equal => Ok(What::Status(StatusIs::Like(Pattern::new(rest)))),
        "status" => number(rest)
            .map(|code| What::Status(StatusIs::Number(comparison, code)))
            .ok_or_else(|| "a code such as 404 or >=500 is wanted".to_owned()),
        attribute if attribute.contains('.') => Ok(What::Attribute(
            attribute.to_owned(),
            match (comparison, rest.parse::<f64>()) {
                (Comparison::Equal, _) => ValueIs::Like(Pattern::new(rest)),
                (_, Ok(number)) => ValueIs::Number(comparison, number),
                (_, Err(_)) => return Err("a number is wanted behind < and >".to_owned()),
            },
        )),
        _ => {
            let mut why = "fields are ".to_owned();
            for known in FIELDS {
                let _infallible = write!(why, "{known}, ");
            }
            why.push_str("and attributes, which have a dot; a text with a colon stands in quotes");
            Err(why)
        }
    }
}

/// Every field that is no attribute.
const FIELDS: &[&str] = &[
    "service",
    "name",
    "kind",
    "status",
    "error",
    "died",
    "duration",
    "span.duration",
    "spans",
    "errors",
    "title",
    "path",
    "trace",
    "run",
    "test",
    "age",
    "start",
];

fn comparison(value: &str) -> (Comparison, &str) {
    let known = [
        (">=", Comparison::MoreOrEqual),
        ("<=", Comparison::LessOrEqual),
        (">", Comparison::More),
        ("<", Comparison::Less),
        ("=", Comparison::Equal),
    ];
    known
        .iter()
        .find_map(|(sign, comparison)| Some((*comparison, value.strip_prefix(sign)?)))
        .unwrap_or((Comparison::Equal, value))
}

fn number(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// A time in nanoseconds; milliseconds without a unit.
fn time(text: &str) -> Option<i64> {
    const UNITS: &[(&str, f64)] = &[
        ("ns", 1.0),
        ("us", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
        ("m", 60e9),
        ("h", 3600e9),
        ("d", 86_400e9),
        ("", 1e6),
    ];
    let end = text
        .find(|char: char| !char.is_ascii_digit() && char != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let ns = number.parse::<f64>().ok()? * factor;
    // A cast saturates, and no trace is longer than centuries.
    (ns.is_finite() && ns >= 0.0).then_some(ns as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yes(what: What) -> Term {
        Term { negated: false, what }
    }

    #[test]
    fn terms() {
        let cases = [
            ("", vec![]),
            ("service:Cart", vec![yes(What::Service(Pattern("cart".to_owned())))]),
            (
                "-status:>=500  duration:>1.5s",
                vec![
                    Term {
                        negated: true,
                        what: What::Status(StatusIs::Number(Comparison::MoreOrEqual, 500)),
                    },
                    yes(What::Quantity(Quantity::Duration, Comparison::More, 1_500_000_000)),
                ],
            ),
            (
                r#""out of stock" a:b"#,
                vec![yes(What::Word("out of stock".to_owned()))],
            ),
            (
                r#"name:"GET /a b" "service:x""#,
                vec![
                    yes(What::Name(Pattern("get /a b".to_owned()))),
                    yes(What::Word("service:x".to_owned())),
                ],
            ),
            (
                "http.route:/cart/* 127.0.0.1:80",
                vec![
                    yes(What::Attribute(
                        "http.route".to_owned(),
                        ValueIs::Like(Pattern("/cart/*".to_owned())),
                    )),
                    yes(What::Word("127.0.0.1:80".to_owned())),
                ],
            ),
            (
                "db.rows:<5 kind:client span.duration:7 -",
                vec![
                    yes(What::Attribute(
                        "db.rows".to_owned(),
                        ValueIs::Number(Comparison::Less, 5.0),
                    )),
                    yes(What::Kind(3)),
                    yes(What::SpanDuration(Comparison::Equal, 7_000_000)),
                    yes(What::Word("-".to_owned())),
                ],
            ),
        ];
        for (text, want) in cases {
            match Query::parse(text) {
                Ok(query) => assert_eq!(query.terms, want, "{text}"),
                Err(error) => assert!(text.contains("a:b") && error.why.contains("service"), "{text}: {error}"),
            }
        }
    }

    #[test]
    fn what_says_nothing_is_refused() {
        for (text, word) in [
            ("duration:long", "100ms"),
            ("duration:", "missing"),
            ("error:maybe", "true or false"),
            ("kind:server2", "producer"),
            ("status:>x", ">=500"),
            ("nothing:5", "service"),
            ("trace:xyz", "hex"),
            ("start:>noon", "1970"),
            ("a.b:>x", "number"),
        ] {
            let error = Query::parse(text).expect_err(text);
            assert!(error.to_string().contains(word), "{text}: {error}");
        }
        assert!(Query::parse(&"x".repeat(5000)).is_err() && Query::parse(&"x ".repeat(40)).is_err());
    }

    #[test]
    fn patterns() {
        for (pattern, text, want) in [
            ("cart", "Cart", true),
            ("cart", "carts", false),
            ("c*t", "cart", true),
            ("*", "", true),
            ("*a*b*", "xxaYYbzz", true),
            ("*a*b*", "b a", false),
            ("a*a", "a", false),
            ("/x/*", "/x/", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text), want, "{pattern} {text}");
        }
    }
}
