//! HTTP/2 and gRPC with the real clients and servers.
use clew_tests::{Certificate, Clew, Kind, Lab, Outcome, Span, free_port, nginx};

const UNARY: &str = "clew.test.Calls/Unary";
/// What a call ends with whose time is over.
const LATE: &[&str] = &["DEADLINE_EXCEEDED"];
/// The same where tonic's server notices it first, or grpc-java's client, whose clock runs before the head goes out.
const LATE_OR_CANCELLED: &[&str] = &["DEADLINE_EXCEEDED", "CANCELLED"];

/// Attributes of a call, as text: method, status, messages asked and answered, `error.type`.
fn told(span: &Span) -> [String; 5] {
    [
        "rpc.method",
        "rpc.response.status_code",
        "clew.rpc.request.messages",
        "clew.rpc.response.messages",
        "error.type",
    ]
    .map(|name| span.text(name))
}

/// The spans of one kind in the order they began.
fn in_order(out: &Outcome, kind: Kind) -> Vec<&Span> {
    let mut spans = out.spans.filter(|span| span.kind == kind);
    spans.sort_by_key(|span| span.start);
    spans
}

/// Every server span is the child of a client span that says the same.
fn check_joined(out: &Outcome, count: usize, same: &[&str]) {
    for kind in [Kind::Client, Kind::Server] {
        out.check_eq(in_order(out, kind).len(), count, &format!("{kind:?} spans"));
    }
    for server in in_order(out, Kind::Server) {
        let Some(client) = out.spans.parent(server).filter(|parent| parent.kind == Kind::Client) else {
            out.fail(&format!("{} has no client", server.brief()));
        };
        for name in same {
            let (got, want) = (server.text(name), client.text(name));
            // A server that got the request a little later gets the reset before its own clock says that the time is over.
            if want == "DEADLINE_EXCEEDED" && got == "CANCELLED" {
                continue;
            }
            out.check_eq(got, want, &format!("{name} of {}", server.brief()));
        }
    }
}

#[test]
fn grpcio_calls_of_every_kind() {
    let Some(lab) = Lab::new("grpcio") else { return };
    check_opens(&calls_of_every_kind(Clew::run(&lab), &grpcio(), LATE));
}

/// The same through the BoringSSL within grpcio, which names none of its functions, on memory BIOs.
#[test]
fn grpcio_over_tls() {
    let Some(lab) = Lab::new("grpcio_over_tls") else { return };
    check_opens(&over_tls(&lab, &grpcio(), LATE));
}

#[test]
fn tonic_calls_of_every_kind() {
    let Some(lab) = Lab::new("tonic") else { return };
    check_opens(&calls_of_every_kind(
        Clew::run(&lab),
        &[Lab::tonic()],
        LATE_OR_CANCELLED,
    ));
}

/// The same through rustls.
#[test]
fn tonic_over_tls() {
    let Some(lab) = Lab::new("tonic_over_tls") else { return };
    check_opens(&over_tls(&lab, &[Lab::tonic()], LATE_OR_CANCELLED));
}

#[test]
fn grpc_java_calls_of_every_kind() {
    let Some(lab) = Lab::new("grpc_java") else { return };
    let Some(java) = lab.grpc_java() else { return };
    calls_of_every_kind(Clew::run(&lab), &java, LATE_OR_CANCELLED);
}

/// The same through the BoringSSL that Netty brings along, a library whose file is gone once it is loaded.
#[test]
fn grpc_java_over_tls() {
    let Some(lab) = Lab::new("grpc_java_over_tls") else {
        return;
    };
    let Some(java) = lab.grpc_java() else { return };
    over_tls(&lab, &java, LATE_OR_CANCELLED);
}

fn grpcio() -> Vec<String> {
    vec![Lab::python("python"), Lab::workload("python/grpc_calls.py")]
}

