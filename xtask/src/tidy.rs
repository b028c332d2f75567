//! What no compiler checks. That the README's options are those of `--help` is a test of the agent, which knows them. Each
//! rule gives its findings as `path: what is wrong`.
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::{shell, workspace};

mod counters;

/// A file of the repository.
struct Source {
    path: PathBuf,
    text: String,
}

type Rule = fn(&[Source]) -> Vec<String>;

const RULES: &[Rule] = &[
    paths_exist,
    files_are_short,
    no_leftovers,
    no_machine_paths,
    licences,
    counters::are_explained,
];

/// Lines in a file, tests aside: beyond, it holds two things.
const LONGEST: usize = 800;

/// `cargo xtask tidy`.
///
/// # Errors
/// When there is a finding.
pub(crate) fn report() -> Result<()> {
    check()?;
    println!("tidy: nothing to say");
    Ok(())
}

/// Prints every finding.
///
/// # Errors
/// When there is one.
pub(crate) fn check() -> Result<()> {
    let sources = sources()?;
    let findings: Vec<String> = RULES.iter().flat_map(|rule| rule(&sources)).collect();
    for finding in &findings {
        println!("   {finding}");
    }
    if findings.is_empty() {
        return Ok(());
    }
    bail!("tidy: {} findings", findings.len());
}

/// The text files that git knows or would add.
fn sources() -> Result<Vec<Source>> {
    let list = shell::command("git", &["ls-files", "--cached", "--others", "--exclude-standard"]);
    let list = shell::quiet(list, Duration::from_secs(60))?;
    let root = workspace::root();
    let read = |path: &str| {
        let text = std::fs::read_to_string(root.join(path)).ok()?;
        Some(Source {
            path: path.into(),
            text,
        })
    };
    Ok(list.lines().filter_map(read).collect())
}

/// A map that names what is gone misleads.
fn paths_exist(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| is_doc(&source.path)) {
        for word in quoted(&source.text) {
            if is_path(word) && !workspace::root().join(word).exists() {
                findings.push(format!("{}: `{word}` does not exist", source.path.display()));
            }
        }
    }
    findings
}

fn is_doc(path: &Path) -> bool {
    [Path::new("ARCHITECTURE.md"), Path::new("README.md")].contains(&path)
}

/// What stands between single backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    let outside_blocks = text.split("```").step_by(2);
    outside_blocks.flat_map(|part| part.split('`').skip(1).step_by(2))
}

/// Whether a quoted word names a path of this repository: it starts with a folder of it.
fn is_path(word: &str) -> bool {
    let folders = [
        "agent/", "common/", "ebpf/", "xtask/", "tests/", "docs/", ".ci/", ".cargo/",
    ];
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    folders.iter().any(|folder| word.starts_with(folder)) && word.bytes().all(plain)
}

fn files_are_short(sources: &[Source]) -> Vec<String> {
    let code = ["rs", "c", "go", "py", "js", "ts"];
    let mut findings = Vec::new();
    for source in sources {
        let extension = source.path.extension().unwrap_or_default();
        let is_test = source.path.starts_with("tests");
        let lines = body(&source.text).lines().count();
        if !is_test && code.iter().any(|code| extension == *code) && lines > LONGEST {
            findings.push(format!("{}: {lines} lines, at most {LONGEST}", source.path.display()));
        }
    }
    findings
}

/// A file without its tests, which come last.
fn body(text: &str) -> &str {
    text.split_once("\n#[cfg(test)]\nmod ").map_or(text, |(body, _)| body)
}

fn no_leftovers(sources: &[Source]) -> Vec<String> {
    // Written in parts, so that this file does not find itself.
    let leftovers = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("X", "XX:"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("#[ig", "nore"),
        concat!("#![al", "low("),
        concat!("#[al", "low("),
    ];
    lines_with(sources, &["rs", "py", "go", "js", "c", "md", "toml"], &leftovers)
}

fn no_machine_paths(sources: &[Source]) -> Vec<String> {
    let homes = [concat!("/wo", "rk/"), concat!("/root", "/.")];
    let all = [
        "rs", "py", "go", "js", "c", "md", "toml", "json", "txt", "yaml", "lock", "sum",
    ];
    lines_with(sources, &all, &homes)
}

fn lines_with(sources: &[Source], extensions: &[&str], words: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources {
        let extension = source.path.extension().unwrap_or_default();
        if !extensions.iter().any(|wanted| extension == *wanted) {
            continue;
        }
        for (n, line) in source.text.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(*word)) {
                findings.push(format!("{}:{}: {word}", source.path.display(), n + 1));
            }
        }
    }
    findings
}

fn licences(_: &[Source]) -> Vec<String> {
    [
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
    ]
    .iter()
    .filter(|name| !workspace::root().join(name).exists())
    .map(|name| format!("{name}: is missing"))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_quoted_paths() {
        let text = "see `agent/src/lib.rs` and `cargo test`\n```\n`agent/no`\n```\nthen `ebpf/src/<x>`, `tests/`";
        let found: Vec<&str> = quoted(text).filter(|word| is_path(word)).collect();
        assert_eq!(found, ["agent/src/lib.rs", "tests/"]);
    }

    #[test]
    fn tests_do_not_count_as_body() {
        assert_eq!(body("a\n#[cfg(test)]\nmod tests {\n}\n"), "a");
        assert_eq!(body("a\nb"), "a\nb");
    }
}
