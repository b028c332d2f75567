//! What the wire shows of TLS: handshakes, and connections whose content is out of reach.
use std::process::Command;

use clew_tests::{Certificate, Clew, Kind, Lab, Outcome, Plan, Span, free_port, nginx_tls};

const DRIVE: &str = env!("CARGO_BIN_EXE_clew-drive");

/// `openssl s_server` with these options, and curl with its own, which ends with `code`.
fn refused(test: &str, server: &[&str], client: &str, check: impl Fn(&Outcome, &Span, &Span)) {
    let Some(lab) = Lab::new(test) else { return };
    let certificate = Certificate::new(&lab);
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let (key, cert) = (certificate.key(), certificate.file());
    let base = [
        "openssl", "s_server", "-www", "-quiet", "-accept", &address, "-key", key, "-cert", cert,
    ];
    let ask = format!("! curl -s -o /dev/null {client} https://localhost:{port}/");
    let plan = Plan::default()
        .service(port, &[&base, server].concat())
        .command(&["sh", "-c", &ask]);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
    let (client, server) = ends(&out);
    check(&out, client, server);
    joined(&out, client, server);
}

/// The spans of the two ends of the one encrypted connection.
fn ends(out: &Outcome) -> (&Span, &Span) {
    let of = |kind| {
        let found = out
            .spans
            .filter(|span| span.kind == kind && span.name.starts_with("TLS"));
        match found.as_slice() {
            [span] => *span,
            _ => out.fail(&format!("{} spans of kind {kind:?}", found.len())),
        }
    };
    (of(Kind::Client), of(Kind::Server))
}

fn joined(out: &Outcome, client: &Span, server: &Span) {
    out.check_eq(server.parent.as_ref(), Some(&client.id), "the server span's parent");
    out.check_eq(&server.trace, &client.trace, "the trace");
    for span in [client, server] {
        out.check_eq(span.text("clew.encrypted").as_str(), "true", "clew.encrypted");
    }
}

#[test]
fn the_server_refuses_the_version() {
    refused("tls_version", &["-tls1_2"], "--tlsv1.3", |out, client, server| {
        for span in [client, server] {
            out.check_span(
                span,
                &[
                    ("tls.client.server_name", "localhost"),
                    ("tls.established", "false"),
                    ("tls.cipher", ""),
                    ("clew.tls.alert.by", "server"),
                    ("clew.tls.alert.level", "fatal"),
                    ("clew.tls.alert.description", "protocol_version"),
                    ("error.type", "protocol_version"),
                ],
            );
            out.check_eq(span.status, 2, "status");
        }
    });
}

#[test]
fn the_client_refuses_the_certificate() {
    refused("tls_certificate", &["-tls1_2"], "", |out, client, server| {
        for span in [client, server] {
            out.check_span(
                span,
                &[
                    ("tls.protocol.version", "1.2"),
                    ("tls.cipher", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
                    ("tls.established", "false"),
                    ("clew.tls.alert.by", "client"),
                    ("clew.tls.alert.description", "unknown_ca"),
                ],
            );
        }
    });
}

/// JSSE encrypts inside the virtual machine, where nothing is read: the connection is seen, with what was agreed on.
#[test]
fn java() {
    let Some(lab) = Lab::new("tls_java") else { return };
    let certificate = Certificate::new(&lab);
    let store = lab.dir().join("store.p12").display().to_string();
    let made = Command::new("openssl")
        .args(["pkcs12", "-export", "-passout", "pass:changeit", "-out", &store])
        .args(["-inkey", certificate.key(), "-in", certificate.file()])
        .output()
        .expect("openssl starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let port = free_port();
    let source = Lab::workload("java/Secure.java");
    let number = port.to_string();
    let plan = Plan::default()
        .service(port, &["java", &source, &store, &number])
        .command(&["java", &source, &store, &number, "ask"]);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
    let (client, server) = ends(&out);
    for span in [client, server] {
        out.check_eq(span.name.as_str(), "TLS localhost", "name");
        out.check_span(
            span,
            &[
                ("tls.protocol.name", "tls"),
                ("tls.protocol.version", "1.3"),
                ("tls.cipher", "TLS_AES_256_GCM_SHA384"),
                ("tls.curve", "x25519"),
                ("tls.established", "true"),
                ("tls.resumed", "false"),
                ("server.address", "localhost"),
                ("server.port", &number),
                ("error.type", ""),
            ],
        );
        let number = |name: &str| span.text(name).parse::<u64>().unwrap_or(0);
        let took = number("clew.network.tls_ns");
        out.check(
            took > 0 && took < span.end - span.start,
            &format!("the handshake took {took} ns"),
        );
        let (sent, received) = (number("clew.network.sent_bytes"), number("clew.network.received_bytes"));
        out.check(
            sent > 300 && received > 300,
            &format!("{sent} bytes sent, {received} received"),
        );
    }
    out.check(
        client
            .text("clew.network.connect_ns")
            .parse::<u64>()
            .is_ok_and(|took| took > 0),
        "the client says how long it took to connect",
    );
    joined(&out, client, server);
}

/// Where the content is seen the connection has no span of its own: its first exchange says what was agreed on.
#[test]
fn the_first_exchange_tells_of_the_handshake() {
    let Some(lab) = Lab::new("tls_first_exchange") else {
        return;
    };
    let certificate = Certificate::new(&lab);
    lab.file("hello", "hello\n");
    let port = free_port();
    let root = format!("root {};", lab.dir().display());
    let server = nginx_tls(&lab, port, &certificate, &root, "");
    let server: Vec<&str> = server.iter().map(String::as_str).collect();
    let url = format!("https://localhost:{port}/hello");
    let (first, second) = (format!("{url}?n=1"), format!("{url}?n=2"));
    let client = [
        "curl",
        "-sf",
        "--http1.1",
        "--cacert",
        certificate.file(),
        &first,
        &second,
    ];
    let plan = Plan::default().service(port, &server).command(&client);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
    out.check_eq(out.spans.0.len(), 4, "number of spans");
    for span in &out.spans.0 {
        out.check_eq(span.text("clew.encrypted").as_str(), "", "clew.encrypted");
        if !span.target().ends_with("n=1") {
            out.check_span(span, &[("tls.cipher", ""), ("tls.established", "")]);
            continue;
        }
        out.check_span(
            span,
            &[
                ("tls.protocol.version", "1.2"),
                ("tls.cipher", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
                ("tls.client.server_name", "localhost"),
                ("clew.tls.offered_protocols", "http/1.1"),
                ("tls.next_protocol", "http/1.1"),
                ("tls.established", "true"),
                ("tls.resumed", "false"),
            ],
        );
        let took = span.text("clew.network.tls_ns").parse::<u64>().unwrap_or(0);
        out.check(took > 0, "how long the handshake took");
    }
}