fn over_tls(lab: &Lab, argv: &[String], late: &[&str]) -> Outcome {
    let certificate = Certificate::new(lab);
    let clew = Clew::run(lab)
        .env("CERTIFICATE", certificate.file())
        .env("KEY", certificate.key());
    let out = calls_of_every_kind(clew, argv, late);
    for span in &out.spans.0 {
        out.check_eq(span.text("url.scheme").as_str(), "https", &span.brief());
    }
    for counter in ["tls.untied", "tls.tie_conflict", "tls.unwatched"] {
        out.check_eq(out.counter(counter), 0, counter);
    }
    out
}

/// `late` are the statuses that the call may have that takes longer than its client has time for.
fn calls_of_every_kind(clew: Clew<'_>, argv: &[String], late: &[&str]) -> Outcome {
    let out = clew.traced(argv);
    out.check_eq(out.code, 0, "exit code");
    check_joined(
        &out,
        11,
        &["rpc.response.status_code", "network.protocol.version", "url.path"],
    );
    let row = |fields: [&str; 5]| fields.map(str::to_owned);
    let expected = [
        row([UNARY, "OK", "1", "1", ""]),
        row([UNARY, "OK", "1", "1", ""]),
        row([UNARY, "NOT_FOUND", "1", "0", "NOT_FOUND"]),
        row([UNARY, "UNKNOWN", "1", "0", "UNKNOWN"]),
        row([UNARY, "late", "1", "", "late"]),
        row([UNARY, "CANCELLED", "1", "", "CANCELLED"]),
        row(["clew.test.Calls/Down", "OK", "1", "5", ""]),
        row(["clew.test.Calls/Up", "OK", "4", "1", ""]),
        row(["clew.test.Calls/Both", "OK", "3", "6", ""]),
        row([UNARY, "OK", "1", "1", ""]),
        row(["clew.test.Calls/Missing", "UNIMPLEMENTED", "1", "0", "UNIMPLEMENTED"]),
    ];
    let clients: Vec<_> = in_order(&out, Kind::Client).into_iter().map(told).collect();
    for (got, want) in clients.iter().zip(&expected) {
        let mut got = got.clone();
        if want[3].is_empty() {
            // Who notices first that the time is over ends the call: the client by a reset, or the server by trailers.
            got[3].clear();
        }
        if want[1] == "UNIMPLEMENTED" && got[2].is_empty() {
            // The server refuses by the headers alone, which may be before the client has sent its message.
            got[2].clone_from(&want[2]);
        }
        if want[1] == "late" {
            out.check(
                late.contains(&got[1].as_str()) && got[4] == got[1],
                &format!("{got:?} is late"),
            );
            continue;
        }
        out.check_eq(&got, want, "a call");
    }
    let first = in_order(&out, Kind::Client)[0];
    out.check_eq(first.name.as_str(), UNARY, "name");
    out.check_span(
        first,
        &[
            ("rpc.system.name", "grpc"),
            ("network.protocol.version", "2"),
            ("clew.http.fields.unknown", ""),
        ],
    );
    out.check_eq(out.counter("protocol.http2.invalid"), 0, "invalid");
    out
}

/// The first call is told to have opened its connection.
fn check_opens(out: &Outcome) {
    let first = in_order(out, Kind::Client)[0];
    out.check_span(first, &[("clew.network.connection.reused", "false")]);
    out.check(!first.text("clew.network.connect_ns").is_empty(), "its connect time");
}

#[test]
fn grpcio_many_streams_at_once() {
    let Some(lab) = Lab::new("grpcio_many") else { return };
    many_streams_at_once(&lab, grpcio());
}

#[test]
fn tonic_many_streams_at_once() {
    let Some(lab) = Lab::new("tonic_many") else { return };
    many_streams_at_once(&lab, vec![Lab::tonic()]);
}

