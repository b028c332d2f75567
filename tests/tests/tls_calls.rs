//! How programs call a library that encrypts: by each of its functions, with sessions that are used again, forked and interrupted.
use clew_tests::{Certificate, Clew, Kind, Lab, Outcome, Plan, Symbols, free_port, nginx, nginx_tls};

const DRIVE: &str = env!("CARGO_BIN_EXE_clew-drive");

/// Counters that say that plaintext or a connection was not known.
const LOST: [&str; 6] = [
    "tls.untied",
    "tls.tie_conflict",
    "tls.call_unknown",
    "tls.session_unknown",
    "stream.gap_timeout",
    "pipeline.connection_unknown",
];

/// `requests` of `path`, each at both ends, which join; and nothing else.
fn joined(out: &Outcome, path: &str, requests: u64) {
    for kind in [Kind::Client, Kind::Server] {
        out.check_numbers(kind, path, requests);
    }
    out.check_no_wrong_links();
    for server in out.spans.at(Kind::Server, path) {
        let client = out.spans.parent(server);
        out.check_eq(
            client.map(|span| span.number()),
            Some(server.number()),
            "the number at the other end",
        );
        for span in [Some(server), client].into_iter().flatten() {
            out.check_span(
                span,
                &[
                    ("url.scheme", "https"),
                    ("http.response.status_code", "200"),
                    ("error.type", ""),
                ],
            );
        }
    }
}

fn strs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// A client asks by each function of OpenSSL 3.5 that gives plaintext and takes the answers by each that takes it. Its ClientHello has
/// keys that are larger than what one packet holds (X25519MLKEM768).
#[test]
fn every_function() {
    const ROUNDS: u64 = 12;
    let Some(lab) = Lab::new("tls_every_function") else {
        return;
    };
    let libraries = std::fs::read_dir(Lab::python_file("psycopg_binary.libs")).expect("the libraries of psycopg");
    let mut libraries = libraries.flatten().map(|file| file.path());
    let library = libraries.find(|path| path.display().to_string().contains("/libssl-"));
    let library = library.expect("an OpenSSL").display().to_string();
    let has = std::fs::read(&library).is_ok_and(|bytes| bytes.windows(14).any(|name| name == b"\0SSL_write_ex2"));
    if !has {
        lab.skip("the OpenSSL of psycopg is older than 3.3 and has no SSL_write_ex2");
        return;
    }
    let certificate = Certificate::new(&lab);
    let port = free_port();
    let server = nginx_tls(&lab, port, &certificate, "location / { return 200 \"yes\\n\"; }", "");
    let (python, script) = (Lab::python("python"), Lab::workload("python/gives.py"));
    let number = port.to_string();
    let client = [python.as_str(), &script, &library, &number];
    let plan = Plan::default().service(port, &strs(&server)).command(&client);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
    joined(&out, "/hello", ROUNDS);
    for span in &out.spans.0 {
        out.check_eq(span.text("http.request.body.size").as_str(), "5", &span.brief());
    }
    out.check_eq(out.spans.0.len() as u64, 2 * ROUNDS, "number of spans");
    for counter in LOST {
        out.check_eq(out.counter(counter), 0, counter);
    }
}

/// Objects that are freed and lie where others were, are cleared, get another connection than they were given, are read and written
/// through copies of a descriptor, forked, called in vain and looked into; and what is sent before the handshake is over.
fn sessions(test: &str, serves: &[&str], ways: u64) {
    let Some(lab) = Lab::new(test) else { return };
    let certificate = Certificate::new(&lab);
    let program = Lab::compiled(
        "c/sessions.c",
        "sessions",
        "cc",
        &["-O1", "-lssl", "-lcrypto"],
        Symbols::Within,
    );
    let port = free_port();
    let number = port.to_string();
    let server = [
        program.as_str(),
        "serve",
        &number,
        certificate.file(),
        certificate.key(),
    ];
    let client = [program.as_str(), "ask", certificate.file(), &number, "/hello"];
    let plan = Plan::default()
        .service(port, &[serves, &server].concat())
        .command(&client);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
    out.check_eq(
        out.stdout.trim(),
        ways.to_string().as_str(),
        "ways in which the client asked",
    );
    joined(&out, "/hello", ways);
    out.check_eq(out.spans.0.len() as u64, 2 * ways, "number of spans");
    for counter in LOST {
        out.check_eq(out.counter(counter), 0, counter);
    }
}

#[test]
fn ways_of_a_session() {
    sessions("tls_sessions", &[], 9);
}

/// The server shakes hands and has a child answer, as Python's `ForkingMixIn` does.
#[test]
fn ways_of_a_session_with_a_server_that_forks() {
    sessions("tls_sessions_forked", &["env", "FORKS=1"], 8);
}

