//! What the arguments say. The options come from the table in [`config`](crate::config).
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::capture::Pid;
use crate::config::{ConfigError, Flags, OPTIONS, Opt, Settings, Verb, resolve};
use crate::serve::{ADDRESS, HAS_PAGE};
use crate::store::Order;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Trace a command.
    Run { settings: Settings, command: Vec<OsString> },
    /// Trace what runs.
    Attach { settings: Settings },
    /// Say what the host offers.
    Host { json: bool },
    /// Say what is known of a process.
    Process { pid: Pid, json: bool },
    /// Answer questions about a store over HTTP.
    Ui { store: Option<PathBuf>, listen: SocketAddr },
    /// Answer an assistant over the standard streams.
    Mcp { store: Option<PathBuf> },
    /// Show traces of a store.
    Traces {
        store: Option<PathBuf>,
        ask: Ask,
        json: bool,
    },
}

/// What of a store is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Traces that match.
    List { query: String, order: Order, limit: usize },
    /// One trace.
    Show { id: String },
    /// One trace for other tools.
    Export { id: String, perfetto: bool },
    /// Adds traces from a file; `-` is the standard input.
    Import { file: PathBuf },
}

/// Why nothing can be done.
#[derive(Debug)]
pub(super) enum Refused {
    /// The arguments are wrong, or ask for help.
    Usage(clap::Error),
    /// A value is.
    Config(ConfigError),
}

impl From<clap::Error> for Refused {
    fn from(error: clap::Error) -> Self {
        Self::Usage(error)
    }
}

impl From<ConfigError> for Refused {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

/// Reads arguments, the program's name first, and variables.
pub(super) fn parse(
    args: impl IntoIterator<Item = OsString>,
    variables: &[(String, String)],
) -> Result<Asked, Refused> {
    let matches = command().try_get_matches_from(args)?;
    match matches.subcommand() {
        Some(("run", matches)) => Ok(Asked::Run {
            settings: settings(Verb::Run, matches, variables)?,
            command: matches.get_many("command").into_iter().flatten().cloned().collect(),
        }),
        Some(("attach", matches)) => Ok(Asked::Attach {
            settings: settings(Verb::Attach, matches, variables)?,
        }),
        Some(("doctor", matches)) => {
            let json = matches.get_flag("json");
            Ok(match matches.get_one::<u32>("pid") {
                Some(pid) => Asked::Process { pid: Pid(*pid), json },
                None => Asked::Host { json },
            })
        }
        Some(("ui", matches)) => Ok(Asked::Ui {
            store: matches.get_one("store").cloned(),
            listen: matches.get_one("listen").copied().unwrap_or(ADDRESS),
        }),
        Some(("mcp", matches)) => Ok(Asked::Mcp {
            store: matches.get_one("store").cloned(),
        }),
        Some(("traces", matches)) => Ok(traces_asked(matches)),
        _ => Err(command()
            .error(clap::error::ErrorKind::MissingSubcommand, "a command is wanted")
            .into()),
    }
}

fn traces_asked(matches: &ArgMatches) -> Asked {
    let text = |matches: &ArgMatches, name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let (name, matches) = matches.subcommand().unwrap_or(("list", matches));
    let ask = match name {
        "show" => Ask::Show {
            id: text(matches, "id"),
        },
        "export" => Ask::Export {
            id: text(matches, "id"),
            perfetto: text(matches, "format") == "perfetto",
        },
        "import" => Ask::Import {
            file: matches.get_one::<PathBuf>("file").cloned().unwrap_or_default(),
        },
        _ => Ask::List {
            query: match name {
                "search" => text(matches, "query"),
                _ => String::new(),
            },
            order: Order::of(&text(matches, "sort")).unwrap_or_default(),
            limit: matches.get_one::<u16>("limit").copied().map_or(20, usize::from),
        },
    };
    Asked::Traces {
        store: matches.get_one::<PathBuf>("store").cloned(),
        ask,
        json: matches.try_get_one("json").ok().flatten().copied().unwrap_or(false),
    }
}

fn settings(verb: Verb, matches: &ArgMatches, variables: &[(String, String)]) -> Result<Settings, ConfigError> {
    let mut flags = Flags::new();
    for option in of(verb) {
        let values: Vec<String> = if option.value.is_none() {
            matches
                .get_flag(option.name)
                .then(|| "true".to_owned())
                .into_iter()
                .collect()
        } else {
            matches.get_many(option.name).into_iter().flatten().cloned().collect()
        };
        if !values.is_empty() {
            flags.push((option.name, values));
        }
    }
    let config = matches.get_one::<PathBuf>("config");
    resolve(verb, &flags, config.map(PathBuf::as_path), variables)
}

fn of(verb: Verb) -> impl Iterator<Item = &'static Opt> {
    OPTIONS.iter().filter(move |option| option.verbs.contains(&verb))
}

