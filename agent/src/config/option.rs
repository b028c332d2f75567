//! The table of options.
use std::time::Duration;

use super::{Format, Settings, Verbosity, value};
use crate::attach::Capture;
use crate::discover::{Rule, RuleError};

/// Default of `head_bytes`.
pub(super) const HEAD_BYTES: u32 = 4096;
/// Default of `bodies` in `run`.
pub(super) const RUN_BODY_BYTES: u32 = 64 << 10;
/// Default of `store_size`.
pub(super) const STORE_SIZE: u64 = 1 << 30;
/// Default of `store_age`.
pub(super) const STORE_AGE: Duration = Duration::from_secs(7 * 86_400);
/// More of a head costs ring buffer space for nothing: servers refuse such heads.
const MOST_HEAD_BYTES: u32 = 64 << 10;
/// More of a body belongs in no span.
const MOST_BODY_BYTES: u32 = 16 << 20;

/// A command that traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Trace a command.
    Run,
    /// Trace what runs.
    Attach,
}

impl Verb {
    /// How it is written.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Attach => "attach",
        }
    }
}

/// An option: a flag `--name`, a variable `CLEW_NAME` and a key `name` of the file, with underscores for hyphens in the
/// latter two.
#[derive(Debug)]
pub struct Opt {
    /// Its flag without the hyphens.
    pub name: &'static str,
    /// Its short flag.
    pub short: Option<char>,
    /// What its value is called; none for a switch.
    pub value: Option<&'static str>,
    /// It may be given several times.
    pub many: bool,
    /// The commands that have it.
    pub verbs: &'static [Verb],
    /// One line for `--help`.
    pub help: &'static str,
    /// Sets it from a value; the error says what would be good.
    pub(super) set: fn(&mut Settings, &str) -> Result<(), String>,
}

impl Opt {
    /// Its variable.
    pub fn variable(&self) -> String {
        format!("CLEW_{}", self.name.replace('-', "_").to_uppercase())
    }

    /// Its key in the file.
    pub fn key(&self) -> String {
        self.name.replace('-', "_")
    }
}

const BOTH: &[Verb] = &[Verb::Run, Verb::Attach];
const RUN: &[Verb] = &[Verb::Run];
const ATTACH: &[Verb] = &[Verb::Attach];

