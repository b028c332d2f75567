//! Where spans go: a collector, a file, the terminal.
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::SessionError;
use crate::config::{Settings, Verbosity};
use crate::export::file::OtlpFile;
use crate::export::otlp::{Exporter, Settings as OtlpSettings};
use crate::export::{Clock, Finished, Host, Warn};
use crate::telemetry::Counters;
use crate::trace::Placed;

/// How long outputs may take to bring home what they hold.
const LAST: Duration = Duration::from_secs(5);

pub(super) struct Outputs {
    otlp: Option<Exporter>,
    file: Option<OtlpFile>,
    clock: Clock,
    counters: Counters,
    verbosity: Verbosity,
}

impl Outputs {
    /// Opens what the settings name.
    pub(super) fn open(
        settings: &Settings,
        owner: Option<(u32, u32)>,
        counters: Counters,
    ) -> Result<Self, SessionError> {
        let clock = Clock::now();
        let host = Host::read(Path::new("/"));
        let warn: Warn = Arc::new(|line| eprintln!("clew: {line}"));
        let variable = |name: &str| std::env::var(name).ok();
        let otlp = match OtlpSettings::resolve(settings.otlp.as_deref(), variable)? {
            Some(target) => Some(Exporter::start(
                &target,
                host.clone(),
                clock.clone(),
                counters.clone(),
                Arc::clone(&warn),
            )?),
            None => None,
        };
        let file = match &settings.otlp_file {
            Some(path) => {
                let path = path.to_string_lossy();
                let file = OtlpFile::open(&path, owner, host, clock.clone(), counters.clone(), warn)
                    .map_err(|source| file_error(&path, source))?;
                Some(file)
            }
            None => None,
        };
        Ok(Self {
            otlp,
            file,
            clock,
            counters,
            verbosity: settings.verbosity,
        })
    }

    /// Tells that tracing has begun.
    pub(super) fn begin(&self, what: &str) {
        if self.verbosity > Verbosity::Quiet {
            eprintln!("clew: {what}");
        }
    }

    pub(super) fn push(&mut self, span: Placed) {
        let span: Finished = Arc::new(span);
        self.counters.raise("trace.spans");
        if let Some(otlp) = &self.otlp {
            otlp.push(Arc::clone(&span));
        }
        if let Some(file) = &self.file {
            file.push(Arc::clone(&span));
        }
    }

    pub(super) fn tick(&mut self, _now_ns: u64) {
        self.clock.resample();
    }

    /// Brings home what is held, and sums up.
    pub(super) async fn end(self) {
        if let Some(otlp) = self.otlp {
            otlp.shutdown(LAST).await;
        }
        if let Some(file) = self.file {
            file.close(LAST);
        }
        if self.verbosity > Verbosity::Quiet {
            for (name, value) in self.counters.snapshot() {
                eprintln!("{name} {value}");
            }
        }
    }
}

fn file_error(path: &str, source: io::Error) -> SessionError {
    SessionError::File {
        path: path.to_owned(),
        source,
    }
}
