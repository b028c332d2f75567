//! Truth against trace.
use std::collections::HashMap;

use clew_tests::{Kind, Span, Spans};

use super::tree::{self, Hop};

/// What a run's spans are worth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Traces with every span there and every parent right.
    pub(super) exact: u64,
    /// Traces that are exact but for parents that need not be named.
    pub(super) accepted: u64,
    /// Spans that have a cause and name none.
    pub(super) unlinked: u64,
    pub(super) wrong_parent: u64,
    pub(super) missing_span: u64,
    pub(super) extra_span: u64,
    /// The first trace that is not exact, drawn.
    pub(super) example: Option<String>,
}

/// Compares with `chain`, the truth of one request: see [`tree::parse`].
pub(super) fn judge(spans: &Spans, chain: &[&str], requests: u64) -> Verdict {
    let hops = tree::parse(chain);
    let mut verdict = Verdict::default();
    let ids: HashMap<(&str, &str), &Span> = spans
        .0
        .iter()
        .map(|span| ((span.trace.as_str(), span.id.as_str()), span))
        .collect();
    let mut by_number: HashMap<u64, Vec<&Span>> = HashMap::new();
    // A connection whose handshake is all that was seen of it, such as one of a pool that nobody used, is told and is no request's.
    let transactions = transactions(spans);
    for span in spans.0.iter().filter(|span| span.text("clew.encrypted").is_empty()) {
        let number = number(span).or_else(|| transactions.get(&span.text(TRANSACTION)).copied());
        match number.filter(|number| (1..=requests).contains(number)) {
            // What is prepared stays so: a connection's first request for a statement has it, as part of its transaction.
            Some(number) if span.text("db.operation.name") == "PREPARE" => {
                let parent = span
                    .parent
                    .as_deref()
                    .and_then(|parent| ids.get(&(span.trace.as_str(), parent)));
                let of =
                    |span: &Span| self::number(span).or_else(|| transactions.get(&span.text(TRANSACTION)).copied());
                let others = parent
                    .and_then(|parent| of(parent))
                    .is_some_and(|other| other != number);
                verdict.wrong_parent += u64::from(others);
            }
            Some(number) => by_number.entry(number).or_default().push(span),
            // What a pool asks on its own account, when it opens a connection or takes one back.
            None if is_call(span) => {}
            None => verdict.extra_span += 1,
        }
    }
    for number in 1..=requests {
        let found = by_number.remove(&number).unwrap_or_default();
        let one = one(number, &found, &hops, &ids);
        // One with a wrong parent rather than any other.
        if one.accepted == 0 && (verdict.example.is_none() || one.wrong_parent > 0 && verdict.wrong_parent == 0) {
            let spans = Spans(found.iter().map(|&span| span.clone()).collect());
            verdict.example = Some(format!("not exact, for example {number}:\n{}", spans.trees()));
        }
        verdict.exact += one.exact;
        verdict.accepted += one.accepted;
        verdict.unlinked += one.unlinked;
        verdict.wrong_parent += one.wrong_parent;
        verdict.missing_span += one.missing_span;
        verdict.extra_span += one.extra_span;
    }
    verdict
}