#[test]
fn grpc_java_many_streams_at_once() {
    let Some(lab) = Lab::new("grpc_java_many") else { return };
    let Some(java) = lab.grpc_java() else { return };
    many_streams_at_once(&lab, java);
}

fn many_streams_at_once(lab: &Lab, mut argv: Vec<String>) {
    argv.extend(["many", "2000"].map(str::to_owned));
    let out = Clew::run(lab).traced(&argv);
    out.check_eq(out.code, 0, "exit code");
    check_joined(
        &out,
        2000,
        &[
            "rpc.method",
            "rpc.response.status_code",
            "http.request.body.size",
            "http.response.body.size",
        ],
    );
    for span in &out.spans.0 {
        let [method, status, asked, answered, error] = told(span);
        out.check_eq(
            [method.as_str(), &status, &asked, &answered, &error],
            [UNARY, "OK", "1", "1", ""],
            "a call",
        );
    }
}

#[test]
fn go_without_tls() {
    let Some(lab) = Lab::new("go_h2c") else { return };
    let out = Clew::run(&lab).traced(&[Lab::go("h2c"), "500".to_owned(), "100".to_owned()]);
    out.check_eq(out.code, 0, "exit code");
    check_joined(
        &out,
        501,
        &[
            "url.path",
            "http.response.status_code",
            "http.request.body.size",
            "http.response.body.size",
        ],
    );
    for server in in_order(&out, Kind::Server) {
        let Some(number) = server.number() else {
            out.check_span(server, &[("url.path", "/wait"), ("error.type", "CANCEL")]);
            continue;
        };
        let sent = number * 37 % 50000;
        let status = if sent % 2 == 0 { "200" } else { "204" };
        out.check_span(
            server,
            &[
                ("http.request.method", "POST"),
                ("http.request.body.size", &sent.to_string()),
                ("http.response.status_code", status),
                ("network.protocol.version", "2"),
                ("clew.http.fields.unknown", ""),
            ],
        );
        let client = out.spans.parent(server).and_then(Span::number);
        out.check_eq(client, Some(number), "the number at the other end");
    }
}

#[test]
fn curl_and_nginx() {
    let Some(lab) = Lab::new("h2c_nginx") else { return };
    let (other, port) = (free_port(), free_port());
    let page = lab.file("page.html", &"<p>page</p>\n".repeat(4000));
    let server = format!(
        "server {{ listen 127.0.0.1:{port} http2; root {}; location = /moved {{ return 302 /; }} }}",
        page.parent().expect("a folder").display()
    );
    let server = nginx(&lab, other, "", &server)
        .iter()
        .fold(String::new(), |line, word| line + &format!("'{word}' "));
    let url = format!("http://127.0.0.1:{port}");
    let script = format!(
        "{server} & until curl -s --http2-prior-knowledge -o /dev/null {url}/moved; do sleep 0.05; done
         for path in page.html missing page.html; do curl -s --http2-prior-knowledge -o /dev/null {url}/$path; done
         kill $!; wait"
    );
    let out = Clew::run(&lab).traced(&["sh".to_owned(), "-c".to_owned(), script]);
    check_joined(
        &out,
        4,
        &[
            "url.path",
            "http.response.status_code",
            "http.response.body.size",
            "network.protocol.version",
        ],
    );
    let told = |span: &Span| {
        (
            span.text("url.path"),
            span.text("http.response.status_code"),
            span.text("http.response.body.size"),
        )
    };
    let mut served: Vec<_> = in_order(&out, Kind::Server).into_iter().map(told).collect();
    served.sort();
    let rows = [
        ("/missing", "404", "153"),
        ("/moved", "302", "145"),
        ("/page.html", "200", "48000"),
        ("/page.html", "200", "48000"),
    ];
    let expected: Vec<_> = rows
        .iter()
        .map(|(path, status, size)| ((*path).to_owned(), (*status).to_owned(), (*size).to_owned()))
        .collect();
    out.check_eq(served, expected, "what nginx served");
}
