//! `--otlp-file`: OTLP JSON, one `ExportTraceServiceRequest` a line.
//!
//! The format is that of the OpenTelemetry file exporter (specification, "OpenTelemetry Protocol File Exporter") in the
//! JSON mapping of OTLP: ids in lowercase hex, enums as numbers, 64-bit integers as strings. A thread of its own writes,
//! so that a slow disk or a reader that does not read holds up nothing; spans it cannot write are counted
//! `export.file_failed`, spans it is too slow for `export.file_queue_full`.
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use super::bounded::Bounds;
use super::otlp::{Traces, write_logs_request, write_request};
use super::waiting::Queue;
use super::{Clock, Finished, Host, Logged, Warn};
use crate::priority;
use crate::telemetry::Counters;
use crate::trace::Loose;

/// What waits to be written at most: a second of programs that pipeline calls as fast as they can, for a machine on which the writer has to
/// wait for a CPU.
const QUEUE: Bounds = Bounds {
    spans: 200_000,
    bytes: 64 << 20,
};
/// What a line holds at most.
const LINE: Bounds = Bounds {
    spans: 512,
    bytes: 1 << 20,
};
/// The longest a span waits for its line to fill.
const LINE_WAIT: Duration = Duration::from_millis(200);

/// Writes spans to a file in the background.
pub struct OtlpFile {
    queue: Arc<Queue<Logged>>,
    done: oneshot::Receiver<()>,
    /// Spans that were queued and neither written nor given up.
    waiting: Arc<AtomicU64>,
    counters: Counters,
}

impl OtlpFile {
    /// Opens the file, emptying one that exists; `-` is standard output. A new file is readable by its owner only, and
    /// belongs to `owner` (user and group id) where one is given: the caller of sudo.
    ///
    /// # Errors
    /// The file cannot be opened. With an `owner`, a symbolic link is refused: the caller of sudo may write to the
    /// directory, but not make root write elsewhere.
    pub fn open(
        path: &str,
        owner: Option<(u32, u32)>,
        host: Host,
        clock: Clock,
        counters: Counters,
        warn: Warn,
    ) -> io::Result<Self> {
        let out: Box<dyn Write + Send> = match path {
            "-" => Box::new(io::stdout()),
            path => Box::new(open(Path::new(path), owner)?),
        };
        let name = if path == "-" { "standard output" } else { path };
        Self::start(out, name, host, clock, counters, warn)
    }

    fn start(
        out: Box<dyn Write + Send>,
        name: &str,
        host: Host,
        clock: Clock,
        counters: Counters,
        warn: Warn,
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(QUEUE, LINE, LINE_WAIT));
        let spans = Arc::clone(&queue);
        let (finished, done) = oneshot::channel();
        let waiting = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            out,
            name: name.to_owned(),
            host,
            clock,
            counters: counters.clone(),
            warn,
            waiting: Arc::clone(&waiting),
            failed: false,
            line: Vec::new(),
            traces: Traces::default(),
        };
        let thread = std::thread::Builder::new().name("clew-file".to_owned());
        thread.spawn(move || {
            priority::prefer();
            writer.run(&spans);
            let _nobody_waits = finished.send(());
        })?;
        Ok(Self {
            queue,
            done,
            waiting,
            counters,
        })
    }

    /// Queues a span. Never waits.
    pub fn push(&self, span: Finished) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if !self.queue.push(Logged::OfSpan(span)) {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.counters.raise("export.file_queue_full");
        }
    }

    /// Queues a record of a log that no span takes along. Never waits.
    pub fn push_log(&self, loose: Arc<Loose>) {
        if !self.queue.push(Logged::Alone(loose)) {
            self.counters.raise("export.logs_dropped");
        }
    }

    /// Whether a span of usual size would be taken.
    pub fn has_room(&self) -> bool {
        self.queue.has_room()
    }

    /// Writes what waits, within `limit` and until `hurry` is over. Gives the spans that could not be written by then; they
    /// are counted `export.file_failed`.
    pub async fn close(mut self, limit: Duration, hurry: impl Future<Output = ()>) -> u64 {
        self.queue.close();
        let written = tokio::select! {
            done = tokio::time::timeout(limit, &mut self.done) => done.is_ok(),
            () = hurry => false,
        };
        let left = if written {
            0
        } else {
            self.waiting.load(Ordering::Relaxed)
        };
        self.counters.add("export.file_failed", left);
        left
    }
}

impl Drop for OtlpFile {
    fn drop(&mut self) {
        self.queue.close();
    }
}

fn open(path: &Path, owner: Option<(u32, u32)>) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    if owner.is_some() && !path.starts_with("/dev") {
        options.custom_flags(nix::libc::O_NOFOLLOW);
    }
    match options.clone().create_new(true).open(path) {
        Ok(file) => {
            // The umask may have taken bits away.
            file.set_permissions(Permissions::from_mode(0o600))?;
            if let Some((user, group)) = owner {
                fchown(&file, Some(user), Some(group))?;
            }
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.truncate(true).open(path),
        Err(error) => Err(error),
    }
}

struct Writer {
    out: Box<dyn Write + Send>,
    name: String,
    host: Host,
    clock: Clock,
    counters: Counters,
    warn: Warn,
    waiting: Arc<AtomicU64>,
    /// The user has been told.
    failed: bool,
    /// The line being made; kept for its memory.
    line: Vec<u8>,
    traces: Traces,
}

impl Writer {
    fn run(mut self, spans: &Queue<Logged>) {
        while let Some(batch) = spans.batch() {
            self.write(&batch);
        }
    }

