//! Workloads whose calls pass encrypted, beside their plain twins. The load itself is plain where no program is named that asks.
use clew_tests::{Certificate, Lab, Plan, envoy_tls, free_port, nginx, nginx_tls, php_fpm};

use super::python::uvicorn_on;
use super::workload::{Client, Expect, Made, Workload, fronted, made, words};

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
        mixed!("clew-drive", $service)
    };
    ($client:literal, $service:literal) => {
        &[
            concat!("client ", $client, " /front"),
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
    Workload {
        name: "tls-curl-node+assist",
        runtime: "curl, Node.js, https; HTTPS throughout",
        expect: Expect::Exact,
        make: node,
    },
    Workload {
        name: "tls-httpx",
        runtime: "Python, a thread a connection, httpx; HTTPS",
        expect: Expect::Exact,
        make: |lab| {
            let argv = [Lab::python("python"), Lab::workload("python/threaded.py")];
            with(secured(lab, &argv, chain!("threaded")), "CLIENT", "httpx")
        },
    },
    Workload {
        name: "tls-curl-uvicorn",
        runtime: "curl, Python, uvicorn on asyncio; HTTPS throughout",
        expect: Expect::Exact,
        make: |lab| uvicorn(lab, "asyncio"),
    },
    Workload {
        name: "tls-curl-uvicorn-uvloop",
        runtime: "curl, Python, uvicorn on uvloop; HTTPS throughout",
        expect: Expect::Exact,
        make: |lab| uvicorn(lab, "uvloop"),
    },
    Workload {
        name: "tls-curl-nginx",
        runtime: "curl, nginx that forwards; HTTPS throughout",
        expect: Expect::NeverWrong,
        make: |lab| forwarding(lab, Client::Curl, FROM_CURL),
    },
    Workload {
        name: "tls-wget",
        runtime: "wget on GnuTLS, nginx that forwards; HTTPS throughout",
        expect: Expect::NeverWrong,
        make: |lab| forwarding(lab, Client::Wget, FROM_WGET),
    },
    Workload {
        name: "tls-envoy-proxy",
        runtime: "curl, Envoy, two event loops that forward; HTTPS throughout",
        expect: Expect::NeverWrong,
        make: envoy,
    },
    Workload {
        name: "tls-ruby-puma",
        runtime: "Ruby, puma, a reactor and a pool of threads; HTTPS",
        expect: Expect::Exact,
        make: puma,
    },
    Workload {
        name: "tls-php-fpm-nginx",
        runtime: "PHP-FPM behind nginx, streams and libcurl; HTTPS",
        expect: Expect::Exact,
        make: fpm,
    },
    Workload {
        name: "tls-rust-openssl",
        runtime: "Rust, openssl at both ends",
        expect: Expect::Exact,
        make: |lab| rust(lab, &Lab::rust_openssl()),
    },
    Workload {
        name: "tls-rust-openssl-before",
        runtime: "Rust, openssl at both ends, reqwest 0.11",
        expect: Expect::Exact,
        make: |lab| rust(lab, &Lab::rust_openssl_before()),
    },
    Workload {
        name: "tls-rustls-v0",
        runtime: "Rust, rustls at both ends, names by version 0",
        expect: Expect::Exact,
        make: |lab| rust(lab, &Lab::rustls_v0()),
    },
    Workload {
        name: "tls-rustls-0.21",
        runtime: "Rust, rustls 0.21 at both ends, reqwest 0.11",
        expect: Expect::Exact,
        make: |lab| rust(lab, &Lab::rustls_of("0.21")),
    },
    Workload {
        name: "tls-rustls-0.22",
        runtime: "Rust, rustls 0.22 at both ends",
        expect: Expect::Exact,
        make: |lab| rust(lab, &Lab::rustls_of("0.22")),
    },
];

/// What nginx does for `/front`, whoever asks.
macro_rules! forwarded {
    ($client:literal) => {
        &[
            concat!("client ", $client, " /front"),
            "server nginx /front",
            "client nginx /leaf",
            "server nginx /leaf",
        ]
    };
}

const FROM_CURL: &[&str] = forwarded!("curl");
const FROM_WGET: &[&str] = forwarded!("wget");

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
    made(plan.service(port, &argv), leaf, port, &trusting(&certificate), chain)
}

/// Each client's own way to be told whom to trust.
fn trusting(certificate: &Certificate) -> [(&str, &str); 4] {
    let file = certificate.file();
    [
        ("SCHEME", "https"),
        ("REQUESTS_CA_BUNDLE", file),
        ("SSL_CERT_FILE", file),
        ("NODE_EXTRA_CA_CERTS", file),
    ]
}

fn with(made: Made, name: &str, value: &str) -> Made {
    Made {
        plan: made.plan.env(name, value),
        ..made
    }
}

/// uvicorn that speaks TLS with clients and with the leaf.
fn uvicorn(lab: &Lab, event_loop: &str) -> Made {
    let certificate = Certificate::new(lab);
    let (plan, leaf) = leaf(lab, &certificate);
    let port = free_port();
    let encrypted = ["--ssl-certfile", certificate.file(), "--ssl-keyfile", certificate.key()];
    let argv = uvicorn_on(port, Lab::python("uvicorn"), event_loop, &encrypted);
    let plan = plan.service(port, &words(&argv));
    let made = made(plan, leaf, port, &trusting(&certificate), mixed!("curl", "fastapi_app"));
    asked_by(Client::Curl, &certificate, made)
}