/// Every option of the commands that trace, in the order of `--help`.
pub const OPTIONS: &[Opt] = &[
    Opt {
        name: "pid",
        short: None,
        value: Some("PID"),
        many: true,
        verbs: ATTACH,
        help: "Trace this process",
        set: |settings, text| target(settings, Rule::pid(text)),
    },
    Opt {
        name: "exe",
        short: None,
        value: Some("GLOB"),
        many: true,
        verbs: ATTACH,
        help: "Trace every process whose executable matches; without a slash its name, * and ? are wild",
        set: |settings, text| target(settings, Rule::exe(text)),
    },
    Opt {
        name: "port",
        short: None,
        value: Some("N"),
        many: true,
        verbs: ATTACH,
        help: "Trace every process that listens on this TCP port",
        set: |settings, text| target(settings, Rule::port(text)),
    },
    Opt {
        name: "cgroup",
        short: None,
        value: Some("PATH"),
        many: true,
        verbs: ATTACH,
        help: "Trace every process in this cgroup or below it",
        set: |settings, text| target(settings, Rule::cgroup(text)),
    },
    Opt {
        name: "container",
        short: None,
        value: Some("ID|NAME"),
        many: true,
        verbs: ATTACH,
        help: "Trace every process in this container",
        set: |settings, text| target(settings, Rule::container(text)),
    },
    Opt {
        name: "otlp",
        short: None,
        value: Some("URL"),
        many: false,
        verbs: BOTH,
        help: "Send spans to this collector: grpc(s)://HOST:PORT or http(s)://HOST:PORT [default: OTEL_EXPORTER_OTLP_*]",
        set: |settings, text| put(&mut settings.otlp, value::endpoint(text).map(Some)),
    },
    Opt {
        name: "otlp-file",
        short: None,
        value: Some("PATH"),
        many: false,
        verbs: BOTH,
        help: "Write spans to this file as OTLP JSON, one request a line; - is the standard output",
        set: |settings, text| put(&mut settings.otlp_file, value::text(text).map(|path| Some(path.into()))),
    },
    Opt {
        name: "format",
        short: None,
        value: Some("FORMAT"),
        many: false,
        verbs: BOTH,
        help: "Show traces as tree (for people, on stderr), json (one object a line, on stdout) or none [default: tree]",
        set: |settings, text| put(&mut settings.format, format(text)),
    },
    Opt {
        name: "bodies",
        short: None,
        value: Some("BYTES"),
        many: false,
        verbs: BOTH,
        help: "Keep this much of each message's body [default: 64KiB in run, 0 in attach]",
        set: |settings, text| put(&mut settings.body_bytes, value::bytes(text, MOST_BODY_BYTES)),
    },
    Opt {
        name: "otlp-bodies",
        short: None,
        value: None,
        many: false,
        verbs: BOTH,
        help: "Export the bodies that are kept as well, to the collector and the file: else they stay in the store",
        set: |settings, text| {
            settings.otlp_bodies = value::switch(text)?;
            Ok(())
        },
    },
    Opt {
        name: "head-bytes",
        short: None,
        value: Some("BYTES"),
        many: false,
        verbs: BOTH,
        help: "Read this much of each message for its head [default: 4096]",
        set: |settings, text| put(&mut settings.head_bytes, head_bytes(text)),
    },
    Opt {
        name: "header",
        short: None,
        value: Some("NAME"),
        many: true,
        verbs: BOTH,
        help: "Record this message header too",
        set: |settings, text| add(&mut settings.headers, value::header(text)),
    },
    Opt {
        name: "redact",
        short: None,
        value: Some("RULE"),
        many: true,
        verbs: BOTH,
        help: "Hide more than secrets known by name: header:NAME, query:NAME, body:KEY or body:all",
        set: |settings, text| add(&mut settings.redact, value::redaction(text)),
    },
    Opt {
        name: "user",
        short: None,
        value: Some("RULE"),
        many: true,
        verbs: BOTH,
        help: "Tell who a request was made for (user.id), by header:NAME or, of a bearer's token, claim:NAME",
        set: |settings, text| add(&mut settings.users, value::user(text)),
    },
    Opt {
        name: "db-values",
        short: None,
        value: None,
        many: false,
        verbs: BOTH,
        help: "Show values in calls to databases: literals, parameters, arguments, messages",
        set: |settings, text| put(&mut settings.db_values, value::switch(text)),
    },
    Opt {
        name: "unknown-protocols",
        short: None,
        value: None,
        many: false,
        verbs: BOTH,
        help: "Show TCP connections that speak nothing Clew decodes too: a span for each question and its answer",
        set: |settings, text| put(&mut settings.unknown_protocols, value::switch(text)),
    },
    Opt {
        name: "service-name",
        short: None,
        value: Some("NAME"),
        many: false,
        verbs: BOTH,
        help: "Name every traced service so, whatever it says itself",
        set: |settings, text| put(&mut settings.service_name, value::text(text).map(Some)),
    },
    Opt {
        name: "duration",
        short: None,
        value: Some("TIME"),
        many: false,
        verbs: BOTH,
        help: "Stop tracing after this time, such as 10s or 2m",
        set: |settings, text| put(&mut settings.duration, value::duration(text).map(Some)),
    },
    Opt {
        name: "capture",
        short: None,
        value: Some("MODE"),
        many: false,
        verbs: BOTH,
        help: "Capture at the socket (Linux 6.3), at every syscall (5.10), or auto [default: auto]",
        set: |settings, text| put(&mut settings.capture, capture(text)),
    },
    Opt {
        name: "assist",
        short: None,
        value: Some("MODE"),
        many: false,
        verbs: RUN,
        help: "Have Node.js and Java tell which request they work for, by hooks in NODE_OPTIONS and JAVA_TOOL_OPTIONS: auto or off [default: auto]",
        set: |settings, text| put(&mut settings.assist, auto_or_off(text)),
    },
    Opt {
        name: "contexts",
        short: None,
        value: Some("MODE"),
        many: false,
        verbs: BOTH,
        help: "Follow goroutines, tasks and virtual threads: auto or off, which links no call below the thread [default: auto]",
        set: |settings, text| put(&mut settings.contexts, auto_or_off(text)),
    },
    Opt {
        name: "times",
        short: None,
        value: Some("MODE"),
        many: false,
        verbs: BOTH,
        help: "Tell where a request's time went, on a CPU, waiting for one or blocked: auto or off [default: in run auto, in attach off]",
        set: |settings, text| put(&mut settings.times, auto_or_off(text)),
    },
    Opt {
        name: "logs",
        short: None,
        value: Some("MODE"),
        many: false,
        verbs: BOTH,
        help: "Put what programs write to stdout, stderr and log files on the spans it was written for: on or off [default: on in run, off in attach]",
        set: |settings, text| put(&mut settings.logs, on_or_off(text)),
    },
    Opt {
        name: "stacks",
        short: None,
        value: Some("MODE"),
        many: false,
        verbs: BOTH,
        help: "Tell where in programs calls were made: auto or off [default: in run auto, in attach off]",
        set: |settings, text| put(&mut settings.stacks, auto_or_off(text)),
    },
    Opt {
        name: "store",
        short: None,
        value: Some("DIR"),
        many: false,
        verbs: BOTH,
        help: "Keep traces in this folder, for clew traces [default: in run, clew in the XDG state directory]",
        set: |settings, text| {
            settings.keep = true;
            put(&mut settings.store, value::text(text).map(|path| Some(path.into())))
        },
    },
    Opt {
        name: "store-size",
        short: None,
        value: Some("BYTES"),
        many: false,
        verbs: BOTH,
        help: "Let the oldest traces go when the store is larger than this [default: 1GiB]",
        set: |settings, text| put(&mut settings.store_size, store_size(text)),
    },
    Opt {
        name: "store-age",
        short: None,
        value: Some("TIME"),
        many: false,
        verbs: BOTH,
        help: "Let traces go that are older than this [default: 7d]",
        set: |settings, text| put(&mut settings.store_age, value::duration(text)),
    },
    Opt {
        name: "listen",
        short: None,
        value: Some("ADDR"),
        many: false,
        verbs: BOTH,
        help: "Show the store's traces at this address [default: in run, the next free port from 127.0.0.1:9911]",
        set: |settings, text| {
            settings.keep = true;
            put(&mut settings.listen, value::address(text).map(Some))
        },
    },
    Opt {
        name: "no-ui",
        short: None,
        value: None,
        many: false,
        verbs: RUN,
        help: "Show traces on no port but one that was asked for",
        set: |settings, text| {
            settings.ui = !value::switch(text)?;
            Ok(())
        },
    },
    Opt {
        name: "otlp-listen",
        short: None,
        value: Some("ADDR"),
        many: false,
        verbs: BOTH,
        help: "Take the spans that programs' own SDKs send to this address by OTLP, gRPC or HTTP, into the store",
        set: |settings, text| {
            settings.keep = true;
            put(&mut settings.otlp_listen, value::address(text).map(Some))
        },
    },
    Opt {
        name: "no-store",
        short: None,
        value: None,
        many: false,
        verbs: BOTH,
        help: "Keep no traces",
        set: |settings, text| {
            settings.keep &= !value::switch(text)?;
            Ok(())
        },
    },
    Opt {
        name: "as-root",
        short: None,
        value: None,
        many: false,
        verbs: RUN,
        help: "Under sudo, run the command as root instead of as the calling user",
        set: |settings, text| put(&mut settings.as_root, value::switch(text)),
    },
    Opt {
        name: "verbose",
        short: Some('v'),
        value: None,
        many: false,
        verbs: BOTH,
        help: "Say more of what Clew itself does",
        set: |settings, text| verbosity(settings, text, Verbosity::Verbose),
    },
    Opt {
        name: "quiet",
        short: Some('q'),
        value: None,
        many: false,
        verbs: BOTH,
        help: "Say nothing but errors",
        set: |settings, text| verbosity(settings, text, Verbosity::Quiet),
    },
];

