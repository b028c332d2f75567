//! Go: HTTP/2 of net/http and golang.org/x/net, and grpc-go: where a goroutine takes up a stream, and where a request is asked.
//!
//! One goroutine reads all streams of a connection, and in grpc-go one writes them. What the kernel side reads at these places it
//! compares (`ebpf/src/golang.rs`), so they need not be of a version that is known.
use super::go::Text;

/// The packages of HTTP/2, with the names of a connection's type and of a stream's.
const PACKAGES: [Package; 3] = [
    Package {
        name: "net/http",
        handler: "net/http.(*http2serverConn).runHandler",
        request: "net/http.(*http2clientStream).writeRequest",
    },
    // Since Go 1.27.
    Package {
        name: "net/http",
        handler: "net/http/internal/http2.(*serverConn).runHandler",
        request: "net/http/internal/http2.(*clientStream).writeRequest",
    },
    Package {
        name: "golang.org/x/net/http2",
        handler: "golang.org/x/net/http2.(*serverConn).runHandler",
        request: "golang.org/x/net/http2.(*clientStream).writeRequest",
    },
];

struct Package {
    name: &'static str,
    /// Runs in a goroutine of its own for each stream.
    handler: &'static str,
    /// Runs in a goroutine of its own for each request, which its asker makes.
    request: &'static str,
}

const HANDLE: &str = "google.golang.org/grpc.(*Server).handleStream";
const NEW_STREAM: &str = "google.golang.org/grpc/internal/transport.(*http2Client).NewStream";
const PUT: &str = "google.golang.org/grpc/internal/transport.(*controlBuffer).executeAndPut";
const READER: &str = "google.golang.org/grpc/internal/transport.(*http2Client).reader";
const WRITER: &str = "google.golang.org/grpc/internal/transport.(*loopyWriter).run";
/// What writes a request's head: the name since grpc 1.81, and the one before.
const HEADS: [&str; 2] = [
    "google.golang.org/grpc/internal/transport.(*loopyWriter).clientHeaderHandler",
    "google.golang.org/grpc/internal/transport.(*loopyWriter).headerHandler",
];

/// The functions that are looked for.
pub(super) const NAMES: &[&str] = &[
    PACKAGES[0].handler,
    PACKAGES[0].request,
    PACKAGES[1].handler,
    PACKAGES[1].request,
    PACKAGES[2].handler,
    PACKAGES[2].request,
    HANDLE,
    NEW_STREAM,
    PUT,
    READER,
    WRITER,
    HEADS[0],
    HEADS[1],
];

/// What was found in a program.
#[derive(Default)]
pub(super) struct Streams {
    pub(super) points: Vec<(&'static str, u64)>,
    pub(super) limits: Vec<String>,
}

/// The probes that tell of streams; of what the program has of it.
pub(super) fn streams(text: &Text<'_>) -> Streams {
    let mut found = Streams::default();
    for Package { name, handler, request } in &PACKAGES {
        found.add(
            text,
            handler,
            || format!("requests that {name} serves over HTTP/2"),
            serves,
        );
        found.add(
            text,
            request,
            || format!("requests that {name} sends over HTTP/2"),
            writes,
        );
    }
    found.add(text, HANDLE, || "calls that grpc-go serves".to_owned(), serves_calls);
    found.add(text, NEW_STREAM, || "calls that grpc-go sends".to_owned(), asks_calls);
    found
}

type Points = Vec<(&'static str, u64)>;

impl Streams {
    /// Adds the `points` of a function, if the program has it.
    fn add(
        &mut self,
        text: &Text<'_>,
        function: &str,
        what: impl FnOnce() -> String,
        points: impl FnOnce(&Text<'_>, &str) -> Option<Points>,
    ) {
        if text.function(function).is_none() {
            return;
        }
        match points(text, function) {
            Some(points) => self.points.extend(points),
            None => self
                .limits
                .push(format!("{} are not linked: {function} has another shape", what())),
        }
    }
}

fn serves(text: &Text<'_>, function: &str) -> Option<Points> {
    Some(vec![("go_serves", text.frame_push(function)?)])
}

fn writes(text: &Text<'_>, function: &str) -> Option<Points> {
    Some(vec![("go_writes_own", text.frame_push(function)?)])
}

fn serves_calls(text: &Text<'_>, function: &str) -> Option<Points> {
    Some(vec![("go_serves_call", text.frame_push(function)?)])
}

/// Where a call is asked, and where its head is written; and who does that, and hands on answers, for all.
fn asks_calls(text: &Text<'_>, function: &str) -> Option<Points> {
    let [asks] = text.calls(function, PUT)?[..] else {
        return None;
    };
    let head = HEADS.iter().find(|name| text.function(name).is_some())?;
    Some(vec![
        ("go_passes", text.frame_push(READER)?),
        ("go_passes", text.frame_push(WRITER)?),
        ("go_writes_call", text.frame_push(head)?),
        ("go_asks_call", asks),
    ])
}