/// Node.js that speaks TLS with clients and with the leaf.
fn node(lab: &Lab) -> Made {
    let certificate = Certificate::new(lab);
    let (plan, leaf) = leaf(lab, &certificate);
    let port = free_port();
    let argv = ["node", &Lab::workload("node/server.js"), &port.to_string()];
    let plan = plan.service(port, &argv);
    let chain = &[
        "client curl /front",
        "server server /front",
        "client server /leaf",
        "server nginx /leaf",
    ];
    let mut made = made(plan, leaf, port, &trusting(&certificate), chain);
    for (name, value) in [("CERTIFICATE", certificate.file()), ("KEY", certificate.key())] {
        made = with(made, name, value);
    }
    asked_by(Client::Curl, &certificate, made)
}

fn asked_by(client: fn(String) -> Client, certificate: &Certificate, made: Made) -> Made {
    Made {
        client: Some(client(certificate.file().to_owned())),
        ..made
    }
}

fn envoy(lab: &Lab) -> Made {
    let certificate = Certificate::new(lab);
    let (plan, leaf) = leaf(lab, &certificate);
    let port = free_port();
    let argv = envoy_tls(lab, port, leaf, &certificate, true);
    let chain = &[
        "client curl /front",
        "server envoy /front",
        "client envoy /front",
        "server nginx /front",
    ];
    let made = made(plan.service(port, &words(&argv)), leaf, port, &[], chain);
    asked_by(Client::Curl, &certificate, made)
}

fn puma(lab: &Lab) -> Made {
    let certificate = Certificate::new(lab);
    let (plan, leaf) = leaf(lab, &certificate);
    let port = free_port();
    let (bind, app) = (format!("tcp://127.0.0.1:{port}"), Lab::workload("ruby/mix.ru"));
    let argv = ["puma", "--quiet", "--bind", &bind, "-t", "16:16", &app];
    let chain = &[
        "client clew-drive /front",
        " server puma /front",
        "  client puma /a",
        "   server nginx /a",
        "  ?client puma /cancelled",
        "   ?server nginx /cancelled",
        "  client puma /last",
        "   server nginx /last",
    ];
    made(plan.service(port, &argv), leaf, port, &trusting(&certificate), chain)
}

fn fpm(lab: &Lab) -> Made {
    let certificate = Certificate::new(lab);
    let (plan, leaf) = leaf(lab, &certificate);
    let (php, front) = (free_port(), free_port());
    let fpm = php_fpm(lab, php, "php/front.php", 16);
    let location = format!("location / {{ {} }}", fpm.location(&format!("127.0.0.1:{php}")));
    let proxy = nginx(lab, front, &location, "");
    let mut plan = plan
        .service(php, &words(&fpm.argv))
        .env("NEXT", &format!("{leaf}/leaf"))
        .env("OTEL_SERVICE_NAME", "php");
    for (name, value) in trusting(&certificate) {
        plan = plan.env(name, value);
    }
    Made {
        plan: plan.service(front, &words(&proxy)).rested(),
        port: front,
        path: "/front",
        chain: &[
            "client clew-drive /front",
            " server nginx /front",
            "  client nginx /front",
            "   server php /front",
            "    client php /leaf",
            "     server nginx /leaf",
            "    client php /again",
            "     server nginx /again",
        ],
        closing: false,
        traced: false,
        client: None,
    }
}

/// A Rust program that answers without TLS, and the same behind it that is asked over TLS.
pub(super) fn rust(lab: &Lab, program: &str) -> Made {
    let certificate = Certificate::new(lab);
    let (leaf, port) = (free_port(), free_port());
    let argv = |port: &str| [program, port, certificate.file(), certificate.key()].map(str::to_owned);
    let (behind, before) = (argv(&leaf.to_string()), argv(&port.to_string()));
    let plan = Plan::default()
        .service(leaf, &words(&behind))
        .env("OTEL_SERVICE_NAME", "secure-leaf")
        .service(port, &words(&before));
    let env = [("OTEL_SERVICE_NAME", "secure"), ("PLAIN", "1")];
    made(plan, leaf, port, &env, SECURE)
}

/// What such a program does for `/front`.
const SECURE: &[&str] = &[
    "client clew-drive /front",
    "server secure /front",
    "client secure /leaf",
    "server secure-leaf /leaf",
];

/// nginx that speaks TLS with clients and with the leaf.
fn forwarding(lab: &Lab, client: fn(String) -> Client, chain: &'static [&'static str]) -> Made {
    let certificate = Certificate::new(lab);
    let (plan, leaf) = leaf(lab, &certificate);
    let port = free_port();
    let argv = nginx_tls(lab, port, &certificate, FORWARD, &upstream(leaf));
    let made = fronted(plan.service(port, &words(&argv)), port, chain);
    asked_by(client, &certificate, made)
}

const FORWARD: &str =
    "location /front { proxy_pass https://leaf/leaf; proxy_http_version 1.1; proxy_set_header Connection ''; }";

fn upstream(leaf: u16) -> String {
    format!("upstream leaf {{ server 127.0.0.1:{leaf}; keepalive 64; }}")
}

fn proxy(lab: &Lab) -> Made {
    let certificate = Certificate::new(lab);
    let (plan, leaf) = leaf(lab, &certificate);
    let port = free_port();
    let argv = nginx(lab, port, FORWARD, &upstream(leaf));
    fronted(plan.service(port, &words(&argv)), port, FROM_DRIVER)
}

const FROM_DRIVER: &[&str] = forwarded!("clew-drive");