fn put<T>(place: &mut T, value: Result<T, String>) -> Result<(), String> {
    *place = value?;
    Ok(())
}

fn add<T>(list: &mut Vec<T>, value: Result<T, String>) -> Result<(), String> {
    list.push(value?);
    Ok(())
}

fn target(settings: &mut Settings, rule: Result<Rule, RuleError>) -> Result<(), String> {
    match rule {
        Ok(rule) => add(&mut settings.targets, Ok(rule)),
        Err(RuleError::Value { why, .. }) => Err(why.to_owned()),
        Err(other) => Err(other.to_string()),
    }
}

fn format(text: &str) -> Result<Format, String> {
    match text {
        "tree" => Ok(Format::Tree),
        "json" => Ok(Format::Json),
        "none" => Ok(Format::None),
        _ => Err("tree, json or none is wanted".to_owned()),
    }
}

fn capture(text: &str) -> Result<Option<Capture>, String> {
    match text {
        "auto" => Ok(None),
        "socket" => Ok(Some(Capture::Socket)),
        "syscall" => Ok(Some(Capture::Syscall)),
        _ => Err("auto, socket or syscall is wanted".to_owned()),
    }
}

fn auto_or_off(text: &str) -> Result<bool, String> {
    match text {
        "auto" => Ok(true),
        "off" => Ok(false),
        _ => Err("auto or off is wanted".to_owned()),
    }
}

fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("on or off is wanted".to_owned()),
    }
}

fn head_bytes(text: &str) -> Result<u32, String> {
    /// Less does not hold a request line.
    const LEAST: u32 = 64;
    let bytes = value::bytes(text, MOST_HEAD_BYTES)?;
    if bytes < LEAST {
        return Err(format!("at least {LEAST} is wanted"));
    }
    Ok(bytes)
}

fn store_size(text: &str) -> Result<u64, String> {
    /// Less does not hold what is written at once.
    const LEAST: u64 = 8 << 20;
    let bytes = value::bytes_long(text).filter(|bytes| *bytes >= LEAST);
    bytes.ok_or_else(|| "a number of bytes such as 512MiB or 2GiB is wanted, at least 8MiB".to_owned())
}

fn verbosity(settings: &mut Settings, text: &str, level: Verbosity) -> Result<(), String> {
    if value::switch(text)? {
        settings.verbosity = level;
    }
    Ok(())
}
