//! Where values come from, and which of them wins.
use std::path::{Path, PathBuf};

use serde_yaml_ng::Value;

use super::{OPTIONS, Opt, Settings, Verb};

/// Why the settings are no good. Each names where it stands.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value cannot be used.
    #[error("invalid value {value:?} for {place}: {why}")]
    Value {
        /// The flag, the variable, or the file and key.
        place: String,
        /// The value.
        value: String,
        /// What would be good.
        why: String,
    },
    /// There is no such variable or key.
    #[error("{place} is unknown{nearest}; `clew {verb} --help` lists all options")]
    Unknown {
        /// The variable, or the file and key.
        place: String,
        /// The nearest that exists, as a question.
        nearest: String,
        /// The command.
        verb: &'static str,
    },
    /// The file cannot be read.
    #[error("failed to read the configuration file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is no YAML.
    #[error("failed to understand the configuration file {}", path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_yaml_ng::Error,
    },
    /// The file is no mapping, or a key has something else than plain values.
    #[error("{place}: {why}")]
    Shape {
        /// The file, and the key if it is one.
        place: String,
        /// What would be good.
        why: &'static str,
    },
}

/// Values by option's name, as the command line has them; a switch has the value `true`.
pub type Flags = Vec<(&'static str, Vec<String>)>;

/// Variables that belong to Clew's own build and tests, not to the user's settings.
fn is_ours(variable: &str) -> bool {
    matches!(variable, "CLEW_BIN" | "CLEW_BLESS") || variable.starts_with("CLEW_TEST_")
}

/// The variable that names the file.
const CONFIG: &str = "CLEW_CONFIG";

/// Puts the settings of a command together. `config` is the file the command line names, `variables` the environment.
///
/// # Errors
/// [`ConfigError`] for the first value, variable or key that is no good.
pub fn resolve(
    verb: Verb,
    flags: &Flags,
    config: Option<&Path>,
    variables: &[(String, String)],
) -> Result<Settings, ConfigError> {
    let layers = [
        from_flags(flags),
        from_variables(verb, variables)?,
        match config.map(Path::to_path_buf).or_else(|| config_variable(variables)) {
            Some(path) => from_file(verb, &path)?,
            None => Vec::new(),
        },
    ];
    let mut settings = Settings::new(verb);
    for option in OPTIONS.iter().filter(|option| option.verbs.contains(&verb)) {
        let given = layers
            .iter()
            .find_map(|layer| layer.iter().find(|given| given.name == option.name));
        for value in given.iter().flat_map(|given| &given.values) {
            (option.set)(&mut settings, value).map_err(|why| ConfigError::Value {
                place: given.map_or_else(String::new, |given| given.place.clone()),
                value: value.clone(),
                why,
            })?;
        }
    }
    Ok(settings)
}

/// An option's values in one layer, and where they stand.
struct Given {
    name: &'static str,
    place: String,
    values: Vec<String>,
}

fn from_flags(flags: &Flags) -> Vec<Given> {
    flags
        .iter()
        .map(|(name, values)| Given {
            name,
            place: format!("--{name}"),
            values: values.clone(),
        })
        .collect()
}

fn config_variable(variables: &[(String, String)]) -> Option<PathBuf> {
    variables
        .iter()
        .find(|(name, value)| name == CONFIG && !value.is_empty())
        .map(|(_, value)| value.into())
}

fn from_variables(verb: Verb, variables: &[(String, String)]) -> Result<Vec<Given>, ConfigError> {
    let mut layer = Vec::new();
    for (name, value) in variables.iter().filter(|(name, _)| name.starts_with("CLEW_")) {
        if name == CONFIG || is_ours(name) {
            continue;
        }
        let Some(option) = OPTIONS.iter().find(|option| option.variable() == *name) else {
            let known = OPTIONS.iter().map(Opt::variable).chain([CONFIG.to_owned()]);
            return Err(ConfigError::Unknown {
                place: format!("the variable {name}"),
                nearest: nearest(name, known),
                verb: verb.word(),
            });
        };
        // An empty variable is the shell's way to unset one for a single command.
        if value.is_empty() {
            continue;
        }
        let values = if option.many {
            value.split(',').map(|part| part.trim().to_owned()).collect()
        } else {
            vec![value.clone()]
        };
        layer.push(Given {
            name: option.name,
            place: name.clone(),
            values,
        });
    }
    Ok(layer)
}

fn from_file(verb: Verb, path: &Path) -> Result<Vec<Given>, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::File {
        path: path.to_owned(),
        source,
    })?;
    let root: Value = serde_yaml_ng::from_str(&text).map_err(|source| ConfigError::Yaml {
        path: path.to_owned(),
        source,
    })?;
    let file = path.display();
    let shape = |key: &str, why| ConfigError::Shape {
        place: if key.is_empty() {
            file.to_string()
        } else {
            format!("{file}: {key}")
        },
        why,
    };
    let entries = match root {
        Value::Null => return Ok(Vec::new()),
        Value::Mapping(entries) => entries,
        _ => return Err(shape("", "lines of the form `key: value` are wanted")),
    };
    let mut layer = Vec::new();
    for (key, value) in entries {
        let key = plain(&key).ok_or_else(|| shape("", "a key is no plain word"))?;
        let Some(option) = OPTIONS.iter().find(|option| option.key() == key) else {
            return Err(ConfigError::Unknown {
                place: format!("{file}: the key {key}"),
                nearest: nearest(&key, OPTIONS.iter().map(Opt::key)),
                verb: verb.word(),
            });
        };
        let values = match &value {
            Value::Sequence(list) if option.many => list.iter().map(plain).collect(),
            _ => plain(&value).map(|value| vec![value]),
        };
        let wanted = if option.many {
            "a value or a list of values is wanted"
        } else {
            "one value is wanted"
        };
        layer.push(Given {
            name: option.name,
            place: format!("{key} in {file}"),
            values: values.ok_or_else(|| shape(&key, wanted))?,
        });
    }
    Ok(layer)
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// The nearest of the known names as a question, if any is near.
fn nearest(name: &str, known: impl Iterator<Item = String>) -> String {
    known
        .map(|candidate| (distance(name, &candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= candidate.len() / 3)
        .map_or_else(String::new, |(_, candidate)| format!(" (did you mean {candidate}?)"))
}

/// Levenshtein's distance: insertions, deletions and replacements between two names.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, char) in one.chars().enumerate() {
        let mut diagonal = line;
        let mut left = line + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, wanted) in row.iter_mut().skip(1).zip(&other) {
            let replaced = diagonal + usize::from(char != *wanted);
            diagonal = *cell;
            *cell = replaced.min(*cell + 1).min(left + 1);
            left = *cell;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;
    use crate::attach::Capture;
    use crate::capture::Pid;
    use crate::config::{Format, Verbosity};
    use crate::discover::Rule;

    fn given(
        verb: Verb,
        flags: &[(&'static str, &str)],
        vars: &[(&str, &str)],
        file: &str,
    ) -> Result<Settings, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("clew.yaml");
        std::fs::write(&path, file).expect("a file");
        let flags = flags
            .iter()
            .map(|(name, value)| (*name, vec![(*value).to_owned()]))
            .collect();
        let vars: Vec<_> = vars
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        resolve(verb, &flags, Some(&path), &vars)
            .map_err(|error| error.to_string().replace(&path.display().to_string(), "FILE"))
    }

    fn check_error(verb: Verb, flags: &[(&'static str, &str)], vars: &[(&str, &str)], file: &str, want: &str) {
        assert_eq!(given(verb, flags, vars, file).expect_err(want), want);
    }

    #[test]
    fn the_table_is_sound() {
        let mut names = HashSet::new();
        for option in OPTIONS {
            assert!(names.insert(option.name), "{} twice", option.name);
            assert!(!option.verbs.is_empty() && !option.help.is_empty(), "{}", option.name);
            assert!(!is_ours(&option.variable()) && option.variable() != CONFIG);
        }
    }

    #[test]
    fn precedence() {
        let format = |flags: &[(&'static str, &str)], vars: &[(&str, &str)], file: &str| {
            given(Verb::Run, flags, vars, file).expect("settings").format
        };
        let (flag, var, file) = ([("format", "json")], [("CLEW_FORMAT", "none")], "format: tree");
        assert_eq!(format(&flag, &var, file), Format::Json);
        assert_eq!(format(&[], &var, file), Format::None);
        assert_eq!(format(&[], &[("CLEW_FORMAT", "")], "format: json"), Format::Json);
        assert_eq!(format(&[], &[], ""), Format::Tree);
    }

    #[test]
    fn every_kind_of_value() {
        let file = "otlp: grpc://localhost:4317\notlp_file: spans.jsonl\nbodies: 1KiB\nhead_bytes: 512\n\
                    header: [X-Id, x-team]\nredact: query:token\nservice_name: shop\ncapture: syscall\nduration: 2m\n\
                    as_root: true\nquiet: true\npid: [1, 2]\n";
        let settings = given(
            Verb::Run,
            &[],
            &[("CLEW_BIN", "x"), ("CLEW_TEST_LONG", "1"), ("PATH", "")],
            file,
        );
        let mut want = Settings::new(Verb::Run);
        want.otlp = Some("grpc://localhost:4317".to_owned());
        want.otlp_file = Some("spans.jsonl".into());
        want.body_bytes = 1024;
        want.head_bytes = 512;
        want.headers = vec!["x-id".to_owned(), "x-team".to_owned()];
        want.redact = vec!["query:token".to_owned()];
        want.service_name = Some("shop".to_owned());
        want.capture = Some(Capture::Syscall);
        want.duration = Some(Duration::from_secs(120));
        want.as_root = true;
        want.verbosity = Verbosity::Quiet;
        assert_eq!(settings, Ok(want));
        // One file serves every command: those for attach are no error in run.
        let attach = given(Verb::Attach, &[], &[("CLEW_PORT", "80, 81")], "pid: 7").expect("settings");
        assert_eq!(attach.targets, [Rule::Pid(Pid(7)), Rule::Port(80), Rule::Port(81)]);
        assert_eq!(attach.body_bytes, 0);
    }

    #[test]
    fn errors_name_the_place() {
        let run = Verb::Run;
        let wanted = "tree, json or none is wanted";
        check_error(
            run,
            &[("format", "xml")],
            &[],
            "",
            &format!("invalid value \"xml\" for --format: {wanted}"),
        );
        check_error(
            run,
            &[],
            &[("CLEW_FORMAT", "xml")],
            "",
            &format!("invalid value \"xml\" for CLEW_FORMAT: {wanted}"),
        );
        check_error(
            run,
            &[],
            &[],
            "format: xml",
            &format!("invalid value \"xml\" for format in FILE: {wanted}"),
        );
        let all = "`clew run --help` lists all options";
        check_error(
            run,
            &[],
            &[("CLEW_FORMT", "none")],
            "",
            &format!("the variable CLEW_FORMT is unknown (did you mean CLEW_FORMAT?); {all}"),
        );
        check_error(
            run,
            &[],
            &[("CLEW_ZZZZZZZZ", "1")],
            "",
            &format!("the variable CLEW_ZZZZZZZZ is unknown; {all}"),
        );
        check_error(
            run,
            &[],
            &[],
            "otlp-file: x",
            &format!("FILE: the key otlp-file is unknown (did you mean otlp_file?); {all}"),
        );
        check_error(run, &[], &[], "format: [tree]", "FILE: format: one value is wanted");
        check_error(
            run,
            &[],
            &[],
            "header: {a: b}",
            "FILE: header: a value or a list of values is wanted",
        );
        check_error(run, &[], &[], "- a", "FILE: lines of the form `key: value` are wanted");
        check_error(
            run,
            &[],
            &[],
            "a: [",
            "failed to understand the configuration file FILE",
        );
        check_error(
            Verb::Attach,
            &[("pid", "zero")],
            &[],
            "",
            "invalid value \"zero\" for --pid: a process number such as 4120 is wanted",
        );
        let missing = resolve(run, &Flags::new(), Some(Path::new("/nonexistent.yaml")), &[]).expect_err("no file");
        assert_eq!(
            missing.to_string(),
            "failed to read the configuration file /nonexistent.yaml"
        );
    }

    #[test]
    fn distances() {
        for (one, other, want) in [
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("a", "a", 0),
            ("ab", "ba", 2),
        ] {
            assert_eq!(distance(one, other), want, "{one} {other}");
        }
    }
}