    fn write(&mut self, batch: &[Logged]) {
        let (host, clock) = (&self.host, &self.clock);
        self.line.clear();
        let spans: Vec<Finished> = batch.iter().filter_map(Logged::span).cloned().collect();
        if !spans.is_empty() {
            write_request(&spans, host, clock, &mut self.traces, &mut self.line);
            self.line.push(b'\n');
        }
        let records: usize = batch.iter().map(|logged| logged.records().len()).sum();
        if records > 0 {
            write_logs_request(batch, host, clock, &mut self.line);
            self.line.push(b'\n');
        }
        let batch = spans;
        // In one piece, so that a full disk leaves at most one broken line.
        let written = self.out.write_all(&self.line).and_then(|()| self.out.flush());
        let spans = batch.len() as u64;
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
        match written {
            Ok(()) => {
                self.counters.add("export.spans", spans);
                self.counters.add("export.logs", records as u64);
            }
            Err(error) => {
                self.counters.add("export.file_failed", spans);
                self.counters.add("export.logs_dropped", records as u64);
                if !std::mem::replace(&mut self.failed, true) {
                    let name = &self.name;
                    (self.warn)(&format!(
                        "failed to write spans to {name}: {error}; they are dropped and counted (export.file_failed)"
                    ));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;
    use std::os::unix::fs::symlink;
    use std::sync::{Arc, Mutex};

    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

    use super::*;
    use crate::export::sample::{Sample, service};

    fn close(file: OtlpFile, limit: Duration) -> u64 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let closed = file.close(limit, std::future::pending());
        runtime.expect("a runtime").block_on(closed)
    }

    /// Writes `spans` spans to `path`; gives counters and warnings.
    fn write(path: &str, owner: Option<(u32, u32)>, spans: u64) -> (Counters, Vec<String>) {
        let (counters, warnings) = (Counters::new(), Arc::new(Mutex::new(Vec::new())));
        let said = Arc::clone(&warnings);
        let warn: Warn = Arc::new(move |line| said.lock().expect("no panic").push(line.to_owned()));
        let file = OtlpFile::open(path, owner, Host::default(), Clock::at(0), counters.clone(), warn);
        let file = file.expect("a file");
        let process = service("a");
        for id in 1..=spans {
            file.push(Sample::server(id, &process).done());
        }
        assert_eq!(close(file, Duration::from_secs(60)), 0);
        let warnings = warnings.lock().expect("no panic").clone();
        (counters, warnings)
    }

    #[test]
    fn lines_can_be_read_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("spans.jsonl");
        let path = path.to_str().expect("text");
        for spans in [2, 1300, 0] {
            let (counters, warnings) = write(path, None, spans);
            let text = std::fs::read_to_string(path).expect("a file");
            let lines: Vec<ExportTraceServiceRequest> = text
                .lines()
                .map(|line| serde_json::from_str(line).expect("a request"))
                .collect();
            let ids: Vec<u64> = lines
                .iter()
                .flat_map(|line| &line.resource_spans[0].scope_spans[0].spans)
                .map(|span| u64::from_be_bytes(span.span_id.clone().try_into().expect("8 bytes")))
                .collect();
            assert_eq!(ids, (1..=spans).collect::<Vec<_>>());
            assert_eq!((counters.value("export.spans"), warnings.len()), (spans, 0));
            assert!(text.is_empty() || text.ends_with('\n'));
        }
        let mode = std::fs::metadata(path).expect("a file").mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_full_disk_is_reported_once() {
        let (counters, warnings) = write("/dev/full", None, 2000);
        assert_eq!(counters.value("export.file_failed"), 2000);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].contains("/dev/full") && warnings[0].contains("No space left"),
            "{warnings:?}"
        );
    }

    #[test]
    fn the_owner_is_the_caller() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let me = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        // Only root can give a file away; anyone can keep it.
        let owner = if me.0 == 0 { (4242, 4243) } else { me };
        write(at("new").to_str().expect("text"), Some(owner), 1);
        let found = std::fs::metadata(at("new")).expect("a file");
        assert_eq!(
            (found.uid(), found.gid(), found.mode() & 0o777),
            (owner.0, owner.1, 0o600)
        );

        std::fs::write(at("precious"), "kept").expect("a file");
        symlink(at("precious"), at("link")).expect("a link");
        let refused = open(&at("link"), Some(owner)).expect_err("a link");
        assert_eq!(refused.raw_os_error(), Some(nix::libc::ELOOP));
        assert_eq!(std::fs::read_to_string(at("precious")).expect("a file"), "kept");
        open(&at("link"), None).expect("followed without an owner");
    }

    #[test]
    fn a_reader_that_does_not_read_holds_up_nothing() {
        let (_reader, writer) = io::pipe().expect("a pipe");
        let counters = Counters::new();
        let file = OtlpFile::start(
            Box::new(writer),
            "a pipe",
            Host::default(),
            Clock::at(0),
            counters.clone(),
            Arc::new(|_| ()),
        );
        let file = file.expect("a thread");
        let span = Sample::server(1, &service("a")).done();
        // The pipe takes no whole line of so many spans, and the queue is smaller than the rest.
        for _ in 0..QUEUE.spans + 2 * LINE.spans {
            file.push(Finished::clone(&span));
        }
        assert!(counters.value("export.file_queue_full") > 0);
        let before = counters.value("export.file_queue_full");
        let left = close(file, Duration::ZERO);
        let span_count = (QUEUE.spans + 2 * LINE.spans) as u64;
        assert!(left > 0 && before + left <= span_count, "{left} of {span_count}");
        assert_eq!(counters.value("export.file_failed"), left);
    }
}
