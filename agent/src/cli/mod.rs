//! The command line: what was asked for, done.
//!
//! Exit codes: 0; 2 bad usage or configuration; 3 the host cannot do it; once the command runs, always its own (128 + n
//! after signal n, 126 or 127 if it could not start); 1 the rest. Clew writes to its standard error, save for what a
//! query command answers.
mod ask;
mod mcp;
mod parents;
mod parse;
mod traces;

use std::ffi::OsString;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::attach;
use crate::capture::Pid;
use crate::config::{Settings, Verbosity};
use crate::discover::{Proc, Rules};
use crate::doctor::{Host, Report};
use crate::redact;
use crate::run::{Assist, Child, Identity, Signals};
use crate::serve::{self, Server};
use crate::session::{self, Session, SessionError, Start};
use crate::store::default_folder;
use crate::store::sqlite::SqliteReader;
use parse::{Asked, Refused};

/// Exit code for what has no other.
const FAILED: u8 = 1;
/// Exit code for bad usage or configuration.
const USAGE: u8 = 2;
/// Exit code for a host that cannot do it.
const HOST: u8 = 3;

/// Why Clew ends without having done what was asked, and with which exit code.
#[derive(Debug)]
struct Failure {
    code: u8,
    error: anyhow::Error,
}

impl Failure {
    fn new(code: u8, error: impl Into<anyhow::Error>) -> Self {
        Self {
            code,
            error: error.into(),
        }
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        let code = match &error {
            SessionError::Attach(_) => HOST,
            SessionError::Output(_) | SessionError::Redact(_) | SessionError::Store(_) => USAGE,
            SessionError::NotStarted(error) => error.code(),
            SessionError::Serve(_) => FAILED,
            SessionError::NoProcess(_) | SessionError::File { .. } | SessionError::Agent(..) => FAILED,
        };
        Self::new(code, error)
    }
}

/// Does what the arguments and the environment ask for.
pub fn main() -> ExitCode {
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
        .collect::<Vec<_>>();
    let code = match parse::parse(std::env::args_os(), &variables) {
        Ok(asked) => carry_out(asked).unwrap_or_else(|failure| {
            // The whole chain of causes, once.
            say(&format!("{:#}", failure.error));
            failure.code
        }),
        Err(Refused::Usage(error)) => {
            // Help and version are no errors and go to the standard output.
            let _closed = error.print();
            u8::try_from(error.exit_code()).unwrap_or(USAGE)
        }
        Err(Refused::Config(error)) => {
            say(&format!("{:#}", anyhow::Error::from(error)));
            USAGE
        }
    };
    ExitCode::from(code)
}

fn carry_out(asked: Asked) -> Result<u8, Failure> {
    match asked {
        Asked::Run { settings, command } => run(settings, &command),
        Asked::Attach { settings } => attach(settings),
        Asked::Host { json } => {
            let report = Report::of(&Host::read());
            answer(&if json { ask::json(&report) } else { report.text() });
            Ok(if report.possible { 0 } else { HOST })
        }
        Asked::Process { pid, json } => match ask::process(pid) {
            Ok(found) => {
                answer(&if json { found.json() } else { found.text() });
                Ok(0)
            }
            Err(error) => Err(Failure::new(FAILED, error)),
        },
        Asked::Ui { store, listen } => {
            let folder = traces::folder(store).map_err(|error| Failure::new(USAGE, error))?;
            serve(folder, listen).map_err(|error| Failure::new(FAILED, error))
        }
        Asked::Mcp { store } => {
            let folder = traces::folder(store).map_err(|error| Failure::new(USAGE, error))?;
            mcp::serve(&folder).map_err(|error| Failure::new(FAILED, error))?;
            Ok(0)
        }
        Asked::Traces { store, ask, json } => {
            let folder = traces::folder(store).map_err(|error| Failure::new(USAGE, error))?;
            let text = traces::answer(&folder, &ask, json).map_err(|error| Failure::new(FAILED, error))?;
            answer(&text);
            Ok(0)
        }
    }
}