const CODES: &str = "Exit codes: 0; 2 bad usage or configuration; 3 the host cannot do it; once a command runs, its own \
                     (128+n after signal n, 126 or 127 if it could not start); 1 the rest.";

const VERSION: &str = if HAS_PAGE {
    env!("CARGO_PKG_VERSION")
} else {
    concat!(
        env!("CARGO_PKG_VERSION"),
        " (without its page: run `cargo xtask build`)"
    )
};

fn command() -> Command {
    Command::new("clew")
        .version(VERSION)
        .about("Traces programs on Linux without touching them")
        .after_help(CODES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommand(run())
        .subcommand(
            with_options(
                Command::new("attach")
                    .about("Trace what runs, chosen by rules that are combined by \"or\"; children included"),
                Verb::Attach,
            )
            .override_usage(
                "clew attach --pid PID | --exe GLOB | --port N | --cgroup PATH | --container ID|NAME [OPTIONS]",
            ),
        )
        .subcommand(traces())
        .subcommand(ui())
        .subcommand(
            Command::new("mcp")
                .about("Answer an assistant's questions about a store by the Model Context Protocol, over the standard streams")
                .arg(store()),
        )
        .subcommand(doctor())
}

fn ui() -> Command {
    Command::new("ui")
        .about("Show the traces of a store in a browser, as run does while it writes them")
        .arg(store())
        .arg(
            Arg::new("listen")
                .long("listen")
                .value_name("ADDR")
                .help("The address [default: 127.0.0.1:9911]")
                .value_parser(value_parser!(SocketAddr)),
        )
}

fn store() -> Arg {
    Arg::new("store")
        .long("store")
        .value_name("DIR")
        .help("The store's folder [default: where clew run keeps traces]")
        .value_parser(value_parser!(PathBuf))
}

fn traces() -> Command {
    let json = Arg::new("json")
        .long("json")
        .help("Answer in JSON, as the dashboard's API does")
        .action(ArgAction::SetTrue);
    let limit = Arg::new("limit")
        .long("limit")
        .value_name("N")
        .help("At most so many [default: 20]")
        .value_parser(value_parser!(u16).range(1..=1000));
    let sort = Arg::new("sort")
        .long("sort")
        .value_name("BY")
        .help("The largest first [default: start]")
        .value_parser(["start", "duration", "spans", "errors", "service", "title", "status"]);
    let listed = |command: Command| command.args([store(), json.clone(), limit.clone(), sort.clone()]);
    let (query, id) = (Arg::new("query").value_name("QUERY"), Arg::new("id").value_name("ID"));
    Command::new("traces")
        .about("Show the traces of a store")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommand(listed(Command::new("list").about("The latest traces")))
        .subcommand(listed(Command::new("search").about("Traces that match a query")).arg(
            query.required(true).allow_hyphen_values(true).help(
                "Terms that must all hold, such as service:cart status:>=500 duration:>100ms -name:health* \
                     http.route:/cart \"out of stock\"",
            ),
        ))
        .subcommand(
            Command::new("show")
                .about("One trace, span by span")
                .args([store(), json])
                .arg(id.clone().required(true).help("Its id, or the first 8 digits of it")),
        )
        .subcommand(
            Command::new("export")
                .about("One trace for other tools, on the standard output")
                .arg(store())
                .arg(id.required(true).help("Its id, or the first 8 digits of it"))
                .arg(
                    Arg::new("format")
                        .long("format")
                        .value_name("FORMAT")
                        .help("OTLP JSON, or a timeline that ui.perfetto.dev opens [default: otlp]")
                        .value_parser(["otlp", "perfetto"]),
                ),
        )
        .subcommand(
            Command::new("import")
                .about("Add the traces of a file of OTLP JSON, one request or one a line, as --otlp-file writes them")
                .arg(store())
                .arg(
                    Arg::new("file")
                        .value_name("FILE")
                        .required(true)
                        .help("The file; - is the standard input")
                        .value_parser(value_parser!(PathBuf)),
                ),
        )
}

fn run() -> Command {
    let command = Arg::new("command")
        .value_name("COMMAND")
        .help("The command and its arguments, best written behind --")
        .num_args(1..)
        .required(true)
        .trailing_var_arg(true)
        .value_parser(value_parser!(OsString));
    with_options(
        Command::new("run").about("Trace a command and all it starts"),
        Verb::Run,
    )
    .override_usage("clew run [OPTIONS] -- COMMAND...")
    .arg(command)
}

fn doctor() -> Command {
    Command::new("doctor")
        .about("Say what this host offers, what is missing, what that costs and how to mend it")
        .after_help("Exit codes: 0 Clew can trace here; 3 it cannot.")
        .arg(
            Arg::new("json")
                .long("json")
                .help("Answer in JSON")
                .action(ArgAction::SetTrue),
        )
        .arg(
            Arg::new("pid")
                .long("pid")
                .value_name("PID")
                .help("Say what is known of this process instead")
                .value_parser(value_parser!(u32).range(1..)),
        )
}

fn with_options(mut command: Command, verb: Verb) -> Command {
    command = command.after_help(format!(
        "Each option is also a variable (--otlp-file is CLEW_OTLP_FILE) and a key of the file that --config names \
         (otlp_file: spans.jsonl). Flags win over variables, variables over the file.\n\n{CODES}"
    ));
    for option in of(verb) {
        let mut arg = Arg::new(option.name).long(option.name).help(option.help);
        if let Some(short) = option.short {
            arg = arg.short(short);
        }
        arg = match option.value {
            Some(name) => {
                let action = if option.many { ArgAction::Append } else { ArgAction::Set };
                arg.value_name(name).action(action)
            }
            None => arg.action(ArgAction::SetTrue),
        };
        command = command.arg(arg);
    }
    command.arg(
        Arg::new("config")
            .long("config")
            .value_name("FILE")
            .help("Read settings from this file, YAML with a line for each option")
            .value_parser(value_parser!(PathBuf)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Format, Verbosity};
    use crate::discover::Rule;

    fn asked(line: &str) -> Result<Asked, Refused> {
        parse(line.split(' ').map(OsString::from), &[])
    }

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn clap_finds_no_fault() {
        command().debug_assert();
    }

    /// The options that a README row, or a sentence, names: `--name` and whether a value follows.
    fn named(text: &str) -> std::collections::BTreeSet<(String, bool)> {
        text.split("--")
            .skip(1)
            .map(|rest| {
                let end = rest
                    .find(|it: char| !it.is_ascii_lowercase() && it != '-')
                    .unwrap_or(rest.len());
                let (name, rest) = rest.split_at(end);
                (name.to_owned(), rest.starts_with(' '))
            })
            .collect()
    }

    #[test]
    fn the_readme_lists_the_options_of_help() {
        let readme = include_str!("../../../README.md");
        let rows = readme.lines().filter_map(|line| line.strip_prefix("| `--"));
        let rows: String = rows
            .filter_map(|row| row.split('`').next())
            .fold(String::new(), |all, row| all + "--" + row);
        let mut wanted = std::collections::BTreeSet::new();
        let mut elsewhere = std::collections::BTreeSet::new();
        for verb in command().get_subcommands() {
            for arg in verb.get_arguments() {
                let Some(name) = arg.get_long().filter(|name| *name != "help") else {
                    continue;
                };
                let takes_value = !matches!(arg.get_action(), ArgAction::SetTrue);
                let chooses = ["pid", "exe", "port", "cgroup", "container"].contains(&name);
                if chooses || verb.get_name() == "doctor" {
                    elsewhere.insert((name.to_owned(), takes_value));
                } else {
                    wanted.insert((name.to_owned(), takes_value));
                }
            }
        }
        assert_eq!(named(&rows), wanted, "the table of options in README.md");
        let all = named(readme);
        let missing: Vec<_> = elsewhere
            .iter()
            .filter(|(name, _)| !all.iter().any(|(other, _)| other == name))
            .collect();
        assert!(missing.is_empty(), "README.md does not name {missing:?}");
    }

    #[test]
    fn commands() {
        let mut settings = Settings::new(Verb::Run);
        for (line, want) in [
            ("clew run -- npm start", "npm start"),
            ("clew run npm start --format json", "npm start --format json"),
            ("clew run -- npm --version -- x", "npm --version -- x"),
        ] {
            let want = Asked::Run {
                settings: settings.clone(),
                command: words(want),
            };
            assert_eq!(asked(line).expect(line), want, "{line}");
        }
        settings.format = Format::None;
        settings.otlp_file = Some("-".into());
        settings.as_root = true;
        settings.verbosity = Verbosity::Quiet;
        settings.headers = vec!["a".to_owned(), "b".to_owned()];
        let line = "clew run --format none --otlp-file - --as-root -q --header A --header=b -- true";
        let want = Asked::Run {
            settings,
            command: words("true"),
        };
        assert_eq!(asked(line).expect(line), want);
        let mut settings = Settings::new(Verb::Attach);
        settings.targets = vec![Rule::Pid(Pid(1)), Rule::Pid(Pid(2)), Rule::Port(80)];
        let line = "clew attach --pid 1 --port 80 --pid 2";
        assert_eq!(asked(line).expect(line), Asked::Attach { settings });
        let found = Asked::Traces {
            store: Some("/x".into()),
            ask: Ask::List {
                query: "-status:200".to_owned(),
                order: Order::Duration,
                limit: 5,
            },
            json: true,
        };
        let line = "clew traces search --json --limit 5 --store /x --sort duration -status:200";
        assert_eq!(asked(line).expect(line), found);
        for (line, ask) in [
            (
                "clew traces export 0123abcd --format perfetto",
                Ask::Export {
                    id: "0123abcd".to_owned(),
                    perfetto: true,
                },
            ),
            ("clew traces import -", Ask::Import { file: "-".into() }),
        ] {
            let (store, json) = (None, false);
            assert_eq!(asked(line).expect(line), Asked::Traces { store, ask, json });
        }
        let shown = Asked::Traces {
            store: None,
            ask: Ask::Show {
                id: "0123abcd".to_owned(),
            },
            json: false,
        };
        assert_eq!(asked("clew traces show 0123abcd").expect("show"), shown);
        assert_eq!(asked("clew doctor --json").expect("doctor"), Asked::Host { json: true });
        let process = Asked::Process {
            pid: Pid(7),
            json: false,
        };
        assert_eq!(asked("clew doctor --pid 7").expect("doctor"), process);
    }

    #[test]
    fn usage_errors_say_what_is_wrong() {
        for (line, code, word) in [
            ("clew", 2, "Usage"),
            ("clew trace", 2, "trace"),
            ("clew run", 2, "COMMAND"),
            ("clew run --formt none -- true", 2, "--format"),
            ("clew attach --no-ui", 2, "--no-ui"),
            ("clew run --pid 1 -- true", 2, "--pid"),
            ("clew attach --as-root", 2, "--as-root"),
            ("clew run --format tree --format none -- true", 2, "--format"),
            ("clew doctor --pid 0", 2, "--pid"),
            ("clew ui --listen 9911", 2, "--listen"),
            ("clew traces", 2, "search"),
            ("clew traces show", 2, "ID"),
            ("clew traces list --sort age", 2, "duration"),
            ("clew --help", 0, "attach"),
            ("clew run --help", 0, "CLEW_OTLP_FILE"),
            ("clew --version", 0, VERSION),
        ] {
            let Err(Refused::Usage(error)) = asked(line) else {
                panic!("accepted: {line}");
            };
            assert_eq!(error.exit_code(), code, "{line}");
            assert!(error.to_string().contains(word), "{line}: {error}");
        }
    }

    #[test]
    fn values_are_checked_by_the_table() {
        for (line, word) in [
            ("clew run --format xml -- true", "tree"),
            ("clew run --capture magic -- true", "socket"),
            ("clew run --bodies many -- true", "many"),
            ("clew run --otlp ftp://collector -- true", "ftp"),
            ("clew run --redact everything -- true", "everything"),
            ("clew run --store-size 1MiB -- true", "8MiB"),
            ("clew run --listen 9911 -- true", "127.0.0.1"),
            ("clew attach --pid zero", "zero"),
        ] {
            let Err(Refused::Config(error)) = asked(line) else {
                panic!("accepted: {line}");
            };
            assert!(error.to_string().contains(word), "{line}: {error}");
        }
    }

    #[test]
    fn help_lists_every_option_once() {
        for verb in [Verb::Run, Verb::Attach] {
            let Err(Refused::Usage(help)) = asked(&format!("clew {} --help", verb.word())) else {
                panic!("no help");
            };
            let help = help.to_string();
            for option in OPTIONS {
                let flag = format!("--{}", option.name);
                let lines = help.lines().filter(|line| {
                    let line = line.trim_start();
                    line.starts_with('-') && line.split([' ', ',']).any(|word| word == flag)
                });
                assert_eq!(
                    lines.count(),
                    usize::from(option.verbs.contains(&verb)),
                    "{flag} in {help}"
                );
            }
        }
    }
}
