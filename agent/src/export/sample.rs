//! Made-up spans for the tests of the outputs.
use std::sync::Arc;

use super::{Finished, Host};
use crate::capture::Pid;
use crate::discover::{Process, Runtime};
use crate::span::{Span, SpanKind, Status, Value};
use crate::trace::Placed;

/// A trace id with every digit in it.
pub(crate) const TRACE: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255];

pub(crate) fn host() -> Host {
    Host {
        name: Some("box".to_owned()),
        id: Some("1d".to_owned()),
        arch: "amd64",
        description: Some("An OS".to_owned()),
    }
}

pub(crate) fn process(pid: u32, service: &str, runtime: Runtime) -> Process {
    Process {
        pid: Pid(pid),
        exe: format!("/usr/bin/{service}"),
        args: Vec::new(),
        service: service.to_owned(),
        service_namespace: None,
        runtime,
        container: None,
        resource: Vec::new(),
    }
}

/// A native process of this service.
pub(crate) fn service(name: &str) -> Arc<Process> {
    Arc::new(process(1, name, Runtime::Native))
}

/// Builds a span.
pub(crate) struct Sample(Placed);

impl Sample {
    pub(crate) fn server(id: u64, process: &Arc<Process>) -> Self {
        Self::new(id, process, SpanKind::Server)
    }

    pub(crate) fn client(id: u64, process: &Arc<Process>) -> Self {
        Self::new(id, process, SpanKind::Client)
    }

    pub(crate) fn producer(id: u64, process: &Arc<Process>) -> Self {
        Self::new(id, process, SpanKind::Producer)
    }

    pub(crate) fn consumer(id: u64, process: &Arc<Process>) -> Self {
        Self::new(id, process, SpanKind::Consumer)
    }

    fn new(id: u64, process: &Arc<Process>, kind: SpanKind) -> Self {
        Self(Placed {
            trace_id: TRACE,
            span_id: id.to_be_bytes(),
            parent_id: None,
            trace_state: String::new(),
            flags: 1,
            process: Arc::clone(process),
            links: Vec::new(),
            parent_is_remote: false,
            logs: Vec::new(),
            span: Span {
                kind,
                name: "GET".into(),
                start_ns: 0,
                end_ns: 1,
                attributes: Vec::new(),
                named: Vec::new(),
                status: Status::Unset,
                events: Vec::new(),
            },
        })
    }

    pub(crate) fn trace(mut self, id: u64) -> Self {
        self.0.trace_id[8..].copy_from_slice(&id.to_be_bytes());
        self
    }

    pub(crate) fn parent(mut self, id: u64) -> Self {
        self.0.parent_id = Some(id.to_be_bytes());
        self
    }

    pub(crate) fn remote(mut self) -> Self {
        self.0.parent_is_remote = true;
        self
    }

    pub(crate) fn at(mut self, start_ns: u64, end_ns: u64) -> Self {
        self.0.span.start_ns = start_ns;
        self.0.span.end_ns = end_ns;
        self
    }

    /// Between these milliseconds.
    pub(crate) fn ms(self, start: u64, end: u64) -> Self {
        self.at(start * 1_000_000, end * 1_000_000)
    }

    pub(crate) fn with(mut self, key: &'static str, value: Value) -> Self {
        self.0.span.attributes.push((key, value));
        self
    }

    /// An HTTP request to a path with a status.
    pub(crate) fn http(self, method: &str, path: &str, status: i64) -> Self {
        let path_key = match self.0.span.kind {
            SpanKind::Client => ("url.full", format!("http://127.0.0.1:80{path}")),
            _ => ("url.path", path.to_owned()),
        };
        let mut span = self
            .with("http.request.method", Value::Text(method.into()))
            .with(path_key.0, Value::Text(path_key.1.into()))
            .with("http.response.status_code", Value::Int(status));
        span.0.span.name = method.into();
        span
    }

    pub(crate) fn error(mut self, message: &str) -> Self {
        self.0.span.status = Status::Error(message.to_owned());
        self
    }

    pub(crate) fn state(mut self, text: &str) -> Self {
        self.0.trace_state = text.to_owned();
        self
    }

    pub(crate) fn done(self) -> Finished {
        Arc::new(self.0)
    }
}
