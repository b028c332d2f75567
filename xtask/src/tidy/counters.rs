//! Counters: what the code raises, the tables that explain, and the docs say the same.
use std::collections::BTreeSet;

use super::{Source, body, is_doc, quoted};

/// Where counters are explained: of user space, and of the kernel side.
const TABLES: [&str; 2] = ["agent/src/telemetry/names.rs", "common/src/counter.rs"];
/// The first word of every counter.
const AREAS: [&str; 9] = [
    "capture",
    "causality",
    "context",
    "export",
    "pipeline",
    "protocol",
    "stitch",
    "stream",
    "trace",
];

/// Every name in the code and the docs is in a table, and every name in a table is raised somewhere.
pub(super) fn are_explained(sources: &[Source]) -> Vec<String> {
    let is_table = |source: &&Source| TABLES.iter().any(|table| source.path.ends_with(table));
    let table = |source: &Source| literals(body(&source.text)).map(str::to_owned).collect::<Vec<_>>();
    let explained: BTreeSet<String> = sources.iter().filter(is_table).flat_map(table).collect();
    let of = |path: &str| -> BTreeSet<String> {
        let named = sources.iter().filter(|source| source.path.ends_with(path));
        named.flat_map(table).collect()
    };
    let (user, kernel) = (of(TABLES[0]), of(TABLES[1]));

    let mut findings = Vec::new();
    let mut raised: BTreeSet<&str> = BTreeSet::new();
    for source in sources.iter().filter(|source| !is_table(source)) {
        let is_code = source.path.starts_with("agent/src") && source.path.extension().is_some_and(|it| it == "rs");
        // Tests may make names up.
        let is_test = source
            .path
            .file_stem()
            .is_some_and(|stem| stem.to_string_lossy().ends_with("tests"));
        if is_code && !is_test {
            for name in literals(body(&source.text)) {
                raised.insert(name);
                if !explained.contains(name) {
                    findings.push(format!("{}: counter {name} is in no table", source.path.display()));
                }
            }
        }
        if is_doc(&source.path) {
            for name in quoted(&source.text).filter(|word| is_counter(word)) {
                // `causality.unknown.` stands for all that begin so.
                let known = explained
                    .iter()
                    .any(|other| other == name || (name.ends_with('.') && other.starts_with(name)));
                if !known {
                    findings.push(format!("{}: there is no counter {name}", source.path.display()));
                }
            }
        }
    }
    let idle = user.difference(&kernel).filter(|name| !raised.contains(name.as_str()));
    findings.extend(idle.map(|name| format!("{}: counter {name} is never raised", TABLES[0])));
    findings
}

/// String literals that are names of counters.
fn literals(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .filter(|word| is_counter(word) && !word.ends_with('.'))
}

/// Whether a word has the form of a counter's name.
fn is_counter(word: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._".contains(&byte);
    let Some((area, rest)) = word.split_once('.') else {
        return false;
    };
    AREAS.contains(&area) && !rest.is_empty() && rest.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source {
            path: path.into(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn what_does_not_fit_is_found() {
        let table = source(
            TABLES[0],
            "&[(\"stream.duplicate\", \"Twice.\"),\n (\"stream.idle\", \"Never.\")]\n#[cfg(test)]\nmod tests {\n}\n",
        );
        let kernel = source(TABLES[1], "EVENTS = 0, \"capture.events\";");
        let code = source(
            "agent/src/stream/half.rs",
            "counts(\"stream.duplicate\"); // \"stream.comment\"\ncounts(\"stream.typo\");",
        );
        let tests = source("agent/src/stream/tests.rs", "counts(\"stream.made_up\");");
        let doc = source(
            "README.md",
            "`capture.events`, `stream.gone`, `stream.`, `trace.rs.md`x",
        );
        let findings = are_explained(&[table, kernel, code, tests, doc]);
        let about = |word: &str| findings.iter().filter(|finding| finding.contains(word)).count();
        assert_eq!(
            about("stream.typo") + about("stream.gone") + about("stream.idle"),
            3,
            "{findings:?}"
        );
    }

    #[test]
    fn names() {
        for (word, is) in [
            ("stream.duplicate", true),
            ("capture.no_payload.io_uring", true),
            ("causality.unknown.", true),
            ("stream", false),
            ("stream.", false),
            ("service.name", false),
            ("stream.A", false),
        ] {
            assert_eq!(is_counter(word), is, "{word}");
        }
    }
}
