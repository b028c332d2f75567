//! What this stage's tests begin with: a store with a writer, and what serves it.
use std::any::Any;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;

use super::{Listening, bind};
use crate::export::sample::{Sample, service};
use crate::export::{Clock, Host};
use crate::span::Policy;
use crate::store::sqlite::{Bounds, SqliteStore};
use crate::store::{Setup, Writer};
use crate::telemetry::Counters;

pub(super) struct Lab {
    pub(super) folder: tempfile::TempDir,
    pub(super) writer: Writer,
    pub(super) counters: Counters,
    pub(super) address: SocketAddr,
    /// Serves until it is dropped.
    _serves: Box<dyn Any>,
}

impl Lab {
    /// With what `serve` makes of a port, the store's folder and its writer.
    pub(super) fn new<S: 'static>(serve: impl FnOnce(Listening, &Path, &Writer) -> S) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let counters = Counters::new();
        let setup = Setup {
            command: String::new(),
            host: Host::default(),
            clock: Clock::now(),
            counters: counters.clone(),
            warn: Arc::new(|line| panic!("{line}")),
            policy: Policy::default(),
        };
        let at = folder.path().to_owned();
        let writer = Writer::start(setup, move || SqliteStore::open(&at, Bounds::default())).expect("a writer");
        let listening = bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let (address, _) = listening.endpoint();
        Self {
            _serves: Box::new(serve(listening, folder.path(), &writer)),
            folder,
            writer,
            counters,
            address,
        }
    }

    /// Stores a trace of one span, and waits until it is there.
    pub(super) fn store(&self, id: u64, path: &str) {
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("a clock");
        let now_ns = now.tv_sec() as u64 * 1_000_000_000;
        let before = self.counters.value("store.spans");
        let span = Sample::server(id, &service("shop"))
            .trace(id)
            .at(now_ns, now_ns + 5_000_000);
        self.writer.push(span.http("GET", path, 200).done());
        while self.counters.value("store.spans") == before {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a request as it is.
    pub(super) fn send(&self, request: impl AsRef<[u8]>) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
        // One that is refused may be closed before all of it was sent.
        let _closed = stream.write_all(request.as_ref());
        stream
    }

    /// The code, the head and the body of an answer: `target` has a method before it unless that is GET.
    pub(super) fn ask(&self, target: &str, more: &str) -> (u16, String, Json) {
        let (code, text) = self.exchange(target, more, b"");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        (
            code,
            head.to_lowercase(),
            serde_json::from_str(body).unwrap_or(Json::Null),
        )
    }

    /// Posts JSON; the code and the answer.
    pub(super) fn post(&self, target: &str, body: &str) -> (u16, Json) {
        let more = "Content-Type: application/json\r\n";
        let (code, text) = self.post_as(target, more, body.as_bytes());
        let (_, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        (code, serde_json::from_str(body).unwrap_or(Json::Null))
    }

    /// Posts something; the code and all that came.
    pub(super) fn post_as(&self, target: &str, more: &str, body: &[u8]) -> (u16, String) {
        let more = format!("{more}Content-Length: {}\r\n", body.len());
        self.exchange(&format!("POST {target}"), &more, body)
    }

    fn exchange(&self, target: &str, more: &str, body: &[u8]) -> (u16, String) {
        let host = if more.to_lowercase().contains("host:") {
            String::new()
        } else {
            format!("Host: {}\r\n", self.address)
        };
        let (method, target) = target.split_once(' ').unwrap_or(("GET", target));
        let head = format!("{method} {target} HTTP/1.1\r\n{host}Connection: close\r\n{more}\r\n");
        let mut text = Vec::new();
        // A connection that is reset has said all it will.
        let _reset = self.send([head.as_bytes(), body].concat()).read_to_end(&mut text);
        let text = String::from_utf8_lossy(&text).into_owned();
        let code = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        (code, text)
    }
}
