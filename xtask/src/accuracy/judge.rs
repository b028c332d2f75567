//! Truth against trace.
use std::collections::HashMap;

use clew_tests::{Kind, Span, Spans};

/// What a run's spans are worth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) exact: u64,
    pub(super) wrong_parent: u64,
    pub(super) missing_span: u64,
    pub(super) extra_span: u64,
    /// The first trace that is not exact, drawn.
    pub(super) example: Option<String>,
}

/// Compares with `chain`: for each request the spans from the root down, as `kind service path`, each the child of the
/// one before.
pub(super) fn judge(spans: &Spans, chain: &[&str], requests: u64) -> Verdict {
    let mut verdict = Verdict::default();
    let ids: HashMap<(&str, &str), &Span> = spans
        .0
        .iter()
        .map(|span| ((span.trace.as_str(), span.id.as_str()), span))
        .collect();
    let mut by_number: HashMap<u64, Vec<&Span>> = HashMap::new();
    for span in &spans.0 {
        match span.number().filter(|number| (1..=requests).contains(number)) {
            Some(number) => by_number.entry(number).or_default().push(span),
            None => verdict.extra_span += 1,
        }
    }
    for number in 1..=requests {
        let found = by_number.remove(&number).unwrap_or_default();
        let one = one(&found, chain, &ids);
        if one.exact == 0 && verdict.example.is_none() {
            let spans = Spans(found.iter().map(|&span| span.clone()).collect());
            verdict.example = Some(format!("not exact, for example {number}:\n{}", spans.trees()));
        }
        verdict.exact += one.exact;
        verdict.wrong_parent += one.wrong_parent;
        verdict.missing_span += one.missing_span;
        verdict.extra_span += one.extra_span;
    }
    verdict
}

fn one(found: &[&Span], chain: &[&str], ids: &HashMap<(&str, &str), &Span>) -> Verdict {
    let mut verdict = Verdict::default();
    let (mut above, mut linked, mut matched): (Option<&Span>, bool, u64) = (None, true, 0);
    for (depth, hop) in chain.iter().enumerate() {
        let mut here = found.iter().copied().filter(|span| name(span) == *hop);
        let Some(span) = here.next() else {
            verdict.missing_span += 1;
            above = None;
            continue;
        };
        matched += 1;
        let parent = span.parent.as_deref();
        let right = match above {
            Some(above) => parent == Some(above.id.as_str()) && span.trace == above.trace,
            None => depth == 0 && parent.is_none(),
        };
        linked &= right;
        // A parent that is not there is a missing link; any other that is not the right one is wrong. One whose own span
        // was lost cannot be told from a wrong one and counts as such.
        if let Some(parent) = parent
            && !right
        {
            let known = ids.get(&(span.trace.as_str(), parent));
            let lost = above.is_none() && depth > 0 && known.is_none();
            verdict.wrong_parent += u64::from(!lost);
        }
        above = Some(span);
    }
    verdict.extra_span = (found.len() as u64).saturating_sub(matched);
    let complete = verdict.missing_span == 0 && verdict.extra_span == 0;
    verdict.exact = u64::from(complete && linked);
    verdict
}

fn name(span: &Span) -> String {
    let kind = match span.kind {
        Kind::Server => "server",
        Kind::Client => "client",
        Kind::Other(_) => "other",
    };
    format!("{kind} {} {}", span.service(), span.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: &[&str] = &["client load /a", "server front /a", "client front /b"];

    /// `id parent kind service path number` a line.
    fn check(lines: &[&str], requests: u64, want: [u64; 4]) {
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
        let verdict = judge(&Spans::parse(&text.join("\n")), CHAIN, requests);
        let got = [
            verdict.exact,
            verdict.wrong_parent,
            verdict.missing_span,
            verdict.extra_span,
        ];
        assert_eq!(got, want, "{lines:?}");
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
}