fn one(number: u64, found: &[&Span], hops: &[Hop<'_>], ids: &HashMap<(&str, &str), &Span>) -> Verdict {
    let mut verdict = Verdict::default();
    let mut spans: Vec<Option<&Span>> = Vec::new();
    let (mut linked, mut accepted, mut matched): (bool, bool, u64) = (true, true, 0);
    for hop in hops {
        let mut here = found.iter().copied().filter(|span| name(span) == hop.name);
        let span = here.next();
        spans.push(span);
        let Some(span) = span else {
            verdict.missing_span += u64::from(!hop.optional);
            continue;
        };
        matched += 1;
        let above = hop.parent.and_then(|parent| *spans.get(parent)?);
        let parent = span.parent.as_deref();
        let right = match above {
            Some(above) => parent == Some(above.id.as_str()) && span.trace == above.trace,
            // A context that the driver sends along has the number for its ids.
            None => hop.parent.is_none() && parent.is_none_or(|parent| parent == format!("{number:016x}")),
        };
        accepted &= right || (hop.loose && parent.is_none());
        linked &= right;
        verdict.unlinked += u64::from(parent.is_none() && hop.parent.is_some());
        // A parent that is not there is a missing link; any other that is not the right one is wrong. One whose own span
        // was lost cannot be told from a wrong one and counts as such.
        if let Some(parent) = parent
            && !right
        {
            let known = ids.get(&(span.trace.as_str(), parent));
            let lost = above.is_none() && hop.parent.is_some() && known.is_none();
            verdict.wrong_parent += u64::from(!lost);
        }
    }
    verdict.extra_span = (found.len() as u64).saturating_sub(matched);
    let complete = verdict.missing_span == 0 && verdict.extra_span == 0;
    verdict.exact = u64::from(complete && linked);
    verdict.accepted = u64::from(complete && accepted);
    verdict
}

/// The attribute of the transaction that a call to a database is part of.
const TRANSACTION: &str = "clew.db.transaction.id";

/// The transactions of which a call has a number: what begins and ends them has none of its own.
fn transactions(spans: &Spans) -> HashMap<String, u64> {
    let of = |span: &Span| Some((span.text(TRANSACTION), number(span)?));
    let all = spans.0.iter().filter_map(of);
    all.filter(|(transaction, _)| !transaction.is_empty()).collect()
}

/// The number a request carries, or a call to a database: `id=N` in its text or one of its parameters.
fn number(span: &Span) -> Option<u64> {
    let texts = span.attributes.iter().filter(|(key, _)| key.starts_with("db.query."));
    let mut numbers = texts.filter_map(|(key, _)| {
        let text = span.text(key);
        let (_, rest) = text.split_once("id=")?;
        let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        rest.get(..end)?.parse().ok()
    });
    span.number().or_else(|| numbers.next()).or_else(|| task(span))
}

/// The number that names a task of Celery's: see `celery_app.py`.
fn task(span: &Span) -> Option<u64> {
    let name = span.text("messaging.message.conversation_id");
    let (_, number) = name.strip_prefix("00000000-0000-4000-")?.split_once('-')?;
    number.parse().ok()
}

fn is_call(span: &Span) -> bool {
    !span.text("db.system.name").is_empty()
}

fn name(span: &Span) -> String {
    let kind = match span.kind {
        Kind::Server => "server",
        Kind::Client => "client",
        Kind::Producer => "producer",
        Kind::Consumer => "consumer",
        Kind::Other(_) => "other",
    };
    let queue = span.text("messaging.destination.name");
    let what = if !queue.is_empty() {
        queue
    } else if is_call(span) {
        let (operation, collection) = (span.text("db.operation.name"), span.text("db.collection.name"));
        format!("{operation} {collection}").trim_end().to_owned()
    } else {
        span.path()
    };
    format!("{kind} {} {what}", span.service())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: &[&str] = &["client load /a", "server front /a", "client front /b"];

    fn check(lines: &[&str], requests: u64, want: [u64; 4]) {
        check_against(CHAIN, lines, requests, want);
    }

    /// `id parent kind service path number` a line.
    fn check_against(truth: &[&str], lines: &[&str], requests: u64, want: [u64; 4]) {
        let spans = lines.iter().map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let [id, parent, kind, service, path, number] = words.as_slice() else { panic!("{line}") };
            let parent = if *parent == "-" { "" } else { parent };
            let kind = if *kind == "server" { 2 } else { 3 };
            format!(
                r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"{service}"}}}}]}},
                "scopeSpans":[{{"spans":[{{"traceId":"{:0>32}","spanId":"{id:0>16}","parentSpanId":"{}","kind":{kind},"name":"GET",
                "startTimeUnixNano":"5","endTimeUnixNano":"7","attributes":[
                {{"key":"url.path","value":{{"stringValue":"{path}"}}}},
                {{"key":"url.query","value":{{"stringValue":"id={number}"}}}}]}}]}}]}}]}}"#,
                1,
                if parent.is_empty() { String::new() } else { format!("{parent:0>16}") },
            )
            .replace('\n', "")
        });
        let text: Vec<String> = spans.collect();
        let verdict = judge(&Spans::parse(&text.join("\n")), truth, requests);
        let got = [
            verdict.accepted,
            verdict.wrong_parent,
            verdict.missing_span,
            verdict.extra_span,
        ];
        assert_eq!(got, want, "{lines:?}");
        assert!(verdict.exact <= verdict.accepted, "{lines:?}");
    }

    #[test]
    fn parents_that_need_not_be_named() {
        let lines = |parent: &str| {
            let line = |id: u32, parent: &str, kind: u32, path: &str| {
                format!(
                    r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"load"}}}}]}},"scopeSpans":[{{"spans":[{{"traceId":"{:0>32}","spanId":"{id:0>16}","parentSpanId":"{parent}","kind":{kind},"name":"GET","startTimeUnixNano":"5","endTimeUnixNano":"7","attributes":[{{"key":"url.path","value":{{"stringValue":"{path}"}}}},{{"key":"url.query","value":{{"stringValue":"id=1"}}}}]}}]}}]}}]}}"#,
                    1
                )
            };
            format!("{}\n{}", line(1, "", 3, "/a"), line(2, parent, 2, "/b"))
        };
        let truth = ["client load /a", "~server load /b"];
        for (parent, exact, unlinked) in [("", 0, 1), ("0000000000000001", 1, 0)] {
            let got = judge(&Spans::parse(&lines(parent)), &truth, 1);
            assert_eq!(
                (got.exact, got.accepted, got.unlinked),
                (exact, 1, unlinked),
                "{parent}"
            );
        }
    }

    #[test]
    fn judges() {
        let load = "1 - client load /a 1";
        let server = "2 1 server front /a 1";
        check(&[load, server, "3 2 client front /b 1"], 1, [1, 0, 0, 0]);
        // A missing link is not exact, and not wrong.
        check(&[load, server, "3 - client front /b 1"], 1, [0, 0, 0, 0]);
        // The grandparent.
        check(&[load, server, "3 1 client front /b 1"], 1, [0, 1, 0, 0]);
        check(&[load, server], 1, [0, 0, 1, 0]);
        // The first came with a context, or is below another.
        check(
            &["9 1 client load /a 1", "2 9 server front /a 1", "3 2 client front /b 1"],
            1,
            [1, 0, 0, 0],
        );
        check(
            &["9 8 client load /a 1", "2 9 server front /a 1", "3 2 client front /b 1"],
            1,
            [0, 1, 0, 0],
        );
        check(
            &[load, server, "3 2 client front /b 1", "4 2 client front /b 1"],
            1,
            [0, 0, 0, 1],
        );
        check(
            &[load, server, "3 2 client front /b 1", "4 - client front /b x"],
            1,
            [1, 0, 0, 1],
        );
        // Another request's.
        let two = ["4 - client load /a 2", "5 1 server front /a 2", "6 5 client front /b 2"];
        check(
            &[load, server, "3 2 client front /b 1", two[0], two[1], two[2]],
            2,
            [1, 1, 0, 0],
        );
        check(&[], 2, [0, 0, 6, 0]);
    }

    #[test]
    fn judges_trees() {
        let truth = [
            "client load /a",
            " server front /a",
            "  client front /b",
            "  ?client front /c",
            "  ~client front /d",
        ];
        let request = ["1 - client load /a 1", "2 1 server front /a 1", "3 2 client front /b 1"];
        let with = |more: &[&'static str]| [&request[..], more].concat();
        check_against(&truth, &with(&["5 2 client front /d 1"]), 1, [1, 0, 0, 0]);
        check_against(&truth, &with(&["5 - client front /d 1"]), 1, [1, 0, 0, 0]);
        check_against(&truth, &with(&["5 3 client front /d 1"]), 1, [0, 1, 0, 0]);
        check_against(&truth, &request, 1, [0, 0, 1, 0]);
        let given_up = "4 2 client front /c 1";
        check_against(&truth, &with(&[given_up, "5 - client front /d 1"]), 1, [1, 0, 0, 0]);
        let unlinked = "4 - client front /c 1";
        check_against(&truth, &with(&[unlinked, "5 - client front /d 1"]), 1, [0, 0, 0, 0]);
    }
}