/// While a client shakes hands the server asks another one in plain for the certificate, in a callback of the library: both
/// connections stay what they are, where the library uses the socket and where the program does.
#[test]
fn a_callback_asks_elsewhere() {
    for how in ["threads", "asyncio", "go"] {
        let Some(lab) = Lab::new(&format!("tls_callback_{how}")) else {
            return;
        };
        let certificate = Certificate::new(&lab);
        let (port, chooser) = (free_port(), free_port());
        let chosen = nginx(&lab, chooser, "location / { return 200 \"yes\\n\"; }", "");
        let (number, other, env) = (port.to_string(), chooser.to_string(), format!("CHOOSER={chooser}"));
        let own = [number.as_str(), certificate.file(), certificate.key()];
        let (python, script) = (Lab::python("python"), Lab::workload("python/chosen.py"));
        let go = Lab::go("secure");
        let server = if how == "go" {
            [&["env", &env, &go][..], &own].concat()
        } else {
            [&[python.as_str(), &script, how][..], &own, &[&other]].concat()
        };
        let url = |n: u8| format!("https://localhost:{port}/hello?id={n}");
        let urls = [url(1), url(2), url(3)];
        let curl = ["/usr/bin/curl", "-sSf", "--http1.1", "--cacert", certificate.file()];
        let client = [&curl[..], &strs(&urls)].concat();
        let plan = Plan::default()
            .service(chooser, &strs(&chosen))
            .service(port, &server)
            .rested()
            .command(&client);
        let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
        joined(&out, "/hello", 3);
        let of = |kind| {
            let found = out.spans.at(kind, "/chosen");
            out.check_eq(
                found.len(),
                1,
                &format!("spans of kind {kind:?} of what was asked meanwhile"),
            );
            *found.first().expect("checked")
        };
        let (client, server) = (of(Kind::Client), of(Kind::Server));
        out.check_eq(server.parent.as_ref(), Some(&client.id), "its server span's parent");
        for span in [client, server] {
            out.check_span(span, &[("url.scheme", "http"), ("http.response.status_code", "200")]);
        }
        out.check_eq(out.spans.0.len(), 8, "number of spans");
        for counter in [
            "tls.untied",
            "tls.session_unknown",
            "stream.gap_timeout",
            "pipeline.connection_unknown",
        ] {
            out.check_eq(out.counter(counter), 0, counter);
        }
    }
}

/// The client's first word comes in pieces, between which others wait.
#[test]
fn a_hello_in_pieces() {
    let Some(lab) = Lab::new("tls_hello_in_pieces") else {
        return;
    };
    let certificate = Certificate::new(&lab);
    let port = free_port();
    let server = nginx_tls(&lab, port, &certificate, "location / { return 200 \"yes\\n\"; }", "");
    let (python, script) = (Lab::python("python"), Lab::workload("python/pieces.py"));
    let number = port.to_string();
    let client = [python.as_str(), &script, certificate.file(), &number];
    let plan = Plan::default().service(port, &strs(&server)).command(&client);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
    joined(&out, "/hello", 3);
    out.check_eq(out.spans.0.len(), 6, "number of spans");
    for span in out.spans.filter(|span| span.number() == Some(1)) {
        out.check_span(
            span,
            &[("tls.established", "true"), ("tls.client.server_name", "localhost")],
        );
    }
    for counter in LOST {
        out.check_eq(out.counter(counter), 0, counter);
    }
}

/// GnuTLS reads what it sends from a file, by functions of its own that are watched as well.
#[test]
fn a_file_that_gnutls_sends() {
    const LINE: &str = "a line of a page\n";
    let Some(lab) = Lab::new("tls_gnutls_file") else { return };
    let certificate = Certificate::new(&lab);
    let page = lab.file("page", &LINE.repeat(5000)).display().to_string();
    let program = Lab::compiled("c/gnutls.c", "gnutls", "cc", &["-O1", "-lgnutls"], Symbols::Within);
    let port = free_port();
    let number = port.to_string();
    let server = [program.as_str(), &number, certificate.file(), certificate.key(), &page];
    let url = |n: u8| format!("https://localhost:{port}/page?id={n}");
    let urls = [url(1), url(2)];
    let curl = [
        "/usr/bin/curl",
        "-sSf",
        "--http1.1",
        "-o",
        "/dev/null",
        "-o",
        "/dev/null",
    ];
    let client = [&curl[..], &["--cacert", certificate.file()], &strs(&urls)].concat();
    let plan = Plan::default().service(port, &server).command(&client);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
    joined(&out, "/page", 2);
    out.check_eq(out.spans.0.len(), 4, "number of spans");
    let size = (5000 * LINE.len()).to_string();
    for span in &out.spans.0 {
        out.check_eq(&span.text("http.response.body.size"), &size, &span.brief());
    }
    for counter in LOST {
        out.check_eq(out.counter(counter), 0, counter);
    }
}