/// Answers questions about a store until a signal ends it.
fn serve(folder: PathBuf, listen: SocketAddr) -> anyhow::Result<u8> {
    // What is no store is told at once, and not to whoever asks first.
    SqliteReader::open(&folder)?;
    let listening = serve::bind(listen)?;
    say(&format!(
        "the traces in {} are shown on {}; Ctrl-C ends it",
        folder.display(),
        listening.url()
    ));
    let _server = Server::start(listening, folder, || ())?;
    loop {
        std::thread::park();
    }
}

fn run(settings: Settings, command: &[OsString]) -> Result<u8, Failure> {
    check_host(&settings)?;
    let identity = if settings.as_root {
        Identity::unchanged()
    } else {
        Identity::of_caller().map_err(|error| Failure::new(USAGE, error))?
    };
    let assist = settings
        .assist
        .then(Assist::install)
        .transpose()
        .unwrap_or_else(|error| {
            say(&format!(
                "no hooks for Node.js and Java could be written, so calls of theirs have no parents: {error}"
            ));
            None
        });
    let child = Child::spawn(command, &identity, assist.as_ref()).map_err(|error| Failure::new(FAILED, error))?;
    if settings.verbosity == Verbosity::Verbose {
        let who = match identity.owner() {
            Some((uid, gid)) => format!("as user {uid}, group {gid}, who called sudo"),
            None => "as the user of clew".to_owned(),
        };
        say(&format!("the command is process {} and runs {who}", child.pid().0));
    }
    let settings = Settings {
        assist: assist.is_some(),
        ..settings
    };
    let words = command.iter().map(|word| word.to_string_lossy().into_owned());
    let title = redact::arguments(words.collect()).join(" ");
    trace(settings, Start::Command(child), &identity, title)
}

fn attach(settings: Settings) -> Result<u8, Failure> {
    // Without a target there is no use in telling what the host lacks.
    let rules = Rules::new(&settings.targets, &Proc::default(), Pid(std::process::id()))
        .map_err(|error| Failure::new(USAGE, error))?;
    check_host(&settings)?;
    let identity = Identity::of_caller().map_err(|error| Failure::new(USAGE, error))?;
    if settings.verbosity == Verbosity::Verbose {
        let later = if rules.watch_all() { "now and later" } else { "now" };
        say(&format!(
            "{} rules choose what is traced, {later}",
            settings.targets.len()
        ));
    }
    let title = settings
        .targets
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ");
    trace(settings, Start::Attach(rules), &identity, title)
}

fn trace(settings: Settings, start: Start, identity: &Identity, title: String) -> Result<u8, Failure> {
    let store = match (&settings.store, settings.keep) {
        (_, false) => None,
        (Some(folder), true) => Some(folder.clone()),
        (None, true) => default_folder(identity.home(), |name| std::env::var_os(name))
            .inspect_err(|error| say(&format!("traces are not kept: {error}")))
            .ok(),
    };
    // After the command was made, which shall not inherit it, and before there are threads, which shall.
    let signals = Signals::take()
        .map_err(|error| Failure::new(FAILED, anyhow::Error::from(error).context("failed to take signals")))?;
    let session = Session {
        settings,
        start,
        signals,
        owner: identity.owner(),
        store,
        title,
    };
    Ok(session::run(session)?)
}

/// Refuses before anything is started on a host that cannot trace.
fn check_host(settings: &Settings) -> Result<(), Failure> {
    // Where it can be mounted it tells what the host has; where it cannot the report says so.
    let _told = attach::mount_tracefs();
    let report = Report::of(&Host::read());
    if let Some(why) = report.refusal(settings.capture) {
        return Err(Failure::new(HOST, anyhow::Error::msg(why)));
    }
    if settings.verbosity == Verbosity::Verbose {
        say(&format!(
            "Linux {} can capture by {}",
            report.kernel,
            report.capture.join(" and ")
        ));
    }
    Ok(())
}

/// Writes a line to the standard error. One that is closed is no reason to end.
fn say(line: &str) {
    let _closed = writeln!(std::io::stderr().lock(), "clew: {line}");
}

/// Writes an answer to the standard output. A reader that has seen enough is no error.
fn answer(text: &str) {
    let _closed = std::io::stdout().lock().write_all(text.as_bytes());
}
