//! The `clew` command as a user starts it.
use std::ffi::OsString;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value as Json;

use crate::http::asked;
use crate::lab::Lab;
use crate::outcome::Outcome;
use crate::process::{Proc, without_own};
use crate::wait::until;

/// A `clew` command line under construction, with `--otlp-file` into the lab.
#[derive(Debug)]
pub struct Clew<'a> {
    lab: &'a Lab,
    verb: &'static str,
    format: &'static str,
    args: Vec<OsString>,
    env: Vec<(String, String)>,
    otlp: PathBuf,
}

/// A `clew` that runs.
#[derive(Debug)]
pub struct ClewRun {
    /// The process.
    pub proc: Proc,
    otlp: PathBuf,
}

impl<'a> Clew<'a> {
    /// `clew run`.
    pub fn run(lab: &'a Lab) -> Self {
        Self::new(lab, "run")
    }

    /// `clew attach`.
    pub fn attach(lab: &'a Lab) -> Self {
        Self::new(lab, "attach")
    }

    fn new(lab: &'a Lab, verb: &'static str) -> Self {
        let otlp = lab.dir().join("spans.jsonl");
        let args = vec!["--otlp-file".into(), otlp.clone().into()];
        Self {
            lab,
            verb,
            format: "none",
            args,
            env: Vec::new(),
            otlp,
        }
    }

    /// What is shown of traces; nothing unless asked for.
    #[must_use]
    pub fn format(mut self, format: &'static str) -> Self {
        self.format = format;
        self
    }

    /// Further options.
    #[must_use]
    pub fn args<S: Into<OsString> + Clone>(mut self, args: &[S]) -> Self {
        self.args.extend(args.iter().cloned().map(Into::into));
        self
    }

    /// A variable in Clew's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts `clew run ... -- argv`.
    pub fn start<S: Into<OsString> + Clone>(mut self, argv: &[S]) -> ClewRun {
        self.args.push("--".into());
        self.args(argv).spawn()
    }

    /// Starts `clew attach ...` and waits until it says that it traces.
    pub fn tracing(self) -> ClewRun {
        let mut run = self.spawn();
        until("clew says that it is tracing", || {
            if let Some(code) = run.proc.ended() {
                panic!("clew ended with {code} instead of tracing:\n{}", run.proc.stderr());
            }
            run.proc
                .stderr()
                .lines()
                .any(|line| line.contains("tracing"))
                .then_some(())
        });
        run
    }

    /// Runs `clew run ... -- argv` to its end. The command must succeed.
    pub fn traced<S: Into<OsString> + Clone>(self, argv: &[S]) -> Outcome {
        let outcome = self.start(argv).wait();
        outcome.check(outcome.code == 0, "the traced command failed");
        outcome
    }

    /// Starts the command line as it is.
    pub fn spawn(self) -> ClewRun {
        let mut command = Command::new(Lab::clew());
        command.args([self.verb, "--format", self.format]);
        // What a test does not look at it does not pay for.
        if !self.args.iter().any(|arg| arg == "--store") {
            command.arg("--no-store");
        }
        command.args(&self.args).envs(self.env);
        command.current_dir(self.lab.dir());
        without_own(&mut command, &["OTEL_", "CLEW_", "SUDO_"]);
        let proc = Proc::start(self.lab.dir(), "clew", command);
        ClewRun { proc, otlp: self.otlp }
    }
}

impl ClewRun {
    /// The spans written so far.
    pub fn otlp(&self) -> String {
        let text = std::fs::read_to_string(&self.otlp).unwrap_or_default();
        // The last line may be half written.
        text.rfind('\n')
            .and_then(|end| text.get(..=end))
            .unwrap_or_default()
            .to_owned()
    }

    /// What its API answers under `/api/v1/`, where it was told to show traces (`--listen`).
    pub fn api(&self, path: &str) -> Json {
        let port = until("clew says where traces are shown", || {
            let stderr = self.proc.stderr();
            let (_, rest) = stderr.split_once("shown on http://127.0.0.1:")?;
            rest.split_once('/')?.0.parse::<u16>().ok()
        });
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        let request = format!("GET /api/v1/{path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n");
        let answer = asked(&mut stream, &request).expect("an answer");
        assert_eq!(answer.code, 200, "{}", String::from_utf8_lossy(&answer.body));
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Outcome {
        let code = self.proc.wait();
        let otlp = std::fs::read_to_string(&self.otlp).unwrap_or_default();
        let outcome = Outcome::new(code, self.proc.stdout(), self.proc.stderr(), &otlp);
        outcome.check(!outcome.stderr.contains("panicked at"), "clew panicked");
        outcome
    }

    /// Ctrl-C to Clew; it must end cleanly.
    pub fn stop(self) -> Outcome {
        self.proc.signal(Signal::SIGINT);
        let outcome = self.wait();
        outcome.check(outcome.code == 0, "clew did not end cleanly");
        outcome
    }
}
