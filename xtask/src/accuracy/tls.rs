//! Workloads whose calls pass encrypted, beside their plain twins. The load itself is plain.
use clew_tests::{Certificate, Lab, Plan, free_port, nginx, nginx_tls};

use super::workload::{Expect, Made, Workload, made};

/// The truth where the program under test asks a leaf in nginx.
macro_rules! chain {
    ($service:literal) => {
        &[
            "client clew-drive /front",
            concat!("server ", $service, " /front"),
            concat!("client ", $service, " /leaf"),
            "server nginx /leaf",
        ]
    };
}

/// What `mix.py` does for a request.
macro_rules! mixed {
    ($service:literal) => {
        &[
            "client clew-drive /front",
            concat!(" server ", $service, " /front"),
            concat!("  client ", $service, " /a"),
            "   server nginx /a",
            concat!("  client ", $service, " /b"),
            "   server nginx /b",
            concat!("  ?client ", $service, " /cancelled"),
            "   ?server nginx /cancelled",
            concat!("  client ", $service, " /last"),
            "   server nginx /last",
            concat!("  client ", $service, " /later"),
            "   server nginx /later",
        ]
    };
}

pub(super) const WORKLOADS: &[Workload] = &[
    Workload {
        name: "tls-python-requests",
        runtime: "Python, a thread a connection; HTTPS",
        expect: Expect::Exact,
        make: |lab| {
            let argv = [Lab::python("python"), Lab::workload("python/threaded.py")];
            secured(lab, &argv, chain!("threaded"))
        },
    },
    Workload {
        name: "tls-aiohttp-asyncio",
        runtime: "Python, aiohttp on asyncio; HTTPS",
        expect: Expect::Exact,
        make: |lab| {
            let argv = [Lab::python("python"), Lab::workload("python/aiohttp_app.py")];
            secured(lab, &argv, mixed!("aiohttp_app"))
        },
    },
    Workload {
        name: "tls-aiohttp-uvloop",
        runtime: "Python, aiohttp on uvloop; HTTPS",
        expect: Expect::Exact,
        make: |lab| {
            let argv = [Lab::python("python"), Lab::workload("python/aiohttp_app.py")];
            let made = secured(lab, &argv, mixed!("aiohttp_app"));
            Made {
                plan: made.plan.env("LOOP", "uvloop"),
                ..made
            }
        },
    },
    Workload {
        name: "tls-nginx-proxy",
        runtime: "nginx, an event loop that forwards; HTTPS",
        expect: Expect::NeverWrong,
        make: proxy,
    },
    Workload {
        name: "tls-node-http+assist",
        runtime: "Node.js, https and a pool; HTTPS",
        expect: Expect::NeverWrong,
        make: |lab| {
            let argv = ["node".to_owned(), Lab::workload("node/server.js")];
            secured(lab, &argv, chain!("server"))
        },
    },
];

/// A leaf that speaks TLS, and where it listens.
fn leaf(lab: &Lab, certificate: &Certificate) -> (Plan, u16) {
    let port = free_port();
    let argv = nginx_tls(lab, port, certificate, "location / { return 200 leaf; }", "");
    (Plan::default().service(port, &words(&argv)), port)
}

/// The program under test asks the leaf.
fn secured(lab: &Lab, argv: &[String], chain: &'static [&'static str]) -> Made {
    let certificate = Certificate::new(lab);
    let (plan, leaf) = leaf(lab, &certificate);
    let port = free_port();
    let port_text = port.to_string();
    let mut argv = words(argv);
    argv.push(&port_text);
    let file = certificate.file();
    let env = [
        ("SCHEME", "https"),
        // Each client's own way to be told whom to trust.
        ("REQUESTS_CA_BUNDLE", file),
        ("SSL_CERT_FILE", file),
        ("NODE_EXTRA_CA_CERTS", file),
    ];
    made(plan.service(port, &argv), leaf, port, &env, chain)
}

fn proxy(lab: &Lab) -> Made {
    let certificate = Certificate::new(lab);
    let (plan, leaf) = leaf(lab, &certificate);
    let port = free_port();
    let location =
        "location /front { proxy_pass https://leaf/leaf; proxy_http_version 1.1; proxy_set_header Connection ''; }";
    let upstream = format!("upstream leaf {{ server 127.0.0.1:{leaf}; keepalive 64; }}");
    let argv = nginx(lab, port, location, &upstream);
    Made {
        plan: plan.service(port, &words(&argv)),
        port,
        path: "/front",
        chain: &[
            "client clew-drive /front",
            "server nginx /front",
            "client nginx /leaf",
            "server nginx /leaf",
        ],
        closing: false,
    }
}

fn words(argv: &[String]) -> Vec<&str> {
    argv.iter().map(String::as_str).collect()
}
