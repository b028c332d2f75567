//! What the user set, from flags, variables and a file.
//!
//! One table, [`OPTIONS`], defines every option's flag, `CLEW_*` variable and key in `clew.yaml` at once. Precedence:
//! flag, variable, file, default. What is not in the table is an error that names the nearest that is.
mod option;
mod source;
mod value;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use option::{OPTIONS, Opt, Verb};
pub use source::{ConfigError, Flags, resolve};

use crate::attach::Capture;
use crate::discover::Rule;

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `attach`: which processes to trace.
    pub targets: Vec<Rule>,
    /// Where to send spans: `grpc(s)://host:port` or `http(s)://host:port/path`. None leaves it to the standard
    /// `OTEL_EXPORTER_OTLP_*` variables.
    pub otlp: Option<String>,
    /// File for OTLP JSON, one request a line; `-` is the standard output.
    pub otlp_file: Option<PathBuf>,
    /// Bytes of the first part of each message that are read, its head as a rule.
    pub head_bytes: u32,
    /// Bytes of each message's body that are kept.
    pub body_bytes: u32,
    /// They are on spans that are exported, too, and not in the store alone.
    pub otlp_bodies: bool,
    /// What to hide in spans beyond what is hidden by default: `header:NAME`, `query:NAME`, `body:all`.
    pub redact: Vec<String>,
    /// Where the name stands of whoever a request is made for: `header:NAME`, `claim:NAME`.
    pub users: Vec<String>,
    /// Values in calls to databases are shown.
    pub db_values: bool,
    /// Whether connections that speak nothing known are told by their turns.
    pub unknown_protocols: bool,
    /// Names of further message headers to record, in lower case.
    pub headers: Vec<String>,
    /// `service.name` of all targets, whatever they say.
    pub service_name: Option<String>,
    /// How to capture; none lets the kernel's abilities decide.
    pub capture: Option<Capture>,
    /// End after this time.
    pub duration: Option<Duration>,
    /// What to show of traces.
    pub format: Format,
    /// `run`: the command keeps root under sudo.
    pub as_root: bool,
    /// `run`: runtimes are handed hooks that tell of their contexts.
    pub assist: bool,
    /// Calls tell where in their programs they were made.
    pub stacks: bool,
    /// Spans tell where threads' time went.
    pub times: bool,
    /// Execution contexts below the thread are followed.
    pub contexts: bool,
    /// What programs log is put on spans.
    pub logs: bool,
    /// Traces are kept in the store.
    pub keep: bool,
    /// Its folder; none is the default one.
    pub store: Option<PathBuf>,
    /// What it may hold.
    pub store_size: u64,
    /// How long a trace is kept.
    pub store_age: Duration,
    /// Where the store is shown.
    pub listen: Option<SocketAddr>,
    /// It is shown on a free port where none was named.
    pub ui: bool,
    /// Where programs' own SDKs may send spans to.
    pub otlp_listen: Option<SocketAddr>,
    /// What Clew says of itself on its standard error.
    pub verbosity: Verbosity,
}

/// What to show of traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Trees, for people, on the standard error.
    Tree,
    /// One JSON object a trace, on the standard output.
    Json,
    /// Nothing.
    None,
}

/// What Clew says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors.
    Quiet,
    /// What a user should know.
    Normal,
    /// What helps to find out why something is not seen.
    Verbose,
}

impl Settings {
    /// The defaults of a command.
    pub const fn new(verb: Verb) -> Self {
        let body_bytes = match verb {
            Verb::Run => option::RUN_BODY_BYTES,
            Verb::Attach => 0,
        };
        Self {
            targets: Vec::new(),
            otlp: None,
            otlp_file: None,
            head_bytes: option::HEAD_BYTES,
            body_bytes,
            otlp_bodies: false,
            redact: Vec::new(),
            users: Vec::new(),
            db_values: false,
            unknown_protocols: false,
            headers: Vec::new(),
            service_name: None,
            capture: None,
            duration: None,
            format: Format::Tree,
            as_root: false,
            assist: true,
            contexts: true,
            times: matches!(verb, Verb::Run),
            logs: matches!(verb, Verb::Run),
            stacks: matches!(verb, Verb::Run),
            keep: matches!(verb, Verb::Run),
            store: None,
            store_size: option::STORE_SIZE,
            store_age: option::STORE_AGE,
            listen: None,
            ui: matches!(verb, Verb::Run),
            otlp_listen: None,
            verbosity: Verbosity::Normal,
        }
    }
}
