//! What the wire shows of TLS: handshakes, and connections whose content is out of reach.
use std::process::Command;

use clew_tests::{Clew, Kind, Lab, Outcome, Plan, Span, free_port};

const DRIVE: &str = env!("CARGO_BIN_EXE_clew-drive");

/// Makes a certificate for `localhost` in the lab's folder, and a store for Java.
fn certificate(lab: &Lab) {
    let openssl = |arguments: &[&str]| {
        let made = Command::new("openssl").args(arguments).current_dir(lab.dir()).output();
        let made = made.expect("openssl starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
    ]);
    let store = [
        "pkcs12",
        "-export",
        "-inkey",
        "key.pem",
        "-in",
        "cert.pem",
        "-out",
        "store.p12",
    ];
    openssl(&[&store[..], &["-passout", "pass:changeit"]].concat());
}

fn path(lab: &Lab, file: &str) -> String {
    lab.dir().join(file).display().to_string()
}

/// `openssl s_server` with these options, and curl with its own, which ends with `code`.
fn refused(test: &str, server: &[&str], client: &str, check: impl Fn(&Outcome, &Span, &Span)) {
    let Some(lab) = Lab::new(test) else { return };
    certificate(&lab);
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let (key, cert) = (path(&lab, "key.pem"), path(&lab, "cert.pem"));
    let base = [
        "openssl", "s_server", "-www", "-quiet", "-accept", &address, "-key", &key, "-cert", &cert,
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
    certificate(&lab);
    let port = free_port();
    let source = Lab::workload("java/Secure.java");
    let (number, store) = (port.to_string(), path(&lab, "store.p12"));
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
